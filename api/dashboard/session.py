"""Signing in to the page: plain forms, the API's own register and log-in, and its bearer token in a cookie that no script can read.

The cookie is HttpOnly and SameSite=Strict; only the page looks at it, the API takes a bearer header alone. So a foreign page can make a
browser do nothing here: forms and the page's socket are refused for another origin, and the API sees no cookie.
"""

import secrets as random
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import anyio.to_thread
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse
from starlette.types import Scope

from api.dashboard.visit import Api, Refused
from api.ports import Parts

COOKIE = "niyam_session"
_MOST_NOTES = 100


class Notes:
    """Why a form was refused, told once to whoever was sent back; by number, so that no address carries words into the page."""

    def __init__(self) -> None:
        self._notes: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, text: str) -> str:
        key = random.token_urlsafe(8)
        with self._lock:
            self._notes[key] = text
            while len(self._notes) > _MOST_NOTES:
                self._notes.popitem(last=False)
        return key

    def take(self, key: str) -> str:
        with self._lock:
            return self._notes.pop(key, "")


def own_origin(scope: Scope) -> bool:
    """Whether a request comes from our own page: its Origin is the host that it asks."""
    headers: dict[bytes, str] = {name: value.decode("latin-1") for name, value in scope["headers"] if name in (b"origin", b"host")}
    return headers.get(b"origin", "").partition("://")[2] == headers.get(b"host", "-")


async def person(parts: Parts, request: Request) -> tuple[Any, str]:
    """(the user whose cookie this is or None, the token)."""
    token = request.cookies.get(COOKIE, "")
    if not token:
        return None, ""
    return await anyio.to_thread.run_sync(lambda: parts.users.of_token(token, parts.now())), token


def routes(parts: Parts, notes: Notes) -> APIRouter:
    """The three forms."""
    router = APIRouter(prefix="/session", include_in_schema=False)

    async def given(request: Request) -> dict[str, str]:
        if not own_origin(request.scope):
            raise HTTPException(403, "this form was sent by a page of another origin")
        found = parse_qs((await request.body()).decode("utf-8", "replace"))
        return {name: values[0] for name, values in found.items()}

    async def enter(request: Request, form: Mapping[str, str], api: Api, then: str = "/") -> RedirectResponse:
        told = await api.post("/api/v1/auth/login", {"username": form.get("username", ""), "password": form.get("password", "")})
        answer = RedirectResponse(then, 303)
        secure = request.url.scheme == "https" or parts.address.startswith("https://")
        answer.set_cookie(COOKIE, told["access_token"], httponly=True, samesite="strict", secure=secure, path="/")
        return answer

    @router.post("/in")
    async def sign_in(request: Request) -> RedirectResponse:
        form = await given(request)
        try:
            return await enter(request, form, _api(request))
        except Refused as no:
            return RedirectResponse(f"/sign-in?note={notes.keep(no.text)}", 303)

    @router.post("/register")
    async def register(request: Request) -> RedirectResponse:
        form, api = await given(request), _api(request)
        asked = {"username": form.get("username", ""), "password": form.get("password", ""), "name": form.get("name", "")}
        if form.get("invitation"):
            asked["invitation"] = form["invitation"]
        try:
            if form.get("again") != form.get("password"):
                raise Refused(400, "the two passwords differ")
            made = await api.post("/api/v1/auth/register", asked)
            return await enter(request, form, api, "/setup" if made["role"] == "owner" else "/")
        except Refused as no:
            return RedirectResponse(f"/sign-in?register=1&note={notes.keep(no.text)}", 303)

    @router.post("/out")
    async def sign_out(request: Request) -> RedirectResponse:
        await given(request)
        token = request.cookies.get(COOKIE, "")
        if token:
            await anyio.to_thread.run_sync(lambda: parts.users.log_out(token))
        answer = RedirectResponse("/sign-in", 303)
        answer.delete_cookie(COOKIE, path="/")
        return answer

    return router


def _api(request: Request) -> Api:
    return Api(request.app, "", request.client.host if request.client is not None else "?")
