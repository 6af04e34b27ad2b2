"""Without a daemon the web process itself logs an app in and reads it: each broker at its simulator, over the wire."""

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3
from fastapi.testclient import TestClient

from api.app import create
from brokers.angelone.session import totp
from runtime import serve
from tests.api.house import PASSWORD
from tests.wire.granted_client import admin, simulator
from utils.config_loader import CONFIG_FOLDER
from utils.config_schema import Api

REDIRECTS = {"zerodha": "request_token", "upstox": "code", "icici": "apisession"}
CODES = ("angelone", "groww")


@pytest.fixture
def venue(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, TestClient]]:
    """(what the broker's simulator says of itself, a logged-in client of the web process)."""
    with simulator(request.param, "--start", "10:00", "--speed", "1") as about:
        monkeypatch.setenv("NIYAM_SIMULATOR", about["admin"])
        app = create(serve.parts(Api(), CONFIG_FOLDER, tmp_path, "http://testserver"))
        with TestClient(app) as client:
            client.post("/api/v1/auth/register", json={"username": "owner", "password": PASSWORD})
            token = client.post("/api/v1/auth/login", json={"username": "owner", "password": PASSWORD}).json()["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"
            yield about, client


def done(reply: Any) -> Any:
    assert reply.status_code in (200, 201), reply.text
    return reply.json()


def shows_the_simulators_figures(client: TestClient, broker: str) -> None:
    found = done(client.get("/api/v1/dashboard/dashboard"))
    assert (found["stale"], found["error"], found["account_kind"], found["broker"]) == (False, None, "simulator", broker)
    assert found["activity_status"]["is_active"] is True
    assert found["unused_funds"] == pytest.approx(1_000_000.0)
    assert (found["allocated_funds"], found["ongoing_trades"]) == (0.0, [])
    assert done(client.get("/api/v1/holdings")) == []


@pytest.mark.parametrize(("venue", "broker"), [(broker, broker) for broker in REDIRECTS], indirect=["venue"])
def test_a_login_by_redirect(venue: tuple[Any, TestClient], broker: str) -> None:
    about, client = venue
    known = about["credentials"]
    given = {"broker": broker, "api_key": known["api_key"], "api_secret": known["api_secret"]}
    done(client.post("/api/v1/auth/first-time-api-setup", json=given))
    told = done(client.post(f"/api/v1/dashboard/{broker}/login-url", json={}))
    admin(about, "POST", "/redirect", {"url": told["redirect_uri"]})
    page = urllib3.request("GET", told["login_url"], redirect=False)
    back = urlsplit(page.headers.get("location", ""))
    answer = {name.lower(): values[0] for name, values in parse_qs(back.query).items()}[REDIRECTS[broker]]
    activate = {"brokerage": broker}
    if told["state"] is not None:
        assert parse_qs(back.query)["state"] == [told["state"]]
        assert client.get(f"{back.path}?{back.query}").status_code == 200
    else:
        activate["authorization_code"] = answer
    done(client.post("/api/v1/dashboard/activate-brokerage", json=activate))
    shows_the_simulators_figures(client, broker)


@pytest.mark.parametrize(("venue", "broker"), [(broker, broker) for broker in CODES], indirect=["venue"])
def test_a_login_by_code(venue: tuple[Any, TestClient], broker: str) -> None:
    about, client = venue
    known = about["credentials"]
    given = {"broker": broker, "name": "mine", "api_key": known["api_key"], "account_id": known.get("client_code", "")}
    if "mpin" in known:
        given["mpin"] = known["mpin"]
    app = done(client.post("/api/apps", json=given))["id"]
    assert client.post(f"/api/apps/{app}/switch").status_code == 428
    wrong = client.post(f"/api/apps/{app}/switch", json={"totp": "000000"})
    assert 400 <= wrong.status_code <= 502
    assert "000000" not in wrong.text
    time.sleep(1.5)  # the brokers take one login a second
    now = datetime.fromisoformat(admin(about, "GET", "/")["now"])
    assert done(client.post(f"/api/apps/{app}/switch", json={"totp": totp(known["totp_secret"], now)}))["session"] == "VALID"
    assert done(client.post(f"/api/apps/{app}/switch"))["active"] is True
    shows_the_simulators_figures(client, broker)


@pytest.mark.parametrize("venue", ["groww"], indirect=True)
def test_a_key_that_is_approved_on_groww_s_page_needs_no_code(venue: tuple[Any, TestClient]) -> None:
    about, client = venue
    known = about["credentials"]
    given = {"broker": "groww", "api_key": known["approval_api_key"], "api_secret": known["approval_api_secret"]}
    app = done(client.post("/api/v1/auth/first-time-api-setup", json=given))["app_id"]
    assert 400 <= client.post(f"/api/apps/{app}/switch").status_code <= 502, "nobody has approved it today"
    told = done(client.post("/api/v1/dashboard/groww/login-url", json={"app_id": app}))
    assert told["kind"] == "code"
    assert urllib3.request("GET", told["login_url"], redirect=False).status < 400
    assert done(client.post(f"/api/apps/{app}/switch"))["session"] == "VALID"
    shows_the_simulators_figures(client, "groww")
