"""A Groww session, client and their surroundings against a scripted server, for tests."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brokers.groww import LIMITS
from brokers.groww.client import GrowwBroker, GrowwData
from brokers.groww.session import GrowwSession
from brokers.spec import Endpoints
from core.clock import ManualClock
from core.errors import ConfigError
from core.events import Event
from core.types import Instrument, Kind
from tests.builders import NIFTY, RELIANCE
from tests.wire.kite_samples import Listed
from tests.wire.scripted_server import http
from tests.wire.zerodha_house import MORNING, AuditLog
from utils.pacing import Budget

TOKEN = "tokenOfTheDay123456"
KEY, SECRET, TOTP_SECRET = "keyFromThePage42", "theApiSecretNobodySees", "JBSWY3DPEHPK3PXP"
NIFTY_TOKEN, RELIANCE_TOKEN, INDEX_TOKEN = "NSE|FNO|NIFTY26NOVFUT", "NSE|CASH|RELIANCE", "NSE|CASH|NIFTY"
INDEX = Instrument("NSE:NIFTY 50", "NSE", "NIFTY 50", Kind.INDEX, "NIFTY 50")
TOKENS: Mapping[str, Instrument] = {RELIANCE_TOKEN: RELIANCE, NIFTY_TOKEN: NIFTY, INDEX_TOKEN: INDEX}
KNOWN = Listed(TOKENS)


class Credentials:
    """A credential store with the key, these secrets and no others."""

    def __init__(self, **more: str) -> None:
        self.secrets = {"GROWW_API_KEY": KEY, **more}

    def get_secret(self, name: str) -> str:
        try:
            return self.secrets[name]
        except KeyError:
            raise ConfigError(f"{name} is not set") from None


def success(payload: Any) -> bytes:
    return http(200, json.dumps({"status": "SUCCESS", "payload": payload}))


def error(status: int, code: str, message: str) -> bytes:
    """Groww's failure envelope."""
    return http(status, json.dumps({"status": "FAILURE", "error": {"code": code, "message": message, "displayMessage": message}}))


class House:
    """Everything around one account, at 08:41 of the test day, logged in unless told otherwise."""

    def __init__(self, url: str, folder: Path, *, logged_in: bool = True, **secrets: str) -> None:
        self.clock = ManualClock(MORNING)
        self.audit = AuditLog()
        self.events: list[Event] = []
        self.token_file = folder / "session" / "groww.json"
        self.endpoints = Endpoints(url, url.replace("http", "ws"), "https://groww.in/trade-api/api-keys")
        self.lookup = Listed(TOKENS)
        if logged_in:
            self.token_file.parent.mkdir(parents=True)
            record = {"access_token": TOKEN, "login_day": "2026-11-20", "expires_at": "2026-11-21T06:00:00+05:30"}
            self.token_file.write_text(json.dumps(record))
        self.session = GrowwSession("live", Credentials(**secrets), self.clock, self.token_file, self.endpoints, self.events.append)
        self.budget = Budget(self.clock, LIMITS)

    def broker(self) -> GrowwBroker:
        return GrowwBroker(self.session, self.clock, self.budget, self.audit, self.endpoints, lambda: self.lookup)

    def data(self) -> GrowwData:
        return GrowwData(self.session, self.clock, self.budget, self.audit, self.endpoints, lambda: self.lookup)
