"""One feed over several connections: 9,000 instruments on three sockets, each with its own reconnect, changed while they run."""

import json
import queue
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest

from brokers.shards import Shards
from brokers.spec import Put
from brokers.stream import Backoff, Patience, SocketTransport, Stream
from brokers.zerodha import SPEC
from brokers.zerodha.wire import FeedDialect
from core.clock import SystemClock
from core.events import Event, FeedStatus
from core.types import Instrument, Tick
from data_ingestion.subscriptions import Subscriptions
from tests.wire.kite_samples import DAY, FULL, equity
from tests.wire.socket_server import Peer, SocketServer, refused


class ManyListed:
    """A look-up of thousands: token = 256 n + 1, symbol Sn."""

    day = DAY

    def __init__(self, count: int) -> None:
        self.all = [equity(f"S{number}") for number in range(1, count + 1)]
        self._keys = {one.key: one for one in self.all}

    def by_key(self, key: str) -> Instrument | None:
        return self._keys.get(key)

    def by_token(self, token: int | str) -> Instrument | None:
        return self._keys.get(f"NSE:S{int(token) >> 8}")

    def token(self, instrument: Instrument) -> int:
        return int(instrument.symbol[1:]) << 8 | 1


class Login:
    def token(self) -> str:
        return "t1"

    def invalidate(self, token: str, reason: str) -> None:
        raise AssertionError(f"the token {token} is good: {reason}")


class Stage:
    """Shards over real sockets, and what they put."""

    def __init__(self, url: str, listed: ManyListed, *, capacity: int, most: int = 3) -> None:
        self.ticks: Counter[str] = Counter()
        self.statuses: queue.Queue[FeedStatus] = queue.Queue()
        clock = SystemClock()

        def put(events: Sequence[Event], origin: str) -> None:
            for event in events:
                if isinstance(event, Tick):
                    self.ticks[event.instrument.key] += 1
                elif isinstance(event, FeedStatus):
                    self.statuses.put(event)

        def stream(place: int, give: Put) -> Stream:
            name = f"practice/feed-{place + 1}"
            way = SocketTransport(clock, name, FeedDialect(url, lambda: "key42", lambda: listed))
            patience, backoff = Patience(silence=30.0, token=0.05, off_hours=0.05), Backoff(name, base=0.05, cap=0.2)
            return Stream(
                "practice", Login(), clock, give, lambda: True, way, capacity=capacity, patience=patience, backoff=backoff, name=name
            )

        self.feed = Shards(stream, put, capacity=capacity, most=most)

    def status(self) -> FeedStatus:
        return self.statuses.get(timeout=10.0)


@pytest.fixture
def server() -> Iterator[SocketServer]:
    with SocketServer() as server:
        yield server


@pytest.fixture
def stages() -> Iterator[Callable[..., Stage]]:
    made: list[Stage] = []

    def make(*given: object, **options: int) -> Stage:
        made.append(Stage(*given, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for stage in made:
        stage.feed.stop()
    for stage in made:
        assert stage.feed.join(10.0), "a feed thread did not end"


def asked(peer: Peer, action: str = "subscribe") -> list[int]:
    """The tokens of the next message of this kind."""
    while True:
        text = peer.heard()
        assert text is not None, "the connection ended"
        message = json.loads(text)
        if message["a"] == action:
            tokens: list[int] = message["v"]
            return tokens


def frame(tokens: Sequence[int]) -> bytes:
    """One full-mode packet of each token."""
    return struct.pack(">H", len(tokens)) + b"".join(b"\x00\xb8" + struct.pack(">I", token) + FULL[8:] for token in tokens)


def until(ready: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(0.005)


def test_zerodha_offers_three_connections_of_three_thousand() -> None:
    assert (SPEC.streams, SPEC.instruments_per_stream) == (3, 3000)


def test_nine_thousand_instruments_tick_over_three_connections_and_one_that_drops_comes_back_alone(
    server: SocketServer, stages: Callable[..., Stage]
) -> None:
    listed = ManyListed(9001)
    stage = stages(server.url, listed, capacity=3000)
    stage.feed.subscribe(listed.all)
    stage.feed.start()
    peers = {len(tokens): (peer, tokens) for peer in (server.peer() for _ in range(3)) for tokens in [asked(peer)]}
    assert list(peers) == [3000]  # each of the three asked for as many
    assert stage.status().connected
    assert stage.feed.counts["no room on any connection"] == 1
    assert len(stage.feed.desired) == 9001
    assert stage.feed.confirmed == frozenset()


def test_each_connection_has_its_own_instruments_and_its_own_reconnect(server: SocketServer, stages: Callable[..., Stage]) -> None:
    listed = ManyListed(9000)
    stage = stages(server.url, listed, capacity=3000)
    stage.feed.subscribe(listed.all)
    stage.feed.start()
    peers = [server.peer() for _ in range(3)]
    shares = [asked(peer) for peer in peers]
    assert sorted(token for share in shares for token in share) == [number << 8 | 1 for number in range(1, 9001)]
    assert stage.status().connected
    for peer, share in zip(peers, shares, strict=True):
        peer.send(frame(share))
    until(lambda: len(stage.feed.confirmed) == 9000)
    assert set(stage.ticks.values()) == {1}
    peers[1].drop()
    told = stage.status()
    assert not told.connected
    assert "of 3 (3000 instruments)" in told.reason
    again = server.peer()
    assert asked(again) == shares[1]
    assert stage.status().connected
    until(lambda: len(stage.feed.confirmed) == 6000)  # the dropped one's are to be confirmed again, the others stay
    for peer, share in ((peers[0], shares[0]), (again, shares[1]), (peers[2], shares[2])):
        peer.send(frame(share))
    until(lambda: sum(stage.ticks.values()) == 18_000)
    assert set(stage.ticks.values()) == {2}
    assert server.handshakes == 4


def test_subscriptions_change_while_it_runs(server: SocketServer, stages: Callable[..., Stage]) -> None:
    listed = ManyListed(9)
    stage = stages(server.url, listed, capacity=2)
    one, two, three, four = listed.all[:4]
    stage.feed.subscribe([one])
    stage.feed.start()
    first = server.peer()
    assert asked(first) == [257]
    assert stage.status().connected
    stage.feed.subscribe([two, three])  # one more fits on this connection; for the other a second is opened
    assert asked(first) == [513]
    second = server.peer()
    assert asked(second) == [769]
    until(lambda: stage.feed.silent_for != float("inf"))
    assert stage.statuses.empty()  # a connection that joins is no outage of the feed
    stage.feed.unsubscribe([one, four])
    assert asked(first, "unsubscribe") == [257]
    stage.feed.subscribe([four])  # takes the room
    assert asked(first) == [1025]
    assert stage.feed.desired == {two.key, three.key, four.key}
    assert server.handshakes == 2


def test_a_manual_watch_and_strategies_do_not_cut_each_other(server: SocketServer, stages: Callable[..., Stage]) -> None:
    listed = ManyListed(3)
    stage = stages(server.url, listed, capacity=3000)
    ledger, (one, two, three) = Subscriptions(stage.feed), listed.all
    ledger.want("strategies", [one, two])
    ledger.want("by hand", [two, three])
    stage.feed.start()
    peer = server.peer()
    assert asked(peer) == [257, 513, 769]
    ledger.want("by hand", [two])  # twice is once
    ledger.release("by hand", [two])
    ledger.release("by hand", [two])
    assert two.key in stage.feed.desired  # the strategies still want it
    ledger.release("strategies", [two])
    ledger.release("positions")  # wants nothing
    assert asked(peer, "unsubscribe") == [513]
    peer.send(frame([257]))
    until(lambda: bool(stage.feed.confirmed))
    assert ledger.ledger() == {"desired": 2, "confirmed": 1, "waiting": [three.key]}
    ledger.release("by hand")
    assert asked(peer, "unsubscribe") == [769]


def test_the_feed_is_down_while_one_of_its_connections_is_refused(stages: Callable[..., Stage]) -> None:
    gate = threading.Event()
    with SocketServer(lambda number: refused(502) if number >= 2 and not gate.is_set() else None) as server:
        listed = ManyListed(4)
        stage = stages(server.url, listed, capacity=2)
        stage.feed.subscribe(listed.all)
        stage.feed.start()
        server.peer()
        told = stage.status()
        assert not told.connected
        assert "HTTP 502" in told.reason
        gate.set()
        while not stage.status().connected:
            pass
        server.peer()  # the second connection
        assert server.peers.empty()
        stage.feed.stop()
