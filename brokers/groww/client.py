"""Groww over plain HTTP (docs/adr: its SDK has no time-outs and pins the whole environment): our words in and out.

An order call ends in an order id, a certain refusal (Rejected, RateLimited, SessionExpired), or Unknown; a read in its data or
Transient and those three. A duplicate reference is evidence that the order was taken: it is then asked for by its reference.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import msgspec

import brokers.groww.mapping as mapping
from brokers.groww.wire import chunks, last_prices
from brokers.rest import (
    DOWNLOAD_SECONDS,
    ORDER_SECONDS,
    READ_SECONDS,
    answered,
    complete,
    lane_of,
    listed,
    mapped,
    minded,
    patience_of,
    token_of,
    token_to_order,
)
from brokers.spec import Audit, Endpoints, Lookup, Session
from brokers.transport import Allow, PooledSession, Response
from core.errors import BrokerError, DataError, Rejected, Transient, Unknown
from core.events import BrokerPosition, ChargesTold, Funds, Holding, OrderUpdate, Trade
from core.ports import Clock
from core.types import IST, Bar, Instrument, Order
from utils.pacing import Budget, Lane

PAGE = 100  # rows of one page of orders or trades
_MOST_PAGES = 50  # more is no day's book: the read is given up
_MOST_LIMITS = 100  # instruments whose circuit limits are asked for at a time: each is a request of its own
_PAUSE = 5.0  # seconds after a 429
_READABLE = frozenset(
    {"/v1/user/detail", "/v1/historical/candles", "/v1/live-data/quote", "/v1/live-data/ltp", "/instruments/instrument.csv"}
)
_ASSETS = {"https://api.groww.in": "https://growwapi-assets.groww.in"}  # what does not live beside the rest


def may_read(method: str, path: str) -> bool:
    """The allow-list of an account that may not trade: market data and its own profile, by GET alone."""
    return method == "GET" and path in _READABLE


def may_poll(method: str, path: str) -> bool:
    """The allow-list of the feed: prices and the order list, by GET alone."""
    return method == "GET" and path in ("/v1/live-data/quote", "/v1/live-data/ltp", "/v1/order/list")


class Calls:
    """Authenticated requests of one login, each with its typed end. Blocking; safe to use from several threads."""

    def __init__(
        self, session: Session, clock: Clock, budget: Budget, audit: Audit | None, endpoints: Endpoints, *, allow: Allow | None = None
    ) -> None:
        self.clock = clock
        self.budget = budget
        self._session = session
        self._rest = endpoints.rest.rstrip("/")
        self._assets = _ASSETS.get(self._rest, self._rest)
        self._http = PooledSession(clock, audit, allow=allow, downloads=_is_download)

    def get(
        self, kind: str, path: str, params: Mapping[str, Any], lane: Lane, *, seconds: float = READ_SECONDS, patience: float = 60.0
    ) -> Any:
        """The payload of a read."""
        self.budget.acquire(lane, kind, patience=patience)
        return self._call(kind, "GET", path, params, None, seconds, is_order=False)

    def ask(self, kind: str, path: str, params: Mapping[str, Any], body: Any, lane: Lane) -> Any:
        """The payload of a question that is put by POST."""
        self.budget.acquire(lane, kind)
        return self._call(kind, "POST", path, params, body, READ_SECONDS, is_order=False)

    def post(self, lane: Lane, kind: str, path: str, body: Mapping[str, Any]) -> Any:
        """The payload of an order call, which is sent once."""
        self.budget.acquire(lane, kind, patience=patience_of(lane))
        return self._call(kind, "POST", path, None, body, ORDER_SECONDS, is_order=True)

    def pages(self, what: str, kind: str, path: str, params: Mapping[str, Any], lane: Lane) -> list[Any]:
        """All rows of `what`, page by page; a row that moved to the next page meanwhile may come twice."""
        rows: list[Any] = []
        for page in range(_MOST_PAGES):
            payload = self.get(kind, path, {**params, "page": page, "page_size": PAGE}, lane)
            found = rows_of(what, payload)
            rows += found
            if len(found) < PAGE:
                return rows
        raise Transient(f"Groww's {what} has more than {_MOST_PAGES} pages; the whole read is dropped")

    def download(self, path: str) -> bytes:
        """A public file."""
        reply = self._exchange("GET", self._assets + path, None, None, DOWNLOAD_SECONDS, {"User-Agent": "niyam"}, is_order=False)
        if reply.status_code != 200:
            raise Transient(f"Groww's {path} answered HTTP {reply.status_code} {reply.text[:80]!r}; ask again")
        return reply.content

    def close(self) -> None:
        """Give the pooled connections back."""
        self._http.close()

    def _call(self, kind: str, method: str, path: str, params: Any, body: Any, seconds: float, *, is_order: bool) -> Any:
        token = self._session.token()
        with minded(self._session, token, self.budget, kind, _PAUSE):
            reply = self._exchange(method, self._rest + path, params, body, seconds, mapping.headers(token), is_order=is_order)
            return _payload(reply, is_order=is_order)

    def _exchange(
        self, method: str, url: str, params: Any, body: Any, seconds: float, headers: Mapping[str, str], *, is_order: bool
    ) -> Response:
        def ask() -> Response:
            return self._http.request(method, url, params=params, json=body, headers=headers, timeout=seconds)

        return answered(mapping.TITLE, mapping.failure, ask, is_order=is_order)


class GrowwData:
    """Market data of one login; see core.ports.DataSession. Blocking; safe to use from several threads."""

    def __init__(
        self,
        session: Session,
        clock: Clock,
        budget: Budget,
        audit: Audit | None,
        endpoints: Endpoints,
        lookup: Lookup,
        *,
        allow: Allow | None = may_read,
    ) -> None:
        self._calls = Calls(session, clock, budget, audit, endpoints, allow=allow)
        self._clock = clock
        self._lookup = lookup

    def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
        """Candles from 2020 on; there is no series over several contracts (`continuous`)."""
        if continuous:
            raise Rejected("Groww has no continuous candles of futures; stitch the contracts, or fetch from a broker that has")
        name = mapping.INTERVALS.get(interval)
        if name is None:
            raise Rejected(f"Groww has no candles of {interval} minutes; it has {', '.join(map(str, mapping.INTERVALS))}")
        token = self._lookup().token(instrument)
        exchange, segment, _ = mapping.names_of(token)
        begin, finish = start.astimezone(IST), end.astimezone(IST)
        params = {
            "exchange": exchange,
            "segment": segment,
            "groww_symbol": mapping.groww_symbol(instrument, token),
            "start_time": f"{begin:%Y-%m-%d %H:%M:%S}",
            "end_time": f"{finish:%Y-%m-%d %H:%M:%S}",
            "candle_interval": name,
        }
        payload = self._calls.get("other", "/v1/historical/candles", params, Lane.DATA)
        rows = listed(mapping.TITLE, "candles", payload.get("candles") if isinstance(payload, Mapping) else None)
        try:
            bars = {bar.start: bar for bar in (_bar(instrument, row, interval) for row in rows)}
        except (IndexError, ValueError, TypeError) as error:
            raise Transient(f"Groww's candles of {instrument.key} hold a row that does not read ({error}); ask again") from error
        return [bars[at] for at in sorted(bars) if begin <= at <= finish]

    def instruments(self) -> bytes:
        """The file is public; its name has no date, so that today's is whatever is there in the morning."""
        self._calls.budget.acquire(Lane.DATA, "other")
        return self._calls.download("/instruments/instrument.csv")

    def last_prices(self, instruments: Sequence[Instrument]) -> dict[str, float]:
        found: dict[str, float] = {}
        lookup = self._lookup()
        for segment, batch in chunks((token_of(lookup, one), one) for one in instruments):
            params = {"segment": segment, "exchange_symbols": ",".join(batch)}
            payload = self._calls.get("quote", "/v1/live-data/ltp", params, Lane.DATA)
            found |= {batch[symbol].key: price for symbol, price in last_prices(payload).items() if symbol in batch}
        return found

    def circuits(self, instruments: Sequence[Instrument]) -> dict[str, tuple[float, float]]:
        """Of the first hundred: each costs one of the 300 live-data requests of a minute."""
        found, lookup = dict[str, tuple[float, float]](), self._lookup()
        for one in [one for one in instruments if one.tradable][:_MOST_LIMITS]:
            token = token_of(lookup, one)
            if not token:
                continue
            exchange, segment, symbol = mapping.names_of(token)
            params = {"exchange": exchange, "segment": segment, "trading_symbol": symbol}
            row = self._calls.get("quote", "/v1/live-data/quote", params, Lane.SCREEN)
            try:
                low, high = float(row.get("lower_circuit_limit") or 0.0), float(row.get("upper_circuit_limit") or 0.0)
            except (ValueError, TypeError, AttributeError) as error:
                raise Transient(f"Groww's quote of {one.key} does not read ({error}); ask again") from error
            if 0 < low < high:
                found[one.key] = low, high
        return found

    def profile(self) -> Mapping[str, Any]:
        payload = mapped(mapping.TITLE, "profile", self._calls.get("other", "/v1/user/detail", {}, Lane.PORTFOLIO))
        return {**payload, "user_id": payload.get("vendor_user_id")}

    def close(self) -> None:
        """Give the pooled connections back."""
        self._calls.close()


class GrowwBroker(GrowwData):
    """A trading login; see core.ports.Broker."""

    def __init__(self, session: Session, clock: Clock, budget: Budget, audit: Audit | None, endpoints: Endpoints, lookup: Lookup) -> None:
        super().__init__(session, clock, budget, audit, endpoints, lookup, allow=None)
        self._traded: dict[str, tuple[int, tuple[Trade, ...]]] = {}  # order id -> (filled, its executions), of the day
        self._traded_on: date | None = None

    def place(self, order: Order) -> str:
        body, lane = mapping.create_body(order, token_to_order(self._lookup(), order)), lane_of(order)
        try:
            payload = self._calls.post(lane, "place", "/v1/order/create", body)
        except BrokerError as error:
            if error.code != mapping.DUPLICATE:
                raise
            return self._of_reference(body, error)
        return _order_id("create", payload, order.tag)

    def modify(self, order: Order, *, quantity: int, limit_price: float, trigger_price: float | None) -> None:
        body = mapping.modify_body(order, self._segment(order), quantity, limit_price, trigger_price)
        _order_id("modify", self._calls.post(lane_of(order), "modify", "/v1/order/modify", body), "")

    def cancel(self, order: Order) -> None:
        body = mapping.cancel_body(order, self._segment(order))
        _order_id("cancel", self._calls.post(Lane.CANCEL, "cancel", "/v1/order/cancel", body), "")

    def orders(self) -> tuple[OrderUpdate, ...]:
        rows = self._order_rows()
        at, lookup = self._clock.now(), self._lookup()
        return tuple(complete(lambda row: mapping.order_update(row, at, "book", lookup), rows))

    def executed(self, filled: Mapping[str, int]) -> None:
        self._traded_on = self._clock.now().astimezone(IST).date()
        self._traded = {number: (units, ()) for number, units in filled.items()}

    def trades(self) -> tuple[Trade, ...]:
        """There is no trade book: the executions of each order that has some. What is known of an order is kept until it fills on."""
        today = self._clock.now().astimezone(IST).date()
        if today != self._traded_on:
            self._traded_on, self._traded = today, {}
        found: list[Trade] = []
        for row in self._order_rows():
            order_id, filled = str(row.get("groww_order_id")), row.get("filled_quantity") or 0
            known = self._traded.get(order_id)
            if filled and (known is None or known[0] != filled):
                known = self._traded[order_id] = self._executions(order_id, str(row.get("segment")), filled)
            found += known[1] if known is not None else ()
        return tuple(found)

    def positions(self) -> tuple[BrokerPosition, ...]:
        rows: list[Any] = []
        for segment in mapping.SEGMENTS:
            payload = self._calls.get("other", "/v1/positions/user", {"segment": segment}, Lane.PORTFOLIO)
            rows += rows_of("positions", payload)
        lookup = self._lookup()
        return tuple(complete(lambda row: mapping.position(row, lookup), rows))

    def holdings(self) -> tuple[Holding, ...]:
        """Groww tells no price with them: the last price of each is asked for, and is 0 where there is none (no trade, delisted)."""
        rows = rows_of("holdings", self._calls.get("other", "/v1/holdings/user", {}, Lane.PORTFOLIO))
        lookup = self._lookup()
        held = complete(lambda row: mapping.holding(row, lookup), rows)
        prices = self.last_prices([one.instrument for one in held]) if held else {}
        return tuple(msgspec.structs.replace(one, last_price=prices.get(one.instrument.key, 0.0)) for one in held)

    def funds(self) -> Funds:
        payload = self._calls.get("other", "/v1/margins/detail/user", {}, Lane.PORTFOLIO)
        try:
            return mapping.funds(payload)
        except DataError as error:
            raise Transient(str(error)) from error

    def order_charges(self, orders: Sequence[Order]) -> dict[str, ChargesTold]:
        """See core.ports.ChargeSource: the margin calculator, order by order: of several it tells the sum alone."""
        found: dict[str, ChargesTold] = {}
        for order in orders:
            if token := token_of(self._lookup(), order.instrument):
                segment, asked = mapping.names_of(token)[1], [mapping.charge_order(order, token)]
                answer = self._calls.ask("other", "/v1/margins/detail/orders", {"segment": segment}, asked, Lane.PORTFOLIO)
                found[order.id] = complete(lambda data: mapping.charges(order, data), [answer])[0]  # noqa: B023 - called at once
        return found

    def _order_rows(self) -> list[Any]:
        """Every order of the day, each once, the newest first within a segment."""
        rows: dict[str, Any] = {}
        for segment in mapping.SEGMENTS:
            for row in self._calls.pages("order_list", "other", "/v1/order/list", {"segment": segment}, Lane.PORTFOLIO):
                if not isinstance(row, Mapping) or not row.get("groww_order_id"):
                    raise Transient(f"Groww's order list holds a row without an id ({row!r:.80}); the whole read is dropped")
                rows.setdefault(str(row["groww_order_id"]), row)
        return list(rows.values())

    def _executions(self, order_id: str, segment: str, filled: int) -> tuple[int, tuple[Trade, ...]]:
        """(how much of it these executions are, they themselves): asked again where they are not all there yet."""
        rows = self._calls.pages("trade_list", "other", f"/v1/order/trades/{order_id}", {"segment": segment}, Lane.PORTFOLIO)
        lookup = self._lookup()
        trades = {one.id: one for one in complete(lambda row: mapping.trade(row, lookup), rows)}
        total = sum(one.quantity for one in trades.values())
        return (filled if total == filled else -1), tuple(trades.values())

    def _of_reference(self, body: Mapping[str, Any], why: BrokerError) -> str:
        """The id of the order that has this reference already; raises Unknown where it cannot be had now, Rejected where it is not ours."""
        tag, segment = str(body["order_reference_id"]), {"segment": body["segment"]}
        try:
            path = f"/v1/order/status/reference/{tag}"
            order_id = _order_id("look-up", self._calls.get("other", path, segment, Lane.EXIT, seconds=ORDER_SECONDS, patience=1.0), tag)
            path = f"/v1/order/detail/{order_id}"
            row = self._calls.get("other", path, segment, Lane.EXIT, seconds=ORDER_SECONDS, patience=1.0)
        except BrokerError as error:
            raise Unknown(f"{why}; an order with that reference is there, and asking for it failed ({error})", code=why.code) from error
        names = ("trading_symbol", "exchange", "transaction_type", "product")
        if not isinstance(row, Mapping) or any(row.get(name) is None for name in names):
            raise Unknown(f"{why}; order {order_id} has that reference, and what it is does not read ({row!r:.80})", code=why.code)
        if any(str(row[name]) != str(body[name]) for name in names):
            terms = " ".join(str(row[name]) for name in names)
            raise Rejected(f"{why}: the reference {tag} is that of another order ({order_id}: {terms}); nothing was booked", code=why.code)
        return order_id

    def _segment(self, order: Order) -> str:
        try:
            return mapping.names_of(self._lookup().token(order.instrument))[1]
        except DataError:
            return "CASH" if order.instrument.segment == "EQ" else "FNO"


def rows_of(name: str, payload: Any) -> list[Any]:
    """The list `name` of a payload; raises Transient where there is none: that is no evidence of an empty book."""
    return listed(mapping.TITLE, name, payload.get(name) if isinstance(payload, Mapping) else payload)


def _bar(instrument: Instrument, row: Sequence[Any], interval: int) -> Bar:
    """[open time without a zone, open, high, low, close, volume | null, open interest | null]."""
    start = mapping.moment(row[0])
    if start is None:
        raise ValueError(f"{row[0]!r} is no time")
    volume, oi = int(row[5] or 0), int(row[6] or 0) if len(row) > 6 else 0
    closes = start + timedelta(minutes=interval)
    return Bar(instrument, start, closes, interval, float(row[1]), float(row[2]), float(row[3]), float(row[4]), volume, oi)


def _order_id(what: str, payload: Any, tag: str) -> str:
    """The order id of a success; raises Unknown for one without it, or of another reference."""
    order_id = payload.get("groww_order_id") if isinstance(payload, Mapping) else None
    told = payload.get("order_reference_id") if isinstance(payload, Mapping) else None
    if not order_id or (tag and told not in (None, tag)):
        raise Unknown(f"Groww's {what} reply names no order of ours ({payload!r:.120}); look for it by its tag")
    return str(order_id)


def _payload(reply: Response, *, is_order: bool) -> Any:
    """The `payload` of a success; raises what the reply means otherwise."""
    try:
        envelope = json.loads(reply.content)
    except ValueError:
        envelope = None
    if not isinstance(envelope, dict):
        shown = f"body {reply.content[:120]!r}"
        raise mapping.failure(reply.status_code if reply.status_code in (401, 429) else 0, "", shown, is_order=is_order)
    if reply.status_code == 200 and envelope.get("status") == "SUCCESS":
        return envelope.get("payload")
    code, message = mapping.error_of(envelope)
    raise mapping.failure(reply.status_code, code, message, is_order=is_order)


def _is_download(path: str) -> bool:
    return path.startswith(("/instruments/", "/v1/historical/", "/v1/live-data/"))
