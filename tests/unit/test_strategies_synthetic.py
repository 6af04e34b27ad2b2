"""Each shipped strategy plays days of the synthetic market in a light loop: bars in, fills at the close, stops inside the bar.

It says nothing about returns, and could not: the prices are invented. It shows that each strategy enters, that each entry is protected
on the right side, and that a restart in the middle of the day changes nothing of what it says afterwards.
"""

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.types import IST, Bar, Instrument, Kind, Side, Signal
from data_ingestion.bars import aggregate
from data_ingestion.warmup import interleaved
from simulators.facts import Facts
from simulators.market import SyntheticMarket
from strategies import registry
from strategies.base import Strategy, StrategySpec
from tests.builders import make_fill
from utils.config_loader import CONFIG_FOLDER, load, load_calendar
from utils.config_schema import StrategySettings

DAY, NEXT = date(2026, 11, 20), date(2026, 11, 23)
OPENS = datetime(2026, 11, 20, 9, 15, tzinfo=IST)
SEEDS = (1, 4, 7)
KEYS = {"NIFTY_FUT": "NFO:NIFTY26NOVFUT", "BANKNIFTY_FUT": "NFO:BANKNIFTY26NOVFUT"}
FILES = sorted(Path(CONFIG_FOLDER, "strategies").glob("*.yaml"))
NAMES = tuple(path.stem for path in FILES if path.stem != "outside_alerts")  # which speaks only when somebody outside does


def key_of(name: str) -> str:
    return KEYS.get(name, f"NSE:{name}")


@cache
def market(seed: int) -> SyntheticMarket:
    """A market whose past holds DAY whole."""
    made = SyntheticMarket(seed, DAY, Facts.load())
    made.open_day(NEXT)
    return made


@cache
def instrument(name: str) -> Instrument:
    exchange, symbol = key_of(name).split(":")
    kind = Kind.FUTURE if exchange == "NFO" else Kind.EQUITY
    return Instrument(key_of(name), exchange, symbol, kind, name.removesuffix("_FUT"), is_fno=True)


@cache
def history(seed: int, name: str, interval: int) -> tuple[Bar, ...]:
    """Ten sessions up to the end of DAY."""
    step = timedelta(minutes=interval)
    candles = market(seed).candles(key_of(name), OPENS - timedelta(days=13), OPENS + timedelta(hours=12), interval)
    bars = [Bar(instrument(name), c.start, c.start + step, interval, c.open, c.high, c.low, c.close, c.volume) for c in candles]
    return tuple(aggregate(bars, interval, load_calendar()))  # as the warm-up takes them: continuous trading alone


class Desk:
    """A view, and a broker that fills every changed target at the bar's close and every stop inside the bar."""

    def __init__(self, strategy: Strategy, names: tuple[str, ...]) -> None:
        self.strategy = strategy
        self.now = OPENS
        self.names: Mapping[str, Instrument] = {name: instrument(name) for name in names}
        self.held: dict[str, int] = {}
        self.wanted: dict[str, Signal] = {}
        self.entries: list[Signal] = []

    def last_price(self, of: Instrument) -> float | None:
        return None

    def position(self, strategy: str, of: Instrument) -> int:
        return self.held.get(of.key, 0)

    def phase(self, instrument: Instrument) -> str:
        return "continuous"

    def resolve(self, name: str) -> Instrument | None:
        return self.names.get(name)

    def play(self, bar: Bar) -> list[Signal]:
        self.now = bar.at
        said = list(self._protect(bar))
        for signal in self.strategy.bar(bar, self):
            said += [signal, *self._obey(signal, bar.close)]
        return said

    def _protect(self, bar: Bar) -> Iterator[Signal]:
        wanted, held = self.wanted.get(bar.instrument.key), self.held.get(bar.instrument.key, 0)
        if wanted is None or not held:
            return
        worst, best = (bar.low, bar.high) if held > 0 else (bar.high, bar.low)
        stopped = wanted.stop is not None and (worst - wanted.stop) * held <= 0
        taken = wanted.take_profit is not None and (best - wanted.take_profit) * held >= 0
        if stopped or taken:
            yield from self._fill(bar.instrument, 0)

    def _obey(self, signal: Signal, close: float) -> Iterator[Signal]:
        old = self.wanted.get(signal.instrument.key)
        self.wanted[signal.instrument.key] = signal
        if old is not None and old.target == signal.target:
            return
        if signal.target:
            self.entries.append(signal)
        if old is not None or signal.target:
            yield from self._fill(signal.instrument, int(signal.target))

    def _fill(self, of: Instrument, held: int) -> Iterator[Signal]:
        before, self.held[of.key] = self.held.get(of.key, 0), held
        if held != before:
            side = Side.BUY if held > before else Side.SELL
            yield from self.strategy.fill(make_fill(instrument=of, strategy=self.strategy.name, side=side, quantity=1), self)


@cache
def settings_of(name: str) -> StrategySettings:
    return load().strategies[name]


def warmed(name: str, seed: int, until: datetime, saved: Mapping[str, Any] | None) -> tuple[Strategy, Desk, list[Bar]]:
    """The strategy as the morning (or a restart) builds it at `until`, and the bars of the day that follow."""
    settings = settings_of(name)
    params = registry.parse_params(settings.class_, settings.params)
    (strategy,) = registry.build(settings.class_, StrategySpec(name, params, settings.instruments, settings.interval))
    desk, past, future = Desk(strategy, settings.instruments), [], []
    for one in settings.instruments:
        bars = history(seed, one, strategy.interval)
        past.append([bar for bar in bars if bar.at <= until][-strategy.warmup_bars :])
        future.append([bar for bar in bars if bar.at > until])
    for bar in interleaved(past):
        list(strategy.bar(msgspec.structs.replace(bar, warmup=True), desk))
    strategy.begin(DAY, saved, OPENS)
    return strategy, desk, interleaved(future)


@cache
def day(name: str, seed: int) -> tuple[tuple[Signal, ...], Desk]:
    _, desk, bars = warmed(name, seed, OPENS, None)
    return tuple(signal for bar in bars for signal in desk.play(bar)), desk


@pytest.mark.parametrize("name", NAMES)
def test_each_enters_on_some_day_with_its_stop_on_the_right_side(name: str) -> None:
    entries = [(signal, seed) for seed in SEEDS for signal in day(name, seed)[1].entries]
    assert entries, f"{name} found nothing to do with seeds {SEEDS}"
    for signal, seed in entries:
        close = next(bar.close for bar in history(seed, signal.name, settings_of(name).interval) if bar.at == signal.at)
        if settings_of(name).class_ != "sma_cross":  # whose stop is the configured stop_pct
            assert signal.stop is not None
            assert (close - signal.stop) * signal.target > 0
        if signal.take_profit is not None:
            assert (signal.take_profit - close) * signal.target > 0
        assert signal.why


@pytest.mark.parametrize("name", [name for name in NAMES if "trades_a_day" in settings_of(name).params])
def test_each_keeps_to_its_trades_a_day(name: str) -> None:
    most = int(settings_of(name).params["trades_a_day"]) * len(settings_of(name).instruments)
    assert all(len(day(name, seed)[1].entries) <= most for seed in SEEDS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hour", [11, 14])
def test_a_restart_in_the_middle_of_the_day_changes_nothing(name: str, hour: int) -> None:
    for seed in SEEDS:
        died = OPENS.replace(hour=hour, minute=0)
        strategy, desk, bars = warmed(name, seed, OPENS, None)
        for bar in bars:
            if bar.at <= died:
                desk.play(bar)
        kept = msgspec.json.decode(msgspec.json.encode(strategy.saved()))
        _, again, rest = warmed(name, seed, died, kept)
        again.held, again.wanted = dict(desk.held), dict(desk.wanted)  # the ledger's part
        said = [signal for bar in rest for signal in again.play(bar)]
        whole = [signal for signal in day(name, seed)[0] if signal.at > died]
        assert [(s.at, s.name, s.target) for s in said] == [(s.at, s.name, s.target) for s in whole]
        for one, other in zip(said, whole, strict=True):
            assert (one.stop or 0.0) == pytest.approx(other.stop or 0.0, rel=1e-6)
