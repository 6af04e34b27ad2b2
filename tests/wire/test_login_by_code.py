"""`main.py login` at a broker whose login takes a code: refresh first, then the typed code or, asked for, the stored secret's."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brokers import registry
from brokers.angelone.session import LOGIN, TOKENS
from core.clock import SystemClock
from core.errors import ConfigError, LoginRefused
from core.types import Account, AccountKind
from runtime import login
from runtime.venue import Venue
from tests.wire.angel_house import TOTP_SECRET, House, credentials
from tests.wire.scripted_server import ScriptedServer
from tests.wire.test_angelone_session import bad, good

ACCOUNT = Account("mine", AccountKind.LIVE, "angelone")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def log_in(server: ScriptedServer, state: Path, *, totp: bool = False, answer: str | None = None, **secrets: str) -> str:
    endpoints = House(server.url, state / "elsewhere", logged_in=False).endpoints
    here = Venue(registry.get("angelone"), SystemClock(), credentials(**secrets), endpoints)
    return login.login(ACCOUNT, state, here, answer=answer, totp=totp)


def bodies(server: ScriptedServer) -> list[tuple[str, Any]]:
    return [(request.path, json.loads(request.body)) for request in server.requests]


def test_a_typed_code_logs_in_and_the_next_login_refreshes(server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("654321\n"))
    server.script = [good(), good({"jwtToken": "next.1.x", "refreshToken": "next", "feedToken": "next"})]
    assert log_in(server, tmp_path).startswith("mine is logged in at Angel One (SmartAPI) until ")
    log_in(server, tmp_path)
    (first, typed), (second, refreshed) = bodies(server)
    assert (first, typed["totp"]) == (LOGIN, "654321")
    assert (second, refreshed) == (TOKENS, {"refreshToken": "freshRefresh.1.x"})


def test_without_a_person_the_stored_secret_must_be_there(server: ScriptedServer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ANGELONE_TOTP_SECRET is not set"):
        log_in(server, tmp_path, totp=True)
    server.script = [good()]
    log_in(server, tmp_path, totp=True, ANGELONE_TOTP_SECRET=TOTP_SECRET)
    ((path, body),) = bodies(server)
    assert (path, len(body["totp"])) == (LOGIN, 6)


def test_what_is_wrong_is_said(server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(ConfigError, match="needs the six digits"):
        log_in(server, tmp_path)
    server.script = [bad("AB1050", "Invalid totp")]
    with pytest.raises(LoginRefused, match="wait for the next one"):
        log_in(server, tmp_path, answer="111111")
    zerodha = Venue(registry.get("zerodha"), SystemClock(), credentials(), registry.get("zerodha").endpoints)
    with pytest.raises(ConfigError, match="offers no login without a person"):
        login.login(Account("mine", AccountKind.LIVE, "zerodha"), tmp_path, zerodha, answer=None, totp=True)
