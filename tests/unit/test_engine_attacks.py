"""The nastiest orderings of evidence we could think of: late acks, fills after the end, lost cancels, foreign hands, two strategies."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from core.events import Action, Books, Command, FeedStatus, OrderUpdate, Outcome, Trade
from core.types import Horizon, Instrument, OrderState, Position, Purpose, Side, Signal, TradingState, View
from execution_engine.buy_sell_logic import Size
from execution_engine.runs import Run
from risk.settings import RiskSettings
from strategies.base import StrategySpec
from tests.harness import FUTURE, WIDE, Harness, Told


class Scalper(Told):
    """It wants to be flat as soon as anything was filled."""

    def on_fill(self, fill: Any, view: View) -> Iterator[Signal]:  # type: ignore[override]
        yield self.signal(fill.instrument, 0)


def trade_of(it: Harness, number: str, broker_order_id: str, side: Side, quantity: int = 65, instrument: Instrument = FUTURE) -> Trade:
    return Trade(number, broker_order_id, instrument, side, quantity, 25000.0, it.clock.now())


def foreign(it: Harness, side: Side, quantity: int = 65, number: str = "F1") -> OrderUpdate:
    """Somebody else's order in our instrument, filled, as the order socket tells it."""
    now = it.clock.now()
    trade = trade_of(it, number, f"FOREIGN{number}", side, quantity)
    return OrderUpdate(
        now, "socket", f"FOREIGN{number}", it.instrument, side, quantity, OrderState.FILLED, quantity, 25000.0, product="MIS",
        exchange_at=now, trades=(trade,),
    )  # fmt: skip


# --- evidence that comes late, or in the wrong order ------------------------------------------------------------------------------------


def test_an_entry_no_longer_wanted_when_its_late_ack_comes_is_cancelled_at_once() -> None:
    it = Harness()
    it.want(1)
    it.want(0)
    assert not it.executor.cancelled  # nothing is known of it yet: there is nothing to cancel
    it.ack()
    assert [order.id for order in it.executor.cancelled] == [it.last.id]
    it.end(OrderState.CANCELLED)
    it.tick(25000.0, 60)
    assert (it.held, len(it.executor.placed)) == (0, 1)


def test_an_unknown_entry_that_turns_up_after_the_kill_is_cancelled_at_once() -> None:
    it = Harness()
    it.want(1)
    it.reply(Action.PLACE, Outcome.UNKNOWN, "read timed out", error="Unknown")
    it.engine.process(Command(it.clock.now(), "1", "kill", {}))
    it.working()
    assert [order.id for order in it.executor.cancelled] == [it.last.id]


def test_a_refused_cancel_is_asked_again_while_the_order_is_not_wanted() -> None:
    it = Harness()
    it.want(1)
    it.ack()
    it.working()
    it.want(0)
    it.reply(Action.CANCEL, Outcome.REJECT, "Too many requests", error="RateLimited")
    it.tick(25000.0, 2.5)
    assert len(it.executor.cancelled) == 2
    assert not it.executor.modified  # an order on its way out is never made more attractive


def test_a_command_that_the_broker_refuses_asks_for_the_order_at_once_and_then_by_the_clock() -> None:
    it = Harness()
    it.want(1)
    it.ack()
    it.working()
    it.want(0)
    asked = it.executor.reads
    it.reply(Action.CANCEL, Outcome.REJECT, "it is being processed", error="Rejected")
    assert it.executor.reads == asked + 1, "it may have filled, and its update be lost"
    for _ in range(5):
        it.tick(25_000.0, 2)
        it.reply(Action.CANCEL, Outcome.REJECT, "it is being processed", error="Rejected")
    assert it.executor.reads <= asked + 2, "no storm"


def test_a_command_refused_for_rate_asks_for_nothing_more() -> None:
    it = Harness()
    it.want(1)
    it.ack()
    it.working()
    it.want(0)
    asked = it.executor.reads
    it.reply(Action.CANCEL, Outcome.REJECT, "too many requests", error="RateLimited")
    assert it.executor.reads == asked


def test_an_exit_wanted_while_the_ladder_cancels_the_rest_of_the_entry_is_sent() -> None:
    it = Harness(size=Size(lots=2))
    it.want(1)
    it.ack()
    it.working()
    it.fill(65)
    it.engine.desk.cancel(it.last, it.clock.now(), "the ladder is at its end")
    it.want(0)
    it.end(OrderState.CANCELLED)
    assert (it.last.purpose, it.last.side, it.last.quantity) == (Purpose.EXIT, Side.SELL, 65)


def test_an_exit_waiting_for_a_cancel_is_sent_after_a_restart_too() -> None:
    it = Harness(size=Size(lots=2))
    it.want(1)
    it.ack()
    it.working()
    it.fill(65)
    it.want(0)
    entry = it.last
    again = it.restarted()
    again.tick(25000.0, 1)
    again.books(it.row(entry, OrderState.CANCELLED, 65, 25000.0), net=65)
    again.tick(25000.0, 3)
    (exit_,) = again.executor.placed
    assert (exit_.purpose, exit_.side, exit_.quantity) == (Purpose.EXIT, Side.SELL, 65)


def test_an_exit_that_rested_when_the_process_died_climbs_on_after_the_restart() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.want(0)
    it.ack()
    it.working()
    resting = it.row(it.last, OrderState.WORKING, 0)
    again = it.restarted()
    again.tick(24900.0, 1)
    again.books(resting, net=65)
    again.tick(24900.0, 6)
    [(exit_, price)] = again.executor.modified
    assert exit_.purpose is Purpose.EXIT
    assert price < resting.limit_price


def test_a_day_is_opened_and_closed_in_one_transaction_with_the_note_of_it() -> None:
    it = Harness()
    today = it.clock.now().date()
    left = it.store.crashed()
    assert (left.get("engine", "day"), len(left.read_journal(kind="day_opened"))) == (today.isoformat(), 1)
    it.engine.close_day(today)
    left = it.store.crashed()
    assert (left.get("engine", "closed_day"), len(left.read_journal(kind="day_closed"))) == (today.isoformat(), 1)


def test_a_fill_after_the_cancel_of_a_killed_entry_is_closed_at_once() -> None:
    it = Harness()
    it.want(1)
    it.ack()
    it.working()
    it.engine.process(Command(it.clock.now(), "1", "kill", {}))
    it.end(OrderState.CANCELLED)
    entry = it.last
    it.engine.process(it.row(entry, OrderState.FILLED, 65, 25001.0))
    assert it.told("Impossible order update") == ["page"]
    assert (it.last.side, it.last.quantity, it.last.purpose) == (Side.SELL, 65, Purpose.SQUARE_OFF)
    assert it.engine.world.frozen(it.instrument)


def test_a_fill_after_the_end_of_a_latched_entry_belongs_to_its_target_with_its_stop() -> None:
    it = Harness(size=Size(lots=2))
    it.want(1, stop=24900.0)
    it.ack()
    it.working()
    it.fill(65)
    it.end(OrderState.CANCELLED, "at the cap")
    it.engine.process(it.row(it.last, OrderState.CANCELLED, 130, 25001.0))
    assert it.held == 130
    assert (it.target.wanted, it.target.latched) == (130, True)
    it.tick(24890.0, 1)
    assert (it.last.side, it.last.quantity) == (Side.SELL, 130)


def test_an_entry_given_up_as_not_found_that_turns_up_alive_is_cancelled() -> None:
    it = Harness()
    it.want(1)
    it.reply(Action.PLACE, Outcome.UNKNOWN, "reset", error="Unknown")
    for _ in range(6):
        it.pass_time(30)
        it.books()
    it.absent()
    it.books()
    assert it.last.state is OrderState.NOT_FOUND
    it.tick(25000.0)
    it.working()
    assert [order.id for order in it.executor.cancelled] == [it.last.id]


def test_an_order_that_waits_in_the_queue_is_never_proven_absent() -> None:
    """Nobody answered yet: it may leave a second from now. Only an order whose call came back can be absent."""
    it = Harness()
    it.want(1)
    for _ in range(10):
        it.pass_time(30)
        it.books()
    assert it.last.state is OrderState.SENDING
    it.complete()
    assert it.held == 65


def test_a_trade_book_that_is_newer_than_the_order_book_beside_it_is_no_foreign_trade() -> None:
    """The order left between the two reads: its trade is there, its row is not yet, and the reply has not come."""
    it = Harness()
    it.want(1)
    it.complete()
    it.want(0)
    exit_ = it.last
    it.books(trades=(trade_of(it, "X7", f"B{exit_.id}", Side.SELL),), net=65)
    assert not it.told("Closed from outside")
    assert it.portfolio.net(it.instrument, "") == 0
    it.ack(exit_)
    it.engine.process(it.row(exit_, OrderState.FILLED, 65, 25000.0))
    it.tick(25000.0, 5)
    assert it.held == 0
    assert len(it.executor.placed) == 2


def test_foreign_trades_with_one_number_on_both_sides_both_count() -> None:
    it = Harness()
    it.engine.process(foreign(it, Side.BUY, number="7"))
    it.engine.process(foreign(it, Side.SELL, number="7"))
    assert it.portfolio.net(it.instrument, "MIS") == 0
    assert it.held == 0


def test_a_refused_modification_goes_on_from_the_price_that_rests() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.want(0)
    it.ack()
    it.working()
    for tries in range(1, 4):
        it.tick(25000.0, 6.5)
        assert len(it.executor.modified) >= tries
        it.reply(Action.MODIFY, Outcome.REJECT, "16388 : circuit", error="Rejected")
        assert it.last.state is OrderState.WORKING
    assert len(it.executor.placed) == 2


# --- other hands ---------------------------------------------------------------------------------------------------------------------


def test_a_working_exit_is_cancelled_when_somebody_else_closed_the_position() -> None:
    """The broker's own square-off and ours at the same time: the second one would open the other side."""
    it = Harness()
    it.want(1)
    it.complete()
    it.want(0)
    it.ack()
    it.working()
    it.engine.process(foreign(it, Side.SELL))
    assert it.held == 0
    assert [order.id for order in it.executor.cancelled] == [it.last.id]


def test_what_others_hold_is_never_traded_and_never_makes_an_exit_larger() -> None:
    it = Harness()
    it.engine.process(foreign(it, Side.BUY, 650))
    it.want(1)
    it.complete()
    it.go_to(15, 20)
    assert it.last.quantity == 65
    it.complete()
    it.pass_time(30)
    assert it.portfolio.net(it.instrument, "MIS") == 650
    assert len(it.executor.placed) == 2


def test_an_external_position_that_is_gone_next_morning_freezes_nothing() -> None:
    it = Harness()
    it.engine.process(foreign(it, Side.BUY, 65))
    it.books(net=65)
    for _ in range(3):
        it.pass_time(10)
        it.books(net=65)
    it.engine.close_day(it.clock.now().date())
    it.clock.move_to(it.clock.now().replace(day=23, hour=9, minute=20))
    it.portfolio.start_day(it.clock.now().date())
    it.engine.desk.open_day(())
    it.engine.open_day(it.clock.now().date(), [it.run], {"IT": it.instrument}, resumed=False)
    for _ in range(4):
        it.pass_time(10)
        it.books(net=0)  # delivered: it is a holding now
    assert it.engine.world.frozen(it.instrument) is None
    assert it.portfolio.net(it.instrument, "MIS") == 0


def test_an_exit_held_back_by_lagging_books_goes_when_they_agree() -> None:
    it = Harness()
    it.want(1, stop=24950.0)
    it.complete()
    rows = (it.row(it.last, OrderState.FILLED, 65, 25000.0),)
    it.pass_time(5)
    it.books(*rows, net=65)
    for _ in range(2):
        it.pass_time(5)
        it.books(*rows, net=0)  # the position book lags, or is empty
    it.tick(24940.0, 1)
    assert len(it.executor.placed) == 1  # min(ours, the broker's)
    it.pass_time(5)
    it.books(*rows, net=65)
    it.tick(24940.0, 1.5)
    assert (it.last.side, it.last.quantity) == (Side.SELL, 65)


# --- what outlives a strategy's opinion ------------------------------------------------------------------------------------------------


def test_a_strategy_cannot_talk_a_kill_out_of_its_exit() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.engine.process(Command(it.clock.now(), "1", "kill", {}))
    it.ack()
    it.working()
    it.want(2)
    assert not it.executor.cancelled
    it.fill()
    it.tick(25000.0, 30)
    assert it.held == 0
    assert len(it.executor.placed) == 2  # HALTED: the new target is refused


def test_a_new_target_after_a_stop_waits_for_the_stops_exit() -> None:
    it = Harness()
    it.want(1, stop=24950.0)
    it.complete()
    it.tick(24940.0, 1)
    it.ack()
    it.working()
    it.want(2)
    assert not it.executor.cancelled
    it.fill(price=24940.0)
    assert (it.last.side, it.last.quantity, it.last.purpose) == (Side.BUY, 130, Purpose.ENTRY)


def test_a_kill_before_the_first_price_is_carried_out_with_the_first_price() -> None:
    it = Harness(horizon=Horizon.CARRY)
    it.want(1)
    it.complete()
    again = it.restarted(horizon=Horizon.CARRY)
    again.books(net=65)
    again.engine.process(Command(again.clock.now(), "1", "kill", {}))
    assert not again.executor.placed
    again.tick(25000.0, 3)
    again.tick(25000.0, 1.5)
    assert (again.last.side, again.last.quantity) == (Side.SELL, 65)


def test_an_exit_being_retried_is_retried_after_a_restart_too() -> None:
    it = Harness(horizon=Horizon.CARRY)
    it.want(1, stop=24950.0)
    it.complete()
    it.tick(24940.0, 1)
    it.ack()
    it.end(OrderState.REJECTED, "16388 : circuit")
    again = it.restarted(horizon=Horizon.CARRY)
    again.books(net=65)
    again.tick(24940.0, 3)
    again.tick(24940.0, 1.5)
    assert (again.last.side, again.last.quantity, again.last.purpose) == (Side.SELL, 65, Purpose.EXIT)


def test_a_restart_does_not_exit_what_somebody_closed_meanwhile() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    bought = it.row(it.last, OrderState.FILLED, 65, 25000.0)
    it.clock.move_to(it.clock.now().replace(hour=15, minute=21))
    again = it.restarted()
    again.tick(25000.0, 1)
    assert not again.executor.placed  # the square-off is late, but what is true has not been read yet
    closed = foreign(again, Side.SELL)
    again.books(bought, msgspec.structs.replace(closed, trades=()), trades=closed.trades, net=0)
    again.tick(25000.0, 10)
    assert again.held == 0
    assert not again.executor.placed


def test_a_restart_whose_books_stay_unreadable_exits_by_the_ledger() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.clock.move_to(it.clock.now().replace(hour=15, minute=21))
    again = it.restarted()
    for _ in range(3):
        now = again.clock.now()
        again.engine.process(Books(now, now, error="Transient", reason="502"))
    again.tick(25000.0, 5)
    again.tick(25000.0, 2.5)
    assert (again.last.side, again.last.quantity) == (Side.SELL, 65)


def test_what_a_strategy_wants_on_a_fill_is_not_overwritten_by_the_end_of_that_order() -> None:
    it = Harness(size=Size(lots=2), made=Scalper)
    it.want(1)
    it.ack()
    it.working()
    order = it.last
    trade = trade_of(it, "X1", f"B{order.id}", Side.BUY)
    it.engine.process(msgspec.structs.replace(it.row(order, OrderState.CANCELLED, 65, 25000.0), trades=(trade,)))
    assert it.target.raw == 0
    assert (it.last.side, it.last.quantity, it.last.purpose) == (Side.SELL, 65, Purpose.EXIT)


# --- the square-off tells the truth -----------------------------------------------------------------------------------------------------


def test_an_entry_of_unknown_fate_at_the_square_off_is_paged() -> None:
    it = Harness()
    it.clock.move_to(it.clock.now().replace(hour=15, minute=4, second=50))
    it.tick(25000.0)
    it.want(1)
    it.reply(Action.PLACE, Outcome.UNKNOWN, "read timed out", error="Unknown")
    it.go_to(15, 20)
    it.go_to(15, 24, 2)
    assert it.told("Not flat") == ["page"]
    assert not it.journal("square_off_flat")


def test_an_exit_of_unknown_fate_at_the_square_off_is_held_and_paged_until_a_person_has_looked() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    bought = it.row(it.last, OrderState.FILLED, 65, 25000.0)
    it.go_to(15, 20)
    it.reply(Action.PLACE, Outcome.UNKNOWN, "read timed out", error="Unknown")
    for _ in range(6):
        it.tick(25000.0, 30)
        it.books(bought, net=65)
    assert len(it.executor.placed) == 2  # six reads over two minutes: books that stand still would look like that too
    assert it.told("Look for an order") == ["page"]
    assert it.absent()
    it.books(bought, net=65)
    assert it.desk.all()[1].state is OrderState.NOT_FOUND
    it.tick(25000.0, 5)
    assert len(it.executor.placed) == 3  # a new exit, a new tag
    it.go_to(15, 24, 2)
    assert it.told("Not flat") == ["page"]


def test_a_fill_of_unknown_price_is_not_flat() -> None:
    it = Harness()
    it.clock.move_to(it.clock.now().replace(hour=15, minute=4, second=50))
    it.tick(25000.0)
    it.want(1)
    it.ack()
    it.engine.process(it.row(it.last, OrderState.FILLED, 65, 0.0))
    it.go_to(15, 20)
    it.pass_time(3)
    assert not it.journal("square_off_flat")
    assert not it.engine.flat


def test_a_working_order_of_a_strategy_that_is_gone_is_cancelled_by_the_square_off() -> None:
    it = Harness()
    it.clock.move_to(it.clock.now().replace(hour=15, minute=4, second=50))
    it.tick(25000.0)
    it.want(1)
    it.ack()
    it.working()
    again = it.restarted()
    again.engine.open_day(again.clock.now().date(), [], {}, resumed=True)
    again.books(it.row(it.last, OrderState.WORKING, 0))
    again.go_to(15, 20)
    assert [order.id for order in again.executor.cancelled] == [it.last.id]


def test_the_cut_off_reject_asks_for_the_books_before_the_next_try() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.go_to(15, 20)
    it.ack()
    reads = it.executor.reads
    it.end(OrderState.REJECTED, "MIS orders are blocked now")
    assert it.executor.reads > reads
    it.engine.process(foreign(it, Side.SELL))  # the broker's own square-off
    it.tick(25000.0, 30)
    assert len(it.executor.placed) == 2
    assert it.held == 0


# --- no entry while ... ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["mute feed", "dropped feed", "late books", "clock went back"])
def test_no_entry_while_the_world_is_not_known(case: str) -> None:
    it = Harness()
    if case == "mute feed":
        it.pass_time(6)
    elif case == "dropped feed":
        it.engine.process(FeedStatus(it.clock.now(), connected=False, reason="reset"))
    elif case == "late books":
        it.want(1)
        it.ack()
        it.tick(25000.0, 6)
        it.books(net=None)
        it.end(OrderState.CANCELLED)
        assert it.engine.world.blind
    else:
        it.engine.world.see(msgspec.structs.replace(it.engine.world.ticks[it.instrument.key], at=it.clock.now().replace(hour=12)))
    placed = len(it.executor.placed)
    it.say(3)
    assert len(it.executor.placed) == placed
    assert it.target.pending


def test_a_full_disk_does_not_make_an_unread_ledger_of_the_broker_trusted() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    again = it.restarted()
    again.store.fail_commits = 1
    again.tick(25000.0, 1)
    again.tick(25000.0, 1)
    assert again.engine.world.blind  # the disk is back, the books have still not been read
    again.books(net=65)
    assert again.engine.world.blind is None


def test_kill_survives_a_restart_and_goes_on_flattening() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.engine.process(Command(it.clock.now(), "1", "kill", {}))
    it.reply(Action.PLACE, Outcome.REJECT, "502", error="RateLimited")
    again = it.restarted()
    assert again.engine.world.state is TradingState.HALTED
    again.books(net=65)
    again.tick(25000.0, 3)
    again.tick(25000.0, 1.5)
    assert (again.last.side, again.last.quantity) == (Side.SELL, 65)


# --- two strategies on one instrument ---------------------------------------------------------------------------------------------------


def two() -> tuple[Harness, Told]:
    """A second strategy, `other`, beside `told` on the same contract."""
    it = Harness()
    other = Told(StrategySpec("other", Told.params_type(), ("IT",), 5, Horizon.INTRADAY), "IT")
    other.start()
    run = Run(other, Size(lots=1), {"IT": it.instrument})
    it.engine.open_day(it.clock.now().date(), [it.run, run], {"IT": it.instrument}, resumed=False)
    it.tick(25000.0)
    return it, other


def say(it: Harness, strategy: Told, target: float) -> None:
    strategy.at = it.clock.now()
    run = next(run for run in it.engine.runs if run.strategy is strategy)
    it.engine.take_signal(run, strategy.signal(it.instrument, target))
    it.engine.settle()


def test_an_exit_never_meets_an_entry_of_another_strategy() -> None:
    it, other = two()
    it.say(1)
    it.complete()
    it.tick(25000.0, 5)
    say(it, other, 1)
    entry = it.last
    it.ack()
    it.working()
    it.say(0)
    assert len(it.executor.placed) == 2  # the exit waits ...
    assert [order.id for order in it.executor.cancelled] == [entry.id]  # ... for this
    it.end(OrderState.CANCELLED, order=entry)
    it.tick(25000.0, 2.5)
    exit_ = it.last
    assert (exit_.strategy, exit_.side, exit_.purpose) == ("told", Side.SELL, Purpose.EXIT)
    it.complete()
    assert it.held == 0


def test_opposite_positions_are_squared_off_one_after_the_other_and_each_for_its_own() -> None:
    it, other = two()
    it.say(1)
    it.complete()
    it.tick(25000.0, 5)
    say(it, other, -1)
    it.complete()
    assert it.portfolio.net(it.instrument, "MIS") == 0
    rows = tuple(it.row(order, OrderState.FILLED, 65, 25000.0) for order in it.desk.all())
    it.go_to(15, 20)
    it.books(*rows, net=0)
    assert len(it.executor.placed) == 3  # the second one would trade with the first
    first = it.last
    it.complete()
    it.tick(25000.0, 2.5)
    second = it.last
    it.complete()
    it.tick(25000.0, 2.5)
    assert {(o.strategy, o.side, o.quantity) for o in (first, second)} == {("told", Side.SELL, 65), ("other", Side.BUY, 65)}
    assert it.engine.flat
    assert it.journal("square_off_flat")


def test_no_exit_of_another_strategy_takes_an_instrument_beyond_its_cap() -> None:
    """Long and short strategies of one instrument: what one holds makes no room for the other, for it may leave first."""
    it = Harness(
        risk=RiskSettings(max_order_value=1e9, max_strategy_exposure=1e9, max_gross_exposure=1e9, max_instrument_value=6_000_000.0)
    )
    for strategy, lots in (("long", 1), ("short", -3)):
        held = Position("test", strategy, FUTURE, "MIS", lots * 65, 25_000.0, horizon=Horizon.INTRADAY, cost=lots * 65 * 2_500_000)
        it.portfolio.restore([held], [], it.clock.now().date())
    it.want(-1)
    assert it.executor.placed == []
    assert it.journal("refused")[-1]["rule"] == "instrument_value"
    it.want(1)
    assert [order.side for order in it.executor.placed] == [Side.BUY], "the other side is counted for itself"


def test_a_reached_loss_limit_closes_also_what_was_left_over_from_an_earlier_day() -> None:
    it = Harness(risk=msgspec.structs.replace(WIDE, max_daily_loss=5_000.0))
    it.want(1)
    it.complete()
    it.engine.targets.drop(it.target)  # as the start of a day does with what intraday strategies wanted
    it.tick(24_900.0, 1)
    assert it.told("Risk: daily_loss") == ["page"]
    assert (it.last.purpose, it.last.side, it.last.quantity) == (Purpose.EXIT, Side.SELL, 65)
