"""Market time that the test moves by hand, for its own thread, the edge threads of a feed and the simulator alike."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta


class HandClock:
    """A core.ports.Clock. The thread that made it drives: its waits move time on. Every other thread's wait lasts until it has been moved.

    `move` passes the same seconds at the simulator, before any of our threads sees the new time.
    """

    def __init__(self, start: datetime, move: Callable[[float], None]) -> None:
        self._start = self._now = start
        self._move = move
        self._driver = threading.get_ident()
        self._woken = threading.Condition()
        self._calls = 0
        self._waits: dict[int, float | None] = {}  # edge thread -> until when it waits
        self._awake: set[int] = set()  # edge threads whose wait is over and that have not come to rest again

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._start).total_seconds()

    def advance(self, seconds: float) -> None:
        """Let market time pass (the driving thread's)."""
        assert threading.get_ident() == self._driver
        self._move(seconds)
        with self._woken:
            self._now += timedelta(seconds=seconds)
            self._awake |= {thread for thread, until in self._waits.items() if until is not None and until <= self.monotonic()}
            self._woken.notify_all()

    def wait_for(self, ready: Callable[[], bool], until: float | None = None) -> bool:
        if threading.get_ident() == self._driver:
            assert until is not None, "the driving thread would wait for ever"
            if not ready() and until > self.monotonic():
                self.advance(until - self.monotonic())
            return ready()
        me = threading.get_ident()
        with self._woken:
            self._waits[me] = until
            self._awake.discard(me)
            while not ready() and (until is None or self.monotonic() < until):
                self._woken.wait(1.0)
            del self._waits[me]
            self._awake.add(me)
            return ready()

    def notify(self) -> None:
        with self._woken:
            self._woken.notify_all()

    def quiet(self, seconds: float = 2.0) -> None:
        """Give the edge threads real time to finish the calls they are in, and those that have just been woken to come to one."""
        began = time.monotonic()
        while (self._calls and time.monotonic() < began + seconds) or (self._awake and time.monotonic() < began + seconds / 8):
            time.sleep(0.001)

    @contextmanager
    def thread(self, name: str) -> Iterator[None]:
        try:
            yield
        finally:
            self._awake.discard(threading.get_ident())

    @contextmanager
    def call(self, lane: str) -> Iterator[Mapping[str, str]]:
        self._calls += 1
        try:
            yield {}
        finally:
            self._calls -= 1

    @contextmanager
    def listening(self, connection: str) -> Iterator[None]:
        self._awake.discard(threading.get_ident())
        yield

    def sent(self, connection: str) -> None:
        return None
