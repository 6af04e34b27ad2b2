"""docs/journal.md has every kind that is journalled, and no other."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "journal.md").read_text(encoding="utf-8")
LISTED = {kind for line in PAGE.splitlines() if line.startswith("| `") for kind in re.findall(r"`(\w+)`", line.split("|")[1])}
FOLDERS = ("execution_engine", "runtime", "data_ingestion")
TREES = [ast.parse(file.read_text(encoding="utf-8")) for folder in FOLDERS for file in sorted((ROOT / folder).glob("*.py"))]


def journalled() -> set[str]:
    """The kinds that stand in a call: `journal(at, KIND, facts)`."""
    calls = (node for tree in TREES for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute))
    kinds = (call.args[1] for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "journal" and len(call.args) == 3)
    return {kind.value for kind in kinds if isinstance(kind, ast.Constant) and isinstance(kind.value, str)}


def test_every_kind_is_on_the_page() -> None:
    assert len(journalled()) > 40
    assert sorted(journalled() - LISTED) == []


def test_every_kind_on_the_page_is_journalled() -> None:
    """By the word itself, where a kind goes through a function before it is journalled."""
    words = {node.value for tree in TREES for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert sorted(LISTED - words) == []
