"""An Upstox session, client and their surroundings against a scripted server, for tests."""

import json
from pathlib import Path

from brokers.upstox import SPEC
from brokers.upstox.client import UpstoxBroker, UpstoxData
from brokers.upstox.session import UpstoxSession
from tests.wire.house import Secrets, Surroundings
from tests.wire.scripted_server import http
from tests.wire.upstox_samples import KEYS

TOKEN = "tokenOfTheDay123456"
KEY, SECRET = "app-key-42", "theApiSecretNobodySees"
_LOGIN = {"access_token": TOKEN, "expires_at": "2026-11-21T03:30:00+05:30"}


def error(status: int, code: str, message: str) -> bytes:
    """Upstox's error envelope."""
    return http(status, json.dumps({"status": "error", "errors": [{"errorCode": code, "message": message, "error_code": code}]}))


class House(Surroundings):
    """Everything around one account, logged in unless told otherwise; without a redirect URI unless one is given."""

    def __init__(self, url: str, folder: Path, *, logged_in: bool = True, redirect_uri: str = "") -> None:
        login = f"{url}/v2/login/authorization/dialog"
        super().__init__(url, folder, "upstox", login, KEYS, SPEC.limits, **(_LOGIN if logged_in else {}))
        redirect = {"UPSTOX_REDIRECT_URI": redirect_uri} if redirect_uri else {}
        self.credentials = Secrets(UPSTOX_API_KEY=KEY, UPSTOX_API_SECRET=SECRET, **redirect)
        self.session = UpstoxSession("live", self.credentials, self.clock, self.token_file, self.endpoints, self.events.append)

    def broker(self) -> UpstoxBroker:
        return UpstoxBroker(self.session, *self.around)

    def data(self) -> UpstoxData:
        return UpstoxData(self.session, *self.around)
