"""A broker's login, its redirect caught, its activation, and the dashboard of what the account has."""

import html
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

from fastapi import APIRouter, Body, Depends, HTTPException, Query, Request
from fastapi.responses import HTMLResponse

from api import figures
from api.auth import Has, Trader, Viewer
from api.brokerage import Desk, desk_of, event
from api.ports import Parts
from api.schemas import Activate, Activated, Caught, Dashboard, LoginUrlAsked, LoginUrlReply, opened
from core.errors import NiyamError
from storage.credentials import App
from storage.users import User
from utils.config_schema import BrokerName
from utils.redaction import redact

router = APIRouter(prefix="/api/v1/dashboard", tags=["brokers"])
At = Annotated[Desk, Depends(desk_of)]
_WORDS = {  # what each broker calls the answer of its login
    "zerodha": "request_token",
    "upstox": "code",
    "icici": "apisession",
    "angelone": "totp",
    "groww": "totp",
}
_ANSWERS = ("request_token", "code", "apisession", "api_session", "auth_token")


@router.get("/{broker}/login-url", operation_id="login_url")
def login_url(broker: BrokerName, user: Trader, desk: At, parts: Has) -> LoginUrlReply:
    """Where to log in for the day, for the user's own app of that broker."""
    return _login_url(broker, LoginUrlAsked(), user, desk, parts)


@router.post("/{broker}/login-url", operation_id="login_url_for")
def login_url_for(
    broker: BrokerName, user: Trader, desk: At, parts: Has, given: Annotated[LoginUrlAsked | None, Body()] = None
) -> LoginUrlReply:
    """The same for one of several apps, or with a redirect of the caller's own front end."""
    return _login_url(broker, given or LoginUrlAsked(), user, desk, parts)


@router.get("/{broker}/callback", operation_id="callback", response_class=HTMLResponse)
@router.post("/{broker}/callback", operation_id="callback_posted", response_class=HTMLResponse, include_in_schema=False)
async def callback(broker: BrokerName, request: Request, desk: At) -> HTMLResponse:
    """Where a broker's login page sends the browser: keeps the answer for the user who began this login."""
    found = dict(request.query_params)
    if request.method == "POST":  # ICICI's page posts a form
        found |= dict(parse_qsl((await request.body()).decode("ascii", "replace")))
    lower = {name.lower(): value for name, value in found.items()}
    answer = next((lower[name] for name in _ANSWERS if lower.get(name)), "")
    state = lower.get("state", "")
    if not answer:
        return _page("The login was not completed", "Log in again by a new login URL.", 400)
    if not state:
        text = (
            f"This broker sends nothing back that says who began the login. Activate it with the {_WORDS[broker]} of this page's address."
        )
        return _page("Logged in", text, 200)
    if not desk.caught(broker, state, answer):
        return _page("This login is not known here", "It was begun elsewhere or too long ago. Get a new login URL.", 400)
    return _page("The login has been caught", "You may close this page and activate the broker.", 200)


@router.get("/{broker}/caught")
def caught(broker: BrokerName, app_id: Annotated[int, Query(ge=1, le=2**31)], user: Trader, desk: At) -> Caught:
    """Whether the browser has come back to the callback with the answer of a login that was begun for this app."""
    return Caught(caught=desk.has_caught(user, desk.own(user, app_id)))


@router.post("/activate-brokerage")
def activate(given: Activate, user: Trader, desk: At, parts: Has) -> Activated:
    """The day's session by the answer of the login: request_token, authorization_code (for ICICI the apisession) or totp.

    Without an answer the one is taken that our own callback caught.
    """
    if given.api_url is not None:
        desk.check_url(given.brokerage, given.api_url)
    key, secret = opened(given.api_key), opened(given.api_secret)
    if key is not None and secret is not None:
        app: App | None = desk.keep(user, given.brokerage, {"api_key": key, "secret_key": secret})
    else:
        app = desk.chosen(user, given.brokerage, key, given.app_id)
    if app is None:
        raise HTTPException(400, f"there are no credentials of {given.brokerage}: give api_key and api_secret, or set them up first")
    answer = opened(given.request_token) or opened(given.authorization_code) or opened(given.totp)
    if answer is None:
        answer = desk.pending(user, app, given.state, given.redirect_uri)
        if answer is None:
            raise HTTPException(400, f"log in first ({_WORDS[app.broker]} is missing): no login of yours has been caught")
    elif given.state is not None:
        desk.check_state(user, app, given.state, given.redirect_uri)
    made = desk.activate(user, app, answer)
    handle = desk.handle(app)
    return Activated(
        message=f"{given.brokerage} activated successfully", session_id=handle, access_token=handle, expires_at=made.expires_at
    )


@router.get("/dashboard")
def dashboard(user: Viewer, desk: At, parts: Has) -> Dashboard:
    """What the account has, by its broker's answers; when the broker fails, the last good ones with `stale: true`."""
    app = desk.chosen(user)
    if app is None:
        error = "no broker is set up: POST /api/v1/auth/first-time-api-setup"
        return figures.dashboard(None, [], active=False, stale=True, error=error, broker="", kind="")
    found, active, error, kind = _asked(parts, app, user)
    stale = found is None
    if found is None:
        found = parts.remembered.answer(app.id)
        event(f"{app.broker}_api_fallback", app, user, why=error, remembered=found is not None)
    return figures.dashboard(found, parts.remembered.days(app.id, 8), active=active, stale=stale, error=error, broker=app.broker, kind=kind)


def _asked(parts: Parts, app: App, user: User) -> tuple[dict[str, Any] | None, bool, str, str]:
    """(the broker's answer or None, whether the session lives, why there is none, the account's kind)."""
    kind, active = "", False
    try:
        login = parts.brokers.session(app)
        kind, active = login.kind, login.state != "LOGIN_REQUIRED"
        if not active:
            return None, False, f"log in to {app.broker}: the session is not valid", kind
        found = parts.brokers.portfolio(app)
    except NiyamError as error:
        event(f"{app.broker}_api_error", app, user, why=redact(str(error)))
        return None, active, redact(str(error)), kind
    event(f"{app.broker}_portfolio_fetched", app, user)
    value, profit = figures.equity(found)
    parts.remembered.keep_answer(app.id, found, figures.day_of(found), value, profit)
    return found, True, "", kind


def _login_url(broker: str, given: LoginUrlAsked, user: User, desk: Desk, parts: Parts) -> LoginUrlReply:
    app = desk.chosen(user, broker, opened(given.api_key), given.app_id)
    if app is None:
        raise HTTPException(400, f"there are no such credentials of {broker}; set them up first: POST /api/v1/auth/first-time-api-setup")
    url, redirect, state = desk.login_url(user, app, given.redirect_uri)
    word = _WORDS[broker]
    if parts.brokers.login_kind(broker) == "code":
        steps = ["Open your authenticator app", "Activate the broker with its six digits as totp"]
        message = f"{broker} has no login page for this API: activate it with the code of your authenticator app (totp)."
    else:
        steps = [
            "Open the login URL and log in with your own credentials",
            f"You are sent to the redirect URL that is registered for your app; register {desk.catcher(broker)} to have it caught here",
            "Caught here: activate the broker without more. Elsewhere: copy the "
            f"{word} of the address and activate with it as {'request_token' if broker == 'zerodha' else 'authorization_code'}",
        ]
        message = f"Open this URL in your browser to log in to {broker}. After login you get a {word} to use for activation."
    numbered = [f"{number}. {text}" for number, text in enumerate(steps, 1)]
    kind: Literal["code", "redirect"] = "code" if parts.brokers.login_kind(broker) == "code" else "redirect"
    return LoginUrlReply(login_url=url, redirect_uri=redirect, state=state, kind=kind, message=message, instructions=numbered)


def _page(title: str, text: str, status: int) -> HTMLResponse:
    body = f"<!doctype html><meta charset=utf-8><title>Niyam</title><h1>{html.escape(title)}</h1><p>{html.escape(text)}</p>"
    return HTMLResponse(body, status)
