"""Everything in the core that can grow has a declared bound: tests/bounds.txt lists each container with what limits it."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.harness import Harness

ROOT = Path(__file__).resolve().parents[1]
CORE = (
    *("execution_engine/*.py", "risk/*.py", "storage/store.py", "storage/audit.py", "runtime/inbox.py", "runtime/alerts.py"),
    *("data_ingestion/bars.py", "data_ingestion/backfill.py", "data_ingestion/tick_filter.py", "data_ingestion/recorder.py"),
    *("data_ingestion/tape.py", "data_ingestion/subscriptions.py", "brokers/stream.py", "utils/pacing.py", "core/clock.py"),
)
MAKERS = frozenset({"dict", "list", "set", "deque", "defaultdict", "Counter"})


def containers() -> Iterator[str]:
    """`file:Class.attribute` of each container that an object begins empty with."""
    for path in sorted({path for pattern in CORE for path in ROOT.glob(pattern)}):
        for cls in (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ClassDef)):
            for node in ast.walk(cls):
                target, value = _assigned(node)
                if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self" and _grows(value):
                    yield f"{path.relative_to(ROOT)}:{cls.name}.{target.attr}"


def _assigned(node: ast.AST) -> tuple[ast.expr | None, ast.expr | None]:
    if isinstance(node, ast.AnnAssign):
        return node.target, node.value
    if isinstance(node, ast.Assign):
        return node.targets[0], node.value
    return None, None


def _grows(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Dict | ast.List | ast.Set):
        return not (value.keys if isinstance(value, ast.Dict) else value.elts)
    if isinstance(value, ast.Call):
        maker = value.func.value if isinstance(value.func, ast.Subscript) else value.func
        return isinstance(maker, ast.Name) and maker.id in MAKERS and (maker.id == "deque" or not value.args)
    return False


def declared() -> dict[str, str]:
    lines = (ROOT / "tests" / "bounds.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition(" | ") for line in lines if line.strip() and not line.startswith("#"))
    return {name.strip(): bound.strip() for name, _, bound in pairs}


def test_every_container_of_the_core_has_a_declared_bound() -> None:
    found, known = set(containers()), declared()
    assert sorted(found - set(known)) == [], "say in tests/bounds.txt what limits these"
    assert sorted(set(known) - found) == [], "these are gone: take them out of tests/bounds.txt"
    assert [name for name, bound in known.items() if len(bound) < 5] == []


def test_a_container_without_a_bound_is_seen() -> None:
    [cls] = ast.parse("class A:\n    def __init__(self):\n        self.rows: dict[str, int] = {}\n        self.kept = deque()").body
    found = [
        target.attr for node in ast.walk(cls) for target, value in [_assigned(node)] if isinstance(target, ast.Attribute) and _grows(value)
    ]
    assert found == ["rows", "kept"]


def test_the_next_day_begins_without_what_the_last_one_kept_of_its_orders() -> None:
    it = Harness()
    for target in (1, 0):
        it.want(target)
        it.complete()
    assert len(it.desk._answered) == len(it.desk.all()) == 2
    it.engine.close_day(it.clock.now().date())
    it.clock.move_to(it.clock.now().replace(day=23))
    it.desk.open_day(it.store.orders(it.clock.now().date()), it.clock.now().date())
    assert not it.desk._answered
    assert not it.desk.all()
    assert not it.desk.sent
