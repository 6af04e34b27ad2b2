"""An Upstox session, client and their surroundings against a scripted server, for tests."""

import json
from pathlib import Path
from typing import Any

from brokers.spec import Endpoints
from brokers.upstox import SPEC
from brokers.upstox.client import UpstoxBroker, UpstoxData
from brokers.upstox.session import UpstoxSession
from core.clock import ManualClock
from core.errors import ConfigError
from core.events import Event
from tests.wire.kite_samples import Listed
from tests.wire.scripted_server import http
from tests.wire.upstox_samples import KEYS
from tests.wire.zerodha_house import MORNING, AuditLog
from utils.pacing import Budget

TOKEN = "tokenOfTheDay123456"
KEY, SECRET = "app-key-42", "theApiSecretNobodySees"


class Credentials:
    """A credential store; without a redirect URI unless one is given."""

    def __init__(self, redirect_uri: str = "") -> None:
        self._values = {"UPSTOX_API_KEY": KEY, "UPSTOX_API_SECRET": SECRET} | (
            {"UPSTOX_REDIRECT_URI": redirect_uri} if redirect_uri else {}
        )

    def get_secret(self, name: str) -> str:
        if name not in self._values:
            raise ConfigError(f"{name} is not set")
        return self._values[name]


def error(status: int, code: str, message: str) -> bytes:
    """Upstox's error envelope."""
    return http(status, json.dumps({"status": "error", "errors": [{"errorCode": code, "message": message, "error_code": code}]}))


class House:
    """Everything around one account, at 08:41 of the test day, logged in unless told otherwise."""

    def __init__(self, url: str, folder: Path, *, logged_in: bool = True, redirect_uri: str = "") -> None:
        self.clock = ManualClock(MORNING)
        self.credentials = Credentials(redirect_uri)
        self.audit = AuditLog()
        self.events: list[Event] = []
        self.token_file = folder / "session" / "upstox.json"
        self.endpoints = Endpoints(url, url.replace("http", "ws"), f"{url}/v2/login/authorization/dialog")
        self.lookup = Listed(KEYS)
        if logged_in:
            self.token_file.parent.mkdir(parents=True)
            record: dict[str, Any] = {"access_token": TOKEN, "login_day": "2026-11-20", "expires_at": "2026-11-21T03:30:00+05:30"}
            self.token_file.write_text(json.dumps(record))
        self.session = UpstoxSession("live", self.credentials, self.clock, self.token_file, self.endpoints, self.events.append)
        self.budget = Budget(self.clock, SPEC.limits)

    def broker(self) -> UpstoxBroker:
        return UpstoxBroker(self.session, self.clock, self.budget, self.audit, self.endpoints, lambda: self.lookup)

    def data(self) -> UpstoxData:
        return UpstoxData(self.session, self.clock, self.budget, self.audit, self.endpoints, lambda: self.lookup)
