"""History for bare scripts: words of intervals, the frame, the store behind it, names, and what goes wrong before any call."""

import subprocess
import sys
from datetime import date, datetime
from pathlib import Path

import pytest

from core.errors import ConfigError, DataError
from core.types import Bar, Instrument, Kind
from data_ingestion.bare_session import BareSession, PastedToken
from data_ingestion.data_fetcher import DataFetcher, interval_minutes
from data_ingestion.live_feed import LiveDataFeed
from data_ingestion.offline_names import instrument_by_rules
from tests.unit.candle_source import CALENDAR, FUTURE, Source
from utils.config_loader import Secrets

ROOT = Path(__file__).parents[2]
EVENING = "2026-11-20 20:00"


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


def test_an_interval_that_is_not_kept_is_refused_with_those_that_are(tmp_path: Path) -> None:
    fetcher = DataFetcher(Source(EVENING), state=tmp_path)
    with pytest.raises(DataError, match="there are 1m, 3m, 5m, 10m, 15m, 30m, 60m, day"):
        fetcher.fetch_historical("NIFTY_FUT", datetime(2026, 11, 18), datetime(2026, 11, 19), interval="7minute")
    with pytest.raises(DataError, match="write it like minute"):
        fetcher.fetch_historical("NIFTY_FUT", datetime(2026, 11, 18), datetime(2026, 11, 19), interval="soon")


def test_the_frame_has_the_promised_columns_in_ist(tmp_path: Path) -> None:
    fetcher = DataFetcher(Source(EVENING), state=tmp_path)
    frame = fetcher.fetch_historical("NIFTY_FUT", datetime(2026, 11, 20, 9, 15), datetime(2026, 11, 20, 11, 15), interval="60minute")
    assert list(frame.columns) == ["timestamp", "open", "high", "low", "close", "volume", "oi"]
    assert str(frame.dtypes["timestamp"]).endswith("Asia/Kolkata]")
    assert [moment.isoformat() for moment in frame.timestamp][::2] == ["2026-11-20T09:15:00+05:30", "2026-11-20T11:15:00+05:30"]
    assert frame.volume.tolist() == [90, 90, 90]
    stock = fetcher.fetch_historical("RELIANCE", datetime(2026, 11, 21), datetime(2026, 11, 21, 9), interval="day")
    assert list(stock.columns) == ["timestamp", "open", "high", "low", "close", "volume"]
    assert len(stock) == 0
    assert str(stock.dtypes["timestamp"]).endswith("Asia/Kolkata]")


def test_what_is_in_the_store_is_not_asked_for_again_and_the_running_candle_is_left_out(tmp_path: Path) -> None:
    source = Source("2026-11-20 10:07:10")
    fetcher = DataFetcher(source, state=tmp_path)
    asked = ("NIFTY_FUT", datetime(2026, 11, 19), datetime(2026, 11, 20, 15, 30))
    frame = fetcher.fetch_historical(*asked, interval="5minute")
    assert frame.timestamp.iloc[-1].isoformat() == "2026-11-20T10:00:00+05:30", "10:05 is forming"
    assert len(frame) == 77 + 10
    source.asked.clear()
    again = fetcher.fetch_historical(*asked, interval="5minute")
    assert [start.isoformat() for start, _ in source.asked] == ["2026-11-20T10:05:00+05:30"], "what is not settled yet, and nothing else"
    assert again.equals(frame)
    assert (tmp_path / "candles" / "house" / "NFO" / "NIFTY26NOVFUT" / "5m" / "2026-11.parquet").exists()


def test_an_object_without_a_name_is_asked_and_nothing_of_it_is_kept(tmp_path: Path) -> None:
    class Bare:
        """Only what core.ports.HistoricalSource promises."""

        def __init__(self) -> None:
            self.inner = Source(EVENING)

        def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
            return self.inner.candles(instrument, start, end, interval, continuous=continuous)

    frame = DataFetcher(Bare(), state=tmp_path).fetch_historical("INFY", datetime(2026, 9, 18), datetime(2026, 9, 18, 16), interval="1h")
    assert len(frame) == 7
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match=r"an object with candles"):
        DataFetcher(object(), state=tmp_path).fetch_historical("INFY", datetime(2026, 9, 18), datetime(2026, 9, 19))


def test_an_expired_contract_is_served_from_the_store_or_refused_with_what_there_is(tmp_path: Path) -> None:
    source = Source("2026-11-23 20:00")
    asked = ("NIFTY26NOVFUT", datetime(2026, 11, 20), datetime(2026, 11, 20, 15, 40))
    source.known["NIFTY26NOVFUT"] = FUTURE
    alive = DataFetcher(source, state=tmp_path).fetch_historical(*asked, interval="5minute")
    later = Source("2026-12-10 12:00")
    fetcher = DataFetcher(later, state=tmp_path)
    assert fetcher.fetch_historical(*asked, interval="5minute").equals(alive)
    assert later.asked == []
    with pytest.raises(DataError, match=r"NFO:NIFTY26NOVFUT expired on 2026-11-2\d.*the candle store has 2026-11-20 00:00 to") as caught:
        fetcher.fetch_historical("NIFTY26NOVFUT", datetime(2026, 11, 18), datetime(2026, 11, 20), interval="5minute")
    assert "--continuous" in str(caught.value)
    with pytest.raises(DataError, match="has nothing of it"):
        fetcher.fetch_historical(FUTURE, datetime(2026, 11, 18), datetime(2026, 11, 20), interval="1m")


@pytest.mark.parametrize(
    ("name", "key", "kind"),
    [
        ("NIFTY_FUT", "NFO:NIFTY26NOVFUT", Kind.FUTURE),
        ("NIFTY_FUT_NEXT", "NFO:NIFTY26DECFUT", Kind.FUTURE),
        ("NIFTY 50", "NSE:NIFTY 50", Kind.INDEX),
        ("NSE:NIFTY 50", "NSE:NIFTY 50", Kind.INDEX),
        ("BANKNIFTY", "NSE:NIFTY BANK", Kind.INDEX),
        ("BSE:RELIANCE", "BSE:RELIANCE", Kind.EQUITY),
        ("NIFTY26DEC26000CE", "NFO:NIFTY26DEC26000CE", Kind.CALL),
    ],
)
def test_names_without_an_instrument_file_follow_the_calendar(name: str, key: str, kind: Kind) -> None:
    found = instrument_by_rules(name, CALENDAR, date(2026, 11, 18))
    assert (found.key, found.kind) == (key, kind)


def test_an_exchange_there_is_not_is_refused() -> None:
    with pytest.raises(DataError, match="there is no exchange 'NYSE'"):
        instrument_by_rules("NYSE:IBM", CALENDAR, date(2026, 11, 18))


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
