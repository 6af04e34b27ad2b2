"""Fetching candles: chunks, what is missing only, patience with failures, the forming candle, and a source that changes its past."""

from datetime import date, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from core.errors import DataError, RateLimited, Rejected, SessionExpired, Transient
from core.types import IST, Bar, Kind
from data_ingestion.candle_fetch import ATTEMPTS, CandleFetch, Chunk, settled_until
from data_ingestion.candle_store import CandleStore, Series, Span
from tests.unit.candle_source import CALENDAR, FUTURE, STOCK, Source, at

EVENING = "2026-11-20 20:00"


def series_of(tmp_path: Path, interval: int = 5, *, continuous: bool = False) -> Series:
    return CandleStore(tmp_path).series("house", FUTURE, interval, continuous=continuous)


def due(source: Source, first: str, last: str, interval: int = 5) -> list[datetime]:
    return [bar.start for bar in source._due(FUTURE, date.fromisoformat(first), date.fromisoformat(last), interval)]


def test_a_long_range_comes_in_chunks_of_the_cap_and_each_is_kept_at_once(tmp_path: Path) -> None:
    source, series = Source(EVENING, cap=20), series_of(tmp_path)
    heard: list[tuple[Chunk, int]] = []
    fetch = CandleFetch(source, series, on_chunk=lambda chunk: heard.append((chunk, series.table().num_rows)))
    done = fetch.bring(at("2026-09-01 00:00"), at("2026-10-31 00:00"))
    assert [chunk.number for chunk, _ in heard] == [1, 2, 3]
    assert [rows for _, rows in heard] == [sum(chunk.candles for chunk, _ in heard[: n + 1]) for n in range(3)]
    assert [bar.start for bar in series.bars()] == due(source, "2026-09-01", "2026-10-30")
    assert (done.requests, done.candles) == (3, series.table().num_rows)
    assert [end - start for start, end in source.asked[:2]] == [timedelta(days=20, seconds=-1)] * 2
    assert source.asked[1][0] - source.asked[0][1] == timedelta(seconds=1)


def test_a_fetch_that_died_goes_on_where_it_was_and_a_full_one_asks_nothing(tmp_path: Path) -> None:
    source, series = Source(EVENING, cap=20), series_of(tmp_path)
    start, end = at("2026-09-01 00:00"), at("2026-10-31 00:00")
    source.failures = []

    def die(chunk: Chunk) -> None:
        if chunk.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CandleFetch(source, series, on_chunk=die).bring(start, end)
    source.asked.clear()
    CandleFetch(source, series).bring(start, end)
    assert len(source.asked) == 2, "the last 21 days and, beside them, the stored day before"
    assert source.asked[0][0] == at("2026-10-09 00:00")
    assert [bar.start for bar in series.bars()] == due(source, "2026-09-01", "2026-10-30")
    source.asked.clear()
    done = CandleFetch(source, series).bring(at("2026-09-10 00:00"), at("2026-10-20 00:00"))
    assert (source.asked, done.requests) == ([], 0)


def test_failures_in_transit_are_waited_out_through_the_clock(tmp_path: Path) -> None:
    source, series = Source(EVENING), series_of(tmp_path)
    source.failures = [Transient("502"), RateLimited("429"), Transient("reset")]
    began = source.clock.monotonic()
    done = CandleFetch(source, series).bring(at("2026-11-16 00:00"), at("2026-11-21 00:00"))
    assert source.clock.monotonic() - began == 1 + 2 + 4
    assert done.requests == 4
    assert series.table().num_rows == len(due(source, "2026-11-16", "2026-11-20"))
    assert [note.rpartition(": ")[2] for note in done.notes] == ["502", "429", "reset"]


def test_a_source_that_stays_down_is_given_up_and_what_came_stays(tmp_path: Path) -> None:
    source, series = Source(EVENING, cap=20), series_of(tmp_path)

    def fail_from_now(chunk: Chunk) -> None:
        source.failures = [Transient("502", code="X")] * ATTEMPTS

    with pytest.raises(Transient, match=r"502; 1 of 3 chunks of NFO:NIFTY26NOVFUT are in the store: run it again") as caught:
        CandleFetch(source, series, on_chunk=fail_from_now).bring(at("2026-09-01 00:00"), at("2026-10-31 00:00"))
    assert caught.value.code == "X"
    assert len(source.asked) == 1 + ATTEMPTS
    assert [bar.start for bar in series.bars()] == due(source, "2026-09-01", "2026-09-20")


@pytest.mark.parametrize("error", [Rejected("invalid token"), SessionExpired("log in")])
def test_a_refusal_is_not_repeated(tmp_path: Path, error: Rejected | SessionExpired) -> None:
    source = Source(EVENING)
    source.failures = [error]
    with pytest.raises(type(error)):
        CandleFetch(source, series_of(tmp_path)).bring(at("2026-11-16 00:00"), at("2026-11-21 00:00"))
    assert len(source.asked) == 1


@pytest.mark.parametrize(
    ("interval", "now", "until"),
    [
        (5, "2026-11-20 10:07:30", "2026-11-20 10:05"),  # 10:05 is forming
        (5, "2026-11-20 10:10:30", "2026-11-20 10:05"),  # it closed half a minute ago
        (5, "2026-11-20 10:11:00", "2026-11-20 10:10"),
        (60, "2026-11-20 15:30:00", "2026-11-20 15:15"),
        (60, "2026-11-20 15:41:01", "2026-11-20 15:40:01"),  # the session's end cut it
        (1440, "2026-11-20 20:00", "2026-11-20 00:00"),
        (1440, "2026-11-21 00:01", "2026-11-21 00:00"),
    ],
)
def test_what_is_settled(interval: int, now: str, until: str) -> None:
    assert settled_until(CALENDAR, FUTURE, interval, at(now)) == at(until)


def test_the_forming_candle_is_never_stored_and_the_closed_tail_is_only_handed_out(tmp_path: Path) -> None:
    source, series = Source("2026-11-20 10:10:30"), series_of(tmp_path)
    done = CandleFetch(source, series).bring(at("2026-11-20 00:00"), at("2026-11-21 00:00"), tail=True)
    assert [f"{bar.start:%H:%M}" for bar in series.bars()][-1] == "10:00"
    assert [f"{bar.start:%H:%M}" for bar in done.tail] == ["10:05"]
    source.clock.advance(60)
    CandleFetch(source, series).bring(at("2026-11-20 00:00"), at("2026-11-21 00:00"))
    assert [bar.start for bar in series.bars()] == [bar for bar in due(source, "2026-11-20", "2026-11-20") if bar < at("2026-11-20 10:10")]


def split(source: Source) -> None:
    source.factor, source.ex = 0.5, date(2026, 11, 18)


def test_a_split_is_noticed_in_the_overlap_and_the_old_prices_go(tmp_path: Path) -> None:
    source, series = Source(EVENING), series_of(tmp_path)
    source.simulated = False
    CandleFetch(source, series).bring(at("2026-11-02 00:00"), at("2026-11-18 00:00"))
    split(source)
    told: list[str] = []
    CandleFetch(source, series, on_note=told.append).bring(at("2026-11-02 00:00"), at("2026-11-21 00:00"))
    assert len(told) == 1
    assert "factor 0.5 (a split or a bonus)" in told[0]
    assert [bar.open for bar in series.bars()] == [bar.open for bar in source._due(FUTURE, date(2026, 11, 2), date(2026, 11, 20), 5)]


def test_a_split_is_noticed_the_next_day_though_nothing_is_missing(tmp_path: Path) -> None:
    source, series = Source(EVENING), series_of(tmp_path)
    start, end = at("2026-11-02 00:00"), at("2026-11-14 00:00")
    CandleFetch(source, series).bring(start, end)
    split(source)
    CandleFetch(source, series).bring(start, end)
    assert next(series.bars()).open > 900, "on the same day it is not asked for again"
    source.clock.advance(86400)
    done = CandleFetch(source, series).bring(start, end)
    assert next(series.bars()).open < 600
    assert "no longer those in the store" in done.notes[0]
    assert series.verified == date(2026, 11, 21)


def test_a_correction_forgets_the_range_around_it_alone(tmp_path: Path) -> None:
    source, series = Source(EVENING), series_of(tmp_path)
    CandleFetch(source, series).bring(at("2026-10-05 00:00"), at("2026-10-08 00:00"))
    CandleFetch(source, series).bring(at("2026-11-09 00:00"), at("2026-11-12 00:00"))
    stored = list(series.bars(Span(at("2026-11-11 00:00"), at("2026-11-12 00:00"))))
    series.add([msgspec.structs.replace(stored[3], low=stored[3].low - 7)])
    source.asked.clear()
    done = CandleFetch(source, series).bring(at("2026-11-09 00:00"), at("2026-11-13 00:00"))
    assert "1 of 77 that were compared (corrections?)" in done.notes[0]
    assert [bar.low for bar in series.bars(Span(at("2026-11-09 00:00"), at("2026-11-13 00:00")))] == [
        bar.low for bar in source._due(FUTURE, date(2026, 11, 9), date(2026, 11, 12), 5)
    ]
    assert series.covered()[0] == Span(at("2026-10-05 00:00"), at("2026-10-08 00:00"))


def test_a_source_that_contradicts_itself_is_not_believed(tmp_path: Path) -> None:
    class Wavering(Source):
        def _bar(self, instrument, start, interval):  # type: ignore[no-untyped-def]
            return msgspec.structs.replace(super()._bar(instrument, start, interval), high=2000.0 + len(self.asked))

    source, series = Wavering(EVENING, cap=10), series_of(tmp_path)
    CandleFetch(source, series).bring(at("2026-11-09 00:00"), at("2026-11-12 00:00"))

    def spoil(chunk: Chunk) -> None:
        series.add([Bar(FUTURE, at("2026-11-19 09:15"), at("2026-11-19 09:20"), 5, 1.0, 1.0, 1.0, 1.0)])

    with pytest.raises(DataError, match="other prices each time"):
        CandleFetch(source, series, on_chunk=spoil).bring(at("2026-11-09 00:00"), at("2026-11-21 00:00"))


def test_a_gap_is_asked_for_again_though_it_is_covered(tmp_path: Path) -> None:
    source, series = Source(EVENING), series_of(tmp_path)
    hole = at("2026-11-19 11:00")
    source.holes = {hole}
    fetch = CandleFetch(source, series)
    fetch.bring(at("2026-11-18 00:00"), at("2026-11-21 00:00"))
    assert series.missing(Span(hole, hole + timedelta(minutes=5))) == []
    source.healed = True
    done = fetch.again([Span(hole, hole + timedelta(minutes=5))])
    assert done.candles == len(due(source, "2026-11-18", "2026-11-20"))
    assert hole in [bar.start for bar in series.bars()]


def test_gaps_that_fit_into_one_request_are_asked_for_by_one(tmp_path: Path) -> None:
    source, series = Source(EVENING, cap=20), series_of(tmp_path)
    days = ("2026-09-03", "2026-09-10", "2026-10-12", "2026-10-13")
    source.holes = {start for day in days for start in due(source, day, day)}
    CandleFetch(source, series).bring(at("2026-09-01 00:00"), at("2026-10-31 00:00"))
    source.healed = True
    source.asked.clear()
    CandleFetch(source, series).again([Span(at(f"{day} 09:15"), at(f"{day} 16:00")) for day in days])
    assert [(start.date().isoformat(), end.date().isoformat()) for start, end in source.asked] == [(days[0], days[1]), (days[2], days[3])]
    assert [bar.start for bar in series.bars()] == due(source, "2026-09-01", "2026-10-30")


def test_impossible_candles_are_told(tmp_path: Path) -> None:
    source, series = Source(EVENING), series_of(tmp_path)
    source.extra = [Bar(FUTURE, at("2026-11-20 16:00"), at("2026-11-20 16:05"), 5, 0.0, 0.0, 0.0, 0.0)]
    done = CandleFetch(source, series).bring(at("2026-11-20 00:00"), at("2026-11-21 00:00"))
    assert "1 with no price" in done.notes[-1]


def test_continuous_candles_are_of_futures_and_days(tmp_path: Path) -> None:
    source = Source(EVENING, cap=2000)
    series = series_of(tmp_path, 1440, continuous=True)
    CandleFetch(source, series, continuous=True).bring(at("2026-09-01 00:00"), at("2026-11-21 00:00"))
    assert [bar.start.date() for bar in series.bars()][-1] == date(2026, 11, 19), "today's is not over before midnight"
    assert {bar.oi for bar in series.bars()} == {9}
    with pytest.raises(DataError, match="continuous candles exist for futures and the interval day"):
        CandleFetch(source, series_of(tmp_path, 5), continuous=True)
    stock = CandleStore(tmp_path).series("house", STOCK, 1440)
    with pytest.raises(DataError, match="not for NSE:RELIANCE"):
        CandleFetch(source, stock, continuous=True)
    assert STOCK.kind is Kind.EQUITY
    assert series.folder.name == "day-continuous"
    assert all(bar.start.tzinfo is IST for bar in series.bars())
