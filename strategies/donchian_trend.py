"""Channel breakout as the Turtles traded it: in at the extreme of many bars, out at the opposite extreme of fewer."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.types import Bar, Signal, View
from strategies.base import ParameterError, bounded
from strategies.indicators import ATR, WILDER_SETTLES
from strategies.indicators_bands import Donchian
from strategies.one_trade import CLOSED, OneTrade, TradeParams

if TYPE_CHECKING:
    from strategies.frame import Frame, Trades


@dataclass(frozen=True, slots=True, kw_only=True)
class DonchianTrendParams(TradeParams):
    """`entry`, `leave` and `atr` are bars; `stop_atr` is the stop's distance from the entry in average true ranges."""

    entry: int = bounded(20, 2, 500)
    leave: int = bounded(10, 1, 500)
    atr: int = bounded(20, 2, 100)
    stop_atr: float = bounded(2.0, 0.1, 20.0)

    def fit(self) -> None:
        if self.leave > self.entry:
            raise ParameterError("leave", f"{self.leave} is above entry ({self.entry}); a trade would outlive its own breakout")


class DonchianTrend(OneTrade):
    """Long when a close exceeds the highest high of the `entry` bars before it, until one falls below the lowest low of `leave` bars.

    Short is the mirror image. The channels are those of the bars before this one: a close cannot leave a channel that holds it.
    """

    params_type = DonchianTrendParams

    @property
    def warmup_bars(self) -> int:
        return max(int(self.params.entry), WILDER_SETTLES * int(self.params.atr))

    def start(self) -> None:
        super().start()
        self.entry, self.exit = Donchian(self.params.entry), Donchian(self.params.leave)
        self.atr = ATR(self.params.atr)

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        wide, narrow = self.entry.value, self.exit.value
        self.entry.add(bar)
        self.exit.add(bar)
        atr = self.atr.add(bar)
        if wide is None or narrow is None or atr is None or bar.warmup:
            return
        if self.trade.target:
            level = narrow.lower if self.trade.target > 0 else narrow.upper
            if self.gone(bar, view):
                yield self.leave(bar, CLOSED)
            elif (bar.close - level) * self.trade.target < 0:
                yield self.leave(bar, f"close {bar.close:.2f} through {level:.2f}, the extreme of {self.params.leave} bars")
            return
        direction = 1 if bar.close > wide.upper else -1 if bar.close < wide.lower else 0
        if self.may_enter(direction):
            why = f"close {bar.close:.2f} outside {wide.lower:.2f} to {wide.upper:.2f}, the channel of {self.params.entry} bars"
            yield self.enter(bar, direction, bar.close - direction * self.params.stop_atr * atr, why)

    @classmethod
    def targets(cls, frame: "Frame", params: DonchianTrendParams) -> "Trades":
        atr, close = frame.atr(params.atr), frame.close
        long = (close > frame.before(frame.highest(params.entry))) & (atr == atr)
        short = (close < frame.before(frame.lowest(params.entry))) & (atr == atr)
        return frame.trades(
            params, long=long, short=short, stop=close - (long * 1 - short * 1) * params.stop_atr * atr,
            leave_long=close < frame.before(frame.lowest(params.leave)), leave_short=close > frame.before(frame.highest(params.leave)),
        )  # fmt: skip
