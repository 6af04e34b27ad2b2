"""Kite's words and ours, as pure functions: order states, products, rows of the books, instrument dumps, and what a refusal means."""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any

import brokers.book_rows as book_rows
from brokers.charge_lines import told
from brokers.spec import InstrumentRow
from core.errors import BrokerError, DataError, RateLimited, Rejected, SessionExpired, Transient, Unknown
from core.events import BrokerPosition, ChargesTold, Funds, Guard, Holding, OrderUpdate, Trade
from core.ports import InstrumentLookup, Token
from core.types import Horizon, Instrument, Kind, Order, OrderState, OrderType, Side

TITLE = "Zerodha"

STATES: Mapping[str, OrderState] = {
    "PUT ORDER REQ RECEIVED": OrderState.PENDING_NEW,
    "VALIDATION PENDING": OrderState.PENDING_NEW,
    "OPEN PENDING": OrderState.PENDING_NEW,
    "AMO REQ RECEIVED": OrderState.AMO_QUEUED,
    "TRIGGER PENDING": OrderState.TRIGGER_PENDING,
    "OPEN": OrderState.WORKING,
    "MODIFIED": OrderState.WORKING,
    "NOT MODIFIED": OrderState.WORKING,
    "UPDATE": OrderState.WORKING,
    "MODIFY VALIDATION PENDING": OrderState.PENDING_MODIFY,
    "MODIFY PENDING": OrderState.PENDING_MODIFY,
    "CANCEL PENDING": OrderState.PENDING_CANCEL,
    "COMPLETE": OrderState.FILLED,
    "CANCELLED": OrderState.CANCELLED,
    "REJECTED": OrderState.REJECTED,
    "LAPSED": OrderState.EXPIRED,
}
"""Kite's list is explicitly not exhaustive: a label that is not here has state None and is quarantined."""

_AMBIGUOUS = frozenset({"MODIFIED", "NOT MODIFIED", "UPDATE"})  # for a stop that has not filled they also occur before the trigger

INTERVALS: Mapping[int, str] = {
    1: "minute",
    3: "3minute",
    5: "5minute",
    10: "10minute",
    15: "15minute",
    30: "30minute",
    60: "60minute",
    1440: "day",
}
HISTORICAL_CAPS: Mapping[int, int] = {1: 60, 3: 100, 5: 100, 10: 100, 15: 200, 30: 200, 60: 400, 1440: 2000}
"""Days in one request by interval in minutes; enforced by the server (forum discussion 14149), absent from the documentation."""

_DERIVATIVES = frozenset({"NFO", "BFO", "CDS", "BCD", "MCX", "NCO"})
_KNOWN_EXCHANGES = frozenset({"NSE", "BSE"}) | _DERIVATIVES


# --- products ---------------------------------------------------------------------------------------------------------------------------


def product(horizon: Horizon, instrument: Instrument) -> str:
    """MIS for what must be flat today; CNC (cash equity) or NRML (derivatives) for what may be carried."""
    if horizon is Horizon.INTRADAY:
        return "MIS"
    return "NRML" if instrument.exchange in _DERIVATIVES else "CNC"


def horizon_of(product: str) -> Horizon:
    """MIS is intraday; CNC, NRML, MTF and whatever comes later may be carried."""
    return Horizon.INTRADAY if product == "MIS" else Horizon.CARRY


def objection(horizon: Horizon, instrument: Instrument) -> str:
    """What Kite cannot be asked for, with the alternative; "" for everything else."""
    return "" if instrument.tradable else f"{instrument.key} is an index; trade its future"


# --- rows of the books ------------------------------------------------------------------------------------------------------------------


def instrument_of(row: Mapping[str, Any], lookup: InstrumentLookup) -> Instrument:
    """The instrument of a book row; one that the snapshot does not hold becomes a minimal one, so that no row is lost."""
    exchange, symbol = str(row["exchange"]), str(row["tradingsymbol"])
    known = lookup.by_key(f"{exchange}:{symbol}")
    if known is not None:
        return known
    kind = Kind.EQUITY
    if exchange in _DERIVATIVES:
        kind = Kind(symbol[-2:]) if symbol.endswith(("CE", "PE")) else Kind.FUTURE
    return Instrument(f"{exchange}:{symbol}", exchange, symbol, kind, _underlying(symbol, "", kind, None))


def order_update(row: Mapping[str, Any], at: datetime, source: str, lookup: InstrumentLookup) -> OrderUpdate:
    """An order book row, or the same payload of a postback or stream text; raises DataError where its essential fields are missing."""
    with book_rows.reading("Kite", "an order", row):
        label = str(row["status"]).strip().upper()
        told_at = book_rows.moment(row.get("exchange_update_timestamp")) or book_rows.moment(row.get("exchange_timestamp"))
        return book_rows.order_update(row, at, source, instrument_of(row, lookup), label, _state(label, row), told_at)


def _state(label: str, row: Mapping[str, Any]) -> OrderState | None:
    is_stop = book_rows.order_type(row.get("order_type")) in (OrderType.SL, OrderType.SL_M)
    if label in _AMBIGUOUS and is_stop and not int(row.get("filled_quantity") or 0):
        return OrderState.TRIGGER_PENDING
    return STATES.get(label)


def trade(row: Mapping[str, Any], lookup: InstrumentLookup) -> Trade:
    """A row of the trade book; raises DataError where a field is missing."""
    with book_rows.reading("Kite", "a trade", row):
        return book_rows.trade(row, instrument_of(row, lookup), ("fill_timestamp", "exchange_timestamp"))


def position(row: Mapping[str, Any], lookup: InstrumentLookup) -> BrokerPosition:
    """A row of the net positions; raises DataError where a field is missing."""
    with book_rows.reading("Kite", "a position", row):
        return book_rows.position(row, instrument_of(row, lookup))


def holding(row: Mapping[str, Any], lookup: InstrumentLookup) -> Holding:
    """A row of the holdings; raises DataError where a field is missing."""
    with book_rows.reading("Kite", "a holding", row):
        return book_rows.holding(row, instrument_of(row, lookup))


def funds(margins: Mapping[str, Any]) -> Funds:
    """The equity segment (equity, F&O and currency): `net` is what may be used, never recomputed."""
    try:
        equity = margins["equity"]
        return Funds(available=float(equity["net"]), used=float(equity["utilised"]["debits"]))
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"Kite's margins miss the equity segment's net or debits ({type(error).__name__}: {error})") from error


def guard_parameters(guard: Guard, last_price: float) -> dict[str, Any]:
    """Keyword arguments of place_gtt for a single trigger with one LIMIT order."""
    order = {
        "transaction_type": guard.side.value,
        "quantity": guard.quantity,
        "order_type": "LIMIT",
        "product": guard.product,
        "price": round(guard.limit_price, 4),
    }
    return {
        "trigger_type": "single",
        "exchange": guard.instrument.exchange,
        "tradingsymbol": guard.instrument.symbol,
        "trigger_values": [round(guard.trigger_price, 4)],
        "last_price": round(last_price, 4),
        "orders": [order],
    }


def guard(row: Mapping[str, Any], lookup: InstrumentLookup) -> Guard:
    """A row of the list of GTTs, of one trigger; raises DataError where a field is missing."""
    with book_rows.reading("Kite", "a GTT", row):
        (order,), (trigger,) = row["orders"], row["condition"]["trigger_values"]
        result = (order.get("result") or {}).get("order_result") or {}
        status = str(row["status"])
        return Guard(
            id=str(row["id"]),
            instrument=instrument_of(row["condition"], lookup),
            product=str(order["product"]),
            side=Side(order["transaction_type"]),
            quantity=book_rows.units(order["quantity"]),
            trigger_price=book_rows.finite(trigger),
            limit_price=book_rows.finite(order["price"]),
            active=status == "active",
            fired=status == "triggered",
            order_id=str(result.get("order_id") or ""),
            label=f"{status}: {result['rejection_reason']}" if result.get("rejection_reason") else status,
        )


_CHARGES = {
    "brokerage": "brokerage",
    "stt": "transaction_tax",
    "txn": "exchange_turnover_charge",
    "sebi": "sebi_turnover_charge",
    "stamp": "stamp_duty",
}


def charge_parameters(order: Order) -> dict[str, Any]:
    """What /charges/orders wants to know of an executed order."""
    return {
        "order_id": book_rows.broker_id(order),
        "exchange": order.instrument.exchange,
        "tradingsymbol": order.instrument.symbol,
        "transaction_type": order.side.value,
        "variety": "regular",
        "product": order.product,
        "order_type": order.order_type.value,
        "quantity": order.filled,
        "average_price": round(order.average_price, 4),
    }


def charges(order: Order, row: Mapping[str, Any], asked: Mapping[str, Any]) -> ChargesTold:
    """The charges in a row of its answer; raises DataError where it is not the row of what was asked."""
    with book_rows.reading("Kite", "a charge", row):
        if any(row[name] != asked[name] for name in ("tradingsymbol", "transaction_type", "quantity")):
            raise ValueError(f"it is not of {asked['transaction_type']} {asked['quantity']} {asked['tradingsymbol']}")
        said = row["charges"]
        lines = {ours: said[theirs] for ours, theirs in _CHARGES.items()} | {"gst": said["gst"]["total"]}
        return told("Kite", order, row, said["total"], lines)


# --- orders -----------------------------------------------------------------------------------------------------------------------------


def place_parameters(order: Order) -> dict[str, Any]:
    """Keyword arguments of place_order; raises Rejected for an order that may not be sent as it is."""
    if len(order.tag) > 20 or not order.tag.isalnum():
        raise Rejected(f"order {order.id}: tag {order.tag!r} must be 1-20 letters and digits; nothing was sent")
    reason = objection(order.horizon, order.instrument)
    if reason:
        raise Rejected(f"order {order.id}: {reason}. Nothing was sent")
    return {
        "variety": "regular",
        "exchange": order.instrument.exchange,
        "tradingsymbol": order.instrument.symbol,
        "transaction_type": order.side.value,
        "quantity": order.quantity,
        "product": order.product or product(order.horizon, order.instrument),
        "order_type": book_rows.sendable(order),
        "price": round(order.limit_price, 4),
        "trigger_price": round(order.trigger_price, 4) if order.trigger_price is not None else None,
        "validity": order.validity.value,
        "tag": order.tag,
    }


def modify_parameters(order: Order, quantity: int, limit_price: float, trigger_price: float | None) -> dict[str, Any]:
    """Keyword arguments of modify_order; `quantity` is the new total, what is filled included."""
    return {
        "variety": "regular",
        "order_id": book_rows.broker_id(order),
        "quantity": quantity,
        "price": round(limit_price, 4),
        "order_type": book_rows.sendable(order),
        "trigger_price": round(trigger_price, 4) if trigger_price is not None else None,
        "validity": order.validity.value,
    }


def cancel_parameters(order: Order) -> dict[str, Any]:
    return {"variety": "regular", "order_id": book_rows.broker_id(order)}


# --- what a refusal means ---------------------------------------------------------------------------------------------------------------

_REFUSALS = frozenset({"InputException", "OrderException", "MarginException", "HoldingException", "UserException"})
_CERTAIN = frozenset({400, 404, 405, 410, 428})
_IP_REFUSAL = "is not allowed to place orders"
_TIMED_OUT = ("timed out", "check the order book", "confirm before placing")


def failure(status: int, error_type: str, message: str, *, is_order: bool) -> BrokerError:
    """The typed meaning of an error reply, by Kite's table; what it does not name is Unknown for an order and Transient for a read."""
    text = f"Kite answered {status or 'nothing'} {error_type}: {message}".replace("  ", " ").strip()
    code = error_type or str(status or "")
    if is_order and any(phrase in message.lower() for phrase in _TIMED_OUT):
        return Unknown(f"{text} - look for the order by its tag before anything else", code=code)
    if status == 429:
        return RateLimited(f"{text} - the budget pauses", code=code)
    if error_type == "TokenException" and status == 403:
        return SessionExpired(f"{text} - log in again: main.py login zerodha", code=code)
    if status == 403 and (error_type == "PermissionException" or _IP_REFUSAL in message):
        return Rejected(f"{text} - {_permission_step(message)}", code=code)
    if error_type in _REFUSALS and status in _CERTAIN:
        return Rejected(text, code=code)
    if is_order:
        return Unknown(f"{text} - it may have been taken; look for it in the order book", code=code)
    return Transient(text, code=code)


def _permission_step(message: str) -> str:
    if _IP_REFUSAL in message:
        return "whitelist this machine's static IPv4 address in the app's profile at developers.kite.trade; a new login does not help"
    return "the app's plan lacks this call (Personal has no market data); change the plan at developers.kite.trade, do not log in again"


# --- the instrument dump ----------------------------------------------------------------------------------------------------------------

_COLUMNS = (
    "instrument_token",
    "tradingsymbol",
    "name",
    "expiry",
    "strike",
    "tick_size",
    "lot_size",
    "instrument_type",
    "segment",
    "exchange",
)
_DATED = re.compile(r"^(.+?)\d{2}(?:[A-Z]{3}|[1-9OND]\d{2})$")


class DumpReader:
    """Kite's instruments CSV as InstrumentRows, one pass, row by row; blank and odd rows are counted in `skipped` by reason."""

    def __init__(self, dump: bytes) -> None:
        self._dump = dump
        self.skipped: dict[str, int] = {}
        self.complete = dump.endswith(b"\n")

    def __iter__(self) -> Iterator[InstrumentRow]:
        lines = self._lines()
        header = [name.strip() for name in next(lines, [])]
        missing = [name for name in _COLUMNS if name not in header]
        if missing:
            raise DataError(f"the instrument dump's header lacks {', '.join(missing)}; it begins {self._dump[:80]!r}; download it again")
        places = [header.index(name) for name in _COLUMNS]
        expiries: dict[str, date | None] = {"": None}
        for cells in lines:
            if not cells or (len(cells) == 1 and not cells[0].strip()):
                self._skip("blank")
            elif len(cells) != len(header):
                self._skip("wrong number of columns")
            else:
                row = self._row([cells[place] for place in places], expiries)
                if row is not None:
                    yield row

    def _lines(self) -> Iterator[list[str]]:
        reader = csv.reader(io.TextIOWrapper(io.BytesIO(self._dump), "utf-8", errors="replace", newline=""))
        try:
            yield from reader
        except csv.Error as error:
            raise DataError(f"the instrument dump breaks off at line {reader.line_num} ({error}); download it again") from error

    def _row(self, cells: list[str], expiries: dict[str, date | None]) -> InstrumentRow | None:
        token, symbol, name, expiry, strike, tick_size, lot, kind_text, segment, exchange = cells
        if exchange not in _KNOWN_EXCHANGES:
            self._skip(f"exchange {exchange or 'missing'}")
            return None
        if not symbol or kind_text not in ("EQ", "FUT", "CE", "PE"):
            self._skip("no symbol" if not symbol else f"type {kind_text or 'missing'}")
            return None
        try:
            if expiry not in expiries:
                expiries[expiry] = date.fromisoformat(expiry)
            kind = Kind.INDEX if segment == "INDICES" else Kind(kind_text)
            strike_price = float(strike) if strike and kind in (Kind.CALL, Kind.PUT) else None
            units, step = int(lot or 0), float(tick_size or 0.0)
            if kind is Kind.INDEX:  # nobody trades an index: Kite lists it with lot 0 and tick 0
                units, step = units or 1, step or 0.05
            row = InstrumentRow(
                key=f"{exchange}:{symbol}",
                exchange=exchange,
                symbol=symbol,
                kind=kind,
                underlying=_underlying(symbol, name, kind, strike_price),
                token=int(token),
                name=name,
                lot=units,
                tick_size=step,
                expiry=expiries[expiry],
                strike=strike_price,
            )
        except ValueError:
            self._skip("a number or date that does not read")
            return None
        if row.kind in (Kind.FUTURE, Kind.CALL, Kind.PUT) and row.expiry is None:
            self._skip("derivative without expiry")
            return None
        return row

    def _skip(self, reason: str) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + 1


def parse_instruments(dump: bytes) -> DumpReader:
    """Read a dump (unpacked CSV); raises DataError while iterating if its header is not Kite's."""
    return DumpReader(dump)


def _underlying(symbol: str, name: str, kind: Kind, strike: float | None) -> str:
    """What a contract is derived from: Kite's `name` column, else what is left of the symbol without date, strike and right."""
    if kind in (Kind.EQUITY, Kind.INDEX):
        return symbol
    if name:
        return name
    stem = symbol.removesuffix("FUT").removesuffix("CE").removesuffix("PE")
    if strike is not None:
        stem = stem.removesuffix(f"{strike:.10g}")
    elif kind in (Kind.CALL, Kind.PUT):
        short = re.match(r"^(.+?)\d{2}(?:[A-Z]{3}|[1-9OND]\d{2})\d", stem)
        return short.group(1) if short else stem
    dated = _DATED.match(stem)
    return dated.group(1) if dated else stem


def exchange_number(token: Token) -> str:
    """Kite's token is the exchange's number, shifted by a byte that says the segment."""
    return str(int(token) >> 8)
