"""ICICI Direct (Breeze): the SPEC, which loads client, codec and session only when one of them is made, and the client of bare scripts."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import brokers.icici.mapping as mapping
from brokers.icici.facts import ENDPOINTS, LIMITS, PACE
from brokers.spec import Announce, Audit, Endpoints, FeedTransport, InstrumentRows, Lookup, Put, Session, Spec
from core.ports import Broker, Clock, CredentialStore, DataSession, Feed
from utils.pacing import Budget

if TYPE_CHECKING:
    from brokers.icici.api_client import ICICIAPIClient

__all__ = ["SPEC", "ICICIAPIClient"]


def _session(
    account: str, credentials: CredentialStore, clock: Clock, token_file: Path, endpoints: Endpoints, announce: Announce
) -> Session:
    from brokers.icici.session import IciciSession

    return IciciSession(account, credentials, clock, token_file, endpoints, announce)


def _data(session: Session, clock: Clock, budget: Budget, audit: Audit | None, endpoints: Endpoints, lookup: Lookup) -> DataSession:
    from brokers.icici.client import IciciData
    from brokers.icici.session import IciciSession

    return IciciData(cast(IciciSession, session), clock, budget, audit, endpoints, lookup)


def _broker(session: Session, clock: Clock, budget: Budget, audit: Audit | None, endpoints: Endpoints, lookup: Lookup) -> Broker:
    from brokers.icici.client import IciciBroker
    from brokers.icici.session import IciciSession

    return IciciBroker(cast(IciciSession, session), clock, budget, audit, endpoints, lookup)


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
    from brokers.icici import feed
    from brokers.icici.session import IciciSession

    given = cast(IciciSession, session)
    return feed.make(account, given, clock, put, endpoints, lookup, in_hours, capacity=SPEC.instruments_per_stream,
                     stale_after_s=stale_after_s)  # fmt: skip


def _rows(dump: bytes) -> InstrumentRows:
    from brokers.icici.dump import parse_instruments

    return parse_instruments(dump)


SPEC = Spec(
    name="icici",
    title="ICICI Direct (Breeze)",
    secrets=("ICICI_API_KEY", "ICICI_API_SECRET"),
    endpoints=ENDPOINTS,
    limits=LIMITS,
    tag_length=mapping.LONGEST_TAG,
    instruments_per_stream=2000,  # of an account; how many connections it may have is not documented
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
    stands_in=mapping.stands_in,
    echoes_tags=False,
    pace=PACE,
    plan="prime_9999",
)


def __getattr__(name: str) -> Any:
    if name == "ICICIAPIClient":
        from brokers.icici.api_client import ICICIAPIClient

        return ICICIAPIClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
