"""Market data files: what is read, what is refused and why, what repair does, and what the normalised folder holds."""

import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import DataError
from core.market import Calendar
from core.types import IST, Kind, Tick
from data_ingestion.bars import BarBuilder
from data_ingestion.prepare import Manifest, prepare
from tests.market_data import DATA
from utils.config_loader import load_calendar

DAY = date(2026, 11, 20)
Row = dict[str, Any]


@pytest.fixture(scope="module")
def calendar() -> Calendar:
    return load_calendar(Path(__file__).parents[2] / "config")


def bars(symbol: str | None = "NIFTY26NOVFUT", day: date = DAY, count: int = 77, minutes: int = 5, price: float = 25000.0) -> list[Row]:
    """A whole F&O day of 2026 by default."""
    opens = datetime.combine(day, datetime.min.time(), IST) + timedelta(hours=9, minutes=15)
    made = []
    for number in range(count):
        base = price + number
        row: Row = {"timestamp": opens + timedelta(minutes=minutes * number), "open": base, "high": base + 5, "low": base - 5}
        row |= {"close": base + 1, "volume": 65 * number, "oi": 1000 + number}
        made.append(row if symbol is None else row | {"symbol": symbol})
    return made


def ticks(symbol: str = "NIFTY26NOVFUT", count: int = 400, every: int = 60, lot: int = 65) -> list[Row]:
    opens = datetime.combine(DAY, datetime.min.time(), IST) + timedelta(hours=9, minutes=15)
    return [
        {"timestamp": opens + timedelta(seconds=every * n), "symbol": symbol, "price": 25000.0 + n / 10, "qty": lot, "oi": n}
        for n in range(count)
        if every * n < 385 * 60
    ]


def as_parquet(path: Path, rows: list[Row], zone: str | None = "Asia/Kolkata") -> Path:
    table = pa.Table.from_pylist(rows)
    if zone is None:
        place = table.column_names.index("timestamp")
        naive = pa.array([row["timestamp"].replace(tzinfo=None) for row in rows], pa.timestamp("us"))
        table = table.set_column(place, "timestamp", naive)
    pq.write_table(table, path)
    return path


def as_csv(path: Path, rows: list[Row]) -> Path:
    lines = [",".join(rows[0])] + [",".join("" if value is None else str(value) for value in row.values()) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def played(manifest: Manifest, day: date = DAY) -> list[Row]:
    rows: list[Row] = pq.read_table(manifest.folder / f"{day}.parquet").to_pylist()
    return rows


@pytest.mark.parametrize("write", [as_parquet, as_csv])
def test_bars_come_out_as_they_went_in(tmp_path: Path, calendar: Calendar, write: Callable[[Path, list[Row]], Path]) -> None:
    source = bars()
    suffix = "parquet" if write is as_parquet else "csv"
    manifest = prepare(write(tmp_path / f"day.{suffix}", source), tmp_path / "out", calendar)
    assert (manifest.kind, manifest.interval_s, manifest.days, manifest.start) == ("bars", 300, (DAY,), DAY)
    assert manifest.symbols == ("NFO:NIFTY26NOVFUT",)
    assert manifest.names == {"NIFTY26NOVFUT": "NFO:NIFTY26NOVFUT"}
    rows = played(manifest)
    assert [row.pop("key") for row in rows] == ["NFO:NIFTY26NOVFUT"] * 77
    assert rows == [{name: value for name, value in row.items() if name != "symbol"} for row in source]
    (written,) = json.loads((manifest.folder / "manifest.json").read_text())["instruments"]
    assert written == {
        "key": "NFO:NIFTY26NOVFUT",
        "exchange": "NFO",
        "symbol": "NIFTY26NOVFUT",
        "kind": "FUT",
        "underlying": "NIFTY",
        "lot": 65,
        "tick_size": 0.1,
        "expiry": "2026-11-23",
        "strike": None,
        "freeze": 1755,
        "multiplier": 1,
        "is_fno": False,
    }


def test_ticks_keep_their_order_within_a_second_and_their_own_quantity(tmp_path: Path, calendar: Calendar) -> None:
    source = ticks()
    burst = [source[5] | {"price": price} for price in (25001.0, 25000.9, 25001.1)]
    manifest = prepare(as_parquet(tmp_path / "t.parquet", source[:5] + burst + source[6:]), tmp_path / "out", calendar)
    assert (manifest.kind, manifest.interval_s) == ("ticks", 0)
    rows = played(manifest)
    assert [row["price"] for row in rows[5:8]] == [25001.0, 25000.9, 25001.1]
    assert {row["volume"] for row in rows} == {65}
    assert (rows[0]["bid"], rows[0]["ask"]) == (0.0, 0.0)


def bad_rows() -> list[tuple[str, list[Row], str]]:
    def changed(index: int, **values: Any) -> list[Row]:
        rows = bars()
        rows[index] = rows[index] | values
        return rows

    swapped = bars()
    swapped[10], swapped[11] = swapped[11], swapped[10]
    return [
        (
            "high below low",
            changed(6, high=90.0, low=91.0, open=90.5, close=90.5),
            "row 7 (NIFTY26NOVFUT, 2026-11-20 09:45:00+05:30): high below",
        ),
        ("open outside", changed(3, open=26000.0), "row 4 (NIFTY26NOVFUT, 2026-11-20 09:30:00+05:30): open or close outside high and low"),
        ("zero", changed(0, low=0.0), "row 1 (NIFTY26NOVFUT, 2026-11-20 09:15:00+05:30): price not positive"),
        ("missing", changed(8, close=None), "row 9 (NIFTY26NOVFUT, 2026-11-20 09:55:00+05:30): price missing (NaN)"),
        ("negative volume", changed(8, volume=-65), "row 9 (NIFTY26NOVFUT, 2026-11-20 09:55:00+05:30): volume negative"),
        ("absurd volume", changed(8, volume=1e30), "row 9 (NIFTY26NOVFUT, 2026-11-20 09:55:00+05:30): volume or open interest too large"),
        ("out of order", swapped, "row 12 (NIFTY26NOVFUT, 2026-11-20 10:05:00+05:30): out of order"),
        ("duplicate", bars()[:20] + bars()[19:], "row 21 (NIFTY26NOVFUT, 2026-11-20 10:50:00+05:30): a duplicate"),
        ("no symbol", changed(4, symbol=None), "row 5: no symbol"),
    ]


@pytest.mark.parametrize(("rows", "reason"), [pytest.param(rows, reason, id=name) for name, rows, reason in bad_rows()])
@pytest.mark.parametrize("write", [as_parquet, as_csv])
def test_bad_rows_are_refused_with_file_row_and_reason_and_repaired_on_demand(
    tmp_path: Path, calendar: Calendar, write: Callable[[Path, list[Row]], Path], rows: list[Row], reason: str
) -> None:
    path = write(tmp_path / ("bad.parquet" if write is as_parquet else "bad.csv"), rows)
    with pytest.raises(DataError) as caught:
        prepare(path, tmp_path / "out", calendar)
    assert f"{path}: {reason}" in str(caught.value)
    assert not (tmp_path / "out" / "manifest.json").exists()
    said: list[str] = []
    manifest = prepare(path, tmp_path / "out", calendar, repair=True, on_note=said.append)
    assert len(played(manifest)) == (77 if "order" in reason or "duplicate" in reason else 76)
    assert any(str(path) in text and ("dropped 1" in text or "put 1 rows in order" in text) for text in said)


def test_naive_times_are_refused_or_read_as_ist(tmp_path: Path, calendar: Calendar) -> None:
    parquet = as_parquet(tmp_path / "naive.parquet", bars(), zone=None)
    text = as_csv(tmp_path / "naive.csv", [row | {"timestamp": f"{row['timestamp']:%Y-%m-%d %H:%M:%S}"} for row in bars()])
    for path in (parquet, text):
        with pytest.raises(DataError, match=r"row 1: the timestamp .*2026-11-20 09:15:00.* is naive"):
            prepare(path, tmp_path / "out", calendar)
        manifest = prepare(path, tmp_path / "out", calendar, repair=True)
        assert played(manifest)[0]["timestamp"] == datetime(2026, 11, 20, 9, 15, tzinfo=IST)
        assert any("77 naive timestamps read as IST" in text for text in manifest.notes)


def test_text_that_is_no_time_or_number_is_named(tmp_path: Path, calendar: Calendar) -> None:
    rows = bars()
    rows[2] = rows[2] | {"timestamp": "yesterday+05:30"}
    with pytest.raises(DataError, match=r"row 3: 'yesterday\+05:30' is no time"):
        prepare(as_csv(tmp_path / "t.csv", rows), tmp_path / "out", calendar)
    rows = bars()
    rows[3] = rows[3] | {"high": "n/k"}
    with pytest.raises(DataError, match="row 4: high 'n/k' is no number"):
        prepare(as_csv(tmp_path / "n.csv", rows), tmp_path / "out", calendar)


def test_identical_ticks_are_duplicates_equal_times_are_not(tmp_path: Path, calendar: Calendar) -> None:
    source = ticks()
    same_second = source[9] | {"price": source[9]["price"] + 0.1}
    prepare(as_parquet(tmp_path / "fine.parquet", [*source[:10], same_second, *source[10:]]), tmp_path / "out", calendar)
    path = as_parquet(tmp_path / "twice.parquet", [*source[:10], same_second, source[9], *source[10:]])
    with pytest.raises(DataError, match=r"row 12 .*: a duplicate of an earlier row"):
        prepare(path, tmp_path / "out", calendar)
    assert len(played(prepare(path, tmp_path / "out", calendar, repair=True))) == len(source) + 1


def test_rows_outside_sessions_are_left_out_with_a_note(tmp_path: Path, calendar: Calendar) -> None:
    early = bars()[0] | {"timestamp": datetime(2026, 11, 20, 9, 5, tzinfo=IST)}
    late = bars()[0] | {"timestamp": datetime(2026, 11, 20, 15, 40, tzinfo=IST)}
    holiday = [row | {"timestamp": row["timestamp"] + timedelta(days=1)} for row in bars()]
    manifest = prepare(as_parquet(tmp_path / "d.parquet", [early, *bars(), late, *holiday]), tmp_path / "out", calendar)
    assert manifest.days == (DAY,)
    assert len(played(manifest)) == 77
    assert "2026-11-21 is no trading day: 77 rows left out" in manifest.notes
    assert "2 rows outside continuous trading (09:15-15:40) left out" in manifest.notes


def test_opening_placeholders_of_derivatives_are_no_trades(tmp_path: Path, calendar: Calendar) -> None:
    source = ticks()
    lead = [source[0] | {"qty": 1, "price": 24990.0 + n} for n in range(2)]
    manifest = prepare(as_parquet(tmp_path / "p.parquet", lead + source), tmp_path / "out", calendar)
    assert [row["price"] for row in played(manifest)] == [row["price"] for row in source]
    assert "2 opening rows of derivatives with quantity 1 left out: placeholders, not trades" in manifest.notes


def test_a_folder_joins_its_files_and_says_what_it_skips(tmp_path: Path, calendar: Calendar) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    as_parquet(folder / "a.parquet", [row | {"vwap": 1.0} for row in bars()])
    as_csv(folder / "RELIANCE_5m.csv", bars(symbol=None, count=72, price=1400.0))
    (folder / "notes.csv").write_text("symbol,remark\nX,y\n")
    (folder / "broken.parquet").write_bytes(b"PAR1 but not really")
    (folder / "readme.md").write_text("not data")
    manifest = prepare(folder, tmp_path / "out", calendar)
    assert manifest.symbols == ("NFO:NIFTY26NOVFUT", "NSE:RELIANCE")
    notes = "\n".join(manifest.notes)
    assert "skipped" in notes
    assert "broken.parquet does not read" in notes
    assert "notes.csv is no market data: its columns are symbol, remark" in notes
    assert "columns ignored: vwap" in notes


def test_a_duplicate_across_files_names_both_places(tmp_path: Path, calendar: Calendar) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    as_parquet(folder / "a.parquet", bars())
    as_parquet(folder / "b.parquet", bars(count=3))
    with pytest.raises(DataError, match=r"b.parquet: row 1 .*: a duplicate"):
        prepare(folder, tmp_path / "out", calendar)


def test_ticks_beat_bars_in_a_folder_and_intervals_do_not_mix(tmp_path: Path, calendar: Calendar) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    as_parquet(folder / "bars.parquet", bars())
    as_parquet(folder / "ticks.parquet", ticks())
    manifest = prepare(folder, tmp_path / "out", calendar)
    assert manifest.kind == "ticks"
    assert any("bars.parquet holds bars" in note for note in manifest.notes)
    (folder / "ticks.parquet").unlink()
    as_parquet(folder / "fine.parquet", bars("BANKNIFTY26NOVFUT", count=76, minutes=3))
    with pytest.raises(DataError, match="off the grid of 5-minute bars"):
        prepare(folder, tmp_path / "out", calendar)


def test_vendors_names_are_mapped_by_yaml_or_by_form(tmp_path: Path, calendar: Calendar) -> None:
    day = date(2022, 11, 18)
    names = ["NIFTY-I", "NIFTY-II", "NIFTY22112418300PE", "NIFTY2261615700CE", "NIFTY2261715700CE", "RELIANCE", "VENDOR1", "??"]
    rows = [row for name in names for row in bars(name, day, 75, price=18300.0)]
    rows += [row | {"volume": 0} for row in bars("NIFTY 50", day, 75)]
    path = as_parquet(tmp_path / "d.parquet", rows)
    (tmp_path / "symbols.yaml").write_text("VENDOR1: NSE:HDFCBANK\n")
    manifest = prepare(path, tmp_path / "out", calendar)
    assert manifest.symbols == (
        "NFO:NIFTY22DECFUT",
        "NFO:NIFTY22NOV18300PE",
        "NFO:NIFTY22NOVFUT",
        "NSE:HDFCBANK",
        "NSE:NIFTY 50",
        "NSE:RELIANCE",
    )
    assert manifest.names["NIFTY22112418300PE"] == "NFO:NIFTY22NOV18300PE"
    kinds = {instrument.key: instrument for instrument in manifest.instruments}
    assert kinds["NSE:NIFTY 50"].kind is Kind.INDEX
    assert (kinds["NFO:NIFTY22NOVFUT"].expiry, kinds["NFO:NIFTY22NOVFUT"].lot) == (date(2022, 11, 24), 50)
    assert kinds["NSE:RELIANCE"].tick_size == 0.05
    notes = "\n".join(manifest.notes)
    assert "??: left out, not recognised: map it in symbols.yaml" in notes
    assert "NIFTY2261615700CE: left out, rows after its expiry on 2022-06-16" in notes
    assert "NIFTY2261715700CE: left out, not recognised" in notes  # a Friday: no such contract, and no stock either


def test_continuous_names_change_contract_after_the_expiry(tmp_path: Path, calendar: Calendar) -> None:
    days = [date(2022, 11, 24), date(2022, 11, 25)]
    path = as_parquet(tmp_path / "d.parquet", [row for day in days for row in bars("NIFTY-I", day, 75)])
    manifest = prepare(path, tmp_path / "out", calendar)
    assert [{row["key"] for row in played(manifest, day)} for day in days] == [{"NFO:NIFTY22NOVFUT"}, {"NFO:NIFTY22DECFUT"}]


def test_two_names_of_one_contract_do_not_tell_two_stories(tmp_path: Path, calendar: Calendar) -> None:
    path = as_parquet(tmp_path / "d.parquet", bars("NIFTY-I") + bars("NIFTY26NOVFUT"))
    with pytest.raises(DataError, match="a second bar of NFO:NIFTY26NOVFUT at that time"):
        prepare(path, tmp_path / "out", calendar)
    assert len(played(prepare(path, tmp_path / "out", calendar, repair=True))) == 77


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("VENDOR: RELIANCE\n", "'RELIANCE' is no key; write EXCHANGE:SYMBOL"),
        ("- a\n", "must map vendor's names"),
        ("a: [", "does not read"),
    ],
)
def test_a_wrong_symbols_file_is_named(tmp_path: Path, calendar: Calendar, text: str, says: str) -> None:
    (tmp_path / "symbols.yaml").write_text(text)
    with pytest.raises(DataError, match=says):
        prepare(as_parquet(tmp_path / "d.parquet", bars()), tmp_path / "out", calendar)


def test_the_day_to_play_and_how_much_around_it(tmp_path: Path, calendar: Calendar) -> None:
    days = [date(2026, 11, day) for day in (16, 17, 18, 19, 20)]
    rows = bars(day=days[0], count=20) + [row for day in days[1:] for row in bars(day=day)]
    path = as_parquet(tmp_path / "d.parquet", rows)
    whole = prepare(path, tmp_path / "whole", calendar)
    assert (whole.days, whole.start, whole.first_full_session) == (tuple(days), days[1], days[1])
    one = prepare(path, tmp_path / "one", calendar, day=days[3], days=1, history=1)
    assert (one.days, one.start, one.available) == ((days[2], days[3]), days[3], tuple(days))
    assert not (tmp_path / "one" / "2026-11-20.parquet").exists()
    absent = prepare(path, tmp_path / "absent", calendar, day=date(2026, 12, 1), days=2, history=0)
    assert (absent.days, absent.start) == ((days[1], days[2]), days[1])
    assert any(note.startswith("2026-12-01 is not in the data") for note in absent.notes)


def test_stocks_that_fall_silent_at_1515_are_closing_auction_stocks(tmp_path: Path, calendar: Calendar) -> None:
    path = as_parquet(tmp_path / "d.parquet", bars("RELIANCE", count=72, price=1400.0) + bars("SMALLCO", count=75, price=100.0))
    manifest = prepare(path, tmp_path / "out", calendar)
    assert {instrument.symbol: instrument.is_fno for instrument in manifest.instruments} == {"RELIANCE": True, "SMALLCO": False}
    assert len(played(manifest)) == 147


def test_float_artefacts_become_paise_and_a_lot_is_told_by_the_volumes(tmp_path: Path, calendar: Calendar) -> None:
    rows = [row | {"high": row["high"] + 4e-5, "volume": 700 * n} for n, row in enumerate(bars("TCS26NOVFUT", price=3000.0))]
    manifest = prepare(as_parquet(tmp_path / "d.parquet", rows), tmp_path / "out", calendar)
    assert played(manifest)[0]["high"] == 3005.0
    assert manifest.instruments[0].lot == 700


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "nothing.parquet", "there is no market data at"),
        (lambda folder: as_csv(folder / "x.csv", [{"a": 1}]), "is no market data: its columns are a"),
        (lambda folder: folder, "no file in"),
        (lambda folder: as_parquet(folder / "x.parquet", [bars()[0]]), "their interval is not known"),
        (lambda folder: as_parquet(folder / "x.parquet", bars("??")), r"no symbol of the data is known \(\?\?\)"),
        (lambda folder: as_parquet(folder / "x.parquet", bars(day=date(2026, 11, 22))), "lies in a trading session"),
    ],
)
def test_what_cannot_be_played_says_why(tmp_path: Path, calendar: Calendar, make: Callable[[Path], Path], says: str) -> None:
    with pytest.raises(DataError, match=says):
        prepare(make(tmp_path), tmp_path / "out", calendar)


@pytest.mark.parametrize(
    ("name", "kind", "spacing", "days", "instruments", "holds"),
    [
        ("futures_5m/NIFTY26JANFUT_5m_2025-10-29_2025-12-31.parquet", "bars", 300, 44, 1, "NFO:NIFTY26JANFUT"),
        ("futures_5m/NIFTY26AUGFUT_5m_2026-08-03_session_to_1540.csv", "bars", 300, 1, 1, "NFO:NIFTY26AUGFUT"),
        ("equities_1m/nse_fo_stocks_1m_2016-08-16_2016-09-09.parquet", "bars", 60, 18, 88, "NSE:RELIANCE"),
        ("equities_1m/nse1minR_1m_2014-12-18_2015-10-05.parquet", "bars", 60, 183, 7, "NSE:WIPRO"),
        ("equities_5m", "bars", 300, 22, 34, "NSE:TCS"),
        ("options_1m", "bars", 60, 1, 13, "NFO:NIFTY2161715700CE"),
        ("ticks_2022-11-18", "ticks", 0, 1, 716, "NFO:NIFTY22NOV18300PE"),
    ],
)
def test_real_recordings_are_normalised(
    tmp_path: Path, calendar: Calendar, name: str, kind: str, spacing: int, days: int, instruments: int, holds: str
) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"the recording {name} is not on this machine")
    manifest = prepare(DATA / name, tmp_path / "out", calendar)
    assert (manifest.kind, manifest.interval_s, len(manifest.days)) == (kind, spacing, days)
    assert len(manifest.symbols) == instruments
    assert holds in manifest.symbols
    assert pq.read_table(manifest.folder / f"{manifest.start}.parquet").num_rows > 0


def test_real_prints_build_the_bars_that_were_derived_from_them(tmp_path: Path, calendar: Calendar) -> None:
    folder = DATA / "ticks_2022-11-18"
    if not folder.exists():
        pytest.skip("the recorded ticks of 2022-11-18 are not on this machine")
    day = date(2022, 11, 18)
    manifest = prepare(folder / "nifty_futures_ticks.parquet", tmp_path / "out", calendar)
    future = next(instrument for instrument in manifest.instruments if instrument.key == manifest.names["NIFTY-I"])
    builder, volume = BarBuilder(calendar), 0
    builder.watch(future, 1, datetime(2022, 11, 18, 9, 0, tzinfo=IST))
    for row in played(manifest, day):
        if row["key"] == future.key:
            volume += row["volume"]
            moment = row["timestamp"].astimezone(IST)
            builder.add(Tick(future, moment, row["price"], volume, row["volume"], moment, oi=row["oi"]))
    made = {bar.start: bar for bar in builder.close(datetime(2022, 11, 18, 16, 0, tzinfo=IST))}
    derived = pq.read_table(
        folder / "nifty_futures_and_221124_options_1m_derived.parquet", filters=[("symbol", "=", "NIFTY-I")]
    ).to_pylist()
    inside = [row for row in derived if row["timestamp"].astimezone(IST).time().isoformat() < "15:30"]
    assert len(inside) == len(made) == 375
    for row in inside:
        bar = made[row["timestamp"].astimezone(IST)]
        assert (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.oi) == tuple(
            row[name] for name in ("open", "high", "low", "close", "volume", "oi")
        )


def test_who_is_reading_a_day_reads_it_whole_while_another_run_prepares_it_again(tmp_path: Path, calendar: Calendar) -> None:
    first = prepare(as_parquet(tmp_path / "a.parquet", bars()), tmp_path / "out", calendar)
    (file,) = first.folder.glob("*.parquet")
    with file.open("rb") as reading, (first.folder / "manifest.json").open("rb") as told:
        before, said = file.read_bytes(), (first.folder / "manifest.json").read_bytes()
        prepare(as_parquet(tmp_path / "b.parquet", bars("BANKNIFTY26NOVFUT", price=50000.0)), tmp_path / "out", calendar)
        assert reading.read() == before
        assert told.read() == said
    assert file.read_bytes() != before
    assert sorted(one.name for one in first.folder.iterdir()) == [file.name, "manifest.json"]
