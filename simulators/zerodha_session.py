"""Kite's login: a request token for a redirect, an access token for a request token and a checksum, dead at 06:00 of the next day."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from urllib.parse import parse_qsl, urlencode

from simulators.wire import Request

FLUSH = time(6, 0)
REQUEST_TOKEN_LIFE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class App:
    """One API key of one user, as developers.kite.trade registers it. `live_data` False is the free plan: no quotes, no stream."""

    api_key: str
    api_secret: str
    user_id: str
    redirect_url: str
    live_data: bool = True
    app_id: int = 1234


@dataclass(slots=True)
class AccessToken:
    """A login session."""

    app: App
    token: str
    login_time: datetime
    expires_at: datetime
    dead: bool = False

    @property
    def user(self) -> str:
        return self.app.user_id

    def alive(self, now: datetime) -> bool:
        return not self.dead and now < self.expires_at


@dataclass(frozen=True, slots=True)
class Call:
    """An authenticated request on its way to a route; `parts` are the path's, `now` is when it is answered."""

    session: AccessToken
    request: Request
    parts: list[str]
    now: datetime

    @property
    def user(self) -> str:
        return self.session.user


class Sessions:
    """Every login of every app. Tokens follow from the seed and the number of the login, so that runs repeat."""

    def __init__(self, apps: list[App], seed: int) -> None:
        self.apps = {app.api_key: app for app in apps}
        self.by_token: dict[str, AccessToken] = {}
        self._requests: dict[str, tuple[App, datetime]] = {}
        self._seed = seed
        self._issued = 0

    def redirect(self, api_key: str, redirect_params: str, now: datetime) -> str | None:
        """Where the login page sends the person to; None for an unknown app. `redirect_params` is the url-decoded `k=v&k=v`."""
        app = self.apps.get(api_key)
        if app is None:
            return None
        token = self._make("request", 32)
        self._requests[token] = (app, now)
        answer = [("request_token", token), ("action", "login"), ("status", "success"), ("type", "login"), *parse_qsl(redirect_params)]
        return f"{app.redirect_url}{'&' if '?' in app.redirect_url else '?'}{urlencode(answer)}"

    def exchange(self, form: dict[str, str], now: datetime) -> AccessToken | str:
        """The session for a request token, or why there is none. A login while one is alive returns that one (so clients report)."""
        app = self.apps.get(form.get("api_key", ""))
        if app is None:
            return "Invalid `api_key`."
        request_token = form.get("request_token", "")
        wanted = hashlib.sha256(f"{app.api_key}{request_token}{app.api_secret}".encode()).hexdigest()
        if form.get("checksum", "") != wanted:
            return "Invalid `checksum`."
        owner, issued = self._requests.pop(request_token, (None, now))
        if owner is not app or now - issued > REQUEST_TOKEN_LIFE:
            return "Token is invalid or has expired."
        for session in self.by_token.values():
            if session.app is app and session.alive(now):
                return session
        flush = datetime.combine(now.date(), FLUSH, now.tzinfo)
        expires = flush if now < flush else flush + timedelta(days=1)
        session = AccessToken(app, self._make("access", 32), now, expires)
        self.by_token[session.token] = session
        return session

    def check(self, api_key: str, token: str, now: datetime) -> AccessToken | None:
        """The living session of this pair, or None."""
        session = self.by_token.get(token)
        return session if session is not None and session.app.api_key == api_key and session.alive(now) else None

    def close(self, api_key: str, token: str) -> bool:
        session = self.by_token.get(token)
        if session is None or session.app.api_key != api_key:
            return False
        session.dead = True
        return True

    def kill_all(self) -> None:
        """A master logout: every token dies now."""
        for session in self.by_token.values():
            session.dead = True

    def _make(self, what: str, length: int) -> str:
        self._issued += 1
        return hashlib.sha256(f"{self._seed}/{what}/{self._issued}".encode()).hexdigest()[:length]
