"""Puts the page into the web application: NiceGUI's routes beside the API's, behind a policy that only its own scripts pass.

NiceGUI lives once in a process and is imported here alone; the engine's process never loads it.
"""

import json
import re
import secrets as random
from collections.abc import Callable
from pathlib import Path

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from nicegui import app as gui
from nicegui import core, ui
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.dashboard import frame, reports
from api.dashboard.pages import PAGES, Page
from api.dashboard.session import Notes, own_origin, person, routes
from api.dashboard.visit import Api, Boards, Visit
from api.ports import Parts
from core.errors import NiyamError

_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#2c6e7f"/>'
    '<path d="M7 21l6-7 5 4 7-9" fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round" stroke-linejoin="round"/></svg>'
)
_STYLE = Path(__file__).parent / "style.css"
_OURS = {"", "sign-in", "_nicegui", "_nicegui_ws", "favicon.ico", "style.css", *(page.path.strip("/").partition("/")[0] for page in PAGES)}
_SCRIPT = re.compile(rb"<script(?=[\s>])")


def mount(app: FastAPI, parts: Parts) -> None:
    """The page at `/` of this application. Once in a process."""
    assert not core.app.config.has_run_config, "the page is mounted already: NiceGUI lives once in a process"
    notes, boards = Notes(), dict[str | None, Boards]()

    def boards_of(account: str | None) -> Boards:
        if account not in boards:
            boards[account] = Boards(app.state.live.of(account), parts)
        return boards[account]

    @ui.page("/sign-in", title="Niyam · sign in")
    async def sign_in(request: Request, note: str = "", register: str = "") -> None:
        first = not await anyio.to_thread.run_sync(parts.users.all)
        frame.sign_in(notes.take(note), first=first, register=first or bool(register))

    for page in PAGES:
        _serve(app, parts, page, boards_of)
    app.include_router(routes(parts, notes))
    app.include_router(reports.routes(parts))
    app.add_api_route("/style.css", _style, include_in_schema=False)
    gui.config.socket_io_js_transports = ["websocket"]
    ui.run_with(
        app,
        title="Niyam",
        favicon=_ICON,
        dark=None,
        tailwind=False,
        gzip_middleware_factory=None,
        show_welcome_message=False,
        reconnect_timeout=15.0,
        message_history_length=200,
        binding_refresh_interval=None,
    )
    mounted = app.router.routes.pop()
    assert isinstance(mounted, Mount)
    app.router.routes.append(_PageMount("", app=_Policy(mounted.app)))


def _serve(app: FastAPI, parts: Parts, page: Page, boards: Callable[[str | None], Boards]) -> None:
    @ui.page(page.path, title=f"Niyam · {page.title}")
    async def shown(request: Request, account: str = "") -> RedirectResponse | None:
        user, token = await person(parts, request)
        if user is None or not user.may(page.role):
            return RedirectResponse("/sign-in" if user is None else "/", 303)
        if account and not await anyio.to_thread.run_sync(lambda: _is_account(parts, account)):
            return RedirectResponse(page.path, 303)
        client, chosen = request.client.host if request.client is not None else "?", account or None
        visit = Visit(user, token, Api(app, token, client, chosen), parts, boards(chosen), page.path, chosen)
        with frame.shell(visit, PAGES):
            await page.show(visit)
        visit.begin()
        return None


def _is_account(parts: Parts, name: str) -> bool:
    """Whether the daemon has an account of this name, or had when it stopped."""
    try:
        return any(row["account"] == name for row in parts.desk.read("status").get("accounts") or ())
    except NiyamError:
        return False


async def _style() -> Response:
    return Response(_STYLE.read_text(encoding="utf-8"), media_type="text/css")


class _PageMount(Mount):
    """NiceGUI for the page's own paths alone: what is not there stays the API's to answer (404 and 405 in JSON)."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] not in ("http", "websocket") or scope["path"].strip("/").partition("/")[0] not in _OURS:
            return Match.NONE, {}
        return super().matches(scope)


class _Policy:
    """Scripts of a page are ours by a number drawn for each answer; the socket and what else changes things is our own origin's alone.

    'unsafe-eval' is what NiceGUI needs (Vue compiles templates in the browser, and updates arrive as code); inline scripts and event
    handlers that get into a page without the number do not run.
    """

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = "/_nicegui_ws" in scope["path"]
        if scope["type"] == "http" and (socket or scope["method"] not in ("GET", "HEAD")) and not own_origin(scope):
            await Response(json.dumps({"detail": "this is for our own page"}), 403, media_type="application/json")(scope, receive, send)
            return
        if scope["type"] != "http" or scope["path"].startswith(("/_nicegui", "/style.css", "/favicon.ico")):
            await self._inner(scope, receive, send)
            return
        await self._inner(scope, receive, _Numbered(send).send)


class _Numbered:
    """Gives each script of one page the number that its policy names."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = bytearray()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body") or self._start is None:
            return
        number = random.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'self' 'nonce-{number}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
            "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; frame-src 'self'; form-action 'self'; "
            "frame-ancestors 'none'; base-uri 'none'"
        )
        body = _SCRIPT.sub(f'<script nonce="{number}"'.encode(), bytes(self._body))
        kept = [(name, value) for name, value in self._start["headers"] if name not in (b"content-length", b"cache-control")]
        more = {"content-length": str(len(body)), "content-security-policy": policy, "referrer-policy": "same-origin"}
        more["cache-control"] = "no-store"
        headers = [*kept, *((name.encode(), value.encode()) for name, value in more.items())]
        await self._send({**self._start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})
