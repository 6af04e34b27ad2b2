"""Simulated days in the suite: fresh seeds, every seed that ever failed, the same journal for the same seed, and a catalogue that bites."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from tests.simulation.day import WIRED, run_seed
from tests.simulation.faults import CATALOGUE
from tests.simulation.personality import PERSONALITIES, drawn, stops_at_broker

HERE = Path(__file__).parent
SEEDS = 40  # of the 200 that `.ci/run` plays; the others follow by `make simulate`, without a test's cost for each
DIGEST = "from loguru import logger; logger.remove(); from tests.simulation.day import run_seed; print(run_seed({seed}).digest)"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logger.disable("")
    yield
    logger.enable("")


def failed_seeds() -> list[tuple[int, str, tuple[str, ...]]]:
    """(seed, broker, faults) of each line of failed_seeds.txt."""
    lines = (HERE / "failed_seeds.txt").read_text(encoding="utf-8").splitlines()
    words = [line.partition("#")[0].split() for line in lines]
    return [(int(day.partition("@")[0]), day.partition("@")[2], tuple(faults)) for day, *faults in filter(None, words)]


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_a_day_of_faults_breaks_no_invariant(seed: int) -> None:
    assert run_seed(seed).violations == []


@pytest.mark.parametrize(("seed", "broker", "faults"), failed_seeds())
def test_a_day_that_once_broke_one_does_so_no_more(seed: int, broker: str, faults: tuple[str, ...]) -> None:
    assert run_seed(seed, only=faults, broker=broker, protect=False).violations == []


@pytest.mark.parametrize(
    ("place", "outage"), list(enumerate(f"outage_{minutes}_{name}" for minutes in (5, 15, 45) for name in ("open", "noon", "1500")))
)
def test_an_outage_of_the_broker_at_the_worst_of_times_with_a_kill_on_that_day_breaks_nothing(place: int, outage: str) -> None:
    day = run_seed(1_000 + place, only=(outage, "kill"), broker=sorted(PERSONALITIES)[place % len(PERSONALITIES)])
    assert day.violations == []
    assert day.orders


@pytest.mark.parametrize("broker", sorted(PERSONALITIES))
def test_a_real_client_speaks_over_the_wire_of_each_broker(broker: str) -> None:
    day = run_seed(WIRED, broker=broker)
    assert (day.violations, day.broker) == ([], broker)
    assert day.orders


def test_the_seeds_of_the_suite_are_played_at_every_broker_and_some_with_stops_there() -> None:
    drawn_brokers = {drawn(seed).name for seed in range(1, SEEDS + 1)}
    assert drawn_brokers == set(PERSONALITIES)
    assert 0 < sum(stops_at_broker(seed) for seed in range(1, SEEDS + 1)) < SEEDS


def test_the_same_seed_writes_the_same_journal_in_another_process() -> None:
    """Another hash seed orders every set and dict of strings anew: nothing that is journalled may depend on it."""
    told = []
    for one in ("1", "2"):
        command, there = [sys.executable, "-c", DIGEST.format(seed=8)], {**os.environ, "PYTHONHASHSEED": one}
        told.append(subprocess.run(command, capture_output=True, text=True, check=True, env=there).stdout.strip())
    assert told[0] == told[1] == run_seed(8).digest


def test_the_catalogue_is_large_and_a_day_draws_at_least_five() -> None:
    assert len(CATALOGUE) >= 40
    assert len(run_seed(3).faults) >= 5
