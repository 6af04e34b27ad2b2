"""`make mutation`: a seeded sample of wrong versions of the modules that guard the money; the unit tests must notice nine in ten.

A wrong version meets the tests that run its line, those of its own file first, then the quickest, and at most a share of all tests' time.
It lives in a fork of a process that has imported everything: its function is given the wrong code there; what is wrong on a module's own
level is imported anew. It is killed by the first test that fails, or by time. Survivors are listed; those of `survivors.txt` have been
looked at, each with the reason why nobody can tell them from the right one.
"""

import argparse
import ast
import gc
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.mutation.measure import BARE, ROOT, Ran, measured, modules, tests
from tests.mutation.mutants import Mutant, mutants_of, tree_of

GOAL = 0.9
SHARE = 0.25  # of the time of all tests, unmutated, that one wrong version meets at most
IMPORT_S, TEST_S, TIMES = 120, 20, 20  # patience: for the imports, and for each test so many seconds and times what it took
MEMORY = 4 << 30


def sample(size: int, seed: int) -> list[Mutant]:
    """The same places for the same seed, as far as their code is the same: a change elsewhere draws no others."""

    def place(mutant: Mutant) -> str:
        return hashlib.sha256(f"{seed} {mutant.path} {mutant.what} {seen[mutant.path, mutant.what]}".encode()).hexdigest()

    seen: Counter[tuple[str, str]] = Counter()
    ranked: list[tuple[str, int, Mutant]] = []
    for path in modules():
        for mutant in mutants_of(ROOT, path):
            ranked.append((place(mutant), len(ranked), mutant))
            seen[mutant.path, mutant.what] += 1
    return [mutant for _, _, mutant in sorted(ranked)[:size]]


def covering(mutant: Mutant, ran: Ran) -> list[str]:
    """The tests that ran its line, or the nearest line above it in the same function; for a line of the module itself all that ran any."""
    lines = ran.by_line[mutant.path]
    first = _function_of(mutant)
    if first is None:
        ids = {name for names in lines.values() for name in names}
    else:
        ids = next((set(lines[line]) for line in range(mutant.line, first, -1) if any(lines.get(line, ()))), set())
    own, most, chosen, spent = f"test_{Path(mutant.path).stem}", SHARE * sum(ran.seconds.values()), list[str](), 0.0
    for name in sorted(ids - {""}, key=lambda name: (own not in name and "test_edges" not in name, ran.seconds.get(name, 0.0))):
        spent += ran.seconds.get(name, 0.0)
        if spent > most:
            break
        chosen.append(name)
    return chosen


def _function_of(mutant: Mutant) -> int | None:
    """The first line of the innermost function around a place; None on the module's or a class's own level."""
    tree = ast.parse((ROOT / mutant.path).read_text(encoding="utf-8"))
    around = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.Lambda) and node.lineno < mutant.line <= (node.end_lineno or 0)
    ]
    return max(around, default=None)


# --- one trial --------------------------------------------------------------------------------------------------------------------------


def killed(mutant: Mutant, ran: Ran) -> str:
    """The test that noticed, or `time`; empty when none did."""
    ids = covering(mutant, ran)
    return _try(mutant, ids, ran) if ids else ""


def _try(mutant: Mutant | None, ids: Sequence[str], ran: Ran) -> str:
    """Run tests in a child, on the wrong module (None: on the right one)."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os._exit(_child(mutant, ids, ran, writer))
    os.close(writer)
    with os.fdopen(reader) as told:
        said = told.read()  # ends with the child, however it ends: its own alarm sees to that
    _, status = os.waitpid(child, 0)
    return said or ("" if status == 0 else f"exit {status}")


class _First:
    """Notes the first test that failed, and ends the process when one takes too long."""

    def __init__(self, ran: Ran, writer: int) -> None:
        self.name = ""
        self._ran = ran
        self._writer = writer
        signal.signal(signal.SIGALRM, self._late)
        signal.setitimer(signal.ITIMER_REAL, IMPORT_S)

    def _late(self, number: int, frame: object) -> None:
        os.write(self._writer, b"time")
        os._exit(0)

    def pytest_runtest_setup(self, item: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, TEST_S + TIMES * self._ran.seconds.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and not self.name:
            self.name = f"collecting {report.nodeid}"


class _Wrong(importlib.abc.MetaPathFinder):
    """Imports one module from another tree."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self._name = name
        self._path = path
        self._tree = tree

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        tree = self._tree

        class Loader(importlib.machinery.SourceFileLoader):
            def get_code(self, fullname: str) -> CodeType:
                return compile(tree, self.path, "exec")

        return importlib.util.spec_from_file_location(name, self._path, loader=Loader(name, str(self._path)))


def _go_wrong(mutant: Mutant) -> None:
    """Give the function its wrong code; where that cannot be, forget all of ours so that it is imported anew, with the wrong module."""
    name, tree = mutant.path.removesuffix(".py").replace("/", "."), tree_of(ROOT, mutant)
    codes = {(code.co_qualname, code.co_firstlineno): code for code in _codes(compile(tree, str(ROOT / mutant.path), "exec"))}
    if _function_of(mutant) is not None:
        changed = False
        gc.unfreeze()
        for one in gc.get_objects():
            if isinstance(one, FunctionType) and one.__module__ == name:
                code = codes.get((one.__code__.co_qualname, one.__code__.co_firstlineno))
                if code is not None and code != one.__code__ and code.co_freevars == one.__code__.co_freevars:
                    one.__code__, changed = code, True
        if changed:
            return
    for known in [known for known, module in sys.modules.items() if _ours(getattr(module, "__file__", None) or "")]:
        del sys.modules[known]
    sys.meta_path.insert(0, _Wrong(name, ROOT / mutant.path, tree))


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _codes(inner)


def _ours(file: str) -> bool:
    return file.startswith(f"{ROOT}/") and "/.venv/" not in file


def _child(mutant: Mutant | None, ids: Sequence[str], ran: Ran, writer: int) -> int:
    import pytest

    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    first, code = _First(ran, writer), 1
    try:
        if mutant is not None:
            _go_wrong(mutant)
        os.chdir(ROOT)
        code = pytest.main([*BARE, "-x", "-W", "ignore::pytest.PytestAssertRewriteWarning", "--rootdir", str(ROOT), *ids], plugins=[first])
    except BaseException as error:
        first.name = first.name or type(error).__name__
    os.write(writer, (first.name or ("" if code == 0 else f"exit {code}")).encode())
    return 0


_ran: Ran
_unfit = ""  # why this worker can judge nothing: an initialiser that raises would be started again for ever


def _settle(ran: Ran) -> None:
    """A worker: everything is imported once, unchanged."""
    global _ran, _unfit
    _ran = ran
    import pytest

    said, quiet = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    code = pytest.main([*BARE, "--collect-only", "--rootdir", str(ROOT), *(str(ROOT / path) for path in tests())])
    os.dup2(said, 1)
    noticed = _try(None, sorted(ran.seconds, key=lambda name: ran.seconds[name])[:400], ran)
    if noticed or code != 0:
        _unfit = f"without any change {noticed or f'the collection (exit {code})'} fails in a worker"
    gc.collect()
    gc.freeze()


def _judge(mutant: Mutant) -> tuple[Mutant, str]:
    if _unfit:
        raise RuntimeError(_unfit)
    return mutant, killed(mutant, _ran)


# --- the run ----------------------------------------------------------------------------------------------------------------------------


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
    ran = measured(given.workers)
    console.print(f"{len(ran.seconds)} tests measured in {time.monotonic() - began:.0f} s")
    chosen, survivors, killers = sample(given.mutants, given.seed), list[Mutant](), Counter[str]()
    alive = TextColumn("{task.fields[alive]} alive")
    with (
        Progress(TextColumn("mutants"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), alive, console=console) as bar,
        multiprocessing.get_context("spawn").Pool(given.workers, _settle, (ran,)) as pool,
    ):
        task = bar.add_task("", total=len(chosen), alive=0)
        for mutant, by in pool.imap_unordered(_judge, chosen):
            killers[by.split("::")[0].split(" ")[0]] += 1
            if not by:
                survivors.append(mutant)
                console.print(f"survived: {mutant}", highlight=False, markup=False, soft_wrap=True)
            bar.update(task, advance=1, alive=len(survivors))
            if sum(killers.values()) % 50 == 0:
                console.print(f"{sum(killers.values())} tried, {len(survivors)} alive, {time.monotonic() - began:.0f} s")
    reasons = known()
    explained = [mutant for mutant in survivors if f"{mutant.path}: {mutant.what}" in reasons]
    print("killed by: " + ", ".join(f"{name or 'nothing'} {times}" for name, times in killers.most_common()))
    for mutant in sorted(survivors, key=str):
        print(f"survivor: {mutant} | {reasons.get(f'{mutant.path}: {mutant.what}', 'no reason given')}")
    rate = 1 - len(survivors) / max(1, len(chosen))
    print(
        f"mutation: {len(chosen)} mutants of {len(modules())} modules (seed {given.seed}), {len(chosen) - len(survivors)} killed "
        f"({rate:.1%}), {len(survivors)} survived ({len(explained)} with a reason), {time.monotonic() - began:.0f} s"
    )
    return 0 if rate >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
