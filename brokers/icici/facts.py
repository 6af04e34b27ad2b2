"""Where ICICI Direct's Breeze is, and how often it may be asked: its 5,000 calls a day are planned over the session."""

from brokers.spec import Endpoints, ReadPace
from utils.pacing import Limit

ENDPOINTS = Endpoints("https://api.icicidirect.com", "wss://livestream.icicidirect.com", "https://api.icicidirect.com/apiuser/login")
V1 = "/breezeapi/api/v1/"
V2_HISTORY = "/api/v2/historicalcharts"
MASTER = "/MotherAppMaster/SecurityMaster.zip"
HISTORY_HOSTS = {ENDPOINTS.rest: "https://breezeapi.icicidirect.com"}  # what does not live beside the rest
MASTER_HOSTS = {ENDPOINTS.rest: "https://directlink.icicidirect.com"}
ORDER_HOSTS = {ENDPOINTS.stream: "wss://livefeeds.icicidirect.com"}

_ORDER_CALLS = frozenset({"place", "modify", "cancel"})
_READS = frozenset({"orders", "trades", "positions", "funds", "profile", "quote", "historical", "charges"})

LIMITS = (
    # of the README of breeze-connect 1.0.69 and api.icicidirect.com (April 2026); exits and cancels alone may use what is reserved.
    # The moment at which the day's count starts over is not documented: any 24 hours are held to it
    Limit("orders/s", _ORDER_CALLS, 8, 1.25, reserve=0.3),  # of 10, place, modify, cancel and square-off together
    Limit("calls/min", _ORDER_CALLS | _READS, 90, 60.0, reserve=0.3),  # of 100
    Limit("calls/day", _ORDER_CALLS | _READS, 4800, 86_400.0, reserve=0.2),  # of 5,000
    Limit("historical/day", frozenset({"historical"}), 600, 86_400.0),  # our plan: warm-up and gaps
    Limit("quotes/day", frozenset({"quote"}), 400, 86_400.0),  # our plan: circuits and prices by hand
    Limit("charges/day", frozenset({"charges"}), 400, 86_400.0),  # our plan: the evening's comparison, a call for each order
    Limit("master", frozenset({"master"}), 4, 60.0),  # a public file of another host
)

PACE = ReadPace(books_s=30.0, positions_s=60.0, funds_s=300.0)
"""A session of 375 minutes then takes 1,500 calls for two exchanges' order lists, 375 for positions, 75 for funds."""
