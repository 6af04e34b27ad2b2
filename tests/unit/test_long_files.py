"""Market data of more rows than are read, checked or put in order at a time: what comes out is what went in, whatever its order."""

import subprocess
import sys
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from backtesting.market import BacktestMarket
from core.errors import DataError
from core.types import IST, Instrument, Kind
from data_ingestion.market_files import BATCH
from data_ingestion.normalise import BLOCK
from data_ingestion.prepare import Manifest, prepare
from data_ingestion.shelf import moment_of
from tests.unit.candle_source import CALENDAR

SYMBOLS = ("ABC", "XYZ")
SESSION = 360
STAMP = pa.timestamp("us", "Asia/Kolkata")


@pytest.fixture(scope="module")
def table() -> Any:
    """Two shares' minutes by symbol and time, of enough days that both batches and blocks are several."""
    share, day = Instrument("NSE:ABC", "NSE", "ABC", Kind.EQUITY, "ABC"), date(2026, 7, 31)
    days: list[datetime] = []
    while len(days) * SESSION * len(SYMBOLS) < max(BATCH, BLOCK) * 1.3:
        if CALENDAR.regular_day("EQ", day):
            days.append(CALENDAR.continuous(share, day)[0][0])
        day -= timedelta(days=1)
    opens = [round((at - moment_of(0)) / timedelta(microseconds=1)) for at in sorted(days)]
    at = np.concatenate([first + 60_000_000 * np.arange(SESSION) for first in opens])
    closes = 100 + 0.05 * (np.arange(len(at) * len(SYMBOLS)) % 997)
    return pa.table(
        {
            "timestamp": pa.array(np.tile(at, len(SYMBOLS))).cast(STAMP),
            "symbol": pa.array(np.repeat(SYMBOLS, len(at))),
            **{name: pa.array(np.round(closes + more, 2)) for name, more in (("open", 0), ("high", 1), ("low", -1), ("close", 0.5))},
            "volume": pa.array(np.arange(len(closes)) % 91),
        }
    )


def written(manifest: Manifest) -> dict[str, list[Any]]:
    """What the folder holds, by day and then by time and key."""
    parts = [pq.read_table(manifest.folder / f"{day}.parquet") for day in manifest.days]
    return pa.concat_tables(parts).to_pydict()  # type: ignore[no-any-return]


def test_each_order_and_form_of_a_long_file_gives_the_same_market(tmp_path: Path, table: Any) -> None:
    assert table.num_rows > max(BATCH, BLOCK)
    by_time = table.sort_by([("timestamp", "ascending"), ("symbol", "ascending")])
    pq.write_table(table, tmp_path / "whole.parquet")
    pq.write_table(by_time, tmp_path / "grouped.parquet", row_group_size=700)
    pyarrow.csv.write_csv(by_time.set_column(0, "timestamp", _texts(by_time["timestamp"])), tmp_path / "text.csv")
    made = [prepare(tmp_path / name, tmp_path / f"{name}.out", CALENDAR) for name in ("whole.parquet", "grouped.parquet", "text.csv")]
    first = written(made[0])
    assert first["timestamp"] == by_time["timestamp"].to_pylist()
    assert first["key"] == [f"NSE:{name}" for name in by_time["symbol"].to_pylist()]
    assert all(first[name] == by_time[name].to_pylist() for name in ("open", "high", "low", "close", "volume"))
    for other in made[1:]:
        assert written(other) == first
        assert (other.days, other.instruments, other.interval_s) == (made[0].days, made[0].instruments, made[0].interval_s)


@pytest.mark.parametrize("back", [BATCH, BATCH + 5])
def test_a_row_out_of_order_is_found_from_one_batch_to_the_next(tmp_path: Path, table: Any, back: int) -> None:
    """Rows `back` and `back` + 1 have changed places: the first of a batch and the last of the one before it, or two of one batch."""
    order = np.arange(table.num_rows)
    order[[back - 1, back]] = order[[back, back - 1]]
    file = tmp_path / "bars.parquet"
    pq.write_table(table.take(pa.array(order)), file)
    with pytest.raises(DataError, match=rf"bars.parquet: row {back + 1} \(.*out of order"):
        prepare(file, tmp_path / "out", CALENDAR)
    notes: list[str] = []
    prepare(file, tmp_path / "out", CALENDAR, repair=True, on_note=notes.append)
    assert [note for note in notes if "in order" in note] == [f"{file}: put 1 rows in order (first: row {back + 1})"]


def test_a_row_that_comes_again_far_below_is_a_duplicate(tmp_path: Path, table: Any) -> None:
    """Another file holds a few of the rows again: they are found wherever they are in the first."""
    folder = tmp_path / "data"
    folder.mkdir()
    pq.write_table(table, folder / "a.parquet")
    pq.write_table(table.slice(BATCH + 100, 3), folder / "b.parquet")
    with pytest.raises(DataError, match=r"b.parquet: row 1 \(.*a duplicate of an earlier row"):
        prepare(folder, tmp_path / "out", CALENDAR)
    notes: list[str] = []
    made = prepare(folder, tmp_path / "out", CALENDAR, repair=True, on_note=notes.append)
    assert len(written(made)["timestamp"]) == table.num_rows
    assert any(note.endswith("b.parquet: dropped 3 duplicate rows (first: row 1)") for note in notes)


def test_a_file_of_a_folder_that_breaks_off_in_its_middle_is_left_out_whole(tmp_path: Path, table: Any) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    pq.write_table(table.slice(0, 5 * SESSION), folder / "a.parquet")
    lines = ["timestamp,symbol,open,high,low,close,volume"]
    lines += [f"{at.isoformat()},LATE,100,101,99,100,1" for at in table["timestamp"].slice(0, 58 * SESSION).to_pylist()]
    lines.insert(57 * SESSION, "2026-07-31T09:15:00+05:30,LATE,100")
    (folder / "b.csv").write_text("\n".join(lines) + "\n")
    made = prepare(folder, tmp_path / "out", CALENDAR)
    assert made.symbols == ("NSE:ABC",)
    assert [note.partition("b.csv")[0] for note in made.notes if "b.csv does not read" in note] == [f"skipped: {folder}/"]


def test_data_is_prepared_and_read_without_pandas(tmp_path: Path, table: Any) -> None:
    pq.write_table(table.slice(0, 2 * SESSION), tmp_path / "bars.parquet")
    program = (
        "import sys; from pathlib import Path; from backtesting.market import BacktestMarket; from data_ingestion.prepare import prepare\n"
        "from utils.config_loader import load_calendar\n"
        "calendar = load_calendar(assumed_cut_offs=True)\n"
        "market = BacktestMarket(prepare(Path(sys.argv[1]), Path(sys.argv[2]), calendar), calendar)\n"
        "assert all(market.events(day) for day in market.days)\n"
        "assert 'pandas' not in sys.modules\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "bars.parquet"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr


def _texts(times: Any) -> Any:
    return pa.array([at.astimezone(IST).isoformat() for at in times.to_pylist()])


def test_the_events_of_one_instrument_are_its_own_among_those_of_all(tmp_path: Path, table: Any) -> None:
    pq.write_table(table, tmp_path / "bars.parquet")
    prints = table.select(["timestamp", "symbol", "close", "volume"]).rename_columns(["timestamp", "symbol", "price", "volume"])
    pq.write_table(prints, tmp_path / "ticks.parquet")
    for name in ("bars", "ticks"):
        market = BacktestMarket(prepare(tmp_path / f"{name}.parquet", tmp_path / name, CALENDAR), CALENDAR)
        for day in market.days[:2]:
            every = market.events(day)
            assert len(every) == 2 * SESSION
            assert market.events(day, ["NSE:XYZ", "NSE:NONE"]) == [event for event in every if event.instrument.key == "NSE:XYZ"]
            assert market.events(day, ["NSE:NONE"]) == []
