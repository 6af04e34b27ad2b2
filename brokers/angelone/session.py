"""Angel One's session: client code, MPIN and a TOTP code for three tokens that die at midnight; renewed without a person where possible.

A dead token is renewed once: by its refresh token first, then, only where a person has stored ANGELONE_TOTP_SECRET, by a code made here.
Otherwise the code of the authenticator app is typed at `main.py login angelone`. The MPIN and the codes appear in no message and no file.
"""

import base64
import binascii
import hashlib
import hmac
import struct
import uuid
from collections.abc import Mapping
from datetime import datetime, time
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import brokers.angelone.mapping as mapping
from brokers.day_session import LOOPBACK, DaySession
from brokers.transport import Response
from core.errors import BrokerError, ConfigError, RateLimited, SessionExpired, StoreError, Transient
from core.types import SessionState

LOGIN = "/rest/auth/angelbroking/user/v1/loginByPassword"
TOKENS = "/rest/auth/angelbroking/jwt/v1/generateTokens"
LOGOUT = "/rest/secure/angelbroking/user/v1/logout"
TOTP_SECRET = "ANGELONE_TOTP_SECRET"  # noqa: S105 - the name of a secret
_STEP_S = 30
_AGAIN_S = 30.0  # between tries of a renewal that did not get through
_RENEWAL_PATIENCE = 20.0  # seconds that another thread's renewal is waited for


def totp(secret: str, at: datetime) -> str:
    """The six digits of RFC 6238 (SHA-1, 30 s) for a base32 secret; raises ConfigError if it is none."""
    text = secret.replace(" ", "").rstrip("=")
    try:
        key = base64.b32decode(text + "=" * (-len(text) % 8), casefold=True)
    except binascii.Error:
        raise ConfigError(f"{TOTP_SECRET} is no base32 text; store the secret that smartapi.angelone.in/enable-totp shows") from None
    digest = hmac.new(key, struct.pack(">Q", int(at.timestamp()) // _STEP_S), hashlib.sha1).digest()
    start = digest[-1] & 15
    return f"{(int.from_bytes(digest[start : start + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06d}"


class AngelSession(DaySession):
    """One account's login at Angel One."""

    broker = "angelone"
    title = "Angel One"
    dies_at = time(0)  # "active till 12 midnight" (user page, July 2026)

    _renewing = False
    _tried: str | None = None  # the token whose renewal has been tried
    _why = ""  # why the last renewal failed
    _again_at: float | None = None  # monotonic: when a renewal that only did not get through is tried again

    # --- what the API asks for ----------------------------------------------------------------------------------------------------------

    def headers(self, token: str = "") -> dict[str, str]:
        """What every REST request carries; they hold secrets and are never shown."""
        sent = {
            "X-UserType": "USER",
            "X-SourceID": "WEB",
            "X-ClientLocalIP": "127.0.0.1",
            "X-ClientPublicIP": self._optional("ANGELONE_PUBLIC_IP") or "127.0.0.1",
            "X-MACAddress": ":".join(f"{uuid.getnode():012x}"[place : place + 2] for place in range(0, 12, 2)),
            "X-PrivateKey": self._credentials.get_secret("ANGELONE_API_KEY"),
        }
        return {**sent, "Authorization": f"Bearer {token}"} if token else sent

    def feed_headers(self, token: str) -> dict[str, str]:
        """What the handshake of the feed carries."""
        with self._lock:
            feed_token = str(self._record.get("feed_token", ""))
        return {
            "Authorization": f"Bearer {token}",
            "x-api-key": self._credentials.get_secret("ANGELONE_API_KEY"),
            "x-client-code": self._credentials.get_secret("ANGELONE_CLIENT_CODE"),
            "x-feed-token": feed_token,
        }

    def tokens(self) -> Mapping[str, str]:
        """What the token file holds of the present login: the three tokens, user_id, login_at, expires_at. Secrets: never to be shown."""
        with self._lock:
            self._load()
            return {name: str(value) for name, value in self._record.items()}

    # --- asking -------------------------------------------------------------------------------------------------------------------------

    def token(self) -> str:
        """The token now; a dead one is renewed first where nobody is needed for it."""
        if self.state() is SessionState.LOGIN_REQUIRED and not self.renew() and self._why:
            try:
                return super().token()
            except SessionExpired as error:
                raise SessionExpired(f"{error}; {self._why}", code=error.code) from None
        return super().token()

    def login_url(self) -> str:
        """The publisher page, whose redirect may be given to `accept` as well as a code."""
        return f"{self._endpoints.login}?{urlencode({'api_key': self._credentials.get_secret('ANGELONE_API_KEY')})}"

    # --- changing -----------------------------------------------------------------------------------------------------------------------

    def invalidate(self, token: str, reason: str) -> None:
        """A refused token is renewed at once where nobody is needed for it; only then does anybody hear of it."""
        with self._lock:
            self._load()
            mine = self._record.get("access_token") == token and not self._record.get("refused")
        if mine and not self.renew():
            super().invalidate(token, f"{reason}; {self._why}" if self._why else reason)

    def accept(self, answer: str) -> None:
        """Log in by a TOTP code, or take the tokens of the publisher page's redirect; raises LoginRefused, Transient or ConfigError."""
        text = answer.strip().replace(" ", "")
        if text.isdecimal() and len(text) == 6:
            self._log_in(text)
            return
        query = parse_qs(urlsplit(text).query or text.lstrip("?"))
        token, feed_token = query.get("auth_token", [""])[0], query.get("feed_token", [""])[0]
        if not token or not feed_token:
            raise ConfigError("that is neither the six digits of the authenticator app nor a redirect with auth_token and feed_token")
        self._keep(token.removeprefix("Bearer "), self._credentials.get_secret("ANGELONE_CLIENT_CODE"), feed_token=feed_token)

    def unattended(self) -> None:
        """Log in by a code made from the stored secret; raises ConfigError without one."""
        secret = self._optional(TOTP_SECRET)
        if not secret:
            raise ConfigError(
                f"{TOTP_SECRET} is not set: without it somebody types the code (main.py login angelone). Storing it makes the second "
                "factor one more password on this machine"
            )
        self._log_in(totp(secret, self._clock.now()))

    def auto_login(self, login_page: str) -> None:
        """At a simulator: a code of its own secret at its own time, which its page tells; without a secret the page's redirect."""
        if urlsplit(login_page).hostname not in LOOPBACK:
            raise ConfigError(f"only a simulator on this machine approves a login by itself, not {urlsplit(login_page).hostname!r}")
        query = urlencode({"api_key": self._credentials.get_secret("ANGELONE_API_KEY")})
        page = self._send("GET", f"{login_page}?{query}")
        secret, at = self._optional(TOTP_SECRET), page.headers.get("date")
        if secret and at:
            self._log_in(totp(secret, parsedate_to_datetime(at)))
        else:
            self.accept(page.headers.get("location") or "")

    def renew(self) -> bool:
        """Replace a dead token without a person; False where that failed. Blocks; other threads wait for its end.

        What the broker refused is not tried again for the same token; what did not get through to it is, after a while.
        """
        with self._lock:
            self._load()
            dead = str(self._record.get("access_token") or "")
            refresh = str(self._record.get("refresh_token") or "")
            due = dead != self._tried or (self._again_at is not None and self._clock.monotonic() >= self._again_at)
            mine = due and not self._renewing
            if mine:
                self._renewing, self._tried, self._why, self._again_at = True, dead, "", None
        if mine:
            try:
                self._why = self._renewed(dead, refresh)
            except StoreError as error:
                self._why = str(error)  # the token is renewed, and this process has it
            finally:
                self._renewing = False
                self._clock.notify()
        else:
            self._clock.wait_for(lambda: not self._renewing, self._clock.monotonic() + _RENEWAL_PATIENCE)
        with self._lock:
            self._load()
            return self._record.get("access_token") not in (None, "", dead)

    def log_out(self) -> None:
        """End the session at the broker (the documents ask for it after the day's work); raises BrokerError."""
        token = super().token()
        code = self._credentials.get_secret("ANGELONE_CLIENT_CODE")
        _data_of(self._send("POST", urljoin(self._endpoints.rest, LOGOUT), json={"clientcode": code}, headers=self.headers(token)))
        self._tried = token
        super().invalidate(token, "logged out")

    # --- inside -------------------------------------------------------------------------------------------------------------------------

    def _renewed(self, dead: str, refresh: str) -> str:
        """Try the refresh token, then the stored secret; returns why neither helped, empty when one did."""
        failures = []
        if refresh:
            try:
                headers = self.headers(dead)
                self._take(
                    _data_of(self._send("POST", urljoin(self._endpoints.rest, TOKENS), json={"refreshToken": refresh}, headers=headers))
                )
                return ""
            except BrokerError as error:
                failures.append(self._failed("refresh token", error))
        if self._optional(TOTP_SECRET):
            try:
                self.unattended()
                return ""
            except (BrokerError, ConfigError) as error:
                failures.append(self._failed("stored TOTP secret", error))
        return "; ".join(failures)

    def _failed(self, what: str, error: BrokerError | ConfigError) -> str:
        if isinstance(error, Transient | RateLimited):
            self._again_at = self._clock.monotonic() + _AGAIN_S
        return f"the {what} did not help ({error})"

    def _log_in(self, code: str) -> None:
        body = {
            "clientcode": self._credentials.get_secret("ANGELONE_CLIENT_CODE"),
            "password": self._credentials.get_secret("ANGELONE_MPIN"),
            "totp": code,
        }
        reply = self._send("POST", urljoin(self._endpoints.rest, LOGIN), json=body, headers=self.headers())
        self._take(_data_of(reply))

    def _take(self, data: Mapping[str, Any]) -> None:
        """All three tokens replace the old ones; one that does not come is not kept."""
        token, feed_token = data.get("jwtToken"), data.get("feedToken")
        if not isinstance(token, str) or not token or not isinstance(feed_token, str):
            raise Transient("Angel One accepted the login but sent no token; log in again")
        code = self._credentials.get_secret("ANGELONE_CLIENT_CODE")
        self._keep(token.removeprefix("Bearer "), code, feed_token=feed_token, refresh_token=str(data.get("refreshToken") or ""))

    def _optional(self, name: str) -> str:
        try:
            return self._credentials.get_secret(name)
        except ConfigError:
            return ""


def _data_of(reply: Response) -> Mapping[str, Any]:
    """The `data` of a login service's envelope; raises the typed meaning of an error reply."""
    try:
        body = reply.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        message = reply.text[:120]
        raise mapping.failure(reply.status_code, "", message or "an empty reply", is_login=True)
    error = mapping.error_of(body)
    if error is not None:
        raise mapping.failure(reply.status_code, *error, is_login=True)
    data = body.get("data")
    return data if isinstance(data, dict) else {}
