"""One outgoing rate budget for each login at a broker, shared by all its threads: exits before cancels before entries before reads.

Every limit is a sliding window: at no moment do more than `count` requests of its kinds lie within the last `seconds`. Entries and
reads may use only the part of an order limit that is not reserved, so that an exit is never refused for what entries spent.
"""

import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import IntEnum
from typing import Any, Protocol, runtime_checkable

from core.errors import RateLimited
from core.ports import Clock
from core.types import IST

_GRAIN = 1e-6  # seconds: clocks count microseconds, floats do not


class Lane(IntEnum):
    """Who goes first when several wait for the same budget (promise P10)."""

    EXIT = 0
    CANCEL = 1
    ENTRY = 2
    PORTFOLIO = 3
    DATA = 4
    SCREEN = 5


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` requests of `kinds` in any `seconds`; `reserve` is the share of it that only exits and cancels may use."""

    name: str
    kinds: frozenset[str]
    count: int
    seconds: float
    reserve: float = 0.0

    def allowed(self, lane: Lane) -> int:
        return self.count if lane <= Lane.CANCEL else max(1, int(self.count * (1.0 - self.reserve)))


@runtime_checkable
class Paced(Protocol):
    """What keeps to limits of its own, beside the login's budget (a feed that polls)."""

    def usage(self) -> Mapping[str, Any]:
        """As Budget.today."""
        ...


class _Window:
    """The moments of one limit's latest requests, oldest first. `most` is how many there ever were at a time today."""

    __slots__ = ("limit", "moments", "most")

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.moments: deque[float] = deque()
        self.most = 0

    def add(self, now: float, count: int = 1) -> None:
        self.moments.extend([now] * count)
        self.most = max(self.most, len(self.moments))

    def forget(self, now: float) -> None:
        while self.moments and self.moments[0] + self.limit.seconds <= now + _GRAIN:
            self.moments.popleft()

    def free_at(self, lane: Lane, now: float) -> float:
        """The first moment >= now at which one more request of `lane` fits."""
        self.forget(now)
        surplus = len(self.moments) - self.limit.allowed(lane)
        return now if surplus < 0 else self.moments[surplus] + self.limit.seconds


class Budget:
    """Paces the requests of one login. `acquire` is called by the thread that is about to send, and blocks it alone."""

    def __init__(self, clock: Clock, limits: Iterable[Limit]) -> None:
        self._clock = clock
        self._windows = [_Window(limit) for limit in limits]
        self._of_kind: dict[str, list[_Window]] = {}
        for window in self._windows:
            for kind in window.limit.kinds:
                self._of_kind.setdefault(kind, []).append(window)
        self._lock = threading.Lock()
        self._waiting: list[tuple[Lane, int, str]] = []
        self._tickets = 0
        self._paused_until: dict[str, float] = {}
        self._day: date | None = None
        self._sent: Counter[tuple[Lane, str]] = Counter()
        self._refused: Counter[tuple[Lane, str]] = Counter()
        self._waited: Counter[tuple[Lane, str]] = Counter()

    def acquire(self, lane: Lane, kind: str, *, patience: float = 60.0) -> float:
        """Wait for leave to send one request of `kind`; returns the seconds waited.

        Raises RateLimited, with nothing sent, when the wait would exceed `patience` seconds (a day's limit is used up, or a pause
        is long), and ValueError for a kind without a limit: an unpaced request is a programming error.
        """
        windows = self._of_kind.get(kind)
        if windows is None:
            raise ValueError(f"no limit paces requests of kind {kind!r}; known kinds: {', '.join(sorted(self._of_kind))}")
        begun = self._clock.monotonic()
        with self._lock:
            self._tickets += 1
            ticket = (lane, self._tickets, kind)
            self._waiting.append(ticket)
        try:
            while True:
                now = self._clock.monotonic()
                with self._lock:
                    free_at, ahead = self._free_at(windows, lane, kind, now), self._ahead(ticket)
                    if free_at <= now + _GRAIN and not ahead:
                        self._turn()
                        for window in windows:
                            window.add(now)
                        self._sent[lane, kind] += 1
                        self._waited[lane, kind] += round((now - begun) * 1000)
                        return now - begun
                if free_at - begun > patience:
                    with self._lock:
                        self._turn()
                        self._refused[lane, kind] += 1
                    raise RateLimited(self._used_up(windows, lane, kind, free_at - now))
                if ahead:  # they announce their leaving; their own turn comes no later than ours
                    self._clock.wait_for(lambda: not self._ahead(ticket))
                else:
                    self._clock.wait_for(lambda: self._ahead(ticket), free_at)
        finally:
            with self._lock:
                self._waiting.remove(ticket)
            self._clock.notify()

    def pause(self, seconds: float, kind: str | None = None) -> None:
        """Send nothing of `kind` and of the kinds that share a limit with it (None: nothing at all) for `seconds`: a 429 was seen."""
        until = self._clock.monotonic() + seconds
        with self._lock:
            kinds = set(self._of_kind) if kind is None else {kind}
            for window in self._of_kind.get(kind or "", ()):
                kinds |= window.limit.kinds
            for one in kinds:
                self._paused_until[one] = max(until, self._paused_until.get(one, 0.0))

    def used_before(self, name: str, count: int) -> None:
        """Count `count` requests as spent now in the limit called `name` (after a restart, what the ledger says of today)."""
        now = self._clock.monotonic()
        with self._lock:
            for window in self._windows:
                if window.limit.name == name:
                    window.add(now, count)

    def usage(self) -> Mapping[str, tuple[int, int]]:
        """Limit name -> (requests within its window, count allowed)."""
        now = self._clock.monotonic()
        with self._lock:
            for window in self._windows:
                window.forget(now)
            return {window.limit.name: (len(window.moments), window.limit.count) for window in self._windows}

    def today(self) -> dict[str, Any]:
        """What has been spent since midnight: `calls` by lane and kind (`sent`, `refused` for want of a place, `waited_s` together), and of
        each limit the most that ever lay in its window (`peak`), what lies in it `now`, and what it allows (`count` in `seconds`)."""
        now = self._clock.monotonic()
        with self._lock:
            self._turn()
            calls = [
                {
                    "lane": lane.name.lower(),
                    "kind": kind,
                    "sent": self._sent[lane, kind],
                    "refused": self._refused[lane, kind],
                    "waited_s": self._waited[lane, kind] / 1000,
                }
                for lane, kind in sorted(self._sent | self._refused)
            ]
            limits = []
            for window in self._windows:
                window.forget(now)
                limit = window.limit
                peak = {"peak": window.most, "now": len(window.moments), "peak_pct": round(100 * window.most / limit.count, 1)}
                limits.append({"limit": limit.name, "seconds": limit.seconds, "count": limit.count, **peak})
            return {"calls": calls, "limits": limits}

    def _turn(self) -> None:
        """A new day's counts begin; call with the lock held."""
        today = self._clock.now().astimezone(IST).date()
        if today == self._day:
            return
        self._day = today
        for counts in (self._sent, self._refused, self._waited):
            counts.clear()
        now = self._clock.monotonic()
        for window in self._windows:
            window.forget(now)
            window.most = len(window.moments)

    def _free_at(self, windows: list[_Window], lane: Lane, kind: str, now: float) -> float:
        return max(max(window.free_at(lane, now) for window in windows), self._paused_until.get(kind, 0.0))

    def _ahead(self, ticket: tuple[Lane, int, str]) -> bool:
        """Whether somebody who goes first waits for a limit that this ticket's kind shares."""
        mine = self._of_kind[ticket[2]]
        return any(other < ticket and any(window in mine for window in self._of_kind[other[2]]) for other in self._waiting)

    def _used_up(self, windows: list[_Window], lane: Lane, kind: str, wait: float) -> str:
        spent = ", ".join(f"{w.limit.name} {len(w.moments)} of {w.limit.allowed(lane)} for {lane.name.lower()}" for w in windows)
        return f"the rate budget has no place for a request of kind {kind!r} within the next {wait:.0f} s ({spent}); nothing was sent"
