"""A day's login that may renew itself: a dead token is replaced once without a person where the account's secrets allow it.

A broker's folder says how (`_renewed`). What the broker refused is not tried again for the same token; what did not get through to it is,
after a while. Only when nothing helped does anybody hear that the token died.
"""

import base64
import binascii
import hashlib
import hmac
import struct
from datetime import datetime

from brokers.day_session import DaySession
from core.errors import BrokerError, ConfigError, RateLimited, SessionExpired, StoreError, Transient
from core.types import SessionState

_STEP_S = 30
_PATIENCE = 20.0  # seconds that another thread's renewal is waited for


def totp(secret: str, at: datetime, name: str) -> str:
    """The six digits of RFC 6238 (SHA-1, 30 s) for a base32 secret; raises ConfigError if the secret called `name` is none."""
    text = secret.replace(" ", "").rstrip("=")
    try:
        key = base64.b32decode(text + "=" * (-len(text) % 8), casefold=True)
    except binascii.Error:
        raise ConfigError(f"{name} is no base32 text; store the secret that the broker's TOTP page shows") from None
    digest = hmac.new(key, struct.pack(">Q", int(at.timestamp()) // _STEP_S), hashlib.sha1).digest()
    start = digest[-1] & 15
    return f"{(int.from_bytes(digest[start : start + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06d}"


class RenewingSession(DaySession):
    """One account's login; see brokers.spec.CodeSession. `again_s`: seconds between tries of a renewal that may work later."""

    again_s = 30.0

    @property
    def needs_code(self) -> bool:
        return True

    _renewing = False
    _tried: str | None = None  # the token whose renewal has been tried
    _why = ""  # why the last renewal failed
    _again_at: float | None = None  # monotonic: when it is tried again

    def _renewed(self, record: dict[str, str]) -> str:
        """Try to replace the token of `record` (what the token file holds); returns why nothing helped, empty when something did."""
        raise NotImplementedError

    # --- asking -------------------------------------------------------------------------------------------------------------------------

    def token(self) -> str:
        """The token now; a dead one is renewed first where nobody is needed for it."""
        if self.state() is SessionState.LOGIN_REQUIRED and not self.renew() and self._why:
            try:
                return super().token()
            except SessionExpired as error:
                raise SessionExpired(f"{error}; {self._why}", code=error.code) from None
        return super().token()

    # --- changing -----------------------------------------------------------------------------------------------------------------------

    def invalidate(self, token: str, reason: str) -> None:
        """A refused token is renewed at once where nobody is needed for it; only then does anybody hear of it."""
        with self._lock:
            self._load()
            mine = self._record.get("access_token") == token and not self._record.get("refused")
        if mine and not self.renew():
            super().invalidate(token, f"{reason}; {self._why}" if self._why else reason)

    def renew(self) -> bool:
        """Replace a dead token without a person; False where that failed. Blocks; other threads wait for its end."""
        with self._lock:
            self._load()
            record = {name: str(value) for name, value in self._record.items()}
            dead = record.get("access_token", "")
            due = dead != self._tried or (self._again_at is not None and self._clock.monotonic() >= self._again_at)
            mine = due and not self._renewing
            if mine:
                self._renewing, self._tried, self._why, self._again_at = True, dead, "", None
        if mine:
            try:
                self._why = self._renewed(record)
            except StoreError as error:
                self._why = str(error)  # the token is renewed, and this process has it
            finally:
                self._renewing = False
                self._clock.notify()
        else:
            self._clock.wait_for(lambda: not self._renewing, self._clock.monotonic() + _PATIENCE)
        with self._lock:
            self._load()
            return self._record.get("access_token") not in (None, "", dead)

    # --- inside -------------------------------------------------------------------------------------------------------------------------

    def _failed(self, what: str, error: BrokerError | ConfigError, *, later: bool = False) -> str:
        """Why one way of renewing did not help; it is tried again after a while if it may help `later`, or did not get through."""
        if later or isinstance(error, Transient | RateLimited):
            self._again_at = self._clock.monotonic() + self.again_s
        return f"the {what} did not help ({error})"

    def _optional(self, name: str) -> str:
        """A secret that need not be there; empty then."""
        try:
            return self._credentials.get_secret(name)
        except ConfigError:
            return ""
