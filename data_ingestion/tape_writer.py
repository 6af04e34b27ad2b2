"""The tape's writer, a process of its own: frames from standard input to Parquet, an hour a file, readable by --data.

`FOLDER/YYYY-MM-DD/HH.parquet`. While an hour runs it is an Arrow stream (`HH.arrows`) that grows by a batch a second; when the hour or
the input ends, the stream is put together into Parquet and removed. A kill loses at most the last second: what a dead writer left is put
together by the next one. Times are receive times; `volume` is what was traded since the instrument's tick before, by its day's total.
"""

import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from brokers import registry
from core.types import IST
from data_ingestion.tape import HEAD

Columns = Callable[[Sequence[bytes], Sequence[int], bool], Mapping[str, Any]]
_SECOND = 1_000_000
_MOST_FRAMES = 65_536
_MOST_BYTES = 16 * 1024 * 1024
_ROW_GROUP = 131_072
_TIME = pa.timestamp("us", "Asia/Kolkata")
_FIELDS: dict[str, Any] = {
    "timestamp": _TIME,
    "symbol": pa.dictionary(pa.int32(), pa.string()),
    "price": pa.float64(),
    "volume": pa.uint32(),
    "bid": pa.float64(),
    "ask": pa.float64(),
    "oi": pa.uint32(),
    "day_volume": pa.uint32(),
    "quantity": pa.uint32(),
    "bid_quantity": pa.uint32(),
    "ask_quantity": pa.uint32(),
    "previous_close": pa.float64(),
    "exchange_time": pa.timestamp("s", "Asia/Kolkata"),
}
_DEPTH = {"depth_price": pa.float64(), "depth_quantity": pa.uint32(), "depth_orders": pa.uint16()}
_LEVELS = 10
_REPEATED = ["symbol", "previous_close", "exchange_time"]  # their values repeat, so that Parquet's dictionaries pay


class Writer:
    """Takes frames with their times, keeps at most a second of them unwritten. `names` gives the key of a token, None: unknown."""

    def __init__(self, folder: Path, columns: Columns, names: Callable[[int], str | None], *, depth: bool) -> None:
        self._folder = folder
        self._columns = columns
        self._names = names
        self._depth = depth
        fields = dict(_FIELDS)
        if depth:
            fields |= {name: pa.list_(kind, _LEVELS) for name, kind in _DEPTH.items()}
        self._schema = pa.schema(list(fields.items()))
        self._frames: list[bytes] = []
        self._stamps: list[int] = []
        self._bytes = 0
        self._tokens = np.empty(0, np.uint32)  # known ones, ascending
        self._codes = np.empty(0, np.int32)  # their places in _keys
        self._keys: list[str] = []
        self._dictionary: Any = pa.array([], pa.string())
        self._volumes = np.empty(0, np.int64)  # the day's total of each key, -1: none seen
        self._stream: Any = None
        self._path: Path | None = None

    def take(self, frame: bytes, stamp: int) -> None:
        """Add one frame; `stamp` in microseconds since the epoch."""
        if self._frames and (stamp - self._stamps[0] >= _SECOND or len(self._frames) >= _MOST_FRAMES or self._bytes >= _MOST_BYTES):
            self.flush()
        self._frames.append(frame)
        self._stamps.append(stamp)
        self._bytes += len(frame)

    def flush(self) -> None:
        """Decode and append what waits, to the file of its hour."""
        frames, stamps = self._frames, self._stamps
        self._frames, self._stamps, self._bytes = [], [], 0
        if not frames:
            return
        found = self._columns(frames, stamps, self._depth)
        if not found:
            return
        path = self._place(stamps[0])
        if path != self._path:
            self._finish()
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb")
            options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
            self._stream, self._path = pa.ipc.new_stream(self._file, self._schema, options=options), path
        self._stream.write_batch(self._batch(found))
        self._file.flush()

    def close(self) -> None:
        """Write the rest and put the last hour together."""
        self.flush()
        self._finish()

    def _place(self, stamp: int) -> Path:
        """A stream that no earlier run has left: HH.arrows, HH-2.arrows, …"""
        at = datetime.fromtimestamp(stamp // _SECOND, IST)
        day, hour = self._folder / at.date().isoformat(), f"{at.hour:02d}"
        if self._path is not None and self._path.parent == day and self._path.stem.split("-")[0] == hour:
            return self._path
        number = 1
        while any((day / f"{_part(hour, number)}{suffix}").exists() for suffix in (".arrows", ".parquet")):
            number += 1
        return day / f"{_part(hour, number)}.arrows"

    def _batch(self, found: Mapping[str, Any]) -> Any:
        codes = self._coded(found["token"])
        volume = self._traded(codes, found["day_volume"].astype(np.int64))
        made: dict[str, Any] = {"timestamp": pa.array(found["stamp"]).cast(_TIME), "volume": pa.array(volume)}
        made["symbol"] = pa.DictionaryArray.from_arrays(pa.array(codes), self._dictionary)
        made["exchange_time"] = pa.array(found["exchange_time"].astype(np.int64), mask=found["exchange_time"] == 0).cast(
            _FIELDS["exchange_time"]
        )
        for name in self._schema.names:
            if name in _DEPTH:
                made[name] = pa.FixedSizeListArray.from_arrays(pa.array(found[name].reshape(-1)), _LEVELS)
            elif name not in made:
                made[name] = pa.array(found[name])
        return pa.record_batch([made[name] for name in self._schema.names], schema=self._schema)

    def _coded(self, tokens: Any) -> Any:
        """Each row's place in the dictionary; tokens that are met for the first time join it."""
        if len(self._tokens):
            place = np.minimum(np.searchsorted(self._tokens, tokens), len(self._tokens) - 1)
            known = self._tokens[place] == tokens
            if known.all():
                return self._codes[place]
            new = np.unique(tokens[~known])
        else:
            new = np.unique(tokens)
        start = len(self._keys)
        self._keys += [self._names(int(token)) or f"TOKEN:{token}" for token in new]
        self._dictionary = pa.array(self._keys, pa.string())
        self._volumes = np.concatenate([self._volumes, np.full(len(new), -1, np.int64)])
        together = np.concatenate([self._tokens, new])
        order = np.argsort(together)
        self._codes = np.concatenate([self._codes, np.arange(start, start + len(new), dtype=np.int32)])[order]
        self._tokens = together[order]
        return self._codes[np.searchsorted(self._tokens, tokens)]

    def _traded(self, codes: Any, totals: Any) -> Any:
        """The growth of each instrument's day's total, row by row; 0 for its first row and where a total fell."""
        order = np.argsort(codes.astype(np.uint16) if len(self._keys) < 65_536 else codes, kind="stable")
        sorted_codes, ordered = codes[order], totals[order]
        before = np.empty_like(ordered)
        before[1:] = ordered[:-1]
        first = np.ones(len(order), np.bool_)
        first[1:] = sorted_codes[1:] != sorted_codes[:-1]
        start = self._volumes[sorted_codes[first]]
        before[first] = np.where(start < 0, ordered[first], start)
        last = np.roll(first, -1)
        self._volumes[sorted_codes[last]] = ordered[last]
        grown = np.empty(len(order), np.uint32)
        grown[order] = np.maximum(ordered - before, 0)
        return grown

    def _finish(self) -> None:
        if self._path is None:
            return
        self._stream.close()
        self._file.close()
        compact(self._path)
        self._path = None


def _part(hour: str, number: int) -> str:
    return hour if number == 1 else f"{hour}-{number}"


def compact(stream: Path) -> Path:
    """Put an hour's stream together as Parquet beside it, and remove it; a torn end is left out."""
    final, draft = stream.with_suffix(".parquet"), stream.with_suffix(".draft")
    writer: Any = None
    with stream.open("rb") as file:
        waiting: list[Any] = []
        rows = 0
        for batch in _batches(file):
            if writer is None:
                options = {"use_dictionary": _REPEATED, "write_statistics": ["timestamp", "symbol"]}
                writer = pq.ParquetWriter(draft, batch.schema, compression="zstd", compression_level=1, **options)
            waiting.append(batch)
            rows += batch.num_rows
            if rows >= _ROW_GROUP:
                writer.write_table(pa.Table.from_batches(waiting).unify_dictionaries(), row_group_size=rows)
                waiting, rows = [], 0
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting).unify_dictionaries(), row_group_size=rows)
    if writer is not None:
        writer.close()
        draft.replace(final)
    stream.unlink()
    return final


def _batches(file: BinaryIO) -> Iterator[Any]:
    try:
        reader = pa.ipc.open_stream(file)
    except pa.ArrowException:
        return  # killed before its first batch
    while True:
        try:
            yield reader.read_next_batch()
        except StopIteration:
            return
        except (pa.ArrowException, OSError):
            return  # the torn end of a killed writer


def recover(folder: Path) -> list[Path]:
    """Put together what dead writers have left in a tape's folder."""
    for draft in folder.glob("*/*.draft"):
        draft.unlink()
    return [compact(stream) for stream in sorted(folder.glob("*/*.arrows"))]


def main(folder: str, broker: str, mode: str, instruments: str) -> None:
    """Write standard input to the tape in `folder`, until it ends."""
    columns = registry.get(broker).tape_columns
    if columns is None:
        raise SystemExit(f"ticks of {broker} cannot be recorded: its codec has no columns")
    database = sqlite3.connect(f"{Path(instruments).resolve().as_uri()}?mode=ro&immutable=1", uri=True)

    def name_of(token: int) -> str | None:
        row = database.execute("SELECT key FROM instruments WHERE token = ?", (token,)).fetchone()
        return None if row is None else str(row[0])

    recover(Path(folder))
    writer = Writer(Path(folder), columns, name_of, depth=mode == "depth")
    source = sys.stdin.buffer
    while len(head := source.read(HEAD.size)) == HEAD.size:
        length, stamp = HEAD.unpack(head)
        frame = source.read(length)
        if len(frame) < length:
            break
        writer.take(frame, stamp)
    writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
