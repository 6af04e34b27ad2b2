"""Exits that do not get through at the end of the day: no storm, no second exit, and a person is told in time what to do."""

from datetime import timedelta
from itertools import pairwise

import pytest

from core.events import Action, Outcome, PriceLimits
from core.types import Order, OrderState, Purpose, Side
from tests.harness import FUTURE, Harness

LOT = 65


def held(target: float = 1) -> Harness:
    it = Harness()
    it.want(target)
    it.complete()
    return it


def exits(it: Harness) -> list[Order]:
    return [order for order in it.executor.placed if order.purpose is not Purpose.ENTRY]


def test_a_halted_exchange_is_asked_once_in_thirty_seconds() -> None:
    it = held()
    it.go_to(15, 20)
    it.pass_time(6)
    began = it.clock.now()
    while it.clock.now() - began < timedelta(minutes=5):
        if it.desk.live():
            it.reply(Action.PLACE, Outcome.REJECT, "trading is halted")
        it.pass_time(7)  # no tick comes any more
    asked = [order.created_at for order in exits(it)]
    assert 9 <= len(asked) <= 11
    assert min(later - earlier for earlier, later in pairwise(asked)) >= timedelta(seconds=30)
    assert it.told("Exit does not get through") == ["warn", "warn", "page"]
    assert it.told("Not flat") == ["page"]


def test_refusals_while_prices_come_slow_down_from_the_second_on() -> None:
    it = held()
    it.go_to(15, 20)
    for _ in range(120):
        if it.desk.live():
            it.reply(Action.PLACE, Outcome.REJECT, "no")
        it.tick(25_000.0, 1)
    asked = [order.created_at for order in exits(it)]
    assert 4 <= len(asked) <= 6


@pytest.mark.parametrize(("side", "price", "limits"), [(1, 24_000.0, (24_000.0, 26_000.0)), (-1, 26_000.0, (24_000.0, 26_000.0))])
def test_what_is_locked_at_its_circuit_is_called_stuck_as_soon_as_it_is_to_go(side: int, price: float, limits: tuple[float, float]) -> None:
    it = held(side)
    it.engine.process(PriceLimits(it.clock.now(), {FUTURE.key: limits}))
    it.go_to(15, 19, 58)
    it.tick(price)
    tick = it.engine.world.ticks[FUTURE.key]
    it.engine.process(
        type(tick)(
            FUTURE, it.clock.now(), price, exchange_at=it.clock.now(), bid=0.0 if side > 0 else price, ask=0.0 if side < 0 else price
        )
    )
    assert it.told("STUCK") == []
    it.pass_time(10)
    assert it.told("STUCK") == ["page"]
    [text] = [text for _, title, text in it.alerts if title == "STUCK"]
    assert f"{side * LOT} {FUTURE.key}" in text
    assert it.engine.square_off.rounds()[0]["stuck"].keys() == {FUTURE.key}
    it.tick(price - side, 2)
    it.tick(price + side * 5, 3)
    assert "stuck" not in it.engine.square_off.rounds()[0]


def past_the_cut_off() -> Harness:
    """Something is held although the broker's own square-off has begun."""
    it = held()
    plan = it.engine.world.plan(FUTURE)
    assert plan is not None
    assert plan.cut_off.at is not None
    it.clock.move_to(plan.cut_off.at - timedelta(seconds=30))
    it.engine.run_timers()
    it.tick(25_000.0)
    it.clock.move_to(plan.cut_off.at + timedelta(seconds=5))
    it.tick(25_000.0)
    return it


def test_after_the_brokers_cut_off_an_exit_goes_by_a_read_of_a_moment_ago() -> None:
    it = past_the_cut_off()
    it.reply(Action.PLACE, Outcome.REJECT, "MIS blocked")
    sent, reads = len(exits(it)), it.executor.reads
    it.tick(25_000.0, 4)
    assert len(exits(it)) == sent, "refused because the broker squares off: first it is asked what is left"
    assert it.executor.reads > reads
    it.books(it.row(it.executor.placed[0], OrderState.FILLED, LOT, 25_000.0), net=LOT)
    assert len(exits(it)) == sent + 1, "it is ours still: another try"


def test_the_brokers_own_square_off_is_recognised_and_not_doubled() -> None:
    it = past_the_cut_off()
    it.reply(Action.PLACE, Outcome.REJECT, "MIS blocked")
    sent = len(exits(it))
    it.tick(25_000.0, 4)
    it.books(net=0)  # its trades are not listed yet
    it.tick(25_000.0, 40)
    assert len(exits(it)) == sent
    rms = it.row(it.executor.placed[0], OrderState.FILLED, LOT, 24_990.0)
    it.engine.process(
        type(rms)(rms.at, "book", "RMS1", FUTURE, Side.SELL, LOT, OrderState.FILLED, LOT, 24_990.0, product="MIS", exchange_at=rms.at,
                  trades=(it.trade("RMS1", Side.SELL, LOT, 24_990.0),))
    )  # fmt: skip
    assert it.held == 0
    assert it.told("Closed from outside") == ["page"]
    it.tick(25_000.0, 40)
    assert len(exits(it)) == sent
    assert it.engine.flat


def test_an_exit_that_nobody_confirms_is_unknown_after_ten_seconds_and_is_not_sent_again() -> None:
    it = held()
    it.want(0)
    it.ack()
    it.pass_time(9)
    assert it.told("An exit is not confirmed") == []
    it.pass_time(30)
    assert it.told("An exit is not confirmed") == ["page"]
    assert len(exits(it)) == 1
    assert not it.engine.flat
    [text] = [text for _, title, text in it.alerts if title == "An exit is not confirmed"]
    assert it.last.tag in text
    assert "PENDING_NEW" in text


def test_a_cancellation_in_the_way_of_an_exit_that_nobody_confirms_is_told() -> None:
    it = Harness()
    it.want(1)
    it.ack()
    it.working()
    it.fill(0)
    it.want(0)
    it.pass_time(20)
    assert it.told("An exit is not confirmed") == ["page"]


@pytest.mark.parametrize("side", [1, -1])
def test_a_resting_exit_is_not_moved_after_a_restart_before_a_price_has_come(side: int) -> None:
    it = held(side)
    it.tick(25_000.0, 1)
    it.want(0)
    it.ack()
    it.working()
    again = it.restarted()
    rows = [
        again.row(one, OrderState.FILLED if one.purpose is Purpose.ENTRY else OrderState.WORKING, one.filled, one.average_price)
        for one in again.desk.all()
    ]
    again.books(*rows, net=side * LOT)
    again.pass_time(10)
    assert again.executor.modified == []
    again.tick(25_000.0 - side * 50)
    again.pass_time(4)
    [(_, price)] = again.executor.modified
    assert price == pytest.approx(25_000.0 - side * 50, rel=0.01)
