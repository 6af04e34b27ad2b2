"""Books in doubt: what the broker took, or told, must be in its book within five seconds; until then exits go by two reads of positions."""

from core.types import Order, OrderState, Purpose
from tests.harness import Harness

LOT = 65


def filled() -> tuple[Harness, Order]:
    """A position whose entry the broker took and told, six seconds ago."""
    it = Harness()
    it.want(1)
    it.complete()
    it.tick(25_000.0, 6)
    return it, it.executor.placed[0]


def test_an_order_that_was_taken_and_is_not_in_the_book_stops_entries_and_is_told_once() -> None:
    it, _ = filled()
    it.books(net=LOT)
    it.books(net=LOT)
    assert "was acknowledged and is not in the order book" in (it.engine.world.blind or "")
    assert it.told("Entries are off") == ["page"]
    assert len(it.journal("blind")) == 1


def test_a_book_that_contradicts_what_was_told_is_in_doubt_until_it_agrees() -> None:
    it, entry = filled()
    it.books(it.row(entry, OrderState.WORKING, 0), net=LOT)
    assert "its book still shows" in (it.engine.world.blind or "")
    it.books(it.row(entry, OrderState.FILLED, LOT, 25_000.0), net=LOT)
    assert it.engine.world.blind is None


def test_a_book_is_given_five_seconds() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.tick(25_000.0, 4)
    it.books(net=LOT)
    assert it.engine.world.blind is None


def test_an_exit_leaves_after_two_reads_of_positions_that_bear_it_out() -> None:
    it, _ = filled()
    it.books(net=LOT)
    it.tick(25_000.0, 12)
    it.want(0)
    assert it.executor.placed[-1].purpose is Purpose.ENTRY
    it.books(net=LOT)
    assert it.executor.placed[-1].purpose is Purpose.ENTRY
    it.books(net=LOT)
    assert (it.last.purpose, it.last.quantity) == (Purpose.EXIT, LOT)


def test_two_reads_that_are_too_old_bear_nothing_out() -> None:
    it, _ = filled()
    it.books(net=LOT)
    it.books(net=LOT)
    it.tick(25_000.0, 12)
    it.want(0)
    assert it.executor.placed[-1].purpose is Purpose.ENTRY


def test_an_exit_that_the_positions_do_not_bear_out_waits_and_is_told_once() -> None:
    it, entry = filled()
    it.books(net=0)
    it.want(0)
    for _ in range(4):
        it.books(net=0)
        it.tick(25_000.0, 1)
    assert it.executor.placed[-1].purpose is Purpose.ENTRY
    it.books(it.row(entry, OrderState.FILLED, LOT, 25_000.0), net=LOT)
    it.tick(25_000.0, 3)
    assert (it.last.purpose, it.last.quantity) == (Purpose.EXIT, LOT)


def test_books_that_do_not_bear_an_exit_out_are_asked_again_every_fifteen_seconds_and_not_more_often() -> None:
    it, _ = filled()
    it.books(net=0)
    it.want(0)
    for _ in range(3):
        it.books(net=0)
    before = it.executor.reads
    for _ in range(120):
        reads = it.executor.reads
        it.pass_time(1)
        if it.executor.reads > reads:
            it.books(net=0)
    assert it.executor.reads - before <= 120 / 15 + 120 / 15 + 6  # for the exit, on the clock, and for the difference
    it.books(net=LOT)
    it.books(net=LOT)
    it.pass_time(3)
    assert (it.last.purpose, it.last.quantity) == (Purpose.EXIT, LOT), "two reads that bear it out are enough"


def test_an_exit_does_not_wait_for_books_that_cannot_be_read() -> None:
    it, _ = filled()
    it.books(net=LOT)
    it.tick(25_000.0, 12)
    it.want(0)
    for _ in range(3):
        it.books_fail()
    it.tick(25_000.0, 3)
    assert (it.last.purpose, it.last.quantity) == (Purpose.EXIT, LOT)


def test_books_in_doubt_prove_no_absence() -> None:
    """An entry of unknown fate beside another order that was taken and is not shown: the books stand still."""
    it = Harness()
    it.want(1)
    it.complete()
    it.want(0)
    lost = it.last
    it.pass_time(4)
    it.uncertain(lost)
    for _ in range(6):
        it.tick(25_000.0, 40)
        it.books(net=LOT)
    known = it.desk.get(lost.id)
    assert known is not None
    assert known.state is OrderState.UNKNOWN
