"""Groww: the SPEC, which loads client, codec and session only when one of them is made."""

import brokers.groww.mapping as mapping
from brokers.spec import Endpoints, Spec, later
from utils.pacing import Limit

_ORDER_CALLS = frozenset({"place", "modify", "cancel"})

LIMITS = (
    # what groww.in/trade-api/docs gives each type of request (read 2026-09-23), less the feed's share (brokers/groww/feed.py); a limit per
    # second is kept over 1.25 s, since requests that leave a second apart may arrive closer together
    Limit("orders/s", _ORDER_CALLS, 8, 1.25, reserve=0.3),  # of 10
    Limit("orders/min", _ORDER_CALLS, 230, 60.0, reserve=0.3),  # of 250
    Limit("live data/s", frozenset({"quote"}), 2, 1.25),  # of 10
    Limit("live data/min", frozenset({"quote"}), 35, 60.0),  # of 300
    Limit("reads/s", frozenset({"other"}), 10, 1.25),  # of 20; candles are counted here, which the documents leave open
    Limit("reads/min", frozenset({"other"}), 310, 60.0),  # of 500
)


SPEC = Spec(
    name="groww",
    title="Groww",
    secrets=("GROWW_API_KEY",),
    endpoints=Endpoints("https://api.groww.in", "", "https://groww.in/trade-api/api-keys"),
    limits=LIMITS,
    tag_length=20,
    instruments_per_stream=500,  # ten batches of last prices, three a second: each price is at most four seconds old
    modifications_per_order=25,  # nothing is documented; the exchange's own habit, and what our other brokers allow
    historical_caps=mapping.HISTORICAL_CAPS,
    make_session=later("brokers.groww.session", "GrowwSession"),
    make_data=later("brokers.groww.client", "GrowwData"),
    make_broker=later("brokers.groww.client", "GrowwBroker"),
    make_feed=later("brokers.groww.feed", "make"),
    product=mapping.product,
    horizon_of=mapping.horizon_of,
    parse_instruments=later("brokers.groww.dump", "parse_instruments"),
    objection=mapping.objection,
    login="code",
)
