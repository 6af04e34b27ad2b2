"""Opening-range breakout: the first minutes draw a range, and the first close outside it is followed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from core.types import Bar, Fill, Signal, View
from strategies.base import LONGEST_SESSION_MINUTES, ParameterError, Params, Strategy, bounded
from strategies.trade import Trade

if TYPE_CHECKING:
    from strategies.frame import Frame, Trades


@dataclass(frozen=True, slots=True)
class OpeningRangeParams(Params):
    """`reward` is the profit target in widths of the range (0: none); the stop is the other side of the range.

    `trades_each_way` is how many breakouts of one day are followed upwards, and how many downwards.
    """

    range_minutes: int = bounded(30, 1, 240)
    reward: float = bounded(2.0, 0.0, 20.0)
    trades_each_way: int = bounded(1, 1, 10)
    long: bool = True
    short: bool = True

    def check(self) -> None:
        if not (self.long or self.short):
            raise ParameterError("long", "long and short are both off; nothing would ever be traded")


class OpeningRange(Strategy):
    """Follow a close that breaks out of the opening range; leave at the other side, at the profit target, or at the day's end.

    A breakout is a move of the close from inside to outside that we saw live: one that happened before we were there is not chased.
    A day whose first minutes are missing has no range, and is left alone.
    """

    params_type = OpeningRangeParams

    @property
    def warmup_bars(self) -> int:
        return self.bars_of(LONGEST_SESSION_MINUTES)  # a start in the middle of a day needs that day's first minutes

    def start(self) -> None:
        self.range_day: date | None = None
        self.range_from: datetime | None = None
        self.high = self.low = self.last_close = 0.0
        self.on_session_start(date.min)

    def on_session_start(self, day: date) -> None:
        self.taken = {1: 0, -1: 0}  # breakouts followed today, by direction
        self.trade = Trade()

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        if bar.start.date() != self.range_day or self.range_from is None:
            self.range_day, self.range_from = bar.start.date(), bar.start
            self.high, self.low, self.last_close = bar.high, bar.low, bar.close
            return
        if bar.start < self.range_from + timedelta(minutes=self.params.range_minutes):
            self.high, self.low, self.last_close = max(self.high, bar.high), min(self.low, bar.low), bar.close
            return
        before, self.last_close = self.last_close, bar.close
        if bar.warmup:
            return
        if self.trade.gone(view.position(self.name, bar.instrument)):
            self.trade.close()
            yield self.signal(bar.instrument, 0, why="closed by its stop, its profit target or by hand")
        direction = self._breakout(before, bar.close)
        if direction:
            self._enter(direction, bar.close)
            side, level = ("above", self.high) if direction > 0 else ("below", self.low)
            why = f"close {bar.close:.2f} {side} the opening range at {level:.2f}"
            yield self.signal(bar.instrument, direction, self.trade.stop, self.trade.take_profit, why)

    def _breakout(self, before: float, now: float) -> int:
        """1 or -1 when this close left the range in a direction that may still be followed, else 0."""
        if self.opens_at is not None and self.range_from is not None and self.range_from > self.opens_at:
            return 0  # the first minutes are missing
        room, held = self.params.trades_each_way, self.trade.target
        if before <= self.high < now and self.params.long and held <= 0 and self.taken[1] < room:
            return 1
        if before >= self.low > now and self.params.short and held >= 0 and self.taken[-1] < room:
            return -1
        return 0

    def _enter(self, direction: int, price: float) -> None:
        self.taken[direction] += 1
        reach = self.params.reward * (self.high - self.low)
        stop = self.low if direction > 0 else self.high
        self.trade.open(direction, stop, price + direction * reach if reach > 0 else None)

    def on_fill(self, fill: Fill, view: View) -> Iterable[Signal]:
        self.trade.filled(view.position(self.name, fill.instrument))
        return ()

    @classmethod
    def targets(cls, frame: "Frame", params: OpeningRangeParams) -> "Trades":
        left, low, high = frame.opening_range(params.range_minutes)
        reach = params.reward * (high - low)
        stop, profit = low.copy(), frame.close + left * reach
        stop[left < 0] = high[left < 0]
        profit[~(reach > 0)] = float("nan")
        return frame.trades(
            params, long=left > 0, short=left < 0, stop=stop, take_profit=profit, turns=True, each_way=params.trades_each_way
        )

    def state(self) -> dict[str, Any]:
        return {"long_taken": self.taken[1], "short_taken": self.taken[-1], "trade": self.trade.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.taken = {1: state["long_taken"], -1: state["short_taken"]}
        self.trade.restore(state["trade"])
