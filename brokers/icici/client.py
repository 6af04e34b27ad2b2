"""ICICI Direct's Breeze over plain HTTP (docs/adr: why not by its SDK): our words in and out, a type for every way a call can end.

An order call ends in an order id, a certain refusal (Rejected, RateLimited, SessionExpired), or Unknown; a read in its data or
Transient and those three. HTTP 200 is no success: the envelope's Status is, with no Error beside it.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import brokers.icici.mapping as mapping
from brokers.icici.facts import HISTORY_HOSTS, MASTER, MASTER_HOSTS, V1, V2_HISTORY
from brokers.icici.session import IciciSession
from brokers.rest import (
    DOWNLOAD_SECONDS,
    ORDER_SECONDS,
    READ_SECONDS,
    RestClient,
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
from brokers.spec import Audit, Endpoints, Lookup
from brokers.transport import Allow, Response, compact
from core.errors import DataError, Rejected, Transient, Unknown
from core.events import BrokerPosition, ChargesTold, Funds, Holding, OrderUpdate, Trade
from core.ports import Clock, CodeLookup, Token
from core.types import IST, Bar, Horizon, Instrument, Kind, Order
from utils.pacing import Budget, Lane

_PAUSE = 20.0  # seconds after a throttled request: the minute's window must empty
_MOST_CANDLES = 1000  # in one answer of v2 history
_DAY = 1440
_OPENS = timedelta(hours=9, minutes=15)  # what joined candles are counted from
_READABLE = frozenset({("GET", f"{V1}quotes"), ("GET", f"{V1}optionchain"), ("GET", V2_HISTORY), ("GET", MASTER)})


def may_read(method: str, path: str) -> bool:
    """The allow-list of an account that may not trade: market data alone."""
    return (method, path) in _READABLE


def _is_download(path: str) -> bool:
    return path in (MASTER, V2_HISTORY, f"{V1}optionchain")


class IciciData(RestClient[IciciSession]):
    """Market data of one login; see core.ports.DataSession. Blocking; safe to use from several threads."""

    allow: Allow | None = staticmethod(may_read)
    is_download = staticmethod(_is_download)

    def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
        """v2's alone: v1's are made from snapshots. Intervals that the broker has not are joined from those it has, from 09:15 on."""
        base, name = mapping.BASES.get(interval, (0, ""))
        if not base or continuous:
            what = "continuous candles of futures" if continuous else f"candles of {interval} minutes"
            raise Rejected(f"ICICI has no {what}; it has {', '.join(map(str, mapping.BASES))} minutes of one contract")
        begin, finish = start.astimezone(IST), end.astimezone(IST)
        last = finish if interval == base else finish + timedelta(minutes=interval)
        span, at, found = timedelta(days=mapping.HISTORICAL_CAPS[interval]), begin, dict[datetime, Bar]()
        while at <= last:
            found.update((bar.start, bar) for bar in self._candles(instrument, at, min(at + span, last), base, name))
            at += span
        bars = [found[start] for start in sorted(found)]
        if interval != base:
            bars = _joined(bars, interval)
        return [bar for bar in bars if begin <= bar.start <= finish]

    def _candles(self, instrument: Instrument, begin: datetime, end: datetime, minutes: int, name: str) -> list[Bar]:
        """One request: within the days that stay below a thousand candles."""
        exchange, code, _ = mapping.parts_of(self._token(instrument))
        query = {
            "interval": name,
            "from_date": _stamp(begin),
            "to_date": _stamp(end),
            "stock_code": code,
            "exch_code": exchange,
            "product_type": mapping.product(Horizon.CARRY, instrument),
            **mapping.contract_fields(instrument),
        }
        self._budget.acquire(Lane.DATA, "historical")
        url = HISTORY_HOSTS.get(self._rest, self._rest) + V2_HISTORY
        rows = listed(mapping.TITLE, "candles", self._call("historical", "GET", url, query, None, READ_SECONDS, is_order=False))
        if len(rows) >= _MOST_CANDLES:
            raise Rejected(
                f"ICICI cuts an answer at {_MOST_CANDLES} candles, and {instrument.key} has more in that span; ask for fewer days"
            )
        try:
            return [_bar(instrument, row, minutes) for row in rows]
        except (KeyError, ValueError, TypeError) as error:
            raise Transient(f"ICICI's candles of {instrument.key} hold a row that does not read ({error}); ask again") from error

    def instruments(self) -> bytes:
        """The security master as the broker packs it; public, on a host of its own."""
        self._budget.acquire(Lane.DATA, "master")
        url = MASTER_HOSTS.get(self._rest, self._rest) + MASTER
        reply = self._exchange("GET", url, None, None, DOWNLOAD_SECONDS, {}, is_order=False)
        if reply.status_code != 200:
            raise Transient(f"ICICI's security master came with HTTP {reply.status_code}; ask again")
        return reply.content

    def last_prices(self, instruments: Sequence[Instrument]) -> dict[str, float]:
        """One request for each instrument: ask for few."""
        return {key: price for key, row in self._quotes(instruments).items() if (price := _positive(row.get("ltp")))}

    def circuits(self, instruments: Sequence[Instrument]) -> dict[str, tuple[float, float]]:
        """See core.ports.CircuitSource. The stream tells them with each quote; one request for each instrument that it has not told of."""
        today, told = self._clock.now().astimezone(IST).date(), self._session.circuits
        found = {one.key: told[one.key][1:] for one in instruments if one.key in told and told[one.key][0] == today}
        for key, row in self._quotes([one for one in instruments if one.tradable and one.key not in found]).items():
            low, high = _positive(row.get("lower_circuit")), _positive(row.get("upper_circuit"))
            if low and high and low < high:
                found[key] = (low, high)
        return found

    def quote(self, instrument: Instrument) -> Mapping[str, Any] | None:
        """One quote row as the broker sends it; None where it knows no such stock."""
        return self._quotes([instrument]).get(instrument.key)

    def profile(self) -> Mapping[str, Any]:
        """Who is logged in, as the login said; the API has no call for it that does not need the login's own answer."""
        self._session.token()
        return self._session.profile()

    # --- one call -----------------------------------------------------------------------------------------------------------------------

    def _quotes(self, instruments: Sequence[Instrument]) -> dict[str, Mapping[str, Any]]:
        """The quote row of each instrument's own exchange, by key; one that the broker does not know is absent."""
        found: dict[str, Mapping[str, Any]] = {}
        for one in instruments:
            token = token_of(self._lookup(), one)
            if not token:
                continue
            exchange, code, _ = mapping.parts_of(token)
            body = {"stock_code": code, "exchange_code": exchange, **_quote_fields(one)}
            rows = listed(mapping.TITLE, "quotes", self._read(Lane.DATA, "quote", "quotes", body))
            mine = [row for row in rows if isinstance(row, dict) and str(row.get("exchange_code")).upper() == exchange]
            if mine:
                found[one.key] = mine[0]
        return found

    def _read(self, lane: Lane, kind: str, route: str, body: Mapping[str, Any]) -> Any:
        self._budget.acquire(lane, kind)
        return self._call(kind, "GET", f"{self._rest}{V1}{route}", None, body, READ_SECONDS, is_order=False)

    def _call(
        self,
        kind: str,
        method: str,
        url: str,
        query: Mapping[str, Any] | None,
        body: Mapping[str, Any] | None,
        seconds: float,
        *,
        is_order: bool,
    ) -> Any:
        """The `Success` of one authenticated exchange: signed with its body, or v2's history with its query."""
        token = self._session.token()
        headers = self._session.headers(token, compact(body)) if body is not None else self._session.history_headers(token)
        with minded(self._session, token, self._budget, kind, _PAUSE):
            reply = self._exchange(method, url, query, body, seconds, headers, is_order=is_order)
            return success_of(reply, is_order=is_order)

    def _exchange(
        self,
        method: str,
        url: str,
        query: Mapping[str, Any] | None,
        body: Mapping[str, Any] | None,
        seconds: float,
        headers: Mapping[str, str],
        *,
        is_order: bool,
    ) -> Response:
        def ask() -> Response:
            return self._http.request(method, url, params=query, json=body, headers=headers, timeout=seconds)

        return answered(mapping.TITLE, mapping.failure, ask, is_order=is_order)

    def _token(self, instrument: Instrument) -> Token:
        try:
            return self._lookup().token(instrument)
        except DataError as error:
            raise Rejected(f"{error}; nothing was sent") from error

    def _codes(self) -> CodeLookup:
        return cast(CodeLookup, self._lookup())


class IciciBroker(IciciData):
    """A trading login; see core.ports.Broker. The order list is one of each exchange, the trades one of each order."""

    allow = None

    def __init__(
        self, session: IciciSession, clock: Clock, budget: Budget, audit: Audit | None, endpoints: Endpoints, lookup: Lookup
    ) -> None:
        super().__init__(session, clock, budget, audit, endpoints, lookup)
        self._exchanges: set[str] = set(mapping.EXCHANGES)  # all at first, then those that have orders beside the usual two
        self._ours: set[str] = set()  # those where we have sent any: never left out, whatever a list says that was read meanwhile
        self._listed: tuple[OrderUpdate, ...] = ()
        self._trades: dict[str, tuple[int, tuple[Trade, ...]]] = {}  # order id -> (filled when asked, its executions), of the day

    def place(self, order: Order) -> str:
        body = mapping.place_body(order, token_to_order(self._lookup(), order))
        self._ours.add(order.instrument.exchange)
        return _id_of("place", self.send(lane_of(order), "place", "POST", body))

    def modify(self, order: Order, *, quantity: int, limit_price: float, trigger_price: float | None) -> None:
        body = mapping.modify_body(order, quantity, limit_price, trigger_price)
        _id_of("modify", self.send(lane_of(order), "modify", "PUT", body))

    def cancel(self, order: Order) -> None:
        _id_of("cancel", self.send(Lane.CANCEL, "cancel", "DELETE", mapping.id_body(order)))

    def orders(self) -> tuple[OrderUpdate, ...]:
        """Today's orders of every exchange that is in use: one call for each, all or none."""
        day = self._clock.now().astimezone(IST)
        span = {"from_date": f"{day:%Y-%m-%d}T00:00:00.000Z", "to_date": f"{day:%Y-%m-%d}T23:59:59.000Z"}
        found: list[OrderUpdate] = []
        used = {"NSE", "NFO"}
        for exchange in sorted(self._exchanges | self._ours):
            rows = listed(mapping.TITLE, "orders", self._read(Lane.PORTFOLIO, "orders", "order", {"exchange_code": exchange, **span}))
            at, lookup = self._clock.now(), self._codes()
            found += complete(lambda row: mapping.order_update(row, at, "book", lookup), rows)  # noqa: B023 - called at once
            used |= {exchange} if rows else set()
        self._exchanges = used | {one.instrument.exchange for one in self._listed}
        self._listed = tuple(found)
        self._trades = {number: known for number, known in self._trades.items() if number in {one.broker_order_id for one in found}}
        return self._listed

    def executed(self, filled: Mapping[str, int]) -> None:
        self._trades = {number: (units, ()) for number, units in filled.items()}

    def trades(self) -> tuple[Trade, ...]:
        """The executions of the orders read last: asked for where an order has filled more than when it was asked for last."""
        for one in self._listed:
            if one.filled > self._trades.get(one.broker_order_id, (0, ()))[0]:
                body = {"exchange_code": one.instrument.exchange, "order_id": one.broker_order_id}
                rows = listed(mapping.TITLE, "trades", self._read(Lane.PORTFOLIO, "trades", "trades", body))
                trades = tuple(complete(lambda row: mapping.trade(row, one), rows))  # noqa: B023 - called at once
                self._trades[one.broker_order_id] = (sum(trade.quantity for trade in trades), trades)
        return tuple(trade for _, trades in self._trades.values() for trade in trades)

    def positions(self) -> tuple[BrokerPosition, ...]:
        rows = listed(mapping.TITLE, "positions", self._read(Lane.PORTFOLIO, "positions", "portfoliopositions", {}))
        lookup = self._codes()
        found = tuple(complete(lambda row: mapping.position(row, lookup), rows))
        self._exchanges |= {one.instrument.exchange for one in found if one.instrument.exchange in mapping.EXCHANGES}
        return found

    def holdings(self) -> tuple[Holding, ...]:
        """How many by the demat account, at what price by the portfolio; BSE's is asked for only where NSE's misses a stock."""
        rows = listed(mapping.TITLE, "demat holdings", self._read(Lane.PORTFOLIO, "positions", "dematholdings", {}))
        codes = {str(row.get("stock_code")).upper() for row in rows if isinstance(row, Mapping)}
        told: dict[str, Mapping[str, Any]] = {}
        for exchange in ("NSE", "BSE"):
            if codes <= told.keys():
                break
            body = {"exchange_code": exchange}
            found = listed(mapping.TITLE, "holdings", self._read(Lane.PORTFOLIO, "positions", "portfolioholdings", body))
            for row in found:
                if isinstance(row, Mapping):
                    told.setdefault(str(row.get("stock_code")).upper(), row)
        lookup = self._codes()
        return tuple(complete(lambda row: mapping.holding(row, told, lookup), rows))

    def funds(self) -> Funds:
        answer = mapped(mapping.TITLE, "funds", self._read(Lane.PORTFOLIO, "funds", "funds", {}))
        try:
            return mapping.funds(answer)
        except DataError as error:
            raise Transient(str(error)) from error

    def order_charges(self, orders: Sequence[Order]) -> dict[str, ChargesTold]:
        """See core.ports.ChargeSource: an order's preview, for what each filled at its average price, one call for each. Shares of the
        day are left out: they go as cash, so that the preview takes them for delivery."""
        found: dict[str, ChargesTold] = {}
        for order in orders:
            if order.horizon is Horizon.INTRADAY and order.instrument.kind is Kind.EQUITY:
                continue
            token = token_of(self._lookup(), order.instrument)
            if not token:
                continue  # what is in today's master no more cannot be asked for
            answer = self._read(Lane.PORTFOLIO, "charges", "preview_order", mapping.charge_body(order, token))
            found[order.id] = complete(lambda row: mapping.charges(order, row), [answer])[0]  # noqa: B023 - called at once
        return found

    def rows(self, kind: str, route: str, body: Mapping[str, Any]) -> Any:
        """A read as the broker sends it."""
        return self._read(Lane.PORTFOLIO, kind, route, body)

    def send(self, lane: Lane, kind: str, method: str, body: Mapping[str, Any]) -> Any:
        """One order call."""
        self._budget.acquire(lane, kind, patience=patience_of(lane))
        return self._call(kind, method, f"{self._rest}{V1}order", None, body, ORDER_SECONDS, is_order=True)


_NOTHING = object()


def success_of(reply: Response, *, is_order: bool) -> Any:
    """The `Success` of a reply that says so; raises what it means otherwise. A null is no list, and
    proves nothing, unless the text beside it says that there are no rows."""
    try:
        body = json.loads(reply.content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise mapping.failure(reply.status_code, "", mapping.page_title(reply.content), is_order=is_order)
    status, error, data = body.get("Status"), body.get("Error"), body.get("Success", _NOTHING)
    if reply.status_code == 200 and status == 200:
        if error in (None, "") and data is not _NOTHING:
            return data
        if not is_order and not data and mapping.no_rows(error):
            return []
    raise mapping.failure(reply.status_code, status, str(error or "no message"), is_order=is_order)


def _id_of(kind: str, data: Any) -> str:
    number = str(data.get("order_id") or "").strip() if isinstance(data, dict) else ""
    if not number:
        raise Unknown(f"ICICI's {kind} reply carries no order id ({data!r}); the order list tells what became of it")
    return number


def _quote_fields(instrument: Instrument) -> dict[str, str]:
    fields = mapping.contract_fields(instrument)
    return {**fields, "product_type": mapping.product(Horizon.CARRY, instrument)}


def _bar(instrument: Instrument, row: Mapping[str, Any], minutes: int) -> Bar:
    start = datetime.fromisoformat(str(row["datetime"])).replace(tzinfo=IST)
    if minutes == _DAY:
        start = start.replace(hour=0, minute=0, second=0)
    opened, high, low, close = (float(row[name]) for name in ("open", "high", "low", "close"))
    volume, oi = int(float(row.get("volume") or 0)), int(float(row.get("open_interest") or 0))
    return Bar(instrument, start, start + timedelta(minutes=minutes), minutes, opened, high, low, close, volume, oi)


def _joined(bars: Sequence[Bar], minutes: int) -> list[Bar]:
    """Bars of `minutes` from shorter ones, counted from 09:15 of their day."""
    groups: dict[datetime, list[Bar]] = {}
    for bar in bars:
        opens = bar.start.replace(hour=0, minute=0, second=0, microsecond=0) + _OPENS
        number = (bar.start - opens) // timedelta(minutes=minutes)
        groups.setdefault(opens + number * timedelta(minutes=minutes), []).append(bar)
    return [
        Bar(
            part[0].instrument,
            start,
            start + timedelta(minutes=minutes),
            minutes,
            part[0].open,
            max(bar.high for bar in part),
            min(bar.low for bar in part),
            part[-1].close,
            sum(bar.volume for bar in part),
            part[-1].oi,
        )
        for start, part in groups.items()
    ]


def _stamp(at: datetime) -> str:
    """IST's wall clock with the Z that the broker wants."""
    return f"{at:%Y-%m-%dT%H:%M:%S}.000Z"


def _positive(value: Any) -> float:
    try:
        number = float(value or 0)
    except (ValueError, TypeError):
        return 0.0
    return number if 0.0 < number < 1e9 else 0.0
