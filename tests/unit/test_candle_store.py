"""The candle store: months on disk, newest wins, what is covered, what cannot be, and what a kill leaves."""

import itertools
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DataError
from core.types import IST, Bar
from data_ingestion.candle_store import CandleStore, Series, Span, joined, without
from tests.unit.candle_source import FUTURE, STOCK, at

ROOT = Path(__file__).parents[2]
DAY = at("2026-11-20 00:00")


def bars(start: str, count: int, *, price: float = 100.0, minutes: int = 5) -> list[Bar]:
    first, step = at(start), timedelta(minutes=minutes)
    return [
        Bar(FUTURE, first + n * step, first + (n + 1) * step, minutes, price, price + 1, price - 1, price, 65 * n, n) for n in range(count)
    ]


@pytest.fixture
def series(tmp_path: Path) -> Series:
    return CandleStore(tmp_path).series("house", FUTURE, 5)


def test_candles_come_back_as_they_were_stored_month_by_month(series: Series) -> None:
    given = bars("2026-10-30 15:00", 6) + bars("2026-11-02 09:15", 4)
    merge = series.add(given)
    assert (merge.added, merge.differs) == (10, 0)
    assert list(series.bars()) == given
    assert series.months() == ["2026-10", "2026-11"]
    assert series.folder.parts[-4:] == ("house", "NFO", "NIFTY26NOVFUT", "5m")
    span = Span(at("2026-10-30 15:05"), at("2026-11-02 09:20"))
    assert list(series.bars(span)) == given[1:7]
    assert str(series.table().schema.field("timestamp").type) == "timestamp[us, tz=Asia/Kolkata]"


def test_names_of_instruments_are_safe_folders(tmp_path: Path) -> None:
    store = CandleStore(tmp_path)
    odd = msgspec.structs.replace(STOCK, symbol="../A/B", exchange="NSE")
    folder = store.series("house", odd, 1440, continuous=True).folder
    assert folder.resolve().is_relative_to(tmp_path.resolve())
    assert folder.name == "day-continuous"
    assert store.series("house", msgspec.structs.replace(STOCK, symbol="NIFTY 50"), 1).folder.parent.name == "NIFTY 50"


def test_the_newest_fetch_wins_a_timestamp_and_a_difference_is_told(series: Series) -> None:
    old = bars("2026-11-20 09:15", 10)
    series.add(old)
    volumes = [msgspec.structs.replace(bar, volume=bar.volume + 1) for bar in old[:2]]
    assert series.add(volumes).differs == 0
    assert [bar.volume for bar in series.bars()][:3] == [1, 66, 130]
    merge = series.add([*bars("2026-11-20 09:55", 4, price=50.0)])
    assert (merge.added, merge.same, merge.differs, merge.factor) == (2, 0, 2, 0.5)
    assert merge.first_difference == at("2026-11-20 09:55")
    assert [bar.close for bar in series.bars()][-5:] == [100.0, 50.0, 50.0, 50.0, 50.0]
    mixed = [bars("2026-11-20 09:15", 1, price=90.0)[0], bars("2026-11-20 09:20", 1, price=20.0)[0]]
    assert series.compare(mixed).factor == 0.0
    assert series.compare(mixed).differs == 2
    assert next(series.bars()).close == 100.0


def test_impossible_candles_are_not_stored_and_counted(series: Series) -> None:
    good, *rest = bars("2026-11-20 09:15", 6)
    bad = [
        msgspec.structs.replace(rest[0], low=0.0),
        msgspec.structs.replace(rest[1], high=rest[1].low - 1),
        msgspec.structs.replace(rest[2], close=float("nan")),
        msgspec.structs.replace(rest[3], volume=-1),
        msgspec.structs.replace(rest[4], high=float("inf")),
    ]
    merge = series.add([good, *bad])
    assert merge.refused == {"no price": 3, "high or low inside open and close": 1, "negative volume": 1}
    assert list(series.bars()) == [good]


def test_what_was_fetched_is_covered_even_where_nothing_was(series: Series) -> None:
    series.add([], Span(DAY, DAY + timedelta(days=2)))
    series.add(bars("2026-11-24 09:15", 2), Span(DAY + timedelta(days=4), DAY + timedelta(days=5)), verified=DAY.date())
    assert series.missing(Span(DAY - timedelta(days=1), DAY + timedelta(days=6))) == [
        Span(DAY - timedelta(days=1), DAY),
        Span(DAY + timedelta(days=2), DAY + timedelta(days=4)),
        Span(DAY + timedelta(days=5), DAY + timedelta(days=6)),
    ]
    assert series.verified == DAY.date()
    again = CandleStore(series.folder.parents[3]).series("house", FUTURE, 5)
    assert again.covered() == series.covered()
    assert again.table().num_rows == 2


def test_forgetting_a_range_takes_its_candles_with_it(series: Series) -> None:
    series.add(bars("2026-11-19 09:15", 5) + bars("2026-11-20 09:15", 5), Span(DAY - timedelta(days=1), DAY + timedelta(days=1)))
    assert series.uncover([Span(DAY, DAY + timedelta(days=1))]) == 5
    assert series.covered() == [Span(DAY - timedelta(days=1), DAY)]
    assert [bar.start.day for bar in series.bars()] == [19] * 5
    assert series.remove([at("2026-11-19 09:20"), at("2026-11-19 11:00")]) == 1
    assert series.table().num_rows == 4
    assert series.covered() == [Span(DAY - timedelta(days=1), DAY)]
    series.uncover(series.covered())
    assert series.months() == []


def test_a_damaged_file_is_named_with_what_to_do(series: Series) -> None:
    series.add(bars("2026-11-20 09:15", 5), Span(DAY, DAY + timedelta(days=1)))
    (series.folder / "2026-11.parquet").write_bytes(b"PAR1 no longer")
    with pytest.raises(DataError, match=r"damaged.*fetch again"):
        series.table()
    with pytest.raises(DataError, match=r"damaged.*fetch again"):
        series.add(bars("2026-11-20 09:15", 5, price=2.0))
    with pytest.raises(DataError, match=r"2026-11\.parquet is damaged"):
        series.remove([at("2026-11-20 09:15")])
    (series.folder / "coverage.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"coverage\.json does not read"):
        series.covered()


KILLED = """
import sys
from datetime import timedelta
from pathlib import Path
from data_ingestion.candle_store import CandleStore, Span
from tests.unit.test_candle_store import DAY, FUTURE, bars
series = CandleStore(Path(sys.argv[1])).series("house", FUTURE, 1)
for n in range(400):
    day = DAY + timedelta(days=n)
    series.add(bars(f"{day:%Y-%m-%d} 09:15", 375, minutes=1), Span(day, day + timedelta(days=1)))
    print(n, flush=True)
"""


def test_what_kill_9_leaves_is_whole(tmp_path: Path) -> None:
    series = CandleStore(tmp_path).series("house", FUTURE, 1)
    for seconds in (0.05, 0.11, 0.02):
        with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(seconds)
            child.send_signal(signal.SIGKILL)
        (covered,) = series.covered()
        days = (covered.end - covered.start).days
        assert days >= 1
        assert series.table(covered).num_rows == 375 * days, "whatever counts as there is there"
    assert series.add(bars("2026-11-20 09:15", 375, minutes=1)).same == 375, "and the store takes more"


moments = st.integers(0, 40).map(lambda minutes: datetime(2026, 11, 20, tzinfo=IST) + timedelta(minutes=minutes))
spans = st.lists(st.tuples(moments, moments).map(lambda pair: Span(min(pair), max(pair))), max_size=6)


def minutes_of(some: list[Span]) -> set[datetime]:
    return {DAY + timedelta(minutes=n) for n in range(42) for span in some if span.start <= DAY + timedelta(minutes=n) < span.end}


@given(spans, spans)
def test_spans_are_sets_of_moments(left: list[Span], right: list[Span]) -> None:
    assert minutes_of(joined(left)) == minutes_of(left)
    assert minutes_of(without(left, right)) == minutes_of(left) - minutes_of(right)
    found = without(left, right)
    assert all(one.end < two.start for one, two in itertools.pairwise(found)), "apart and ascending"
