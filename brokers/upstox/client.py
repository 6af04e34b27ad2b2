"""Upstox over plain HTTP (docs/adr: its SDK repeats modifications and cancels by itself and knows no time-out): our words in and out.

An order call ends in an order id, a certain refusal (Rejected, RateLimited, SessionExpired), or Unknown; a read in its data or
Transient and those three.
"""

import gzip
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

import brokers.book_rows as book_rows
import brokers.upstox.mapping as mapping
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
from brokers.spec import Audit, Endpoints, Lookup, Session
from brokers.transport import Allow, Response
from core.errors import DataError, Rejected, Transient, Unknown
from core.events import BrokerPosition, ChargesTold, Funds, Holding, OrderUpdate, Trade
from core.ports import Clock
from core.types import IST, Bar, Instrument, Order
from utils.pacing import Budget, Lane

T = TypeVar("T")

_QUOTE_KEYS = 500  # instruments in one request for last prices or quotes
_PAUSE = 5.0  # seconds after a 429
_DAY = 1440
_READABLE = re.compile(
    r"/v2/user/profile|/v3/historical-candle/.*|/v3/market-quote/(ltp|ohlc|quotes)|/market-quote/instruments/exchange/[a-z]+\.json\.gz"
)
_HOSTS = {  # of the production API: what does not live beside the rest
    "https://api.upstox.com": ("https://api-hft.upstox.com", "https://assets.upstox.com"),
}


def may_read(method: str, path: str) -> bool:
    """The allow-list of an account that may not trade: market data and its own profile, by GET alone."""
    return method == "GET" and _READABLE.fullmatch(path) is not None


def _is_download(path: str) -> bool:
    return path.startswith(("/market-quote/instruments", "/v3/historical-candle", "/v3/market-quote"))


class UpstoxData(RestClient[Session]):
    """Market data of one login; see core.ports.DataSession. Blocking; safe to use from several threads."""

    allow: Allow | None = staticmethod(may_read)
    is_download = staticmethod(_is_download)

    def __init__(self, session: Session, clock: Clock, budget: Budget, audit: Audit | None, endpoints: Endpoints, lookup: Lookup) -> None:
        super().__init__(session, clock, budget, audit, endpoints, lookup)
        self._orders, self._assets = _HOSTS.get(self._rest, (self._rest, self._rest))

    def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
        """Minutes of the instruments' day come from a route of their own; there is no series over several contracts (`continuous`)."""
        if continuous:
            raise Rejected("Upstox has no continuous candles of futures; stitch the contracts, or fetch from a broker that has")
        if interval != _DAY and not 1 <= interval <= 300:
            raise Rejected(f"Upstox has no candles of {interval} minutes; it has 1 to 300 and 1440")
        key = quote(str(self._lookup().token(instrument)), safe="")
        unit, width = ("days", 1) if interval == _DAY else ("minutes", interval)
        begin, finish = start.astimezone(IST), end.astimezone(IST)
        today, rows = self._lookup().day, list[Any]()
        if begin.date() < max(today, finish.date()) or interval == _DAY:
            rows += self._rows_of(f"/v3/historical-candle/{key}/{unit}/{width}/{finish.date()}/{begin.date()}")
        if finish.date() >= today and interval != _DAY:
            rows += self._rows_of(f"/v3/historical-candle/intraday/{key}/{unit}/{width}")
        try:
            bars = {bar.start: bar for bar in (candle(instrument, row, interval) for row in rows)}
        except (IndexError, ValueError, TypeError) as error:
            raise Transient(f"Upstox's candles of {instrument.key} hold a row that does not read ({error}); ask again") from error
        return [bars[at] for at in sorted(bars) if begin <= at <= finish]

    def instruments(self) -> bytes:
        """The file is public; its name has no date, so that today's is whatever is there after 06:00."""
        url = f"{self._assets}/market-quote/instruments/exchange/complete.json.gz"
        self._budget.acquire(Lane.DATA, "other")
        reply = self._exchange("GET", url, None, None, DOWNLOAD_SECONDS, is_order=False, headers={"User-Agent": mapping.USER_AGENT})
        dump = reply.content
        try:
            return gzip.decompress(dump) if dump[:2] == b"\x1f\x8b" else dump
        except (OSError, EOFError) as error:
            raise Transient(f"Upstox's instrument file is a broken archive ({error}); ask again") from error

    def last_prices(self, instruments: Sequence[Instrument]) -> dict[str, float]:
        return self._quoted("/v3/market-quote/ltp", instruments, lambda row: float(row["last_price"]))

    def circuits(self, instruments: Sequence[Instrument]) -> dict[str, tuple[float, float]]:
        limits: dict[str, tuple[float, float]] = self._quoted("/v3/market-quote/quotes", instruments, _limits)
        return {key: (low, high) for key, (low, high) in limits.items() if 0 < low < high}

    def profile(self) -> Mapping[str, Any]:
        return self._mapping("profile", "other", "/v2/user/profile", None, Lane.PORTFOLIO)

    # --- one call -----------------------------------------------------------------------------------------------------------------------

    def _rows_of(self, path: str) -> list[Any]:
        answer = self._mapping("candles", "historical", path, None, Lane.DATA)
        return listed(mapping.TITLE, "candles", answer.get("candles"))

    def _quoted(self, path: str, instruments: Sequence[Instrument], read: Callable[[Any], T]) -> dict[str, T]:
        """What `read` makes of each instrument's row, by its key; rows are joined by the instrument key inside them."""
        lookup, found = self._lookup(), dict[str, T]()
        keys = {str(token): one.key for one in instruments if (token := token_of(lookup, one))}
        tokens = list(keys)
        for first in range(0, len(tokens), _QUOTE_KEYS):
            asked = ",".join(tokens[first : first + _QUOTE_KEYS])
            answer = self._mapping("quotes", "quote", path, {"instrument_key": asked}, Lane.DATA)
            try:
                rows = {str(row["instrument_token"]): read(row) for row in answer.values()}
            except (KeyError, ValueError, TypeError, AttributeError) as error:
                raise Transient(f"Upstox's quotes hold a row that does not read ({error}); ask again") from error
            found.update((keys[token], value) for token, value in rows.items() if token in keys)
        return found

    def _mapping(self, what: str, kind: str, path: str, params: Mapping[str, Any] | None, lane: Lane) -> Mapping[str, Any]:
        return mapped(mapping.TITLE, what, self._read(kind, path, params, lane))

    def _read(self, kind: str, path: str, params: Mapping[str, Any] | None, lane: Lane) -> Any:
        self._budget.acquire(lane, kind)
        return self._call(kind, "GET", self._rest + path, params, None, READ_SECONDS, is_order=False)

    def _call(
        self, kind: str, method: str, url: str, params: Mapping[str, Any] | None, body: Any, seconds: float, *, is_order: bool
    ) -> Any:
        """The `data` of one authenticated exchange."""
        token = self._session.token()
        headers = {"Authorization": f"Bearer {token}", "User-Agent": mapping.USER_AGENT}
        with minded(self._session, token, self._budget, kind, _PAUSE):
            reply = self._exchange(method, url, params, body, seconds, is_order=is_order, headers=headers)
            return _data(reply, is_order=is_order)

    def _exchange(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None,
        body: Any,
        seconds: float,
        *,
        is_order: bool,
        headers: Mapping[str, str],
    ) -> Response:
        def ask() -> Response:
            return self._http.request(method, url, params=params, json=body, headers=headers, timeout=seconds)

        return answered(mapping.TITLE, mapping.failure, ask, is_order=is_order)


class UpstoxBroker(UpstoxData):
    """A trading login; see core.ports.Broker."""

    allow = None

    def place(self, order: Order) -> str:
        body = mapping.place_body(order, token_to_order(self._lookup(), order))
        data = self._order(lane_of(order), "place", "POST", "/v3/order/place", None, body)
        ids = data.get("order_ids") if isinstance(data, dict) else None
        if not isinstance(ids, list) or len(ids) != 1 or not str(ids[0]).strip():
            raise Unknown(f"Upstox's reply carries no single order id ({ids!r}); look for the order by its tag in the order book")
        return str(ids[0])

    def modify(self, order: Order, *, quantity: int, limit_price: float, trigger_price: float | None) -> None:
        body = mapping.modify_body(order, quantity, limit_price, trigger_price)
        _confirmed("modify", self._order(lane_of(order), "modify", "PUT", "/v3/order/modify", None, body))

    def cancel(self, order: Order) -> None:
        params = {"order_id": book_rows.broker_id(order)}
        _confirmed("cancel", self._order(Lane.CANCEL, "cancel", "DELETE", "/v3/order/cancel", params, None))

    def orders(self) -> tuple[OrderUpdate, ...]:
        rows, at, lookup = self._book("orders", "/v2/order/retrieve-all"), self._clock.now(), self._lookup()
        return tuple(complete(lambda row: mapping.order_update(row, at, "book", lookup), rows))

    def trades(self) -> tuple[Trade, ...]:
        rows, lookup = self._book("trades", "/v2/order/trades/get-trades-for-day"), self._lookup()
        return tuple(complete(lambda row: mapping.trade(row, lookup), rows))

    def positions(self) -> tuple[BrokerPosition, ...]:
        rows, lookup = self._book("positions", "/v2/portfolio/short-term-positions"), self._lookup()
        return tuple(complete(lambda row: mapping.position(row, lookup), rows))

    def holdings(self) -> tuple[Holding, ...]:
        rows, lookup = self._book("holdings", "/v2/portfolio/long-term-holdings"), self._lookup()
        return tuple(complete(lambda row: mapping.holding(row, lookup), rows))

    def funds(self) -> Funds:
        """Transient between 00:00 and 05:30, when the service is closed (HTTP 423): that is no empty account."""
        answer = self._mapping("funds", "other", "/v2/user/get-funds-and-margin", None, Lane.PORTFOLIO)
        try:
            return mapping.funds(answer)
        except DataError as error:
            raise Transient(str(error)) from error

    def order_charges(self, orders: Sequence[Order]) -> dict[str, ChargesTold]:
        """See core.ports.ChargeSource: the calculator, which is asked order by order, for what each filled at its average price."""
        found: dict[str, ChargesTold] = {}
        for order in orders:
            if token := token_of(self._lookup(), order.instrument):
                answer = self._mapping("charges", "charges", "/v2/charges/brokerage", mapping.charge_query(order, token), Lane.PORTFOLIO)
                found[order.id] = complete(lambda data: mapping.charges(order, data), [answer])[0]  # noqa: B023 - called at once
        return found

    def _order(self, lane: Lane, kind: str, method: str, path: str, params: Mapping[str, Any] | None, body: Any) -> Any:
        self._budget.acquire(lane, kind, patience=patience_of(lane))
        return self._call(kind, method, self._orders + path, params, body, ORDER_SECONDS, is_order=True)

    def _book(self, what: str, path: str) -> list[Any]:
        return listed(mapping.TITLE, what, self._read("other", path, None, Lane.PORTFOLIO))


def _limits(row: Any) -> tuple[float, float]:
    return float(row.get("lower_circuit_limit") or 0.0), float(row.get("upper_circuit_limit") or 0.0)


def _confirmed(kind: str, data: Any) -> None:
    if not isinstance(data, dict) or not data.get("order_id"):
        raise Unknown(f"Upstox's {kind} reply carries no order id ({data!r}); look at the order in the order book")


def _data(reply: Response, *, is_order: bool) -> Any:
    """The `data` of a success; raises what the reply means otherwise."""
    try:
        envelope = json.loads(reply.content)
    except ValueError:
        envelope = None
    if not isinstance(envelope, dict):
        shown = f"body {reply.content[:120]!r}"
        raise mapping.failure(reply.status_code if reply.status_code == 429 else 0, "", shown, is_order=is_order)
    if reply.status_code == 200 and envelope.get("status") == "success":
        return envelope.get("data")
    code, message = mapping.error_of(envelope)
    raise mapping.failure(reply.status_code, code, message, is_order=is_order)
