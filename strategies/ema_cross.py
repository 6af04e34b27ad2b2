"""Crossing exponential averages: follow the cross, protected by a stop some average true ranges away."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.types import Bar, Signal, View
from strategies.base import ParameterError, bounded
from strategies.indicators import ATR, EMA, EMA_SETTLES, WILDER_SETTLES
from strategies.one_trade import CLOSED, OneTrade, TradeParams

if TYPE_CHECKING:
    from strategies.frame import Frame, Trades


@dataclass(frozen=True, slots=True, kw_only=True)
class EmaCrossParams(TradeParams):
    """`fast`, `slow` and `atr` are bars; `stop_atr` is the stop's distance from the entry in average true ranges."""

    fast: int = bounded(9, 1, 200)
    slow: int = bounded(21, 2, 400)
    atr: int = bounded(14, 2, 100)
    stop_atr: float = bounded(2.0, 0.1, 20.0)

    def fit(self) -> None:
        if self.fast >= self.slow:
            raise ParameterError("fast", f"{self.fast} is not below slow ({self.slow}); the averages would never cross")


class EmaCross(OneTrade):
    """Long when the fast average crosses above the slow one, short when it crosses below; the next cross ends or turns the trade.

    A trade that its stop ended waits for another cross, and a cross that happened before the start is not chased.
    """

    params_type = EmaCrossParams

    @property
    def warmup_bars(self) -> int:
        return max(EMA_SETTLES * int(self.params.slow), WILDER_SETTLES * int(self.params.atr))

    def start(self) -> None:
        super().start()
        self.fast, self.slow, self.atr = EMA(self.params.fast), EMA(self.params.slow), ATR(self.params.atr)
        self.side = 0  # of the slow average on which the fast one was last seen

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        fast, slow, atr = self.fast.add(bar.close), self.slow.add(bar.close), self.atr.add(bar)
        if fast is None or slow is None or atr is None:
            return
        before, self.side = self.side, 1 if fast > slow else -1 if fast < slow else self.side
        if bar.warmup:
            return
        if self.gone(bar, view):
            yield self.leave(bar, CLOSED)
        if before in (0, self.side):
            return
        why = f"EMA {fast:.2f} crossed {'above' if self.side > 0 else 'below'} {slow:.2f}"
        if self.may_enter(self.side):
            yield self.enter(bar, self.side, bar.close - self.side * self.params.stop_atr * atr, why)
        elif self.trade.target:
            yield self.leave(bar, why)

    @classmethod
    def targets(cls, frame: "Frame", params: EmaCrossParams) -> "Trades":
        fast, slow, atr = frame.ema(params.fast), frame.ema(params.slow), frame.atr(params.atr)
        crossed = frame.crossings(frame.known(fast, atr), slow)
        stop = frame.close - crossed * params.stop_atr * atr
        turned = crossed != 0
        return frame.trades(params, long=crossed > 0, short=crossed < 0, stop=stop, leave_long=turned, leave_short=turned, turns=True)
