"""Breeze's limits: each REST call counts per minute and per calendar day, orders per second too; a burst at the edge meets the proxy."""

from datetime import datetime, timedelta

from simulators.windows import Windows

PER_MINUTE, PER_DAY, ORDERS_PER_SECOND = 100, 5000, 10
_EDGE = 20
"""Refused calls in a minute after which the front answers with an HTML page, as it was seen to do."""


class Limits:
    """Sliding windows of one user, on market time; the day's count starts over at midnight."""

    def __init__(self) -> None:
        self._windows = Windows()
        self._days: dict[tuple[str, str], int] = {}

    def admit(self, user: str, now: datetime, *, order: bool) -> str:
        """What stands in the way: "", "minute", "day", "second" or "edge" (the proxy's page)."""
        day = (user, now.date().isoformat())
        if self._days.get(day, 0) >= PER_DAY:
            return "day"
        minute = ((user, "minute"), timedelta(minutes=1), PER_MINUTE)
        limits = [minute, ((user, "orders"), timedelta(seconds=1), ORDERS_PER_SECOND)] if order else [minute]
        if self._windows.admit_all(limits, now):
            self._days[day] = self._days.get(day, 0) + 1
            return ""
        if not self._windows.admit((user, "refused"), now, timedelta(minutes=1), _EDGE):
            return "edge"
        return "minute"
