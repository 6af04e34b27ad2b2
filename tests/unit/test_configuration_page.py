"""docs/configuration.md names every key that the schema knows and no other, with its default and the bounds of its numbers."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from utils.config_schema import Corrections, Risk, Settings, StrategySettings

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
FILES: dict[str, type[BaseModel]] = {
    "settings.yaml": Settings,
    "risk.yaml": Risk,
    "strategies/*.yaml": StrategySettings,
    "market/overrides.yaml": Corrections,
}
EMPTY: dict[str, tuple[Any, ...]] = {"as below": ({},), "none": ({}, []), "empty": ("",), "null": (None,)}
BOUNDS = ("minimum", "maximum", "exclusiveMaximum")


def keys(schema: dict[str, Any], whole: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any], bool]]:
    """(dotted key, its schema, whether it must be written) of everything below a mapping."""
    for name, one in schema.get("properties", {}).items():
        here = f"{path}{name}"
        yield here, one, name in schema.get("required", ())
        for below, inner in inside(one, whole, here):
            yield from keys(inner, whole, f"{below}.")


def inside(one: dict[str, Any], whole: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The mappings that a value holds: itself, each entry of a list, each named entry."""
    if "$ref" in one:
        one = whole["$defs"][one["$ref"].rpartition("/")[2]]
    if "properties" in one:
        yield path, one
    for choice in (*one.get("anyOf", ()), *one.get("allOf", ())):
        yield from inside(choice, whole, path)
    if isinstance(one.get("items"), dict):
        yield from inside(one["items"], whole, f"{path}[]")
    named = [*one.get("patternProperties", {}).values(), one.get("additionalProperties")]
    for entry in named:
        if isinstance(entry, dict):
            yield from inside(entry, whole, f"{path}.NAME")


def table(file: str) -> dict[str, tuple[str, str]]:
    """Key -> (default, range) of one section of the page."""
    section = re.split(rf"(?m)^## {re.escape(file)}$", PAGE)[1].partition("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    assert all(len(row) == 4 for row in rows), [row for row in rows if len(row) != 4]
    return {row[0].strip("| `"): (row[2].strip(), row[3].rstrip("|").strip()) for row in rows}


@pytest.mark.parametrize("file", FILES)
def test_each_key_is_there_and_no_other(file: str) -> None:
    schema = FILES[file].model_json_schema()
    assert sorted(table(file)) == sorted({key for key, _, _ in keys(schema, schema)})


@pytest.mark.parametrize("file", FILES)
def test_defaults_and_bounds_are_the_programs(file: str) -> None:
    schema, page = FILES[file].model_json_schema(), table(file)
    for key, one, required in keys(schema, schema):
        default, bounds = page[key]
        if required or default == "-":
            assert (required, default) == (True, "-"), key
        elif default in EMPTY:
            assert one["default"] in EMPTY[default] or one["default"] == _defaults(one, schema), key
        else:
            assert default == _shown(one["default"]), key
        numbers = {choice[name] for choice in (one, *one.get("anyOf", ())) for name in BOUNDS if name in choice}
        assert all(f"{number:g}" in bounds or str(int(number)) in bounds for number in numbers), (key, numbers, bounds)


def _defaults(one: dict[str, Any], whole: dict[str, Any]) -> Any:
    """What a section of nothing but defaults is."""
    ref = one.get("$ref") or one["allOf"][0]["$ref"]
    return {name: inner["default"] for name, inner in whole["$defs"][ref.rpartition("/")[2]]["properties"].items()}


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
