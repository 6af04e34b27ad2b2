"""The one queue: edge threads put events in, the engine thread takes them out in the one order that counts."""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from core.clock import SystemClock
from core.events import RANKS, Event
from core.types import Tick

CAPACITY = 200_000
"""Events that may wait. Past it ticks are dropped and counted (the next tick replaces them); nothing else is ever dropped."""


class Job(Protocol):
    """Something an edge thread is working on, whose end the engine thread may wait for."""

    @property
    def done(self) -> bool: ...


class Inbox:
    """Thread-safe; `origin` names the edge thread, so that events of one moment have an order that no scheduler can change."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._events: list[tuple[int, str, Event]] = []
        self._poked = False
        self.dropped_ticks = 0

    def put(self, events: Sequence[Event], origin: str) -> None:
        with self._condition:
            room = CAPACITY - len(self._events)
            if room < len(events):
                kept = [event for event in events if not isinstance(event, Tick)]
                self.dropped_ticks += len(events) - len(kept)
                events = kept
            self._events.extend((RANKS[type(event)], origin, event) for event in events)
            self._condition.notify()

    def poke(self) -> None:
        """Wake the engine thread although nothing happened (a job ended, the process is asked to stop)."""
        with self._condition:
            self._poked = True
            self._condition.notify()

    def drain(self) -> list[Event]:
        """All that is here now, in order: source rank, origin, then arrival within the origin."""
        with self._condition:
            taken, self._events, self._poked = self._events, [], False
        taken.sort(key=_order)
        return [event for _, _, event in taken]

    def wait(self, seconds: float) -> None:
        """Block until something is put in or poked, at most `seconds` of wall time."""
        with self._condition:
            if not self._events and not self._poked:
                self._condition.wait(seconds)


def _order(item: tuple[int, str, Event]) -> tuple[int, str]:
    return item[0], item[1]


class Pump(Protocol):
    """What moves the engine thread from one batch of events to the next. `beat` is called while it waits for a job."""

    beat: Callable[[], None]

    def next(self, wake: datetime) -> list[Event]:
        """Events that have happened (possibly none), not later than `wake`; returns with the clock at their moment."""
        ...

    def complete(self, job: Job) -> None:
        """Keep the process moving until `job` is done; events that happen meanwhile come with the next `next`."""
        ...

    def close(self) -> None:
        """Nothing is moved any more."""
        ...

    def poke(self) -> None:
        """Safe from any thread and from signal handlers' threads: make `next` return soon."""
        ...


class SystemPump:
    """Real time: wait for an event or the next timer, whichever comes first."""

    LONGEST_WAIT_S = 1.0  # so that a stop request and a clock that jumped are noticed within a second

    def __init__(self, inbox: Inbox, clock: SystemClock) -> None:
        self._inbox = inbox
        self._clock = clock
        self._backlog: list[Event] = []
        self.beat: Callable[[], None] = lambda: None

    def next(self, wake: datetime) -> list[Event]:
        if self._backlog:
            backlog, self._backlog = self._backlog, []
            return backlog
        wait = (wake - self._clock.now()).total_seconds()
        if wait > 0:
            self._inbox.wait(min(wait, self.LONGEST_WAIT_S))
        return self._inbox.drain()

    def complete(self, job: Job) -> None:
        while not job.done:
            self.beat()
            self._inbox.wait(0.5)  # the job's end pokes
            self._backlog.extend(self._inbox.drain())

    def close(self) -> None:
        return None

    def poke(self) -> None:
        self._inbox.poke()
