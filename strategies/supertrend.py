"""Trend following with a stop that follows: hold the direction of the Supertrend line, with the line itself as the stop."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.types import Bar, Signal, View
from strategies.base import LONGEST_SESSION_MINUTES, bounded
from strategies.indicators import WILDER_SETTLES
from strategies.indicators_bands import Supertrend
from strategies.one_trade import CLOSED, OneTrade, TradeParams

if TYPE_CHECKING:
    from strategies.frame import Frame, Trades


@dataclass(frozen=True, slots=True, kw_only=True)
class SupertrendParams(TradeParams):
    """`period` is the bars of the average true range, `width` the line's distance in such ranges."""

    period: int = bounded(10, 2, 100)
    width: float = bounded(3.0, 0.5, 20.0)


class SupertrendFollower(OneTrade):
    """Enter where the line turns, move the stop with the line bar by bar, leave or turn round where it turns back.

    The line has memory: it ratchets since its last turn. The warm-up is long, so that it has turned in it.
    """

    params_type = SupertrendParams

    @property
    def warmup_bars(self) -> int:
        return WILDER_SETTLES * int(self.params.period) + 2 * self.bars_of(LONGEST_SESSION_MINUTES)

    def start(self) -> None:
        super().start()
        self.trend = Supertrend(self.params.period, self.params.width)

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        before, now = self.trend.value, self.trend.add(bar)
        if before is None or now is None or bar.warmup:
            return
        if self.gone(bar, view):
            yield self.leave(bar, CLOSED)
        if now.direction != before.direction:
            why = f"Supertrend turned {'up' if now.direction > 0 else 'down'} at {before.line:.2f}"
            if self.may_enter(now.direction):
                yield self.enter(bar, now.direction, now.line, why)
            elif self.trade.target:
                yield self.leave(bar, why)
        elif self.trade.target:
            yield from self.trail(bar, now.line, f"the line moved to {now.line:.2f}")

    @classmethod
    def targets(cls, frame: "Frame", params: SupertrendParams) -> "Trades":
        line, direction = frame.supertrend(params.period, params.width)
        before = frame.before(direction)
        turned = (before != 0) & (direction != before)
        return frame.trades(
            params, long=turned & (direction > 0), short=turned & (direction < 0), stop=line, leave_long=turned, leave_short=turned,
            trail=line, turns=True,
        )  # fmt: skip
