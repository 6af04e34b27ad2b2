"""Zerodha's feed: market data and order updates over up to three connections of Kite's WebSocket."""

from collections.abc import Callable

from brokers.shards import Shards
from brokers.spec import Endpoints, FeedTransport, Lookup, Put
from brokers.stream import Patience, SocketTransport, Stream, Transport
from brokers.zerodha import SPEC
from brokers.zerodha.session import ZerodhaSession
from brokers.zerodha.wire import FeedDialect
from core.ports import Clock


def make(
    account: str,
    session: ZerodhaSession,
    clock: Clock,
    put: Put,
    endpoints: Endpoints,
    lookup: Lookup,
    transport: FeedTransport,
    in_hours: Callable[[], bool],
    *,
    stale_after_s: float = 5.0,
) -> Shards:
    """The feed of one account; see brokers.spec.FeedFactory."""
    api_key, patience = session.api_key, Patience(silence=stale_after_s)

    def stream(place: int, put: Put) -> Stream:
        name = f"{account}/feed" if place == 0 else f"{account}/feed-{place + 1}"
        way: Transport = SocketTransport(clock, name, FeedDialect(endpoints.stream, api_key, lookup))
        if transport == "kiteticker":
            from brokers.zerodha.kiteticker import TickerTransport

            way = TickerTransport(clock, endpoints.stream, api_key, lookup)
        return Stream(account, session, clock, put, in_hours, way, capacity=SPEC.instruments_per_stream, patience=patience, name=name)

    return Shards(stream, put, capacity=SPEC.instruments_per_stream, most=SPEC.streams)
