"""The compiled kernel against the engine: the same fills, charges and figures to the paisa, and the engine wherever it cannot."""

import random
import subprocess
import sys
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from backtesting.compiled import Compiled, _columns
from backtesting.market import BacktestMarket
from backtesting.pools import LocalPool
from backtesting.run import Backtest
from backtesting.sweep import Listed, Sweep
from backtesting.trial import Desk, Result, Trial, Work, figures_of
from core.errors import ConfigError, NiyamError
from core.types import IST, Account, AccountKind, Bar
from data_ingestion.prepare import prepare
from execution_engine.paper_rules import FillRules
from strategies import compiled, indicators, registry
from strategies.frame import Frame
from strategies.indicators_bands import Highest, Lowest, Supertrend
from strategies.indicators_momentum import RSI
from tests.market_data import DATA
from tests.unit.test_backtest import SHARE
from utils.config_loader import Config, load, load_calendar

pytestmark = pytest.mark.xdist_group("compiled")  # one worker compiles, once

ACCOUNT = Account("backtest", AccountKind.PRACTICE, "zerodha", 1_000_000.0)
PARAMS = {
    "sma_cross": "{fast: 3, slow: 8}",
    "ema_cross": "{fast: 3, slow: 8}",
    "vwap_pullback": "{trend: 10}",
    "opening_range": "{range_minutes: 30}",
    "rsi_reversion": "{period: 7}",
    "supertrend": "{period: 7, width: 2.0}",
    "bollinger_breakout": "{period: 10, width: 1.5}",
    "donchian_trend": "{entry: 10, leave: 5}",
    "gap_fade": "{min_gap_pct: 0.1, max_gap_pct: 5.0}",
}
PLAIN = FillRules()
COSTLY = FillRules(slippage_ticks=1, slippage_bps=1.5, spread_ticks=3)
YAML = "class: {name}\ninstruments: [{instrument}]\ninterval: {interval}m\nparams: {params}\nsize: {size}\nhorizon: intraday\n{more}"
# What a run is made of: data's and strategy's interval, size, more settings, fills, and of the data: ticks a bar may move, missing share
CASES: dict[str, tuple[int, int, str, str, FillRules, int, float]] = {
    "plain": (5, 5, "{quantity: 10}", "", PLAIN, 8, 0.0),
    "costs": (5, 5, "{capital: 200000}", 'window: {entry_from: "09:40", entry_until: "14:00"}', COSTLY, 20, 0.02),
    "stops": (5, 5, "{risk: 2000}", "risk: {stop_pct: 0.3, take_profit_pct: 0.4, max_loss: 300}", PLAIN, 20, 0.0),
    "limits": (5, 5, "{quantity: 900}", "risk: {max_trades: 3, cooldown: {minutes: 45, after: loss}}", PLAIN, 3, 0.05),
    "pauses": (5, 5, "{lots: 3}", 'window: {entry_from: "10:00"}\nrisk: {cooldown: {minutes: 10, after: exit}}', COSTLY, 8, 0.15),
    "coarse": (1, 5, "{quantity: 50}", "risk: {max_loss: 100}", PLAIN, 4, 0.1),
    "future": (5, 5, "{lots: 1}", "risk: {max_loss: 5000}", PLAIN, 8, 0.0),
    "wild": (15, 15, "{capital: 3500000}", "", PLAIN, 60, 0.1),
}


def sessions(count: int, first: date = date(2026, 6, 1)) -> list[date]:
    calendar, found, day = load_calendar(assumed_cut_offs=True), list[date](), first
    while len(found) < count:
        if calendar.trading_day("EQ", day):
            found.append(day)
        day += timedelta(days=1)
    return found


def random_bars(
    seed: int, days: Sequence[date], minutes: int = 5, move: int = 8, missing: float = 0.0, symbol: str = "NSE:ABC"
) -> pa.Table:
    """A walk on the tick over the real sessions of these days, with a gap each night."""
    calendar, rng, rows, ticks = load_calendar(assumed_cut_offs=True), random.Random(seed), list[Any](), 2000
    for day in days:
        ticks = max(200, ticks + rng.randrange(-60, 61))
        for start, end in calendar.continuous(SHARE, day):
            at = start
            while at < end:
                first = max(20, ticks + rng.choice((-2, -1, 0, 0, 1, 2)))
                ticks = max(20, first + rng.randrange(-move, move + 1))
                high, low = max(first, ticks) + rng.randrange(4), min(first, ticks) - rng.randrange(4)
                if rng.random() >= missing:
                    rows.append((at, symbol, *(round(price * 0.05, 2) for price in (first, high, low, ticks)), rng.choice((0, 100_000))))
                at += timedelta(minutes=minutes)
    names = ("timestamp", "symbol", "open", "high", "low", "close", "volume")
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def configured(folder: Path, name: str, case: str = "plain", instrument: str = "ABC", params: str = "", more: str = "") -> Config:
    _, interval, size, settings, *_ = CASES[case]
    file = folder / f"{name}.yaml"
    file.write_text(
        YAML.format(name=name, instrument=instrument, interval=interval, params=params or PARAMS[name], size=size, more=more or settings)
    )
    return load(Path("config"), strategy=file)


def market_of(table: pa.Table, folder: Path, *, repair: bool = False) -> BacktestMarket:
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / "bars.parquet")
    calendar = load_calendar(assumed_cut_offs=True)
    return BacktestMarket(prepare(folder / "bars.parquet", folder / "data", calendar, repair=repair), calendar, keep=10_000)


def assert_alike(config: Config, market: BacktestMarket, fills: FillRules = PLAIN, days: Sequence[date] | None = None) -> int:
    """How many fills both made, all of them alike."""
    chosen = market.days if days is None else tuple(days)
    outcome = Backtest(config, ACCOUNT, market, config.strategies, fills).run(chosen)
    ((name, settings),) = config.strategies.items()
    kernel = Compiled(config, ACCOUNT, market, name, settings, fills, chosen)
    assert kernel.why == ""
    answer = kernel.run({})
    assert answer.why == ""
    ours = [(one.at, one.quantity, one.price, one.charges) for one in kernel.trades(answer)]
    theirs = [(one.at, one.side.sign * one.quantity, one.price, one.charges) for one in outcome.fills]
    assert ours == theirs
    assert answer.nets.tolist() == list(outcome.days.values())
    assert dict(answer.figures) == figures_of(outcome)
    return len(ours)


# --- indicators -----------------------------------------------------------------------------------------------------------------------


def bars_of(seed: int, count: int) -> list[Bar]:
    """Bars of prices at any scale, on no tick at all."""
    rng, price, found, at = (
        random.Random(seed),
        10.0 ** random.Random(seed).randrange(-1, 6),
        list[Bar](),
        datetime(2026, 6, 1, 9, 15, tzinfo=IST),
    )
    for number in range(count):
        start = at + timedelta(days=number // 75, minutes=5 * (number % 75))
        first, price = price, max(0.01, price * (1 + rng.gauss(0, 0.01)))
        high, low = max(first, price) * (1 + rng.random() / 100), min(first, price) * (1 - rng.random() / 100)
        found.append(Bar(SHARE, start, start + timedelta(minutes=5), 5, first, high, low, price, rng.randrange(0, 5000)))
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("period", [1, 2, 9, 50])
def test_columns_are_what_the_incremental_indicators_give_to_the_last_bit(seed: int, period: int) -> None:
    bars = bars_of(seed, 400)
    frame = Frame.of(bars, [0] * len(bars), 0)
    pairs: list[tuple[Any, Any, str]] = [
        (frame.sma(period), indicators.SMA(period), "close"),
        (frame.ema(period), indicators.EMA(period), "close"),
        (frame.rsi(period), RSI(period), "close"),
        (frame.highest(period), Highest(period), "high"),
        (frame.lowest(period), Lowest(period), "low"),
        (frame.atr(period), indicators.ATR(period), ""),
        (frame.vwap(), indicators.VWAP(), ""),
        (frame.deviation(period)[1], indicators.StdDev(period), "close"),
    ]
    for column, one, of in pairs:
        expected = [one.add(getattr(bar, of) if of else bar) for bar in bars]
        np.testing.assert_array_equal(column, np.array(expected, np.float64), err_msg=type(one).__name__)
    line, direction = frame.supertrend(period, 2.0)
    trend = Supertrend(period, 2.0)
    told = [trend.add(bar) for bar in bars]
    np.testing.assert_array_equal(line, np.array([None if one is None else one.line for one in told], np.float64))
    assert direction.tolist() == [0 if one is None else one.direction for one in told]


def test_a_window_of_very_different_sizes_is_still_summed_exactly() -> None:
    rng = random.Random(5)
    values = [rng.choice((1e-3, 1.0, 7e5)) * rng.random() for _ in range(2000)]
    for period in (3, 17, 400):
        one = indicators.SMA(period)
        np.testing.assert_array_equal(compiled.sma(np.array(values), period), np.array([one.add(value) for value in values], np.float64))


def test_trading_loads_neither_numba_nor_numpy() -> None:
    program = "import sys, strategies.registry, execution_engine.engine; print([one for one in ('numba', 'numpy') if one in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert run.stdout.strip() == "[]"


# --- the same fills -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "case"),
    [(name, case) for n, name in enumerate(PARAMS) for c, case in enumerate(CASES) if case != "future" and (n + c) % 3 == 0],
)
def test_random_days_make_the_same_fills_and_figures(name: str, case: str, tmp_path: Path) -> None:
    minutes, _, _, _, fills, move, missing = CASES[case]
    seed = sum(map(ord, name + case))
    market = market_of(random_bars(seed, sessions(3), minutes, move, missing), tmp_path)
    assert_alike(configured(tmp_path, name, case), market, fills)


def test_random_days_of_every_strategy_do_trade(tmp_path: Path) -> None:
    market = market_of(random_bars(3, sessions(6)), tmp_path)
    counts = {name: assert_alike(configured(tmp_path, name), market) for name in PARAMS}
    assert min(counts.values()) >= 2, counts
    assert assert_alike(configured(tmp_path, "sma_cross", params="{fast: 3, slow: 8, both_ways: true}"), market) > counts["sma_cross"]


@pytest.mark.parametrize("name", ["sma_cross", "ema_cross", "opening_range"])
def test_half_days_and_days_of_two_sessions(name: str, tmp_path: Path) -> None:
    """A muhurat evening, and the Saturdays on which the exchange tried out its other site."""
    for first in (date(2024, 2, 29), date(2024, 5, 16), date(2025, 10, 20)):
        market = market_of(random_bars(8, sessions(4, first)), tmp_path / str(first))
        assert any(len(market.events(day)) < 75 for day in market.days)
        assert assert_alike(configured(tmp_path, name), market)


def test_history_before_the_first_traded_day_is_the_strategys_own(tmp_path: Path) -> None:
    market = market_of(random_bars(4, sessions(8)), tmp_path)
    for name in ("ema_cross", "donchian_trend", "gap_fade", "supertrend"):
        assert assert_alike(configured(tmp_path, name), market, days=market.days[5:])


def test_a_future_changes_its_contract(tmp_path: Path) -> None:
    days = sessions(12, date(2026, 1, 19))
    months = {"NFO:NIFTY26JANFUT": days[:7], "NFO:NIFTY26FEBFUT": days}
    table = pa.concat_tables([random_bars(n, traded, symbol=key) for n, (key, traded) in enumerate(months.items())])
    market = market_of(table, tmp_path)
    for name in ("sma_cross", "ema_cross", "donchian_trend"):
        assert assert_alike(configured(tmp_path, name, "future", instrument="NIFTY_FUT"), market)


REAL = ("RELIANCE", "SBIN")


@pytest.mark.skipif(not DATA.exists(), reason=f"needs the real bars of {DATA}, which are not part of the project")
@pytest.mark.parametrize("symbol", REAL)
def test_real_days_make_the_same_fills_and_figures(symbol: str, tmp_path: Path) -> None:
    table = pq.read_table(DATA / "equities_5m" / "nifty50_stocks_5m_2026-05-20_2026-06-19.parquet")
    market = market_of(table.filter(pc.equal(table.column("symbol"), symbol)), tmp_path, repair=True)
    more = 'risk: {max_loss: 5000}\nwindow: {entry_from: "09:20"}'
    for name in PARAMS:
        assert assert_alike(configured(tmp_path, name, "plain", symbol, "{}", more), market), name


def test_the_comparison_sees_a_tick_of_slippage(tmp_path: Path) -> None:
    market = market_of(random_bars(3, sessions(2)), tmp_path)
    config = configured(tmp_path, "sma_cross")
    ((name, settings),) = config.strategies.items()
    days = market.days
    one, other = (Compiled(config, ACCOUNT, market, name, settings, fills, days) for fills in (PLAIN, FillRules(slippage_ticks=1)))
    assert [each.price for each in one.trades(one.run({}))] != [each.price for each in other.trades(other.run({}))]


# --- what belongs to the engine ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "fills", "why"),
    [
        ("risk: {lock_profit: {at: 100}}", PLAIN, "a profit is locked"),
        ("", FillRules(inside_bars=True), "prices inside bars are played"),
        ("", FillRules(volume_share=0.1), "fills are capped by volume"),
        ("", FillRules(latency_s=1), "orders have latency"),
    ],
)
def test_what_the_kernel_does_not_model_is_refused_with_the_reason(more: str, fills: FillRules, why: str, tmp_path: Path) -> None:
    market = market_of(random_bars(3, sessions(2)), tmp_path)
    config = configured(tmp_path, "sma_cross", more=more or "enabled: true")
    ((name, settings),) = config.strategies.items()
    assert why in Compiled(config, ACCOUNT, market, name, settings, fills, market.days).why
    carried = settings.model_copy(update={"horizon": "carry"})
    assert "overnight" in Compiled(config, ACCOUNT, market, name, carried, PLAIN, market.days).why


def test_a_fraction_of_the_size_is_no_target_for_a_frame(tmp_path: Path) -> None:
    market = market_of(random_bars(3, sessions(2)), tmp_path)
    config = configured(tmp_path, "sma_cross")
    ((name, settings),) = config.strategies.items()
    kernel = Compiled(config, ACCOUNT, market, name, settings, PLAIN, market.days)
    frame = kernel.segments[0].frame
    assert _columns(frame.holds(np.ones(len(frame))), frame)[0].dtype == np.int8
    with pytest.raises(ValueError, match="whole multiples of the size"):
        _columns(frame.holds(np.full(len(frame), 0.5)), frame)


def test_a_partial_fill_sends_the_run_to_the_engine(tmp_path: Path) -> None:
    table = random_bars(3, sessions(2))
    thin = table.set_column(table.column_names.index("volume"), "volume", pa.array([4] * len(table)))
    work = work_of(tmp_path, thin)
    result = Desk(work).run(Trial(1, {}, work.manifest.days))
    assert result.engine == "event"
    assert result.why.startswith("an order that a bar's volume filled in part on 2026-06-0")
    with pytest.raises(ConfigError, match="--engine auto leaves such runs to the engine"):
        Desk(work).run(Trial(1, {}, work.manifest.days, engine="compiled"))


# --- sweeps -----------------------------------------------------------------------------------------------------------------------------


def work_of(folder: Path, table: pa.Table) -> Work:
    market = market_of(table, folder)
    configured(folder, "sma_cross")
    return Work(Path("config").resolve(), folder / "sma_cross.yaml", market.manifest)


GRID = [{"fast": fast, "slow": slow} for fast in (2, 3, 5) for slow in (8, 13)]


def test_a_sweep_is_compiled_and_its_best_are_the_engines_too(tmp_path: Path) -> None:
    work = work_of(tmp_path, random_bars(6, sessions(3)))
    pool = LocalPool(work, 1)
    try:
        sweep = Sweep(pool, tmp_path / "kept")
        ranked = sweep.confirmed(sweep.run(Listed(GRID), work.manifest.days), work.manifest.days)
    finally:
        pool.close()
    assert [one.engine for one in ranked] == ["event"] * 3 + ["compiled"] * 3
    assert [bool(one.digest) for one in ranked] == [True] * 3 + [False] * 3
    desk = Desk(work)
    for one in ranked:
        assert dict(desk.run(Trial(1, one.params, work.manifest.days, engine="event")).figures) == dict(one.figures)


def test_a_kernel_that_errs_is_found_out_before_anything_is_shown(tmp_path: Path) -> None:
    work = work_of(tmp_path, random_bars(6, sessions(3)))
    desk = Desk(work)

    class Wrong:
        """A pool whose compiled results are a rupee too good."""

        width = 1

        def __init__(self) -> None:
            self.waiting: list[tuple[Trial, ...]] = []

        @property
        def pending(self) -> int:
            return len(self.waiting)

        def submit(self, chunk: tuple[Trial, ...]) -> None:
            self.waiting.append(chunk)

        def finished(self) -> list[Result]:
            return [self.spoilt(desk.run(trial)) for trial in self.waiting.pop(0)]

        def spoilt(self, result: Result) -> Result:
            more = {**result.figures, "net": result.figures["net"] + 1.0}
            return result if result.engine == "event" else Result(result.number, result.params, more, engine=result.engine)

        def close(self) -> None:
            """Nothing to end."""

    sweep = Sweep(Wrong(), tmp_path / "kept")
    with pytest.raises(NiyamError, match="the compiled kernel and the engine differ for"):
        sweep.confirmed(sweep.run(Listed(GRID), work.manifest.days), work.manifest.days)


def test_every_built_in_strategy_but_two_gives_its_targets() -> None:
    without = {name for name in registry.names() if "targets" not in vars(registry.get(name))}
    assert without == {"pairs", "outside_alerts"}
    assert set(PARAMS) == set(registry.names()) - without
