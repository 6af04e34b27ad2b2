"""The engine's own alarm clock: a heap of named moments, so that the square-off fires even when no tick ever comes again.

A moment (`set`) is a time of the market's day; a wait (`wait`) is so many seconds from now. When our clock is set back, moments stay
where they are, and no wait becomes longer than it was meant to be.
"""

import heapq
from datetime import datetime, timedelta

FAR = timedelta(days=3650)
SECOND = timedelta(seconds=1)
BEAT = "second"
"""The engine's own beat, which goes on by itself once it is set. It fires more often than all others: it stands beside the heap."""


class Timers:
    """Named timers in due order; setting a name again moves it. Ties fire in the order of their names."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, str]] = []
        self._due: dict[str, datetime] = {}
        self._waits: dict[str, timedelta] = {}  # of the timers that are waits: how long
        self._beat: datetime | None = None
        self._latest: datetime | None = None

    def set(self, name: str, due: datetime) -> None:
        if due.tzinfo is None:
            raise ValueError(f"timer {name!r} needs an aware time, got {due!r}")
        if name == BEAT:
            self._beat = due
            return
        self._due[name] = due
        self._waits.pop(name, None)
        heapq.heappush(self._heap, (due, name))

    def wait(self, name: str, now: datetime, for_: timedelta) -> None:
        """Fire `for_` from now on."""
        due = self._due[name] = now + for_
        self._waits[name] = for_
        heapq.heappush(self._heap, (due, name))

    def _beat_on(self, now: datetime) -> None:
        """Beat at the next whole second: a granted market steps on them too."""
        self._beat = (now.replace(microsecond=0) if now.microsecond else now) + SECOND

    def cancel(self, name: str) -> None:
        if name == BEAT:
            self._beat = None
        self._due.pop(name, None)
        self._waits.pop(name, None)

    def due(self, name: str) -> datetime | None:
        return self._beat if name == BEAT else self._due.get(name)

    def pending(self) -> dict[str, datetime]:
        """Every timer that is set, and when it is due."""
        return self._due | ({BEAT: self._beat} if self._beat is not None else {})

    def next_at(self, now: datetime) -> datetime:
        """When the earliest timer is due; far in the future when there is none."""
        self._drop_moved()
        first = self._heap[0][0] if self._heap else now + FAR
        return first if self._beat is None else min(first, self._beat)

    def pop(self, now: datetime) -> tuple[str, datetime] | None:
        """The next timer that is due at `now` (late ones too), removed; None when there is none."""
        if self._latest is not None and now < self._latest:
            self._went_back(now)
        self._latest = now
        heap, beat = self._heap, self._beat
        while heap and heap[0][0] <= now and (beat is None or heap[0] < (beat, BEAT)):
            due, name = heapq.heappop(heap)
            if self._due.get(name) is due:  # else it was moved or cancelled
                del self._due[name]
                self._waits.pop(name, None)
                return name, due
        if beat is not None and beat <= now:
            self._beat_on(now)
            return BEAT, beat
        return None

    def _went_back(self, now: datetime) -> None:
        if self._beat is not None and self._beat > now + SECOND:
            self._beat_on(now)
        for name, for_ in sorted(self._waits.items()):
            if self._due[name] > now + for_:
                self.wait(name, now, for_)

    def _drop_moved(self) -> None:
        while self._heap and self._due.get(self._heap[0][1]) is not self._heap[0][0]:
            heapq.heappop(self._heap)
