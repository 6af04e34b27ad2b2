"""A prepared order waits at the wire: not one byte leaves before its intent is on disk, or ever when it never gets there."""

import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from core.clock import SystemClock
from core.events import Event, Outcome, Reply
from core.types import Order
from execution_engine.broker_worker import BrokerWorker
from tests.builders import make_order
from tests.wire.scripted_server import ScriptedServer, ok, reset
from tests.wire.zerodha_house import House

PLACED = ok({"order_id": "7"})
FRESH = SystemClock().now() + timedelta(hours=1)  # no entry is sent that waited too long, and these tests may
FIRST = make_order(created_at=FRESH)
SECOND = make_order(created_at=FRESH, id="ABCDEFGH00000002", tag="ABCDEFGH00000002")


class Desk:
    """The order worker of a real client at a real socket."""

    def __init__(self, server: ScriptedServer, folder: Path, kind: type[BrokerWorker] = BrokerWorker) -> None:
        self.server = server
        self.house = House(server.url, folder)
        self.events: list[Event] = []
        self._came = threading.Condition()
        self.worker = kind("acc", self.house.broker(), SystemClock(), self._put, lambda: None, holds_at_wire=True)
        self.worker.start()

    def _put(self, events: Sequence[Event], origin: str) -> None:
        with self._came:
            self.events += events
            self._came.notify_all()

    def replies(self, count: int) -> list[Reply]:
        with self._came:
            assert self._came.wait_for(lambda: len(self.events) >= count, 5)
        return [event for event in self.events if isinstance(event, Reply)]

    def audited(self, count: int) -> list[str]:
        """The kinds of the first `count` lines of the audit, once they are there."""
        until = time.monotonic() + 5
        while len(self.house.audit.lines) < count and time.monotonic() < until:
            time.sleep(0.002)
        return [line[0] for line in self.house.audit.lines]

    def left_early(self) -> bool:
        """Prepare one order, wait until its request has been built and connected, and see whether the server has heard of it."""
        self.worker.prepare(FIRST)
        assert self.audited(1)[0] == "request"
        until = time.monotonic() + 0.3
        while not self.server.requests and time.monotonic() < until:
            time.sleep(0.002)
        return bool(self.server.requests)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def test_a_prepared_order_leaves_when_it_is_placed(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = [PLACED]
    desk = Desk(server, tmp_path)
    assert not desk.left_early()
    assert desk.events == []
    desk.worker.place(FIRST)
    (reply,) = desk.replies(1)
    assert (reply.outcome, reply.broker_order_id, reply.order_id) == (Outcome.ACK, "7", FIRST.id)
    assert [request.form["tag"] for request in server.requests] == [FIRST.tag]
    assert desk.audited(2) == ["request", "reply"]
    desk.worker.stop()


class Hasty(BrokerWorker):
    """A worker that does not wait for the word."""

    def prepare(self, order: Order) -> None:
        super().prepare(order)
        self._prepared[order.id].allow()


def test_a_request_that_leaves_before_the_word_is_seen(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = [PLACED]
    desk = Desk(server, tmp_path, Hasty)
    assert desk.left_early()
    desk.worker.stop()


def test_a_forgotten_order_never_leaves_answers_nothing_and_holds_up_nobody(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = [PLACED]
    desk = Desk(server, tmp_path)
    assert not desk.left_early()
    desk.worker.forget(FIRST)
    assert desk.audited(2) == ["request", "reply"]
    assert desk.house.audit.lines[1][2:] == (0, "NeverSent: called off before its first byte left")
    desk.worker.prepare(SECOND)
    desk.worker.place(SECOND)
    (reply,) = desk.replies(1)
    assert (reply.order_id, reply.outcome) == (SECOND.id, Outcome.ACK)
    assert [request.form["tag"] for request in server.requests] == [SECOND.tag]
    desk.worker.stop()


def test_an_exit_whose_intent_could_not_be_written_is_audited_on_disk_first(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = [PLACED]
    desk = Desk(server, tmp_path)
    assert not desk.left_early()
    desk.worker.forget(FIRST)
    desk.worker.place(FIRST)  # it goes on without the ledger
    (reply,) = desk.replies(1)
    assert reply.outcome is Outcome.ACK
    assert desk.audited(4)[2:] == ["request", "reply"]
    desk.worker.stop()


def test_a_prepared_order_without_an_answer_is_of_unknown_fate(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = [reset]
    desk = Desk(server, tmp_path)
    desk.worker.prepare(FIRST)
    desk.worker.place(FIRST)
    (reply,) = desk.replies(1)
    assert (reply.outcome, len(server.requests)) == (Outcome.UNKNOWN, 1)
    desk.worker.stop()
