"""The market calendar: hours by (exchange, is_fno, date), special days, cut-offs, and each figure of the square-off rule."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from core.errors import ConfigError
from core.market import Calendar, CutOff, SquareOffSettings
from core.types import IST, Instrument, Kind
from utils.config_loader import CONFIG_FOLDER, load_calendar
from utils.yaml_file import read

RULE = SquareOffSettings()


def future(root: str = "NIFTY", expiry: date = date(2026, 12, 29), exchange: str = "NFO") -> Instrument:
    return Instrument(
        f"{exchange}:{root}{expiry:%y%b}FUT".upper(), exchange, f"{root}{expiry:%y%b}FUT".upper(), Kind.FUTURE, root, 65, expiry=expiry
    )


CAS_STOCK = Instrument("NSE:RELIANCE", "NSE", "RELIANCE", Kind.EQUITY, "RELIANCE", is_fno=True)
OTHER_STOCK = Instrument("NSE:TINY", "NSE", "TINY", Kind.EQUITY, "TINY")
INDEX = Instrument("NSE:NIFTY 50", "NSE", "NIFTY 50", Kind.INDEX, "NIFTY")
CRUDE = Instrument("MCX:CRUDEOIL26DECFUT", "MCX", "CRUDEOIL26DECFUT", Kind.FUTURE, "CRUDEOIL", 100, expiry=date(2026, 12, 18))
RUPEE = Instrument("CDS:USDINR26DECFUT", "CDS", "USDINR26DECFUT", Kind.FUTURE, "USDINR", 1000, expiry=date(2026, 12, 29))


@pytest.fixture(scope="module")
def calendar() -> Calendar:
    return load_calendar()


@pytest.fixture(scope="module")
def practice() -> Calendar:
    return load_calendar(assumed_cut_offs=True)


def with_overrides(**corrections: Any) -> Calendar:
    facts: dict[str, Mapping[str, Any]] = {
        name: read(CONFIG_FOLDER / "market" / f"{name}.yaml").value for name in ("holidays", "sessions", "contracts")
    }
    return Calendar({**facts, "overrides": corrections})


def hours(calendar: Calendar, instrument: Instrument, day: date) -> list[str]:
    return [f"{start:%H:%M}-{end:%H:%M}" for start, end in calendar.continuous(instrument, day)]


def clock(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%H:%M}"


@pytest.mark.parametrize(
    ("instrument", "day", "expected"),
    [
        (CAS_STOCK, date(2026, 7, 31), "09:15-15:30"),
        (CAS_STOCK, date(2026, 8, 3), "09:15-15:15"),
        (CAS_STOCK, date(2026, 12, 4), "09:15-15:15"),
        (CAS_STOCK, date(2026, 12, 7), "09:15-15:30"),
        (OTHER_STOCK, date(2026, 8, 3), "09:15-15:30"),
        (OTHER_STOCK, date(2026, 12, 7), "09:15-15:30"),
        (INDEX, date(2026, 8, 3), "09:15-15:15"),
        (future(), date(2026, 7, 31), "09:15-15:30"),
        (future(), date(2026, 8, 3), "09:15-15:40"),
        (future(), date(2026, 12, 4), "09:15-15:40"),
        (future(), date(2026, 12, 7), "09:15-15:45"),
        (future(expiry=date(2026, 12, 8)), date(2026, 12, 8), "09:15-15:30"),  # an expiring index contract stops early from then on
        (future("RELIANCE", date(2026, 12, 29)), date(2026, 12, 29), "09:15-15:45"),
        (future(expiry=date(2026, 11, 23)), date(2026, 11, 23), "09:15-15:40"),
        (RUPEE, date(2026, 11, 20), "09:00-17:00"),
        (CRUDE, date(2026, 10, 30), "09:00-23:30"),
        (CRUDE, date(2026, 11, 2), "09:00-23:55"),
        (CRUDE, date(2026, 11, 10), "17:00-23:55"),  # the morning is a holiday
        (CRUDE, date(2026, 1, 1), "09:00-17:00"),  # the evening is
        (CRUDE, date(2025, 2, 1), "09:00-17:00"),
        (future("COTTONCNDY", exchange="MCX"), date(2026, 11, 20), "09:00-21:00"),
        (future("MENTHAOIL", exchange="MCX"), date(2026, 11, 20), "09:00-17:00"),
        (future(), date(2024, 11, 1), "18:00-19:00"),
        (future(), date(2025, 10, 21), "13:45-14:45"),
        (future(), date(2026, 2, 1), "09:15-15:30"),  # a Sunday with a budget
    ],
)
def test_continuous_hours_follow_from_exchange_instrument_and_date(
    calendar: Calendar, instrument: Instrument, day: date, expected: str
) -> None:
    assert hours(calendar, instrument, day) == [expected]


def test_a_disaster_recovery_saturday_has_two_short_sessions(calendar: Calendar) -> None:
    assert hours(calendar, future(), date(2024, 3, 2)) == ["09:15-10:00", "11:30-12:30"]


def test_a_halt_is_cut_out_of_the_day_and_its_extension_added(calendar: Calendar) -> None:
    assert hours(calendar, future(), date(2021, 2, 24)) == ["09:15-11:40", "15:45-17:00"]
    assert hours(calendar, future("SENSEX", exchange="BFO"), date(2021, 2, 24)) == ["09:15-15:30"]
    assert not calendar.is_open(future(), datetime(2021, 2, 24, 12, 0, tzinfo=IST))
    assert hours(calendar, CRUDE, date(2025, 10, 28)) == ["13:25-23:30"]


@pytest.mark.parametrize("day", [date(2026, 11, 21), date(2026, 11, 24), date(2026, 11, 8), date(2024, 1, 22)])
def test_weekends_holidays_and_sessions_of_unknown_time_do_not_trade(calendar: Calendar, day: date) -> None:
    assert not calendar.trading_day("FO", day)
    assert calendar.phases(future(), day) == ()
    assert calendar.square_off("zerodha", future(), day, RULE) is None
    assert calendar.day_bounds(day) is None


def test_a_muhurat_without_times_is_stated_and_the_operator_can_give_them(calendar: Calendar) -> None:
    assert any("muhurat session on 2026-11-08 in FO: its times are not known" in note for note in calendar.notes(date(2026, 11, 8)))
    session = {"d": date(2026, 11, 8), "kind": "muhurat", "segments": ["FO"], "sessions": [["18:00", "19:00"]]}
    given = with_overrides(special_sessions=[session])
    assert hours(given, future(), date(2026, 11, 8)) == ["18:00-19:00"]
    assert not given.trading_day("EQ", date(2026, 11, 8))


def test_overrides_close_open_and_shorten_days() -> None:
    session = {"d": date(2026, 11, 20), "kind": "shortened", "segments": ["FO"], "sessions": [["09:15", "12:00"]]}
    given = with_overrides(
        closed=[{"d": date(2026, 11, 19), "n": "Election", "segments": ["EQ", "FO"]}],
        open=[{"d": date(2026, 11, 24), "n": "Moved", "segments": ["EQ", "FO"]}],
        special_sessions=[session],
    )
    assert not given.trading_day("FO", date(2026, 11, 19))
    assert given.trading_day("MCX", date(2026, 11, 19))
    assert given.trading_day("FO", date(2026, 11, 24))
    assert given.monthly_expiry("NIFTY", 2026, 11) == date(2026, 11, 24)
    assert hours(given, future(), date(2026, 11, 20)) == ["09:15-12:00"]
    assert given.next_trading_day(date(2026, 11, 18)) == date(2026, 11, 20)


def test_neighbouring_trading_days_skip_what_is_closed_and_count_a_muhurat(calendar: Calendar) -> None:
    assert calendar.next_trading_day(date(2026, 11, 20)) == date(2026, 11, 23)
    assert calendar.next_trading_day(date(2026, 11, 23)) == date(2026, 11, 25)
    assert calendar.previous_trading_day(date(2026, 11, 25)) == date(2026, 11, 23)
    assert calendar.previous_trading_day(date(2025, 10, 23)) == date(2025, 10, 21)
    assert not calendar.regular_day("FO", date(2025, 10, 21))


def test_currency_also_rests_on_settlement_holidays(calendar: Calendar) -> None:
    assert calendar.trading_day("FO", date(2026, 8, 26))
    assert not calendar.trading_day("CDS", date(2026, 8, 26))


def test_commodity_evenings_follow_us_daylight_saving(calendar: Calendar) -> None:
    for period in read(CONFIG_FOLDER / "market" / "sessions.yaml").value["segments"]["MCX"]["winter_2355_periods"]:
        for day, expected in (
            (period["from"], "23:55"),
            (period["to"], "23:55"),
            (period["from"] - timedelta(days=3), "23:30"),
            (period["to"] + timedelta(days=3), "23:30"),
        ):
            assert clock(calendar.continuous(CRUDE, day)[-1][1]) == expected, day


def test_phases_name_pre_open_auction_and_post_close(calendar: Calendar) -> None:
    def at(instrument: Instrument, text: str) -> str:
        return calendar.phase(instrument, datetime.combine(date(2026, 11, 20), time.fromisoformat(text), IST))

    moments = ("08:30", "08:50", "09:00", "09:14:59", "09:15", "15:14:59", "15:15", "15:29", "15:40", "15:55", "16:00")
    assert [at(CAS_STOCK, text) for text in moments] == [
        "closed",
        "block_deal",
        "pre_open",
        "pre_open",
        "continuous",
        "continuous",
        "auction",
        "auction",
        "closed",
        "post_close",
        "closed",
    ]
    assert at(OTHER_STOCK, "14:10") == "continuous"  # the block deal window inside continuous trading does not hide it
    assert [phase.order_types for phase in calendar.phases(CAS_STOCK, date(2026, 11, 20)) if phase.detail == "cas_reference"] == [()]
    assert at(future(), "15:39:59") == "continuous"
    assert at(future(), "15:40") == "closed"


def test_is_open_takes_any_zone_and_refuses_naive_times(calendar: Calendar) -> None:
    assert calendar.is_open(future(), datetime(2026, 11, 20, 3, 45, tzinfo=UTC))
    assert not calendar.is_open(future(), datetime(2026, 11, 20, 3, 44, 59, tzinfo=UTC))
    with pytest.raises(ValueError, match="naive"):
        calendar.is_open(future(), datetime(2026, 11, 20, 10, 0))


def test_status_says_how_far_the_calendar_can_be_trusted(calendar: Calendar) -> None:
    assert calendar.status(date(2026, 11, 20)) == "confirmed"
    assert calendar.status(date(2027, 1, 4)) == "provisional"
    assert calendar.status(date(2031, 1, 1)) == "provisional"
    assert calendar.status(date(2016, 7, 1)) == "assumed"
    assert with_overrides(confirmed_years=[2027]).status(date(2027, 1, 4)) == "confirmed"
    assert "the FO hours from 2026-12-07 are single_source" in calendar.notes(date(2026, 12, 8))
    assert any("confirmed_years" in note for note in calendar.notes(date(2027, 1, 4)))


def test_before_2020_the_earliest_hours_and_cut_offs_are_assumed(calendar: Calendar) -> None:
    day = date(2016, 7, 1)
    assert hours(calendar, CAS_STOCK, day) == ["09:15-15:30"]
    found = calendar.cut_off("zerodha", future(), day)
    assert (clock(found.at), found.status) == ("15:25", "assumed")


def test_day_bounds_span_all_phases_of_the_segments(calendar: Calendar) -> None:
    bounds = calendar.day_bounds(date(2026, 11, 20))
    assert bounds is not None
    assert [clock(moment) for moment in bounds] == ["08:45", "16:00"]
    evening = calendar.day_bounds(date(2026, 11, 20), ("MCX",))
    assert evening is not None
    assert clock(evening[1]) == "23:55"


# --- cut-offs and the square-off --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broker", "instrument", "day", "expected", "status"),
    [
        ("zerodha", future(), date(2026, 7, 31), "15:25", "confirmed"),
        ("zerodha", future(), date(2026, 11, 20), "15:26", "confirmed"),
        ("zerodha", CAS_STOCK, date(2026, 11, 20), "15:12", "confirmed"),
        ("zerodha", OTHER_STOCK, date(2026, 11, 20), "15:25", "confirmed"),
        ("zerodha", CAS_STOCK, date(2026, 7, 31), "15:20", "confirmed"),
        ("zerodha", CRUDE, date(2026, 11, 20), "23:45", "confirmed"),
        ("zerodha", CRUDE, date(2026, 7, 31), "23:05", "confirmed"),
        ("upstox", CAS_STOCK, date(2026, 9, 11), "15:10", "single_source"),
        ("upstox", CAS_STOCK, date(2026, 9, 10), "15:05", "single_source"),
        ("upstox", future(), date(2026, 9, 11), "", "unknown"),
        ("upstox", CAS_STOCK, date(2026, 7, 31), "", "unknown"),  # published, but not confirmed by anyone
        ("zerodha", future(), date(2026, 12, 7), "", "unknown"),
        ("nobody", future(), date(2026, 11, 20), "", "unknown"),
    ],
)
def test_cut_offs_by_broker_segment_and_date(
    calendar: Calendar, broker: str, instrument: Instrument, day: date, expected: str, status: str
) -> None:
    found = calendar.cut_off(broker, instrument, day)
    assert (clock(found.at), found.status) == (expected, status)


def test_only_practice_assumes_what_nobody_confirmed(practice: Calendar) -> None:
    for broker, instrument, day, expected in (
        ("zerodha", future(), date(2026, 12, 7), "15:31"),
        ("zerodha", CAS_STOCK, date(2026, 12, 7), "15:27"),
        ("upstox", future(), date(2026, 11, 20), "15:20"),
        ("groww", CAS_STOCK, date(2026, 11, 20), "15:05"),
    ):
        found = practice.cut_off(broker, instrument, day)
        assert (clock(found.at), found.status) == (expected, "assumed")
    assert practice.cut_off("zerodha", future(), date(2026, 11, 20)).status == "confirmed"


def test_the_operators_cut_off_beats_the_facts_and_none_is_not_unknown() -> None:
    version = {"from": date(2026, 11, 20), "to": None, "FO": "15:22", "EQ_CAS": "none"}
    given = with_overrides(mis_squareoff={"zerodha": {"versions": [version]}})
    assert clock(given.cut_off("zerodha", future(), date(2026, 11, 20)).at) == "15:22"
    assert clock(given.cut_off("zerodha", future(), date(2026, 11, 19)).at) == "15:26"
    none = given.cut_off("zerodha", CAS_STOCK, date(2026, 11, 20))
    assert (none.at, none.status) == (None, "none")
    plan = given.square_off("zerodha", CAS_STOCK, date(2026, 11, 20), RULE)
    assert plan is not None
    assert (clock(plan.start), clock(plan.page_at), clock(plan.deadline), plan.known) == ("15:09", "15:13", "15:15", True)


@pytest.mark.parametrize(
    ("instrument", "day", "start", "entries_stop", "page_at", "deadline", "closes", "known"),
    [
        (future(), date(2026, 11, 20), "15:20", "15:05", "15:24", "15:26", "15:40", True),
        (CAS_STOCK, date(2026, 11, 20), "15:06", "14:51", "15:10", "15:12", "15:15", True),
        (OTHER_STOCK, date(2026, 11, 20), "15:19", "15:04", "15:23", "15:25", "15:30", True),
        (future(), date(2026, 7, 31), "15:19", "15:04", "15:23", "15:25", "15:30", True),
        (CRUDE, date(2026, 11, 20), "23:39", "23:24", "23:43", "23:45", "23:55", True),
        (RUPEE, date(2026, 11, 20), "16:39", "16:24", "16:43", "16:45", "17:00", True),
        (future(), date(2026, 12, 7), "15:00", "14:45", "15:04", "15:45", "15:45", False),
        (future(), date(2024, 11, 1), "18:54", "18:39", "18:58", "19:00", "19:00", False),  # muhurat: 6 minutes before its end
        (future(), date(2025, 10, 21), "14:39", "14:24", "14:43", "14:45", "14:45", False),
        (future(), date(2024, 3, 2), "12:24", "12:09", "12:28", "12:30", "12:30", False),
    ],
)
def test_the_square_off_rule(
    calendar: Calendar,
    instrument: Instrument,
    day: date,
    start: str,
    entries_stop: str,
    page_at: str,
    deadline: str,
    closes: str,
    known: bool,
) -> None:
    plan = calendar.square_off("zerodha", instrument, day, RULE)
    assert plan is not None
    found = [clock(moment) for moment in (plan.start, plan.entries_stop, plan.page_at, plan.deadline, plan.closes)]
    assert found == [start, entries_stop, page_at, deadline, closes]
    assert plan.known is known


def test_a_muhurat_cut_off_given_for_that_day_is_used() -> None:
    version = {"from": date(2024, 11, 1), "to": date(2024, 11, 1), "FO": "18:45"}
    given = with_overrides(mis_squareoff={"zerodha": {"versions": [version]}})
    plan = given.square_off("zerodha", future(), date(2024, 11, 1), RULE)
    assert plan is not None
    assert (clock(plan.start), clock(plan.deadline), plan.known) == ("18:39", "18:45", True)


def test_the_configured_time_and_lead_can_only_bring_the_exit_forward(calendar: Calendar) -> None:
    for settings, expected in (
        (SquareOffSettings(time=time(14, 30)), "14:30"),
        (SquareOffSettings(time=None), "15:20"),
        (SquareOffSettings(time=time(15, 39)), "15:20"),
        (SquareOffSettings(time=time(15, 39), lead_minutes=20), "15:06"),
    ):
        plan = calendar.square_off("zerodha", future(), date(2026, 11, 20), settings)
        assert plan is not None
        assert clock(plan.start) == expected
    commodity = calendar.square_off("zerodha", CRUDE, date(2026, 11, 20), SquareOffSettings(commodity_time=time(23, 0)))
    assert commodity is not None
    assert clock(commodity.start) == "23:00"


def test_a_time_that_is_not_quoted_hours_and_minutes_is_an_error() -> None:
    version = {"from": date(2026, 11, 20), "to": None, "FO": "3.26 pm"}
    given = with_overrides(mis_squareoff={"zerodha": {"versions": [version]}})
    with pytest.raises(ConfigError, match=r"3\.26 pm"):
        given.cut_off("zerodha", future(), date(2026, 11, 20))
    assert given.cut_off("upstox", future(), date(2026, 11, 20)) == CutOff(
        None, "unknown", "upstox FO on 2026-11-20: give it in mis_squareoff of config/market/overrides.yaml"
    )
