"""What was found lately, found once for all who want it meanwhile."""

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from core.errors import NiyamError
from core.ports import Clock


@dataclass(slots=True)
class _Known:
    """One thing: found (or failed to be) at (monotonic; None: not yet), by whoever has the lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    at: float | None = None
    value: Any = None
    failure: NiyamError | None = None


class Shared:
    """Keeps at most `most` things, each for `seconds` from when it was asked for; a failure as long as a success."""

    def __init__(self, clock: Clock, seconds: float, most: int) -> None:
        self._clock = clock
        self._seconds = seconds
        self._most = most
        self._lock = threading.Lock()
        self._known: dict[Hashable, _Known] = {}

    def get(self, key: Hashable, find: Callable[[], Any]) -> Any:
        """What `find` gives, or gave lately. It is shared: nobody may change it. Raises what `find` raises."""
        with self._lock:
            if len(self._known) >= self._most and key not in self._known:
                self._known = {}
            known = self._known.setdefault(key, _Known())
        with known.lock:
            if known.at is None or self._clock.monotonic() - known.at >= self._seconds:
                began = self._clock.monotonic()
                try:
                    known.value, known.failure = find(), None
                except NiyamError as error:
                    known.value, known.failure = None, error
                known.at = began
            if known.failure is not None:
                raise known.failure.with_traceback(None)
            return known.value

    def forget(self) -> None:
        """Something was changed: what was found before is not told any more."""
        with self._lock:
            self._known = {}
