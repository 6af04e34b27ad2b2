"""The real Zerodha session and client over an in-memory wire: what they send, the Zerodha simulator answers, and the wire may lose."""

import json
import random
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from greenlet import getcurrent
from urllib3 import HTTPHeaderDict
from urllib3.exceptions import ProtocolError

from brokers.http_wire import Origin
from brokers.spec import Announce, Endpoints, Lookup
from brokers.transport import PooledSession
from brokers.zerodha.client import ZerodhaBroker
from brokers.zerodha.session import ZerodhaSession
from core.errors import BrokerError, RateLimited, Rejected
from core.ports import CredentialStore
from simulators.faults import Faults
from simulators.wire import Request, Response
from simulators.world import World
from simulators.zerodha import ZerodhaSimulator
from simulators.zerodha_session import App
from tests.simulation.client import fate_of_order, fate_of_read
from tests.simulation.faults import Plan
from tests.simulation.venue import USER, Venue
from tests.simulation.virtual import Killed, VirtualClock
from utils.pacing import Budget

HOST = "http://127.0.0.1:1"
ENDPOINTS = Endpoints(HOST, "ws://127.0.0.1:1", f"{HOST}/connect/login")
CALLS = {"POST": "place", "PUT": "modify", "DELETE": "cancel"}


class Zerodha(ZerodhaSimulator):
    """The simulator, whose order messages go to the venue: its socket is not part of these days."""

    def __init__(self, seed: int, venue: Venue, start: datetime) -> None:
        world = World(venue.market, venue.exchange, start)
        super().__init__(world, [App("key", "secret", USER, "http://127.0.0.1:5000/")], Faults(), seed)
        self.venue = venue

    def _tell(self, now: datetime) -> None:
        for change in self.world.take_changes():
            self.venue.told(change)


class Secrets:
    def get_secret(self, name: str) -> str:
        return {"ZERODHA_API_KEY": "key", "ZERODHA_API_SECRET": "secret"}[name]


class CoroutineLocal:
    """threading.local for coroutines: each sees its own attributes."""

    def __init__(self) -> None:
        object.__setattr__(self, "_of", {})

    def __getattr__(self, name: str) -> Any:
        try:
            return self._of[getcurrent(), name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self._of[getcurrent(), name] = value


class MemoryOrigin(Origin):
    """An Origin without sockets: a request arrives at the simulator by its fate, and its reply comes back, late or never."""

    def __init__(self, clock: VirtualClock, simulator: Zerodha, plan: Plan, chance: random.Random, calls: list[datetime]) -> None:
        self._clock = clock
        self._simulator = simulator
        self._plan = plan
        self._chance = chance
        self._calls = calls

    def close(self) -> None:
        return None

    def exchange(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        seconds: float,
        *,
        before: Callable[[], None] = lambda: None,
        after: Callable[[], None] = lambda: None,
    ) -> tuple[int, HTTPHeaderDict, bytes]:
        clock = self._clock
        path, _, query = target.partition("?")
        kind = CALLS.get(method) if path.startswith("/orders/") else None
        before()
        request = Request(method, path, query, {name.lower(): value for name, value in headers.items()}, body or b"")
        kill = self._leaves(kind)
        box = self._send(kind, request)
        after()
        if kill == 1:
            raise Killed
        if not clock.wait_for(lambda: bool(box), clock.monotonic() + seconds):
            raise ProtocolError(f"timed out after {seconds:g} s")
        if kill == 2:
            raise Killed
        response = box[0]
        if response.dropped:
            raise ProtocolError("connection reset by peer")
        return response.status, HTTPHeaderDict({"content-type": response.content_type, **response.headers}), response.body

    def _leaves(self, kind: str | None) -> int | None:
        """A request is at the wire; the process may die before it leaves, or later (1: sent, 2: answered)."""
        if kind is None:
            return None
        self._calls.append(self._clock.true)
        struck = self._plan.strike("kill_at_send", self._clock.true)
        kill = struck.chance.choice((0, 1, 2)) if struck is not None else None
        if kill == 0:
            raise Killed
        return kill

    def _send(self, kind: str | None, request: Request) -> list[Response]:
        """What becomes of the request; its reply, if there is one, comes into the list."""
        clock, chance, box = self._clock, self._chance, list[Response]()
        fate = fate_of_order(kind, self._plan, clock, chance) if kind is not None else fate_of_read(self._plan, clock, chance)

        def reply(response: Response) -> None:
            if fate.reply is not None:
                clock.after(fate.reply + response.delay_s, lambda: box.append(response))

        def arrive() -> None:
            if kind == "place":
                self._simulator.venue.expect(clock.true, request.form())
            response = self._simulator.handle(request, clock.true)
            self._simulator.venue.advance()
            reply(_said(fate.error) if fate.error is not None else response)

        if fate.arrive is not None:
            clock.after(fate.arrive, arrive)
        elif fate.error is not None:
            reply(_said(fate.error))
        return box


def _said(error: BrokerError) -> Response:
    """What an error of the plan looks like on the wire."""
    if isinstance(error, RateLimited):
        return _refusal(429, "NetworkException", str(error))
    if isinstance(error, Rejected):
        return _refusal(400, "OrderException", str(error))
    if error.code == "502" or "503" in str(error):
        return Response(502, b"<html>Bad Gateway</html>", "text/html")
    if "order id" in str(error):
        return Response(200, b'{"status":"success","data":{}}')
    return Response(0, dropped=True)


def _refusal(status: int, error_type: str, message: str) -> Response:
    return Response(status, json.dumps({"status": "error", "error_type": error_type, "message": message}).encode())


def make_session(account: str, clock: VirtualClock, token_file: Path, announce: Announce, origin: MemoryOrigin) -> ZerodhaSession:
    """A real session whose login goes over the in-memory wire."""
    credentials: CredentialStore = Secrets()
    session = ZerodhaSession(account, credentials, clock, token_file, ENDPOINTS, announce)
    session._http = _over(PooledSession(clock), origin)
    return session


def make_broker(session: ZerodhaSession, clock: VirtualClock, budget: Budget, lookup: Lookup, origin: MemoryOrigin) -> ZerodhaBroker:
    """A real client over the in-memory wire; what it says is not audited, which would cost more than all the rest of the day."""
    broker = ZerodhaBroker(session, clock, budget, None, ENDPOINTS, lookup)
    _over(broker._http, origin)
    return broker


def _over(http: PooledSession, origin: Origin) -> PooledSession:
    http._origins[HOST] = origin
    http._local = CoroutineLocal()  # type: ignore[assignment]  # its threads are coroutines here
    return http


def log_in(session: ZerodhaSession, clock: VirtualClock) -> None:
    """A person logs in, again and again until it works (run it as a coroutine)."""
    while True:
        try:
            session.auto_login(ENDPOINTS.login)
        except BrokerError:
            clock.wait_for(lambda: False, clock.monotonic() + 20.0)
        else:
            return


__all__ = ["ENDPOINTS", "MemoryOrigin", "Zerodha", "log_in", "make_broker", "make_session"]
