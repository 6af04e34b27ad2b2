"""Where Angel One is, and how often it may be asked."""

from brokers.spec import Endpoints
from utils.pacing import Limit

ENDPOINTS = Endpoints("https://apiconnect.angelone.in", "wss://smartapisocket.angelone.in", "https://smartapi.angelone.in/publisher-login")
_ORDER_CALLS = frozenset({"place", "modify", "cancel"})


def _kinds(*names: str) -> frozenset[str]:
    return frozenset(names)


LIMITS = (
    # about two thirds of what smartapi.angelone.in/docs/RateLimit gives (July 2026): the limits are of the client code, whoever uses it,
    # and were seen to bite earlier; exits reserved. A limit per second is kept over 1.25 s: requests may arrive closer than they left
    Limit("orders/s", _ORDER_CALLS, 7, 1.25, reserve=0.3),  # of 9, place, modify and cancel together
    Limit("orders/min", _ORDER_CALLS, 330, 60.0, reserve=0.3),  # of 500
    Limit("orders/h", _ORDER_CALLS, 660, 3600.0, reserve=0.3),  # of 1000
    *(Limit(book, _kinds(book), 1, 1.5) for book in ("orders", "trades", "positions", "holdings")),  # of 1 each
    Limit("funds", _kinds("funds"), 1, 1.0),  # of 2
    Limit("profile", _kinds("profile"), 2, 1.25),  # of 3, and of 1000 an hour
    Limit("quotes", _kinds("quote"), 1, 1.25),  # of 10 by one page, of 1 by another: the smaller counts
    Limit("historical/s", _kinds("historical"), 2, 1.25),  # of 3
    Limit("historical/min", _kinds("historical"), 100, 60.0),  # of 180; 150 were seen
    Limit("historical/h", _kinds("historical"), 3300, 3600.0),  # of 5000
    Limit("charges", _kinds("charges"), 1, 1.25),  # the page does not name the calculator; the smallest of all its limits
    Limit("other", _kinds("other"), 1, 1.25),  # the instrument file
)
