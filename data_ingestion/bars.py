"""Bars from ticks: anchored at the session's start, closed at their boundary plus two seconds, never merged with later ticks."""

from collections.abc import Sequence
from datetime import datetime

from core.events import FeedStatus
from core.market import Calendar
from core.types import Bar, Instrument, Tick


class BarBuilder:
    """Bars of any whole number of minutes for the (instrument, interval) pairs that are watched."""

    late: int  # ticks of a bar that had closed
    outside: int  # ticks outside continuous trading (pre-open, auctions, after the close)

    def __init__(self, calendar: Calendar, *, delay: float = 2.0) -> None:
        raise NotImplementedError

    def watch(self, instrument: Instrument, interval: int, now: datetime) -> None:
        """Build bars of `interval` minutes from now on; the bar running at `now` will carry the gap flag."""
        raise NotImplementedError

    def unwatch(self, instrument: Instrument) -> None:
        raise NotImplementedError

    def add(self, tick: Tick) -> None:
        """Take one tick (hot path; yields nothing: ask `due`, call `close`)."""
        raise NotImplementedError

    def feed(self, status: FeedStatus) -> None:
        """The feed broke or came back: bars that miss part of their ticks are marked `gap`."""
        raise NotImplementedError

    @property
    def due(self) -> datetime | None:
        """When the next bar is to be closed; None while none is open."""
        raise NotImplementedError

    def close(self, now: datetime) -> list[Bar]:
        """Bars whose boundary + delay has come, in order of (close time, instrument key, interval)."""
        raise NotImplementedError


def aggregate(bars: Sequence[Bar], interval: int, calendar: Calendar) -> list[Bar]:
    """Bars of one instrument joined to a coarser interval (minutes), anchored at the session's start; the last may be unfinished."""
    raise NotImplementedError


class BarJoiner:
    """Streams bars of a file into coarser ones (backtests): `add` returns the bars that this one completes."""

    def __init__(self, calendar: Calendar, interval: int) -> None:
        raise NotImplementedError

    def add(self, bar: Bar) -> list[Bar]:
        raise NotImplementedError
