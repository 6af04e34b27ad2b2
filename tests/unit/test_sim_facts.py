"""The simulator's own reading of the market's facts: days, sessions across the regime changes, expiries, lots, ticks, freeze."""

from datetime import date, time
from itertools import islice

import pytest

from tests.unit.sim_stage import FACTS


def test_days_skip_weekends_holidays_and_sessions_without_known_hours() -> None:
    assert list(islice(FACTS.days_from(date(2026, 11, 6)), 3)) == [date(2026, 11, 6), date(2026, 11, 9), date(2026, 11, 11)]
    assert FACTS.trading_day(date(2026, 2, 1))  # a Sunday with a full session
    assert FACTS.previous_day(date(2026, 11, 25)) == date(2026, 11, 23)


@pytest.mark.parametrize(
    ("segment", "day", "end"),
    [
        ("EQ_NONCAS", date(2026, 11, 20), time(15, 30)),
        ("EQ_CAS", date(2026, 11, 20), time(15, 15)),
        ("EQ_CAS", date(2026, 12, 7), time(15, 30)),
        ("FO", date(2026, 7, 31), time(15, 30)),
        ("FO", date(2026, 8, 3), time(15, 40)),
        ("FO", date(2026, 12, 7), time(15, 45)),
        ("FO", date(2024, 3, 2), time(12, 30)),
        ("EQ_NONCAS", date(2025, 10, 21), time(14, 45)),
        ("EQ_NONCAS", date(2018, 6, 1), time(15, 30)),
    ],
)
def test_continuous_trading_ends(segment: str, day: date, end: time) -> None:
    assert FACTS.continuous(segment, day)[-1][1].time() == end


def test_the_session_class_of_a_share_depends_on_its_derivatives_and_the_date() -> None:
    assert FACTS.segment("NSE", True, date(2026, 8, 2)) == "EQ_NONCAS"
    assert FACTS.segment("NSE", True, date(2026, 8, 3)) == "EQ_CAS"
    assert FACTS.segment("NSE", False, date(2026, 8, 3)) == "EQ_NONCAS"


@pytest.mark.parametrize(
    ("root", "year", "month", "expiry"),
    [
        ("NIFTY", 2026, 11, date(2026, 11, 23)),
        ("BANKNIFTY", 2026, 12, date(2026, 12, 29)),
        ("NIFTY", 2025, 3, date(2025, 3, 27)),
        ("NIFTY", 2026, 3, date(2026, 3, 30)),
        ("RELIANCE", 2026, 11, date(2026, 11, 23)),
        ("BANKNIFTY", 2024, 6, date(2024, 6, 26)),
    ],
)
def test_monthly_expiries_move_before_holidays(root: str, year: int, month: int, expiry: date) -> None:
    assert FACTS.monthly_expiry(root, year, month) == expiry


def test_weekly_expiries_leave_the_monthly_week_out() -> None:
    assert FACTS.weekly_expiry("NIFTY", date(2026, 11, 20)) == date(2026, 12, 1)
    assert FACTS.weekly_expiry("NIFTY", date(2026, 11, 5)) == date(2026, 11, 9)
    assert FACTS.weekly_expiry("NIFTY", date(2025, 10, 16)) == date(2025, 10, 20)  # the 21st had a muhurat hour only
    assert FACTS.weekly_expiry("BANKNIFTY", date(2026, 11, 20)) is None


def test_lots_freeze_and_ticks() -> None:
    assert FACTS.lot("NIFTY", date(2026, 11, 23)) == 65
    assert FACTS.lot("NIFTY", date(2025, 12, 30)) == 75
    assert FACTS.lot("NIFTY", date(2025, 12, 31), weekly=True) == 65
    assert FACTS.lot("RELIANCE", date(2026, 11, 23)) is None
    assert (FACTS.freeze("NIFTY", date(2026, 11, 20)), FACTS.freeze("BANKNIFTY", date(2026, 4, 1))) == (1800, 900)
    ticks = [FACTS.tick_size("nse_equity_and_stock_futures", price, date(2026, 11, 20)) for price in (200, 900, 3000, 8000, 30000)]
    assert ticks == [0.01, 0.05, 0.1, 0.5, 5.0]
    assert FACTS.tick_size("nse_index_futures", 25_000, date(2024, 1, 1)) == 0.05


def test_zerodhas_cut_offs_over_time() -> None:
    times = {segment: FACTS.cut_off("zerodha", segment, date(2026, 11, 20)) for segment in ("EQ_CAS", "EQ_NONCAS", "FO")}
    assert {segment: at.time() for segment, at in times.items() if at} == {
        "EQ_CAS": time(15, 12),
        "EQ_NONCAS": time(15, 25),
        "FO": time(15, 26),
    }
    assert FACTS.cut_off("zerodha", "FO", date(2025, 10, 21)) is None  # a muhurat session has none


def test_futures_in_the_opening_auction() -> None:
    day, near, following = date(2026, 11, 20), date(2026, 11, 23), date(2026, 12, 29)
    assert FACTS.in_pre_open("FUT", "NIFTY", near, day)
    assert FACTS.in_pre_open("FUT", "NIFTY", following, day)  # the near one has five days or fewer
    assert not FACTS.in_pre_open("FUT", "NIFTY", following, date(2026, 11, 4))
    assert not FACTS.in_pre_open("CE", "NIFTY", near, day)
    assert not FACTS.in_pre_open("FUT", "NIFTY", date(2025, 7, 31), date(2025, 7, 30))
