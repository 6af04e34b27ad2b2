"""Groww's token endpoint: a key approved for the day with a checksum of its secret, or a TOTP key with a code; tokens that die at 06:00."""

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any

from simulators.groww_errors import FORBIDDEN, ApiError, bad
from simulators.totp import totp
from simulators.wire import Request

DIES_AT = time(6, 0)


@dataclass(frozen=True, slots=True)
class App:
    """One client with a key of each type: a TOTP key with the secret of its codes, an approval key with its secret."""

    totp_key: str
    totp_secret: str
    approval_key: str
    approval_secret: str
    user_id: str
    redirect_url: str


@dataclass(slots=True)
class AccessToken:
    """A login session; a later one does not end it."""

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
    """An authenticated request on its way to a route; `tail` is the variable part of its path, `lag` how old the books are it sees."""

    session: AccessToken
    request: Request
    tail: str
    now: datetime
    lag: timedelta = timedelta()

    @property
    def user(self) -> str:
        return self.session.user

    def argument(self, name: str) -> str:
        return self.request.argument(name)

    @property
    def body(self) -> Any:
        return body_of(self.request)

    def fields(self) -> dict[str, Any]:
        """The JSON object of the body; raises ApiError for anything else."""
        body = self.body
        if not isinstance(body, dict):
            raise bad("Bad request: a JSON object was expected")
        return body


def body_of(request: Request) -> Any:
    try:
        return json.loads(request.body)
    except ValueError as error:
        raise bad("Bad request: the body is not JSON") from error


class Sessions:
    """Every login of every client. Tokens follow from the seed and the number of the login, so that runs repeat."""

    def __init__(self, apps: list[App], seed: int) -> None:
        self.apps = apps
        self.by_token: dict[str, AccessToken] = {}
        self.approved_on: dict[str, date] = {}  # approval key -> the day for which its owner has approved it
        self._seed = seed
        self._issued = 0

    def approve(self, now: datetime) -> str:
        """A person approves every key for the day on the broker's page; returns where the page sends that person."""
        for app in self.apps:
            self.approved_on[app.approval_key] = now.date()
        return self.apps[0].redirect_url

    def exchange(self, request: Request, now: datetime) -> AccessToken:
        """The session for a key with its code or checksum; raises ApiError."""
        key = request.headers.get("authorization", "").partition(" ")[2].strip()
        body = body_of(request)
        kind = body.get("key_type") if isinstance(body, dict) else None
        if kind == "totp":
            app = next((one for one in self.apps if one.totp_key == key), None)
            if app is None:
                raise ApiError(401, FORBIDDEN, "The API key is not valid")
            if str(body.get("totp", "")) not in {totp(app.totp_secret, now, step) for step in (-1, 0, 1)}:
                raise bad("Invalid TOTP")
        elif kind == "approval":
            app = next((one for one in self.apps if one.approval_key == key), None)
            if app is None:
                raise ApiError(401, FORBIDDEN, "The API key is not valid")
            if body.get("checksum") != hashlib.sha256(f"{app.approval_secret}{body.get('timestamp')}".encode()).hexdigest():
                raise bad("Invalid checksum")
            if self.approved_on.get(key) != now.date():
                raise ApiError(403, FORBIDDEN, "The API key has not been approved for today")
        else:
            raise bad("key_type must be totp or approval")
        self._issued += 1
        today = datetime.combine(now.date(), DIES_AT, now.tzinfo)
        token = hashlib.sha256(f"{self._seed}/access/{self._issued}".encode()).hexdigest()[:40]
        session = AccessToken(app, token, today if now < today else today + timedelta(days=1))
        self.by_token[token] = session
        return session

    def check(self, request: Request, now: datetime) -> AccessToken | None:
        """The living session of the Authorization header, or None."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        session = self.by_token.get(token.strip()) if scheme == "Bearer" else None
        return session if session is not None and session.alive(now) else None

    def kill_all(self) -> None:
        for session in self.by_token.values():
            session.dead = True

    def redirect_to(self, url: str) -> None:
        self.apps = [replace(app, redirect_url=url) for app in self.apps]
