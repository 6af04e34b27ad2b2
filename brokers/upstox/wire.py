"""Upstox's two streams as pure code: protobuf market messages and JSON order updates in, ticks and order updates out.

The messages are read by protobuf's C runtime against a schema of our own that names only what a Tick needs: the rest of a full message
(greeks, candles, four of five levels) is skipped there and never becomes a Python object. Field numbers are those of Upstox's
MarketDataFeed V3 proto.

A live message may hold a part of an instrument only. What is absent keeps its last value of this connection; absence is never zero.
"""

import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

import brokers.upstox.mapping as mapping
from brokers.faults import Faults
from brokers.spec import Lookup
from core.errors import DataError
from core.events import Event, OrderUpdate
from core.types import IST, Instrument, Tick

_DOUBLE, _INT64, _STRING = 1, 3, 9  # descriptor.proto's numbers of the scalar types
_MESSAGE = 11
_SCHEMA: Mapping[str, Mapping[str, tuple[int, int | str]]] = {
    "LTPC": {"ltp": (1, _DOUBLE), "ltt": (2, _INT64), "ltq": (3, _INT64), "cp": (4, _DOUBLE)},
    "Quote": {"bidQ": (1, _INT64), "bidP": (2, _DOUBLE), "askQ": (3, _INT64), "askP": (4, _DOUBLE)},
    "MarketLevel": {"bidAskQuote": (1, "*Quote")},
    "MarketFullFeed": {"ltpc": (1, "LTPC"), "marketLevel": (2, "MarketLevel"), "vtt": (6, _INT64), "oi": (7, _DOUBLE)},
    "IndexFullFeed": {"ltpc": (1, "LTPC")},
    "FullFeed": {"marketFF": (1, "MarketFullFeed"), "indexFF": (2, "IndexFullFeed")},
    "FirstLevel": {"ltpc": (1, "LTPC"), "firstDepth": (2, "Quote"), "vtt": (4, _INT64), "oi": (5, _DOUBLE)},
    "Feed": {"ltpc": (1, "LTPC"), "fullFeed": (2, "FullFeed"), "firstLevelWithGreeks": (3, "FirstLevel")},
    "Entry": {"key": (1, _STRING), "value": (2, "Feed")},  # a map's entry on the wire
    "FeedResponse": {"feeds": (2, "*Entry"), "currentTs": (3, _INT64)},
}


def _parser() -> Callable[[bytes], Any]:
    """The C runtime's parser of a FeedResponse, from a schema in a pool of its own: the SDK's may be loaded beside it."""
    file = descriptor_pb2.FileDescriptorProto(name="niyam/upstox_feed.proto", package="niyam.upstox", syntax="proto3")
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            added = message.field.add(name=field, number=number, label=1)
            if isinstance(kind, int):
                added.type = kind
                continue
            added.type, added.type_name = _MESSAGE, f".niyam.upstox.{kind.lstrip('*')}"
            if kind.startswith("*"):
                added.label = 3
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made: Callable[[bytes], Any] = message_factory.GetMessageClass(pool.FindMessageTypeByName("niyam.upstox.FeedResponse")).FromString
    return made


parse = _parser()
_DAY_MS = 86_400_000
_IST_MS = 19_800_000
_REASONABLE = range(946_684_800_000, 4_102_444_800_000)  # 2000 to 2100 in epoch milliseconds


_MOST = 1e9  # rupees: no price is beyond


class Decoder:
    """Messages of one connection, in order, into Ticks. `instruments` is instrument key -> what is subscribed by it."""

    def __init__(self, instruments: Mapping[str, Instrument], faults: Faults | None = None) -> None:
        self.instruments = instruments
        self.faults = faults if faults is not None else Faults()
        self._last: dict[str, Tick] = {}
        self._stamp: tuple[int, datetime | None, int] = (0, None, 0)

    def forget(self) -> None:
        """A new connection starts with nothing known."""
        self._last.clear()

    def decode(self, message: bytes, at: datetime) -> list[Tick]:
        """The ticks of one binary message, stamped with the receive time `at`; one without feeds (market_info) has none.

        `exchange_at` is the server's time of the message; where the last trade is of an earlier day, that trade's time: the price is old.
        """
        try:
            response = parse(message)
        except (DecodeError, UnicodeDecodeError):
            self.faults.counts["message that is no protobuf"] += 1
            return []
        return self.ticks(response, at)

    def ticks(self, response: Any, at: datetime) -> list[Tick]:
        """The same of a message that is parsed already."""
        now_ms = response.currentTs
        if now_ms != self._stamp[0]:
            known = now_ms in _REASONABLE
            self._stamp = (now_ms, _time(now_ms) if known else None, now_ms - (now_ms + _IST_MS) % _DAY_MS if known else 0)
        _, sent_at, midnight = self._stamp
        ticks: list[Tick] = []
        get, last, tick, add = self.instruments.get, self._last, Tick, ticks.append
        for entry in response.feeds:
            key = entry.key
            instrument = get(key)
            if instrument is None:
                self.faults.unknown(key)
                continue
            feed = entry.value.fullFeed.marketFF
            levels = feed.marketLevel.bidAskQuote
            if levels:  # whole, as nearly all are
                trade, volume, oi = feed.ltpc, feed.vtt, feed.oi
                price, close = trade.ltp, trade.cp
                best = levels[0]
                sane = 0.0 < price < _MOST and 0.0 < close < _MOST and 0.0 <= best.bidP < _MOST and 0.0 <= best.askP < _MOST
                if sane and volume and trade.ltt >= midnight and 0 <= oi < 1e15:
                    before = None if oi else last.get(key)
                    interest = int(oi) if before is None else before.oi
                    made = last[key] = tick(
                        instrument, at, price, volume, trade.ltq, sent_at, best.bidP, best.askP, best.bidQ, best.askQ, interest, close
                    )
                    add(made)
                    continue
            merged = self._merged(instrument, key, entry.value, at, sent_at, midnight)
            if merged is not None:
                last[key] = merged
                add(merged)
        return ticks

    def _merged(self, instrument: Instrument, key: str, feed: Any, at: datetime, sent_at: datetime | None, midnight: int) -> Tick | None:
        """A tick of a message that lacks something, or of another mode: what is there, over what was known."""
        before = self._last.get(key)
        part, best = _parts(feed)
        if part is None or not part.HasField("ltpc"):
            trade = None
            if part is None or before is None:
                self.faults.counts["feed without a price"] += 1
                return None
        else:
            trade = part.ltpc
        volume, oi = getattr(part, "vtt", 0), getattr(part, "oi", 0.0)
        if not 0 <= oi < 1e15:
            self.faults.counts["open interest out of range"] += 1
            return None
        price = trade.ltp if trade is not None else 0.0
        if trade is not None and not price:
            self.faults.counts["feed without a price"] += 1
            return None
        made = trade.ltt if trade is not None else 0
        old = bool(made) and made < midnight
        tick = Tick(
            instrument=instrument,
            at=at,
            price=price or (before.price if before else 0.0),
            volume=volume or (before.volume if before else 0),
            quantity=(trade.ltq if trade is not None else 0) or (before.quantity if before and trade is None else 0),
            exchange_at=(_time(made) if made in _REASONABLE else None) if old else sent_at,
            bid=best.bidP if best is not None else before.bid if before else 0.0,
            ask=best.askP if best is not None else before.ask if before else 0.0,
            bid_quantity=best.bidQ if best is not None else before.bid_quantity if before else 0,
            ask_quantity=best.askQ if best is not None else before.ask_quantity if before else 0,
            oi=int(oi) or (before.oi if before else 0),
            previous_close=(trade.cp if trade is not None else 0.0) or (before.previous_close if before else 0.0),
        )
        if not all(0.0 <= one < _MOST for one in (tick.price, tick.bid, tick.ask, tick.previous_close)):
            self.faults.counts["price out of range"] += 1
            return None
        return tick


def _parts(feed: Any) -> tuple[Any, Any]:
    """(what carries ltpc, vtt and oi; the best level) of a feed of any mode; None where it has none."""
    if feed.HasField("fullFeed"):
        full = feed.fullFeed
        if full.HasField("indexFF"):
            return full.indexFF, None
        if full.HasField("marketFF"):
            levels = full.marketFF.marketLevel.bidAskQuote
            return full.marketFF, levels[0] if levels else None
        return None, None
    if feed.HasField("firstLevelWithGreeks"):
        first = feed.firstLevelWithGreeks
        return first, first.firstDepth if first.HasField("firstDepth") else None
    return (feed, None) if feed.HasField("ltpc") else (None, None)


def _time(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms / 1000, IST)


# --- texts of the portfolio stream ------------------------------------------------------------------------------------------------------


def parse_text(payload: str | bytes, at: datetime, lookup: Lookup, faults: Faults) -> list[OrderUpdate]:
    """The order update of a portfolio message, if it is one; positions, holdings and GTT updates are left to the polled books."""
    try:
        message = json.loads(payload)
    except ValueError:  # a UnicodeDecodeError is one too
        faults.counts["text that is no JSON"] += 1
        return []
    if not isinstance(message, dict):
        faults.counts["text of an unknown shape"] += 1
        return []
    if message.get("update_type") == "order":
        try:
            return [mapping.order_update(message, at, "stream", lookup())]
        except DataError as error:
            faults.counts["order text without its fields"] += 1
            faults.texts.append(str(error))
    elif message.get("status") == "error" or "errors" in message:
        faults.counts["error text"] += 1
        faults.texts.append(str(message.get("errors"))[:200])
    return []


# --- the dialects of the socket loop --------------------------------------------------------------------------------------------------


Authorize = Callable[[str, str], str]
"""(token, feed's path) -> the address to dial, good for one connection; raises brokers.stream's Refused or Closed."""


class MarketDialect:
    """What brokers/stream.py must know of the market data feed. One object serves all connections of one feed, one after the other."""

    def __init__(self, authorize: Authorize, lookup: Lookup) -> None:
        self._authorize = authorize
        self._lookup = lookup
        self._instruments: dict[str, Instrument] = {}
        self.faults = Faults()
        self._decoder = Decoder(self._instruments, self.faults)

    def address(self, token: str) -> tuple[str, Mapping[str, str]]:
        """(URL, headers) of a new connection; the URL holds a one-time code and is never shown."""
        self._instruments.clear()  # keys are resolved again: they roll with the day's snapshot
        self._decoder.forget()
        return self._authorize(token, "/v3/feed/market-data-feed/authorize"), {}

    def dead_token(self, status: int, body: str) -> bool:
        """403 is a used address or one connection too many; only 401 means the token."""
        return status == 401 or mapping.DEAD_TOKEN in body

    def subscribe(self, instruments: Sequence[Instrument]) -> list[str | bytes]:
        """The message that subscribes `instruments` in full mode; the broker reads binary frames alone."""
        keys = self._keys(instruments)
        return [_ask("sub", keys, "full")] if keys else []

    def unsubscribe(self, instruments: Sequence[Instrument]) -> list[str | bytes]:
        keys = self._keys(instruments)
        return [_ask("unsub", keys)] if keys else []

    def take(self, payload: bytes | str, at: datetime) -> Sequence[Event]:
        """The events of one message."""
        if isinstance(payload, bytes):
            return self._decoder.decode(payload, at)
        self.faults.counts["text"] += 1
        self.faults.texts.append(payload[:200])
        return []

    def _keys(self, instruments: Iterable[Instrument]) -> list[str]:
        keys, lookup = [], self._lookup()
        for instrument in instruments:
            try:
                key = str(lookup.token(instrument))
            except DataError as error:
                self.faults.counts["instrument without a token"] += 1
                self.faults.texts.append(str(error))
                continue
            self._instruments[key] = instrument
            keys.append(key)
        return keys


class PortfolioDialect:
    """The portfolio stream: order updates as JSON texts, nothing to subscribe."""

    def __init__(self, authorize: Authorize, lookup: Lookup) -> None:
        self._authorize = authorize
        self._lookup = lookup
        self.faults = Faults()

    def address(self, token: str) -> tuple[str, Mapping[str, str]]:
        return self._authorize(token, "/v2/feed/portfolio-stream-feed/authorize?update_types=order"), {}

    def dead_token(self, status: int, body: str) -> bool:
        return status == 401 or mapping.DEAD_TOKEN in body

    def subscribe(self, instruments: Sequence[Instrument]) -> list[str | bytes]:
        return []

    def unsubscribe(self, instruments: Sequence[Instrument]) -> list[str | bytes]:
        return []

    def take(self, payload: bytes | str, at: datetime) -> Sequence[Event]:
        return parse_text(payload, at, self._lookup, self.faults)


def _ask(method: str, keys: list[str], mode: str = "") -> bytes:
    data: dict[str, Any] = {"mode": mode, "instrumentKeys": keys} if mode else {"instrumentKeys": keys}
    guid = uuid.uuid5(uuid.NAMESPACE_URL, f"{method} {' '.join(keys)}")  # no chance in a day that is to repeat
    return json.dumps({"guid": str(guid), "method": method, "data": data}).encode()
