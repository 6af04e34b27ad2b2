"""Every route against every kind of caller: nobody, an ended token, a viewer, and the owner of another app."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.api.house import House

OPEN = {
    ("POST", "/api/v1/auth/register"),  # guarded by the invitation
    ("POST", "/api/v1/auth/login"),
    ("GET", "/api/v1/dashboard/{broker}/callback"),  # guarded by the state
    ("POST", "/api/v1/dashboard/{broker}/callback"),
    ("POST", "/api/v1/webhooks/{source}"),  # guarded by a signature
    ("POST", "/api/v1/postbacks/{broker}"),  # guarded by the secret in its address
    ("GET", "/healthz"),
    ("GET", "/metrics"),  # this machine, or a token
    *(("GET", path) for path in ("/docs", "/docs/start.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/openapi.json")),
}
FOR_VIEWERS = {
    *(("POST", f"/api/v1/auth/{name}") for name in ("refresh", "logout")),
    *(("GET", f"/api/v1/{name}") for name in ("auth/me", "dashboard/dashboard", "status", "orders", "fills", "positions", "signals")),
    *(("GET", f"/api/v1/{name}") for name in ("report", "journal", "holdings", "funds", "strategies", "backtests", "backtests/{run_id}")),
    *(
        ("GET", f"/api/v1/{name}")
        for name in ("charts", "chart", "journal/kinds", "check", "backtests/choices", "backtests/{run_id}/report")
    ),
    ("GET", "/api/apps"),
    ("GET", "/api/apps/{app_id}"),
}
BODIES: dict[str, Any] = {
    "/api/v1/auth/invitations": {"role": "viewer"},
    "/api/v1/auth/first-time-api-setup": {"broker": "zerodha", "api_key": "k", "api_secret": "s"},
    "/api/v1/first-time-api-setup": {"broker": "zerodha", "api_key": "k", "api_secret": "s"},
    "/api/v1/dashboard/activate-brokerage": {"brokerage": "zerodha", "request_token": "t"},
    "/api/apps": {"name": "n", "api_key": "k"},
    "/api/apps/{app_id}": {"name": "stolen"},
    "/api/v1/trades/bulk": {"broker_type": "zerodha", "orders": [{"symbol": "SBIN", "direction": "BUY", "quantity": 1}]},
    "/api/v1/commands": {"name": "kill"},
    "/api/v1/strategies/{name}/retune": {"values": {"params.fast": 5}},
    "/api/v1/backtests": {"strategy": "nifty_trend", "data": "x.parquet"},
}
VALUES = {"broker": "zerodha", "source": "tradingview", "app_id": "1", "name": "nifty_trend", "run_id": "x"}


def routes(house: House) -> list[tuple[str, str]]:
    """(method, path) of everything that answers over HTTP, documented or not."""
    waiting, found = list(house.app.routes), []
    while waiting:
        route = waiting.pop()
        waiting += getattr(getattr(route, "original_router", None), "routes", [])
        found += [(method, getattr(route, "path", "")) for method in getattr(route, "methods", None) or () if method != "HEAD"]
    documented = {(method.upper(), path) for path, methods in house.app.openapi()["paths"].items() for method in methods}
    assert documented <= set(found)
    assert len(documented) >= 40
    return sorted(set(found))


def call(house: House, method: str, path: str, headers: dict[str, str]) -> int:
    status: int = house.client.request(method, path.format(**VALUES), json=BODIES.get(path), headers=headers).status_code
    return status


def test_every_route_refuses_nobody_an_ended_token_and_who_may_not(house: House) -> None:
    owner = house.user()
    house.set_up(owner)
    viewer = house.user("viewer")
    known = routes(house)
    assert not OPEN - set(known) | FOR_VIEWERS - set(known), "the lists name routes that are gone"
    guarded = [one for one in known if one not in OPEN]
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic b3duZXI6eA=="}):
        assert {one: call(house, *one, headers) for one in guarded} == dict.fromkeys(guarded, 401), headers
    above = [one for one in guarded if one not in FOR_VIEWERS]
    assert {one: call(house, *one, viewer) for one in above} == dict.fromkeys(above, 403)
    assert house.desk.asked == []
    assert house.desk.placed == []
    house.clock.move_to(house.clock.now() + timedelta(minutes=61))
    assert {one: call(house, *one, owner) for one in guarded} == dict.fromkeys(guarded, 401), "an hour later"


def test_another_users_app_is_as_if_it_did_not_exist(house: House) -> None:
    owner = house.user()
    app = house.set_up(owner)
    trader = house.user("trader")
    before = house.client.get(f"/api/apps/{app}", headers=owner).json()
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/switch")):
        body = {"name": "stolen"} if method == "PATCH" else None
        seen = house.client.request(method, f"/api/apps/{app}{path}", json=body, headers=trader)
        none = house.client.request(method, f"/api/apps/999{path}", json=body, headers=trader)
        assert (seen.status_code, none.status_code) == (404, 404)
        assert seen.json()["detail"].replace(str(app), "999") == none.json()["detail"]
    assert house.client.get("/api/apps", headers=trader).json() == []
    url = house.client.get("/api/v1/dashboard/zerodha/login-url", headers=trader)
    key = house.client.post("/api/v1/dashboard/zerodha/login-url", json={"api_key": "marked-api-key-001"}, headers=trader)
    assert (url.status_code, key.status_code) == (400, 400)
    assert house.client.get(f"/api/apps/{app}", headers=owner).json() == before
    assert house.client.post("/api/v1/commands", json={"name": "kill", "whole_account": "x"}, headers=trader).status_code == 403


@pytest.mark.parametrize("path", ["/api/v1/auth/users", "/api/v1/auth/invitations"])
def test_what_is_the_owners_is_not_a_traders(house: House, path: str) -> None:
    owner, trader = house.user(), house.user("trader")
    method, body = ("POST", {"role": "trader"}) if path.endswith("invitations") else ("GET", None)
    assert house.client.request(method, path, json=body, headers=trader).status_code == 403
    assert house.client.request(method, path, json=body, headers=owner).status_code in (200, 201)


def test_metrics_are_for_this_machine_a_user_or_the_scrapers_token(tmp_path: Path) -> None:
    with House(tmp_path) as house:
        owner = house.user()
        assert house.client.get("/metrics").status_code == 401, "the client of this test is not on a loopback address"
        assert house.client.get("/metrics", headers=owner).status_code == 200
        house.secrets["NIYAM_METRICS_TOKEN"] = "scrape-me-please"
        assert house.client.get("/metrics", headers={"Authorization": "Bearer scrape-me"}).status_code == 401
        found = house.client.get("/metrics", headers={"Authorization": "Bearer scrape-me-please"})
        assert 'niyam_trading_state{account="practice",state="ACTIVE"} 1.0' in found.text
        assert 'niyam_orders{state="FILLED"} 2.0' in found.text
