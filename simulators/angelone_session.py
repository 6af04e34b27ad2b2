"""SmartAPI's login: client code, MPIN and TOTP for three tokens that die at midnight, their renewal, and the publisher page's redirect."""

import base64
import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from simulators.angelone_errors import ApiError
from simulators.totp import totp
from simulators.wire import Request

REFRESH_LIFE = timedelta(days=1)
"""How long a refresh token outlives its session; the broker says nothing about it."""


@dataclass(frozen=True, slots=True)
class App:
    """One API key of one client."""

    api_key: str
    client_code: str
    mpin: str
    totp_secret: str
    redirect_url: str


@dataclass(slots=True)
class Login:
    """The tokens of one login. A killed session's sockets live on; nothing outlives midnight."""

    app: App
    token: str
    refresh_token: str
    feed_token: str
    made_at: datetime
    expires_at: datetime
    dead: bool = False

    @property
    def user(self) -> str:
        return self.app.client_code

    def valid(self, now: datetime) -> bool:
        """Whether REST takes the token."""
        return not self.dead and now < self.expires_at

    def alive(self, now: datetime) -> bool:
        """Whether a socket that was opened with it stays open."""
        return now < self.expires_at


@dataclass(frozen=True, slots=True)
class Call:
    """An authenticated request on its way to a route: its JSON body, the path's last part, the moment it is answered, a book's lag."""

    login: Login
    body: dict[str, Any]
    tail: str
    now: datetime
    lag: timedelta = timedelta()

    @property
    def user(self) -> str:
        return self.login.user

    def text(self, name: str) -> str:
        value = self.body.get(name)
        return "" if value is None else str(value)


class Sessions:
    """Every login of every app. Tokens follow from the seed and the number of the login, so that runs repeat."""

    def __init__(self, apps: list[App], seed: int) -> None:
        self.apps = {app.api_key: app for app in apps}
        self._by_token: dict[str, Login] = {}
        self._by_refresh: dict[str, Login] = {}
        self._seed = seed
        self._issued = 0

    def log_in(self, api_key: str, body: dict[str, Any], now: datetime) -> Login:
        """The login of a client code, MPIN and TOTP; raises ApiError."""
        app = self.apps.get(api_key)
        if app is None:
            raise ApiError("AG8001", "Invalid API Key")
        if body.get("clientcode") != app.client_code or str(body.get("password", "")) != app.mpin:
            raise ApiError("AB1007", "Invalid User ID, Password or MPIN")
        if str(body.get("totp", "")) not in {totp(app.totp_secret, now, step) for step in (-1, 0, 1)}:
            raise ApiError("AB1050")
        return self._issue(app, now)

    def renew(self, refresh_token: str, now: datetime) -> Login:
        """New tokens for a refresh token, which is used up."""
        old = self._by_refresh.get(refresh_token)
        if old is None:
            raise ApiError("AB8050")
        if now >= old.expires_at + REFRESH_LIFE:
            raise ApiError("AB8051")
        del self._by_refresh[refresh_token]
        return self._issue(old.app, now)

    def publisher(self, api_key: str, state: str, now: datetime) -> str | None:
        """Where the publisher page sends the person to; None for an unknown app."""
        app = self.apps.get(api_key)
        if app is None:
            return None
        login = self._issue(app, now)
        answer = {"auth_token": login.token, "feed_token": login.feed_token, **({"state": state} if state else {})}
        return f"{app.redirect_url}{'&' if '?' in app.redirect_url else '?'}{urlencode(answer)}"

    def check(self, request: Request, now: datetime) -> Login:
        """The living login of a request's headers; raises ApiError in the gateway's dialect."""
        token = bearer(request.headers.get("authorization", ""))
        if not token:
            raise ApiError("AG8003")
        login = self._by_token.get(token)
        if login is None or login.dead or request.headers.get("x-privatekey", "") != login.app.api_key:
            raise ApiError("AG8001")
        if now >= login.expires_at:
            raise ApiError("AG8002")
        return login

    def by_token(self, token: str) -> Login | None:
        return self._by_token.get(token)

    def by_feed_token(self, token: str) -> Login | None:
        return next((login for login in self._by_token.values() if login.feed_token == token), None)

    def log_out(self, client_code: str) -> None:
        for login in self._by_token.values():
            login.dead = login.dead or login.user == client_code

    def kill_all(self) -> None:
        """Every access token dies now; refresh tokens live."""
        for login in self._by_token.values():
            login.dead = True

    def redirect_to(self, url: str) -> None:
        self.apps = {key: replace(app, redirect_url=url) for key, app in self.apps.items()}

    def _issue(self, app: App, now: datetime) -> Login:
        self._issued += 1
        midnight = datetime.combine(now.date() + timedelta(days=1), time(0), now.tzinfo)
        login = Login(app, self._make("jwt"), self._make("refresh"), self._make("feed"), now, midnight)
        self._by_token[login.token] = self._by_refresh[login.refresh_token] = login
        return login

    def _make(self, what: str) -> str:
        """Three dotted parts, as a JWT has."""
        parts = (hashlib.sha256(f"{self._seed}/{what}/{self._issued}/{part}".encode()).digest()[:18] for part in range(3))
        return ".".join(base64.urlsafe_b64encode(part).decode() for part in parts)


def bearer(header: str) -> str:
    """The token of an Authorization header, with or without its scheme."""
    return header.removeprefix("Bearer ").strip()
