"""A Groww session, client and their surroundings against a scripted server, for tests."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brokers.groww import LIMITS
from brokers.groww.client import GrowwBroker, GrowwData
from brokers.groww.session import GrowwSession
from core.types import Instrument, Kind
from tests.builders import NIFTY, RELIANCE
from tests.wire.house import Secrets, Surroundings
from tests.wire.kite_samples import Listed
from tests.wire.scripted_server import http

TOKEN = "tokenOfTheDay123456"
KEY, SECRET, TOTP_SECRET = "keyFromThePage42", "theApiSecretNobodySees", "JBSWY3DPEHPK3PXP"
NIFTY_TOKEN, RELIANCE_TOKEN, INDEX_TOKEN = "NSE|FNO|NIFTY26NOVFUT", "NSE|CASH|RELIANCE", "NSE|CASH|NIFTY"
INDEX = Instrument("NSE:NIFTY 50", "NSE", "NIFTY 50", Kind.INDEX, "NIFTY 50")
TOKENS: Mapping[str, Instrument] = {RELIANCE_TOKEN: RELIANCE, NIFTY_TOKEN: NIFTY, INDEX_TOKEN: INDEX}
KNOWN = Listed(TOKENS)
_LOGIN = {"access_token": TOKEN, "expires_at": "2026-11-21T06:00:00+05:30"}


def success(payload: Any) -> bytes:
    return http(200, json.dumps({"status": "SUCCESS", "payload": payload}))


def error(status: int, code: str, message: str) -> bytes:
    """Groww's failure envelope."""
    return http(status, json.dumps({"status": "FAILURE", "error": {"code": code, "message": message, "displayMessage": message}}))


class House(Surroundings):
    """Everything around one account, logged in unless told otherwise, with its key and these secrets."""

    def __init__(self, url: str, folder: Path, *, logged_in: bool = True, **secrets: str) -> None:
        login = "https://groww.in/trade-api/api-keys"
        super().__init__(url, folder, "groww", login, TOKENS, LIMITS, **(_LOGIN if logged_in else {}))
        self.credentials = Secrets(GROWW_API_KEY=KEY, **secrets)
        self.session = GrowwSession("live", self.credentials, self.clock, self.token_file, self.endpoints, self.events.append)

    def broker(self) -> GrowwBroker:
        return GrowwBroker(self.session, *self.around)

    def data(self) -> GrowwData:
        return GrowwData(self.session, *self.around)
