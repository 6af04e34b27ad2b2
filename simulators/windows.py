"""Rolling rate windows of a broker simulator, on market time."""

from collections import deque
from collections.abc import Hashable, Sequence
from datetime import datetime, timedelta


class Windows:
    """Any number of windows by name. A request that a window refuses is not counted in any."""

    def __init__(self) -> None:
        self._windows: dict[Hashable, deque[datetime]] = {}

    def admit(self, name: Hashable, now: datetime, span: timedelta, most: int, count: int = 1) -> bool:
        """Whether `count` more requests fit into the last `span` of the window `name`; they count if they do."""
        return self.admit_all([(name, span, most)], now, count)

    def admit_all(self, limits: Sequence[tuple[Hashable, timedelta, int]], now: datetime, count: int = 1) -> bool:
        """The same for several (name, span, most) at once: all or none."""
        found = []
        for name, span, most in limits:
            window = self._windows.setdefault(name, deque())
            while window and now - window[0] >= span:
                window.popleft()
            if len(window) + count > most:
                return False
            found.append(window)
        for window in found:
            window.extend([now] * count)
        return True
