"""vectorbt: signals as whole columns, filled at the next open by Portfolio.from_signals; timed in its second run, after its compiling."""

import importlib
from typing import Any

import numpy as np

from benchmarks.peers.common import FAST, SLOW, UNITS, Bars, Fill, read, tell, timed

vbt: Any = importlib.import_module("vectorbt")
njit: Any = importlib.import_module("numba").njit


@njit  # type: ignore[untyped-decorator]  # untyped library
def ema(prices: Any, length: int) -> Any:
    """Each column's average, started as the mean of its first `length` prices; not a number before."""
    found = np.full(prices.shape, np.nan)
    for column in range(prices.shape[1]):
        value = 0.0
        for row in range(length):
            value += prices[row, column]
        value /= length
        found[length - 1, column] = value
        for row in range(length, prices.shape[0]):
            value += 2.0 / (length + 1) * (prices[row, column] - value)
            found[row, column] = value
    return found


def portfolio(bars: Bars, opens: Any, closes: Any) -> Any:
    """Long while the fast average is above the slow one; what is wanted on a bar is held from the next bar's open."""
    above = ema(closes, FAST) > ema(closes, SLOW)
    rows = np.maximum.accumulate(np.where(bars.decides, np.arange(len(closes)), 0))
    wanted = above[rows]
    held = np.zeros_like(wanted)
    held[1:] = wanted[:-1]
    before = np.zeros_like(held)
    before[1:] = held[:-1]
    return vbt.Portfolio.from_signals(
        closes, held & ~before, ~held & before, price=opens, size=UNITS, init_cash=1e12, direction="longonly", freq="1min"
    )


def main() -> None:
    bars = read()
    opens, closes = np.ascontiguousarray(bars.open.T), np.ascontiguousarray(bars.close.T)
    portfolio(bars, opens, closes)
    seconds, found = timed(lambda: portfolio(bars, opens, closes))
    orders = found.orders.values
    fills: list[Fill] = [
        (int(one["col"]), int(one["idx"]), round(float(one["size"])) * (1 if one["side"] == 0 else -1), float(one["price"]))
        for one in orders
    ]
    tell(bars, seconds, fills, vbt.__version__)


if __name__ == "__main__":
    main()
