"""Upstox's API without sockets: the routes of its official SDK, the login dialog and both streams, over one simulated world.

Written from the broker's documents (v2 and v3). Host and order host are one here: the paths do not meet.
"""

import html as markup
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from simulators.base import Simulator
from simulators.faults import Fault, Faults
from simulators.upstox_books import Books
from simulators.upstox_data import MarketData
from simulators.upstox_errors import OMS, STATIC_IP, ApiError, bad_token, failure, success, too_many
from simulators.upstox_feed import MARKET_PATH, PORTFOLIO_PATH, Feeds
from simulators.upstox_gtt import Gtt
from simulators.upstox_limits import Limits
from simulators.upstox_orders import OrderDesk
from simulators.upstox_session import AccessToken, App, Call, Sessions
from simulators.wire import Connection, Request, Response, dump
from simulators.world import World

_SECRETS = frozenset({"access_token", "code", "client_secret"})
_ORDER_ROUTES = ("/order/place", "/order/modify", "/order/cancel", "/order/multi", "/order/gtt/", "/order/positions/exit")
_PUBLIC = ("/historical-candle/", "/v2/market/holidays", "/v2/market/timings")
TIMED_OUT = "Something went wrong... please contact us"

Answer = Callable[[Call], Any]
Whole = tuple[int, dict[str, Any]]


def build(world: World, faults: Faults, seed: int, redirect_url: str) -> "UpstoxSimulator":
    """The simulator of `main.py simulate upstox`: one user with one app."""
    return UpstoxSimulator(world, [App("practicekey", "practicesecret", "UP1234", redirect_url)], faults, seed)


class UpstoxSimulator(Simulator):
    """One Upstox: its users, their orders, its market."""

    title = "Upstox"
    login_path = "/v2/login/authorization/dialog"

    def __init__(self, world: World, apps: list[App], faults: Faults, seed: int) -> None:
        self.sessions = Sessions(apps, seed)
        self.limits = Limits()
        self.desk = OrderDesk(world, faults, self.limits)
        self.books = Books(world, self.desk)
        self.data = MarketData(world, self.desk)
        self.gtt = Gtt(world, self.desk)
        self.feeds = Feeds(world, self.sessions, faults)
        super().__init__(world, faults, self.feeds)
        self._anybody = AccessToken(App("", "", "", ""), "", world.last_moment)
        self._addresses: dict[str, dict[str, str]] = {}
        self._routes = self._table()
        self._whole: dict[str, Callable[[Call], Whole]] = {
            "POST /v2/order/multi/place": self.desk.place_many,
            "DELETE /v2/order/multi/cancel": self.desk.cancel_many,
            "POST /v2/order/positions/exit": self.desk.exit_positions,
        }

    def describe(self) -> dict[str, Any]:
        app = next(iter(self.sessions.apps.values()))
        return {
            "broker": "upstox",
            "credentials": {"api_key": app.api_key, "api_secret": app.api_secret, "redirect_uri": app.redirect_url},
            "user_id": app.user_id,
            "redirect_url": app.redirect_url,
            **self.about(),
        }

    def accounts(self) -> dict[str, Any]:
        """Every user's books as the exchange holds them, for tests to compare with: no lag, no token, no rate limit."""
        return {app.user_id: self.books.account(app.user_id) for app in self.sessions.apps.values()}

    def redirect_to(self, url: str) -> None:
        """Register another redirect URL for every app."""
        self.sessions.apps = {key: replace(app, redirect_url=url) for key, app in self.sessions.apps.items()}

    # --- a request on its way -----------------------------------------------------------------------------------------------------

    def _answer(self, request: Request, now: datetime, lag: timedelta) -> Response:
        try:
            if request.path == self.login_path:
                return self._login_page(request, now)
            if request.path == "/v2/login/authorization/token" and request.method == "POST":
                return self._new_session(request, now)
            if request.path.startswith("/market-quote/instruments/exchange/"):
                return self.data.instruments(request)
            session = self.sessions.check(request, now)
            if session is None and any(route in request.path for route in _PUBLIC):
                session = self._anybody  # the SDK sends no token there, so the broker cannot want one
            if session is None:
                raise bad_token()
            name = f"{request.method} {request.path}"
            answer, tail = self._route(request)
            order = request.method != "GET" and any(route in request.path for route in _ORDER_ROUTES)
            if not order and not self.limits.admit(session.user, "other", now):
                raise too_many()
            call = Call(session, request, tail, now, lag)
            if name in self._whole:
                status, body = self._whole[name](call)
                return Response(status, dump(body))
            return success(answer(call), latency=order)
        except ApiError as error:
            return failure(error)

    def _let_in(self, request: Request, connection: Connection, now: datetime) -> Response | None:
        try:
            address = self.feeds.connect(request, connection, now)
        except ApiError as error:
            return failure(error)
        return Response(302, b"", "text/html", {"Location": address}) if address else None

    def _refusal(self, fault: Fault) -> Response:
        values = fault.values
        match fault.kind:
            case "rate_limit":
                return failure(too_many())
            case "error":
                return failure(ApiError(values["status"], values["error_type"], values["message"]))
            case "timed_out":
                return failure(ApiError(values["status"], OMS, TIMED_OUT))
            case "ip_not_allowed":
                return failure(ApiError(403, *STATIC_IP))
        return failure(ApiError(403, "UDAPI100049", "Access to this API has been restricted for your account."))

    def _kill_tokens(self) -> None:
        self.sessions.kill_all()

    def _step(self, now: datetime) -> None:
        self.gtt.evaluate(now)

    def _order_number(self, order_id: str) -> int:
        return self.desk.numbers.get(order_id, 0)

    def _facts(self, request: Request) -> dict[str, Any]:
        facts = super()._facts(request)
        if not self.faults.entries or not any(route in request.path for route in _ORDER_ROUTES):
            return facts
        fields = _fields(request)
        order_id = str(fields.get("order_id") or request.argument("order_id"))
        placing = request.method == "POST"
        try:
            symbol = self.desk.listing_of(str(fields.get("instrument_token") or "")).key
        except ApiError:
            symbol = ""
        order = next((one for app in self.sessions.apps.values() if (one := self._order(app.user_id, order_id))), None)
        return {
            **facts,
            "order_id": order_id,
            "order_number": len(self.desk.numbers) + 1 if placing else self.desk.numbers.get(order_id, 0),
            "tag": str(fields.get("tag") or (order.tag if order else None) or ""),
            "symbol": symbol or (order.listing.key if order else ""),
            "side": str(fields.get("transaction_type") or (order.side if order else "")),
        }

    def _order(self, user: str, order_id: str) -> Any:
        return self.world.exchange.account(user).orders.get(order_id)

    def _values(self, request: Request) -> dict[str, Any]:
        values = {**{name: found[-1] for name, found in request.arguments().items()}, **_fields(request)}
        return {name: "***" if name in _SECRETS else value for name, value in values.items()}

    # --- login --------------------------------------------------------------------------------------------------------------------

    def _login_page(self, request: Request, now: datetime) -> Response:
        target = self.sessions.redirect(request, now)
        page = f'<html><body>Approved by the simulator: <a href="{markup.escape(target)}">continue</a></body></html>'
        return Response(302, page.encode(), "text/html", {"Location": target})

    def _new_session(self, request: Request, now: datetime) -> Response:
        """The one reply without an envelope."""
        session = self.sessions.exchange(request.form(), now)
        return Response(200, dump({**_profile(session.app), "access_token": session.token, "extended_token": ""}))

    def _profile(self, call: Call) -> dict[str, Any]:
        return _profile(call.session.app)

    def _log_out(self, call: Call) -> bool:
        call.session.dead = True
        return True

    def _addresses_of(self, call: Call) -> dict[str, str]:
        return self._addresses.get(call.user, {"primary_ip": "203.0.113.7", "secondary_ip": ""})

    def _set_addresses(self, call: Call) -> dict[str, str]:
        """A new static address ends the token."""
        fields = call.fields()
        self._addresses[call.user] = {name: str(fields.get(name) or "") for name in ("primary_ip", "secondary_ip")}
        call.session.dead = True
        return self._addresses[call.user]

    def _kill_switch(self, call: Call) -> list[dict[str, Any]]:
        return [{"segment": name, "segment_status": "ACTIVE", "kill_switch_enabled": False} for name in ("NSE_EQ", "NSE_FO", "BSE_EQ")]

    # --- the table of routes ------------------------------------------------------------------------------------------------------

    def _table(self) -> list[tuple[str, str, Answer]]:
        """(method, path with `*` for one part and `**` for the rest, what answers); the first that fits counts."""
        desk, books, data, gtt = self.desk, self.books, self.data, self.gtt
        authorize: Answer = lambda call: self.feeds.authorize(call.session, call.request)  # noqa: E731 - one route
        routes: dict[str, Answer] = {
            "DELETE /v2/logout": self._log_out,
            "GET /v2/user/profile": self._profile,
            "GET /v2/user/get-funds-and-margin": books.funds,
            "GET /v3/user/get-funds-and-margin": books.funds_v3,
            "GET /v2/user/ip": self._addresses_of,
            "PUT /v2/user/ip": self._set_addresses,
            "GET /v2/user/kill-switch": self._kill_switch,
            "POST /v3/order/place": desk.place,
            "POST /v2/order/place": desk.place_v2,
            "PUT /v3/order/modify": desk.modify,
            "PUT /v2/order/modify": desk.modify,
            "DELETE /v3/order/cancel": desk.cancel,
            "DELETE /v2/order/cancel": desk.cancel,
            "POST /v2/order/multi/place": desk.place_many,
            "DELETE /v2/order/multi/cancel": desk.cancel_many,
            "POST /v2/order/positions/exit": desk.exit_positions,
            "GET /v2/order/retrieve-all": books.orders,
            "GET /v2/order/details": books.details,
            "GET /v2/order/history": books.history,
            "GET /v2/order/trades/get-trades-for-day": books.trades,
            "GET /v2/order/trades": books.trades,
            "POST /v3/order/gtt/place": gtt.place,
            "PUT /v3/order/gtt/modify": gtt.modify,
            "DELETE /v3/order/gtt/cancel": gtt.cancel,
            "GET /v3/order/gtt": gtt.show,
            "GET /v2/portfolio/short-term-positions": books.positions,
            "GET /v3/portfolio/mtf-positions": books.mtf_positions,
            "GET /v2/portfolio/long-term-holdings": books.holdings,
            "PUT /v2/portfolio/convert-position": books.convert,
            "POST /v2/charges/margin": books.margins,
            "GET /v2/charges/brokerage": books.brokerage,
            "GET /v3/historical-candle/intraday/*/*/*": data.intraday,
            "GET /v3/historical-candle/*/*/*/*": data.candles,
            "GET /v3/historical-candle/*/*/*/*/*": data.candles,
            "GET /v2/historical-candle/intraday/*/*": data.intraday_v2,
            "GET /v2/historical-candle/*/*/*": data.candles_v2,
            "GET /v2/historical-candle/*/*/*/*": data.candles_v2,
            "GET /v3/market-quote/ltp": data.last_prices,
            "GET /v2/market-quote/ltp": data.last_prices,
            "GET /v3/market-quote/ohlc": data.ohlc,
            "GET /v2/market-quote/ohlc": data.ohlc,
            "GET /v2/market-quote/quotes": data.quotes,
            "GET /v3/market-quote/quotes": data.quotes,
            "GET /v3/market-quote/option-greek": data.greeks,
            "GET /v2/option/chain": data.chain,
            "GET /v2/option/contract": data.contracts,
            "GET /v2/market/holidays": data.holidays,
            "GET /v2/market/holidays/*": data.holidays,
            "GET /v2/market/timings/*": data.timings,
            "GET /v2/market/status/*": data.status,
            f"GET {MARKET_PATH}/authorize": authorize,
            f"GET {PORTFOLIO_PATH}/authorize": authorize,
        }
        return [(*name.split(" ", 1), answer) for name, answer in routes.items()]  # type: ignore[misc]  # a method and a path

    def _route(self, request: Request) -> tuple[Answer, list[str]]:
        """The answer to this route and its path's variable parts; raises ApiError."""
        parts = request.path.strip("/").split("/")
        for method, path, answer in self._routes:
            wanted = path.strip("/").split("/")
            if (
                method == request.method
                and len(wanted) == len(parts)
                and all(one in ("*", two) for one, two in zip(wanted, parts, strict=True))
            ):
                return answer, [part for one, part in zip(wanted, parts, strict=True) if one == "*"]
        raise ApiError(404, "UDAPI10000", "This request is not supported by Upstox API")


def _fields(request: Request) -> dict[str, Any]:
    """A JSON object's or a form's fields; nothing for anything else."""
    if request.body[:1] == b"{":
        try:
            body = json.loads(request.body)
        except ValueError:
            return {}
        return body if isinstance(body, dict) else {}
    return dict(request.form()) if b"=" in request.body else {}


def _profile(app: App) -> dict[str, Any]:
    return {
        "email": "practice@example.com",
        "exchanges": ["NSE", "NFO", "BSE", "BFO", "CDS", "MCX"],
        "products": ["D", "CO", "I", "MTF"],
        "broker": "UPSTOX",
        "user_id": app.user_id,
        "user_name": "Practice User",
        "order_types": ["MARKET", "LIMIT", "SL", "SL-M"],
        "user_type": "individual",
        "poa": False,
        "ddpi": False,
        "is_active": True,
    }
