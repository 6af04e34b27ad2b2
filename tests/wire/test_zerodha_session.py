"""Zerodha's day session: the checksum exchange, the token's life and file, the redirect, and secrets that are never told."""

import hashlib
import json
import logging
import stat
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from brokers.day_session import next_at
from brokers.redirect import RedirectCatcher
from brokers.zerodha.session import ZerodhaSession, request_token_of
from core.errors import BrokerError, ConfigError, Rejected, SessionExpired, Transient
from core.events import SessionStatus
from core.types import IST, SessionState
from tests.wire.scripted_server import ScriptedServer, error, http, ok, reset
from tests.wire.zerodha_house import KEY, SECRET, TOKEN, House, credentials
from utils import zerodha_auth

REDIRECT = "http://127.0.0.1:5000/?request_token=RT77&action=login&status=success"
USER = {"access_token": "freshToken9876543210", "user_id": "ZZ1234", "public_token": "p", "enctoken": "e"}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def house(server: ScriptedServer, tmp_path: Path) -> House:
    return House(server.url, tmp_path, logged_in=False)


def at(day: int, hour: int, minute: int) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=IST)


def states(house: House) -> list[SessionState]:
    return [event.state for event in house.events if isinstance(event, SessionStatus)]


# --- the login --------------------------------------------------------------------------------------------------------------------------


def test_a_redirect_url_is_exchanged_for_the_days_token(server: ScriptedServer, house: House) -> None:
    server.script = [ok(USER)]
    house.session.accept(REDIRECT)
    (request,) = server.requests
    checksum = hashlib.sha256(f"{KEY}RT77{SECRET}".encode()).hexdigest()
    assert (request.method, request.path) == ("POST", "/session/token")
    assert request.form == {"api_key": KEY, "request_token": "RT77", "checksum": checksum}
    assert house.session.token() == USER["access_token"]
    assert house.session.expires_at() == at(21, 6, 0)
    assert states(house) == [SessionState.VALID]


def test_the_token_file_is_private_and_holds_no_more_than_it_must(server: ScriptedServer, house: House) -> None:
    server.script = [ok(USER)]
    house.session.accept("RT77")
    assert stat.S_IMODE(house.token_file.stat().st_mode) == 0o600
    record = json.loads(house.token_file.read_text())
    assert set(record) == {"access_token", "user_id", "login_day", "login_at", "expires_at"}
    assert record["login_day"] == "2026-11-20"
    assert [file.name for file in house.token_file.parent.iterdir()] == ["zerodha.json"]


def test_another_process_finds_the_login_and_its_successor(server: ScriptedServer, house: House, tmp_path: Path) -> None:
    other = House(server.url, tmp_path, logged_in=False)
    assert other.session.state() is SessionState.LOGIN_REQUIRED
    server.script = [ok(USER), ok({**USER, "access_token": "secondToken1234567"})]
    house.session.accept("RT77")
    assert other.session.token() == USER["access_token"]
    house.session.accept("RT78")
    assert other.session.token() == "secondToken1234567"


@pytest.mark.parametrize(
    ("answer", "token"),
    [
        (REDIRECT, "RT77"),
        ("/?status=success&request_token=abc", "abc"),
        (" RT77\n", "RT77"),
        ("request_token=x1&status=success", "x1"),
    ],
)
def test_what_a_person_may_paste(answer: str, token: str) -> None:
    assert request_token_of(answer) == token


@pytest.mark.parametrize(
    "answer", ["", "http://127.0.0.1/", "http://127.0.0.1/?status=cancelled", "?request_token=&status=success", "two words"]
)
def test_what_is_no_answer_is_refused_with_the_next_step(answer: str, house: House) -> None:
    with pytest.raises(ConfigError, match=r"log in again|paste the whole address"):
        house.session.accept(answer)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (error(403, "TokenException", "Token is invalid or has expired."), SessionExpired),
        (error(403, "TokenException", "Invalid `checksum`."), SessionExpired),
        (error(400, "InputException", "Missing api_key"), Rejected),
        (http(502, "<html/>", "text/html"), Transient),
        (http(200, "{"), Transient),
        (ok({"user_id": "ZZ1234"}), Transient),
        (ok(None), Transient),
        (reset, Transient),
    ],
)
def test_a_failed_exchange_is_typed_and_tells_no_secret(
    server: ScriptedServer, house: House, reply: bytes, kind: type[BrokerError], caplog: pytest.LogCaptureFixture
) -> None:
    server.script = [reply]
    with caplog.at_level(logging.DEBUG), pytest.raises(kind) as caught:
        house.session.accept(REDIRECT)
    told = f"{caught.value!r} {caught.value.__cause__!r} {house.events!r} {house.session!r} {caplog.text}"
    assert SECRET not in told
    assert "RT77" not in told
    assert not house.token_file.exists()


def test_a_simulators_page_is_followed_to_the_redirect_and_no_further(server: ScriptedServer, house: House) -> None:
    server.script = [http(302, "", Location="/connect/finish?x=1"), http(302, "", Location=REDIRECT.replace("5000", "1")), ok(USER)]
    house.session.auto_login(house.endpoints.login)
    assert [request.path for request in server.requests] == ["/connect/login", "/connect/finish", "/session/token"]
    assert server.requests[0].query == {"v": ["3"], "api_key": [KEY]}
    assert house.session.token() == USER["access_token"]


def test_no_real_login_page_is_automated(house: House) -> None:
    with pytest.raises(ConfigError, match=r"only a simulator.*kite\.zerodha\.com"):
        house.session.auto_login("https://kite.zerodha.com/connect/login")


# --- the token's life -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("login", "dies"),
    [
        (at(20, 8, 41), at(21, 6, 0)),
        (at(20, 5, 50), at(20, 6, 0)),
        (at(20, 6, 0), at(21, 6, 0)),
        (at(20, 23, 59), at(21, 6, 0)),
        (at(20, 0, 1), at(20, 6, 0)),
    ],
)
def test_a_token_dies_at_the_next_six_in_the_morning(login: datetime, dies: datetime) -> None:
    assert next_at(ZerodhaSession.dies_at, login) == dies


def test_the_session_goes_from_valid_to_expiring_to_login_required(server: ScriptedServer, tmp_path: Path) -> None:
    house = House(server.url, tmp_path)
    assert house.session.state() is SessionState.VALID
    house.clock.move_to(at(21, 5, 45))
    assert house.session.state() is SessionState.EXPIRING
    assert house.session.token() == TOKEN
    house.clock.move_to(at(21, 6, 0))
    with pytest.raises(SessionExpired, match=r"died at 21 Nov 06:00.*main\.py login zerodha"):
        house.session.token()
    house.session.state()
    assert states(house) == [SessionState.VALID, SessionState.EXPIRING, SessionState.LOGIN_REQUIRED]
    last = house.events[-1]
    assert isinstance(last, SessionStatus)
    assert last.login_url == f"{house.endpoints.login}?v=3&api_key={KEY}"


def test_a_refused_token_stays_refused_over_a_restart_until_a_new_login(server: ScriptedServer, tmp_path: Path) -> None:
    house = House(server.url, tmp_path)
    house.session.invalidate(TOKEN, "403 from the broker")
    house.session.invalidate(TOKEN, "403 again")
    assert states(house) == [SessionState.LOGIN_REQUIRED]
    restarted = House(server.url, tmp_path / "elsewhere", logged_in=False)
    restarted.session._file = house.token_file
    with pytest.raises(SessionExpired, match="403 from the broker"):
        restarted.session.token()
    server.script = [ok({**USER, "access_token": TOKEN})]  # Zerodha may hand out the very same token
    house.session.accept("RT77")
    assert house.session.token() == TOKEN


def test_an_old_tokens_refusal_does_not_touch_the_new_one(server: ScriptedServer, tmp_path: Path) -> None:
    house = House(server.url, tmp_path)
    house.session.invalidate("yesterdaysToken", "403")
    assert house.session.token() == TOKEN


@pytest.mark.parametrize("content", ["", "{", "[]", '{"access_token": "x"}', '{"access_token": "x", "expires_at": "2026-11-21T06:00:00"}'])
def test_a_broken_token_file_means_that_nobody_has_logged_in(server: ScriptedServer, tmp_path: Path, content: str) -> None:
    house = House(server.url, tmp_path)
    house.token_file.write_text(content)
    with pytest.raises(SessionExpired, match="nobody has logged in"):
        house.session.token()


def test_the_secret_is_asked_for_at_each_login_and_never_shown(server: ScriptedServer, house: House) -> None:
    server.script = [ok(USER), ok(USER)]
    house.session.accept("RT77")
    house.session.accept("RT78")
    assert house.credentials.asked.count("ZERODHA_API_SECRET") == 2
    assert repr(house.session) == "ZerodhaSession('live', VALID)"
    token = house.session.token()
    kept = repr(vars(house.session)) + repr(vars(house.session._http))
    assert (token in kept, SECRET in kept) == (True, False)


# --- the redirect on localhost ----------------------------------------------------------------------------------------------------------


def visit(url: str) -> None:
    with urllib.request.urlopen(url) as page:
        assert page.status == 200


def test_icons_and_bare_visits_do_not_end_the_wait() -> None:
    with RedirectCatcher(0) as catcher:
        with pytest.raises(urllib.request.HTTPError):
            visit(f"http://127.0.0.1:{catcher.port}/favicon.ico")
        assert catcher.wait(0.05) is None
        visit(f"http://127.0.0.1:{catcher.port}/kite?status=cancelled")
        assert catcher.wait(5.0) == "/kite?status=cancelled"


def test_an_answer_that_the_login_page_posts_is_caught_too() -> None:
    with RedirectCatcher(0) as catcher:
        posted = urllib.request.Request(f"http://127.0.0.1:{catcher.port}/back", data=b"API_Session=123")
        urllib.request.urlopen(posted, timeout=5).read()
        assert catcher.wait(5.0) == "/back?API_Session=123"


def test_a_taken_port_is_said() -> None:
    with RedirectCatcher(0) as catcher, pytest.raises(ConfigError, match="choose another port"):
        RedirectCatcher(catcher.port)


# --- the script -------------------------------------------------------------------------------------------------------------------------


def test_the_script_writes_the_token_file_and_shows_only_its_tail(server: ScriptedServer, house: House, tmp_path: Path) -> None:
    server.script, said = [ok(USER)], list[str]()
    token = zerodha_auth.generate_access_token(
        REDIRECT, state=tmp_path / "var", credentials=credentials(), endpoints=house.endpoints, say=said.append
    )
    assert token == USER["access_token"]
    file = tmp_path / "var" / "session" / "zerodha.json"
    assert json.loads(file.read_text())["access_token"] == token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert token not in "".join(said)
    assert "…3210" in "".join(said)


def test_the_script_catches_the_redirect(server: ScriptedServer, house: House, tmp_path: Path) -> None:
    server.script, said = [ok(USER)], list[str]()

    def browse(url: str) -> None:
        port = said[-1].split("127.0.0.1:")[1].split("/")[0]
        threading.Thread(target=visit, args=(f"http://127.0.0.1:{port}/?request_token=RT5&status=success",)).start()

    zerodha_auth.generate_access_token(
        account="live", state=tmp_path, port=0, credentials=credentials(), endpoints=house.endpoints, open_page=browse, say=said.append
    )
    assert server.requests[0].form["request_token"] == "RT5"
    assert (tmp_path / "accounts" / "live" / "session" / "zerodha.json").exists()


def test_the_script_runs_by_its_path_and_says_what_is_missing(tmp_path: Path) -> None:
    script = Path(zerodha_auth.__file__)
    environment = {"PATH": "/usr/bin", "NIYAM_STATE": str(tmp_path), "ZERODHA_API_KEY": "k"}
    run = subprocess.run(
        [sys.executable, str(script), "--redirect-url", "http://127.0.0.1/?status=error"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1
    assert "the login was not completed" in run.stderr
    assert list(tmp_path.iterdir()) == []
