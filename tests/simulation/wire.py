"""A broker's real session and client over an in-memory wire: what they send, the broker's simulator answers, and the wire may lose."""

import importlib
import random
from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from greenlet import getcurrent
from urllib3 import HTTPHeaderDict
from urllib3.exceptions import ProtocolError

from brokers.day_session import DaySession
from brokers.http_wire import Origin
from brokers.spec import Announce, Endpoints, Lookup, Session
from brokers.transport import PooledSession
from core.errors import BrokerError, ConfigError, RateLimited, Rejected
from core.ports import Broker, Clock, CredentialStore
from simulators import angelone_errors, groww_errors, icici_errors, upstox_errors, zerodha_errors
from simulators.base import Simulator
from simulators.faults import Faults
from simulators.orders import Change
from simulators.wire import Request, Response
from simulators.world import World
from tests.simulation.client import fate_of_order, fate_of_read
from tests.simulation.faults import Plan
from tests.simulation.personality import Personality
from tests.simulation.venue import Venue
from tests.simulation.virtual import Killed, VirtualClock
from utils.pacing import Budget

HOST = "http://127.0.0.1:1"
REDIRECT = "http://127.0.0.1:5000/"
ROUTES: Mapping[str, Mapping[str, tuple[str, str]]] = {  # of the order calls: the method, and what its path has in it
    "zerodha": {"place": ("POST", "/orders/"), "modify": ("PUT", "/orders/"), "cancel": ("DELETE", "/orders/")},
    "angelone": {"place": ("POST", "/placeOrder"), "modify": ("POST", "/modifyOrder"), "cancel": ("POST", "/cancelOrder")},
    "upstox": {"place": ("POST", "/order/place"), "modify": ("PUT", "/order/modify"), "cancel": ("DELETE", "/order/cancel")},
    "icici": {"place": ("POST", "/order"), "modify": ("PUT", "/order"), "cancel": ("DELETE", "/order")},
    "groww": {"place": ("POST", "/order/create"), "modify": ("POST", "/order/modify"), "cancel": ("POST", "/order/cancel")},
}
REFUSED = "it cannot be done, says the simulation"
REFUSALS: Mapping[str, Callable[[], tuple[Response, Response]]] = {  # how each broker refuses: for rate, and for good
    "zerodha": lambda: (
        zerodha_errors.failure(429, "NetworkException", "Too many requests"), zerodha_errors.failure(400, "OrderException", REFUSED)
    ),
    "angelone": lambda: (angelone_errors.throttled(), angelone_errors.failure("AB1008", REFUSED)),
    "upstox": lambda: (
        upstox_errors.failure(upstox_errors.too_many()), upstox_errors.failure(upstox_errors.bad("UDAPI1023", REFUSED))
    ),
    "icici": lambda: (icici_errors.throttled(icici_errors.PER_MINUTE), icici_errors.failure(icici_errors.ApiError(REFUSED))),
    "groww": lambda: (groww_errors.too_many(), groww_errors.failure(groww_errors.bad(REFUSED))),
}  # fmt: skip


class ToldWorld(World):
    """A world whose order changes go to the venue: the simulators' sockets are not part of these days."""

    def __init__(self, venue: Venue, start: datetime) -> None:
        self._venue = venue
        super().__init__(venue.market, venue.exchange, start)

    def take_changes(self) -> list[Change]:
        for change in super().take_changes():
            self._venue.told(change)
        return []


def simulator(personality: Personality, seed: int, venue: Venue, start: datetime) -> Simulator:
    """The broker's own simulator over the venue's exchange."""
    module = importlib.import_module(f"simulators.{personality.name}")
    made: Simulator = module.build(ToldWorld(venue, start), Faults(), seed, REDIRECT)
    return made


def endpoints(simulator: Simulator) -> Endpoints:
    return Endpoints(HOST, "ws://127.0.0.1:1", f"{HOST}{simulator.login_path}")


class Secrets:
    """What the simulator says of its own client."""

    def __init__(self, simulator: Simulator, broker: str) -> None:
        told: Mapping[str, str] = simulator.describe()["credentials"]  # type: ignore[attr-defined]
        self._known = {f"{broker}_{name}".upper(): value for name, value in told.items() if not name.startswith("approval")}

    def get_secret(self, name: str) -> str:
        try:
            return self._known[name]
        except KeyError:
            raise ConfigError(f"{name} is not set") from None


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

    def __init__(
        self,
        clock: VirtualClock,
        personality: Personality,
        simulator: Simulator,
        venue: Venue,
        plan: Plan,
        chance: random.Random,
        calls: list[datetime],
    ) -> None:
        self._clock = clock
        self._personality = personality
        self.simulator = simulator
        self._venue = venue
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
        left: Callable[[], float] | None = None,
    ) -> tuple[int, HTTPHeaderDict, bytes]:
        clock = self._clock
        path, _, query = target.partition("?")
        routes = ROUTES[self._personality.name].items()
        kind = next((kind for kind, (verb, part) in routes if method == verb and part in path), None)
        before()
        sent = {name.lower(): value for name, value in headers.items()}
        request = Request(method, path, query, sent, body or b"", lane="simulated")  # it shares the simulator's time
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
        about = {"content-type": response.content_type, "date": format_datetime(clock.now()), **response.headers}
        return response.status, HTTPHeaderDict(about), response.body

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
        fate = (
            fate_of_order(kind, self._plan, clock, chance, self._personality)
            if kind is not None
            else fate_of_read(self._plan, clock, chance)
        )

        def reply(response: Response) -> None:
            if fate.reply is not None:
                clock.after(fate.reply + response.delay_s, lambda: box.append(response))

        def arrive() -> None:
            response = self.simulator.handle(request, clock.true)
            self._venue.advance()
            reply(self._said(fate.error) if fate.error is not None else response)

        if fate.arrive is not None:
            clock.after(fate.arrive, arrive)
        elif fate.error is not None:
            reply(self._said(fate.error))
        return box

    def _said(self, error: BrokerError) -> Response:
        """What an error of the plan looks like on the wire."""
        too_many, refused = REFUSALS[self._personality.name]()
        if isinstance(error, RateLimited):
            return too_many
        if isinstance(error, Rejected):
            return refused
        if error.code == "502" or "503" in str(error):
            return Response(502, b"<html>Bad Gateway</html>", "text/html")
        if "order id" in str(error):
            return Response(200, b'{"status":"success","data":{}}')
        return Response(0, dropped=True)


def make_session(
    personality: Personality, account: str, clock: VirtualClock, token_file: Path, announce: Announce, origin: MemoryOrigin
) -> Session:
    """A real session whose login goes over the in-memory wire."""
    simulated = origin.simulator
    credentials: CredentialStore = Secrets(simulated, personality.name)
    session = personality.spec.make_session(account, credentials, clock, token_file, endpoints(simulated), announce)
    assert isinstance(session, DaySession)
    wired: Session = session  # every DaySession of ours logs in by itself at a simulator
    session._http = _over(PooledSession(clock), origin)
    return wired


def make_broker(
    personality: Personality, session: DaySession, clock: Clock, budget: Budget, lookup: Lookup, origin: MemoryOrigin
) -> Broker:
    """A real client over the in-memory wire; what it says is not audited, which would cost more than all the rest of the day."""
    broker: Any = personality.spec.make_broker(session, clock, budget, None, endpoints(origin.simulator), lookup)  # type: ignore[arg-type]
    _over(broker._calls._http if personality.name == "groww" else broker._http, origin)
    made: Broker = broker
    return made


def _over(http: PooledSession, origin: Origin) -> PooledSession:
    http._origins[HOST] = origin
    http._local = CoroutineLocal()  # type: ignore[assignment]  # its threads are coroutines here
    return http


def log_in(session: DaySession, clock: VirtualClock, page: str) -> None:
    """A person logs in, again and again until it works (run it as a coroutine)."""
    while True:
        try:
            session.auto_login(page)  # type: ignore[attr-defined]
        except BrokerError:
            clock.wait_for(lambda: False, clock.monotonic() + 20.0)
        else:
            return


__all__ = ["MemoryOrigin", "endpoints", "log_in", "make_broker", "make_session", "simulator"]
