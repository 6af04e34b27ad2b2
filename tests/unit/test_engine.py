"""The engine's rules about targets, latches, ladders, refusals, evidence and protection, with a broker that does as the test says."""

from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest

from core.events import Action, Books, BrokerPosition, Command, FeedStatus, OrderUpdate, Outcome, Reply, SessionStatus, Trade
from core.types import Horizon, OrderState, Purpose, SessionState, Side, TradingState
from execution_engine.buy_sell_logic import Size
from risk.settings import RiskSettings
from tests.fakes import MemoryStore
from tests.harness import SHARE, Harness


def test_a_changed_target_becomes_one_order_whose_intent_is_on_disk_first() -> None:
    it = Harness()
    committed = it.store.committed
    it.want(1)
    (order,) = it.executor.placed
    assert (order.side, order.quantity, order.state, order.purpose) == (Side.BUY, 65, OrderState.SENDING, Purpose.ENTRY)
    assert it.store.saved_orders[order.id].state is OrderState.SENDING
    assert it.store.committed > committed
    assert len(order.tag) == 16
    assert order.tag.isalnum()
    it.want(1)
    assert len(it.executor.placed) == 1  # the same target again is nothing


def test_ack_is_not_a_fill_and_a_fill_is_booked_once() -> None:
    it = Harness()
    it.want(1)
    it.ack()
    assert it.held == 0
    assert it.last.state is OrderState.PENDING_NEW
    it.fill(30, 25001.0)
    assert (it.held, it.last.state, it.last.filled) == (30, OrderState.WORKING, 30)
    row = it.row(it.last, OrderState.WORKING, 30, 25001.0)
    it.engine.process(row)
    it.engine.process(row)
    assert it.held == 30
    it.fill()
    assert (it.held, it.last.state) == (65, OrderState.FILLED)
    assert [title for _, title, _ in it.alerts].count("Filled") == 2
    assert sum(fill.quantity for fill in it.strategy.fills) == 65


def test_crossing_zero_is_an_exit_then_an_entry_after_its_fill() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.want(-1)
    assert (it.last.side, it.last.quantity, it.last.purpose) == (Side.SELL, 65, Purpose.EXIT)
    assert len(it.executor.placed) == 2
    it.complete()
    assert (it.last.side, it.last.quantity, it.last.purpose) == (Side.SELL, 65, Purpose.ENTRY)
    it.complete()
    assert it.held == -65


def test_a_rejected_entry_latches_until_the_target_changes() -> None:
    it = Harness()
    it.want(1)
    it.ack()
    it.end(OrderState.REJECTED, "RMS:Margin Exceeds")
    it.want(1)
    it.tick(25010.0, 400)
    it.want(1)
    assert len(it.executor.placed) == 1
    assert it.journal("latched")
    it.want(0)
    it.want(1)
    assert len(it.executor.placed) == 2


def test_an_entry_that_is_not_filled_within_its_cap_is_cancelled_and_latches_at_what_filled() -> None:
    it = Harness(size=Size(lots=2))
    it.want(1)
    it.ack()
    it.working()
    it.fill(65)
    for step in (1, 2):  # two steps of the price ladder
        it.tick(25000.0, 3.0)
        it.tick(25000.0, 1.5)
        assert len(it.executor.modified) == step
        it.working(limit_price=it.executor.modified[-1][1])
    prices = [price for _, price in it.executor.modified]
    assert prices == sorted(prices)
    assert max(prices) <= 25075.0  # 0.3 % beyond the price at the decision
    it.tick(25000.0, 6.5)
    assert len(it.executor.cancelled) == 1
    it.end(OrderState.CANCELLED)
    assert it.held == 65
    it.tick(25000.0, 400)
    it.want(1)
    assert len(it.executor.placed) == 1
    assert it.target.wanted == 65


def test_a_failed_exit_is_tried_again_with_a_backoff_and_a_person_is_told() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.want(0)
    for tries in range(1, 7):
        it.ack()
        it.end(OrderState.REJECTED, "16388 : circuit")
        placed = len(it.executor.placed)
        it.tick(25000.0, 0.5)
        assert len(it.executor.placed) == placed  # never at once
        it.tick(25000.0, 40)
        assert len(it.executor.placed) == placed + 1
        assert it.last.purpose is Purpose.EXIT
        levels = [level for level, title, _ in it.alerts if title == "Exit does not get through"]
        assert levels == (["warn"] if tries >= 3 else []) + (["page"] if tries >= 6 else [])
    it.complete()
    assert it.held == 0


def test_unknown_is_never_sent_again_and_blocks_its_key_until_evidence() -> None:
    it = Harness()
    it.want(1)
    it.engine.process(Reply(it.clock.now(), Action.PLACE, it.last.id, Outcome.UNKNOWN, error="Unknown", reason="read timed out"))
    assert it.last.state is OrderState.UNKNOWN
    it.want(0)
    it.want(1)
    reads = it.executor.reads
    it.pass_time(5)
    assert it.executor.reads > reads  # it looks for evidence by itself
    assert len(it.executor.placed) == 1
    it.fill()  # the order socket shows it
    assert it.held == 65
    assert len(it.executor.placed) == 1


def test_an_order_of_the_same_shape_without_our_tag_stops_the_absence_rule() -> None:
    it = Harness()
    it.want(1)
    it.engine.process(Reply(it.clock.now(), Action.PLACE, it.last.id, Outcome.UNKNOWN, error="Unknown", reason="reset"))
    for _ in range(8):
        it.pass_time(30)
        now = it.clock.now()
        stranger = it.row(it.last, OrderState.WORKING, 0)
        stranger = type(stranger)(
            **{name: getattr(stranger, name) for name in stranger.__struct_fields__} | {"tag": None, "broker_order_id": "Z9"}
        )
        it.engine.process(Books(now, now, (stranger,), (), ()))
    assert it.last.state is OrderState.UNKNOWN


def test_a_temporary_refusal_stays_pending_and_goes_at_the_next_bar() -> None:
    it = Harness()
    it.engine.process(FeedStatus(it.clock.now(), connected=False, reason="dropped"))
    it.want(1)
    assert not it.executor.placed
    assert it.target.pending
    it.engine.process(FeedStatus(it.clock.now(), connected=True))
    it.tick(25000.0, 1)
    it.want(1)
    assert len(it.executor.placed) == 1


def test_a_permanent_refusal_latches_and_is_journalled_once() -> None:
    it = Harness(risk=RiskSettings(max_order_value=1000.0))
    for _ in range(3):
        it.want(1)
    it.want(0)
    it.want(1)
    assert not it.executor.placed
    assert len(it.journal("refused")) == 1
    assert it.engine.refusals.rows[next(iter(it.engine.refusals.rows))][1] == 2


@pytest.mark.parametrize(
    ("target", "price", "stop", "profit"),
    [(1, 24890.0, 24900.0, None), (-1, 25110.0, 25100.0, None), (1, 25200.0, None, 25200.0)],
)
def test_a_stop_or_profit_target_that_is_reached_exits_and_latches(
    target: int, price: float, stop: float | None, profit: float | None
) -> None:
    it = Harness()
    it.want(target, stop=stop, take_profit=profit)
    it.complete()
    it.tick(25000.0, 1)
    assert len(it.executor.placed) == 1
    it.tick(price, 1)
    assert it.last.purpose is Purpose.EXIT
    it.complete(price)
    assert it.held == 0
    it.want(target, stop=stop, take_profit=profit)
    assert len(it.executor.placed) == 2  # latched until the raw target differs


def test_the_stop_of_a_reversal_says_nothing_about_the_old_position() -> None:
    """While the exit of the long is on its way, the stop of the coming short lies above the price: it is not reached."""
    it = Harness()
    it.want(1)
    it.complete()
    it.want(-1, stop=25200.0, take_profit=24500.0)
    it.tick(25001.0)
    it.tick(24999.0)
    assert not it.journal("flatten")
    it.complete(25000.0)
    assert (it.last.side, it.last.purpose) == (Side.SELL, Purpose.ENTRY)
    it.complete(25000.0)
    assert it.held == -65
    it.tick(25201.0)
    assert [entry["why"] for entry in it.journal("flatten")] == ["stop 25200.0 reached at 25201.0"]


def test_an_order_that_nothing_is_heard_of_is_looked_up_within_seconds() -> None:
    it = Harness()
    it.want(1)
    it.pass_time(0.5)
    it.ack()
    before = it.executor.reads
    it.pass_time(6)
    assert it.executor.reads > before


def test_a_configured_stop_serves_a_signal_without_one_and_the_same_target_moves_it() -> None:
    it = Harness(stop_pct=1.0)
    it.want(1)
    it.complete()
    assert it.target.stop == pytest.approx(24750.0)
    it.want(1, stop=24950.0)
    it.tick(24940.0, 1)
    assert it.last.purpose is Purpose.EXIT


def test_the_square_off_cancels_first_then_exits_and_is_flat() -> None:
    it = Harness(size=Size(lots=2))
    it.want(1)
    it.ack()
    it.working()
    it.fill(65)
    it.go_to(15, 4, 59)
    it.working()
    it.go_to(15, 20, 0)
    assert [order.id for order in it.executor.cancelled] == [it.executor.placed[0].id]
    assert len(it.executor.placed) == 1
    it.end(OrderState.CANCELLED, order=it.executor.placed[0])
    assert (it.last.side, it.last.quantity, it.last.purpose) == (Side.SELL, 65, Purpose.SQUARE_OFF)
    it.complete()
    it.pass_time(3)
    assert it.held == 0
    assert it.journal("square_off_started")[0]["scheduled"].startswith("2026-11-20T15:20:00")
    assert it.journal("square_off_flat")
    it.want(0)
    it.want(1)
    assert len(it.executor.placed) == 2  # no entry after the entry stop


def test_a_closing_auction_stock_is_squared_off_before_its_cut_off() -> None:
    it = Harness(instrument=SHARE, size=Size(quantity=10))
    it.want(1)
    it.complete(1400.0)
    it.go_to(15, 5, 59)
    assert len(it.executor.placed) == 1
    it.go_to(15, 6, 0)
    assert it.last.purpose is Purpose.SQUARE_OFF


def test_not_flat_near_the_deadline_is_paged_and_exits_go_on() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.go_to(15, 20, 0)
    it.ack()
    it.end(OrderState.REJECTED, "circuit")
    it.go_to(15, 24, 1)
    assert ("page", "Not flat") in [(level, title) for level, title, _ in it.alerts]
    assert len(it.executor.placed) >= 3


def test_a_missed_square_off_fires_late_after_a_restart() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    again = Harness(at=it.clock.now().replace(hour=15, minute=22), store=it.store)
    again.engine.targets.restore(lambda key: it.instrument)
    again.portfolio.restore(it.store.positions(), it.store.fills(), again.clock.now().date())
    again.engine.open_day(again.clock.now().date(), [again.run], {"IT": it.instrument}, resumed=True)
    again.tick(25000.0, 1)
    assert (again.last.side, again.last.purpose) == (Side.SELL, Purpose.SQUARE_OFF)


def test_a_carried_position_is_left_alone_by_the_square_off() -> None:
    it = Harness(horizon=Horizon.CARRY)
    it.want(1)
    it.complete()
    it.go_to(15, 25)
    assert it.held == 65
    assert len(it.executor.placed) == 1


def test_kill_halts_flattens_and_answers_when_flat() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.engine.process(Command(it.clock.now(), "1", "kill", {}))
    assert it.engine.world.state is TradingState.HALTED
    assert it.store.get("engine", "trading_state")["state"] == "HALTED"
    assert not it.answers
    it.complete()
    it.pass_time(1)
    assert it.answers[0][1] is True
    it.want(0)
    it.want(1)
    assert len(it.executor.placed) == 2
    it.engine.process(Command(it.clock.now(), "2", "resume", {}))
    assert str(it.engine.world.state) == "HALTED"
    it.engine.process(Command(it.clock.now(), "3", "resume", {"confirm": True}))
    assert str(it.engine.world.state) == "ACTIVE"


def test_kill_of_the_whole_account_wants_its_name_typed() -> None:
    it = Harness()
    it.engine.process(Command(it.clock.now(), "1", "kill", {"whole_account": "other"}))
    assert it.answers[0][1] is False
    assert it.engine.world.state is TradingState.ACTIVE


def test_pause_lets_exits_through() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.engine.process(Command(it.clock.now(), "1", "pause", {}))
    it.want(0)
    assert it.last.purpose is Purpose.EXIT
    it.complete()
    it.want(1)
    assert len(it.executor.placed) == 2


def test_a_dead_session_is_told_once_and_stops_entries() -> None:
    it = Harness()
    for _ in range(3):
        it.engine.process(SessionStatus(it.clock.now(), "test", SessionState.LOGIN_REQUIRED, "token refused", "https://login"))
    it.want(1)
    assert not it.executor.placed
    assert [title for _, title, _ in it.alerts].count("Login required") == 1


def test_exits_wait_for_the_login_and_go_after_the_first_complete_read() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.engine.process(SessionStatus(it.clock.now(), "test", SessionState.LOGIN_REQUIRED, "token refused", "https://login"))
    it.want(0)
    it.pass_time(120)
    assert len(it.executor.placed) == 1, "no order can leave without a session, so none is made"
    assert not [title for level, title, _ in it.alerts if title in ("Rejected", "Exit does not get through", "Exits do not settle")]
    it.engine.process(SessionStatus(it.clock.now(), "test", SessionState.VALID))
    assert len(it.executor.placed) == 1, "first the broker's books, then the exit"
    now = it.clock.now()
    it.engine.process(Books(now, now, error="Transient", reason="no answer"))
    assert len(it.executor.placed) == 1
    entry = it.row(it.executor.placed[0], OrderState.FILLED, 65, 25000.0)
    it.engine.process(Books(now, now, (entry,), positions=(BrokerPosition(it.instrument, "MIS", 65, 25000.0),)))
    assert [(order.side, order.quantity) for order in it.executor.placed[1:]] == [(Side.SELL, 65)]


def test_a_resting_order_is_left_alone_while_nobody_is_logged_in() -> None:
    it = Harness()
    it.want(1)
    it.ack()
    it.working()
    it.engine.process(SessionStatus(it.clock.now(), "test", SessionState.LOGIN_REQUIRED, "token refused", "https://login"))
    it.pass_time(60)
    assert not it.executor.modified
    assert not it.executor.cancelled
    it.engine.process(SessionStatus(it.clock.now(), "test", SessionState.VALID))
    it.pass_time(10)
    assert it.executor.modified or it.executor.cancelled


def test_a_late_refusal_of_the_old_token_does_not_undo_a_new_login() -> None:
    it = Harness()
    it.want(1)
    refusal = Reply(it.clock.now(), Action.PLACE, it.last.id, Outcome.REJECT, error="SessionExpired", reason="token refused")
    it.engine.process(SessionStatus(it.clock.now(), "test", SessionState.LOGIN_REQUIRED, "token refused", "https://login"))
    it.engine.process(SessionStatus(it.clock.now(), "test", SessionState.VALID))
    it.engine.process(refusal)
    assert it.engine.world.session is SessionState.VALID


def test_a_connected_feed_without_prices_is_told_once_each_time() -> None:
    it = Harness()
    for _ in range(2):
        it.pass_time(300)
        it.tick(25000.0)
        it.pass_time(1)
    assert [title for _, title, _ in it.alerts] == ["No prices", "No prices"]


def test_a_feed_that_is_closed_in_the_evening_is_no_alarm() -> None:
    it = Harness()
    it.engine.process(FeedStatus(it.clock.now(), connected=False, reason="reset by peer"))
    it.engine.process(FeedStatus(it.clock.now(), connected=True))
    it.go_to(15, 42)
    it.engine.close_day(it.clock.now().date())
    it.engine.process(FeedStatus(it.clock.now(), connected=False, reason="stopped"))
    assert [text for _, title, text in it.alerts if title == "Feed lost"] == ["reset by peer"]


def test_a_full_disk_stops_entries_and_lets_exits_go() -> None:
    it = Harness(store=MemoryStore())
    it.want(1)
    it.complete()
    it.store.fail_commits = 1
    it.want(0)
    assert it.last.purpose is Purpose.EXIT
    it.complete()
    it.store.fail_commits = 100
    it.want(1)
    assert len(it.executor.placed) == 2
    assert any(title == "Entries are off" for _, title, _ in it.alerts)
    it.store.fail_commits = 0
    it.tick(25000.0, 1)
    assert it.engine.world.blind is None


def _held_and_shown_as_flat() -> tuple[Harness, Callable[[int], None]]:
    """65 are held and the broker's book has the fill; and what makes the broker's positions say so many, in a read of now."""
    it = Harness()
    for _ in range(2):
        it.pass_time(1)
        now = it.clock.now()
        it.engine.process(Books(now, now, (), (), ()))
    it.want(1)
    it.complete()
    rows = (it.row(it.last, OrderState.FILLED, 65, 25000.0),)

    def read(shown: int) -> None:
        now = it.clock.now()
        it.engine.process(Books(now, now, rows, (), (BrokerPosition(it.instrument, it.last.product, shown, 25000.0),)))

    it.pass_time(5)
    read(0)
    return it, read


def test_a_position_that_differs_freezes_entries_after_two_reads_and_thaws_when_equal() -> None:
    it, read = _held_and_shown_as_flat()
    assert not it.engine.world.frozen(it.instrument)
    it.pass_time(5)
    read(0)
    assert it.engine.world.frozen(it.instrument)
    assert it.held == 65  # nothing is invented
    assert it.journal("difference")[0]["real"] == 0
    it.pass_time(5)
    read(65)
    assert not it.engine.world.frozen(it.instrument)


def test_a_position_that_differs_is_read_again_soon_and_then_on_the_clock() -> None:
    it, read = _held_and_shown_as_flat()
    waited = []
    while (due := it.engine.timers.due("evidence")) is not None:
        waited.append((due - it.clock.now()).total_seconds())
        reads = it.executor.reads
        it.pass_time(waited[-1])
        assert it.executor.reads > reads
        read(0)
    assert waited == [5.0, 2.0, 4.0, 8.0, 16.0]
    read(65)
    read(0)
    assert it.engine.timers.due("evidence") is not None, "another difference is looked into anew"


def test_a_foreign_trade_against_us_closes_ours_and_latches() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    trade = Trade("F1", "FOREIGN", it.instrument, Side.SELL, 65, 24990.0, it.clock.now())
    ours = it.row(it.last, OrderState.FILLED, 65, 24990.0)
    it.engine.process(msgspec.structs.replace(ours, tag=None, broker_order_id="FOREIGN", side=Side.SELL, trades=(trade,)))
    assert it.held == 0
    assert any(title == "Closed from outside" for _, title, _ in it.alerts)
    it.want(1)
    it.tick(25000.0, 400)
    assert len(it.executor.placed) == 1


def test_foreign_trades_of_two_instruments_may_carry_one_number() -> None:
    it = Harness()
    for instrument, order_id in ((it.instrument, "F-1"), (SHARE, "F-2")):
        trade = Trade("1001", order_id, instrument, Side.BUY, 65, 100.0, it.clock.now())
        it.engine.process(
            OrderUpdate(it.clock.now(), "socket", order_id, instrument, Side.BUY, 65, OrderState.FILLED, 65, 100.0, trades=(trade,))
        )
    assert [it.portfolio.position("EXTERNAL", one) for one in (it.instrument, SHARE)] == [65, 65]


def test_what_a_strategy_remembers_of_a_fill_is_stored_before_its_next_bar() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    assert it.store.get("strategy", "told|IT")["state"] == {"fills": ["X1"]}


def test_a_signal_that_moves_the_profit_target_alone_leaves_the_stop_where_it_is() -> None:
    it = Harness(stop_pct=1.0)
    it.want(1)
    it.complete()
    stop = it.target.stop
    assert stop is not None
    it.want(1, take_profit=25300.0)
    assert (it.target.stop, it.target.take_profit) == (stop, 25300.0)


def test_late_timers_are_counted() -> None:
    it = Harness()
    it.clock.move_to(it.clock.now() + timedelta(seconds=30))
    it.engine.run_timers()
    assert it.engine.late_events > 0


def test_a_row_that_runs_ahead_of_its_trades_moves_the_position_at_once_and_only_once() -> None:
    it = Harness()
    it.want(1)
    it.ack()
    it.engine.process(it.row(it.last, OrderState.FILLED, 65, 25001.0))
    assert it.held == 65
    assert len(it.executor.placed) == 1
    trade = Trade("X9", f"B{it.last.id}", it.instrument, Side.BUY, 65, 25001.0, it.clock.now())
    now = it.clock.now()
    it.engine.process(Books(now, now, (), (trade,), None))
    assert it.held == 65
    it.want(0)
    it.ack()
    it.engine.process(it.row(it.last, OrderState.FILLED, 65, 25002.0))
    it.tick(25000.0, 30)
    assert it.held == 0
    assert len(it.executor.placed) == 2


def test_a_fill_without_a_price_blocks_its_key_until_its_trades_are_known() -> None:
    it = Harness()
    it.want(1)
    it.ack()
    it.engine.process(it.row(it.last, OrderState.FILLED, 65, 0.0))
    it.want(0)
    it.tick(25000.0, 5)
    assert len(it.executor.placed) == 1
    reads = it.executor.reads
    trade = Trade("X9", f"B{it.last.id}", it.instrument, Side.BUY, 65, 25001.0, it.clock.now())
    it.engine.process(Books(it.clock.now(), it.clock.now(), (), (trade,), None))
    assert reads > 0
    assert it.held == 65
    it.want(0)
    it.want(1)
    it.want(0)
    assert it.last.purpose is Purpose.EXIT


def test_trades_that_run_ahead_of_their_row_raise_filled() -> None:
    it = Harness()
    it.want(1)
    it.ack()
    trade = Trade("X9", f"B{it.last.id}", it.instrument, Side.BUY, 65, 25001.0, it.clock.now())
    it.engine.process(Books(it.clock.now(), it.clock.now(), (), (trade,), None))
    assert (it.held, it.last.filled) == (65, 65)


def test_exits_that_keep_coming_back_are_slowed_down() -> None:
    it = Harness()
    for _ in range(12):
        it.want(1)
        it.complete()
        it.want(0)
        if it.last.side is Side.SELL:
            it.complete()
        it.tick(25000.0, 2.1)
    assert sum(order.side is Side.SELL for order in it.executor.placed) == 10
    assert any(title == "Exits do not settle" for _, title, _ in it.alerts)


def test_exposure_follows_every_price_and_every_fill() -> None:
    it = Harness()
    world, lot = it.engine.world, it.instrument.lot
    assert world.account_exposure() == world.strategy_exposure("told") == 0.0
    it.want(1)
    it.fill()
    assert world.account_exposure() == pytest.approx(25_000.0 * lot)
    it.tick(25_100.0, 1.0)
    assert world.account_exposure() == world.strategy_exposure("told") == pytest.approx(25_100.0 * lot)
    it.want(0)
    it.fill()
    assert world.account_exposure() == world.strategy_exposure("told") == 0.0
