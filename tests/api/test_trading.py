"""Read-outs, bulk orders, commands, strategies, backtests and live updates."""

import json
import shutil
import time
from pathlib import Path

import pytest
from starlette.websockets import WebSocketDisconnect

from api.backtests import Backtests
from tests.api.house import House
from utils.config_loader import ROOT

ORDERS = [
    {"symbol": "NIFTY_FUT", "direction": "BUY", "lots": 1},
    {"symbol": "RELIANCE", "side": "SELL", "quantity": 100_000, "price": 1400.0, "order_type": "LIMIT"},
    {"symbol": "NIFTY_FUT", "direction": "SELL", "lots": 1, "product_type": "NRML"},
]

GIVEN = {"strategy": "nifty_trend", "data": "bars.csv"}


def test_bulk_orders_are_reported_one_by_one_and_a_refusal_stops_none(house: House) -> None:
    owner = house.user()
    reply = house.client.post("/api/v1/trades/bulk", json={"broker_type": "zerodha", "orders": ORDERS}, headers=owner).json()
    assert (reply["accepted"], [one["status"] for one in reply["results"]]) == (2, ["EXECUTED", "REJECTED", "EXECUTED"])
    assert [one["direction"] for one in house.desk.placed] == ["BUY", "SELL", "SELL"]
    assert all(one["broker"] == "zerodha" and one["live"] is False for one in house.desk.placed)


def test_bulk_can_be_switched_off(tmp_path: Path) -> None:
    with House(tmp_path, bulk=False) as house:
        reply = house.client.post("/api/v1/trades/bulk", json={"broker_type": "zerodha", "orders": ORDERS}, headers=house.user())
        assert (reply.status_code, house.desk.placed) == (403, [])


def test_commands_reach_the_daemon_as_they_are_meant(house: House) -> None:
    owner = house.user()
    for given, asked in [
        ({"name": "pause"}, ("pause", {})),
        ({"name": "resume", "confirm": True}, ("resume", {"confirm": True})),
        ({"name": "kill", "whole_account": "practice"}, ("kill", {"whole_account": "practice"})),
        ({"name": "absent", "tag": "SEEDT0W000001ABC", "confirm": True}, ("absent", {"tag": "SEEDT0W000001ABC", "confirm": True})),
        ({"name": "watch", "instrument": "SBIN"}, ("watch", {"name": "SBIN", "stop": False})),
    ]:
        assert house.client.post("/api/v1/commands", json=given, headers=owner).json()["ok"] is True
        assert house.desk.asked[-1] == asked
    house.client.post("/api/v1/strategies/nifty_trend/retune", json={"values": {"params.fast": 5}}, headers=owner)
    assert house.desk.asked[-1] == ("retune", {"name": "nifty_trend", "values": {"params.fast": 5}})
    house.desk.up = False
    assert house.client.post("/api/v1/commands", json={"name": "kill"}, headers=owner).status_code == 503
    assert house.client.get("/api/v1/status", headers=owner).json()["running"] is False


def test_kill_all_is_given_to_every_account_and_tells_each_outcome(house: House) -> None:
    owner = house.user()
    house.desk.status["accounts"] = [{"account": "mine"}, {"account": "second"}]
    told = house.client.post("/api/v1/commands/kill-all", headers=owner).json()
    assert told["ok"]
    assert {row["account"]: row["text"] for row in told["accounts"]} == {"mine": "kill done", "second": "kill done"}
    asked = sorted(house.desk.asked, key=lambda one: str(one[1]))
    assert asked == [("kill", {"account": "mine"}), ("kill", {"account": "second"})]
    house.desk.up = False
    assert house.client.post("/api/v1/commands/kill-all", headers=owner).status_code == 503


def test_an_order_names_the_account_that_it_is_for(house: House) -> None:
    order = {"symbol": "NIFTY_FUT", "direction": "BUY", "lots": 1}
    body = {"broker_type": "zerodha", "account": "second", "orders": [order]}
    assert house.client.post("/api/v1/trades/bulk", json=body, headers=house.user()).json()["accepted"] == 1
    assert house.desk.placed[0]["account"] == "second"
    refused = house.client.post("/api/v1/trades/bulk", json={**body, "account": "../x"}, headers=house.headers("owner"))
    assert refused.status_code == 422


def test_the_journal_is_searched(house: House) -> None:
    owner = house.user()
    rows = house.client.get("/api/v1/journal", params={"kind": "signal"}, headers=owner).json()
    assert [row["seq"] for row in rows] == [2]
    assert house.client.get("/api/v1/journal", params={"text": "STARTED"}, headers=owner).json()[0]["seq"] == 1
    assert house.client.get("/api/v1/journal", params={"since": 2}, headers=owner).json() == []
    assert [row["seq"] for row in house.client.get("/api/v1/journal", params={"before": 2}, headers=owner).json()] == [1]
    assert house.client.get("/api/v1/journal/kinds", headers=owner).json() == {"started": 1, "signal": 1}


def test_a_strategys_parameters_come_with_their_ranges(house: House) -> None:
    house.desk.strategies = [{"name": "nifty_trend", "class": "sma_cross"}, {"name": "gone", "class": "no_such_class"}]
    trend, gone = house.client.get("/api/v1/strategies", headers=house.user()).json()
    assert trend["ranges"][0] == {"name": "fast", "type": "int", "default": 9, "low": 1, "high": 500}
    assert gone["ranges"] == []


def test_a_chart_has_bars_indicators_and_the_fills_of_its_days(house: House) -> None:
    owner = house.user()
    assert house.client.get("/api/v1/charts", headers=owner).json()[0]["instrument"] == "NFO:NIFTY26NOVFUT"
    found = house.client.get("/api/v1/chart", params={"instrument": "NFO:NIFTY26NOVFUT", "interval": 5}, headers=owner).json()
    assert [row["price"] for row in found["trades"]] == [25_000.0]
    assert house.client.get("/api/v1/chart", params={"instrument": "NSE:SBIN"}, headers=owner).status_code == 404


def test_the_settings_are_checked(house: House) -> None:
    assert house.client.get("/api/v1/check", headers=house.user()).json()["checks"][0]["status"] == "ok"


def test_a_backtest_runs_as_a_child_over_the_data_folder_alone(house: House) -> None:
    owner, trader = house.user(), house.user("trader")
    folder = house.folder / "backtest-data"
    folder.mkdir()
    rows = ["timestamp,symbol,open,high,low,close,volume"]
    for minute in range(120):
        price = 25_000 + minute % 17
        at = f"2026-11-20T{9 + (15 + minute) // 60:02d}:{(15 + minute) % 60:02d}:00+05:30"
        rows.append(f"{at},NFO:NIFTY26NOVFUT,{price},{price + 2},{price - 2},{price + 1},100")
    (folder / "bars.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    shutil.copy(folder / "bars.csv", house.folder / "outside.csv")
    for wrong in ("../outside.csv", str(house.folder / "outside.csv"), "none.csv"):
        given = {"strategy": "nifty_trend", "data": wrong}
        assert house.client.post("/api/v1/backtests", json=given, headers=owner).status_code == 404, wrong
    made = house.client.post("/api/v1/backtests", json={**GIVEN, "params": {"fast": 3}}, headers=owner)
    assert made.status_code == 202
    path = f"/api/v1/backtests/{made.json()['id']}"
    assert house.client.get(path, headers=trader).status_code == 404
    end = time.monotonic() + 60
    while (found := house.client.get(path, headers=owner).json())["state"] in ("queued", "running"):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert found["state"] == "done", found
    assert (found["result"]["bars"], found["result"]["params"]["fast"], found["progress"]) == (120, 3, 1.0)
    page = house.client.get(f"{path}/report", headers=owner)
    assert "<h1>nifty_trend on " in page.text
    assert "sandbox allow-scripts; default-src 'none'" in page.headers["content-security-policy"]
    assert house.client.get(f"{path}/report", headers=trader).status_code == 404
    assert str(ROOT) not in json.dumps(house.client.get("/api/v1/backtests", headers=owner).json())
    wrong = house.client.post("/api/v1/backtests", json={**GIVEN, "params": {"fast": 0}}, headers=owner).json()["id"]
    while (refused := house.client.get(f"/api/v1/backtests/{wrong}", headers=owner).json())["state"] in ("queued", "running"):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert (refused["state"], "fast: 0 is outside 1..500" in refused["error"]) == ("failed", True), refused
    assert house.client.get(f"/api/v1/backtests/{wrong}/report", headers=owner).status_code == 404
    again = Backtests(house.parts.config, house.folder)
    assert {run.id: run.state for run in again.of(1)} == {found["id"]: "done", wrong: "failed"}, "kept over a restart"
    assert house.client.get("/api/v1/backtests/choices", headers=owner).json()["data"] == ["bars.csv"]


def test_live_updates_need_a_token_and_say_what_changed(house: House) -> None:
    token = house.user()["Authorization"].removeprefix("Bearer ")
    with house.client.websocket_connect("/api/v1/live") as socket:
        socket.send_json({"token": token})
        assert socket.receive_json()["status"]["trading_state"] == "ACTIVE"
        house.desk.status = {**house.desk.status, "trading_state": "HALTED"}
        while "status" not in (message := socket.receive_json()):
            pass
        assert message["status"]["trading_state"] == "HALTED"
    for wrong in ('{"token": "x"}', "no json", "[]"):
        with house.client.websocket_connect("/api/v1/live") as socket:
            socket.send_text(wrong)
            with pytest.raises(WebSocketDisconnect) as ended:
                socket.receive_json()
            assert ended.value.code == 4401
    with pytest.raises(WebSocketDisconnect), house.client.websocket_connect("/api/v1/live", headers={"Origin": "http://evil.example"}):
        pass
