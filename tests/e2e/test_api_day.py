"""A person's way through the API over the Zerodha simulator, by HTTP alone; no secret is left about; a dead web process is no matter."""

import json
import os
import signal
import socket
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from runtime.brokerage import fingerprint
from tests.e2e.stage import BUSY, HELD, Stage, admin, until

PASSWORD = "marked-password-77321"
IDLE = """\
class: outside_alerts
instruments: [NIFTY_FUT]
interval: 1m
params: {}
size: {lots: 1}
horizon: intraday
window: {entry_from: "09:20"}
risk: {max_loss: 1000000, stop_pct: 5.0}
enabled: true
"""


class Browser:
    """HTTP as a front end speaks it; keeps every reply."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.token = ""
        self.replies: list[str] = []

    def call(self, method: str, path: str, body: object = None, wanted: int = 200) -> Any:
        status, text, _ = self.raw(method, f"{self.address}{path}", body)
        assert status == wanted, (method, path, status, text)
        return json.loads(text)

    def raw(self, method: str, url: str, body: object = None) -> tuple[int, str, str]:
        """(status, text, where a redirect leads to, which is not followed)."""
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {self.token}"} if self.token else {})}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.build_opener(_Stays).open(request, timeout=60) as reply:
                status, text, location = reply.status, reply.read().decode(), reply.headers.get("location", "")
        except urllib.error.HTTPError as error:
            status, text, location = error.code, error.read().decode(), error.headers.get("location", "")
        if url.startswith(self.address):
            self.replies.append(text)
        return status, text, location


class _Stays(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        return None


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path) as made:
        made.strategy.write_text(IDLE, encoding="utf-8")
        yield made


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def answers(browser: Browser) -> bool:
    try:
        return browser.raw("GET", f"{browser.address}/healthz")[0] == 200
    except OSError:
        return False


def web_process(daemon: int) -> int:
    """The child `serve` of a daemon."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and b"serve" in _read(entry / "cmdline").split(b"\0") and f"\nPPid:\t{daemon}\n" in _status(entry):
            return int(entry.name)
    return 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _status(entry: Path) -> str:
    return _read(entry / "status").decode(errors="replace")


def test_a_person_registers_logs_in_to_a_broker_trades_and_kills_over_http_alone(stage: Stage) -> None:
    port = free_port()
    stage.configure("settings.yaml", "  port: 8000", f"  port: {port}")
    stage.simulate(start="10:00", speed=HELD)
    known = admin(stage.simulator, "GET", "/")
    key, secret = known["credentials"]["api_key"], known["credentials"]["api_secret"]
    daemon = stage.run(api=True)
    browser = Browser(f"http://127.0.0.1:{port}")
    until(lambda: answers(browser), "the web process")
    stage.until(lambda status: bool(status["feed"]["connected"]), "the day")

    browser.call("POST", "/api/v1/auth/register", {"email": "Me@Example.in", "password": PASSWORD}, 201)
    logged_in = browser.call("POST", "/api/v1/auth/login", {"email": "me@example.in", "password": PASSWORD})
    browser.token = logged_in["access_token"]
    given = {"broker": "zerodha", "api_key": key, "api_secret": secret}
    assert browser.call("POST", "/api/v1/auth/first-time-api-setup", given)["activated"] is False

    told = browser.call("GET", "/api/v1/dashboard/zerodha/login-url")
    admin(stage.simulator, "POST", "/redirect", {"url": told["redirect_uri"]})
    status, _, back = browser.raw("GET", told["login_url"])
    assert (status, back.partition("?")[0]) == (302, told["redirect_uri"])
    token = parse_qs(urlsplit(back).query)["request_token"][0]
    assert parse_qs(urlsplit(back).query)["state"] == [told["state"]]
    status, page, _ = browser.raw("GET", back)
    assert (status, "caught" in page, token in page) == (200, True, False)
    assert browser.raw("GET", back)[0] == 400, "an answer is caught once"

    activate = {"brokerage": "zerodha", "api_url": "https://evil.example", "api_key": key, "api_secret": secret}
    browser.call("POST", "/api/v1/dashboard/activate-brokerage", activate, 400)
    done = browser.call("POST", "/api/v1/dashboard/activate-brokerage", {**activate, "api_url": "https://api.kite.trade"})
    assert done["message"] == "zerodha activated successfully"
    assert done["session_id"] == done["access_token"]

    def figures() -> Any:
        found = browser.call("GET", "/api/v1/dashboard/dashboard")
        assert (found["stale"], found["error"], found["account_kind"]) == (False, None, "practice-live"), found
        return found

    before = figures()
    funds = stage.account()["margins"]["equity"] if "margins" in stage.account() else stage.account()["funds"]
    assert before["unused_funds"] == pytest.approx(funds["net"])
    assert before["ongoing_trades"] == []
    assert before["overall_profit"]["last_7_days"][-1]["date"] == "2026-11-20"
    assert browser.call("GET", "/api/v1/holdings") == []

    order = {"symbol": "NIFTY_FUT", "direction": "BUY", "lots": 1}
    sent = browser.call("POST", "/api/v1/trades/bulk", {"broker_type": "zerodha", "live": True, "orders": [order, {**order, "lots": 900}]})
    assert [one["status"] for one in sent["results"]] == ["EXECUTED", "REJECTED"], sent
    assert sent["results"][1]["error"].startswith("refused by ")
    after = figures()
    [held] = [row for row in stage.account()["positions"] if row["quantity"]]
    [shown] = after["ongoing_trades"]
    assert (shown["stock"], shown["quantity"], shown["bought"]) == (
        held["tradingsymbol"],
        held["quantity"],
        pytest.approx(held["average_price"]),
    )
    assert shown["capital_used"] == pytest.approx(held["quantity"] * held["average_price"], abs=0.01)
    assert after["recent_trades"][0]["price"] == pytest.approx(sent["results"][0]["execution_price"])
    assert browser.call("GET", "/api/v1/positions")[0]["strategy"] == "manual"
    browser.call("DELETE", "/api/apps/1", wanted=409)

    killed = browser.call("POST", "/api/v1/commands", {"name": "kill"})
    assert (killed["ok"], killed["data"]) == (True, {"flat": True})
    seen = browser.call("GET", "/api/v1/status")
    assert (seen["flat"], seen["trading_state"]) == (True, "HALTED")
    assert not [row for row in stage.account()["positions"] if row["quantity"]]
    events = [json.loads(line)["message"] for line in (stage.state / "log" / "web.jsonl").read_text().splitlines()]
    wanted = ["zerodha_login_url_generated", "zerodha_session_created", "brokerage_activated", "zerodha_portfolio_fetched"]
    assert [name for name in dict.fromkeys(events) if name in wanted] == wanted

    no_secret_is_left(stage, daemon.process.pid, browser, {"api secret": secret, "password": PASSWORD, "request token": token})

    web = web_process(daemon.process.pid)
    assert web, "the daemon has a web process"
    os.kill(web, signal.SIGKILL)
    assert stage.status()["running"] is True
    until(lambda: web_process(daemon.process.pid) not in (0, web) and answers(browser), "another web process")
    assert browser.call("GET", "/api/v1/auth/me")["username"] == "me@example.in"
    web = web_process(daemon.process.pid)
    daemon.kill()
    until(
        lambda: not Path(f"/proc/{web}").exists() or "State:\tZ" in _status(Path(f"/proc/{web}")), "the web process to end with its daemon"
    )


def no_secret_is_left(stage: Stage, daemon: int, browser: Browser, secrets: dict[str, str]) -> None:
    """Not in a database, a log, a reply, an environment or a command line; the broker's token in its own file alone."""
    [session] = stage.state.glob("runs/*/session/zerodha.json")
    secrets = {**secrets, "access token": json.loads(session.read_text())["access_token"]}
    assert session.stat().st_mode & 0o777 == 0o600
    processes = [entry for entry in Path("/proc").iterdir() if entry.name in (str(daemon), str(web_process(daemon)))]
    assert len(processes) == 2
    with sqlite3.connect(stage.state / "accounts.sqlite") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    places = {str(path): path.read_bytes() for path in stage.state.rglob("*") if path.is_file() and path != session}
    places |= {f"{entry}/{name}": _read(entry / name) for entry in processes for name in ("environ", "cmdline")}
    places["replies"] = "\n".join(browser.replies).encode()
    assert any(place.endswith("accounts.sqlite") for place in places)
    assert any(place.endswith("web.jsonl") for place in places)
    for what, text in secrets.items():
        assert [place for place, found in places.items() if text.encode() in found] == [], what


def test_a_paper_accounts_portfolio_is_its_own_ledgers_and_no_other_app_gets_it(stage: Stage) -> None:
    stage.strategy.write_text(BUSY, encoding="utf-8")
    stage.simulate(start="14:40", speed=HELD)
    key = admin(stage.simulator, "GET", "/")["credentials"]["api_key"]
    stage.run(account="practice")
    stage.go_on_until(lambda status: not status["flat"], "a position")
    stage.ask("pause")
    for broker, app in (("zerodha", "another-key"), ("upstox", key)):
        other = stage.ask("brokerage", do="portfolio", broker=broker, app=fingerprint(broker, app))
        assert (other.ok, other.data) == (False, {"mine": False})
    mine = {"broker": "zerodha", "app": fingerprint("zerodha", key)}
    until(lambda: stage.ask("brokerage", do="portfolio", **mine).data["positions"] != [], "the stored snapshot")
    found = stage.ask("brokerage", do="portfolio", **mine).data
    held = {row["instrument"]: row["quantity"] for row in stage.ask("positions").data if row["quantity"]}
    assert {row["instrument"]: row["quantity"] for row in found["positions"]} == held
    assert (found["source"], found["kind"], found["session"], found["holdings"]) == ("paper", "practice", "VALID", [])
    net = sum(row["realised"] for row in stage.ask("positions").data) - sum(row["charges"] for row in stage.ask("fills").data)
    assert found["available"] + found["used"] == pytest.approx(1_000_000 + net, abs=0.05)
    assert 0 < found["used"] < 1_000_000
    assert len(found["trades"]) == len(stage.ask("fills").data)
    refused = stage.ask("brokerage", do="activate", answer="not a token!", **mine)
    assert (refused.ok, refused.data["error"]) == (False, "ConfigError")
