"""Bars from ticks and from finer bars: bounds, volume, late ticks, gaps, sessions, and the cost of a tick."""

from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from core.events import FeedStatus
from core.market import Calendar
from core.types import IST, Bar, Instrument, Kind, Tick
from data_ingestion.bars import BarBuilder, BarJoiner, aggregate

MARKET = Path(__file__).parents[2] / "config" / "market"
FUTURE = Instrument("NFO:NIFTY26NOVFUT", "NFO", "NIFTY26NOVFUT", Kind.FUTURE, "NIFTY", lot=65, expiry=date(2026, 11, 24 - 1))
STOCK = Instrument("NSE:RELIANCE", "NSE", "RELIANCE", Kind.EQUITY, "RELIANCE", is_fno=True)
DAY = date(2026, 11, 20)


@pytest.fixture(scope="module")
def calendar() -> Calendar:
    return Calendar({name: yaml.safe_load((MARKET / f"{name}.yaml").read_text()) for name in ("holidays", "sessions", "contracts")})


def at(clock: str, day: date = DAY) -> datetime:
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=IST)


def tick(clock: str, price: float, volume: int = 0, instrument: Instrument = FUTURE, day: date = DAY, oi: int = 0) -> Tick:
    moment = at(clock, day)
    return Tick(instrument, moment + timedelta(milliseconds=80), price, volume, exchange_at=moment, oi=oi)


def builder(calendar: Calendar, *intervals: int, instrument: Instrument = FUTURE, since: str = "09:00:00") -> BarBuilder:
    made = BarBuilder(calendar)
    for interval in intervals:
        made.watch(instrument, interval, at(since))
    return made


def test_a_bar_holds_its_minute_and_closes_two_seconds_after_its_end(calendar: Calendar) -> None:
    bars = builder(calendar, 1)
    for clock, price, volume in (("09:15:00", 100.0, 65), ("09:15:20", 103.0, 130), ("09:15:40", 99.0, 195), ("09:15:59", 101.0, 260)):
        bars.add(tick(clock, price, volume, oi=volume * 10))
    assert bars.due == at("09:16:02")
    assert bars.close(at("09:16:01.999")) == []
    (bar,) = bars.close(at("09:16:02"))
    assert (bar.start, bar.at, bar.interval) == (at("09:15:00"), at("09:16:00"), 1)
    assert (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.oi) == (100.0, 103.0, 99.0, 101.0, 260, 2600)
    assert not bar.gap
    assert bars.due is None


def test_bars_are_anchored_at_the_session_start_and_cut_at_its_end(calendar: Calendar) -> None:
    bars = builder(calendar, 10, 60)
    for minute in range(385):
        moment = at("09:15:00") + timedelta(minutes=minute)
        bars.add(Tick(FUTURE, moment, 100.0 + minute, minute + 1, exchange_at=moment))
    closed = bars.close(at("16:00:00"))
    tens = [bar for bar in closed if bar.interval == 10]
    hours = [bar for bar in closed if bar.interval == 60]
    assert [bar.start for bar in tens] == [at("09:15:00") + timedelta(minutes=10 * number) for number in range(39)]
    assert (tens[-1].start, tens[-1].at) == (at("15:35:00"), at("15:40:00"))  # derivatives trade to 15:40
    assert (hours[-1].start, hours[-1].at) == (at("15:15:00"), at("15:40:00"))
    assert sum(bar.volume for bar in tens) == sum(bar.volume for bar in hours) == 385
    assert closed == sorted(closed, key=lambda bar: (bar.at, bar.instrument.key, bar.interval))


def test_a_closing_auction_stock_ends_at_1515_and_auction_prints_make_no_bar(calendar: Calendar) -> None:
    bars = builder(calendar, 5, instrument=STOCK)
    bars.add(tick("09:07:30", 1400.0, 5_000, STOCK))  # the opening auction's print
    bars.add(tick("09:15:00", 1401.0, 5_010, STOCK))
    bars.add(tick("15:14:59", 1410.0, 9_000, STOCK))
    bars.add(tick("15:31:00", 1450.0, 90_000, STOCK))
    first, last = bars.close(at("16:00:00"))
    assert (first.open, first.volume) == (1401.0, 10)
    assert (last.start, last.at, last.high) == (at("15:10:00"), at("15:15:00"), 1410.0)
    assert bars.outside == 2


def test_a_tick_between_end_and_close_enters_the_bar_a_later_one_is_only_counted(calendar: Calendar) -> None:
    bars = builder(calendar, 1)
    bars.add(tick("09:15:30", 100.0, 65))
    bars.add(tick("09:16:00", 101.0, 195))
    bars.add(tick("09:15:59", 98.0, 130))  # overtaken on the way
    (first,) = bars.close(at("09:16:02"))
    assert (first.low, first.close, first.volume) == (98.0, 98.0, 130)
    bars.add(tick("09:15:58", 90.0, 140))
    (second,) = bars.close(at("09:17:02"))
    assert (second.open, second.low, second.volume) == (101.0, 101.0, 65)
    assert bars.late == 1


def test_a_tick_after_its_bar_closed_takes_its_volume_with_it(calendar: Calendar) -> None:
    bars = builder(calendar, 1)
    bars.add(tick("09:15:30", 100.0, 65))
    (first,) = bars.close(at("09:16:02"))
    bars.add(tick("09:15:59", 99.0, 130))
    bars.add(tick("09:16:30", 102.0, 195))
    (second,) = bars.close(at("09:17:02"))
    assert (first.volume, second.volume, bars.late) == (65, 65, 1)


def test_a_standing_quote_holds_the_bar_flat_until_the_first_trade_sets_the_open(calendar: Calendar) -> None:
    bars = builder(calendar, 1)
    bars.add(tick("09:15:10", 100.0, 65))
    bars.add(tick("09:16:00", 100.0, 65))  # a repeated quote, no trade
    bars.add(tick("09:16:20", 105.0, 130))
    bars.add(tick("09:17:00", 105.0, 130))
    _, traded, standing = bars.close(at("09:18:02"))
    assert (traded.open, traded.low) == (105.0, 105.0)
    assert (standing.open, standing.close, standing.volume) == (105.0, 105.0, 0)


def test_a_minute_without_any_tick_has_no_bar(calendar: Calendar) -> None:
    bars = builder(calendar, 1)
    bars.add(tick("09:15:10", 100.0, 65))
    bars.add(tick("09:18:10", 101.0, 130))
    assert [bar.start for bar in bars.close(at("09:19:02"))] == [at("09:15:00"), at("09:18:00")]


def test_bars_around_a_broken_feed_are_marked(calendar: Calendar) -> None:
    bars = builder(calendar, 1)
    bars.feed(FeedStatus(at("09:05:00"), True))
    bars.add(tick("09:15:10", 100.0, 65))
    bars.add(tick("09:16:10", 100.0, 130))
    bars.feed(FeedStatus(at("09:16:20"), False))
    bars.feed(FeedStatus(at("09:18:30"), True))
    bars.add(tick("09:18:40", 101.0, 650))
    bars.add(tick("09:19:00", 101.0, 715))
    closed = bars.close(at("09:20:02"))
    assert [(bar.start.minute, bar.gap) for bar in closed] == [(15, False), (16, True), (18, True), (19, False)]
    assert sum(bar.volume for bar in closed) == 715


def test_a_watch_that_begins_in_the_middle_marks_the_running_bar_and_counts_from_there(calendar: Calendar) -> None:
    bars = builder(calendar, 5, since="11:02:00")
    bars.add(tick("11:02:01", 100.0, 1_000_000))
    bars.add(tick("11:04:59", 101.0, 1_000_065))
    bars.add(tick("11:05:00", 101.0, 1_000_130))
    partial, whole = bars.close(at("11:10:02"))
    assert (partial.gap, partial.volume) == (True, 65)
    assert (whole.gap, whole.volume) == (False, 65)


def test_volume_starts_anew_with_the_day(calendar: Calendar) -> None:
    bars = builder(calendar, 5)
    bars.add(tick("15:39:00", 100.0, 900_000))
    bars.add(tick("09:15:00", 101.0, 65, day=date(2026, 11, 23)))
    yesterday, today = bars.close(at("09:21:00", date(2026, 11, 23)))
    assert (yesterday.start, yesterday.volume) == (at("15:35:00"), 900_000)
    assert (today.start, today.volume) == (at("09:15:00", date(2026, 11, 23)), 65)


def test_a_stale_volume_before_the_open_is_forgotten(calendar: Calendar) -> None:
    bars = builder(calendar, 1)
    bars.add(Tick(FUTURE, at("09:00:01"), 100.0, 5_000_000))  # yesterday's last quote, without a time of its own
    bars.add(tick("09:15:10", 101.0, 65))
    bars.add(tick("09:15:20", 102.0, 130))
    bars.add(Tick(FUTURE, at("09:16:05"), 103.0))  # an ltp packet carries no volume
    bars.add(tick("09:16:10", 103.0, 195))
    assert [bar.volume for bar in bars.close(at("09:17:02"))] == [130, 65]


def test_a_holiday_has_no_bars(calendar: Calendar) -> None:
    bars = builder(calendar, 1)
    bars.add(tick("10:00:00", 100.0, 65, day=date(2026, 11, 24)))
    assert bars.due is None
    assert bars.outside == 1


def test_ticks_without_an_exchange_time_are_placed_by_receive_time(calendar: Calendar) -> None:
    bars = builder(calendar, 1)
    bars.add(Tick(FUTURE, at("09:15:30"), 100.0))
    bars.add(Tick(FUTURE, at("09:15:40"), 102.0))
    (bar,) = bars.close(at("09:16:02"))
    assert (bar.open, bar.close, bar.volume) == (100.0, 102.0, 0)


def test_five_minute_bars_played_as_four_ticks_come_out_exact_at_their_multiples(calendar: Calendar) -> None:
    source = [
        Bar(FUTURE, at("09:15:00") + timedelta(minutes=5 * i), at("09:20:00") + timedelta(minutes=5 * i), 5, o, h, lo, c, v, 7)
        for i, (o, h, lo, c, v) in enumerate([(100, 105, 98, 103, 650), (103, 103, 103, 103, 0), (104, 110, 101, 102, 1300)])
    ]
    bars = builder(calendar, 5, 15)
    volume = 0
    for bar in source:
        legs = [bar.open, bar.low, bar.high, bar.close] if bar.close >= bar.open else [bar.open, bar.high, bar.low, bar.close]
        for second in range(300):
            quarter = 3 if second == 299 else second // 75 if second < 225 else 2
            volume += bar.volume // 4 + (bar.volume % 4 if quarter == 3 else 0) if second in (0, 75, 150, 299) else 0
            moment = bar.start + timedelta(seconds=second)
            bars.add(Tick(FUTURE, moment, legs[quarter], volume, exchange_at=moment, oi=7))
    closed = bars.close(at("09:30:02"))
    assert [bar for bar in closed if bar.interval == 5] == source
    (joined,) = [bar for bar in closed if bar.interval == 15]
    assert [joined] == aggregate(source, 15, calendar)


def test_joining_finishes_a_bar_with_its_last_part_or_when_the_next_begins(calendar: Calendar) -> None:
    ones = [
        Bar(FUTURE, at("09:15:00") + timedelta(minutes=m), at("09:16:00") + timedelta(minutes=m), 1, m, m, m, m, 1) for m in (0, 1, 2, 4, 5)
    ]
    joiner = BarJoiner(calendar, 3)
    done = [joiner.add(bar) for bar in ones]
    assert [len(bars) for bars in done] == [0, 0, 1, 0, 1]
    assert (done[2][0].open, done[2][0].close, done[2][0].volume, done[2][0].at) == (0, 2, 3, at("09:18:00"))
    assert (done[4][0].start, done[4][0].volume) == (at("09:18:00"), 2)
    assert joiner.flush() == []


def test_an_unfinished_joined_bar_closes_by_time(calendar: Calendar) -> None:
    joiner = BarJoiner(calendar, 3)
    assert joiner.add(Bar(FUTURE, at("09:15:00"), at("09:16:00"), 1, 5, 6, 4, 5, 9)) == []
    assert joiner.close(at("09:17:59")) == []
    (bar,) = joiner.close(at("09:18:00"))
    assert (bar.start, bar.at, bar.volume) == (at("09:15:00"), at("09:18:00"), 9)


def test_an_interval_below_a_minute_is_refused(calendar: Calendar) -> None:
    with pytest.raises(ValueError, match="from 1 up, got 0"):
        BarBuilder(calendar).watch(FUTURE, 0, at("09:00:00"))
