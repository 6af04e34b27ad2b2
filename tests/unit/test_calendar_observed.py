"""The calendar against outsiders: days and hours that were recorded, the exchange's own files, and a published calendar package."""

import csv
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas_market_calendars
import pytest

from core.market import Calendar
from core.types import Instrument, Kind
from tests.market_data import REFERENCE
from utils.config_loader import CONFIG_FOLDER, load_calendar
from utils.yaml_file import read

ROOT = Path(__file__).resolve().parents[2]
FIRST, LAST = date(2020, 1, 1), date(2027, 12, 31)

SHARE = Instrument("NSE:TINY", "NSE", "TINY", Kind.EQUITY, "TINY")
CAS_SHARE = Instrument("NSE:RELIANCE", "NSE", "RELIANCE", Kind.EQUITY, "RELIANCE", is_fno=True)
FUTURE = Instrument("NFO:NIFTY27DECFUT", "NFO", "NIFTY27DECFUT", Kind.FUTURE, "NIFTY", 65, expiry=date(2030, 12, 31))


@pytest.fixture(scope="module")
def calendar() -> Calendar:
    return load_calendar()


def observed(name: str) -> Path:
    if not REFERENCE.is_dir():
        pytest.skip(f"the recorded reference data is not on this machine ({REFERENCE})")
    return REFERENCE / name


def rows(name: str) -> list[dict[str, str]]:
    with observed(name).open() as file:
        return list(csv.DictReader(file))


def days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=ahead) for ahead in range((last - first).days + 1)]


def hours(calendar: Calendar, instrument: Instrument, day: date) -> str:
    return ", ".join(f"{opens:%H:%M}-{closes:%H:%M}" for opens, closes in calendar.continuous(instrument, day)) or "closed"


# --- recorded days, and the exchange's own lists ---------------------------------------------------------------------------------------


def test_recorded_trading_days_since_2020_are_exactly_ours(calendar: Calendar) -> None:
    spans: dict[str, list[date]] = defaultdict(list)
    for row in rows("trading_days_observed.csv"):
        day = date.fromisoformat(row["date"])
        if day >= FIRST:
            spans[row["series"]].append(day)
    assert spans
    for series, seen in spans.items():
        archive_has_no_sundays = "bhavcopy" in series
        ours = [
            day
            for day in days(seen[0], seen[-1])
            if calendar.trading_day("EQ", day) and not (archive_has_no_sundays and day.weekday() == 6)
        ]
        assert ours == sorted(set(seen)), series


def test_the_exchanges_own_list_of_2025_and_2026_agrees(calendar: Calendar) -> None:
    listed = set()
    for row in rows("nse_session_calendar_2025_2026.csv"):
        day = date.fromisoformat(row["date"])
        listed.add(day)
        if row["kind"] == "special_session" and row["open"]:
            assert hours(calendar, FUTURE, day) == f"{row['open']}-{row['close']}"
        elif row["kind"] != "special_session":
            assert not calendar.trading_day("FO", day), day
    closed = {day for day in days(date(2025, 1, 20), date(2026, 12, 31)) if day.weekday() < 5 and not calendar.trading_day("FO", day)}
    assert closed <= listed


def test_published_hours_of_each_period_are_ours(calendar: Calendar) -> None:
    published = json.loads(observed("nse_session_timings_effective_dated.json").read_text())
    ends_known = date(2026, 9, 6)  # the file was written before the pre-open of 2026-09-07 and the hours of 2026-12-07
    for name, instrument in (("equity_cash", CAS_SHARE), ("equity_derivatives", FUTURE)):
        for period in published[name]:
            first = date.fromisoformat(period["from"]) if period["from"] else FIRST
            last = date.fromisoformat(period["to"]) if period["to"] else ends_known
            for day in days(first, last):
                if calendar.regular_day("FO", day) and day != date(2021, 2, 24):
                    assert hours(calendar, instrument, day) == "-".join(period["continuous"]), (name, day)
                    phases = {phase.name: phase for phase in calendar.phases(instrument, day)}
                    assert ("pre_open" in phases) is (period["preopen"] is not None), (name, day)
                    if "post_close" in period:
                        post_close = phases["post_close"]
                        assert [f"{post_close.start:%H:%M}", f"{post_close.end:%H:%M}"] == period["post_close"], day
    auction = published["equity_cash"][1]["closing_auction"]
    parts = {phase.detail: [f"{phase.start:%H:%M}", f"{phase.end:%H:%M}"] for phase in calendar.phases(CAS_SHARE, date(2026, 8, 3))}
    assert parts["cas_reference"] == auction["transition_reference_price"]
    assert parts["cas_entry_all"] == auction["entry_limit_and_market"]
    assert parts["cas_entry_limit"] == auction["entry_limit_only_random_close_last_2min"]
    assert parts["cas_match"] == auction["matching"]


def test_recorded_expiries_are_ours_and_none_of_ours_is_missing(calendar: Calendar) -> None:
    contracts = calendar.contracts
    seen: dict[tuple[str, str], set[date]] = defaultdict(set)
    for row in rows("index_expiries_seen_2026-01_02.csv"):
        expiry = date.fromisoformat(row["expiry"])
        if expiry.year <= 2027:
            seen[row["symbol"], row["kind"]].add(expiry)
            assert contracts.expiries(row["symbol"], expiry, expiry) == [expiry], row
            if row["kind"] == "FUT":
                assert contracts.is_monthly(row["symbol"], expiry), row
    for root in ("NIFTY", "BANKNIFTY"):  # each expiry in the two months of files was listed
        assert set(contracts.expiries(root, date(2026, 1, 1), date(2026, 2, 27))) <= seen[root, "OPT"]


# --- a published package ---------------------------------------------------------------------------------------------------------------


def test_each_difference_from_pandas_market_calendars_is_explained(calendar: Calendar) -> None:
    schedule = pandas_market_calendars.get_calendar("NSE").schedule(FIRST, LAST, tz="Asia/Kolkata")
    theirs = {day.date(): f"{row.market_open:%H:%M}-{row.market_close:%H:%M}" for day, row in schedule.iterrows()}
    found = {}
    for day in days(FIRST, LAST):
        ours, other = hours(calendar, SHARE, day), theirs.get(day, "closed")
        span = f"{ours[:5]}-{ours[-5:]}" if "-" in ours else ours  # the package has no breaks inside a day
        if span != other:
            found[day.isoformat()] = ("open" if other != "closed" else other, ours)
    page = (ROOT / "docs" / "calendar.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (\d{4}-\d\d-\d\d) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)
    assert {day: (other, ours) for day, other, ours, _, _ in lines} == found
    assert all(re.match(r"(Niyam|pandas_market_calendars|unknown)\b", who) and source.strip() for _, _, _, who, source in lines)


def test_the_package_and_the_calendar_agree_on_muhurat_hours_and_the_day_of_the_halt(calendar: Calendar) -> None:
    schedule = pandas_market_calendars.get_calendar("NSE").schedule(FIRST, date(2026, 12, 31), tz="Asia/Kolkata")
    unusual = {
        day.date(): f"{row.market_open:%H:%M}-{row.market_close:%H:%M}"
        for day, row in schedule.iterrows()
        if f"{row.market_open:%H:%M}-{row.market_close:%H:%M}" != "09:15-15:30"
    }
    assert len(unusual) == 5
    for day, span in unusual.items():
        windows = calendar.continuous(SHARE, day)
        assert f"{windows[0][0]:%H:%M}-{windows[-1][1]:%H:%M}" == span


# --- rules that the files state, over all years ----------------------------------------------------------------------------------------


def test_each_listed_holiday_is_closed_and_every_other_weekday_trades(calendar: Calendar) -> None:
    equity = read(CONFIG_FOLDER / "market" / "holidays.yaml").value["equity"]
    listed = {row["d"] for group in ("closed", "provisional") for year in equity[group].values() for row in year}
    assert {day.year for day in listed} == set(range(2020, 2028))
    for day in days(FIRST, LAST):
        if day.weekday() < 5:
            assert calendar.regular_day("FO", day) is (day not in listed), day
            assert calendar.regular_day("EQ", day) is (day not in listed), day


@pytest.mark.parametrize("year", [2024, 2025, 2026])
def test_currency_rests_on_equity_holidays_and_on_settlement_holidays(calendar: Calendar, year: int) -> None:
    facts = read(CONFIG_FOLDER / "market" / "holidays.yaml").value
    expected = {row["d"] for row in facts["equity"]["closed"][year]} | set(facts["settlement_only"][year]["dates"])
    rupee = Instrument("CDS:USDINRFUT", "CDS", "USDINRFUT", Kind.FUTURE, "USDINR", 1000, expiry=date(2030, 1, 1))
    for day in days(date(year, 1, 1), date(year, 12, 31)):
        if day.weekday() < 5 and not any("muhurat" in note for note in calendar.notes(day)):
            assert hours(calendar, rupee, day) == ("closed" if day in expected else "09:00-17:00"), day


@pytest.mark.parametrize("year", [2024, 2025, 2026, 2027])
def test_commodity_days_follow_their_list_and_the_us_clock(calendar: Calendar, year: int) -> None:
    codes: Mapping[date, str] = read(CONFIG_FOLDER / "market" / "holidays.yaml").value["mcx"][year]["days"]
    crude = Instrument("MCX:CRUDEOILFUT", "MCX", "CRUDEOILFUT", Kind.FUTURE, "CRUDEOIL", 100, expiry=date(2030, 1, 1))
    seen: dict[str, int] = defaultdict(int)
    for day in days(date(year, 1, 1), date(year, 12, 31)):
        special = any("session on" in note and "in MCX" in note for note in calendar.notes(day))
        if day.weekday() >= 5 or special or day == date(2025, 10, 28):
            continue
        evening = "23:30" if us_summer(day) else "23:55"
        expected = {"F": "closed", "M": f"17:00-{evening}", "E": "09:00-17:00", "": f"09:00-{evening}"}[codes.get(day, "")]
        assert hours(calendar, crude, day) == expected, day
        seen[expected] += 1
    assert len(seen) == 6  # both evenings, each with and without its morning, evening holidays, whole holidays


def us_summer(day: date) -> bool:
    """US daylight saving time, by the rule of 2007: from the second Sunday of March to the first of November."""

    def sunday(month: int, number: int) -> date:
        first = date(day.year, month, 1)
        return first + timedelta(days=(6 - first.weekday()) % 7 + 7 * (number - 1))

    return sunday(3, 2) <= day < sunday(11, 1)


def test_the_changes_of_2026_12_07_are_data_alone(calendar: Calendar) -> None:
    """The same rows under an earlier date bring the new hours on that date, and the old ones until then: no code knows the day."""
    change, earlier = date(2026, 12, 7), date(2026, 11, 25)

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: moved(one) for name, one in value.items()}
        if isinstance(value, list):
            return [moved(one) for one in value]
        return (
            {change: earlier, change - timedelta(days=1): earlier - timedelta(days=1)}.get(value, value) if type(value) is date else value
        )

    facts = {name: read(CONFIG_FOLDER / "market" / f"{name}.yaml").value for name in ("holidays", "sessions", "contracts")}
    brought_forward = Calendar(moved(facts))
    expiring = Instrument("NFO:NIFTYX", "NFO", "NIFTYX", Kind.CALL, "NIFTY", 65, expiry=date(2026, 12, 1), strike=24_000.0)
    old = [hours(calendar, one, date(2026, 12, 1)) for one in (SHARE, CAS_SHARE, FUTURE, expiring)]
    new = [hours(brought_forward, one, date(2026, 12, 1)) for one in (SHARE, CAS_SHARE, FUTURE, expiring)]
    assert old == ["09:15-15:30", "09:15-15:15", "09:15-15:40", "09:15-15:40"]
    assert new == ["09:15-15:30", "09:15-15:30", "09:15-15:45", "09:15-15:30"]
    auction = [(phase.detail, f"{phase.start:%H:%M}") for phase in brought_forward.phases(CAS_SHARE, earlier) if phase.name == "auction"]
    assert auction == [("cas_reference", "15:30"), ("cas_entry_all", "15:31"), ("cas_entry_limit", "15:36")]
    assert hours(brought_forward, FUTURE, date(2026, 11, 23)) == "09:15-15:40"
    assert brought_forward.cut_off("zerodha", FUTURE, earlier).status == "unknown"
    for day in days(change, date(2026, 12, 31)):
        for one in (SHARE, CAS_SHARE, FUTURE):
            assert hours(brought_forward, one, day) == hours(calendar, one, day)
