"""Buying dips in a rising session, and selling rallies in a falling one, where the dip reaches the volume-weighted average price."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from core.types import Bar, Signal, View
from strategies.base import LONGEST_SESSION_MINUTES, bounded
from strategies.indicators import ATR, EMA, VWAP
from strategies.one_trade import CLOSED, OneTrade, TradeParams

if TYPE_CHECKING:
    from strategies.frame import Frame, Trades


@dataclass(frozen=True, slots=True, kw_only=True)
class VwapPullbackParams(TradeParams):
    """`touch_atr` is how near to the VWAP, in average true ranges, a bar's extreme must come to count as a pullback.

    `stop_atr` is the stop's distance from the entry in average true ranges, `reward` the profit target in stop distances (0: none).
    `trend_bars` is how many closes in a row must have stood on the trend's side of the VWAP before.
    """

    trend: int = bounded(20, 2, 500)
    atr: int = bounded(14, 2, 500)
    trend_bars: int = bounded(3, 1, 100)
    touch_atr: float = bounded(0.25, 0.0, 5.0)
    stop_atr: float = bounded(1.5, 0.1, 20.0)
    reward: float = bounded(2.0, 0.0, 20.0)


class VwapPullback(OneTrade):
    """Join the session's side of the VWAP when price comes back to it and turns; leave when a close falls through it.

    Long when the EMA and `trend_bars` closes stood above the VWAP, the bar's low came within `touch_atr` of it, and the bar closed
    above it and above its own open. Short is the mirror image.
    """

    params_type = VwapPullbackParams

    @property
    def warmup_bars(self) -> int:
        whole_day = self.bars_of(LONGEST_SESSION_MINUTES)  # the VWAP needs all of today
        return max(whole_day, 3 * int(self.params.trend), 3 * int(self.params.atr))

    def start(self) -> None:
        super().start()
        self.ema, self.atr, self.vwap = EMA(self.params.trend), ATR(self.params.atr), VWAP()
        self.bars_day: date | None = None
        self.run = 0  # closes in a row above (positive) or below (negative) the VWAP

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        if bar.start.date() != self.bars_day:
            self.bars_day, self.run = bar.start.date(), 0
        ema, atr, vwap = self.ema.add(bar.close), self.atr.add(bar), self.vwap.add(bar)
        if vwap is None:
            return
        run_before = self.run
        self.run = self._next_run(bar.close, vwap)
        if ema is None or atr is None or bar.warmup:
            return
        if self.trade.target:
            yield from self._leave(bar, view, vwap)
            return
        direction = self._pullback(bar, ema, atr, vwap, run_before)
        if self.may_enter(direction):
            distance = self.params.stop_atr * atr
            reach = self.params.reward * distance
            profit = bar.close + direction * reach if reach > 0 else None
            why = f"pullback to VWAP {vwap:.2f}, close {bar.close:.2f}, ATR {atr:.2f}"
            yield self.enter(bar, direction, bar.close - direction * distance, why, profit)

    def _leave(self, bar: Bar, view: View, vwap: float) -> Iterator[Signal]:
        if self.gone(bar, view):
            yield self.leave(bar, CLOSED)
        elif self.trade.target * (bar.close - vwap) < 0:
            yield self.leave(bar, f"close {bar.close:.2f} through VWAP {vwap:.2f}")

    def _next_run(self, close: float, vwap: float) -> int:
        if close > vwap:
            return max(self.run, 0) + 1
        if close < vwap:
            return min(self.run, 0) - 1
        return 0

    def _pullback(self, bar: Bar, ema: float, atr: float, vwap: float, run: int) -> int:
        """1 or -1 when this bar looks like an entry, else 0."""
        near, enough = self.params.touch_atr * atr, self.params.trend_bars
        if ema > vwap and run >= enough and bar.low <= vwap + near and bar.close > max(vwap, bar.open):
            return 1
        if ema < vwap and run <= -enough and bar.high >= vwap - near and bar.close < min(vwap, bar.open):
            return -1
        return 0

    @classmethod
    def targets(cls, frame: "Frame", params: VwapPullbackParams) -> "Trades":
        ema, atr, vwap, close = frame.ema(params.trend), frame.atr(params.atr), frame.vwap(), frame.close
        near, enough, row = params.touch_atr * atr, params.trend_bars, frame.row(vwap)
        long = (ema > vwap) & (row >= enough) & (frame.low <= vwap + near) & (close > vwap) & (close > frame.open)
        short = (ema < vwap) & (row <= -enough) & (frame.high >= vwap - near) & (close < vwap) & (close < frame.open)
        direction, distance = long * 1 - short * 1, params.stop_atr * atr
        reach = params.reward * distance
        profit = close + direction * reach
        profit[~(reach > 0)] = float("nan")
        return frame.trades(
            params, long=long, short=short, stop=close - direction * distance, take_profit=profit, leave_long=close < vwap,
            leave_short=close > vwap,
        )  # fmt: skip
