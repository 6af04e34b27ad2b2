"""Fading the opening gap: when the first bar turns back towards yesterday's close, go with it, once a day."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from core.types import Bar, Signal, View
from strategies.base import LONGEST_SESSION_MINUTES, ParameterError, bounded
from strategies.one_trade import CLOSED, OneTrade, TradeParams

if TYPE_CHECKING:
    from strategies.frame import Frame, Trades

OLDEST_CLOSE = timedelta(days=5)
"""A last close older than this is not yesterday's: history is missing, and nothing is traded on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GapFadeParams(TradeParams):
    """A gap is (first open - last close) / last close in per cent; those from `min_gap_pct` to `max_gap_pct` either way are faded.

    `fill` is the share of the gap at which profit is taken (1: yesterday's close), `stop_gaps` the stop's distance beyond today's open
    in gaps, `hold_minutes` how long after the entry the trade may last.
    """

    trades_a_day: int = bounded(1, 1, 1)
    min_gap_pct: float = bounded(0.3, 0.01, 20.0)
    max_gap_pct: float = bounded(2.0, 0.01, 20.0)
    fill: float = bounded(1.0, 0.1, 1.0)
    stop_gaps: float = bounded(0.5, 0.05, 5.0)
    hold_minutes: int = bounded(120, 1, 900)

    def fit(self) -> None:
        if self.min_gap_pct >= self.max_gap_pct:
            raise ParameterError("min_gap_pct", f"{self.min_gap_pct} is not below max_gap_pct ({self.max_gap_pct})")


class GapFade(OneTrade):
    """Short after a gap up whose first bar closed below its open; long after a gap down whose first bar closed above it.

    Yesterday's close is the close of yesterday's last bar of the same contract. The first bar is traded on only when it was seen live,
    whole, and from the session's start on.
    """

    params_type = GapFadeParams

    @property
    def warmup_bars(self) -> int:
        return self.bars_of(LONGEST_SESSION_MINUTES) + 1  # all of today, and the bar before it

    def start(self) -> None:
        super().start()
        self.last: Bar | None = None
        self.bars_day: date | None = None
        self.ends: datetime | None = None  # when the trade has lasted long enough

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        before, self.last = self.last, bar
        opening = bar.start.date() != self.bars_day
        self.bars_day = bar.start.date()
        if bar.warmup:
            return
        if self.trade.target:
            if self.gone(bar, view):
                yield self.leave(bar, CLOSED)
            elif self.ends is not None and bar.at >= self.ends:
                yield self.leave(bar, f"{self.params.hold_minutes} minutes have passed")
        elif opening and before is not None and self._whole(bar, before):
            yield from self._fade(bar, before.close)

    def _whole(self, bar: Bar, before: Bar) -> bool:
        late = self.opens_at is not None and bar.start > self.opens_at
        return not (late or bar.gap or bar.start - before.at > OLDEST_CLOSE)

    def _fade(self, bar: Bar, close: float) -> Iterator[Signal]:
        gap = bar.open - close
        size = abs(gap) / close * 100
        direction = -1 if gap > 0 else 1
        if not (self.params.min_gap_pct <= size <= self.params.max_gap_pct and (bar.close - bar.open) * direction > 0):
            return
        profit = bar.open - self.params.fill * gap
        if self.may_enter(direction) and (profit - bar.close) * direction > 0:  # else the gap is filled already
            why = f"gap of {size:.2f} % from {close:.2f} to {bar.open:.2f} turned, close {bar.close:.2f}"
            self.ends = bar.at + timedelta(minutes=self.params.hold_minutes)
            yield self.enter(bar, direction, bar.open + self.params.stop_gaps * gap, why, profit)

    @classmethod
    def targets(cls, frame: "Frame", params: GapFadeParams) -> "Trades | None":
        if not frame.intraday:
            return None  # a trade that is carried ends by the clock of another day
        opening, close, first = frame.openings(), frame.before(frame.close), frame.open
        late = (frame.start > frame.opens) | (frame.start - frame.before(frame.at) > OLDEST_CLOSE // timedelta(microseconds=1))
        gap = first - close
        size = abs(gap) / close * 100
        direction, profit = 1 - 2 * (gap > 0), first - params.fill * gap
        turned = ((frame.close - first) * direction > 0) & ((profit - frame.close) * direction > 0)
        enters = opening & ~late & (params.min_gap_pct <= size) & (size <= params.max_gap_pct) & turned
        over = frame.at >= frame.first_of_day(frame.at) + params.hold_minutes * 60_000_000
        return frame.trades(
            params, long=enters & (direction > 0), short=enters & (direction < 0), stop=first + params.stop_gaps * gap,
            take_profit=profit, leave_long=over, leave_short=over,
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        return {**super().state(), "ends": None if self.ends is None else self.ends.isoformat()}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.ends = None if state["ends"] is None else datetime.fromisoformat(state["ends"])
