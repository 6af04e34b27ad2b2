"""Zerodha's day session: who logged in, until when the token lives, and "the token now" for whoever asks at each attempt.

A person logs in once a day; the broker redirects to us with a request token, which is exchanged (checksum over the API secret) for an
access token that dies at 06:00 the next morning. The token lives in one 0600 file, so that daemon, CLI and scripts share one login.
Secrets are read at each use and appear in no message.
"""

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from datetime import datetime, time, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import urllib3

import brokers.zerodha.mapping as mapping
from brokers.spec import Announce, Endpoints
from brokers.transport import PooledSession, Response, ServerFault
from core.errors import ConfigError, Rejected, SessionExpired, Transient
from core.events import SessionStatus
from core.ports import Clock, CredentialStore
from core.types import IST, SessionState

_DIES_AT = time(6, 0)  # every morning, by regulation; zerodha.md section 2
_WARN_BEFORE = timedelta(minutes=15)
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def expiry_of(login_at: datetime) -> datetime:
    """The next 06:00 IST after the login: a login at 05:50 lives ten minutes."""
    at = login_at.astimezone(IST)
    today = datetime.combine(at.date(), _DIES_AT, IST)
    return today if at < today else today + timedelta(days=1)


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


class ZerodhaSession:
    """One account's login; see brokers.spec.Session. Safe to use from any thread and, through the token file, from several processes."""

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
        return f"ZerodhaSession({self._account!r}, {self._state_now()[0].value})"

    def api_key(self) -> str:
        return self._credentials.get_secret("ZERODHA_API_KEY")

    # --- asking -------------------------------------------------------------------------------------------------------------------------

    def token(self) -> str:
        with self._lock:
            state, reason = self._observe()
            if state is SessionState.LOGIN_REQUIRED:
                raise SessionExpired(
                    f"account {self._account} needs today's login ({reason}): main.py login zerodha", code="LOGIN_REQUIRED"
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

    def login_url(self) -> str:
        return f"{self._endpoints.login}?{urlencode({'v': '3', 'api_key': self.api_key()})}"

    # --- changing -----------------------------------------------------------------------------------------------------------------------

    def invalidate(self, token: str, reason: str) -> None:
        with self._lock:
            self._load()
            if self._record.get("access_token") != token or self._record.get("refused"):
                return  # an old token's echo, or already known
            self._save({**self._record, "refused": reason})
            self._observe()

    def accept(self, answer: str) -> None:
        request_token = request_token_of(answer)
        api_key, api_secret = self.api_key(), self._credentials.get_secret("ZERODHA_API_SECRET")
        checksum = hashlib.sha256(f"{api_key}{request_token}{api_secret}".encode()).hexdigest()
        form = {"api_key": api_key, "request_token": request_token, "checksum": checksum}
        data = _data_of(self._send("POST", urljoin(self._endpoints.rest, "/session/token"), form))
        token = data.get("access_token")
        if not isinstance(token, str) or not token:
            raise Transient("Zerodha accepted the login but sent no access token; log in again")
        now = self._clock.now()
        with self._lock:
            self._save(
                {
                    "access_token": token,
                    "user_id": str(data.get("user_id", "")),
                    "login_day": now.astimezone(IST).date().isoformat(),
                    "login_at": now.isoformat(),
                    "expires_at": expiry_of(now).isoformat(),
                }
            )
            self._announced = None  # a new login is news even if the state's name is the same
            self._observe()
        self._clock.notify()

    def auto_login(self, login_page: str) -> None:
        if urlsplit(login_page).hostname not in _LOOPBACK:
            raise ConfigError(f"only a simulator on this machine approves a login by itself, not {urlsplit(login_page).hostname!r}")
        page = login_page if "api_key=" in login_page else f"{login_page}?{urlencode({'v': '3', 'api_key': self.api_key()})}"
        for _ in range(5):
            location = self._send("GET", page, None).headers.get("location")
            if not location:
                raise Rejected(f"the login page at {login_page} did not redirect; is it a simulator's?")
            page = urljoin(page, location)
            if "request_token=" in page or urlsplit(page).hostname not in _LOOPBACK:
                break  # the redirect belongs to us: it is read, never visited
        self.accept(page)

    # --- inside -------------------------------------------------------------------------------------------------------------------------

    def _send(self, method: str, url: str, form: Mapping[str, str] | None) -> Response:
        with self._lock:
            if self._http is None:
                self._http = PooledSession(self._clock)
        try:
            return self._http.request(method, url, data=form, headers={"X-Kite-Version": "3"})
        except (urllib3.exceptions.HTTPError, OSError, ServerFault) as error:
            # the cause stays out of the chain: its frames hold the form
            raise Transient(f"Zerodha's login service did not answer ({type(error).__name__}); the login was not made, try again") from None

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
            self._stamp, self._record = None, {}
            return
        stamp = (seen.st_mtime_ns, seen.st_size, seen.st_ino)
        if stamp == self._stamp:
            return
        try:
            record = json.loads(self._file.read_bytes())
        except ValueError:
            record = {}
        self._stamp, self._record = stamp, record if isinstance(record, dict) else {}

    def _save(self, record: Mapping[str, Any]) -> None:
        """Replace the token file atomically; it is readable by its owner alone from its first byte."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_name(f".{self._file.name}.{os.getpid()}.{threading.get_ident()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            json.dump(record, out)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(self._file)
        self._stamp = None
        self._load()


def _time_of(record: Mapping[str, Any], name: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(record[name]))
    except (KeyError, ValueError):
        return None
    return at if at.tzinfo is not None else None


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


# --- catching the redirect --------------------------------------------------------------------------------------------------------------


class RedirectCatcher:
    """A one-shot web server on localhost that a broker's login redirects to; use as a context manager, then `wait`.

    The app's registered redirect URL must be `http://127.0.0.1:PORT/` (any path). Only a request that carries a request token or an
    error status ends the wait: browsers also ask for icons.
    """

    def __init__(self, port: int = 5000) -> None:
        catcher = self
        self._caught = threading.Event()
        self._answer = ""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                carried = "request_token=" in self.path or "status=" in self.path
                page = (
                    b"<p>Thank you. The login has been caught; you may close this page.</p>"
                    if carried
                    else b"<p>Waiting for the login.</p>"
                )
                self.send_response(200 if carried else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)
                if carried and not catcher._caught.is_set():
                    catcher._answer = self.path
                    catcher._caught.set()

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: the request line holds the token."""

        try:
            self._server = HTTPServer(("127.0.0.1", port), Handler)
        except OSError as error:
            raise ConfigError(f"cannot listen on 127.0.0.1:{port} for the login's redirect ({error}); choose another port") from error
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="redirect", daemon=True)

    def __enter__(self) -> "RedirectCatcher":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait(self, seconds: float) -> str | None:
        """The caught path and query (for `Session.accept`), or None when nobody came within `seconds` of wall time."""
        return self._answer if self._caught.wait(seconds) else None
