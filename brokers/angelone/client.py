"""Angel One over plain HTTP (docs/adr: why not by its SDK): our words in and out, and a type for every way a call can end.

An order call ends in an order id, a certain refusal (Rejected, RateLimited, SessionExpired), or Unknown; a read in its data or
Transient and those three.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import brokers.angelone.mapping as mapping
from brokers.angelone.session import AngelSession
from brokers.rest import (
    DOWNLOAD_SECONDS,
    ORDER_SECONDS,
    READ_SECONDS,
    RestClient,
    answered,
    candle,
    complete,
    lane_of,
    listed,
    mapped,
    minded,
    patience_of,
    token_of,
    token_to_order,
)
from brokers.spec import Audit, Endpoints, Lookup
from brokers.transport import Allow, Response
from core.errors import DataError, Rejected, Transient, Unknown
from core.events import BrokerPosition, ChargesTold, Funds, Holding, OrderUpdate, Trade
from core.ports import Clock
from core.types import IST, Bar, Instrument, Order
from utils.pacing import Budget, Lane

MASTER = "/OpenAPI_File/files/OpenAPIScripMaster.json"
_SECURE = "/rest/secure/angelbroking/"
_MASTER_HOSTS = {"https://apiconnect.angelone.in": "https://margincalculator.angelone.in"}  # what does not live beside the rest
_QUOTES = 50  # instruments in one request
_ESTIMATED = 25  # orders in one estimate; its limit is not documented
_PAUSE = 5.0  # seconds after a throttled request; the limits bite below what is documented
_READABLE = frozenset(
    {
        ("GET", f"{_SECURE}user/v1/getProfile"),
        ("POST", f"{_SECURE}market/v1/quote"),
        ("POST", f"{_SECURE}historical/v1/getCandleData"),
        ("GET", MASTER),
    }
)


def may_read(method: str, path: str) -> bool:
    """The allow-list of an account that may not trade: market data and its own profile."""
    return (method, path) in _READABLE


def _is_download(path: str) -> bool:
    return path == MASTER or path.startswith((f"{_SECURE}historical", f"{_SECURE}market"))


class AngelData(RestClient[AngelSession]):
    """Market data of one login; see core.ports.DataSession. Blocking; safe to use from several threads."""

    allow: Allow | None = staticmethod(may_read)
    is_download = staticmethod(_is_download)

    def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
        """Without open interest, which the broker keeps apart. A request may be answered with less than there is: count the bars."""
        name = mapping.INTERVALS.get(interval)
        if name is None or continuous:
            what = "continuous candles of futures" if continuous else f"candles of {interval} minutes"
            raise Rejected(f"Angel One has no {what}; it has {', '.join(map(str, mapping.INTERVALS))} minutes of one contract")
        exchange, number, _ = mapping.parts_of(self._lookup().token(instrument))
        begin, finish = start.astimezone(IST), end.astimezone(IST)
        body = {
            "exchange": exchange,
            "symboltoken": number,
            "interval": name,
            "fromdate": f"{begin:%Y-%m-%d %H:%M}",
            "todate": f"{finish:%Y-%m-%d %H:%M}",
        }
        rows = self._read(Lane.DATA, "historical", "POST", "historical/v1/getCandleData", body)
        try:
            bars = [candle(instrument, row, interval) for row in listed(mapping.TITLE, "candles", rows if rows is not None else [])]
        except (IndexError, ValueError, TypeError) as error:
            raise Transient(f"Angel One's candles of {instrument.key} hold a row that does not read ({error}); ask again") from error
        return [bar for bar in bars if begin <= bar.start <= finish]

    def instruments(self) -> bytes:
        """The file is public and lives on a host of its own."""
        self._budget.acquire(Lane.DATA, "other")
        url = _MASTER_HOSTS.get(self._rest, self._rest) + MASTER
        reply = self._exchange("GET", url, None, DOWNLOAD_SECONDS, {}, is_order=False)
        if reply.status_code != 200:
            raise Transient(f"Angel One's scrip master came with HTTP {reply.status_code}; ask again")
        return reply.content

    def last_prices(self, instruments: Sequence[Instrument]) -> dict[str, float]:
        return {key: mapping.number(row["ltp"]) for key, row in self._quotes("LTP", "ltp", instruments).items()}

    def circuits(self, instruments: Sequence[Instrument]) -> dict[str, tuple[float, float]]:
        """See core.ports.CircuitSource."""
        rows = self._quotes("FULL", "lowerCircuit", instruments)
        limits = {key: (mapping.number(row["lowerCircuit"]), mapping.number(row.get("upperCircuit"))) for key, row in rows.items()}
        return {key: (low, high) for key, (low, high) in limits.items() if 0 < low < high}

    def _quotes(self, mode: str, needed: str, instruments: Sequence[Instrument]) -> dict[str, Mapping[str, Any]]:
        """Rows of the market quote by our key; each holds a number called `needed`. What the broker does not know is absent."""
        lookup = self._lookup()
        keys = {mapping.parts_of(token)[:2]: one.key for one in instruments if (token := token_of(lookup, one))}
        names, found = list(keys), dict[str, Mapping[str, Any]]()
        for first in range(0, len(names), _QUOTES):
            tokens: dict[str, list[str]] = {}
            for exchange, number in names[first : first + _QUOTES]:
                tokens.setdefault(exchange, []).append(number)
            answer = self._read(Lane.DATA, "quote", "POST", "market/v1/quote", {"mode": mode, "exchangeTokens": tokens})
            for row in listed(mapping.TITLE, "quotes", answer.get("fetched") if isinstance(answer, dict) else None):
                try:
                    name = (str(row["exchange"]), str(row["symbolToken"]))
                    mapping.number(row[needed])
                except (KeyError, ValueError, TypeError) as error:
                    raise Transient(f"Angel One's quotes hold a row that does not read ({error}); ask again") from error
                if name in keys:
                    found[keys[name]] = row
        return found

    def profile(self) -> Mapping[str, Any]:
        return self._mapping("profile", "profile", "user/v1/getProfile")

    # --- one call -----------------------------------------------------------------------------------------------------------------------

    def _mapping(self, what: str, kind: str, path: str) -> Mapping[str, Any]:
        return mapped(mapping.TITLE, what, self._read(Lane.PORTFOLIO, kind, "GET", path))

    def _read(self, lane: Lane, kind: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        self._budget.acquire(lane, kind)
        return self._call(kind, method, path, body, READ_SECONDS, is_order=False)

    def _call(self, kind: str, method: str, path: str, body: Mapping[str, Any] | None, seconds: float, *, is_order: bool) -> Any:
        """The `data` of one authenticated exchange."""
        token = self._session.token()
        with minded(self._session, token, self._budget, kind, _PAUSE):
            reply = self._exchange(method, f"{self._rest}{_SECURE}{path}", body, seconds, self._session.headers(token), is_order=is_order)
            return _data(reply, is_order=is_order)

    def _exchange(
        self, method: str, url: str, body: Mapping[str, Any] | None, seconds: float, headers: Mapping[str, str], *, is_order: bool
    ) -> Response:
        def ask() -> Response:
            return self._http.request(method, url, json=body, headers=headers, timeout=seconds)

        return answered(mapping.TITLE, mapping.failure, ask, is_order=is_order)


class AngelBroker(AngelData):
    """A trading login; see core.ports.Broker."""

    allow = None

    def __init__(
        self, session: AngelSession, clock: Clock, budget: Budget, audit: Audit | None, endpoints: Endpoints, lookup: Lookup
    ) -> None:
        super().__init__(session, clock, budget, audit, endpoints, lookup)
        self._ordered: dict[str, OrderUpdate] = {}  # order id -> row of today's book: the trade book has neither tokens nor dates

    def place(self, order: Order) -> str:
        body = mapping.place_body(order, token_to_order(self._lookup(), order))
        return self._order(lane_of(order), "place", "order/v1/placeOrder", body)

    def modify(self, order: Order, *, quantity: int, limit_price: float, trigger_price: float | None) -> None:
        body = mapping.modify_body(order, token_to_order(self._lookup(), order), quantity, limit_price, trigger_price)
        self._order(lane_of(order), "modify", "order/v1/modifyOrder", body)

    def cancel(self, order: Order) -> None:
        self._order(Lane.CANCEL, "cancel", "order/v1/cancelOrder", mapping.cancel_body(order))

    def orders(self) -> tuple[OrderUpdate, ...]:
        rows, at, lookup = self._book("orders", "order/v1/getOrderBook"), self._clock.now(), self._lookup()
        updates = complete(lambda row: mapping.order_update(row, at, "book", lookup), rows)
        self._ordered = {one.broker_order_id: one for one in updates}
        return tuple(updates)

    def trades(self) -> tuple[Trade, ...]:
        """Rows carry a time of day alone: they are of the day of their order's last change, else of the day they are read on."""
        rows, day, lookup = self._book("trades", "order/v1/getTradeBook"), self._clock.now().astimezone(IST).date(), self._lookup()
        if any(str(row.get("orderid")) not in self._ordered for row in rows if isinstance(row, dict)):
            self.orders()

        def instrument(row: Mapping[str, Any]) -> Instrument:
            order = self._ordered.get(str(row["orderid"]))
            return order.instrument if order is not None else mapping.instrument_of(row, lookup)

        def day_of(row: Mapping[str, Any]) -> date:
            order = self._ordered.get(str(row.get("orderid")))
            return order.exchange_at.date() if order is not None and order.exchange_at is not None else day

        return tuple(complete(lambda row: mapping.trade(row, day_of(row), instrument), rows))

    def positions(self) -> tuple[BrokerPosition, ...]:
        rows, lookup = self._book("positions", "order/v1/getPosition"), self._lookup()
        return tuple(complete(lambda row: mapping.position(row, lookup), rows))

    def holdings(self) -> tuple[Holding, ...]:
        rows, lookup = self._book("holdings", "portfolio/v1/getHolding"), self._lookup()
        return tuple(complete(lambda row: mapping.holding(row, lookup), rows))

    def funds(self) -> Funds:
        answer = self._mapping("funds", "funds", "user/v1/getRMS")
        try:
            return mapping.funds(answer)
        except DataError as error:
            raise Transient(str(error)) from error

    def order_charges(self, orders: Sequence[Order]) -> dict[str, ChargesTold]:
        """See core.ports.ChargeSource: the calculator, for what each filled at its average price; its rows come in the order asked."""
        lookup, found = self._lookup(), dict[str, ChargesTold]()
        known = [(order, token) for order in orders if (token := token_of(lookup, order.instrument))]
        for first in range(0, len(known), _ESTIMATED):
            some = [order for order, _ in known[first : first + _ESTIMATED]]
            asked = [mapping.charge_order(order, token) for order, token in known[first : first + _ESTIMATED]]
            answer = self._read(Lane.PORTFOLIO, "charges", "POST", "brokerage/v1/estimateCharges", {"orders": asked})
            rows = listed(mapping.TITLE, "charges", answer.get("charges") if isinstance(answer, dict) else None)
            if len(rows) != len(some):
                raise Transient(f"Angel One told the charges of {len(rows)} orders where {len(some)} were asked for; ask again")
            read = complete(lambda each: mapping.charges(*each), list(zip(some, rows, strict=True)))
            found.update((order.id, charges) for order, charges in zip(some, read, strict=True))
        return found

    def book(self, kind: str, path: str) -> list[Any]:
        """The rows of a book as the broker sends them; null is an empty one, for a session proven alive by the same reply."""
        return self._book(kind, path)

    def send(self, lane: Lane, kind: str, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The `data` of one order call, which carries an order id; raises Unknown where it does not."""
        self._budget.acquire(lane, kind, patience=patience_of(lane))
        data = self._call(kind, "POST", path, body, ORDER_SECONDS, is_order=True)
        if not isinstance(data, dict) or not str(data.get("orderid") or "").strip():
            raise Unknown(f"Angel One's {kind} reply carries no order id ({data!r}); look for the order by its tag in the order book")
        return data

    def _order(self, lane: Lane, kind: str, path: str, body: Mapping[str, Any]) -> str:
        return str(self.send(lane, kind, path, body)["orderid"])

    def _book(self, kind: str, path: str) -> list[Any]:
        rows = self._read(Lane.PORTFOLIO, kind, "GET", path)
        return listed(mapping.TITLE, kind, rows if rows is not None else [])


def _data(reply: Response, *, is_order: bool) -> Any:
    """The `data` of a success; raises what the reply means otherwise. A success must say so: an empty body proves nothing."""
    try:
        body = json.loads(reply.content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        shown = reply.text[:120] or "an empty body"
        raise mapping.failure(reply.status_code, "", shown, is_order=is_order)
    error = mapping.error_of(body)
    if error is None and reply.status_code == 200:
        if "data" not in body:
            raise mapping.failure(reply.status_code, "", "a success without data", is_order=is_order)
        return body["data"]
    raise mapping.failure(reply.status_code, *(error or ("", str(body.get("message") or "no message"))), is_order=is_order)
