"""docs/names.md: what twelve names mean on twelve dates is what `instruments resolve` answers."""

from datetime import date
from pathlib import Path

import pytest

from core.errors import DataError
from runtime.instruments import resolve

ROOT = Path(__file__).parents[2]
PRICES = {"NIFTY": 25012.0, "BANKNIFTY": 56430.0, "SENSEX": 82040.0}


def cells(line: str) -> list[str]:
    return [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]


TABLE = [cells(line) for line in (ROOT / "docs" / "names.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
NAMES, ROWS = TABLE[0][1:], TABLE[2:]


def answer(name: str, on: str, state: Path) -> str:
    root = name.partition("_")[0]
    try:
        found = resolve(ROOT / "config", state, "zerodha", name, date.fromisoformat(on), PRICES.get(root) if "_FUT" not in name else None)
    except DataError:
        return "-"
    return found["symbol"] if found["lot"] is None else f"{found['symbol']} {found['lot']}"


def test_the_page_has_twelve_names_on_twelve_dates_and_the_moved_expiry_is_among_them() -> None:
    assert (len(NAMES), len(ROWS)) == (12, 12)
    assert "2026-11-23" in [row[0] for row in ROWS]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_names_mean_on_this_day_what_the_page_says(row: list[str], tmp_path: Path) -> None:
    assert dict(zip(NAMES, row[1:], strict=True)) == {name: answer(name, row[0], tmp_path) for name in NAMES}
