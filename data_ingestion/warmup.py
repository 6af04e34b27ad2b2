"""Closed bars of the past for a strategy that starts: as many as it needs, as the live builder would have made them."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import chain

import msgspec

from core.errors import Rejected
from core.market import Calendar
from core.ports import HistoricalSource
from core.types import Bar, Instrument
from data_ingestion.bars import aggregate

_LONGEST = timedelta(days=55)
"""Every broker gives this much of one-minute history in one request."""


def warmup_bars(
    source: HistoricalSource, calendar: Calendar, instrument: Instrument, interval: int, count: int, now: datetime
) -> list[Bar]:
    """The last `count` bars of `interval` minutes closed by `now`, ascending, each with `warmup` set; raises BrokerError.

    Fewer only where history ends within 55 days. Bars outside continuous trading are left out, the last bar of a session ends with it,
    and an interval that the broker does not have is made from its one-minute bars.
    """
    if count <= 0:
        return []
    start = _start(calendar, instrument, interval, count, now)
    found = _closed(source, calendar, instrument, interval, start, now)
    if len(found) < count and start > now - _LONGEST:  # days on which it hardly traded: look once more, as far as goes
        found = _closed(source, calendar, instrument, interval, now - _LONGEST, now)
    return found[-count:]


def interleaved(histories: Iterable[Sequence[Bar]]) -> list[Bar]:
    """Bars of several instruments in the order in which they closed, those of one moment by instrument key: as live ones are heard."""
    return sorted(chain.from_iterable(histories), key=lambda bar: (bar.at, bar.instrument.key))


def _start(calendar: Calendar, instrument: Instrument, interval: int, count: int, now: datetime) -> datetime:
    """The open of the day that, with the days after it, holds `count` bars if each has all of its own."""
    step = timedelta(minutes=interval)
    day, missing, start = now.date(), count, now
    while missing > 0 and start > now - _LONGEST:
        for opens, closes in reversed(calendar.continuous(instrument, day)):
            missing -= max(0, (min(closes, now) - opens) // step)
            start = min(start, opens)
        day -= timedelta(days=1)
        if datetime.combine(day, now.timetz()) < now - _LONGEST:
            return now - _LONGEST
    return start


def _closed(
    source: HistoricalSource, calendar: Calendar, instrument: Instrument, interval: int, start: datetime, now: datetime
) -> list[Bar]:
    try:
        bars = source.candles(instrument, start, now, interval)
    except Rejected:
        if interval == 1:
            raise
        bars = source.candles(instrument, start, now, 1)
    joined = aggregate([msgspec.structs.replace(bar, warmup=True) for bar in bars], interval, calendar)
    return [bar for bar in joined if bar.at <= now]
