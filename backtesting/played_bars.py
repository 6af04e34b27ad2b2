"""Bars that come finished from data: heard at once when they are the market, or kept until their end when prices within are played."""

import heapq
from collections.abc import Mapping, Sequence
from datetime import datetime

from core.events import FeedStatus
from core.market import Calendar
from core.types import Bar, Instrument, Tick
from data_ingestion.bars import BarJoiner


class PlayedBars:
    """core.ports.Bars for data that is bars already, all of `interval` minutes.

    A bar that is given to the engine as an event is asked for with `join`. One whose prices are played as ticks is left with `keep` and
    comes out of `close` at its end, as one built from live ticks would. Either way the coarser bars that it completes come with it.
    """

    def __init__(self, calendar: Calendar, interval: int) -> None:
        self._calendar = calendar
        self._interval = interval
        self._joiners: dict[str, dict[int, BarJoiner]] = {}
        self._kept: list[tuple[datetime, str, Bar]] = []
        self.late = self.outside = 0

    def watch(self, instrument: Instrument, interval: int, now: datetime) -> None:
        """Have bars of this interval made; ValueError where the data's bars do not add up to it."""
        if interval % self._interval:
            raise ValueError(f"bars of {interval} minutes cannot be made from bars of {self._interval}")
        joiners = self._joiners.setdefault(instrument.key, {})
        if interval != self._interval and interval not in joiners:
            joiners[interval] = BarJoiner(self._calendar, interval)

    def heard(self) -> Mapping[tuple[str, int], datetime]:
        return {}

    def join(self, bar: Bar) -> Sequence[Bar]:
        """The bar itself, and each coarser one that it completes."""
        joiners = self._joiners.get(bar.instrument.key)
        if not joiners:
            return (bar,)
        return [bar, *(done for joiner in joiners.values() for done in joiner.add(bar))]

    def keep(self, bar: Bar) -> None:
        """Let this bar be closed when its end has come."""
        heapq.heappush(self._kept, (bar.at, bar.instrument.key, bar))

    @property
    def due(self) -> datetime | None:
        return self._kept[0][0] if self._kept else None

    def close(self, now: datetime) -> list[Bar]:
        closed: list[Bar] = []
        while self._kept and self._kept[0][0] <= now:
            closed += self.join(heapq.heappop(self._kept)[2])
        return closed

    def add(self, tick: Tick) -> None:
        """A price within a bar that is known already makes no other bar."""

    def feed(self, status: FeedStatus) -> None:
        """Data has no connection that could break."""

    def hours_changed(self) -> None:
        self._joiners.clear()
