"""Credentials, login URLs, caught redirects, activation and the dashboard, with the log events of the guides."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from loguru import logger

from api.ports import Login
from core.errors import Transient
from tests.api.house import House

SECRETS = ("marked-api-key-001", "marked-api-secret-001", "marked-token-1")


@pytest.fixture
def events() -> Iterator[list[str]]:
    seen: list[str] = []
    sink = logger.add(lambda message: seen.append(message.record["message"]), level="INFO")
    yield seen
    logger.remove(sink)


@pytest.mark.parametrize("path", ["/api/v1/auth/first-time-api-setup", "/api/v1/first-time-api-setup"])
def test_first_time_setup_stores_sealed_and_activates_with_a_request_token(house: House, path: str, events: list[str]) -> None:
    owner = house.user()
    given = {"broker": "zerodha", "api_key": SECRETS[0], "api_secret": SECRETS[1]}
    first = house.client.post(path, json=given, headers=owner)
    assert first.json() == {"message": "zerodha credentials are stored", "app_id": 1, "broker": "zerodha", "activated": False}
    again = house.client.post(path, json={**given, "request_token": SECRETS[2]}, headers=owner)
    assert (again.json()["app_id"], again.json()["activated"]) == (1, True), "the same key is the same app"
    assert house.brokers.answers == [(1, SECRETS[2])]
    assert [name for name in events if name.startswith(("zerodha_", "brokerage_"))] == ["zerodha_session_created", "brokerage_activated"]
    listed = house.client.get("/api/apps", headers=owner)
    assert listed.json()[0]["holds"] == {"api_key": "…-001", "secret_key": "…-001"}
    stored = b"".join(file.read_bytes() for file in house.folder.glob("accounts.sqlite*"))
    assert not [one for one in SECRETS if one.encode() in stored or one in listed.text + first.text + again.text]


def test_a_failed_activation_keeps_the_credentials_and_says_so(house: House, events: list[str]) -> None:
    owner = house.user()
    given = {"broker": "zerodha", "api_key": SECRETS[0], "api_secret": SECRETS[1], "request_token": "wrong-token"}
    reply = house.client.post("/api/v1/auth/first-time-api-setup", json=given, headers=owner)
    assert (reply.status_code, "credentials are stored" in reply.json()["detail"]) == (400, True)
    assert "zerodha_session_creation_failed" in events
    assert len(house.client.get("/api/apps", headers=owner).json()) == 1


def login(house: House, headers: dict[str, str], broker: str = "zerodha", **given: str) -> Any:
    reply = house.client.post(f"/api/v1/dashboard/{broker}/login-url", json=given, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json()


def activate(house: House, headers: dict[str, str], **given: Any) -> Any:
    return house.client.post("/api/v1/dashboard/activate-brokerage", json={"brokerage": "zerodha", **given}, headers=headers)


def test_a_caught_redirect_belongs_to_the_user_who_began_it(house: House, events: list[str]) -> None:
    owner = house.user()
    house.set_up(owner)
    other = house.user("trader")
    house.set_up(other, key="the-key-of-the-other")
    told = login(house, owner)
    assert told["login_url"].endswith(told["state"])
    assert told["redirect_uri"] == "http://testserver/api/v1/dashboard/zerodha/callback"
    assert (told["instructions"][0][:2], "zerodha_login_url_generated" in events) == ("1.", True)
    back = "/api/v1/dashboard/{}/callback"
    answer = {"request_token": SECRETS[2], "state": told["state"]}
    assert house.client.get(back.format("upstox"), params=answer).status_code == 400, "another broker's catcher"
    assert house.client.get(back.format("zerodha"), params={**answer, "state": "x"}).status_code == 400
    assert house.client.get(back.format("zerodha"), params={"state": told["state"], "status": "error"}).status_code == 400
    page = house.client.get(back.format("zerodha"), params=answer)
    assert (page.status_code, SECRETS[2] in page.text) == (200, False)
    assert house.client.get(back.format("zerodha"), params=answer).status_code == 400, "an answer is caught once"
    assert activate(house, other).status_code == 400, "another user has no login that was caught"
    done = activate(house, owner, state=told["state"]).json()
    assert done["session_id"] == done["access_token"]
    assert house.brokers.answers == [(1, SECRETS[2])]
    assert activate(house, owner).status_code == 400, "and given out once"


def test_an_answer_that_came_to_ones_own_front_end_is_held_to_its_state_and_redirect(house: House) -> None:
    owner = house.user()
    house.set_up(owner)
    other = house.user("trader")
    house.set_up(other, key="the-key-of-the-other")
    mine = "http://localhost:3000/callback"
    state = login(house, owner, redirect_uri=mine)["state"]
    assert house.client.get("/api/v1/dashboard/zerodha/callback", params={"request_token": "t", "state": state}).status_code == 400
    assert activate(house, other, request_token="t", state=state).status_code == 400
    state = login(house, owner, redirect_uri=mine)["state"]
    assert activate(house, owner, request_token="t", state=state, redirect_uri="http://evil.example/").status_code == 400
    state = login(house, owner, redirect_uri=mine)["state"]
    assert activate(house, owner, request_token="t", state=state, redirect_uri=mine).status_code == 200
    assert activate(house, owner, request_token="t", state=state, redirect_uri=mine).status_code == 400, "a state is good once"
    state = login(house, owner, redirect_uri=mine)["state"]
    house.clock.move_to(house.clock.now() + timedelta(minutes=11))
    assert activate(house, owner, request_token="t", state=state, redirect_uri=mine).status_code == 400, "for ten minutes"
    assert len(house.brokers.answers) == 1


@pytest.mark.parametrize("uri", ["javascript:alert(1)", "ftp://x/", "//x/", "http://user@x/", "https:///x", "http://x/?a=b"])
def test_a_redirect_is_an_address_and_nothing_else(house: House, uri: str) -> None:
    owner = house.user()
    house.set_up(owner)
    reply = house.client.post("/api/v1/dashboard/zerodha/login-url", json={"redirect_uri": uri}, headers=owner)
    assert reply.status_code == 422


def test_a_broker_that_brings_no_state_back_is_activated_by_hand(house: House) -> None:
    owner = house.user()
    house.set_up(owner, "icici")
    told = login(house, owner, "icici", redirect_uri="http://localhost:3000/icici/callback")
    assert (told["state"], told["redirect_uri"]) == (None, "http://localhost:3000/icici/callback")
    page = house.client.post("/api/v1/dashboard/icici/callback", data={"API_Session": "12345678"})
    assert (page.status_code, "apisession" in page.text, "12345678" in page.text) == (200, True, False)
    done = activate(house, owner, brokerage="icici", authorization_code="12345678")
    assert done.json()["message"] == "icici activated successfully"


@pytest.mark.parametrize("url", ["https://evil.example", "http://api.kite.trade", "https://api.kite.trade.evil.example", "x"])
def test_credentials_go_to_no_address_of_a_callers(house: House, url: str) -> None:
    owner = house.user()
    reply = activate(house, owner, api_url=url, api_key=SECRETS[0], api_secret=SECRETS[1], request_token="t")
    assert reply.status_code == 400
    assert house.vault.apps_of() == []
    assert house.brokers.answers == []


def test_the_dashboard_has_the_guides_shape_and_the_brokers_figures(house: House, events: list[str]) -> None:
    owner = house.user()
    app = house.set_up(owner)
    house.brokers.logins[app] = Login("VALID")
    house.parts.remembered.keep_answer(app, house.brokers.found, (house.clock.now() - timedelta(days=1)).date(), 60_000.0, 0.0)
    found = house.client.get("/api/v1/dashboard/dashboard", headers=owner).json()
    assert found["activity_status"] == {"is_active": True, "last_active": "Nov 20, 2026 10:00:00"}
    assert found["portfolio_overview"] == {"value": 64_700.0, "change_percentage": 7.83}
    assert (found["unused_funds"], found["allocated_funds"]) == (15_000.0, 35_000.0)
    assert found["ongoing_trades"] == [{"stock": "SBIN", "bought": 560.0, "quantity": -20, "capital_used": 11_200.0, "profit": 200.0}]
    assert found["recent_trades"][0]["stock"] == "SBIN"
    assert found["overall_profit"]["value"] == 700.0
    assert found["overall_profit"]["percentage"] == 2.78
    assert [day["date"] for day in found["overall_profit"]["last_7_days"]] == ["2026-11-19", "2026-11-20"]
    assert (found["stale"], found["as_of"], "zerodha_portfolio_fetched" in events) == (False, "2026-11-20T10:00:00+05:30", True)


def test_a_holding_without_a_price_counts_at_its_cost_and_one_without_a_cost_in_no_profit(house: House) -> None:
    owner = house.user()
    house.brokers.logins[house.set_up(owner)] = Login("VALID")
    known = {"instrument": "NSE:TCS", "quantity": 2, "average_price": 3000.0, "last_price": 3100.0, "close_price": 3050.0}
    delisted = {"instrument": "NSE:GONE", "quantity": 10, "average_price": 50.0, "last_price": 0.0, "close_price": 0.0}
    moved_in = {"instrument": "NSE:GIFT", "quantity": 5, "average_price": 0.0, "last_price": 100.0, "close_price": 0.0}
    house.brokers.found = {**house.brokers.found, "positions": [], "holdings": [known, delisted, moved_in]}
    found = house.client.get("/api/v1/dashboard/dashboard", headers=owner).json()
    assert found["portfolio_overview"]["value"] == 50_000.0 + 6_200.0 + 500.0 + 500.0
    assert (found["overall_profit"]["value"], found["overall_profit"]["percentage"]) == (200.0, 3.33)


def test_a_failing_broker_gives_its_last_answer_as_stale_and_never_a_made_up_one(house: House, events: list[str]) -> None:
    owner = house.user()
    assert house.client.get("/api/v1/dashboard/dashboard", headers=owner).json()["error"].startswith("no broker is set up")
    app = house.set_up(owner)
    never = house.client.get("/api/v1/dashboard/dashboard", headers=owner).json()
    assert (never["stale"], never["unused_funds"], never["portfolio_overview"]["value"]) == (True, None, None)
    assert never["activity_status"]["is_active"] is False
    house.brokers.logins[app] = Login("VALID")
    good = house.client.get("/api/v1/dashboard/dashboard", headers=owner).json()
    house.brokers.failure = Transient("no answer from Zerodha")
    stale = house.client.get("/api/v1/dashboard/dashboard", headers=owner).json()
    assert (stale["stale"], stale["error"]) == (True, "no answer from Zerodha")
    assert {**stale, "stale": False, "error": None} == good
    failures = [name for name in events if name.endswith(("_error", "_fallback"))]
    assert failures[-2:] == ["zerodha_api_error", "zerodha_api_fallback"]
    assert house.client.get("/api/v1/funds", headers=owner).status_code == 502


def test_one_of_several_apps_is_named_by_its_number_and_tells_when_its_login_was_caught(house: House) -> None:
    mine, other = house.user(), house.user("trader")
    first, second = house.set_up(mine, key="first-key-0001"), house.set_up(mine, key="second-key-0002")
    told = house.client.post("/api/v1/dashboard/zerodha/login-url", json={"app_id": first}, headers=mine).json()
    assert (told["kind"], told["redirect_uri"]) == ("redirect", "http://testserver/api/v1/dashboard/zerodha/callback")

    def caught(app: int, who: dict[str, str] = mine) -> Any:
        return house.client.get("/api/v1/dashboard/zerodha/caught", params={"app_id": app}, headers=who)

    assert caught(first).json() == {"caught": False}
    house.client.get("/api/v1/dashboard/zerodha/callback", params={"request_token": "answer1", "state": told["state"]})
    assert (caught(first).json(), caught(second).json()) == ({"caught": True}, {"caught": False})
    assert caught(first, other).status_code == 404
    activate = {"brokerage": "zerodha", "app_id": second}
    assert house.client.post("/api/v1/dashboard/activate-brokerage", json=activate, headers=mine).status_code == 400
    done = house.client.post("/api/v1/dashboard/activate-brokerage", json={**activate, "app_id": first}, headers=mine)
    assert done.status_code == 200, done.text
    assert house.brokers.answers == [(first, "answer1")]
    assert caught(first).json() == {"caught": False}
    stranger = house.client.post("/api/v1/dashboard/activate-brokerage", json={**activate, "request_token": "x1"}, headers=other)
    assert stranger.status_code == 404
