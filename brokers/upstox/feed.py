"""Upstox's feed: market data over up to two connections, and order updates over a third that comes and goes without the engine's notice."""

from collections.abc import Callable

import urllib3

import brokers.upstox.mapping as mapping
from brokers.feed_pair import FeedPair, order_stream
from brokers.shards import Shards
from brokers.spec import Endpoints, FeedTransport, Lookup, Put, Session
from brokers.stream import Closed, Patience, Refused, SocketTransport, Stream
from brokers.transport import PooledSession, ServerFault
from brokers.upstox import SPEC
from brokers.upstox.wire import FeedDialect, OrderDialect
from core.ports import Clock

_SHORTEST_SILENCE = 15.0  # seconds: messages are driven by events, and between them the server only pings
_WHOLE_DAY = 86_400.0  # an account without orders hears nothing of them


class Authorizer:
    """Asks for the address of a connection: it holds a one-time code, so that every connection needs its own."""

    def __init__(self, clock: Clock, rest: str) -> None:
        self._rest = rest.rstrip("/")
        self._http = PooledSession(clock)

    def __call__(self, token: str, path: str) -> str:
        headers = {"Authorization": f"Bearer {token}", "User-Agent": mapping.USER_AGENT}
        try:
            reply = self._http.request("GET", self._rest + path, headers=headers)
            body = reply.json()
        except (urllib3.exceptions.HTTPError, OSError, ServerFault, ValueError) as error:
            raise Closed(f"the stream's address could not be had ({type(error).__name__}: {error})") from None
        data = body.get("data") if isinstance(body, dict) else None
        address = (data.get("authorized_redirect_uri") or data.get("authorizedRedirectUri")) if isinstance(data, dict) else None
        if reply.status_code == 200 and isinstance(address, str) and address.startswith(("wss://", "ws://")):
            return address
        code, message = mapping.error_of(body) if isinstance(body, dict) else ("", "no JSON object")
        reason = f"the stream's address was refused with HTTP {reply.status_code} {code}: {message}"
        if reply.status_code == 401 or code == mapping.DEAD_TOKEN:
            raise Refused(reason, dead_token=True)
        raise Closed(reason)


def make(
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
) -> FeedPair:
    """The feed of one account; see brokers.spec.FeedFactory. `transport` names Kite's own client; there is one way only here."""
    patience = Patience(silence=max(stale_after_s, _SHORTEST_SILENCE))

    def market(place: int, put: Put) -> Stream:
        name = f"{account}/feed" if place == 0 else f"{account}/feed-{place + 1}"
        way = SocketTransport(clock, name, FeedDialect(Authorizer(clock, endpoints.rest), lookup))
        return Stream(account, session, clock, put, in_hours, way, capacity=SPEC.instruments_per_stream, patience=patience, name=name)

    def order_socket(name: str) -> SocketTransport:
        return SocketTransport(clock, name, OrderDialect(Authorizer(clock, endpoints.rest), lookup))

    quiet = Patience(silence=_WHOLE_DAY)
    orders = order_stream(account, session, clock, put, in_hours, order_socket, quiet)
    return FeedPair(Shards(market, put, capacity=SPEC.instruments_per_stream, most=SPEC.streams), orders)
