"""Breeze's Socket.IO without sockets: Engine.IO 4 packets over a websocket, auth, rooms, and the events stock, order, 1SEC to 30MIN.

Three servers in one: live ticks (`socket.io`), order notifications (`socket.io` of another host, here named by `host=livefeeds` in the
query), and candles (`ohlcvstream`). Nothing but an open packet comes before the CONNECT packet with the session's user and key.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from simulators.faults import Faults
from simulators.icici_data import MarketData
from simulators.icici_names import Names, Scrip
from simulators.icici_rows import order_message, status
from simulators.icici_session import Sessions
from simulators.listing import Quote
from simulators.orders import Change, Status
from simulators.streams import Stream, Streams
from simulators.wire import Connection, Request, Response, dump
from simulators.world import World

LIVE, CANDLES = "/socket.io", "/ohlcvstream"
PING_EVERY = timedelta(seconds=25)
MOST_ROOMS = 2000
NOT_AUTHENTICATED = "Authentication failed"
MINUTES = (1, 5, 30)
_SILENT = frozenset({Status.RECEIVED, Status.VALIDATING, Status.MODIFY_VALIDATING, Status.MODIFY_PENDING, Status.CANCEL_PENDING})


class _Nobody:
    """Who a connection belongs to before its CONNECT packet."""

    user = ""

    def alive(self, now: datetime) -> bool:
        return True


@dataclass(slots=True)
class BreezeStream(Stream):
    """`kind` is live, orders or candles; `minute` is the last minute whose candles were told."""

    kind: str = "live"
    pinged_at: datetime | None = None
    unanswered: bool = False
    minute: datetime | None = None
    closing: bool = False
    joined: bool = False


class BreezeStreams(Streams):
    """All connections of all users."""

    def __init__(self, world: World, sessions: Sessions, faults: Faults, names: Names, data: MarketData) -> None:
        super().__init__(world, faults)
        self._sessions = sessions
        self._scrips = names
        self._data = data
        self._opened = 0
        self._told = 0

    # --- connections ----------------------------------------------------------------------------------------------------------------

    def connect(self, request: Request, connection: Connection, now: datetime) -> Response | None:
        """None lets the handshake in."""
        path = request.path.rstrip("/")
        if path not in (LIVE, CANDLES):
            return Response(404)
        if request.argument("EIO") != "4" or request.argument("transport") != "websocket":
            return Response(400, dump({"code": 5, "message": "Unsupported protocol version"}))
        feeds = request.argument("host") == "livefeeds" or request.headers.get("host", "").startswith("livefeeds.")
        kind = "candles" if path == CANDLES else "orders" if feeds else "live"
        stream = BreezeStream(_Nobody(), now, seen=self._world.steps, last_sent=now, kind=kind, pinged_at=now)
        self._opened += 1
        about = {"sid": f"engine{self._opened}", "upgrades": [], "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 1_000_000}
        stream.texts.append(f"0{_json(about)}")
        connection.state = stream
        return None

    def receive(self, connection: Connection, message: str | bytes, now: datetime) -> None:
        stream: BreezeStream = connection.state
        text = message if isinstance(message, str) else message.decode("utf-8", "replace")
        stream.received.append(text if not text.startswith("40") else "40{…}")
        if text == "3":
            stream.unanswered = False
        elif text.startswith("40"):
            self._join_namespace(stream, text[2:], now)
        elif text in ("1", "41"):
            stream.closing = True
        elif text.startswith("42") and stream.joined:
            self._event(stream, text[2:])

    def next_event(self, now: datetime, connections: Sequence[Connection]) -> datetime | None:
        market = self._world.market
        live = [one for one in connections if not one.ended and market.opens_at <= now < market.closes_at]
        moments = [super().next_event(now, connections), *((one.state.pinged_at or now) + PING_EVERY for one in live)]
        return min((moment for moment in moments if moment is not None and moment > now), default=None)

    def frames(self, connection: Connection, now: datetime) -> list[bytes | str]:
        """A client that leaves a ping unanswered is dropped at the next."""
        stream: BreezeStream = connection.state
        if stream.closing:
            connection.ended = True
        out = super().frames(connection, now)
        muted = stream.muted_until is not None
        if not connection.ended and now - (stream.pinged_at or now) >= PING_EVERY:
            if stream.unanswered:
                connection.ended = True
                return []
            stream.pinged_at, stream.unanswered = now, not muted
            out += [] if muted else ["2"]
        return out

    # --- what clients say -----------------------------------------------------------------------------------------------------------

    def _join_namespace(self, stream: BreezeStream, text: str, now: datetime) -> None:
        try:
            login = self._sessions.by_stream(json.loads(text or "null"))
        except ValueError:
            login = None
        if login is None or not login.alive(now):
            stream.texts.append(f"44{_json({'message': NOT_AUTHENTICATED})}")
            return
        stream.session, stream.joined = login, True
        stream.texts.append(f"40{_json({'sid': f'socket{self._opened}'})}")

    def _event(self, stream: BreezeStream, text: str) -> None:
        """join and leave with a room or a list of them; a room that nobody knows is joined in silence."""
        try:
            name, *rest = json.loads(text)
        except (ValueError, TypeError):
            return
        rooms = rest[0] if rest and isinstance(rest[0], list) else rest[:1]
        known = self._key_by_name()
        for room in map(str, rooms):
            if name == "leave":
                stream.modes.pop(room, None)
            elif name == "join" and room in known and len(stream.modes) < MOST_ROOMS and stream.kind != "orders":
                stream.modes[room] = True
                stream.snapshots.append(room)
                self._world.market.quote(known[room])  # a market plays what was asked for

    # --- what they are told ---------------------------------------------------------------------------------------------------------

    def _packed(self, stream: Stream, due: Sequence[tuple[str, str]]) -> list[str]:
        assert isinstance(stream, BreezeStream)
        market, scrips = self._world.market, self._scrips.all()
        if stream.kind == "candles":
            return self._candles(stream, [scrips[key] for _, key in due])
        return [_event("stock", _tick(scrips[key], room, market.quote(key))) for room, key in due]

    def _candles(self, stream: BreezeStream, due: Sequence[Scrip]) -> list[str]:
        now = self._world.now.replace(microsecond=0)
        minute = now.replace(second=0)
        widths = [] if stream.minute in (None, minute) else [width for width in MINUTES if minute.minute % width == 0]
        stream.minute = minute
        out = []
        for one in due:
            told = [("1SEC", self._data.ohlc(one, 0, now + timedelta(seconds=1)))]
            told += [(f"{width}MIN", self._data.ohlc(one, width, minute)) for width in widths]
            out += [_event(channel, text) for channel, text in told if text is not None]
        return out

    def _names(self) -> Mapping[str, str]:
        scrips = self._scrips.all().items()
        return {room: key for key, one in scrips for room in (one.room, one.depth_room)}

    def _bad_frame(self, kind: str, values: Mapping[str, Any], stream: Stream) -> str:
        keys, scrips = self._key_by_name(), self._scrips.all()
        room = next((room for room in stream.modes if kind == "unknown_token" or values["symbol"] in ("", keys.get(room))), None)
        if room is None:
            return ""
        one = scrips[keys[room]]
        payload = _tick(one, one.room, self._world.market.quote(keys[room]))
        if kind == "unknown_token":
            payload[0] = f"4.1!{values['token']}"
        else:
            payload[2] = float(values["price"])
        return _event("stock", payload)

    def _word(self, change: Change) -> str | None:
        return None if change.row.status in _SILENT else status(change.order, change.row)

    def _message(self, change: Change, status: str, stream: Stream) -> str | None:
        if not isinstance(stream, BreezeStream) or stream.kind != "orders" or stream.session.user != change.user:
            return None
        self._told += 1
        one = self._scrips.of(change.order.listing)
        return _event("order", order_message(change.order, one, change.row, change.row.at, self._told))


def _tick(one: Scrip, room: str, quote: Quote) -> list[Any]:
    """The payload of a `stock` event: five levels for a depth room, else the quote by the kind of instrument."""
    if room == one.depth_room:
        return [room, int(quote.exchange_time.timestamp()), _levels(one, quote)]
    listing = one.listing
    change = round((quote.last_price / quote.close - 1) * 100, 2) if quote.close else 0.0
    head = [room, quote.open, quote.last_price, quote.high, quote.low, change]
    seen = int((quote.last_time or quote.exchange_time).timestamp())
    if listing.kind == "INDEX":
        return [*head, *[None] * 13, seen, quote.close]
    bid, ask = (quote.bids or ((0.0, 0, 0),))[0], (quote.asks or ((0.0, 0, 0),))[0]
    touch = [bid[0], bid[1], ask[0], ask[1], quote.last_quantity, quote.average_price]
    traded = [quote.volume, quote.total_buy, quote.total_sell, f"{quote.volume * quote.average_price / 1e7:.2f}C", ""]
    tail = [listing.lower_circuit, listing.upper_circuit, seen, quote.close]
    interest = [quote.oi, quote.oi - quote.oi_low] if one.expiry else []
    return [*head, *touch, *interest, *traded, *tail]


def _levels(one: Scrip, quote: Quote) -> list[list[Any]]:
    empty = (0.0, 0, 0)
    bids, asks = ((*side[:5], *[empty] * (5 - len(side[:5]))) for side in (quote.bids, quote.asks))
    rows: list[list[Any]] = []
    for bid, ask in zip(bids, asks, strict=True):
        if one.exchange == "BSE":
            rows.append([bid[0], bid[1], ask[0], ask[1]])
        elif one.exchange == "BFO":
            rows.append([*bid, *ask])
        else:
            rows.append([*bid, "", *ask, ""])
    return rows


def _event(name: str, payload: object) -> str:
    return f"42{_json([name, payload])}"


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
