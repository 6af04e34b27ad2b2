"""Bars from ticks: anchored at the session's start, closed at their boundary plus two seconds, never merged with later ticks.

Rules:
1. A bar covers [start, end) of continuous trading by the exchange's time (the receive time where a packet has none). The last bar of
   a session ends with the session. Prints outside continuous trading make no bar; they only move the volume that bars count from.
2. Volume is the growth of the day's cumulative volume while the bar was open.
3. Until the first trade a bar holds the standing price, flat; the first trade sets open, high and low anew. A minute in which not
   even a quote arrived has no bar.
4. A tick of a bar that has ended but is not closed yet still enters it. After that it is counted as late and changes no bar.
5. `gap` marks a bar whose ticks were not all seen: the feed broke, or the watch began, after the bar's start.
"""

import heapq
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

import msgspec

from core.events import FeedStatus
from core.market import Calendar
from core.types import IST, Bar, Instrument, Tick

Windows = Sequence[tuple[datetime, datetime]]
_BEGINNING = datetime(1970, 1, 1, tzinfo=IST)


def bucket(windows: Windows, step: timedelta, moment: datetime) -> tuple[datetime, datetime] | None:
    """[start, end) of the bar that holds `moment`, cut at the session's end; None outside continuous trading."""
    for opens, closes in windows:
        if opens <= moment < closes:
            start = opens + (moment - opens) // step * step
            return start, min(start + step, closes)
    return None


class _Ended:
    """A bar whose boundary has passed and whose closing delay has not."""

    __slots__ = ("base", "close", "cumulative", "end", "gap", "high", "low", "oi", "open", "start")

    def __init__(self, series: "_Series") -> None:
        self.start, self.end, self.gap = series.start, series.end, series.gap
        self.open, self.high, self.low, self.close = series.open, series.high, series.low, series.close
        self.base, self.cumulative, self.oi = series.base, series.cumulative, series.oi


class _Series:
    """The running bar of one (instrument, interval), and the ended ones that wait for their delay."""

    __slots__ = (
        *("instrument", "interval", "step", "since", "day", "windows", "ended", "active", "gap", "traded"),
        *("start", "end", "open", "high", "low", "close", "base", "cumulative", "oi"),
    )

    def __init__(self, instrument: Instrument, interval: int, since: datetime) -> None:
        self.instrument = instrument
        self.interval = interval
        self.step = timedelta(minutes=interval)
        self.since = since
        self.day = date.min
        self.windows: Windows = ()
        self.ended: list[_Ended] = []
        self.active = self.gap = self.traded = False
        self.start = self.end = _BEGINNING
        self.open = self.high = self.low = self.close = 0.0
        self.base = self.cumulative = self.oi = 0

    def bar(self, of: "_Series | _Ended") -> Bar:
        volume = of.cumulative - of.base
        return Bar(self.instrument, of.start, of.end, self.interval, of.open, of.high, of.low, of.close, volume, of.oi, of.gap)


class BarBuilder:
    """Bars of any whole number of minutes for the (instrument, interval) pairs that are watched.

    `late` counts ticks that came after their bar had closed, `outside` ticks outside continuous trading.
    """

    def __init__(self, calendar: Calendar, *, delay: float = 2.0) -> None:
        self._calendar = calendar
        self._delay = timedelta(seconds=delay)
        self._series: dict[str, list[_Series]] = {}
        self._due: list[tuple[datetime, str, int]] = []
        self._whole_since = _BEGINNING
        self.late = 0
        self.outside = 0

    def watch(self, instrument: Instrument, interval: int, now: datetime) -> None:
        """Build bars of `interval` minutes from `now` on; the bar running at `now` will carry the gap flag."""
        if interval < 1:
            raise ValueError(f"a bar's interval is a whole number of minutes from 1 up, got {interval} for {instrument.key}")
        series = self._series.setdefault(instrument.key, [])
        if all(one.interval != interval for one in series):
            series.append(_Series(instrument, interval, now))

    def join(self, bar: Bar) -> tuple[Bar]:
        """A bar from outside stands beside those built here; nothing coarser is made of it."""
        return (bar,)

    def add(self, tick: Tick) -> None:
        """Take one tick (the hot path; it yields nothing: ask `due` and call `close`)."""
        series = self._series.get(tick.instrument.key)
        if series is None:
            return
        moment = tick.exchange_at or tick.at
        price = tick.price
        volume = tick.volume
        for one in series:
            if one.start <= moment < one.end:
                one.oi = tick.oi
                if volume > one.cumulative:
                    one.cumulative = volume
                    if not one.traded:
                        one.traded = True
                        one.open = one.high = one.low = one.close = price
                        continue
                if price > one.high:
                    one.high = price
                elif price < one.low:
                    one.low = price
                one.close = price
            else:
                self._turn(one, tick, moment)

    def feed(self, status: FeedStatus) -> None:
        """The feed broke or came back: bars that miss part of their ticks are marked `gap`."""
        if status.connected:
            self._whole_since = status.at
        for series in self._series.values():
            for one in series:
                if one.active and one.end > status.at:
                    one.gap = True

    def hours_changed(self) -> None:
        """The calendar has other facts now: bars that begin from here on go by its new hours; a running one keeps its end."""
        for series in self._series.values():
            for one in series:
                one.windows = self._calendar.continuous(one.instrument, one.day) if one.day != date.min else ()

    @property
    def delay(self) -> timedelta:
        """How long after its boundary a bar closes."""
        return self._delay

    @property
    def due(self) -> datetime | None:
        """When the next bar is to be closed; None while none is open."""
        return self._due[0][0] + self._delay if self._due else None

    def close(self, now: datetime) -> list[Bar]:
        """Bars whose boundary + delay has come, in order of (close time, instrument key, interval)."""
        closed: list[Bar] = []
        ripe = now - self._delay
        while self._due and self._due[0][0] <= ripe:
            end, key, interval = heapq.heappop(self._due)
            one = next(series for series in self._series[key] if series.interval == interval)
            if one.active and one.end == end:
                closed.append(one.bar(one))
                one.active = False
                one.start = end
            else:
                ended = next(waiting for waiting in one.ended if waiting.end == end)
                one.ended.remove(ended)
                closed.append(one.bar(ended))
        return closed

    def heard(self) -> Mapping[tuple[str, int], datetime]:
        return {}  # every bar closes by the clock

    def _turn(self, one: _Series, tick: Tick, moment: datetime) -> None:
        """A tick outside the running bar: the next bar begins, or an ended one grows, or nothing may change."""
        if moment < one.start:
            self._belated(one, tick, moment)
            return
        if moment.date() != one.day:
            self._new_day(one, tick, moment)
        bounds = bucket(one.windows, one.step, moment)
        if bounds is None:
            self.outside += 1
            one.cumulative = tick.volume
            return
        if one.active:
            one.ended.append(_Ended(one))
        one.start, one.end = max(bounds[0], one.end), bounds[1]  # not before a bar that ended where the session used to end
        one.active = True
        one.gap = one.start < one.since or one.start < self._whole_since
        first = one.start == one.windows[0][0]
        if tick.volume < one.cumulative and (tick.volume or first):  # what was counted so far belongs to an earlier day or was corrected
            one.cumulative = 0 if first else tick.volume
        one.base = one.cumulative
        one.traded = tick.volume > one.base
        one.cumulative = max(one.cumulative, tick.volume)
        one.open = one.high = one.low = one.close = tick.price
        one.oi = tick.oi
        heapq.heappush(self._due, (one.end, one.instrument.key, one.interval))

    def _new_day(self, one: _Series, tick: Tick, moment: datetime) -> None:
        """The day's volume starts from nothing where the watch was whole from the open on, else from the first tick seen."""
        one.day = moment.date()
        one.windows = self._calendar.continuous(one.instrument, one.day)
        whole = bool(one.windows) and max(one.since, self._whole_since) <= one.windows[0][0]
        if one.active:  # yesterday's last bar, never closed: it keeps its own figures
            one.ended.append(_Ended(one))
            one.active = False
        one.cumulative = 0 if whole else tick.volume

    def _belated(self, one: _Series, tick: Tick, moment: datetime) -> None:
        for ended in one.ended:
            if ended.start <= moment < ended.end:
                ended.high = max(ended.high, tick.price)
                ended.low = min(ended.low, tick.price)
                if tick.volume >= ended.cumulative:
                    ended.close, ended.cumulative = tick.price, tick.volume
                    one.base = max(one.base, tick.volume)
                return
        if tick.volume > one.cumulative or (moment.date() == one.day and tick.price != one.close):
            self.late += 1
            one.cumulative = max(one.cumulative, tick.volume)
            if not one.active:
                one.base = one.cumulative


class BarJoiner:
    """Bars of a file joined into coarser ones as they stream by; `add` returns what each completes."""

    def __init__(self, calendar: Calendar, interval: int) -> None:
        self._calendar = calendar
        self._interval = interval
        self._step = timedelta(minutes=interval)
        self._open: dict[str, Bar] = {}
        self._windows: dict[str, tuple[date, Windows]] = {}

    def add(self, bar: Bar) -> list[Bar]:
        """Take the next bar of its instrument; a bar outside continuous trading completes nothing and enters nothing."""
        key = bar.instrument.key
        running = self._open.get(key)
        done: list[Bar] = []
        if running is not None and bar.start >= running.at:
            done.append(running)
            running = None
        joined = self._begin(bar) if running is None else _joined(running, bar)
        if joined is None:
            self._open.pop(key, None)
        elif bar.at >= joined.at:
            self._open.pop(key, None)
            done.append(joined)
        else:
            self._open[key] = joined
        return done

    def close(self, now: datetime) -> list[Bar]:
        """Unfinished bars whose end has come although their last part never did, by (end, key)."""
        ripe = sorted((bar for bar in self._open.values() if bar.at <= now), key=lambda bar: (bar.at, bar.instrument.key))
        for bar in ripe:
            del self._open[bar.instrument.key]
        return ripe

    def flush(self) -> list[Bar]:
        """What is still open, unfinished as it is."""
        rest = sorted(self._open.values(), key=lambda bar: (bar.at, bar.instrument.key))
        self._open.clear()
        return rest

    def _begin(self, bar: Bar) -> Bar | None:
        day = bar.start.date()
        known = self._windows.get(bar.instrument.key)
        if known is None or known[0] != day:
            known = (day, self._calendar.continuous(bar.instrument, day))
            self._windows[bar.instrument.key] = known
        bounds = bucket(known[1], self._step, bar.start)
        if bounds is None:
            return None
        start, end = bounds
        return msgspec.structs.replace(bar, start=start, at=end, interval=self._interval)


def _joined(left: Bar, right: Bar) -> Bar:
    high, low = max(left.high, right.high), min(left.low, right.low)
    volume, gap = left.volume + right.volume, left.gap or right.gap
    return Bar(left.instrument, left.start, left.at, left.interval, left.open, high, low, right.close, volume, right.oi, gap, left.warmup)


def aggregate(bars: Sequence[Bar], interval: int, calendar: Calendar) -> list[Bar]:
    """Bars joined to a coarser interval (minutes), anchored at the session's start; the last of each instrument may be unfinished."""
    joiner = BarJoiner(calendar, interval)
    return [done for bar in bars for done in joiner.add(bar)] + joiner.flush()
