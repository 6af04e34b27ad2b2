"""Bare scripts at Angel One's simulator: SmartAPIClient with the documented login, and history and a live price by DataFetcher."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from brokers.angelone import SmartAPIClient
from core.errors import LoginRefused, RateLimited, Rejected, SessionExpired, Transient
from data_ingestion.data_fetcher import DataFetcher
from data_ingestion.live_feed import LiveDataFeed
from execution_engine.order_manager import OrderManager
from simulators.totp import totp
from tests.wire.by_hand import move
from tests.wire.granted_client import admin, simulator


@pytest.fixture(scope="module")
def about() -> Iterator[dict[str, Any]]:
    with simulator("angelone", "--start", "10:00", "--speed", "0") as about:
        yield about


@pytest.fixture
def free() -> Iterator[dict[str, Any]]:
    """One whose time runs by itself, for what keeps to its clock."""
    with simulator("angelone", "--start", "10:00", "--speed", "1") as about:
        yield about


def client_of(about: dict[str, Any], state: Path, **changes: Any) -> SmartAPIClient:
    given = about["credentials"]
    named = {"api_key": given["api_key"], "client_id": given["client_code"], "mpin": given["mpin"], "secret_key": "unused"}
    return SmartAPIClient(**{**named, "base_url": about["rest"], "state": state, **changes})


def code(about: dict[str, Any]) -> str:
    """What the client's authenticator app shows at the simulator's time; a login a second of the market is allowed."""
    move(about, 1.5)
    return totp(about["credentials"]["totp_secret"], datetime.fromisoformat(admin(about, "GET", "/")["now"]))


def test_the_documented_client_logs_in_trades_and_reads_its_books(about: dict[str, Any], tmp_path: Path) -> None:
    client = client_of(about, tmp_path)
    assert client.is_token_valid() is False
    with pytest.raises(SessionExpired, match="login"):
        client.get_profile()
    with pytest.raises(LoginRefused, match="AB1050"):
        client.generate_session("000000")
    move(about, 1.2)  # one login a second of the market
    session = client.generate_session(code(about))
    assert session["client_id"] == "A123456"
    assert all(session[name] for name in ("access_token", "refresh_token", "feed_token"))
    assert client.is_token_valid() is True
    assert client.get_profile()["clientcode"] == "A123456"

    bought = client.place_order("RELIANCE", "BUY", 10)
    assert sorted(bought) == ["orderid", "ordertag", "price", "script", "uniqueorderid"]
    assert bought["script"] == "RELIANCE-EQ"
    resting = client.place_order("NIFTY26NOVFUT", "buy", 65, "LIMIT", "CARRYFORWARD", price=25000.0, exchange="NFO", tag="MINE1")
    stop = client.place_order("RELIANCE-EQ", "SELL", 10, "SL", trigger_price=1400.0, tag="STOP1")
    move(about, 1.2)  # both are at the exchange
    assert client.cancel_order(resting["orderid"])["orderid"] == resting["orderid"]
    assert client.cancel_order(stop["orderid"], "STOPLOSS")["orderid"] == stop["orderid"]
    move(about, 1.2)
    book = {row["ordertag"]: row for row in client.get_order_book()}
    assert (book[bought["ordertag"]]["ordertype"], book["STOP1"]["ordertype"]) == ("LIMIT", "STOPLOSS_LIMIT")
    assert book["STOP1"]["price"] == pytest.approx(1400 * 0.997, abs=0.1)
    (trade,) = client.get_trade_book()
    assert (trade["orderid"], trade["fillsize"]) == (bought["orderid"], "10")
    assert [row["netqty"] for row in client.get_positions()] == ["10"]
    assert client.get_holdings() == []

    candles = client.get_market_data("RELIANCE", "FIVE_MINUTE", "2026-11-19 09:15", "2026-11-19 10:00")
    assert [candles[0]["timestamp"].isoformat(), len(candles)] == ["2026-11-19T09:15:00+05:30", 10]
    assert sorted(candles[0]) == ["close", "high", "low", "open", "timestamp", "volume"]
    client.logout()
    assert client.is_token_valid() is False


def test_the_session_refreshes_itself_and_says_when_it_cannot(about: dict[str, Any], tmp_path: Path) -> None:
    client = client_of(about, tmp_path)
    first = client.generate_session(code(about))
    assert client.refresh_session()["access_token"] != first["access_token"]
    move(about, 1.2)
    admin(about, "POST", "/faults", {"fault": "kill_token", "match": {"route": "GET */getProfile"}})
    with pytest.raises(SessionExpired):
        client.get_profile()
    assert client.get_profile()["clientcode"] == "A123456", "refreshed without a code"
    move(about, 1.2)
    kill = {"fault": "kill_token", "match": {"route": "GET */getPosition"}}
    refuse = {"fault": "error", "error_type": "AB8051", "message": "Refresh Token Expired", "status": 200}
    admin(about, "POST", "/faults", [kill, {**refuse, "match": {"route": "POST */generateTokens"}}])
    with pytest.raises(SessionExpired):
        client.get_positions()
    with pytest.raises(SessionExpired, match="AB8051"):
        client.get_positions()
    with pytest.raises(SessionExpired, match="generate_session"):
        client.refresh_session()
    admin(about, "DELETE", "/faults")


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("not in Angel One's instruments", {"symbol": "NOSUCH"}),
        ("neither BUY nor SELL", {"transaction_type": "HOLD"}),
        ("no positive multiple of its lot", {"quantity": 0}),
        ("none of MARKET, LIMIT, SL", {"order_type": "GTC"}),
        ("needs trigger_price", {"order_type": "SL-M"}),
        ("is not one of DELIVERY, INTRADAY", {"product": "MIS"}),
        ("letters and digits", {"tag": "T" * 20}),
    ],
)
def test_what_cannot_be_meant_is_refused_before_it_is_sent(
    about: dict[str, Any], tmp_path: Path, words: str, given: dict[str, Any]
) -> None:
    client = client_of(about, tmp_path)
    with pytest.raises(Rejected, match=words):
        client.place_order(**{"symbol": "RELIANCE", "transaction_type": "BUY", "quantity": 1, "price": 1400.0, **given})


def test_network_and_rate_have_types_of_their_own(about: dict[str, Any], tmp_path: Path) -> None:
    client = client_of(about, tmp_path)
    client.generate_session(code(about))
    drop = {"fault": "drop_request", "match": {"route": "GET */getHolding"}}
    admin(about, "POST", "/faults", [drop, {"fault": "rate_limit", "match": {"route": "GET */getTradeBook"}}])
    with pytest.raises(Transient, match="no answer"):
        client.get_holdings()
    with pytest.raises(RateLimited, match="exceeding"):
        client.get_trade_book()
    with pytest.raises(Transient, match="did not answer"):
        client_of(about, tmp_path / "other", base_url="http://127.0.0.1:9").generate_session("123456")


def test_history_and_a_live_price_come_as_from_every_broker(free: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIYAM_STATE", str(tmp_path))
    monkeypatch.setenv("NIYAM_SIMULATOR", free["admin"])
    fetcher = DataFetcher(source="angelone")
    frame = fetcher.fetch_historical("NIFTY_FUT", datetime(2026, 11, 18), datetime(2026, 11, 19, 15, 30), interval="5minute")
    assert frame.timestamp[0].isoformat() == "2026-11-18T09:15:00+05:30"
    assert len(frame) == 77 + 76
    fetcher.close()
    feed = LiveDataFeed(["NIFTY_FUT", "RELIANCE"], source="angelone")
    feed.start()
    try:
        assert feed.wait(20)
        tick = feed.latest_tick
        assert tick is not None
        assert tick["last_price"] > 0
    finally:
        feed.stop()


def test_no_secret_reached_the_log_of_the_wire(about: dict[str, Any]) -> None:
    text = json.dumps(admin(about, "GET", "/requests"))
    assert about["credentials"]["totp_secret"] not in text


def test_orders_of_a_script_pass_the_engine_on_paper_and_live(
    free: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIYAM_STATE", str(tmp_path))
    monkeypatch.setenv("NIYAM_SIMULATOR", free["admin"])
    before = len(admin(free, "GET", "/accounts")["A123456"]["orders"])
    manager = OrderManager(broker="angelone")
    paper = manager.place_order("NIFTY_FUT", "BUY", lots=1, order_type="MARKET", product_type="MIS")
    assert (paper["status"], paper["filled"], paper["error"]) == ("EXECUTED", 65, "")
    live = manager.place_order("INFY", "BUY", 10, product_type="CNC", live=True)
    assert (live["status"], live["filled"], live["error"]) == ("EXECUTED", 10, "")
    (order,) = admin(free, "GET", "/accounts")["A123456"]["orders"][before:]
    assert (order["orderid"], order["orderstatus"], order["producttype"]) == (live["order_id"], "complete", "DELIVERY")
