"""Bars that the feed missed come from the broker's history, in order and marked, and nothing late is traded as if it were live."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
import pytest

from core.errors import Rejected
from core.events import FeedStatus, History
from core.types import IST, Bar, Instrument, Kind, Purpose, Side, Tick
from data_ingestion.backfill import GapFiller, candles_between
from data_ingestion.bars import BarBuilder
from tests.harness import FUTURE as TRADED
from tests.harness import Harness
from utils.config_loader import load_calendar

CALENDAR = load_calendar(assumed_cut_offs=True)
FUTURE = Instrument("NFO:NIFTY26NOVFUT", "NFO", "NIFTY26NOVFUT", Kind.FUTURE, "NIFTY", 65, 0.1, date(2026, 11, 23))
SHARE = Instrument("NSE:SBIN", "NSE", "SBIN", Kind.EQUITY, "SBIN", is_fno=True)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-20 {text}").replace(tzinfo=IST)


def candle(text: str, close: float = 25100.0, minutes: int = 1, instrument: Instrument = FUTURE) -> Bar:
    start = at(text)
    return Bar(instrument, start, start + timedelta(minutes=minutes), minutes, close - 5, close + 5, close - 9, close, 650)


class Desk:
    """A filler over a real builder, fed by hand; what it asks is kept, answers are given by the test."""

    def __init__(self, interval: int = 1, since: str = "09:00:00") -> None:
        self.asked: list[tuple[str, int, str, str]] = []
        self.notes: list[tuple[str, Mapping[str, Any]]] = []
        self.alerts: list[str] = []
        self.heard: list[Bar] = []
        self.interval = interval
        self.filler = GapFiller(
            BarBuilder(CALENDAR),
            CALENDAR,
            lambda one, minutes, start, end: self.asked.append((one.symbol, minutes, f"{start:%H:%M}", f"{end:%H:%M}")),
            lambda kind, facts: self.notes.append((kind, facts)),
            lambda level, title, text: self.alerts.append(text),
        )
        self.filler.watch(FUTURE, interval, at(since))
        self.filler.feed(FeedStatus(at(since), True))

    def tick(self, text: str, price: float = 25000.0, volume: int = 0, instrument: Instrument = FUTURE) -> None:
        self.filler.add(Tick(instrument, at(text), price, volume, exchange_at=at(text)))

    def status(self, text: str, connected: bool) -> None:
        self.filler.feed(FeedStatus(at(text), connected))

    def answer(self, text: str, *bars: Bar, error: str = "", instrument: Instrument = FUTURE) -> None:
        self.filler.answered(History(at(text), instrument, self.interval, at(text), at(text), bars, error))

    def run(self, text: str) -> list[tuple[str, float, bool]]:
        """Fire what is due up to this time; what is new, as (start, close, gap)."""
        new: list[Bar] = []
        while (due := self.filler.due) is not None and due <= at(text):
            new += self.filler.close(max(due, at("09:00:00")))
        self.heard += new
        return [(f"{bar.start:%H:%M}", bar.close, bar.gap) for bar in new]


def broken(desk: Desk) -> None:
    """09:15 whole, the feed lost in 09:16 and back in 09:19."""
    desk.tick("09:15:01")
    desk.tick("09:16:10", 25001.0)
    assert desk.run("09:16:15") == [("09:15", 25000.0, False)]
    desk.status("09:16:20", False)


def test_minutes_missed_in_an_outage_come_from_history_in_order_and_marked() -> None:
    desk = Desk()
    broken(desk)
    assert desk.run("09:17:02") == []  # the broken bar is held back, and asked for
    assert desk.asked == [("NIFTY26NOVFUT", 1, "09:16", "09:17")]
    desk.answer("09:17:03", candle("09:16", 25011.0))
    assert desk.run("09:17:03") == [("09:16", 25011.0, True)]
    desk.status("09:19:30", True)
    assert desk.asked[1:] == [("NIFTY26NOVFUT", 1, "09:17", "09:19")]  # at once: not when the next bar closes
    desk.tick("09:19:31", 25040.0)
    desk.answer("09:19:33", candle("09:17", 25020.0), candle("09:18", 25030.0))
    assert desk.run("09:19:33") == [("09:17", 25020.0, True), ("09:18", 25030.0, True)]
    desk.tick("09:20:01", 25050.0)
    assert desk.run("09:20:02") == []  # 09:19 began before the connection was back
    desk.answer("09:20:04", candle("09:19", 25041.0))
    desk.tick("09:21:00", 25060.0)
    assert desk.run("09:21:02") == [("09:19", 25041.0, True), ("09:20", 25050.0, False)]
    assert [kind for kind, _ in desk.notes] == ["gap_filled"] * 3
    assert [bar.start for bar in desk.heard] == sorted(bar.start for bar in desk.heard)
    assert desk.alerts == []


def test_what_is_not_there_yet_is_asked_for_again_and_live_bars_wait_their_turn() -> None:
    desk = Desk()
    broken(desk)
    desk.status("09:16:50", True)
    desk.tick("09:16:55", 25002.0)
    assert desk.run("09:17:02") == []
    desk.answer("09:17:03")  # the broker's newest candle is late
    assert desk.run("09:17:06") == []
    assert desk.run("09:17:07") == []
    assert desk.asked == [("NIFTY26NOVFUT", 1, "09:16", "09:17")] * 2
    desk.answer("09:17:08", candle("09:16", 25012.0))
    assert desk.run("09:17:08") == [("09:16", 25012.0, True)]


def test_after_thirty_seconds_strategies_get_what_there_is_and_a_person_is_told() -> None:
    desk = Desk()
    broken(desk)
    assert desk.run("09:17:02") == []
    desk.answer("09:17:03", error="no answer from Zerodha")
    assert desk.run("09:17:31") == []
    assert desk.run("09:17:32") == [("09:16", 25001.0, True)]
    assert len(desk.asked) == 6
    assert desk.notes[-1][0] == "gap_open"
    assert desk.notes[-1][1]["why"] == "no answer from Zerodha"
    assert "NIFTY26NOVFUT 1m from 09:16" in desk.alerts[0]
    desk.answer("09:17:40", candle("09:16", 25012.0))  # too late: nothing is heard twice
    assert desk.run("09:17:59") == []


def test_a_whole_bar_that_had_to_wait_is_not_replaced_and_says_that_it_is_late() -> None:
    desk = Desk()
    broken(desk)
    desk.status("09:16:40", True)
    desk.tick("09:16:45", 25001.0)
    desk.run("09:17:02")
    desk.tick("09:17:10", 25020.0)
    desk.tick("09:18:00", 25021.0)
    assert desk.run("09:18:02")[0] == ("09:16", 25001.0, True)  # given up at 09:17:32
    desk.status("09:18:10", False)
    desk.status("09:18:20", True)
    desk.tick("09:18:30", 25030.0)
    desk.run("09:19:02")
    desk.tick("09:19:03", 25040.0)
    desk.tick("09:20:00", 25041.0)
    assert desk.run("09:19:31") == []
    desk.answer("09:19:31", candle("09:18", 25031.0))
    assert desk.run("09:20:03") == [("09:18", 25031.0, True), ("09:19", 25040.0, False)]


def test_an_instrument_that_did_not_trade_is_no_reason_to_call_anybody() -> None:
    desk = Desk()
    desk.tick("09:15:01")
    desk.run("09:16:02")
    desk.status("09:20:10", False)
    desk.status("09:20:20", True)
    assert desk.asked == [("NIFTY26NOVFUT", 1, "09:16", "09:20")]
    desk.answer("09:20:21")
    assert desk.run("09:21:00") == []
    assert desk.alerts == []
    assert desk.filler.due is None


def test_the_first_connection_of_the_day_and_one_after_the_close_miss_nothing() -> None:
    desk = Desk()
    desk.status("09:10:00", False)
    desk.status("09:10:05", True)
    assert desk.asked == []
    late = Desk(since="15:40:00")
    late.status("15:41:00", False)
    late.status("15:42:00", True)
    assert late.asked == []


def test_a_start_within_the_day_replaces_its_first_broken_bar() -> None:
    desk = Desk(interval=5, since="10:02:30")
    desk.tick("10:02:40")
    desk.tick("10:05:01")
    assert desk.run("10:05:02") == []
    assert desk.asked == [("NIFTY26NOVFUT", 5, "10:00", "10:05")]


def test_two_instruments_are_filled_apart_and_heard_in_order_of_their_close() -> None:
    desk = Desk()
    desk.filler.watch(SHARE, 1, at("09:00:00"))
    for one in (FUTURE, SHARE):
        desk.tick("09:15:01", instrument=one)
        desk.tick("09:16:01", instrument=one)
    desk.run("09:16:02")
    desk.status("09:16:20", False)
    desk.status("09:16:30", True)
    desk.run("09:17:02")
    desk.answer("09:17:03", candle("09:16", 800.0, instrument=SHARE), instrument=SHARE)
    desk.answer("09:17:03", candle("09:16", 25011.0))
    assert [(bar.instrument.symbol, bar.close) for bar in desk.filler.close(at("09:17:03"))] == [
        ("NIFTY26NOVFUT", 25011.0),
        ("SBIN", 800.0),
    ]


# --- the broker's candles ---------------------------------------------------------------------------------------------------------------


class Broker:
    """History of one-minute candles; the running one is among them."""

    def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
        if interval != 1:
            raise Rejected("only minutes")
        first = at("09:15:00")
        bars = [candle(f"{first + timedelta(minutes=n):%H:%M}", 25000.0 + n) for n in range(30)]
        return [bar for bar in bars if start <= bar.start <= end]


@pytest.mark.parametrize("interval", [1, 5])
def test_candles_are_those_within_and_made_from_minutes_where_need_be(interval: int) -> None:
    bars = candles_between(Broker(), CALENDAR, FUTURE, interval, at("09:20"), at("09:30"))
    assert [bar.interval for bar in bars] == [interval] * (10 // interval)
    assert (bars[0].start, bars[-1].at) == (at("09:20"), at("09:30"))
    assert bars[-1].close == 25014.0


# --- what a strategy may do on a late bar -----------------------------------------------------------------------------------------------


def late_bar(desk: Harness, gap: bool = True, age_s: float = 60.0) -> Bar:
    end = desk.clock.now() - timedelta(seconds=age_s)
    return Bar(TRADED, end - timedelta(minutes=5), end, 5, 25000.0, 25010.0, 24990.0, 25000.0, 650, gap=gap)


def say(desk: Harness, bar: Bar, **signal: Any) -> None:
    desk.strategy.wants.append(signal)
    desk.engine.hearing.on_bar(bar)


def holding(lots: int) -> Harness:
    desk = Harness()
    say(desk, late_bar(desk, gap=False), target=lots)
    [order] = desk.desk.live()
    desk.ack(order)
    desk.fill()
    assert desk.held == lots * 65
    return desk


def test_an_entry_on_a_late_bar_waits_for_a_live_one() -> None:
    desk = Harness()
    say(desk, late_bar(desk), target=1)
    assert desk.desk.live() == ()
    [told] = desk.journal("late_signal")
    assert (told["target"], told["taken_as"]) == (1, 0)
    say(desk, late_bar(desk, age_s=2.0), target=1)  # a filled bar that is not late is as good as live
    [order] = desk.desk.live()
    assert order.purpose is Purpose.ENTRY


@pytest.mark.parametrize(("target", "sold"), [(0, 130), (-1, 130), (1, 65), (2, 0), (3, 0)])
def test_a_late_bar_only_reduces_what_is_held(target: float, sold: int) -> None:
    desk = holding(2)
    say(desk, late_bar(desk), target=target)
    orders = desk.desk.live()
    assert [(order.side, order.quantity) for order in orders] == ([(Side.SELL, sold)] if sold else [])


def test_history_is_recorded_and_reads_back(tmp_path: Any) -> None:
    from data_ingestion.recorder import Recorder, read

    event = History(at("09:17:03"), FUTURE, 1, at("09:16"), at("09:17"), (msgspec.structs.replace(candle("09:16"), gap=True),))
    recorder = Recorder(tmp_path, date(2026, 11, 20), "practice", {})
    recorder.append(event)
    recorder.close()
    assert list(read(recorder.path)) == [event]
