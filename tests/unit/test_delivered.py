"""Shares carried over a night lie in the demat account: they count as the broker's position, and are sold from it; nothing is assumed."""

from datetime import timedelta

from core.events import Books, BrokerPosition, Holding
from core.types import Horizon, Order, Purpose
from execution_engine.buy_sell_logic import Size
from execution_engine.delivered import Delivered
from tests.harness import SHARE, Harness

TWIN = type(SHARE)("BSE:RELIANCE", "BSE", "RELIANCE", SHARE.kind, "RELIANCE")


def carried(*holdings: Holding, shown: int = 0) -> Harness:
    """The second morning of ten shares, the broker asked; nothing was traded today."""
    it = Harness(instrument=SHARE, horizon=Horizon.CARRY, size=Size(quantity=10))
    it.desk._product_of = lambda request: "CNC"
    it.want(1)
    it.complete(1400.0)
    day = it.clock.now().date()
    rows = (BrokerPosition(SHARE, "CNC", shown, 1400.0),) if shown else ()
    delivered = it.engine.reconciliation.delivered
    assert delivered.to_be_asked(day, resumed=False)
    delivered.look(day, it.clock.now(), rows, holdings, resumed=False)
    assert not delivered.to_be_asked(day, resumed=False)
    it.portfolio.start_day(day)
    it.desk.open_day([])
    it.engine.reconciliation.open_day()
    return it


def read(it: Harness, shown: int = 0, times: int = 1) -> None:
    for _ in range(times):
        it.tick(1400.0, 6)
        now = it.clock.now()
        rows = tuple(it.row(order, order.state, order.filled, order.average_price) for order in it.desk.all())
        it.engine.process(Books(now, now, rows, (), (BrokerPosition(SHARE, "CNC", shown, 1400.0),) if shown else ()))
        it.engine.settle()


def exits(it: Harness) -> list[Order]:
    return [order for order in it.executor.placed if order.purpose is not Purpose.ENTRY]


def test_what_was_delivered_is_no_difference_and_is_sold() -> None:
    it = carried(Holding(SHARE, 10, 1400.0))
    read(it, times=3)
    assert not it.engine.world.frozen(SHARE)
    it.want(0)
    assert [order.quantity for order in exits(it)] == [10]
    it.complete(1401.0)
    it.tick(1400.0, 6)
    read(it, -10, times=3)  # the sale, beside the holdings
    assert (it.held, it.engine.world.frozen(SHARE)) == (0, None)


def test_a_restart_knows_it_again_and_asks_nobody() -> None:
    it = carried(Holding(SHARE, 10, 1400.0)).restarted(horizon=Horizon.CARRY)
    assert not it.engine.reconciliation.delivered.to_be_asked(it.clock.now().date(), resumed=True)
    read(it, times=3)
    assert not it.engine.world.frozen(SHARE)


def test_a_share_listed_under_the_other_exchange_is_the_same_share() -> None:
    it = carried(Holding(TWIN, 10, 1400.0))
    read(it, times=3)
    assert not it.engine.world.frozen(SHARE)


def test_what_positions_still_show_is_not_counted_twice() -> None:
    it = carried(Holding(SHARE, 10, 1400.0), shown=10)
    read(it, 10, times=3)
    assert not it.engine.world.frozen(SHARE)


def test_what_the_demat_account_lacks_stays_a_difference_and_is_not_sold() -> None:
    it = carried(Holding(SHARE, 4, 1400.0))
    read(it, times=3)
    assert it.engine.world.frozen(SHARE)
    it.want(0)
    it.pass_time(10)
    assert [order.quantity for order in exits(it)] == [4]


def test_shares_that_somebody_else_sold_are_seen() -> None:
    it = carried(Holding(SHARE, 90, 1300.0))
    read(it, -10, times=2)
    assert it.engine.world.frozen(SHARE)


def test_the_next_day_is_asked_anew() -> None:
    it = carried(Holding(SHARE, 10, 1400.0))
    tomorrow = it.clock.now().date() + timedelta(days=1)
    delivered = Delivered(it.portfolio, it.store, lambda product: Horizon.CARRY)
    delivered.open_day(tomorrow)
    assert delivered.to_be_asked(tomorrow, resumed=False)
    books = Books(it.clock.now(), it.clock.now(), positions=())
    assert delivered.beside(books) is books
