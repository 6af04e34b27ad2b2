"""Files into the candle store: names, intervals, day candles, and the defects that real files have had."""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from core.errors import DataError
from core.types import Bar, Instrument, Kind
from data_ingestion.candle_import import Brought, bring_in
from data_ingestion.candle_store import CandleStore
from tests.unit.candle_source import CALENDAR, FUTURE, STOCK, Source, at

INDEX = Instrument("NSE:NIFTY BANK", "NSE", "NIFTY BANK", Kind.INDEX, "BANKNIFTY")


def bars(instrument: Instrument, first: str, last: str, interval: int = 5) -> list[Bar]:
    return Source("2026-12-30 20:00", cap=4000).candles(instrument, at(first + " 00:00"), at(last + " 23:59"), interval)


def written(path: Path, rows: Iterable[Bar], symbol: str | None = None) -> Path:
    lines = ["timestamp,open,high,low,close,volume,oi,symbol"]
    for bar in rows:
        volume = 0 if bar.instrument.kind is Kind.INDEX else bar.volume
        prices = ",".join(f"{price:.2f}" for price in (bar.open, bar.high, bar.low, bar.close))
        lines.append(f"{bar.start:%Y-%m-%d %H:%M:%S%z},{prices},{volume},{bar.oi},{symbol or bar.instrument.symbol}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


class Import:
    def __init__(self, folder: Path) -> None:
        self.store = CandleStore(folder / "candles")
        self.notes: list[str] = []

    def __call__(self, path: Path, *, symbols: Path | None = None, repair: bool = False) -> list[Brought]:
        return bring_in(path, self.store, "import", CALENDAR, symbols=symbols, repair=repair, note=self.notes.append)


@pytest.fixture
def bring(tmp_path: Path) -> Import:
    return Import(tmp_path)


def test_a_file_of_two_instruments_becomes_two_series(tmp_path: Path, bring: Import) -> None:
    file = written(tmp_path / "both.csv", [*bars(STOCK, "2026-10-29", "2026-11-03"), *bars(FUTURE, "2026-11-02", "2026-11-03")])
    future, stock = bring(file)
    assert (future.series.instrument.key, stock.series.instrument.key) == ("NFO:NIFTY26NOVFUT", "NSE:RELIANCE")
    assert future.series.folder == tmp_path / "candles" / "import" / "NFO" / "NIFTY26NOVFUT" / "5m"
    assert [bar.close for bar in future.series.bars()] == [bar.close for bar in bars(FUTURE, "2026-11-02", "2026-11-03")]
    assert future.report.whole
    assert stock.series.months() == ["2026-10", "2026-11"]
    assert bring(file)[0].added == 0, "twice is once"
    assert future.series.missing(future.span) == []


def test_vendors_names_are_mapped(tmp_path: Path, bring: Import) -> None:
    file = written(tmp_path / "vendor.csv", bars(STOCK, "2026-11-02", "2026-11-03"), symbol="RIL-EQ.X")
    with pytest.raises(DataError, match=r"no symbol of the data is known"):
        bring(file)
    symbols = tmp_path / "names.yaml"
    symbols.write_text("RIL-EQ.X: NSE:RELIANCE\n", encoding="utf-8")
    (one,) = bring(file, symbols=symbols)
    assert one.series.instrument.key == "NSE:RELIANCE"


def test_day_candles_are_kept_as_such(tmp_path: Path, bring: Import) -> None:
    (one,) = bring(written(tmp_path / "days.csv", bars(FUTURE, "2026-10-01", "2026-10-30", 1440)))
    assert one.series.folder.name == "day"
    assert one.report.whole
    assert {bar.start.hour for bar in one.series.bars()} == {0}
    sunday = [msgspec.structs.replace(bar, start=at("2026-10-04 00:00")) for bar in bars(FUTURE, "2026-10-05", "2026-10-05", 1440)]
    bring(written(tmp_path / "sunday.csv", [*sunday, *bars(FUTURE, "2026-10-05", "2026-10-06", 1440)]))
    assert "2026-10-04 is no trading day: 1 rows left out" in bring.notes


def test_an_odd_interval_and_ticks_are_refused(tmp_path: Path, bring: Import) -> None:
    with pytest.raises(DataError, match="bars of 2 minutes; kept are 1, 3, 5"):
        bring(written(tmp_path / "two.csv", bars(STOCK, "2026-11-02", "2026-11-02", 2)))
    ticks = tmp_path / "ticks.csv"
    ticks.write_text("timestamp,symbol,price\n2026-11-02 09:15:00+05:30,RELIANCE,1\n", encoding="utf-8")
    with pytest.raises(DataError, match="holds ticks, and the candle store keeps bars"):
        bring(ticks)


def test_end_labelled_bars_are_refused_or_put_right(tmp_path: Path, bring: Import) -> None:
    good = bars(STOCK, "2026-11-02", "2026-11-05")
    file = written(tmp_path / "ends.csv", [msgspec.structs.replace(bar, start=bar.start + timedelta(minutes=5)) for bar in good])
    with pytest.raises(DataError, match="its bars carry the time of their END; subtract one interval, or give --repair"):
        bring(file)
    (one,) = bring(file, repair=True)
    assert [bar.start for bar in one.series.bars()] == [bar.start for bar in good]
    assert any("5 min were subtracted" in note for note in bring.notes)


def test_foreign_days_are_left_out_and_told(tmp_path: Path, bring: Import) -> None:
    rows = [
        msgspec.structs.replace(bar, **{name: getattr(bar, name) * 0.08 for name in ("open", "high", "low", "close")})
        if bar.start.day == 12
        else bar
        for bar in bars(INDEX, "2026-11-02", "2026-11-20")
    ]
    (one,) = bring(written(tmp_path / "index.csv", rows))
    assert {bar.start.day for bar in one.series.bars()} == {bar.start.day for bar in rows} - {12}
    assert any("2026-11-12 is at 8" in note and "foreign prices, left out" in note for note in bring.notes)
    assert [gap.day.day for gap in one.report.gaps] == [12]


def test_reversed_doubled_and_impossible_rows_are_refused_with_their_row(tmp_path: Path, bring: Import) -> None:
    good = bars(STOCK, "2026-11-02", "2026-11-03")
    for rows, reason in (
        ([*reversed(good)], "row 2 .*out of order"),
        ([good[0], *good], "row 2 .*a duplicate"),
        ([*good[:3], msgspec.structs.replace(good[3], high=1.0, low=2.0), *good[4:]], "row 4 .*high below low"),
    ):
        file = written(tmp_path / "bad.csv", rows)
        with pytest.raises(DataError, match=reason):
            bring(file)
        (one,) = bring(file, repair=True)
        assert one.series.table().num_rows >= len(good) - 1


def test_a_second_file_that_says_otherwise_replaces_and_is_told(tmp_path: Path, bring: Import) -> None:
    good = bars(STOCK, "2026-11-02", "2026-11-03")
    bring(written(tmp_path / "one.csv", good))
    moved = [msgspec.structs.replace(bar, high=round(bar.high + 1, 2)) for bar in good[:4]]
    (one,) = bring(written(tmp_path / "two.csv", moved))
    assert "NSE:RELIANCE: 4 candles were in the store with other prices and are replaced" in bring.notes
    assert [bar.high for bar in one.series.bars()][:5] == [*(bar.high for bar in moved), round(good[4].high, 2)]
