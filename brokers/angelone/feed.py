"""Angel One's feed: SmartWebSocketV2 over up to three connections, and the order socket beside them; both are kept alive by our pings."""

from collections.abc import Callable

from brokers.angelone import SPEC
from brokers.angelone.session import AngelSession
from brokers.angelone.wire import PING, FeedDialect, OrderDialect
from brokers.feed_pair import FeedPair, order_stream
from brokers.shards import Shards
from brokers.spec import Endpoints, FeedTransport, Lookup, Put
from brokers.stream import Patience, SocketTransport, Stream
from core.ports import Clock

BEAT_EVERY = 5.0  # seconds; the documents ask for a ping each ten, answered by a pong
_SHORTEST_SILENCE = 12.0  # two pings without an answer: the server sends nothing by itself when nothing trades
_ORDER_SILENCE = 60.0  # whether the order socket answers a text is unconfirmed: better a useless reconnect a minute than many
_ORDER_HOSTS = {"wss://smartapisocket.angelone.in": "wss://tns.angelone.in"}  # what does not live beside the feed


def make(
    account: str,
    session: AngelSession,
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
    patience = Patience(silence=max(stale_after_s, _SHORTEST_SILENCE), beat=BEAT_EVERY)

    def market(place: int, put: Put) -> Stream:
        name = f"{account}/feed" if place == 0 else f"{account}/feed-{place + 1}"
        way = SocketTransport(clock, name, FeedDialect(root, session.feed_headers, lookup), beat=PING)
        return Stream(account, session, clock, put, in_hours, way, capacity=SPEC.instruments_per_stream, patience=patience, name=name)

    def order_socket(name: str) -> SocketTransport:
        return SocketTransport(clock, name, OrderDialect(_ORDER_HOSTS.get(root, root), lookup), beat=PING)

    quiet = Patience(silence=_ORDER_SILENCE, beat=BEAT_EVERY)
    orders = order_stream(account, session, clock, put, in_hours, order_socket, quiet)
    return FeedPair(Shards(market, put, capacity=SPEC.instruments_per_stream, most=SPEC.streams), orders)
