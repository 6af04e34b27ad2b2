"""Angel One's two sockets without a socket: SmartWebSocketV2 (binary ticks, one packet a message) and the order status socket (JSON)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from simulators.angelone_errors import MESSAGES
from simulators.angelone_names import EXCHANGE_TYPES, Names
from simulators.angelone_rows import STATUS, greeting, order_message
from simulators.angelone_session import Login, Sessions, bearer
from simulators.angelone_wire import LTP, QUOTE, SNAP, packet
from simulators.faults import Faults
from simulators.orders import Change, Status
from simulators.streams import Stream, Streams
from simulators.wire import JSON, Connection, Request, Response, dump
from simulators.world import World

FEED, ORDERS = "/smart-stream", "/smart-order-update"
MOST_CONNECTIONS = 3
MOST_SUBSCRIPTIONS = 1000
_SILENT = frozenset({Status.RECEIVED, Status.VALIDATING, Status.MODIFY_VALIDATING, Status.CANCEL_PENDING})

Name = tuple[int, int, str]
"""What is subscribed: mode, exchange type, token."""


@dataclass(slots=True)
class AngelStream(Stream):
    """`feed` tells the ticks' socket from the orders'."""

    feed: bool = True


class AngelStreams(Streams):
    """All connections of all users on both sockets."""

    def __init__(self, world: World, sessions: Sessions, faults: Faults, names: Names) -> None:
        super().__init__(world, faults)
        self._sessions = sessions
        self._scrips = names

    def connect(self, request: Request, connection: Connection, now: datetime) -> Response | None:
        """None lets the handshake in."""
        feed = request.path == FEED
        login, refusal = (self._feed_login if feed else self._order_login)(request, now)
        if login is None:
            return refusal
        if self.open_of(lambda stream: stream.session.user == login.user and getattr(stream, "feed", True) == feed) >= MOST_CONNECTIONS:
            return Response(429, dump({"message": "connection limit exceeded"}), JSON)
        stream = AngelStream(login, now, seen=self._world.steps, last_sent=now, feed=feed)
        if not feed:
            stream.texts.append(_json(greeting(login.user)))
        connection.state = stream
        return None

    def receive(self, connection: Connection, message: str | bytes, now: datetime) -> None:
        stream: AngelStream = connection.state
        text = message if isinstance(message, str) else message.decode("utf-8", "replace")
        stream.received.append(text)
        if text == "ping":
            stream.texts.append("pong")
        elif stream.feed:
            self._subscribe(stream, text)

    # --- the feed -------------------------------------------------------------------------------------------------------------------

    def _feed_login(self, request: Request, now: datetime) -> tuple[Login | None, Response]:
        query, headers = request.argument, request.headers
        token = bearer(headers.get("authorization", ""))
        feed_token = headers.get("x-feed-token") or query("feedToken")
        code, key = headers.get("x-client-code") or query("clientCode"), headers.get("x-api-key") or query("apiKey")
        login = self._sessions.by_token(token) if token else self._sessions.by_feed_token(feed_token)
        if login is None or not login.valid(now):
            return None, _invalid("Auth token" if token else "Feed Token")
        for given, wanted, what in ((code, login.user, "Client Code"), (key, login.app.api_key, "API Key")):
            if given != wanted:
                return None, _invalid(what)
        return (login, Response(101)) if feed_token == login.feed_token else (None, _invalid("Feed Token"))

    def _subscribe(self, stream: AngelStream, text: str) -> None:
        correlation = ""
        try:
            asked = json.loads(text)
            correlation = str(asked.get("correlationID") or "")
            action, mode = int(asked["action"]), int(asked["params"]["mode"])
            names = [(mode, int(group["exchangeType"]), str(token)) for group in asked["params"]["tokenList"] for token in group["tokens"]]
        except (ValueError, KeyError, TypeError, AttributeError):
            return self._error(stream, correlation, "E1001", "Invalid Request Payload.")
        if action not in (0, 1) or mode not in (LTP, QUOTE, SNAP):
            return self._error(stream, correlation, "E1001", "Invalid Request Payload.")
        known = self._key_by_name()
        for name in names:
            if action == 0:
                stream.modes.pop(name, None)
            elif name not in stream.modes and name in known:
                if len(stream.modes) >= MOST_SUBSCRIPTIONS:
                    return self._error(stream, correlation, "E1002", "Invalid Request. Subscription Limit Exceeded")
                stream.modes[name] = mode
                stream.snapshots.append(name)
        return None

    def _error(self, stream: AngelStream, correlation: str, code: str, text: str) -> None:
        stream.texts.append(_json({"correlationID": correlation, "errorCode": code, "errorMessage": text}))

    def _packed(self, stream: Stream, due: Sequence[tuple[Name, str]]) -> list[bytes]:
        packets = []
        for (mode, kind, token), key in due:
            listing = self._world.market.listings[key]
            sequence = 0 if listing.kind == "INDEX" else self._world.steps
            circuits = (listing.lower_circuit, listing.upper_circuit)
            packets.append(packet(mode, kind, token, sequence, self._world.market.quote(key), circuits))
        return packets

    def _names(self) -> Mapping[Name, str]:
        scrips = self._scrips.all().items()
        return {(mode, one.type, one.token): key for key, one in scrips for mode in (LTP, QUOTE, SNAP)}

    def _bad_frame(self, kind: str, values: Mapping[str, Any], stream: Stream) -> bytes:
        keys = self._key_by_name()
        name = next((name for name in stream.modes if kind == "unknown_token" or values["symbol"] in ("", keys.get(name))), None)
        if name is None:
            return b""
        quote = self._world.market.quote(keys[name])
        if kind == "unknown_token":
            return packet(LTP, EXCHANGE_TYPES["NSE"], str(values["token"]), 1, quote)
        return packet(LTP, name[1], name[2], 1, replace(quote, last_price=max(0.0, float(values["price"]))))

    # --- orders ---------------------------------------------------------------------------------------------------------------------

    def _order_login(self, request: Request, now: datetime) -> tuple[Login | None, Response]:
        header = request.headers.get("authorization", "")
        login = self._sessions.by_token(bearer(header)) if header.startswith("Bearer ") else None
        if login is None or login.dead:
            return None, Response(401, dump({"message": MESSAGES["AG8001"]}), JSON)
        if not login.valid(now):
            return None, Response(403, dump({"message": MESSAGES["AG8002"]}), JSON)
        return login, Response(101)

    def _word(self, change: Change) -> str | None:
        return None if change.row.status in _SILENT else STATUS[change.row.status]

    def _message(self, change: Change, status: str, stream: Stream) -> str | None:
        if getattr(stream, "feed", True) or stream.session.user != change.user:
            return None
        return _json(order_message(change.order, self._scrips.of(change.order.listing), change.row))


def _invalid(what: str) -> Response:
    return Response(401, b"", JSON, {"x-error-message": f"Invalid Header - Invalid {what}"})


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
