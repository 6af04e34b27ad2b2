"""An order of unknown fate counts as never having arrived only by a book that is known to be younger than it, or by a person's word."""

from datetime import timedelta

import msgspec
import pytest

from core.events import Command, OrderUpdate
from core.types import Instrument, Order, OrderState, Purpose
from execution_engine.absence import Absence
from tests.builders import make_order
from tests.harness import FUTURE, SHARE, Harness

LOT = 65


def lost_exit() -> tuple[Harness, Order, OrderUpdate]:
    """A position whose exit nobody answered, and the book's row of its entry."""
    it = Harness()
    it.want(1)
    it.complete()
    bought = it.row(it.last, OrderState.FILLED, LOT, 25_000.0)
    it.tick(25_000.0, 6)
    it.want(0)
    it.uncertain(it.last)
    return it, it.last, bought


def read(it: Harness, *rows: OrderUpdate, times: int = 1, net: int = LOT, every: float = 30.0) -> None:
    for _ in range(times):
        it.tick(25_000.0, every)
        it.books(*rows, net=net)


def another(it: Harness, seconds: float, lost: Order, instrument: Instrument = FUTURE) -> OrderUpdate:
    """The row of another strategy's order, sent `seconds` after the lost one's fate became unknown."""
    at = lost.updated_at + timedelta(seconds=seconds)
    tag = it.desk.tags.next(at.date())
    order = make_order(
        id=tag, tag=tag, strategy="other", name="X", instrument=instrument, broker_order_id=f"B{tag}", state=OrderState.CANCELLED,
        created_at=at, updated_at=at, product="MIS",
    )  # fmt: skip
    it.desk._keep(order)
    return it.row(order, OrderState.CANCELLED, 0)


def state_of(it: Harness, order: Order) -> OrderState:
    known = it.desk.get(order.id)
    assert known is not None
    return known.state


def exits(it: Harness) -> int:
    return sum(order.purpose is Purpose.EXIT for order in it.executor.placed)


def test_books_without_a_sign_of_life_prove_nothing_for_however_long() -> None:
    it, lost, bought = lost_exit()
    read(it, bought, times=60)
    assert it.last.state is OrderState.UNKNOWN
    assert exits(it) == 1
    assert it.told("Look for an order") == ["page"]
    [text] = [text for _, title, text in it.alerts if title == "Look for an order"]
    assert f"`absent {lost.tag} --confirm`" in text


def test_the_hidden_exit_that_shows_after_half_an_hour_is_the_only_one() -> None:
    it, lost, bought = lost_exit()
    read(it, bought, times=60)
    read(it, bought, it.row(lost, OrderState.FILLED, LOT, 25_000.0), net=0)
    assert (it.held, exits(it)) == (0, 1)


@pytest.mark.parametrize(
    ("seconds", "instrument", "state"),
    [
        (119.0, FUTURE, OrderState.UNKNOWN),  # the lost one may still have been on its way then
        (120.0, FUTURE, OrderState.NOT_FOUND),
        (600.0, SHARE, OrderState.UNKNOWN),  # a broker may list each exchange by itself
    ],
)
def test_a_younger_order_of_ours_in_the_book_is_a_sign_of_life(seconds: float, instrument: Instrument, state: OrderState) -> None:
    it, lost, bought = lost_exit()
    read(it, bought, times=5)
    read(it, bought, another(it, seconds, lost, instrument), times=1 if state is OrderState.NOT_FOUND else 20)
    known = it.desk.get(lost.id)
    assert known is not None
    assert known.state is state
    it.tick(25_000.0, 5)
    assert exits(it) == (2 if state is OrderState.NOT_FOUND else 1)
    assert bool("the book shows " in known.reason) is (state is OrderState.NOT_FOUND)


def test_a_sign_of_life_without_four_reads_over_two_minutes_proves_nothing() -> None:
    it, lost, bought = lost_exit()
    it.tick(25_000.0, 130)
    sign = another(it, 125.0, lost)
    read(it, bought, sign, times=11, every=10.0)  # the first to the last: 100 s
    assert state_of(it, lost) is OrderState.UNKNOWN
    read(it, bought, sign, times=2, every=10.0)
    assert state_of(it, lost) is OrderState.NOT_FOUND


def test_a_sign_of_life_beside_a_position_that_moved_proves_nothing() -> None:
    it, lost, bought = lost_exit()
    read(it, bought, another(it, 125.0, lost), times=20, net=0)
    assert state_of(it, lost) is OrderState.UNKNOWN
    assert exits(it) == 1


def test_a_person_who_has_looked_stands_for_the_sign_of_life_alone() -> None:
    it, lost, bought = lost_exit()
    assert not it.absent(lost)
    assert "may still be on its way" in it.answers[-1][2]
    it.tick(25_000.0, 121)
    reads = it.executor.reads
    assert it.absent(lost)
    assert it.executor.reads > reads
    read(it, bought, times=4)
    assert it.last.state is OrderState.UNKNOWN  # four reads, 90 seconds
    assert not it.told("Look for an order")
    read(it, bought)
    assert "a person did not find it at" in (it.desk.get(lost.id) or lost).reason
    it.tick(25_000.0, 5)
    assert exits(it) == 2


def test_a_persons_word_is_for_an_order_of_unknown_fate_alone_and_is_to_be_confirmed() -> None:
    it, _, bought = lost_exit()
    entry = it.executor.placed[0]
    assert not it.absent(entry)
    assert "its fate is known" in it.answers[-1][2]
    assert not it.absent(msgspec.structs.replace(entry, tag="NOSUCH"))
    assert "no order of today" in it.answers[-1][2]
    it.control.handle(it.engine, Command(it.clock.now(), "1", "absent", {"tag": it.last.tag}))
    assert it.answers[-1][1] is False
    read(it, bought, times=8)
    assert it.last.state is OrderState.UNKNOWN


class Trusting(Absence):
    """Takes books without news for news."""

    def _sign(self, order: Order, youngest: Order | None) -> str:
        return "nothing speaks against it"


def test_the_check_sees_an_absence_without_a_sign_of_life() -> None:
    it, lost, bought = lost_exit()
    it.engine.reconciliation.absence.__class__ = Trusting
    read(it, bought, times=6)
    assert exits(it) == 2  # and when the first shows after all, the position has turned round
    read(it, bought, it.row(lost, OrderState.FILLED, LOT, 25_000.0), net=-LOT)
    it.complete()
    assert it.held == -LOT


def test_an_older_order_that_a_clock_set_back_makes_look_younger_is_no_sign_of_life() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    entry = it.last
    it.desk._keep(msgspec.structs.replace(entry, created_at=entry.created_at + timedelta(hours=1)))  # sent before the clock was set back
    bought = it.row(it.last, OrderState.FILLED, LOT, 25_000.0)
    it.tick(25_000.0, 6)
    it.want(0)
    it.uncertain(it.last)
    read(it, bought, times=10)
    assert it.last.state is OrderState.UNKNOWN
