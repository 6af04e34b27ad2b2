"""Angel One's session: client code, MPIN and a TOTP code for three tokens that die at midnight; renewed without a person where possible.

A dead token is renewed once: by its refresh token first, then, only where a person has stored ANGELONE_TOTP_SECRET, by a code made here.
Otherwise the code of the authenticator app is typed at `main.py login angelone`. The MPIN and the codes appear in no message and no file.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime, time
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import brokers.angelone.mapping as mapping
import brokers.renewal as renewal
from brokers.day_session import LOOPBACK, DaySession
from brokers.renewal import RenewingSession
from brokers.transport import Response
from core.errors import BrokerError, ConfigError, Transient

LOGIN = "/rest/auth/angelbroking/user/v1/loginByPassword"
TOKENS = "/rest/auth/angelbroking/jwt/v1/generateTokens"
LOGOUT = "/rest/secure/angelbroking/user/v1/logout"
TOTP_SECRET = "ANGELONE_TOTP_SECRET"  # noqa: S105 - the name of a secret


def totp(secret: str, at: datetime) -> str:
    """The six digits of the authenticator app; raises ConfigError for what is no secret."""
    return renewal.totp(secret, at, f"{TOTP_SECRET} (from smartapi.angelone.in/enable-totp)")


class AngelSession(RenewingSession):
    """One account's login at Angel One."""

    broker = "angelone"
    title = mapping.TITLE
    dies_at = time(0)  # "active till 12 midnight" (user page, July 2026)

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

    def login_url(self) -> str:
        """The publisher page, whose redirect may be given to `accept` as well as a code."""
        return f"{self._endpoints.login}?{urlencode({'api_key': self._credentials.get_secret('ANGELONE_API_KEY')})}"

    # --- changing -----------------------------------------------------------------------------------------------------------------------

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

    def log_out(self) -> None:
        """End the session at the broker (the documents ask for it after the day's work); raises BrokerError."""
        token = DaySession.token(self)
        code = self._credentials.get_secret("ANGELONE_CLIENT_CODE")
        _data_of(self._send("POST", urljoin(self._endpoints.rest, LOGOUT), json={"clientcode": code}, headers=self.headers(token)))
        self._tried = token
        DaySession.invalidate(self, token, "logged out")

    # --- inside -------------------------------------------------------------------------------------------------------------------------

    def _renewed(self, record: dict[str, str]) -> str:
        """Try the refresh token, then the stored secret."""
        dead, refresh, failures = record.get("access_token", ""), record.get("refresh_token", ""), []
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
