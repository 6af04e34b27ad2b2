"""Brokers for the web process: through the daemon where the app is that of its account, else by calls of its own with the app's secrets.

With NIYAM_SIMULATOR every app of that simulator's broker is at the simulator. The session of an app lies in STATE/apps/ID/session.
"""

import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from api.ports import Login
from brokers import registry
from brokers.spec import CodeSession, Session
from core.clock import SystemClock
from core.errors import ConfigError, DataError, NiyamError, SessionExpired
from core.ports import Broker
from core.types import IST, Instrument, SessionState
from data_ingestion.instruments import InstrumentSnapshot
from runtime import portfolio, venue
from runtime.brokerage import fingerprint
from runtime.shared import Shared
from runtime.web_desk import WebDesk
from storage.credentials import App, AppCredentials, Vault
from utils.config_loader import config as secrets
from utils.config_loader import environment
from utils.control import Answer, DaemonDown
from utils.pacing import Budget

SESSION_S = 1.0  # for so long the word of where an app's session stands serves whoever asks
PORTFOLIO_S = 5.0  # the same of its books: a crowd must not use up the requests that the broker allows the account
MOST_APPS = 200
_GUIDES = {"icici": ("api.icicidirect.com",)}  # hosts that the integration guides name beside the real ones


class _NoInstruments:
    """For reads of books alone: rows name their instrument themselves."""

    day = None

    def by_key(self, key: str) -> Instrument | None:
        return None

    def by_token(self, token: object) -> Instrument | None:
        return None

    def token(self, instrument: Instrument) -> int:
        raise DataError(f"{instrument.key}: this process has no instruments; prices are asked of the daemon")


class _Own:
    """One app's session and client in this process."""

    def __init__(self, vault: Vault, app: App, state: Path, callback: str) -> None:
        here = venue.find(app.broker)
        redirect = secrets.find(f"{app.broker.upper()}_REDIRECT_URI") or callback
        credentials = AppCredentials(vault, app, {f"{app.broker.upper()}_REDIRECT_URI": redirect})
        token_file = folder_of(state, app) / "session" / f"{app.broker}.json"
        self.clock = here.clock
        self.simulator = bool(here.simulator)
        self.session: Session = here.spec.make_session(f"app-{app.id}", credentials, here.clock, token_file, here.endpoints, lambda _: None)
        budget = Budget(here.clock, here.spec.limits)
        lookup = cast(InstrumentSnapshot, _NoInstruments())
        self.broker: Broker = here.spec.make_broker(self.session, here.clock, budget, None, here.endpoints, lambda: lookup)


class WebBrokers:
    """See api.ports.Brokers."""

    def __init__(self, vault: Vault, desk: WebDesk, state: Path, address: str) -> None:
        self._vault = vault
        self._desk = desk
        self._state = state
        self._address = address
        self._own: dict[int, tuple[str, _Own]] = {}
        self._lock = threading.Lock()
        self._sessions = Shared(SystemClock(), SESSION_S, MOST_APPS)
        self._portfolios = Shared(SystemClock(), PORTFOLIO_S, MOST_APPS)
        desk.changed = self._forget

    def _forget(self) -> None:
        self._sessions.forget()
        self._portfolios.forget()

    def names(self) -> tuple[str, ...]:
        return registry.names()

    def login_kind(self, broker: str) -> str:
        return registry.get(broker).login if broker in registry.names() else "redirect"

    def knows_host(self, broker: str, url: str) -> bool:
        found = urlsplit(url)
        if broker not in registry.names():
            return found.hostname in _GUIDES.get(broker, ())
        endpoints = registry.get(broker).endpoints
        hosts = {urlsplit(one).hostname for one in (endpoints.rest, endpoints.login)} | set(_GUIDES.get(broker, ()))
        if found.scheme == "https" and found.hostname in hosts:
            return True
        simulator = environment("NIYAM_SIMULATOR")
        return bool(simulator) and urlsplit(simulator).hostname == found.hostname

    def login_url(self, app: App, state: str) -> tuple[str, bool]:
        told = self._through_daemon(app, "login-url")
        url = str(told["url"]) if told is not None else self._of(app).session.login_url()
        carrying = registry.get(app.broker).with_state(url, state)
        return carrying or url, bool(carrying)

    def activate(self, app: App, answer: str) -> Login:
        try:
            told = self._through_daemon(app, "activate", answer=answer)
            if told is not None:
                return _login(told)
            own = self._of(app)
            own.session.accept(answer)
            return self._stands(own)
        finally:
            self._forget()

    def renew(self, app: App) -> Login:
        login = self.session(app)
        if login.state != "LOGIN_REQUIRED" or login.account or self.login_kind(app.broker) != "code":
            return login
        self._forget()
        own = self._of(app)
        session = cast(CodeSession, own.session)
        if own.session.expires_at() is not None:
            session.renew()
        if own.session.state() is SessionState.LOGIN_REQUIRED and ("totp_secret" in app.holds or not session.needs_code):
            session.unattended()
        return self._stands(own)

    def session(self, app: App) -> Login:
        found: Login = self._sessions.get(_key(app), lambda: self._session(app))
        return found

    def _session(self, app: App) -> Login:
        told = self._through_daemon(app, "session")
        return _login(told) if told is not None else self._stands(self._of(app))

    def portfolio(self, app: App) -> dict[str, Any]:
        return dict(self._portfolios.get(_key(app), lambda: self._portfolio(app)))

    def _portfolio(self, app: App) -> dict[str, Any]:
        told = self._through_daemon(app, "portfolio")
        if told is not None:
            return dict(told)
        own = self._of(app)
        return portfolio.from_broker(own.broker, own.clock)

    def forget(self, app: App) -> None:
        with self._lock:
            self._own.pop(app.id, None)
        self._forget()
        shutil.rmtree(folder_of(self._state, app), ignore_errors=True)

    def _through_daemon(self, app: App, do: str, **more: str) -> Mapping[str, Any] | None:
        """The daemon's answer where the app is its account's; None where it is not, or no daemon runs."""
        key = self._vault.app_secret(app.id, "api_key")
        if key is None:
            return None
        asked = {"do": do, "broker": app.broker, "app": fingerprint(app.broker, key), **more}
        try:
            answer: Answer = self._desk.ask("brokerage", asked)
        except DaemonDown:
            return None
        told = answer.data if isinstance(answer.data, Mapping) else {}
        if not told.get("mine"):
            return None
        if not answer.ok:
            raise _ERRORS.get(str(told.get("error")), NiyamError)(answer.text)
        return told

    def _of(self, app: App) -> _Own:
        if app.broker not in registry.names():
            raise ConfigError(f"{app.broker} is not built into this version; there are {', '.join(registry.names())}")
        where = environment("NIYAM_SIMULATOR")
        with self._lock:
            known = self._own.get(app.id)
            if known is None or known[0] != where:
                known = (where, _Own(self._vault, app, self._state, f"{self._address}/api/v1/dashboard/{app.broker}/callback"))
                self._own[app.id] = known
            return known[1]

    def _stands(self, own: _Own) -> Login:
        expires = own.session.expires_at()
        kind = "simulator" if own.simulator else "own"
        return Login(str(own.session.state()), expires.astimezone(IST).isoformat() if expires is not None else None, kind=kind)


_ERRORS: Mapping[str, type[NiyamError]] = {"ConfigError": ConfigError, "SessionExpired": SessionExpired}


def _key(app: App) -> tuple[object, ...]:
    return app.id, app.broker, *sorted(app.holds.items()), environment("NIYAM_SIMULATOR")


def folder_of(state: Path, app: App) -> Path:
    """Where an app's session lies."""
    return state / "apps" / str(app.id)


def _login(told: Mapping[str, Any]) -> Login:
    return Login(str(told["session"]), told.get("expires_at"), str(told["account"]), str(told["kind"]))
