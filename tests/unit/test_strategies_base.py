"""Parameters, signals, sessions and the registry: what every strategy stands on."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from core.types import Bar, Signal, Tick, View
from strategies import registry
from strategies.base import ParameterError, Params, Strategy, StrategySpec, bounded
from tests.builders import DAY, NIFTY, RELIANCE, make_fill
from tests.unit.strategy_fakes import OPEN, FakeView, bar_at, play, said


@dataclass(frozen=True, slots=True)
class SomeParams(Params):
    bars: int = bounded(5, 1, 10)
    factor: float = bounded(1.5, 0.5, 2.5)
    on: bool = True
    label: str = "a"

    def check(self) -> None:
        if self.label == "forbidden":
            raise ParameterError("label", "forbidden is not allowed")


class Recording(Strategy):
    """Says 1 at each event and remembers how often a session began."""

    params_type = SomeParams

    def start(self) -> None:
        self.sessions: list[date] = []
        self.count = 0

    def on_session_start(self, day: date) -> None:
        self.sessions.append(day)
        self.count = 0

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        self.count += 1
        yield self.signal(bar.instrument, 1, stop=99.0, take_profit=101.0, why="bar")

    def on_tick(self, tick: Tick, view: View) -> Iterator[Signal]:
        yield self.signal(tick.instrument, -1)

    def state(self) -> dict[str, Any]:
        return {"count": self.count}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.count = state["count"]


class Both(Strategy):
    multi_instrument = True

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        yield self.signal(bar.instrument, 1, name="RELIANCE" if bar.instrument == RELIANCE else None)


def make(cls: type[Strategy] = Recording, logical: str | None = "RELIANCE", **params: Any) -> Strategy:
    strategy = cls(StrategySpec("mine", cls.params_type.parse(params), ("RELIANCE", "NIFTY_FUT"), 5), logical)
    strategy.start()
    return strategy


def test_parameters_take_their_defaults_and_what_is_given() -> None:
    params = SomeParams.parse({"bars": 10, "factor": 2, "on": False, "label": "b"})
    assert params == SomeParams(10, 2.0, False, "b")
    assert type(params.factor) is float
    assert SomeParams.parse({}) == SomeParams()


@pytest.mark.parametrize(
    ("values", "parameter", "text"),
    [
        ({"bars": 0}, "bars", r"0 is outside 1\.\.10"),
        ({"bars": 11}, "bars", r"11 is outside 1\.\.10"),
        ({"bars": 5.0}, "bars", r"expected int, got 5\.0"),
        ({"bars": True}, "bars", "expected int, got True"),
        ({"bars": "5"}, "bars", "expected int, got '5'"),
        ({"bars": None}, "bars", "expected int, got None"),
        ({"factor": 0.49}, "factor", r"0\.49 is outside 0\.5\.\.2\.5"),
        ({"factor": 2.51}, "factor", r"2\.51 is outside"),
        ({"factor": float("nan")}, "factor", "finite"),
        ({"factor": float("inf")}, "factor", "finite"),
        ({"factor": True}, "factor", "expected float, got True"),
        ({"on": 1}, "on", "expected bool, got 1"),
        ({"label": 3}, "label", "expected str, got 3"),
        ({"label": "forbidden"}, "label", "not allowed"),
        ({"bras": 5}, "bras", "did you mean bars"),
        ({"zzz": 5}, "zzz", "there are: bars, factor, on, label"),
    ],
)
def test_a_wrong_parameter_is_named(values: dict[str, Any], parameter: str, text: str) -> None:
    with pytest.raises(ParameterError, match=f"^{parameter}: .*{text}") as caught:
        SomeParams.parse(values)
    assert caught.value.parameter == parameter
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("value", [1, 10])
def test_both_ends_of_a_range_are_allowed(value: int) -> None:
    assert SomeParams.parse({"bars": value}).bars == value


def test_a_class_without_parameters_says_so() -> None:
    with pytest.raises(ParameterError, match="there are: none"):
        Params.parse({"x": 1})


def test_a_signal_carries_its_key_and_the_time_of_its_event() -> None:
    bar = bar_at(0, 100.0)
    (signal,) = make().bar(bar, FakeView())
    assert signal == Signal("mine", "RELIANCE", RELIANCE, 1, bar.at, 99.0, 101.0, "bar")
    tick = Tick(RELIANCE, OPEN + timedelta(seconds=3), 100.0)
    (signal,) = make().tick(tick, FakeView())
    assert (signal.target, signal.at, signal.stop) == (-1, tick.at, None)


def test_a_signal_outside_an_event_or_for_another_instrument_is_an_error() -> None:
    with pytest.raises(ValueError, match="belongs to an event"):
        make().signal(RELIANCE, 1)
    strategy = make()
    list(strategy.bar(bar_at(0, 1.0), FakeView()))
    with pytest.raises(ValueError, match="INFY"):
        strategy.signal(RELIANCE, 1, name="INFY")


def test_a_multi_instrument_strategy_names_each_signal() -> None:
    both = make(Both, None)
    (signal,) = both.bar(bar_at(0, 1.0), FakeView())
    assert signal.name == "RELIANCE"
    with pytest.raises(ValueError, match="name=None"):
        list(both.bar(msgspec.structs.replace(bar_at(0, 1.0), instrument=NIFTY), FakeView()))


@pytest.mark.parametrize(("cls", "logical"), [(Recording, None), (Both, "RELIANCE")])
def test_a_strategy_serves_one_instrument_unless_it_declares_more(cls: type[Strategy], logical: str | None) -> None:
    with pytest.raises(ValueError, match=cls.__name__):
        make(cls, logical)


def test_a_strategy_takes_its_own_parameters_only() -> None:
    with pytest.raises(ValueError, match="SomeParams"):
        Recording(StrategySpec("mine", Params(), ("RELIANCE",), 5), "RELIANCE")


def test_ticks_are_wanted_only_where_they_are_heard() -> None:
    assert Recording.wants_ticks
    assert not Both.wants_ticks


def test_the_defaults_of_a_strategy_do_nothing() -> None:
    quiet = Strategy(StrategySpec("quiet", Params(), ("RELIANCE",), 5), "RELIANCE")
    quiet.start()
    quiet.begin(DAY, {"day": None, "state": {}})
    assert list(quiet.bar(bar_at(0, 1.0), FakeView())) == []
    assert list(quiet.tick(Tick(RELIANCE, OPEN, 1.0), FakeView())) == []
    assert list(quiet.fill(make_fill(), FakeView())) == []
    assert (quiet.warmup_bars, quiet.saved()) == (0, {"day": "2026-11-20", "state": {}})


def recording() -> Recording:
    made = make()
    assert isinstance(made, Recording)
    return made


def test_a_session_begins_once_also_over_a_restart() -> None:
    first = recording()
    assert first.saved()["day"] is None
    first.begin(DAY, opens_at=OPEN)
    list(first.bar(bar_at(0, 100.0), FakeView()))
    kept = msgspec.json.decode(msgspec.json.encode(first.saved()))

    same_day = recording()
    same_day.begin(DAY, kept)
    assert (same_day.sessions, same_day.count) == ([], 1)
    assert (first.opens_at, same_day.opens_at) == (OPEN, None)

    next_day = recording()
    next_day.begin(DAY + timedelta(days=3), kept)
    assert (next_day.sessions, next_day.count) == ([DAY + timedelta(days=3)], 0)


@pytest.mark.parametrize(("minutes", "bars"), [(0, 0), (1, 1), (5, 1), (6, 2), (375, 75)])
def test_bars_that_cover_so_many_minutes(minutes: int, bars: int) -> None:
    assert make().bars_of(minutes) == bars


ALL = (
    *("bollinger_breakout", "donchian_trend", "ema_cross", "gap_fade", "opening_range", "outside_alerts", "pairs", "rsi_reversion"),
    *("sma_cross", "supertrend", "vwap_pullback"),
)


def test_the_registry_knows_them_all_and_names_the_nearest() -> None:
    assert registry.names() == ALL
    assert registry.params_of("sma_cross") is registry.get("sma_cross").params_type
    assert registry.parse_params("sma_cross", {"fast": 5}).parse({}) == registry.params_of("sma_cross")()
    with pytest.raises(ParameterError, match=r"^class: no strategy class 'sma_crss'; did you mean sma_cross\?"):
        registry.get("sma_crss")
    with pytest.raises(ParameterError, match=f"there are: {', '.join(ALL)}"):
        registry.params_of("quantum")


def test_the_registry_builds_one_started_object_for_each_instrument() -> None:
    spec = StrategySpec("trend", registry.parse_params("sma_cross", {}), ("NIFTY_FUT", "BANKNIFTY_FUT"), 5)
    built = registry.build("sma_cross", spec)
    assert [one.logical for one in built] == ["NIFTY_FUT", "BANKNIFTY_FUT"]
    assert all(list(one.bar(bar_at(0, 1.0), FakeView())) == [] for one in built)


@pytest.mark.parametrize(
    ("name", "values", "parameter"),
    [
        ("sma_cross", {"fast": 21}, "fast"),
        ("sma_cross", {"slow": 1}, "slow"),
        ("opening_range", {"long": False, "short": False}, "long"),
        ("opening_range", {"range_minutes": 0}, "range_minutes"),
        ("vwap_pullback", {"long": False, "short": False}, "long"),
        ("vwap_pullback", {"stop_atr": 0.0}, "stop_atr"),
        ("ema_cross", {"fast": 21}, "fast"),
        ("ema_cross", {"long": False, "short": False}, "long"),
        ("rsi_reversion", {"oversold": 50.0}, "leave_at"),
        ("rsi_reversion", {"overbought": 50.0}, "leave_at"),
        ("rsi_reversion", {"oversold": 0.0}, "oversold"),
        ("supertrend", {"width": 0.0}, "width"),
        ("supertrend", {"trades_a_day": 0}, "trades_a_day"),
        ("bollinger_breakout", {"period": 1}, "period"),
        ("bollinger_breakout", {"period": 5}, "width"),
        ("donchian_trend", {"leave": 21}, "leave"),
        ("gap_fade", {"min_gap_pct": 2.0}, "min_gap_pct"),
        ("gap_fade", {"trades_a_day": 2}, "trades_a_day"),
        ("pairs", {"leave": 2.0}, "leave"),
        ("pairs", {"give_up": 2.0}, "give_up"),
    ],
)
def test_the_strategies_refuse_parameters_that_make_no_sense(name: str, values: dict[str, Any], parameter: str) -> None:
    with pytest.raises(ParameterError) as caught:
        registry.parse_params(name, values)
    assert caught.value.parameter == parameter


def test_the_example_of_the_documentation_works() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "write-a-strategy.md").read_text()
    module = ModuleType("momentum")
    sys.modules[module.__name__] = module  # get_type_hints looks the class's module up
    try:
        exec(text.split("```python\n")[1].split("```")[0], module.__dict__)
        momentum = module.Momentum(StrategySpec("mine", module.MomentumParams(lookback=1), ("RELIANCE",), 5), "RELIANCE")
        momentum.start()
        assert said(play(momentum, [bar_at(5.0 * n, close) for n, close in enumerate([100.0, 101.0, 99.0])])) == [1, 0]
        assert momentum.warmup_bars == 1
    finally:
        del sys.modules[module.__name__]
