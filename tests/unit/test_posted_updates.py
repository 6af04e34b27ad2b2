"""What a broker posts is one more voice beside reply, socket and order book: merged, in any order and as often as it comes."""

import itertools
from collections.abc import Callable

import msgspec
import pytest

from core.events import POSTBACK, OrderUpdate
from core.types import OrderState, Side
from tests.harness import Harness


def posted(it: Harness, state: OrderState | None, filled: int, price: float) -> OrderUpdate:
    """A row without trades, as postbacks are."""
    return msgspec.structs.replace(it.row(it.last, state, filled, price), source=POSTBACK)


def entered() -> Harness:
    it = Harness()
    it.want(1)
    it.ack()
    return it


def test_a_fill_that_the_broker_posts_first_is_booked_and_never_again() -> None:
    it = entered()
    whole = posted(it, OrderState.FILLED, 65, 25_001.0)
    it.engine.process(whole)
    assert (it.held, it.last.state) == (65, OrderState.FILLED)
    trade = it.trade(whole.broker_order_id, Side.BUY, 65, 25_001.0)
    it.engine.process(msgspec.structs.replace(it.row(it.last, OrderState.FILLED, 65, 25_001.0), trades=(trade,)))
    it.engine.process(whole)
    it.books(it.row(it.last, OrderState.FILLED, 65, 25_001.0), trades=(trade,), net=65)
    assert it.held == 65
    assert sum(fill.quantity for fill in it.store.fills()) == 65
    assert it.told("Impossible order update") == []


def test_posted_before_the_reply_it_is_known_by_its_tag() -> None:
    it = Harness()
    it.want(1)
    it.engine.process(posted(it, OrderState.FILLED, 65, 25_001.0))
    assert it.held == 65
    it.ack()
    assert (it.last.state, it.held) == (OrderState.FILLED, 65)


VOICES: dict[str, Callable[[Harness], None]] = {
    "posted: part": lambda it: it.engine.process(posted(it, OrderState.WORKING, 30, 25_001.0)),
    "posted: whole": lambda it: it.engine.process(posted(it, OrderState.FILLED, 65, 25_002.0)),
    "socket: part": lambda it: it.engine.process(it.row(it.last, OrderState.WORKING, 30, 25_001.0)),
    "socket: whole": lambda it: it.engine.process(it.row(it.last, OrderState.FILLED, 65, 25_002.0)),
    "book": lambda it: it.books(it.row(it.last, OrderState.FILLED, 65, 25_002.0), net=65),
}


def test_whatever_comes_first_and_twice_the_order_ends_the_same() -> None:
    for names in itertools.permutations(VOICES):
        it = entered()
        for name in (*names, names[0]):
            VOICES[name](it)
        assert (it.held, it.last.state, it.last.filled) == (65, OrderState.FILLED, 65), names
        assert it.last.average_price == pytest.approx(25_002.0), names
        assert sum(fill.quantity * fill.price for fill in it.store.fills()) == pytest.approx(65 * 25_002.0, abs=0.01 * 65), names
        assert it.told("Impossible order update") == [], names


def test_an_order_that_is_not_ours_books_nothing_and_has_the_books_read() -> None:
    it = entered()
    it.fill()
    reads = it.executor.reads
    theirs = msgspec.structs.replace(posted(it, OrderState.FILLED, 65, 24_990.0), broker_order_id="OTHER", tag=None, side=Side.SELL)
    it.engine.process(theirs)
    assert it.executor.reads == reads + 1
    assert it.held == 65
    assert it.journal("foreign_order") == []
    trade = it.trade("OTHER", Side.SELL, 65, 24_990.0)
    it.books(msgspec.structs.replace(theirs, source="book"), trades=(trade,), net=0)
    assert it.held == 0, "the account's own book has it: it closed ours"


def test_a_state_that_nobody_knows_moves_nothing() -> None:
    it = entered()
    it.engine.process(posted(it, None, 0, 0.0))
    assert (it.held, it.last.state) == (0, OrderState.PENDING_NEW)
