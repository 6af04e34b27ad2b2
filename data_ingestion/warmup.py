"""Closed bars of the past for a strategy that starts in the middle of things."""

from datetime import datetime

from core.market import Calendar
from core.ports import HistoricalSource
from core.types import Bar, Instrument


def warmup_bars(source: HistoricalSource, calendar: Calendar, instrument: Instrument, interval: int, count: int, now: datetime) -> list[Bar]:
    """At least the last `count` bars closed by `now` (fewer only where history ends), ascending, each with `warmup` set; BrokerError."""
    raise NotImplementedError
