"""Momentum, one value or bar at a time: RSI, MACD, ADX, Stochastic."""

from typing import NamedTuple

from core.types import Bar
from strategies.indicators import EMA, SMA, Wilder, true_range
from strategies.indicators_bands import Highest, Lowest

EVEN = 50.0
"""What RSI and Stochastic say of prices that did not move at all: neither up nor down (TA-Lib says 0, others 100)."""


class RSI:
    """Relative strength index, 0 to 100: 100 x gains / (gains + losses), both smoothed by Wilder's rule over `period` changes.

    The first value comes with the (period + 1)th price. Source: Wilder (1978), as in TA-Lib.
    """

    __slots__ = ("_gains", "_losses", "_price", "value")

    def __init__(self, period: int = 14) -> None:
        self.value: float | None = None
        self._price: float | None = None
        self._gains, self._losses = Wilder(period), Wilder(period)

    def add(self, value: float) -> float | None:
        before, self._price = self._price, value
        if before is None:
            return None
        gain, loss = self._gains.add(max(0.0, value - before)), self._losses.add(max(0.0, before - value))
        if gain is not None and loss is not None:
            self.value = 100.0 * (gain / (gain + loss)) if gain + loss > 0 else EVEN
        return self.value


class Macd(NamedTuple):
    line: float
    signal: float
    histogram: float


class MACD:
    """Moving average convergence divergence: line = EMA(fast) - EMA(slow), signal = EMA(line), histogram = line - signal.

    Each EMA begins by its own rule with its own first values (TA-Lib begins the fast one later; the two agree once both have settled).
    None until the signal is there, with value number slow + signal - 1. Source: G. Appel (1979).
    """

    __slots__ = ("_fast", "_signal", "_slow", "value")

    def __init__(self, fast: int = 12, slow: int = 26, signal: int = 9) -> None:
        self.value: Macd | None = None
        self._fast, self._slow, self._signal = EMA(fast), EMA(slow), EMA(signal)

    def add(self, value: float) -> Macd | None:
        fast, slow = self._fast.add(value), self._slow.add(value)
        if fast is None or slow is None:
            return None
        line = fast - slow
        signal = self._signal.add(line)
        if signal is not None:
            self.value = Macd(line, signal, line - signal)
        return self.value


class Directional(NamedTuple):
    """`adx` is the strength of the trend whichever way it goes; `plus` and `minus` are the directional indicators. All 0 to 100."""

    adx: float
    plus: float
    minus: float


class ADX:
    """Average directional index by Wilder (1978).

    up = high - previous high, down = previous low - low; +DM is up where it is positive and larger than down, else 0; -DM mirrors it.
    +DI = 100 x smoothed +DM / smoothed true range, DX = 100 x |+DI - -DI| / (+DI + -DI), ADX = DX smoothed. All smoothing is Wilder's,
    begun with plain means from the second bar on; None until bar number 2 x period. (TA-Lib begins its sums one bar short; the two
    agree once settled.) Where nothing moved, DX is 0.
    """

    __slots__ = ("_adx", "_before", "_minus", "_plus", "_range", "value")

    def __init__(self, period: int = 14) -> None:
        self.value: Directional | None = None
        self._before: Bar | None = None
        self._plus, self._minus, self._range, self._adx = Wilder(period), Wilder(period), Wilder(period), Wilder(period)

    def add(self, bar: Bar) -> Directional | None:
        before, self._before = self._before, bar
        if before is None:
            return None
        up, down = bar.high - before.high, before.low - bar.low
        plus = self._plus.add(up if up > max(down, 0.0) else 0.0)
        minus = self._minus.add(down if down > max(up, 0.0) else 0.0)
        span = self._range.add(true_range(bar, before.close))
        if plus is None or minus is None or span is None:
            return None
        rising, falling = (100.0 * (plus / span), 100.0 * (minus / span)) if span > 0 else (0.0, 0.0)
        moved = rising + falling
        adx = self._adx.add(100.0 * (abs(rising - falling) / moved) if moved > 0 else 0.0)
        if adx is not None:
            self.value = Directional(adx, rising, falling)
        return self.value


class Oscillation(NamedTuple):
    k: float
    d: float


class Stochastic:
    """Slow stochastic, 0 to 100: where the close lies between the lowest low and the highest high of `period` bars.

    Fast %K = 100 x (close - lowest) / (highest - lowest); `k` is its simple average over `smooth` bars (1: the fast stochastic), `d` the
    simple average of `k` over `signal`. Source: G. Lane; TA-Lib's STOCH with simple averages.
    """

    __slots__ = ("_d", "_high", "_k", "_low", "value")

    def __init__(self, period: int = 14, smooth: int = 3, signal: int = 3) -> None:
        self.value: Oscillation | None = None
        self._high, self._low = Highest(period), Lowest(period)
        self._k, self._d = SMA(smooth), SMA(signal)

    def add(self, bar: Bar) -> Oscillation | None:
        high, low = self._high.add(bar.high), self._low.add(bar.low)
        if high is None or low is None:
            return None
        k = self._k.add(100.0 * ((bar.close - low) / (high - low)) if high > low else EVEN)
        d = None if k is None else self._d.add(k)
        if k is not None and d is not None:
            self.value = Oscillation(k, d)
        return self.value
