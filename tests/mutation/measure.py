"""Which unit test runs which line of the guarded modules, measured once for each state of the sources and kept in `.mutation/`."""

import hashlib
import json
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".mutation"
ENGINE = [f"execution_engine/{name}.py" for name in ("order_state", "order_manager", "reconciliation", "square_off")]
TESTS = (
    *("order_state", "promises", "engine", "engine_attacks", "engine_control", "engine_strategies", "expiry", "rolls", "protection"),
    *("strategy_limits", "risk_gate", "risk_rules", "risk_margin", "manual_orders", "restricted", "circuits", "models", "outside_signals"),
    *("square_off_ladder", "untagged_orders", "arming", "multi_instrument", "rebuild", "day", "emergency", "edges", "tuning", "portfolio"),
)
SKIPPED = frozenset({".git", ".venv", "var", "node_modules", "docs", ".mutation"})
BARE = ("-q", "-o", "addopts=", "-p", "no:cacheprovider", "-p", "no:cov", "-p", "no:xdist", "--no-header")
"""Pytest without the plugins and options that a single file in a process of its own does not need."""


@dataclass(frozen=True)
class Ran:
    """What the unmutated tests did: which ran each line of each module ("" for its import), and how long each took."""

    by_line: Mapping[str, Mapping[int, Sequence[str]]]
    seconds: Mapping[str, float]


def modules() -> list[str]:
    return [*ENGINE, *sorted(f"risk/{path.name}" for path in (ROOT / "risk").glob("*.py") if path.name != "__init__.py")]


def tests() -> list[str]:
    return [path for name in TESTS if (ROOT / (path := f"tests/unit/test_{name}.py")).exists()]


def measured(workers: int) -> Ran:
    """As kept, or measured now: each file of tests in a process of its own, because pytest leaves traces."""
    path = KEPT / f"{_digest()}.json"
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Ran({name: {int(line): ids for line, ids in lines.items()} for name, lines in kept["by_line"].items()}, kept["seconds"])
    with multiprocessing.get_context("spawn").Pool(workers, maxtasksperchild=1) as pool:
        parts = list(pool.imap_unordered(_measure, tests(), chunksize=1))
    by_line: dict[str, dict[int, list[str]]] = {name: {} for name in modules()}
    seconds: dict[str, float] = {}
    for part in parts:
        seconds |= part.seconds
        for name, lines in part.by_line.items():
            for line, ids in lines.items():
                by_line[name].setdefault(line, []).extend(ids)
    ran = Ran(by_line, seconds)
    KEPT.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(ran)), encoding="utf-8")
    return ran


class _Watching:
    """Tells coverage which test runs, and keeps how long each took."""

    def __init__(self, coverage: Any) -> None:
        self._coverage = coverage
        self.seconds: dict[str, float] = {}

    def pytest_runtest_setup(self, item: Any) -> None:
        self._coverage.switch_context(item.nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration


def _measure(path: str) -> Ran:
    """Run one file of tests and see which test runs what."""
    import coverage
    import pytest

    tracing = coverage.Coverage(data_file=None, source=[str(ROOT / "execution_engine"), str(ROOT / "risk")], config_file=False)
    watching = _Watching(tracing)
    tracing.start()
    code = pytest.main([*BARE, "--rootdir", str(ROOT), str(ROOT / path)], plugins=[watching])
    tracing.stop()
    if code != 0:
        raise RuntimeError(f"{path} fails before anything is changed (exit {code})")
    found, by_line = tracing.get_data(), {}
    for name in modules():
        by_line[name] = {line: sorted(set(ids)) for line, ids in found.contexts_by_lineno(str(ROOT / name)).items()}
    return Ran(by_line, watching.seconds)


def _digest() -> str:
    """Of everything that decides what a test does."""
    found = hashlib.sha256()
    for path in sorted(_sources(ROOT)):
        found.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:16]


def _sources(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir():
            if path.name not in SKIPPED and not path.name.startswith("."):
                yield from _sources(path)
        elif path.suffix in (".py", ".yaml", ".toml") and path.parent != Path(__file__).parent:
            yield path
