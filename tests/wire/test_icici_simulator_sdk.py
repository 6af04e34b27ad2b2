"""The official, unmodified breeze-connect SDK runs its whole script against the free-running simulator, and reads as our codec does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.wire.granted_client import ROOT, simulator

pytestmark = pytest.mark.xdist_group("breeze-sdk")  # one run of the script for all of these


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("breeze")
    with simulator("icici", "--speed", "0", "--start", "10:00") as about:
        command = [sys.executable, "-m", "tests.wire.breeze_sdk", json.dumps(about)]
        environment = {**os.environ, "TZ": "Asia/Kolkata", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_every_call_that_should_succeed_did(seen: dict[str, Any]) -> None:
    assert "refused" not in seen, seen["refused"]


def test_a_session_by_its_number_and_the_masters_names(seen: dict[str, Any]) -> None:
    assert "Please check session key" in seen["wrong_session"]
    assert (seen["user"], seen["customer"]) == ("XY604721", "XY604721")
    assert (seen["names"]["isec_stock_code"], seen["names"]["isec_token_level1"]) == ("RELIND", "4.1!2885")


def test_market_data_has_breezes_shapes(seen: dict[str, Any]) -> None:
    assert (seen["cash_quotes"], seen["unknown_quotes"]) == (["NSE", "BSE"], [])
    assert seen["chain_futures"] == ["Futures"]
    assert seen["v2"][1:] == ["2026-11-19 09:15:00", "float"]
    assert seen["v1"][1] == "str"


def test_orders_live_as_the_documents_say(seen: dict[str, Any]) -> None:
    assert seen["book"] == [["Executed", "Limit", None], ["Cancelled", "Limit", None], ["Cancelled", "StopLoss", None]]
    assert (seen["modified"], set(seen["cancelled"])) == ("Successfully Modified the order", {"Your Order Canceled successfully."})
    assert seen["wrong_code"] == [500, "Stock-Code not found."]
    assert seen["cancel_again"][0] == 500
    assert (seen["detail"], seen["trades"], seen["trade_detail"]) == (["Executed", "65"], [["NIFTY", "65"]], 65)
    assert (seen["positions"], seen["flat"]) == ([["Buy", "65", "Futures"]], ["NA"])


def test_the_account_and_its_gtt_orders(seen: dict[str, Any]) -> None:
    assert all(seen[name] for name in ("funds", "margin", "calculator", "preview"))
    assert (seen["demat"], seen["holdings"], seen["set_funds"]) == ([], [], {"status": "Success"})
    assert seen["gtt"] == [["Single", ["Active"]]]


def test_all_three_streams_and_the_same_ticks_as_our_codec(seen: dict[str, Any]) -> None:
    assert seen["kinds"] == ["candle", "depth", "order", "quote"]
    assert {"4.1!2885", "4.2!2885", "4.1!NIFTY 50"} < set(seen["symbols"])
    assert seen["statuses"] == ["Queued", "Ordered", "Executed"]
    assert seen["compared"] > 10
    assert seen["alike"], (seen["ours"], seen["theirs"])
