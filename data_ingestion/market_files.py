"""A user's market data files, read and checked batch by batch: Parquet or CSV, bars or ticks, one file or a folder.

Every check is a vector operation over a batch's columns: a million rows take a second, and ten million no more memory. What is wrong is
refused with file, row (the first data row is 1) and reason; with `repair` it is dropped, or put in order, and counted in a note.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.errors import DataError
from data_ingestion.arrow import flags, numbers
from data_ingestion.shelf import BARS, COLUMNS, Floats, Ints, Mask, Rows, Shelf, moment_of

PRICES = {"bars": BARS, "ticks": ("price",)}
BATCH = 1 << 14  # rows read and checked at a time
_GROUPED = 1 << 20  # rows of a Parquet file that are asked for at once: its reader keeps what it has read of them until it is done
_BUFFER = 1 << 18  # bytes of a Parquet column read ahead
_ALIASES = {"qty": "volume", "quantity": "volume"}
_SUFFIXES = (".parquet", ".csv", ".csv.gz", ".txt", ".txt.gz")
_NOTHING = ("", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "NA", "N/A", "n/a", "#N/A", "#NA")  # a number that is not there, in text
_NO_TIME = np.iinfo(np.int64).min
_OFFSET = r"(Z|[+-]\d\d:?\d\d)$"
_LARGEST = 2.0**53  # beyond it a float is no exact count
FIX = "correct the file, or give --repair to leave such rows out"


class Unreadable(DataError):
    """The file itself does not read, or holds something else."""


class Tally:
    """How often something was seen, and where first."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, str]] = {}

    def add(self, what: str, count: int, first: object) -> None:
        before = self._seen.get(what)
        self._seen[what] = (count, str(first)) if before is None else (before[0] + count, before[1])

    def told(self) -> list[str]:
        """`{count}` and `{first}` in what was seen are filled in."""
        return [what.replace("{count}", str(count)).replace("{first}", first) for what, (count, first) in self._seen.items()]


def read_rows(path: Path, shelf: Shelf, *, repair: bool, note: Callable[[str], None]) -> None:
    """Put all rows of a file or folder, checked, on the shelf; DataError with file, row and reason. In a folder ticks beat bars, the rest
    is noted. Rows of one moment that are there twice are left for whoever takes them."""
    if not path.exists():
        raise DataError(f"there is no market data at {path}; give a Parquet or CSV file, or a folder of them, with --data")
    if not path.is_dir():
        source = _open(path)
        shelf.hold(source.kind)
        _Reading(source, shelf, repair, note).read()
        return
    sources = []
    for file in sorted(file for file in path.iterdir() if file.name.endswith(_SUFFIXES) and not file.name.startswith(".")):
        try:
            sources.append(_open(file))
        except Unreadable as error:
            note(f"skipped: {error}")
    if not sources:
        raise DataError(
            f"no file in {path} is market data; columns: timestamp, open, high, low, close, volume, symbol (bars) or timestamp, price"
        )
    shelf.hold("ticks" if any(source.kind == "ticks" for source in sources) else "bars")
    broken = ""
    for source in sources:
        if source.kind != shelf.kind:
            note(f"skipped: {source.path} holds {source.kind}, and the folder also holds {shelf.kind}")
            continue
        try:
            _Reading(source, shelf, repair, note).read()
        except Unreadable as error:
            shelf.forget(len(shelf.files) - 1)
            broken = f"skipped: {error}"
            note(broken)
    if not len(shelf.pairs):
        raise DataError(f"no file in {path} reads to its end ({broken})")


# --- files ------------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """A file that holds bars or ticks. `columns`: our name -> its own; `unknown` are those that are not read."""

    path: Path
    kind: str
    columns: Mapping[str, str]
    unknown: tuple[str, ...]

    def batches(self) -> Iterator[dict[str, Any]]:
        """Arrow arrays by our names."""
        wanted = list(self.columns.values())
        try:
            if _is_parquet(self.path):
                with pq.ParquetFile(self.path, buffer_size=_BUFFER) as file:
                    for groups in _together([file.metadata.row_group(one).num_rows for one in range(file.num_row_groups)]):
                        for batch in file.iter_batches(BATCH, row_groups=groups, columns=wanted, use_threads=False):
                            yield {name: batch.column(own) for name, own in self.columns.items()}
            else:
                with _csv(self.path, wanted) as reader:
                    for batch in reader:
                        yield {name: batch.column(own) for name, own in self.columns.items()}
        except (pa.ArrowException, OSError) as error:
            raise _does_not_read(self.path, error) from error


def _open(path: Path) -> _Source:
    """What a file holds; Unreadable where that is nothing of ours."""
    try:
        if _is_parquet(path):
            with pq.ParquetFile(path) as file:
                own, empty = list(file.schema_arrow.names), file.metadata.num_rows == 0
        else:
            with _csv(path, []) as reader:
                own, empty = list(reader.schema.names), not any(batch.num_rows for batch in reader)
    except (pa.ArrowException, OSError) as error:
        raise _does_not_read(path, error) from error
    if empty:
        raise Unreadable(f"{path} holds no rows")
    found = [str(name).strip().lower() for name in own]
    names = [_ALIASES[name] if name in _ALIASES and _ALIASES[name] not in found else name for name in found]
    have = set(names)
    if "timestamp" in have and have.issuperset(BARS):
        kind = "bars"
    elif "timestamp" in have and "price" in have:
        kind = "ticks"
    else:
        raise Unreadable(
            f"{path} is no market data: its columns are {', '.join(names[:12])}; bars need timestamp, open, high, low, close, volume and "
            "symbol, ticks timestamp, symbol and price"
        )
    known = {"timestamp", "symbol", *COLUMNS[kind]}
    twice = [name for name in names if name in known and names.count(name) > 1]
    if twice:
        raise DataError(f"{path} has the column {twice[0]} twice; take one of them out")
    columns = {name: one for name, one in zip(names, own, strict=True) if name in known}
    return _Source(path, kind, columns, tuple(name for name in names if name not in known))


def _is_parquet(path: Path) -> bool:
    return path.name.endswith(".parquet")


def _together(sizes: list[int]) -> Iterator[list[int]]:
    """The row groups in order, together as long as they have not too many rows."""
    groups: list[int] = []
    size = 0
    for one, rows in enumerate(sizes):
        if groups and size + rows > _GROUPED:
            yield groups
            groups, size = [], 0
        groups.append(one)
        size += rows
    if groups:
        yield groups


def _csv(path: Path, columns: list[str]) -> Any:
    """A reader of these columns (none: of all) as text: what a number or a time looks like is ours to judge, row by row."""
    from pyarrow import csv  # for those who have such a file

    convert = csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()), include_columns=columns)
    return csv.open_csv(path, convert_options=convert, read_options=csv.ReadOptions(use_threads=False))


def _does_not_read(path: Path, error: Exception) -> Unreadable:
    return Unreadable(f"{path} does not read: {str(error).splitlines()[0]}")


# --- rows -------------------------------------------------------------------------------------------------------------------------------


class _Reading:
    """One file on its way into the shelf."""

    def __init__(self, source: _Source, shelf: Shelf, repair: bool, note: Callable[[str], None]) -> None:
        self._source, self._path, self._kind = source, source.path, source.kind
        self._shelf, self._repair, self._note = shelf, repair, note
        self._number = shelf.open(source.path)
        self._tally = Tally()
        self._read = 0  # rows before this batch
        self._latest: Ints = np.zeros(0, np.int64)  # each symbol's latest time

    def read(self) -> None:
        """Every batch; notes at the end."""
        kept = 0
        if self._source.unknown:
            self._note(f"{self._path}: columns ignored: {', '.join(self._source.unknown)}")
        if self._kind == "bars" and "volume" not in self._source.columns:
            self._note(f"{self._path}: no volume column, taken as 0")
        for batch in self._source.batches():
            rows = self._ordered(self._possible(self._rows(batch)))
            self._shelf.add(rows)
            self._read += len(batch["timestamp"])
            kept += len(rows)
        for text in self._tally.told():
            self._note(text)
        if not kept:
            raise DataError(f"{self._path}: no row of it is possible")

    def _rows(self, batch: Mapping[str, Any]) -> Rows:
        size = len(batch["timestamp"])
        values = {name: self._numbers(name, batch[name]) if name in batch else np.zeros(size) for name in COLUMNS[self._kind]}
        times, symbols = self._times(batch["timestamp"]), self._symbols(batch.get("symbol"), size)
        places = np.arange(self._read + 1, self._read + size + 1)
        shelf, file = self._shelf, np.full(size, self._number, np.int64)
        return Rows(self._kind, shelf.files, shelf.names, times, symbols, file, places, values)

    def _symbols(self, column: Any, size: int) -> Ints:
        """Numbers; -1 where a row has no symbol. Without the column the file's name up to the first underscore is the symbol."""
        if column is None:
            return np.full(size, self._shelf.code(self._path.name.split(".")[0].split("_")[0]), np.int64)
        encoded = column.cast(pa.string()).dictionary_encode()
        names = [str(name).strip() for name in encoded.dictionary.to_pylist()]
        codes: Ints = np.array([*(self._shelf.code(name) if name else -1 for name in names), -1], np.int64)
        found: Ints = codes[numbers(encoded.indices, -1)]
        return found

    def _numbers(self, name: str, column: Any) -> Floats:
        """NaN where a row has none."""
        try:
            return numbers(column.cast(pa.float64()), np.nan)
        except pa.ArrowException as error:
            made = []
            for place, value in enumerate(column.to_pylist(), self._read + 1):
                try:
                    made.append(np.nan if value is None or str(value) in _NOTHING else float(value))
                except (TypeError, ValueError):
                    raise DataError(f"{self._path}: row {place}: {name} {value!r} is no number; correct the file") from error
            return np.array(made, np.float64)

    def _times(self, column: Any) -> Ints:
        """Microseconds since the epoch; the smallest integer where a row has no time. Naive times are refused, or read as IST and noted."""
        if pa.types.is_timestamp(column.type):
            if column.type.tz is None:
                self._naive(0, column[0].as_py(), len(column))
                column = pc.assume_timezone(column, "Asia/Kolkata")
            return _microseconds(column)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            raise DataError(
                f"{self._path}: the timestamp column is {column.type}; it must hold times with an offset, such as 2026-11-20 09:15:00+05:30"
            )
        column = pc.utf8_trim_whitespace(column.cast(pa.string()))
        aware = flags(pc.match_substring_regex(column, _OFFSET), missing=True)
        if not aware.all():
            first = int(np.argmin(aware))
            self._naive(first, repr(column[first].as_py()), int(np.count_nonzero(~aware)))
            column = pc.if_else(pa.array(aware), column, pc.binary_join_element_wise(column, pa.scalar("+05:30"), ""))
        try:
            return _microseconds(column.cast(pa.timestamp("us", "UTC")))
        except pa.ArrowException as error:
            for place, text in enumerate(column.to_pylist(), self._read + 1):
                try:
                    datetime.fromisoformat(text) if text is not None else None
                except ValueError:
                    where = f"{self._path}: row {place}"
                    raise DataError(f"{where}: {text!r} is no time; write it like 2026-11-20 09:15:00+05:30") from error
            raise DataError(f"{self._path}: the timestamps do not read ({error})") from error

    def _naive(self, index: int, text: object, count: int) -> None:
        if not self._repair:
            where = f"{self._path}: row {self._read + index + 1}"
            raise DataError(f"{where}: the timestamp {text} is naive; write its offset (+05:30), or give --repair to read IST")
        self._tally.add(f"{self._path}: {{count}} naive timestamps read as IST", count, "")

    def _possible(self, rows: Rows) -> Rows:
        """Without the rows that cannot be; those are refused or counted."""
        values = rows.values
        prices = [values[name] for name in PRICES[rows.kind]]
        total, lowest = np.sum(prices, axis=0), np.minimum.reduce(prices)
        wrong: list[tuple[str, Mask]] = [
            ("no time", rows.at == _NO_TIME),
            ("no symbol", rows.symbol < 0),
            ("price missing (NaN)", np.isnan(total)),
            ("price infinite", np.isinf(total)),
            ("price not positive", lowest <= 0),
            ("volume negative", values["volume"] < 0),
            ("volume or open interest too large to be one", np.maximum(values["volume"], values["oi"]) > _LARGEST),
        ]
        if rows.kind == "bars":
            opens, highs, lows, closes = prices
            wrong.append(("high below low", highs < lows))
            wrong.append(("open or close outside high and low", (np.maximum(opens, closes) > highs) | (np.minimum(opens, closes) < lows)))
        bad = np.zeros(len(rows), np.bool_)
        for reason, mask in wrong:
            mask &= ~bad
            if not mask.any():
                continue
            index = int(np.argmax(mask))
            if not self._repair:
                seen = ", ".join(f"{name} {values[name][index]:g}" for name in (*PRICES[rows.kind], "volume"))
                where = f"{self._path}: row {rows.row[index]}" if reason in ("no time", "no symbol") else rows.where(index)
                raise DataError(f"{where}: {reason} ({seen}); {FIX}")
            self._tally.add(f"{self._path}: dropped {{count}} rows: {reason} (first: row {{first}})", int(mask.sum()), rows.row[index])
            bad |= mask
        for name in ("volume", "oi", "bid", "ask"):
            if name in values:
                values[name] = np.nan_to_num(values[name])
        return rows.take(~bad) if bad.any() else rows

    def _ordered(self, rows: Rows) -> Rows:
        """The same rows; each symbol must be in order of time, from batch to batch too."""
        if not len(rows):
            return rows
        new = len(self._shelf.names) - len(self._latest)
        self._latest = np.concatenate((self._latest, np.full(new, _NO_TIME, np.int64)))
        order = np.argsort(rows.symbol, kind="stable")
        symbol, at = rows.symbol[order], rows.at[order]
        begins = np.flatnonzero(np.diff(symbol)) + 1
        before = np.concatenate(([0], at[:-1]))
        firsts = np.concatenate(([0], begins))
        before[firsts] = self._latest[symbol[firsts]]
        lasts = np.concatenate((begins, [len(at)])) - 1
        self._latest[symbol[lasts]] = at[lasts]
        back = np.flatnonzero(at < before)
        if len(back):
            one = back[np.argmin(rows.row[order[back]])]
            if not self._repair:
                earlier = moment_of(int(before[one])).isoformat(sep=" ")
                where = rows.where(int(order[one]))
                raise DataError(f"{where}: out of order, the row before it is of {earlier}; sort the file, or give --repair")
            first = rows.row[order[one]]
            self._tally.add(f"{self._path}: put {{count}} rows in order (first: row {{first}})", len(back), first)
        return rows


def _microseconds(column: Any) -> Ints:
    return numbers(column.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64()), _NO_TIME)


def without_twins(rows: Rows, repair: bool, tally: Tally | None) -> Rows:
    """Bars: one for each (symbol, time). Ticks: no two rows alike in everything. `rows` are by (symbol, time, file, row); the first of such
    stays. DataError, or with `repair` counted in `tally`."""
    same = (np.diff(rows.at) == 0) & (np.diff(rows.symbol) == 0)
    twins = np.flatnonzero(same) + 1
    if rows.kind == "ticks" and len(twins):
        among = np.union1d(twins, twins - 1)
        keys = [rows.row[among], rows.file[among], *(rows.values[name][among] for name in COLUMNS["ticks"])]
        among = among[np.lexsort((*keys, rows.at[among], rows.symbol[among]))]
        alike = (np.diff(rows.at[among]) == 0) & (np.diff(rows.symbol[among]) == 0)
        for name in COLUMNS["ticks"]:
            alike &= np.diff(rows.values[name][among]) == 0
        twins = np.sort(among[1:][alike])
    if not len(twins):
        return rows
    twins = twins[np.lexsort((rows.row[twins], rows.file[twins]))]
    if not repair:
        raise DataError(f"{rows.where(int(twins[0]))}: a duplicate of an earlier row; {FIX}")
    if tally is not None:
        for file in np.unique(rows.file[twins]):
            mine = twins[rows.file[twins] == file]
            told = f"{rows.files[file]}: dropped {{count}} duplicate rows (first: row {{first}})"
            tally.add(told, len(mine), rows.row[mine[0]])
    keep = np.ones(len(rows), np.bool_)
    keep[twins] = False
    return rows.take(keep)
