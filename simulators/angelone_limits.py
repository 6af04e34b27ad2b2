"""SmartAPI's rate limits (its documentation of 2026-07-15, Rate limit): rolling windows for each client code, on market time."""

from datetime import datetime, timedelta

from simulators.windows import Windows

_SPANS = (timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1))

MOST: dict[str, tuple[int, int, int]] = {  # kind -> requests in a second, a minute, an hour; 0 = no limit
    "login": (1, 0, 0),
    "tokens": (1, 0, 1000),
    "profile": (3, 0, 1000),
    "funds": (2, 0, 0),
    "order": (9, 500, 1000),  # place, modify and cancel together
    "orders": (1, 0, 0),
    "trades": (1, 0, 0),
    "positions": (1, 0, 0),
    "holdings": (1, 0, 0),
    "all_holdings": (1, 0, 0),
    "search": (1, 0, 0),
    "details": (10, 500, 5000),
    "last_price": (10, 500, 5000),
    "quote": (10, 500, 5000),
    "margin": (10, 500, 5000),
    "charges": (10, 500, 5000),
    "convert": (10, 500, 5000),
    "gtt": (9, 500, 5000),
    "gtt_rules": (10, 500, 5000),
    "candles": (3, 180, 5000),  # prices and open interest together
}


class Limits:
    """A request that a window refuses is not counted; one that is let in counts whatever becomes of it."""

    def __init__(self) -> None:
        self._windows = Windows()

    def admit(self, client_code: str, kind: str, now: datetime) -> bool:
        limits = [((client_code, kind, span), span, most) for span, most in zip(_SPANS, MOST[kind], strict=True) if most]
        return self._windows.admit_all(list(limits), now)
