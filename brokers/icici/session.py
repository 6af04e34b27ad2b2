"""ICICI Direct's day session: the apisession of the login page is exchanged for a session token, which dies at midnight."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from datetime import UTC, date, time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urljoin, urlsplit

import brokers.icici.mapping as mapping
from brokers.day_session import DaySession
from brokers.icici.facts import V1
from brokers.spec import Announce, Endpoints
from brokers.transport import Response
from core.errors import ConfigError, LoginRefused, Transient
from core.ports import Clock, CredentialStore

_ANSWERS = ("apisession", "api_session")


def apisession_of(answer: str) -> str:
    """The session number in a redirect URL or posted form, in any case, or the bare number; raises ConfigError saying what was wrong."""
    text = answer.strip()
    if text.isalnum():
        return text
    fields = {name.lower(): value for name, value in parse_qsl(urlsplit(text).query or text.lstrip("?"))}
    number = next((fields[name] for name in _ANSWERS if fields.get(name)), "")
    if not number.isalnum():
        raise ConfigError("no apisession in that address; log in again and paste the whole address you end on")
    return number


def signed(secret: str, stamp: str, body: str) -> str:
    """The X-Checksum of a v1 request: its timestamp, its exact body and the app's secret."""
    return f"token {hashlib.sha256(f'{stamp}{body}{secret}'.encode()).hexdigest()}"


class IciciSession(DaySession):
    """One account's login at ICICI Direct."""

    broker = "icici"
    title = mapping.TITLE
    dies_at = time(0)  # 24 hours or midnight, whichever comes first

    def __init__(
        self, account: str, credentials: CredentialStore, clock: Clock, token_file: Path, endpoints: Endpoints, announce: Announce
    ) -> None:
        super().__init__(account, credentials, clock, token_file, endpoints, announce)
        self.circuits: dict[str, tuple[date, float, float]] = {}
        """Key -> (day, lowest, highest price) as this login's stream last told them: asking would cost a call for each instrument."""

    def login_url(self) -> str:
        """The key holds letters such as + and =, which must be quoted."""
        return f"{self._endpoints.login}?{self._query()}"

    def accept(self, answer: str) -> None:
        body = {"SessionToken": apisession_of(answer), "AppKey": self._credentials.get_secret("ICICI_API_KEY")}
        reply = self._send("GET", urljoin(self._endpoints.rest, f"{V1}customerdetails"), json=body)
        data = _details(reply)
        token = data.get("session_token")
        if not isinstance(token, str) or not token:
            raise Transient("ICICI accepted the login but sent no session token; log in again")
        user, _ = user_and_key(token)
        self._keep(token, user, user_name=str(data.get("idirect_user_name") or ""))

    def take(self, given: str) -> None:
        """Use a session token as it is, or exchange the redirect's answer for one; raises BrokerError or ConfigError."""
        try:
            user, _ = user_and_key(given.strip())
        except LoginRefused:
            self.accept(given)
        else:
            self._keep(given.strip(), user)

    def auto_login(self, login_page: str) -> None:
        self.accept(self._follow(login_page, self._query(), "apisession="))

    def _query(self) -> str:
        return f"api_key={quote_plus(self._credentials.get_secret('ICICI_API_KEY'))}"

    # --- what requests carry --------------------------------------------------------------------------------------------------------------

    def headers(self, token: str, body: str) -> dict[str, str]:
        """Of a v1 request with exactly this body; they hold secrets and are never shown."""
        stamp = f"{self._clock.now().astimezone(UTC):%Y-%m-%dT%H:%M:%S}.000Z"
        return {
            "X-Checksum": signed(self._credentials.get_secret("ICICI_API_SECRET"), stamp, body),
            "X-Timestamp": stamp,
            "X-AppKey": self._credentials.get_secret("ICICI_API_KEY"),
            "X-SessionToken": token,
        }

    def history_headers(self, token: str) -> dict[str, str]:
        """Of v2's history, which is not signed."""
        return {"X-SessionToken": token, "apikey": self._credentials.get_secret("ICICI_API_KEY"), "Content-Type": "application/json"}

    def stream_auth(self, token: str) -> Mapping[str, str]:
        """What the CONNECT packet of a stream carries."""
        user, key = user_and_key(token)
        return {"user": user, "token": key}

    def profile(self) -> dict[str, str]:
        """Who is logged in, as the login said."""
        with self._lock:
            self._load()
            names = ("user_id", "user_name", "login_at", "expires_at")
            return {name: str(self._record.get(name, "")) for name in names}


def user_and_key(token: str) -> tuple[str, str]:
    """The two halves of a session token; raises LoginRefused for one that has none."""
    try:
        user, _, key = base64.b64decode(token, validate=True).decode("ascii").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        user, key = "", ""
    if not user or not key:
        raise LoginRefused("ICICI sent a session token that is not base64 of user:key; log in again") from None
    return user, key


def _details(reply: Response) -> Mapping[str, Any]:
    """The Success of customerdetails; raises the typed meaning of a refusal."""
    try:
        body = reply.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Transient(f"ICICI's login service answered HTTP {reply.status_code} with {mapping.page_title(reply.content)}; try again")
    data, error = body.get("Success"), body.get("Error")
    if body.get("Status") == 200 and isinstance(data, dict) and not error:
        return data
    text = f"ICICI refused the login: {error or 'no reason given'}"
    if error == "Invalid session.":
        raise LoginRefused(f"{text} - the apisession is wrong or used up; log in again", code="INVALID_SESSION")
    if error == "Public Key does not exist.":
        raise LoginRefused(f"{text} - ICICI_API_KEY is not an active app's key (keys of before 2026-04-01 were deleted)", code="NO_APP")
    if error == "Resource not available.":
        raise LoginRefused(f"{text} - the apisession has expired; log in again", code="EXPIRED")
    raise mapping.failure(reply.status_code, body.get("Status"), str(error or "no message"), is_order=False)
