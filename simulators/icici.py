"""ICICI Direct's Breeze API without sockets: login, every route of the official SDK, and its three Socket.IO servers, over one world.

Written from the broker's documents and its SDK's own requests. All hosts are one here: their paths do not meet, but for the order
notifications (see icici_stream).
"""

import html as markup
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from simulators.base import Simulator, html
from simulators.faults import Fault, Faults
from simulators.icici_books import Books
from simulators.icici_data import MASTER, MarketData
from simulators.icici_errors import BAD_IP, PER_DAY, PER_MINUTE, ApiError, failure, success, throttled
from simulators.icici_gtt import Gtt
from simulators.icici_limits import Limits
from simulators.icici_names import Names
from simulators.icici_orders import OrderDesk
from simulators.icici_rows import reference
from simulators.icici_session import App, Call, Login, Sessions, body_of
from simulators.icici_stream import BreezeStreams
from simulators.wire import Connection, Request, Response
from simulators.world import World

_V1, _V2 = "/breezeapi/api/v1/", "/api/v2/historicalcharts"
_ORDER_CALLS = frozenset({("POST", "order"), ("PUT", "order"), ("DELETE", "order"), ("POST", "squareoff")})
_SECRETS = frozenset({"SessionToken", "AppKey", "api_key"})
NOT_SURE = "Something went wrong. Please check the order book."

Answer = Callable[[Call], Any]


def build(world: World, faults: Faults, seed: int, redirect_url: str) -> "IciciSimulator":
    """The simulator of `main.py simulate icici`: one client with one app, whose key has letters that a URL must quote."""
    return IciciSimulator(world, [App("practice+key=1", "practicesecret", "XY604721", redirect_url)], faults, seed)


class IciciSimulator(Simulator):
    """One ICICI Direct: its clients, their orders, its market."""

    title = "ICICI Direct"
    login_path = "/apiuser/login"

    def __init__(self, world: World, apps: list[App], faults: Faults, seed: int) -> None:
        self.sessions = Sessions(apps, seed)
        self.limits = Limits()
        self.names = Names(world)
        self.desk = OrderDesk(world, faults, self.names)
        self.books = Books(world, self.names, self.desk)
        self.data = MarketData(world, self.names)
        self.gtt = Gtt(world, self.desk)
        self._users = [app.user_id for app in apps]
        self._throttled = 0
        super().__init__(world, faults, BreezeStreams(world, self.sessions, faults, self.names, self.data))
        self._routes = self._table()

    def describe(self) -> dict[str, Any]:
        app = next(iter(self.sessions.apps.values()))
        return {
            "broker": "icici",
            "credentials": {"api_key": app.api_key, "api_secret": app.api_secret},
            "user_id": app.user_id,
            "redirect_url": app.redirect_url,
            **self.about(),
        }

    def accounts(self) -> dict[str, Any]:
        return {user: self.books.account(user) for user in self._users}

    def redirect_to(self, url: str) -> None:
        self.sessions.redirect_to(url)

    # --- a request on its way -------------------------------------------------------------------------------------------------------

    def _answer(self, request: Request, now: datetime, lag: timedelta) -> Response:
        try:
            if request.path == self.login_path:
                return self._login_page(request, now)
            if request.path == MASTER:
                return self.data.master()
            route = request.path.removeprefix(_V1).rstrip("/")
            if route == "customerdetails":
                return self._customer(request, now)
            v2 = request.path.rstrip("/") == _V2
            login = self.sessions.check(request, now, signed=not v2)
            answer = self._routes.get((request.method, route)) if request.path.startswith(_V1) else None
            if answer is None and not v2:
                raise ApiError("Resource not found", 404, http=404)
            refused = self.limits.admit(login.user, now, order=(request.method, route) in _ORDER_CALLS)
            if refused:
                return self._over_the_limit(refused)
            if v2:
                return success(self.data.history_v2(request, now))
            assert answer is not None
            return success(answer(Call(login, body_of(request), now, lag)))
        except ApiError as error:
            return failure(error)

    def _over_the_limit(self, refused: str) -> Response:
        """Now under HTTP 200, now under 401, as both were seen; at the edge the front's page."""
        if refused == "edge":
            return html(503)
        self._throttled += 1
        return throttled(PER_DAY if refused == "day" else PER_MINUTE, unauthorized=self._throttled % 2 == 0)

    def _let_in(self, request: Request, connection: Connection, now: datetime) -> Response | None:
        assert isinstance(self.streams, BreezeStreams)
        return self.streams.connect(request, connection, now)

    def _refusal(self, fault: Fault) -> Response:
        match fault.kind:
            case "rate_limit":
                return self._over_the_limit("minute")
            case "error":
                return failure(ApiError(fault.values["message"], fault.values["status"], http=200))
            case "timed_out":
                return failure(ApiError(NOT_SURE))
            case "ip_not_allowed":
                return failure(ApiError(BAD_IP, 403, http=403))
        return failure(ApiError("You are not authorized to access this resource.", 403, http=403))

    def _kill_tokens(self) -> None:
        self.sessions.kill_all()

    def _step(self, now: datetime) -> None:
        self.gtt.evaluate(now)

    def _order_number(self, order_id: str) -> int:
        return self.desk.numbers.get(order_id, 0)

    def _facts(self, request: Request) -> dict[str, Any]:
        """`route` has the path's last part alone as well: `POST */order`."""
        facts = super()._facts(request)
        route = (request.method, request.path.removeprefix(_V1).rstrip("/"))
        if not self.faults.entries or route not in _ORDER_CALLS:
            return facts
        body = body_of(request)
        try:
            one = self.names.find(body)
        except ApiError:
            one = None
        orders = (order for user in self._users for order in self.world.exchange.account(user).orders.values())
        order = next((order for order in orders if reference(order) == str(body.get("order_id"))), None)
        key = one.listing.key if one is not None else ""
        return {
            **facts,
            "order_id": order.id if order else "",
            "order_number": self.desk.numbers.get(order.id, 0) if order else len(self.desk.numbers) + 1,
            "tag": str(body.get("user_remark") or (order.tag if order else None) or ""),
            "symbol": key or (order.listing.key if order else ""),
            "side": str(body.get("action") or (order.side if order else "")).upper(),
        }

    def _values(self, request: Request) -> dict[str, Any]:
        values = {**{name: found[-1] for name, found in request.arguments().items()}, **body_of(request)}
        return {name: "***" if name in _SECRETS else value for name, value in values.items()}

    # --- login ----------------------------------------------------------------------------------------------------------------------

    def _login_page(self, request: Request, now: datetime) -> Response:
        target = self.sessions.redirect(request, now)
        page = f'<html><body>Approved by the simulator: <a href="{markup.escape(target)}">continue</a></body></html>'
        return Response(302, page.encode(), "text/html", {"Location": target})

    def _customer(self, request: Request, now: datetime) -> Response:
        if request.method != "GET":
            raise ApiError("Method Not Allowed", 405, http=405)
        return success(_details(self.sessions.exchange(body_of(request), now), now))

    # --- the table of routes --------------------------------------------------------------------------------------------------------

    def _table(self) -> dict[tuple[str, str], Answer]:
        desk, books, data, gtt = self.desk, self.books, self.data, self.gtt
        return {
            ("GET", "dematholdings"): books.demat,
            ("GET", "funds"): books.funds,
            ("POST", "funds"): books.move_funds,
            ("GET", "historicalcharts"): data.history,
            ("GET", "margin"): books.margin,
            ("POST", "margin"): books.add_margin,
            ("POST", "order"): desk.place,
            ("GET", "order"): books.orders,
            ("PUT", "order"): desk.modify,
            ("DELETE", "order"): desk.cancel,
            ("POST", "squareoff"): desk.square_off,
            ("GET", "trades"): books.trades,
            ("GET", "portfolioholdings"): books.holdings,
            ("GET", "portfoliopositions"): books.positions,
            ("GET", "quotes"): data.quotes,
            ("GET", "optionchain"): data.chain,
            ("GET", "preview_order"): books.preview,
            ("POST", "margincalculator"): books.margins,
            ("POST", "fnolmtpriceandqtycal"): books.limits,
            ("POST", "gttorder"): gtt.place,
            ("PUT", "gttorder"): gtt.modify,
            ("DELETE", "gttorder"): gtt.cancel,
            ("GET", "gttorder"): gtt.book,
        }


def _details(login: Login, now: datetime) -> dict[str, Any]:
    """What customerdetails gives for an apisession."""
    day = f"{now:%d-%b-%Y}"
    return {
        "exg_trade_date": dict.fromkeys(("NSE", "BSE", "FNO", "NDX"), day),
        "exg_status": {"NSE": "O", "BSE": "O", "FNO": "Y", "NDX": "X"},
        "segments_allowed": {"Trading": "Y", "Equity": "Y", "Derivatives": "Y", "Currency": "Z"},
        "idirect_userid": login.user,
        "session_token": login.token,
        "idirect_user_name": "PRACTICE USER",
        "idirect_ORD_TYP": "N",
        "idirect_lastlogin_time": f"{now:%d-%b-%Y %H:%M:%S}",
        "mf_holding_mode_popup_flg": "N",
        "commodity_exchange_status": "Y",
        "commodity_trade_date": day,
        "commodity_allowed": "O",
    }
