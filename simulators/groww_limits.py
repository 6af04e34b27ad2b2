"""Groww's rate limits: windows of a second and a minute for each type of request, shared by all endpoints of the type, on market time."""

from datetime import datetime, timedelta

from simulators.windows import Windows

_SECOND, _MINUTE, _DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
MOST = {
    "token": ((_SECOND, 5), (_MINUTE, 30), (_DAY, 150)),
    "orders": ((_SECOND, 10), (_MINUTE, 250)),
    "live": ((_SECOND, 10), (_MINUTE, 300)),
    "other": ((_SECOND, 20), (_MINUTE, 500)),
}
_LIVE = ("/v1/live-data/", "/v1/option-chain/")
_ORDERS = ("/v1/order/create", "/v1/order/modify", "/v1/order/cancel")


def kind_of(path: str) -> str:
    """The type of a request. Where candles count the broker does not say; here with what does not trade."""
    if path.startswith(_LIVE):
        return "live"
    return "orders" if path in _ORDERS else "other"


class Limits:
    """A request that a window refuses is not counted; one that is let in counts even if it is refused for another reason later."""

    def __init__(self) -> None:
        self._windows = Windows()

    def admit(self, user: str, kind: str, now: datetime) -> bool:
        return self._windows.admit_all([((user, kind, span), span, most) for span, most in MOST[kind]], now)
