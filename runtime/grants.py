"""The daemon's half of granted time: read a grant, let the process become quiet, say done. Its rules stand in core/clock.py.

Several accounts side by side (`Round`): each has its engine on a thread of its own, and they take turns in the order of the accounts.
1. Only the thread whose turn it is runs; it passes the turn on when it asks for its next events (`next`) or waits for a job (`complete`).
2. After a grant each has one turn in which it handles what the grant brought. Then they go on in turns, the edge threads' turn before
   each, until in a whole round nobody has anything; then done is said, with the earliest wake of all.
So no scheduler decides what an engine sees, and a day of several accounts is as deterministic as a day of one.
"""

import json
import socket
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from core.clock import GrantedClock
from core.errors import NiyamError
from core.events import Event
from runtime.inbox import Inbox, Job, Pump


class GrantChannel:
    """One TCP connection of JSON lines to the simulator that owns time. `poke` may be called from any thread."""

    def __init__(self, address: str, account: str) -> None:
        host, port = address.rsplit(":", 1)
        try:
            self._socket = socket.create_connection((host, int(port)), timeout=30)
        except OSError as error:
            raise NiyamError(f"no simulator answers at {address} ({error}); start one with: main.py simulate zerodha --granted") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(None)
        self._lines = self._socket.makefile("rb")
        self._lock = threading.Lock()
        self._send({"attach": {"account": account}})
        self.attached: dict[str, Any] = self.read()["attached"]

    def read(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line:
            raise NiyamError("the simulator closed the grants channel; start the run again to attach to a new one")
        message: dict[str, Any] = json.loads(line)
        return message

    def done(self, number: int, wake: datetime | None, requests: dict[str, int], sent: dict[str, int]) -> None:
        self._send({"done": number, "wake": wake.isoformat() if wake else None, "requests": requests, "sent": sent})

    def poke(self) -> None:
        self._send({"poke": True})

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def _send(self, message: dict[str, Any]) -> None:
        try:
            with self._lock:
                self._socket.sendall(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        except OSError as error:
            raise NiyamError(f"the simulator is gone ({error}); start the run again") from error


class GrantedPump:
    """Moves the engine thread through granted moments; see runtime/inbox.Pump."""

    def __init__(self, inbox: Inbox, clock: GrantedClock, channel: GrantChannel, on_end: Callable[[str], None]) -> None:
        self._inbox = inbox
        self._clock = clock
        self._channel = channel
        self._on_end = on_end
        self._backlog: list[Event] = []
        self._grant = 0
        self.beat: Callable[[], None] = lambda: None
        self._take(self._channel.read())

    def next(self, wake: datetime) -> list[Event]:
        if self._backlog:
            backlog, self._backlog = self._backlog, []
            return backlog
        events = self._turn()
        if events or wake <= self._clock.now():
            return events
        self._advance(wake)
        return self._inbox.drain()

    def complete(self, job: Job) -> None:
        while True:
            self._backlog.extend(self._turn())
            if job.done:
                return
            self.beat()
            self._advance(None)
            self._backlog.extend(self._inbox.drain())

    def close(self) -> None:
        self._clock.fail("the daemon ends")
        self._channel.close()

    def poke(self) -> None:
        self._channel.poke()

    def _turn(self) -> list[Event]:
        """The edge threads' turn at the present moment; what they put into the inbox is taken before time may move."""
        self._clock.run_edge()
        return self._inbox.drain()

    def _advance(self, wake: datetime | None) -> None:
        edge_wake, requests, sent = self._clock.done()
        if edge_wake is not None:
            at = self._clock.now() + timedelta(seconds=max(0.0, edge_wake - self._clock.monotonic()), microseconds=1)
            wake = at if wake is None else min(at, wake)
        self._channel.done(self._grant, wake, requests, sent)
        self._take(self._channel.read())

    def _take(self, message: dict[str, Any]) -> None:
        if "end" in message:
            self._on_end(str(message["end"]))
            return
        self._grant = int(message["grant"])
        self._clock.grant(
            datetime.fromisoformat(message["at"]),
            frames=message.get("frames", {}),
            completed=message.get("completed", {}),
            closed=frozenset(message.get("closed", ())),
        )


def granted_pumps(inboxes: Sequence[Inbox], clock: GrantedClock, channel: GrantChannel, on_end: Callable[[str], None]) -> list[Pump]:
    """A pump for each inbox, all on one granted clock."""
    if len(inboxes) == 1:
        return [GrantedPump(inboxes[0], clock, channel, on_end)]
    together = Round(clock, channel, on_end)
    return [together.seat(inbox) for inbox in inboxes]


class Round:
    """Granted time for several engine threads; see the rules above."""

    def __init__(self, clock: GrantedClock, channel: GrantChannel, on_end: Callable[[str], None]) -> None:
        self._clock = clock
        self._channel = channel
        self._on_end = on_end
        self._condition = threading.Condition()
        self._seats: list[GrantedSeat] = []
        self._turn = 0
        self._quiet = 0  # seats in a row that had nothing
        self._grant = 0
        self._failure = ""
        self._ended = False
        self._take(self._channel.read())

    def seat(self, inbox: Inbox) -> "GrantedSeat":
        made = GrantedSeat(self, inbox)
        self._seats.append(made)
        return made

    def poke(self) -> None:
        self._channel.poke()

    def events(self, seat: "GrantedSeat", wake: datetime | None, over: Callable[[], bool]) -> list[Event]:
        """Give the turn away and take it again when this seat has something to do: events, its wake, a grant to look at, a job that is
        `over`. The first call of a thread waits for its first turn."""
        with self._condition:
            if seat.running:
                self._pass_on(seat)
            while True:
                self._condition.wait_for(lambda: self._failure or self._seats[self._turn] is seat)
                if self._failure:
                    raise NiyamError(self._failure)
                try:
                    found = self._look(seat, wake, over)
                except Exception as error:  # time stands still for all of them: each ends as if its simulator were gone
                    self._failure = str(error)
                    self._condition.notify_all()
                    raise
                if found is not None:
                    seat.running, self._quiet = True, 0
                    return found

    def leave(self, seat: "GrantedSeat") -> None:
        """This account is over; the last one ends granted time."""
        with self._condition:
            if seat not in self._seats:
                return
            place, self._quiet = self._seats.index(seat), 0
            self._seats.remove(seat)
            if place < self._turn:
                self._turn -= 1
            elif self._turn >= len(self._seats):
                self._turn = 0
            self._condition.notify_all()
            last = not self._seats
        if last:
            self._clock.fail("the daemon ends")
            self._channel.close()

    def _look(self, seat: "GrantedSeat", wake: datetime | None, over: Callable[[], bool]) -> list[Event] | None:
        """This seat's turn: what there is for it, or None when the turn went on."""
        if seat.fresh:
            seat.fresh = False
            return seat.inbox.drain()
        self._clock.run_edge()
        events = seat.inbox.drain()
        if events or over() or self._ended or (wake is not None and wake <= self._clock.now()):
            return events
        seat.wake = wake
        self._quiet += 1
        if self._quiet < len(self._seats):
            self._pass_on(seat)
            return None
        self._advance()
        self._turn = self._quiet = 0
        self._condition.notify_all()
        return None

    def _pass_on(self, seat: "GrantedSeat") -> None:
        seat.running = False
        self._turn = (self._seats.index(seat) + 1) % len(self._seats)
        self._condition.notify_all()

    def _advance(self) -> None:
        edge_wake, requests, sent = self._clock.done()
        wakes = [seat.wake for seat in self._seats if seat.wake is not None]
        if edge_wake is not None:
            ahead = max(0.0, edge_wake - self._clock.monotonic())
            wakes.append(self._clock.now() + timedelta(seconds=ahead, microseconds=1))
        self._channel.done(self._grant, min(wakes, default=None), requests, sent)
        self._take(self._channel.read())

    def _take(self, message: dict[str, Any]) -> None:
        for seat in self._seats:
            seat.fresh = True
        if "end" in message:
            self._ended = True
            self._on_end(str(message["end"]))
            return
        self._grant = int(message["grant"])
        self._clock.grant(
            datetime.fromisoformat(message["at"]),
            frames=message.get("frames", {}),
            completed=message.get("completed", {}),
            closed=frozenset(message.get("closed", ())),
        )


class GrantedSeat:
    """One account's Pump in a Round; `next`, `complete` and `close` are called on its engine's thread."""

    def __init__(self, together: Round, inbox: Inbox) -> None:
        self._together = together
        self._backlog: list[Event] = []
        self.inbox = inbox
        self.running = False
        self.fresh = False  # a grant that it has not looked at
        self.wake: datetime | None = None
        self.beat: Callable[[], None] = lambda: None

    def next(self, wake: datetime) -> list[Event]:
        if self._backlog:
            backlog, self._backlog = self._backlog, []
            return backlog
        return self._together.events(self, wake, lambda: False)

    def complete(self, job: Job) -> None:
        while True:
            self._backlog.extend(self._together.events(self, None, lambda: job.done))
            if job.done:
                return
            self.beat()

    def close(self) -> None:
        self._together.leave(self)

    def poke(self) -> None:
        self._together.poke()
