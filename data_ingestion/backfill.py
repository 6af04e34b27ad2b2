"""Bars that the feed missed, from the broker's history: whole, in order, and marked, so that nothing late is traded as if it were live.

Rules:
1. A bar that the builder marks `gap` (its ticks were not all seen) is held back, and so is what closes after it, while the broker is
   asked for the candles from the last bar that was handed on. After a reconnect the bars that ended meanwhile are asked for at once.
2. An answer counts when it reaches the last bar that is missing; else the question is put again every five seconds. Thirty seconds after
   it was first put, what there is goes on as it is; a person is told if a broken bar is among it, or the broker did not answer.
3. A candle of the broker's takes the place of a broken bar and carries its `gap`. A whole bar of our own is never replaced; one that had
   to wait for more than ten seconds carries `gap` too. Of a minute in which nothing traded there is no candle, and nothing is invented.
4. Answers are events (core.events.History) and the rest are the engine's own times: a granted or replayed day takes the same course.

What a strategy may do on such a bar stands in execution_engine/hearing.py.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from core.errors import Rejected
from core.events import FeedStatus, History
from core.market import Calendar
from core.ports import Bars, HistoricalSource
from core.types import Bar, Instrument, Tick
from data_ingestion.bars import aggregate, bucket

PATIENCE = timedelta(seconds=30)
AGAIN = timedelta(seconds=5)
WAITED = timedelta(seconds=10)

Ask = Callable[[Instrument, int, datetime, datetime], None]
"""Asks for the bars of (instrument, interval in minutes) that start at or after one moment and end by another; never blocks."""
Note = Callable[[str, Mapping[str, Any]], object]
Alert = Callable[[str, str, str], None]


def candles_between(
    source: HistoricalSource, calendar: Calendar, instrument: Instrument, interval: int, start: datetime, end: datetime
) -> tuple[Bar, ...]:
    """The broker's bars in [start, end), made from minutes where it lacks the interval; blocks, raises BrokerError."""
    last = end - timedelta(minutes=1)
    try:
        bars = source.candles(instrument, start, last, interval)
    except Rejected:
        if interval == 1:
            raise
        bars = source.candles(instrument, start, last, 1)
    return tuple(bar for bar in aggregate(bars, interval, calendar) if start <= bar.start and bar.at <= end)


class _Series:
    """The bars of one (instrument, interval): how far they were handed on, and what waits for an answer."""

    __slots__ = ("again_at", "end", "error", "found", "give_up_at", "held", "instrument", "interval", "until")

    def __init__(self, instrument: Instrument, interval: int, until: datetime) -> None:
        self.instrument = instrument
        self.interval = interval
        self.until = until
        self.held: list[Bar] = []
        self.found: dict[datetime, Bar] = {}
        self.end: datetime | None = None  # of the last bar that is asked for; None: nothing is
        self.again_at = self.give_up_at = until
        self.error = ""


class GapFiller:
    """The builder's bars with the holes filled; implements core.ports.Bars around another. Owned by the engine thread."""

    def __init__(self, builder: Bars, calendar: Calendar, ask: Ask, note: Note, alert: Alert) -> None:
        self._builder = builder
        self._calendar = calendar
        self._ask = ask
        self._note = note
        self._alert = alert
        self._series: dict[tuple[str, int], _Series] = {}
        self._asking: dict[tuple[str, int], _Series] = {}
        self._ready: list[Bar] = []
        self._ready_at: datetime | None = None

    def watch(self, instrument: Instrument, interval: int, now: datetime) -> None:
        self._builder.watch(instrument, interval, now)
        if (instrument.key, interval) not in self._series:
            self._series[instrument.key, interval] = _Series(instrument, interval, self._begun(instrument, interval, now) or now)

    def add(self, tick: Tick) -> None:
        self._builder.add(tick)

    def hours_changed(self) -> None:
        self._builder.hours_changed()

    def feed(self, status: FeedStatus) -> None:
        """The feed broke or came back; what ended meanwhile is asked for."""
        self._builder.feed(status)
        if not status.connected:
            return
        for series in self._series.values():
            begun = self._begun(series.instrument, series.interval, status.at)
            if begun is not None and self._start(series, begun) < begun:
                self._question(series, begun, status.at)

    @property
    def due(self) -> datetime | None:
        if not self._asking and self._ready_at is None:
            return self._builder.due
        moments = [min(series.again_at, series.give_up_at) for series in self._asking.values()]
        moments += [at for at in (self._builder.due, self._ready_at) if at is not None]
        return min(moments)

    def join(self, bar: Bar) -> Sequence[Bar]:
        return self._builder.join(bar)

    def close(self, now: datetime) -> list[Bar]:
        closed = self._builder.close(now)
        if not self._asking and not self._ready and not any(bar.gap for bar in closed):
            for bar in closed:
                self._series[bar.instrument.key, bar.interval].until = bar.at
            return closed
        passed = []
        for bar in closed:
            series = self._series[bar.instrument.key, bar.interval]
            if bar.at <= series.until:
                continue  # it went on from the broker's history already
            if series.end is None and not bar.gap:
                series.until = bar.at
                passed.append(bar)
                continue
            series.held.append(bar)
            if bar.gap:
                self._question(series, bar.at, now)
        self._mind(now)
        passed += self._ready
        self._ready, self._ready_at = [], None
        return sorted(passed, key=lambda bar: (bar.at, bar.instrument.key, bar.interval))

    def heard(self) -> Mapping[tuple[str, int], datetime]:
        return {key: series.until for key, series in self._series.items()}

    def answered(self, history: History) -> None:
        """The broker's candles have come, or will not; what goes on is handed out by the next `close`, which is due at once."""
        series = self._asking.get((history.instrument.key, history.interval))
        if series is None:
            return
        series.error = history.error
        series.found.update((bar.start, bar) for bar in history.bars if bar.start >= series.until)
        if any(bar.at == series.end for bar in series.found.values()):
            self._release(series, history.at)

    # --- one question -------------------------------------------------------------------------------------------------------------------

    def _question(self, series: _Series, end: datetime, now: datetime) -> None:
        if series.end is None:
            series.give_up_at = now + PATIENCE
        elif end <= series.end:
            return
        series.end = end
        self._asking[series.instrument.key, series.interval] = series
        self._put(series, now)

    def _put(self, series: _Series, now: datetime) -> None:
        assert series.end is not None
        series.again_at = now + AGAIN
        self._ask(series.instrument, series.interval, self._start(series, series.end), series.end)

    def _mind(self, now: datetime) -> None:
        """Ask again, or give up."""
        lost = []
        for series in list(self._asking.values()):
            if now >= series.give_up_at:
                broken = any(bar.gap and bar.start not in series.found for bar in series.held)
                if broken or series.error:
                    lost.append(f"{series.instrument.key} {series.interval}m from {self._start(series, now):%H:%M}")
                self._release(series, now, series.error or "the broker's history has no such candle")
            elif now >= series.again_at:
                self._put(series, now)
        if lost:
            text = f"missed bars did not come within {PATIENCE.seconds} s: {', '.join(lost[:5])}; strategies go on without them"
            self._alert("warn", "Gap not filled", text)

    def _release(self, series: _Series, now: datetime, lost: str = "") -> None:
        """Hand on what there is, in order."""
        bars = {start: msgspec.structs.replace(bar, gap=True, warmup=False) for start, bar in series.found.items()}
        for bar in series.held:
            if bar.start not in bars or not bar.gap:
                bars[bar.start] = msgspec.structs.replace(bar, gap=bar.gap or now - bar.at > WAITED)
        ordered = [bars[start] for start in sorted(bars) if start >= series.until]
        facts = {"instrument": series.instrument.key, "interval": series.interval, "bars": len(ordered)}
        facts |= {"from": self._start(series, now).isoformat(), "to": series.end and series.end.isoformat()}
        self._note("gap_open" if lost else "gap_filled", {**facts, "why": lost} if lost else facts)
        series.until = ordered[-1].at if ordered else max(series.until, series.end or series.until)
        series.held, series.found, series.end, series.error = [], {}, None, ""
        del self._asking[series.instrument.key, series.interval]
        self._ready += ordered
        self._ready_at = now

    def _start(self, series: _Series, moment: datetime) -> datetime:
        """From when on bars may be missing: the end of the last that was handed on, but no earlier than the day's open."""
        windows = self._calendar.continuous(series.instrument, moment.date())
        return max(series.until, windows[0][0]) if windows else series.until

    def _begun(self, instrument: Instrument, interval: int, moment: datetime) -> datetime | None:
        """When the bar of `moment` began; outside sessions the day's next open, or the end of its last."""
        windows = self._calendar.continuous(instrument, moment.date())
        bounds = bucket(windows, timedelta(minutes=interval), moment)
        if bounds is not None:
            return bounds[0]
        return next((opens for opens, _ in windows if moment < opens), windows[-1][1] if windows else None)
