"""Groww's trading API without sockets: token endpoint, orders, books, live data and candles, over one simulated world.

Written from the broker's documents. Hosts are one here: the paths do not meet. The broker's feed (NATS over a websocket) is not
simulated: what the API's users poll is.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from simulators.base import Simulator
from simulators.faults import Fault, Faults
from simulators.groww_books import Books
from simulators.groww_data import MarketData
from simulators.groww_errors import BUSY, FORBIDDEN, ApiError, bad_token, failure, missing, success, too_many
from simulators.groww_limits import Limits, kind_of
from simulators.groww_names import Names
from simulators.groww_orders import OrderDesk
from simulators.groww_session import App, Call, Sessions
from simulators.orders import Change
from simulators.streams import Streams
from simulators.wire import Connection, Request, Response, dump
from simulators.world import World

LOGIN = "/v1/token/api/access"
INSTRUMENTS = "/instruments/instrument.csv"
_ORDER_ROUTES = ("/v1/order/create", "/v1/order/modify", "/v1/order/cancel")
_SECRETS = frozenset({"totp", "checksum"})

Answer = Callable[[Call], Any]


def build(world: World, faults: Faults, seed: int, redirect_url: str) -> "GrowwSimulator":
    """The simulator of `main.py simulate groww`: one client with a key of each type."""
    app = App("practicekey", "MZXW6YTBOI2DGNBVGY3TQOJQ", "approvalkey", "approvalsecret", "GR1234", redirect_url)
    return GrowwSimulator(world, [app], faults, seed)


class NoStreams(Streams):
    """Nobody is connected to anything: order changes are seen by asking."""

    def _word(self, change: Change) -> str | None:
        return None

    def _names(self) -> Mapping[Any, str]:
        return {}


class GrowwSimulator(Simulator):
    """One Groww: its clients, their orders, its market."""

    title = "Groww"
    login_path = "/trade-api/api-keys"

    def __init__(self, world: World, apps: list[App], faults: Faults, seed: int) -> None:
        self.sessions = Sessions(apps, seed)
        self.limits = Limits()
        self.names = Names(world)
        self.desk = OrderDesk(world, faults, self.names)
        self.books = Books(world, self.desk)
        self.data = MarketData(world, self.names)
        self._users = [app.user_id for app in apps]
        super().__init__(world, faults, NoStreams(world, faults))
        self._routes = self._table()

    def describe(self) -> dict[str, Any]:
        app = self.sessions.apps[0]
        return {
            "broker": "groww",
            "credentials": {
                "api_key": app.totp_key,
                "totp_secret": app.totp_secret,
                "approval_api_key": app.approval_key,
                "approval_api_secret": app.approval_secret,
            },
            "user_id": app.user_id,
            "redirect_url": app.redirect_url,
            **self.about(),
        }

    def accounts(self) -> dict[str, Any]:
        return {user: self.books.account(user) for user in self._users}

    def redirect_to(self, url: str) -> None:
        self.sessions.redirect_to(url)

    # --- a request on its way -----------------------------------------------------------------------------------------------------

    def _answer(self, request: Request, now: datetime, lag: timedelta) -> Response:
        try:
            if request.path == self.login_path:
                return Response(302, b"approved", "text/html", {"Location": self.sessions.approve(now)})
            if request.path == LOGIN and request.method == "POST":
                return self._new_token(request, now)
            if request.path == INSTRUMENTS:
                return self.data.instruments()
            if request.path == "/v1/changelog":
                return Response(200, dump({"info": [], "warning": []}))
            session = self.sessions.check(request, now)
            if session is None:
                raise bad_token()
            answer, tail = self._route(request)
            if not self.limits.admit(session.user, kind_of(request.path), now):
                return too_many()
            return success(answer(Call(session, request, tail, now, lag)))
        except ApiError as error:
            return failure(error)

    def _let_in(self, request: Request, connection: Connection, now: datetime) -> Response | None:
        return failure(missing("the feed is not simulated; poll"))

    def _refusal(self, fault: Fault) -> Response:
        values = fault.values
        match fault.kind:
            case "rate_limit":
                return too_many()
            case "error":
                return failure(ApiError(values["status"], values["error_type"], values["message"]))
            case "timed_out":
                return failure(ApiError(values["status"], BUSY, "Unable to serve request currently"))
            case "ip_not_allowed":
                text = f"User not authorised to perform this operation: IP address {values['ip']} is not registered"
                return failure(ApiError(403, FORBIDDEN, text))
        return failure(ApiError(403, FORBIDDEN, "User not authorised to perform this operation: no active subscription"))

    def _kill_tokens(self) -> None:
        self.sessions.kill_all()

    def _order_number(self, order_id: str) -> int:
        return self.desk.numbers.get(order_id, 0)

    def _facts(self, request: Request) -> dict[str, Any]:
        facts = super()._facts(request)
        if not self.faults.entries or request.path not in _ORDER_ROUTES:
            return facts
        fields = _fields(request)
        order_id = str(fields.get("groww_order_id") or "")
        try:
            symbol = self.desk.listing_of(fields).key
        except ApiError:
            symbol = ""
        orders = (self.world.exchange.account(user).orders.get(order_id) for user in self._users)
        order = next((one for one in orders if one is not None), None)
        return {
            **facts,
            "order_id": order_id,
            "order_number": self.desk.numbers.get(order_id, len(self.desk.numbers) + 1),
            "tag": str(fields.get("order_reference_id") or (order.tag if order else None) or ""),
            "symbol": symbol or (order.listing.key if order else ""),
            "side": str(fields.get("transaction_type") or (order.side if order else "")),
        }

    def _values(self, request: Request) -> dict[str, Any]:
        values = {**{name: found[-1] for name, found in request.arguments().items()}, **_fields(request)}
        return {name: "***" if name in _SECRETS else value for name, value in values.items()}

    def _new_token(self, request: Request, now: datetime) -> Response:
        """The one reply without an envelope."""
        if not self.limits.admit("", "token", now):
            return too_many()
        try:
            session = self.sessions.exchange(request, now)
        except ApiError as error:
            body = {"status": "FAILURE", "error": {"code": error.code, "message": str(error), "displayMessage": str(error)}}
            return Response(error.status, dump(body))
        told = {"sessionName": "practice", "expiry": session.expires_at.strftime("%Y-%m-%dT%H:%M:%S"), "isActive": True}
        return Response(200, dump({"token": session.token, "tokenRefId": session.token[:8], **told}))

    def _profile(self, call: Call) -> dict[str, Any]:
        return {
            "vendor_user_id": call.user,
            "ucc": call.user[2:],
            "nse_enabled": True,
            "bse_enabled": True,
            "ddpi_enabled": False,
            "active_segments": ["CASH", "FNO"],
        }

    def _table(self) -> dict[str, Answer]:
        """`METHOD path`; a path that ends in `*` takes what follows as its tail, the longest first."""
        desk, books, data = self.desk, self.books, self.data
        return {
            "POST /v1/order/create": desk.create,
            "POST /v1/order/modify": desk.modify,
            "POST /v1/order/cancel": desk.cancel,
            "GET /v1/order/list": books.orders,
            "GET /v1/order/detail/*": books.detail,
            "GET /v1/order/status/reference/*": books.status_by_reference,
            "GET /v1/order/status/*": books.status,
            "GET /v1/order/trades/*": books.trades,
            "GET /v1/positions/user": books.positions,
            "GET /v1/positions/trading-symbol": books.position,
            "GET /v1/holdings/user": books.holdings,
            "GET /v1/margins/detail/user": books.funds,
            "POST /v1/margins/detail/orders": books.order_margins,
            "GET /v1/live-data/quote": data.quote,
            "GET /v1/live-data/ltp": data.last_prices,
            "GET /v1/live-data/ohlc": data.ohlc,
            "GET /v1/option-chain/*": data.chain,
            "GET /v1/historical/candles": data.candles,
            "GET /v1/historical/candle/range": data.range,
            "GET /v1/historical/expiries": data.expiries,
            "GET /v1/historical/contracts": data.contracts,
            "GET /v1/user/detail": self._profile,
        }

    def _route(self, request: Request) -> tuple[Answer, str]:
        name = f"{request.method} {request.path}"
        if name in self._routes:
            return self._routes[name], ""
        for wanted, answer in self._routes.items():
            if wanted.endswith("*") and name.startswith(wanted[:-1]):
                return answer, name[len(wanted) - 1 :]
        raise missing("Requested entity does not exist: no such route")


def _fields(request: Request) -> dict[str, Any]:
    """A JSON object's fields; nothing for anything else."""
    if request.body[:1] != b"{":
        return {}
    try:
        body = json.loads(request.body)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
