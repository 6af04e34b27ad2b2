"""Which unit test runs which line of the guarded modules, measured once for each state of the sources and kept in `.mutation/` by file."""

import hashlib
import json
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".mutation"
ENGINE = [f"execution_engine/{name}.py" for name in ("order_state", "order_manager", "reconciliation", "absence", "square_off")]
TESTS = (
    *("order_state", "promises", "engine", "engine_attacks", "engine_control", "engine_strategies", "expiry", "rolls", "protection"),
    *("strategy_limits", "risk_gate", "risk_rules", "risk_margin", "manual_orders", "restricted", "circuits", "models", "outside_signals"),
    *("square_off_ladder", "untagged_orders", "arming", "multi_instrument", "rebuild", "day", "emergency", "edges", "tuning"),
)
MADE_OF = ("core", "execution_engine", "risk", "storage", "strategies", "data_ingestion", "utils", "config", "tests/unit")
"""What the tests run; their support beside `tests/unit` is taken as it is."""
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
    KEPT.mkdir(exist_ok=True)
    base = _digest()
    kept = {path: KEPT / f"{Path(path).stem}-{_digest_of(base, path)}.json" for path in tests()}
    with multiprocessing.get_context("spawn").Pool(workers, maxtasksperchild=1) as pool:
        pool.starmap(_measure, [(path, str(file)) for path, file in kept.items() if not file.exists()], chunksize=1)
    by_line: dict[str, dict[int, list[str]]] = {name: {} for name in modules()}
    seconds: dict[str, float] = {}
    for file in kept.values():
        part = json.loads(file.read_text(encoding="utf-8"))
        seconds |= part["seconds"]
        for name, lines in part["by_line"].items():
            for line, ids in lines.items():
                by_line[name].setdefault(int(line), []).extend(ids)
    return Ran(by_line, seconds)


class _Watching:
    """Tells coverage which test runs, and keeps how long each took."""

    def __init__(self, coverage: Any) -> None:
        self._coverage = coverage
        self.seconds: dict[str, float] = {}

    def pytest_runtest_setup(self, item: Any) -> None:
        self._coverage.switch_context(item.nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration


def _measure(path: str, file: str) -> None:
    """Run one file of tests, see which test runs what, and keep that in `file`."""
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
    for old in KEPT.glob(f"{Path(path).stem}-*.json"):
        old.unlink()
    Path(file).write_text(json.dumps(asdict(Ran(by_line, watching.seconds))), encoding="utf-8")


def _digest() -> bytes:
    """Of what the engine and its tests are made of."""
    found = hashlib.sha256()
    for path in sorted(path for folder in MADE_OF for path in _sources(ROOT / folder)):
        found.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return found.digest()


def _digest_of(base: bytes, path: str) -> str:
    return hashlib.sha256(base + (ROOT / path).read_bytes()).hexdigest()[:16]


def _sources(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir():
            yield from _sources(path)
        elif path.suffix in (".py", ".yaml", ".toml") and not path.name.startswith("test_"):
            yield path
