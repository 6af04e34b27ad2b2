"""A live price for bare scripts: start, ask, stop.

from data_ingestion.live_feed import LiveDataFeed
feed = LiveDataFeed("NIFTY_FUT"); feed.start(); feed.get_latest_price()
"""

import threading
from collections.abc import Sequence
from typing import Any

from core.events import Event, FeedStatus, SessionStatus
from core.ports import Feed
from core.types import SessionState, Tick
from data_ingestion.bare_session import BareSession
from data_ingestion.tick_filter import TickFilter


class LiveDataFeed:
    """Ticks of a few instruments over the broker's socket; it reconnects by itself. `latest_tick` is the last one of any of them."""

    def __init__(self, symbols: str | Sequence[str] = "NIFTY_FUT", source: str = "zerodha") -> None:
        """`symbols` as in DataFetcher.fetch_historical."""
        self._symbols = [symbols] if isinstance(symbols, str) else list(symbols)
        self._source = source
        self._session: BareSession | None = None
        self._feed: Feed | None = None
        self._keys: dict[str, str] = {}
        self._changed = threading.Condition()
        self._ticks: dict[str, Tick] = {}
        self._latest: Tick | None = None
        self._gate: TickFilter | None = None
        self.connected = False
        self.problem = ""

    def start(self) -> None:
        """Log in, look the symbols up and connect in the background. Raises ConfigError, DataError, BrokerError."""
        if self._feed is not None:
            return
        session = BareSession(self._source)
        instruments = [session.resolve(symbol) for symbol in self._symbols]
        self._keys = {symbol: instrument.key for symbol, instrument in zip(self._symbols, instruments, strict=True)}
        self._gate = None if session.simulated else TickFilter()  # a simulator's day is not today
        self._session, self._feed = session, session.feed(instruments, self._take)
        self._feed.start()

    def stop(self) -> None:
        """Close the connection; what was seen last stays readable."""
        if self._feed is not None:
            self._feed.stop()
            self._feed = None
        if self._session is not None:
            self._session.close()
            self._session = None
        self.connected = False

    def get_latest_price(self, symbol: str | None = None) -> float | None:
        """Rupees; of `symbol` (as given to the feed, or a key), else of whatever ticked last. None before its first tick."""
        with self._changed:
            tick = self._latest if symbol is None else self._ticks.get(self._keys.get(symbol, symbol))
        return None if tick is None else tick.price

    @property
    def latest_tick(self) -> dict[str, Any] | None:
        """The last tick: symbol, instrument, last_price, volume, oi, bid, ask, exchange_timestamp, received_at. None before the first."""
        with self._changed:
            tick = self._latest
        if tick is None:
            return None
        return {
            "symbol": tick.instrument.symbol,
            "instrument": tick.instrument.key,
            "last_price": tick.price,
            "volume": tick.volume,
            "oi": tick.oi,
            "bid": tick.bid,
            "ask": tick.ask,
            "exchange_timestamp": tick.exchange_at,
            "received_at": tick.at,
        }

    def wait(self, seconds: float) -> bool:
        """Block until a first tick is there, at most that long; whether there is one."""
        with self._changed:
            return self._changed.wait_for(lambda: self._latest is not None, seconds)

    def _take(self, events: Sequence[Event], origin: str) -> None:
        with self._changed:
            for event in events:
                if isinstance(event, Tick):
                    if event.price > 0 and (self._gate is None or not self._gate.admit(event)):
                        self._latest = self._ticks[event.instrument.key] = event
                elif isinstance(event, FeedStatus):
                    self.connected, self.problem = event.connected, "" if event.connected else event.reason
                elif isinstance(event, SessionStatus) and event.state is SessionState.LOGIN_REQUIRED:
                    self.problem = f"{event.reason}; log in at {event.login_url}"
            self._changed.notify_all()
