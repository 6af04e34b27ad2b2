"""Breeze's streams: a codec of Socket.IO over one websocket (Engine.IO 4), and what the events `stock` and `order` say.

A packet is a text that begins with its kind: 0 open, 2 ping, 3 pong, 40 connect, 41 disconnect, 42 event, 44 refusal. Pure but for the
greeting and the pongs, which go through the house's one socket loop (docs/adr: why no library of threads of its own).
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any

import msgspec

import brokers.icici.mapping as mapping
from brokers.faults import Faults
from brokers.spec import Lookup
from brokers.stream import Closed, Refused, SocketLink, SocketTransport
from core.errors import DataError
from core.events import Event, OrderUpdate
from core.ports import CodeLookup, Token
from core.types import IST, Instrument, Side, Tick

PATH = "/socket.io/?EIO=4&transport=websocket"
USER_AGENT = "python-socketio[client]/socket"
_OLDEST = 946_684_800  # seconds: what is earlier than 2000 is no trade's time
_NEWEST = 4_102_444_800  # and from 2100 on
_EQUITY, _CONTRACT = 21, 23  # items of a quote
_QUOTE = '42["stock",["'  # how a packet with a quote begins
_ORDER_ITEMS = 47  # items of an order message, as breeze-connect 1.0.69 reads it
_JSON = msgspec.json.Decoder()

Auth = Callable[[str], Mapping[str, str]]
"""Token of the day -> what the CONNECT packet carries."""


class PongLink(SocketLink):
    """An open connection that answers the server's pings."""

    def receive(self) -> bytes | str:
        message = super().receive()
        if message == "2":
            self.send(["3"])
        return message


class SocketIoTransport(SocketTransport):
    """A connection that has said who it is before anything is subscribed."""

    def __init__(self, clock: Any, lane: str, dialect: "FeedDialect | OrderDialect", auth: Auth) -> None:
        super().__init__(clock, lane, dialect)
        self._auth = auth

    @property
    def link(self) -> type[SocketLink]:
        return PongLink

    def _greet(self, link: SocketLink, token: str) -> None:
        opened = _text(link.receive())
        if not opened.startswith("0"):
            raise Closed(f"the stream began with {opened[:60]!r}, not with its open packet")
        link.send([f"40{msgspec.json.encode(self._auth(token)).decode()}"])
        answer = _text(link.receive())
        while answer == "2":
            answer = _text(link.receive())
        if answer.startswith("44"):
            raise Refused(f"the stream refused the session: {answer[2:122]}", dead_token=True)
        if not answer.startswith("40"):
            raise Closed(f"the stream answered the session with {answer[:60]!r}")


class _Dialect:
    """Packets in, events of ours out. Whatever does not read is counted and left."""

    event = ""

    def __init__(self, root: str, lookup: Lookup) -> None:
        self._root = root
        self._lookup = lookup
        self.faults = Faults()

    def address(self, token: str) -> tuple[str, Mapping[str, str]]:
        """The host, path and parameters of Socket.IO's websocket; the session follows in a packet of its own."""
        return f"{self._root}{PATH}", {"User-Agent": USER_AGENT}

    def dead_token(self, status: int, body: str) -> bool:
        """The handshake carries no token, so that its refusal says nothing of it."""
        return False

    def take(self, payload: bytes | str, at: datetime) -> Sequence[Event]:
        if isinstance(payload, bytes):
            self.faults.counts["binary message"] += 1
            return ()
        if payload in ("2", "3", "6"):
            return ()
        if not payload.startswith("42"):
            self.faults.counts["packet of another kind"] += 1
            self.faults.texts.append(payload[:200])
            return ()
        try:
            name, *rest = _JSON.decode(payload[payload.index("[") :])
        except (ValueError, TypeError, msgspec.DecodeError):
            self.faults.counts["unreadable packet"] += 1
            return ()
        if name != self.event or not rest or not isinstance(rest[0], list):
            self.faults.counts["event of another name" if isinstance(name, str) else "unreadable packet"] += 1
            self.faults.texts.append(payload[:200])
            return ()
        try:
            found = self._event(rest[0], at)
        except (ValueError, TypeError, IndexError, OverflowError, DataError) as error:
            self.faults.counts["unreadable event"] += 1
            self.faults.texts.append(f"{type(error).__name__}: {error}"[:200])
            return ()
        return (found,) if found is not None else ()

    def _event(self, items: list[Any], at: datetime) -> Event | None:
        raise NotImplementedError


_Last = Annotated[float, msgspec.Meta(gt=0.0, le=1e9)]
_Price = Annotated[float, msgspec.Meta(ge=0.0, le=1e9)] | None


class _Quote(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """What every quote begins with; an index has no bid, no ask and no quantities."""

    room: str
    open: Any
    last: _Last
    high: Any
    low: Any
    change: Any
    bid: _Price
    bid_quantity: int | None
    ask: _Price
    ask_quantity: int | None
    quantity: int | None
    average: Any


class _ShareQuote(_Quote, array_like=True, forbid_unknown_fields=True, gc=False):
    """A quote of 21 items (cash, index)."""

    volume: int | None
    buying: Any
    selling: Any
    value: Any
    trend: Any
    lowest: _Price
    highest: _Price
    traded_at: int | None
    close: _Price

    oi = 0


class _ContractQuote(_Quote, array_like=True, forbid_unknown_fields=True, gc=False):
    """A quote of 23 items: with open interest."""

    oi: int | None
    oi_change: Any
    volume: int | None
    buying: Any
    selling: Any
    value: Any
    trend: Any
    lowest: _Price
    highest: _Price
    traded_at: int | None
    close: _Price


_Read = Callable[[str], tuple[str, _ShareQuote | _ContractQuote]]
_read_share: _Read = msgspec.json.Decoder(tuple[str, _ShareQuote]).decode
_read_contract: _Read = msgspec.json.Decoder(tuple[str, _ContractQuote]).decode


class FeedDialect(_Dialect):
    """Live ticks: rooms are joined by name, and each quote carries its room's."""

    event = "stock"

    def __init__(self, root: str, lookup: Lookup, circuits: MutableMapping[str, tuple[date, float, float]] | None = None) -> None:
        """`circuits` is where the day's price limits of each instrument are noted, as its quotes tell them."""
        super().__init__(root, lookup)
        self._rooms: dict[str, tuple[Instrument, _Read]] = {}
        self._circuits = circuits if circuits is not None else {}

    def subscribe(self, instruments: Sequence[Instrument]) -> Sequence[str | bytes]:
        """One `join` for all; what the day's master does not hold is counted."""
        rooms: list[str] = []
        for one in instruments:
            token = self._token(one)
            if token is not None:
                name = mapping.room(token)
                self._rooms[name] = (one, _read_share if one.expiry is None else _read_contract)
                rooms.append(name)
        return [_emit("join", rooms)] if rooms else []

    def unsubscribe(self, instruments: Sequence[Instrument]) -> Sequence[str | bytes]:
        wanted = {one.key for one in instruments}
        rooms = [name for name, (one, _) in self._rooms.items() if one.key in wanted]
        for name in rooms:
            del self._rooms[name]
        return [_emit("leave", rooms)] if rooms else []

    def _token(self, instrument: Instrument) -> Token | None:
        try:
            return self._lookup().token(instrument)
        except DataError as error:
            self.faults.counts["instrument without a token"] += 1
            self.faults.texts.append(str(error))
            return None

    def take(self, payload: bytes | str, at: datetime) -> Sequence[Event]:
        """A quote of the usual types is read into them in one go; whatever else came, item by item."""
        if isinstance(payload, str) and payload.startswith(_QUOTE):
            known = self._rooms.get(payload[13 : payload.find('"', 13)])
            if known is not None:
                instrument, read = known
                try:
                    told = read(payload[2:])[1]
                except msgspec.DecodeError:
                    return super().take(payload, at)
                low, high = told.lowest, told.highest
                if low and high and low < high:
                    self._circuits[instrument.key] = (at.date(), low, high)
                return (
                    Tick(
                        instrument,
                        at,
                        told.last,
                        told.volume or 0,
                        told.quantity or 0,
                        _moment(told.traded_at),
                        told.bid or 0.0,
                        told.ask or 0.0,
                        told.bid_quantity or 0,
                        told.ask_quantity or 0,
                        told.oi or 0,
                        told.close or 0.0,
                    ),
                )
        return super().take(payload, at)

    def _event(self, items: list[Any], at: datetime) -> Tick | None:
        instrument, _ = self._rooms.get(items[0], (None, None))
        if instrument is None:
            self.faults.counts["unknown room"] += 1
            return None
        tick = quote(items, instrument, at)
        low, high = _price(items[-4]), _price(items[-3])
        if 0.0 < low < high:
            self._circuits[instrument.key] = (at.date(), low, high)
        return tick


class OrderDialect(_Dialect):
    """Order notifications: nothing is joined, the session says whose."""

    event = "order"

    def __init__(self, root: str, lookup: Callable[[], CodeLookup]) -> None:
        super().__init__(root, lookup)
        self._codes = lookup

    def address(self, token: str) -> tuple[str, Mapping[str, str]]:
        url, headers = super().address(token)
        # where one machine plays all hosts (a simulator) the query says which is meant
        return (url if url.startswith("wss://") else f"{url}&host=livefeeds"), headers

    def subscribe(self, instruments: Sequence[Instrument]) -> Sequence[str | bytes]:
        return []

    def unsubscribe(self, instruments: Sequence[Instrument]) -> Sequence[str | bytes]:
        return []

    def _event(self, items: list[Any], at: datetime) -> OrderUpdate | None:
        return order(items, at, self._codes())


def quote(items: Sequence[Any], instrument: Instrument, at: datetime) -> Tick:
    """A quote of 21 items (cash, index) or 23 (contracts, with open interest); raises ValueError for another length or no price."""
    if len(items) == _CONTRACT:
        oi, volume = _whole(items[12]), _whole(items[14])
    elif len(items) == _EQUITY:
        oi, volume = 0, _whole(items[12])
    else:
        raise ValueError(f"a quote of {len(items)} items")
    price = float(items[2])
    if not price > 0.0 or price > 1e9:
        raise ValueError(f"a last price of {items[2]!r}")
    return Tick(
        instrument,
        at,
        price,
        volume,
        _whole(items[10]),
        _time(items[-2]),
        _price(items[6]),
        _price(items[8]),
        _whole(items[7]),
        _whole(items[9]),
        oi,
        _price(items[-1]),
    )


def order(items: Sequence[Any], at: datetime, lookup: CodeLookup) -> OrderUpdate:
    """An order notification of 47 texts: types 4 and 5 are shares, 6 and 7 contracts. Raises ValueError or DataError."""
    if len(items) != _ORDER_ITEMS:
        raise ValueError(f"an order notification of {len(items)} items")
    texts = [str(item) if item is not None else "" for item in items]
    kind, exchange = texts[11], texts[13]
    if kind in ("4", "5"):
        side, flag, price, letter, number = texts[15], texts[16], texts[18], texts[20], texts[23]
        quantity, executed, trigger, average = texts[24], texts[26], texts[30], texts[42]
        row: dict[str, Any] = {"product_type": {"C": "cash", "B": "btst", "M": "margin"}.get(texts[19], texts[19])}
    elif kind in ("6", "7"):
        side, flag, price, letter, number = texts[21], texts[22], texts[24], texts[25], texts[26]
        quantity, executed, trigger, average = texts[27], texts[28], texts[31], texts[39]
        right = {"C": "call", "P": "put"}.get(texts[16], "others")
        row = {"product_type": {"F": "futures", "O": "options"}.get(texts[15], texts[15]), "expiry_date": texts[19], "right": right}
        row["strike_price"] = texts[18]
        exchange = {"NSE": "NFO", "BSE": "BFO"}.get(exchange, exchange)
    else:
        raise ValueError(f"an order notification of type {kind!r}")
    total, filled = mapping.whole(quantity), mapping.whole(executed)
    row |= {
        "status": mapping.LETTERS.get(letter, f"letter {letter}"),
        "order_id": number,
        "exchange_code": exchange,
        "stock_code": texts[14],
        "action": {"B": Side.BUY, "S": Side.SELL}.get(side, side),
        "quantity": total,
        "executed_quantity": filled,
        "average_price": average,
        "order_type": "stoploss" if flag == "S" else "limit",
        "stoploss": trigger,
        "price": price,
    }
    return mapping.order_update(row, at, "stream", lookup)


def _emit(name: str, rooms: list[str]) -> str:
    return f"42{msgspec.json.encode([name, rooms]).decode()}"


def _text(message: bytes | str) -> str:
    return message if isinstance(message, str) else message.decode("utf-8", "replace")


def _whole(value: Any) -> int:
    return int(value) if value is not None and value != "" else 0


def _price(value: Any) -> float:
    """A price or 0.0 where the side of the book is empty; raises ValueError for what is none."""
    price = float(value) if value is not None and value != "" else 0.0
    if not 0.0 <= price <= 1e9:
        raise ValueError(f"{value!r} is no price")
    return price


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC).astimezone(IST)


def _time(value: Any) -> datetime | None:
    """The last trade's time; its seconds since 1970 are plain, whatever the SDK's local formatting says."""
    seconds = int(value) if value is not None and value != "" else 0
    return _EPOCH + timedelta(seconds=seconds) if _OLDEST < seconds < _NEWEST else None


_moment = lru_cache(maxsize=256)(_time)  # trades of one second are of many instruments
