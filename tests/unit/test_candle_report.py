"""The judgement of candles: gaps by the calendar, bars with no place in it, outliers, foreign days, steps, labels."""

from collections.abc import Callable
from datetime import date, timedelta

import msgspec
import pytest

from core.types import Bar, Instrument, Kind
from data_ingestion.candle_report import CandleReport, document, examine
from data_ingestion.candle_store import Span, table_of
from tests.unit.candle_source import CALENDAR, FUTURE, STOCK, Source, at

INDEX = Instrument("NSE:NIFTY BANK", "NSE", "NIFTY BANK", Kind.INDEX, "BANKNIFTY")
OPTION = Instrument("NFO:NIFTY26NOV26000CE", "NFO", "NIFTY26NOV26000CE", Kind.CALL, "NIFTY", 65, 0.05, date(2026, 11, 23), 26000.0)
WEEK = Span(at("2026-11-16 00:00"), at("2026-11-21 00:00"))


def whole(instrument: Instrument = FUTURE, interval: int = 5, span: Span = WEEK) -> list[Bar]:
    source = Source("2026-12-30 20:00", cap=4000, begins=date(2015, 1, 1))
    return source.candles(instrument, span.start, span.end - timedelta(seconds=1), interval)


def judged(bars: list[Bar], instrument: Instrument = FUTURE, interval: int = 5, span: Span = WEEK) -> CandleReport:
    return examine(table_of(bars), instrument, interval, CALENDAR, span)


def changed(bars: list[Bar], choose: Callable[[Bar], bool], factor: float) -> list[Bar]:
    def scaled(bar: Bar) -> Bar:
        prices = {name: getattr(bar, name) * factor for name in ("open", "high", "low", "close")}
        return msgspec.structs.replace(bar, **prices)

    return [scaled(bar) if choose(bar) else bar for bar in bars]


@pytest.mark.parametrize("interval", [1, 3, 5, 10, 15, 30, 60, 1440])
@pytest.mark.parametrize("instrument", [FUTURE, STOCK, INDEX])
def test_what_is_complete_is_found_complete(instrument: Instrument, interval: int) -> None:
    report = judged(whole(instrument, interval), instrument, interval)
    assert report.whole
    assert report.bars == report.expected > 0
    assert (report.outside, report.outliers, report.notes) == ((), (), ())


def test_missing_bars_and_days_are_named() -> None:
    lost = {at("2026-11-17 09:15"), at("2026-11-17 11:00"), at("2026-11-17 11:05"), at("2026-11-17 11:10")}
    bars = [bar for bar in whole() if bar.start not in lost and bar.start.day != 19]
    report = judged(bars)
    assert [(gap.day.day, gap.found, gap.missing) for gap in report.gaps] == [
        (17, 73, ("09:15", "11:00-11:10")),
        (19, 0, ("09:15-15:35",)),
    ]
    assert report.missing_days == (date(2026, 11, 19),)
    assert report.missing == 4 + 77
    assert report.spans()[1] == Span(at("2026-11-17 11:00"), at("2026-11-17 11:15"))
    told = document(report)
    assert told["counts"]["gap_days"] == 2
    assert told["missing_days"] == ["2026-11-19"]


def test_a_holiday_and_a_half_asked_day_are_no_gap() -> None:
    span = Span(at("2026-11-06 00:00"), at("2026-11-10 11:00"))  # muhurat on Sunday the 8th, Diwali on the 10th
    report = judged(whole(span=span), span=span)
    assert report.whole
    assert report.bars == report.expected


def test_a_special_session_counts_with_its_own_hours() -> None:
    span = Span(at("2025-10-20 00:00"), at("2025-10-23 00:00"))  # muhurat on Tuesday the 21st, 13:45 to 14:45
    bars = whole(INDEX, span=span)
    assert sum(bar.start.day == 21 for bar in bars) == 12
    lost = [bar for bar in bars if bar.start != at("2025-10-21 14:00")]
    (gap,) = judged(lost, INDEX, span=span).gaps
    assert (gap.expected, gap.missing) == (12, ("14:00",))


def test_bars_with_no_place_in_the_calendar_are_named_and_why() -> None:
    bars = whole(STOCK)
    odd = ["2026-11-16 09:00", "2026-11-16 15:55", "2026-11-16 11:02", "2026-11-21 11:00"]
    strays = [Bar(STOCK, at(text), at(text) + timedelta(minutes=5), 5, 1000.0, 1000.0, 1000.0, 1000.0, 1) for text in odd]
    span = Span(WEEK.start, WEEK.end + timedelta(days=1))
    report = judged([*bars, *strays], STOCK, span=span)
    assert report.whole
    assert [one.what for one in report.outside] == [
        "outside continuous trading (pre open)",
        "off the grid of 5m bars",
        "outside continuous trading (post close)",
        "no trading day",
    ]


def test_options_are_quiet_where_others_have_gaps() -> None:
    bars = [bar for bar in whole(OPTION) if bar.start.minute % 10 and bar.start.day != 18]
    report = judged(bars, OPTION)
    assert report.whole
    assert report.quiet == report.expected - len(bars) > 100
    assert "not there: nothing traded, or the source lacks them" in report.notes[0]


def test_the_days_before_a_contract_was_listed_are_told_and_not_counted() -> None:
    bars = [bar for bar in whole() if bar.start.day >= 18]
    report = judged(bars)
    assert report.whole
    assert report.expected == len(bars)
    assert report.notes == ("no bars before 2026-11-18: 2 days, on which the contract was not listed or did not trade",)
    assert judged([bar for bar in whole(STOCK) if bar.start.day >= 18], STOCK).missing_days == (date(2026, 11, 16), date(2026, 11, 17))
    assert len(judged([]).missing_days) == 5, "nothing at all is no listing date"


def test_before_2020_a_missing_day_may_be_a_holiday_and_a_missing_week_is_a_gap() -> None:
    span = Span(at("2016-10-01 00:00"), at("2016-12-01 00:00"))
    bars = whole(INDEX, span=span)
    report = judged([bar for bar in bars if bar.start.date() != date(2016, 10, 11)], INDEX, span=span)
    assert report.whole
    assert "2016-10-11" in report.notes[0]
    report = judged([bar for bar in bars if not 3 <= bar.start.day <= 7 or bar.start.month == 11], INDEX, span=span)
    assert len(report.missing_days) == 5
    saturday = [msgspec.structs.replace(bar, start=bar.start + timedelta(days=1)) for bar in bars if bar.start.date() == date(2016, 10, 7)]
    report = judged([*bars, *saturday], INDEX, span=span)
    assert report.outside == ()
    assert "a special session as far as can be told" in report.notes[-1]


def test_a_spike_is_an_outlier_and_a_trend_is_none() -> None:
    spike = at("2026-11-18 12:00")
    report = judged(changed(whole(), lambda bar: bar.start == spike, 1.05))
    assert [one.at for one in report.outliers] == [spike]
    assert report.outliers[0].what.startswith("+5.")
    falling = [bar for n, one in enumerate(whole()) for bar in changed([one], lambda bar: True, 1 - 0.0005 * (n % 77))]
    assert judged(falling).outliers == ()
    assert judged(changed(whole(OPTION), lambda bar: bar.start == spike, 3.0), OPTION).outliers == ()


def test_days_with_the_prices_of_another_index_are_named() -> None:
    span = Span(at("2026-11-02 00:00"), at("2026-11-21 00:00"))
    bars = whole(INDEX, span=span)
    foreign = changed(bars, lambda bar: bar.start.day == 12 and bar.start > at("2026-11-12 09:18"), 0.08)
    report = judged(foreign, INDEX, span=span)
    assert report.foreign_days == (date(2026, 11, 12),)
    assert report.outliers == (), "the day is named as a whole"
    first = Span(at("2026-11-12 00:00"), at("2026-11-13 00:00"))
    alone = judged([bar for bar in foreign if bar.start.day == 12], INDEX, span=first)
    assert alone.foreign_days == (), "of a single day nothing can be said"
    assert [one.at.minute for one in alone.outliers] == [20]
    assert "foreign prices from here on?" in alone.outliers[0].what
    crash = changed(bars, lambda bar: bar.start.day >= 12, 0.6)
    assert judged(crash, INDEX, span=span).foreign_days == (), "a level that stays is the index's own"


def test_a_split_that_the_prices_are_not_adjusted_for_is_a_step() -> None:
    bars = changed(whole(STOCK), lambda bar: bar.start.day >= 18, 0.5)
    (note,) = judged(bars, STOCK).notes
    assert note.startswith("2026-11-18: opens at")
    assert "factor 0.497" in note


def test_end_labelled_bars_are_recognised() -> None:
    shifted = [msgspec.structs.replace(bar, start=bar.start + timedelta(minutes=5)) for bar in whole()]
    report = judged(shifted)
    assert "on 5 of 5 days the first bar is missing and one stands at the close" in report.notes[-1]
    assert not report.whole


def test_bars_without_volume_are_counted_except_of_an_index() -> None:
    bars = [msgspec.structs.replace(bar, volume=0) for bar in whole()]
    assert judged(bars).zero_volume == len(bars)
    assert judged([msgspec.structs.replace(bar, volume=0) for bar in whole(INDEX)], INDEX).zero_volume == 0
