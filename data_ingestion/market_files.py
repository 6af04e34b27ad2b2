"""A user's market data files, read and checked column by column: Parquet or CSV, bars or ticks, one file or a folder.

Every check is a vector operation over whole columns, so a million rows take a second. What is wrong is refused with file, row (the
first data row is 1) and reason; with `repair` it is dropped, or put in order, and counted in a note.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from core.errors import DataError
from core.types import IST

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
BARS = ("open", "high", "low", "close")
PRICES = {"bars": BARS, "ticks": ("price",)}
COLUMNS = {"bars": (*BARS, "volume", "oi"), "ticks": ("price", "volume", "bid", "ask", "oi")}
_ALIASES = {"qty": "volume", "quantity": "volume"}
_SUFFIXES = (".parquet", ".csv", ".csv.gz", ".txt", ".txt.gz")
_EPOCH = datetime(1970, 1, 1, tzinfo=IST) + timedelta(hours=5, minutes=30)
_OFFSET = r"(Z|[+-]\d\d:?\d\d)$"
_LARGEST = 2.0**53  # beyond it a float is no exact count
_FIX = "correct the file, or give --repair to leave such rows out"


@dataclass(frozen=True)
class Rows:
    """Checked rows of one or more files, ordered by (symbol, time). `at` is microseconds since the epoch, `symbol` indexes `names`.

    `file` indexes `files` and `row` is the row's place in its file, for messages.
    """

    kind: str
    files: tuple[Path, ...]
    names: tuple[str, ...]
    at: Ints
    symbol: Ints
    file: Ints
    row: Ints
    values: dict[str, Floats]

    def take(self, chosen: Any) -> "Rows":
        """The rows of a mask or of indices, in that order."""
        return replace(
            self,
            at=self.at[chosen],
            symbol=self.symbol[chosen],
            file=self.file[chosen],
            row=self.row[chosen],
            values={name: column[chosen] for name, column in self.values.items()},
        )

    def __len__(self) -> int:
        return len(self.at)

    def where(self, index: int) -> str:
        """`FILE: row N (SYMBOL, TIME)` of one row."""
        moment = moment_of(int(self.at[index])).isoformat(sep=" ")
        return f"{self.files[self.file[index]]}: row {self.row[index]} ({self.names[self.symbol[index]]}, {moment})"


def moment_of(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def read_rows(path: Path, *, repair: bool, note: Callable[[str], None]) -> Rows:
    """All rows of a file or folder, checked; DataError with file, row and reason. In a folder ticks beat bars, the rest is noted."""
    if not path.exists():
        raise DataError(f"there is no market data at {path}; give a Parquet or CSV file, or a folder of them, with --data")
    if not path.is_dir():
        return _join([_read(path, repair, note)], repair, note)
    parts = []
    for file in sorted(file for file in path.iterdir() if file.name.endswith(_SUFFIXES) and not file.name.startswith(".")):
        try:
            table, kind = _open(file)
        except DataError as error:
            note(f"skipped: {error}")
            continue
        parts.append((file, table, kind))
    if not parts:
        raise DataError(
            f"no file in {path} is market data; columns: timestamp, open, high, low, close, volume, symbol (bars) or timestamp, price"
        )
    kind = "ticks" if any(kind == "ticks" for _, _, kind in parts) else "bars"
    for file, _, other in parts:
        if other != kind:
            note(f"skipped: {file} holds {other}, and the folder also holds {kind}")
    return _join([_check(file, table, kind, repair, note) for file, table, other in parts if other == kind], repair, note)


def _read(path: Path, repair: bool, note: Callable[[str], None]) -> Rows:
    table, kind = _open(path)
    return _check(path, table, kind, repair, note)


def _open(path: Path) -> tuple[Any, str]:
    """The file as an Arrow table with our column names, and what it holds."""
    try:
        table = pq.read_table(path) if path.name.endswith(".parquet") else _read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} does not read: {str(error).splitlines()[0]}") from error
    if table.num_rows == 0:
        raise DataError(f"{path} holds no rows")
    found = [str(name).strip().lower() for name in table.column_names]
    names = [_ALIASES[name] if name in _ALIASES and _ALIASES[name] not in found else name for name in found]
    table = table.rename_columns(names)
    have = set(names)
    if "timestamp" in have and have.issuperset(BARS):
        return table, "bars"
    if "timestamp" in have and "price" in have:
        return table, "ticks"
    raise DataError(
        f"{path} is no market data: its columns are {', '.join(names[:12])}; bars need timestamp, open, high, low, close, volume and "
        "symbol, ticks timestamp, symbol and price"
    )


def _read_csv(path: Path) -> Any:
    options = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(("timestamp", "Timestamp", "symbol", "Symbol"), pa.string()))
    return pyarrow.csv.read_csv(path, convert_options=options)


def _check(path: Path, table: Any, kind: str, repair: bool, note: Callable[[str], None]) -> Rows:
    known = {"timestamp", "symbol", *COLUMNS[kind]}
    unknown = [name for name in table.column_names if name not in known]
    if unknown:
        note(f"{path}: columns ignored: {', '.join(unknown)}")
    if kind == "bars" and "volume" not in table.column_names:
        note(f"{path}: no volume column, taken as 0")
    names, codes = _symbols(path, table)
    values = {name: _numbers(path, table, name) for name in COLUMNS[kind] if name in table.column_names}
    for name in COLUMNS[kind]:
        values.setdefault(name, np.zeros(table.num_rows))
    size = table.num_rows
    rows = Rows(kind, (path,), names, _times(path, table, repair, note), codes, np.zeros(size, np.int64), np.arange(1, size + 1), values)
    rows = _possible(rows, repair, note)
    for name in ("volume", "oi", "bid", "ask"):
        if name in rows.values:
            rows.values[name] = np.nan_to_num(rows.values[name])
    return _ordered(rows, repair, note)


def _symbols(path: Path, table: Any) -> tuple[tuple[str, ...], Ints]:
    """Names and codes; -1 where a row has none. Without the column the file's name up to the first underscore is the symbol."""
    if "symbol" not in table.column_names:
        name = path.name.split(".")[0].split("_")[0]
        return (name,), np.zeros(table.num_rows, np.int64)
    encoded = table.column("symbol").cast(pa.string()).combine_chunks().dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    names = tuple(str(name).strip() for name in encoded.dictionary.to_pylist())
    codes[np.isin(codes, [index for index, name in enumerate(names) if not name])] = -1
    return names, codes


def _numbers(path: Path, table: Any, name: str) -> Floats:
    column = table.column(name)
    try:
        numbers: Floats = column.cast(pa.float64()).to_numpy().astype(np.float64)
        return numbers
    except pa.ArrowException as error:
        for number, value in enumerate(column.to_pylist(), 1):
            try:
                float(value) if value is not None else 0.0
            except (TypeError, ValueError):
                raise DataError(f"{path}: row {number}: {name} {value!r} is no number; correct the file") from error
        raise DataError(f"{path}: column {name} holds no numbers ({error})") from error


def _times(path: Path, table: Any, repair: bool, note: Callable[[str], None]) -> Ints:
    """Microseconds since the epoch; the smallest integer where a row has no time. Naive times are refused, or read as IST and noted."""
    column = table.column("timestamp")
    if pa.types.is_timestamp(column.type):
        if column.type.tz is None:
            if not repair:
                raise DataError(
                    f"{path}: row 1: the timestamp {column[0].as_py()} is naive; write its offset (+05:30), or give --repair to read IST"
                )
            note(f"{path}: {len(column)} naive timestamps read as IST")
            column = pc.assume_timezone(column, "Asia/Kolkata")
        return _microseconds(column)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise DataError(
            f"{path}: the timestamp column is {column.type}; it must hold times with an offset, such as 2026-11-20 09:15:00+05:30"
        )
    column = pc.utf8_trim_whitespace(column.cast(pa.string()))
    aware = pc.fill_null(pc.match_substring_regex(column, _OFFSET), True)
    naive = int(np.count_nonzero(~aware.to_numpy()))
    if naive:
        first = int(np.argmin(aware.to_numpy()))
        text = column[first].as_py()
        if not repair:
            raise DataError(
                f"{path}: row {first + 1}: the timestamp {text!r} is naive; write its offset (+05:30), or give --repair to read IST"
            )
        note(f"{path}: {naive} naive timestamps read as IST")
        column = pc.if_else(aware, column, pc.binary_join_element_wise(column, pa.scalar("+05:30"), ""))
    try:
        return _microseconds(column.cast(pa.timestamp("us", "UTC")))
    except pa.ArrowException as error:
        for number, text in enumerate(column.to_pylist(), 1):
            try:
                datetime.fromisoformat(text) if text is not None else None
            except ValueError:
                raise DataError(f"{path}: row {number}: {text!r} is no time; write it like 2026-11-20 09:15:00+05:30") from error
        raise DataError(f"{path}: the timestamps do not read ({error})") from error


def _microseconds(column: Any) -> Ints:
    whole = column.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64())
    stamps: Ints = pc.fill_null(whole, np.iinfo(np.int64).min).to_numpy().astype(np.int64)
    return stamps


def _possible(rows: Rows, repair: bool, note: Callable[[str], None]) -> Rows:
    """Without the rows that cannot be; those are refused or counted."""
    values = rows.values
    prices = [values[name] for name in PRICES[rows.kind]]
    lowest = np.minimum.reduce(prices)
    wrong: list[tuple[str, Mask]] = [
        ("no time", rows.at == np.iinfo(np.int64).min),
        ("no symbol", rows.symbol < 0),
        ("price missing (NaN)", np.isnan(np.sum(prices, axis=0))),
        ("price infinite", np.isinf(np.sum(prices, axis=0))),
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
        if not repair:
            seen = ", ".join(f"{name} {values[name][index]:g}" for name in (*PRICES[rows.kind], "volume"))
            where = f"{rows.files[0]}: row {rows.row[index]}" if reason in ("no time", "no symbol") else rows.where(index)
            raise DataError(f"{where}: {reason} ({seen}); {_FIX}")
        note(f"{rows.files[0]}: dropped {int(mask.sum())} rows: {reason} (first: row {rows.row[index]})")
        bad |= mask
    if bad.all():
        raise DataError(f"{rows.files[0]}: no row of it is possible")
    return rows.take(~bad) if bad.any() else rows


def _ordered(rows: Rows, repair: bool, note: Callable[[str], None]) -> Rows:
    """By (symbol, time), file order within a second kept; each symbol must have been in order."""
    rows = rows.take(np.argsort(rows.symbol, kind="stable"))
    back = np.flatnonzero((np.diff(rows.at) < 0) & (np.diff(rows.symbol) == 0)) + 1
    if len(back):
        if not repair:
            index = int(back[np.argmin(rows.row[back])])
            before = moment_of(int(rows.at[index - 1])).isoformat(sep=" ")
            raise DataError(f"{rows.where(index)}: out of order, the row before it is of {before}; sort the file, or give --repair")
        note(f"{rows.files[0]}: put {len(back)} rows in order (first: row {int(rows.row[back].min())})")
        rows = rows.take(np.lexsort((rows.at, rows.symbol)))
    return _without_twins(rows, repair, note)


def _without_twins(rows: Rows, repair: bool, note: Callable[[str], None]) -> Rows:
    """Bars: one for each (symbol, time). Ticks: no two rows alike in everything. `rows` are in order of (symbol, time)."""
    same = (np.diff(rows.at) == 0) & (np.diff(rows.symbol) == 0)
    twins = np.flatnonzero(same) + 1
    if rows.kind == "ticks" and len(twins):
        among = np.union1d(twins, twins - 1)
        keys: list[npt.NDArray[Any]] = [rows.row[among], rows.file[among], *(rows.values[name][among] for name in COLUMNS["ticks"])]
        among = among[np.lexsort((*keys, rows.at[among], rows.symbol[among]))]
        alike = (np.diff(rows.at[among]) == 0) & (np.diff(rows.symbol[among]) == 0)
        for name in COLUMNS["ticks"]:
            alike &= np.diff(rows.values[name][among]) == 0
        twins = np.sort(among[1:][alike])
    if not len(twins):
        return rows
    index = int(twins[np.lexsort((rows.row[twins], rows.file[twins]))[0]])
    if not repair:
        raise DataError(f"{rows.where(index)}: a duplicate of an earlier row; {_FIX}")
    note(f"{rows.files[rows.file[index]]}: dropped {len(twins)} duplicate rows (first: row {rows.row[index]})")
    keep = np.ones(len(rows), np.bool_)
    keep[twins] = False
    return rows.take(keep)


def _join(parts: Sequence[Rows], repair: bool, note: Callable[[str], None]) -> Rows:
    """All files' rows as one, by (symbol, time); a row that two files hold is a duplicate."""
    if len(parts) == 1:
        return parts[0]
    names = tuple(sorted({name for part in parts for name in part.names}))
    place = {name: index for index, name in enumerate(names)}
    symbols = [np.array([place[name] for name in part.names], np.int64)[part.symbol] for part in parts]
    joined = Rows(
        kind=parts[0].kind,
        files=tuple(part.files[0] for part in parts),
        names=names,
        at=np.concatenate([part.at for part in parts]),
        symbol=np.concatenate(symbols),
        file=np.repeat(np.arange(len(parts), dtype=np.int64), [len(part) for part in parts]),
        row=np.concatenate([part.row for part in parts]),
        values={name: np.concatenate([part.values[name] for part in parts]) for name in COLUMNS[parts[0].kind]},
    )
    return _without_twins(joined.take(np.lexsort((joined.at, joined.symbol))), repair, note)
