"""Upstox's rate limits for an algo without registration: sliding windows of each user, on market time; reads share one set."""

from datetime import datetime, timedelta

from simulators.windows import Windows

_SECOND, _MINUTE, _HALF_HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(minutes=30)
MOST = {"order": ((_SECOND, 10), (_MINUTE, 500), (_HALF_HOUR, 2000)), "other": ((_SECOND, 50), (_MINUTE, 500), (_HALF_HOUR, 2000))}


class Limits:
    """A request that a window refuses is not counted; one that is let in counts even if it is refused for another reason later."""

    def __init__(self) -> None:
        self._windows = Windows()

    def admit(self, user: str, kind: str, now: datetime, count: int = 1) -> bool:
        """Whether `count` more requests of `kind` (order or other) pass; a multi order counts as its orders."""
        return self._windows.admit_all([((user, kind, span), span, most) for span, most in MOST[kind]], now, count)
