"""Historical candles for bare scripts: one call, chunked by the broker's caps.

from data_ingestion.data_fetcher import DataFetcher
frame = DataFetcher(source="zerodha").fetch_historical("NIFTY_FUT", start, end, interval="3minute")
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from core.ports import HistoricalSource
from core.types import IST, Bar, Instrument
from data_ingestion.bare_session import BareSession

DAY_MINUTES = 1440
_INTERVAL = re.compile(r"^(\d*)\s*(m|min|minute|minutes|h|hour|hours|d|day|days)$")
_UNITS = {"m": 1, "h": 60, "d": DAY_MINUTES}
_SECOND = timedelta(seconds=1)


def interval_minutes(text: str | int) -> int:
    """Minutes of `3minute`, `minute`, `60minute`, `day` (Kite's words), `5m`, `1h`, `1d` (ours) or a number; ValueError for another."""
    if isinstance(text, int):
        return text
    match = _INTERVAL.match(text.strip().lower())
    minutes = int(match[1] or 1) * _UNITS[match[2][0]] if match else 0
    if minutes < 1:
        raise ValueError(f"the interval {text!r} is not known; write it like minute, 3minute, 5m, 1h or day")
    return minutes


def fetch_bars(
    source: HistoricalSource,
    instrument: Instrument,
    start: datetime,
    end: datetime,
    interval: int,
    caps: Mapping[int, int],
    on_progress: Callable[[datetime], None] | None = None,
) -> list[Bar]:
    """Bars with start <= open time <= end, ascending, asked for in chunks of at most `caps[interval]` days; raises BrokerError.

    `on_progress` hears up to when the bars are there after each chunk.
    """
    length = timedelta(days=caps.get(interval, 60)) - _SECOND
    found: dict[datetime, Bar] = {}
    while start <= end:
        until = min(start + length, end)
        found.update((bar.start, bar) for bar in source.candles(instrument, start, until, interval))
        if on_progress is not None:
            on_progress(until)
        start = until + _SECOND
    return [found[moment] for moment in sorted(found)]


class DataFetcher:
    """History of one broker. `source` is a broker's name; the login is made from the environment when data is first asked for."""

    def __init__(self, source: str = "zerodha") -> None:
        self._source = source
        self._session: BareSession | None = None

    def fetch_historical(self, symbol: str, start: datetime, end: datetime, interval: str = "3minute") -> Any:
        """A pandas DataFrame: timestamp (IST, the bar's open), open, high, low, close, volume and, for derivatives, oi.

        `symbol` is a logical name (NIFTY_FUT = today's near month), a plain symbol or a key. Naive times are read as IST; `end` is
        inclusive. Raises ConfigError (secrets), DataError (symbol), BrokerError (the call), ValueError (times, interval).
        """
        minutes = interval_minutes(interval)
        begins, ends = _in_ist(start), _in_ist(end)
        if begins > ends:
            raise ValueError(f"start {begins} is after end {ends}")
        if self._session is None:
            self._session = BareSession(self._source)
        instrument = self._session.resolve(symbol)
        bars = fetch_bars(self._session.data, instrument, begins, ends, minutes, self._session.caps)
        return frame_of(bars, with_oi=instrument.expiry is not None)

    def close(self) -> None:
        """Give back connections and files; the next fetch opens them anew."""
        if self._session is not None:
            self._session.close()
            self._session = None


def frame_of(bars: list[Bar], *, with_oi: bool) -> Any:
    """The bars as a pandas DataFrame, empty with the same columns where there are none."""
    import pandas as pd  # a second of import that only this façade pays

    names = ["open", "high", "low", "close", "volume", *(["oi"] if with_oi else [])]
    moments = pd.to_datetime([bar.start for bar in bars], utc=True).tz_convert("Asia/Kolkata")
    columns: dict[str, Any] = {"timestamp": moments}
    columns |= {name: [getattr(bar, name) for bar in bars] for name in names}
    return pd.DataFrame(columns)


def _in_ist(moment: datetime) -> datetime:
    return moment.replace(tzinfo=IST) if moment.tzinfo is None else moment.astimezone(IST)
