"""What is told once is told once: rows that come again and again with each read of the books page nobody a second time."""

import msgspec

from core.events import Action, Command, FeedStatus, Outcome, PriceLimits
from core.types import OrderState, Tick
from tests.harness import FUTURE, Harness


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


def test_a_restart_thaws_nothing() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.books(it.row(it.last, OrderState.FILLED, 65, 25000.0), it.row(it.last, OrderState.FILLED, 130, 25000.0), net=130)
    assert it.engine.world.frozen(FUTURE)
    again = it.restarted()
    assert again.engine.world.frozen(FUTURE) == it.engine.world.frozen(FUTURE)
    again.engine.process(Command(again.clock.now(), "C1", "acknowledge"))
    again.engine.settle()
    assert not again.engine.world.frozen(FUTURE)
    assert not again.restarted().engine.world.frozen(FUTURE)


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


def test_an_exit_that_is_refused_again_and_again_for_one_reason_is_told_so_once() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.go_to(15, 20)

    def refused(why: str, seconds: int) -> None:
        for _ in range(seconds // 5):
            if it.desk.live():
                it.reply(Action.PLACE, Outcome.REJECT, why)
            it.tick(25_000.0, 5)

    refused("trading is halted", 300)
    assert it.told("Rejected") == ["warn"]
    assert it.told("Exit does not get through") == ["warn", "page"]
    refused("blocked by RMS", 120)
    assert it.told("Rejected") == ["warn"] * 2, "another reason is news"


def test_a_circuit_that_opens_and_locks_again_is_paged_once() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    it.engine.process(PriceLimits(it.clock.now(), {FUTURE.key: (25_000.0, 27_000.0)}))
    it.go_to(15, 20)
    for number in range(60):
        it.pass_time(2)
        now = it.clock.now()
        it.engine.process(Tick(FUTURE, now, 25_000.0, exchange_at=now, bid=0.0 if number % 2 else 25_000.0, ask=25_000.1))
        it.engine.run_timers()
    assert it.told("STUCK") == ["page"]
