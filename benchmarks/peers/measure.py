"""The engine beside backtesting.py, backtrader, nautilus_trader, vectorbt and a bare loop: same bars, rule and fills, or it fails.

Every figure is a process of its own in the environment that has the engine (`make peers`); the sides take turns within a round. Bars a
second are of CPU time and of the engine's run alone: reading the bars and making an engine's own objects of them is left out, but for us
and the bare loop, which make theirs as they go. Ours runs with strategy, risk gate, charges, order life and ledger; the others without.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.bare_loop import LAST_CALL
from benchmarks.bars import Market, make_market
from benchmarks.rounds import Line, interleaved, paired
from benchmarks.starts import ROOT
from core.errors import ConfigError
from utils.config_loader import load_calendar

OWN, BENCH, NAUTILUS = Path(sys.executable), ROOT / ".venv/bench/bin/python", ROOT / ".venv/bench-nautilus/bin/python"
SIDES: dict[str, tuple[Path, tuple[str, ...]]] = {
    "bare event loop": (OWN, ("ours_side", "loop")),
    "backtesting.py": (BENCH, ("backtesting_side",)),
    "backtrader": (BENCH, ("backtrader_side",)),
    "nautilus_trader": (NAUTILUS, ("nautilus_side",)),
    "vectorbt": (BENCH, ("vectorbt_side",)),
}
GOALS = {"backtesting.py": 3.0, "backtrader": 30.0, "nautilus_trader": 14.0}
LOOP_GOALS = {1: 0.5, 50: 0.6}
MOST_ROUNDS = 3  # of the small size: the slowest side takes 8 s a run

Told = dict[str, Any]


def measure(rounds: int) -> list[Line]:
    """The small size, which keeps the ratios: 1 x 40,000 and 50 x 800 bars."""
    return [line for instruments, each in ((1, 40_000), (50, 800)) for line in _side_by_side(instruments, each, min(rounds, MOST_ROUNDS))]


def measure_full(rounds: int) -> list[Line]:
    """1 x 1,000,000 and 50 x 20,000 bars: about ten minutes a round."""
    return [line for instruments, each in ((1, 1_000_000), (50, 20_000)) for line in _side_by_side(instruments, each, rounds)]


def _side_by_side(instruments: int, bars_each: int, rounds: int) -> list[Line]:
    for python, _ in SIDES.values():
        if not python.exists():
            raise ConfigError(f"{python} is not there: the engines to compare with are not installed; `make peers` does it")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bars.npz"
        market = make_market(instruments, bars_each, load_calendar(assumed_cut_offs=True))
        write_bars(file, market)
        expected = run_side(file, *SIDES["bare event loop"])["fills"]
        told: dict[str, list[Told]] = {}

        def side(name: str, python: Path, arguments: tuple[str, ...]) -> Callable[[], float]:
            def once() -> float:
                one = run_side(file, python, arguments)
                assert one.pop("fills") == expected, f"{name} does not make the trades of the bare loop"
                told.setdefault(name, []).append(one)
                return float(one["bars"] / one["seconds"])

            return once

        sides = {name: side(name, *how) for name, how in {"ours": (OWN, ("ours_side", "engine")), **SIDES}.items()}
        figures = interleaved(sides, rounds)
    size = f"{instruments} x {bars_each:,}"
    lines = []
    for name in SIDES:
        rss = {one: max(each["rss_mb"] for each in told[one]) for one in (name, "ours")}
        note = (
            f"{told[name][0]['version'] or 'by hand'}; {market.bars:,} synthetic bars, the same {len(expected):,} fills, {rounds} rounds; "
            f"peak {rss['ours']:.0f} MB against {rss[name]:.0f}, whole process "
            f"{_whole(told['ours']):.1f} s of CPU against {_whole(told[name]):.1f}"
        )
        goal = LOOP_GOALS.get(instruments) if name == "bare event loop" else GOALS.get(name)
        ratio, ours = paired(figures["ours"], figures[name]), median(figures["ours"])
        lines.append(Line(f"{size}: {name}", "bar/s", ours, median(figures[name]), name, ratio, goal, True, note=note))
    return lines


def _whole(told: list[Told]) -> float:
    return float(median(one["whole"] for one in told))


def write_bars(file: Path, market: Market) -> None:
    """The bars as every side reads them."""
    columns = [market.columns[one.key] for one in market.instruments]
    starts = np.array([round(one.timestamp()) * 1_000_000_000 for one in columns[0].start], dtype=np.int64)
    decides = np.array([one.time() < LAST_CALL for one in columns[0].at])
    names = ("open", "high", "low", "close", "volume")
    held: dict[str, Any] = {name: np.array([getattr(one, name) for one in columns]) for name in names}
    np.savez(file, starts=starts, decides=decides, **held)


def run_side(file: Path, python: Path, arguments: tuple[str, ...]) -> Told:
    """What one side tells of its run; RuntimeError with its own words when it fails."""
    program = [str(python), "-m", f"benchmarks.peers.{arguments[0]}", str(file), *arguments[1:]]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{arguments[0]} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    found: Told = json.loads(done.stdout.splitlines()[-1])
    found["fills"] = [tuple(one) for one in found["fills"]]
    return found
