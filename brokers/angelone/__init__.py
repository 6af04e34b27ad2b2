"""Angel One (SmartAPI): the SPEC, which loads client, codec and session only when one of them is made, and the client of bare scripts."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import brokers.angelone.mapping as mapping
from brokers.angelone.facts import ENDPOINTS, LIMITS
from brokers.spec import Announce, Audit, Endpoints, FeedTransport, InstrumentRows, Lookup, Put, Session, Spec
from core.ports import Broker, Clock, CredentialStore, DataSession, Feed
from utils.pacing import Budget

if TYPE_CHECKING:
    from brokers.angelone.smartapi import SmartAPIClient

__all__ = ["SPEC", "SmartAPIClient"]


def _session(
    account: str, credentials: CredentialStore, clock: Clock, token_file: Path, endpoints: Endpoints, announce: Announce
) -> Session:
    from brokers.angelone.session import AngelSession

    return AngelSession(account, credentials, clock, token_file, endpoints, announce)


def _data(session: Session, clock: Clock, budget: Budget, audit: Audit | None, endpoints: Endpoints, lookup: Lookup) -> DataSession:
    from brokers.angelone.client import AngelData
    from brokers.angelone.session import AngelSession

    return AngelData(cast(AngelSession, session), clock, budget, audit, endpoints, lookup)


def _broker(session: Session, clock: Clock, budget: Budget, audit: Audit | None, endpoints: Endpoints, lookup: Lookup) -> Broker:
    from brokers.angelone.client import AngelBroker
    from brokers.angelone.session import AngelSession

    return AngelBroker(cast(AngelSession, session), clock, budget, audit, endpoints, lookup)


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
    from brokers.angelone import feed
    from brokers.angelone.session import AngelSession

    given = cast(AngelSession, session)
    return feed.make(account, given, clock, put, endpoints, lookup, in_hours, capacity=SPEC.instruments_per_stream, streams=SPEC.streams,
                     stale_after_s=stale_after_s)  # fmt: skip


def _rows(dump: bytes) -> InstrumentRows:
    from brokers.angelone.dump import parse_instruments

    return parse_instruments(dump)


SPEC = Spec(
    name="angelone",
    title="Angel One (SmartAPI)",
    secrets=("ANGELONE_API_KEY", "ANGELONE_CLIENT_CODE", "ANGELONE_MPIN"),
    endpoints=ENDPOINTS,
    limits=LIMITS,
    tag_length=mapping.LONGEST_TAG,
    instruments_per_stream=1000,  # token x mode, in one mode
    streams=3,  # connections of one client code
    modifications_per_order=25,  # nothing is documented; the exchange's own habit, and what our other brokers allow
    historical_caps=mapping.HISTORICAL_CAPS,
    make_session=_session,
    make_data=_data,
    make_broker=_broker,
    make_feed=_feed,
    product=mapping.product,
    horizon_of=mapping.horizon_of,
    parse_instruments=_rows,
    exchange_number=mapping.exchange_number,
    objection=mapping.objection,
    login="code",
)


def __getattr__(name: str) -> Any:
    if name == "SmartAPIClient":
        from brokers.angelone.smartapi import SmartAPIClient

        return SmartAPIClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
