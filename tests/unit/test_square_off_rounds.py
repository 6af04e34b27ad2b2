"""Square-offs that start together and end apart, and what comes after a page: each thing that is open is told in its own time."""

from datetime import time

from core.events import Action, Outcome
from core.market import SquareOffSettings
from core.types import Horizon, OrderState, Position, Tick
from tests.harness import FUTURE, SHARE, Harness

LOT = 65


def texts(it: Harness) -> list[str]:
    return [text for _, title, text in it.alerts if title == "Not flat"]


def test_what_starts_together_is_paged_before_its_own_deadline() -> None:
    it = Harness(square_off=SquareOffSettings(time=time(15, 0)))
    today = it.clock.now().date()
    gone = Position("test", "gone", SHARE, "MIS", 10, 1400.0, horizon=Horizon.INTRADAY, cost=1_400_000)
    it.portfolio.restore([gone], [], today)
    it.engine.square_off.include(today, SHARE)
    it.want(1)
    it.complete()
    share, future = it.engine.world.plan(SHARE), it.engine.world.plan(FUTURE)
    assert share is not None
    assert future is not None
    assert share.start == future.start
    it.clock.move_to(share.start)
    it.engine.process(Tick(SHARE, share.start, 1400.0, exchange_at=share.start, bid=1399.9, ask=1400.1))
    it.tick(25_000.0)
    it.pass_time((share.page_at - it.clock.now()).total_seconds() + 3)
    [text] = texts(it)
    assert SHARE.key in text
    assert FUTURE.key not in text
    it.pass_time((future.page_at - it.clock.now()).total_seconds() + 3)
    assert len(texts(it)) == 2
    assert SHARE.key not in texts(it)[1]
    assert FUTURE.key in texts(it)[1]
    it.pass_time(300)
    assert len(texts(it)) == 2


def test_what_opens_again_after_a_page_is_paged_again() -> None:
    it = Harness()
    it.want(1)
    it.uncertain(it.last)
    entry = it.last
    plan = it.engine.world.plan(FUTURE)
    assert plan is not None
    it.clock.move_to(plan.start)
    it.tick(25_000.0)
    it.pass_time((plan.page_at - it.clock.now()).total_seconds() + 3)
    assert len(texts(it)) == 1, "an order of unknown fate is open"
    it.end(OrderState.CANCELLED, order=entry)
    it.pass_time(10)
    assert it.engine.square_off.rounds()[0]["flat"] is not None
    it.fill(order=entry)  # cancelled orders have filled before
    it.reply(Action.PLACE, Outcome.REJECT, "MIS blocked")
    it.pass_time(5)
    assert len(texts(it)) == 2
    assert f"{LOT} {FUTURE.key}" in texts(it)[1]


def test_what_is_held_as_the_day_closes_is_told() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    plan = it.engine.world.plan(FUTURE)
    assert plan is not None
    it.clock.move_to(plan.closes)
    it.engine.run_timers()
    it.engine.close_day(it.clock.now().date())
    assert it.told("Held overnight") == ["page"]
    flat = Harness()
    flat.engine.close_day(flat.clock.now().date())
    assert flat.told("Held overnight") == []
