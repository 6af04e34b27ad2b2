"""The strategies in one trade at a time on hand-made days: when they enter, how their stop moves, where they leave, what they remember."""

from typing import Any

import msgspec
import pytest

from core.types import Bar, Horizon
from strategies.base import Strategy, StrategySpec
from strategies.indicators import ATR
from strategies.one_trade import CLOSED
from strategies.registry import get
from tests.builders import DAY
from tests.unit.strategy_fakes import OPEN, FakeView, bar_at, build, play, said


def begun(class_name: str, **params: Any) -> Strategy:
    strategy = build(class_name, **params)
    strategy.begin(DAY, None, OPEN)
    return strategy


def closes(*prices: float, first: int = 0, wiggle: float = 0.5) -> list[Bar]:
    """Bars with these closes, each opening at the close before it, `wiggle` beyond both."""
    made = []
    for number, (before, close) in enumerate(zip((prices[0], *prices), prices, strict=False)):
        high, low = max(before, close) + wiggle, min(before, close) - wiggle
        made.append(bar_at(5.0 * (first + number), close, open=before, high=high, low=low))
    return made


def mirror(bars: list[Bar]) -> list[Bar]:
    """The bars turned upside down at a price of 100."""
    return [msgspec.structs.replace(b, open=200 - b.open, high=200 - b.low, low=200 - b.high, close=200 - b.close) for b in bars]


def restarted(strategy: Strategy, class_name: str, history: list[Bar], **params: Any) -> Strategy:
    kept = msgspec.json.decode(msgspec.json.encode(strategy.saved()))
    again = build(class_name, **params)
    for bar in history:
        assert list(again.bar(msgspec.structs.replace(bar, warmup=True), FakeView())) == []
    again.begin(DAY, kept, OPEN)
    return again


# --- ema_cross --------------------------------------------------------------------------------------------------------------------

EMA: dict[str, Any] = {"fast": 1, "slow": 3, "atr": 2, "stop_atr": 2.0}
DOWN_THEN_UP = (103.0, 102.0, 101.0, 100.0, 104.0)


def test_ema_cross_buys_the_cross_with_a_stop_in_ranges() -> None:
    bars = closes(*DOWN_THEN_UP)
    (signal,) = play(begun("ema_cross", **EMA), bars)
    atr = ATR(2)
    for bar in bars:
        distance = atr.add(bar)
    assert distance is not None
    assert (signal.target, signal.stop) == (1, 104.0 - 2.0 * distance)
    assert "crossed above" in signal.why


def test_ema_cross_sells_the_mirror_image_and_turns_round() -> None:
    strategy, view = begun("ema_cross", **EMA), FakeView()
    assert said(play(strategy, mirror(closes(*DOWN_THEN_UP)), view)) == [-1]
    view.hold(strategy, -50)
    assert said(play(strategy, closes(98.0, 105.0, first=5), view)) == [1]


@pytest.mark.parametrize(("params", "expected"), [({"long": False}, [-1, 0]), ({"short": False}, [1, 0, 1]), ({}, [1, -1, 1])])
def test_ema_cross_leaves_at_the_opposite_cross_where_it_may_not_turn(params: dict[str, Any], expected: list[int]) -> None:
    bars = closes(*DOWN_THEN_UP, 96.0, 106.0)
    assert said(play(begun("ema_cross", **EMA, **params), bars)) == expected


def test_ema_cross_does_not_chase_a_cross_before_its_start() -> None:
    history = closes(*DOWN_THEN_UP)
    strategy = restarted(begun("ema_cross", **EMA), "ema_cross", history, **EMA)
    assert said(play(strategy, closes(105.0, 106.0, first=5))) == []
    assert said(play(strategy, closes(95.0, first=7))) == [-1]


def test_ema_cross_waits_for_another_cross_after_its_stop() -> None:
    strategy, view = begun("ema_cross", **EMA), FakeView()
    play(strategy, closes(*DOWN_THEN_UP), view)
    view.hold(strategy, 65)
    view.hold(strategy, 0)
    signals = play(strategy, closes(105.0, 106.0, first=5), view)
    assert [(signal.target, signal.why) for signal in signals] == [(0, CLOSED)]


# --- rsi_reversion ----------------------------------------------------------------------------------------------------------------

RSI: dict[str, Any] = {"period": 2, "atr": 2, "stop_atr": 1.0}
FALL = (100.0, 99.0, 98.0, 97.0, 96.0)


def test_rsi_reversion_buys_when_the_index_comes_back_and_leaves_in_the_middle() -> None:
    strategy, view = begun("rsi_reversion", **RSI), FakeView()
    assert play(strategy, closes(*FALL), view) == []  # still falling: nothing is caught
    (signal,) = play(strategy, closes(96.6, first=5), view)
    assert (signal.target, "came back from 0.0" in signal.why) == (1, True)
    assert signal.stop is not None
    assert signal.stop < 96.6
    view.hold(strategy, 10)
    assert said(play(strategy, closes(99.0, first=6), view)) == [0]


def test_rsi_reversion_sells_the_mirror_image_and_leaves_there_too() -> None:
    strategy, view = begun("rsi_reversion", **RSI), FakeView()
    assert said(play(strategy, mirror(closes(*FALL, 96.6)), view)) == [-1]
    view.hold(strategy, -10)
    assert said(play(strategy, mirror(closes(99.0, first=6)), view)) == [0]


def test_rsi_reversion_says_when_its_stop_took_it_out() -> None:
    strategy, view = begun("rsi_reversion", **RSI), FakeView()
    play(strategy, closes(*FALL, 96.6), view)
    view.hold(strategy, 10)
    view.hold(strategy, 0)
    (signal,) = play(strategy, closes(96.5, first=6), view)
    assert (signal.target, signal.why) == (0, CLOSED)


# --- supertrend -------------------------------------------------------------------------------------------------------------------

TREND: dict[str, Any] = {"period": 2, "width": 1.0}


def test_supertrend_enters_at_the_turn_and_moves_its_stop_with_the_line() -> None:
    strategy = begun("supertrend", **TREND)
    signals = play(strategy, closes(104.0, 102.0, 100.0, 98.0, 104.0, 106.0, 108.0, 110.0))
    assert said(signals)[0] == 1
    assert set(said(signals)) == {1}
    stops = [signal.stop for signal in signals if signal.stop is not None]
    assert len(stops) == len(signals) >= 3
    assert stops == sorted(set(stops))  # it only ever comes nearer
    assert strategy.saved()["state"]["trades"] == 1


def test_supertrend_turns_round_and_leaves_where_it_may_not() -> None:
    there_and_back = closes(104.0, 102.0, 100.0, 98.0, 104.0, 106.0, 98.0, 96.0)
    assert [target for target in said(play(begun("supertrend", **TREND), there_and_back)) if target < 0]
    only_long = said(play(begun("supertrend", **TREND, short=False), there_and_back))
    assert only_long[0] == 1
    assert only_long[-1] == 0
    assert -1 not in only_long


def test_supertrend_waits_for_the_next_turn_after_its_stop() -> None:
    strategy, view = begun("supertrend", **TREND), FakeView()
    play(strategy, closes(104.0, 102.0, 100.0, 98.0, 104.0), view)
    view.hold(strategy, 30)
    view.hold(strategy, 0)
    assert said(play(strategy, closes(105.0, 106.0, first=5), view)) == [0]


# --- bollinger_breakout -----------------------------------------------------------------------------------------------------------

BANDS: dict[str, Any] = {"period": 4, "width": 1.0, "min_width_pct": 0.0}
QUIET = (100.0, 100.2, 100.0, 100.2, 100.0, 100.2)


def test_bollinger_breakout_follows_a_close_outside_to_the_middle_band() -> None:
    strategy, view = begun("bollinger_breakout", **(BANDS | {"width": 1.5})), FakeView()
    (signal,) = play(strategy, closes(*QUIET, 103.0), view)
    assert signal.target == 1
    assert signal.stop == pytest.approx((100.2 + 100.0 + 100.2 + 103.0) / 4)
    view.hold(strategy, 100)
    later = play(strategy, closes(104.0, 105.0, first=7), view)
    assert said(later) == [1, 1]
    assert [one.stop for one in later] == [pytest.approx(101.8), pytest.approx(103.05)]
    (last,) = play(strategy, closes(101.0, first=9), view)
    assert (last.target, "through the middle band" in last.why) == (0, True)


def test_bollinger_breakout_sells_the_mirror_image() -> None:
    assert said(play(begun("bollinger_breakout", **(BANDS | {"width": 1.5})), mirror(closes(*QUIET, 103.0)))) == [-1]


@pytest.mark.parametrize("params", [{"min_width_pct": 10.0}, {"long": False}])
def test_bollinger_breakout_stays_out_of_narrow_bands_and_forbidden_directions(params: dict[str, Any]) -> None:
    assert play(begun("bollinger_breakout", **(BANDS | {"width": 1.5} | params)), closes(*QUIET, 103.0)) == []


def test_bollinger_breakout_wants_a_close_inside_before_it_follows_another() -> None:
    strategy, view = begun("bollinger_breakout", **(BANDS | {"width": 1.2})), FakeView()
    assert said(play(strategy, closes(*QUIET, 103.0), view)) == [1]
    view.hold(strategy, 100)
    view.hold(strategy, 0)
    assert said(play(strategy, closes(106.0, first=7), view)) == [0]
    assert said(play(strategy, closes(112.0, first=8), view)) == []  # still outside


# --- donchian_trend ---------------------------------------------------------------------------------------------------------------

CHANNEL: dict[str, Any] = {"entry": 4, "leave": 2, "atr": 2, "stop_atr": 2.0}
FLAT = (100.0, 101.0, 100.0, 101.0, 100.0)


def test_donchian_trend_buys_a_close_above_the_channel_before_it() -> None:
    strategy, view = begun("donchian_trend", **CHANNEL), FakeView()
    assert play(strategy, closes(*FLAT, 101.4), view) == []  # the highest high is 101.5
    (signal,) = play(strategy, closes(103.0, first=6), view)
    assert signal.target == 1
    assert signal.stop is not None
    assert signal.stop < 101.0
    view.hold(strategy, 65)
    assert play(strategy, closes(104.0, 105.0, first=7), view) == []
    (last,) = play(strategy, closes(103.0, first=9), view)  # the lowest low of two bars is 103.5
    assert (last.target, "extreme of 2 bars" in last.why) == (0, True)


def test_donchian_trend_sells_the_mirror_image_so_many_times_a_day() -> None:
    strategy, view = begun("donchian_trend", **CHANNEL, trades_a_day=1), FakeView()
    assert said(play(strategy, mirror(closes(*FLAT, 103.0)), view)) == [-1]
    view.hold(strategy, -65)
    view.hold(strategy, 0)
    assert said(play(strategy, mirror(closes(105.0, 107.0, first=6)), view)) == [0]


# --- gap_fade ---------------------------------------------------------------------------------------------------------------------


def gap_day(opening: float, close: float, *later: float, gap: bool = False, minute: float = 0.0) -> list[Bar]:
    """Yesterday's last bar at 100, and a day that opens at `opening`."""
    yesterday = bar_at(370.0, 100.0, day=-1, warmup=True)
    first = msgspec.structs.replace(bar_at(minute, close, open=opening), gap=gap)
    return [yesterday, first, *(bar_at(minute + 5.0 * n, price) for n, price in enumerate(later, 1))]


def test_gap_fade_sells_a_gap_up_that_turned() -> None:
    (signal,) = play(begun("gap_fade"), gap_day(101.0, 100.6, 100.5))
    assert (signal.target, signal.stop, signal.take_profit) == (-1, 101.5, 100.0)
    assert "gap of 1.00 % from 100.00 to 101.00" in signal.why


def test_gap_fade_buys_a_gap_down_that_turned_and_takes_part_of_it() -> None:
    (signal,) = play(begun("gap_fade", fill=0.5, stop_gaps=1.0), gap_day(99.0, 99.2))
    assert (signal.target, signal.stop, signal.take_profit) == (1, 98.0, 99.5)


@pytest.mark.parametrize(
    ("params", "day"),
    [
        ({}, gap_day(101.0, 101.2)),  # it did not turn
        ({}, gap_day(100.2, 100.1)),  # too small
        ({}, gap_day(103.0, 102.0)),  # too large
        ({}, gap_day(101.0, 99.9)),  # filled already
        ({}, gap_day(101.0, 100.6, gap=True)),  # seen in part
        ({}, gap_day(101.0, 100.6, minute=5.0)),  # the first minutes are missing
        ({}, gap_day(101.0, 100.6)[1:]),  # no yesterday
        ({}, [bar_at(370.0, 100.0, day=-6, warmup=True), *gap_day(101.0, 100.6)[1:]]),  # and this is none
        ({}, [msgspec.structs.replace(bar, warmup=True) for bar in gap_day(101.0, 100.6)]),
        ({"short": False}, gap_day(101.0, 100.6)),
        ({"long": False}, gap_day(99.0, 99.4)),
    ],
)
def test_gap_fade_stays_out_when_a_condition_fails(params: dict[str, Any], day: list[Bar]) -> None:
    assert play(begun("gap_fade", **params), day) == []


def test_gap_fade_leaves_after_its_time_also_over_a_restart() -> None:
    strategy, view = begun("gap_fade", hold_minutes=10), FakeView()
    history = gap_day(101.0, 100.6, 100.5)
    play(strategy, history, view)
    again = restarted(strategy, "gap_fade", history, hold_minutes=10)
    view = FakeView()
    view.hold(again, -20)
    (signal,) = play(again, [bar_at(10.0, 100.4)], view)
    assert (signal.target, signal.why) == (0, "10 minutes have passed")
    assert play(again, [bar_at(15.0, 101.0)], view) == []


# --- what they have in common -----------------------------------------------------------------------------------------------------

ENTRIES: dict[str, tuple[dict[str, Any], list[Bar]]] = {
    "ema_cross": (EMA, closes(*DOWN_THEN_UP)),
    "rsi_reversion": (RSI, closes(*FALL, 96.6)),
    "supertrend": (TREND, closes(104.0, 102.0, 100.0, 98.0, 104.0)),
    "bollinger_breakout": (BANDS | {"width": 1.5}, closes(*QUIET, 103.0)),
    "donchian_trend": (CHANNEL, closes(*FLAT, 103.0)),
    "gap_fade": ({}, gap_day(99.0, 99.2)),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_each_remembers_its_trade_and_its_count_over_a_restart(name: str) -> None:
    params, bars = ENTRIES[name]
    strategy = begun(name, **params)
    assert said(play(strategy, bars)) == [1]
    again = restarted(strategy, name, bars, **params)
    assert again.saved() == strategy.saved()
    assert again.saved()["state"]["trades"] == 1
    assert again.saved()["state"]["trade"]["target"] == 1


@pytest.mark.parametrize("name", ENTRIES)
def test_each_has_traded_already_today_after_a_restart(name: str) -> None:
    params, bars = ENTRIES[name]
    params = params | {"trades_a_day": 1}
    strategy, view = begun(name, **params), FakeView()
    play(strategy, bars, view)
    view.hold(strategy, 10)
    view.hold(strategy, 0)  # stopped out, then the process dies
    again = restarted(strategy, name, bars[:-1], **params)
    assert said(play(again, bars[-1:])) == [0]
    once_more = restarted(again, name, bars[:-1], **params)
    assert said(play(once_more, bars[-1:])) == []
    once_more.begin(DAY.replace(day=23), once_more.saved(), None)
    assert once_more.saved()["state"]["trades"] == 0


@pytest.mark.parametrize("name", ENTRIES)
def test_each_is_silent_while_it_warms_up(name: str) -> None:
    params, bars = ENTRIES[name]
    assert play(begun(name, **params), [msgspec.structs.replace(bar, warmup=True) for bar in bars]) == []
    assert play(begun(name, **params, long=False), bars) == []


@pytest.mark.parametrize(("horizon", "target"), [(Horizon.INTRADAY, 0), (Horizon.CARRY, 1)])
def test_a_carried_trade_is_still_there_the_next_morning(horizon: Horizon, target: int) -> None:
    cls = get("ema_cross")
    strategy = cls(StrategySpec("mine", cls.params_type.parse(EMA), ("RELIANCE",), 5, horizon), "RELIANCE")
    strategy.start()
    strategy.begin(DAY, None, OPEN)
    play(strategy, closes(*DOWN_THEN_UP))
    strategy.begin(DAY.replace(day=23), strategy.saved(), None)
    state = strategy.saved()["state"]
    assert (state["trade"]["target"], state["trades"]) == (target, 0)


@pytest.mark.parametrize(
    ("name", "params", "bars"),
    [
        ("ema_cross", {}, 14 * 14),
        ("ema_cross", {"slow": 100}, 700),
        ("rsi_reversion", {}, 14 * 14 + 1),
        ("supertrend", {}, 140 + 360),
        ("bollinger_breakout", {}, 21),
        ("donchian_trend", {}, 280),
        ("donchian_trend", {"entry": 400}, 400),
        ("gap_fade", {}, 181),
    ],
)
def test_how_much_history_each_wants(name: str, params: dict[str, Any], bars: int) -> None:
    assert build(name, **params).warmup_bars == bars
