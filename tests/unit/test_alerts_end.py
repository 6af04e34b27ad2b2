"""What is told once is told once: rows that come again and again with each read of the books page nobody a second time."""

import msgspec

from core.events import Command, FeedStatus
from core.types import OrderState
from tests.harness import Harness


def test_a_word_that_is_in_no_table_is_told_once_however_often_it_is_read() -> None:
    it = Harness()
    it.want(1)
    it.ack()
    for _ in range(5):
        it.books(it.row(it.last, None, 0, label="FREEZED"), net=0)
    assert it.told("Order state not in the table") == ["warn"]
    assert it.told("Impossible order update") == ["page"]
    it.books(it.row(it.last, None, 0, label="THAWED"), net=0)
    assert it.told("Order state not in the table") == ["warn"] * 2


def test_what_a_person_has_looked_at_is_not_frozen_again_by_the_same_row() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    twin = msgspec.structs.replace(it.row(it.last, OrderState.FILLED, 65, 25000.0), broker_order_id="TWIN")
    for _ in range(3):
        it.books(it.row(it.last, OrderState.FILLED, 65, 25000.0), twin, net=65)
    assert it.told("Impossible order update") == ["page"]
    assert list(it.desk.frozen) == [it.instrument.key]
    it.engine.process(Command(it.clock.now(), "C1", "resume", {"confirm": True}))
    for _ in range(3):
        it.books(it.row(it.last, OrderState.FILLED, 65, 25000.0), twin, net=65)
    assert it.told("Impossible order update") == ["page"]
    assert it.desk.frozen == {}


def test_a_feed_that_comes_and_goes_is_told_every_ten_minutes() -> None:
    it = Harness()

    def flap(seconds: int) -> None:
        for connected in (False, True):
            it.pass_time(seconds)
            it.engine.process(FeedStatus(it.clock.now(), connected=connected, reason="" if connected else "closed by the server"))

    flap(120)
    for _ in range(60):
        flap(10)
    assert it.told("Feed lost") == ["warn"] * 3
    assert it.alerts[-1][2].startswith("closed by the server (and 29 times since 09:")
    flap(100)
    flap(100)
    assert it.told("Feed lost") == ["warn"] * 5, "each loss of a connection that had lasted is news"
