"""The push side of a broker simulator without a socket: who is subscribed to what, what is due when, order messages, stream faults."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from simulators.faults import STREAM, UPDATE, Faults
from simulators.orders import Change
from simulators.wire import Connection
from simulators.world import World

PUSH_DELAY = timedelta(milliseconds=20)
"""How long after a subscription its snapshot comes, where nothing else moves time earlier."""


class Login(Protocol):
    """The session that a connection was opened with."""

    @property
    def user(self) -> str: ...
    def alive(self, now: datetime) -> bool: ...


@dataclass(slots=True)
class Stream:
    """What the server remembers of one connection. `modes` holds its subscriptions by the broker's own name of an instrument."""

    session: Login
    opened_at: datetime
    modes: dict[Any, Any] = field(default_factory=dict)
    seen: int = 0  # the world's step whose quotes were sent last
    snapshots: list[Any] = field(default_factory=list)
    texts: list[bytes | str] = field(default_factory=list)
    late: list[tuple[datetime, bytes | str]] = field(default_factory=list)
    last_sent: datetime | None = None
    muted_until: datetime | None = None
    received: list[str] = field(default_factory=list)


class Streams:
    """All connections of all users."""

    heartbeat: bytes | None = None
    """What the server sends when it has been silent for `heartbeat_every`; None: nothing."""
    heartbeat_every = timedelta(seconds=2.5)

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self._faults = faults
        self._connections: list[Connection] = []
        self._keys: Mapping[Any, str] = {}
        self._keys_of: object = None

    # --- what a broker says ---------------------------------------------------------------------------------------------------------

    def receive(self, connection: Connection, message: str | bytes, now: datetime) -> None:
        """A client's message; what makes no sense is answered as the broker does."""
        raise NotImplementedError

    def _packed(self, stream: Stream, due: Sequence[tuple[Any, str]]) -> Sequence[bytes | str]:
        """The tick frames of these (name, key) pairs, all subscribed."""
        raise NotImplementedError

    def _message(self, change: Change, status: str, stream: Stream) -> bytes | str | None:
        """The order message of this change for this connection; None: it gets none."""
        raise NotImplementedError

    def _word(self, change: Change) -> str | None:
        """The broker's word for what happened, which a fault's `match.status` sees; None where it stays silent."""
        raise NotImplementedError

    def _names(self) -> Mapping[Any, str]:
        """Today's instruments by the broker's own name, with their keys."""
        raise NotImplementedError

    def _bad_frame(self, kind: str, values: Mapping[str, Any], stream: Stream) -> bytes | str:
        """The frame of an `unknown_token` or `bad_price` fault; empty: none."""
        raise NotImplementedError

    # --- connections ----------------------------------------------------------------------------------------------------------------

    def add(self, connection: Connection) -> None:
        self._connections.append(connection)

    def disconnect(self, connection: Connection) -> None:
        connection.ended = True
        if connection in self._connections:
            self._connections.remove(connection)

    def received(self) -> list[dict[str, Any]]:
        """What each open connection has sent so far."""
        return [{"connection": one.id, "messages": list(one.state.received)} for one in self._connections]

    def open_of(self, mine: Callable[[Stream], bool]) -> int:
        """How many open connections are `mine`."""
        return sum(1 for one in self._connections if not one.ended and mine(one.state))

    # --- what is due ----------------------------------------------------------------------------------------------------------------

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
                if self.heartbeat is not None:
                    moments.append((stream.last_sent or now) + self.heartbeat_every)
                if not stream.modes and (self._faults.waiting(STREAM) or self._live_orders(stream)):
                    moments.append(second)
        return min((moment for moment in moments if moment is not None and moment > now), default=None)

    def tell(self, changes: Sequence[Change], number_of: Callable[[str], int], now: datetime) -> None:
        """Queue an order message for every connection of the user whose order changed."""
        for change in changes:
            status = self._word(change)
            if status is None:
                continue
            facts = {
                "order_id": change.order.id,
                "order_number": number_of(change.order.id),
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
                text = None if connection.ended else self._message(change, status, stream)
                if text is None:
                    continue
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
        cut = any(fault.kind == "truncated_frame" for fault in struck)
        out: list[bytes | str] = [frame[:-7] if cut else frame for frame in ticks]
        for fault in struck:
            bad: bytes | str = bytes.fromhex(fault.values["hex"]) if fault.kind == "garbage_frame" else b""
            if fault.kind in ("unknown_token", "bad_price"):
                bad = self._bad_frame(fault.kind, fault.values, stream)
            out += [bad] if bad else []
        out += stream.texts
        stream.texts = []
        if not out and self.heartbeat is not None and now - (stream.last_sent or stream.opened_at) >= self.heartbeat_every:
            out.append(self.heartbeat)
        if out:
            stream.last_sent = now
        return out

    # --- inside ---------------------------------------------------------------------------------------------------------------------

    def _ticks(self, stream: Stream) -> Sequence[bytes | str]:
        world, keys = self._world, self._key_by_name()
        changed, seen = world.changed_at, stream.seen
        if stream.seen == world.steps and not stream.snapshots:
            return []
        due: dict[Hashable, None] = dict.fromkeys(stream.snapshots)
        if seen != world.steps:
            due |= dict.fromkeys(name for name in stream.modes if changed.get(keys.get(name, ""), 0) > seen)
        stream.snapshots, stream.seen = [], world.steps
        pairs = [(name, keys[name]) for name in due if name in stream.modes and name in keys]
        return self._packed(stream, pairs) if pairs else []

    def _key_by_name(self) -> Mapping[Any, str]:
        of = (self._world.day, len(self._world.market.listings))
        if self._keys_of != of:
            self._keys, self._keys_of = self._names(), of
        return self._keys

    def _live_orders(self, stream: Stream) -> bool:
        return any(order.live for order in self._world.exchange.account(stream.session.user).orders.values())
