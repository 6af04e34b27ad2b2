"""Broker apps: a user's sets of credentials, the default one, and switching between them."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path

from api.auth import Has, Trader, Viewer
from api.brokerage import Desk, called, desk_of, event
from api.ports import Login, Parts
from api.schemas import AppReply, CreateApp, EditApp, Message, Switch, opened
from core.errors import NiyamError
from core.types import ENDED
from storage.credentials import App
from storage.users import User

router = APIRouter(prefix="/api/apps", tags=["apps"])
At = Annotated[Desk, Depends(desk_of)]
AppId = Annotated[int, Path(ge=1, le=2**31)]
_SECRETS = ("api_key", "secret_key", "mpin", "totp_secret")


@router.post("", status_code=201)
def create(given: CreateApp, user: Trader, parts: Has) -> AppReply:
    """A new app; the broker is Angel One where none is named. The first one is the default."""
    parts.vault.ensure(parts.now())
    secrets = {name: text for name in _SECRETS if (text := opened(getattr(given, name))) is not None}
    app = called(
        given.broker,
        lambda: parts.vault.add_app(user.id, given.broker, given.name, given.account_id, secrets, parts.now(), default=given.is_default),
    )
    return _reply(parts, user, app)


@router.get("")
def listed(user: Viewer, parts: Has) -> list[AppReply]:
    return [_reply(parts, user, app) for app in parts.vault.apps_of(user.id)]


@router.get("/{app_id}")
def one(app_id: AppId, user: Viewer, desk: At, parts: Has) -> AppReply:
    return _reply(parts, user, desk.own(user, app_id))


@router.patch("/{app_id}")
def edit(app_id: AppId, given: EditApp, user: Trader, desk: At, parts: Has) -> AppReply:
    """Change what is given. Other credentials end the app's session."""
    app = desk.own(user, app_id)
    _refuse_in_use(parts, app, "changed")
    changes = {name: opened(getattr(given, name)) for name in _SECRETS}
    changes |= {"name": given.name, "account_id": given.account_id}
    made = called(app.broker, lambda: parts.vault.change_app(app.id, {**changes, "is_default": given.is_default}))
    if any(changes[name] for name in _SECRETS):
        parts.brokers.forget(app)
    return _reply(parts, user, made)


@router.delete("/{app_id}")
def remove(app_id: AppId, user: Trader, desk: At, parts: Has) -> Message:
    """Forget an app, its secrets and its session."""
    app = desk.own(user, app_id)
    _refuse_in_use(parts, app, "removed")
    parts.brokers.forget(app)
    parts.vault.drop_app(app.id)
    return Message(message=f"the app {app.name} is gone, its secrets with it")


@router.post("/{app_id}/switch")
def switch(app_id: AppId, user: Trader, desk: At, parts: Has, given: Switch | None = None) -> AppReply:
    """Make it the app in use: at once with a valid session, else after a renewal, else with a totp (428 asks for one).

    Refused (409) while the daemon's account is of the app in use and has orders or positions.
    """
    app = desk.own(user, app_id)
    before = desk.chosen(user)
    if before is not None and before.id != app.id:
        _refuse_in_use(parts, before, "switched away from")
    totp = opened(given.totp) if given is not None else None
    if totp is not None:
        desk.activate(user, app, totp)
    else:
        login = called(app.broker, lambda: parts.brokers.renew(app))
        if login.state == "LOGIN_REQUIRED":
            code = parts.brokers.login_kind(app.broker) == "code"
            how = "send the code of your authenticator app as totp" if code else f"get /api/v1/dashboard/{app.broker}/login-url"
            raise HTTPException(428, f"the session of {app.name} has ended and could not be renewed; {how}")
    parts.users.activate_app(user, app.id)
    event("app_switched", app, user)
    return _reply(parts, parts.users.get(user.id), app)


def _refuse_in_use(parts: Parts, app: App, done: str) -> None:
    """409 while the daemon trades with this app and is not flat."""
    try:
        login = parts.brokers.session(app)
    except NiyamError:
        return  # nothing trades with an app that cannot even say where it stands
    if not login.account:
        return
    status = parts.desk.read("status", {"account": login.account})
    alive = sum(count for state, count in status.get("orders", {}).items() if state not in ENDED)
    if not status.get("flat", True) or alive:
        raise HTTPException(409, f"the account {login.account} trades with this app and is not flat: square off before it is {done}")


def _reply(parts: Parts, user: User, app: App) -> AppReply:
    try:
        login = parts.brokers.session(app)
    except NiyamError:
        login = Login("LOGIN_REQUIRED")
    return AppReply(
        id=app.id,
        name=app.name,
        broker=app.broker,
        account_id=app.account_id,
        is_default=app.is_default,
        active=app.id == user.active_app or (user.active_app is None and app.is_default),
        created_at=app.created_at,
        holds=dict(app.holds),
        session=login.state,
        session_expires_at=login.expires_at,
    )
