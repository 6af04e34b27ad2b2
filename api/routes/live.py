"""Live updates over a WebSocket: one look at the daemon serves everybody who listens, and a slow listener loses its socket alone."""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

import anyio.to_thread
import msgspec
from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from api.ports import Parts
from core.errors import NiyamError

router = APIRouter()
EVERY_S = 0.5
SLOWEST_S = 5.0  # a listener that takes longer for one message is hung up on
MOST_LISTENERS = 100
CHECK_TOKEN_EVERY = 60  # looks
MOST_ACCOUNTS = 32
ACCOUNT = re.compile(r"[a-z][a-z0-9-]{0,31}")
_NAMES = ("status", "orders", "positions", "signals")


class Live:
    """The latest read-outs of one account (None: of the one in use), looked at while anybody listens."""

    def __init__(self, parts: Parts, account: str | None = None) -> None:
        self._parts = parts
        self._account = account
        self._listeners = 0
        self._looking: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._message: tuple[int, str] = (-1, "")
        self.latest: Mapping[str, Any] = {}
        self.number = 0
        self.looked_at: float | None = None  # monotonic, when the daemon or its ledger last answered

    async def join(self) -> bool:
        """False while too many listen."""
        if self._listeners >= MOST_LISTENERS:
            return False
        self._listeners += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return True

    def leave(self) -> None:
        self._listeners -= 1

    @property
    def listeners(self) -> int:
        return self._listeners

    @property
    def message(self) -> str:
        """The latest read-outs as one JSON document, written once for all who listen."""
        if self._message[0] != self.number:
            self._message = self.number, msgspec.json.encode(self.latest).decode()
        return self._message[1]

    async def after(self, number: int, seconds: float) -> bool:
        """Wait for news after this number."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: self.number > number)
        except TimeoutError:
            return False
        return True

    async def _look(self) -> None:
        while self._listeners > 0:
            at_hand = self._parts.desk.at_hand(self._account)
            if at_hand is not None:
                found, self.looked_at = at_hand.decoded, at_hand.heard_at
            else:
                found = await anyio.to_thread.run_sync(self._read)
                if "error" not in found["status"]:
                    self.looked_at = self._parts.clock.monotonic()
            if any(found[name] is not self.latest.get(name) and found[name] != self.latest.get(name) for name in _NAMES):
                async with self._changed:
                    self.latest, self.number = found, self.number + 1
                    self._changed.notify_all()
            await asyncio.sleep(EVERY_S)

    def _read(self) -> Mapping[str, Any]:
        asked = {"account": self._account} if self._account is not None else None
        try:
            return {name: self._parts.desk.read(name, asked) for name in _NAMES}
        except NiyamError as error:
            return {"status": {"running": False, "error": str(error)}, "orders": [], "positions": [], "signals": []}


class Lives:
    """One Live for each account that somebody looks at."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._made: dict[str | None, Live] = {}

    def of(self, account: str | None) -> Live:
        if account not in self._made and len(self._made) >= MOST_ACCOUNTS:
            self._made = {name: live for name, live in self._made.items() if live.listeners}
        return self._made.setdefault(account, Live(self._parts, account))


@router.websocket("/api/v1/live")
async def live(socket: WebSocket) -> None:
    """The first message is {"token": ...} and, of several accounts side by side, {"account": ...}; then {"status", "orders", "positions",
    "signals"} whenever they changed."""
    parts: Parts = socket.app.state.parts
    lives: Lives = socket.app.state.live
    await socket.accept()
    try:
        async with asyncio.timeout(10):
            asked = _object(await socket.receive_text())
    except (TimeoutError, WebSocketDisconnect, KeyError):
        asked = {}
    token, account = str(asked.get("token", "")), asked.get("account")
    if not await _known(parts, token):
        await _hang_up(socket, 4401, "log in first: the first message is {token}")
        return
    if account is not None and not (isinstance(account, str) and ACCOUNT.fullmatch(account)):
        await _hang_up(socket, 1008, "account is the name of an account")
        return
    state = lives.of(account)
    if not await state.join():
        await _hang_up(socket, 1013, "too many listeners; try again later")
        return
    try:
        await _tell(socket, parts, state, token)
    except (WebSocketDisconnect, TimeoutError, RuntimeError):  # Starlette raises RuntimeError for a socket that is closed already
        return
    finally:
        state.leave()


async def _tell(socket: WebSocket, parts: Parts, state: Live, token: str) -> None:
    number, looks = 0, 0
    while True:
        if await state.after(number, EVERY_S * 10):
            number = state.number
            async with asyncio.timeout(SLOWEST_S):
                await socket.send_text(state.message)
        else:
            async with asyncio.timeout(SLOWEST_S):
                await socket.send_json({"alive": True})
        looks += 1
        if looks % CHECK_TOKEN_EVERY == 0 and not await _known(parts, token):
            await _hang_up(socket, 4401, "the token has ended; log in again")
            return


async def _known(parts: Parts, token: str) -> bool:
    return bool(token) and await anyio.to_thread.run_sync(lambda: parts.users.of_token(token, parts.now())) is not None


async def _hang_up(socket: WebSocket, code: int, why: str) -> None:
    try:
        await socket.close(code, why)
    except RuntimeError:  # it is gone already
        return


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
