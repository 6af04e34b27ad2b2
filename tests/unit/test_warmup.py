"""Warm-up history: enough, closed, of the session, and made from minutes where the broker lacks the interval."""

from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from core.errors import Rejected, SessionExpired
from core.market import Calendar
from core.types import IST, Bar, Instrument, Kind
from data_ingestion.warmup import warmup_bars
from utils.config_loader import load_calendar

FUTURE = Instrument("NFO:NIFTY26NOVFUT", "NFO", "NIFTY26NOVFUT", Kind.FUTURE, "NIFTY", 65, 0.1, date(2026, 11, 23))


class History:
    """A broker with complete candles since `begins`, of these intervals only; the running candle is included, as Kite does it."""

    def __init__(self, calendar: Calendar, intervals: tuple[int, ...] = (1, 3, 5, 15), begins: date = date(2026, 9, 1)) -> None:
        self._calendar = calendar
        self._intervals = intervals
        self._begins = begins
        self.asked: list[tuple[datetime, datetime, int]] = []

    def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
        self.asked.append((start, end, interval))
        if interval not in self._intervals:
            raise Rejected(f"no candles of {interval} minutes")
        step, day, found = timedelta(minutes=interval), max(start.date(), self._begins), []
        while day <= end.date():
            for opens, closes in self._calendar.continuous(instrument, day):
                at = opens
                while at < closes:
                    price = 25000.0 + at.hour * 60 + at.minute
                    if start <= at <= end:
                        found.append(Bar(instrument, at, at + step, interval, price, price + 2, price - 2, price + 1, 65))
                    at += step
            day += timedelta(days=1)
        return found


@pytest.fixture(scope="module")
def calendar() -> Calendar:
    return load_calendar(Path(__file__).parents[2] / "config")


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-{text}").replace(tzinfo=IST)


def test_the_last_closed_bars_reach_back_over_the_night(calendar: Calendar) -> None:
    history = History(calendar)
    bars = warmup_bars(history, calendar, FUTURE, 5, 30, at("20 10:02"))
    assert len(bars) == 30
    assert (bars[-1].start, bars[-1].at) == (at("20 09:55"), at("20 10:00"))  # the running 10:00 bar is not closed
    assert (bars[-10].start, bars[-10].at) == (at("19 15:35"), at("19 15:40"))
    assert all(bar.warmup for bar in bars)
    assert len(history.asked) == 1


def test_a_weekend_is_jumped(calendar: Calendar) -> None:
    bars = warmup_bars(History(calendar), calendar, FUTURE, 15, 5, at("16 09:00"))
    assert bars[-1].start == at("13 15:30")
    assert bars[-1].at == at("13 15:40")  # the session's end, not 15:45


def test_an_interval_the_broker_lacks_is_made_from_minutes(calendar: Calendar) -> None:
    history = History(calendar)
    bars = warmup_bars(history, calendar, FUTURE, 7, 4, at("20 09:50"))
    assert [bar.start for bar in bars] == [at("20 09:22"), at("20 09:29"), at("20 09:36"), at("20 09:43")]
    assert bars[-1].volume == 7 * 65
    assert [interval for _, _, interval in history.asked] == [7, 1]


def test_a_young_contract_gives_what_there_is(calendar: Calendar) -> None:
    history = History(calendar, begins=date(2026, 11, 19))
    bars = warmup_bars(history, calendar, FUTURE, 5, 500, at("20 09:20"))
    assert len(bars) == 77 + 1
    assert bars[0].start == at("19 09:15")


def test_nothing_is_asked_for_nothing(calendar: Calendar) -> None:
    history = History(calendar)
    assert warmup_bars(history, calendar, FUTURE, 5, 0, at("20 09:20")) == []
    assert history.asked == []


def test_a_broker_error_is_the_callers(calendar: Calendar) -> None:
    class Dead(History):
        def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
            raise SessionExpired("log in")

    with pytest.raises(SessionExpired):
        warmup_bars(Dead(calendar), calendar, FUTURE, 5, 10, at("20 10:00"))
