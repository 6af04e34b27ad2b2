"""What every side of the peers measure shares: the bars as they lie on disk, the rule's averages, the clock, and what is told.

Needs NumPy and nothing of Niyam: these modules run in environments that have nothing else. Each side is a process of its own: it reads the
bars, makes what its engine wants of them, runs the engine (`seconds`: the process's own CPU time, garbage collector on and what was loaded
frozen out of it; `whole`: imports and all) and prints one JSON document. A fill is (instrument, row of the bar whose open it got, signed
units, price).
"""

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import numpy as np

FAST, SLOW, UNITS = 12, 26, 50
MINUTE = 60_000_000_000

Fill = tuple[int, int, int, float]


class Bars(NamedTuple):
    """Columns of `n` instruments by `m` one-minute bars. `starts` are UTC nanoseconds; `decides` is false on a session's last bar."""

    starts: Any
    decides: Any
    open: Any
    high: Any
    low: Any
    close: Any
    volume: Any

    @property
    def instruments(self) -> int:
        return int(self.close.shape[0])

    @property
    def total(self) -> int:
        return int(self.close.size)


class Ema:
    """An average that starts as the plain mean of its first `length` prices; None until then."""

    __slots__ = ("_alpha", "_count", "_length", "_sum", "value")

    def __init__(self, length: int) -> None:
        self._length = length
        self._alpha = 2.0 / (length + 1)
        self._count = 0
        self._sum = 0.0
        self.value: float | None = None

    def add(self, price: float) -> float | None:
        if self.value is not None:
            self.value += self._alpha * (price - self.value)
        else:
            self._count += 1
            self._sum += price
            if self._count == self._length:
                self.value = self._sum / self._length
        return self.value


def ema(prices: Any, length: int) -> Any:
    """The same for a whole column; 0 until it is known, so that two of them are equal then and nothing is wanted."""
    found, average = np.zeros(len(prices)), Ema(length)
    for row, price in enumerate(prices.tolist()):
        found[row] = average.add(price) or 0.0
    found[: SLOW - 1] = 0.0
    return found


def read() -> Bars:
    """The bars named by the first argument."""
    with np.load(Path(sys.argv[1])) as held:
        return Bars(*(held[name] for name in Bars._fields))


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """(CPU seconds, result) of one call."""
    gc.collect()
    gc.freeze()
    began = process_time()
    found = run()
    return process_time() - began, found


def tell(bars: Bars, seconds: float, fills: list[Fill], version: str) -> None:
    """The last line of output: what the measure reads."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmHWM:")) / 1024
    whole = process_time()
    found = {"bars": bars.total, "seconds": seconds, "whole": whole, "rss_mb": peak, "version": version, "fills": sorted(fills)}
    print(json.dumps(found))
