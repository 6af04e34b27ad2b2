"""What a person may tell the engine, what is remembered over a restart, and what the outside sees."""

from datetime import timedelta

import msgspec

from core.errors import DataError
from core.events import Books, Command, FeedStatus, Funds, Trade
from core.types import Horizon, Instrument, OrderState, Purpose, Side, TradingState
from execution_engine import snapshots
from execution_engine.targets import Targets
from tests.fakes import MemoryStore
from tests.harness import FUTURE, SHARE, Harness


def tell(it: Harness, name: str, **arguments: object) -> None:
    it.engine.process(Command(it.clock.now(), name, name, arguments))
    it.control.check(it.engine)


def answer(it: Harness) -> tuple[bool, str]:
    _, ok, text, _ = it.answers[-1]
    return ok, text


def test_an_unknown_command_is_answered_with_those_there_are() -> None:
    it = Harness()
    tell(it, "dance")
    ok, text = answer(it)
    assert not ok
    assert "square-off" in text


class WatchedMarket:
    """Names of today, and who asked for ticks of what."""

    def __init__(self) -> None:
        self.watched: set[str] = set()

    def resolve(self, name: str) -> Instrument:
        if name != "RELIANCE":
            raise DataError(f"{name!r} is not in the instruments of today; did you mean NSE:RELIANCE?")
        return SHARE

    def watch(self, instrument: Instrument) -> None:
        self.watched.add(instrument.key)

    def unwatch(self, instrument: Instrument) -> None:
        self.watched.discard(instrument.key)


def test_an_instrument_is_watched_and_given_up_by_command() -> None:
    desk, market = Harness(), WatchedMarket()
    desk.control.market = market
    desk.engine.process(Command(desk.clock.now(), "1", "watch", {"name": "RELIANCE"}))
    assert market.watched == {SHARE.key}
    desk.engine.process(Command(desk.clock.now(), "2", "watch", {"name": "RELIANC"}))
    desk.engine.process(Command(desk.clock.now(), "3", "watch", {"name": "RELIANCE", "stop": True}))
    assert market.watched == set()
    assert [(ok, text.split(";")[1].strip()) for _, ok, text, _ in desk.answers] == [
        (True, "strategies keep what is theirs"),
        (False, "did you mean NSE:RELIANCE?"),
        (True, "strategies keep what is theirs"),
    ]


def test_square_off_answers_at_once_when_there_is_nothing_to_do() -> None:
    it = Harness()
    tell(it, "square-off")
    assert answer(it)[0]
    assert it.engine.world.state is TradingState.ACTIVE


def test_square_off_closes_carried_positions_too_and_says_what_is_left_when_it_takes_too_long() -> None:
    it = Harness(horizon=Horizon.CARRY)
    it.want(1)
    it.complete()
    tell(it, "square-off")
    assert not it.answers
    assert it.last.purpose is Purpose.SQUARE_OFF
    it.pass_time(61)
    ok, text = answer(it)
    assert not ok
    assert "65 NFO:NIFTY26NOVFUT" in text


def test_an_order_that_stays_alive_is_named_when_a_square_off_takes_too_long() -> None:
    it = Harness()
    it.want(1)
    it.ack()
    it.working()
    tell(it, "square-off")
    assert len(it.executor.cancelled) == 1
    it.pass_time(61)
    assert "1 orders alive" in answer(it)[1]


def test_a_fill_without_a_price_yet_is_not_called_flat() -> None:
    it = Harness()
    it.want(1)
    it.ack()
    it.engine.process(it.row(it.last, OrderState.FILLED, 65))  # its average and its trades are still to come
    tell(it, "kill")
    assert not it.answers
    bought = it.row(it.last, OrderState.FILLED, 65, 25_000.0)
    it.engine.process(bought)
    it.pass_time(3)
    assert it.last.purpose is Purpose.SQUARE_OFF
    assert not it.answers
    it.complete()
    it.pass_time(1)
    assert answer(it)[0]


def test_kill_of_the_whole_account_closes_what_is_not_ours_too() -> None:
    it = Harness()
    it.portfolio.adopt(FUTURE, "MIS", 130, 25000.0, it.clock.now(), "held before")
    tell(it, "kill")
    assert answer(it)[0]  # ours is flat
    assert not it.executor.placed
    tell(it, "resume", confirm=True)
    tell(it, "kill", whole_account="test")
    assert (it.last.strategy, it.last.quantity, it.last.side.value) == ("EXTERNAL", 130, "SELL")


def test_a_kill_of_the_whole_account_is_not_answered_while_anything_stands() -> None:
    it = Harness()
    it.portfolio.adopt(FUTURE, "MIS", 130, 25000.0, it.clock.now(), "held before")
    tell(it, "kill", whole_account="test")
    assert not it.answers
    it.pass_time(61)
    assert answer(it) == (False, "kill: not flat after 60 s: 130 NFO:NIFTY26NOVFUT; it goes on trying; trading state HALTED")


def test_entries_stop_after_three_failed_reads_and_go_on_with_a_complete_one() -> None:
    it = Harness()
    for _ in range(3):
        it.engine.process(Books(it.clock.now(), it.clock.now(), error="Transient", reason="502"))
    it.want(1)
    assert not it.executor.placed
    it.engine.process(Books(it.clock.now(), it.clock.now(), (), (), ()))
    it.want(1)
    assert len(it.executor.placed) == 1


def test_the_brokers_own_word_about_funds_binds_the_margin_check() -> None:
    it = Harness()
    assert (it.engine.world.available_margin() or 0) > 1_000_000
    it.engine.process(Books(it.clock.now(), it.clock.now(), (), (), (), Funds(5_000.0, 0.0)))
    assert it.engine.world.available_margin() == 5_000.0


def test_yesterdays_trades_that_a_broker_still_lists_are_not_booked_again() -> None:
    it = Harness()
    it.want(1)
    it.ack()
    yesterday = it.clock.now() - timedelta(days=1)
    trade = Trade("OLD", f"B{it.last.id}", FUTURE, Side.BUY, 65, 25000.0, yesterday)
    it.engine.process(Books(it.clock.now(), it.clock.now(), (), (trade,), None))
    assert it.held == 0


def test_resume_confirm_thaws_what_an_anomaly_froze_and_so_does_acknowledge() -> None:
    it = Harness()
    for command in ("acknowledge", "resume"):
        it.desk.frozen[FUTURE.key] = "planted"
        assert it.engine.world.frozen(FUTURE) == "planted"
        tell(it, command, **({"confirm": True} if command == "resume" else {}))
        assert it.engine.world.frozen(FUTURE) is None


def test_reduce_only_refuses_entries_until_resume() -> None:
    it = Harness()
    tell(it, "reduce-only")
    it.want(1)
    assert not it.executor.placed
    tell(it, "resume")
    it.want(1)
    assert len(it.executor.placed) == 1


def test_targets_come_back_from_the_ledger_and_those_of_gone_instruments_are_named() -> None:
    it = Harness(stop_pct=1.0)
    it.want(1)
    again = Targets(it.store)
    assert again.restore(lambda key: FUTURE if key == FUTURE.key else None) == []
    found = again.get("told", "IT")
    assert found == it.target
    assert again.holding("told", FUTURE) is found
    assert Targets(it.store).restore(lambda key: None) == [FUTURE.key]


def test_a_new_day_forgets_intraday_targets_and_keeps_carried_ones() -> None:
    for horizon, left in ((Horizon.INTRADAY, 0), (Horizon.CARRY, 1)):
        it = Harness(horizon=horizon)
        it.want(1)
        it.complete()
        it.engine.targets.clear_intraday()
        assert len(list(it.engine.targets)) == left
        assert len(it.store.items("targets")) == left


def test_the_snapshot_has_the_contracts_fields_and_encodes() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.want(-1)
    made = snapshots.build(it.engine, [{"level": "warn", "title": "t", "text": "x", "at": "now"}])
    status = made.status
    for name in (
        "accounts",
        "account",
        "kind",
        "running",
        "as_of",
        "trading_state",
        "market",
        "feed",
        "session",
        "flat",
        "orders",
        "pnl",
        "alerts",
    ):
        assert name in status
    assert status["orders"] == {"FILLED": 1, "SENDING": 1}
    assert status["flat"] is False
    (position,) = made.positions
    assert (position["quantity"], position["strategy"], position["account"]) == (65, "told", "test")
    assert [row["state"] for row in made.orders] == ["FILLED", "SENDING"]
    assert [row["target"] for row in made.signals] == [1, -1]
    assert msgspec.json.encode(made)


def test_stale_instruments_are_named_while_their_market_is_open() -> None:
    it = Harness()
    it.pass_time(30)
    feed = snapshots.build(it.engine, []).status["feed"]
    assert isinstance(feed, dict)
    assert feed["stale"] == [FUTURE.key]
    it.clock.move_to(it.clock.now().replace(hour=18))
    feed = snapshots.build(it.engine, []).status["feed"]
    assert isinstance(feed, dict)
    assert feed["stale"] == []


def test_a_reconnect_asks_for_the_books_at_once_because_nothing_is_replayed() -> None:
    it = Harness()
    reads = it.executor.reads
    it.engine.process(FeedStatus(it.clock.now(), connected=False, reason="dropped"))
    it.engine.process(FeedStatus(it.clock.now(), connected=True))
    assert it.executor.reads == reads + 1
    assert [entry["connected"] for entry in it.journal("feed")][-2:] == [False, True]


def test_closing_the_day_records_what_the_report_needs() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.go_to(15, 20)
    it.complete()
    it.pass_time(3)
    it.clock.move_to(it.clock.now() + timedelta(minutes=25))
    it.engine.close_day(it.clock.now().date())
    record = it.store.get("day", it.clock.now().date().isoformat())
    assert record["square_off"]["scheduled"].startswith("2026-11-20T15:20:00")
    assert record["square_off"]["flat"] is not None
    assert record["flat_at"] == record["square_off"]["flat"]
    assert it.journal("day_closed")[0]["flat"] is True


def test_a_day_that_ends_with_a_position_says_so() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.engine.close_day(it.clock.now().date())
    record = it.store.get("day", it.clock.now().date().isoformat())
    assert record["flat_at"] is None
    assert record["square_off"]["flat"] is None


def test_tags_are_never_given_twice_by_two_processes_of_one_ledger() -> None:
    store = MemoryStore()
    first = Harness(store=store)
    first.want(1)
    second = Harness(store=store)
    second.want(1)
    assert first.last.tag != second.last.tag
    assert first.last.tag[:4] == second.last.tag[:4]


def test_an_order_that_was_being_sent_when_the_process_died_is_unknown_afterwards() -> None:
    it = Harness()
    it.want(1)
    again = Harness(store=it.store)
    again.desk.restore(it.store.live_orders())
    (order,) = again.desk.live()
    assert order.state is OrderState.UNKNOWN
    assert it.store.saved_orders[order.id].state is OrderState.UNKNOWN
    again.engine.targets.restore(lambda key: FUTURE)
    again.want(0)
    again.want(1)
    assert not again.executor.placed
