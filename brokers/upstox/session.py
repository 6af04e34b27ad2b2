"""Upstox's day session: the OAuth code of the login page is exchanged, with the app's secret, for a token until 03:30."""

import hashlib
import hmac
from datetime import time
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import brokers.upstox.mapping as mapping
from brokers.day_session import DaySession
from brokers.transport import Response
from core.errors import ConfigError, Transient

DEFAULT_REDIRECT = "http://127.0.0.1:5000/"
_HEADERS = {"User-Agent": mapping.USER_AGENT}


def code_of(answer: str, state: str) -> str:
    """The login code in a redirect URL that carries our `state`, or in the bare code itself; raises ConfigError saying what was wrong."""
    text = answer.strip()
    if "?" not in text and "=" not in text:
        if not text or not text.replace("-", "").replace("_", "").isalnum():
            raise ConfigError("that is neither a redirect URL nor a login code (letters, digits, - and _); paste the whole address")
        return text
    query = parse_qs(urlsplit(text).query or text.lstrip("?"))
    error, code = query.get("error", query.get("error_description", [""]))[0], query.get("code", [""])[0]
    if error or not code:
        raise ConfigError(f"the login was not completed ({error or 'no code in the address'}); log in again")
    if query.get("state", [""])[0] != state:
        raise ConfigError("that redirect belongs to another login (its state is not ours); log in again at the address shown")
    return code


class UpstoxSession(DaySession):
    """One account's login at Upstox. A later login by the same app, or a new static IP, ends the token before its time."""

    broker = "upstox"
    title = mapping.TITLE
    dies_at = time(3, 30)  # every morning, whatever the time of the login

    def login_url(self) -> str:
        return f"{self._endpoints.login}?{self._query()}"

    def accept(self, answer: str) -> None:
        form = {
            "code": code_of(answer, self._state()),
            "client_id": self._credentials.get_secret("UPSTOX_API_KEY"),
            "client_secret": self._credentials.get_secret("UPSTOX_API_SECRET"),
            "redirect_uri": self._redirect_uri(),
            "grant_type": "authorization_code",
        }
        data = _data_of(self._send("POST", urljoin(self._endpoints.rest, "/v2/login/authorization/token"), form, _HEADERS))
        token = data.get("access_token")
        if not isinstance(token, str) or not token:
            raise Transient("Upstox accepted the login but sent no access token; log in again")
        self._keep(token, str(data.get("user_id", "")))

    def auto_login(self, login_page: str) -> None:
        self.accept(self._follow(login_page, self._query(), "code="))

    def _query(self) -> str:
        key = self._credentials.get_secret("UPSTOX_API_KEY")
        return urlencode({"response_type": "code", "client_id": key, "redirect_uri": self._redirect_uri(), "state": self._state()})

    def _redirect_uri(self) -> str:
        try:
            return self._credentials.get_secret("UPSTOX_REDIRECT_URI")
        except ConfigError:
            return DEFAULT_REDIRECT

    def _state(self) -> str:
        """What only we can have sent along; the same in each process of this account, so that any of them may take the answer."""
        secret = self._credentials.get_secret("UPSTOX_API_SECRET").encode()
        return hmac.new(secret, f"login/{self._account}".encode(), hashlib.sha256).hexdigest()[:24]


def _data_of(reply: Response) -> dict[str, Any]:
    """The body of a login reply, which has no envelope; raises the typed meaning of an error reply, which has one."""
    try:
        body = reply.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Transient(f"Upstox's login service answered HTTP {reply.status_code} with something that is no JSON object; try again")
    if reply.status_code == 200 and body.get("status") != "error":
        return body
    code, message = mapping.error_of(body)
    raise mapping.failure(reply.status_code, code, message, is_order=False)
