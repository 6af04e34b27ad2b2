"""Sweeps: what is tried, that trials equal backtests, that nothing finished is lost, and what walking forward may know."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backtesting.pools import ClusterPool, LocalPool, Parcel
from backtesting.space import Space, parse_space, parse_windows
from backtesting.sweep import Guided, Listed, Sweep
from backtesting.trial import Desk, Result, Trial, Work
from core.errors import ConfigError
from core.types import AccountKind
from data_ingestion.prepare import prepare
from main import main
from strategies import registry
from tests.unit.test_backtest import DAYS, YAML, backtest, bars_file, wave
from utils.config_loader import load

EMA = registry.params_of("ema_cross")
CHOSEN = [{"fast": fast, "slow": slow} for fast in (2, 3) for slow in (4, 6)]


# --- what is tried ------------------------------------------------------------------------------------------------------------------


def test_a_grid_is_every_combination_with_both_ends() -> None:
    space = parse_space("fast=5:7:1,slow=20:30:5", EMA)
    assert space.values == {"fast": (5, 6, 7), "slow": (20, 25, 30)}
    assert len(space) == len(list(space.grid())) == 9
    assert parse_space("stop_atr=1.0:2.0:0.25", EMA).values == {"stop_atr": (1.0, 1.25, 1.5, 1.75, 2.0)}


def test_a_sample_repeats_by_its_seed_and_has_no_twins() -> None:
    space = Space({"a": tuple(range(30)), "b": tuple(range(30))})
    one = space.sample(200, 7)
    assert one == space.sample(200, 7) != space.sample(200, 8)
    assert len({json.dumps(each) for each in one}) == 200
    assert len(space.sample(10_000, 1)) == 900


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fast", "no parameter with values"),
        ("fast=5:1:1", "holds nothing"),
        ("fast=1:2:0", "holds nothing"),
        ("fast=a:b:c", "is no range"),
        ("fast=1:9:1,fast=2:3:1", "is there twice"),
        ("fsat=1:9:1", "did you mean fast"),
        ("stop_atr=0:100000:0.01", "more than 10000 values"),
    ],
)
def test_a_wrong_space_says_what_is_wrong(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse_space(text, EMA)


def test_windows_leave_a_gap_and_never_test_what_was_trained_on() -> None:
    days = [date(2026, 1, 1) + timedelta(days=number) for number in range(50)]
    windows = parse_windows("train=20,test=10,gap=2", days)
    assert [len(one.test) for one in windows] == [10, 10, 8]
    for one in windows:
        assert (one.test[0] - one.train[-1]).days == 3
        assert not set(one.train) & set(one.test)
    tested = [day for one in windows for day in one.test]
    assert tested == days[22:]
    with pytest.raises(ConfigError, match="the data has 50 days"):
        parse_windows("train=60,test=20", days)


# --- trials -------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = tmp_path_factory.mktemp("work")
    (folder / "cross.yaml").write_text(YAML.format(interval=5))
    file = bars_file(folder, {day: wave(75) for day in DAYS})
    config = load(Path("config"), strategy=folder / "cross.yaml")
    manifest = prepare(file, folder / "data", config.calendar(AccountKind.PRACTICE))
    return Work(Path("config").resolve(), folder / "cross.yaml", manifest)


class Here:
    """A pool that runs in this process, one chunk at a time."""

    width = 1

    def __init__(self, work: Work) -> None:
        self.desk = Desk(work)
        self.waiting: list[tuple[Trial, ...]] = []
        self.ran: list[dict[str, Any]] = []

    @property
    def pending(self) -> int:
        return len(self.waiting)

    def submit(self, chunk: tuple[Trial, ...]) -> None:
        self.waiting.append(chunk)

    def finished(self) -> list[Result]:
        chunk = self.waiting.pop(0)
        self.ran += [dict(trial.params) for trial in chunk]
        return [self.desk.run(trial) for trial in chunk]

    def close(self) -> None:
        """Nothing to end."""


def test_a_trial_is_the_backtest_of_its_parameters(work: Work, tmp_path: Path) -> None:
    pool = Here(work)
    (result, *_) = Sweep(pool, tmp_path, engine="event").run(Listed([{"fast": 2, "slow": 4}]), DAYS)
    strategy = tmp_path / "cross.yaml"
    strategy.write_text(YAML.format(interval=5))
    file = bars_file(tmp_path, {day: wave(75) for day in DAYS})
    whole = backtest(load(Path("config"), strategy=strategy), file, tmp_path / "data")
    assert result.digest == whole.digest
    assert result.figures["trades"] == len(whole.trips)
    assert round(100 * result.curve[-1]) == sum(whole.days.values())


def test_results_are_ranked_and_kept_and_not_run_again(work: Work, tmp_path: Path) -> None:
    first = Sweep(Here(work), tmp_path)
    ranked = first.run(Listed(CHOSEN[:3]), DAYS)
    assert [one.figures["net"] for one in ranked] == sorted((one.figures["net"] for one in ranked), reverse=True)
    (file,) = tmp_path.glob("*.jsonl")
    torn = file.read_text()
    file.write_text(torn + '{"number": 9, "params": {"fa')  # a kill in the middle of a line
    pool = Here(work)
    again = Sweep(pool, tmp_path)
    results = again.run(Listed(CHOSEN), DAYS)
    assert pool.ran == CHOSEN[3:]
    assert again.reused == 3
    assert {one.digest for one in ranked} <= {one.digest for one in results}


def test_what_falls_behind_the_middle_is_given_up(work: Work, tmp_path: Path) -> None:
    class Told(Sweep):
        def _floor(self, results: Any, days: int) -> dict[int, float]:
            return {1: 1e9}

    results = Told(Here(work), tmp_path, prune=True, engine="event").run(Listed(CHOSEN[:1]), DAYS)
    assert results[0].given_up == 1
    assert len(results[0].curve) == 1
    floors = Sweep(Here(work), tmp_path, prune=True)._floor([Result(n, {}, {}, (float(n), float(n))) for n in range(9)], 2)
    assert floors == {1: 4.0}


def test_walking_forward_chooses_on_the_training_days_alone(work: Work, tmp_path: Path) -> None:
    windows = parse_windows("train=1,test=1,gap=0", DAYS)
    (step,) = Sweep(Here(work), tmp_path).walk_forward(windows, lambda: Listed(CHOSEN))
    alone = Sweep(Here(work), tmp_path / "alone").run(Listed(CHOSEN), DAYS[:1])
    assert step["params"] == alone[0].params
    assert step["trained"]["net"] == alone[0].figures["net"]
    tested = Sweep(Here(work), tmp_path / "tested").run(Listed([step["params"]]), DAYS[1:])
    assert step["tested"]["net"] == tested[0].figures["net"]


def test_a_guided_search_ends_repeats_and_finds_the_best_of_a_small_space(work: Work, tmp_path: Path) -> None:
    space = parse_space("fast=2:5:1,slow=4:8:1", EMA)

    def refused(params: Any) -> str:
        return "" if params["fast"] < params["slow"] else "fast is not below slow"

    def found(folder: str, trials: int) -> list[Result]:
        return Sweep(Here(work), tmp_path / folder).run(Guided(space, trials, 3, refused, smaller=False), DAYS)

    some = found("a", 6)
    assert [one.params for one in some] == [one.params for one in found("b", 6)]
    assert len(some) == 6
    every = found("c", 100)
    assert len(every) == sum(1 for one in space.grid() if not refused(one))
    grid = Sweep(Here(work), tmp_path / "d").run(Listed([one for one in space.grid() if not refused(one)]), DAYS)
    assert every[0].figures["net"] == grid[0].figures["net"]


class Backwards(Here):
    """Several at a time, the latest of which ends first."""

    width = 3

    def finished(self) -> list[Result]:
        self.waiting.insert(0, self.waiting.pop())
        return super().finished()


def test_a_guided_search_repeats_by_its_seed_whoever_runs_it(work: Work, tmp_path: Path) -> None:
    space = parse_space("fast=2:9:1,slow=10:19:1", EMA)

    def tried(pool: Here, folder: str, seed: int) -> list[dict[str, Any]]:
        Sweep(pool, tmp_path / folder).run(Guided(space, 40, seed, lambda params: "", smaller=False), DAYS)
        return sorted(pool.ran, key=str)

    alone = tried(Here(work), "a", 5)
    assert len(alone) == 40
    assert tried(Backwards(work), "b", 5) == alone
    file = next((tmp_path / "b").glob("*.jsonl"))
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:25]))  # stopped, and begun again
    rest = Here(work)
    assert len(tried(rest, "b", 5)) == 15
    assert all(one in alone for one in rest.ran)
    assert tried(Here(work), "c", 6) != alone


def test_what_other_code_came_to_is_not_taken_for_this_ones(work: Work) -> None:
    other = msgspec.structs.replace(work, build="0" * 64)
    assert other.digest != work.digest
    with pytest.raises(ConfigError, match=r"this worker runs build [0-9a-f]{12} .* the sweep began with 000000000000: bring both"):
        Desk(other)


def test_a_chunk_of_trials_is_sent_with_one_copy_of_its_days(work: Work, tmp_path: Path) -> None:
    days = [date(2015, 1, 1) + timedelta(days=number) for number in range(2_000)]
    sent: list[int] = []

    class Weighs(Here):
        def submit(self, chunk: tuple[Trial, ...]) -> None:
            sent.append(len(pickle.dumps(chunk)) - len(pickle.dumps(days)))
            super().submit(chunk)

        def finished(self) -> list[Result]:
            return [Result(trial.number, trial.params, {"net": 0.0}) for trial in self.waiting.pop(0)]

    Sweep(Weighs(work), tmp_path).run(Listed([{"fast": fast, "slow": 9_999} for fast in range(3_000)]), days)
    assert max(sent) < 100 * 1_000, "less than a hundred bytes for each of the thousand in a chunk"


# --- processes ----------------------------------------------------------------------------------------------------------------------


def test_a_lost_worker_loses_nothing(work: Work, tmp_path: Path) -> None:
    pool = LocalPool(work, 2)
    killed: list[int] = []

    def kill_one(result: Result) -> None:
        if not killed:
            killed.append(next(iter(pool._processes._processes)))
            os.kill(killed[0], signal.SIGKILL)

    try:
        results = Sweep(pool, tmp_path / "a").run(Listed(CHOSEN), DAYS, kill_one)
    finally:
        pool.close()
    assert killed
    here = Sweep(Here(work), tmp_path / "b").run(Listed(CHOSEN), DAYS)
    assert [(one.params, one.digest) for one in results] == [(one.params, one.digest) for one in here]


def test_what_a_worker_cannot_begin_with_is_told_in_its_own_words(work: Work, tmp_path: Path) -> None:
    pool = LocalPool(msgspec.structs.replace(work, build="0" * 64), 1)
    try:
        with pytest.raises(ConfigError, match="this worker runs build"):
            Sweep(pool, tmp_path).run(Listed(CHOSEN), DAYS)
    finally:
        pool.close()


def test_the_workers_of_a_killed_sweep_end_with_it(tmp_path: Path) -> None:
    (tmp_path / "cross.yaml").write_text(YAML.format(interval=5))
    file = bars_file(tmp_path, {day: wave(75) for day in DAYS})
    asked = ["sweep", str(tmp_path / "cross.yaml"), "--data", str(file), "--state", str(tmp_path), "--grid", "fast=2:200:1,slow=201:400:1"]
    sweep = subprocess.Popen([sys.executable, "main.py", *asked, "--workers", "2", "--engine", "event"])
    try:
        wait_for(lambda: any(one.stat().st_size for one in tmp_path.glob("sweeps/*/*.jsonl")), 120)
        wait_for(lambda: len(children(sweep.pid)) >= 2, 60)
        workers = children(sweep.pid)
    finally:
        sweep.kill()
        sweep.wait()
    wait_for(lambda: not any(running(one) for one in workers), 60)


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(pid: int) -> bool:
    """It exists, and is not only waiting to be asked how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(happened: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_a_parcel_brings_its_files_along(work: Work) -> None:
    there = Parcel.of(work).unpacked()
    assert there.manifest.folder != work.manifest.folder
    trial = Trial(1, CHOSEN[0], DAYS)
    assert Desk(there).run(trial).digest == Desk(work).run(trial).digest


def test_the_command_tells_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cross.yaml").write_text(YAML.format(interval=5))
    file = bars_file(tmp_path, {day: wave(75) for day in DAYS})
    asked = ["sweep", str(tmp_path / "cross.yaml"), "--data", str(file), "--state", str(tmp_path), "--grid", "fast=2:3:1,slow=2:6:2"]
    asked += ["--workers", "1"]
    page = tmp_path / "heat.html"
    assert main([*asked, "--html", str(page)]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    assert "says nothing of what will be" in " ".join(text.split())
    assert "(across)" not in text, "a map of colours is for a terminal that has them"
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert main(asked) == 0
    drawn = capsys.readouterr().out
    assert "net by fast (down) and slow (across)" in re.sub(r"\x1b\[[\d;]*m", "", drawn)
    assert re.search(r"\x1b\[38;[\d;]+m ███", drawn), "cells of spaces alone lose their colour"
    monkeypatch.delenv("FORCE_COLOR")
    shown = page.read_text(encoding="utf-8")
    assert "<script src" not in shown
    assert '<meta name="viewport"' in shown
    assert '"zmid":0' in shown, "a loss has one colour and a gain the other, whatever the range"
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (len(found["results"]), found["reused"], found["refused"]) == (4, 4, 2)
    nets = [row["figures"]["net"] for row in found["results"]]
    assert nets == sorted(nets, reverse=True)


@pytest.mark.parametrize(
    ("grid", "more", "says"),
    [("fast=2:3:1", [], "has 1 of several values"), ("fast=2:3:1,slow=4:6:2", ["--walk-forward", "train=1,test=1,gap=0"], "has none")],
)
def test_a_map_that_cannot_be_drawn_is_refused_before_anything_runs(
    grid: str, more: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cross.yaml").write_text(YAML.format(interval=5))
    asked = ["sweep", str(tmp_path / "cross.yaml"), "--data", str(tmp_path), "--state", str(tmp_path), "--grid", grid, *more]
    assert main([*asked, "--html", str(tmp_path / "heat.html")]) == 2
    assert says in capsys.readouterr().err


def test_a_cluster_that_loses_a_worker_gives_the_same(work: Work, tmp_path: Path) -> None:
    """On a Dask cluster of this machine: two worker processes, one of them killed. The other one came after the work was sent: what it has
    not been given yet is lost with the first, and sent again."""
    distributed = pytest.importorskip("distributed", reason="sweep --cluster is optional: pip install -r requirements-cluster.txt")
    how = {"threads_per_worker": 1, "processes": True, "dashboard_address": None, "silence_logs": 50}
    with distributed.LocalCluster(n_workers=1, **how) as cluster:
        pool = ClusterPool(work, cluster.scheduler_address)
        cluster.scale(2)
        cluster.wait_for_workers(2)
        victim = next(iter(cluster.workers.values()))
        killed: list[int] = []

        def kill_one(result: Result) -> None:
            if not killed:
                killed.append(victim.pid)
                os.kill(victim.pid, signal.SIGKILL)

        try:
            results = Sweep(pool, tmp_path / "a").run(Listed(CHOSEN), DAYS, kill_one)
        finally:
            pool.close()
    here = Sweep(Here(work), tmp_path / "b").run(Listed(CHOSEN), DAYS)
    assert killed
    assert [(one.params, one.digest) for one in results] == [(one.params, one.digest) for one in here]
