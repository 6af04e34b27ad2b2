"""Apps: made, changed, removed, switched to; what a switch waits for and when it is refused."""

import pytest

from api.ports import Login
from tests.api.house import House

ANGEL = {
    "name": "My Trading Account",
    "account_id": "A123",
    "api_key": "marked-api-key-001",
    "secret_key": "marked-secret-1",
    "mpin": "1234",
}


def test_an_app_is_angel_ones_where_no_broker_is_named_and_shows_four_characters(house: House) -> None:
    owner = house.user()
    made = house.client.post("/api/apps", json=ANGEL, headers=owner)
    assert made.status_code == 201
    app = made.json()
    assert (app["broker"], app["is_default"], app["active"], app["session"]) == ("angelone", True, True, "LOGIN_REQUIRED")
    assert app["holds"] == {"api_key": "…-001", "secret_key": "…et-1", "mpin": "…"}
    assert house.client.post("/api/apps", json=ANGEL, headers=owner).status_code == 400, "the name is taken"
    second = house.client.post("/api/apps", json={**ANGEL, "name": "b", "broker": "zerodha", "is_default": True}, headers=owner).json()
    assert [one["is_default"] for one in house.client.get("/api/apps", headers=owner).json()] == [False, True]
    edited = house.client.patch(f"/api/apps/{app['id']}", json={"name": "c", "mpin": "9999", "is_default": True}, headers=owner).json()
    assert (edited["name"], edited["is_default"]) == ("c", True)
    assert house.vault.app_secret(app["id"], "mpin") == "9999"
    assert house.client.delete(f"/api/apps/{second['id']}", headers=owner).status_code == 200
    assert len(house.client.get("/api/apps", headers=owner).json()) == 1
    stored = b"".join(file.read_bytes() for file in house.folder.glob("accounts.sqlite*"))
    assert not [one for one in (ANGEL["api_key"], ANGEL["secret_key"]) if one.encode() in stored]


def test_a_switch_is_at_once_with_a_session_renews_or_asks_for_a_totp(house: House) -> None:
    owner = house.user()
    first = house.set_up(owner)
    second = house.client.post("/api/apps", json=ANGEL, headers=owner).json()["id"]
    asked = house.client.post(f"/api/apps/{second}/switch", headers=owner)
    assert (asked.status_code, "totp" in asked.json()["detail"]) == (428, True)
    assert house.parts.users.named("owner").active_app is None  # type: ignore[union-attr]
    given = house.client.post(f"/api/apps/{second}/switch", json={"totp": "123456"}, headers=owner).json()
    assert (given["active"], given["session"], house.brokers.answers) == (True, "VALID", [(second, "123456")])
    house.brokers.logins[first] = Login("VALID")
    assert house.client.post(f"/api/apps/{first}/switch", headers=owner).json()["active"] is True
    house.brokers.logins.pop(second)
    house.brokers.renews = True
    assert house.client.post(f"/api/apps/{second}/switch", headers=owner).json()["session"] == "VALID"
    house.brokers.renews = False
    house.brokers.logins.pop(first)
    asked = house.client.post(f"/api/apps/{first}/switch", headers=owner)
    assert (asked.status_code, "login-url" in asked.json()["detail"]) == (428, True)


@pytest.mark.parametrize("busy", [{"flat": False}, {"orders": {"WORKING": 1}}, {}])
def test_an_app_that_the_daemon_trades_with_is_left_alone_until_it_is_flat(house: House, busy: dict[str, object]) -> None:
    owner = house.user()
    first = house.set_up(owner)
    second = house.client.post("/api/apps", json=ANGEL, headers=owner).json()["id"]
    house.brokers.logins = {first: Login("VALID", account="practice"), second: Login("VALID")}
    house.desk.status |= busy
    wanted = 409 if busy else 200
    assert house.client.post(f"/api/apps/{second}/switch", headers=owner).status_code == wanted
    assert house.client.patch(f"/api/apps/{first}", json={"api_key": "other-key"}, headers=owner).status_code == wanted
    assert house.client.delete(f"/api/apps/{first}", headers=owner).status_code == wanted
