"""Buying dips in a rising session, and selling rallies in a falling one, where the dip reaches the volume-weighted average price."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from core.types import Bar, Fill, Signal, View
from strategies.base import LONGEST_SESSION_MINUTES, ParameterError, Params, Strategy, bounded
from strategies.indicators import ATR, EMA, VWAP
from strategies.trade import Trade


@dataclass(frozen=True, slots=True)
class VwapPullbackParams(Params):
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
    trades_a_day: int = bounded(3, 1, 50)
    long: bool = True
    short: bool = True

    def check(self) -> None:
        if not (self.long or self.short):
            raise ParameterError("long", "long and short are both off; nothing would ever be traded")


class VwapPullback(Strategy):
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
        self.ema, self.atr, self.vwap = EMA(self.params.trend), ATR(self.params.atr), VWAP()
        self.bars_day: date | None = None
        self.run = 0  # closes in a row above (positive) or below (negative) the VWAP
        self.on_session_start(date.min)

    def on_session_start(self, day: date) -> None:
        self.trades = 0
        self.trade = Trade()

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
        if direction:
            self._enter(direction, bar.close, atr)
            why = f"pullback to VWAP {vwap:.2f}, close {bar.close:.2f}, ATR {atr:.2f}"
            yield self.signal(bar.instrument, direction, self.trade.stop, self.trade.take_profit, why)

    def _leave(self, bar: Bar, view: View, vwap: float) -> Iterator[Signal]:
        if self.trade.gone(view.position(self.name, bar.instrument)):
            why = "closed by its stop, its profit target or by hand"
        elif self.trade.target * (bar.close - vwap) < 0:
            why = f"close {bar.close:.2f} through VWAP {vwap:.2f}"
        else:
            return
        self.trade.close()
        yield self.signal(bar.instrument, 0, why=why)

    def _next_run(self, close: float, vwap: float) -> int:
        if close > vwap:
            return max(self.run, 0) + 1
        if close < vwap:
            return min(self.run, 0) - 1
        return 0

    def _pullback(self, bar: Bar, ema: float, atr: float, vwap: float, run: int) -> int:
        """1 or -1 when this bar is an entry, else 0."""
        if self.trades >= self.params.trades_a_day:
            return 0
        near, enough = self.params.touch_atr * atr, self.params.trend_bars
        if self.params.long and ema > vwap and run >= enough and bar.low <= vwap + near and bar.close > max(vwap, bar.open):
            return 1
        if self.params.short and ema < vwap and run <= -enough and bar.high >= vwap - near and bar.close < min(vwap, bar.open):
            return -1
        return 0

    def _enter(self, direction: int, price: float, atr: float) -> None:
        distance = self.params.stop_atr * atr
        reach = self.params.reward * distance
        self.trades += 1
        self.trade.open(direction, price - direction * distance, price + direction * reach if reach > 0 else None)

    def on_fill(self, fill: Fill, view: View) -> Iterable[Signal]:
        self.trade.filled(view.position(self.name, fill.instrument))
        return ()

    def state(self) -> dict[str, Any]:
        return {"trades": self.trades, "trade": self.trade.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.trades = state["trades"]
        self.trade.restore(state["trade"])
