"""A day's login as every broker's session has it: one token file, "the token now" at each attempt, and a word when the state changes.

A person logs in once a day; the broker's page redirects to us with an answer that is exchanged for an access token, which dies at a
fixed hour. The token lives in one 0600 file, so that daemon, CLI and scripts share one login. Secrets are read at each use and appear
in no message. A broker's folder adds where the login page is and how its answer is exchanged.
"""

import json as json_codec
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import urllib3

from brokers.spec import Announce, Audit, Endpoints
from brokers.transport import PooledSession, Response, ServerFault
from core.errors import ConfigError, Rejected, SessionExpired, StoreError, Transient
from core.events import SessionStatus
from core.ports import Clock, CredentialStore
from core.types import IST, SessionState

_WARN_BEFORE = timedelta(minutes=15)
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def next_at(dies_at: time, login_at: datetime) -> datetime:
    """The next `dies_at` IST after the login: of 06:00, a login at 05:50 lives ten minutes."""
    at = login_at.astimezone(IST)
    today = datetime.combine(at.date(), dies_at, IST)
    return today if at < today else today + timedelta(days=1)


class DaySession:
    """One account's login; see brokers.spec.Session. Safe to use from any thread and, through the token file, from several processes.

    `broker` is the name that `main.py login` takes, `title` how messages name the broker, `dies_at` when every token ends.
    """

    broker: str
    title: str
    dies_at: time
    audit: Audit | None = None

    def __init__(
        self, account: str, credentials: CredentialStore, clock: Clock, token_file: Path, endpoints: Endpoints, announce: Announce
    ) -> None:
        self._account = account
        self._credentials = credentials
        self._clock = clock
        self._file = token_file
        self._endpoints = endpoints
        self._announce = announce
        self._lock = threading.RLock()
        self._stamp: tuple[int, int, int] | None = None
        self._record: Mapping[str, Any] = {}
        self._announced: SessionState | None = None
        self._http: PooledSession | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._account!r}, {self._state_now()[0].value})"

    # --- what a broker adds -------------------------------------------------------------------------------------------------------------

    def login_url(self) -> str:
        """Where a person logs in for the day."""
        raise NotImplementedError

    def accept(self, answer: str) -> None:
        """Exchange the redirect's answer for the day's token, and `_keep` it."""
        raise NotImplementedError

    # --- asking -------------------------------------------------------------------------------------------------------------------------

    def token(self) -> str:
        with self._lock:
            state, reason = self._observe()
            if state is SessionState.LOGIN_REQUIRED:
                raise SessionExpired(
                    f"account {self._account} needs today's login ({reason}): main.py login {self.broker}", code="LOGIN_REQUIRED"
                )
            return str(self._record["access_token"])

    def state(self) -> SessionState:
        """Where the login stands; a change since the last look is announced."""
        with self._lock:
            return self._observe()[0]

    def expires_at(self) -> datetime | None:
        with self._lock:
            self._load()
            return _time_of(self._record, "expires_at")

    # --- changing -----------------------------------------------------------------------------------------------------------------------

    def invalidate(self, token: str, reason: str) -> None:
        with self._lock:
            self._load()
            if self._record.get("access_token") != token or self._record.get("refused"):
                return  # an old token's echo, or already known
            record = {**self._record, "refused": reason}
            try:
                self._save(record)
            except StoreError:  # nobody may use the token again because a disk is full: this process knows, the next one will be told
                self._record = record
            self._observe()

    def _keep(self, token: str, user_id: str, **more: str) -> None:
        """A new token is the day's from now on, and news to everybody. `more` is kept beside it in the same file.

        StoreError: the file cannot be written; this process has the token, no other does.
        """
        now = self._clock.now()
        record = {
            "access_token": token,
            "user_id": user_id,
            "login_day": now.astimezone(IST).date().isoformat(),
            "login_at": now.isoformat(),
            "expires_at": next_at(self.dies_at, now).isoformat(),
            **more,
        }
        with self._lock:
            self._announced = None  # a new login is news even if the state's name is the same
            try:
                self._save(record)
            except StoreError:
                self._record = record
                raise
            finally:
                self._observe()
                self._clock.notify()

    def _follow(self, login_page: str, query: str, answer: str) -> str:
        """The redirect of a simulator's self-approving page: the address that carries `answer`, which is read and never visited.

        `query` is added where the page's address has none of its own. Raises ConfigError for a page of another machine.
        """
        if urlsplit(login_page).hostname not in LOOPBACK:
            raise ConfigError(f"only a simulator on this machine approves a login by itself, not {urlsplit(login_page).hostname!r}")
        page = login_page if "?" in login_page else f"{login_page}?{query}"
        for _ in range(5):
            location = self._send("GET", page).headers.get("location")
            if not location:
                raise Rejected(f"the login page at {login_page} did not redirect; is it a simulator's?")
            page = urljoin(page, location)
            if answer in page or urlsplit(page).hostname not in LOOPBACK:
                break
        return page

    # --- inside -------------------------------------------------------------------------------------------------------------------------

    def _send(
        self,
        method: str,
        url: str,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Mapping[str, str] | None = None,
    ) -> Response:
        with self._lock:
            if self._http is None:
                self._http = PooledSession(self._clock, self.audit)
        try:
            return self._http.request(method, url, data=form, json=json, headers=headers)
        except (urllib3.exceptions.HTTPError, OSError, ServerFault) as error:
            # the cause stays out of the chain: its frames hold the form
            text = f"{self.title}'s login service did not answer ({type(error).__name__}); the login was not made, try again"
            raise Transient(text) from None

    def _observe(self) -> tuple[SessionState, str]:
        state, reason = self._state_now()
        if state is not self._announced:
            self._announced = state
            url = self.login_url() if state is SessionState.LOGIN_REQUIRED else ""
            self._announce(SessionStatus(self._clock.now(), self._account, state, reason, url))
        return state, reason

    def _state_now(self) -> tuple[SessionState, str]:
        with self._lock:
            self._load()
            expires, now = _time_of(self._record, "expires_at"), self._clock.now()
            if expires is None or not self._record.get("access_token"):
                return SessionState.LOGIN_REQUIRED, "nobody has logged in"
            if self._record.get("refused"):
                return SessionState.LOGIN_REQUIRED, str(self._record["refused"])
            if now >= expires:
                return SessionState.LOGIN_REQUIRED, f"the token of {self._record.get('login_day')} died at {expires:%d %b %H:%M}"
            if now >= expires - _WARN_BEFORE:
                return SessionState.EXPIRING, f"the token dies at {expires:%H:%M}"
            return SessionState.VALID, f"good until {expires:%d %b %H:%M}"

    def _load(self) -> None:
        """Read the token file again if it changed: another process may have logged in."""
        try:
            seen = self._file.stat()
        except FileNotFoundError:
            if self._stamp is not None:
                self._stamp, self._record = None, {}
            return
        stamp = (seen.st_mtime_ns, seen.st_size, seen.st_ino)
        if stamp == self._stamp:
            return
        try:
            record = json_codec.loads(self._file.read_bytes())
        except ValueError:
            record = {}
        self._stamp, self._record = stamp, record if isinstance(record, dict) else {}

    def _save(self, record: Mapping[str, Any]) -> None:
        """Replace the token file atomically; it is readable by its owner alone from its first byte. StoreError: it is as it was."""
        draft = self._file.with_name(f".{self._file.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                json_codec.dump(record, out)
                out.flush()
                os.fsync(out.fileno())
            draft.replace(self._file)
        except OSError as error:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise StoreError(
                f"the token file {self._file} cannot be written ({error.strerror}); free some disk space or make its folder writable, "
                f"then log in again"
            ) from None
        self._stamp = None
        self._load()


def _time_of(record: Mapping[str, Any], name: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(record[name]))
    except (KeyError, ValueError):
        return None
    return at if at.tzinfo is not None else None
