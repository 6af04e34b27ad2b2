"""The broker's threads: priorities, the three outcomes of a call, books that are whole or an error, and a stop that begins nothing new."""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from brokers.http_wire import NoConnection
from brokers.transport import PooledSession
from core.clock import SystemClock
from core.errors import BrokerError, RateLimited, Rejected, SessionExpired, StoreError, Transient, Unknown
from core.events import Books, BrokerPosition, Event, Funds, OrderUpdate, Outcome, Reply, Trade
from core.types import Bar, Instrument, Order, OrderState, Purpose
from execution_engine.broker_worker import BrokerWorker, Worker
from runtime import state_folder
from runtime.wiring import LaneAudit
from tests.builders import NIFTY, at, make_order, make_update
from utils.departure import NeverSent, mine


class FakeBroker:
    """core.ports.Broker whose every call does what the test says; `calls` is their order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failure: Exception | None = None
        self.gate: threading.Event | None = None
        self.positions_failure: Exception | None = None
        self.funds_failure: Exception | None = None
        self.began = threading.Event()

    def _do(self, name: str) -> None:
        self.began.set()
        if self.gate is not None:
            assert self.gate.wait(5)
        self.calls.append(name)
        if self.failure is not None:
            raise self.failure

    def place(self, order: Order) -> str:
        self._do(f"place {order.purpose}")
        return f"B-{order.id}"

    def modify(self, order: Order, *, quantity: int, limit_price: float, trigger_price: float | None) -> None:
        self._do(f"modify {limit_price}")

    def cancel(self, order: Order) -> None:
        self._do("cancel")

    def orders(self) -> tuple[OrderUpdate, ...]:
        self._do("orders")
        return (make_update(),)

    def trades(self) -> tuple[Trade, ...]:
        self._do("trades")
        return ()

    def positions(self) -> tuple[BrokerPosition, ...]:
        self._do("positions")
        if self.positions_failure is not None:
            raise self.positions_failure
        return (BrokerPosition(NIFTY, "MIS", 65, 25000.0),)

    def funds(self) -> Funds:
        if self.funds_failure is not None:
            raise self.funds_failure
        return Funds(1.0, 0.0)

    def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
        return []

    def instruments(self) -> bytes:
        return b""

    def last_prices(self, instruments: Sequence[Instrument]) -> dict[str, float]:
        return {}

    def profile(self) -> dict[str, Any]:
        return {}


class Standing(SystemClock):
    """The real waits, and a market time that stands where the test puts it."""

    def __init__(self) -> None:
        super().__init__()
        self.at = at(0)

    def now(self) -> datetime:
        return self.at


class Desk:
    """A BrokerWorker on real threads whose events are collected."""

    def __init__(self) -> None:
        self.broker = FakeBroker()
        self.events: list[tuple[str, Event]] = []
        self._came = threading.Condition()
        self.clock = Standing()
        self.worker = BrokerWorker("acc", self.broker, self.clock, self._put, lambda: None)
        self.worker.start()

    def _put(self, events: Sequence[Event], origin: str) -> None:
        with self._came:
            self.events += [(origin, event) for event in events]
            self._came.notify_all()

    def wait(self, count: int) -> list[tuple[str, Event]]:
        with self._came:
            assert self._came.wait_for(lambda: len(self.events) >= count, 5)
            return list(self.events)


@pytest.fixture
def desk() -> Any:
    made = Desk()
    yield made
    made.worker.stop()


def act(desk: Desk, action: str, order: Order) -> None:
    calls: dict[str, Callable[[], None]] = {
        "place": lambda: desk.worker.place(order),
        "modify": lambda: desk.worker.modify(order, quantity=65, limit_price=1.0, trigger_price=None),
        "cancel": lambda: desk.worker.cancel(order),
    }
    calls[action]()


def test_an_acknowledged_place_carries_the_brokers_id(desk: Desk) -> None:
    order = make_order()
    desk.worker.place(order)
    ((origin, reply),) = desk.wait(1)
    assert isinstance(reply, Reply)
    assert (origin, reply.outcome, reply.broker_order_id, reply.order_id) == ("acc/orders", Outcome.ACK, f"B-{order.id}", order.id)


def test_a_broker_that_does_not_hold_at_the_wire_hears_of_an_order_when_it_may_leave(desk: Desk) -> None:
    order = make_order()
    desk.worker.prepare(order)
    desk.worker.forget(order)
    desk.worker.prepare(order)
    assert not desk.broker.began.wait(0.1)
    desk.worker.place(order)
    desk.wait(1)
    assert desk.broker.calls == ["place entry"]


@pytest.mark.parametrize("action", ["place", "modify", "cancel"])
@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (Rejected("no", code="400"), Outcome.REJECT),
        (RateLimited("slow down"), Outcome.REJECT),
        (SessionExpired("log in"), Outcome.REJECT),
        (Unknown("timed out", code="504"), Outcome.UNKNOWN),
        (BrokerError("something else"), Outcome.UNKNOWN),
        (StoreError("disk"), Outcome.UNKNOWN),
        (ZeroDivisionError(), Outcome.UNKNOWN),
    ],
)
def test_only_certain_refusals_are_rejects(desk: Desk, action: str, failure: Exception, outcome: Outcome) -> None:
    desk.broker.failure = failure
    act(desk, action, make_order(broker_order_id="B1", state=OrderState.WORKING))
    ((_, reply),) = desk.wait(1)
    assert isinstance(reply, Reply)
    assert (reply.outcome, reply.error, str(reply.action)) == (outcome, type(failure).__name__, action)
    assert reply.reason


def test_exits_go_before_cancels_before_entries(desk: Desk) -> None:
    desk.broker.gate = threading.Event()
    desk.worker.place(make_order(purpose=Purpose.ENTRY))
    assert desk.broker.began.wait(5)  # it occupies the thread
    for order in (make_order(purpose=Purpose.ENTRY), make_order(purpose=Purpose.EXIT)):
        desk.worker.place(order)
    desk.worker.cancel(make_order())
    desk.broker.gate.set()
    desk.wait(4)
    assert desk.broker.calls == ["place entry", "place exit", "cancel", "place entry"]


def test_an_entry_that_waited_too_long_behind_a_hung_call_is_never_sent_and_an_exit_is(desk: Desk) -> None:
    desk.broker.gate = threading.Event()
    desk.worker.place(make_order(purpose=Purpose.EXIT, id="hung"))
    assert desk.broker.began.wait(5)
    for purpose, age in ((Purpose.ENTRY, 0.0), (Purpose.ENTRY, 0.2), (Purpose.EXIT, 0.0), (Purpose.SQUARE_OFF, 0.0)):
        desk.worker.place(make_order(purpose=purpose, created_at=at(age), id=f"{purpose} {age}"))
    desk.clock.at = at(5.1)
    desk.broker.gate.set()
    replies = {reply.order_id: reply for _, reply in desk.wait(5) if isinstance(reply, Reply)}
    late = replies.pop("entry 0.0")
    assert (late.outcome, late.error) == (Outcome.REJECT, "NeverSent")
    assert "it was decided 5.1 s before its turn came" in late.reason
    assert {reply.outcome for reply in replies.values()} == {Outcome.ACK}
    assert desk.broker.calls == ["place exit", "place exit", "place square_off", "place entry"]


class Held(FakeBroker):
    """A broker whose calls wait at the wire for their word."""

    def place(self, order: Order) -> str:
        departure = mine()
        self.began.set()
        if departure is not None and not departure.allowed():
            raise NeverSent("called off")
        return super().place(order)


@pytest.mark.parametrize(("purpose", "sent"), [(Purpose.ENTRY, False), (Purpose.EXIT, True)])
def test_a_prepared_entry_whose_intent_took_too_long_to_the_disk_never_leaves(desk: Desk, purpose: Purpose, sent: bool) -> None:
    broker = Held()
    worker = BrokerWorker("acc", broker, desk.clock, desk._put, lambda: None, holds_at_wire=True)
    worker.start()
    order = make_order(purpose=purpose, created_at=desk.clock.at)
    worker.prepare(order)
    assert broker.began.wait(5)  # it waits at the wire
    desk.clock.at = at(5.1)
    worker.place(order)
    ((_, reply),) = desk.wait(1)
    worker.stop()
    assert isinstance(reply, Reply)
    assert (reply.outcome, reply.error) == ((Outcome.ACK, "") if sent else (Outcome.REJECT, "NeverSent"))
    assert broker.calls == ([f"place {purpose}"] if sent else [])


def test_books_are_one_read_positions_last(desk: Desk) -> None:
    desk.worker.read_books(positions=True)
    ((origin, books),) = desk.wait(1)
    assert isinstance(books, Books)
    assert origin == "acc/reads"
    assert desk.broker.calls == ["orders", "trades", "positions"]
    assert (len(books.orders), books.positions is not None, books.error) == (1, True, "")
    assert books.asked_at <= books.at


@pytest.mark.parametrize("failure", [Transient("502"), KeyError("tradingsymbol")])
def test_a_failed_part_fails_the_whole_read_and_is_told(desk: Desk, failure: Exception) -> None:
    desk.broker.positions_failure = failure
    desk.worker.read_books(positions=True)
    ((_, books),) = desk.wait(1)
    assert isinstance(books, Books)
    assert (books.error, books.orders, books.positions) == (type(failure).__name__, (), None)
    assert books.reason


def test_funds_that_cannot_be_read_take_nothing_from_the_evidence(desk: Desk) -> None:
    desk.worker.read_books(positions=True)
    ((_, books),) = desk.wait(1)
    assert isinstance(books, Books)
    assert books.funds == Funds(1.0, 0.0)
    desk.broker.funds_failure = Transient("502")
    desk.worker.read_books(positions=True, urgent=True)
    _, books = desk.wait(2)[1]
    assert isinstance(books, Books)
    assert (books.funds, books.error, len(books.orders)) == (None, "", 1)


def test_reads_that_wait_are_not_piled_up_unless_urgent(desk: Desk) -> None:
    desk.broker.gate = threading.Event()
    desk.worker.read_books(positions=False)
    assert desk.broker.began.wait(5)
    for _ in range(5):
        desk.worker.read_books(positions=False)
    for _ in range(100):  # as when a broker posts the updates of another account
        desk.worker.read_books(positions=True, urgent=True)
    desk.broker.gate.set()
    last = threading.Event()
    desk.worker.reads.submit(9, last.set)  # after all of them
    assert last.wait(5)
    assert desk.broker.calls == ["orders", "trades", "orders", "trades", "positions"]


def test_after_stop_nothing_is_begun() -> None:
    desk = Desk()
    desk.broker.gate = threading.Event()
    desk.worker.place(make_order(purpose=Purpose.ENTRY))
    assert desk.broker.began.wait(5)
    desk.worker.place(make_order(purpose=Purpose.ENTRY))
    desk.worker.stop()
    desk.broker.gate.set()
    desk.wait(1)
    assert desk.broker.calls == ["place entry"]


def test_a_job_raises_what_its_work_raised() -> None:
    woken = threading.Event()
    worker = Worker("acc/downloads", SystemClock(), woken.set)
    worker.start()
    good, bad = worker.submit(1, lambda: 7), worker.submit(1, lambda: 1 // 0)
    while not bad.done:
        assert woken.wait(5)
        woken.clear()
    assert good.value() == 7
    with pytest.raises(ZeroDivisionError):
        bad.value()
    worker.stop()


def test_the_market_and_the_ledger_are_nothing_to_a_real_broker(desk: Desk) -> None:
    desk.worker.on_market(make_update())
    desk.worker.restore([make_order()])
    assert desk.worker.drain() == []
    desk.worker.end_of_day(at(0))
    desk.wait(1)
    assert "positions" in desk.broker.calls


@pytest.mark.parametrize(("purpose", "leaves"), [(Purpose.ENTRY, False), (Purpose.EXIT, True), (Purpose.PROTECT, True)])
def test_an_entry_that_cannot_be_audited_is_never_sent_and_an_exit_is(purpose: Purpose, leaves: bool, tmp_path: Path) -> None:
    run = state_folder.account_folder(tmp_path, "live")
    run.audit.rmdir()
    run.audit.write_text("where the folder should be: as good as a full disk")
    clock, said = SystemClock(), list[Event]()
    http = PooledSession(clock, LaneAudit(run, clock))

    class Wired(FakeBroker):
        def place(self, order: Order) -> str:
            try:
                http.request("POST", "http://127.0.0.1:1/orders/regular", data={"tag": order.tag})
            except NoConnection:
                self._do("at the wire")
            return "B1"

    broker: Any = Wired()
    worker = BrokerWorker("live", broker, clock, lambda events, name: said.extend(events), lambda: None)
    worker.start()
    worker.place(make_order(purpose=purpose, created_at=clock.now()))
    assert clock.wait_for(lambda: bool(said), clock.monotonic() + 5)
    worker.stop()
    [reply] = said
    assert isinstance(reply, Reply)
    assert broker.calls == (["at the wire"] if leaves else [])
    assert reply.outcome is (Outcome.ACK if leaves else Outcome.REJECT)
    assert leaves or "audit log" in reply.reason
