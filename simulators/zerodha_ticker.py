"""Kite's WebSocket ticker without a socket: who is subscribed to what, the frames that are due, order messages, stream faults."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from simulators.faults import STREAM, UPDATE, Faults
from simulators.orders import Change, Status
from simulators.wire import Connection, Request
from simulators.world import World
from simulators.zerodha_errors import ApiError, bad_token
from simulators.zerodha_rows import order_message
from simulators.zerodha_session import AccessToken, Sessions
from simulators.zerodha_wire import HEARTBEAT, LTP, MODES, QUOTE, frame, packet

MOST_CONNECTIONS = 3
MOST_TOKENS = 3000
HEARTBEAT_EVERY = timedelta(seconds=2.5)
PUSH_DELAY = timedelta(milliseconds=20)
"""How long after a subscription its snapshot comes, where nothing else moves time earlier."""

_TOLD = {
    Status.OPEN: "OPEN",
    Status.TRIGGER_PENDING: "TRIGGER PENDING",
    Status.MODIFIED: "UPDATE",
    Status.COMPLETE: "COMPLETE",
    Status.CANCELLED: "CANCELLED",
    Status.REJECTED: "REJECTED",
    Status.AMO_RECEIVED: "AMO REQ RECEIVED",
}


@dataclass(slots=True)
class Stream:
    """What the server remembers of one connection."""

    session: AccessToken
    opened_at: datetime
    modes: dict[int, str] = field(default_factory=dict)
    seen: int = 0  # the world's step whose quotes were sent last
    snapshots: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    late: list[tuple[datetime, str]] = field(default_factory=list)
    last_sent: datetime | None = None
    muted_until: datetime | None = None
    received: list[str] = field(default_factory=list)


class Ticker:
    """All connections of all users."""

    def __init__(self, world: World, sessions: Sessions, faults: Faults) -> None:
        self._world = world
        self._sessions = sessions
        self._faults = faults
        self._connections: list[Connection] = []
        self._keys: dict[int, str] = {}
        self._keys_of: object = None

    # --- connections --------------------------------------------------------------------------------------------------------------

    def connect(self, request: Request, connection: Connection, now: datetime) -> None:
        """Let the handshake in, or raise ApiError (403)."""
        api_key = request.argument("api_key")
        session = self._sessions.check(api_key, request.argument("access_token"), now)
        if session is None:
            raise bad_token()
        if not session.app.live_data:
            raise ApiError(403, "PermissionException", "Insufficient permission for that call.")
        mine = [one for one in self._connections if one.state.session.app.api_key == api_key and not one.ended]
        if len(mine) >= MOST_CONNECTIONS:
            raise ApiError(403, "TokenException", f"Maximum of {MOST_CONNECTIONS} WebSocket connections for an api_key reached.")
        connection.state = Stream(session, now, seen=self._world.steps, last_sent=now)
        self._connections.append(connection)

    def disconnect(self, connection: Connection) -> None:
        connection.ended = True
        if connection in self._connections:
            self._connections.remove(connection)

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

    # --- what is due --------------------------------------------------------------------------------------------------------------

    def next_event(self, now: datetime, connections: Sequence[Connection]) -> datetime | None:
        """The earliest moment after `now` at which one of these connections may get something."""
        world = self._world
        live = [one for one in connections if not one.ended]
        if not live:
            return None
        moments = [world.exchange.next_due(), world.next_day()]
        second = world.next_second(now)
        if second is not None and (any(one.state.modes for one in live) or second == world.market.opens_at):
            moments.append(second)
        for one in live:
            stream: Stream = one.state
            moments += [due for due, _ in stream.late]
            if stream.snapshots or stream.texts:
                moments.append(now + PUSH_DELAY)
            if stream.muted_until is not None:
                moments.append(stream.muted_until)
            if world.market.opens_at <= now < world.market.closes_at:
                moments.append((stream.last_sent or now) + HEARTBEAT_EVERY)
                if not stream.modes and (self._faults.waiting(STREAM) or self._live_orders(stream)):
                    moments.append(second)
        return min((moment for moment in moments if moment is not None and moment > now), default=None)

    def tell(self, changes: Sequence[Change], details_of: Mapping[str, dict[str, Any]], numbers: Mapping[str, int], now: datetime) -> None:
        """Queue an order message for every connection of the user whose order changed."""
        for change in changes:
            status = self._word(change)
            if status is None:
                continue
            facts = {
                "order_id": change.order.id,
                "order_number": numbers.get(change.order.id, 0),
                "tag": change.order.tag or "",
                "symbol": change.order.listing.key,
                "side": change.order.side,
                "status": status,
            }
            faults = {fault.kind: fault for fault in self._faults.strike(UPDATE, now, facts)}
            if "drop_update" in faults:
                continue
            for connection in self._connections:
                stream: Stream = connection.state
                app = stream.session.app
                if app.user_id != change.user or connection.ended:
                    continue
                details = details_of.get(change.order.id)
                told = order_message(change.order, change.row, status, app.app_id, app.api_secret, details)
                text = json.dumps(told, separators=(",", ":"))
                if "late_update" in faults:
                    stream.late.append((now + timedelta(seconds=float(faults["late_update"].values["seconds"])), text))
                else:
                    stream.texts.append(text)
                if "duplicate_update" in faults:
                    stream.texts.append(text)

    def frames(self, connection: Connection, now: datetime) -> list[bytes | str]:
        """Everything due on this connection at `now`, in order; may end it (dead token, drop fault)."""
        stream: Stream = connection.state
        if connection.ended:
            return []
        if not stream.session.alive(now):
            connection.ended = True
            return []
        stream.texts += [text for due, text in stream.late if due <= now]
        stream.late = [(due, text) for due, text in stream.late if due > now]
        ticks = self._ticks(stream)
        struck = self._faults.strike(STREAM, now, {"lane": connection.lane})
        for fault in struck:
            if fault.kind == "drop_socket":
                connection.ended, connection.reset = True, bool(fault.values["reset"])
                return []
            if fault.kind == "mute_socket":
                stream.muted_until = now + timedelta(seconds=float(fault.values["seconds"]))
        if stream.muted_until is not None:
            if now < stream.muted_until:
                stream.texts.clear()
                return []
            stream.muted_until = None
        out: list[bytes | str] = []
        if ticks:
            out.append(ticks[:-7] if any(fault.kind == "truncated_frame" for fault in struck) else ticks)
        out += [bad for fault in struck if (bad := self._bad_frame(fault.kind, fault.values, stream))]
        out += stream.texts
        stream.texts = []
        if not out and now - (stream.last_sent or stream.opened_at) >= HEARTBEAT_EVERY:
            out.append(HEARTBEAT)
        if out:
            stream.last_sent = now
        return out

    def received(self) -> list[dict[str, Any]]:
        """What each open connection has sent so far."""
        return [{"connection": one.id, "messages": list(one.state.received)} for one in self._connections]

    # --- inside -------------------------------------------------------------------------------------------------------------------

    def _subscribe(self, stream: Stream, tokens: list[int], mode: str | None) -> None:
        known = self._key_by_token()
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

    def _ticks(self, stream: Stream) -> bytes:
        world, keys = self._world, self._key_by_token()
        changed, seen = world.changed_at, stream.seen
        if stream.seen == world.steps and not stream.snapshots:
            return b""
        due = dict.fromkeys(stream.snapshots)
        if seen != world.steps:
            due |= dict.fromkeys(token for token in stream.modes if changed.get(keys.get(token, ""), 0) > seen)
        stream.snapshots, stream.seen = [], world.steps
        packets = []
        for token in due:
            mode, key = stream.modes.get(token), keys.get(token)
            if mode is not None and key is not None:
                quote = world.market.quote(key)
                packets.append(packet(token, quote, mode, (quote.oi_high, quote.oi_low)))
        return frame(packets) if packets else b""

    def _key_by_token(self) -> Mapping[int, str]:
        listings = self._world.market.listings
        if self._keys_of != (self._world.day, len(listings)):
            self._keys = {listing.token: key for key, listing in listings.items()}
            self._keys_of = (self._world.day, len(listings))
        return self._keys

    def _word(self, change: Change) -> str | None:
        """The postback's status: UPDATE for a partial fill or a modification; None where the broker stays silent."""
        status, history = change.row.status, change.order.history
        if change.trade is not None and status is not Status.COMPLETE:
            return "UPDATE"
        index = next(number for number, row in enumerate(history) if row is change.row)
        if status in (Status.OPEN, Status.TRIGGER_PENDING) and index and history[index - 1].status is Status.MODIFIED:
            return None
        return _TOLD.get(status)

    def _live_orders(self, stream: Stream) -> bool:
        account = self._world.exchange.account(stream.session.app.user_id)
        return any(order.live for order in account.orders.values())

    def _error(self, stream: Stream, text: str) -> None:
        stream.texts.append(json.dumps({"type": "error", "data": text}, separators=(",", ":")))

    def _bad_frame(self, kind: str, values: Mapping[str, Any], stream: Stream) -> bytes:
        if kind == "garbage_frame":
            return bytes.fromhex(values["hex"])
        if kind == "unknown_token":
            return b"\x00\x01\x00\x08" + int(values["token"]).to_bytes(4, "big") + (10_000).to_bytes(4, "big")
        if kind == "bad_price":
            keys = self._key_by_token()
            token = next((token for token in stream.modes if values["symbol"] in ("", keys.get(token))), None)
            if token is not None:
                quote = self._world.market.quote(keys[token])
                return frame([packet(token, replace(quote, last_price=max(0.0, float(values["price"]))), LTP)])
        return b""
