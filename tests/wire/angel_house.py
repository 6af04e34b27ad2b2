"""An Angel One session, client and their surroundings against a scripted server, for tests."""

import json
from pathlib import Path

from brokers.angelone.client import AngelBroker, AngelData
from brokers.angelone.facts import LIMITS
from brokers.angelone.session import AngelSession
from brokers.spec import Endpoints
from core.clock import ManualClock
from core.errors import ConfigError
from core.events import Event
from tests.builders import NIFTY, RELIANCE
from tests.wire.kite_samples import Listed
from tests.wire.zerodha_house import MORNING, AuditLog
from utils.pacing import Budget

TOKEN = "jwtOfTheDay.123456.signature"
REFRESH, FEED = "refreshOfTheDay.1.x", "feedOfTheDay.1.x"
SECRETS = {"ANGELONE_API_KEY": "apikey42", "ANGELONE_CLIENT_CODE": "A123456", "ANGELONE_MPIN": "9173"}
TOTP_SECRET = "JBSWY3DPEHPK3PXP"


class Credentials:
    """A credential store with these secrets and no others."""

    def __init__(self, **more: str) -> None:
        self.secrets = {**SECRETS, **more}

    def get_secret(self, name: str) -> str:
        try:
            return self.secrets[name]
        except KeyError:
            raise ConfigError(f"{name} is not set") from None


class House:
    """Everything around one account, at 08:41 of the test day, logged in unless told otherwise."""

    def __init__(self, url: str, folder: Path, *, logged_in: bool = True, **secrets: str) -> None:
        self.clock = ManualClock(MORNING)
        self.audit = AuditLog()
        self.events: list[Event] = []
        self.token_file = folder / "session" / "angelone.json"
        self.endpoints = Endpoints(url, url.replace("http", "ws"), f"{url}/publisher-login")
        self.lookup = Listed({"NSE|2885|RELIANCE-EQ": RELIANCE, "NFO|63657|NIFTY24NOV26FUT": NIFTY})
        if logged_in:
            self.token_file.parent.mkdir(parents=True, exist_ok=True)
            kept = {"access_token": TOKEN, "refresh_token": REFRESH, "feed_token": FEED, "user_id": "A123456"}
            self.token_file.write_text(json.dumps({**kept, "login_day": "2026-11-20", "expires_at": "2026-11-21T00:00:00+05:30"}))
        self.session = AngelSession("live", Credentials(**secrets), self.clock, self.token_file, self.endpoints, self.events.append)
        self.budget = Budget(self.clock, LIMITS)

    def broker(self) -> AngelBroker:
        return AngelBroker(self.session, self.clock, self.budget, self.audit, self.endpoints, lambda: self.lookup)

    def data(self) -> AngelData:
        return AngelData(self.session, self.clock, self.budget, self.audit, self.endpoints, lambda: self.lookup)
