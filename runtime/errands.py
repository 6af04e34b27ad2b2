"""Blocking broker calls that the outside asks of a running daemon: begun by the engine thread, made by the downloads worker.

The thread that asks must not call the broker itself: only edge threads take part in granted time.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from core.errors import NiyamError
from execution_engine.broker_worker import DATA, Worker, WorkerJob

PATIENCE_S = 60.0  # wall seconds
_MOST = 16  # errands that may wait at once


class _Errand:
    def __init__(self, run: Callable[[], Any]) -> None:
        self._run = run
        self.ended = threading.Event()
        self.job = WorkerJob(self.run)

    def run(self) -> Any:
        try:
            return self._run()
        finally:
            self.ended.set()


class Errands:
    """`ask` from any thread; `begin` on the engine thread after each batch."""

    def __init__(self, worker: Worker, poke: Callable[[], None]) -> None:
        self._worker = worker
        self._poke = poke
        self._waiting: deque[_Errand] = deque()

    def ask(self, run: Callable[[], Any]) -> Any:
        """What `run` returns, or raises; NiyamError when nobody came to it in time."""
        if len(self._waiting) >= _MOST:
            raise NiyamError("the daemon is busy with other questions to its broker; ask again in a moment")
        errand = _Errand(run)
        self._waiting.append(errand)
        self._poke()
        if not errand.ended.wait(PATIENCE_S):
            raise NiyamError(f"the daemon did not come to it within {PATIENCE_S:.0f} s; ask again")
        while not errand.job.done:  # its worker is setting it right now
            threading.Event().wait(0.001)
        return errand.job.value()

    def begin(self) -> None:
        """Hand what waits to the worker."""
        while self._waiting:
            errand = self._waiting.popleft()
            self._worker.submit(DATA, errand.job.run)
