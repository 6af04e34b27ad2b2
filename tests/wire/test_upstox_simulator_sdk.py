"""The official, unmodified upstox-python-sdk (REST, both streamers) runs its whole script against the free-running simulator."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.wire.granted_client import ROOT, simulator
from tests.wire.tls_proxy import TlsProxy, self_signed

pytestmark = pytest.mark.xdist_group("upstox-sdk")  # one run of the script for all of these
OPENING = ["put order req received", "validation pending", "open pending", "open"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[str]]:
    folder: Path = tmp_path_factory.mktemp("tls")
    with simulator("upstox", "--speed", "0", "--start", "10:00") as about:
        address = urlsplit(about["rest"])
        with TlsProxy((str(address.hostname), int(address.port or 0)), self_signed(folder, "api.upstox.com")) as proxy:
            command = [sys.executable, "-m", "tests.wire.upstox_sdk", json.dumps(about)]
            done = subprocess.run(
                command, cwd=ROOT, env={**os.environ, "https_proxy": proxy.url}, capture_output=True, text=True, timeout=90
            )
            asked = list(proxy.asked)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found, asked


@pytest.fixture(scope="module")
def seen(run: tuple[dict[str, Any], list[str]]) -> dict[str, Any]:
    return run[0]


def refusal(code: str, status: int = 400) -> dict[str, Any]:
    return {"status": status, "code": code}


def test_login_redirects_and_a_code_is_good_once(seen: dict[str, Any]) -> None:
    assert seen["redirect"] == {"status": 302, "state": ["xyz"]}
    assert seen["session"] == {"user_id": "UP1234", "broker": "UPSTOX"}
    assert seen["reused_code"] == refusal("UDAPI100016", 401)
    assert seen["profile"] == "UP1234"


def test_the_instrument_file_has_upstoxs_units(seen: dict[str, Any]) -> None:
    future = seen["future"]
    assert seen["instruments"] > 300
    assert (future["tick_size"], future["lot_size"], future["expiry"] % 86_400_000) == (10.0, 65, 66_599_000)  # paise; 23:59:59 IST
    assert future["trading_symbol"] == "NIFTY FUT 23 NOV 26"


def test_quotes_are_keyed_by_symbol_and_name_their_key_inside(seen: dict[str, Any]) -> None:
    keys = {seen["future"]["instrument_key"], "NSE_EQ|INE002A01018"}
    assert seen["ltp"].keys() == keys == seen["depth"].keys()
    assert seen["ohlc"] == {"NSE_FO:NIFTY26NOVFUT": True, "NSE_EQ:RELIANCE": True}
    assert seen["unknown_key"] == refusal("UDAPI100011")
    assert seen["chain"]["contracts"] == 2 * 2 * seen["chain"]["strikes"]
    assert seen["hours"] == ["NORMAL_OPEN", 4]


def test_candles_come_newest_first_and_within_their_spans(seen: dict[str, Any]) -> None:
    assert seen["candles"] == {"newest_first": True, "stamp": "2026-11-19T15:35:00+05:30", "today": "2026-11-20", "weeks": 5}
    assert seen["too_long"] == refusal("UDAPI1148")
    assert seen["candles_v2"] == 26


def test_orders_climb_the_ladder_in_lower_case(seen: dict[str, Any]) -> None:
    assert seen["ladders"]["SDKMARKET"] == [*OPENING, "complete"]
    changes = ["modify validation pending", "modify pending", "modified", "open", "cancel pending", "cancelled"]
    assert seen["ladders"]["SDKLIMIT"] == [*OPENING, *changes]
    assert (seen["modified"], seen["cancelled"], seen["status"]) == (True, [True, True], "complete")
    assert seen["book"]["SDKMARKET"] == ["complete", 65, "D"]
    assert seen["trades"] == [1, 65]


def test_refusals_carry_upstoxs_codes(seen: dict[str, Any]) -> None:
    wanted = {
        "unprotected": "UDAPI1158", "overprotected": "UDAPI1159", "no_quantity": "UDAPI1052", "odd_lot": "UDAPI100500",
        "long_tag": "UDAPI1119", "no_key": "UDAPI100011", "mcx": "UDAPI1161", "cancel_again": "UDAPI100040", "no_order": "UDAPI100010",
    }  # fmt: skip
    assert {name: seen[name] for name in wanted} == {name: refusal(code) for name, code in wanted.items()}


def test_several_orders_at_once_end_in_part(seen: dict[str, Any]) -> None:
    assert seen["slices"] == 2
    assert seen["multi"] == {"status": "partial_success", "placed": 1, "errors": ["UDAPI100011"]}
    assert seen["multi_cancelled"] == 1


def test_books_and_funds_hold_together(seen: dict[str, Any]) -> None:
    assert (seen["positions"], seen["converted"]) == ([["D", 65]], {"D": 0, "I": 65})
    assert (seen["funds"], seen["margin"], seen["brokerage"], seen["holdings"]) == (True, [2, True], True, [])
    assert (seen["gtt"], seen["gtt_cancelled"]) == (["PENDING"] * 2, ["CANCELLED"] * 2)


def test_both_official_streamers_are_redirected_and_served(run: tuple[dict[str, Any], list[str]]) -> None:
    seen, asked = run
    assert set(asked) == {"api.upstox.com:443"}
    assert len(asked) == 5  # two streams, each redirected to an address of one use, and one that was refused
    assert seen["types"] == ["market_info", "snapshot", "snapshot"]
    assert {"ltpc", "marketLevel", "marketOHLC", "vtt", "oi"} <= set(seen["full"])
    assert seen["levels"] == 5
    assert seen["modes"] == [[False, "full_d5"], [True, "ltpc"], [True, "option_greeks"]]
    assert seen["keys"] == ["NSE_INDEX|Nifty 50"]
    assert seen["updates"][0] == ["order", "put order req received", "SDKSTREAM"]
    assert seen["updates"][-1] == ["order", "complete", "SDKSTREAM"]


def test_a_dead_token_ends_the_streamer_and_logout_the_session(seen: dict[str, Any]) -> None:
    (only,) = seen["dead_token"]
    assert "401 Unauthorized" in only
    assert (seen["logout"], seen["after_logout"]) == (True, refusal("UDAPI100050", 401))
