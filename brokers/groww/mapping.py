"""Groww's words and ours, as pure functions: order states, products, rows of the books, bodies of orders, and what a refusal means."""

import re
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from brokers.book_rows import broker_id, finite, price, reading, sendable, units
from brokers.charge_lines import told
from core.errors import BrokerError, DataError, RateLimited, Rejected, SessionExpired, Transient, Unknown
from core.events import BrokerPosition, ChargesTold, Funds, Holding, OrderUpdate, Trade
from core.ports import InstrumentLookup, Token
from core.types import IST, Horizon, Instrument, Kind, Order, OrderState, OrderType, Side, Validity

TITLE = "Groww"

Row = Mapping[str, Any]

STATES: Mapping[str, OrderState] = {
    "NEW": OrderState.PENDING_NEW,
    "ACKED": OrderState.PENDING_NEW,
    "TRIGGER_PENDING": OrderState.TRIGGER_PENDING,
    "APPROVED": OrderState.WORKING,
    "OPEN": OrderState.WORKING,  # in no table, and in the documents' own examples
    "REJECTED": OrderState.REJECTED,
    "FAILED": OrderState.REJECTED,
    "EXECUTED": OrderState.FILLED,
    "DELIVERY_AWAITED": OrderState.FILLED,
    "COMPLETED": OrderState.FILLED,
    "CANCELLED": OrderState.CANCELLED,
    "CANCELLATION_REQUESTED": OrderState.PENDING_CANCEL,
    "MODIFICATION_REQUESTED": OrderState.PENDING_MODIFY,
}
"""Groww's annexure of order statuses (2026-09); a label that is not here has state None and is quarantined."""

_AMO_WAITING = frozenset({"PENDING", "PARKED", "DISPATCHED"})
_ORDER_TYPES: Mapping[str, OrderType] = {
    "LIMIT": OrderType.LIMIT,
    "MARKET": OrderType.MARKET,
    "SL": OrderType.SL,
    "SL_M": OrderType.SL_M,
}

HISTORICAL_CAPS: Mapping[int, int] = {
    **dict.fromkeys((1, 2, 3, 5), 29),
    **dict.fromkeys((10, 15, 30), 89),
    **dict.fromkeys((60, 240, 1440), 179),
}
"""Days in one request by interval in minutes: a day less than the page says (30, 90, 180), which may count the edges."""

INTERVALS: Mapping[int, str] = {
    **{count: f"{count}minute" for count in (1, 2, 3, 5, 10, 15, 30)},
    60: "1hour",
    240: "4hour",
    1440: "1day",
}
"""Minutes of a candle -> Groww's `candle_interval`."""

EXCHANGES: Mapping[tuple[str, str], str] = {
    ("NSE", "CASH"): "NSE",
    ("BSE", "CASH"): "BSE",
    ("NSE", "FNO"): "NFO",
    ("BSE", "FNO"): "BFO",
    ("MCX", "COMMODITY"): "MCX",
}
"""Groww's exchange and segment -> our exchange."""
SEGMENTS = ("CASH", "FNO")
"""The segments whose books are read; orders of others are refused before they are sent."""
_TRADE_TO_TRADE = re.compile(r"-(BE|BZ|ST|SZ)$")
_REFERENCE = re.compile(r"[A-Za-z0-9-]{8,20}")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def headers(token: str) -> dict[str, str]:
    """What every request carries; it holds the token and is never shown."""
    return {
        "Authorization": f"Bearer {token}",
        "Accept": "application/json",
        "X-API-VERSION": "1.0",
        "x-request-id": str(uuid.uuid4()),
        "User-Agent": "niyam",
    }


# --- names ------------------------------------------------------------------------------------------------------------------------------


def token_of(exchange: str, segment: str, symbol: str) -> str:
    """How an instrument is known in the day's snapshot: the three words that every request names it by."""
    return f"{exchange}|{segment}|{symbol}"


def names_of(token: Token) -> tuple[str, str, str]:
    """(exchange, segment, trading symbol) of a snapshot's token."""
    exchange, segment, symbol = str(token).split("|", 2)
    return exchange, segment, symbol


def groww_symbol(instrument: Instrument, token: Token) -> str:
    """The name that candles go by: NSE-WIPRO, NSE-NIFTY-24Nov26-FUT, NSE-NIFTY-24Nov26-25000-CE."""
    exchange, _, symbol = names_of(token)
    expiry = instrument.expiry
    if expiry is None:
        return f"{exchange}-{symbol}"
    end = "FUT" if instrument.kind is Kind.FUTURE else f"{instrument.strike:.10g}-{instrument.kind.value}"
    return f"{exchange}-{instrument.underlying}-{expiry:%d}{_MONTHS[expiry.month - 1]}{expiry:%y}-{end}"


def instrument_of(row: Row, lookup: InstrumentLookup) -> Instrument:
    """The instrument of a book row; one that the snapshot does not hold becomes a minimal one, so that no row is lost."""
    segment, symbol = str(row["segment"]), str(row["trading_symbol"])
    exchange = str(row.get("exchange") or "")
    for place in (exchange,) if exchange else ("NSE", "BSE"):  # a position row may come without its exchange
        known = lookup.by_token(token_of(place, segment, symbol))
        if known is not None:
            return known
    ours = EXCHANGES.get((exchange or "NSE", segment))
    if ours is None:
        raise ValueError(f"no exchange {exchange!r} with a segment {segment!r}")
    kind = Kind.EQUITY
    if segment != "CASH":
        kind = Kind.CALL if symbol.endswith("CE") else Kind.PUT if symbol.endswith("PE") else Kind.FUTURE
    return Instrument(f"{ours}:{symbol}", ours, symbol, kind, symbol)


# --- products ---------------------------------------------------------------------------------------------------------------------------


def product(horizon: Horizon, instrument: Instrument) -> str:
    """MIS for what must be flat today; for what may be carried CNC in shares, NRML in contracts."""
    if horizon is Horizon.INTRADAY:
        return "MIS"
    return "CNC" if instrument.kind is Kind.EQUITY else "NRML"


def horizon_of(product: str) -> Horizon:
    """MIS ends with the day; CNC, NRML, MTF and whatever comes later may be carried."""
    return Horizon.INTRADAY if product == "MIS" else Horizon.CARRY


def objection(horizon: Horizon, instrument: Instrument) -> str:
    """What Groww's API cannot be asked for, with the alternative; "" for everything else."""
    if not instrument.tradable:
        return f"{instrument.key} is an index; trade its future"
    if instrument.exchange not in EXCHANGES.values() or instrument.exchange == "MCX":
        return f"Groww takes orders by API in cash and F&O of NSE and BSE alone, so not {instrument.key}; trade it at another broker"
    if horizon is Horizon.INTRADAY and instrument.kind is Kind.EQUITY and _TRADE_TO_TRADE.search(instrument.symbol):
        return f"{instrument.key} is a trade-to-trade series, which is for delivery alone; give its strategy the horizon carry"
    return ""


# --- rows of the books ------------------------------------------------------------------------------------------------------------------


def moment(text: Any) -> datetime | None:
    """`2026-11-20T10:02:11` (IST where it names no zone) as an aware time; None for anything else."""
    if not isinstance(text, str) or len(text) < 19:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.replace(tzinfo=IST) if at.tzinfo is None else at.astimezone(IST)


def order_update(row: Row, at: datetime, source: str, lookup: InstrumentLookup) -> OrderUpdate:
    """A row of the order list or an order's detail; raises DataError where its essential fields are missing."""
    with reading(TITLE, "an order", row):
        label = str(row["order_status"])
        return OrderUpdate(
            at=at,
            source=source,
            broker_order_id=str(row["groww_order_id"]),
            instrument=instrument_of(row, lookup),
            side=Side(row["transaction_type"]),
            quantity=units(row["quantity"]),
            state=_state(label, row),
            filled=units(row.get("filled_quantity") or 0),
            average_price=price(row.get("average_fill_price")),
            tag=row.get("order_reference_id") or None,
            label=label,
            product=str(row.get("product") or ""),
            order_type=_ORDER_TYPES.get(str(row.get("order_type")), OrderType.LIMIT),
            limit_price=price(row.get("price")),
            trigger_price=price(row.get("trigger_price")) or None,
            reason=str(row.get("remark") or ""),
            exchange_at=moment(row.get("exchange_time")) or moment(row.get("created_at")),
        )


def _state(label: str, row: Row) -> OrderState | None:
    state, filled = STATES.get(label), int(row.get("filled_quantity") or 0)
    if state is OrderState.FILLED and filled < int(row["quantity"]):  # a part is executed: the rest is still at the exchange
        return OrderState.WORKING
    if state is OrderState.REJECTED and filled > 0:  # it failed after a part was executed
        return OrderState.CANCELLED
    if state is OrderState.PENDING_NEW and row.get("amo_status") in _AMO_WAITING:
        return OrderState.AMO_QUEUED
    return state


def trade(row: Row, lookup: InstrumentLookup) -> Trade:
    """An execution of one order; raises DataError where a field is missing."""
    with reading(TITLE, "a trade", row):
        at = moment(row.get("trade_date_time")) or moment(row.get("created_at"))
        trade_id = row.get("exchange_trade_id") or row.get("groww_trade_id")
        if at is None or not trade_id:
            raise ValueError(f"no time in trade_date_time {row.get('trade_date_time')!r}, or no trade id ({trade_id!r})")
        return Trade(
            id=str(trade_id),
            broker_order_id=str(row["groww_order_id"]),
            instrument=instrument_of(row, lookup),
            side=Side(row["transaction_type"]),
            quantity=units(row["quantity"]),
            price=price(row["price"]),
            at=at,
        )


def position(row: Row, lookup: InstrumentLookup) -> BrokerPosition:
    """A net position; raises DataError where a field is missing, or where `quantity` has not the sign of bought less sold."""
    with reading(TITLE, "a position", row):
        quantity = int(row["quantity"])
        bought = int(row.get("credit_quantity") or 0) + int(row.get("carry_forward_credit_quantity") or 0)
        sold = int(row.get("debit_quantity") or 0) + int(row.get("carry_forward_debit_quantity") or 0)
        if quantity * (bought - sold) < 0:
            raise ValueError(f"quantity {quantity} contradicts {bought} bought and {sold} sold")
        return BrokerPosition(
            instrument=instrument_of(row, lookup),
            product=str(row["product"]),
            quantity=quantity,
            average_price=finite(row.get("net_price")),
        )


def holding(row: Row, lookup: InstrumentLookup) -> Holding:
    """A row of the holdings, which names neither exchange nor price; `quantity` counts shares that still settle."""
    with reading(TITLE, "a holding", row):
        instrument = instrument_of({**row, "segment": "CASH"}, lookup)
        return Holding(instrument, quantity=units(row["quantity"]), average_price=price(row.get("average_price")))


def funds(data: Row) -> Funds:
    """Clear cash and what is used; collateral is not counted as free."""
    try:
        return Funds(available=finite(data["clear_cash"]), used=finite(data["net_margin_used"]))
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise DataError(f"Groww's margins miss clear_cash or net_margin_used ({type(error).__name__}: {error})") from error


# --- charges ----------------------------------------------------------------------------------------------------------------------------


def charge_order(order: Order, token: Token) -> dict[str, Any]:
    """What the margin calculator wants to know of an executed order."""
    exchange, _, symbol = names_of(token)
    return {
        "trading_symbol": symbol,
        "exchange": exchange,
        "transaction_type": order.side.value,
        "quantity": order.filled,
        "price": round(order.average_price, 4),
        "order_type": "LIMIT",
        "product": order.product or product(order.horizon, order.instrument),
    }


def charges(order: Order, data: Any) -> ChargesTold:
    """The sum of all charges beside the margin; its lines are not told."""
    with reading(TITLE, "a charge", data if isinstance(data, dict) else {}):
        return told(TITLE, order, data, data["brokerage_and_charges"], {})


# --- orders -----------------------------------------------------------------------------------------------------------------------------


def create_body(order: Order, token: Token) -> dict[str, Any]:
    """The JSON of an order; raises Rejected for one that may not be sent as it is."""
    if not _REFERENCE.fullmatch(order.tag) or order.tag.count("-") > 2:
        raise Rejected(f"order {order.id}: tag {order.tag!r} is not 8 to 20 letters and digits; nothing was sent")
    if order.validity is not Validity.DAY:
        raise Rejected(f"order {order.id}: Groww documents DAY orders alone, not {order.validity.value}; nothing was sent")
    reason = objection(order.horizon, order.instrument)
    if reason:
        raise Rejected(f"order {order.id}: {reason}. Nothing was sent")
    exchange, segment, symbol = names_of(token)
    return {
        "trading_symbol": symbol,
        "quantity": order.quantity,
        "price": round(order.limit_price, 4),
        **_trigger(order, order.trigger_price),
        "validity": "DAY",
        "exchange": exchange,
        "segment": segment,
        "product": order.product or product(order.horizon, order.instrument),
        "order_type": sendable(order),
        "transaction_type": order.side.value,
        "order_reference_id": order.tag,
    }


def modify_body(order: Order, segment: str, quantity: int, limit_price: float, trigger_price: float | None) -> dict[str, Any]:
    """The JSON of a modification; `quantity` is the new total, what is filled included."""
    return {
        "groww_order_id": broker_id(order),
        "segment": segment,
        "quantity": quantity,
        "order_type": sendable(order),
        "price": round(limit_price, 4),
        **_trigger(order, trigger_price),
    }


def cancel_body(order: Order, segment: str) -> dict[str, Any]:
    return {"groww_order_id": broker_id(order), "segment": segment}


def _trigger(order: Order, price: float | None) -> dict[str, float]:
    return {"trigger_price": round(price, 4)} if order.order_type is OrderType.SL and price is not None else {}


# --- what a refusal means ---------------------------------------------------------------------------------------------------------------

DUPLICATE = "GA007"
_NOT_AUTHORISED = "GA005"
REFUSALS: Mapping[str, str] = {
    "GA001": "the request is malformed, or the order is; the text says why",
    "GA004": "no such order or instrument; update the instruments",
    "GA006": "Groww could not process it; the text says why",
}
"""Codes after which, but for a 5xx, it is certain that nothing happened. GA000 (internal) and GA003 (cannot serve now) leave it open."""
_FORBIDDEN = (
    "register this machine's static IPv4 address and look at subscription and segments at https://groww.in/trade-api/api-keys; "
    "a new login does not help"
)


def error_of(body: Row) -> tuple[str, str]:
    """(code, message) of a failure's envelope; empty where there is none."""
    error = body.get("error")
    if not isinstance(error, Mapping):
        return "", str(body.get("message") or "no message")
    return str(error.get("code") or ""), str(error.get("message") or "no message")


def failure(status: int, code: str, message: str, *, is_order: bool) -> BrokerError:
    """The typed meaning of an error reply; what the table does not name is Unknown for an order and Transient for a read."""
    text = f"Groww answered {status or 'nothing'} {code}: {message}".replace(" :", ":")
    code = code or str(status or "")
    if status == 429:
        return RateLimited(f"{text} - the budget pauses", code=code)
    if status == 401:
        return SessionExpired(f"{text} - log in again: main.py login groww (tokens die at 06:00)", code=code)
    told = 200 <= status < 500  # a failure's envelope may come under HTTP 200; under 5xx it proves nothing
    if status == 403 or (code == _NOT_AUTHORISED and told):
        return Rejected(f"{text} - {_FORBIDDEN}", code=code)
    if code in REFUSALS and told:
        return Rejected(f"{text} - {REFUSALS[code]}", code=code)
    if is_order:
        return Unknown(f"{text} - it may have been taken; look for it by its tag, the order reference id", code=code)
    return Transient(text, code=code)
