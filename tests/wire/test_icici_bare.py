"""Bare scripts at ICICI: ICICIAPIClient, icici_buy and icici_sell, DataFetcher and OrderManager, and a type for each failure."""

import json
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, quote_plus, urlsplit

import pytest

from core.errors import ConfigError, LoginRefused, RateLimited, Rejected, SessionExpired, Transient
from data_ingestion.data_fetcher import DataFetcher
from data_ingestion.live_feed import LiveDataFeed
from execution_engine.buy_sell_logic import icici_buy, icici_sell
from execution_engine.order_manager import OrderManager
from icici_client import ICICIAPIClient
from tests.wire.by_hand import move
from tests.wire.granted_client import admin, simulator


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        return None


@pytest.fixture(scope="module")
def about() -> Iterator[dict[str, Any]]:
    with simulator("icici", "--start", "10:00", "--speed", "0") as about:
        yield about


@pytest.fixture(scope="module")
def free() -> Iterator[dict[str, Any]]:
    """One whose time runs by itself, for what keeps to its clock."""
    with simulator("icici", "--start", "10:00", "--speed", "1") as about:
        yield about


def apisession(about: dict[str, Any]) -> str:
    """What the redirect of the day's login carries."""
    try:
        urllib.request.build_opener(_Stay).open(f"{about['login']}?api_key={quote_plus(about['credentials']['api_key'])}")
    except HTTPError as error:
        return parse_qs(urlsplit(error.headers["Location"]).query)["apisession"][0]
    raise AssertionError("the login page did not redirect")


def client_of(about: dict[str, Any], state: Path, token: str, **changes: Any) -> ICICIAPIClient:
    given = {**about["credentials"], "access_token": token, "base_url": about["rest"], "state": state}
    return ICICIAPIClient(**{**given, **changes})


def test_the_documented_client_quotes_trades_and_shows_the_portfolio(about: dict[str, Any], tmp_path: Path) -> None:
    client = client_of(about, tmp_path, apisession(about))
    quote = client.get_quote("RELIANCE", "NSE")
    assert (quote["symbol"], quote["stock_code"], quote["exchange_code"]) == ("RELIANCE", "RELIND", "NSE")
    bought = client.place_order(symbol="RELIANCE", side="BUY", quantity=10, order_type="MARKET", product="CNC", exchange="NSE")
    assert quote["ltp"] < bought["price"] < quote["ltp"] * 1.01
    move(about, 3)
    status = client.get_order_status(bought["order_id"])
    assert (status["status"], status["quantity"], status["product_type"]) == ("Executed", "10", "Cash")
    resting = client.place_order("NIFTY26NOVFUT", "BUY", 65, "LIMIT", "NRML", "NFO", price=25000.0)
    move(about, 3)
    assert client.cancel_order(resting["order_id"])["order_id"] == resting["order_id"]
    portfolio = client.get_portfolio()
    assert [(row["stock_code"], row["action"], row["quantity"]) for row in portfolio["positions"]] == [("RELIND", "Buy", "10")]
    assert portfolio["funds"]["allocated_equity"] > 0
    assert portfolio["holdings"] == []
    again = client_of(about, tmp_path, "")
    assert again.get_order_status(bought["order_id"])["status"] == "Executed", "by the stored session"
    assert (tmp_path / "session" / "icici.json").stat().st_mode & 0o777 == 0o600


def test_icici_buy_and_sell_take_the_seeds_arguments(about: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIYAM_STATE", str(tmp_path))
    monkeypatch.setenv("ICICI_BASE_URL", about["rest"])
    named = {**about["credentials"], "access_token": apisession(about)}
    assert icici_buy(trade_type=False, ticker="SBIN", quantity=4, **named)["order_id"]
    assert icici_buy(trade_type=True, ticker="SBIN", quantity=2, **named)["order_id"]
    move(about, 3)
    assert icici_sell(trade_type=False, ticker="SBIN", quantity=4, **named)["order_id"]
    with pytest.raises(Rejected, match="MTF is for buying alone"):
        icici_sell(trade_type=True, ticker="SBIN", quantity=2, **named)


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("security master", {"symbol": "NOSUCH"}),
        ("neither BUY nor SELL", {"side": "HOLD"}),
        ("no positive multiple of its lot", {"quantity": 0}),
        ("none of MARKET, LIMIT", {"order_type": "GTC"}),
        ("needs trigger_price", {"order_type": "SL"}),
        ("needs price", {"order_type": "LIMIT"}),
        ("no intraday product", {"product": "MIS"}),
        ("takes NRML", {"symbol": "NFO:NIFTY26NOVFUT", "quantity": 65, "product": "MIS"}),
    ],
)
def test_what_cannot_be_meant_is_refused_before_it_is_sent(
    about: dict[str, Any], tmp_path: Path, words: str, given: dict[str, Any]
) -> None:
    client = client_of(about, tmp_path, apisession(about))
    with pytest.raises(Rejected, match=words):
        client.place_order(**{"symbol": "RELIANCE", "side": "BUY", "quantity": 1, **given})


def test_login_rate_and_network_have_types_of_their_own(about: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(LoginRefused, match="apisession is wrong"):
        client_of(about, tmp_path / "1", "12345678").get_portfolio()
    with pytest.raises(LoginRefused, match="ICICI_API_KEY"):
        client_of(about, tmp_path / "2", apisession(about), api_key="nobody").get_portfolio()
    with pytest.raises(SessionExpired, match=r"main\.py login icici"):
        client_of(about, tmp_path / "3", "").get_portfolio()
    with pytest.raises(Rejected, match="ICICI_API_SECRET"):
        client_of(about, tmp_path / "4", apisession(about), api_secret="another").get_portfolio()
    with pytest.raises(ConfigError, match="nowhere else"):
        client_of(about, tmp_path, "", base_url="https://api.example.com")
    client = client_of(about, tmp_path / "5", apisession(about))
    drop = {"fault": "drop_request", "match": {"route": "GET */dematholdings"}}
    admin(about, "POST", "/faults", [drop, {"fault": "rate_limit", "match": {"route": "GET */order"}}])
    with pytest.raises(Transient, match="no answer"):
        client.get_portfolio()
    with pytest.raises(RateLimited, match="per minute"):
        client.get_order_status("20261120N300001234")
    admin(about, "DELETE", "/faults")


def test_history_and_a_live_price_come_as_from_every_broker(free: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIYAM_STATE", str(tmp_path))
    monkeypatch.setenv("NIYAM_SIMULATOR", free["admin"])
    fetcher = DataFetcher(source="icici")
    frame = fetcher.fetch_historical("NIFTY_FUT", datetime(2026, 11, 18), datetime(2026, 11, 19, 15, 30), interval="5minute")
    assert frame.timestamp[0].isoformat() == "2026-11-18T09:15:00+05:30"
    joined = fetcher.fetch_historical("RELIANCE", datetime(2026, 11, 18), datetime(2026, 11, 18, 15, 30), interval="15minute")
    assert [stamp.strftime("%H:%M") for stamp in joined.timestamp[:3]] == ["09:15", "09:30", "09:45"]
    fetcher.close()
    feed = LiveDataFeed(["NIFTY_FUT", "RELIANCE"], source="icici")
    feed.start()
    try:
        assert feed.wait(20)
        assert feed.latest_tick is not None
        assert feed.latest_tick["last_price"] > 0
    finally:
        feed.stop()


def test_order_manager_trades_by_name(free: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIYAM_STATE", str(tmp_path))
    monkeypatch.setenv("NIYAM_SIMULATOR", free["admin"])
    answer = OrderManager(broker="icici").place_order("NIFTY_FUT", "BUY", lots=1, live=True)
    assert (answer["status"], answer["success"]) == ("EXECUTED", True), answer


def test_no_secret_reached_the_log_of_the_wire(about: dict[str, Any]) -> None:
    text = json.dumps(admin(about, "GET", "/requests"))
    assert about["credentials"]["api_secret"] not in text
    assert about["credentials"]["api_key"] not in text
