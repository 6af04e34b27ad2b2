"""Fetching candles into the store: only what is missing, in chunks the broker takes, kept after each, never the one still forming.

Rules:
1. A candle is stored when it closed at least a minute ago: the running candle changes, and brokers correct the newest for some seconds.
2. A chunk is at most the broker's cap of days and is in the store, with its coverage, before the next is asked for. A killed fetch goes
   on where it was.
3. What touches a stored range is asked for with the stored day beside it, and the first stored day is asked for again on each new day.
   Where prices differ from the stored ones the source has changed its past (a split, a bonus, a correction): what is stored is forgotten
   and fetched again, and said.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Protocol

import msgspec

from core.errors import DataError, RateLimited, Transient
from core.market import Calendar
from core.ports import Clock, HistoricalSource
from core.types import IST, Bar, Instrument, Kind
from data_ingestion.bars import bucket
from data_ingestion.candle_store import Merge, Series, Span, joined
from data_ingestion.intervals import DAY_MINUTES, interval_word

SETTLING = timedelta(seconds=60)
"""How long after its close a candle may still be corrected (Kite: ten seconds and more)."""
ATTEMPTS = 6
"""Times one chunk is asked for before the fetch gives up (1 + 2 + 4 + 8 + 16 s between them)."""
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_DEFAULT_CAP = 60  # days, where the broker's caps do not say


class History(Protocol):
    """Where candles come from: a login's data calls, its caps (interval in minutes -> days of one request), and what time it is there.

    `source` names its folder in the store. `simulated`: another market may stand behind that name next time.
    """

    @property
    def source(self) -> str: ...
    @property
    def simulated(self) -> bool: ...

    @property
    def data(self) -> HistoricalSource: ...
    @property
    def caps(self) -> Mapping[int, int]: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def calendar(self) -> Calendar: ...
    def now(self) -> datetime: ...
    def resolve(self, symbol: str) -> Instrument: ...


class Chunk(msgspec.Struct, frozen=True):
    """Progress: chunk `number` of `total` is in the store, `until` is the end of what it covers, `candles` how many it brought."""

    number: int
    total: int
    until: datetime
    candles: int


class Fetched(msgspec.Struct, frozen=True):
    """What a fetch did. `span` is what was asked for, cut to what is settled; `tail` the newest closed candles, which are not stored."""

    span: Span
    requests: int
    candles: int
    notes: tuple[str, ...] = ()
    tail: tuple[Bar, ...] = ()


def settled_until(calendar: Calendar, instrument: Instrument, interval: int, now: datetime) -> datetime:
    """Every candle that opened before this moment is closed and final."""
    at = (now - SETTLING).astimezone(IST)
    if interval >= DAY_MINUTES:
        return datetime.combine(at.date(), time(), IST)
    running = bucket(calendar.continuous(instrument, at.date()), timedelta(minutes=interval), at)
    return running[0] if running else at.replace(microsecond=0)


def closes_at(calendar: Calendar, bar: Bar) -> datetime:
    """When a candle closed: the end of its interval, or of the session that cut it short."""
    found = bucket(calendar.continuous(bar.instrument, bar.start.date()), timedelta(minutes=bar.interval), bar.start)
    return found[1] if found and bar.interval < DAY_MINUTES else bar.at


class CandleFetch:
    """One series being brought up to date. Blocking; `on_chunk` and `on_note` are called as things happen."""

    def __init__(
        self,
        history: History,
        series: Series,
        *,
        continuous: bool = False,
        on_chunk: Callable[[Chunk], None] | None = None,
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        if continuous and (series.instrument.kind is not Kind.FUTURE or series.interval != DAY_MINUTES):
            raise DataError(
                f"continuous candles exist for futures and the interval day, not for {series.instrument.key} and "
                f"{interval_word(series.interval)}; leave --continuous out, or name a future such as NIFTY_FUT with --interval day"
            )
        self._history = history
        self._series = series
        self._continuous = continuous
        self._on_chunk = on_chunk
        self._on_note = on_note
        self._notes: list[str] = []
        self._requests = self._candles = 0
        self._refused: dict[str, int] = {}

    def bring(self, start: datetime, end: datetime, *, tail: bool = False) -> Fetched:
        """Have every settled candle with start <= open time < end in the store; `tail` also returns the closed ones that are not settled.

        Raises Transient or RateLimited once a chunk failed `ATTEMPTS` times, Rejected and SessionExpired at once; what was fetched stays.
        """
        now = self._history.now()
        span = self._settled(start, end, now)
        if span.start < span.end:
            self._verify(now.date())
            self._take_all(self._beside(self._series.missing(span)), span, now.date())
        return self._done(span, self._newest(span, end, now) if tail else ())

    def again(self, spans: Sequence[Span]) -> Fetched:
        """Ask once more for ranges that may be covered already (gaps); those that fit into one request are asked for by one."""
        now = self._history.now()
        whole = Span(spans[0].start, spans[-1].end)
        wanted: list[Span] = []
        for span in joined([self._settled(span.start, span.end, now) for span in spans]):
            if wanted and span.end - wanted[-1].start <= self._cap:
                wanted[-1] = Span(wanted[-1].start, span.end)
            else:
                wanted.append(span)
        self._take_all(wanted, whole, now.date())
        return self._done(whole, ())

    # --- the source's past ------------------------------------------------------------------------------------------------------------

    def _verify(self, today: date) -> None:
        """Once a day (each time at a simulator): does the first stored day still have the prices that are stored?"""
        covered = self._series.covered()
        if not covered or (self._series.verified == today and not self._history.simulated):
            return
        stored = next(self._series.bars(), None)
        if stored is None:
            return
        day = _day_of(stored.start)
        bars = self._ask(Span(day.start, min(day.end, covered[-1].end)))
        self._changed(self._series.compare(bars))
        self._series.note_verified(today)

    def _changed(self, merge: Merge) -> bool:
        """Whether stored prices are not the source's any more; then all of them are forgotten."""
        if not merge.differs:
            return False
        first = merge.first_difference or self._history.now()
        spans = self._series.covered() or [_day_of(first)]
        lost = spans if merge.factor else [span for span in spans if span.start <= first < span.end] or [_day_of(first)]
        gone = self._series.uncover(lost)
        why = (
            f"all by the factor {merge.factor:.4g} (a split or a bonus)"
            if merge.factor
            else f"{merge.differs} of {merge.differs + merge.same} that were compared (corrections?)"
        )
        self._say(
            f"{self._series.instrument.key}: the source's prices from {first:%Y-%m-%d %H:%M} on are no longer those in the store, {why}: "
            f"{gone} stored candles forgotten, they are fetched again when asked for"
        )
        return True

    def _beside(self, missing: Sequence[Span]) -> list[Span]:
        """Each missing range with the stored trading day before and after it, where there is one."""
        covered = self._series.covered()
        calendar, segment = self._history.calendar, self._series.instrument.segment
        wider = []
        for span in missing:
            before = next((one for one in covered if one.end == span.start), None)
            after = next((one for one in covered if one.start == span.end), None)
            start, end = span.start, span.end
            if before is not None:
                day = _day_of(span.start - _SECOND).start.date()
                if not calendar.trading_day(segment, day):
                    day = calendar.previous_trading_day(day, segment)
                start = max(before.start, datetime.combine(day, time(), IST))
            if after is not None:
                day = span.end.astimezone(IST).date()
                if not calendar.trading_day(segment, day):
                    day = calendar.next_trading_day(day, segment)
                end = min(after.end, datetime.combine(day + _DAY, time(), IST))
            wider.append(Span(start, end))
        return joined(wider)

    # --- asking -----------------------------------------------------------------------------------------------------------------------

    def _settled(self, start: datetime, end: datetime, now: datetime) -> Span:
        limit = settled_until(self._history.calendar, self._series.instrument, self._series.interval, now)
        return Span(start, max(start, min(end, limit)))

    @property
    def _cap(self) -> timedelta:
        """How much the broker gives in one request."""
        return timedelta(days=self._history.caps.get(self._series.interval, _DEFAULT_CAP))

    def _chunks(self, spans: Sequence[Span]) -> list[Span]:
        """Ranges of at most the broker's cap."""
        return [part for span in spans for part in _cut(span, self._cap)]

    def _take_all(self, spans: Sequence[Span], whole: Span, today: date) -> None:
        """Fetch `spans`; where the source's past turns out changed, what of `whole` was forgotten as well."""
        for _ in range(2):
            if not self._take(self._chunks(spans), today):
                return
            spans = self._series.missing(whole)
        raise DataError(
            f"{self._series.instrument.key}: the source gives other prices each time it is asked; nothing of it can be relied on"
        )

    def _take(self, chunks: Sequence[Span], today: date) -> bool:
        """Fetch and store; True when the source's past turned out changed (nothing more is fetched then)."""
        for number, chunk in enumerate(chunks, 1):
            try:
                bars = self._ask(chunk)
            except (Transient, RateLimited) as error:
                done = f"{number - 1} of {len(chunks)} chunks of {self._series.instrument.key} are in the store"
                raise type(error)(f"{error}; {done}: run it again to go on", code=error.code) from error
            if self._changed(self._series.compare(bars)):
                return True
            merge = self._series.add(bars, chunk, verified=today)
            self._candles += merge.added
            for reason, count in merge.refused.items():
                self._refused[reason] = self._refused.get(reason, 0) + count
            if self._on_chunk is not None:
                self._on_chunk(Chunk(number, len(chunks), chunk.end, len(bars)))
        return False

    def _ask(self, span: Span) -> list[Bar]:
        """The candles of one chunk, asked for until they come."""
        clock = self._history.clock
        for attempt in range(ATTEMPTS):
            self._requests += 1
            try:
                bars = self._history.data.candles(
                    self._series.instrument, span.start, span.end - _SECOND, self._series.interval, continuous=self._continuous
                )
            except (Transient, RateLimited) as error:
                if attempt == ATTEMPTS - 1:
                    raise
                self._say(f"asked again for {span}: {error}", once=True)
                clock.wait_for(lambda: False, clock.monotonic() + 2.0**attempt)
            else:
                return [bar for bar in bars if span.start <= bar.start < span.end]
        raise AssertionError("the last attempt returns or raises")

    def _newest(self, span: Span, end: datetime, now: datetime) -> tuple[Bar, ...]:
        """The candles after the settled ones that have closed."""
        last = Span(span.end, min(end, now + _SECOND))
        if last.start >= last.end:
            return ()
        bars = [bar for chunk in self._chunks([last]) for bar in self._ask(chunk)]
        return tuple(bar for bar in bars if closes_at(self._history.calendar, bar) <= now)

    def _done(self, span: Span, tail: tuple[Bar, ...]) -> Fetched:
        if self._refused:
            counts = ", ".join(f"{count} with {reason}" for reason, count in self._refused.items())
            self._say(f"{self._series.instrument.key}: impossible candles not stored: {counts}")
        return Fetched(span, self._requests, self._candles, tuple(self._notes), tail)

    def _say(self, text: str, *, once: bool = False) -> None:
        if once and text in self._notes:
            return
        self._notes.append(text)
        if self._on_note is not None:
            self._on_note(text)


def _cut(span: Span, length: timedelta) -> Iterator[Span]:
    start = span.start
    while start < span.end:
        end = min(start + length, span.end)
        yield Span(start, end)
        start = end


def _day_of(at: datetime) -> Span:
    midnight = datetime.combine(at.astimezone(IST).date(), time(), IST)
    return Span(midnight, midnight + _DAY)
