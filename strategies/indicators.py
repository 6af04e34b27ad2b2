"""Indicators that take one value at a time in constant time and memory; each `add` gives the new value, or None while warming up.

Rules of the house: an average over a window depends on that window alone, to the last bit, so that a restart in the middle of a day
(another history, the same window) decides exactly as the run that never stopped. SMA therefore adds whole numbers, not floats.
"""

from datetime import date

from core.types import Bar

_SCALE = float(2**80)
"""A float of size 1e-8 or more, times this power of two, is a whole number; nothing is rounded on the way into the sum."""


class SMA:
    """Simple moving average of the last `period` values, correctly rounded: no drift however long it runs."""

    __slots__ = ("_at", "_divisor", "_ring", "_sum", "period", "value")

    def __init__(self, period: int) -> None:
        self.period = _at_least_one(period)
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
        self.period = _at_least_one(period)
        self.value: float | None = None
        self._weight = 2.0 / (period + 1)
        self._first = SMA(period)

    def add(self, value: float) -> float | None:
        if self.value is None:
            self.value = self._first.add(value)
        else:
            self.value += self._weight * (value - self.value)
        return self.value


class ATR:
    """Average true range, smoothed by Wilder's rule: the mean of the first `period` true ranges, then (old x (n - 1) + new) / n.

    The first bar's true range is high - low; after it, the largest of high - low, |high - previous close| and |low - previous close|.
    """

    __slots__ = ("_close", "_first", "period", "value")

    def __init__(self, period: int) -> None:
        self.period = _at_least_one(period)
        self.value: float | None = None
        self._close: float | None = None
        self._first = SMA(period)

    def add(self, bar: Bar) -> float | None:
        true_range = bar.high - bar.low
        if self._close is not None:
            true_range = max(true_range, abs(bar.high - self._close), abs(bar.low - self._close))
        self._close = bar.close
        if self.value is None:
            self.value = self._first.add(true_range)
        else:
            self.value = (self.value * (self.period - 1) + true_range) / self.period
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


def _at_least_one(period: int) -> int:
    if type(period) is not int or period < 1:
        raise ValueError(f"period: expected a whole number of bars, 1 or more, got {period!r}")
    return period
