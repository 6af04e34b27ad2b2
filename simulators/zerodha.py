"""Kite Connect v3 without sockets: every route of the official SDK, the login page and the ticker, over one simulated world.

Written from the broker's documents. `handle(request, now)` answers a request, `frames(connection, now)` yields what a stream
connection gets; both are pure functions of what came before, so the same requests at the same moments give the same bytes.
"""

import gzip
import html as markup
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from simulators.faults import MARKET, REQUEST, Fault, Faults
from simulators.wire import Connection, Request, Response
from simulators.world import World
from simulators.zerodha_books import Books
from simulators.zerodha_data import MarketData
from simulators.zerodha_errors import (
    NO_PERMISSION,
    TIMED_OUT,
    ApiError,
    bad_input,
    bad_token,
    failure,
    html,
    success,
    too_many,
)
from simulators.zerodha_gtt import Gtt
from simulators.zerodha_limits import Limits
from simulators.zerodha_orders import OrderDesk
from simulators.zerodha_rows import profile, stamp
from simulators.zerodha_session import AccessToken, App, Call, Sessions
from simulators.zerodha_ticker import Ticker

LOG_LENGTH = 100_000
_SECRETS = ("access_token", "request_token", "checksum", "refresh_token")

Answer = Callable[[Call], Any]


def build(world: World, faults: Faults, seed: int, redirect_url: str) -> "ZerodhaSimulator":
    """The simulator of `main.py simulate zerodha`: one user with one app."""
    return ZerodhaSimulator(world, [App("practicekey", "practicesecret", "ZZ1234", redirect_url)], faults, seed)


class ZerodhaSimulator:
    """One Zerodha: its users, their orders, its market."""

    title = "Zerodha"
    login_path = "/connect/login"

    def __init__(self, world: World, apps: list[App], faults: Faults, seed: int) -> None:
        self.world = world
        self.faults = faults
        self.sessions = Sessions(apps, seed)
        self.limits = Limits()
        self.desk = OrderDesk(world, faults, self.limits)
        self.books = Books(world, self.desk)
        self.data = MarketData(world)
        self.gtt = Gtt(world, self.desk.place)
        self.ticker = Ticker(world, self.sessions, faults)
        self.requests: deque[dict[str, Any]] = deque(maxlen=LOG_LENGTH)
        self._apps = apps
        self._counted = 0
        self._locks: list[tuple[datetime, str]] = []  # circuit locks and halts ("" = halt) with their ends
        world.on_step = self._on_step
        self._routes = self._table()

    # --- the shape of a broker simulator (wire.BrokerSimulator) -------------------------------------------------------------------

    def advance(self, now: datetime) -> None:
        self.world.advance(now)
        self._tell(now)

    def next_event(self, now: datetime, connections: Sequence[Connection]) -> datetime | None:
        return self.ticker.next_event(now, connections)

    def next_moment(self, now: datetime) -> datetime | None:
        moments = (self.world.next_second(now), self.world.next_day(), self.world.exchange.next_due())
        return min((moment for moment in moments if moment is not None and moment > now), default=None)

    def last_moment(self) -> datetime:
        return self.world.last_moment

    def handle(self, request: Request, now: datetime) -> Response:
        """Answer one request at `now`; never raises for anything a client may send."""
        self.advance(now)
        struck = self.faults.strike(REQUEST, now, self._facts(request))
        response = next((early for fault in struck if (early := self._before(fault)) is not None), None)
        if response is None:
            lag = max((float(fault.values["seconds"]) for fault in struck if fault.kind == "lagging_book"), default=0.0)
            response = self._answer(request, now, timedelta(seconds=lag))
            for fault in struck:
                response = _after(fault, response)
        self._note(request, response, now, struck)
        self._tell(now)
        return response

    def connect(self, request: Request, connection: Connection, now: datetime) -> Response | None:
        self.advance(now)
        struck = self.faults.strike(REQUEST, now, self._facts(request))
        response = next((early for fault in struck if (early := self._before(fault)) is not None), None)
        if response is None:
            try:
                self.ticker.connect(request, connection, now)
            except ApiError as error:
                response = failure(error.status, error.error_type, str(error))
        self._note(request, response or Response(101), now, struck)
        return response

    def receive(self, connection: Connection, message: str | bytes, now: datetime) -> None:
        self.ticker.receive(connection, message, now)

    def frames(self, connection: Connection, now: datetime) -> list[bytes | str]:
        return self.ticker.frames(connection, now)

    def disconnect(self, connection: Connection) -> None:
        self.ticker.disconnect(connection)

    def describe(self) -> dict[str, Any]:
        app = self._apps[0]
        return {
            "broker": "zerodha",
            "credentials": {"api_key": app.api_key, "api_secret": app.api_secret},
            "user_id": app.user_id,
            "redirect_url": app.redirect_url,
            "date": self.world.day.isoformat(),
            "now": self.world.now.isoformat(),
            "spacing_s": self.world.market.spacing_s,
            "synthetic": self.world.market.synthetic,
            "days": [day.isoformat() for day in self.world.market.days],
        }

    def accounts(self) -> dict[str, Any]:
        """Every user's books as the exchange holds them, for tests to compare with: no lag, no token, no rate limit."""
        return {app.user_id: self.books.account(app.user_id) for app in self._apps}

    def messages(self) -> Any:
        """What stream clients have sent, for tests."""
        return self.ticker.received()

    def redirect_to(self, url: str) -> None:
        """Register another redirect URL for every app."""
        self.sessions.apps = {key: replace(app, redirect_url=url) for key, app in self.sessions.apps.items()}
        self._apps = list(self.sessions.apps.values())

    # --- a request on its way -----------------------------------------------------------------------------------------------------

    def _answer(self, request: Request, now: datetime, lag: timedelta) -> Response:
        try:
            if request.path == "/connect/login":
                return self._login_page(request, now)
            if request.path == "/session/token" and request.method == "POST":
                return success(self._new_session(request, now))
            if request.path.startswith("/instruments") and not request.path.startswith("/instruments/historical"):
                return self.data.instruments(request)  # served to anyone, as the broker is said to do
            session = self._authenticate(request, now)
            return success(self._dispatch(session, request, now, lag))
        except ApiError as error:
            return failure(error.status, error.error_type, str(error))

    def _dispatch(self, session: AccessToken, request: Request, now: datetime, lag: timedelta) -> Any:
        parts = request.path.strip("/").split("/")
        answer = self._route(request.method, parts)
        if not self.limits.admit(session.app.api_key, _bucket(request), now):
            raise too_many()
        call = Call(session, request, parts, now)
        if lag and request.method == "GET" and parts[0] in ("orders", "trades"):
            return self.books.lagging(call, now - lag)
        return answer(call)

    def _authenticate(self, request: Request, now: datetime) -> AccessToken:
        scheme, _, pair = request.headers.get("authorization", "").partition(" ")
        api_key, _, token = pair.partition(":")
        session = self.sessions.check(api_key, token, now) if scheme == "token" else None
        if session is None:
            raise bad_token()
        return session

    def _before(self, fault: Fault) -> Response | None:
        """What a fault answers before anything is booked; None = go on."""
        values = fault.values
        match fault.kind:
            case "drop_request":
                return Response(0, dropped=True, delay_s=float(values["seconds"]))
            case "rate_limit":
                error = too_many()
                return failure(error.status, error.error_type, str(error))
            case "server_error" if not values["booked"]:
                return html(values["status"])
            case "empty_body" if not values["booked"]:
                return Response(values["status"])
            case "broken_json" if not values["booked"]:
                return Response(values["status"], b'{"status":"succ')
            case "error" if not values["booked"]:
                return failure(values["status"], values["error_type"], values["message"])
            case "timed_out" if not values["booked"]:
                return failure(values["status"], "NetworkException", TIMED_OUT)
            case "ip_not_allowed":
                return failure(403, "PermissionException", f"IP ({values['ip']}) is not allowed to place orders for this app.")
            case "no_permission":
                return failure(403, "PermissionException", NO_PERMISSION)
            case "kill_token":
                self.sessions.kill_all()
        return None

    def _facts(self, request: Request) -> dict[str, Any]:
        """What a fault's `match` may ask about a request."""
        facts: dict[str, Any] = {"route": f"{request.method} {request.path}", "lane": request.lane}
        if request.path.startswith("/orders") and self.faults.entries:
            form = request.form()
            order_id = request.path.rsplit("/", 1)[-1]
            placing = request.method == "POST"
            facts |= {
                "order_id": "" if placing else order_id,
                "order_number": len(self.desk.numbers) + 1 if placing else self.desk.numbers.get(order_id, 0),
                "tag": form.get("tag", ""),
                "symbol": f"{form.get('exchange', '')}:{form.get('tradingsymbol', '')}",
                "side": form.get("transaction_type", ""),
            }
        return facts

    def _note(self, request: Request, response: Response, now: datetime, struck: Sequence[Fault]) -> None:
        self._counted += 1
        values = {name: found[-1] for name, found in request.arguments().items()} | (request.form() if b"=" in request.body else {})
        self.requests.append(
            {
                "number": self._counted,
                "at": now.isoformat(),
                "lane": request.lane,
                "method": request.method,
                "path": request.path,
                "values": {name: "***" if name in _SECRETS else value for name, value in values.items()},
                "status": response.status,
                "dropped": response.dropped,
                "faults": [fault.kind for fault in struck],
            }
        )

    # --- time and faults of the market --------------------------------------------------------------------------------------------

    def _on_step(self, now: datetime) -> None:
        self.desk.step(now)
        self.gtt.evaluate(now)
        for end, key in [lock for lock in self._locks if lock[0] <= now]:
            self._locks.remove((end, key))
            if key:
                self.world.exchange.lock_circuit(key, None)
            else:
                self.world.exchange.halt(False)
        for fault in self.faults.strike(MARKET, now, {}):
            if fault.kind == "kill_token":
                self.sessions.kill_all()
                continue
            key = fault.values.get("symbol", "")
            self._locks.append((now + timedelta(seconds=float(fault.values["seconds"])), key))
            if fault.kind == "circuit":
                self.world.exchange.lock_circuit(key, fault.values["lock"])
            else:
                self.world.exchange.halt(True)

    def _tell(self, now: datetime) -> None:
        changes = self.world.take_changes()
        if changes:
            details = {change.order.id: self.desk.details(change.order) for change in changes}
            self.ticker.tell(changes, details, self.desk.numbers, now)

    # --- login --------------------------------------------------------------------------------------------------------------------

    def _login_page(self, request: Request, now: datetime) -> Response:
        target = self.sessions.redirect(request.argument("api_key"), request.argument("redirect_params"), now)
        if target is None:
            raise bad_input("Invalid `api_key`.")
        page = f'<html><body>Approved by the simulator: <a href="{markup.escape(target)}">continue</a></body></html>'
        return Response(302, page.encode(), "text/html", {"Location": target})

    def _new_session(self, request: Request, now: datetime) -> dict[str, Any]:
        session = self.sessions.exchange(request.form(), now)
        if isinstance(session, str):
            raise bad_token(session)
        return {
            **profile(session),
            "api_key": session.app.api_key,
            "access_token": session.token,
            "public_token": session.token[::-1],
            "enctoken": "",
            "refresh_token": "",
            "silo": "",
            "login_time": stamp(session.login_time),
        }

    def _end_session(self, call: Call) -> bool:
        return self.sessions.close(call.request.argument("api_key"), call.request.argument("access_token"))

    # --- orders -------------------------------------------------------------------------------------------------------------------

    def _place(self, call: Call) -> dict[str, Any]:
        return self.desk.place(call.user, call.parts[1], call.request.form(), call.now)

    def _modify(self, call: Call) -> dict[str, Any]:
        return self.desk.modify(call.user, call.parts[1], call.parts[2], call.request.form(), call.now)

    def _cancel(self, call: Call) -> dict[str, Any]:
        return self.desk.cancel(call.user, call.parts[1], call.parts[2], call.now)

    # --- the table of routes ------------------------------------------------------------------------------------------------------

    def _table(self) -> dict[str, Answer]:
        books, data, gtt = self.books, self.data, self.gtt
        return {
            "DELETE session/token": self._end_session,
            "GET user/profile": _profile,
            "GET user/margins": books.margins,
            "GET user/margins/*": books.margins,
            "GET orders": books.orders,
            "GET orders/*": books.history,
            "GET orders/*/trades": books.trades,
            "GET trades": books.trades,
            "POST orders/*": self._place,
            "PUT orders/*/*": self._modify,
            "DELETE orders/*/*": self._cancel,
            "GET portfolio/positions": books.positions,
            "PUT portfolio/positions": books.convert,
            "GET portfolio/holdings": books.holdings,
            "GET portfolio/holdings/auctions": _nothing,
            "GET instruments/historical/*/*": data.historical,
            "GET quote": data.quotes,
            "GET quote/ohlc": data.quotes,
            "GET quote/ltp": data.quotes,
            "POST margins/orders": books.order_margins,
            "POST margins/basket": books.basket,
            "POST charges/orders": books.contract_note,
            "GET gtt/triggers": lambda call: gtt.list(call.user, call.now),
            "POST gtt/triggers": lambda call: gtt.create(call.user, call.request.form(), call.now),
            "GET gtt/triggers/*": lambda call: gtt.show(call.user, call.parts[2]),
            "PUT gtt/triggers/*": lambda call: gtt.modify(call.user, call.parts[2], call.request.form(), call.now),
            "DELETE gtt/triggers/*": lambda call: gtt.delete(call.user, call.parts[2], call.now),
            "GET mf/orders": _nothing,
            "GET mf/sips": _nothing,
            "GET mf/holdings": _nothing,
        }

    def _route(self, method: str, parts: list[str]) -> Answer:
        """The answer to this route; ApiError 404 or 405."""
        other = False
        for name, answer in self._routes.items():
            routed, _, path = name.partition(" ")
            wanted = path.split("/")
            if len(wanted) == len(parts) and all(one in ("*", part) for one, part in zip(wanted, parts, strict=True)):
                if routed == method:
                    return answer
                other = True
        raise ApiError(405, "GeneralException", "Method not allowed") if other else ApiError(404, "GeneralException", "Route not found")


def _profile(call: Call) -> dict[str, Any]:
    return profile(call.session)


def _nothing(call: Call) -> list[Any]:
    return []


def _bucket(request: Request) -> str:
    if request.path.startswith("/quote"):
        return "quote"
    if request.path.startswith("/instruments/historical"):
        return "historical"
    return "order" if request.path.startswith("/orders/") and request.method != "GET" else "other"


def _after(fault: Fault, response: Response) -> Response:
    """What a fault makes of the answer to a request that was carried out."""
    values = fault.values
    match fault.kind:
        case "drop_reply":
            return replace(response, dropped=True, delay_s=response.delay_s + float(values["seconds"]))
        case "delay":
            return replace(response, delay_s=response.delay_s + float(values["seconds"]))
        case "server_error":
            return html(values["status"])
        case "empty_body":
            return Response(values["status"])
        case "broken_json":
            return Response(values["status"], response.body[: len(response.body) // 2])
        case "error":
            return failure(values["status"], values["error_type"], values["message"])
        case "timed_out":
            return failure(values["status"], "NetworkException", TIMED_OUT)
        case "truncated_dump":
            body = gzip.decompress(response.body) if "Content-Encoding" in response.headers else response.body
            return Response(200, body[: int(len(body) * float(values["fraction"]))], response.content_type)
    return response
