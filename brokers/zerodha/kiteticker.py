"""KiteTicker as the feed's transport: Zerodha's own client and parser behind the same loop, for the day Zerodha changes its wire.

The loop of brokers/stream.py keeps its part (token at each attempt, backoff, silence, ledger); KiteTicker's own retries are switched
off, and its TLS, which verifies nothing as shipped, is verified here. It runs on Twisted's reactor in one daemon thread for the whole
process. Under granted time it works at speed 1 and promises no digest.
"""

import functools
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import certifi
from autobahn.twisted.websocket import connectWS
from kiteconnect.ticker import KiteTicker
from twisted.internet import reactor, ssl

import brokers.zerodha.wire as wire
from brokers.faults import Faults
from brokers.spec import Lookup
from brokers.stream import Closed, Refused
from core.events import Event
from core.ports import Clock
from core.types import IST, Instrument, Tick

_CONNECT_SECONDS = 10.0
_REACTOR = threading.Lock()

Tokens = Callable[[Sequence[Instrument]], list[int]]


class TickerTransport:
    """Opens one KiteTicker for each connection; its ticks and order updates are what `take` turns into events."""

    def __init__(self, clock: Clock, root: str, api_key: Callable[[], str], lookup: Lookup) -> None:
        self._clock = clock
        self._root = root
        self._api_key = api_key
        self._lookup = lookup
        self._instruments: dict[int, Instrument] = {}
        self._first = wire.FirstTicks()
        self.faults = Faults()

    def open(self, token: str) -> "TickerLink":
        _start_reactor()
        self._instruments.clear()
        link = TickerLink(self._clock, VerifiedTicker(self._api_key(), token, root=self._root), self._asked, self._tokens)
        until = self._clock.monotonic() + _CONNECT_SECONDS
        self._clock.wait_for(lambda: link.opened or bool(link.over), until)
        if not link.opened:
            reason = link.over or f"no answer within {_CONNECT_SECONDS:.0f} s"
            link.close()
            if "(403" in reason:
                raise Refused(f"the stream answered the handshake with HTTP 403 ({reason})", dead_token=True)
            raise Closed(f"no connection: {reason}")
        return link

    def _asked(self, instruments: Sequence[Instrument]) -> list[int]:
        self._first.asked(instruments)
        return self._tokens(instruments)

    def take(self, message: Any, at: datetime) -> Sequence[Event]:
        kind, content = message
        if kind == "ticks":
            return self._first.passed([tick for row in content if (tick := self._tick(row, at)) is not None], self.faults)
        if kind == "text":
            return wire.parse_order(content, at, self._lookup, self.faults)
        return ()

    def _tick(self, row: Mapping[str, Any], at: datetime) -> Tick | None:
        """One of KiteTicker's dicts as a Tick; the keys depend on the packet's mode."""
        instrument = self._instruments.get(row["instrument_token"])
        if instrument is None:
            self.faults.unknown(row["instrument_token"])
            return None
        depth = row.get("depth")
        bid, ask = (depth["buy"][0], depth["sell"][0]) if depth else ({}, {})
        return Tick(
            instrument,
            at,
            row["last_price"],
            row.get("volume_traded", 0),
            row.get("last_traded_quantity", 0),
            _exchange_time(row.get("exchange_timestamp")),
            bid.get("price", 0.0),
            ask.get("price", 0.0),
            bid.get("quantity", 0),
            ask.get("quantity", 0),
            row.get("oi", 0),
            row.get("ohlc", {}).get("close", 0.0),
        )

    def _tokens(self, instruments: Sequence[Instrument]) -> list[int]:
        return wire.tokens_of(instruments, self._lookup(), self._instruments, self.faults)


class VerifiedTicker(KiteTicker):  # type: ignore[misc]  # the SDK has no types
    """KiteTicker with verified TLS, without retries of its own, and with the end of a connection told once."""

    def begin(self, over: Callable[[str], None]) -> None:
        """Connect; runs on the reactor's thread."""
        self._create_connection(self.socket_url, useragent=self._user_agent(), headers={"X-Kite-Version": "3"})
        factory = self.factory
        factory.continueTrying = 0
        factory.clientConnectionFailed = lambda connector, reason: over(reason.getErrorMessage())
        factory.clientConnectionLost = lambda connector, reason: over(reason.getErrorMessage())
        context = ssl.optionsForClientTLS(factory.host, trustRoot=_authorities()) if factory.isSecure else None
        connectWS(factory, contextFactory=context, timeout=_CONNECT_SECONDS)


class TickerLink:
    """One KiteTicker as a Link: its callbacks, on the reactor's thread, do nothing but append to a queue and announce it."""

    def __init__(self, clock: Clock, ticker: VerifiedTicker, asked: Tokens, tokens: Tokens) -> None:
        self._clock = clock
        self._ticker = ticker
        self._asked = asked
        self._tokens = tokens
        self._queue: deque[tuple[str, Any]] = deque()
        self._error = ""
        self.opened = False
        self.over = ""
        ticker.on_open = self._on_open
        ticker.on_message = self._on_message
        ticker.on_ticks = self._on_ticks
        ticker.on_error = self._on_error
        reactor.callFromThread(ticker.begin, self._on_over)

    def receive(self) -> tuple[str, Any]:
        self._clock.wait_for(lambda: bool(self._queue) or bool(self.over))
        if self._queue:
            return self._queue.popleft()
        raise Closed(self.over or "the wait was given up")

    def subscribe(self, instruments: Sequence[Instrument]) -> None:
        tokens = self._asked(instruments)
        if tokens:
            reactor.callFromThread(self._ticker.subscribe, tokens)
            reactor.callFromThread(self._ticker.set_mode, self._ticker.MODE_FULL, tokens)

    def unsubscribe(self, instruments: Sequence[Instrument]) -> None:
        tokens = self._tokens(instruments)
        if tokens:
            reactor.callFromThread(self._ticker.unsubscribe, tokens)

    def beat(self) -> None:
        """Kite sends the heartbeats itself."""

    def close(self) -> None:
        reactor.callFromThread(self._abort)
        self._on_over("closed by us")

    def _abort(self) -> None:
        if self._ticker.ws is not None:
            self._ticker.ws.dropConnection(abort=True)

    def _on_open(self, ticker: Any) -> None:
        self.opened = True
        self._clock.notify()

    def _on_message(self, ticker: Any, payload: bytes, is_binary: bool) -> None:
        if not is_binary:
            self._add("text", payload)
        elif len(payload) <= 4:  # a heartbeat; longer ones reach _on_ticks
            self._add("heartbeat", None)

    def _on_ticks(self, ticker: Any, ticks: list[dict[str, Any]]) -> None:
        self._add("ticks", ticks)

    def _on_error(self, ticker: Any, code: int, reason: Any) -> None:
        self._error = f"{code} {reason}"

    def _on_over(self, reason: str) -> None:
        self.over = self.over or self._error or reason or "connection over"
        self._clock.notify()

    def _add(self, kind: str, content: Any) -> None:
        self._queue.append((kind, content))
        self._clock.notify()


def _exchange_time(naive: datetime | None) -> datetime | None:
    """KiteTicker makes naive times in the host's zone; the epoch itself means that there was none."""
    if naive is None:
        return None
    at = naive.astimezone(IST)
    return at if at.timestamp() > 0 else None


@functools.cache
def _authorities() -> Any:
    """certifi's certificate authorities, as the native transport uses them."""
    end = "-----END CERTIFICATE-----"
    with open(certifi.where(), encoding="ascii", errors="ignore") as bundle:  # noqa: PTH123 - certifi names a file, not a Path
        certificates = [part[part.index("-----BEGIN") :] + end for part in bundle.read().split(end) if "-----BEGIN" in part]
    return ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(one) for one in certificates])


def _start_reactor() -> None:
    """Run the process's one reactor in a daemon thread, once; it cannot be started a second time, so it is never stopped."""
    with _REACTOR:
        if reactor.running:
            return
        running = threading.Event()
        reactor.callWhenRunning(running.set)
        threading.Thread(target=reactor.run, kwargs={"installSignalHandlers": False}, name="twisted", daemon=True).start()
        running.wait(_CONNECT_SECONDS)
