"""Kite's WebSocket ticker without a socket: who is subscribed to what, the frames that are due, order messages, stream faults."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from simulators.faults import Faults
from simulators.orders import Change, SimOrder, Status
from simulators.streams import Stream, Streams
from simulators.wire import Connection, Request
from simulators.world import World
from simulators.zerodha_errors import ApiError, bad_token
from simulators.zerodha_rows import order_message
from simulators.zerodha_session import AccessToken, Sessions
from simulators.zerodha_wire import HEARTBEAT, LTP, MODES, QUOTE, frame, packet

MOST_CONNECTIONS = 3
MOST_TOKENS = 3000

_TOLD = {
    Status.OPEN: "OPEN",
    Status.TRIGGER_PENDING: "TRIGGER PENDING",
    Status.MODIFIED: "UPDATE",
    Status.COMPLETE: "COMPLETE",
    Status.CANCELLED: "CANCELLED",
    Status.REJECTED: "REJECTED",
    Status.AMO_RECEIVED: "AMO REQ RECEIVED",
}


class Ticker(Streams):
    """All connections of all users."""

    heartbeat = HEARTBEAT

    def __init__(self, world: World, sessions: Sessions, faults: Faults, details: Callable[[SimOrder], dict[str, Any]]) -> None:
        super().__init__(world, faults)
        self._sessions = sessions
        self._details = details

    # --- connections --------------------------------------------------------------------------------------------------------------

    def connect(self, request: Request, connection: Connection, now: datetime) -> None:
        """Let the handshake in, or raise ApiError (403)."""
        api_key = request.argument("api_key")
        session = self._sessions.check(api_key, request.argument("access_token"), now)
        if session is None:
            raise bad_token()
        if not session.app.live_data:
            raise ApiError(403, "PermissionException", "Insufficient permission for that call.")
        if self.open_of(lambda stream: stream.session.app.api_key == api_key) >= MOST_CONNECTIONS:  # type: ignore[attr-defined]  # ours
            raise ApiError(403, "TokenException", f"Maximum of {MOST_CONNECTIONS} WebSocket connections for an api_key reached.")
        connection.state = Stream(session, now, seen=self._world.steps, last_sent=now)

    def receive(self, connection: Connection, message: str | bytes, now: datetime) -> None:
        """A client's message; what makes no sense is answered with an error text, as the broker does."""
        stream: Stream = connection.state
        text = message if isinstance(message, str) else message.decode("utf-8", "replace")
        stream.received.append(text)
        try:
            asked = json.loads(text)
            action, value = asked["a"], asked["v"]
            mode, tokens = (QUOTE, value) if action != "mode" else (value[0], value[1])
            tokens = [int(token) for token in tokens]
        except (ValueError, KeyError, TypeError, IndexError):
            return self._error(stream, "Invalid request. Please check the message format.")
        if action == "subscribe":
            self._subscribe(stream, tokens, None)
        elif action == "mode" and mode in MODES:
            self._subscribe(stream, tokens, mode)
        elif action == "unsubscribe":
            for token in tokens:
                stream.modes.pop(token, None)
        else:
            self._error(stream, f"Invalid action or mode: {asked.get('a')}")
        return None

    # --- inside -------------------------------------------------------------------------------------------------------------------

    def _subscribe(self, stream: Stream, tokens: list[int], mode: str | None) -> None:
        known = self._key_by_name()
        for token in tokens:
            if token not in known:
                continue  # the broker says nothing about tokens it does not know
            if token not in stream.modes and len(stream.modes) >= MOST_TOKENS:
                return self._error(stream, f"Subscription limit exceeded. Maximum {MOST_TOKENS} instruments are allowed per connection.")
            before = stream.modes.get(token)
            stream.modes[token] = mode or QUOTE
            if stream.modes[token] != before and token not in stream.snapshots:
                stream.snapshots.append(token)
        return None

    def _packed(self, stream: Stream, due: Sequence[tuple[int, str]]) -> list[bytes]:
        packets = []
        for token, key in due:
            quote = self._world.market.quote(key)
            packets.append(packet(token, quote, stream.modes[token], (quote.oi_high, quote.oi_low)))
        return [frame(packets)]

    def _names(self) -> Mapping[int, str]:
        return {listing.token: key for key, listing in self._world.market.listings.items()}

    def _message(self, change: Change, status: str, stream: Stream) -> str | None:
        session = stream.session
        if session.user != change.user:
            return None
        assert isinstance(session, AccessToken)
        app = session.app
        told = order_message(change.order, change.row, status, app.app_id, app.api_secret, self._details(change.order))
        return json.dumps(told, separators=(",", ":"))

    def _word(self, change: Change) -> str | None:
        """The postback's status: UPDATE for a partial fill or a modification; None where the broker stays silent."""
        status, history = change.row.status, change.order.history
        if change.trade is not None and status is not Status.COMPLETE:
            return "UPDATE"
        index = next(number for number, row in enumerate(history) if row is change.row)
        if status in (Status.OPEN, Status.TRIGGER_PENDING) and index and history[index - 1].status is Status.MODIFIED:
            return None
        return _TOLD.get(status)

    def _error(self, stream: Stream, text: str) -> None:
        stream.texts.append(json.dumps({"type": "error", "data": text}, separators=(",", ":")))

    def _bad_frame(self, kind: str, values: Mapping[str, Any], stream: Stream) -> bytes:
        if kind == "unknown_token":
            return b"\x00\x01\x00\x08" + int(values["token"]).to_bytes(4, "big") + (10_000).to_bytes(4, "big")
        if kind == "bad_price":
            keys = self._key_by_name()
            token = next((token for token in stream.modes if values["symbol"] in ("", keys.get(token))), None)
            if token is not None:
                quote = self._world.market.quote(keys[token])
                return frame([packet(token, replace(quote, last_price=max(0.0, float(values["price"]))), LTP)])
        return b""
