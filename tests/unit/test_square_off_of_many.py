"""The square-off of many positions: the rate cap sets its pace, and holds none of them back for longer than that."""

from datetime import timedelta

import msgspec
import pytest

from core.types import Horizon, Instrument, Position, Tick
from risk.settings import RiskSettings
from tests.harness import FUTURE, Harness

CAPS = RiskSettings()
AT_ONCE = int(CAPS.orders_per_second * CAPS.runaway_factor)


def holding(count: int, **caps: float) -> tuple[Harness, list[Instrument]]:
    """So many positions a second before their square-off."""
    it = Harness(risk=msgspec.structs.replace(CAPS, **caps))
    found = [msgspec.structs.replace(FUTURE, key=f"NFO:S{n:03}", symbol=f"S{n:03}", underlying=f"S{n:03}") for n in range(count)]
    today = it.clock.now().date()
    it.portfolio.restore([Position("test", "s", one, "MIS", 65, 100.0, horizon=Horizon.INTRADAY, cost=650_000) for one in found], [], today)
    for one in found:
        it.engine.square_off.include(today, one)
    it.clock.move_to(it.clock.now().replace(hour=15, minute=19, second=59))
    market(it, found)
    return it, found


def market(it: Harness, found: list[Instrument]) -> None:
    now = it.clock.now()
    for one in (FUTURE, *found):
        it.engine.process(Tick(one, now, 100.0, exchange_at=now, bid=99.9, ask=100.1))
    it.engine.run_timers()
    it.engine.settle()


@pytest.mark.parametrize("count", [40, 150])
def test_the_exits_of_many_leave_as_fast_as_the_rate_cap_lets_them(count: int) -> None:
    it, found = holding(count)
    for _ in range(4 * (1 + 2 * count // AT_ONCE)):
        it.clock.move_to(it.clock.now() + timedelta(seconds=0.5))
        market(it, found)
        assert it.engine.world.requests_sent(it.clock.now())[0] <= AT_ONCE
    assert len({order.instrument.key for order in it.executor.placed}) == len(it.executor.placed) == count
    assert it.alerts == []


def test_a_cap_that_lets_no_exit_go_is_paged_once() -> None:
    it, found = holding(6, orders_per_day=2)
    for _ in range(90):
        it.clock.move_to(it.clock.now() + timedelta(seconds=1))
        market(it, found)
    assert len(it.executor.placed) == 4
    assert it.told("Exits wait for the rate cap") == ["page"]
