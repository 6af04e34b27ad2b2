"""Everything in the core that can grow has a declared bound: tests/bounds.txt lists each container with what limits it."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from brokers.icici.wire import FeedDialect, OrderDialect
from core.types import Tick
from execution_engine.world import World
from tests.containers import sizes
from tests.harness import Harness
from tests.proofs.fuzz_targets import AT
from tests.simulation.day import Day, Parts
from tests.simulation.market import clock
from tests.unit.test_icici_mapping import Codes

ROOT = Path(__file__).resolve().parents[1]
CORE = (
    *(
        "execution_engine/*.py",
        "risk/*.py",
        "storage/store.py",
        "storage/audit.py",
        "runtime/inbox.py",
        "runtime/alerts.py",
        "runtime/charts.py",
    ),
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


# --- what a day of the whole house makes of them ------------------------------------------------------------------------------------------

SHOTS = ("09:40", "12:00", "15:10")
OF_THE_DAY = re.compile(r"\b(day|minutes|maxlen|longest window|as its|8192)\b")
"""Words of a declared bound that lets its container grow while a day runs."""


class Counting(World):
    """A world that counts its ticks."""

    def see(self, tick: Tick) -> None:
        super().see(tick)
        self.__dict__["seen"] = self.__dict__.get("seen", 0) + 1


class Keeping(Counting):
    """Planted: it keeps each tick by its time."""

    def see(self, tick: Tick) -> None:
        super().see(tick)
        self.__dict__.setdefault("_kept", {})[tick.instrument.key, tick.at] = tick.price


class Measured(Day):
    """A day without faults; what its house holds at the SHOTS."""

    def __init__(self, plant: Parts) -> None:
        super().__init__(5, only=[], plant=plant)
        self.shots: list[Counter[str]] = []
        self.ticks: list[int] = []
        for moment in SHOTS:
            self.clock.at(clock(moment), self._shoot)

    def _busy(self) -> bool:
        return super()._busy() or self.clock.true.hour == 13  # an hour with every tick

    def _shoot(self) -> None:
        assert self.house is not None
        self.shots.append(sizes(self.house))
        self.ticks.append(self.house.engine.world.__dict__["seen"])


def unbounded(day: Measured) -> list[str]:
    """What grew without a word for it, or beyond what the word allows."""
    result = day.run()
    assert result.violations == []
    assert len(day.shots) == len(SHOTS)
    known = {tuple(re.split(r":\w+\.", name)): bound for name, bound in declared().items()}
    things = 4 * result.orders + 400  # of one day: orders, their calls, fills and states; minutes
    keys = 100  # strategies x instruments x what is told of each
    assert day.ticks[-1] - day.ticks[0] > 2 * things, "too few ticks to see anything grow by them"
    found = []
    for name in sorted({name for shot in day.shots for name in shot if not name.startswith("tests/")}):
        held, bound = [shot[name] for shot in day.shots], known.get(tuple(re.split(r":\w+\.", name)))
        if held[-1] > held[0] if bound is None else max(held) > (things if OF_THE_DAY.search(bound) else keys):
            found.append(f"{name} held {held} ({bound or 'not declared'})")
    return found


@pytest.fixture
def quiet() -> Iterator[None]:
    logger.disable("")
    yield
    logger.enable("")


def test_a_day_lets_nothing_grow_beyond_its_declared_bound(quiet: None) -> None:
    day = Measured({"world": Counting})
    assert unbounded(day) == []
    assert len(day.shots[-1]) > 100, "the walk reaches the whole house"
    assert day.shots[-1]["execution_engine/order_manager.py:OrderDesk._orders"] > 20


def test_a_dict_that_grows_with_every_tick_is_seen(quiet: None) -> None:
    [found] = unbounded(Measured({"world": Keeping}))
    assert "execution_engine/world.py:World._kept" in found
    assert "not declared" in found


def test_what_a_stream_says_that_nobody_knows_is_counted_under_one_name() -> None:
    """A broker that invents events, rooms and kinds of packets all day costs no memory."""
    for dialect in (FeedDialect("ws://127.0.0.1", Codes), OrderDialect("ws://127.0.0.1", Codes)):
        for number in range(3_000):
            for packet in (f'42["event{number}",[1]]', f'42["stock",["4.1!{number}",1]]', f"4{number}", f'42["order",[{number}]]'):
                dialect.take(packet, AT)
        assert max(sizes(dialect).values()) < 50, sizes(dialect)
