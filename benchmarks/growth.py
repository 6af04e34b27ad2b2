"""Time and memory of long backtests, at 10^5, 10^6 and 10^7 bars: the engine by itself, and the whole `backtest` command over a file.

Each figure is a process of its own. The engine's makes its bars as it goes (benchmarks/long_run.py); the command reads, checks and prepares
a Parquet file of ten synthetic shares and trades them all in one account, square-off included, then makes its document.
"""

import json
import os
import subprocess
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path

import msgspec

from benchmarks.rounds import Line
from benchmarks.starts import ROOT

SIZES = (100_000, 1_000_000, 10_000_000)
SHARES = 10
MOST_MB = 150.0
LINEAR = 1.25
"""How much dearer a bar of the largest run may be than one of the smallest, and a byte a bar between the sizes."""

STRATEGY = """
class: ema_cross
instruments: [{names}]
interval: 1m
params: {{fast: 12, slow: 26}}
size: {{quantity: 10}}
horizon: intraday
"""


class Run(msgspec.Struct):
    """What one process used: bars, orders or trades, CPU seconds, peak resident MB."""

    bars: int
    made: int
    seconds: float
    megabytes: float


def measure(rounds: int) -> list[Line]:
    """Lines of both; about ten minutes, whatever `rounds` says: each size is run once."""
    lines = _lines("engine", [_engine(size) for size in SIZES])
    with tempfile.TemporaryDirectory() as folder:
        return [*lines, *_lines("backtest command", [_command(size, Path(folder)) for size in SIZES])]


def _lines(what: str, runs: list[Run]) -> list[Line]:
    first, middle, last = runs
    told = "; ".join(f"{one.bars:,} bars: {one.seconds:.1f} s, {one.megabytes:.0f} MB, {one.made:,} made" for one in runs)
    times = [one.seconds / one.bars * 1e6 for one in (last, first)]
    slopes = [(more.megabytes - less.megabytes) / (more.bars - less.bars) * 2**20 for more, less in ((last, middle), (middle, first))]
    name = f"{what}, {SIZES[-1]:,} bars"
    return [
        Line(f"{name}: time", "us a bar", times[0], times[1], f"{SIZES[0]:,} bars", times[0] / times[1], LINEAR, False, note=told),
        Line(f"{name}: memory", "B a bar", slopes[0], slopes[1], f"{SIZES[1]:,} bars", slopes[0] / slopes[1], LINEAR, False),
        Line(f"{what}, {SIZES[1]:,} bars: memory", "MB", middle.megabytes, None, "absolute", None, MOST_MB, False),
    ]


def _engine(size: int) -> Run:
    program = [sys.executable, "-m", "benchmarks.long_run", str(size)]
    told = json.loads(subprocess.run(program, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    return Run(told["bars"], told["orders"], told["seconds"], told["rss_mb"])


def _command(size: int, folder: Path) -> Run:
    data, strategy = folder / f"{size}.parquet", folder / "cross.yaml"
    subprocess.run([sys.executable, "-m", "benchmarks.growth", str(size), str(data)], cwd=ROOT, check=True)
    strategy.write_text(STRATEGY.format(names=", ".join(f"NSE:SYNTHETIC{number}" for number in range(SHARES))), encoding="utf-8")
    program = [sys.executable, "main.py", "backtest", str(strategy), "--data", str(data), "--state", str(folder / "state"), "--json"]
    with (folder / "told.json").open("wb") as out:
        child = subprocess.Popen(program, cwd=ROOT, stdout=out)
        _, status, used = os.wait4(child.pid, 0)  # of this child alone
    assert status == 0, "the backtest failed"
    told = json.loads((folder / "told.json").read_text(encoding="utf-8"))
    data.unlink()
    return Run(told["bars"], len(told["trades"]), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def write_bars(size: int, file: Path) -> None:
    """At least so many one-minute bars of ten synthetic shares, on the trading days up to the last."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from core.types import Instrument, Kind
    from utils.config_loader import load_calendar

    calendar, day = load_calendar(assumed_cut_offs=True), date(2026, 7, 31)
    share = Instrument("NSE:SYNTHETIC0", "NSE", "SYNTHETIC0", Kind.EQUITY, "SYNTHETIC0")
    days: list[date] = []
    while len(days) * 375 * SHARES < size:
        if calendar.continuous(share, day) and calendar.regular_day("EQ", day):
            days.append(day)
        day -= timedelta(days=1)
    schema = pa.schema(
        [("timestamp", pa.timestamp("us", "Asia/Kolkata")), ("symbol", pa.string())]
        + [(name, pa.float64()) for name in ("open", "high", "low", "close")]
        + [("volume", pa.int64())]
    )
    drawn = np.random.default_rng(7)
    with pq.ParquetWriter(file, schema) as out:
        for number in range(SHARES):
            price, tables = 20_000, []
            for one in sorted(days):
                opens = round(calendar.continuous(share, one)[0][0].timestamp()) * 1_000_000
                steps = drawn.integers(-12, 13, 375)
                closes = np.maximum(2_000, price + np.cumsum(steps))
                firsts = np.concatenate(([price], closes[:-1]))
                price = 20_000 + int(closes[-1] - 20_000) // 2
                highs, lows = np.maximum(firsts, closes) + drawn.integers(0, 4, 375), np.minimum(firsts, closes) - drawn.integers(0, 4, 375)
                columns = [pa.array(opens + 60_000_000 * np.arange(375)).cast(schema.field(0).type)]
                columns += [pa.array([f"NSE:SYNTHETIC{number}"] * 375)]
                columns += [pa.array(np.round(each * 0.05, 2)) for each in (firsts, highs, lows, closes)]
                tables.append(pa.table([*columns, pa.array(np.full(375, 100_000))], schema=schema))
            out.write_table(pa.concat_tables(tables))  # row groups as large as pandas and pyarrow make them


if __name__ == "__main__":
    write_bars(int(sys.argv[1]), Path(sys.argv[2]))
