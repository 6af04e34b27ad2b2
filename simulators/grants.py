"""Granted time, the simulator's half: it owns the clock and moves it only when the one attached client has said that it is quiet.

Plain state, no sockets. The rules:
1. After a grant, time stands still until `done` names what the client has sent since, and all of that has arrived here.
2. Then requests are handled in (lane, number) order, stream messages in connection order, all at the present moment. Each reply is
   parked for a latency that follows from (seed, lane, number) alone.
3. Time goes to the earliest of: the market's next event for this client, the client's own wake, the next parked reply.
4. There: the market moves, stream frames leave, replies leave, and only then the grant that counts them all.
5. A client that dies has its last requests carried out and its replies dropped; time then stands still until the next attach.
6. `pace` names a moment: up to there time goes as fast as it can, from there one second a second, so that whoever looks on can act at
   that moment, however slow the machine is.
"""

import hashlib
import heapq
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from simulators.wire import Connection, Response

WALL_GUARD_S = 60.0
"""How long to wait, in real seconds, for something that `done` named; then it is given up and counted as answered."""
CATCH_UP_S = 0.25
"""How much real time a braked clock may make up after a slow moment."""

Work = Callable[[datetime], Response | None]
Finish = Callable[[Response | None], None]
DROPPED = Response(0, dropped=True)


class Link(Protocol):
    """The client's grants channel."""

    def send(self, message: Mapping[str, Any]) -> None: ...


class Wire(Protocol):
    """The socket of one stream connection."""

    def send(self, frames: list[bytes | str]) -> None: ...
    def close(self, *, reset: bool) -> None: ...


class Timer(Protocol):
    def cancel(self) -> None: ...


class Moved(Protocol):
    """What time moves: one broker's simulator, or several in front of one exchange; see wire.BrokerSimulator for each method."""

    def advance(self, now: datetime) -> None: ...
    def next_event(self, now: datetime, connections: Sequence[Connection]) -> datetime | None: ...
    def last_moment(self) -> datetime: ...
    def receive(self, connection: Connection, message: str | bytes, now: datetime) -> None: ...
    def frames(self, connection: Connection, now: datetime) -> list[bytes | str]: ...
    def disconnect(self, connection: Connection) -> None: ...


@dataclass(slots=True)
class Attached:
    """Everything that is counted since the attach."""

    link: Link
    account: str
    grant: int = 0
    done: Mapping[str, Any] | None = None
    received: dict[str, int] = field(default_factory=dict)  # lane -> highest request number that has arrived
    pending: dict[tuple[str, int], tuple[Work, Finish]] = field(default_factory=dict)
    parked: list[tuple[datetime, str, int, Response | None, Finish]] = field(default_factory=list)
    finished: dict[str, set[int]] = field(default_factory=dict)  # lane -> answered out of turn
    completed: dict[str, int] = field(default_factory=dict)  # lane -> answered without a gap
    wires: dict[str, tuple[Connection, Wire]] = field(default_factory=dict)
    came: dict[str, int] = field(default_factory=dict)  # connection -> client frames arrived, its close counted as one
    messages: dict[str, list[str | bytes | None]] = field(default_factory=dict)  # not yet handled; None = the client closed
    frames: dict[str, int] = field(default_factory=dict)  # connection -> frames sent
    closed: list[str] = field(default_factory=list)  # since the last grant
    poked: bool = False
    ended: bool = False


class Grants:
    """One clock. `wall` reads real seconds, `later(seconds, call)` calls back; `on_move` hears of each new moment."""

    def __init__(
        self,
        simulator: Moved,
        *,
        seed: int,
        start: datetime,
        speed: float | None,
        wall: Callable[[], float],
        later: Callable[[float, Callable[[], None]], Timer],
        on_move: Callable[[datetime], None],
    ) -> None:
        self.now = start
        self.attached: Attached | None = None
        self._simulator = simulator
        self._seed = seed
        self._speed = speed
        self._wall = wall
        self._later = later
        self._on_move = on_move
        self._guard: Timer | None = None
        self._fast_until: datetime | None = None
        self._brake: Timer | None = None
        self._braked_since = 0.0
        self._braked_from = start
        self._braked_to = start
        self._pace = wall()

    # --- the channel --------------------------------------------------------------------------------------------------------------

    def attach(self, link: Link, account: str, spacing_s: int) -> None:
        """Serve this client from now on; one that is attached still is treated as dead."""
        if self.attached is not None:
            self.detach(self.attached.link)
        self.attached = Attached(link, account)
        link.send({"attached": {"now": self.now.isoformat(), "spacing_s": spacing_s}})
        self._pace = self._wall()
        self._send_grant(self.attached)

    def message(self, link: Link, message: Mapping[str, Any]) -> None:
        """A line from the client, after its attach."""
        state = self.attached
        if state is None or state.link is not link or state.ended:
            return
        if "done" in message and message["done"] == state.grant and state.done is None:
            state.done = message
            self._check()
        elif message.get("poke"):
            state.poked = True
            if self._brake is not None:
                self._release_brake(state)

    def pace(self, until: datetime | None) -> None:
        """As fast as it goes up to `until` and one second a second from there; None: as fast as it goes, for good."""
        self._speed, self._fast_until = (None, None) if until is None else (1.0, until)
        self._pace = self._wall()
        if self._brake is not None and self.attached is not None:
            self._brake.cancel()
            self._brake = None
            self._go_to(self.attached, self._braked_to)

    def detach(self, link: Link) -> None:
        """The client is gone: what it had asked for is carried out, nobody hears the answers, time stands."""
        state = self.attached
        if state is None or state.link is not link:
            return
        self.attached = None
        for timer in (self._guard, self._brake):
            if timer is not None:
                timer.cancel()
        self._guard = self._brake = None
        for name in sorted(state.pending):
            work, finish = state.pending[name]
            work(self.now)
            finish(DROPPED)
        for _, _, _, _, finish in sorted(state.parked, key=lambda parked: parked[:3]):
            finish(DROPPED)
        for connection, wire in state.wires.values():
            self._simulator.disconnect(connection)
            wire.close(reset=True)

    # --- what the client sends on its other sockets -------------------------------------------------------------------------------

    def counts(self, grant: str) -> bool:
        """Whether a request with this X-Grant value belongs to the attached client's granted time."""
        lane, _, number = grant.rpartition("/")
        state = self.attached
        return state is not None and not state.ended and bool(lane) and number.isdecimal() and int(number) > state.received.get(lane, 0)

    def request(self, grant: str, work: Work, finish: Finish) -> None:
        """A request or handshake of the attached client arrived; `counts` must have said yes."""
        assert self.attached is not None
        lane, _, number = grant.rpartition("/")
        self.attached.received[lane] = int(number)
        self.attached.pending[lane, int(number)] = (work, finish)
        self._check()

    def opened(self, connection: Connection, wire: Wire) -> None:
        """The handshake of this connection was let in (called from its `finish`)."""
        if self.attached is not None:
            self.attached.wires[connection.id] = (connection, wire)
            self.attached.came.setdefault(connection.id, 0)
            self.attached.frames.setdefault(connection.id, 0)

    def received(self, connection: Connection, message: str | bytes | None) -> None:
        """A client frame arrived on a connection, or (None) its close."""
        state = self.attached
        if state is None or connection.id not in state.wires:
            return
        state.came[connection.id] += 1
        state.messages.setdefault(connection.id, []).append(message)
        self._check()

    # --- moving time --------------------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        """Go on as soon as everything that `done` names is here."""
        state = self.attached
        if state is None or state.done is None or self._brake is not None:
            return
        if self._missing(state):
            if self._guard is None:
                self._guard = self._later(WALL_GUARD_S, self._give_up)
            return
        if self._guard is not None:
            self._guard.cancel()
            self._guard = None
        self._handle(state)
        self._move(state)

    def _missing(self, state: Attached) -> bool:
        assert state.done is not None
        for lane, count in state.done.get("requests", {}).items():
            if state.received.get(lane, 0) < count:
                return True
        return any(name in state.wires and state.came[name] < count for name, count in state.done.get("sent", {}).items())

    def _give_up(self) -> None:
        self._guard = None
        state = self.attached
        if state is None or state.done is None:
            return
        sys.stderr.write(f"grants: waited {WALL_GUARD_S:.0f} s for what done {state.grant} names; going on without it\n")
        for lane, count in state.done.get("requests", {}).items():
            for number in range(state.received.get(lane, 0) + 1, count + 1):
                state.received[lane] = number
                self._complete(state, lane, number)
        for name, count in state.done.get("sent", {}).items():
            if name in state.wires:
                state.came[name] = max(state.came[name], count)
        self._check()

    def _handle(self, state: Attached) -> None:
        for lane, number in sorted(state.pending):
            work, finish = state.pending[lane, number]
            response = work(self.now)
            delay = self._latency(lane, number) + timedelta(seconds=response.delay_s if response is not None else 0.0)
            heapq.heappush(state.parked, (self.now + delay, lane, number, response, finish))
        state.pending.clear()
        for name in sorted(state.messages):
            connection, wire = state.wires.get(name, (None, None))
            for message in state.messages[name]:
                if connection is None or wire is None:
                    break
                if message is None:
                    self._drop(state, name)
                    break
                self._simulator.receive(connection, message, self.now)
        state.messages.clear()

    def _move(self, state: Attached) -> None:
        assert state.done is not None
        target = self.now if state.poked else self._next(state)
        state.poked = False
        if target is None or target > self._simulator.last_moment():
            state.ended, state.done = True, None
            state.link.send({"end": "the market has no more days" if target is not None else "nothing is left to wait for"})
            return
        self._go_to(state, target)

    def _go_to(self, state: Attached, target: datetime) -> None:
        """Step to `target` at once, or when the brake lets go of it; a moment that a pace named is no moment to leap over."""
        if self._fast_until is not None and self.now < self._fast_until < target:
            target = self._fast_until
        pause = self._pause(target)
        if pause > 0:
            self._braked_since, self._braked_from, self._braked_to = self._wall(), self._braked(), target
            self._brake = self._later(pause, self._unbrake)
        else:
            self._step(state, target)

    def _next(self, state: Attached) -> datetime | None:
        assert state.done is not None
        wake = state.done.get("wake")
        moments = [self._simulator.next_event(self.now, [connection for connection, _ in state.wires.values()])]
        if wake is not None:
            moments.append(max(datetime.fromisoformat(wake), self.now))
        if state.parked:
            moments.append(state.parked[0][0])
        return min((moment for moment in moments if moment is not None), default=None)

    def _step(self, state: Attached, target: datetime) -> None:
        self.now = target
        self._simulator.advance(target)
        for name in list(state.wires):
            connection, wire = state.wires[name]
            frames = self._simulator.frames(connection, target)
            if frames:
                state.frames[name] += len(frames)
                wire.send(frames)
            if connection.ended:
                self._drop(state, name)
        while state.parked and state.parked[0][0] <= target:
            _, lane, number, response, finish = heapq.heappop(state.parked)
            finish(response)
            self._complete(state, lane, number)
        self._on_move(target)
        self._send_grant(state)

    def _drop(self, state: Attached, name: str) -> None:
        connection, wire = state.wires.pop(name)
        self._simulator.disconnect(connection)
        wire.close(reset=connection.reset)
        state.closed.append(name)

    def _complete(self, state: Attached, lane: str, number: int) -> None:
        waiting = state.finished.setdefault(lane, set())
        waiting.add(number)
        count = state.completed.get(lane, 0)
        while count + 1 in waiting:
            count += 1
            waiting.discard(count)
        state.completed[lane] = count

    def _send_grant(self, state: Attached) -> None:
        state.grant += 1
        state.done = None
        state.link.send(
            {
                "grant": state.grant,
                "at": self.now.isoformat(),
                "frames": state.frames,
                "closed": state.closed,
                "completed": state.completed,
            }
        )
        for name in state.closed:
            state.frames.pop(name, None)
        state.closed = []

    # --- latency and the brake ----------------------------------------------------------------------------------------------------

    def _latency(self, lane: str, number: int) -> timedelta:
        """20 to 150 ms, a function of the seed and the request's name alone."""
        drawn = hashlib.blake2b(f"{self._seed}/{lane}/{number}".encode(), digest_size=8).digest()
        return timedelta(microseconds=20_000 + int.from_bytes(drawn, "big") % 130_001)

    def _braked(self) -> datetime:
        """From when on time is braked: now, or the moment that a pace named."""
        return self.now if self._fast_until is None else max(self.now, self._fast_until)

    def _pause(self, target: datetime) -> float:
        """Real seconds to wait before `target`; nights pass without a brake."""
        if self._speed is None:
            return 0.0
        span = max(0.0, (target - self._braked()).total_seconds()) if target.date() == self.now.date() else 0.0
        wall = self._wall()
        self._pace = max(self._pace, wall - CATCH_UP_S) + span / self._speed
        return self._pace - wall

    def _unbrake(self) -> None:
        self._brake = None
        if self.attached is not None:
            self._step(self.attached, self._braked_to)

    def _release_brake(self, state: Attached) -> None:
        """A poke while braking: grant the moment at which a braked clock stands now."""
        assert self._brake is not None
        assert self._speed is not None
        self._brake.cancel()
        self._brake = None
        state.poked = False
        wall = self._wall()
        reached = self._braked_from + timedelta(seconds=(wall - self._braked_since) * self._speed)
        self._pace = wall
        self._step(state, min(reached, self._braked_to))
