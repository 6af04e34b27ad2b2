"""Kite Connect v3 without sockets: every route of the official SDK, the login page and the ticker, over one simulated world.

Written from the broker's documents. `handle(request, now)` answers a request, `frames(connection, now)` yields what a stream
connection gets; both are pure functions of what came before, so the same requests at the same moments give the same bytes.
"""

import html as markup
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from simulators.base import Simulator
from simulators.faults import Fault, Faults
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
    success,
    too_many,
)
from simulators.zerodha_gtt import Gtt
from simulators.zerodha_limits import Limits
from simulators.zerodha_orders import OrderDesk
from simulators.zerodha_rows import profile, stamp
from simulators.zerodha_session import AccessToken, App, Call, Sessions
from simulators.zerodha_ticker import Ticker

_SECRETS = ("access_token", "request_token", "checksum", "refresh_token")

Answer = Callable[[Call], Any]


def build(world: World, faults: Faults, seed: int, redirect_url: str) -> "ZerodhaSimulator":
    """The simulator of `main.py simulate zerodha`: one user with one app."""
    return ZerodhaSimulator(world, [App("practicekey", "practicesecret", "ZZ1234", redirect_url)], faults, seed)


class ZerodhaSimulator(Simulator):
    """One Zerodha: its users, their orders, its market."""

    title = "Zerodha"
    login_path = "/connect/login"

    def __init__(self, world: World, apps: list[App], faults: Faults, seed: int) -> None:
        self.sessions = Sessions(apps, seed)
        self.limits = Limits()
        self.desk = OrderDesk(world, faults, self.limits)
        self.books = Books(world, self.desk)
        self.data = MarketData(world)
        self.gtt = Gtt(world, self.desk.place)
        self.ticker = Ticker(world, self.sessions, faults, self.desk.details)
        self._apps = apps
        super().__init__(world, faults, self.ticker)
        self._routes = self._table()

    def describe(self) -> dict[str, Any]:
        app = self._apps[0]
        return {
            "broker": "zerodha",
            "credentials": {"api_key": app.api_key, "api_secret": app.api_secret},
            "user_id": app.user_id,
            "redirect_url": app.redirect_url,
            **self.about(),
        }

    def accounts(self) -> dict[str, Any]:
        """Every user's books as the exchange holds them, for tests to compare with: no lag, no token, no rate limit."""
        return {app.user_id: self.books.account(app.user_id) for app in self._apps}

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

    def _let_in(self, request: Request, connection: Connection, now: datetime) -> Response | None:
        try:
            self.ticker.connect(request, connection, now)
        except ApiError as error:
            return failure(error.status, error.error_type, str(error))
        return None

    def _refusal(self, fault: Fault) -> Response:
        values = fault.values
        match fault.kind:
            case "rate_limit":
                error = too_many()
                return failure(error.status, error.error_type, str(error))
            case "error":
                return failure(values["status"], values["error_type"], values["message"])
            case "timed_out":
                return failure(values["status"], "NetworkException", TIMED_OUT)
            case "ip_not_allowed":
                return failure(403, "PermissionException", f"IP ({values['ip']}) is not allowed to place orders for this app.")
        return failure(403, "PermissionException", NO_PERMISSION)

    def _kill_tokens(self) -> None:
        self.sessions.kill_all()

    def _step(self, now: datetime) -> None:
        self.desk.step(now)
        self.gtt.evaluate(now)

    def _order_number(self, order_id: str) -> int:
        return self.desk.numbers.get(order_id, 0)

    def _facts(self, request: Request) -> dict[str, Any]:
        """What a fault's `match` may ask about a request."""
        facts = super()._facts(request)
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

    def _values(self, request: Request) -> dict[str, Any]:
        values = {name: found[-1] for name, found in request.arguments().items()} | (request.form() if b"=" in request.body else {})
        return {name: "***" if name in _SECRETS else value for name, value in values.items()}

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
