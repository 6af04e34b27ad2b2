"""Upstox's login: an OAuth code for a redirect, used once; a token until 03:30; one token for an app, ended by the next login."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from simulators.upstox_errors import ApiError, bad
from simulators.wire import Request

DIES_AT = time(3, 30)
CODE_LIFE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class App:
    """One app of one user. `plus` is the paid plan: five market streams, thirty levels, expired contracts."""

    api_key: str
    api_secret: str
    user_id: str
    redirect_url: str
    plus: bool = False


@dataclass(slots=True)
class AccessToken:
    """A login session."""

    app: App
    token: str
    expires_at: datetime
    dead: bool = False

    @property
    def user(self) -> str:
        return self.app.user_id

    def alive(self, now: datetime) -> bool:
        return not self.dead and now < self.expires_at


@dataclass(frozen=True, slots=True)
class Call:
    """An authenticated request on its way to a route; `now` is when it is answered, `lag` how old the books are that it sees."""

    session: AccessToken
    request: Request
    tail: list[str]
    now: datetime
    lag: timedelta = timedelta()

    @property
    def user(self) -> str:
        return self.session.user

    @property
    def body(self) -> Any:
        """The JSON of the body; raises ApiError for anything else."""
        try:
            return json.loads(self.request.body)
        except ValueError as error:
            raise bad("UDAPI100036", "Invalid Input") from error

    def fields(self) -> dict[str, Any]:
        body = self.body
        if not isinstance(body, dict):
            raise bad("UDAPI100036", "Invalid Input")
        return body


class Sessions:
    """Every login of every app. Tokens follow from the seed and the number of the login, so that runs repeat."""

    def __init__(self, apps: list[App], seed: int) -> None:
        self.apps = {app.api_key: app for app in apps}
        self.by_token: dict[str, AccessToken] = {}
        self._codes: dict[str, tuple[App, datetime]] = {}
        self._seed = seed
        self._issued = 0

    def redirect(self, request: Request, now: datetime) -> str:
        """Where the login dialog sends the person to, who approves at once; raises ApiError."""
        app = self.apps.get(request.argument("client_id"))
        if app is None or request.argument("redirect_uri") != app.redirect_url:
            raise ApiError(401, "UDAPI100068", "Check your 'client_id' and 'redirect_uri'; one or both are incorrect.")
        if request.argument("response_type") != "code":
            raise bad("UDAPI100036", "Invalid Input")
        code = self._make("code", 6)
        self._codes[code] = (app, now)
        state = request.argument("state")
        answer = {"code": code, **({"state": state} if state else {})}
        return f"{app.redirect_url}{'&' if '?' in app.redirect_url else '?'}{urlencode(answer)}"

    def exchange(self, form: dict[str, str], now: datetime) -> AccessToken:
        """The session for a code, which is used up even if the exchange fails; raises ApiError."""
        owner, issued = self._codes.pop(form.get("code", ""), (None, now))
        app = self.apps.get(form.get("client_id", ""))
        if app is None or form.get("redirect_uri", "") != app.redirect_url:
            raise ApiError(401, "UDAPI100068", "Check your 'client_id' and 'redirect_uri'; one or both are incorrect.")
        if form.get("client_secret") != app.api_secret or form.get("grant_type") != "authorization_code":
            raise ApiError(401, "UDAPI100016", "Invalid Credentials")
        if owner is not app or now - issued > CODE_LIFE:
            raise ApiError(401, "UDAPI100016", "Invalid Credentials: the code has expired or been used")
        for other in self.by_token.values():
            other.dead = other.dead or other.user == app.user_id  # a new login ends the older token
        today = datetime.combine(now.date(), DIES_AT, now.tzinfo)
        session = AccessToken(app, self._make("access", 40), today if now < today else today + timedelta(days=1))
        self.by_token[session.token] = session
        return session

    def check(self, request: Request, now: datetime) -> AccessToken | None:
        """The living session of the Authorization header, or None."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        session = self.by_token.get(token.strip()) if scheme == "Bearer" else None
        return session if session is not None and session.alive(now) else None

    def kill_all(self) -> None:
        for session in self.by_token.values():
            session.dead = True

    def one_time(self) -> str:
        """A code for one stream connection."""
        return self._make("stream", 24)

    def _make(self, what: str, length: int) -> str:
        self._issued += 1
        return hashlib.sha256(f"{self._seed}/{what}/{self._issued}".encode()).hexdigest()[:length]
