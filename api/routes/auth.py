"""Registering, logging in and out, invitations, and the first-time set-up of a broker's credentials."""

import secrets as random
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from loguru import logger

from api.auth import INVITATION_LIFE, Door, Has, Owner, Token, Trader, Viewer, door_of
from api.brokerage import Desk, desk_of
from api.ports import Parts
from api.schemas import (
    FirstTimeSetup,
    InvitationReply,
    Invite,
    LogIn,
    Message,
    Register,
    SetupReply,
    TokenReply,
    UserReply,
    opened,
)
from storage.users import User

router = APIRouter(prefix="/api/v1/auth", tags=["users"])
again = APIRouter(tags=["users"])  # the same set-up where one of the guides has it
Entrance = Annotated[Door, Depends(door_of)]


@router.post("/register", status_code=201)
def register(given: Register, door: Entrance) -> UserReply:
    """The first user becomes the owner; everybody else needs the owner's invitation."""
    user = door.register(given.username, given.name, given.password.get_secret_value(), opened(given.invitation))
    logger.info("user {} registered as {}", user.username, user.role)
    return UserReply(id=user.id, username=user.username, name=user.name, role=user.role)


@router.post("/login")
def log_in(given: LogIn, door: Entrance, parts: Has) -> TokenReply:
    """A bearer token for api.token_minutes; five wrong passwords lock the user out for a quarter of an hour."""
    user, token = door.log_in(given.username, given.password.get_secret_value())
    return _token(parts, user, token)


@router.post("/refresh")
def refresh(user: Viewer, token: Token, door: Entrance, parts: Has) -> TokenReply:
    """A new token for a living one, which ends."""
    fresh = door.token(user)
    parts.users.log_out(token)
    return _token(parts, user, fresh)


@router.post("/logout")
def log_out(user: Viewer, token: Token, parts: Has, everywhere: bool = False) -> Message:
    """End this token, or all of this user's."""
    if everywhere:
        parts.users.log_out_everywhere(user)
    else:
        parts.users.log_out(token)
    return Message(message="logged out")


@router.get("/me")
def me(user: Viewer) -> UserReply:
    return UserReply(id=user.id, username=user.username, name=user.name, role=user.role)


@router.get("/users")
def everybody(user: Owner, parts: Has) -> list[UserReply]:
    return [UserReply(id=one.id, username=one.username, name=one.name, role=one.role) for one in parts.users.all()]


@router.post("/invitations", status_code=201)
def invite(given: Invite, user: Owner, parts: Has) -> InvitationReply:
    """A code that one person may register with, for a week. It is shown this once."""
    code, until = random.token_urlsafe(18), parts.now() + INVITATION_LIFE
    parts.users.invite(user, given.role, code, until)
    return InvitationReply(invitation=code, role=given.role, expires_at=until.isoformat())


@router.post("/first-time-api-setup")
@again.post("/api/v1/first-time-api-setup")
def first_time_setup(given: FirstTimeSetup, user: Trader, parts: Has, desk: Annotated[Desk, Depends(desk_of)]) -> SetupReply:
    """Keep a broker's credentials in the vault. With `request_token` the broker is activated at once."""
    secrets = {"api_key": given.api_key.get_secret_value(), "secret_key": given.api_secret.get_secret_value()}
    if given.mpin is not None:
        secrets["mpin"] = given.mpin.get_secret_value()
    app = desk.keep(user, given.broker, secrets, account_id=given.account_id, name=given.name)
    token = opened(given.request_token)
    if token is None:
        return SetupReply(message=f"{given.broker} credentials are stored", app_id=app.id, broker=app.broker)
    try:
        desk.activate(user, app, token)
    except HTTPException as error:
        raise HTTPException(error.status_code, f"the credentials are stored, but {app.broker} was not activated: {error.detail}") from None
    return SetupReply(message=f"{given.broker} is set up and activated", app_id=app.id, broker=app.broker, activated=True)


def _token(parts: Parts, user: User, token: str) -> TokenReply:
    return TokenReply(access_token=token, expires_in=parts.settings.token_minutes * 60, username=user.username, role=user.role)
