"""A Zerodha session, client and their surroundings against a scripted server, for tests."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from brokers.spec import Endpoints
from brokers.zerodha import SPEC
from brokers.zerodha.client import ZerodhaBroker, ZerodhaData
from brokers.zerodha.session import ZerodhaSession
from core.clock import ManualClock
from core.events import Event
from core.types import IST
from tests.builders import NIFTY, RELIANCE
from tests.wire.kite_samples import Listed
from utils.pacing import Budget

TOKEN = "tokenOfTheDay123456"
SECRET = "theApiSecretNobodySees"
KEY = "apikey42"
MORNING = datetime(2026, 11, 20, 8, 41, tzinfo=IST)


class Credentials:
    """A credential store that remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get_secret(self, name: str) -> str:
        self.asked.append(name)
        return {"ZERODHA_API_KEY": KEY, "ZERODHA_API_SECRET": SECRET}[name]


@dataclass
class AuditLog:
    """Keeps requests and replies in order, as the audit segment does."""

    lines: list[tuple[Any, ...]] = field(default_factory=list)

    def request(self, lane: str, method: str, route: str, masked_params: Mapping[str, Any]) -> int:
        self.lines.append(("request", lane, method, route, dict(masked_params)))
        return len(self.lines)

    def reply(self, number: int, status: int, masked_body: str) -> None:
        self.lines.append(("reply", number, status, masked_body))


class House:
    """Everything around one account, at 08:41 of the test day, logged in unless told otherwise."""

    def __init__(self, url: str, folder: Path, *, logged_in: bool = True) -> None:
        self.clock = ManualClock(MORNING)
        self.credentials = Credentials()
        self.audit = AuditLog()
        self.events: list[Event] = []
        self.token_file = folder / "session" / "zerodha.json"
        self.endpoints = Endpoints(url, url.replace("http", "ws"), f"{url}/connect/login")
        self.lookup = Listed({738561: RELIANCE, 12345602: NIFTY})
        if logged_in:
            self.token_file.parent.mkdir(parents=True)
            self.token_file.write_text(
                json.dumps({"access_token": TOKEN, "login_day": "2026-11-20", "expires_at": "2026-11-21T06:00:00+05:30"})
            )
        self.session = ZerodhaSession("live", self.credentials, self.clock, self.token_file, self.endpoints, self.events.append)
        self.budget = Budget(self.clock, SPEC.limits)

    def broker(self) -> ZerodhaBroker:
        return ZerodhaBroker(self.session, self.clock, self.budget, self.audit, self.endpoints, lambda: self.lookup)

    def data(self) -> ZerodhaData:
        return ZerodhaData(self.session, self.clock, self.budget, self.audit, self.endpoints, lambda: self.lookup)
