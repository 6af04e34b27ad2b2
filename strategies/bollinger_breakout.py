"""Volatility breakout: follow a close that leaves the Bollinger bands, back to the middle band."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.types import Bar, Signal, View
from strategies.base import ParameterError, bounded
from strategies.indicators_bands import Band, Bollinger
from strategies.one_trade import CLOSED, OneTrade, TradeParams

if TYPE_CHECKING:
    from strategies.frame import Frame, Trades


@dataclass(frozen=True, slots=True, kw_only=True)
class BollingerBreakoutParams(TradeParams):
    """`period` is bars, `width` standard deviations. `min_width_pct` keeps out of bands narrower than this share of the price."""

    period: int = bounded(20, 2, 500)
    width: float = bounded(2.0, 0.5, 6.0)
    min_width_pct: float = bounded(0.1, 0.0, 20.0)

    def fit(self) -> None:
        if self.width**2 >= self.period - 1:  # the farthest that one of n values can lie from their mean is sqrt(n - 1) deviations
            raise ParameterError("width", f"no close among {self.period} can lie {self.width} deviations from their mean")


class BollingerBreakout(OneTrade):
    """Enter on the first close outside the bands after one inside; the middle band is the stop, and follows the trade.

    The bands depend on their window alone: a restart decides exactly as the run that never stopped.
    """

    params_type = BollingerBreakoutParams

    @property
    def warmup_bars(self) -> int:
        return int(self.params.period) + 1

    def start(self) -> None:
        super().start()
        self.bands = Bollinger(self.params.period, self.params.width)
        self.outside = 0  # 1 or -1 while the last close lay above or below its bands

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        known, band = self.bands.value is not None, self.bands.add(bar.close)
        if band is None:
            return
        before, self.outside = self.outside, 1 if bar.close > band.upper else -1 if bar.close < band.lower else 0
        if bar.warmup or not known:
            return
        if self.trade.target:
            yield from self._manage(bar, view, band)
        elif before != self.outside and self.may_enter(self.outside) and self._wide(band):
            why = f"close {bar.close:.2f} left the bands {band.lower:.2f} to {band.upper:.2f}"
            yield self.enter(bar, self.outside, band.middle, why)

    @classmethod
    def targets(cls, frame: "Frame", params: BollingerBreakoutParams) -> "Trades":
        middle, deviation = frame.deviation(params.period)
        lower, upper, close = middle - params.width * deviation, middle + params.width * deviation, frame.close
        outside = (close > upper) * 1 - (close < lower) * 1
        before, known = frame.before(outside), frame.before(middle)
        enters = (known == known) & (before != outside) & ((upper - lower) * 100 >= params.min_width_pct * middle)
        return frame.trades(
            params, long=enters & (outside > 0), short=enters & (outside < 0), stop=middle, leave_long=close < middle,
            leave_short=close > middle, trail=middle,
        )  # fmt: skip

    def _wide(self, band: Band) -> bool:
        return (band.upper - band.lower) * 100 >= float(self.params.min_width_pct) * band.middle

    def _manage(self, bar: Bar, view: View, band: Band) -> Iterator[Signal]:
        if self.gone(bar, view):
            yield self.leave(bar, CLOSED)
        elif (bar.close - band.middle) * self.trade.target < 0:
            yield self.leave(bar, f"close {bar.close:.2f} through the middle band {band.middle:.2f}")
        else:
            yield from self.trail(bar, band.middle, f"the middle band moved to {band.middle:.2f}")
