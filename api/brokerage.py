"""What the routes do with broker apps: which one is meant, its login with a state that is bound to user and redirect, its activation.

Log events carry the names of the integration guides (`zerodha_login_url_generated`, `icici_session_created`, `brokerage_activated`, ...).
"""

import hmac
import secrets as random
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fastapi import HTTPException, Request
from loguru import logger

from api.ports import Login, Parts
from core.errors import BrokerError, ConfigError, NiyamError
from storage.credentials import App
from storage.users import User, digest
from storage.vault import VaultError
from utils.redaction import redact

STATE_LIFE = timedelta(minutes=10)
_MOST_LOGINS = 1000


@dataclass(frozen=True, slots=True)
class LoginState:
    """One login begun by one user: for which app, where its answer may come to, and the answer once our own catcher has it."""

    user_id: int
    app_id: int
    redirect_uri: str
    until: datetime
    answer: str = ""


class Desk:
    """Shared by all requests; every method blocks."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._states: OrderedDict[str, LoginState] = OrderedDict()
        self._lock = threading.Lock()

    # --- apps ---------------------------------------------------------------------------------------------------------------------------

    def keep(self, user: User, broker: str, secrets: Mapping[str, str], *, account_id: str = "", name: str | None = None) -> App:
        """The user's app with this API key (changed), or a new one."""
        vault = self._parts.vault
        vault.ensure(self._parts.now())
        for app in vault.apps_of(user.id):
            known = vault.app_secret(app.id, "api_key") or ""
            if app.broker == broker and hmac.compare_digest(known.encode(), secrets.get("api_key", "").encode()):
                return vault.change_app(app.id, {**secrets, "account_id": account_id or None, "name": name})
        taken = {app.name for app in vault.apps_of(user.id)}
        count = next(number for number in range(1, len(taken) + 2) if _numbered(broker, number) not in taken)
        return vault.add_app(user.id, broker, name or _numbered(broker, count), account_id, secrets, self._parts.now())

    def own(self, user: User, app_id: int) -> App:
        """One of the user's apps; 404 for another's and for none alike."""
        try:
            app = self._parts.vault.app(app_id)
        except ConfigError:
            app = None
        if app is None or app.user_id != user.id:
            raise HTTPException(404, f"you have no app {app_id}")
        return app

    def chosen(self, user: User, broker: str | None = None, api_key: str | None = None, app_id: int | None = None) -> App | None:
        """The app that is meant: of this number, with this key, else the one switched to, else the default one, of that broker."""
        vault = self._parts.vault
        if app_id is not None:
            app = self.own(user, app_id)
            return app if broker in (None, app.broker) else None
        apps = [app for app in vault.apps_of(user.id) if broker in (None, app.broker)]
        if api_key is not None:
            return next((app for app in apps if vault.app_secret(app.id, "api_key") == api_key), None)
        ranked = sorted(apps, key=lambda app: (app.id == user.active_app, app.is_default, app.id), reverse=True)
        return ranked[0] if ranked else None

    # --- logging in ---------------------------------------------------------------------------------------------------------------------

    def login_url(self, user: User, app: App, redirect_uri: str | None) -> tuple[str, str, str | None]:
        """(login URL, where its answer comes to, state or None where the broker brings none back)."""
        state = random.token_urlsafe(24)
        url, carried = self._called(app, lambda: self._parts.brokers.login_url(app, state))
        said = dict(parse_qsl(urlsplit(url).query)).get("redirect_uri")  # where a broker is told it in the address, that is where it goes
        target = redirect_uri or said or self.catcher(app.broker)
        if carried:
            now = self._parts.now()
            with self._lock:
                self._states[state] = LoginState(user.id, app.id, target, now + STATE_LIFE)
                while len(self._states) > _MOST_LOGINS or next(iter(self._states.values())).until <= now:
                    self._states.popitem(last=False)
        event(f"{app.broker}_login_url_generated", app, user)
        return url, target, state if carried else None

    def catcher(self, broker: str) -> str:
        """The address to register as the app's redirect URL, so that a login is caught here."""
        return f"{self._parts.address}/api/v1/dashboard/{broker}/callback"

    def caught(self, broker: str, state: str, answer: str) -> bool:
        """The browser came back with an answer; False where this login is not known (any more)."""
        with self._lock:
            found = self._states.get(state)
            if found is None or found.until <= self._parts.now() or found.answer or found.redirect_uri != self.catcher(broker):
                return False
            self._states[state] = replace(found, answer=answer)
            return True

    def has_caught(self, user: User, app: App) -> bool:
        """Whether our catcher holds an answer for this user's login of this app."""
        now = self._parts.now()
        with self._lock:
            mine = [found for found in self._states.values() if (found.user_id, found.app_id) == (user.id, app.id)]
        return any(found.answer and found.until > now for found in mine)

    def pending(self, user: User, app: App, state: str | None, redirect_uri: str | None) -> str | None:
        """The answer that our catcher holds for this user's login of this app; each is given out once."""
        with self._lock:
            for key, found in list(self._states.items()):
                if (found.user_id, found.app_id) != (user.id, app.id) or found.until <= self._parts.now():
                    continue
                if found.answer and state in (None, key) and redirect_uri in (None, found.redirect_uri):
                    del self._states[key]
                    return found.answer
        return None

    def check_state(self, user: User, app: App, state: str, redirect_uri: str | None) -> None:
        """400 unless this very user began this login with this redirect; a state is good once."""
        with self._lock:
            found = self._states.pop(state, None)
        if found is None or found.until <= self._parts.now() or (found.user_id, found.app_id) != (user.id, app.id):
            raise HTTPException(400, "that login was not begun by you, or longer than ten minutes ago; get a new login URL")
        if redirect_uri is not None and redirect_uri != found.redirect_uri:
            raise HTTPException(400, f"that login was begun with the redirect {found.redirect_uri}")

    def check_url(self, broker: str, url: str) -> None:
        """400 for an API address that is not the broker's: credentials go to known hosts alone, whatever a caller says."""
        if not self._parts.brokers.knows_host(broker, url):
            raise HTTPException(400, f"api_url is none of {broker}'s addresses; leave it out (it is never used to send anything to)")

    def activate(self, user: User, app: App, answer: str) -> Login:
        """Exchange the login's answer for the day's session."""
        try:
            made: Login = self._called(app, lambda: self._parts.brokers.activate(app, answer))
        except HTTPException as error:
            event(f"{app.broker}_session_creation_failed", app, user, why=str(error.detail))
            raise
        self._parts.users.activate_app(user, app.id)
        event(f"{app.broker}_session_created", app, user)
        event("brokerage_activated", app, user)
        return made

    def handle(self, app: App) -> str:
        """What replies call `session_id` and `access_token`: a name for the app's session that is worth nothing to the broker."""
        return f"session-{app.id}-{digest(f'{app.id}/{app.created_at}')[:16]}"

    def _called(self, app: App, call: Any) -> Any:
        return called(app.broker, call)


def called(broker: str, call: Any) -> Any:
    """`call()`, its failures as HTTP: 503 the vault is locked, 400 the caller's, 502 the broker's."""
    try:
        return call()
    except VaultError as error:
        raise HTTPException(503, redact(str(error))) from None
    except ConfigError as error:
        raise HTTPException(400, redact(str(error))) from None
    except BrokerError as error:
        raise HTTPException(502, f"{broker}: {redact(str(error))}") from None
    except NiyamError as error:
        raise HTTPException(502, redact(str(error))) from None


def event(name: str, app: App, user: User | None = None, **more: Any) -> None:
    """One log line whose message is the event's name; what it is about is bound to it."""
    who = {"user": user.username} if user is not None else {}
    log = logger.bind(event=name, broker=app.broker, app=app.id, **who, **more)
    (log.warning if name.endswith(("_failed", "_error", "_fallback")) else log.info)(name)


async def desk_of(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def _numbered(broker: str, number: int) -> str:
    return broker if number == 1 else f"{broker}-{number}"
