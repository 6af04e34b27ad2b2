"""Alerts from outside: who may send them, how old they may be, that each acts once, and what they become."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.house import House

SECRET = "the-secret-of-the-alerts"
TRADE = {"secret": SECRET, "time": "2026-11-20T04:30:00Z", "strategy": "outside_alerts", "name": "NIFTY_FUT", "action": "buy"}
SCAN = {"stocks": "SBIN,INFY", "trigger_prices": "560,1500", "triggered_at": "10:01 am", "scan_name": "breakouts"}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path, webhooks=True) as made:
        made.secrets["NIYAM_SIGNAL_SECRET"] = SECRET
        yield made


def send(house: House, given: object, source: str = "tradingview", headers: dict[str, str] | None = None, **query: Any) -> Any:
    body = given if isinstance(given, str) else json.dumps(given)
    return house.client.post(f"/api/v1/webhooks/{source}", content=body, headers=headers, params=query)


def signed(house: House, body: str, *, ago: int = 0, secret: str = SECRET) -> dict[str, str]:
    stamp = str(int(house.clock.now().timestamp()) - ago)
    return {"X-Niyam-Signature": f"t={stamp},v1={hmac.new(secret.encode(), f'{stamp}.{body}'.encode(), hashlib.sha256).hexdigest()}"}


def test_an_alert_becomes_a_signal_once(house: House) -> None:
    assert send(house, TRADE).json()["results"][0]["ok"] is True
    wanted = {"strategy": "outside_alerts", "name": "NIFTY_FUT", "target": 1.0, "stop": None, "take_profit": None, "why": "tradingview"}
    assert house.desk.asked == [("signal", wanted)]
    assert send(house, TRADE).json() == {"duplicate": True, "results": []}
    assert len(house.desk.asked) == 1
    assert send(house, {**TRADE, "action": "exit"}).json()["results"][0]["target"] == 0.0


def test_a_scan_is_a_signal_for_each_stock(house: House) -> None:
    reply = send(house, SCAN, "chartink", secret=SECRET, strategy="outside_alerts", target=-1)
    assert [(one["name"], one["target"]) for one in reply.json()["results"]] == [("SBIN", -1.0), ("INFY", -1.0)]
    assert house.desk.asked[0][1]["why"] == "chartink: breakouts"


def test_a_signature_is_held_to_its_body_its_time_and_its_secret(house: House) -> None:
    body = json.dumps({"strategy": "outside_alerts", "name": "NIFTY_FUT", "target": 2})
    assert send(house, body, headers=signed(house, body)).status_code == 200
    assert send(house, body, headers=signed(house, body)).json()["duplicate"] is True
    for headers in (
        signed(house, body + " "),
        signed(house, body, secret="another"),
        signed(house, body, ago=301),
        signed(house, body, ago=-301),
        {"X-Niyam-Signature": "t=,v1="},
        {"X-Niyam-Signature": "é"},
        {},
    ):
        latin = {name: value.encode("latin-1").decode("latin-1") for name, value in headers.items() if value.isascii()}
        assert send(house, body, headers=latin).status_code == 401, headers
    assert len(house.desk.asked) == 1


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"secret": "wrong"}, 401),
        ({"secret": None}, 401),
        ({"time": None}, 400),
        ({"time": "2026-11-20T04:24:00Z"}, 400),
        ({"time": "2026-11-20T04:36:00Z"}, 400),
        ({"time": "yesterday"}, 400),
        ({"action": "hold"}, 422),
        ({"target": 1}, 422),
        ({"action": None}, 422),
        ({"action": None, "target": 1e9}, 422),
        ({"stop": -1}, 422),
        ({"strategy": "../x"}, 422),
    ],
)
def test_a_wrong_alert_does_nothing(house: House, change: dict[str, Any], status: int) -> None:
    assert send(house, {**TRADE, **change}).status_code == status
    assert house.desk.asked == []


@pytest.mark.parametrize("body", ["", "[]", "null", "{", '"x"'])
def test_what_is_no_object_is_refused(house: House, body: str) -> None:
    assert send(house, body).status_code == 400


def test_alerts_are_rate_limited_and_lost_ones_say_so(house: House) -> None:
    house.desk.up = False
    assert send(house, TRADE).status_code == 503
    house.desk.up = True
    replies = [send(house, {**TRADE, "why": str(number)}).status_code for number in range(40)]
    assert replies.count(200) == 29
    assert replies[-1] == 429
    assert len(house.desk.asked) == 29


def test_they_are_off_until_switched_on_and_need_a_secret(tmp_path: Path) -> None:
    with House(tmp_path / "off") as house:
        house.secrets["NIYAM_SIGNAL_SECRET"] = SECRET
        assert send(house, TRADE).status_code == 403
    with House(tmp_path / "bare", webhooks=True) as house:
        assert send(house, {**TRADE, "secret": ""}).status_code == 503
