"""The sides of the peers measure that need no environment of their own make the same fills, and a different bar is seen."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.bars import make_market
from benchmarks.peers.measure import OWN, run_side, write_bars
from utils.config_loader import load_calendar

SIDES = {"engine": ("ours_side", "engine"), "loop": ("ours_side", "loop"), "backtrader": ("backtrader_side",)}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("bars") / "bars.npz"
    write_bars(file, make_market(2, 375, load_calendar(assumed_cut_offs=True)))
    return file


def test_engine_loop_and_backtrader_make_the_same_fills(file: Path) -> None:
    told = {name: run_side(file, OWN, how) for name, how in SIDES.items()}
    assert len(told["loop"]["fills"]) > 10
    assert told["engine"]["fills"] == told["loop"]["fills"] == told["backtrader"]["fills"]
    assert {one["bars"] for one in told.values()} == {750}


def test_an_open_a_tick_away_is_another_fill(file: Path, tmp_path: Path) -> None:
    fills = run_side(file, OWN, SIDES["loop"])["fills"]
    number, row, units, price = fills[3]
    with np.load(file) as held:
        columns = dict(held)
    columns["open"][number, row] += 0.05
    np.savez(tmp_path / "bars.npz", **columns)
    assert run_side(tmp_path / "bars.npz", OWN, SIDES["engine"])["fills"][3] == (number, row, units, pytest.approx(price + 0.05))
