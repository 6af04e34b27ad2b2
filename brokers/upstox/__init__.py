"""Upstox (API v2/v3): the SPEC, which loads client, codec and session only when one of them is made."""

from urllib.parse import parse_qsl, urlencode, urlsplit

import brokers.upstox.mapping as mapping
from brokers.spec import Endpoints, Spec, later
from utils.pacing import Limit

_ORDER_CALLS = frozenset({"place", "modify", "cancel"})
_READS = frozenset({"quote", "historical", "other", "charges"})

LIMITS = (
    # below what upstox.com/developer/api-documentation/rate-limiting gives an algo without registration (read 2026-09-02), exits reserved;
    # a limit per second is kept over 1.25 s, since requests that leave a second apart may arrive closer together
    Limit("orders/s", _ORDER_CALLS, 8, 1.25, reserve=0.3),  # of 10
    Limit("orders/min", _ORDER_CALLS, 450, 60.0, reserve=0.3),  # of 500
    Limit("orders/30min", _ORDER_CALLS, 1900, 1800.0, reserve=0.3),  # of 2000
    Limit("reads/s", _READS, 40, 1.25),  # of 50; said to be of each API, seen to be shared
    Limit("reads/min", _READS, 450, 60.0),  # of 500
    Limit("reads/30min", _READS, 1900, 1800.0),  # of 2000
)


def _with_state(login_url: str, state: str) -> str:
    address = urlsplit(login_url)
    query = [pair for pair in parse_qsl(address.query) if pair[0] != "state"]
    return address._replace(query=urlencode([*query, ("state", state)])).geturl()


SPEC = Spec(
    name="upstox",
    title="Upstox",
    secrets=("UPSTOX_API_KEY", "UPSTOX_API_SECRET"),
    endpoints=Endpoints("https://api.upstox.com", "wss://api.upstox.com", "https://api.upstox.com/v2/login/authorization/dialog"),
    limits=LIMITS,
    tag_length=40,
    instruments_per_stream=2000,  # in full mode alone; V3 feed's page
    streams=2,  # connections of one user (Plus: 5)
    modifications_per_order=25,  # nothing is documented; the exchange's own habit, and what our other brokers allow
    historical_caps=mapping.HISTORICAL_CAPS,
    make_session=later("brokers.upstox.session", "UpstoxSession"),
    make_data=later("brokers.upstox.client", "UpstoxData"),
    make_broker=later("brokers.upstox.client", "UpstoxBroker"),
    make_feed=later("brokers.upstox.feed", "make"),
    product=mapping.product,
    horizon_of=mapping.horizon_of,
    parse_instruments=later("brokers.upstox.dump", "parse_instruments"),
    exchange_number=mapping.exchange_number,
    objection=mapping.objection,
    with_state=_with_state,
    postback=later("brokers.upstox.postback", "read"),
)
