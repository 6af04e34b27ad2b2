"""docs/simulators.md has every fault with its values, and every route of the admin address."""

import re
from pathlib import Path

import yaml

from simulators.faults import KINDS, Faults

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "simulators.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `")]


def test_every_fault_is_listed_with_where_it_strikes_its_values_and_what_it_does() -> None:
    listed = {name.strip("`"): cells for name, *cells in ROWS if len(cells) == 3}
    assert list(listed) == list(KINDS)
    for name, (where, values, what) in KINDS.items():
        told = {key: value for one in re.findall(r"`([^`]*)`", listed[name][1]) for key, value in yaml.safe_load(one).items()}
        assert (listed[name][0], told, listed[name][2]) == (where, values, what), name


def test_the_script_in_the_text_is_one() -> None:
    assert len(Faults(yaml.safe_load(PAGE.split("```yaml\n")[1].split("```")[0])).entries) == 3


def test_every_admin_route_is_listed() -> None:
    served = re.findall(r'^ +"((?:GET|POST|DELETE) /\w*)": ', (ROOT / "simulators" / "server.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(served) > 5
    assert re.findall(r"(?m)^\| `((?:GET|POST|DELETE) /\w*)`", PAGE) == served
