"""Upstox's login on a real socket: the code's exchange, whose login it is, when the token dies, and what a failed login says."""

import json
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from brokers.upstox.session import DEFAULT_REDIRECT, code_of
from core.errors import BrokerError, ConfigError, Rejected, SessionExpired, Transient
from core.types import IST, SessionState
from tests.wire.scripted_server import ScriptedServer, http, reset
from tests.wire.upstox_house import KEY, SECRET, House, error

USER = {"access_token": "freshToken9876543210", "user_id": "AB1234", "extended_token": ""}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def house(server: ScriptedServer, tmp_path: Path) -> House:
    return House(server.url, tmp_path, logged_in=False)


def state_of(house: House) -> str:
    return parse_qs(urlsplit(house.session.login_url()).query)["state"][0]


def test_the_login_url_names_app_redirect_and_a_state_of_ours(house: House) -> None:
    query = parse_qs(urlsplit(house.session.login_url()).query)
    assert (query["response_type"], query["client_id"], query["redirect_uri"]) == (["code"], [KEY], [DEFAULT_REDIRECT])
    assert SECRET not in house.session.login_url()
    assert query["state"] == [state_of(house)]  # another process of this account must be able to take the answer


def test_a_redirect_is_exchanged_for_a_token_until_half_past_three(server: ScriptedServer, house: House) -> None:
    server.script = [http(200, json.dumps(USER))]
    house.session.accept(f"http://127.0.0.1:5000/?code=abc123&state={state_of(house)}")
    (request,) = server.requests
    assert (request.method, request.path, request.headers["content-type"]) == (
        "POST",
        "/v2/login/authorization/token",
        "application/x-www-form-urlencoded",
    )
    assert request.form == {
        "code": "abc123",
        "client_id": KEY,
        "client_secret": SECRET,
        "redirect_uri": DEFAULT_REDIRECT,
        "grant_type": "authorization_code",
    }
    assert house.session.token() == USER["access_token"]
    assert house.session.expires_at() == datetime(2026, 11, 21, 3, 30, tzinfo=IST)
    assert stat.S_IMODE(house.token_file.stat().st_mode) == 0o600
    house.clock.move_to(datetime(2026, 11, 21, 3, 30, tzinfo=IST))
    with pytest.raises(SessionExpired, match=r"main\.py login upstox"):
        house.session.token()


def test_a_login_after_midnight_lives_until_the_same_morning(server: ScriptedServer, house: House) -> None:
    house.clock.move_to(datetime(2026, 11, 21, 2, 30, tzinfo=IST))
    server.script = [http(200, json.dumps(USER))]
    house.session.accept("abc123")
    assert house.session.expires_at() == datetime(2026, 11, 21, 3, 30, tzinfo=IST)


def test_the_apps_registered_redirect_is_sent_where_it_is_given(server: ScriptedServer, tmp_path: Path) -> None:
    house = House(server.url, tmp_path, logged_in=False, redirect_uri="https://example.in/upstox")
    server.script = [http(200, json.dumps(USER))]
    house.session.accept("abc123")
    assert server.requests[0].form["redirect_uri"] == "https://example.in/upstox"
    assert "example.in" in house.session.login_url()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("http://127.0.0.1:5000/?error=access_denied", "not completed .access_denied"),
        ("http://127.0.0.1:5000/?state=S", "no code in the address"),
        ("http://127.0.0.1:5000/?code=abc", "belongs to another login"),
        ("http://127.0.0.1:5000/?code=abc&state=theirs", "belongs to another login"),
        ("not a code!", "neither a redirect URL nor a login code"),
        ("", "neither a redirect URL nor a login code"),
    ],
)
def test_an_answer_that_is_none_says_what_is_wrong_with_it(answer: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        code_of(answer, "S")


@pytest.mark.parametrize(
    ("reply", "kind", "says"),
    [
        (error(401, "UDAPI100016", "Invalid Credentials"), Rejected, "client id, client secret or code are wrong"),
        (error(401, "UDAPI100068", "Check your 'client_id'"), Rejected, "UPSTOX_REDIRECT_URI"),
        (error(403, "UDAPI100073", "inactive"), Rejected, "support"),
        (error(500, "UDAPI100500", "Something went wrong"), Transient, "did not answer"),
        (http(200, "{}"), Transient, "no access token"),
        (http(200, "<html>"), Transient, "no JSON object"),
        (reset, Transient, "did not answer"),
    ],
)
def test_a_login_that_fails_says_why_and_shows_no_secret(
    server: ScriptedServer, house: House, reply: bytes, kind: type[BrokerError], says: str
) -> None:
    server.script = [reply]
    with pytest.raises(kind, match=says) as caught:
        house.session.accept("abc123")
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert house.session.state() is SessionState.LOGIN_REQUIRED


def test_only_a_page_of_this_machine_approves_by_itself(house: House) -> None:
    with pytest.raises(ConfigError, match="only a simulator on this machine"):
        house.session.auto_login("https://api.upstox.com/v2/login/authorization/dialog")
