"""What stands before every route: whose host name was asked, how much and how often, and the headers that a browser is to obey.

Plain ASGI: a body is counted as it comes, so that an endless one costs no memory.
"""

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.ports import Clock

MOST_CLIENTS = 10_000  # whose requests are counted; the one that was silent longest is forgotten
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "geolocation=(), microphone=(), camera=()",
    "cache-control": "no-store",
}
_API_POLICY = "default-src 'none'; frame-ancestors 'none'"
_PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
_SLOW = ("/api/v1/auth/login", "/api/v1/auth/register")  # each costs an Argon2 hash
_HOOKS = "/api/v1/webhooks/"


class Meter:
    """So many requests in a minute for each client, in a bucket that fills evenly."""

    def __init__(self, clock: Clock, per_minute: int) -> None:
        self._clock = clock
        self._most = float(per_minute)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admit(self, client: str) -> bool:
        now = self._clock.monotonic()
        left, at = self._left.pop(client, (self._most, now))
        left = min(self._most, left + (now - at) * self._most / 60)
        allowed = left >= 1
        self._left[client] = (left - 1 if allowed else left, now)
        while len(self._left) > MOST_CLIENTS:
            self._left.popitem(last=False)
        return allowed


class Guard:
    """`hosts` are the names under which we answer (a page of another name that resolves to us is refused)."""

    def __init__(
        self, app: ASGIApp, *, clock: Clock, hosts: Iterable[str], per_minute: int, logins_per_minute: int, largest: int, tls: bool
    ) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._all = Meter(clock, per_minute)
        self._slow = Meter(clock, logins_per_minute)
        self._hooks = Meter(clock, 30)
        self._largest = largest
        self._tls = tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if scope["type"] == "websocket":
            if refusal is not None:
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        answer = self._dressed(scope, send)
        if refusal is not None:
            await _say(answer, *refusal)
            return
        meter = _Counted(receive, self._largest)
        try:
            await self._app(scope, meter.receive, answer)
        except _TooLarge:
            await _say(answer, 413, f"a request has at most {self._largest} bytes")

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = {name: value for name, value in scope["headers"] if name in (b"host", b"content-length", b"origin")}
        host = headers.get(b"host", b"").decode("latin-1").rpartition(":")[0] or headers.get(b"host", b"").decode("latin-1")
        if self._hosts and host.strip("[]").lower() not in self._hosts:
            return 421, "this host name is not served here; see api.hosts in settings.yaml"
        origin = headers.get(b"origin", b"").decode("latin-1")
        if scope["type"] == "websocket" and origin and origin.partition("://")[2] != headers.get(b"host", b"").decode("latin-1"):
            return 403, "a page of another origin may not open this socket"
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._largest:
            return 413, f"a request has at most {self._largest} bytes"
        client, path = (scope.get("client") or ("?",))[0], scope["path"]
        if not self._all.admit(client) or (path in _SLOW and not self._slow.admit(client)):
            return 429, "too many requests; try again in a minute"
        if path.startswith(_HOOKS) and not self._hooks.admit(client):
            return 429, "too many alerts; at most 30 a minute are taken"
        return None

    def _dressed(self, scope: Scope, send: Send) -> Send:
        policy = _API_POLICY if scope["path"].startswith(("/api/", "/healthz", "/metrics", "/openapi")) else _PAGE_POLICY
        more = {**_HEADERS, "content-security-policy": policy}
        if self._tls:
            more["strict-transport-security"] = "max-age=31536000"

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                extra = [(name.encode(), value.encode()) for name, value in more.items() if name.encode() not in present]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        return answer


class _TooLarge(HTTPException):
    """More bytes came than a request may have; of this kind so that whoever reads the body lets it pass."""


class _Counted:
    def __init__(self, receive: Receive, largest: int) -> None:
        self._receive = receive
        self._largest = self._left = largest

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise _TooLarge(413, f"a request has at most {self._largest} bytes")
        return message


async def _say(send: Send, status: int, text: str) -> None:
    body = json.dumps({"detail": text}).encode()
    headers: Mapping[bytes, bytes] = {b"content-type": b"application/json", b"content-length": str(len(body)).encode()}
    if status == 429:
        headers = {**headers, b"retry-after": b"60"}
    await send({"type": "http.response.start", "status": status, "headers": list(headers.items())})
    await send({"type": "http.response.body", "body": body})
