"""The official, unmodified smartapi-python SDK (REST and both sockets) runs its whole script against the free-running simulator."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.wire.granted_client import ROOT, simulator

pytestmark = pytest.mark.xdist_group("smartapi-sdk")  # one run of the script for all of these


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    littered: Path = tmp_path_factory.mktemp("sdk")
    with simulator("angelone", "--speed", "0", "--start", "10:00") as about:
        command = [sys.executable, "-m", "tests.wire.smartapi_sdk", json.dumps(about)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=littered, env=environment, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_login_needs_mpin_and_totp_and_can_be_renewed_once(seen: dict[str, Any]) -> None:
    assert (seen["bad_totp"]["errorcode"], seen["bad_mpin"]["errorcode"]) == ("AB1050", "AB1007")
    assert seen["session"] == {"status": True, "client": "A123456"}
    assert "nse_fo" in seen["profile"]
    assert (seen["feed_token"], seen["renewed"]) == (True, True)
    assert seen["used_refresh"]["raised"] == "TypeError"  # the SDK trips over the refusal's null
    assert seen["logout"] is True
    assert seen["after_logout"] == {"success": False, "message": "Invalid Token", "errorCode": "AG8001", "data": ""}


def test_market_data_is_what_the_documents_say(seen: dict[str, Any]) -> None:
    future = seen["master"]["future"]
    assert (future["instrumenttype"], future["exch_seg"], future["lotsize"], future["tick_size"]) == ("FUTIDX", "NFO", "65", "10.000000")
    assert seen["search"] == [{"exchange": "NSE", "tradingsymbol": "RELIANCE-EQ", "symboltoken": "2885"}]
    sizes = [len(seen[f"quote_{mode}"]["fetched"][1]) for mode in ("LTP", "OHLC", "FULL")]
    assert sizes == [4, 8, 23]
    assert seen["quote_LTP"]["unfetched"][0]["errorCode"] == "AB4018"
    assert (len(seen["candles"]), seen["candles"][0][0]) == (16, "2026-11-19T09:15:00+05:30")
    assert len(seen["oi"]) == 4
    assert seen["too_long"]["errorcode"] == "AB1004"
    assert seen["no_candles"]["data"] is None


def test_orders_go_their_way_and_refusals_say_why(seen: dict[str, Any]) -> None:
    book = seen["book"]
    assert (book["SDKMARKET"]["ordertype"], book["SDKMARKET"]["orderstatus"]) == ("LIMIT", "complete")
    assert {book[tag]["orderstatus"] for tag in ("SDKLIMIT", "SDKSTOP")} == {"cancelled"}
    assert book["SDKSTOP"]["variety"] == "STOPLOSS"
    assert "multiple of lot size" in seen["odd"]["text"]
    codes = [seen[name]["errorcode"] for name in ("no_symbol", "long_tag", "robo", "wrong_variety")]
    assert codes == ["AB1009", "AB4008", "AB2002", "AB1008"]
    assert seen["hidden_refusal"] is None  # placeOrder keeps the reason to itself
    assert seen["details"] == "SDKMARKET"
    (trade,) = seen["trades"]
    assert (trade["fillsize"], len(trade["filltime"])) == ("65", 8)


def test_the_account_adds_up(seen: dict[str, Any]) -> None:
    (position,) = seen["positions"]
    assert position["netvalue"].startswith("- ")
    assert float(position["netvalue"].replace(" ", "")) == float(position["totalsellvalue"]) - float(position["totalbuyvalue"])
    assert seen["rms"]["availablecash"] == seen["rms"]["net"]
    assert seen["holdings"] is None
    assert seen["margin"]["totalMarginRequired"] > 0
    assert seen["charges"]["total_charges"] == pytest.approx(sum(line["amount"] for line in seen["charges"]["breakup"]), abs=1e-3)
    assert seen["after_conversion"] == {"CARRYFORWARD": "0", "INTRADAY": "65"}
    assert (seen["gtt"], seen["gtt_listed"], seen["gtt_cancelled"]) == ({"id": "1", "quantity": 20}, 1, "CANCELLED")


def test_both_sockets_speak_to_the_sdk(seen: dict[str, Any]) -> None:
    token = seen["master"]["future"]["token"]
    assert seen["modes"] == [[1, mode, "99926000"] for mode in (1, 2, 3)] + [[2, mode, token] for mode in (1, 2, 3)]
    snap = seen["snap"]
    assert {level["flag"] for level in snap["best_5_buy_data"]} == {1}
    assert snap["best_5_buy_data"][0]["price"] < snap["best_5_sell_data"][0]["price"]
    updates = seen["updates"]
    assert updates[0]["order-status"] == "AB00"
    assert (updates[-1]["order-status"], updates[-1]["orderData"]["filledshares"]) == ("AB05", "65")
    assert seen["refused_feed"] is True


def test_a_rate_limit_looks_like_a_broken_reply_to_the_sdk(seen: dict[str, Any]) -> None:
    assert seen["first_book"] is True
    assert seen["second_book"]["raised"] == "DataException"
    assert "exceeding access rate" in seen["second_book"]["text"]
