"""The socket loop against a real websocket server: subscriptions, drops, silence, refusals, storms, and granted time."""

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from queue import Empty
from typing import Any, cast

import pytest

from brokers.spec import Endpoints
from brokers.stream import Backoff, Patience, SocketTransport, Stream
from brokers.zerodha import SPEC
from brokers.zerodha.wire import FeedDialect
from core.clock import GrantedClock, SystemClock
from core.errors import SessionExpired
from core.events import Event, FeedStatus, OrderUpdate
from core.types import IST, Tick
from tests.wire.kite_samples import FULL, KNOWN, LTP_AND_INDEX, QUOTE
from tests.wire.socket_server import Peer, SocketServer, refused

RELIANCE, NIFTY = KNOWN.tokens[738561], KNOWN.tokens[256265]
ORDER_TEXT = json.dumps(
    {
        "type": "order",
        "data": {
            "order_id": "1",
            "status": "COMPLETE",
            "exchange": "NSE",
            "tradingsymbol": "RELIANCE",
            "transaction_type": "BUY",
            "quantity": 5,
            "filled_quantity": 5,
            "average_price": 1420.35,
        },
    }
)
SUBSCRIBED = ['{"a": "subscribe", "v": [738561, 256265]}', '{"a": "mode", "v": ["full", [738561, 256265]]}']


@dataclass
class Login:
    """A token source whose token a test can take away and give back."""

    tokens: list[str] = field(default_factory=lambda: ["t1"])
    refused: list[str] = field(default_factory=list)

    def token(self) -> str:
        if not self.tokens:
            raise SessionExpired("nobody has logged in")
        return self.tokens[-1]

    def invalidate(self, token: str, reason: str) -> None:
        self.refused.append(reason)
        self.tokens = [one for one in self.tokens if one != token]


class Stage:
    """A stream over a real clock with short patience, and what it put."""

    def __init__(self, url: str, *, in_hours: Callable[[], bool] = lambda: True, login: Login | None = None, **patience: float) -> None:
        self.login = login or Login()
        self.events: queue.Queue[Event] = queue.Queue()
        self.origins: set[str] = set()
        self.clock = SystemClock()
        self.dialect = FeedDialect(url, lambda: "key42", lambda: KNOWN)
        self.stream = Stream(
            "practice",
            self.login,
            self.clock,
            self.put,
            in_hours,
            SocketTransport(self.clock, "practice/feed", self.dialect),
            capacity=10,
            patience=Patience(**{"silence": 30.0, "token": 0.05, "off_hours": 0.05, **patience}),
            backoff=Backoff("seed", base=0.05, cap=0.2),
        )

    def put(self, events: Sequence[Event], origin: str) -> None:
        self.origins.add(origin)
        for event in events:
            self.events.put(event)

    def next(self, kind: type[Event], seconds: float = 10.0) -> Any:
        until = time.monotonic() + seconds
        while True:
            event = self.events.get(timeout=max(0.01, until - time.monotonic()))
            if isinstance(event, kind):
                return event

    def status(self, connected: bool) -> FeedStatus:
        while True:
            status: FeedStatus = self.next(FeedStatus)
            if status.connected is connected:
                return status


@pytest.fixture
def server() -> Iterator[SocketServer]:
    with SocketServer() as server:
        yield server


@pytest.fixture
def stages() -> Iterator[Callable[..., Stage]]:
    made: list[Stage] = []

    def make(url: str, **options: Any) -> Stage:
        made.append(Stage(url, **options))
        return made[-1]

    yield make
    for stage in made:
        stage.stream.stop()
    for stage in made:
        assert stage.stream.join(10.0), "a feed thread did not end"


def until(ready: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(0.005)


# --- a healthy connection ---------------------------------------------------------------------------------------------------------------


def test_it_logs_in_subscribes_and_hands_on_ticks_and_orders(server: SocketServer, stages: Callable[..., Stage]) -> None:
    stage = stages(server.url)
    stage.stream.subscribe([RELIANCE, NIFTY])
    stage.stream.start()
    peer = server.peer()
    assert peer.query == {"api_key": ["key42"], "access_token": ["t1"]}
    assert peer.headers["x-kite-version"] == "3"
    assert [peer.heard(), peer.heard()] == SUBSCRIBED
    assert stage.status(True).attempt == 1
    peer.send(FULL)
    peer.send(LTP_AND_INDEX)
    ticks = [stage.next(Tick) for _ in range(3)]
    assert [(tick.instrument.key, tick.price) for tick in ticks] == [
        ("NSE:RELIANCE", 1420.35),
        ("NSE:RELIANCE", 1420.35),
        ("NSE:NIFTY 50", 25134.55),
    ]
    peer.send(ORDER_TEXT)
    update: OrderUpdate = stage.next(OrderUpdate)
    assert (update.broker_order_id, update.filled) == ("1", 5)
    assert stage.origins == {"practice/feed"}


def test_a_subscription_counts_as_confirmed_by_its_first_tick(server: SocketServer, stages: Callable[..., Stage]) -> None:
    stage = stages(server.url)
    stage.stream.subscribe([RELIANCE, NIFTY])
    stage.stream.start()
    peer = server.peer()
    stage.status(True)
    assert stage.stream.desired == {"NSE:RELIANCE", "NSE:NIFTY 50"}
    assert stage.stream.confirmed == frozenset()
    peer.send(FULL)
    stage.next(Tick)
    assert stage.stream.confirmed == {"NSE:RELIANCE"}


def test_the_untimed_snapshot_before_full_mode_is_held_back(server: SocketServer, stages: Callable[..., Stage]) -> None:
    stage = stages(server.url)
    stage.stream.subscribe([RELIANCE])
    stage.stream.start()
    peer = server.peer()
    stage.status(True)
    for payload in (QUOTE, FULL, QUOTE):
        peer.send(payload)
    ticks = [stage.next(Tick), stage.next(Tick)]
    assert [tick.exchange_at is None for tick in ticks] == [False, True]
    assert stage.dialect.faults.counts == {"snapshot without a time": 1}
    assert stage.stream.confirmed == {"NSE:RELIANCE"}


def test_subscribing_and_unsubscribing_while_connected(server: SocketServer, stages: Callable[..., Stage]) -> None:
    stage = stages(server.url)
    stage.stream.start()
    peer = server.peer()
    stage.status(True)
    stage.stream.subscribe([NIFTY])
    stage.stream.subscribe([NIFTY])
    assert [peer.heard(), peer.heard()] == ['{"a": "subscribe", "v": [256265]}', '{"a": "mode", "v": ["full", [256265]]}']
    stage.stream.unsubscribe([NIFTY, RELIANCE])
    assert peer.heard() == '{"a": "unsubscribe", "v": [256265]}'
    assert stage.stream.desired == frozenset()


def test_what_does_not_tick_is_asked_for_again(server: SocketServer, stages: Callable[..., Stage]) -> None:
    stage = stages(server.url, resubscribe=0.1)
    stage.stream.subscribe([RELIANCE, NIFTY])
    stage.stream.start()
    peer = server.peer()
    assert [peer.heard(), peer.heard()] == SUBSCRIBED
    peer.send(FULL)
    texts = [peer.heard() for _ in range(2)]
    assert texts == ['{"a": "subscribe", "v": [256265]}', '{"a": "mode", "v": ["full", [256265]]}']


def test_garbage_from_the_server_costs_nothing_else(server: SocketServer, stages: Callable[..., Stage]) -> None:
    stage = stages(server.url)
    stage.stream.subscribe([RELIANCE])
    stage.stream.start()
    peer = server.peer()
    stage.status(True)
    for junk in (
        b"\x00",
        b"",
        FULL[:100],
        b"\xff" * 200,
        "not json",
        '{"type":"order","data":{}}',
        '{"type":"error","data":"no such token"}',
    ):
        peer.send(junk)
    peer.send(FULL)
    assert stage.next(Tick).price == 1420.35
    assert stage.dialect.faults.texts[-1] == "no such token"


def test_stop_says_goodbye_and_ends(server: SocketServer, stages: Callable[..., Stage]) -> None:
    stage = stages(server.url)
    stage.stream.start()
    peer = server.peer()
    stage.status(True)
    stage.stream.stop()
    assert peer.heard() == "closed"
    assert stage.stream.join(10.0)
    assert stage.stream.silent_for == float("inf")


# --- losing it --------------------------------------------------------------------------------------------------------------------------


def test_a_dropped_connection_comes_back_with_all_subscriptions_unconfirmed(server: SocketServer, stages: Callable[..., Stage]) -> None:
    stage = stages(server.url)
    stage.stream.subscribe([RELIANCE, NIFTY])
    stage.stream.start()
    first = server.peer()
    first.send(LTP_AND_INDEX)
    stage.next(Tick)
    first.drop()
    assert stage.status(False).reason
    second = server.peer()
    assert [second.heard(), second.heard()] == SUBSCRIBED
    stage.status(True)
    assert stage.stream.confirmed == frozenset()


def test_a_close_frame_of_the_server_is_told_with_its_code(server: SocketServer, stages: Callable[..., Stage]) -> None:
    stage = stages(server.url)
    stage.stream.start()
    server.peer().wire.sendall(b"\x88\x05\x03\xe9bye")
    assert stage.status(False).reason == "closed by the server, code 1001 bye"


def test_a_mute_socket_is_dropped_in_market_hours(server: SocketServer, stages: Callable[..., Stage]) -> None:
    stage = stages(server.url, silence=0.2)
    stage.stream.start()
    server.peer()
    assert "in market hours" in stage.status(False).reason
    server.peer()


class KiteLogin(Login):
    """What Zerodha's feed asks of its session besides the token."""

    def api_key(self) -> str:
        return "key42"


def test_the_configured_silence_is_the_feeds(server: SocketServer) -> None:
    events: queue.Queue[Event] = queue.Queue()
    clock, here = SystemClock(), Endpoints(server.url, server.url, server.url)

    def put(found: Sequence[Event], origin: str) -> None:
        for one in found:
            events.put(one)

    login = cast(Any, KiteLogin())
    feed = SPEC.make_feed("practice", login, clock, put, here, lambda: KNOWN, "native", lambda: True, stale_after_s=0.2)
    feed.subscribe([RELIANCE])
    feed.start()
    try:
        peer = server.peer()
        peer.send(json.dumps({"type": "error", "data": "no such token"}))
        told: Any = events.get(timeout=10.0)
        assert told.connected
        told = events.get(timeout=10.0)
        assert "silent for 0." in told.reason
        assert (feed.counts, feed.texts) == ({"error text": 1}, ("no such token",))
    finally:
        feed.stop()


def test_heartbeats_alone_keep_a_connection(server: SocketServer, stages: Callable[..., Stage]) -> None:
    stage = stages(server.url, silence=2.0)
    stage.stream.start()
    peer = server.peer()
    for _ in range(25):
        peer.send(b"\x00")
        time.sleep(0.1)
    assert server.handshakes == 1


def test_a_mute_socket_outside_market_hours_is_left_alone_until_they_begin(server: SocketServer, stages: Callable[..., Stage]) -> None:
    hours = threading.Event()
    stage = stages(server.url, in_hours=hours.is_set, silence=0.3)
    stage.stream.start()
    server.peer()
    time.sleep(0.8)
    assert server.handshakes == 1
    opened = time.monotonic()
    hours.set()
    stage.status(False)
    assert time.monotonic() - opened >= 0.25, "the silence of the closed market must not count"


def test_the_engine_may_ask_for_a_new_connection(server: SocketServer, stages: Callable[..., Stage]) -> None:
    stage = stages(server.url)
    stage.stream.start()
    server.peer()
    stage.status(True)
    stage.stream.reconnect("no ticks of NIFTY for 9 s")
    assert stage.status(False).reason == "no ticks of NIFTY for 9 s"
    server.peer()


def test_a_server_that_accepts_and_drops_is_not_stormed(stages: Callable[..., Stage]) -> None:
    with SocketServer() as server:
        stage = stages(server.url)

        def drop_all() -> None:
            with suppress(Empty, OSError):  # nobody comes any more: the test is over
                while True:
                    server.peer(3.0).drop()

        threading.Thread(target=drop_all, daemon=True).start()
        began = time.monotonic()
        stage.stream.start()
        until(lambda: server.handshakes >= 6)
        assert time.monotonic() - began >= 0.375, "delays are at least half of 0.05, 0.1, 0.2, 0.2 …"
        stage.stream.stop()


def test_nobody_listening_is_retried_with_growing_attempts(stages: Callable[..., Stage]) -> None:
    stage = stages("ws://127.0.0.1:9")
    stage.stream.start()
    assert [stage.status(False).attempt for _ in range(3)] == [1, 2, 3]


# --- refused ----------------------------------------------------------------------------------------------------------------------------


def test_a_refused_token_is_given_up_until_there_is_another(stages: Callable[..., Stage]) -> None:
    body = '{"status":"error","error_type":"TokenException"}'
    with SocketServer(lambda number: refused(403, body) if number == 1 else None) as server:
        stage = stages(server.url)
        stage.stream.start()
        until(lambda: bool(stage.login.refused))
        time.sleep(0.5)
        assert server.handshakes == 1
        assert "HTTP 403" in stage.login.refused[0]
        stage.login.tokens.append("t2")
        assert server.peer().query["access_token"] == ["t2"]
        assert stage.status(True).attempt == 1
        stage.stream.stop()


@pytest.mark.parametrize(
    "message", ["Insufficient permission for that call.", "Maximum of 3 WebSocket connections for an api_key reached."]
)
def test_a_refused_plan_or_number_of_connections_costs_no_login(stages: Callable[..., Stage], message: str) -> None:
    body = json.dumps({"error_type": "TokenException", "message": message})
    with SocketServer(lambda number: refused(403, body)) as server:
        stage = stages(server.url)
        stage.stream.start()
        assert "a new login does not help" in stage.status(False).reason
        assert stage.login.refused == []


def test_a_server_in_trouble_costs_no_login(stages: Callable[..., Stage]) -> None:
    with SocketServer(lambda number: refused(502) if number < 3 else None) as server:
        stage = stages(server.url)
        stage.stream.start()
        server.peer()
        assert stage.login.refused == []
        assert server.handshakes == 3
        stage.stream.stop()


def test_without_a_login_nothing_connects(server: SocketServer, stages: Callable[..., Stage]) -> None:
    stage = stages(server.url, login=Login([]))
    stage.stream.start()
    assert stage.status(False).reason == "nobody has logged in"
    time.sleep(0.3)
    assert server.handshakes == 0
    stage.login.tokens.append("t9")
    assert server.peer().query["access_token"] == ["t9"]


def test_no_secret_is_in_any_status(stages: Callable[..., Stage]) -> None:
    with SocketServer(lambda number: refused(502)) as server:
        stage = stages(server.url, login=Login(["secretToken"]))
        stage.stream.start()
        reasons = [stage.status(False).reason for _ in range(2)]
        assert "secretToken" not in repr(reasons)
        assert "key42" not in repr(reasons)


# --- backoff ----------------------------------------------------------------------------------------------------------------------------


def test_backoff_doubles_to_its_cap_with_half_of_it_jitter() -> None:
    backoff = Backoff("practice/feed")
    for attempt in range(1, 40):
        whole = min(30.0, 2.0 ** (attempt - 1))
        assert whole / 2 <= backoff.delay(attempt, in_hours=True) <= whole
    assert 150.0 <= backoff.delay(40, in_hours=False) <= 300.0


def test_backoff_is_the_same_for_the_same_name() -> None:
    delays = [[Backoff(name).delay(attempt, in_hours=True) for attempt in range(1, 9)] for name in ("a/feed", "a/feed", "b/feed")]
    assert delays[0] == delays[1] != delays[2]


# --- granted time -----------------------------------------------------------------------------------------------------------------------


class Simulation:
    """The engine's side of granted time, with the test as the simulator."""

    def __init__(self, clock: GrantedClock) -> None:
        self.clock = clock
        self.now = datetime(2026, 11, 20, 9, 15, tzinfo=IST)
        self.frames: dict[str, int] = {}
        self.completed = 0
        self.closed: set[str] = set()
        self.advance(0.0)

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        completed = {"practice/feed": self.completed}
        self.clock.grant(self.now, frames=dict(self.frames), completed=completed, closed=frozenset(self.closed))
        self.clock.run_edge()


def granted_stage(url: str, clock: GrantedClock, put: Callable[[Sequence[Event], str], None]) -> Stream:
    dialect = FeedDialect(url, lambda: "key42", lambda: KNOWN)
    transport = SocketTransport(clock, "practice/feed", dialect)
    return Stream("practice", Login(), clock, put, lambda: True, transport, capacity=10)


def test_in_granted_time_everything_happens_at_its_granted_moment(server: SocketServer) -> None:
    clock = GrantedClock(guard=20.0)
    seen: list[Event] = []
    stream = granted_stage(server.url, clock, lambda events, origin: seen.extend(events))
    stream.subscribe([RELIANCE])
    simulation = Simulation(clock)
    stream.start()
    clock.run_edge()
    peer: Peer = server.peer()
    assert clock.done()[1] == {"practice/feed": 1}
    assert peer.headers["x-grant"] == "practice/feed/1"
    connection = peer.headers["x-grant"]
    assert seen == [], "the handshake's end is not known before it is granted"

    simulation.completed = 1
    simulation.advance(0.1)
    assert [(event.at, event.connected) for event in seen if isinstance(event, FeedStatus)] == [(simulation.now, True)]
    assert clock.done()[2] == {connection: 2}

    peer.send(FULL)
    time.sleep(0.2)
    assert not any(isinstance(event, Tick) for event in seen), "a frame is not handed on before the grant that names it"
    simulation.frames[connection] = 1
    simulation.advance(1.0)
    (tick,) = [event for event in seen if isinstance(event, Tick)]
    assert tick.at == simulation.now

    simulation.advance(4.9)
    assert stream.connected
    wake, _, _ = clock.done()
    assert wake is not None
    assert wake - clock.monotonic() == pytest.approx(0.1, abs=0.01)
    simulation.advance(0.2)
    assert clock.done()[2] == {connection: 3}, "our own close counts as one frame"
    heard = [peer.heard() for _ in range(4)]
    assert heard[2:] == ["closed", None]
    assert stream.connected, "that it is closed is not known before it is granted"
    simulation.closed.add(connection)
    simulation.advance(0.1)
    assert not stream.connected
    assert [event.connected for event in seen if isinstance(event, FeedStatus)] == [True, False]

    simulation.advance(1.1)
    again = server.peer()
    assert again.headers["x-grant"] == "practice/feed/2"
    clock.fail("the test is over")
    stream.stop()
    assert stream.join(10.0)


def test_when_the_simulator_is_gone_the_loop_ends_instead_of_storming(server: SocketServer) -> None:
    clock = GrantedClock(guard=20.0)
    simulation = Simulation(clock)
    stream = granted_stage("ws://127.0.0.1:9", clock, lambda events, origin: None)
    stream.start()
    simulation.completed = 1
    simulation.advance(0.1)
    clock.fail("killed")
    assert stream.join(10.0)
