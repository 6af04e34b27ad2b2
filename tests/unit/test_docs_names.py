"""What the documents call by its name is in the tree: modules, classes, functions, fields; and a page that a comment names is there."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])
FOLDERS = [path.name for path in sorted(ROOT.iterdir()) if any(path.glob("*.py"))]
SOURCES = sorted([*ROOT.glob("*.py"), *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))])
COMMENTED = [*SOURCES, ROOT / "Makefile", *sorted((ROOT / "config").rglob("*.yaml")), *sorted(ROOT.glob("requirements*.txt"))]
DOTTED = re.compile(r"`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)(?:\([^`]*\))?`")
PAGES = re.compile(r"(?<![\w/.<\"-])((?:[\w-]+/)*[\w-]+\.md)\b")
FILES = re.compile(r"`([a-z]\w*\.py)`")
WORDS = re.compile(r"`([A-Z][a-z]+[A-Z]\w*)(?:\([^`]*\))?`")
ENDINGS = {"csv", "json", "md", "parquet", "py", "sqlite", "txt", "yaml"}
SETTINGS = {"api", "risk", "square_off"}  # sections of the configuration that are called like folders or modules
OTHERS = {"Momentum", "MomentumParams"}  # what a reader of write-a-strategy makes


@functools.cache
def members() -> dict[str, set[str]]:
    """Module (dotted, and by its last name) or class -> the names that it has; "" has every name that occurs in the sources."""
    found: dict[str, set[str]] = {"": set()}
    bases: list[tuple[str, str]] = []
    for file in SOURCES:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        module = str(file.relative_to(ROOT)).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        top = names_in(tree.body)
        found.setdefault(module, set()).update(top)
        found.setdefault(module.rpartition(".")[2], set()).update(top)
        found.setdefault(module.rpartition(".")[0], set()).add(module.rpartition(".")[2])
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, set()).update(names_in(node.body) | stored_in(node))
                bases += [(node.name, base.id) for base in node.bases if isinstance(base, ast.Name)]
            elif isinstance(node, ast.Name | ast.alias | ast.Attribute):
                found[""].add(node.id if isinstance(node, ast.Name) else node.name if isinstance(node, ast.alias) else node.attr)
    for _ in range(4):  # no class stands deeper below another
        for name, base in bases:
            found[name] |= found.get(base, set())
    found[""] |= found.keys()
    return found


def names_in(body: list[ast.stmt]) -> set[str]:
    """What a module or class defines or imports."""
    found: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
    return found


def stored_in(node: ast.ClassDef) -> set[str]:
    """The attributes that a class's methods set on `self`."""
    return {
        one.attr
        for one in ast.walk(node)
        if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store) and isinstance(one.value, ast.Name) and one.value.id == "self"
    }


@functools.cache
def files() -> set[str]:
    return {file.name for file in SOURCES}


def missing(text: str) -> list[str]:
    """The names of ours in a page's running text that the tree does not have. A dotted name is ours where it begins with a class, a folder
    or a module's whole or unmistakable name; `orders.cap_pct` is a setting, though there are modules of that name."""
    known, text = members(), re.sub(r"(?ms)^```.*?^```", "", text)
    lost = []
    for name in DOTTED.findall(text):
        parts = name.split(".")
        owner = next((".".join(parts[:place]) for place in range(len(parts) - 1, 0, -1) if ".".join(parts[:place]) in known), "")
        rest = parts[owner.count(".") + 1 :]
        ours = owner not in SETTINGS and (owner in FOLDERS or "_" in owner or "." in owner or owner[:1].isupper())
        if ours and rest[-1] not in ENDINGS and not (rest[0] in known[owner] and all(one in known[""] for one in rest[1:])):
            lost.append(name)
    lost += [file for file in FILES.findall(text) if file not in files() | OTHERS]
    return lost + [word for word in WORDS.findall(text) if word not in known[""] | OTHERS]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_name_of_ours_in_the_text_is_in_the_tree(document: Path) -> None:
    assert missing(document.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "name", ["Engine.on_tick", "order_state.blend", "brokers.stream.Flow", "execution_engine.motor", "OrderDusk", "test_wishes.py"]
)
def test_a_planted_name_is_found(name: str) -> None:
    assert missing(f"It goes through `{name}`.") == [name]


def test_every_page_that_a_comment_names_is_there() -> None:
    here = {name for path in DOCUMENTS for name in (str(path.relative_to(ROOT)), path.name)}
    named = {(str(file.relative_to(ROOT)), page) for file in COMMENTED for page in PAGES.findall(file.read_text(encoding="utf-8"))}
    assert len(named) > 20
    assert sorted((file, page) for file, page in named if page not in here) == []
