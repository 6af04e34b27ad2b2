"""History for bare scripts: words of intervals, chunks by the broker's caps, the frame, and what goes wrong before any call."""

import subprocess
import sys
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from core.errors import ConfigError, Transient
from core.types import IST, Bar, Instrument, Kind
from data_ingestion.bare_session import BareSession, PastedToken
from data_ingestion.data_fetcher import DataFetcher, fetch_bars, frame_of, interval_minutes
from data_ingestion.live_feed import LiveDataFeed
from utils.config_loader import Secrets

FUTURE = Instrument("NFO:NIFTY26NOVFUT", "NFO", "NIFTY26NOVFUT", Kind.FUTURE, "NIFTY", 65, 0.1, date(2026, 11, 23))
CAPS: Mapping[int, int] = {1: 60, 60: 400, 1440: 2000}
ROOT = Path(__file__).parents[2]


class Broker:
    """Answers hourly candles around the clock and refuses a longer span than its cap, as the real server does."""

    def __init__(self, cap: int) -> None:
        self.cap = timedelta(days=cap)
        self.asked: list[tuple[datetime, datetime]] = []

    def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
        assert end - start < self.cap, f"interval exceeds max limit: {self.cap.days} days"
        self.asked.append((start, end))
        step = timedelta(hours=1)
        first = start.replace(minute=0, second=0) + (step if start.minute or start.second else timedelta())
        count = max(0, (end - first) // step + 1)
        return [Bar(instrument, first + n * step, first + (n + 1) * step, 60, 1.0, 1.0, 1.0, 1.0, n, 7) for n in range(count)]


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("minute", 1), ("3minute", 3), ("60minute", 60), ("day", 1440), ("5m", 5), ("15 min", 15), ("1h", 60), ("1D", 1440), (30, 30)],
)
def test_intervals_in_kites_words_and_ours(text: str | int, minutes: int) -> None:
    assert interval_minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "soon", "0m", "-5m", "3 weeks"])
def test_an_unknown_interval_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write it like minute, 3minute"):
        interval_minutes(text)


def test_a_long_span_is_asked_for_in_chunks_without_gap_or_overlap() -> None:
    broker = Broker(60)
    start, end = datetime(2026, 1, 1, tzinfo=IST), datetime(2026, 6, 30, 23, 0, tzinfo=IST)
    heard: list[datetime] = []
    bars = fetch_bars(broker, FUTURE, start, end, 1, CAPS, heard.append)
    assert len(broker.asked) == 4
    assert [bar.start for bar in bars] == [start + timedelta(hours=n) for n in range(181 * 24)]
    assert heard[-1] == end
    assert heard == sorted(heard)


def test_a_short_span_is_one_call_and_both_ends_count() -> None:
    broker = Broker(400)
    start = datetime(2026, 11, 20, 9, tzinfo=IST)
    assert len(fetch_bars(broker, FUTURE, start, start + timedelta(hours=2), 60, CAPS)) == 3
    assert len(broker.asked) == 1
    assert fetch_bars(broker, FUTURE, start, start - timedelta(hours=1), 60, CAPS) == []


def test_a_failing_chunk_is_the_callers() -> None:
    class Dead(Broker):
        def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
            raise Transient("502")

    with pytest.raises(Transient, match="502"):
        fetch_bars(Dead(60), FUTURE, datetime(2026, 1, 1, tzinfo=IST), datetime(2026, 1, 2, tzinfo=IST), 1, CAPS)


def test_the_frame_has_the_promised_columns_in_ist() -> None:
    start = datetime(2026, 11, 20, 9, tzinfo=IST)
    frame = frame_of(fetch_bars(Broker(400), FUTURE, start, start + timedelta(hours=2), 60, CAPS), with_oi=True)
    assert list(frame.columns) == ["timestamp", "open", "high", "low", "close", "volume", "oi"]
    assert str(frame.dtypes["timestamp"]).endswith("Asia/Kolkata]")
    assert frame.timestamp[0].isoformat() == "2026-11-20T09:00:00+05:30"
    assert frame.volume.tolist() == [0, 1, 2]
    empty = frame_of([], with_oi=False)
    assert list(empty.columns) == ["timestamp", "open", "high", "low", "close", "volume"]
    assert len(empty) == 0


def test_a_start_after_the_end_is_refused_before_any_login() -> None:
    with pytest.raises(ValueError, match="is after end"):
        DataFetcher().fetch_historical("NIFTY_FUT", datetime(2026, 11, 20), datetime(2026, 11, 19))


def test_an_unknown_broker_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'zerodha'"):
        DataFetcher("zerodah").fetch_historical("NIFTY_FUT", datetime(2026, 11, 19), datetime(2026, 11, 20))
    with pytest.raises(ConfigError, match="did you mean 'zerodha'"):
        LiveDataFeed(source="zerodah").start()


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("https://api.example.com", "on this machine"),
        ("http://10.0.0.7:80", "on this machine"),
        ("http://127.0.0.1:1", "no simulator answers"),
    ],
)
def test_a_simulator_must_be_on_this_machine_and_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str, says: str) -> None:
    monkeypatch.setenv("NIYAM_SIMULATOR", address)
    with pytest.raises(ConfigError, match=says):
        BareSession("zerodha", tmp_path)


def test_a_pasted_token_serves_until_it_is_refused(tmp_path: Path) -> None:
    class Stored:
        told: list[str]

        def __init__(self) -> None:
            self.told = []

        def token(self) -> str:
            return "stored"

        def invalidate(self, token: str, reason: str) -> None:
            self.told.append(token)

        def api_key(self) -> str:
            return "key"

    stored = Stored()
    pasted = PastedToken(stored, "ZERODHA_ACCESS_TOKEN", Secrets(tmp_path, {"ZERODHA_ACCESS_TOKEN": "pasted-today"}))
    assert (pasted.token(), pasted.api_key()) == ("pasted-today", "key")
    pasted.invalidate("pasted-today", "403")
    assert pasted.token() == "stored"
    assert stored.told == ["pasted-today"]
    assert PastedToken(stored, "ZERODHA_ACCESS_TOKEN", Secrets(tmp_path, {})).token() == "stored"


def test_a_feed_that_was_never_started_has_no_price() -> None:
    feed = LiveDataFeed(["NIFTY_FUT", "RELIANCE"])
    assert feed.get_latest_price() is None
    assert feed.latest_tick is None
    feed.stop()


def test_importing_the_facades_loads_no_pandas_and_no_arrow() -> None:
    code = (
        "import sys, data_ingestion.data_fetcher, data_ingestion.live_feed; "
        "print(sorted({'pandas', 'pyarrow', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
