"""Checked rows of market data kept by day in a file without a name, so that some days can be had without the rest being in memory."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.types import IST

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
BARS = ("open", "high", "low", "close")
COLUMNS = {"bars": (*BARS, "volume", "oi"), "ticks": ("price", "volume", "bid", "ask", "oi")}
DAY_US = 86_400_000_000
OFFSET_US = 19_800_000_000  # IST
PAIR = 1_000_000
"""A symbol's or a key's number times this, and a day's number (days since 1970), is one number."""
_IN_MEMORY = 2**22  # bytes before the file is on disk
_EPOCH = datetime(1970, 1, 1, tzinfo=IST) + timedelta(hours=5, minutes=30)


@dataclass(frozen=True)
class Rows:
    """Checked rows. `at` is microseconds since the epoch, `symbol` indexes `names`.

    `file` indexes `files` and `row` is the row's place in its file (the first is 1), for messages.
    """

    kind: str
    files: Sequence[Path]
    names: Sequence[str]
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


class Shelf:
    """`add` rows in the order of their files, then have those of any days. To be used in a `with`: after it they are gone."""

    def __init__(self, folder: Path) -> None:
        """`folder` is where the file is, once it is large."""
        folder.mkdir(parents=True, exist_ok=True)
        self.files: list[Path] = []
        self.names: list[str] = []
        self._file = tempfile.SpooledTemporaryFile[bytes](max_size=_IN_MEMORY, mode="w+b", dir=str(folder))
        self._codes: dict[str, int] = {}
        self._runs: dict[int, list[tuple[int, int, int]]] = {}  # day -> (file, place, count) of rows that stand together
        self._pairs: dict[int, set[int]] = {}  # file -> symbols and days in it
        self._traded: dict[int, set[int]] = {}  # file -> symbols that have a volume in it
        self._size = 0
        self.hold("bars")

    def __enter__(self) -> "Shelf":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def hold(self, kind: str) -> None:
        """Say, before anything is added, what the rows are: bars or ticks."""
        self.kind = kind
        fields = [("at", "i8"), ("symbol", "i4"), ("file", "i4"), ("row", "i8"), *((name, "f8") for name in COLUMNS[kind])]
        self._kind = np.dtype(fields)

    def code(self, name: str) -> int:
        """The number of a symbol."""
        found = self._codes.get(name)
        if found is None:
            found = self._codes[name] = len(self.names)
            self.names.append(name)
        return found

    def open(self, path: Path) -> int:
        """The number of a file whose rows come now."""
        self.files.append(path)
        self._pairs[len(self.files) - 1], self._traded[len(self.files) - 1] = set(), set()
        return len(self.files) - 1

    def forget(self, file: int) -> None:
        """Leave out what came of this file."""
        self._pairs[file], self._traded[file] = set(), set()
        for day, runs in list(self._runs.items()):
            self._runs[day] = [run for run in runs if run[0] != file]
            if not self._runs[day]:
                del self._runs[day]

    def add(self, rows: Rows) -> None:
        """Rows of one file, in its order."""
        if not len(rows):
            return
        file, days = int(rows.file[0]), (rows.at + OFFSET_US) // DAY_US
        self._pairs[file].update(np.unique(rows.symbol * PAIR + days).tolist())
        self._traded[file].update(np.unique(rows.symbol[rows.values["volume"] > 0]).tolist())
        order = np.argsort(days, kind="stable")
        days = days[order]
        table = np.empty(len(rows), self._kind)
        for name in ("at", "symbol", "file", "row"):
            table[name] = getattr(rows, name)[order]
        for name, values in rows.values.items():
            table[name] = values[order]
        self._file.seek(self._size * self._kind.itemsize)
        self._file.write(table.tobytes())
        edges = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(days)]
        for first, last in pairwise(edges):
            self._runs.setdefault(int(days[first]), []).append((file, self._size + first, last - first))
        self._size += len(rows)

    @property
    def pairs(self) -> Ints:
        """Each symbol on each day that there is: `symbol * PAIR + day`, in order."""
        return np.array(sorted(set().union(*self._pairs.values())), np.int64)

    @property
    def traded(self) -> frozenset[int]:
        """Symbols that have a volume anywhere."""
        return frozenset().union(*self._traded.values())

    def blocks(self, most: int) -> Iterator[tuple[int, ...]]:
        """The days in order, together as long as they have so many rows or fewer."""
        block: list[int] = []
        size = 0
        for day in sorted(self._runs):
            count = sum(run[2] for run in self._runs[day])
            if block and size + count > most:
                yield tuple(block)
                block, size = [], 0
            block.append(day)
            size += count
        if block:
            yield tuple(block)

    def rows(self, days: Sequence[int]) -> Rows:
        """The rows of these days by (symbol, time, file, row)."""
        parts = []
        for _, place, count in sorted(run for day in days for run in self._runs[day]):
            self._file.seek(place * self._kind.itemsize)
            parts.append(self._file.read(count * self._kind.itemsize))
        table = np.frombuffer(b"".join(parts), self._kind)
        order = np.lexsort((table["row"], table["file"], table["at"], table["symbol"]))
        return Rows(
            self.kind,
            self.files,
            self.names,
            table["at"][order],
            table["symbol"][order].astype(np.int64),
            table["file"][order].astype(np.int64),
            table["row"][order],
            {name: table[name][order] for name in COLUMNS[self.kind]},
        )
