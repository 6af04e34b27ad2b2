"""Historical candles for bare scripts and the fetch command: one call, chunked by the broker's caps."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from core.ports import HistoricalSource
from core.types import Bar, Instrument


def fetch_bars(
    source: HistoricalSource, instrument: Instrument, start: datetime, end: datetime, interval: int, caps: Mapping[int, int]
) -> list[Bar]:
    """Bars with start <= open time <= end, ascending, asked for in chunks of at most `caps[interval]` days; BrokerError."""
    raise NotImplementedError


class DataFetcher:
    """`DataFetcher(source="zerodha").fetch_historical("NIFTY_FUT", start, end, interval="3minute")`."""

    def __init__(self, source: str = "zerodha") -> None:
        raise NotImplementedError

    def fetch_historical(self, symbol: str, start: datetime, end: datetime, interval: str = "3minute") -> Any:
        """A pandas DataFrame: timestamp (IST, bar open), open, high, low, close, volume, oi. Naive times are read as IST."""
        raise NotImplementedError
