"""Snippets of bare scripts over real sockets: history and a live price from a simulator of the broker."""

from datetime import datetime
from pathlib import Path

import pytest

from core.errors import DataError
from data_ingestion.data_fetcher import DataFetcher
from data_ingestion.live_feed import LiveDataFeed
from tests.wire.granted_client import simulator


def test_history_and_a_live_price_from_a_simulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NIYAM_STATE", str(tmp_path))
    with simulator("--start", "10:00", "--speed", "1") as about:
        monkeypatch.setenv("NIYAM_SIMULATOR", about["admin"])

        fetcher = DataFetcher(source="zerodha")
        frame = fetcher.fetch_historical("NIFTY_FUT", datetime(2026, 11, 18), datetime(2026, 11, 20, 9, 59), interval="5minute")
        assert frame.timestamp[0].isoformat() == "2026-11-18T09:15:00+05:30"
        assert frame.timestamp.is_monotonic_increasing
        assert len(frame) == 77 + 77 + 9
        assert (frame.high >= frame.low).all()
        minutes = fetcher.fetch_historical("RELIANCE", datetime(2026, 9, 1), datetime(2026, 11, 19, 15, 30), interval="minute")
        assert "oi" not in minutes.columns  # longer than one request may be: two chunks, no bar twice
        assert minutes.timestamp.is_unique
        again = fetcher.fetch_historical("NIFTY_FUT", datetime(2026, 11, 18), datetime(2026, 11, 20, 9, 59), interval="5minute")
        assert again.equals(frame), "from the candle store"
        assert (tmp_path / "candles" / "zerodha-synthetic" / "NFO" / "NIFTY26NOVFUT" / "5m" / "2026-11.parquet").exists()
        assert fetcher.notes == []
        with pytest.raises(DataError, match="did you mean NSE:RELIANCE"):
            fetcher.fetch_historical("RELIANC", datetime(2026, 11, 18), datetime(2026, 11, 19))
        fetcher.close()

        feed = LiveDataFeed(["NIFTY_FUT", "RELIANCE"])
        feed.start()
        try:
            assert feed.wait(20)
            tick = feed.latest_tick
            assert tick is not None
            assert tick["last_price"] > 0
            assert tick["symbol"] in ("NIFTY26NOVFUT", "RELIANCE")
            assert feed.get_latest_price() is not None
            assert feed.connected
        finally:
            feed.stop()
        assert feed.get_latest_price() is not None
        assert not feed.connected
