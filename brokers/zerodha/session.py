"""Zerodha's day session: the login page's request token is exchanged, with a checksum over the API secret, for a token until 06:00."""

import hashlib
from collections.abc import Mapping
from datetime import time
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import brokers.zerodha.mapping as mapping
from brokers.day_session import DaySession
from brokers.transport import Response
from core.errors import ConfigError, Transient

_VERSION = {"X-Kite-Version": "3"}


def request_token_of(answer: str) -> str:
    """The request token in a redirect URL, or in the bare token itself; raises ConfigError saying what was wrong with it."""
    text = answer.strip()
    if "?" not in text and "request_token" not in text:
        if not text.isalnum():
            raise ConfigError("that is neither a redirect URL nor a request token (letters and digits only); paste the whole address")
        return text
    query = parse_qs(urlsplit(text).query or text.lstrip("?"))
    status, token = query.get("status", ["success"])[0], query.get("request_token", [""])[0]
    if status != "success" or not token:
        raise ConfigError(
            f"the login was not completed (status {status!r}, request_token {'present' if token else 'missing'}); log in again"
        )
    return token


class ZerodhaSession(DaySession):
    """One account's login at Zerodha."""

    broker = "zerodha"
    title = mapping.TITLE
    dies_at = time(6, 0)  # every morning, by regulation (Kite Connect v3, User)

    def api_key(self) -> str:
        return self._credentials.get_secret("ZERODHA_API_KEY")

    def login_url(self) -> str:
        return f"{self._endpoints.login}?{self._query()}"

    def accept(self, answer: str) -> None:
        request_token = request_token_of(answer)
        api_key, api_secret = self.api_key(), self._credentials.get_secret("ZERODHA_API_SECRET")
        checksum = hashlib.sha256(f"{api_key}{request_token}{api_secret}".encode()).hexdigest()
        form = {"api_key": api_key, "request_token": request_token, "checksum": checksum}
        data = _data_of(self._send("POST", urljoin(self._endpoints.rest, "/session/token"), form, _VERSION))
        token = data.get("access_token")
        if not isinstance(token, str) or not token:
            raise Transient("Zerodha accepted the login but sent no access token; log in again")
        self._keep(token, str(data.get("user_id", "")))

    def auto_login(self, login_page: str) -> None:
        self.accept(self._follow(login_page, self._query(), "request_token="))

    def _query(self) -> str:
        return urlencode({"v": "3", "api_key": self.api_key()})


def _data_of(reply: Response) -> Mapping[str, Any]:
    """The `data` of an envelope; raises the typed meaning of an error reply."""
    try:
        envelope = reply.json()
    except ValueError:
        envelope = None
    if not isinstance(envelope, dict):
        raise Transient(f"Zerodha's login service answered HTTP {reply.status_code} with something that is no JSON object; try again")
    data = envelope.get("data")
    if reply.status_code == 200 and envelope.get("status") == "success" and isinstance(data, dict):
        return data
    error_type, message = str(envelope.get("error_type") or ""), str(envelope.get("message") or "")
    raise mapping.failure(reply.status_code, error_type, message, is_order=False)
