"""Upstox's two streams as pure code: protobuf market messages and JSON order updates in, ticks and order updates out.

The messages are read by protobuf's C runtime against a schema of our own: what no Tick needs (greeks, candles, four of five levels) is
skipped there and never becomes a Python object. Field numbers are those of Upstox's MarketDataFeed V3 proto. A feed's parts are eight
Python objects, and to make them takes as long as to read them: so one response takes in feed after feed, and its parts are made once.

A live message may hold a part of an instrument only. What is absent keeps its last value of this connection; absence is never zero.
"""

import json
import uuid
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

import brokers.upstox.mapping as mapping
from brokers.faults import Faults
from brokers.spec import Lookup
from core.errors import DataError
from core.events import Event, OrderUpdate
from core.types import IST, Instrument, Tick

_DOUBLE, _INT64, _STRING, _BYTES = 1, 3, 9, 12  # descriptor.proto's numbers of the scalar types
_MESSAGE = 11
_UNREAD = {"optionGreeks": (3, _BYTES), "marketOHLC": (4, _BYTES), "atp": (5, _DOUBLE), "iv": (8, _DOUBLE)}
_UNREAD |= {"tbq": (9, _DOUBLE), "tsq": (10, _DOUBLE)}  # named, because the runtime keeps what it doesn't know, which takes longer
_SCHEMA: Mapping[str, Mapping[str, tuple[int, int | str]]] = {
    "LTPC": {"ltp": (1, _DOUBLE), "ltt": (2, _INT64), "ltq": (3, _INT64), "cp": (4, _DOUBLE)},
    "Quote": {"bidQ": (1, _INT64), "bidP": (2, _DOUBLE), "askQ": (3, _INT64), "askP": (4, _DOUBLE)},
    "MarketLevel": {"bidAskQuote": (1, "*Quote")},
    "MarketFullFeed": {"ltpc": (1, "LTPC"), "marketLevel": (2, "MarketLevel"), "vtt": (6, _INT64), "oi": (7, _DOUBLE), **_UNREAD},
    "IndexFullFeed": {"ltpc": (1, "LTPC")},
    "FullFeed": {"marketFF": (1, "MarketFullFeed"), "indexFF": (2, "IndexFullFeed")},
    "FirstLevel": {"ltpc": (1, "LTPC"), "firstDepth": (2, "Quote"), "vtt": (4, _INT64), "oi": (5, _DOUBLE)},
    "Feed": {"ltpc": (1, "LTPC"), "fullFeed": (2, "FullFeed"), "firstLevelWithGreeks": (3, "FirstLevel"), "requestMode": (4, _INT64)},
    "Entry": {"key": (1, _STRING), "value": (2, "Feed")},  # a map's entry on the wire
    "FeedResponse": {"type": (1, _INT64), "feed": (2, "Entry"), "currentTs": (3, _INT64)},  # of one feed: see `_apart`
}


def _response_class() -> Any:
    """The C runtime's class of a FeedResponse, from a schema in a pool of its own: the SDK's may be loaded beside it."""
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
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("niyam.upstox.FeedResponse"))


def _part(number: int, *fields: bytes) -> bytes:
    """A field that holds other fields, on the wire."""
    body = b"".join(fields)
    return bytes((number << 3 | 2, len(body))) + body


_Response = _response_class()
_PRICE = bytes(8)  # 0.0
_TRADE = _part(1, b"\x09" + _PRICE, b"\x10\x00\x18\x00", b"\x21" + _PRICE)
_NOTHING = _part(2, _part(1), _part(2, _part(2, _part(1, _TRADE, _part(2), b"\x30\x00", b"\x39" + _PRICE)))) + b"\x18\x00"
"""A message that says zero of all that a whole feed's tick is made of; before a feed, so that what that leaves out is zero, as it means."""

_TYPE, _FEED = 0x08, 0x12  # how a FeedResponse's first two fields begin on the wire
_UNREADABLE = "message that is no protobuf"
_KEPT_BYTES = 32_768  # what one response takes in before another follows: more would leave the processor's cache
_DAY_MS = 86_400_000
_IST_MS = 19_800_000
_REASONABLE = range(946_684_800_000, 4_102_444_800_000)  # 2000 to 2100 in epoch milliseconds
_MILLISECONDS = [timedelta(milliseconds=number) for number in range(1000)]
_MOST = 1e9  # rupees: no price is beyond

Level = tuple[float, int, float, int]
"""Bid price, bid quantity, ask price, ask quantity."""
_level: Callable[[Any], Level] = attrgetter("bidP", "bidQ", "askP", "askQ")


def _apart(message: bytes) -> Sequence[bytes]:
    """`message` as one for each of its feeds, with the other fields (the time) behind each; none where there is no feed.

    Raises DecodeError for what is cut short or is no protobuf.
    """
    feeds, rest, place, end = [], b"", 0, len(message)
    try:
        while place < end:
            tag, low, begun = message[place], message[place + 1], place
            if tag == _FEED and low > 127 > message[place + 2]:
                place += low + (message[place + 2] << 7) - 125
            else:
                place = _end_of_field(message, place)
            if tag == _FEED:
                feeds.append(message[begun:place])
            else:
                rest += message[begun:place]
    except IndexError:
        place = end + 1
    if place > end:
        raise DecodeError("cut short")
    if not feeds:
        _Response.FromString(rest)
    return [feed + rest for feed in feeds]


def _end_of_field(message: bytes, place: int) -> int:
    """Where the field ends that begins at `place`; raises IndexError or DecodeError."""
    tag, place = _number(message, place)
    if tag & 7 == 0:
        return _number(message, place)[1]
    if tag & 7 == 2:
        size, place = _number(message, place)
        return place + size
    if tag & 7 in (1, 5):
        return place + (8 if tag & 7 == 1 else 4)
    raise DecodeError(f"a field of type {tag & 7}")


def _number(message: bytes, place: int) -> tuple[int, int]:
    """The number at `place`, seven bits a byte, and where it ends; raises IndexError or DecodeError."""
    found = 0
    for shift in range(0, 70, 7):
        found |= (message[place] & 127) << shift
        place += 1
        if message[place - 1] < 128:
            return found, place
    raise DecodeError("a number of more than ten bytes")


class Decoder:
    """Messages of one connection, in order, into Ticks. `instruments` is instrument key -> what is subscribed by it."""

    def __init__(self, instruments: Mapping[str, Instrument], faults: Faults | None = None) -> None:
        self.instruments = instruments
        self.faults = faults if faults is not None else Faults()
        self._last: dict[str, Tick] = {}
        self._now_ms = self._second = self._midnight = 0  # of the latest message, in epoch milliseconds
        self._second_at = _time(0)
        self._sent_at: datetime | None = None
        self._begin()

    def _begin(self) -> None:
        """Another response for the feeds to come, and its parts."""
        self._taken = 0
        response = _Response.FromString(_NOTHING)
        full = response.feed.value.fullFeed.marketFF
        levels = full.marketLevel.bidAskQuote
        levels.add()  # an empty list is not held by the response yet
        self._parts = (response.MergeFromString, response, response.feed, full, full.ltpc, levels)

    def forget(self) -> None:
        """A new connection starts with nothing known."""
        self._last.clear()

    def decode(self, message: bytes, at: datetime, books: MutableMapping[str, list[Level]] | None = None) -> list[Tick]:
        """The ticks of one binary message, stamped with the receive time `at`; one without feeds (market_info) has none.

        `exchange_at` is the server's time of the message; where the last trade is of an earlier day, that trade's time: the price is old.
        `books`, where given, takes in the levels of each full feed that has any, best first, by instrument key.
        """
        size = len(message)
        self._taken += size
        if self._taken > _KEPT_BYTES:
            self._begin()
        merge, response, entry, full, trade, levels = self._parts
        instruments, last = self.instruments, self._last
        ticks: list[Tick] = []
        try:
            # one live feed and seven bytes behind it, as most are: the time, and too few for another feed that says anything
            alone = size > 16 and message[0] == _TYPE and message[2] == _FEED and message[3] > 127 > message[4]
            for feed in (message,) if alone and message[3] + (message[4] << 7) == size + 116 else _apart(message):
                del levels[:]
                merge(_NOTHING + feed)
                key, now_ms = entry.key, response.currentTs
                if now_ms != self._now_ms:
                    self._stamp(now_ms)
                instrument = instruments.get(key)
                if instrument is None:
                    self.faults.unknown(key)
                    continue
                if levels:  # whole, as nearly all are
                    if books is not None:
                        books[key] = [*map(_level, levels[:])]
                    best, volume, oi = levels[0], full.vtt, full.oi
                    price, close, bid, ask = trade.ltp, trade.cp, best.bidP, best.askP
                    sane = price > 0.0 and close > 0.0 and bid >= 0.0 and ask >= 0.0 and price + close + bid + ask < _MOST
                    if sane and volume and trade.ltt >= self._midnight and 0.0 <= oi < 1e15:
                        before = None if oi else last.get(key)
                        interest = int(oi) if before is None else before.oi
                        last[key] = tick = Tick(
                            instrument, at, price, volume, trade.ltq, self._sent_at, bid, ask, best.bidQ, best.askQ, interest, close
                        )
                        ticks.append(tick)
                        continue
                merged = self._merged(instrument, key, _Response.FromString(feed).feed.value, at)
                if merged is not None:
                    last[key] = merged
                    ticks.append(merged)
        except (DecodeError, UnicodeDecodeError):
            self._begin()  # a part of it may have been taken in
            self.faults.counts[_UNREADABLE] += 1
        return ticks

    def _stamp(self, now_ms: int) -> None:
        """Note the server's time of a message, and the midnight before it."""
        self._now_ms = now_ms
        if now_ms not in _REASONABLE:
            self._sent_at, self._second, self._midnight = None, 0, 0
            return
        passed = now_ms - self._second
        if not 0 <= passed < 1000:
            passed = now_ms % 1000
            self._second, self._second_at = now_ms - passed, _time(now_ms - passed)
            self._midnight = now_ms - (now_ms + _IST_MS) % _DAY_MS
        self._sent_at = self._second_at + _MILLISECONDS[passed]

    def _merged(self, instrument: Instrument, key: str, feed: Any, at: datetime) -> Tick | None:
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
        old = bool(made) and made < self._midnight
        tick = Tick(
            instrument=instrument,
            at=at,
            price=price or (before.price if before else 0.0),
            volume=volume or (before.volume if before else 0),
            quantity=(trade.ltq if trade is not None else 0) or (before.quantity if before and trade is None else 0),
            exchange_at=(_time(made) if made in _REASONABLE else None) if old else self._sent_at,
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


def parse_order(payload: str | bytes, at: datetime, lookup: Lookup, faults: Faults) -> list[OrderUpdate]:
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


class FeedDialect:
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


class OrderDialect:
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
        return parse_order(payload, at, self._lookup, self.faults)


def _ask(method: str, keys: list[str], mode: str = "") -> bytes:
    data: dict[str, Any] = {"mode": mode, "instrumentKeys": keys} if mode else {"instrumentKeys": keys}
    guid = uuid.uuid5(uuid.NAMESPACE_URL, f"{method} {' '.join(keys)}")  # no chance in a day that is to repeat
    return json.dumps({"guid": str(guid), "method": method, "data": data}).encode()
