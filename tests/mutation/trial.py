"""`make mutation`: a seeded sample of wrong versions of the modules that guard the money; the unit tests must notice nine in ten.

Which tests run a line is measured once; a wrong version meets those alone, the quickest first, and is killed by the first that fails
(or by time). Survivors are listed; those of `survivors.txt` are known, each with the reason why nobody can tell them from the right one.
"""

import argparse
import importlib
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coverage
import pytest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.mutation.mutants import Mutant, mutants_of, source_of

ROOT = Path(__file__).resolve().parents[2]
ENGINE = [f"execution_engine/{name}.py" for name in ("order_state", "order_manager", "reconciliation", "square_off")]
TESTS = (
    *("order_state", "promises", "engine", "engine_attacks", "engine_control", "expiry", "rolls", "protection", "strategy_limits"),
    *("risk_gate", "risk_rules", "risk_margin", "manual_orders", "restricted", "circuits", "reconciliation", "square_off", "models"),
)
GOAL = 0.9
PATIENCE = 90  # seconds after which a wrong version counts as killed: it hangs
SKIPPED = frozenset({".git", ".venv", "var", ".mypy_cache", ".ruff_cache", ".pytest_cache", "__pycache__", "node_modules"})
HEAVY = ("msgspec", "sqlalchemy", "pydantic", "yaml", "loguru", "requests", "urllib3", "numpy", "pandas")


@dataclass(frozen=True)
class Ran:
    """What the unmutated tests did: which ran each line of each module, and how long each took."""

    by_line: Mapping[str, Mapping[int, Sequence[str]]]
    seconds: Mapping[str, float]


class _Watching:
    """Tells coverage which test runs, and keeps how long each took."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self._measured = measured
        self.seconds: dict[str, float] = {}

    def pytest_runtest_setup(self, item: Any) -> None:
        self._measured.switch_context(item.nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration


def modules() -> list[str]:
    return [*ENGINE, *sorted(f"risk/{path.name}" for path in (ROOT / "risk").glob("*.py") if path.name != "__init__.py")]


def tests() -> list[str]:
    return [path for name in TESTS if (ROOT / (path := f"tests/unit/test_{name}.py")).exists()]


def measure(data: Path) -> Ran:
    """Run the unit tests once and see which runs what."""
    measured = coverage.Coverage(data_file=str(data), source=[str(ROOT / "execution_engine"), str(ROOT / "risk")])
    watching = _Watching(measured)
    measured.start()
    code = pytest.main(["-q", "-n", "0", "-p", "no:cacheprovider", "-p", "no:cov", "--no-header", *tests()], plugins=[watching])
    measured.stop()
    measured.save()
    if code != 0:
        raise SystemExit(f"the unit tests fail before anything is changed (exit {code})")
    found = coverage.CoverageData(str(data))
    found.read()
    by_line: dict[str, Mapping[int, Sequence[str]]] = {}
    for path in modules():
        lines = found.contexts_by_lineno(str(ROOT / path))
        by_line[path] = {line: sorted({name for name in names if name}) for line, names in lines.items()}
    return Ran(by_line, watching.seconds)


def sample(size: int, seed: int) -> list[Mutant]:
    every = [mutant for path in modules() for mutant in mutants_of(ROOT, path)]
    return random.Random(seed).sample(every, min(size, len(every)))


def killed(mutant: Mutant, ran: Ran, house: Path) -> str:
    """The test that noticed, or `time`; empty when none did."""
    ids = sorted(_covering(mutant, ran), key=lambda name: ran.seconds.get(name, 0.0))
    if not ids:
        return ""
    target = house / mutant.path
    right = target.read_text(encoding="utf-8")
    target.write_text(source_of(house, mutant), encoding="utf-8")
    try:
        return _try(ids, house)
    finally:
        target.write_text(right, encoding="utf-8")


def _covering(mutant: Mutant, ran: Ran) -> Sequence[str]:
    """The tests that ran its line; a line that ran at import has no test of its own: all tests of the module's neighbours run it."""
    lines = ran.by_line[mutant.path]
    here = lines.get(mutant.line, ())
    return here or sorted({name for names in lines.values() for name in names})


def _try(ids: Sequence[str], house: Path) -> str:
    """Run tests in a child that has the heavy libraries already."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os._exit(_child(ids, house, writer))
    os.close(writer)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        done, _ = os.waitpid(child, os.WNOHANG)
        if done:
            with os.fdopen(reader) as told:
                return told.read()
        time.sleep(0.02)
    os.kill(child, 9)
    os.waitpid(child, 0)
    os.close(reader)
    return "time"


class _First:
    """Notes the first test that failed."""

    name = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and not self.name:
            self.name = f"collecting {report.nodeid}"


def _child(ids: Sequence[str], house: Path, writer: int) -> int:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    os.chdir(house)
    sys.path[:] = [str(house), *[place for place in sys.path if Path(place or ".").resolve() != ROOT]]
    for name in [name for name, module in sys.modules.items() if _ours(getattr(module, "__file__", None) or "")]:
        del sys.modules[name]
    first = _First()
    code = 1
    try:
        alone = (
            "-x",
            "-q",
            "-n",
            "0",
            "-W",
            "ignore::pytest.PytestAssertRewriteWarning",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:cov",
            "--rootdir",
            str(house),
        )
        code = pytest.main([*alone, "--rootdir", str(house), *ids], plugins=[first])
    except BaseException as error:
        first.name = first.name or type(error).__name__
    said = first.name or ("" if code == 0 else f"exit {code}")
    os.write(writer, said.encode())
    return 0


def _ours(file: str) -> bool:
    return file.startswith(f"{ROOT}/") and "/.venv/" not in file


_ran: Ran
_house: Path


def _settle(ran: Ran, folder: str, nice: int) -> None:
    global _ran, _house
    os.nice(nice)
    _ran = ran
    _house = Path(folder) / str(os.getpid())
    shutil.copytree(ROOT, _house, ignore=lambda _, names: [name for name in names if name in SKIPPED])
    for name in HEAVY:
        importlib.import_module(name)
    quick = sorted(ran.seconds, key=lambda name: ran.seconds[name])[:400]
    noticed = _try(quick, _house)
    if noticed:
        raise SystemExit(f"without any change {noticed} fails in {_house}")


def _judge(mutant: Mutant) -> tuple[Mutant, str]:
    return mutant, killed(mutant, _ran, _house)


def known() -> dict[str, str]:
    """Survivors that have been looked at: `path: what` -> why it changes nothing that anybody could see."""
    path = Path(__file__).with_name("survivors.txt")
    lines = [line.rstrip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and not line.startswith("#")]
    return {mutant: why.strip() for mutant, _, why in (line.partition(" | ") for line in lines)}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mutants", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    console = Console(stderr=True)
    began = time.monotonic()
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="niyam-mutation-", dir=shm) as folder:
        spawn = multiprocessing.get_context("spawn")
        with spawn.Pool(1) as alone:  # a process of its own: pytest leaves traces
            ran = alone.apply(measure, (Path(folder) / "coverage",))
        console.print(f"{len(ran.seconds)} tests measured in {time.monotonic() - began:.0f} s")
        chosen = sample(given.mutants, given.seed)
        survivors: list[Mutant] = []
        killers: Counter[str] = Counter()
        columns = (
            TextColumn("mutants"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[alive]} alive"),
        )
        with (
            Progress(*columns, console=console) as bar,
            spawn.Pool(given.workers, _settle, (ran, folder, 10)) as pool,
        ):
            task = bar.add_task("", total=len(chosen), alive=0)
            for mutant, by in pool.imap_unordered(_judge, chosen):
                killers[by.split("::")[0].split(" ")[0]] += 1
                if not by:
                    survivors.append(mutant)
                    console.print(f"survived: {mutant}", highlight=False, markup=False, soft_wrap=True)
                bar.update(task, advance=1, alive=len(survivors))
    reasons = known()
    explained = [mutant for mutant in survivors if f"{mutant.path}: {mutant.what}" in reasons]
    by_module = Counter(mutant.path for mutant in survivors)
    print("killed by: " + ", ".join(f"{name or 'nothing'} {times}" for name, times in killers.most_common()))
    rate = 1 - len(survivors) / max(1, len(chosen))
    for mutant in sorted(survivors, key=str):
        print(f"survivor: {mutant} | {reasons.get(f'{mutant.path}: {mutant.what}', 'no reason given')}")
    print(
        f"mutation: {len(chosen)} mutants of {len(modules())} modules (seed {given.seed}), {len(chosen) - len(survivors)} killed "
        f"({rate:.1%}), {len(survivors)} survived ({len(explained)} explained), most in "
        f"{by_module.most_common(1)[0][0] if by_module else 'none'}, {time.monotonic() - began:.0f} s"
    )
    return 0 if rate >= GOAL else 1
