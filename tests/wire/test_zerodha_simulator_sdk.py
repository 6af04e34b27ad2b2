"""The official, unmodified kiteconnect SDK (REST and ticker) runs its whole script against the free-running simulator."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.wire.granted_client import ROOT, simulator

pytestmark = pytest.mark.xdist_group("sdk")  # one run of the script for all of these


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    with simulator("--speed", "0", "--start", "10:00") as about:
        command = [sys.executable, "-m", "tests.wire.official_sdk", json.dumps(about)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def error(kind: str, code: int, message: str) -> dict[str, Any]:
    return {"type": kind, "code": code, "message": message}


def test_login_redirects_exchanges_once_and_checks_the_checksum(seen: dict[str, Any]) -> None:
    assert seen["redirect"] == {"status": 302, "state": ["xyz"], "action": ["login"]}
    assert seen["bad_checksum"] == error("TokenException", 403, "Invalid `checksum`.")
    assert seen["session"] == {"user_id": "ZZ1234", "parsed": True}
    assert seen["reused_token"] == error("TokenException", 403, "Token is invalid or has expired.")
    assert seen["profile"] == "ZZ1234"


def test_logout_kills_the_token_and_the_sdk_notices(seen: dict[str, Any]) -> None:
    assert seen["logout"] is True
    assert seen["after_logout"] == error("TokenException", 403, "Incorrect `api_key` or `access_token`.")
    assert seen["hook"] == [True]


def test_the_instrument_file_parses_and_splits_by_exchange(seen: dict[str, Any]) -> None:
    counts = seen["instruments"]
    assert counts["all"] == counts["NSE"] + counts["NFO"] > 100
    future = seen["future"]
    assert (future["name"], future["segment"], future["instrument_type"], future["lot_size"]) == ("NIFTY", "NFO-FUT", "FUT", 65)
    assert str(future["instrument_token"] >> 8) == future["exchange_token"]


def test_quotes_know_keys_and_tokens_and_leave_out_the_unknown(seen: dict[str, Any]) -> None:
    token = str(seen["future"]["instrument_token"])
    for name in ("ltp", "ohlc", "quote"):
        assert seen[name] == sorted([token, "NFO:NIFTY26NOVFUT", "NSE:NIFTY 50", "NSE:RELIANCE"])
    quote = seen["quote_future"]
    assert quote["net_change"] == pytest.approx(quote["last_price"] - quote["ohlc"]["close"])
    assert len(quote["depth"]["buy"]) == len(quote["depth"]["sell"]) == 5
    assert quote["lower_circuit_limit"] < quote["last_price"] < quote["upper_circuit_limit"]
    assert set(seen["ltp_future"]) == {"instrument_token", "last_price"}
    assert set(seen["ohlc_future"]) == {"instrument_token", "last_price", "ohlc"}
    assert seen["quote_cap"]["type"] == "InputException"
    assert seen["quote_limit"] == [200, 429, 429]


def test_candles_are_inclusive_and_capped(seen: dict[str, Any]) -> None:
    assert seen["candles"] == {"minutes": 16, "first": "2026-11-19 09:15:00+05:30", "oi": True, "days": 7}
    assert seen["too_long"] == error("InputException", 400, "interval exceeds max limit: 60 days")
    assert seen["no_token"] == error("InputException", 400, "invalid token")


def test_a_market_order_becomes_a_limit_order_at_the_bands_edge(seen: dict[str, Any]) -> None:
    row = next(row for row in seen["book"] if row["tag"] == "SDKMARKET")
    assert (row["order_type"], row["status"], row["market_protection"]) == ("LIMIT", "COMPLETE", "0")
    assert row["tags"] == "['SDKMARKET', 'mktp', 'mktp:0.50']"
    assert float(row["price"]) == pytest.approx(float(row["average_price"]) * 1.005, rel=2e-4)


def test_the_ladders_have_every_documented_step(seen: dict[str, Any]) -> None:
    opening = ["PUT ORDER REQ RECEIVED", "VALIDATION PENDING", "OPEN PENDING"]
    changed = ["MODIFY VALIDATION PENDING", "MODIFY PENDING", "MODIFIED", "OPEN"]
    assert seen["ladders"]["SDKMARKET"][:4] == [*opening, "OPEN"]
    assert seen["ladders"]["SDKMARKET"][-1] == "COMPLETE"
    assert seen["ladders"]["SDKLIMIT"] == [*opening, "OPEN", *changed, "CANCEL PENDING", "CANCELLED"]
    assert seen["ladders"]["SDKSTOP"] == [*opening, "TRIGGER PENDING", "CANCEL PENDING", "CANCELLED"]


def test_refusals_arrive_as_the_sdks_own_exceptions(seen: dict[str, Any]) -> None:
    assert seen["unprotected"]["message"].startswith("Market orders without market protection are not allowed via API.")
    assert seen["odd_lot"] == error("InputException", 400, "Quantity should be a multiple of lot size.")
    assert seen["long_tag"]["type"] == seen["no_symbol"]["type"] == "InputException"
    assert seen["cancel_again"]["type"] == "OrderException"
    assert seen["no_order"]["type"] == "OrderException"


def test_slices_and_legs_are_shown_as_documented(seen: dict[str, Any]) -> None:
    parent, children = seen["slices"]["order_id"], [child["order_id"] for child in seen["slices"]["children"]]
    assert len(children) == 2
    rows = [row for row in seen["book"] if row["order_id"] in children]
    assert [row["tags"] for row in rows] == [f"['autoslice', 'autoslice:{parent}']"] * 2
    assert sum(int(row["quantity"]) for row in rows) == 65 * 40
    assert seen["iceberg"] == {"iceberg": {"leg": 1, "legs": 2, "leg_quantity": 65, "total_quantity": 130, "remaining_quantity": 65}}


def test_books_and_funds_hold_together(seen: dict[str, Any]) -> None:
    assert seen["trades"] == 1
    assert seen["trade"] == {"quantity": 65, "time_parsed": True}
    assert seen["positions"] == [{"tradingsymbol": "NIFTY26NOVFUT", "product": "NRML", "quantity": 65}]
    assert seen["identities"] == {"value": True, "pnl": True}
    assert seen["converted"] is True
    assert seen["after_conversion"] == {"NRML": 0, "MIS": 65}
    assert seen["margins"]["segments"] == ["commodity", "equity"]
    assert seen["margin"]["span"]
    assert seen["margin"]["basket"] == pytest.approx(2 * seen["margin"]["total"])
    charges = seen["charges"]
    parts = ("transaction_tax", "exchange_turnover_charge", "sebi_turnover_charge", "brokerage", "stamp_duty")
    assert charges["total"] == pytest.approx(sum(charges[part] for part in parts) + charges["gst"]["total"], abs=1e-3)


def test_triggers_live_and_are_deleted(seen: dict[str, Any]) -> None:
    assert seen["gtt"] == {"status": "active", "listed": 1, "result": None}
    assert seen["near_gtt"]["type"] == "InputException"
    assert seen["gtt_deleted"] == "deleted"


def test_the_official_ticker_gets_ticks_of_every_mode_and_order_messages(seen: dict[str, Any]) -> None:
    future = seen["future"]["instrument_token"]
    assert seen["ticks"]["modes"] == [[256265, "ltp"], [256265, "quote"], [future, "full"], [future, "quote"]]
    assert seen["ticks"]["depth"] == 5
    assert seen["updates"][0]["tags"] == ["SDKTICKER", "mktp", "mktp:2.00"]
    assert (seen["updates"][-1]["status"], seen["updates"][-1]["filled_quantity"]) == ("COMPLETE", 65)
    assert seen["stream_errors"] == ["0 Invalid request. Please check the message format."]
    assert seen["closed"] is True
    assert "403" in seen["bad_token"]
