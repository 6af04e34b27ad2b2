"""One value of a file changed, comments and all the rest kept."""

from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError
from utils.config_loader import CONFIG_FOLDER
from utils.yaml_edit import changed
from utils.yaml_file import read

FILE = """\
# ₹ on top
class: sma_cross
params: {fast: 9, slow: 21}   # bars
window:
  entry_from: "09:20"   # IST
risk: {max_loss: 5000}
account:
instruments:
  - NIFTY_FUT
enabled: true  # last
"""


def edited(place: str, value: Any, text: str = FILE) -> str:
    path = Path("trend.yaml")
    return changed(read(path, text), text, tuple(place.split(".")), value)


@pytest.mark.parametrize(
    ("place", "value", "old", "new"),
    [
        ("params.fast", 5, "{fast: 9,", "{fast: 5,"),
        ("params.both_ways", True, "slow: 21}", "slow: 21, both_ways: true}"),
        ("params", {"fast": 3}, "{fast: 9, slow: 21}", "{fast: 3}"),
        ("window.entry_from", "09:45", '"09:20"', '"09:45"'),
        ("window.entry_until", "14:30", '  entry_from: "09:20"', '  entry_until: "14:30"\n  entry_from: "09:20"'),
        ("risk.lock_profit.at", 8000.0, "{max_loss: 5000}", "{max_loss: 5000, lock_profit: {at: 8000.0}}"),
        ("risk.max_loss", None, "5000", "null"),
        ("account", "mine", "account:", "account: mine"),
        ("enabled", False, "enabled: true ", "enabled: false "),
        ("size.lots", 2, "# last\n", "# last\nsize: {lots: 2}\n"),
    ],
)
def test_the_value_changes_and_no_other_character(place: str, value: Any, old: str, new: str) -> None:
    assert FILE.count(old) == 1
    assert edited(place, value) == FILE.replace(old, new)


def test_an_empty_mapping_takes_a_first_key() -> None:
    assert edited("params.fast", 2, "params: {}\n") == "params: {fast: 2}\n"


@pytest.mark.parametrize("place", ["instruments", "window", "class.name"])
def test_what_cannot_be_changed_alone_is_left_to_a_person(place: str) -> None:
    with pytest.raises(ConfigError, match=f"{place} cannot be changed .* edit the file"):
        edited(place, "x")


@pytest.mark.parametrize("path", sorted((CONFIG_FOLDER / "strategies").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_file_can_be_retuned(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    given = read(path)
    for place, value in (("params.trades_a_day", 1), ("risk.max_trades", 2), ("enabled", not given.value["enabled"])):
        after = changed(given, text, tuple(place.split(".")), value)
        assert len(after.splitlines()) == len(text.splitlines())
