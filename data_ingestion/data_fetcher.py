"""Historical candles for bare scripts: one call, from the candle store as far as that is true, the rest from the broker into it.

from data_ingestion.data_fetcher import DataFetcher
frame = DataFetcher(source="zerodha").fetch_historical("NIFTY_FUT", start, end, interval="3minute")
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from core.clock import SystemClock
from core.errors import ConfigError, DataError
from core.ports import HistoricalSource
from core.types import IST, Instrument
from data_ingestion.bare_session import BareSession
from data_ingestion.candle_fetch import CandleFetch, Fetched, History
from data_ingestion.candle_store import CandleStore, Series, Span, table_of
from data_ingestion.intervals import interval_minutes, kept_interval
from data_ingestion.offline_names import expired_contract, instrument_by_rules
from utils.config_loader import environment, load_calendar

__all__ = ["DataFetcher", "interval_minutes"]


class GivenSource:
    """A History around an object that has `candles` (core.ports.HistoricalSource): a data session, a broker, a test's own.

    What else it has is used: `caps`, `resolve`, `calendar`, `clock`, `now`; `source` (a name) gives it a folder in the candle store, and
    without one nothing of it is stored.
    """

    simulated = False

    def __init__(self, given: Any) -> None:
        if not callable(getattr(given, "candles", None)):
            raise ConfigError(f"DataFetcher's source is a broker's name or an object with candles(...), not {given!r:.80}")
        self.data = cast(HistoricalSource, given)
        self.source: str = getattr(given, "source", "")
        self.caps: Mapping[int, int] = getattr(given, "caps", {})
        self.clock = getattr(given, "clock", None) or SystemClock()
        self.calendar = getattr(given, "calendar", None) or load_calendar()
        self._given = given

    def now(self) -> datetime:
        return cast(datetime, getattr(self._given, "now", self.clock.now)())

    def resolve(self, symbol: str) -> Instrument:
        """By the object's own `resolve`, else by the calendar's expiry rules."""
        own = getattr(self._given, "resolve", None)
        return cast(Instrument, own(symbol)) if own else instrument_by_rules(symbol, self.calendar, self.now().date())

    def close(self) -> None:
        """The object is its owner's to close."""


class DataFetcher:
    """History of one source: a broker's name (the login is made from the environment when data is first asked for), or an object that has
    `candles`. Candles are kept in STATE/candles (`state`, else $NIYAM_STATE, else ./var); `notes` says what was noticed on the way."""

    def __init__(self, source: str | object = "zerodha", *, state: Path | None = None) -> None:
        self._source = source
        self._store = CandleStore((state or Path(environment("NIYAM_STATE") or "var")) / "candles")
        self._history: BareSession | GivenSource | None = None
        self.notes: list[str] = []

    def fetch_historical(
        self, symbol: str | Instrument, start: datetime, end: datetime, interval: str | int = "3minute", *, continuous: bool = False
    ) -> Any:
        """A pandas DataFrame: timestamp (IST, the bar's open), open, high, low, close, volume and, for derivatives, oi.

        `symbol` is a logical name (NIFTY_FUT = today's near month), a plain symbol or a key. Naive times are read as IST; `end` is
        inclusive. `continuous`: day candles of a future, with those of the contracts before it. The candle that is still forming is left
        out. Raises ConfigError (secrets, source), DataError (symbol, interval, expired), BrokerError (the call), ValueError (times).
        """
        minutes = kept_interval(interval)
        begins, ends = _in_ist(start), _in_ist(end)
        if begins > ends:
            raise ValueError(f"start {begins} is after end {ends}")
        history = self._history_of()
        wanted = Span(begins, ends + timedelta(seconds=1))
        instrument = resolved(symbol, history, self._store, minutes, wanted, continuous)
        if not history.source:
            return self._unstored(history, instrument, minutes, wanted, continuous)
        series = self._store.series(history.source, instrument, minutes, continuous=continuous)
        dead = instrument.expiry is not None and instrument.expiry < history.now().date()
        tail = () if dead else self._fetched(history, series, wanted, continuous).tail
        return frame_of(_joined(series.table(wanted), tail), with_oi=instrument.expiry is not None)

    def close(self) -> None:
        """Give back connections and files; the next fetch opens them anew."""
        if self._history is not None:
            self._history.close()
            self._history = None

    def _history_of(self) -> BareSession | GivenSource:
        if self._history is None:
            self._history = BareSession(self._source) if isinstance(self._source, str) else GivenSource(self._source)
        return self._history

    def _fetched(self, history: History, series: Series, wanted: Span, continuous: bool) -> Fetched:
        fetch = CandleFetch(history, series, continuous=continuous, on_note=self.notes.append)
        return fetch.bring(wanted.start, wanted.end, tail=not continuous)

    def _unstored(self, history: History, instrument: Instrument, minutes: int, wanted: Span, continuous: bool) -> Any:
        """Straight from the source, through a store that is gone afterwards."""
        import tempfile

        with tempfile.TemporaryDirectory(prefix="niyam-candles-") as folder:
            series = CandleStore(Path(folder)).series("unnamed", instrument, minutes, continuous=continuous)
            fetched = self._fetched(history, series, wanted, continuous)
            return frame_of(_joined(series.table(wanted), fetched.tail), with_oi=instrument.expiry is not None)


def resolved(
    symbol: str | Instrument, history: History, store: CandleStore, minutes: int, wanted: Span, continuous: bool = False
) -> Instrument:
    """What `symbol` means today; an expired contract where the store has all that is wanted of it, since no broker has it any more.

    Raises DataError: an unknown name with the nearest ones, an expired contract with what the store has of it.
    """
    today = history.now().date()
    if isinstance(symbol, Instrument):
        expired = symbol if symbol.expiry is not None and symbol.expiry < today else None
        if expired is None:
            return symbol
    else:
        expired = expired_contract(symbol, history.calendar, wanted.start.date(), today)
        if expired is None:
            return history.resolve(symbol)
    series = store.series(history.source or "unnamed", expired, minutes, continuous=continuous)
    if not series.missing(Span(wanted.start, min(wanted.end, _midnight_after(expired.expiry or today)))):
        return expired
    have = ", ".join(str(span) for span in series.covered()) or "nothing"
    raise DataError(
        f"{expired.key} expired on {expired.expiry}, and brokers keep no candles of expired contracts; the candle store has {have} of it. "
        "Fetch contracts while they live, import a file with `fetch --import`, or ask a live future for its --continuous day candles"
    )


def frame_of(table: Any, *, with_oi: bool) -> Any:
    """An Arrow table of candles as the pandas DataFrame that scripts get, empty with the same columns where there are none."""
    import pandas  # noqa: F401 - half a second of import that only this façade pays

    frame = table.to_pandas()
    return frame if with_oi else frame.drop(columns="oi")


def _joined(table: Any, tail: tuple[Any, ...]) -> Any:
    import pyarrow as pa

    return pa.concat_tables([table, table_of(tail)]) if tail else table


def _midnight_after(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=IST) + timedelta(days=1)


def _in_ist(moment: datetime) -> datetime:
    return moment.replace(tzinfo=IST) if moment.tzinfo is None else moment.astimezone(IST)
