"""The day's circuit limits: asked for, taken up as an event, and minded by prices, orders and the square-off's page."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from core.errors import Transient
from core.events import PriceLimits
from core.types import IST, Instrument, Purpose, Side, Tick
from data_ingestion.tick_filter import OUTSIDE_CIRCUIT, TickFilter
from execution_engine.buy_sell_logic import Quote, capped_price
from runtime.circuits import CircuitWatch
from runtime.inbox import Inbox
from tests.harness import FUTURE, Harness

NOON = datetime(2026, 11, 20, 12, tzinfo=IST)


class Data:
    """A broker's data with limits, or a failure."""

    def __init__(self) -> None:
        self.answer: dict[str, tuple[float, float]] | Exception = {FUTURE.key: (22500.0, 27500.0)}
        self.asked: list[list[str]] = []

    def circuits(self, instruments: Sequence[Instrument]) -> dict[str, tuple[float, float]]:
        self.asked.append([one.key for one in instruments])
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class AtOnce:
    """A worker that runs what it is given on the spot."""

    name = "practice/downloads"

    def submit(self, priority: int, run: Callable[[], Any]) -> None:
        run()


def watch(data: object, gate: TickFilter, inbox: Inbox) -> CircuitWatch:
    worker: Any = AtOnce()
    given: Any = data
    return CircuitWatch(given, worker, inbox, lambda: NOON, gate)


def test_limits_are_asked_for_every_five_minutes_and_at_once_when_ticks_lie_beyond_them() -> None:
    data, gate, inbox = Data(), TickFilter(circuit=lambda one: (22500.0, 27500.0)), Inbox()
    it = watch(data, gate, inbox)
    for second in range(299):
        it.look(lambda: [FUTURE], NOON + timedelta(seconds=second))
    assert len(data.asked) == 1
    assert inbox.drain() == [PriceLimits(NOON, {FUTURE.key: (22500.0, 27500.0)})]
    gate.admit(Tick(FUTURE, NOON, 28000.0))
    it.look(lambda: [FUTURE], NOON + timedelta(seconds=299))
    it.look(lambda: [FUTURE], NOON + timedelta(seconds=310))
    assert len(data.asked) == 2
    data.answer = Transient("no answer")
    it.look(lambda: [FUTURE], NOON + timedelta(seconds=700))
    assert len(data.asked) == 3
    inbox.drain()
    watch(object(), gate, inbox).look(lambda: [FUTURE], NOON)  # a broker without limits is not asked
    assert inbox.drain() == []


def test_ticks_that_stay_beyond_the_limits_are_asked_about_less_and_less_often() -> None:
    data, gate, inbox = Data(), TickFilter(circuit=lambda one: (22500.0, 27500.0)), Inbox()
    it, asked = watch(data, gate, inbox), list[int]()
    for second in range(1800):
        gate.admit(Tick(FUTURE, NOON, 28000.0))
        before = len(data.asked)
        it.look(lambda: [FUTURE], NOON + timedelta(seconds=second))
        asked += [second] * (len(data.asked) - before)
    assert asked == [0, 10, 30, 70, 150, 310, 610, 910, 1210, 1510]
    for second in range(1800, 2200):  # they are within again
        it.look(lambda: [FUTURE], NOON + timedelta(seconds=second))
    gate.admit(Tick(FUTURE, NOON, 28000.0))
    before = len(data.asked)
    it.look(lambda: [FUTURE], NOON + timedelta(seconds=2200))
    assert len(data.asked) == before + 1, "at once again"


@pytest.mark.parametrize(
    ("side", "quote", "price"),
    [
        (Side.SELL, Quote(100.0, 90.05, 0.0, 90.0, 110.0), 90.0),  # 0.3 % lower would be beyond the lower circuit
        (Side.BUY, Quote(109.9, 109.8, 110.0, 90.0, 110.0), 110.0),
        (Side.SELL, Quote(100.0, 99.0, 101.0, 90.0, 110.0), 98.8),
        (Side.BUY, Quote(115.0, 114.9, 115.0, 90.0, 110.0), 115.3),  # the market is beyond them: they are out of date
        (Side.BUY, Quote(100.0, 99.9, 100.0), 100.3),
    ],
)
def test_an_orders_price_stays_within_the_limits_that_the_market_keeps(side: Side, quote: Quote, price: float) -> None:
    assert capped_price(side, FUTURE, quote, 0.3) == pytest.approx(price)


def test_prices_orders_and_views_go_by_the_limits_once_they_are_known() -> None:
    desk = Harness()
    assert desk.engine.world.circuit(FUTURE) is None
    desk.engine.process(PriceLimits(desk.clock.now(), {FUTURE.key: (24990.0, 25010.0)}))
    assert desk.engine.world.circuit(FUTURE) == (24990.0, 25010.0)
    desk.want(1)
    assert desk.last.purpose is Purpose.ENTRY
    assert desk.last.limit_price == pytest.approx(25010.0)  # 25025 by the cap, refused by the exchange
    desk.ack()
    desk.fill()
    gate = TickFilter(circuit=desk.engine.world.circuit)
    assert gate.admit(Tick(FUTURE, desk.clock.now(), 25011.0)) == OUTSIDE_CIRCUIT


def test_what_is_locked_at_its_circuit_is_named_as_stuck() -> None:
    desk = Harness()
    world, now = desk.engine.world, desk.clock.now()
    desk.engine.process(PriceLimits(now, {FUTURE.key: (24500.0, 25500.0)}))
    assert world.locked(FUTURE, 65) == ""
    desk.engine.process(Tick(FUTURE, now, 24500.0, ask=24500.0, ask_quantity=9_000))
    assert world.locked(FUTURE, 65) == "STUCK: locked at its lower circuit 24500.0, nobody buys"
    assert world.locked(FUTURE, -65) == ""
    desk.engine.process(Tick(FUTURE, now, 25500.0, bid=25500.0, bid_quantity=9_000))
    assert world.locked(FUTURE, -65) == "STUCK: locked at its upper circuit 25500.0, nobody sells"
