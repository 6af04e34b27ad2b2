"""Groww's day session: a key with a TOTP code, or a key approved for the day with a checksum of its secret, for a token until 06:00.

Which of the two: a stored GROWW_API_SECRET means that GROWW_API_KEY is an approval key, which a person approves on Groww's page each
day; otherwise it is a TOTP key, whose code is typed or, where GROWW_TOTP_SECRET is stored by choice, made here. The token endpoint takes
150 requests a day, so that what was refused is asked again every ten minutes at most.
"""

import hashlib
from datetime import time
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import brokers.groww.mapping as mapping
import brokers.renewal as renewal
from brokers.day_session import LOOPBACK
from brokers.renewal import RenewingSession
from core.errors import BrokerError, ConfigError, LoginRefused, RateLimited, Transient

LOGIN = "/v1/token/api/access"
KEY, API_SECRET, TOTP_SECRET = "GROWW_API_KEY", "GROWW_API_SECRET", "GROWW_TOTP_SECRET"
KEYS_PAGE = "https://groww.in/trade-api/api-keys"


class GrowwSession(RenewingSession):
    """One account's login at Groww."""

    broker = "groww"
    title = mapping.TITLE
    dies_at = time(6, 0)  # every morning, whatever the time of the login
    again_s = 600.0

    @property
    def needs_code(self) -> bool:
        """A TOTP key wants a code; an approval key wants its secret alone."""
        return not self._optional(API_SECRET)

    def login_url(self) -> str:
        """Where a person approves the key for the day, or makes one."""
        return self._endpoints.login

    def accept(self, answer: str) -> None:
        """Log in by the six digits of the authenticator app; raises LoginRefused, Transient or ConfigError."""
        code = answer.strip().replace(" ", "")
        if not (code.isdecimal() and len(code) == 6):
            raise ConfigError("that is not the six digits of the authenticator app; Groww's login has no redirect to paste")
        self._exchange({"key_type": "totp", "totp": code})

    def unattended(self) -> None:
        """Log in by what is stored; raises ConfigError where a person is needed."""
        if not self.needs_code:
            stamp = str(int(self._clock.now().timestamp()))
            checksum = hashlib.sha256(f"{self._credentials.get_secret(API_SECRET)}{stamp}".encode()).hexdigest()
            self._exchange({"key_type": "approval", "checksum": checksum, "timestamp": stamp})
            return
        secret = self._optional(TOTP_SECRET)
        if not secret:
            raise ConfigError(
                f"{TOTP_SECRET} is not set: without it somebody types the code (main.py login groww). Storing it makes the second factor "
                f"one more password on this machine. With an approval key instead, set {API_SECRET}"
            )
        self._exchange({"key_type": "totp", "totp": renewal.totp(secret, self._clock.now(), TOTP_SECRET)})

    def auto_login(self, login_page: str) -> None:
        """At a simulator: its page approves the key, and its time makes the code."""
        if urlsplit(login_page).hostname not in LOOPBACK:
            raise ConfigError(f"only a simulator on this machine approves a login by itself, not {urlsplit(login_page).hostname!r}")
        page = self._send("GET", login_page)
        at = page.headers.get("date")
        if self.needs_code and at:
            code = renewal.totp(self._credentials.get_secret(TOTP_SECRET), parsedate_to_datetime(at), TOTP_SECRET)
            self._exchange({"key_type": "totp", "totp": code})
        else:
            self.unattended()

    # --- inside -------------------------------------------------------------------------------------------------------------------------

    def _renewed(self, record: dict[str, str]) -> str:
        """What is stored, if anything is. A key that nobody has approved yet may be approved later."""
        if self.needs_code and not self._optional(TOTP_SECRET):
            return ""
        try:
            self.unattended()
        except (BrokerError, ConfigError) as error:
            what = "stored TOTP secret" if self.needs_code else "key and secret"
            return self._failed(what, error, later=not self.needs_code and isinstance(error, LoginRefused))
        return ""

    def _exchange(self, body: dict[str, str]) -> None:
        headers = mapping.headers(self._credentials.get_secret(KEY))
        reply = self._send("POST", urljoin(self._endpoints.rest, LOGIN), json=body, headers=headers)
        try:
            told: Any = reply.json()
        except ValueError:
            told = None
        if reply.status_code != 200 or not isinstance(told, dict):
            raise _refused(reply.status_code, told, body["key_type"])
        token = told.get("token")
        if not isinstance(token, str) or not token:
            raise Transient("Groww accepted the login but sent no token; log in again")
        self._keep(token, str(told.get("tokenRefId") or ""))


def _refused(status: int, told: Any, kind: str) -> BrokerError:
    """What an error reply of the token endpoint means."""
    error = told.get("error") if isinstance(told, dict) else None
    message = str((error or {}).get("displayMessage") or (error or {}).get("message") or "") if isinstance(error, dict | None) else ""
    text = f"Groww answered {status} to the login: {message or 'no message'}"
    if status == 429:
        return RateLimited(f"{text}; its token endpoint takes 5 requests a second, 30 a minute and 150 a day", code="429")
    if 400 <= status < 500:
        if kind == "approval":
            step = f"approve the key for today at {KEYS_PAGE}, and compare {KEY} and {API_SECRET} with that page"
        else:
            step = f"wait for the next code; if it repeats, compare the clock (timedatectl), {KEY} and {TOTP_SECRET} with {KEYS_PAGE}"
        return LoginRefused(f"{text} - {step}", code=str(status))
    return Transient(f"{text}; the login was not made, try again", code=str(status))
