"""The two checks of a strategy on its own data: one that peeks is caught, one that forgets slowly is measured."""

import importlib
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from backtesting import bias
from backtesting.market import BacktestMarket
from backtesting.run import Backtest
from core.types import Account, AccountKind, Bar, Signal, Tick, View
from data_ingestion.prepare import prepare
from execution_engine.paper_rules import FillRules
from execution_engine.runs import Run
from main import main
from strategies import registry
from strategies.base import Params, Strategy
from tests.unit.test_backtest import YAML, bars_file, configured, wave
from utils.config_loader import Config

DAYS = (date(2026, 6, 1), date(2026, 6, 2), date(2026, 6, 3), date(2026, 6, 4))
ACCOUNT = Account("backtest", AccountKind.PRACTICE, "zerodha", 1_000_000.0)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return configured(tmp_path_factory.mktemp("strategy"), 5)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bars_file(tmp_path_factory.mktemp("data"), {day: wave(75, 100.0 + number, 9 + number) for number, day in enumerate(DAYS)})


@pytest.fixture
def market(config: Config, file: Path, tmp_path: Path) -> BacktestMarket:
    calendar = config.calendar(ACCOUNT.kind)
    return BacktestMarket(prepare(file, tmp_path, calendar), calendar)


def honest(config: Config) -> bias.Make:
    return lambda market: Backtest(config, ACCOUNT, market, config.strategies, FillRules(), journal=None)


class Planted(Strategy):
    """Holds what `wants` says at each bar; the market is at hand, as a file would be."""

    market: BacktestMarket

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        yield self.signal(bar.instrument, self.wants(bar), why="planted")

    def wants(self, bar: Bar) -> float:
        raise NotImplementedError


class Peeks(Planted):
    """Buys what rises by the end of the next bar."""

    def wants(self, bar: Bar) -> float:
        after = [one for one in self.market.bars_of(bar.instrument.key, bar.start.date()) if one.start >= bar.at]
        return 1 if after and after[0].close > bar.close else 0


class Remembers(Planted):
    """Long after an even number of bars since it was made: it never forgets where history began."""

    count = 0

    def wants(self, bar: Bar) -> float:
        self.count += 1
        return float(self.count % 2)


def with_strategy(config: Config, kind: type[Planted], fills: FillRules | None = None) -> bias.Make:
    class Planting(Backtest):
        def __init__(self, market: BacktestMarket) -> None:
            super().__init__(config, ACCOUNT, market, config.strategies, fills or FillRules(), journal=None)
            self.market = market

        def _warm_up(self, run: Run, day: date) -> None:
            spec = run.strategy.spec
            planted = kind(type(spec)(spec.name, Params(), spec.instruments, spec.interval, spec.horizon), run.strategy.logical)
            planted.market = self.market
            run.strategy = planted
            super()._warm_up(run, day)

    return Planting


def test_an_honest_strategy_says_the_same_on_every_prefix(config: Config, market: BacktestMarket) -> None:
    told: list[tuple[int, int]] = []
    found = bias.lookahead(honest(config), market, DAYS, 4, lambda done, of: told.append((done, of)))
    assert (found["ok"], found["first"]) == (True, None)
    assert [row["same"] for row in found["samples"]] == [True] * 4
    assert found["signals"] >= max(row["signals"] for row in found["samples"]) > 10
    assert told == [(number, 5) for number in range(1, 6)]


def test_a_strategy_that_peeks_at_the_next_bar_is_caught(config: Config, market: BacktestMarket) -> None:
    found = bias.lookahead(with_strategy(config, Peeks), market, DAYS, 6)
    assert found["ok"] is False
    first = found["first"]
    assert (first["whole"] or first["prefix"])["at"][:19] == first["until"][:19], "what was said at the very end, knowing what comes"


def test_what_a_class_could_read_by_is_named_since_a_file_ends_no_earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "peeking.py").write_text(
        "import math\nimport pyarrow.parquet as pq\nfrom pathlib import Path\nfrom strategies.sma_cross import SmaCross\n"
        "class Peeking(SmaCross):\n    def start(self):\n        self.days = open('days.csv').read()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    peeking = importlib.import_module("peeking").Peeking
    assert bias.reads_by(peeking) == ["open()", "pathlib", "pyarrow.parquet"]
    assert [name for name in registry.names() if bias.reads_by(registry.get(name))] == []


class ReadsThePath(Planted):
    """Knows from a bar's second price how it ends: high before low, and it will have fallen; bought then, it is filled at the low."""

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        self.prices: list[float] = []
        yield self.signal(bar.instrument, 0, why="over")

    def on_tick(self, tick: Tick, view: View) -> Iterator[Signal]:
        self.prices = [*getattr(self, "prices", []), tick.price]
        if len(self.prices) == 2 and self.prices[1] > self.prices[0]:
            yield self.signal(tick.instrument, 1, why="the low comes next")


def test_a_strategy_cannot_read_in_the_prices_inside_a_bar_how_it_ends(config: Config, market: BacktestMarket) -> None:
    backtest = with_strategy(config, ReadsThePath, FillRules(inside_bars=True))(market)
    outcome = backtest.run(DAYS)
    assert outcome.trips == []
    assert any("cross listens to ticks too, and the data is bars: it hears none" in note for note in outcome.notes)


def test_averages_need_no_more_than_they_ask_for(config: Config, market: BacktestMarket) -> None:
    found = bias.warmup(honest(config), market, DAYS, 2)
    assert found["ok"] is True
    assert 0 < found["needed"] <= found["declared"]["cross"]


def test_a_strategy_that_never_forgets_never_settles(config: Config, market: BacktestMarket) -> None:
    odd = DAYS[1:]  # 75 bars a day: a start a day later counts the other way round
    found = bias.warmup(with_strategy(config, Remembers), market, DAYS, 1)
    assert (found["ok"], found["needed"]) == (False, None)
    assert found["samples"] == [{"from": odd[0].isoformat(), "bars": None, "enough": False}]


class HoldsOn(Planted):
    """Enters once a day where the average of three bars is passed, and stays: what it holds lasts longer than what it needs to know."""

    @property
    def warmup_bars(self) -> int:
        return 3

    def on_session_start(self, day: date) -> None:
        self.entered = False

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        self.closes = [*getattr(self, "closes", []), bar.close][-3:]
        if bar.warmup or len(self.closes) < 3 or self.entered:
            return
        self.entered = True
        yield self.signal(bar.instrument, 1 if bar.close > sum(self.closes) / 3 else -1, why="planted")


def test_a_trade_that_lasts_is_no_lack_of_history(config: Config, market: BacktestMarket) -> None:
    found = bias.warmup(with_strategy(config, HoldsOn), market, DAYS, 2)
    assert (found["ok"], [row["enough"] for row in found["samples"]]) == (True, [True, True])


def test_where_nothing_is_said_nothing_is_checked(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strategy = tmp_path / "cross.yaml"
    strategy.write_text(YAML.format(interval=5).replace("fast: 2, slow: 4", "fast: 199, slow: 200"))
    command = ["backtest", str(strategy), "--data", str(file), "--state", str(tmp_path), "--samples", "1", "--check"]
    for check in ("lookahead", "warmup"):
        assert main([*command, check]) == 1
        assert "NOTHING CHECKED, it gave no signal on this data\nnote: cross: 0 of " in capsys.readouterr().out


def test_the_command_tells_both_checks(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strategy = tmp_path / "cross.yaml"
    strategy.write_text(YAML.format(interval=5))
    command = ["backtest", str(strategy), "--data", str(file), "--state", str(tmp_path), "--samples", "2", "--check"]
    assert main([*command, "lookahead"]) == 0
    assert "it does not look ahead" in capsys.readouterr().out
    assert main([*command, "warmup", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (found["check"], found["strategy"], found["ok"]) == ("warmup", "cross", True)
