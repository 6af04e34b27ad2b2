"""The three strategies on hand-made days: when they enter, where they leave, and what they know after a restart."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from core.types import Bar
from strategies import registry
from strategies.base import Strategy
from tests.builders import DAY
from tests.unit.strategy_fakes import OPEN, FakeView, bar_at, build, play, said

CONFIG = Path(__file__).resolve().parents[2] / "config" / "strategies"


def restart(strategy: Strategy, class_name: str, history: list[Bar], interval: int = 5, **params: Any) -> Strategy:
    """The same strategy in a new process: warm-up bars, then what was stored."""
    kept = msgspec.json.decode(msgspec.json.encode(strategy.saved()))
    again = build(class_name, interval, **params)
    for bar in history:
        list(again.bar(msgspec.structs.replace(bar, warmup=True), FakeView()))
    again.begin(DAY, kept, OPEN)
    return again


# --- sma_cross --------------------------------------------------------------------------------------------------------------------


def test_sma_cross_holds_while_fast_is_above_slow() -> None:
    closes = [10.0, 10.0, 10.0, 11.0, 12.0, 9.0, 8.0]
    signals = play(build("sma_cross", fast=2, slow=3), [bar_at(5.0 * n, close) for n, close in enumerate(closes)])
    assert said(signals) == [0, 1, 1, 0, 0]  # equal averages are not above; the first two bars only warm up
    assert signals[1].why == "fast 10.50 slow 10.33"


def test_sma_cross_both_ways_is_short_while_fast_is_below() -> None:
    closes = [10.0, 10.0, 11.0, 9.0, 8.0]
    signals = play(build("sma_cross", fast=1, slow=3, both_ways=True), [bar_at(5.0 * n, close) for n, close in enumerate(closes)])
    assert said(signals) == [1, -1, -1]


def test_sma_cross_warms_up_over_its_slow_average() -> None:
    assert build("sma_cross", fast=9, slow=21).warmup_bars == 21


@given(st.lists(st.integers(1_900, 2_100).map(lambda ticks: ticks * 0.05), min_size=21, max_size=80), st.integers(0, 79))
def test_sma_cross_decides_the_same_after_a_restart(closes: list[float], cut: int) -> None:
    bars = [bar_at(5.0 * n, close) for n, close in enumerate(closes)]
    cut = min(cut, len(bars))
    whole = build("sma_cross")
    play(whole, bars[:cut])
    again = restart(whole, "sma_cross", bars[max(0, cut - whole.warmup_bars) : cut])
    assert said(play(again, bars[cut:])) == said(play(whole, bars[cut:]))


# --- opening_range ----------------------------------------------------------------------------------------------------------------


def opening(day: int = 0, warmup: bool = False) -> list[Bar]:
    """Half an hour between 98 and 102."""
    return [bar_at(5.0 * n, 100.0, high=102.0 if n == 2 else 101.0, low=98.0 if n == 4 else 99.0, day=day, warmup=warmup) for n in range(6)]


def orb(**params: Any) -> Strategy:
    strategy = build("opening_range", **params)
    strategy.begin(DAY, None, OPEN)
    return strategy


def test_opening_range_follows_the_first_close_above_the_range() -> None:
    signals = play(orb(), [*opening(), bar_at(30, 102.0), bar_at(35, 102.5), bar_at(40, 103.0)])
    assert [(s.target, s.stop, s.take_profit) for s in signals] == [(1, 98.0, 110.5)]
    assert signals[0].at == OPEN + timedelta(minutes=40)
    assert "102.50 above the opening range at 102.00" in signals[0].why


def test_opening_range_follows_the_first_close_below_the_range() -> None:
    signals = play(orb(reward=0.0), [*opening(), bar_at(30, 98.0), bar_at(35, 97.5)])
    assert [(s.target, s.stop, s.take_profit) for s in signals] == [(-1, 102.0, None)]


@pytest.mark.parametrize(("params", "expected"), [({"long": False}, [-1]), ({"short": False}, [1]), ({}, [1, -1])])
def test_opening_range_may_be_limited_to_one_direction(params: dict[str, Any], expected: list[int]) -> None:
    assert said(play(orb(**params), [*opening(), bar_at(30, 103.0), bar_at(35, 100.0), bar_at(40, 97.0)])) == expected


def test_opening_range_trades_once_each_way_a_day() -> None:
    strategy, view = orb(), FakeView()
    assert said(play(strategy, [*opening(), bar_at(30, 103.0)], view)) == [1]
    view.hold(strategy, 100)
    assert said(play(strategy, [bar_at(35, 101.0), bar_at(40, 103.0)], view)) == []  # still in the same trade
    view.hold(strategy, 0)  # stopped out by the engine
    assert said(play(strategy, [bar_at(45, 101.0), bar_at(50, 103.0)], view)) == [0]
    assert said(play(strategy, [bar_at(55, 97.0)], view)) == [-1]
    assert said(play(strategy, [bar_at(60, 99.0), bar_at(65, 97.0)], view)) == []


def test_opening_range_may_trade_twice_where_parameters_say_so() -> None:
    strategy, view = orb(trades_each_way=2), FakeView()
    play(strategy, [*opening(), bar_at(30, 103.0)], view)
    view.hold(strategy, 100)
    view.hold(strategy, 0)
    assert said(play(strategy, [bar_at(35, 101.0), bar_at(40, 103.0), bar_at(45, 101.0), bar_at(50, 103.0)], view)) == [0, 1]


def test_an_entry_that_is_not_filled_yet_is_not_taken_for_closed() -> None:
    strategy = orb()
    assert said(play(strategy, [*opening(), bar_at(30, 103.0), bar_at(35, 103.0), bar_at(40, 103.0)])) == [1]


def test_opening_range_turns_round_on_the_other_side() -> None:
    strategy, view = orb(), FakeView()
    play(strategy, [*opening(), bar_at(30, 103.0)], view)
    view.hold(strategy, 100)
    assert said(play(strategy, [bar_at(35, 97.0)], view)) == [-1]


def test_opening_range_starts_afresh_the_next_day() -> None:
    strategy = orb()
    assert said(play(strategy, [*opening(), bar_at(30, 103.0)])) == [1]
    strategy.begin(DAY + timedelta(days=1), strategy.saved(), OPEN + timedelta(days=1))
    assert said(play(strategy, [*opening(day=1), bar_at(30, 103.0, day=1)])) == [1]


def test_opening_range_remembers_todays_trade_over_a_restart() -> None:
    strategy, view = orb(), FakeView()
    history = [*opening(), bar_at(30, 103.0)]
    play(strategy, history, view)
    again = restart(strategy, "opening_range", history)
    assert again.saved() == strategy.saved()
    assert said(play(again, [bar_at(35, 101.0), bar_at(40, 103.0)])) == []
    assert said(play(again, [bar_at(45, 97.0)])) == [-1]


def test_opening_range_knows_after_a_restart_that_its_position_was_closed_meanwhile() -> None:
    strategy, view = orb(), FakeView()
    history = [*opening(), bar_at(30, 103.0)]
    play(strategy, history, view)
    view.hold(strategy, 100)
    again = restart(strategy, "opening_range", history)
    assert said(play(again, [bar_at(35, 103.0)], FakeView())) == [0]


def test_a_breakout_before_the_start_is_not_chased() -> None:
    strategy = build("opening_range")
    play(strategy, [*opening(warmup=True), bar_at(30, 103.0, warmup=True)])
    strategy.begin(DAY, None, OPEN)
    assert said(play(strategy, [bar_at(35, 104.0)])) == []
    assert said(play(strategy, [bar_at(40, 101.0), bar_at(45, 103.0)])) == [1]


def test_a_day_whose_first_minutes_are_missing_is_left_alone() -> None:
    assert said(play(orb(), [*opening()[1:], bar_at(30, 101.0), bar_at(35, 103.0)])) == []


def test_without_a_known_opening_the_first_bar_is_taken_for_it() -> None:
    assert said(play(build("opening_range"), [*opening(), bar_at(30, 103.0)])) == [1]


def test_opening_range_wants_all_of_today() -> None:
    assert build("opening_range", 5).warmup_bars == 180


# --- vwap_pullback ----------------------------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {"trend": 2, "atr": 2, "trend_bars": 2, "touch_atr": 0.25, "stop_atr": 1.5, "reward": 2.0}


def upside_down(bar: Bar) -> Bar:
    """The bar mirrored at a price of 100."""
    return msgspec.structs.replace(bar, open=200.0 - bar.open, high=200.0 - bar.low, low=200.0 - bar.high, close=200.0 - bar.close)


def mirror(bars: list[Bar]) -> list[Bar]:
    return [upside_down(bar) for bar in bars]


def rising() -> list[Bar]:
    """Three bars that climb away from their VWAP (103.28 after them)."""
    return [
        bar_at(0, 101.0, open=99.0, high=101.0, low=99.0),
        bar_at(5, 104.0, open=101.0, high=104.5, low=101.0),
        bar_at(10, 107.0, open=105.0, high=107.0, low=105.0),
    ]


PULLBACK = bar_at(15, 105.0, open=104.2, high=105.5, low=104.0)
"""Comes back to 104.0, near the VWAP of 103.66, and closes above its open."""


def pullback(**params: Any) -> Strategy:
    strategy = build("vwap_pullback", **(SMALL | params))
    strategy.begin(DAY, None, OPEN)
    return strategy


def test_vwap_pullback_buys_a_dip_to_the_vwap_that_turned() -> None:
    (signal,) = play(pullback(), [*rising(), PULLBACK])
    atr = (2.0 + 3.5) / 2  # the first two true ranges
    for true_range in (3.0, 3.0):
        atr = (atr + true_range) / 2
    assert signal.target == 1
    assert signal.stop == pytest.approx(105.0 - 1.5 * atr)
    assert signal.take_profit == pytest.approx(105.0 + 2.0 * 1.5 * atr)
    assert "pullback to VWAP" in signal.why


def test_vwap_pullback_sells_the_mirror_image() -> None:
    (signal,) = play(pullback(reward=0.0), mirror([*rising(), PULLBACK]))
    assert signal.target == -1
    assert signal.stop is not None
    assert signal.stop > 95.0
    assert signal.take_profit is None


@pytest.mark.parametrize(
    ("params", "bars"),
    [
        ({"long": False}, [*rising(), PULLBACK]),
        ({"short": False}, mirror([*rising(), PULLBACK])),
        ({"trend_bars": 4}, [*rising(), PULLBACK]),
        ({"trend_bars": 4}, mirror([*rising(), PULLBACK])),
        ({}, [*rising(), msgspec.structs.replace(PULLBACK, low=104.9)]),  # did not come near
        ({}, mirror([*rising(), msgspec.structs.replace(PULLBACK, low=104.9)])),
        ({}, [*rising(), msgspec.structs.replace(PULLBACK, open=105.2)]),  # closed below its open
        ({}, mirror([*rising(), msgspec.structs.replace(PULLBACK, open=105.2)])),
        ({}, [*rising(), msgspec.structs.replace(PULLBACK, close=103.0, open=102.9, low=102.5)]),  # closed below the VWAP
        ({}, [msgspec.structs.replace(bar, volume=0) for bar in [*rising(), PULLBACK]]),  # no volume, no VWAP
        ({"trend": 10}, [*rising(), PULLBACK]),  # the average is not there yet
        ({"atr": 10}, [*rising(), PULLBACK]),
        ({}, [*rising(), msgspec.structs.replace(PULLBACK, warmup=True)]),
    ],
)
def test_vwap_pullback_stays_out_when_a_condition_fails(params: dict[str, Any], bars: list[Bar]) -> None:
    assert play(pullback(**params), bars) == []


def test_vwap_pullback_leaves_when_a_close_falls_through_the_vwap() -> None:
    strategy, view = pullback(), FakeView()
    play(strategy, [*rising(), PULLBACK], view)
    view.hold(strategy, 30)
    assert play(strategy, [bar_at(20, 104.5)], view) == []
    (signal,) = play(strategy, [bar_at(25, 100.0)], view)
    assert signal.target == 0
    assert "through VWAP" in signal.why


def test_vwap_pullback_follows_when_its_stop_took_it_out() -> None:
    strategy, view = pullback(), FakeView()
    play(strategy, [*rising(), PULLBACK], view)
    view.hold(strategy, 30)
    view.hold(strategy, 0)
    (signal,) = play(strategy, [bar_at(20, 105.0)], view)
    assert (signal.target, "closed by" in signal.why) == (0, True)


def test_vwap_pullback_keeps_to_its_trades_a_day_over_a_restart() -> None:
    strategy, view = pullback(trades_a_day=1), FakeView()
    history = [*rising(), PULLBACK, bar_at(20, 100.0)]
    assert said(play(strategy, history, view)) == [1, 0]
    again = restart(strategy, "vwap_pullback", history, **(SMALL | {"trades_a_day": 1}))
    climb = [bar_at(25 + 5.0 * n, 104.0 + n, open=103.8 + n) for n in range(6)]
    dip = bar_at(60, 107.0, open=106.0, low=101.0)
    assert play(again, [*climb, dip]) == []
    fresh = restart(pullback(trades_a_day=2), "vwap_pullback", history, **(SMALL | {"trades_a_day": 2}))
    assert said(play(fresh, [*climb, dip])) == [1]


def test_a_run_of_closes_ends_on_the_vwap_and_with_the_day() -> None:
    strategy = pullback()
    play(strategy, rising())
    assert play(strategy, [msgspec.structs.replace(bar_at(0, 103.0, open=102.0, low=101.0), start=OPEN + timedelta(days=1))]) == []
    flat = pullback(trend_bars=1)
    assert play(flat, [bar_at(5.0 * n, 100.0) for n in range(10)]) == []  # every close lies on the VWAP


def test_vwap_pullback_wants_all_of_today_or_its_averages() -> None:
    assert build("vwap_pullback", 3).warmup_bars == 300
    assert build("vwap_pullback", 3, trend=200).warmup_bars == 600
    assert build("vwap_pullback", 3, atr=150).warmup_bars == 450


# --- the shipped configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(CONFIG.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_parameters_are_valid(path: Path) -> None:
    shipped = yaml.safe_load(path.read_text())
    assert registry.parse_params(shipped["class"], shipped["params"]) is not None
    assert shipped["horizon"] == "intraday"
    assert shipped["risk"]["max_loss"] > 0


def test_each_class_is_shipped_and_three_of_them_are_switched_on() -> None:
    shipped = [yaml.safe_load(path.read_text()) for path in CONFIG.glob("*.yaml")]
    assert sorted(one["class"] for one in shipped) == sorted(registry.names())
    assert {one["class"] for one in shipped if one["enabled"]} == {"opening_range", "sma_cross", "vwap_pullback"}
