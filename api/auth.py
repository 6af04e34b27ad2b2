"""Who asks: passwords (Argon2id), bearer tokens (random, short-lived, revocable), lock-out, and the roles that routes demand."""

import secrets as random
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated

import anyio.to_thread
from argon2.exceptions import InvalidHashError, VerificationError
from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.ports import Parts
from storage.users import User

WRONG_PASSWORDS = 5  # in a row, then the user is locked out
LOCKED_FOR = timedelta(minutes=15)
INVITATION_LIFE = timedelta(days=7)
_AT_ONCE = threading.BoundedSemaphore(2)  # Argon2 takes 64 MiB for each: a crowd at the door must not take the machine

bearer = HTTPBearer(auto_error=False, description="The access_token of POST /api/v1/auth/login")


class Door:
    """Registering, logging in and out."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._hasher = parts.hasher
        self._nobody = self._hasher.hash(random.token_hex(16))  # an unknown name takes as long as a wrong password

    def register(self, username: str, name: str, password: str, invitation: str | None) -> User:
        with _AT_ONCE:
            hashed = self._hasher.hash(password)
        return self._parts.users.add(username, name, hashed, invitation, self._parts.now())

    def log_in(self, username: str, password: str) -> tuple[User, str]:
        """The user and a fresh token; 401 for a wrong name or password alike, 423 while it is locked."""
        users, now = self._parts.users, self._parts.now()
        user = users.named(username)
        locked = user is not None and user.locked_until is not None and user.locked_until > now
        with _AT_ONCE:
            right = self._matches(user.password if user is not None else self._nobody, password)
        if locked:
            raise HTTPException(423, f"too many wrong passwords; try again in {LOCKED_FOR.seconds // 60} minutes")
        if user is None or not right:
            if user is not None:
                users.failed(user, now, WRONG_PASSWORDS, LOCKED_FOR)
            raise HTTPException(401, "wrong user name or password", {"WWW-Authenticate": "Bearer"})
        users.succeeded(user, self._hasher.hash(password) if self._hasher.check_needs_rehash(user.password) else None)
        return user, self.token(user)

    def token(self, user: User) -> str:
        now = self._parts.now()
        token = random.token_urlsafe(32)
        self._parts.users.log_in(user, token, now, now + timedelta(minutes=self._parts.settings.token_minutes))
        return token

    def _matches(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False


async def parts_of(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


async def door_of(request: Request) -> Door:
    door: Door = request.app.state.door
    return door


Given = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


async def token_of(given: Given) -> str:
    """The bearer token as it was sent; 401 without one."""
    if given is None or not given.credentials:
        raise HTTPException(401, "log in first: send the access_token as `Authorization: Bearer ...`", {"WWW-Authenticate": "Bearer"})
    return given.credentials


def _user(role: str) -> Callable[..., Awaitable[User]]:
    async def asking(parts: Annotated[Parts, Depends(parts_of)], token: Annotated[str, Depends(token_of)]) -> User:
        user = parts.users.recall(token, parts.now())
        if user is None:
            user = await anyio.to_thread.run_sync(lambda: parts.users.of_token(token, parts.now()))
        if user is None:
            raise HTTPException(401, "this token is not valid (any more); log in again", {"WWW-Authenticate": "Bearer"})
        if not user.may(role):
            raise HTTPException(403, f"this needs the role {role}, {user.username} has {user.role}")
        return user

    return asking


Viewer = Annotated[User, Depends(_user("viewer"))]
Trader = Annotated[User, Depends(_user("trader"))]
Owner = Annotated[User, Depends(_user("owner"))]
Has = Annotated[Parts, Depends(parts_of)]
Token = Annotated[str, Depends(token_of)]
