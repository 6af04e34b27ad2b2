"""Zerodha (Kite Connect v3): the SPEC, which loads client, codec and session only when one of them is made."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import brokers.zerodha.mapping as mapping
from brokers.spec import Announce, Audit, Endpoints, FeedTransport, InstrumentRows, Lookup, Put, Session, Spec
from core.ports import Broker, Clock, CredentialStore, DataSession, Feed
from utils.pacing import Budget, Limit

_ORDER_CALLS = frozenset({"place", "modify", "cancel"})

LIMITS = (
    # below what kite.trade documents (section Exceptions, and support.zerodha.com order-rate-limits-on-kite), exits reserved; a limit per
    # second is kept over 1.25 s, since requests that leave a second apart may arrive closer together
    Limit("orders/s", _ORDER_CALLS, 8, 1.25, reserve=0.3),  # of 10
    Limit("orders/min", _ORDER_CALLS, 320, 60.0, reserve=0.3),  # of 400
    Limit("orders/day", frozenset({"place"}), 4900, 86_400.0, reserve=0.3),  # of 5000, over all apps; modify and cancel do not count
    Limit("quotes", frozenset({"quote"}), 1, 1.25),  # of 1/s
    Limit("historical", frozenset({"historical"}), 3, 1.25),  # of 3/s
    Limit("other", frozenset({"other"}), 8, 1.25),  # of 10/s
)


def _session(
    account: str, credentials: CredentialStore, clock: Clock, token_file: Path, endpoints: Endpoints, announce: Announce
) -> Session:
    from brokers.zerodha.session import ZerodhaSession

    return ZerodhaSession(account, credentials, clock, token_file, endpoints, announce)


def _data(session: Session, clock: Clock, budget: Budget, audit: Audit | None, endpoints: Endpoints, lookup: Lookup) -> DataSession:
    from brokers.zerodha.client import ZerodhaData
    from brokers.zerodha.session import ZerodhaSession

    return ZerodhaData(cast(ZerodhaSession, session), clock, budget, audit, endpoints, lookup)


def _broker(session: Session, clock: Clock, budget: Budget, audit: Audit | None, endpoints: Endpoints, lookup: Lookup) -> Broker:
    from brokers.zerodha.client import ZerodhaBroker
    from brokers.zerodha.session import ZerodhaSession

    return ZerodhaBroker(cast(ZerodhaSession, session), clock, budget, audit, endpoints, lookup)


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
    from brokers.shards import Shards
    from brokers.stream import Patience, SocketTransport, Stream, Transport
    from brokers.zerodha.session import ZerodhaSession
    from brokers.zerodha.wire import KiteDialect

    api_key = cast(ZerodhaSession, session).api_key
    patience = Patience(silence=stale_after_s)

    def stream(place: int, put: Put) -> Stream:
        name = f"{account}/feed" if place == 0 else f"{account}/feed-{place + 1}"
        way: Transport = SocketTransport(clock, name, KiteDialect(endpoints.stream, api_key, lookup))
        if transport == "kiteticker":
            from brokers.zerodha.kiteticker import TickerTransport

            way = TickerTransport(clock, endpoints.stream, api_key, lookup)
        return Stream(account, session, clock, put, in_hours, way, capacity=SPEC.instruments_per_stream, patience=patience, name=name)

    return Shards(stream, put, capacity=SPEC.instruments_per_stream, most=SPEC.streams)


def _tape_columns(frames: Sequence[bytes], stamps: Sequence[int], depth: bool) -> Mapping[str, Any]:
    from brokers.zerodha.wire import tape_columns

    return tape_columns(frames, stamps, depth)


def _rows(dump: bytes) -> InstrumentRows:
    return mapping.parse_instruments(dump)


def _with_state(login_url: str, state: str) -> str:
    return f"{login_url}&{urlencode({'redirect_params': urlencode({'state': state})})}"


SPEC = Spec(
    name="zerodha",
    title="Zerodha (Kite Connect)",
    secrets=("ZERODHA_API_KEY", "ZERODHA_API_SECRET"),
    endpoints=Endpoints("https://api.kite.trade", "wss://ws.kite.trade", "https://kite.zerodha.com/connect/login"),
    limits=LIMITS,
    tag_length=20,
    instruments_per_stream=3000,
    tape_columns=_tape_columns,
    streams=3,  # Kite Connect v3, WebSocket streaming: 3000 instruments on one connection, 3 connections for one api_key
    modifications_per_order=25,
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
    holds_at_wire=True,
    with_state=_with_state,
)
