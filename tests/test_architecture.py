"""The rules of the house, read from the source: who imports whom, who may make what, and names that only one module may use."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Each line may import from the lines below it; the names on one line never import each other.
LAYERS = (
    ("main",),
    ("runtime",),
    ("api", "backtesting"),
    ("execution_engine", "data_ingestion"),
    ("brokers",),
    ("strategies", "risk", "storage", "utils"),
    ("core",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
OURS = frozenset(RANK) | {"simulators"}

CORE_ALONE = frozenset({"strategies", "risk"})
REGISTRY_ALONE = frozenset({"execution_engine", "data_ingestion"})

# Bare scripts: `from utils.zerodha_auth import ...` must work by itself, so these reach further than their folder may: to
# the modules named here and no others.
FACADES = {
    "utils/zerodha_auth.py": frozenset(
        {"brokers.spec", "brokers.redirect", "brokers.zerodha", "brokers.zerodha.session", "data_ingestion.bare_session"}
    ),
    "execution_engine/order_manager.py": frozenset({"runtime"}),
    "execution_engine/buy_sell_logic.py": frozenset({"brokers.icici"}),  # icici_buy and icici_sell
    "utils/config_loader.py": frozenset({"storage.account_file", "storage.credentials"}),  # `config.get_secret` reads the vault first
}

# Concretes behind ports, and the modules besides their own that may name them.
WIRING = frozenset({"runtime/wiring.py", "backtesting/run.py"})
CONCRETES = {
    "SqlStore": WIRING,
    "open_store": WIRING,
    "PaperBroker": WIRING,
    "BrokerWorker": WIRING,
    "GrantedClock": WIRING | {"runtime/sources.py", "runtime/grants.py"},  # whose time it is: where it was found
}

SDK_HOMES = {
    "kiteconnect": "brokers/zerodha/",
    "SmartApi": "brokers/angelone/",
    "upstox_client": "brokers/upstox/",
    "breeze_connect": "brokers/icici/",
    "socketio": "brokers/icici/",
    "growwapi": "brokers/groww/",
}
BANNED = {
    "datetime.now": {"core/clock.py"},
    "datetime.utcnow": set(),
    "datetime.today": set(),
    "date.today": set(),
    "time.time": {"core/clock.py"},
    "time.monotonic": {"core/clock.py"},
    "time.sleep": {"core/clock.py"},
    "os.environ": {"utils/config_loader.py"},
    "os.getenv": {"utils/config_loader.py"},
}
LONGEST = 650  # lines


@dataclass(frozen=True)
class Source:
    """One module of ours: its path from the root, its dotted name and its syntax tree."""

    path: str
    tree: ast.Module

    @property
    def name(self) -> str:
        dotted = self.path.removesuffix(".py").replace("/", ".")
        return dotted.removesuffix(".__init__")

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]


def source(path: str, text: str) -> Source:
    return Source(path, ast.parse(text, path))


def sources() -> list[Source]:
    files = [ROOT / "main.py", *(file for top in sorted(OURS - {"main"}) for file in sorted((ROOT / top).rglob("*.py")))]
    return [source(str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")) for file in files if file.exists()]


SOURCES = sources()
ENGINE = [module for module in SOURCES if module.top != "simulators"]


def imports(module: Source) -> Iterator[tuple[str, str]]:
    """(module, name) of every import, wherever it stands: at the top, in functions, under TYPE_CHECKING. `name` is "" for `import x`."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.path}:{node.lineno} imports relatively"
            yield from ((node.module or "", alias.name) for alias in node.names)


def layer_breaches(module: Source) -> list[str]:
    found = []
    for target, name in imports(module):
        top = target.partition(".")[0]
        full = f"{target}.{name}" if name else target
        if top not in OURS or top == module.top:
            if top == "brokers" and _broker(module.name) and _broker(full) not in (None, _broker(module.name)):
                found.append(f"{module.path} imports another broker: {full}")
            continue
        if module.top == "simulators":
            found.append(f"{module.path} imports {full}: simulators import nothing of ours")
        elif top == "simulators":
            if module.path != "main.py":
                found.append(f"{module.path} imports {full}: simulators are other programs")
        elif target not in FACADES.get(module.path, ()):
            if RANK[top] <= RANK[module.top]:
                found.append(f"{module.path} imports {full}: not to its right")
            elif module.top in CORE_ALONE and top != "core":
                found.append(f"{module.path} imports {full}: {module.top} knows core alone")
            elif module.top in REGISTRY_ALONE and top == "brokers" and not full.startswith("brokers.registry"):
                found.append(f"{module.path} imports {full}: only brokers.registry")
    return found


def _broker(dotted: str) -> str | None:
    """`zerodha` for brokers.zerodha and all below it, None for the shared modules of brokers/."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "brokers" and (ROOT / "brokers" / parts[1]).is_dir() else None


def circles(modules: list[Source]) -> list[list[str]]:
    """Groups of modules that reach each other, counting every import but a façade's (made when it is called)."""
    names = {module.name for module in modules}
    graph: dict[str, set[str]] = {}
    for module in modules:
        graph[module.name] = {
            dotted
            for target, name in imports(module)
            if target not in FACADES.get(module.path, ())
            for dotted in (f"{target}.{name}", target)
            if dotted in names and dotted != module.name
        }
    reach = {name: _reachable(graph, name) for name in graph}
    groups = {tuple(sorted({name} | {other for other in reach[name] if name in reach[other]})) for name in graph}
    return [list(group) for group in groups if len(group) > 1]


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(graph[name])
    return seen


def makers_of_approved(module: Source) -> list[str]:
    calls = (node for node in ast.walk(module.tree) if isinstance(node, ast.Call))
    return [f"{module.path}:{call.lineno}" for call in calls if _dotted(call.func).split(".")[-1] == "Approved"]


def banned_names(module: Source) -> list[str]:
    found = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute):
            name = ".".join(_dotted(node).split(".")[-2:])
            if module.path not in BANNED.get(name, {module.path}):
                found.append(f"{module.path}:{node.lineno} uses {name}")
    for target, name in imports(module):
        full = f"{target}.{name}"
        if module.path not in BANNED.get(full, {module.path}):
            found.append(f"{module.path} imports {full}")
    return found


def sdk_breaches(module: Source) -> list[str]:
    homes = ((target, SDK_HOMES.get(target.partition(".")[0])) for target, _ in imports(module))
    return [f"{module.path} imports {target}" for target, home in homes if home and not module.path.startswith(home)]


def concrete_breaches(module: Source) -> list[str]:
    found = []
    for target, name in imports(module):
        allowed = CONCRETES.get(name)
        if allowed is not None and module.path not in allowed and target.partition(".")[0] != module.top:
            found.append(f"{module.path} names the concrete {name}")
    return found


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def test_imports_go_to_the_right_only() -> None:
    assert [breach for module in SOURCES for breach in layer_breaches(module)] == []


def test_no_import_circle() -> None:
    assert circles(SOURCES) == []


def test_a_facade_does_nothing_but_call_what_it_stands_for() -> None:
    tree = next(module.tree for module in SOURCES if module.path == "execution_engine/order_manager.py")
    (facade,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "OrderManager")
    assert not any(isinstance(node, ast.If | ast.For | ast.While | ast.Try | ast.IfExp) for node in ast.walk(facade))
    outside = [node for node in tree.body if node is not facade]
    assert not any(target.startswith("runtime") for node in outside for target, _ in imports(Source("x", ast.Module([node], []))))


def test_only_the_gate_makes_an_approved() -> None:
    makers = [place for module in SOURCES for place in makers_of_approved(module)]
    assert {place.partition(":")[0] for place in makers} <= {"risk/gate.py"}


def test_time_and_environment_are_read_in_one_place() -> None:
    assert [use for module in ENGINE for use in banned_names(module)] == []


def test_sdks_stay_in_their_brokers_folder() -> None:
    assert [breach for module in SOURCES for breach in sdk_breaches(module)] == []


def test_concretes_are_named_where_things_are_wired() -> None:
    assert [breach for module in ENGINE for breach in concrete_breaches(module)] == []


@pytest.mark.parametrize("module", SOURCES, ids=lambda module: module.path)
def test_every_module_opens_with_its_caption(module: Source) -> None:
    caption = (ast.get_docstring(module.tree) or "").split("\n\n")[0]
    assert caption.rstrip().endswith((".", ":", "?")), f"{module.path} has no caption: one sentence that says what the module is"


@pytest.mark.parametrize("module", SOURCES, ids=lambda module: module.path)
def test_no_file_grows_beyond_reading(module: Source) -> None:
    assert len((ROOT / module.path).read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("core/x.py", "from utils.control import ask"),
        ("risk/x.py", "from storage.store import open_reader"),
        ("strategies/x.py", "def f():\n    from utils.control import ask"),
        ("execution_engine/x.py", "from data_ingestion.bars import BarBuilder"),
        ("execution_engine/x.py", "from brokers.spec import Spec"),
        ("utils/x.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from brokers.registry import get"),
        ("runtime/x.py", "import simulators.server"),
        ("simulators/x.py", "from core.types import Tick"),
        ("execution_engine/order_manager.py", "from runtime.wiring import build"),
    ],
)
def test_a_planted_import_is_found(path: str, text: str) -> None:
    assert layer_breaches(source(path, text)) != []


def test_a_planted_circle_is_found() -> None:
    planted = [source("core/a.py", "def f():\n    from core import b"), source("core/b.py", "from core.a import f")]
    assert circles(planted) == [["core.a", "core.b"]]


@pytest.mark.parametrize(
    "text",
    [
        "from datetime import datetime\nat = datetime.now()",
        "import time\ntime.sleep(1)",
        "from time import monotonic as m\nfrom time import sleep",
    ],
)
def test_a_planted_clock_is_found(text: str) -> None:
    assert banned_names(source("risk/x.py", text)) != []


def test_a_planted_approval_is_found() -> None:
    assert makers_of_approved(source("execution_engine/x.py", "from core import types\ntypes.Approved(request, at)")) != []


def test_a_planted_concrete_and_sdk_are_found() -> None:
    assert concrete_breaches(source("execution_engine/x.py", "from storage.store import open_store")) != []
    assert sdk_breaches(source("runtime/x.py", "import kiteconnect")) != []
