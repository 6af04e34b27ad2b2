"""Virtual time on one thread: the daemon's edge threads are coroutines that only this clock switches, at moments that a seed decides.

Rules:
1. `true` is the world's time; the daemon's own clock shows `true + skew`. Both stand still while anything runs.
2. A moment (`at`) belongs to the world: it happens whether the daemon lives or not. A coroutine belongs to the daemon and dies with it.
3. Moments go first, then coroutines in the order in which they began to wait, then the engine.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

from greenlet import GreenletExit, getcurrent, greenlet

from core.events import Event
from runtime.inbox import Inbox, Job

FAR = timedelta(days=2)


class Killed(BaseException):
    """`kill -9`: nothing of the daemon may catch it."""


class VirtualClock:
    """core.ports.Clock; `run` is the scheduler's one step."""

    def __init__(self, start: datetime) -> None:
        self.true = start
        self.skew = timedelta()
        self.stopped_until = start  # the daemon's process gets no turn before (a suspended machine)
        self._start = start
        self._hub = getcurrent()
        self._moments: list[tuple[datetime, int, Callable[[], None]]] = []
        self._count = 0
        self._waits: dict[greenlet, tuple[Callable[[], bool], float | None]] = {}

    # --- the Clock port -------------------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        return self.true + self.skew

    def monotonic(self) -> float:
        return (self.true - self._start).total_seconds()

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

    def notify(self) -> None:
        return None

    def wait_for(self, ready: Callable[[], bool], until: float | None = None) -> bool:
        me = getcurrent()
        if me is self._hub:
            raise RuntimeError("the engine's thread may not wait")
        if not ready() and (until is None or self.monotonic() < until):
            self._waits[me] = ready, until
            self._hub.switch()
        return ready()

    # --- the world's side -----------------------------------------------------------------------------------------------------------

    def at(self, moment: datetime, do: Callable[[], None]) -> None:
        """Do something at a moment of true time, at once if that has passed."""
        self._count += 1
        heapq.heappush(self._moments, (max(moment, self.true), self._count, do))

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        self.at(self.true + timedelta(seconds=seconds), do)

    def spawn(self, run: Callable[[], None]) -> None:
        """Begin one edge thread of the daemon; it starts at the next turn."""
        self._waits[greenlet(run)] = (lambda: True), None

    def kill(self) -> None:
        """End every coroutine where it stands."""
        while self._waits:
            thread, _ = self._waits.popitem()
            if thread:
                thread.throw(GreenletExit)

    def turn(self) -> None:
        """Let every coroutine run that can, until none can."""
        if self.true < self.stopped_until:
            return
        moved = True
        while moved:
            moved = False
            for thread, (ready, until) in list(self._waits.items()):
                if thread in self._waits and (ready() or (until is not None and self.monotonic() >= until - 1e-6)):
                    del self._waits[thread]
                    thread.switch()
                    moved = True

    def step(self, limit: datetime) -> None:
        """Move to the next moment or wake, not beyond `limit` (true time), and do what is due in the world."""
        wake = limit
        if self._moments and self._moments[0][0] < wake:
            wake = self._moments[0][0]
        for _, until in self._waits.values() if self.true >= self.stopped_until else ():
            if until is not None:
                due = self._start + timedelta(seconds=until, microseconds=1)
                if due < wake:
                    wake = due
        self.true = max(self.true, wake)
        while self._moments and self._moments[0][0] <= self.true:
            heapq.heappop(self._moments)[2]()


class VirtualPump:
    """runtime.inbox.Pump over a VirtualClock. `lazy` may put a wake off: nothing happens, and the engine need not look each second."""

    def __init__(self, inbox: Inbox, clock: VirtualClock, lazy: Callable[[datetime], datetime]) -> None:
        self._inbox = inbox
        self._clock = clock
        self._lazy = lazy
        self._backlog: list[Event] = []
        self.beat: Callable[[], None] = lambda: None

    def next(self, wake: datetime) -> list[Event]:
        if self._backlog:
            backlog, self._backlog = self._backlog, []
            return backlog
        clock = self._clock
        wake = self._lazy(wake)
        while True:
            clock.turn()
            if clock.true >= clock.stopped_until:
                events = self._inbox.drain()
                if events or clock.now() >= wake:
                    return events
            clock.step(max(wake - clock.skew, clock.stopped_until))

    def complete(self, job: Job) -> None:
        while True:
            self._clock.turn()
            self._backlog.extend(self._inbox.drain())
            if job.done:
                return
            self._clock.step(self._clock.true + FAR)

    def close(self) -> None:
        return None

    def poke(self) -> None:
        return None


def sleep(clock: VirtualClock, seconds: float) -> None:
    """A coroutine waits."""
    clock.wait_for(_never, clock.monotonic() + seconds)


def _never() -> bool:
    return False
