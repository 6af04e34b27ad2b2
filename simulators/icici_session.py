"""Breeze's login: a page that redirects with apisession, customerdetails that exchanges it unsigned, the checksum of all later calls."""

import base64
import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from simulators.icici_errors import BAD_CHECKSUM, EXPIRED_SESSION, INVALID_SESSION, NO_APP, SKEWED, ApiError, bad_session
from simulators.wire import Request

SKEW = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class App:
    """One app of one client."""

    api_key: str
    api_secret: str
    user_id: str
    redirect_url: str


@dataclass(slots=True)
class Login:
    """One session: the number that the redirect carried, the key that customerdetails gave for it; both until midnight."""

    app: App
    number: str
    key: str
    expires_at: datetime
    dead: bool = False
    latest: datetime | None = None  # of the timestamps of a client with a clock of its own

    @property
    def user(self) -> str:
        return self.app.user_id

    @property
    def token(self) -> str:
        """base64 of user:key, as X-SessionToken carries it."""
        return base64.b64encode(f"{self.user}:{self.key}".encode()).decode()

    def alive(self, now: datetime) -> bool:
        return not self.dead and now < self.expires_at


@dataclass(frozen=True, slots=True)
class Call:
    """An authenticated request on its way to a route: its JSON body, the moment it is answered, a book's lag."""

    login: Login
    body: dict[str, Any]
    now: datetime
    lag: timedelta = timedelta()

    @property
    def user(self) -> str:
        return self.login.user

    def text(self, name: str) -> str:
        value = self.body.get(name)
        return "" if value is None else str(value).strip()


class Sessions:
    """Every login of every app. Numbers and keys follow from the seed and the number of the login, so that runs repeat."""

    def __init__(self, apps: list[App], seed: int) -> None:
        self.apps = {app.api_key: app for app in apps}
        self._logins: list[Login] = []
        self._seed = seed

    def redirect(self, request: Request, now: datetime) -> str:
        """Where the login page sends the person to, who approves at once; raises ApiError."""
        app = self.apps.get(request.argument("api_key"))
        if app is None:
            raise ApiError(NO_APP, 401, http=401)
        digest = hashlib.sha256(f"{self._seed}/session/{len(self._logins)}".encode()).hexdigest()
        midnight = datetime.combine(now.date() + timedelta(days=1), time(0), now.tzinfo)
        login = Login(app, str(10_000_000 + int(digest[:12], 16) % 90_000_000), str(int(digest[12:24], 16)), midnight)
        self._logins.append(login)
        return f"{app.redirect_url}{'&' if '?' in app.redirect_url else '?'}{urlencode({'apisession': login.number})}"

    def exchange(self, body: dict[str, Any], now: datetime) -> Login:
        """The session of an apisession number; a client that starts again asks for the same one. Raises ApiError."""
        if str(body.get("AppKey", "")) not in self.apps:
            raise ApiError(NO_APP, 401)
        number = str(body.get("SessionToken", ""))
        login = next((one for one in self._logins if number in (one.number, one.token) and one.app.api_key == body["AppKey"]), None)
        if login is None:
            raise ApiError(INVALID_SESSION, 401)
        if not login.alive(now):
            raise ApiError(EXPIRED_SESSION, 401)
        return login

    def check(self, request: Request, now: datetime, *, signed: bool) -> Login:
        """The living login of a request's headers. v1 is `signed`: its checksum and timestamp must fit; raises ApiError."""
        headers = request.headers
        key = headers.get("x-appkey" if signed else "apikey", "")
        token = headers.get("x-sessiontoken", "")
        login = next((one for one in self._logins if one.token == token), None)
        if login is None or login.app.api_key != key:
            raise bad_session()
        if not login.alive(now):
            raise bad_session("Session key is expired.")
        if signed:
            self._check_signature(request, login, now)
        return login

    def by_stream(self, auth: Any) -> Login | None:
        """The session that a stream's CONNECT packet names."""
        if not isinstance(auth, dict):
            return None
        return next((one for one in self._logins if (one.user, one.key) == (auth.get("user"), auth.get("token"))), None)

    def kill_all(self) -> None:
        for login in self._logins:
            login.dead = True

    def redirect_to(self, url: str) -> None:
        self.apps = {key: replace(app, redirect_url=url) for key, app in self.apps.items()}

    def _check_signature(self, request: Request, login: Login, now: datetime) -> None:
        stamp = request.headers.get("x-timestamp", "")
        try:
            sent = datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.000Z").replace(tzinfo=UTC)
        except ValueError as error:
            raise bad_session(SKEWED) from error
        # a client that is not attached has a clock of the real world: its times can only be held against one another, and it may have
        # been silent for long
        reference = now if request.lane else login.latest or sent
        if reference - sent > SKEW or (request.lane and sent - reference > SKEW):
            raise bad_session(SKEWED)
        if not request.lane:
            login.latest = max(sent, reference)
        wanted = hashlib.sha256(stamp.encode() + request.body + login.app.api_secret.encode()).hexdigest()
        if request.headers.get("x-checksum", "") != f"token {wanted}":
            raise bad_session(BAD_CHECKSUM)


def body_of(request: Request) -> dict[str, Any]:
    """The JSON object in the body of any method, GET and DELETE too."""
    try:
        body = json.loads(request.body) if request.body else {}
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
