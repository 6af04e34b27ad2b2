"""Positions compared by product: what differs stays frozen, no exit opens another product, nothing is adopted twice."""

from datetime import timedelta

from core.events import Books, BrokerPosition, OrderUpdate, Trade
from core.types import Horizon, Order, OrderState, Purpose
from execution_engine.portfolio import EXTERNAL
from tests.harness import FUTURE, Harness

LOT = 65


def read(it: Harness, *rows: OrderUpdate, held: dict[str, int], trades: tuple[Trade, ...] = (), after: float = 6.0) -> None:
    """One complete read, `after` seconds from now, that shows these rows and units by product."""
    it.tick(25_000.0, after)
    now = it.clock.now()
    positions = tuple(BrokerPosition(FUTURE, product, quantity, 25_000.0) for product, quantity in held.items())
    it.engine.process(Books(now, now, rows, trades, positions))
    it.engine.settle()


def bought(it: Harness) -> OrderUpdate:
    """One lot is held; the row of its order."""
    it.want(1)
    it.complete()
    return it.row(it.last, OrderState.FILLED, LOT, 25_000.0)


def exits(it: Harness) -> list[Order]:
    return [order for order in it.executor.placed if order.purpose is not Purpose.ENTRY]


def test_what_differs_stays_frozen_while_another_product_of_it_agrees() -> None:
    it = Harness()
    read(it, held={"NRML": 130})
    row = bought(it)
    for _ in range(4):
        read(it, row, held={"MIS": 0, "NRML": 130})
    assert it.engine.world.frozen(FUTURE)
    read(it, row, held={"MIS": LOT, "NRML": 130})
    assert not it.engine.world.frozen(FUTURE)


def test_a_position_that_somebody_converted_is_not_sold_in_the_product_that_lacks_it() -> None:
    it = Harness()
    row = bought(it)
    for _ in range(3):
        read(it, row, held={"MIS": 0, "NRML": LOT})
    it.want(0)
    it.pass_time(20)
    assert exits(it) == [], "it would have gone short in MIS"
    read(it, row, held={"MIS": LOT, "NRML": 0})
    it.pass_time(5)
    assert [order.quantity for order in exits(it)] == [LOT], "it was converted back"


def resting() -> tuple[Harness, Order]:
    """`kill -9` while an entry rests at the exchange, and the next process."""
    it = Harness()
    it.want(1)
    it.ack()
    it.working()
    it = it.restarted()
    [order] = it.desk.live()
    return it, order


def test_a_fill_between_the_first_reads_orders_and_its_positions_is_ours_alone() -> None:
    it, order = resting()
    read(it, it.row(order, OrderState.WORKING, 0), held={"MIS": LOT})
    assert not it.portfolio.net(FUTURE, "MIS")
    read(it, it.row(order, OrderState.FILLED, LOT, 25_000.0), held={"MIS": LOT})
    assert (it.held, it.portfolio.net(FUTURE, "MIS")) == (LOT, LOT)
    for _ in range(3):
        read(it, it.row(order, OrderState.FILLED, LOT, 25_000.0), held={"MIS": LOT})
    assert not it.engine.world.frozen(FUTURE)


def test_an_order_of_unknown_fate_whose_row_lags_behind_its_position_is_not_taken_for_somebody_elses() -> None:
    it = Harness()
    it.want(1)
    it = it.restarted()
    [order] = it.desk.unknown()
    for _ in range(2):
        read(it, held={"MIS": LOT})
    read(it, it.row(order, OrderState.FILLED, LOT, 25_000.0), held={"MIS": LOT})
    assert (it.held, it.portfolio.position(EXTERNAL, FUTURE)) == (LOT, 0)


def test_what_was_held_before_beside_a_resting_order_is_somebody_elses_once_its_row_has_had_time() -> None:
    it, order = resting()
    for _ in range(2):
        read(it, it.row(order, OrderState.WORKING, 0), held={"MIS": -130})
    assert it.portfolio.position(EXTERNAL, FUTURE) == -130
    read(it, it.row(order, OrderState.FILLED, LOT, 25_000.0), held={"MIS": -LOT})
    assert it.portfolio.net(FUTURE, "MIS") == -LOT
    assert not it.engine.world.frozen(FUTURE)


def lapsed() -> Harness:
    """A carried entry of yesterday's that nobody heard the end of, and today."""
    it = Harness(horizon=Horizon.CARRY)
    it.want(1)
    it.desk.open_day([], it.clock.now().date() + timedelta(days=1))
    it.engine.reconciliation.open_day()
    return it


def test_a_position_beside_an_order_of_an_earlier_day_whose_end_nobody_saw_is_told_to_a_person() -> None:
    it = lapsed()
    [order] = it.store.orders()
    assert order.state is OrderState.EXPIRED
    read(it, held={"MIS": LOT})
    assert it.portfolio.position(EXTERNAL, FUTURE) == LOT, "no fill is invented"
    assert it.told("Position of an unfinished order") == ["page"]
    [text] = [text for _, title, text in it.alerts if title == "Position of an unfinished order"]
    assert order.tag in text


def test_an_order_of_an_earlier_day_that_left_no_position_is_not_told() -> None:
    it = lapsed()
    read(it, held={})
    assert it.told("Position of an unfinished order") == []
