"""Expiry days with their holiday shifts, the near month, lots, freeze quantities, tick sizes and rounding."""

import csv
from datetime import date, timedelta

import pytest

from core.errors import DataError
from core.expiries import Contracts, floor_to_lot, round_to_tick
from core.types import Kind, Side
from tests.market_data import REFERENCE
from utils.config_loader import load_calendar


@pytest.fixture(scope="module")
def contracts() -> Contracts:
    return load_calendar().contracts


def observed(name: str) -> list[dict[str, str]]:
    if not REFERENCE.is_dir():
        pytest.skip(f"the recorded reference data is not on this machine ({REFERENCE})")
    with (REFERENCE / name).open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("root", "year", "month", "expected"),
    [
        ("NIFTY", 2026, 11, date(2026, 11, 23)),  # Tuesday 24 is a holiday
        ("NIFTY", 2026, 1, date(2026, 1, 27)),
        ("NIFTY", 2022, 11, date(2022, 11, 24)),
        ("NIFTY", 2025, 12, date(2025, 12, 30)),
        ("NIFTY", 2025, 8, date(2025, 8, 28)),  # the last Thursday
        ("NIFTY", 2026, 3, date(2026, 3, 30)),
        ("NIFTY", 2016, 7, date(2016, 7, 28)),  # before the files: the earliest rule
        ("BANKNIFTY", 2024, 12, date(2024, 12, 24)),  # a Wednesday that is Christmas
        ("BANKNIFTY", 2024, 2, date(2024, 2, 29)),
        ("BANKNIFTY", 2024, 3, date(2024, 3, 27)),
        ("RELIANCE", 2026, 11, date(2026, 11, 23)),
        ("SENSEX", 2026, 3, date(2026, 3, 25)),
        ("SENSEX", 2026, 5, date(2026, 5, 27)),
    ],
)
def test_monthly_expiries(contracts: Contracts, root: str, year: int, month: int, expected: date) -> None:
    assert contracts.monthly_expiry(root, year, month) == expected
    assert contracts.is_monthly(root, expected)


def test_weekly_expiries_shift_and_the_monthly_week_has_no_other(contracts: Contracts) -> None:
    days = contracts.expiries("NIFTY", date(2026, 10, 1), date(2026, 11, 30))
    assert [f"{day:%m-%d}" for day in days] == ["10-06", "10-13", "10-19", "10-27", "11-03", "11-09", "11-17", "11-23"]
    assert not contracts.is_monthly("NIFTY", date(2026, 11, 17))
    assert contracts.expiries("SENSEX", date(2025, 10, 1), date(2025, 10, 9)) == [date(2025, 10, 1), date(2025, 10, 9)]
    assert contracts.expiries("NIFTY", date(2021, 11, 1), date(2021, 11, 5)) == [date(2021, 11, 3)]  # a muhurat day is no trading day here
    banknifty = contracts.expiries("BANKNIFTY", date(2023, 9, 1), date(2023, 9, 30))
    assert [f"{day:%m-%d}" for day in banknifty] == ["09-06", "09-13", "09-20", "09-28"]
    assert contracts.expiries("BANKNIFTY", date(2026, 11, 1), date(2026, 11, 30)) == [date(2026, 11, 23)]


def test_a_product_before_its_first_day_is_an_error(contracts: Contracts) -> None:
    with pytest.raises(DataError, match="SENSEX in 2022-06"):
        contracts.monthly_expiry("SENSEX", 2022, 6)
    with pytest.raises(DataError, match="no expiry rule for the index SENSEX50"):
        contracts.monthly_expiry("SENSEX50", 2026, 1)
    assert contracts.expiries("SENSEX", date(2023, 1, 1), date(2023, 5, 19)) == [date(2023, 5, 19)]


@pytest.mark.parametrize(
    ("root", "day", "expected"),
    [
        ("NIFTY", date(2026, 11, 20), date(2026, 11, 23)),  # E-1 is the Friday
        ("NIFTY", date(2026, 11, 23), date(2026, 12, 29)),
        ("RELIANCE", date(2026, 11, 19), date(2026, 11, 23)),  # E-2 for a stock
        ("RELIANCE", date(2026, 11, 20), date(2026, 12, 29)),
        ("NIFTY", date(2025, 12, 29), date(2025, 12, 30)),
        ("NIFTY", date(2025, 12, 30), date(2026, 1, 27)),
        ("NIFTY", date(2025, 12, 31), date(2026, 1, 27)),
        ("NIFTY", date(2025, 3, 27), date(2025, 4, 24)),
    ],
)
def test_the_near_month_rolls_a_day_before_expiry_two_for_stocks(contracts: Contracts, root: str, day: date, expected: date) -> None:
    assert contracts.future_expiry(root, day) == expected
    assert contracts.future_expiry(root, day, 1) > expected


def test_the_roll_day_is_the_last_near_day_and_next_crosses_the_year(contracts: Contracts) -> None:
    assert contracts.roll_day("NIFTY", date(2026, 11, 23)) == date(2026, 11, 20)
    assert contracts.roll_day("RELIANCE", date(2026, 11, 23)) == date(2026, 11, 19)
    assert contracts.future_expiry("NIFTY", date(2026, 12, 1), 1) == date(2027, 1, 25)  # Tuesday 26 January is Republic Day


def test_every_day_has_one_near_month_and_it_never_goes_back(contracts: Contracts) -> None:
    day, last = date(2020, 1, 1), date(2020, 1, 1)
    while day < date(2027, 1, 1):
        expiry = contracts.future_expiry("NIFTY", day)
        assert expiry >= max(last, day)
        last = expiry
        day += timedelta(days=1)


@pytest.mark.parametrize(
    ("root", "expiry", "expected"),
    [
        ("NIFTY", date(2020, 6, 25), 75),
        ("NIFTY", date(2022, 11, 24), 50),
        ("NIFTY", date(2024, 5, 2), 25),
        ("NIFTY", date(2025, 12, 30), 75),
        ("NIFTY", date(2026, 1, 6), 65),
        ("NIFTY", date(2026, 1, 27), 65),
        ("BANKNIFTY", date(2025, 12, 30), 35),
        ("BANKNIFTY", date(2026, 1, 27), 30),
        ("SENSEX", date(2026, 11, 26), 20),
        ("NIFTY", date(2016, 7, 28), 75),
        ("RELIANCE", date(2026, 11, 23), None),
    ],
)
def test_lots_are_of_the_contract(contracts: Contracts, root: str, expiry: date, expected: int | None) -> None:
    assert contracts.lot(root, expiry) == expected


def test_freeze_is_dated_and_floored_to_lots(contracts: Contracts) -> None:
    assert contracts.freeze("NIFTY", date(2026, 11, 20), 65) == 1755
    assert contracts.freeze("BANKNIFTY", date(2026, 6, 30)) == 900
    assert contracts.freeze("BANKNIFTY", date(2026, 7, 1)) == 600
    assert contracts.freeze("SENSEX", date(2026, 11, 20)) is None
    assert contracts.freeze("NIFTY", date(2020, 1, 1)) is None
    assert floor_to_lot(1800, 65) == 1755


@pytest.mark.parametrize(
    ("kind", "underlying", "level", "day", "expected"),
    [
        (Kind.EQUITY, "TINY", 249.99, date(2026, 11, 20), 0.01),
        (Kind.EQUITY, "TINY", 250.0, date(2026, 11, 20), 0.05),
        (Kind.EQUITY, "RELIANCE", 1000.0, date(2026, 11, 20), 0.05),
        (Kind.EQUITY, "RELIANCE", 1000.1, date(2026, 11, 20), 0.10),
        (Kind.EQUITY, "MRF", 130000.0, date(2026, 11, 20), 5.0),
        (Kind.FUTURE, "RELIANCE", 1400.0, date(2026, 11, 20), 0.10),
        (Kind.FUTURE, "NIFTY", 24000.0, date(2026, 11, 20), 0.10),
        (Kind.FUTURE, "BANKNIFTY", 56000.0, date(2026, 11, 20), 0.20),
        (Kind.FUTURE, "NIFTY", 24000.0, date(2025, 4, 14), 0.05),
        (Kind.CALL, "NIFTY", 24000.0, date(2026, 11, 20), 0.05),
        (Kind.EQUITY, "RELIANCE", 1400.0, date(2016, 7, 1), 0.05),
    ],
)
def test_tick_sizes(contracts: Contracts, kind: Kind, underlying: str, level: float, day: date, expected: float) -> None:
    assert contracts.tick_size(kind, underlying, level, day) == expected


@pytest.mark.parametrize(
    ("price", "tick", "side", "expected"),
    [
        (100.07, 0.05, Side.BUY, 100.05),
        (100.07, 0.05, Side.SELL, 100.10),
        (100.07, 0.05, None, 100.05),
        (24000.15, 0.1, Side.BUY, 24000.1),
        (0.3, 0.1, Side.BUY, 0.3),  # 0.3 / 0.1 is 2.9999999999999996
        (0.3, 0.1, Side.SELL, 0.3),
        (1.15, 0.05, Side.BUY, 1.15),
        (83.4567, 0.0025, Side.SELL, 83.4575),
        (1234.5, 5.0, None, 1235.0),
    ],
)
def test_rounding_to_the_tick_is_passive_and_exact(price: float, tick: float, side: Side | None, expected: float) -> None:
    assert round_to_tick(price, tick, side) == expected


def test_rounding_is_idempotent_and_never_further_than_a_tick() -> None:
    for tick in (0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 0.0025):
        for step in range(1, 4000):
            exact = round(step * tick, 4)
            assert round_to_tick(exact, tick, Side.BUY) == round_to_tick(exact, tick, Side.SELL) == round_to_tick(exact, tick) == exact
            beyond = exact + tick / 3
            assert round_to_tick(beyond, tick, Side.BUY) == exact
            assert 0 < round_to_tick(beyond, tick, Side.SELL) - exact < tick * 1.001


# --- against recorded data ----------------------------------------------------------------------------------------------------------


def test_freeze_quantities_of_the_circulars_are_ours(contracts: Contracts) -> None:
    rows = observed("index_quantity_freeze_effective_dated.csv")
    assert len(rows) > 2
    for row in rows[1:]:
        for root in ("NIFTY", "BANKNIFTY", "FINNIFTY", "MIDCPNIFTY", "NIFTYNXT50"):
            assert contracts.freeze(root, date.fromisoformat(row["effective_from"])) == int(row[root]), (root, row)


def test_index_lots_seen_in_bhavcopies_are_ours(contracts: Contracts) -> None:
    seen = {(row["symbol"], date.fromisoformat(row["expiry"])): int(row["lot"]) for row in observed("fo_lots_by_expiry_2026-01_02.csv")}
    checked = 0
    for (root, expiry), lot in seen.items():
        if root in contracts.index_roots:
            assert contracts.lot(root, expiry) == lot, (root, expiry)
            checked += 1
    assert checked > 5
