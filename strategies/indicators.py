"""Averages, ranges and volume, one value at a time in constant time and memory; each `add` gives the new value, or None while warming up.

Rules of the house, here and in indicators_bands.py and indicators_momentum.py:
1. What is computed over a window depends on that window alone, to the last bit, so that a restart in the middle of a day (another
   history, the same window) decides exactly as the run that never stopped. SMA, WMA and StdDev therefore add whole numbers, not floats.
2. What is smoothed recursively (EMA, Wilder, and all that is built on them) never quite forgets its beginning. After `EMA_SETTLES`
   or `WILDER_SETTLES` times its period the beginning weighs less than a millionth: strategies warm up over so many bars.
3. Where libraries differ, the docstring says which convention is taken; tests/unit/test_indicators_libraries.py compares with two.
"""

from collections import deque
from datetime import date
from math import sqrt

from core.types import Bar

EMA_SETTLES = 7
"""Periods after which an EMA's first value weighs less than a millionth: (1 - 2 / (n + 1)) ** (7 n) < 1e-6."""

WILDER_SETTLES = 14
"""The same for Wilder's smoothing, whose weight is half of it: (1 - 1 / n) ** (14 n) < 1e-6."""

_SCALE = float(2**80)
"""A float of size 1e-8 or more, times this power of two, is a whole number; nothing is rounded on the way into the sum."""


class SMA:
    """Simple moving average of the last `period` values, correctly rounded: no drift however long it runs."""

    __slots__ = ("_at", "_divisor", "_ring", "_sum", "period", "value")

    def __init__(self, period: int) -> None:
        self.period = checked_period(period)
        self.value: float | None = None
        self._divisor = period << 80
        self._ring: list[int] = []
        self._sum = 0
        self._at = 0

    def add(self, value: float) -> float | None:
        whole = int(value * _SCALE)
        if len(self._ring) < self.period:
            self._ring.append(whole)
            self._sum += whole
            if len(self._ring) < self.period:
                return None
        else:
            self._sum += whole - self._ring[self._at]
            self._ring[self._at] = whole
            self._at = (self._at + 1) % self.period
        self.value = self._sum / self._divisor
        return self.value


class EMA:
    """Exponential moving average with weight 2 / (period + 1), begun with the simple average of the first `period` values."""

    __slots__ = ("_first", "_weight", "period", "value")

    def __init__(self, period: int) -> None:
        self.period = checked_period(period)
        self.value: float | None = None
        self._weight = 2.0 / (period + 1)
        self._first = SMA(period)

    def add(self, value: float) -> float | None:
        if self.value is None:
            self.value = self._first.add(value)
        else:
            self.value += self._weight * (value - self.value)
        return self.value


class WMA:
    """Linearly weighted moving average: the newest of `period` values weighs `period`, the oldest 1; correctly rounded, without drift.

    WMA = (n x_0 + (n - 1) x_1 + ... + 1 x_(n-1)) / (n (n + 1) / 2), x_0 the newest (as in TA-Lib).
    """

    __slots__ = ("_divisor", "_ring", "_sum", "_weighted", "period", "value")

    def __init__(self, period: int) -> None:
        self.period = checked_period(period)
        self.value: float | None = None
        self._divisor = (period * (period + 1) // 2) << 80
        self._ring: deque[int] = deque(maxlen=period)
        self._sum = self._weighted = 0

    def add(self, value: float) -> float | None:
        whole = int(value * _SCALE)
        if len(self._ring) == self.period:
            self._weighted += self.period * whole - self._sum  # each older value weighs one less, the oldest nothing
            self._sum += whole - self._ring[0]
        else:
            self._weighted += (len(self._ring) + 1) * whole
            self._sum += whole
        self._ring.append(whole)
        if len(self._ring) == self.period:
            self.value = self._weighted / self._divisor
        return self.value


class StdDev:
    """Standard deviation of the last `period` values about their mean, divided by n (the population's), as Bollinger takes it.

    Computed as sqrt(n sum(x^2) - sum(x)^2) / n in whole numbers: no cancellation, no drift. `mean` is the window's mean.
    """

    __slots__ = ("_divisor", "_ring", "_squares", "_sum", "mean", "period", "value")

    def __init__(self, period: int) -> None:
        self.period = checked_period(period)
        self.value: float | None = None
        self.mean: float | None = None
        self._divisor = period * period << 160
        self._ring: deque[int] = deque(maxlen=period)
        self._sum = self._squares = 0

    def add(self, value: float) -> float | None:
        whole = int(value * _SCALE)
        if len(self._ring) == self.period:
            oldest = self._ring[0]
            self._sum -= oldest
            self._squares -= oldest * oldest
        self._ring.append(whole)
        self._sum += whole
        self._squares += whole * whole
        if len(self._ring) == self.period:
            self.mean = self._sum / (self.period << 80)
            self.value = sqrt((self.period * self._squares - self._sum * self._sum) / self._divisor)
        return self.value


class Wilder:
    """Wilder's smoothing: the mean of the first `period` values, then (old x (n - 1) + new) / n.

    Source: J. Welles Wilder, New Concepts in Technical Trading Systems (1978). Also called RMA or SMMA.
    """

    __slots__ = ("_first", "period", "value")

    def __init__(self, period: int) -> None:
        self.period = checked_period(period)
        self.value: float | None = None
        self._first = SMA(period)

    def add(self, value: float) -> float | None:
        if self.value is None:
            self.value = self._first.add(value)
        else:
            self.value = (self.value * (self.period - 1) + value) / self.period
        return self.value


def true_range(bar: Bar, previous_close: float | None) -> float:
    """The largest of high - low, |high - previous close| and |low - previous close|; without a close before it, high - low."""
    if previous_close is None:
        return bar.high - bar.low
    return max(bar.high - bar.low, abs(bar.high - previous_close), abs(bar.low - previous_close))


class ATR:
    """Average true range, smoothed by Wilder's rule; the first bar counts with its high - low (TA-Lib begins with the second bar)."""

    __slots__ = ("_average", "_close", "period", "value")

    def __init__(self, period: int) -> None:
        self.period = checked_period(period)
        self.value: float | None = None
        self._close: float | None = None
        self._average = Wilder(period)

    def add(self, bar: Bar) -> float | None:
        self.value = self._average.add(true_range(bar, self._close))
        self._close = bar.close
        return self.value


class VWAP:
    """Volume-weighted average of the typical price (high + low + close) / 3 since the session's first bar; None before any volume.

    It begins anew with the first bar of another date. An index has no volume, hence no VWAP.
    """

    __slots__ = ("_day", "_value", "_volume", "value")

    def __init__(self) -> None:
        self.value: float | None = None
        self._day: date | None = None
        self._value = 0.0
        self._volume = 0

    def add(self, bar: Bar) -> float | None:
        day = bar.start.date()
        if day != self._day:
            self._day, self._value, self._volume, self.value = day, 0.0, 0, None
        self._value += (bar.high + bar.low + bar.close) / 3.0 * bar.volume
        self._volume += bar.volume
        if self._volume > 0:
            self.value = self._value / self._volume
        return self.value


class OBV:
    """On-balance volume: the first bar's volume, then plus the volume of each bar that closes higher and minus that of each lower one.

    Its level depends on where it began; only its changes mean anything. Source: J. Granville, New Key to Stock Market Profits (1963).
    """

    __slots__ = ("_close", "value")

    def __init__(self) -> None:
        self.value: int | None = None
        self._close = 0.0

    def add(self, bar: Bar) -> int:
        if self.value is None:
            self.value = bar.volume
        elif bar.close > self._close:
            self.value += bar.volume
        elif bar.close < self._close:
            self.value -= bar.volume
        self._close = bar.close
        return self.value


def checked_period(period: int) -> int:
    """The period itself; ValueError when it is not a whole number of bars from 1 up."""
    if type(period) is not int or period < 1:
        raise ValueError(f"period: expected a whole number of bars, 1 or more, got {period!r}")
    return period
