"""Groww: the SPEC, which loads client, codec and session only when one of them is made."""

from collections.abc import Callable
from pathlib import Path

import brokers.groww.mapping as mapping
from brokers.spec import Announce, Audit, Endpoints, FeedTransport, InstrumentRows, Lookup, Put, Session, Spec
from core.ports import Broker, Clock, CredentialStore, DataSession, Feed
from utils.pacing import Budget, Limit

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


def _session(
    account: str, credentials: CredentialStore, clock: Clock, token_file: Path, endpoints: Endpoints, announce: Announce
) -> Session:
    from brokers.groww.session import GrowwSession

    return GrowwSession(account, credentials, clock, token_file, endpoints, announce)


def _data(session: Session, clock: Clock, budget: Budget, audit: Audit | None, endpoints: Endpoints, lookup: Lookup) -> DataSession:
    from brokers.groww.client import GrowwData

    return GrowwData(session, clock, budget, audit, endpoints, lookup)


def _broker(session: Session, clock: Clock, budget: Budget, audit: Audit | None, endpoints: Endpoints, lookup: Lookup) -> Broker:
    from brokers.groww.client import GrowwBroker

    return GrowwBroker(session, clock, budget, audit, endpoints, lookup)


def _feed(
    account: str,
    session: Session,
    clock: Clock,
    put: Put,
    endpoints: Endpoints,
    lookup: Lookup,
    transport: FeedTransport,
    in_hours: Callable[[], bool],
    *,
    stale_after_s: float = 5.0,
) -> Feed:
    """`transport` names Kite's own client; there is one way only here."""
    from brokers.groww.feed import PollingFeed

    capacity = SPEC.instruments_per_stream
    return PollingFeed(account, session, clock, put, endpoints, lookup, in_hours, capacity=capacity, stale_after_s=stale_after_s)


def _rows(dump: bytes) -> InstrumentRows:
    from brokers.groww.dump import parse_instruments

    return parse_instruments(dump)


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
    make_session=_session,
    make_data=_data,
    make_broker=_broker,
    make_feed=_feed,
    product=mapping.product,
    horizon_of=mapping.horizon_of,
    parse_instruments=_rows,
    objection=mapping.objection,
    login="code",
)
