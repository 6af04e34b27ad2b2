"""What past incidents of exchanges, brokers and other traders teach, each as what the engine does about it (docs/reliability.md)."""

from datetime import date, timedelta
from pathlib import Path

import msgspec
import pytest

from core.events import Command, OrderUpdate
from core.types import Order, OrderState, Purpose, Side, Tick
from execution_engine.order_manager import Tags
from tests.fakes import MemoryStore
from tests.harness import FUTURE, SHARE, Harness
from utils.config_loader import build_hash, program_changed

LOT = 65
DAY = date(2026, 11, 20)


def held(target: float = 1) -> Harness:
    it = Harness()
    it.want(target)
    it.complete()
    return it


def theirs(it: Harness, side: Side, quantity: int = LOT, *, product: str = "MIS", number: str = "1", **more: object) -> OrderUpdate:
    """An order that is none of ours, filled, as the order socket tells it."""
    now, order_id = it.clock.now(), f"OTHER{number}"
    trade = it.trade(order_id, side, quantity, 25_000.0)
    row = OrderUpdate(
        now, "socket", order_id, FUTURE, side, quantity, OrderState.FILLED, quantity, 25_000.0, product=product, exchange_at=now,
        trades=(trade,),
    )  # fmt: skip
    return msgspec.structs.replace(row, **more)


def exits(it: Harness) -> list[Order]:
    return [order for order in it.executor.placed if order.purpose is not Purpose.ENTRY]


def another_tag() -> str:
    """As another Niyam, with a ledger of its own, gives it today."""
    return Tags(MemoryStore()).next(DAY)


# --- two instances on one account -------------------------------------------------------------------------------------------------------


def test_an_order_that_another_niyam_sends_on_this_account_ends_entries_until_a_person_has_looked() -> None:
    it = Harness()
    tag = another_tag()
    for _ in range(3):
        it.engine.process(theirs(it, Side.BUY, tag=tag))
    assert it.told("Another Niyam trades this account") == ["page"]
    it.want(1)
    assert it.executor.placed == []
    assert it.target.pending
    it.engine.process(Command(it.clock.now(), "1", "resume", {"confirm": True}))
    it.want(2)
    it.want(1)
    assert it.executor.placed != []


def test_a_restart_is_no_persons_look_at_another_niyam() -> None:
    it = Harness()
    it.tick(25_000.0, 1)
    it.engine.process(theirs(it, Side.BUY, tag=another_tag()))
    it.engine.settle()
    again = it.restarted()
    again.books(net=0)
    again.tick(25_000.0)
    again.want(1)
    assert again.executor.placed == []
    again.engine.process(Command(again.clock.now(), "1", "acknowledge", {}))
    again.engine.settle()
    again.want(2)
    assert again.executor.placed != []
    assert again.restarted().engine.world.blinded.keys() == {"recovery"}


def test_exits_go_on_beside_another_niyam() -> None:
    it = held()
    it.engine.process(theirs(it, Side.BUY, tag=another_tag()))
    it.want(0)
    assert [order.quantity for order in exits(it)] == [LOT]


def test_what_another_niyam_sent_before_we_began_is_told_and_stops_nothing() -> None:
    it = Harness()
    before = it.clock.now() - timedelta(hours=1)
    it.engine.process(theirs(it, Side.BUY, tag=another_tag(), exchange_at=before))
    assert it.told("Another Niyam has traded this account today") == ["warn"]
    it.want(1)
    assert len(it.executor.placed) == 1


@pytest.mark.parametrize("tag", ["mktp", "", None, "streak", "0000000000000000", "OPENALGO12345678", "abcd0000000000AB"])
def test_the_tags_of_other_tools_are_no_niyams(tag: str | None) -> None:
    it = Harness()
    it.engine.process(theirs(it, Side.BUY, tag=tag))
    it.want(1)
    assert len(it.executor.placed) == 1


def test_an_order_with_our_own_ledgers_tag_that_the_ledger_does_not_know_is_told_as_well() -> None:
    """A ledger that was put back from a copy: it would give the same tags again."""
    it = Harness()
    it.want(1)
    ours = it.last.tag
    it.engine.process(theirs(it, Side.BUY, tag=ours[:-1] + ("Z" if ours[-1] != "Z" else "Y")))
    assert it.told("Another Niyam trades this account") == ["page"]


# --- the index stands still while shares tick on ----------------------------------------------------------------------------------------


def test_no_entry_in_a_share_that_ticks_while_the_index_is_silent() -> None:
    it = Harness(instrument=SHARE)
    it.engine.world.canary = FUTURE
    it.engine.process(Tick(FUTURE, it.clock.now(), 25_000.0, exchange_at=it.clock.now()))
    for _ in range(70):
        it.tick(1400.0, 1)
    it.want(1)
    assert it.executor.placed == []
    assert it.target.pending
    assert it.told("No prices") == ["warn"]
    it.engine.process(Tick(FUTURE, it.clock.now(), 25_000.0, exchange_at=it.clock.now()))
    it.want(1)
    assert len(it.executor.placed) == 1


def test_the_exit_of_such_a_share_goes() -> None:
    it = Harness(instrument=SHARE)
    it.engine.world.canary = FUTURE
    it.engine.process(Tick(FUTURE, it.clock.now(), 25_000.0, exchange_at=it.clock.now()))
    it.want(1)
    it.complete(1400.0)
    for _ in range(10):
        it.tick(1400.0, 1)
    it.want(0)
    assert [order.quantity for order in exits(it)] == [1]


# --- the broker squares us off somewhere else -------------------------------------------------------------------------------------------
# NSE stood still for hours on 24 February 2021; brokers closed intraday positions by the opposite on BSE, or in another product.


def halted(it: Harness) -> None:
    """No price comes any more, two minutes long."""
    it.clock.move_to(it.clock.now() + timedelta(minutes=2))
    it.engine.run_timers()


def offset(it: Harness, side: Side = Side.SELL, number: str = "1") -> None:
    it.engine.process(theirs(it, side, product="NRML", number=number))


def test_an_exit_does_not_open_the_other_side_of_what_the_broker_has_offset_elsewhere() -> None:
    it = held()
    halted(it)
    offset(it)
    assert it.told("Offset elsewhere") == ["page"]
    it.tick(25_000.0)
    it.want(0)
    it.tick(25_000.0, 60)
    assert exits(it) == []
    assert it.held == LOT, "nothing is booked to make the numbers fit"
    it.go_to(15, 20)
    it.pass_time(300)
    assert exits(it) == []
    assert it.told("Not flat") == ["page"]


def test_what_is_not_offset_is_closed() -> None:
    it = held(2)
    halted(it)
    offset(it)
    it.tick(25_000.0)
    it.want(0)
    it.tick(25_000.0, 5)
    assert [order.quantity for order in exits(it)] == [LOT]


def test_it_is_closed_once_the_other_side_is_gone() -> None:
    it = held()
    halted(it)
    offset(it)
    it.tick(25_000.0)
    it.want(0)
    offset(it, Side.BUY, "2")
    it.tick(25_000.0, 5)
    assert [order.quantity for order in exits(it)] == [LOT]


def test_a_person_may_say_that_the_other_side_is_no_square_off() -> None:
    it = held()
    it.go_to(15, 20)
    it.fill(0)
    it.end(OrderState.REJECTED, "exchange is down")
    offset(it)
    sent = len(exits(it))
    it.tick(25_000.0, 60)
    assert len(exits(it)) == sent
    it.engine.process(Command(it.clock.now(), "1", "acknowledge", {}))
    it.tick(25_000.0, 60)
    assert len(exits(it)) > sent


def test_it_is_remembered_over_a_restart() -> None:
    it = held()
    halted(it)
    offset(it)
    again = it.restarted()
    again.books(net=LOT)
    again.tick(25_000.0)
    again.want(0)
    again.tick(25_000.0, 30)
    assert exits(again) == []


def test_a_hedge_by_hand_while_the_market_runs_holds_up_no_exit() -> None:
    it = held()
    offset(it)
    assert it.told("Offset elsewhere") == []
    it.want(0)
    assert [order.quantity for order in exits(it)] == [LOT]


def test_what_others_held_before_or_on_our_side_offsets_nothing() -> None:
    for side, late in ((Side.SELL, False), (Side.BUY, True)):
        it = Harness()
        if not late:
            halted(it)
            offset(it, side)
            it.tick(25_000.0)
        it.want(1)
        it.complete()
        if late:
            halted(it)
            offset(it, side)
            it.tick(25_000.0)
        it.want(0)
        it.tick(25_000.0, 5)
        assert [order.quantity for order in exits(it)] == [LOT], side


def test_a_share_is_offset_on_the_other_exchange() -> None:
    it = Harness(instrument=SHARE)
    it.want(1)
    it.complete(1400.0)
    assert it.held == 1
    halted(it)
    twin = msgspec.structs.replace(SHARE, key=f"BSE:{SHARE.symbol}", exchange="BSE")
    row = theirs(it, Side.SELL, 1, product="CNC")
    trade = msgspec.structs.replace(row.trades[0], instrument=twin, quantity=1)
    it.engine.process(msgspec.structs.replace(row, instrument=twin, trades=(trade,)))
    it.tick(1400.0)
    it.want(0)
    it.tick(1400.0, 30)
    assert exits(it) == []
    assert it.told("Offset elsewhere") == ["page"]


# --- a program that was updated by half -------------------------------------------------------------------------------------------------


def test_files_that_are_not_those_the_process_began_with_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "part.py").write_text("A = 1\n", encoding="utf-8")
    began = build_hash(tmp_path)
    assert program_changed(began, tmp_path) == ""
    (tmp_path / "core" / "part.py").write_text("A = 2\n", encoding="utf-8")
    text = program_changed(began, tmp_path)
    assert began[:12] in text
    assert build_hash(tmp_path)[:12] in text
    (tmp_path / "core" / "part.py").write_text("A = 1\n", encoding="utf-8")
    (tmp_path / "core" / "more.py").write_text("", encoding="utf-8")
    assert program_changed(began, tmp_path) != ""
