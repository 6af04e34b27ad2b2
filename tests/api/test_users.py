"""Registering, logging in and out, lock-out and invitations; what a reply of a wrong request may say."""

from datetime import timedelta

import pytest

from storage.account_file import AccountFile
from storage.users import Users, digest
from tests.api.house import PASSWORD, House


def test_the_first_user_is_the_owner_and_others_need_an_unused_invitation(house: House) -> None:
    owner = house.user()
    given = {"username": "second", "password": PASSWORD}
    assert house.client.post("/api/v1/auth/register", json=given).status_code == 400
    assert house.client.post("/api/v1/auth/register", json={**given, "invitation": "made-up"}).status_code == 400
    made = house.client.post("/api/v1/auth/invitations", json={"role": "trader"}, headers=owner).json()
    assert house.client.post("/api/v1/auth/register", json={**given, "invitation": made["invitation"]}).json()["role"] == "trader"
    again = house.client.post("/api/v1/auth/register", json={**given, "username": "third", "invitation": made["invitation"]})
    assert (again.status_code, "neither used" in again.json()["detail"]) == (400, True)
    late = house.client.post("/api/v1/auth/invitations", json={}, headers=owner).json()["invitation"]
    house.clock.move_to(house.clock.now() + timedelta(days=8))
    assert house.client.post("/api/v1/auth/register", json={**given, "username": "late", "invitation": late}).status_code == 400
    assert [one.role for one in house.parts.users.all()] == ["owner", "trader"]
    assert house.client.post("/api/v1/auth/invitations", json={"role": "owner"}, headers=house.headers("owner")).status_code == 422


def test_five_wrong_passwords_lock_a_user_out_and_a_quarter_of_an_hour_lets_in(house: House) -> None:
    house.user()

    def attempt(password: str, name: str = "OWNER") -> int:
        return int(house.client.post("/api/v1/auth/login", json={"username": name, "password": password}).status_code)

    assert [attempt("wrong") for _ in range(4)] == [401] * 4
    assert attempt(PASSWORD) == 200, "the right one forgets the wrong ones; names are taken in any case"
    assert [attempt("wrong") for _ in range(6)] == [401] * 5 + [423]
    assert attempt(PASSWORD) == 423
    assert attempt("wrong", "nobody") == 401
    house.clock.move_to(house.clock.now() + timedelta(minutes=16))
    assert attempt(PASSWORD) == 200


def test_a_token_ends_by_logging_out_by_renewal_and_with_time_and_is_kept_as_a_digest(house: House) -> None:
    first, second = house.user(), house.headers("owner")

    def known(headers: dict[str, str]) -> int:
        return int(house.client.get("/api/v1/auth/me", headers=headers).status_code)

    fresh = house.client.post("/api/v1/auth/refresh", headers=first).json()
    third = {"Authorization": f"Bearer {fresh['access_token']}"}
    assert [known(one) for one in (first, second, third)] == [401, 200, 200]
    house.client.post("/api/v1/auth/logout", headers=third)
    assert [known(one) for one in (second, third)] == [200, 401]
    other = house.headers("owner")
    house.client.post("/api/v1/auth/logout", params={"everywhere": True}, headers=other)
    assert [known(one) for one in (second, other)] == [401, 401]
    elsewhere = house.headers("owner")
    assert known(elsewhere) == 200
    Users(AccountFile(house.folder)).log_out(elsewhere["Authorization"].removeprefix("Bearer "))
    assert known(elsewhere) == 401, "revoked by another process: what was known of it ends at once"
    last = house.headers("owner")
    token = last["Authorization"].removeprefix("Bearer ")
    stored = b"".join(path.read_bytes() for path in house.folder.glob("accounts.sqlite*"))
    assert digest(token).encode() in stored
    assert token.encode() not in stored
    assert PASSWORD.encode() not in stored
    house.clock.move_to(house.clock.now() + timedelta(minutes=61))
    assert known(last) == 401


def test_a_user_has_so_many_tokens_and_the_oldest_ends(house: House) -> None:
    first = house.user()
    for _ in range(20):
        house.clock.advance(1)
        house.headers("owner")
    assert house.client.get("/api/v1/auth/me", headers=first).status_code == 401


@pytest.mark.parametrize(
    "wrong",
    [
        {"username": "x", "password": "marked-secret-1"},
        {"username": "somebody", "password": "short"},
        {"username": "somebody", "password": {"marked-secret-1": 1}},
        {"username": "some body", "password": "marked-secret-1", "extra": "marked-secret-1"},
    ],
)
def test_a_wrong_request_is_explained_without_what_was_sent(house: House, wrong: object) -> None:
    reply = house.client.post("/api/v1/auth/register", json=wrong)
    assert reply.status_code == 422
    assert reply.json()["detail"][0]["loc"][0] == "body"
    assert "marked-secret" not in reply.text


def test_an_open_page_prolongs_its_token_for_so_long_and_no_longer(house: House) -> None:
    house.user()
    users, user = house.parts.users, house.parts.users.named("owner")
    assert user is not None
    begun, hour, longest = house.parts.now(), timedelta(hours=1), timedelta(hours=3)
    users.log_in(user, "a-page", begun, begun + hour)
    for minutes in range(50, 181, 50):
        now = begun + timedelta(minutes=minutes)
        assert users.prolong("a-page", now, now + hour, longest) is True
        assert users.of_token("a-page", now) is not None
    assert users.of_token("a-page", begun + longest - timedelta(seconds=1)) is not None
    assert users.of_token("a-page", begun + longest) is None
    assert users.prolong("a-page", begun + longest, begun + longest + hour, longest) is False
    assert users.prolong("another", begun, begun + hour, longest) is False
