"""Indicators over whole columns, compiled by Numba: each gives, to the last bit, what its incremental twin gives value by value.

The operations are those of indicators.py, indicators_bands.py and indicators_momentum.py in the same order, and nothing is fused or
reordered (Numba does neither unless asked). A window's sum is kept in two floats that hold it exactly, as whole numbers do there. NaN
stands for "not known yet". Only backtests import this; the trading process never does.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])
Floats = Any
"""A NumPy array of float64 (NumPy's own types would say no more here)."""

EVEN = 50.0  # as strategies.indicators_momentum.EVEN


def compiled(function: Function) -> Function:
    """The function, compiled when it is first called; kept on disk beside the source where that can be written."""
    return _made(function)


def ranging(function: Function) -> Function:
    """The same for one that never meets NaN, or cares which zero is the smaller: lowest and highest are then found many at a time."""
    return _made(function, fastmath={"nnan", "nsz"})


def bare(function: Function) -> Function:
    """The same for one that makes no array: the references of those it is given, and hands on, are not counted."""
    return _made(function, _nrt=False)


def _made(function: Function, **how: Any) -> Function:
    made: Any
    try:
        made = numba.njit(cache=True, error_model="numpy", **how)(function)
    except RuntimeError:  # a read-only installation without a home: compiled anew by each process
        made = numba.njit(error_model="numpy", **how)(function)
    return cast(Function, made)


@compiled
def _two_sum(a: float, b: float) -> tuple[float, float]:
    """a + b as a rounded sum and what the rounding left off (Knuth)."""
    total = a + b
    other = total - a
    return total, (a - (total - other)) + (b - other)


@compiled
def _quotient(high: float, low: float, count: int) -> float:
    """(high + low) / count, correctly rounded: the quotient of the larger part, corrected by its exact remainder (Dekker)."""
    first = high / count
    product = first * count
    split = 134217729.0 * first  # 2**27 + 1: both halves of `first` times a small whole number are exact
    upper = split - (split - first)
    left_off = (upper * count - product) + (first - upper) * count
    return first + (((high - product) - left_off) + low) / count


@compiled
def _sum_of(values: Floats, begin: int, end: int) -> tuple[float, float]:
    """The exact sum: its rounded value, and the rest."""
    high = low = 0.0
    for at in range(begin, end):
        high, left = _two_sum(high, values[at])
        high, low = _two_sum(high, low + left)
    return high, low


@compiled
def _slid(high: float, low: float, comes: float, goes: float) -> tuple[float, float]:
    """The exact sum of a window that takes in one value and lets another go."""
    high, more = _two_sum(high, comes)
    high, less = _two_sum(high, -goes)
    return _two_sum(high, low + more + less)


@compiled
def _window_sums(values: Floats, period: int) -> tuple[Floats, Floats]:
    """The exact sums of the last `period` values, as rounded values and rests. One sum has to wait for the one before it; so there are four
    chains of them side by side, each of a quarter of the windows: an exact sum is the same wherever its chain began."""
    highs, lows = np.full(len(values), np.nan), np.zeros(len(values))
    size = len(values) - period
    if size < 0:
        return highs, lows
    steps = size // 4
    a, b, c, d = 0, steps, 2 * steps, 3 * steps  # where the first window of each chain begins
    high_a, low_a = _sum_of(values, a, a + period)
    high_b, low_b = _sum_of(values, b, b + period)
    high_c, low_c = _sum_of(values, c, c + period)
    high_d, low_d = _sum_of(values, d, d + period)
    highs[period - 1], lows[period - 1] = high_a, low_a
    for goes in range(steps):
        comes = goes + period
        high_a, low_a = _slid(high_a, low_a, values[a + comes], values[a + goes])
        high_b, low_b = _slid(high_b, low_b, values[b + comes], values[b + goes])
        high_c, low_c = _slid(high_c, low_c, values[c + comes], values[c + goes])
        high_d, low_d = _slid(high_d, low_d, values[d + comes], values[d + goes])
        highs[a + comes], highs[b + comes], highs[c + comes], highs[d + comes] = high_a, high_b, high_c, high_d
        lows[a + comes], lows[b + comes], lows[c + comes], lows[d + comes] = low_a, low_b, low_c, low_d
    for goes in range(4 * steps, size):
        high_d, low_d = _slid(high_d, low_d, values[goes + period], values[goes])
        highs[goes + period], lows[goes + period] = high_d, low_d
    return highs, lows


@compiled
def sma(values: Floats, period: int) -> Floats:
    found, rests = _window_sums(values, period)
    for at in range(len(found)):  # many at a time, since none waits for another
        found[at] = _quotient(found[at], rests[at], period)
    return found


@compiled
def _first_mean(values: Floats, begin: int, period: int) -> float:
    high, low = _sum_of(values, begin, begin + period)
    return _quotient(high, low, period)


@compiled
def ema(values: Floats, period: int) -> Floats:
    found = np.full(len(values), np.nan)
    if len(values) < period:
        return found
    weight = 2.0 / (period + 1)
    value = _first_mean(values, 0, period)
    found[period - 1] = value
    for at in range(period, len(values)):
        value += weight * (values[at] - value)
        found[at] = value
    return found


@compiled
def wilder(values: Floats, period: int, begin: int) -> Floats:
    """Wilder's smoothing of the values from place `begin` on."""
    found = np.full(len(values), np.nan)
    if len(values) < begin + period:
        return found
    value = _first_mean(values, begin, period)
    found[begin + period - 1] = value
    for at in range(begin + period, len(values)):
        value = (value * (period - 1) + values[at]) / period
        found[at] = value
    return found


@compiled
def true_range(high: Floats, low: Floats, close: Floats) -> Floats:
    found = high - low
    for at in range(1, len(found)):
        found[at] = max(found[at], abs(high[at] - close[at - 1]), abs(low[at] - close[at - 1]))
    return found


@compiled
def changes(values: Floats) -> tuple[Floats, Floats]:
    """By how much each value rose and fell from the one before; 0 for the first."""
    rose, fell = np.zeros(len(values)), np.zeros(len(values))
    for at in range(1, len(values)):
        rose[at] = max(0.0, values[at] - values[at - 1])
        fell[at] = max(0.0, values[at - 1] - values[at])
    return rose, fell


@compiled
def relative_strength(gains: Floats, losses: Floats) -> Floats:
    found = np.full(len(gains), np.nan)
    for at in range(len(gains)):
        both = gains[at] + losses[at]
        if both > 0:
            found[at] = 100.0 * (gains[at] / both)
        elif both == 0:
            found[at] = EVEN
    return found


@compiled
def vwap(high: Floats, low: Floats, close: Floats, volume: Any, day: Any) -> Floats:
    found = np.full(len(high), np.nan)
    worth, units = 0.0, 0
    for at in range(len(high)):
        if at == 0 or day[at] != day[at - 1]:
            worth, units = 0.0, 0
        worth += (high[at] + low[at] + close[at]) / 3.0 * volume[at]
        units += volume[at]
        if units > 0:
            found[at] = worth / units
    return found


@compiled
def highest(values: Floats, period: int) -> Floats:
    """The largest of the last `period` values, by a ring of those that may still become the largest."""
    found = np.full(len(values), np.nan)
    ring = np.empty(period + 1, np.int64)
    first = held = 0
    for at in range(len(values)):
        while held and values[ring[(first + held - 1) % (period + 1)]] <= values[at]:
            held -= 1
        ring[(first + held) % (period + 1)] = at
        held += 1
        if ring[first] <= at - period:
            first = (first + 1) % (period + 1)
            held -= 1
        if at >= period - 1:
            found[at] = values[ring[first]]
    return found


@compiled
def supertrend(high: Floats, low: Floats, close: Floats, atr: Floats, width: float) -> tuple[Floats, Any]:
    """The line, and the direction (0 while it is not known)."""
    line, direction = np.full(len(close), np.nan), np.zeros(len(close), np.int8)
    upper, lower, before, towards = np.inf, -np.inf, 0.0, 0
    for at in range(len(close)):
        if np.isnan(atr[at]):
            continue
        middle, reach = (high[at] + low[at]) / 2, width * atr[at]
        upper = middle + reach if towards == 0 or before > upper else min(upper, middle + reach)
        lower = middle - reach if towards == 0 or before < lower else max(lower, middle - reach)
        if towards == 0:
            towards = 1 if close[at] >= middle else -1
        elif towards > 0:
            towards = -1 if close[at] < lower else 1
        else:
            towards = 1 if close[at] > upper else -1
        line[at], direction[at] = (lower if towards > 0 else upper), towards
        before = close[at]
    return line, direction


@compiled
def side_of(values: Floats, other: Floats, above: int, below: int, silent: int) -> Any:
    """`above` where the one is larger than the other, else `below`; `silent` while either is not known."""
    found = np.full(len(values), silent, np.int8)
    for at in range(len(values)):
        if values[at] > other[at]:
            found[at] = above
        elif values[at] <= other[at]:
            found[at] = below
    return found


@compiled
def crossings(values: Floats, other: Floats) -> Any:
    """1 or -1 where `values` has come to the other side of `other`; where they are equal the side stays what it was."""
    found = np.zeros(len(values), np.int8)
    side = 0
    for at in range(len(values)):
        now = 1 if values[at] > other[at] else -1 if values[at] < other[at] else side
        if side != 0 and now != side:
            found[at] = now
        side = now
    return found


@compiled
def rows(close: Floats, line: Floats, day: Any) -> Any:
    """How many closes of the day in a row stood above (positive) or below (negative) the line before each bar."""
    found = np.zeros(len(close), np.int64)
    run = 0
    for at in range(len(close)):
        if at == 0 or day[at] != day[at - 1]:
            run = 0
        found[at] = run
        if close[at] > line[at]:
            run = max(run, 0) + 1
        elif close[at] < line[at]:
            run = min(run, 0) - 1
        elif close[at] == line[at]:
            run = 0
    return found


@compiled
def opening_ranges(high: Floats, low: Floats, close: Floats, start: Any, day: Any, opens: Any, length: int) -> tuple[Any, Floats, Floats]:
    """The direction in which a close left its day's opening range of `length` microseconds, and the range's low and high then; a day that
    begins late has none."""
    left = np.zeros(len(close), np.int8)
    lows, highs = np.full(len(close), np.nan), np.full(len(close), np.nan)
    begins, bottom, top = 0, 0.0, 0.0
    for at in range(len(close)):
        if at == 0 or day[at] != day[at - 1]:
            begins, bottom, top = start[at], low[at], high[at]
        elif start[at] < begins + length:
            bottom, top = min(bottom, low[at]), max(top, high[at])
        elif begins <= opens[at]:
            lows[at], highs[at] = bottom, top
            if close[at - 1] <= top < close[at]:
                left[at] = 1
            elif close[at - 1] >= bottom > close[at]:
                left[at] = -1
    return left, lows, highs
