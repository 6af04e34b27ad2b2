"""The strategy over two instruments and two timeframes: slower bars, matched bars, both legs in and out together, restarts."""

import math
from datetime import timedelta
from statistics import fmean, pstdev
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.types import Bar, Horizon, Instrument, Signal
from strategies.base import Strategy, StrategySpec
from strategies.one_trade import CLOSED
from strategies.pairs import Pairs, PairsParams
from strategies.slower import Slower
from tests.builders import DAY, RELIANCE
from tests.unit.strategy_fakes import OPEN, FakeView, bar_at

FIRST = msgspec.structs.replace(RELIANCE, key="NSE:AAA", symbol="AAA", underlying="AAA")
SECOND = msgspec.structs.replace(RELIANCE, key="NSE:BBB", symbol="BBB", underlying="BBB")
SMALL: dict[str, Any] = {"lookback": 4, "slower": 2, "entry": 2.0, "leave": 0.5, "give_up": 20.0, "stop_pct": 2.0}


# --- slower bars ------------------------------------------------------------------------------------------------------------------


def test_slower_bars_are_joined_from_the_days_first_bar_on() -> None:
    slower = Slower(3)
    made = [
        done for day in (0, 1) for n in range(7) for done in slower.add(bar_at(5.0 * n, 100.0 + n, high=110.0 + n, low=90.0 - n, day=day))
    ]
    assert [(bar.start, bar.at, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.interval) for bar in made] == [
        (OPEN + timedelta(days=1), OPEN + timedelta(days=1, minutes=15), 100.0, 112.0, 88.0, 102.0, 300, 15),
        (OPEN + timedelta(days=1, minutes=15), OPEN + timedelta(days=1, minutes=30), 103.0, 115.0, 85.0, 105.0, 300, 15),
    ]  # the first day may have begun before us; the seventh bar still waits
    (rest,) = slower.add(bar_at(0, 1.0, day=2))
    assert (rest.start, rest.close, rest.volume) == (OPEN + timedelta(days=1, minutes=30), 106.0, 100)


def test_a_slower_bar_whose_last_part_never_came_ends_with_the_next_bar() -> None:
    slower = Slower(2)
    slower.add(bar_at(0, 1.0))
    assert slower.add(bar_at(0, 100.0, day=1)) == []
    done = slower.add(bar_at(15, 101.0, day=1))  # the bars of minutes 5 and 10 are missing
    assert [(bar.start.minute, bar.close) for bar in done] == [(15, 100.0), (25, 101.0)]


@given(st.integers(1, 6), st.lists(st.integers(0, 74), unique=True, min_size=1).map(sorted), st.integers(0, 74))
def test_slower_bars_do_not_depend_on_where_history_begins(factor: int, numbers: list[int], begins: int) -> None:
    today = [bar_at(5.0 * n, 100.0 + n, day=1) for n in numbers]
    yesterday = [bar_at(5.0 * n, 50.0) for n in range(75)]
    whole, late = Slower(factor), Slower(factor)
    heard = ((whole, yesterday), (late, yesterday[begins:]))
    long, short = ([done for bar in history for done in one.add(bar)] for one, history in heard)
    assert long == short == []
    made = [done for bar in today for done in whole.add(bar)]
    assert made == [done for bar in today for done in late.add(bar)]
    groups: dict[int, list[Bar]] = {}
    for bar in today:
        groups.setdefault((bar.start - today[0].start) // timedelta(minutes=5 * factor), []).append(bar)
    assert [bar.close for bar in made] == [parts[-1].close for parts in groups.values()][: len(made)]
    assert len(groups) - len(made) in (0, 1)


@pytest.mark.parametrize("factor", [0, -1, 1.5, True])
def test_a_factor_is_a_whole_number(factor: Any) -> None:
    with pytest.raises(ValueError, match="factor"):
        Slower(factor)


# --- a pair -----------------------------------------------------------------------------------------------------------------------


def pair(horizon: Horizon = Horizon.INTRADAY, **params: Any) -> Pairs:
    strategy = Pairs(StrategySpec("pair", PairsParams.parse(SMALL | params), ("AAA", "BBB"), 5, horizon))
    strategy.start()
    return strategy


def view() -> FakeView:
    return FakeView(names={"AAA": FIRST, "BBB": SECOND})


def two(number: int, first: float, second: float = 100.0, *, day: int = 0, warmup: bool = False) -> list[Bar]:
    """The bars of both at one time, in the order of their keys, as the engine closes them."""
    return [
        msgspec.structs.replace(bar_at(5.0 * number, close, day=day, warmup=warmup), instrument=instrument)
        for instrument, close in ((FIRST, first), (SECOND, second))
    ]


def usual() -> list[Bar]:
    """Warm-up: yesterday, of which nothing is learnt, and this morning's eight bars, whose slower closes are 100.2 and 100.0 in turn."""
    made = two(70, 100.0, day=-1, warmup=True)
    for number in range(8):
        made += two(number, 100.2 if number % 4 < 2 else 100.0, warmup=True)
    return made


def play(strategy: Strategy, bars: list[Bar], seen: FakeView) -> list[Signal]:
    return [signal for bar in bars for signal in strategy.bar(bar, seen)]


def opened(seen: FakeView, **params: Any) -> Pairs:
    """A pair that has just gone short the first and long the second, with the ninth bars of the day."""
    strategy = pair(**params)
    play(strategy, usual(), seen)
    strategy.begin(DAY, None, OPEN)
    signals = play(strategy, two(8, 101.0), seen)
    assert [(signal.name, signal.instrument, signal.target) for signal in signals] == [("AAA", FIRST, -1), ("BBB", SECOND, 1)]
    return strategy


def test_a_pair_sells_the_dear_one_and_buys_the_cheap_one_with_a_stop_each() -> None:
    seen, strategy = view(), pair()
    play(strategy, usual(), seen)
    strategy.begin(DAY, None, OPEN)
    first, second = play(strategy, two(8, 101.0), seen)
    samples = [math.log(1.002), 0.0] * 2
    z = (math.log(1.01) - fmean(samples)) / pstdev(samples)
    assert first.why == second.why == f"AAA/BBB is {z:+.2f} deviations from usual"
    assert first.stop == pytest.approx(101.0 * 1.02)
    assert second.stop == pytest.approx(98.0)
    assert first.at == second.at == OPEN + timedelta(minutes=45)


def test_the_mirror_image_buys_the_first() -> None:
    seen, strategy = view(), pair()
    play(strategy, usual(), seen)
    strategy.begin(DAY, None, OPEN)
    assert [(one.name, one.target) for one in play(strategy, two(8, 99.0), seen)] == [("AAA", 1), ("BBB", -1)]


def test_both_legs_leave_when_the_ratio_is_back() -> None:
    seen = view()
    strategy = opened(seen)
    seen.fill(strategy, FIRST, -100)
    seen.fill(strategy, SECOND, 100)
    assert play(strategy, two(9, 101.0), seen) == []
    signals = play(strategy, two(10, 100.1), seen)
    assert [(one.name, one.target) for one in signals] == [("AAA", 0), ("BBB", 0)]
    assert "back to" in signals[0].why


def test_a_pair_is_given_up_when_it_drifts_apart() -> None:
    seen = view()
    strategy = opened(seen, give_up=12.0)
    seen.fill(strategy, FIRST, -100)
    seen.fill(strategy, SECOND, 100)
    signals = play(strategy, two(9, 110.0), seen)
    assert [one.target for one in signals] == [0, 0]
    assert "given up" in signals[0].why


def test_the_other_leg_leaves_at_once_when_one_was_closed_by_its_stop() -> None:
    seen = view()
    strategy = opened(seen)
    assert seen.fill(strategy, FIRST, -100) == []
    assert seen.fill(strategy, SECOND, 100) == []
    signals = seen.fill(strategy, FIRST, 0)
    assert [(one.name, one.target, one.why) for one in signals] == [(name, 0, f"a leg was {CLOSED}") for name in ("AAA", "BBB")]
    assert seen.fill(strategy, SECOND, 0) == []
    assert play(strategy, two(9, 101.0), seen) == []  # still apart: only a new crossing is an entry


def test_a_leg_that_stays_alone_for_a_bar_leaves() -> None:
    seen = view()
    strategy = opened(seen)
    seen.fill(strategy, SECOND, 100)
    signals = play(strategy, two(9, 101.0), seen)
    assert [(one.target, one.why) for one in signals] == [(0, "only one leg was filled, and one leg is no pair")] * 2


def test_a_pair_waits_while_neither_leg_is_filled() -> None:
    seen = view()
    assert play(opened(seen), two(9, 101.0), seen) == []


def test_bars_count_only_together() -> None:
    seen, strategy = view(), pair()
    play(strategy, usual(), seen)
    strategy.begin(DAY, None, OPEN)
    assert play(strategy, two(8, 101.0)[:1], seen) == []
    assert play(strategy, two(9, 101.0)[1:], seen) == []
    assert len(play(strategy, two(9, 101.0)[:1], seen)) == 2  # the other one's ninth is there already


def test_a_pair_stays_out_of_broken_bars_too_many_trades_and_strangers() -> None:
    seen = view()
    cases: list[tuple[list[Bar], dict[str, Any]]] = [
        ([msgspec.structs.replace(bar, gap=True) for bar in two(8, 101.0)], {}),
        (two(8, 130.0), {}),
        ([msgspec.structs.replace(bar, instrument=RELIANCE) for bar in two(8, 101.0)], {}),
        (two(8, 100.15), {}),
    ]
    for bars, params in cases:
        strategy = pair(**params)
        play(strategy, usual(), seen)
        strategy.begin(DAY, None, OPEN)
        assert play(strategy, bars, seen) == []


def test_bars_that_come_one_instrument_after_the_other_teach_nothing() -> None:
    """Why the warm-up must interleave the instruments by time."""
    seen, strategy = view(), pair()
    play(strategy, sorted(usual(), key=lambda bar: (bar.instrument.key, bar.at)), seen)
    assert strategy.usual.value is None


def test_a_restart_decides_like_the_run_that_never_stopped() -> None:
    seen = view()
    strategy = opened(seen, trades_a_day=1)
    seen.fill(strategy, FIRST, -100)
    seen.fill(strategy, SECOND, 100)
    kept = msgspec.json.decode(msgspec.json.encode(strategy.saved()))
    again = pair(trades_a_day=1)
    history = [msgspec.structs.replace(bar, warmup=True) for bar in (*usual(), *two(8, 101.0))]
    assert play(again, history, seen) == []
    again.begin(DAY, kept, OPEN)
    assert (again.usual.mean, again.usual.value) == (strategy.usual.mean, strategy.usual.value)
    rest = [bar for number, price in ((9, 101.2), (10, 100.1), (11, 101.5)) for bar in two(number, price)]
    assert play(again, rest, seen) == play(strategy, rest, seen) != []
    assert again.saved() == strategy.saved()


def test_a_carried_pair_is_still_there_the_next_morning() -> None:
    for horizon, target in ((Horizon.INTRADAY, 0), (Horizon.CARRY, -1)):
        seen, strategy = view(), pair(horizon)
        play(strategy, usual(), seen)
        strategy.begin(DAY, None, OPEN)
        play(strategy, two(8, 101.0), seen)
        strategy.begin(DAY + timedelta(days=3), strategy.saved(), None)
        assert (strategy.trade["AAA"].target, strategy.trades) == (target, 0)


def test_legs_that_the_configuration_named_then_are_forgotten() -> None:
    seen = view()
    kept = opened(seen).saved()
    other = Pairs(StrategySpec("pair", PairsParams.parse(SMALL), ("AAA", "CCC"), 5))
    other.start()
    other.begin(DAY, kept, OPEN)
    assert (other.trade["AAA"].target, other.trade["CCC"].target) == (-1, 0)


def test_a_pair_has_two_instruments() -> None:
    with pytest.raises(ValueError, match="two instruments, got AAA, BBB, CCC"):
        Pairs(StrategySpec("pair", PairsParams.parse({}), ("AAA", "BBB", "CCC"), 5)).start()
    assert pair(lookback=40, slower=3).warmup_bars == 120 + 180


def test_names_are_those_of_today() -> None:
    other = msgspec.structs.replace(FIRST, key="NSE:CCC")
    seen: dict[str, Instrument] = {"AAA": other, "BBB": SECOND}
    strategy = pair()
    assert [strategy.name_of(one, FakeView(names=seen)) for one in (other, SECOND, FIRST)] == ["AAA", "BBB", None]
