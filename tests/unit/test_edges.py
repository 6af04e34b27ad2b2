"""Small things of what guards the money, each at its edge: what the larger stories of the other files never come by."""

from datetime import date, timedelta
from typing import Any

import msgspec
import pytest

from core.events import Action, Outcome
from core.types import Horizon, Instrument, Kind, OrderState, Refused, Side
from execution_engine.order_manager import Tags
from execution_engine.order_state import legal, merge, move
from risk.breaches import ProfitLocks
from risk.gate import Gate
from risk.settings import MarginSettings, RiskSettings, StrategyLimits
from tests.builders import NIFTY, at, make_order, make_update
from tests.fakes import MemoryStore
from tests.harness import FUTURE, SHARE, Harness
from tests.unit.risk_fakes import FakeBook, entry
from utils.config_loader import load

# --- settings ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in RiskSettings.__struct_fields__ if name not in ("strategies", "margin")])
def test_the_shipped_caps_are_those_that_the_code_has_by_itself(name: str) -> None:
    assert getattr(load().risk, name) == getattr(RiskSettings(), name)


@pytest.mark.parametrize("name", MarginSettings.__struct_fields__)
def test_the_shipped_margins_are_those_that_the_code_has_by_itself(name: str) -> None:
    assert getattr(load().risk.margin, name) == getattr(MarginSettings(), name)


def test_strategies_are_limited_by_a_limit_for_all_or_by_their_own() -> None:
    assert not RiskSettings().strategies_limited
    assert RiskSettings(max_strategy_loss=1_000.0).strategies_limited
    assert RiskSettings(strategies={"told": StrategyLimits()}).strategies_limited


# --- one order --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("price", [25_010.0, 0.4])
def test_an_average_that_is_told_after_its_fill_is_taken_up(price: float) -> None:
    order = merge(make_order(state=OrderState.WORKING), make_update(1, filled=65, average_price=0.0)).order
    assert (order.filled, order.average_price) == (65, 0.0)
    order = merge(order, make_update(2, filled=65, average_price=price)).order
    assert (order.filled, order.average_price) == (65, price)
    order = merge(order, make_update(3, filled=65, average_price=price * 2)).order
    assert order.average_price == price, "what is known is not told anew"
    assert merge(make_order(state=OrderState.WORKING), make_update(1, filled=65, average_price=price)).order.average_price == price


@pytest.mark.parametrize(("terms", "changed"), [({"trigger_price": 0.4}, 0.8), ({"limit_price": 0.4}, 0.8), ({"quantity": 1}, 2)])
def test_terms_below_one_rupee_and_of_one_unit_are_terms(terms: dict[str, Any], changed: float) -> None:
    """An option of a few paise: a second row of the same moment and state that shows other terms is news."""
    [(name, value)] = terms.items()
    small: dict[str, Any] = {"trigger_price": 0.5, "limit_price": 0.5, "quantity": 3} | terms | {"exchange_at": None}
    order = make_order(state=OrderState.TRIGGER_PENDING, broker_order_id="B1", trigger_price=0.5, limit_price=0.5)
    order = merge(order, make_update(1, OrderState.TRIGGER_PENDING, **small)).order
    assert getattr(order, name) == value
    order = merge(order, make_update(2, OrderState.TRIGGER_PENDING, **(small | {name: changed}))).order
    assert getattr(order, name) == changed


def test_a_row_that_says_no_terms_leaves_ours() -> None:
    order = make_order(state=OrderState.TRIGGER_PENDING, broker_order_id="B1", trigger_price=24_990.0)
    order = merge(order, make_update(1, OrderState.WORKING, quantity=0, limit_price=0.0)).order
    assert (order.state, order.quantity, order.limit_price, order.trigger_price) == (OrderState.WORKING, 130, 25_000.0, 24_990.0)


@pytest.mark.parametrize(("quantity", "filled", "state"), [(1, 1, OrderState.FILLED), (2, 1, OrderState.WORKING)])
def test_one_unit_filled_proves_more_than_a_label_that_lags(quantity: int, filled: int, state: OrderState) -> None:
    order = make_order(state=OrderState.SENDING, quantity=quantity)
    order = merge(order, make_update(1, OrderState.PENDING_NEW, quantity=quantity, filled=filled)).order
    assert (order.state, order.filled) == (state, filled)


@pytest.mark.parametrize("said", [OrderState.PENDING_CANCEL, OrderState.WORKING])
def test_a_fresh_read_settles_a_command_by_another_state_alone(said: OrderState) -> None:
    """A cancel was asked for: a row that says so itself settles nothing, one that shows the order at work says that it was not taken."""
    order = make_order(state=OrderState.WORKING, broker_order_id="B1")
    order = merge(order, make_update(1, OrderState.WORKING)).order
    order = move(order, OrderState.PENDING_CANCEL, at(2))
    settled = merge(order, make_update(1, said, at=at(3)), fresh=True).order
    assert settled.state is said
    assert settled.previous_state is (OrderState.WORKING if said is OrderState.PENDING_CANCEL else None)


def test_an_end_follows_itself_only_with_more_filled() -> None:
    assert not legal(OrderState.CANCELLED, OrderState.CANCELLED)
    assert legal(OrderState.CANCELLED, OrderState.CANCELLED, more_filled=True)


def test_a_row_of_an_earlier_modification_does_not_settle_a_cancel() -> None:
    """The broker still shows MODIFY PENDING when it has taken our cancel: even a fresh read of that row says nothing about the cancel."""
    order = make_order(state=OrderState.WORKING, broker_order_id="B1")
    order = merge(order, make_update(1, OrderState.PENDING_MODIFY)).order
    order = move(order, OrderState.PENDING_CANCEL, at(2))
    read = merge(order, make_update(1, OrderState.PENDING_MODIFY, at=at(3)), fresh=True)
    assert (read.order.state, read.anomaly) == (OrderState.PENDING_CANCEL, "")


# --- the desk ---------------------------------------------------------------------------------------------------------------------------


def test_a_key_has_the_horizon_of_what_it_holds_and_of_what_works_in_it() -> None:
    it = Harness()
    assert it.desk.horizon("told", "IT", FUTURE) is None
    it.want(1)
    assert it.desk.horizon("told", "IT", FUTURE) is Horizon.INTRADAY, "it works"
    it.complete()
    assert not it.desk.working("told", "IT")
    assert it.desk.horizon("told", "IT", FUTURE) is Horizon.INTRADAY, "it is held"


def test_the_journal_of_a_change_names_the_quantity_only_where_it_changes() -> None:
    it = Harness()
    it.want(2)
    it.ack()
    it.working()
    order, now = it.last, it.clock.now()
    terms: dict[str, Any] = {"limit_price": 25_001.0, "trigger_price": None, "now": now, "why": "by hand"}
    assert it.desk.modify(order, quantity=order.quantity, **terms)
    it.reply(Action.MODIFY, Outcome.ACK)
    it.pass_time(1)
    it.working(limit_price=25_001.0)
    assert it.desk.modify(it.last, quantity=65, **terms)
    same, other = (entry["why"] for entry in it.journal("modify"))
    assert "units" not in same
    assert "130 -> 65 units" in other


def test_a_tag_keeps_its_shape_so_that_no_later_version_gives_one_again() -> None:
    """Four for the ledger, the days since 2020 in base 36, then the count: each process begins a block of 36^5."""
    store = MemoryStore()
    first, second = (Tags(store).next(date(2026, 11, day)) for day in (20, 21))
    assert (first[4:], second[4:]) == ("1XV000100001", "1XW000200001")
    assert first[:4] == second[:4] == store.get("tags", "ledger")


def test_calls_are_counted_from_a_moment_on() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.pass_time(30)
    since = it.clock.now()
    assert it.desk.calls_since(since) == 0
    it.want(0)
    assert it.desk.calls_since(since) == 1
    assert it.desk.calls_since(since - timedelta(seconds=60)) == 2


def test_a_trade_ahead_of_its_row_leaves_the_average_to_the_row() -> None:
    it = Harness()
    it.want(1)
    it.ack()
    it.working()
    it.books(trades=(it.trade(f"B{it.last.id}", Side.BUY, 65, 25_010.0),), net=65)
    assert (it.held, it.last.filled, it.last.average_price) == (65, 65, 0.0)
    it.engine.process(it.row(it.last, OrderState.FILLED, 65, 25_010.0))
    assert (it.held, it.last.state, it.last.average_price) == (65, OrderState.FILLED, 25_010.0)


def test_a_trade_that_prices_what_a_row_told_is_told_to_the_strategy_once() -> None:
    it = Harness()
    it.want(1)
    it.ack()
    row = it.row(it.last, OrderState.FILLED, 65, 0.0)
    it.engine.process(row)
    assert (it.held, it.last.state, it.strategy.fills) == (0, OrderState.FILLED, [])
    trade = it.trade(f"B{it.last.id}", Side.BUY, 65, 25_010.0)
    for _ in range(2):
        it.pass_time(1)
        it.books(row, trades=(trade,), net=65)
        told = len(it.journal("order"))
        assert (it.held, [fill.price for fill in it.strategy.fills]) == (65, [25_010.0])
    it.engine.process(row)
    assert len(it.journal("order")) == told, "what says nothing new is not written"


def test_a_row_ahead_of_its_trades_is_booked_at_its_average_below_one_rupee_too() -> None:
    it = Harness()
    it.want(1)
    it.ack()
    it.engine.process(it.row(it.last, OrderState.FILLED, 65, 0.4))
    assert (it.held, [fill.price for fill in it.store.fills()]) == (65, [0.4])


def test_a_read_older_than_the_answer_to_a_cancel_settles_nothing_also_after_the_day_was_opened_again() -> None:
    it = Harness()
    it.want(1)
    it.ack()
    it.working()
    it.want(0)
    it.pass_time(3)
    it.reply(Action.CANCEL, Outcome.ACK)
    it.desk.open_day(it.store.orders(it.clock.now().date()), it.clock.now().date())
    states = [it.last.state]
    for asked in (2, 0):  # seconds ago: before the answer, and after it
        it.pass_time(1)
        it.books(it.row(it.last, OrderState.WORKING, 0), asked=asked)
        states.append(it.last.state)
    assert states == [OrderState.PENDING_CANCEL, OrderState.PENDING_CANCEL, OrderState.WORKING], "the cancel was not taken"


# --- the books --------------------------------------------------------------------------------------------------------------------------


def test_reads_that_fail_are_told_when_they_turn_entries_off() -> None:
    it = Harness()
    for failed in range(1, 5):
        it.books_fail()
        assert it.told("Entries are off") == ([] if failed < 3 else ["warn"])
    it.books()
    assert it.engine.world.blind is None


def test_exits_wait_for_the_first_read_of_a_process_until_three_have_failed() -> None:
    it = Harness().restarted()
    waits = [it.engine.reconciliation.recovering]
    for _ in range(3):
        it.books_fail()
        waits.append(it.engine.reconciliation.recovering)
        assert it.engine.reconciliation.readable is waits[-1]
    assert waits == [True, True, True, False]


def test_looks_for_evidence_begin_quickly_again_once_nothing_is_unknown() -> None:
    it = Harness()
    look = it.engine.reconciliation.next_look_s
    it.want(1)
    it.reply(Action.PLACE, Outcome.UNKNOWN, "timed out")
    assert [look() for _ in range(6)] == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    it.complete()
    it.books(it.row(it.last, OrderState.FILLED, 65, 25000.0), net=65)
    assert look() is None
    it.want(0)
    it.reply(Action.PLACE, Outcome.UNKNOWN, "timed out")
    it.books(net=65)
    assert look() == 2.0


@pytest.mark.parametrize(("older_s", "state"), [(-2.0, OrderState.UNKNOWN), (5.0, OrderState.UNKNOWN), (5.5, OrderState.NOT_FOUND)])
def test_a_strangers_order_of_our_shape_speaks_against_absence_unless_it_is_older(older_s: float, state: OrderState) -> None:
    """Its tag may be ours, garbled; five seconds allow for the exchange's clock."""
    it = Harness()
    it.want(1)
    it.uncertain(it.last)
    order = it.last
    for _ in range(7):
        it.pass_time(30)
        row = msgspec.structs.replace(it.row(order, OrderState.WORKING, 0), tag="SOMEBODYELSE0001", broker_order_id="X1")
        it.absent(order)
        it.books(msgspec.structs.replace(row, exchange_at=order.created_at - timedelta(seconds=older_s)))
    assert it.last.state is state
    assert it.told("Order never reached the broker") == (["warn"] if state is OrderState.NOT_FOUND else [])


def test_positions_are_not_compared_while_an_order_is_on_its_way() -> None:
    it = Harness()
    it.books()
    it.want(1)
    assert it.last.state is OrderState.SENDING
    for _ in range(3):
        it.pass_time(5)
        it.books(net=65)  # it filled there, and nobody has told us yet
    assert it.journal("difference") == []
    it.complete()
    row = it.row(it.last, OrderState.FILLED, 65, 25_000.0)
    for _ in range(3):
        it.pass_time(5)
        it.books(row, net=0)
    assert len(it.journal("difference")) == 1, "at rest it is compared"


def test_what_a_strategy_holds_is_borne_out_by_two_reads_of_positions_that_are_young() -> None:
    it = Harness()
    it.books()
    it.want(1)
    it.complete()
    seen = it.engine.reconciliation.seen_twice
    for net, shown in ((65, 0), (65, 65), (130, 65), (30, 30), (-65, 0)):
        it.pass_time(2)
        it.books(it.row(it.last, OrderState.FILLED, 65, 25_000.0), net=net)
        assert seen("told", FUTURE, it.clock.now()) == shown
    assert seen("told", FUTURE, it.clock.now() + timedelta(seconds=30)) is None
    assert seen("another", FUTURE, it.clock.now()) == 0
    it.pass_time(9)
    it.books(it.row(it.last, OrderState.FILLED, 65, 25_000.0), net=65)
    assert seen("told", FUTURE, it.clock.now() + timedelta(seconds=2)) is None, "the older of both counts"
    fresh = Harness()
    fresh.books()
    assert fresh.engine.reconciliation.seen_twice("told", FUTURE, fresh.clock.now()) is None, "one read is not two"


def test_what_a_strategy_is_short_of_is_borne_out_too() -> None:
    it = Harness()
    it.books()
    it.want(-1)
    it.complete()
    for net in (-65, -30):
        it.pass_time(1)
        it.books(it.row(it.last, OrderState.FILLED, 65, 25_000.0), net=net)
    assert it.engine.reconciliation.seen_twice("told", FUTURE, it.clock.now()) == 30


def test_a_trade_of_somebody_else_is_booked_once() -> None:
    it = Harness()
    it.books()
    row = msgspec.structs.replace(
        it.row(make_order(instrument=FUTURE, quantity=65), OrderState.FILLED, 65, 25_000.0), tag=None, broker_order_id="X1", product="MIS"
    )
    trade = it.trade("X1", Side.BUY, 65, 25_000.0)
    for _ in range(3):
        it.pass_time(1)
        it.books(row, trades=(trade,), net=65)
    assert len(it.journal("foreign_fill")) == 1
    assert it.portfolio.net(FUTURE, "MIS") == 65
    assert [fill.id for fill in it.store.fills()] == [trade.id]


def test_an_order_of_somebody_else_is_noted_once() -> None:
    it = Harness()
    it.want(1)
    it.ack()
    row = msgspec.structs.replace(it.row(it.last, OrderState.WORKING, 0), tag="SOMEBODYELSE0001", broker_order_id="X1")
    for _ in range(3):
        it.pass_time(1)
        it.books(row)
    assert len(it.journal("foreign_order")) == 1


# --- the square-off ---------------------------------------------------------------------------------------------------------------------


def test_instruments_of_one_start_are_squared_off_by_one_round() -> None:
    other = Instrument("NFO:BANKNIFTY26NOVFUT", "NFO", "BANKNIFTY26NOVFUT", Kind.FUTURE, "BANKNIFTY", 30, 0.2, FUTURE.expiry)
    it = Harness()
    it.engine.square_off.arm(it.clock.now().date(), {FUTURE, other, SHARE})
    it.go_to(15, 20)
    it.pass_time(1)
    by_start = {entry["scheduled"][11:16]: set(entry["instruments"]) for entry in it.journal("square_off_started")}
    assert by_start["15:20"] == {FUTURE.key, other.key}


def test_what_joins_a_round_later_is_closed_by_it() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.engine.square_off.arm(it.clock.now().date(), {FUTURE})
    it.go_to(15, 20)
    it.pass_time(2)
    assert [order.side for order in it.executor.placed] == [Side.BUY, Side.SELL]


def test_a_carried_key_keeps_its_order_when_the_day_is_squared_off() -> None:
    it = Harness(horizon=Horizon.CARRY)
    it.go_to(15, 19, 59)
    it.engine.square_off.arm(it.clock.now().date(), {FUTURE})
    it.want(1)
    it.ack()
    it.working()
    it.pass_time(2)
    assert it.last.state is OrderState.WORKING
    assert len(it.journal("square_off_started")) == 1
    assert it.journal("cancel") == []


def test_a_round_that_is_given_up_before_it_began_leaves_the_ledger() -> None:
    it = Harness()
    square_off, today = it.engine.square_off, it.clock.now().date()
    square_off.arm(today, {FUTURE, SHARE})
    assert len(it.store.items("square_off")) == 2
    square_off.arm(today, {FUTURE})
    assert [kept["instruments"] for kept in it.store.items("square_off").values()] == [[FUTURE.key]]


def test_a_round_that_has_begun_is_not_begun_again_by_the_next_process() -> None:
    it = Harness()
    it.engine.square_off.arm(it.clock.now().date(), {FUTURE})
    it.want(1)
    it.complete()
    it.go_to(15, 20)
    it.pass_time(1)
    [begun] = it.engine.square_off.rounds()
    assert begun["started"]
    assert begun["flat"] is None
    later = it.restarted()
    later.engine.square_off.arm(later.clock.now().date(), {FUTURE})
    later.books(net=65)
    later.tick(25_000.0, 3)
    assert [one["started"] for one in later.engine.square_off.rounds()] == [begun["started"]]
    assert len(later.journal("square_off_started")) == 1


# --- the gate ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantity", "shown"), [(10**18, "1000000000000000000"), (10**18 + 1, "beyond reason"), (-(10**30), "beyond reason")]
)
def test_a_quantity_too_long_to_print_is_named_and_refused(quantity: int, shown: str) -> None:
    refused = Gate(RiskSettings()).review(entry(quantity=quantity), FakeBook())
    assert isinstance(refused, Refused)
    assert (refused.rule, f"quantity {shown} is not" in refused.reason) == ("well_formed", True)


def test_a_pause_after_a_trade_holds_a_new_trade_alone() -> None:
    pausing = RiskSettings(strategies={"trend": StrategyLimits(cooldown_minutes=10.0, cooldown_after="exit")})
    ended = FakeBook().now - timedelta(minutes=1)
    refused = Gate(pausing).review(entry(), FakeBook(ended=ended))
    assert isinstance(refused, Refused)
    assert refused.rule == "cooldown"
    running = FakeBook(ended=ended, positions={("trend", NIFTY.key): 65})
    assert not isinstance(Gate(pausing).review(entry(), running), Refused), "more of a trade that runs"
    assert not isinstance(Gate(RiskSettings()).review(entry(), FakeBook(ended=ended)), Refused), "nobody asked for a pause"


def test_the_best_of_the_day_is_to_be_stored_as_soon_as_it_is_to_be_defended() -> None:
    locks = ProfitLocks(RiskSettings(strategies={"trend": StrategyLimits(lock_at=100.0, lock_keep=50.0)}))
    assert locks.watch(FakeBook(pnls={"trend": 99.0}), ["trend"]) == []
    assert not locks.changed
    assert locks.watch(FakeBook(pnls={"trend": 120.0}), ["trend"]) == []
    assert locks.changed
    assert "120.0" in str(locks.state())
    locks.changed = False  # it was stored
    [breach] = locks.watch(FakeBook(pnls={"trend": 60.0}), ["trend"])
    assert (breach.rule, locks.changed) == ("profit_lock", True)


def test_a_row_one_tick_away_is_not_the_order_that_is_looked_for() -> None:
    it = Harness()
    it.engine.world.tags_echoed = False
    it.want(1)
    it.uncertain(it.last)
    it.pass_time(1)
    row = it.row(it.last, OrderState.WORKING, 0)
    it.books(msgspec.structs.replace(row, tag=None, broker_order_id="X1", limit_price=row.limit_price + 0.1, exchange_at=None))
    assert it.last.state is OrderState.UNKNOWN
    assert len(it.journal("foreign_order")) == 1
