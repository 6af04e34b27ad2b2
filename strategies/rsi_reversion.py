"""Reversion to the middle: when the relative strength index comes back from an extreme, until it reaches the middle again."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.types import Bar, Signal, View
from strategies.base import ParameterError, bounded
from strategies.indicators import ATR, WILDER_SETTLES
from strategies.indicators_momentum import RSI
from strategies.one_trade import CLOSED, OneTrade, TradeParams

if TYPE_CHECKING:
    from strategies.frame import Frame, Trades


@dataclass(frozen=True, slots=True, kw_only=True)
class RsiReversionParams(TradeParams):
    """`oversold`, `overbought` and `leave_at` are values of the RSI; a short leaves at 100 - `leave_at`.

    `period` and `atr` are bars; `stop_atr` is the stop's distance from the entry in average true ranges.
    """

    period: int = bounded(14, 2, 100)
    oversold: float = bounded(30.0, 1.0, 50.0)
    overbought: float = bounded(70.0, 50.0, 99.0)
    leave_at: float = bounded(50.0, 2.0, 98.0)
    atr: int = bounded(14, 2, 100)
    stop_atr: float = bounded(2.0, 0.1, 20.0)

    def fit(self) -> None:
        if self.leave_at <= self.oversold:
            raise ParameterError("leave_at", f"{self.leave_at} is not above oversold ({self.oversold}); a long would leave as it enters")
        if 100.0 - self.leave_at >= self.overbought:
            raise ParameterError("leave_at", f"a short would leave at {100.0 - self.leave_at}, not below overbought ({self.overbought})")


class RsiReversion(OneTrade):
    """Long when the RSI rises back to `oversold` or above, short when it falls back to `overbought` or below.

    It leaves when the RSI has reached the middle, or at its stop. An RSI that stays at its extreme is not bought into.
    """

    params_type = RsiReversionParams

    @property
    def warmup_bars(self) -> int:
        return WILDER_SETTLES * max(int(self.params.period), int(self.params.atr)) + 1

    def start(self) -> None:
        super().start()
        self.rsi, self.atr = RSI(self.params.period), ATR(self.params.atr)

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        before, now, atr = self.rsi.value, self.rsi.add(bar.close), self.atr.add(bar)
        if before is None or now is None or atr is None or bar.warmup:
            return
        if self.trade.target:
            if self.gone(bar, view):
                yield self.leave(bar, CLOSED)
            elif self._reverted(now):
                yield self.leave(bar, f"RSI {now:.1f} is back in the middle")
            return
        direction = 1 if before < self.params.oversold <= now else -1 if before > self.params.overbought >= now else 0
        if self.may_enter(direction):
            why = f"RSI came back from {before:.1f} to {now:.1f}"
            yield self.enter(bar, direction, bar.close - direction * self.params.stop_atr * atr, why)

    @classmethod
    def targets(cls, frame: "Frame", params: RsiReversionParams) -> "Trades":
        atr, now = frame.atr(params.atr), frame.rsi(params.period)
        before, known = frame.before(now), atr == atr
        long = (before < params.oversold) & (params.oversold <= now) & known
        short = (before > params.overbought) & (params.overbought >= now) & known
        stop = frame.close - (long * 1 - short * 1) * params.stop_atr * atr
        leave_long, leave_short = now >= params.leave_at, now <= 100.0 - params.leave_at
        return frame.trades(params, long=long, short=short, stop=stop, leave_long=leave_long, leave_short=leave_short)

    def _reverted(self, rsi: float) -> bool:
        leave_at: float = self.params.leave_at
        return rsi >= leave_at if self.trade.target > 0 else rsi <= 100.0 - leave_at
