"""Stops at the broker: in step with what is held and with the engine's stop, never a second exit, nothing left behind."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from core.events import Action, Outcome, SessionStatus, Trade
from core.types import (
    Account,
    AccountKind,
    Approved,
    Horizon,
    Order,
    OrderRequest,
    OrderState,
    OrderType,
    Purpose,
    Refused,
    SessionState,
    Side,
)
from execution_engine import protection
from execution_engine.buy_sell_logic import Size
from execution_engine.paper_broker import PaperBroker
from execution_engine.protection import Protect
from execution_engine.reconciliation import RECOVERING
from tests.harness import FUTURE, OPEN, Harness

LOT = 65
STOP = 24_800.0


def stage(**more: Any) -> Harness:
    return Harness(protect=Protect(), **more)


def stops(it: Harness, *, ever: bool = False) -> list[Order]:
    return [order for order in (it.desk.all() if ever else it.desk.live()) if order.purpose is Purpose.PROTECT]


def moves(it: Harness) -> list[tuple[int, float, float | None]]:
    """Quantity, limit and trigger of each change of a stop."""
    return [terms for terms in it.executor.terms if terms[2] is not None]


def arm(it: Harness, order: Order | None = None) -> Order:
    """The broker took the stop, and it stands behind its trigger."""
    order = order or stops(it)[-1]
    it.ack(order)
    row(it, order, OrderState.TRIGGER_PENDING)
    found = it.desk.get(order.id)
    assert found is not None
    return found


def row(it: Harness, order: Order, state: OrderState, filled: int = 0, price: float = 0.0, **more: Any) -> None:
    """A row of the stop as the broker has it now."""
    update = it.row(order, state, filled, price)
    update = msgspec.structs.replace(update, order_type=OrderType.SL, trigger_price=order.trigger_price, **more)
    it.engine.process(update)
    it.engine.settle()


def fill(it: Harness, order: Order, quantity: int, price: float = STOP) -> None:
    """The stop fires and fills so much."""
    now = it.desk.get(order.id)
    assert now is not None
    filled = now.filled + quantity
    trade = Trade(f"S{order.id}{filled}", f"B{order.id}", order.instrument, order.side, quantity, price, it.clock.now())
    state = OrderState.FILLED if filled == now.quantity else OrderState.WORKING
    row(it, now, state, filled, price, trades=(trade,))


def long(it: Harness, target: float = 1, **more: Any) -> Order:
    """Long with a stop, which stands at the broker."""
    it.want(target, **{"stop": STOP, **more})
    it.complete()
    return arm(it)


def test_a_position_gets_its_stop_at_the_broker_in_the_event_that_fills_it() -> None:
    it = stage()
    it.want(1, stop=STOP)
    assert not stops(it)
    it.complete()
    (stop,) = stops(it)
    assert (stop.side, stop.quantity, stop.order_type, stop.trigger_price) == (Side.SELL, LOT, OrderType.SL, STOP)
    assert stop.limit_price == pytest.approx(STOP * 0.99)
    assert stop.tag != it.executor.placed[0].tag
    it.pass_time(30)
    assert len(stops(it, ever=True)) == 1


def test_a_short_position_is_protected_above() -> None:
    it = stage()
    it.want(-1, stop=25_200.0)
    it.complete()
    (stop,) = stops(it)
    assert (stop.side, stop.trigger_price) == (Side.BUY, 25_200.0)
    assert stop.limit_price == pytest.approx(25_452.0)


def test_a_signal_without_a_stop_is_protected_at_the_configured_distance() -> None:
    it = stage(stop_pct=2.0)
    it.want(1)
    it.complete()
    assert stops(it)[0].trigger_price == pytest.approx(24_500.0)


def test_the_stop_grows_with_partial_fills() -> None:
    it = stage(size=Size(lots=3))
    it.want(1, stop=STOP)
    it.ack()
    it.working()
    it.fill(LOT)
    stop = arm(it)
    it.fill(LOT, order=it.desk.working("told", "IT")[0])
    assert moves(it) == []  # not at every fill: three seconds lie between two moves
    it.pass_time(4)
    assert moves(it) == [(2 * LOT, stop.limit_price, STOP)]
    row(it, msgspec.structs.replace(stop, quantity=2 * LOT), OrderState.TRIGGER_PENDING)
    it.pass_time(10)
    assert [order.quantity for order in stops(it)] == [2 * LOT]


def test_a_position_beyond_the_freeze_quantity_has_several_stops() -> None:
    it = stage(size=Size(lots=60))
    it.want(1, stop=STOP)
    for order in list(it.executor.placed):
        it.ack(order)
        it.working(order)
        it.fill(order=order)
    it.pass_time(1)
    for order in stops(it):
        arm(it, order)
    it.pass_time(5)
    for order in stops(it):  # the first stop was for the first fill alone
        now = it.desk.get(order.id)
        assert now is not None
        if now.state is not OrderState.TRIGGER_PENDING:
            arm(it, now)
    it.pass_time(5)
    assert it.held == 60 * LOT
    assert sum(order.remaining for order in stops(it)) <= it.held
    assert all(order.quantity <= (FUTURE.freeze or 0) for order in stops(it))
    assert sum(order.remaining for order in stops(it)) == it.held


def test_the_stop_follows_the_signals_stop_and_not_faster_than_every_three_seconds() -> None:
    it = stage()
    stop = long(it)
    it.pass_time(4)
    it.want(1, stop=24_850.0)
    assert [terms[2] for terms in moves(it)] == [24_850.0]
    row(it, msgspec.structs.replace(stop, trigger_price=24_850.0, limit_price=24_601.5), OrderState.TRIGGER_PENDING)
    it.want(1, stop=24_900.0)
    assert len(moves(it)) == 1
    it.pass_time(4)
    assert [terms[2] for terms in moves(it)] == [24_850.0, 24_900.0]


def test_an_exit_waits_until_the_stop_is_gone_for_certain() -> None:
    it = stage()
    stop = long(it)
    it.want(0)
    assert [order.id for order in it.executor.cancelled] == [stop.id]
    placed = [order.purpose for order in it.executor.placed]
    assert placed == [Purpose.ENTRY, Purpose.PROTECT], "no exit beside the stop"
    it.pass_time(5)
    assert len(it.executor.placed) == 2, "an asked cancellation is no evidence"
    row(it, stop, OrderState.CANCELLED)
    assert it.last.purpose is Purpose.EXIT
    assert it.last.quantity == LOT
    it.complete()
    assert (it.held, stops(it), it.engine.flat) == (0, [], True)


def test_a_smaller_target_takes_only_so_much_off_the_stop() -> None:
    it = stage(size=Size(lots=2))
    stop = long(it)
    it.want(0.5, stop=STOP)
    assert moves(it)[-1][0] == LOT
    assert it.executor.cancelled == []
    it.pass_time(1)
    row(it, msgspec.structs.replace(stop, quantity=LOT), OrderState.TRIGGER_PENDING)
    it.pass_time(2)
    assert (it.last.purpose, it.last.quantity) == (Purpose.EXIT, LOT)
    it.complete()
    it.pass_time(5)
    assert it.held == LOT
    assert [order.remaining for order in stops(it)] == [LOT]


def test_a_stop_that_fires_latches_its_key_and_leaves_nothing() -> None:
    it = stage()
    stop = long(it)
    fill(it, stop, LOT)
    assert (it.held, it.target.latched, it.target.wanted) == (0, True, 0)
    it.want(1, stop=STOP)
    it.pass_time(10)
    assert it.engine.flat, "the same target says nothing new"
    it.want(-1, stop=25_200.0)
    assert it.last.purpose is Purpose.ENTRY


def test_what_the_strategy_says_when_its_stop_fills_counts() -> None:
    class Turns(type(Harness().strategy)):  # type: ignore[misc]
        def on_fill(self, fill: Any, view: Any) -> Any:
            if fill.side is Side.SELL and view.position(self.name, FUTURE) == 0:
                yield self.signal(FUTURE, -1, stop=25_200.0)

    it = stage(made=Turns)
    stop = long(it)
    fill(it, stop, LOT)
    assert it.target.wanted == -LOT
    assert (it.last.purpose, it.last.side) == (Purpose.ENTRY, Side.SELL)


def test_the_price_at_the_stop_leaves_the_brokers_stop_to_fill_and_then_exits() -> None:
    it = stage()
    stop = long(it)
    it.tick(STOP - 5)
    assert it.target.latched
    assert it.executor.cancelled == []
    row(it, stop, OrderState.WORKING)  # fired, and rests
    it.pass_time(2)
    assert it.executor.cancelled == []
    it.pass_time(6)
    assert [order.id for order in it.executor.cancelled] == [stop.id]
    row(it, stop, OrderState.CANCELLED)
    assert it.last.purpose is Purpose.EXIT
    it.complete()
    assert it.held == 0


def test_half_a_fired_stop_is_followed_by_an_exit_of_the_rest() -> None:
    it = stage(size=Size(lots=2))
    stop = long(it)
    fill(it, stop, LOT)
    assert it.target.latched
    it.pass_time(8)
    row(it, stop, OrderState.CANCELLED, LOT, STOP)
    assert (it.last.purpose, it.last.quantity) == (Purpose.EXIT, LOT)


def test_a_refused_stop_is_paged_and_tried_again_with_a_back_off() -> None:
    it = stage()
    it.want(1, stop=STOP)
    it.complete()
    for _ in range(12):
        if stops(it):
            it.reply(Action.PLACE, Outcome.REJECT, "RMS: no", order=stops(it)[-1])
        it.pass_time(120)
        it.tick(25_000.0)
    assert len(stops(it, ever=True)) == protection.TRIES
    assert it.told("No stop at the broker") == ["page", "page"]
    it.tick(STOP - 1)
    assert (it.last.purpose, it.held) == (Purpose.EXIT, LOT), "the engine's own stop stays on guard"


def test_a_stop_that_somebody_else_cancels_is_told_and_set_again() -> None:
    it = stage()
    stop = long(it)
    row(it, stop, OrderState.CANCELLED, reason="cancelled at the terminal")
    assert it.told("No stop at the broker") == ["page"]
    it.pass_time(6)
    assert len(stops(it)) == 1


def test_what_others_close_comes_off_the_stop() -> None:
    it = stage(size=Size(lots=2))
    stop = long(it)
    foreign = msgspec.structs.replace(
        it.row(stop, OrderState.FILLED, LOT, 25_000.0), broker_order_id="F1", tag=None, quantity=LOT, product="MIS"
    )
    it.engine.process(msgspec.structs.replace(foreign, trades=(Trade("FT", "F1", FUTURE, Side.SELL, LOT, 25_000.0, it.clock.now()),)))
    it.pass_time(2)
    assert it.held == LOT
    assert moves(it)[-1][0] == LOT


def test_the_square_off_takes_the_stop_away_and_then_exits() -> None:
    it = stage()
    stop = long(it)
    it.go_to(15, 20)
    assert [order.id for order in it.executor.cancelled] == [stop.id]
    row(it, stop, OrderState.CANCELLED)
    assert it.last.purpose is Purpose.SQUARE_OFF
    it.complete()
    it.pass_time(3)
    assert it.engine.flat
    assert it.engine.square_off.rounds()[0]["flat"]


def test_a_stop_of_unknown_fate_holds_the_exit_and_a_person_is_told() -> None:
    it = stage()
    it.want(1, stop=STOP)
    it.complete()
    it.reply(Action.PLACE, Outcome.UNKNOWN, "timed out", order=stops(it)[0])
    it.want(0)
    it.pass_time(13)
    assert it.last.purpose is Purpose.PROTECT
    assert it.told("An exit waits for a stop") == ["page"]
    stop = stops(it)[0]
    row(it, stop, OrderState.TRIGGER_PENDING)
    it.pass_time(3)
    assert [order.id for order in it.executor.cancelled] == [stop.id]


def test_a_stop_that_the_broker_does_not_let_go_is_asked_for_with_a_back_off_and_a_person_is_told() -> None:
    it = stage()
    stop = long(it)
    it.want(0)
    asked = [it.clock.now()]
    it.reply(Action.CANCEL, Outcome.REJECT, "Order cannot be cancelled as it is being processed", order=stop)
    for _ in range(95):
        before = len(it.executor.cancelled)
        it.pass_time(1)
        if len(it.executor.cancelled) > before:
            asked.append(it.clock.now())
            it.reply(Action.CANCEL, Outcome.REJECT, "Order cannot be cancelled as it is being processed", order=stop)
    gaps = [(later - sooner).total_seconds() for sooner, later in pairwise(asked)]
    assert len(gaps) in range(6, 9), gaps
    assert gaps == sorted(gaps)
    assert gaps[-1] >= 30
    assert it.told("An exit waits for a stop") == ["page"]
    assert it.held == LOT
    row(it, stop, OrderState.CANCELLED)
    assert (it.last.purpose, it.last.quantity) == (Purpose.EXIT, LOT)


def test_a_stop_that_nobody_confirms_is_looked_for_every_three_seconds_and_not_more_often() -> None:
    it = stage()
    it.want(1, stop=STOP)
    it.complete()
    it.ack(stops(it)[0])  # taken, and no row of it ever comes
    before = it.executor.reads
    it.pass_time(31)
    assert 8 <= it.executor.reads - before <= 13


def test_nothing_is_said_while_a_login_is_missing() -> None:
    it = stage()
    it.want(1, stop=STOP)
    it.ack()
    it.working()
    it.engine.process(SessionStatus(it.clock.now(), "test", SessionState.LOGIN_REQUIRED))
    it.fill()
    it.pass_time(5)
    assert stops(it) == []
    it.engine.process(SessionStatus(it.clock.now(), "test", SessionState.VALID))
    it.pass_time(1)
    assert len(stops(it)) == 1


def test_a_restart_finds_its_stop_and_sets_no_other() -> None:
    it = stage()
    it.want(1, stop=STOP)
    it.complete()  # the stop's intent is on disk, its reply never comes
    again = it.restarted(protect=Protect())
    (stop,) = stops(again)
    assert stop.state is OrderState.UNKNOWN
    again.tick(25_000.0)
    again.pass_time(5)
    assert stops(again, ever=True) == [stop]
    assert again.engine.world.blinded["recovery"] == RECOVERING
    entry = next(order for order in again.desk.all() if order.purpose is Purpose.ENTRY)
    seen = msgspec.structs.replace(
        again.row(stop, OrderState.TRIGGER_PENDING, 0), order_type=OrderType.SL, trigger_price=STOP, source="book"
    )
    again.books(again.row(entry, OrderState.FILLED, LOT, 25_000.0), seen, net=LOT)
    again.pass_time(10)
    assert [order.state for order in stops(again, ever=True)] == [OrderState.TRIGGER_PENDING]


def test_a_stop_that_fired_while_the_machine_was_dead_is_our_exit() -> None:
    it = stage()
    stop = long(it)
    again = it.restarted(seconds=600, protect=Protect())
    entry = next(order for order in again.desk.all() if order.purpose is Purpose.ENTRY)
    trade = Trade("ST", f"B{stop.id}", FUTURE, Side.SELL, LOT, STOP, again.clock.now())
    again.books(again.row(entry, OrderState.FILLED, LOT, 25_000.0), again.row(stop, OrderState.FILLED, LOT, STOP), trades=(trade,), net=0)
    again.tick(24_700.0)
    again.pass_time(5)
    assert (again.held, again.target.latched, again.target.wanted) == (0, True, 0)
    assert again.executor.placed == []
    assert again.engine.flat


def test_the_gate_refuses_an_exit_beside_a_stop() -> None:
    """What would catch an engine that forgot to make way."""
    it = stage()
    stop = long(it)
    now = it.clock.now()
    exit_ = OrderRequest("told", "IT", FUTURE, Side.SELL, LOT, OrderType.LIMIT, Horizon.INTRADAY, Purpose.EXIT, 24_990.0, now)
    verdict = it.engine.gate.review(exit_, it.engine.world)
    assert isinstance(verdict, Refused)
    assert verdict.rule == "owned"
    row(it, stop, OrderState.CANCELLED)
    assert isinstance(it.engine.gate.review(exit_, it.engine.world), Approved)


def test_stops_go_when_the_engine_is_to_hold_them_again() -> None:
    it = stage()
    long(it)
    again = it.restarted()
    entry = next(order for order in again.desk.all() if order.purpose is Purpose.ENTRY)
    (stop,) = stops(again)
    seen = msgspec.structs.replace(again.row(stop, OrderState.TRIGGER_PENDING, 0), order_type=OrderType.SL, trigger_price=STOP)
    again.books(again.row(entry, OrderState.FILLED, LOT, 25_000.0), seen, net=LOT)
    again.pass_time(2)
    assert [order.id for order in again.executor.cancelled] == [stop.id]


def test_a_carried_stop_is_set_anew_the_next_morning() -> None:
    it = stage(horizon=Horizon.CARRY)
    stop = long(it)
    tomorrow = OPEN + timedelta(days=3, minutes=1)
    it.engine.close_day(OPEN.date())
    assert it.engine.flat is True  # nothing intraday
    it.clock.move_to(tomorrow)
    it.desk.open_day((), tomorrow.date())
    assert stops(it) == []
    ended = it.desk.get(stop.id)
    assert ended is None or ended.state is OrderState.EXPIRED
    it.engine.open_day(tomorrow.date(), [it.run], {"IT": FUTURE}, resumed=False)
    it.tick(25_000.0)
    it.pass_time(2)
    (fresh,) = stops(it)
    assert (fresh.trigger_price, fresh.quantity, fresh.tag != stop.tag) == (STOP, LOT, True)


def test_a_paper_account_has_stops_too() -> None:
    it = stage(make_executor=lambda clock: PaperBroker(Account("test", AccountKind.PRACTICE, "zerodha", 10_000_000.0), clock))
    it.want(1, stop=STOP)
    it.tick(25_000.0, 1)
    it.pass_time(1)
    (stop,) = stops(it)
    assert stop.state is OrderState.TRIGGER_PENDING
    it.tick(24_795.0, 1)
    it.tick(24_790.0, 1)
    assert (it.held, it.target.latched, stops(it)) == (0, True, [])
    assert {order.purpose for order in it.desk.all()} == {Purpose.ENTRY, Purpose.PROTECT}
