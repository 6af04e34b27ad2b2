"""Angel One's SmartAPI without sockets: login, every order and data route of the official SDK, and both streams, over one simulated world.

Written from the broker's documents. `handle(request, now)` answers a request, `frames(connection, now)` yields what a stream
connection gets; both are pure functions of what came before, so the same requests at the same moments give the same bytes.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from simulators.angelone_books import Books
from simulators.angelone_data import MASTER, MarketData
from simulators.angelone_errors import ApiError, failure, success, throttled
from simulators.angelone_gtt import Gtt
from simulators.angelone_limits import Limits
from simulators.angelone_names import Names
from simulators.angelone_orders import OrderDesk
from simulators.angelone_session import App, Call, Login, Sessions
from simulators.angelone_streams import FEED, ORDERS, AngelStreams
from simulators.base import Simulator
from simulators.faults import Fault, Faults
from simulators.wire import Connection, Request, Response
from simulators.world import World

_SECURE = "/rest/secure/angelbroking"
_LOGIN = "/rest/auth/angelbroking/user/v1/loginByPassword"
_TOKENS = "/rest/auth/angelbroking/jwt/v1/generateTokens"
_SECRETS = frozenset({"password", "totp", "refreshToken"})
_ORDER_ROUTES = ("order/v1/placeOrder", "order/v1/modifyOrder", "order/v1/cancelOrder")

Answer = Callable[[Call], Any]


def build(world: World, faults: Faults, seed: int, redirect_url: str) -> "AngelSimulator":
    """The simulator of `main.py simulate angelone`: one client with one API key."""
    app = App("practicekey", "A123456", "1234", "MZXW6YTBOI2DGNBVGY3TQOJQ", redirect_url)
    return AngelSimulator(world, [app], faults, seed)


class AngelSimulator(Simulator):
    """One Angel One: its clients, their orders, its market."""

    title = "Angel One"
    login_path = "/publisher-login"

    def __init__(self, world: World, apps: list[App], faults: Faults, seed: int) -> None:
        self.sessions = Sessions(apps, seed)
        self.limits = Limits()
        self.names = Names(world)
        self.desk = OrderDesk(world, faults, self.names)
        self.books = Books(world, self.names, self.desk.numbers)
        self.data = MarketData(world, self.names)
        self.gtt = Gtt(world, self.names, self.desk)
        self._users = [app.client_code for app in apps]
        super().__init__(world, faults, AngelStreams(world, self.sessions, faults, self.names))
        self._routes = self._table()

    def describe(self) -> dict[str, Any]:
        app = next(iter(self.sessions.apps.values()))
        return {
            "broker": "angelone",
            "credentials": {
                "api_key": app.api_key,
                "client_code": app.client_code,
                "mpin": app.mpin,
                "totp_secret": app.totp_secret,
            },
            "user_id": app.client_code,
            "redirect_url": app.redirect_url,
            **self.about(),
        }

    def accounts(self) -> dict[str, Any]:
        return {user: self.books.account(user) for user in self._users}

    def redirect_to(self, url: str) -> None:
        self.sessions.redirect_to(url)

    # --- a request on its way -------------------------------------------------------------------------------------------------------

    def _answer(self, request: Request, now: datetime, lag: timedelta) -> Response:
        route = _route(request.path)
        try:
            if request.path == self.login_path:
                return self._publisher_page(request, now)
            if request.path == MASTER:
                return self.data.master()
            if request.method == "POST" and request.path in (_LOGIN, _TOKENS):
                return self._session_route(request, now)
            login = self.sessions.check(request, now)
            found = self._routes.get((request.method, route)) or self._routes.get((request.method, route.rpartition("/")[0] + "/*"))
            if found is None:
                return Response(404, b'{"message":"no Route matched with those values"}')
            kind, answer = found
            if not self.limits.admit(login.user, kind, now):
                return throttled()
            return success(answer(Call(login, _body(request), route.rpartition("/")[2], now, lag)))
        except ApiError as error:
            return failure(error.code, str(error))

    def _session_route(self, request: Request, now: datetime) -> Response:
        body = _body(request)
        if request.path == _LOGIN:
            if not self.limits.admit(str(body.get("clientcode")), "login", now):
                return throttled()
            login = self.sessions.log_in(request.headers.get("x-privatekey", ""), body, now)
        else:
            if not self.limits.admit("", "tokens", now):
                return throttled()
            login = self.sessions.renew(str(body.get("refreshToken", "")), now)
        return success(_tokens(login) | ({"state": body["state"]} if body.get("state") else {}))

    def _publisher_page(self, request: Request, now: datetime) -> Response:
        target = self.sessions.publisher(request.argument("api_key"), request.argument("state"), now)
        if target is None:
            return Response(400, b"<html><body>Invalid API key</body></html>", "text/html")
        return Response(302, b"<html><body>Approved by the simulator</body></html>", "text/html", {"Location": target})

    def _let_in(self, request: Request, connection: Connection, now: datetime) -> Response | None:
        streams = self.streams
        assert isinstance(streams, AngelStreams)
        if request.path not in (FEED, ORDERS):
            return Response(404)
        return streams.connect(request, connection, now)

    # --- faults ---------------------------------------------------------------------------------------------------------------------

    def _refusal(self, fault: Fault) -> Response:
        values = fault.values
        match fault.kind:
            case "rate_limit":
                return throttled()
            case "error":
                return failure(values["error_type"], values["message"], values["status"])
            case "timed_out":
                return failure("AB1004")
            case "ip_not_allowed":
                return failure("AG7002")
        return failure("AB1006")

    def _facts(self, request: Request) -> dict[str, Any]:
        facts = super()._facts(request)
        if self.faults.entries and _route(request.path) in _ORDER_ROUTES:
            body, order_id = _body(request), ""
            placing = request.path.endswith("placeOrder")
            if not placing:
                order_id = str(body.get("orderid", ""))
            one = self.names.find(str(body.get("exchange", "")), str(body.get("symboltoken", "")))
            facts |= {
                "order_id": order_id,
                "order_number": len(self.desk.numbers) + 1 if placing else self.desk.numbers.get(order_id, 0),
                "tag": str(body.get("ordertag") or ""),
                "symbol": one.listing.key if one is not None else "",
                "side": str(body.get("transactiontype", "")),
            }
        return facts

    def _values(self, request: Request) -> dict[str, Any]:
        return {name: "***" if name in _SECRETS else value for name, value in _body(request).items()}

    def _kill_tokens(self) -> None:
        self.sessions.kill_all()

    def _step(self, now: datetime) -> None:
        self.gtt.evaluate(now)

    def _order_number(self, order_id: str) -> int:
        return self.desk.numbers.get(order_id, 0)

    # --- the table of routes --------------------------------------------------------------------------------------------------------

    def _profile(self, call: Call) -> dict[str, Any]:
        return {
            "clientcode": call.user,
            "name": "PRACTICE USER",
            "email": "",
            "mobileno": "",
            "exchanges": ["nse_cm", "nse_fo", "bse_cm", "bse_fo", "mcx_fo"],
            "products": ["MARGIN", "MIS", "NRML", "CNC", "CO", "BO"],
            "lastlogintime": "",
            "broker": "",
        }

    def _log_out(self, call: Call) -> str:
        self.sessions.log_out(call.user)
        return ""

    def _table(self) -> Mapping[tuple[str, str], tuple[str, Answer]]:
        """(method, path behind the common prefix) -> the limit that counts it, and its answer."""
        books, data, gtt, desk = self.books, self.data, self.gtt, self.desk
        return {
            ("POST", "user/v1/logout"): ("login", self._log_out),
            ("GET", "user/v1/getProfile"): ("profile", self._profile),
            ("GET", "user/v1/getRMS"): ("funds", books.funds),
            ("POST", "order/v1/placeOrder"): ("order", desk.place),
            ("POST", "order/v1/modifyOrder"): ("order", desk.modify),
            ("POST", "order/v1/cancelOrder"): ("order", desk.cancel),
            ("GET", "order/v1/getOrderBook"): ("orders", books.orders),
            ("GET", "order/v1/getTradeBook"): ("trades", books.trades),
            ("GET", "order/v1/getPosition"): ("positions", books.positions),
            ("GET", "order/v1/details/*"): ("details", books.order),
            ("POST", "order/v1/convertPosition"): ("convert", books.convert),
            ("POST", "order/v1/getLtpData"): ("last_price", data.last_price),
            ("POST", "order/v1/searchScrip"): ("search", data.search),
            ("GET", "portfolio/v1/getHolding"): ("holdings", books.holdings),
            ("GET", "portfolio/v1/getAllHolding"): ("all_holdings", books.all_holdings),
            ("POST", "market/v1/quote"): ("quote", data.quotes),
            ("POST", "historical/v1/getCandleData"): ("candles", data.candles),
            ("POST", "historical/v1/getOIData"): ("candles", data.open_interest),
            ("POST", "margin/v1/batch"): ("margin", books.margins),
            ("POST", "brokerage/v1/estimateCharges"): ("charges", books.charges),
            ("POST", "gtt/v1/createRule"): ("gtt", gtt.create),
            ("POST", "gtt/v1/modifyRule"): ("gtt", gtt.modify),
            ("POST", "gtt/v1/cancelRule"): ("gtt", gtt.cancel),
            ("POST", "gtt/v1/ruleDetails"): ("gtt_rules", gtt.details),
            ("POST", "gtt/v1/ruleList"): ("gtt_rules", gtt.list),
        }


def _route(path: str) -> str:
    """What stands behind the common prefix; GTT is served with and without its own."""
    return path.removeprefix("/gtt-service").removeprefix(_SECURE).strip("/")


def _body(request: Request) -> dict[str, Any]:
    """The JSON object of the body; the SDK's GETs carry JSON as their query, which the broker ignores."""
    try:
        body = json.loads(request.body) if request.body else {}
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _tokens(login: Login) -> dict[str, Any]:
    return {"jwtToken": login.token, "refreshToken": login.refresh_token, "feedToken": login.feed_token}
