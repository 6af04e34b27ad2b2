"""Orders at a broker that gives no tag back: told from one another by what they are, never two alike at work, and no order made twice."""

from typing import Any

import msgspec

from core.events import Action, OrderUpdate, Outcome, Trade
from core.types import OrderState, Refused, Side
from risk.gate import Gate
from tests.builders import NIFTY, make_order
from tests.harness import Harness
from tests.unit.risk_fakes import FakeBook, entry, held, leave, settings


def harness() -> Harness:
    it = Harness()
    it.engine.world.tags_echoed = False
    return it


def untagged(it: Harness, state: OrderState = OrderState.WORKING, filled: int = 0, number: str = "X1", **more: Any) -> OrderUpdate:
    """A row just like the last order, which nobody's tag or id says is ours."""
    row = it.row(it.last, state, filled, 25000.0 if filled else 0.0)
    return msgspec.structs.replace(row, tag=None, broker_order_id=number, exchange_at=None, **more)


def lost(it: Harness) -> None:
    """An entry leaves and its call ends in nothing."""
    it.want(1)
    it.pass_time(1)
    it.reply(Action.PLACE, Outcome.UNKNOWN, "timed out")


def test_an_order_of_unknown_fate_is_the_one_row_that_is_just_like_it() -> None:
    it = harness()
    lost(it)
    it.pass_time(1)
    row = untagged(it, OrderState.FILLED, 65)
    trade = Trade("T1", "X1", it.instrument, Side.BUY, 65, 25000.0, it.clock.now())
    it.books(row, trades=(trade,), net=65)
    assert (it.last.state, it.last.broker_order_id, it.held) == (OrderState.FILLED, "X1", 65)
    assert len(it.journal("claimed")) == 1
    assert not it.journal("foreign_order")
    assert it.portfolio.net(it.instrument, "MIS") == 65, "booked once, as ours"


def test_a_row_of_another_price_or_size_is_somebody_elses() -> None:
    for change in ({"limit_price": 24000.0}, {"quantity": 130}, {"side": Side.SELL}):
        it = harness()
        lost(it)
        it.pass_time(1)
        it.books(untagged(it, **change))
        assert it.last.state is OrderState.UNKNOWN
        assert len(it.journal("foreign_order")) == 1


def test_a_row_that_was_there_before_is_not_taken_for_ours() -> None:
    it = harness()
    it.want(1)
    before = untagged(it)
    it.reply(Action.PLACE, Outcome.REJECT, "no")
    it.pass_time(1)
    it.books(before)
    it.want(0)
    lost(it)
    it.pass_time(1)
    it.books(before)
    assert it.last.state is OrderState.UNKNOWN


def test_two_rows_alike_are_nobodys_and_a_person_is_paged_once() -> None:
    it = harness()
    lost(it)
    for _ in range(3):
        it.pass_time(1)
        it.books(untagged(it), untagged(it, number="X2"))
    assert it.last.state is OrderState.UNKNOWN
    assert it.told("Order of unknown fate is not to be told from others") == ["page"]
    assert len(it.executor.placed) == 1


def test_a_push_that_overtakes_the_reply_is_not_called_foreign() -> None:
    it = harness()
    it.want(1)
    row = untagged(it, number=f"B{it.last.id}")
    it.engine.process(row)
    assert not it.journal("foreign_order")
    it.ack()
    it.engine.process(row)
    assert (it.last.state, it.last.broker_order_id) == (OrderState.WORKING, f"B{it.last.id}")


def test_with_tags_a_row_alike_is_foreign_as_ever() -> None:
    it = Harness()
    lost(it)
    it.pass_time(1)
    it.books(untagged(it))
    assert it.last.state is OrderState.UNKNOWN
    assert len(it.journal("foreign_order")) == 1


# --- the gate -----------------------------------------------------------------------------------------------------------------------------


def test_a_second_order_alike_waits_and_another_passes() -> None:
    working = make_order(instrument=NIFTY, side=Side.BUY, quantity=65, limit_price=25_000.0, strategy="other")
    book = FakeBook(tags_echoed=False, orders=[working])
    verdict = Gate(settings()).review(entry(), book)
    assert isinstance(verdict, Refused)
    assert (verdict.rule, verdict.permanent) == ("twin", False)
    assert not isinstance(Gate(settings()).review(entry(limit_price=25_000.1), book), Refused)
    assert not isinstance(Gate(settings(max_order_value=1e9)).review(entry(quantity=130), book), Refused)
    assert not isinstance(Gate(settings()).review(entry(), FakeBook(orders=[working])), Refused)


def test_an_exit_alike_waits_too() -> None:
    working = make_order(instrument=NIFTY, side=Side.SELL, quantity=65, limit_price=25_000.0, strategy="other")
    verdict = Gate(settings()).review(leave(), held(tags_echoed=False, orders=[working]))
    assert isinstance(verdict, Refused)
    assert (verdict.rule, verdict.permanent) == ("twin", False)


def test_what_the_broker_has_no_product_for_is_refused_for_good() -> None:
    verdict = Gate(settings()).review(entry(), FakeBook(objections={"NIFTY": "the API has none; trade the future"}))
    assert isinstance(verdict, Refused)
    assert (verdict.rule, verdict.permanent) == ("product", True)
    assert "trade the future" in verdict.reason


def test_somebody_elses_order_is_not_taken_for_ours_by_the_next_process_either() -> None:
    it = harness()
    it.want(1)
    before = msgspec.structs.replace(untagged(it, OrderState.FILLED, 65), limit_price=0.0)
    trade = Trade("T1", "X1", it.instrument, Side.BUY, 65, 25000.0, it.clock.now())
    it.reply(Action.PLACE, Outcome.REJECT, "no")
    it.pass_time(1)
    it.books(before, trades=(trade,), net=65)
    it.want(0)
    it.want(1)
    it = it.restarted()
    it.engine.world.tags_echoed = False
    [lost_one] = it.desk.unknown()
    it.pass_time(1)
    it.books(before, trades=(trade,), net=65)
    assert it.desk.get(lost_one.id) == lost_one
    assert it.portfolio.net(it.instrument, "MIS") == 65, "it was booked once, as theirs"
    it.books(before, msgspec.structs.replace(before, broker_order_id="X2"), trades=(trade,), net=130)
    found = it.desk.get(lost_one.id)
    assert found is not None
    assert found.broker_order_id == "X2"


def test_an_order_of_others_that_was_there_before_does_not_hold_up_the_proof_of_absence() -> None:
    it = harness()
    it.want(1)
    before = msgspec.structs.replace(untagged(it), limit_price=0.0)
    it.reply(Action.PLACE, Outcome.REJECT, "no")
    it.pass_time(1)
    it.books(before)
    it.want(0)
    lost(it)
    it.pass_time(121)
    assert it.absent()
    for _ in range(6):
        it.tick(25_000.0, 30)
        it.books(before)
    assert it.last.state is OrderState.NOT_FOUND


def test_noted_orders_of_an_earlier_day_are_forgotten() -> None:
    it = harness()
    it.store.put("foreign_orders", "OLD", "2026-11-19")
    it.engine.reconciliation.open_day()
    assert it.store.items("foreign_orders") == {}
