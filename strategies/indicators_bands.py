"""Bands around the price, one bar at a time: highest and lowest, Bollinger, Donchian, Keltner, Supertrend."""

import math
from collections import deque
from typing import NamedTuple

from core.types import Bar
from strategies.indicators import ATR, EMA, StdDev, checked_period


class Band(NamedTuple):
    lower: float
    middle: float
    upper: float


class Highest:
    """The largest of the last `period` values, in constant time on average: only values that may still become the largest are kept."""

    __slots__ = ("_count", "_kept", "period", "value")

    def __init__(self, period: int) -> None:
        self.period = checked_period(period)
        self.value: float | None = None
        self._kept: deque[tuple[int, float]] = deque()  # (number, value), values falling: the first is the largest
        self._count = 0

    def add(self, value: float) -> float | None:
        kept = self._kept
        while kept and kept[-1][1] <= value:
            kept.pop()
        kept.append((self._count, value))
        self._count += 1
        if kept[0][0] < self._count - self.period:
            kept.popleft()
        if self._count >= self.period:
            self.value = kept[0][1]
        return self.value


class Lowest:
    """The smallest of the last `period` values: the largest of what they are below zero."""

    __slots__ = ("_negated", "period", "value")

    def __init__(self, period: int) -> None:
        self._negated = Highest(period)
        self.period = period
        self.value: float | None = None

    def add(self, value: float) -> float | None:
        found = self._negated.add(-value)
        self.value = None if found is None else -found
        return self.value


class Bollinger:
    """Bollinger bands: the mean of `period` values, and `width` standard deviations (divided by n) to either side.

    Source: J. Bollinger, Bollinger on Bollinger Bands (2001); TA-Lib's BBANDS with a simple average.
    """

    __slots__ = ("_deviation", "value", "width")

    def __init__(self, period: int = 20, width: float = 2.0) -> None:
        self.value: Band | None = None
        self.width = width
        self._deviation = StdDev(period)

    def add(self, value: float) -> Band | None:
        deviation, mean = self._deviation.add(value), self._deviation.mean
        if deviation is not None and mean is not None:
            self.value = Band(mean - self.width * deviation, mean, mean + self.width * deviation)
        return self.value


class Donchian:
    """Donchian channel: the highest high and the lowest low of the last `period` bars, this one included, and the middle between them.

    A close can therefore never lie outside it; a breakout is a close outside the channel as it was one bar before.
    """

    __slots__ = ("_high", "_low", "value")

    def __init__(self, period: int = 20) -> None:
        self.value: Band | None = None
        self._high, self._low = Highest(period), Lowest(period)

    def add(self, bar: Bar) -> Band | None:
        high, low = self._high.add(bar.high), self._low.add(bar.low)
        if high is not None and low is not None:
            self.value = Band(low, (high + low) / 2, high)
        return self.value


class Keltner:
    """Keltner channel in Raschke's form: an EMA of the close, and `width` average true ranges to either side.

    Keltner's own (1960) had simple averages of the typical price and of high - low; libraries differ, this is talipp's default.
    """

    __slots__ = ("_atr", "_ema", "value", "width")

    def __init__(self, period: int = 20, width: float = 2.0, atr: int = 10) -> None:
        self.value: Band | None = None
        self.width = width
        self._ema, self._atr = EMA(period), ATR(atr)

    def add(self, bar: Bar) -> Band | None:
        middle, reach = self._ema.add(bar.close), self._atr.add(bar)
        if middle is not None and reach is not None:
            self.value = Band(middle - self.width * reach, middle, middle + self.width * reach)
        return self.value


class Trend(NamedTuple):
    """`line` is where the trend would turn; `direction` 1 (the line is below the price) or -1 (above it)."""

    line: float
    direction: int


class Supertrend:
    """Supertrend: a line `width` average true ranges from the bar's middle (high + low) / 2 that moves with the trend only.

    The upper line falls and never rises while closes stay at or below it; the lower line mirrors it. A close above the upper line turns
    the trend up, one below the lower line turns it down. The first direction is the side of the first bar's middle on which it closed;
    libraries differ there, and agree after the first turns. Source: O. Seban; this recurrence is the one that charting sites use.
    """

    __slots__ = ("_atr", "_close", "_lower", "_upper", "value", "width")

    def __init__(self, period: int = 10, width: float = 3.0) -> None:
        self.value: Trend | None = None
        self.width = width
        self._atr = ATR(period)
        self._close = 0.0
        self._upper, self._lower = math.inf, -math.inf

    def add(self, bar: Bar) -> Trend | None:
        atr = self._atr.add(bar)
        if atr is None:
            return None
        middle, reach = (bar.high + bar.low) / 2, self.width * atr
        if self.value is None or self._close > self._upper:
            self._upper = middle + reach
        else:
            self._upper = min(self._upper, middle + reach)
        if self.value is None or self._close < self._lower:
            self._lower = middle - reach
        else:
            self._lower = max(self._lower, middle - reach)
        direction = self._direction(bar.close, middle)
        self.value = Trend(self._lower if direction > 0 else self._upper, direction)
        self._close = bar.close
        return self.value

    def _direction(self, close: float, middle: float) -> int:
        if self.value is None:
            return 1 if close >= middle else -1
        if self.value.direction > 0:
            return -1 if close < self._lower else 1
        return 1 if close > self._upper else -1
