"""Kite's rate limits (Connect v3, Exceptions and errors): sliding windows per API key and per account, on market time."""

from datetime import date, datetime, timedelta

from simulators.windows import Windows

PER_SECOND = {"quote": 1, "historical": 3, "order": 10, "other": 10}
ORDERS_PER_MINUTE = 400
ORDERS_PER_DAY = 5000

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)


class Limits:
    """A request that a window refuses is not counted; one that is let in counts even if it is refused for another reason later."""

    def __init__(self) -> None:
        self._windows = Windows()
        self._placed: dict[tuple[str, date], int] = {}

    def admit(self, api_key: str, kind: str, now: datetime) -> bool:
        """Whether one more request of `kind` passes the per-second limit of its API key."""
        return self._windows.admit((api_key, kind), now, _SECOND, PER_SECOND[kind])

    def admit_order(self, user_id: str, now: datetime, *, new: int = 0) -> bool:
        """Whether an order request passes the account's limits per minute and day; `new` orders (or slices, or legs) count to the day."""
        placed = self._placed.get((user_id, now.date()), 0)
        if new and placed + new > ORDERS_PER_DAY:
            return False
        if not self._windows.admit((user_id, "minute"), now, _MINUTE, ORDERS_PER_MINUTE, max(1, new)):
            return False
        self._placed[user_id, now.date()] = placed + new
        return True
