"""Zerodha over REST: the official SDK on our pooled transport, our words in and out, and a type for every way a call can end.

An order call ends in an order id, a certain refusal (Rejected, RateLimited, SessionExpired), or Unknown; a read in its data or
Transient and those three. Order calls use keyword arguments only: the SDK has moved positional ones before.
"""

import functools
import gzip
import importlib
import json
import re
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import ModuleType
from typing import Any, TypeVar

import brokers.zerodha.mapping as mapping
from brokers.rest import (
    DOWNLOAD_SECONDS,
    ORDER_SECONDS,
    READ_SECONDS,
    RestClient,
    candle,
    complete,
    lane_of,
    listed,
    mapped,
    patience_of,
    unanswered,
)
from brokers.spec import Audit, Endpoints, Lookup
from brokers.transport import Allow, Response
from brokers.zerodha.session import ZerodhaSession
from core.errors import BrokerError, DataError, RateLimited, Rejected, SessionExpired, Transient, Unknown
from core.events import BrokerPosition, ChargesTold, Funds, Guard, Holding, OrderUpdate, Trade
from core.ports import Clock
from core.types import IST, Bar, Instrument, Order
from utils.pacing import Budget, Lane

T = TypeVar("T")

_LTP_KEYS = 1000  # instruments in one /quote/ltp
_QUOTE_KEYS = 500  # instruments in one /quote
_NOTED = 50  # orders in one /charges/orders; its limit is not documented
_PAUSE = {"place": 5.0, "modify": 5.0, "cancel": 2.0, "quote": 5.0, "historical": 5.0, "other": 5.0}  # seconds after a 429
_READABLE = re.compile(r"/(user/profile|instruments(/.*)?|quote(/ohlc|/ltp)?)")


def may_read(method: str, path: str) -> bool:
    """The allow-list of an account that may not trade: market data and its own profile, by GET alone."""
    return method == "GET" and _READABLE.fullmatch(path) is not None


def _is_download(path: str) -> bool:
    return path.startswith(("/instruments", "/quote"))


class ZerodhaData(RestClient[ZerodhaSession]):
    """Market data of one login; see core.ports.DataSession. Blocking; each thread has an SDK object of its own."""

    allow: Allow | None = staticmethod(may_read)
    is_download = staticmethod(_is_download)

    def __init__(
        self, session: ZerodhaSession, clock: Clock, budget: Budget, audit: Audit | None, endpoints: Endpoints, lookup: Lookup
    ) -> None:
        super().__init__(session, clock, budget, audit, endpoints, lookup)
        self._local = threading.local()
        _kite_class()  # the SDK is imported here, not inside the first order

    def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
        name = mapping.INTERVALS.get(interval)
        if name is None:
            raise Rejected(f"Zerodha has no candles of {interval} minutes; it has {', '.join(map(str, mapping.INTERVALS))}")
        token = self._lookup().token(instrument)
        begin, finish = start.astimezone(IST), end.astimezone(IST)
        rows = self._read(
            Lane.DATA,
            "historical",
            lambda kite: kite.historical_data(
                instrument_token=token,
                from_date=begin.replace(tzinfo=None),
                to_date=finish.replace(tzinfo=None),
                interval=name,
                continuous=continuous,
                oi=instrument.expiry is not None,
            ),
        )
        try:
            bars = [candle(instrument, row, interval) for row in rows]
        except (IndexError, ValueError, TypeError) as error:
            raise Transient(f"Zerodha's candles of {instrument.key} hold a row that does not read ({error}); ask again") from error
        return [bar for bar in bars if begin <= bar.start <= finish]

    def instruments(self) -> bytes:
        dump = self._read(Lane.DATA, "other", lambda kite: kite.instruments(), seconds=DOWNLOAD_SECONDS)
        if not isinstance(dump, bytes):
            raise Transient("Zerodha's instrument dump came as something else than CSV; ask again")
        try:
            return gzip.decompress(dump) if dump[:2] == b"\x1f\x8b" else dump
        except (OSError, EOFError) as error:
            raise Transient(f"Zerodha's instrument dump is a broken archive ({error}); ask again") from error

    def last_prices(self, instruments: Sequence[Instrument]) -> dict[str, float]:
        prices: dict[str, float] = {}
        keys = [instrument.key for instrument in instruments]
        for first in range(0, len(keys), _LTP_KEYS):
            some = keys[first : first + _LTP_KEYS]
            answer = self._mapping("last prices", Lane.DATA, "quote", functools.partial(_ltp, keys=some))
            try:
                prices.update((key, float(answer[key]["last_price"])) for key in some if key in answer)
            except (KeyError, ValueError, TypeError) as error:
                raise Transient(f"Zerodha's last prices hold a row that does not read ({error}); ask again") from error
        return prices

    def circuits(self, instruments: Sequence[Instrument]) -> dict[str, tuple[float, float]]:
        found: dict[str, tuple[float, float]] = {}
        keys = [instrument.key for instrument in instruments]
        for first in range(0, len(keys), _QUOTE_KEYS):
            some = keys[first : first + _QUOTE_KEYS]
            answer = self._mapping("quotes", Lane.DATA, "quote", functools.partial(_quote, keys=some))
            try:
                for key in some:
                    row = answer.get(key) or {}
                    low, high = float(row.get("lower_circuit_limit") or 0.0), float(row.get("upper_circuit_limit") or 0.0)
                    if 0 < low < high:
                        found[key] = (low, high)
            except (AttributeError, ValueError, TypeError) as error:
                raise Transient(f"Zerodha's quotes hold a row that does not read ({error}); ask again") from error
        return found

    def profile(self) -> Mapping[str, Any]:
        return self._mapping("profile", Lane.PORTFOLIO, "other", lambda kite: kite.profile())

    # --- one call -----------------------------------------------------------------------------------------------------------------------

    def _read(self, lane: Lane, kind: str, ask: Callable[[Any], T], *, seconds: float = READ_SECONDS) -> T:
        self._budget.acquire(lane, kind)
        return self._call(kind, ask, seconds, is_order=False)

    def _mapping(self, what: str, lane: Lane, kind: str, ask: Callable[[Any], Any]) -> Mapping[str, Any]:
        return mapped(mapping.TITLE, what, self._read(lane, kind, ask))

    def _call(self, kind: str, ask: Callable[[Any], T], seconds: float, *, is_order: bool) -> T:
        token = self._session.token()
        kite = self._kite()
        kite.set_access_token(token)
        kite.timeout = seconds
        try:
            return ask(kite)
        except BrokerError:
            raise
        except Exception as error:  # the SDK raises whatever a reply made it trip over; each end gets its type here
            failure = _failure(error, self._http.last, is_order=is_order)
        if isinstance(failure, SessionExpired):
            self._session.invalidate(token, str(failure))
        elif isinstance(failure, RateLimited):
            self._budget.pause(_PAUSE[kind], kind)
        raise failure

    def _kite(self) -> Any:
        """This thread's SDK object."""
        kite = getattr(self._local, "kite", None)
        if kite is None:
            kite = _kite_class()(api_key=self._session.api_key(), root=self._rest)
            kite.reqsession = self._http
            self._local.kite = kite
        return kite


class ZerodhaBroker(ZerodhaData):
    """A trading login; see core.ports.Broker."""

    allow = None

    def place(self, order: Order) -> str:
        parameters = mapping.place_parameters(order)
        return self._order(lane_of(order), "place", lambda kite: kite.place_order(**parameters))

    def modify(self, order: Order, *, quantity: int, limit_price: float, trigger_price: float | None) -> None:
        parameters = mapping.modify_parameters(order, quantity, limit_price, trigger_price)
        self._order(lane_of(order), "modify", lambda kite: kite.modify_order(**parameters))

    def cancel(self, order: Order) -> None:
        parameters = mapping.cancel_parameters(order)
        self._order(Lane.CANCEL, "cancel", lambda kite: kite.cancel_order(**parameters))

    def orders(self) -> tuple[OrderUpdate, ...]:
        rows, at, lookup = self._rows("orders", lambda kite: kite.orders()), self._clock.now(), self._lookup()
        return tuple(complete(lambda row: mapping.order_update(row, at, "book", lookup), rows))

    def trades(self) -> tuple[Trade, ...]:
        rows, lookup = self._rows("trades", lambda kite: kite.trades()), self._lookup()
        return tuple(complete(lambda row: mapping.trade(row, lookup), rows))

    def positions(self) -> tuple[BrokerPosition, ...]:
        answer, lookup = self._mapping("positions", Lane.PORTFOLIO, "other", lambda kite: kite.positions()), self._lookup()
        return tuple(complete(lambda row: mapping.position(row, lookup), listed(mapping.TITLE, "positions", answer.get("net"))))

    def holdings(self) -> tuple[Holding, ...]:
        rows, lookup = self._rows("holdings", lambda kite: kite.holdings()), self._lookup()
        return tuple(complete(lambda row: mapping.holding(row, lookup), rows))

    def funds(self) -> Funds:
        answer = self._mapping("margins", Lane.PORTFOLIO, "other", lambda kite: kite.margins())
        try:
            return mapping.funds(answer)
        except DataError as error:
            raise Transient(str(error)) from error

    def place_guard(self, guard: Guard, last_price: float) -> str:
        """See core.ports.GuardBroker: a single GTT."""
        terms = mapping.guard_parameters(guard, last_price)
        self._budget.acquire(Lane.EXIT, "other")
        answer = self._call("other", lambda kite: kite.place_gtt(**terms), ORDER_SECONDS, is_order=True)
        number = answer.get("trigger_id") if isinstance(answer, dict) else None
        if not number:
            raise Unknown(f"Zerodha's reply to a GTT carries no trigger id ({answer!r:.80}); look for it in the list of GTTs")
        return str(number)

    def cancel_guard(self, guard: Guard) -> None:
        self._budget.acquire(Lane.CANCEL, "other")
        self._call("other", lambda kite: kite.delete_gtt(trigger_id=guard.id), ORDER_SECONDS, is_order=True)

    def guards(self) -> tuple[Guard, ...]:
        """Single GTTs with one order; those of two legs are none of ours."""
        rows, lookup = self._rows("GTTs", lambda kite: kite.get_gtts()), self._lookup()
        single = [row for row in rows if not isinstance(row, dict) or row.get("type") == "single"]
        return tuple(complete(lambda row: mapping.guard(row, lookup), single))

    def order_charges(self, orders: Sequence[Order]) -> dict[str, ChargesTold]:
        """See core.ports.ChargeSource: Kite's virtual contract note, whose rows come in the order they were asked for."""
        found: dict[str, ChargesTold] = {}
        for first in range(0, len(orders), _NOTED):
            some = orders[first : first + _NOTED]
            asked = [mapping.charge_parameters(order) for order in some]
            rows = self._rows("charges", functools.partial(_contract_note, asked=asked))
            if len(rows) != len(some):
                raise Transient(f"Zerodha told the charges of {len(rows)} orders where {len(some)} were asked for; ask again")
            read = complete(lambda each: mapping.charges(*each), list(zip(some, rows, asked, strict=True)))
            found.update((order.id, charges) for order, charges in zip(some, read, strict=True))
        return found

    def _order(self, lane: Lane, kind: str, send: Callable[[Any], Any]) -> str:
        self._budget.acquire(lane, kind, patience=patience_of(lane))
        order_id = self._call(kind, send, ORDER_SECONDS, is_order=True)
        if not isinstance(order_id, str | int) or not str(order_id).strip():
            raise Unknown(f"Zerodha's {kind} reply carries no order id ({order_id!r}); look for the order by its tag in the order book")
        return str(order_id)

    def _rows(self, what: str, ask: Callable[[Any], Any]) -> list[Any]:
        return listed(mapping.TITLE, what, self._read(Lane.PORTFOLIO, "other", ask))


def _ltp(kite: Any, *, keys: list[str]) -> Any:
    return kite.ltp(*keys)


def _quote(kite: Any, *, keys: list[str]) -> Any:
    return kite.quote(*keys)


def _contract_note(kite: Any, *, asked: list[Any]) -> Any:
    return kite.get_virtual_contract_note(asked)


def _failure(error: Exception, reply: Response | None, *, is_order: bool) -> BrokerError:
    """What a failed call means, from the reply itself rather than from what the SDK made of it."""
    if reply is None:
        return unanswered(mapping.TITLE, error, is_order=is_order)
    try:
        envelope = json.loads(reply.content)
    except ValueError:
        envelope = None
    if reply.status_code >= 500 or not isinstance(envelope, dict) or not (envelope.get("error_type") or envelope.get("status") == "error"):
        message = envelope.get("message") if isinstance(envelope, dict) else None
        shown = str(message or f"{type(error).__name__}, body {reply.content[:120]!r}")
        return mapping.failure(
            reply.status_code if reply.status_code == 429 or reply.status_code >= 500 else 0, "", shown, is_order=is_order
        )
    return mapping.failure(
        reply.status_code, str(envelope.get("error_type") or ""), str(envelope.get("message") or "no message"), is_order=is_order
    )


@functools.cache
def _kite_class() -> Any:
    """KiteConnect with its reply formatters off: rows stay as the wire has them, for mapping.py, which also reads the stream's texts."""

    class Kite(load_sdk().KiteConnect):  # type: ignore[misc]  # the SDK has no types
        def _format_response(self, data: Any) -> Any:
            return data

        def _format_historical(self, data: Any) -> Any:
            return data["candles"]

        def _parse_instruments(self, data: Any) -> Any:
            return data

    return Kite


@functools.cache
def load_sdk() -> ModuleType:
    """Import kiteconnect without Twisted: its ticker module is stood in for while the package loads, and found normally afterwards."""
    if "kiteconnect" in sys.modules:
        return sys.modules["kiteconnect"]
    stub = ModuleType("kiteconnect.ticker")
    stub.KiteTicker = None  # type: ignore[attr-defined]  # a module's attribute
    sys.modules["kiteconnect.ticker"] = stub
    try:
        sdk = importlib.import_module("kiteconnect")
    finally:
        del sys.modules["kiteconnect.ticker"]

    def on_demand(name: str) -> Any:
        if name == "KiteTicker":
            return importlib.import_module("kiteconnect.ticker").KiteTicker
        raise AttributeError(f"module 'kiteconnect' has no attribute {name!r}")

    del sdk.KiteTicker
    sdk.__getattr__ = on_demand  # type: ignore[method-assign]  # a module's attribute
    return sdk
