"""One open page of one person: the API with their token, what the daemon last said, and what they may do."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import anyio.to_thread
import httpx
from fastapi import FastAPI
from nicegui import ui

from api.ports import Parts
from api.routes.live import EVERY_S, Live
from core.errors import NiyamError
from storage.users import User

Made = TypeVar("Made")
LONGEST_S = 150.0  # a command's outcome (a square-off) may take so long
OLD_S = 5.0  # what the daemon said longer ago than this looks stale
PROLONG_S = 60.0  # an open page keeps its person signed in
LONGEST_SESSION = timedelta(hours=14)  # then the password is asked again, open page or not


class Refused(NiyamError):
    """The API said no. `status` is HTTP's, `text` what to show."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Api:
    """The routes of our own API, called in this process with one person's token: the same rights, limits and words as over the wire."""

    def __init__(self, app: FastAPI, token: str, client: str, account: str | None = None) -> None:
        """`account`: every request that names none is of this one (of several side by side)."""
        self._token = token
        self._account = account
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=(client, 0))
        self._http = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=LONGEST_S, trust_env=False)

    async def get(self, path: str, **query: Any) -> Any:
        """The JSON answer; raises Refused for any other than a success."""
        return await self._call("GET", path, query, None)

    async def post(self, path: str, body: object = None) -> Any:
        return await self._call("POST", path, {}, body)

    async def patch(self, path: str, body: object) -> Any:
        return await self._call("PATCH", path, {}, body)

    async def delete(self, path: str) -> Any:
        return await self._call("DELETE", path, {}, None)

    async def _call(self, method: str, path: str, query: Mapping[str, Any], body: object) -> Any:
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        given = {name: value for name, value in {"account": self._account, **query}.items() if value is not None}
        answer = await self._http.request(method, path, params=given, json=body, headers=headers)
        if answer.is_success:
            return answer.json()
        raise Refused(answer.status_code, _said(answer))


def _said(answer: httpx.Response) -> str:
    """The reason in words a person can use."""
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"the request failed ({answer.status_code})"
    if isinstance(detail, list):
        return "; ".join(f"{'.'.join(str(part) for part in one['loc'][1:]) or 'request'}: {one['msg']}" for one in detail)
    return str(detail)


def refused(text: str) -> None:
    """Show why something was not done, until it has been read."""
    ui.notify(text, type="negative", multi_line=True, close_button=True, timeout=15_000)


@dataclass(frozen=True, slots=True)
class Board:
    """What the daemon said last: its read-outs, how long ago (seconds, wall), and why nothing newer came."""

    status: Mapping[str, Any]
    orders: list[dict[str, Any]]
    positions: list[dict[str, Any]]
    signals: list[dict[str, Any]]
    age_s: float | None
    error: str

    @property
    def running(self) -> bool:
        return bool(self.status.get("running"))

    @property
    def stale(self) -> bool:
        """Whether these figures may be old: no daemon, no answer of it, or a market feed that has gone silent."""
        return not self.running or bool(self.error) or self.age_s is None or self.age_s > OLD_S


class Boards:
    """The board of all open pages: one look at the daemon serves them all, and its last good word is kept when it falls silent."""

    def __init__(self, live: Live, parts: Parts) -> None:
        self.live = live
        self._clock = parts.clock
        self._good: Mapping[str, Any] = {}
        self.curve: dict[str, float] = {}  # of one day: its minutes (ISO, to the minute) -> the net result, rupees
        self._made: dict[str, tuple[object, Any]] = {}
        self._asking = asyncio.Lock()

    def look(self) -> Board:
        latest = self.live.latest
        error = str(latest.get("status", {}).get("error", ""))
        if latest and not error:
            self._good = latest
            self._sample(latest["status"])
        shown = self._good or {"status": latest.get("status", {}), "orders": [], "positions": [], "signals": []}
        age = None if self.live.looked_at is None else self._clock.monotonic() - self.live.looked_at
        status = shown["status"] if not error else {**shown["status"], "running": False}
        return Board(status, shown["orders"], shown["positions"], shown["signals"], age, error)

    def once(self, name: str, source: object, make: Callable[[], Made]) -> Made:
        """What `make` makes of a part of the board, made once for all open pages: until the part is another object."""
        known = self._made.get(name)
        if known is None or known[0] is not source:
            known = self._made[name] = source, make()
        made: Made = known[1]
        return made

    async def shared(self, name: str, source: object, find: Callable[[], Awaitable[Made]]) -> Made:
        """The same for what has to be asked for: `source` is compared, and whoever comes meanwhile waits for the same answer."""
        async with self._asking:
            known = self._made.get(name)
            if known is None or known[0] != source:
                known = self._made[name] = source, await find()
        made: Made = known[1]
        return made

    def _sample(self, status: Mapping[str, Any]) -> None:
        at, net = str((status.get("market") or {}).get("now") or "")[:16], (status.get("pnl") or {}).get("net")
        if not at or net is None or not status.get("running"):
            return
        if next(iter(self.curve), at)[:10] != at[:10]:
            self.curve.clear()
        self.curve[at] = net


Update = Callable[[Board], None]


class _OnChange:
    """An update of what shows one part of the board."""

    def __init__(self, update: Update, of: Callable[[Board], object]) -> None:
        self._update = update
        self._of = of
        self._shown: object = None

    def __call__(self, board: Board) -> None:
        part = self._of(board)
        if part is not self._shown:
            self._shown = part
            self._update(board)


@dataclass
class Visit:
    """One open page."""

    user: User
    token: str
    api: Api
    parts: Parts
    boards: Boards
    path: str
    account: str | None = None  # the one that the page shows, of several side by side; None: the one in use
    _updates: list[Update] = field(default_factory=list)
    _joined: bool = False
    _shown: tuple[int, int] = (-1, -1)

    def link(self, path: str) -> str:
        """The address of another page, of the same account."""
        return path if self.account is None else f"{path}?account={self.account}"

    def may(self, role: str) -> bool:
        return self.user.may(role)

    def on_live(self, update: Update, of: Callable[[Board], object] | None = None) -> None:
        """Call `update` now and whenever the daemon's word changed or became stale; `of`: only when that part of it is another object."""
        called = update if of is None else _OnChange(update, of)
        self._updates.append(called)
        called(self.boards.look())

    async def act(self, call: Awaitable[Any], done: str = "") -> Any:
        """Await the call and show what came of it; None where it was refused. An outcome `{"ok": false, "text"}` is a refusal too."""
        try:
            answer = await call
        except Refused as no:
            refused(no.text)
            return None
        except httpx.HTTPError as error:
            ui.notify(f"no answer: {type(error).__name__}; look at the cockpit before doing it again", type="negative", close_button=True)
            return None
        if isinstance(answer, dict) and answer.get("ok") is False:
            refused(str(answer.get("text", "refused")))
            return None
        told = done or (str(answer.get("text", "")) if isinstance(answer, dict) else "")
        if told:
            ui.notify(told, type="positive", multi_line=True)
        return answer

    def begin(self) -> None:
        """Follow the daemon from when the browser has connected until the page is gone."""
        client = ui.context.client
        client.on_connect(self._join)
        client.on_delete(self._leave)
        ui.timer(EVERY_S, self._look)
        ui.timer(PROLONG_S, self._prolong)

    async def _join(self) -> None:
        if self._joined:  # connected again
            return
        self._joined = await self.boards.live.join()
        if not self._joined:
            ui.notify("too many pages are open: this one does not update by itself", type="warning", timeout=0, close_button=True)

    def _leave(self) -> None:
        if self._joined:
            self._joined = False
            self.boards.live.leave()

    def _look(self) -> None:
        board = self.boards.look()
        now = (self.boards.live.number, int((board.age_s or 0) // OLD_S) if board.stale else -1)
        if now != self._shown:
            self._shown = now
            for update in self._updates:
                update(board)

    async def _prolong(self) -> None:
        now = self.parts.now()
        until = now + timedelta(minutes=self.parts.settings.token_minutes)
        alive = await anyio.to_thread.run_sync(lambda: self.parts.users.prolong(self.token, now, until, LONGEST_SESSION))
        if not alive:
            ui.navigate.to("/sign-in")
