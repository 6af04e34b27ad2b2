"""ICICI's feed: live ticks over one connection, and order notifications from another host that come and go without the engine's notice."""

from collections.abc import Callable
from typing import cast

from brokers.feed_pair import FeedPair, order_stream
from brokers.icici import SPEC
from brokers.icici.facts import ORDER_HOSTS
from brokers.icici.session import IciciSession
from brokers.icici.wire import FeedDialect, OrderDialect, SocketIoTransport
from brokers.shards import Shards
from brokers.spec import Endpoints, FeedTransport, Lookup, Put
from brokers.stream import Patience, Stream
from core.ports import Clock, CodeLookup

_SHORTEST_SILENCE = 15.0  # seconds: how often the servers ping is not documented, and nothing comes where nothing trades
_WHOLE_DAY = 86_400.0  # an account without orders hears nothing of them


def make(
    account: str,
    session: IciciSession,
    clock: Clock,
    put: Put,
    endpoints: Endpoints,
    lookup: Lookup,
    transport: FeedTransport,
    in_hours: Callable[[], bool],
    *,
    stale_after_s: float = 5.0,
) -> FeedPair:
    """The feed of one account; see brokers.spec.FeedFactory. `transport` names Kite's own client; there is one way only here."""
    root = endpoints.stream.rstrip("/")
    patience = Patience(silence=max(stale_after_s, _SHORTEST_SILENCE))

    def market(place: int, put: Put) -> Stream:
        name = f"{account}/feed"
        way = SocketIoTransport(clock, name, FeedDialect(root, lookup, session.circuits), session.stream_auth)
        return Stream(account, session, clock, put, in_hours, way, capacity=SPEC.instruments_per_stream, patience=patience, name=name)

    def order_socket(name: str) -> SocketIoTransport:
        dialect = OrderDialect(ORDER_HOSTS.get(root, root), lambda: cast(CodeLookup, lookup()))
        return SocketIoTransport(clock, name, dialect, session.stream_auth)

    quiet = Patience(silence=_WHOLE_DAY)
    orders = order_stream(account, session, clock, put, in_hours, order_socket, quiet)
    return FeedPair(Shards(market, put, capacity=SPEC.instruments_per_stream, most=1), orders)
