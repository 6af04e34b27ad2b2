"""Defects that real market data files have had: each is recognised, and what is not right is never silently traded."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from core.errors import DataError
from core.types import IST
from data_ingestion.candle_import import Brought, bring_in
from data_ingestion.candle_store import CandleStore
from data_ingestion.prepare import Manifest, prepare
from tests.market_data import DATA
from tests.unit.candle_source import CALENDAR

OPENS = datetime(2026, 11, 20, 9, 15, tzinfo=IST)
HEAD = "timestamp,symbol,price,volume,bid,ask"
real = pytest.mark.skipif(not DATA.is_dir(), reason="the real recordings are not on this machine")


def line(at: datetime, price: float = 25000.0, volume: int = 65, bid: float = 24999.0, ask: float = 25001.0) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S%z},NIFTY26NOVFUT,{price},{volume},{bid},{ask}"


def day(**changes: float) -> list[str]:
    return [line(OPENS + timedelta(seconds=30 * n), 25000.0 + n / 10, **changes) for n in range(770)]  # type: ignore[arg-type]


def played(folder: Path, lines: list[str], *, repair: bool = False) -> Manifest:
    file = folder / "ticks.csv"
    file.write_text("\n".join([HEAD, *lines]) + "\n", encoding="utf-8")
    return prepare(file, folder / "out", CALENDAR, repair=repair)


def test_a_packet_of_1970_is_left_out_and_told(tmp_path: Path) -> None:
    made = played(tmp_path, [line(datetime(1970, 1, 1, 5, 30, tzinfo=IST)), *day()])
    assert made.available == (OPENS.date(),)
    assert any(note.startswith("1 rows outside continuous trading") for note in made.notes)


def test_fridays_ticks_under_saturdays_date_are_left_out_and_told(tmp_path: Path) -> None:
    stale = [text.replace("2026-11-20", "2026-11-21") for text in day()]
    made = played(tmp_path, [*day(), *stale])
    assert made.available == (OPENS.date(),)
    assert "2026-11-21 is no trading day: 770 rows left out" in made.notes


def test_a_reversed_file_is_refused_and_put_in_order_on_demand(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 2 .*out of order"):
        played(tmp_path, day()[::-1])
    assert any("put 769 rows in order" in note for note in played(tmp_path, day()[::-1], repair=True).notes)


def test_opening_placeholders_are_no_trades(tmp_path: Path) -> None:
    made = played(tmp_path, [line(OPENS, volume=1), *day()[1:]])
    assert any("1 opening rows of derivatives with quantity 1 left out" in note for note in made.notes)


def test_bids_and_asks_in_each_others_columns_are_not_used(tmp_path: Path) -> None:
    made = played(tmp_path, day(bid=25001.0, ask=24999.0))
    assert any(note.startswith("770 of 770 rows have a bid above the ask") for note in made.notes)


def brought(folder: Path, file: str) -> tuple[list[Brought], list[str]]:
    notes: list[str] = []
    return bring_in(DATA / file, CandleStore(folder), "import", CALENDAR, note=notes.append), notes


@real
def test_the_foreign_days_of_bank_nifty_in_2015_are_found_and_no_other(tmp_path: Path) -> None:
    (one,), notes = brought(tmp_path, "index_1m/banknifty_1m_2015.parquet")
    assert [note[:30] for note in notes if "foreign" in note] == ["NSE:NIFTY BANK: 2015-03-30 is ", "NSE:NIFTY BANK: 2015-06-24 is "]
    assert min(bar.low for bar in one.series.bars()) > 15_000
    assert len(one.report.outliers) <= 1


@real
@pytest.mark.parametrize(("year", "month", "days"), [(2016, 10, 21), (2018, 5, 23)])
def test_the_months_that_are_missing_of_nifty_are_gaps(tmp_path: Path, year: int, month: int, days: int) -> None:
    (one,), _ = brought(tmp_path, f"index_1m/nifty50_1m_{year}.parquet")
    assert {(day.year, day.month) for day in one.report.missing_days} == {(year, month)}
    assert len(one.report.missing_days) == days


@real
def test_the_outage_of_july_2017_is_a_gap_and_the_rest_of_the_year_is_whole(tmp_path: Path) -> None:
    (one,), notes = brought(tmp_path, "index_1m/nifty50_1m_2017.parquet")
    assert [(gap.day.isoformat(), gap.found) for gap in one.report.gaps] == [("2017-04-20", 374), ("2017-07-10", 208)]
    assert any("rows outside continuous trading (09:15-15:30) left out" in note for note in notes)


@real
def test_a_bonus_in_unadjusted_prices_is_told(tmp_path: Path) -> None:
    found, _ = brought(tmp_path, "equities_1m/nse1minR_1m_2014-12-18_2015-10-05.parquet")
    steps = {one.series.instrument.symbol: [note for note in one.report.notes if "a split or bonus" in note] for one in found}
    assert [symbol for symbol, notes in steps.items() if notes] == ["FEDERALBNK"]
    assert steps["FEDERALBNK"][0].startswith("2015-07-03: opens at 77.8 after a close of 154.15")


@real
@pytest.mark.parametrize("file", ["index_5m/nifty50_5m_2025-01-20_2025-10-31.parquet", "futures_5m", "equities_5m", "options_1m"])
def test_what_is_whole_is_found_whole(tmp_path: Path, file: str) -> None:
    found, _ = brought(tmp_path, file)
    assert found
    assert all(one.report.whole for one in found)
    assert all(one.report.outside == one.report.outliers == one.report.foreign_days == () for one in found)
