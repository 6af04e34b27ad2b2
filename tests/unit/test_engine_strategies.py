"""A strategy may be wrong in any way it likes: it raises, wants what no number is, never stops talking. The engine goes on trading."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest

from core.types import Bar, Fill, OrderState, Purpose, Side, Signal, Tick, TradingState, View
from execution_engine.buy_sell_logic import Size
from execution_engine.runs import Run, StrategyError
from risk.settings import RiskSettings
from strategies import registry
from strategies.base import StrategySpec
from tests.harness import OPEN, SHARE, WIDE, Harness, Told


class Broken(Told):
    """It raises where the test says."""

    where = ""

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        yield from super().on_bar(bar, view)
        if self.where == "bar":
            raise ZeroDivisionError("a division by zero in on_bar")

    def on_fill(self, fill: Any, view: View) -> tuple[()]:
        if self.where == "fill":
            raise KeyError("no such order")
        return super().on_fill(fill, view)

    def state(self) -> dict[str, Any]:
        if self.where == "state":
            raise AttributeError("state not built")
        return {}


class BrokenTick(Told):
    def on_tick(self, tick: Tick, view: View) -> Iterator[Signal]:
        raise RuntimeError("a tick too many")
        yield


class Endless(Told):
    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        while True:
            yield self.signal(bar.instrument, 1)


class Alternating(Told):
    """Another target with each tick."""

    def on_tick(self, tick: Tick, view: View) -> Iterator[Signal]:
        self.turn = -getattr(self, "turn", -1)
        yield self.signal(tick.instrument, self.turn)


@pytest.mark.parametrize("where", ["bar", "fill", "state"])
def test_a_strategy_that_raises_is_stopped_with_a_page_and_its_position_is_closed(where: str) -> None:
    it = Harness(made=Broken)
    it.want(1)
    it.ack()
    assert isinstance(it.strategy, Broken)
    if where != "fill":
        it.fill()
    it.strategy.where = where
    if where == "fill":
        it.fill()
    else:
        it.want(0.5)
    assert it.told("Strategy stopped") == ["page"]
    assert (it.last.side, it.last.quantity, it.last.purpose) == (Side.SELL, 65, Purpose.EXIT)
    it.strategy.where = ""
    it.complete()
    it.tick(25000.0, 5)
    it.want(2)  # nobody listens to it any more
    assert it.held == 0
    assert len(it.executor.placed) == 2
    assert it.journal("strategy_stopped")[0]["strategy"] == "told"
    assert it.engine.runs[0].stopped


def test_a_strategy_that_raises_on_a_tick_is_stopped_once() -> None:
    it = Harness(made=BrokenTick)
    for _ in range(5):
        it.tick(25000.0, 1)
    assert it.told("Strategy stopped") == ["page"]


def test_a_strategy_that_never_stops_talking_is_stopped() -> None:
    it = Harness(made=Endless)
    it.want(1)
    assert it.told("Strategy stopped") == ["page"]
    assert not it.executor.placed  # nothing it said within that event is acted on


def test_a_run_that_was_stopped_before_the_day_opened_closes_what_it_holds() -> None:
    it = Harness()
    it.want(1)
    it.complete()
    again = it.restarted(stopped="ValueError in the warm-up")
    again.books(net=65)
    again.tick(25000.0, 3)
    again.tick(25000.0, 2.5)
    assert again.told("Strategy stopped") == ["page"]
    assert (again.last.side, again.last.quantity) == (Side.SELL, 65)


@pytest.mark.parametrize("size", [Size(lots=1), Size(quantity=65), Size(capital=2e6), Size(risk=1e5)])
@pytest.mark.parametrize("target", [math.nan, math.inf, -math.inf, 1e300, 1e18, -1e12, "1", None, True])
def test_a_target_that_is_no_sensible_number_is_refused_and_nothing_is_sent(size: Size, target: Any) -> None:
    it = Harness(size=size, risk=RiskSettings())
    for _ in range(3):
        it.want(target, stop=24000.0)
    it.tick(25000.0, 2)
    assert not it.executor.placed
    assert len(it.journal("refused")) == 1
    it.want(0)
    assert not it.told("Strategy stopped")


@pytest.mark.parametrize("level", [math.nan, math.inf, -1.0, 0.0, "24900"])
def test_a_stop_that_is_no_price_is_refused_and_never_stands_for_protection(level: Any) -> None:
    it = Harness(stop_pct=1.0)
    it.want(1, stop=level)
    assert not it.executor.placed
    it.want(1)
    it.complete()
    it.want(1, stop=level)  # the same target: only its protection would move
    assert it.target.stop == pytest.approx(24750.0)


def test_a_strategy_speaks_for_its_own_keys_alone() -> None:
    it = Harness()
    signal = Signal("told", "IT", SHARE, 1, it.clock.now())
    for wrong in (signal, msgspec.structs.replace(signal, strategy="another", instrument=it.instrument)):
        it.engine.take_signal(it.run, wrong)
    assert not it.executor.placed
    assert list(it.engine.targets) == []


@pytest.mark.parametrize("fills", ["at once", "never"])
def test_a_target_that_turns_with_every_tick_breaks_no_cap(fills: str) -> None:
    risk = msgspec.structs.replace(WIDE, orders_per_second=8, orders_per_minute=200)
    it = Harness(made=Alternating, risk=risk)
    sent: list[tuple[float, int]] = []
    for tick in range(1200):
        before = len(it.executor.placed)
        it.tick(25000.0 + tick % 3, 0.1)
        sent.append((it.clock.monotonic(), len(it.executor.placed) - before))
        for order in it.desk.live():
            if order.state is OrderState.SENDING:
                it.ack(order)
                if fills == "at once":
                    it.fill(order=order)
                else:
                    it.working(order)
            elif order.state is OrderState.PENDING_CANCEL:
                it.end(OrderState.CANCELLED, order=order)
        assert abs(it.held) <= 65
    for end, _ in sent:
        assert sum(count for at, count in sent if end - 1.0 < at <= end) <= 16
        assert sum(count for at, count in sent if end - 60.0 < at <= end) <= 400
    assert it.told("Exits do not settle") or it.engine.world.state is TradingState.HALTED or fills == "never"


class Huge(Told):
    """Its state is what JSON cannot say."""

    def state(self) -> Mapping[str, Any]:  # type: ignore[override]
        return {"x": {1, 2}}

    def on_fill(self, fill: Fill, view: View) -> tuple[()]:
        return ()


def test_a_state_that_cannot_be_stored_stops_the_strategy_and_not_the_day() -> None:
    it = Harness(made=Huge)
    it.want(1)
    assert it.told("Strategy stopped") == ["page"]


def test_a_state_stored_by_another_version_stops_the_strategy_and_not_the_morning() -> None:
    spec = StrategySpec("range", registry.params_of("opening_range").parse({}), ("IT",), 5)
    (strategy,) = registry.build("opening_range", spec)
    run = Run(strategy, Size(lots=1), {"IT": SHARE})
    with pytest.raises(StrategyError, match="long_taken"):
        run.begin(OPEN.date(), {"day": "2026-11-20", "state": {"older": 1}}, OPEN)
