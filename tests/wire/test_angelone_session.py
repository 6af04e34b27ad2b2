"""Angel One's session: the login by MPIN and code, renewal by refresh token and stored secret, and secrets that are never told."""

import base64
import json
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from brokers.angelone.session import LOGIN, TOKENS, totp
from core.errors import ConfigError, LoginRefused, RateLimited, SessionExpired, Transient
from core.events import SessionStatus
from core.types import IST, SessionState
from tests.wire.angel_house import FEED, REFRESH, TOKEN, TOTP_SECRET, House
from tests.wire.scripted_server import ScriptedServer, http, reset

FRESH = {"jwtToken": "freshJwt.1.x", "refreshToken": "freshRefresh.1.x", "feedToken": "freshFeed.1.x"}


def good(data: Any = FRESH) -> bytes:
    return http(200, json.dumps({"status": True, "message": "SUCCESS", "errorcode": "", "data": data}))


def bad(code: str, message: str = "no") -> bytes:
    if code.startswith("AG"):
        return http(200, json.dumps({"success": False, "message": message, "errorCode": code, "data": ""}))
    return http(200, json.dumps({"status": False, "message": message, "errorcode": code, "data": None}))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def states(house: House) -> list[SessionState]:
    return [event.state for event in house.events if isinstance(event, SessionStatus)]


# --- the login --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "code"), [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")])
def test_codes_are_those_of_the_rfc(seconds: int, code: str) -> None:
    secret = base64.b32encode(b"12345678901234567890").decode()
    assert totp(secret, datetime.fromtimestamp(seconds, IST)) == code


def test_a_secret_that_is_none_says_where_it_is_found() -> None:
    with pytest.raises(ConfigError, match="enable-totp"):
        totp("not base 32!", datetime.now(IST))


def test_a_code_is_exchanged_for_the_three_tokens_of_the_day(server: ScriptedServer, tmp_path: Path) -> None:
    house = House(server.url, tmp_path, logged_in=False)
    server.script = [good()]
    house.session.accept(" 123 456\n")
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", LOGIN)
    assert json.loads(request.body) == {"clientcode": "A123456", "password": "9173", "totp": "123456"}
    assert request.headers["x-privatekey"] == "apikey42"
    assert "authorization" not in request.headers
    assert house.session.token() == "freshJwt.1.x"
    assert house.session.feed_headers("freshJwt.1.x")["x-feed-token"] == "freshFeed.1.x"
    assert house.session.expires_at() == datetime(2026, 11, 21, tzinfo=IST)
    assert states(house) == [SessionState.LOGIN_REQUIRED, SessionState.VALID] or states(house) == [SessionState.VALID]
    assert stat.S_IMODE(house.token_file.stat().st_mode) == 0o600
    assert "9173" not in house.token_file.read_text()


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (bad("AB1050", "Invalid totp"), LoginRefused, "timedatectl"),
        (bad("AB1007", "Invalid"), LoginRefused, "client code or MPIN"),
        (bad("AG8001", "Invalid Token"), SessionExpired, "AG8001"),
        (http(403, "Access denied because of exceeding access rate", "text/plain"), RateLimited, "exceeding"),
        (http(200, ""), Transient, "an empty reply"),
        (http(502, "<html>nginx</html>", "text/html"), Transient, "did not answer"),
        (reset, Transient, "did not answer"),
        (good({"jwtToken": ""}), Transient, "no token"),
    ],
)
def test_every_way_a_login_can_fail_has_its_type_and_its_next_step(
    server: ScriptedServer, tmp_path: Path, reply: Any, kind: type[Exception], words: str
) -> None:
    house = House(server.url, tmp_path, logged_in=False)
    server.script = [reply]
    with pytest.raises(kind, match=words) as failed:
        house.session.accept("123456")
    assert "9173" not in str(failed.value)
    assert "123456" not in str(failed.value).replace("A123456", "")
    assert len(server.requests) == 1, "never tried again by itself"


def test_the_publisher_pages_redirect_serves_as_well(server: ScriptedServer, tmp_path: Path) -> None:
    house = House(server.url, tmp_path, logged_in=False)
    house.session.accept("http://127.0.0.1:5000/?auth_token=Bearer%20pubJwt&feed_token=pubFeed")
    assert house.session.token() == "pubJwt"
    for answer in ("", "12345", "http://127.0.0.1:5000/?auth_token=x"):
        with pytest.raises(ConfigError, match="six digits"):
            house.session.accept(answer)
    assert server.requests == []


def test_without_a_stored_secret_nobody_logs_in_unattended(server: ScriptedServer, tmp_path: Path) -> None:
    house = House(server.url, tmp_path, logged_in=False)
    with pytest.raises(ConfigError, match="one more password on this machine"):
        house.session.unattended()
    with pytest.raises(SessionExpired, match=r"main\.py login angelone"):
        house.session.token()
    assert server.requests == []


def test_only_a_simulator_on_this_machine_approves_by_itself(server: ScriptedServer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only a simulator on this machine"):
        House(server.url, tmp_path).session.auto_login("https://smartapi.angelone.in/publisher-login")


# --- renewal ----------------------------------------------------------------------------------------------------------------------------


def test_a_refused_token_is_refreshed_before_anybody_hears_of_it(server: ScriptedServer, tmp_path: Path) -> None:
    house = House(server.url, tmp_path)
    server.script = [good()]
    assert house.session.token() == TOKEN
    house.session.invalidate(TOKEN, "AG8001")
    (request,) = server.requests
    assert (request.path, json.loads(request.body)) == (TOKENS, {"refreshToken": REFRESH})
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert house.session.token() == "freshJwt.1.x"
    assert SessionState.LOGIN_REQUIRED not in states(house)
    house.session.invalidate(TOKEN, "an old token's echo")
    assert house.session.token() == "freshJwt.1.x"
    assert len(server.requests) == 1


def test_after_midnight_the_first_who_asks_refreshes(server: ScriptedServer, tmp_path: Path) -> None:
    house = House(server.url, tmp_path)
    house.clock.move_to(datetime(2026, 11, 21, 8, 0, tzinfo=IST))
    server.script = [good()]
    assert house.session.token() == "freshJwt.1.x"
    assert house.session.expires_at() == datetime(2026, 11, 22, tzinfo=IST)


def test_refresh_first_then_the_stored_secret(server: ScriptedServer, tmp_path: Path) -> None:
    house = House(server.url, tmp_path, ANGELONE_TOTP_SECRET=TOTP_SECRET)
    server.script = [bad("AB8051", "Refresh Token Expired"), good()]
    house.session.invalidate(TOKEN, "AG8002")
    assert [request.path for request in server.requests] == [TOKENS, LOGIN]
    assert json.loads(server.requests[1].body)["totp"] == totp(TOTP_SECRET, house.clock.now())
    assert house.session.token() == "freshJwt.1.x"


def test_a_renewal_that_fails_is_told_once_with_its_reasons_and_not_tried_again(server: ScriptedServer, tmp_path: Path) -> None:
    house = House(server.url, tmp_path, ANGELONE_TOTP_SECRET=TOTP_SECRET)
    server.script = [bad("AB8050", "Invalid Refresh Token"), bad("AB1050", "Invalid totp")]
    house.session.invalidate(TOKEN, "AG8001: Invalid Token")
    for _ in range(3):
        with pytest.raises(SessionExpired, match=r"AB8050.*AB1050"):
            house.session.token()
    assert len(server.requests) == 2
    assert states(house).count(SessionState.LOGIN_REQUIRED) == 1


def test_a_renewal_that_did_not_get_through_is_tried_again_after_a_while(server: ScriptedServer, tmp_path: Path) -> None:
    house = House(server.url, tmp_path)
    server.script = [reset, good()]
    house.session.invalidate(TOKEN, "AG8001: Invalid Token")
    with pytest.raises(SessionExpired, match="did not answer"):
        house.session.token()
    assert len(server.requests) == 1
    house.clock.advance(30)
    assert house.session.token() == "freshJwt.1.x"
    assert states(house)[-2:] == [SessionState.LOGIN_REQUIRED, SessionState.VALID]


def test_a_logged_out_session_stays_logged_out(server: ScriptedServer, tmp_path: Path) -> None:
    house = House(server.url, tmp_path)
    server.script = [good("")]
    house.session.log_out()
    assert json.loads(server.requests[0].body) == {"clientcode": "A123456"}
    with pytest.raises(SessionExpired, match="logged out"):
        house.session.token()
    assert len(server.requests) == 1


def test_no_secret_is_shown(server: ScriptedServer, tmp_path: Path) -> None:
    session = House(server.url, tmp_path).session
    assert repr(session) == "AngelSession('live', VALID)"
    for secret in (TOKEN, REFRESH, FEED, "9173"):
        assert secret not in repr(session)
