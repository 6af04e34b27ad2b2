"""What the pages about strategies say is what the code has: parameters, ranges, files, indicators, and the examples of sizing."""

import importlib
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.types import Instrument, Kind
from execution_engine.buy_sell_logic import Size, SizingError, quantity_for
from strategies import registry
from strategies.base import LONGEST_SESSION_MINUTES

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "strategies"
GUIDE = (ROOT / "docs" / "write-a-strategy.md").read_text(encoding="utf-8")
FUTURE = Instrument("NFO:NIFTY26NOVFUT", "NFO", "NIFTY26NOVFUT", Kind.FUTURE, "NIFTY", 65, 0.1)


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")]


def shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"


@pytest.mark.parametrize("name", registry.names())
def test_each_class_has_a_page_with_its_parameters_as_they_are(name: str) -> None:
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert f"`class: {name}`" in text.splitlines()[0]
    assert "no claim about returns" in text.replace("\n", " ")
    wanted = {}
    for one in fields(registry.params_of(name)):
        span = f"{one.metadata['low']:g} to {one.metadata['high']:g}" if one.metadata else "true, false"
        wanted[f"`{one.name}`"] = [shown(one.default), span]
    assert {row[0]: row[1:3] for row in rows(text)} == wanted
    assert all(row[3] for row in rows(text))
    (shipped,) = re.findall(r"\(\.\./\.\./config/strategies/(\w+)\.yaml\)", text)
    assert yaml.safe_load((ROOT / "config" / "strategies" / f"{shipped}.yaml").read_text())["class"] == name


def test_the_index_lists_each_and_how_it_is_sized() -> None:
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\w+)\]\(\w+\.md\) .*\| (\w+) \|$", index, re.MULTILINE)
    shipped = [yaml.safe_load(path.read_text()) for path in (ROOT / "config" / "strategies").glob("*.yaml")]
    assert sorted(listed) == sorted((one["class"], next(iter(one["size"]))) for one in shipped)
    assert {size for _, size in listed} == {"lots", "quantity", "capital", "risk"}


def test_the_examples_of_sizing_come_out_as_written() -> None:
    section = GUIDE.split("## Size")[1].split("\n## ")[0]
    found = {}
    for key, _, example in rows(section):
        size = Size(**yaml.safe_load(key.strip("`")))
        found[key] = quantity_for(size, FUTURE, 1, 25_000.0, 24_900.0)
        assert example.endswith(str(found[key]))
    assert list(found.values()) == [130, 130, 195, 195]
    assert quantity_for(Size(lots=3), FUTURE, 0.5, 25_000.0, None) == 65
    with pytest.raises(SizingError, match="less than one lot of 65"):
        quantity_for(Size(capital=1_000_000), FUTURE, 1, 25_000.0, None)
    with pytest.raises(SizingError, match="needs a stop"):
        quantity_for(Size(risk=20_000), FUTURE, 1, 25_000.0, None)


def test_the_table_of_indicators_names_what_there_is() -> None:
    section = GUIDE.split("## Indicators")[1].split("\n## ")[0]
    table = rows(section)
    assert len(table) == 3
    for file, *cells in table:
        module = importlib.import_module(file.strip("`").removesuffix(".py").replace("/", "."))
        for name in re.findall(r"`(\w+)\(", " ".join(cells)):
            assert callable(getattr(module, name).add)
    assert LONGEST_SESSION_MINUTES == 900
