"""Time: the only module that reads it. The clocks behind one port, and the rules by which a granted day is deterministic.

SystemClock is the wall; HeldClock the same for an engine that takes batches. ManualClock is moved by hand (backtests, simulations,
unit tests). GrantedClock belongs to a wire simulator in another process: time stands still until the simulator grants the next moment,
and the simulator waits until this process is quiet.

Rules of a granted day:
1. A grant names t and, for each connection and each lane of requests, how much must have arrived before t's events are handled.
2. Nothing that arrives is handed to its thread before the grant that names it has been read, so that every thread sees the same now().
3. A grant runs in turns until nothing moves: the engine (its batch, its timers), then the edge threads. Edge threads leave `wait_for`
   only in their turn, so what a worker finds in its queue never depends on how fast it woke.
4. An edge thread is quiet when it waits (`wait_for`), is inside a `call`, or is `listening`. Done is said when all are quiet.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

from core.errors import NiyamError
from core.types import IST


class _Ungranted:
    """What only granted time needs to be told; every other clock lets it pass."""

    @contextmanager
    def thread(self, name: str) -> Iterator[None]:
        yield

    @contextmanager
    def call(self, lane: str) -> Iterator[Mapping[str, str]]:
        yield {}

    @contextmanager
    def listening(self, connection: str) -> Iterator[None]:
        yield

    def sent(self, connection: str) -> None:
        return None


class SystemClock(_Ungranted):
    """The wall clock, with an operating-system monotonic clock beside it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[threading.Condition, Callable[[], bool]]] = {}

    def now(self) -> datetime:
        return datetime.now(IST)

    def monotonic(self) -> float:
        return time.monotonic()

    def wait_for(self, ready: Callable[[], bool], until: float | None = None) -> bool:
        me = threading.get_ident()
        with self._lock:
            woken = threading.Condition(self._lock)
            self._waiting[me] = woken, ready
            try:
                return woken.wait_for(ready, None if until is None else max(0.0, until - time.monotonic()))
            finally:
                del self._waiting[me]

    def notify(self) -> None:
        """Wake the threads whose wait is over, and no other: waking one that only goes back to sleep delays the one that is needed."""
        with self._lock:
            for woken, ready in self._waiting.values():
                if ready():
                    woken.notify()


class HeldClock(_Ungranted):
    """The engine's clock in real time: it stands still from `hold` to `release`, while one batch of events is handled, so that the batch
    can be played again as it was. Every other thread keeps to the clock underneath."""

    def __init__(self, clock: SystemClock) -> None:
        self._clock = clock
        self._held: datetime | None = None

    def hold(self) -> None:
        self._held = self._clock.now()

    def release(self) -> None:
        self._held = None

    def now(self) -> datetime:
        return self._held or self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def wait_for(self, ready: Callable[[], bool], until: float | None = None) -> bool:
        return self._clock.wait_for(ready, until)

    def notify(self) -> None:
        self._clock.notify()


class ManualClock(_Ungranted):
    """A clock that a single thread moves by hand; `monotonic()` follows `now()` and neither ever goes back."""

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError(f"a clock needs an aware time, got the naive {start!r}")
        self._start = start
        self._now = start

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._start).total_seconds()

    def move_to(self, at: datetime) -> None:
        """Advance to `at`; an earlier time is ignored (market time never goes back)."""
        if at > self._now:
            self._now = at

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)

    def wait_for(self, ready: Callable[[], bool], until: float | None = None) -> bool:
        if not ready() and until is not None and until > self.monotonic():
            self.advance(until - self.monotonic())
        return ready()

    def notify(self) -> None:
        return None


class _Wait:
    """One edge thread standing in wait_for."""

    __slots__ = ("ready", "until")

    def __init__(self, ready: Callable[[], bool], until: float | None) -> None:
        self.ready = ready
        self.until = until


class GrantedClock:
    """Time by grants of a simulator. The engine thread drives it through runtime/grants.py; edge threads use the Clock port.

    `guard` is the wall-clock limit in seconds on any one internal wait: a protocol fault becomes an error with a picture of who is
    waiting for what, never a silent hang.
    """

    HEADER = "X-Grant"

    def __init__(self, *, guard: float = 60.0) -> None:
        self._condition = threading.Condition()
        self._guard = guard
        self._now: datetime | None = None
        self._origin: datetime | None = None
        self._running: dict[int, str] = {}
        self._waits: dict[int, _Wait] = {}
        self._turn_of_edge = False
        self._numbers: dict[str, int] = {}  # requests begun, by lane
        self._completed: dict[str, int] = {}  # requests whose end has been seen here, by lane
        self._granted_completed: dict[str, int] = {}
        self._received: dict[str, int] = {}  # data frames seen here, by connection
        self._granted_frames: dict[str, int] = {}
        self._granted_closed: set[str] = set()
        self._closed: set[str] = set()
        self._sent: dict[str, int] = {}
        self._failed: str = ""

    # --- the Clock port -------------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        if self._now is None:
            raise NiyamError("the simulator has not granted a first moment yet; attach before asking for the time")
        return self._now

    def monotonic(self) -> float:
        if self._now is None or self._origin is None:
            return 0.0
        return (self._now - self._origin).total_seconds()

    @contextmanager
    def thread(self, name: str) -> Iterator[None]:
        me = threading.get_ident()
        with self._condition:
            self._running[me] = name
        try:
            yield
        finally:
            with self._condition:
                self._running.pop(me, None)
                self._condition.notify_all()

    def wait_for(self, ready: Callable[[], bool], until: float | None = None) -> bool:
        me = threading.get_ident()
        with self._condition:
            name = self._running.pop(me, None)
            if name is None:  # a thread that does not live inside thread(), or the engine's own: no part of the protocol
                return self._condition.wait_for(lambda: ready() or self._due(until) or bool(self._failed), self._guard) and ready()
            self._waits[me] = _Wait(ready, until)
            self._condition.notify_all()
            while not (self._turn_of_edge and (ready() or self._due(until))) and not self._failed:
                self._condition.wait()
            self._waits.pop(me, None)
            self._running[me] = name
            return ready()

    def notify(self) -> None:
        with self._condition:
            self._condition.notify_all()

    @contextmanager
    def call(self, lane: str) -> Iterator[Mapping[str, str]]:
        me = threading.get_ident()
        with self._condition:
            number = self._numbers.get(lane, 0) + 1
            self._numbers[lane] = number
            name = self._running.pop(me, None)
            self._condition.notify_all()
        try:
            yield {self.HEADER: f"{lane}/{number}"}
        finally:
            with self._condition:
                self._condition.wait_for(lambda: self._granted_completed.get(lane, 0) >= number or bool(self._failed), self._guard)
                self._completed[lane] = max(self._completed.get(lane, 0), number)
                if name is not None:
                    self._running[me] = name
                self._condition.notify_all()

    @contextmanager
    def listening(self, connection: str) -> Iterator[None]:
        me = threading.get_ident()
        with self._condition:
            name = self._running.pop(me, None)
            self._condition.notify_all()
        closed = False
        try:
            yield
        except BaseException:
            closed = True
            raise
        finally:
            with self._condition:
                if closed:
                    self._condition.wait_for(lambda: connection in self._granted_closed or bool(self._failed), self._guard)
                    self._closed.add(connection)
                else:
                    frame = self._received.get(connection, 0) + 1
                    self._condition.wait_for(lambda: self._granted_frames.get(connection, 0) >= frame or bool(self._failed), self._guard)
                    self._received[connection] = frame
                if name is not None:
                    self._running[me] = name
                self._condition.notify_all()

    def sent(self, connection: str) -> None:
        with self._condition:
            self._sent[connection] = self._sent.get(connection, 0) + 1

    # --- the engine thread's side, used by runtime/grants.py --------------------------------------------------------------------

    def grant(self, at: datetime, *, frames: Mapping[str, int], completed: Mapping[str, int], closed: frozenset[str]) -> None:
        """Take the next moment: publish what it names and wait until all of that has arrived and every edge thread is quiet."""
        with self._condition:
            if self._origin is None:
                self._origin = at
            self._now = at
            self._granted_frames.update(frames)
            self._granted_completed.update(completed)
            self._granted_closed |= closed
            self._condition.notify_all()
            self._wait("what the grant names", self._arrived)

    def run_edge(self) -> None:
        """Give the edge threads their turn; returns when all of them are quiet again."""
        with self._condition:
            self._turn_of_edge = True
            self._condition.notify_all()
            try:
                self._wait("the edge threads to be quiet", self._quiet)
            finally:
                self._turn_of_edge = False

    def done(self) -> tuple[float | None, dict[str, int], dict[str, int]]:
        """(earliest monotonic wake of any waiting edge thread, requests begun by lane, client frames by connection)."""
        with self._condition:
            wakes = [wait.until for wait in self._waits.values() if wait.until is not None]
            return (min(wakes) if wakes else None), dict(self._numbers), dict(self._sent)

    def fail(self, reason: str) -> None:
        """The simulator is gone: wake every thread so that the process can end; time stays where it is."""
        with self._condition:
            self._failed = reason
            self._condition.notify_all()

    def _due(self, until: float | None) -> bool:
        return until is not None and self.monotonic() >= until

    def _arrived(self) -> bool:
        return (
            not self._running
            and all(self._completed.get(lane, 0) >= count for lane, count in self._granted_completed.items())
            and all(self._received.get(name, 0) >= count for name, count in self._granted_frames.items() if name not in self._closed)
            and self._granted_closed <= self._closed
        )

    def _quiet(self) -> bool:
        return not self._running and not any(wait.ready() or self._due(wait.until) for wait in self._waits.values())

    def _wait(self, what: str, ready: Callable[[], bool]) -> None:
        if not self._condition.wait_for(lambda: ready() or bool(self._failed), self._guard):
            raise NiyamError(
                f"the granted clock waited {self._guard:.0f} s for {what}: running {sorted(self._running.values())}, requests "
                f"{self._completed} of {self._granted_completed}, frames {self._received} of {self._granted_frames}, "
                f"closed {sorted(self._closed)} of {sorted(self._granted_closed)}"
            )
        if self._failed:
            raise NiyamError(f"the simulator that owns time is gone: {self._failed}")
