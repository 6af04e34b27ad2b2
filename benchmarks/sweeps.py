"""Sweeps: pairs of averages a second on one core by the compiled kernel, against vectorbt; and how far more processes help the engine.

A pair is one run of `sma_cross` over every bar with one (fast, slow): its averages (made once for each period and kept, as in any sweep),
its targets, its trades with risk limits, charges and square-off, and all figures of a trial. vectorbt makes its trades without any of
the former, is handed the averages, and makes such of the figures as it has. Reading the bars is left out on both sides, and so is
compiling. The trades of both sides are the same, or it fails. Bars are synthetic.
"""

import json
import multiprocessing
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backtesting.compiled import Compiled
from backtesting.kernel import GATES, OPEN_AT, START
from backtesting.market import BacktestMarket
from backtesting.pools import LocalPool
from backtesting.trial import Trial, Work
from benchmarks.bars import make_market
from benchmarks.peers.measure import BENCH
from benchmarks.peers.vectorbt_sweep import UNITS
from benchmarks.rounds import Line, interleaved, paired
from benchmarks.starts import ROOT
from core.errors import ConfigError
from core.types import Account, AccountKind
from data_ingestion.prepare import prepare
from execution_engine.paper_rules import FillRules
from utils.config_loader import load, load_calendar

BARS = 100_000
SHORT = 4_000
SESSION = 375
FASTS, SLOWS = range(5, 45, 2), range(50, 250, 10)
CHUNKS = 8  # for each process
SPAWN = multiprocessing.get_context("spawn")
COMPARED = 50  # pairs that vectorbt runs at once: more of them take gigabytes
STRATEGY = f"""class: sma_cross
instruments: [SYNTHETIC0]
interval: 1m
size: {{quantity: {UNITS}}}
horizon: intraday
risk: {{stop_pct: 50}}
"""  # no stop is ever reached: vectorbt has none


def measure(rounds: int) -> list[Line]:
    """Pairs a second side by side, and what W processes make of W times the work of one."""
    with tempfile.TemporaryDirectory() as folder:
        lines = _pairs(Path(folder), rounds)
        for workers in (2, 4):
            lines += _processes(Path(folder), rounds, workers)
    return lines


def _work(folder: Path, bars: int) -> Work:
    """Whole sessions of synthetic one-minute bars as a prepared folder, and the strategy's file."""
    calendar = load_calendar(assumed_cut_offs=True)
    market = make_market(1, bars, calendar)
    (share,) = market.instruments
    of = market.columns[share.key]
    rows = [row for _, first, last in market.days if last - first == SESSION for row in range(first, last)]
    columns: dict[str, list[Any]] = {
        "timestamp": of.start,
        "open": of.open,
        "high": of.high,
        "low": of.low,
        "close": of.close,
        "volume": of.volume,
    }
    table = pa.table({name: [column[row] for row in rows] for name, column in columns.items()} | {"symbol": [share.key] * len(rows)})
    folder.mkdir()
    pq.write_table(table, folder / "bars.parquet")
    (folder / "cross.yaml").write_text(STRATEGY)
    return Work(ROOT / "config", folder / "cross.yaml", prepare(folder / "bars.parquet", folder / "data", calendar))


def _compiled(work: Work) -> Compiled:
    config = load(work.config, strategy=work.strategy)
    account = Account("backtest", AccountKind.PRACTICE, work.broker, work.capital)
    market = BacktestMarket(work.manifest, config.calendar(account.kind), keep=len(work.manifest.days))
    ((name, settings),) = config.strategies.items()
    made = Compiled(config, account, market, name, settings, FillRules(), work.manifest.days)
    assert not made.why, made.why
    return made


def _pairs(folder: Path, rounds: int) -> list[Line]:
    if not BENCH.exists():
        raise ConfigError(f"{BENCH} is not there: vectorbt is not installed; `make peers` does it")
    work = _work(folder / "long", BARS)
    pairs = [(fast, slow) for fast in FASTS for slow in SLOWS]
    made = _compiled(work)
    file = folder / "pairs.npz"
    ours = _write(file, made, pairs[:: len(pairs) // COMPARED])
    trades: list[int] = []

    def kernel() -> float:
        made.forget()
        trades.clear()
        began = process_time()
        for fast, slow in pairs:
            trades.append(made.run({"fast": fast, "slow": slow}).figures["trades"])
        return len(pairs) / (process_time() - began)

    versions: set[str] = set()
    bare: list[float] = []

    def theirs() -> float:
        program = [str(BENCH), "-m", "benchmarks.peers.vectorbt_sweep", str(file)]
        told: dict[str, Any] = json.loads(
            subprocess.run(program, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        )
        assert [tuple(one) for one in told["fills"]] == ours, "vectorbt does not make the trades of the kernel"
        versions.add(told["version"])
        bare.append(COMPARED / float(told["bare"]))
        return COMPARED / float(told["seconds"])

    figures = interleaved({"kernel": kernel, "vectorbt": theirs}, rounds)
    note = (
        f"{BARS:,} synthetic 1-minute bars, {len(pairs)} pairs of averages, {sum(trades) / len(trades):,.0f} round trips each; "
        f"vectorbt {', '.join(versions)} with {COMPARED} of them at once, the same {len(ours):,} fills; it makes {median(bare):.0f} pair/s "
        "without any figure; CPU time of one process"
    )
    speed = median(figures["kernel"])
    ratio = paired(figures["kernel"], figures["vectorbt"])
    return [
        Line("compiled sweep, 100,000 bars", "pair/s", speed, median(figures["vectorbt"]), "vectorbt", ratio, 70.0, True, note=note),
        Line("compiled sweep, one core", "pair/s", speed, None, "absolute", None, 2_000.0, True),
    ]


def _write(file: Path, made: Compiled, pairs: list[tuple[int, int]]) -> list[tuple[int, int, int, float]]:
    """What vectorbt is handed; the kernel's fills of the same pairs, as it tells them."""
    (segment,) = made.segments
    rows = {int(start): row for row, start in enumerate(segment.rows[:, START])}
    fills: list[tuple[int, int, int, float]] = []
    for column, (fast, slow) in enumerate(pairs):
        answer = made.run({"fast": fast, "slow": slow})
        fills += [(column, rows[int(at)], int(units), float(price)) for at, units, price, _, _ in answer.fills.tolist()]
    leave = np.zeros(len(rows), np.bool_)
    for _, last, _, _, _, squared, *_ in segment.day_facts.tolist():
        leave[squared:last] = True
    periods = sorted({period for pair in pairs for period in pair})
    np.savez(
        file, open=segment.rows[:, OPEN_AT], close=segment.closes, enter=segment.rows[:, GATES].astype(np.int64) & 1 > 0, leave=leave,
        periods=periods, averages=np.array([segment.frame.sma(period) for period in periods]), pairs=np.array(pairs),
    )  # fmt: skip
    return sorted(fills)


def _processes(folder: Path, rounds: int, workers: int) -> list[Line]:
    """Runs a second of the event engine over W processes against one, in wall time, once every worker is there; and the same of loops that
    share nothing and wait for nothing, which is what the machine has to give at that time."""
    work = _work(folder / f"short{workers}", SHORT)
    pools = {"one": LocalPool(work, 1), "many": LocalPool(work, workers)}
    plain = {"plain one": ProcessPoolExecutor(1, SPAWN), "plain many": ProcessPoolExecutor(workers, SPAWN)}
    days = work.manifest.days

    def trials(pool: LocalPool) -> Callable[[], float]:
        chunks = CHUNKS * pool.width

        def once() -> float:
            began = perf_counter()
            for number in range(chunks):
                pool.submit((Trial(number, {"fast": 5 + number % 8, "slow": 40}, days, engine="event"),))
            done = 0
            while pool.pending:
                done += len(pool.finished())
            return done / (perf_counter() - began)

        return once

    def loops(pool: ProcessPoolExecutor, width: int) -> Callable[[], float]:
        def once() -> float:
            began = perf_counter()
            return len(list(pool.map(_loop, range(CHUNKS * width)))) / (perf_counter() - began)

        return once

    sides = {name: trials(pool) for name, pool in pools.items()}
    sides |= {name: loops(pool, workers if name == "plain many" else 1) for name, pool in plain.items()}
    try:
        for side in sides.values():
            for _ in range(2):
                side()  # every worker is there, and has read its bars
        figures = interleaved(sides, rounds)
    finally:
        for pool in pools.values():
            pool.close()
        for one in plain.values():
            one.shutdown()
    shares = [many / (workers * one) for one, many in zip(figures["one"], figures["many"], strict=True)]
    given = [many / (workers * one) for one, many in zip(figures["plain one"], figures["plain many"], strict=True)]
    note = (
        f"runs a second over {SHORT:,} bars on the engine; the ratio is that of W processes to W times one, by the clock; plain loops "
        f"in as many processes came to {median(given):.2f} in the same rounds"
    )
    name, speeds = f"engine sweep, {workers} processes", (median(figures["many"]), median(figures["one"]))
    return [
        Line(name, "run/s", *speeds, "one process", median(shares), 0.85, True, note=note),
        Line(f"{name}, of what there is", "", median(shares), median(given), "plain loops", paired(shares, given), 0.85, True),
    ]


def _loop(number: int) -> int:
    """About as long as a trial."""
    total = 0
    for one in range(1_500_000):
        total += one & number
    return total
