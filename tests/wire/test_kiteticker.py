"""KiteTicker as the feed's transport: the same loop, the same events, Zerodha's own client and parser underneath."""

import json
import queue
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from brokers.stream import Backoff, Closed, Patience, Stream
from brokers.zerodha.kiteticker import TickerTransport
from core.clock import SystemClock
from core.events import Event, FeedStatus, OrderUpdate
from core.types import Tick
from tests.wire.kite_samples import FULL, KNOWN, LTP_AND_INDEX
from tests.wire.socket_server import SocketServer, refused
from tests.wire.test_stream import ORDER_TEXT, SUBSCRIBED, Login

pytestmark = pytest.mark.xdist_group("twisted")  # one reactor for the process


class Stage:
    """A stream over KiteTicker and what it put."""

    def __init__(self, url: str) -> None:
        self.login = Login()
        self.events: queue.Queue[Event] = queue.Queue()
        clock = SystemClock()
        self.transport = TickerTransport(clock, url, lambda: "key42", lambda: KNOWN)
        patience = Patience(silence=0.5, token=0.05)
        backoff = Backoff("s", base=0.05)
        self.stream = Stream(
            "live", self.login, clock, self.put, lambda: True, self.transport, capacity=10, patience=patience, backoff=backoff
        )

    def put(self, events: Sequence[Event], origin: str) -> None:
        for event in events:
            self.events.put(event)

    def next(self, kind: type[Event]) -> Any:
        while not isinstance(event := self.events.get(timeout=10.0), kind):
            pass
        return event


@pytest.fixture
def server() -> Iterator[SocketServer]:
    with SocketServer() as server:
        yield server


def test_ticks_and_orders_come_as_from_the_native_transport(server: SocketServer) -> None:
    stage = Stage(server.url)
    stage.stream.subscribe([KNOWN.tokens[738561], KNOWN.tokens[256265]])
    stage.stream.start()
    peer = server.peer()
    assert peer.query == {"api_key": ["key42"], "access_token": ["t1"]}
    assert [json.loads(peer.heard() or "") for _ in range(2)] == [json.loads(text) for text in SUBSCRIBED]
    assert stage.next(FeedStatus).connected
    peer.send(FULL)
    peer.send(LTP_AND_INDEX)
    full, ltp, index = [stage.next(Tick) for _ in range(3)]
    assert (full.bid, full.bid_quantity, full.ask, full.ask_quantity) == (1420.30, 100, 1420.40, 200)
    assert (full.volume, full.quantity, full.previous_close) == (8123456, 25, 1412.0)
    assert (ltp.instrument.key, ltp.price, ltp.exchange_at) == ("NSE:RELIANCE", 1420.35, None)
    assert (index.instrument.key, index.price, index.previous_close) == ("NSE:NIFTY 50", 25134.55, 24950.0)
    assert index.exchange_at is not None
    assert index.exchange_at.timestamp() == 1791344587
    peer.send(ORDER_TEXT)
    update: OrderUpdate = stage.next(OrderUpdate)
    assert (update.broker_order_id, update.filled) == ("1", 5)
    stage.stream.stop()
    assert stage.stream.join(10.0)


def test_drops_and_silence_are_met_by_our_loop_and_not_by_the_sdks(server: SocketServer) -> None:
    stage = Stage(server.url)
    stage.stream.subscribe([KNOWN.tokens[738561]])
    stage.stream.start()
    first = server.peer()
    first.send(b"\x00")
    stage.next(FeedStatus)
    first.drop()
    assert not stage.next(FeedStatus).connected
    second = server.peer()
    assert json.loads(second.heard() or "")["v"] == [738561]
    assert stage.next(FeedStatus).connected
    assert "silent for" in stage.next(FeedStatus).reason
    server.peer()
    stage.stream.stop()
    assert stage.stream.join(10.0)


def test_a_refused_token_is_given_up_at_once() -> None:
    with SocketServer(lambda number: refused(403)) as server:
        stage = Stage(server.url)
        stage.stream.start()
        assert "403" in stage.next(FeedStatus).reason
        assert len(stage.login.refused) == 1
        stage.next(FeedStatus)
        assert server.handshakes == 1
        stage.stream.stop()
        assert stage.stream.join(10.0)


def test_nobody_listening_is_said(server: SocketServer) -> None:
    with pytest.raises(Closed, match=r"no connection: .*refused"):
        TickerTransport(SystemClock(), "ws://127.0.0.1:9", lambda: "key42", lambda: KNOWN).open("t1")
