"""Angel One's two sockets over a real websocket server: handshakes, subscriptions, signs of life, an order socket that comes and goes."""

import json
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from brokers.angelone.session import AngelSession
from brokers.angelone.wire import PING, FeedDialect
from brokers.feed_pair import FeedPair
from brokers.registry import get
from brokers.spec import Endpoints
from brokers.stream import Backoff, Patience, SocketTransport, Stream
from core.clock import SystemClock
from core.events import Event, FeedStatus, OrderUpdate
from core.types import SessionState, Tick
from tests.builders import NIFTY, RELIANCE
from tests.wire.angel_house import FEED, credentials
from tests.wire.angel_samples import KNOWN, LTP, SBIN
from tests.wire.socket_server import Peer, SocketServer
from tests.wire.test_angelone_codec import ROW, told


@pytest.fixture
def server() -> Iterator[SocketServer]:
    with SocketServer() as server:
        yield server


class Login:
    """A session with a token that lasts."""

    def token(self) -> str:
        return "t1"

    def invalidate(self, token: str, reason: str) -> None:
        raise AssertionError(reason)


def events_of(found: "queue.Queue[Event]", kind: type[Event], seconds: float = 5.0) -> Event:
    until = time.monotonic() + seconds
    while True:
        event = found.get(timeout=max(0.01, until - time.monotonic()))
        if isinstance(event, kind):
            return event


def test_pings_are_sent_and_pongs_alone_keep_a_connection_that_dies_without_them(server: SocketServer) -> None:
    events: queue.Queue[Event] = queue.Queue()

    def put(some: Sequence[Event], origin: str) -> None:
        for event in some:
            events.put(event)

    clock, dialect = SystemClock(), FeedDialect(server.url, lambda token: {"x-client-code": "A1"}, lambda: KNOWN)
    transport = SocketTransport(clock, "practice/feed", dialect, beat=PING)
    patience, backoff = Patience(silence=0.5, beat=0.1, token=0.05), Backoff("seed", base=0.05, cap=0.2)
    stream = Stream("practice", Login(), clock, put, lambda: True, transport, capacity=10, patience=patience, backoff=backoff)
    stream.subscribe([SBIN])
    stream.start()
    try:
        peer = server.peer()
        assert json.loads(str(peer.heard()))["params"]["tokenList"] == [{"exchangeType": 1, "tokens": ["3045"]}]
        for _ in range(8):
            assert peer.heard() == "ping"
            peer.send("pong")
        assert server.handshakes == 1
        again = server.peer()  # no more pongs: half a second later it is made anew
        assert '"action": 1' in str(again.heard())
        again.send(LTP)
        assert isinstance(events_of(events, Tick), Tick)
    finally:
        stream.stop()
        assert stream.join(10.0)


class House:
    """The feed as the registry makes it, at one server for both sockets."""

    def __init__(self, url: str, folder: Path) -> None:
        self.events: queue.Queue[Event] = queue.Queue()
        file = folder / "session" / "angelone.json"
        file.parent.mkdir(parents=True)
        kept = {"access_token": "jwt.1.x", "feed_token": FEED, "expires_at": "2999-01-01T00:00:00+05:30", "login_day": "x"}
        file.write_text(json.dumps(kept))
        endpoints = Endpoints("http://127.0.0.1:9", url, "")
        self.session = AngelSession("live", credentials(), SystemClock(), file, endpoints, lambda event: None)
        made = get("angelone").make_feed(
            "live", self.session, SystemClock(), self.put, endpoints, lambda: KNOWN, "native", lambda: True, stale_after_s=30.0
        )
        assert isinstance(made, FeedPair)
        self.feed = made

    def put(self, events: Sequence[Event], origin: str) -> None:
        for event in events:
            self.events.put(event)

    def stop(self) -> None:
        self.feed.stop()
        assert self.feed.join(10.0)


@pytest.fixture
def houses(tmp_path: Path) -> Iterator[Callable[[str], House]]:
    made: list[House] = []

    def make(url: str) -> House:
        made.append(House(url, tmp_path))
        return made[-1]

    yield make
    for house in made:
        house.stop()


def both(server: SocketServer) -> tuple[Peer, Peer]:
    """(feed, order socket) of one feed that starts."""
    peers = {peer.target: peer for peer in (server.peer(), server.peer())}
    return peers["/smart-stream"], peers["/smart-order-update"]


def test_both_sockets_open_with_their_headers_and_only_the_feeds_end_is_the_engines_news(
    server: SocketServer, houses: Callable[[str], House]
) -> None:
    house = houses(server.url)
    house.feed.subscribe([RELIANCE, NIFTY])
    house.feed.start()
    feed, orders = both(server)
    assert feed.headers["authorization"] == orders.headers["authorization"] == "Bearer jwt.1.x"
    assert (feed.headers["x-api-key"], feed.headers["x-client-code"], feed.headers["x-feed-token"]) == ("apikey42", "A123456", FEED)
    assert len(json.loads(str(feed.heard()))["params"]["tokenList"]) == 2
    assert house.feed.desired == {RELIANCE.key, NIFTY.key}

    orders.send(told({**ROW, "orderid": ""}))
    orders.send(told(ROW))
    update = events_of(house.events, OrderUpdate)
    assert isinstance(update, OrderUpdate)
    assert (update.broker_order_id, update.source) == ("261120000000111", "stream")
    orders.drop()
    assert server.peer(10.0).target == "/smart-order-update"
    told_of = [event for event in list(house.events.queue) if isinstance(event, FeedStatus)]
    assert not [status for status in told_of if not status.connected], "the engine goes on while only order updates are away"
    feed.drop()
    while True:
        status = events_of(house.events, FeedStatus)
        assert isinstance(status, FeedStatus)
        if not status.connected:
            break


def test_a_refusal_that_names_the_token_marks_the_session_dead(houses: Callable[[str], House]) -> None:
    raw = b"HTTP/1.1 401 X\r\nContent-Length: 0\r\nx-error-message: Invalid Header - Invalid Feed Token\r\n\r\n"
    with SocketServer(lambda number: raw) as server:
        house = houses(server.url)
        house.feed.start()
        while True:
            status = events_of(house.events, FeedStatus)
            assert isinstance(status, FeedStatus)
            if "Invalid Feed Token" in status.reason or "login" in status.reason:
                break
        until = time.monotonic() + 5
        while house.session.state() is not SessionState.LOGIN_REQUIRED:
            assert time.monotonic() < until
            time.sleep(0.01)
