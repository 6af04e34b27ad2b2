"""Strategies made anew while the day runs: they know what a restart would have told them, and miss no bar and hear none twice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import DataError, NiyamError
from core.types import Bar, Signal, View
from execution_engine.runs import Run
from runtime.rebuild import TRIES, Rebuild
from tests.floor import NAMES, TREND, Floor, price
from tests.harness import DAY, FUTURE


@pytest.fixture
def floor(tmp_path: Path) -> Floor:
    return Floor(tmp_path, {"trend": TREND})


def rebuilt(floor: Floor, **change: object) -> Rebuild:
    settings = {name: one.model_copy(update=change) for name, one in floor.config.strategies.items()}
    return Rebuild(floor.house, DAY.date(), settings, lambda: NAMES, floor.engine.runs)


def of(run: Run) -> Any:
    """The strategy object, whose indicators are its class's own."""
    return run.strategy


def heard(run: Run) -> list[Bar]:
    """Every bar this run hears from now on."""
    bars: list[Bar] = []
    original = run.strategy.on_bar

    def note(bar: Bar, view: View) -> Iterator[Signal]:
        bars.append(bar)
        yield from original(bar, view)

    run.strategy.on_bar = note  # type: ignore[method-assign]
    return bars


def test_new_parameters_are_warmed_up_to_what_a_restart_would_know(floor: Floor) -> None:
    made = rebuilt(floor, params={"fast": 3, "slow": 5})
    assert made.ready
    runs = made.take()
    assert runs is not None
    [run] = runs
    closes = [price(FUTURE, DAY.replace(hour=9, minute=40 + 5 * n)) for n in range(4)] + [price(FUTURE, DAY.replace(hour=10))]
    assert of(run).slow.value == pytest.approx(sum(closes) / 5)
    assert of(run).fast.value == pytest.approx(sum(closes[2:]) / 3)
    assert not floor.executor.placed  # what it said of the past was muted


def test_the_old_strategy_trades_until_the_history_has_come_and_no_bar_is_missed_or_heard_twice(floor: Floor) -> None:
    floor.downloads.held = True
    made = rebuilt(floor)
    floor.until(10, 5)  # the bar 10:00-10:05 closes while the download hangs
    assert not made.ready
    assert floor.last.strategy == "trend"  # decided by the strategy that was there
    floor.downloads.let()
    assert made.ready
    assert made.take() is None  # asked for again: a bar has closed since
    floor.downloads.let()
    runs = made.take()
    assert runs is not None
    ends = heard(runs[0])
    floor.engine.hearing.listen(runs, floor.engine.bars, floor.clock.now())
    assert of(runs[0]).slow.value == pytest.approx(sum(price(FUTURE, DAY.replace(hour=9, minute=50 + 5 * n)) for n in range(2)) / 4
        + sum(price(FUTURE, DAY.replace(hour=10, minute=5 * n)) for n in range(2)) / 4)  # fmt: skip
    floor.until(10, 10)
    assert [f"{bar.at:%H:%M}" for bar in ends] == ["10:10"]


def test_a_bar_whose_boundary_has_passed_and_that_the_builder_still_holds_is_waited_for(floor: Floor) -> None:
    floor.until(10, 5, 1)  # the broker has the candle, our bar closes at 10:05:02
    made = rebuilt(floor)
    assert made.take() is None  # not yet
    floor.until(10, 5, 3)
    assert made.take() is None  # asked for again, with that bar
    runs = made.take()
    assert runs is not None
    ends = heard(runs[0])
    newest = of(runs[0]).fast.value
    floor.engine.hearing.listen(runs, floor.engine.bars, floor.clock.now())
    assert newest == pytest.approx((price(FUTURE, DAY.replace(hour=10)) + price(FUTURE, DAY.replace(hour=10, minute=5))) / 2)
    floor.until(10, 10)
    assert [f"{bar.at:%H:%M}" for bar in ends] == ["10:10"]


def test_what_it_knew_of_the_day_goes_over_and_to_another_class_it_does_not(tmp_path: Path) -> None:
    donchian = TREND.replace("sma_cross", "donchian_trend").replace("{fast: 2, slow: 4}", "{entry: 4, leave: 2, atr: 2}")
    floor = Floor(tmp_path, {"trend": donchian})
    floor.run_of("trend").strategy.trades = 2
    runs = rebuilt(floor, params={"entry": 5, "leave": 2, "atr": 2}).take()
    assert runs is not None
    assert of(runs[0]).trades == 2
    runs = rebuilt(floor, class_="supertrend", params={}).take()
    assert runs is not None
    assert of(runs[0]).trades == 0
    floor.run_of("trend").save(floor.store)  # over a restart with another class in the file, too
    again = Floor(tmp_path, {}, store=floor.store)
    assert again.run_of("trend").strategy.trades == 2
    again.edit("trend", "class: donchian_trend", "class: supertrend")
    again.edit("trend", "{entry: 4, leave: 2, atr: 2}", "{}")
    third = Floor(tmp_path, {}, store=floor.store)
    assert third.run_of("trend").strategy.trades == 0


def test_without_history_nothing_is_replaced(floor: Floor) -> None:
    floor.lost()
    with pytest.raises(DataError, match="no history to warm up with: no answer within 7 s"):
        rebuilt(floor).take()


def test_it_does_not_ask_for_ever(floor: Floor) -> None:
    floor.downloads.held = True
    made = rebuilt(floor)
    for count in range(1, TRIES):
        floor.until(10, 5 * count)
        floor.downloads.let()
        assert made.take() is None
    floor.until(10, 5 * TRIES)
    floor.downloads.let()
    with pytest.raises(NiyamError, match=f"a bar closed during each of {TRIES} fetches"):
        made.take()
    assert floor.downloads.asked == TRIES + 1  # one in the morning


def test_bars_that_the_live_side_holds_back_are_left_to_it(floor: Floor) -> None:
    """A gap that is being filled: the broker's history has the bars already, and they will still be handed on."""
    until = DAY.replace(hour=9, minute=50)
    floor.house.engine.bars.heard = lambda: {(FUTURE.key, 5): until}
    runs = rebuilt(floor).take()
    assert runs is not None
    assert of(runs[0]).fast.value == pytest.approx(price(FUTURE, until) - 5.0)  # the closes of 09:45 and 09:50
