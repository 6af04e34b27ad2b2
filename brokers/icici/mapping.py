"""ICICI's words and ours, as pure functions: order states, products, rows of the books, bodies of orders, and what a refusal means.

A token of ours is `NSE|RELIND|2885` or `NFO|NIFTY|2026-11-24|25000|CE|36342`: what an order names, and at its end what the stream does.
The rows of the books name no number, so that their instrument is looked up by the beginning of its token.
"""

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from brokers.book_rows import finite, price, reading, units
from brokers.charge_lines import told
from core.errors import BrokerError, DataError, RateLimited, Rejected, SessionExpired, Transient, Unknown
from core.events import BrokerPosition, ChargesTold, Funds, Holding, OrderUpdate, Trade
from core.ports import CodeLookup, Token
from core.types import IST, Horizon, Instrument, Kind, Order, OrderState, OrderType, Purpose, Side, Validity

TITLE = "ICICI Direct"

STATES: Mapping[str, OrderState] = {
    "requested": OrderState.PENDING_NEW,
    "queued": OrderState.PENDING_NEW,
    "ordered": OrderState.WORKING,
    "partially executed": OrderState.WORKING,
    "executed": OrderState.FILLED,
    "rejected": OrderState.REJECTED,
    "expired": OrderState.EXPIRED,
    "cancelled": OrderState.CANCELLED,
    "partially executed and expired": OrderState.EXPIRED,
    "partially executed and cancelled": OrderState.CANCELLED,
    "freezed": OrderState.PENDING_NEW,  # held for its size until the exchange decides
}
"""Breeze's order statuses in lower case; a label that is not here has state None and is quarantined."""

LETTERS: Mapping[str, str] = {
    "R": "requested",
    "Q": "queued",
    "O": "ordered",
    "P": "partially executed",
    "E": "executed",
    "J": "rejected",
    "X": "expired",
    "B": "partially executed and expired",
    "D": "partially executed and cancelled",
    "F": "freezed",
    "C": "cancelled",
}
"""The same in the order notifications."""

HISTORICAL_CAPS: Mapping[int, int] = {
    **dict.fromkeys((1, 2, 3), 1),
    **dict.fromkeys((5, 10, 15), 12),
    **dict.fromkeys((30, 60), 74),
    1440: 1300,
}
"""Days in one request by interval in minutes: a thousand candles at most, of those the broker has (1, 5, 30 minutes and the day); the
others are joined from them."""

BASES: Mapping[int, tuple[int, str]] = {
    **dict.fromkeys((1, 2, 3), (1, "1minute")),
    **dict.fromkeys((5, 10, 15), (5, "5minute")),
    **dict.fromkeys((30, 60), (30, "30minute")),
    1440: (1440, "1day"),
}
"""Interval in minutes -> the broker's own that it is made from, and its name."""

EXCHANGES = ("NSE", "BSE", "NFO", "BFO")
ROOMS: Mapping[str, str] = {"NSE": "4", "NFO": "4", "BSE": "1", "BFO": "8"}  # how the stream names the exchange: `4.1!1594`
LONGEST_TAG = 20  # no limit of user_remark is documented; ours have 16
_RIGHTS: Mapping[str, str] = {"CE": "call", "PE": "put", "FUT": "others"}
_KINDS: Mapping[str, Kind] = {"call": Kind.CALL, "ce": Kind.CALL, "put": Kind.PUT, "pe": Kind.PUT} | dict.fromkeys(
    ("others", "xx", "*", "", "none"), Kind.FUTURE
)
_CONTRACTS = frozenset({"NFO", "BFO", "NDX", "MCX"})
_INTRADAY = frozenset({"margin", "optionplus", "futureplus", "mis"})  # foreign orders alone: the API has none of them


# --- products ---------------------------------------------------------------------------------------------------------------------------


def product(horizon: Horizon, instrument: Instrument) -> str:
    """cash, futures or options: the API has no intraday products, so that one product serves both horizons."""
    if instrument.kind is Kind.FUTURE:
        return "futures"
    return "options" if instrument.is_option else "cash"


def horizon_of(product: str) -> Horizon:
    """Everything that the API can order is carried; the intraday products of others' orders end with the day."""
    return Horizon.INTRADAY if product.lower() in _INTRADAY else Horizon.CARRY


def stands_in(horizon: Horizon, instrument: Instrument) -> str:
    """What is ordered in place of an intraday product that the API has not; "" where nothing is amiss."""
    if horizon is Horizon.INTRADAY and instrument.kind is Kind.EQUITY:
        return (
            f"ICICI's API has no intraday product for shares (since 2026-03-27): {instrument.key} is bought as cash at full value and sold "
            "by us before the close; it cannot be sold short. orders.stand_in: false takes no such entries"
        )
    return ""


def objection(horizon: Horizon, instrument: Instrument) -> str:
    """What Breeze cannot be asked for, with the alternative; "" for everything else."""
    if not instrument.tradable:
        return f"{instrument.key} is an index; trade its future"
    if instrument.exchange not in EXCHANGES:
        return f"{instrument.key}: order rights on {instrument.exchange} are unconfirmed at ICICI, nothing is sent; use another broker"
    return ""


# --- names ------------------------------------------------------------------------------------------------------------------------------


def parts_of(token: Token) -> tuple[str, str, str]:
    """(exchange, stock code, number of the stream) of a token."""
    parts = str(token).split("|")
    if len(parts) not in (3, 6):
        raise DataError(f"{token!r} is no token of ICICI's; update the instruments")
    return parts[0], parts[1], parts[-1]


def room(token: Token) -> str:
    """The stream's name of an instrument's quotes."""
    exchange, _, number = parts_of(token)
    return f"{ROOMS[exchange]}.1!{number}"


def cash_token(exchange: str, code: str, number: str) -> str:
    return f"{exchange}|{code}|{number}"


def contract_token(exchange: str, code: str, expiry: date, strike: float, kind: str, number: str) -> str:
    return f"{exchange}|{code}|{expiry.isoformat()}|{strike:.10g}|{kind}|{number}"


def day_of(text: Any) -> date | None:
    """`24-Nov-2026`, in any case, or the `2026-11-24T06:00:00.000Z` that requests name; None for anything else."""
    try:
        if len(str(text)) == 24:
            return date.fromisoformat(str(text)[:10])
        return datetime.strptime(f"{text} +0530", "%d-%b-%Y %z").date()
    except ValueError:
        return None


def moment(text: Any) -> datetime | None:
    """`20-Nov-2026 10:41:24` (IST) as an aware time; None for anything else."""
    try:
        return datetime.strptime(str(text), "%d-%b-%Y %H:%M:%S").replace(tzinfo=IST)
    except ValueError:
        return None


def instrument_of(row: Mapping[str, Any], lookup: CodeLookup) -> Instrument:
    """The instrument of a book row; one that the snapshot does not hold becomes a minimal one, so that no row is lost.

    Raises ValueError for a contract whose expiry or right does not read: it would be taken for another one.
    """
    exchange, code = str(row["exchange_code"]).upper(), str(row["stock_code"]).upper()
    expiry = day_of(row.get("expiry_date"))
    if expiry is None:
        if exchange in _CONTRACTS:
            raise ValueError(f"expiry_date {row.get('expiry_date')!r} of a contract is no day")
        return _named(lookup, f"{exchange}|{code}|") or Instrument(f"{exchange}:{code}", exchange, code, Kind.EQUITY, code)
    kind = _KINDS.get(str(row.get("right") or "").strip().lower())
    option = str(row.get("product_type") or "").strip().lower().startswith("option")
    if kind is None or (option and kind is Kind.FUTURE):
        raise ValueError(f"right {row.get('right')!r} of a contract in {row.get('product_type')!r}")
    strike = _number(row.get("strike_price")) if kind is not Kind.FUTURE else 0.0
    found = _named(lookup, contract_token(exchange, code, expiry, strike, kind.value, ""))
    if found is None and kind is not Kind.FUTURE and strike >= 100:  # order notifications give strikes in paise
        found = _named(lookup, contract_token(exchange, code, expiry, strike / 100, kind.value, ""))
    if found is not None:
        return found
    symbol = f"{code} {expiry} {kind.value}" if kind is Kind.FUTURE else f"{code} {expiry} {strike:.10g} {kind.value}"
    return Instrument(f"{exchange}:{symbol}", exchange, symbol, kind, code, expiry=expiry, strike=strike or None)


def _named(lookup: CodeLookup, beginning: str) -> Instrument | None:
    return lookup.by_token_start(beginning)


# --- rows of the books ------------------------------------------------------------------------------------------------------------------


def order_update(row: Mapping[str, Any], at: datetime, source: str, lookup: CodeLookup) -> OrderUpdate:
    """A row of the order list; raises DataError where its essential fields are missing. It has no time of its last change."""
    try:
        label = str(row["status"]).strip().lower()
        quantity, filled = _filled(row)
        stop = str(row.get("order_type") or "").lower() == "stoploss"
        trigger = _rupees(row.get("stoploss")) if stop else 0.0
        return OrderUpdate(
            at=at,
            source=source,
            broker_order_id=_needed(row, "order_id"),
            instrument=instrument_of(row, lookup),
            side=Side(str(row["action"]).upper()),
            quantity=quantity,
            state=_state(label, stop=stop, filled=filled),
            filled=filled,
            average_price=_rupees(row.get("average_price")),
            tag=str(row.get("user_remark") or "") or None,
            label=label,
            product=str(row.get("product_type") or "").lower(),
            order_type=OrderType.SL if stop else OrderType.LIMIT,
            limit_price=_rupees(row.get("price")),
            trigger_price=trigger or None,
            reason=str(row.get("message") or row.get("error_message") or ""),
        )
    except (KeyError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise DataError(f"an order row of ICICI misses or garbles a field ({type(error).__name__}: {error}): {_short(row)}") from error


def _filled(row: Mapping[str, Any]) -> tuple[int, int]:
    """(quantity, filled). One that is not at the exchange yet, or was refused, may show nothing pending: what has filled has an average.

    `executed_quantity` is an order notification's: it says what the rows of the list leave to be counted.
    """
    label = str(row["status"]).strip().lower()
    quantity = _units(row["quantity"])
    if label == "executed":
        return quantity, quantity
    if "executed_quantity" in row:
        filled = _units(row["executed_quantity"])
        if filled > quantity:
            raise ValueError(f"{filled} executed of {quantity}")
        return quantity, filled
    if not label.startswith("partially") and not _number(row.get("average_price")):
        return quantity, 0
    return quantity, max(0, quantity - _units(row.get("pending_quantity")) - _units(row.get("cancelled_quantity")))


def _state(label: str, *, stop: bool, filled: int) -> OrderState | None:
    if label == "ordered" and stop and filled == 0:
        return OrderState.TRIGGER_PENDING
    if label == "rejected" and filled:  # its rest was
        return OrderState.CANCELLED
    return STATES.get(label)


def trade(row: Mapping[str, Any], order: OrderUpdate) -> Trade:
    """A row of an order's trade details; raises DataError where a field is missing."""
    try:
        at = moment(row.get("exchange_trade_time"))
        if at is None:
            raise ValueError(f"exchange_trade_time {row.get('exchange_trade_time')!r} is no time")
        return Trade(
            id=_needed(row, "exchange_trade_id"),
            broker_order_id=order.broker_order_id,
            instrument=order.instrument,
            side=order.side,
            quantity=_units(row["executed_quantity"]),
            price=_rupees(row["execution_price"]),
            at=at,
        )
    except (KeyError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise DataError(f"a trade row of ICICI misses or garbles a field ({type(error).__name__}: {error}): {_short(row)}") from error


def position(row: Mapping[str, Any], lookup: CodeLookup) -> BrokerPosition:
    """A row of the positions; the quantity has its sign from the action. Quantity 0 is kept: it is evidence that there is none."""
    try:
        quantity, action = whole(row["quantity"]), str(row["action"]).lower()
        if action not in ("buy", "sell", "na") or (action == "na" and quantity):
            raise ValueError(f"action {row['action']!r} of a position of {quantity}")
        return BrokerPosition(
            instrument=instrument_of(row, lookup),
            product=str(row["product_type"]).lower(),
            quantity=-quantity if action == "sell" else quantity,
            average_price=_number(row.get("average_price")),
            last_price=_number(row.get("ltp")),
        )
    except (KeyError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise DataError(f"a position row of ICICI misses or garbles a field ({type(error).__name__}: {error}): {_short(row)}") from error


def holding(row: Mapping[str, Any], told: Mapping[str, Mapping[str, Any]], lookup: CodeLookup) -> Holding:
    """A row of the demat account, which says how many; `told` are the rows of the portfolio by stock code, which say at what price.

    Shares that the portfolio does not know (moved in from elsewhere) have the prices 0: not told.
    """
    try:
        code = _needed(row, "stock_code").upper()
        priced = told.get(code, {})
        last, change = _rupees(priced.get("current_market_price")), _number(priced.get("change_percentage"))
        return Holding(
            instrument=instrument_of({"exchange_code": priced.get("exchange_code") or "NSE", "stock_code": code}, lookup),
            quantity=_units(row["demat_total_bulk_quantity"]),
            average_price=_rupees(priced.get("average_price")),
            last_price=last,
            close_price=round(last / (1 + change / 100), 2) if change > -100 else 0.0,
        )
    except (KeyError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise DataError(f"a holding row of ICICI misses or garbles a field ({type(error).__name__}: {error}): {_short(row)}") from error


def funds(data: Mapping[str, Any]) -> Funds:
    """What is allocated to equity and F&O and not blocked there; money that is not allocated cannot trade."""
    try:
        allocated = _number(data["allocated_equity"]) + _number(data["allocated_fno"])
        blocked = _number(data["block_by_trade_equity"]) + _number(data["block_by_trade_fno"])
        return Funds(available=finite(allocated - blocked), used=finite(blocked))
    except (KeyError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise DataError(f"ICICI's funds miss an allocated or blocked amount ({type(error).__name__}: {error})") from error


def whole(value: Any) -> int:
    """Units in a text such as "65" or "65.0"; nothing is zero."""
    number = _number(value)
    if number != int(number):
        raise ValueError(f"{value!r} is no whole number of units")
    return int(number)


def _number(value: Any) -> float:
    if value is None or value == "":
        return 0.0
    number = float(value)
    if number - number != 0.0:
        raise ValueError(f"{value!r} is no number")
    return number


def _rupees(value: Any) -> float:
    """A price of an order, a trade or a share; nothing is zero, and none is negative."""
    return price(_number(value))


def _units(value: Any) -> int:
    """A quantity of an order, a trade or a holding."""
    return units(whole(value))


def _needed(row: Mapping[str, Any], name: str) -> str:
    text = str(row[name] or "").strip()
    if not text:
        raise ValueError(f"{name} is empty")
    return text


def _short(row: Mapping[str, Any]) -> str:
    names = ("order_id", "exchange_trade_id", "exchange_code", "stock_code", "status", "action")
    return str({name: row.get(name) for name in names if name in row})


# --- charges ----------------------------------------------------------------------------------------------------------------------------

_CHARGES = {
    "brokerage": "brokerage",
    "stt": "stt",
    "txn": "exchange_turnover_charges",
    "sebi": "sebi_charges",
    "stamp": "stamp_duty",
    "gst": "gst",
}


def charge_body(order: Order, token: Token) -> dict[str, str]:
    """What preview_order wants to know of an executed order; its price type has a spelling of its own."""
    exchange, code, _ = parts_of(token)
    return {
        "stock_code": code,
        "exchange_code": exchange,
        "product": order.product or product(order.horizon, order.instrument),
        "order_type": "limit",
        "price": _price(order.average_price),
        "action": order.side.value.lower(),
        "quantity": str(order.filled),
        "specialflag": "N",
        **contract_fields(order.instrument),
    }


def charges(order: Order, row: Any) -> ChargesTold:
    """The charges in its answer, whose `total_brokerage` is the sum of all of them."""
    with reading(TITLE, "a charge", row if isinstance(row, dict) else {}):
        return told(TITLE, order, row, row["total_brokerage"], {ours: row[theirs] for ours, theirs in _CHARGES.items()})


# --- orders -----------------------------------------------------------------------------------------------------------------------------


def contract_fields(instrument: Instrument) -> dict[str, str]:
    """Expiry, right and strike as REST names them; empty for cash."""
    if instrument.expiry is None:
        return {}
    strike = f"{instrument.strike:.10g}" if instrument.strike else "0"
    right = _RIGHTS[instrument.kind.value]
    return {"expiry_date": f"{instrument.expiry.isoformat()}T06:00:00.000Z", "right": right, "strike_price": strike}


def place_body(order: Order, token: Token) -> dict[str, Any]:
    """The JSON of an order; raises Rejected for one that may not be sent as it is. `user_remark` is our tag, which nobody gives back."""
    reason = objection(order.horizon, order.instrument)
    if not reason and order.instrument.kind is Kind.EQUITY and order.side is Side.SELL and order.purpose is Purpose.ENTRY:
        reason = f"{order.instrument.key} cannot be sold short: ICICI's API has cash delivery alone; trade its future, or at another broker"
    if reason:
        raise Rejected(f"order {order.id}: {reason}. Nothing was sent")
    if len(order.tag) > LONGEST_TAG or not order.tag.isalnum():
        raise Rejected(f"order {order.id}: tag {order.tag!r} is not up to {LONGEST_TAG} letters and digits; nothing was sent")
    exchange, code, _ = parts_of(token)
    stop = _is_stop(order)
    return {
        "stock_code": code,
        "exchange_code": exchange,
        "product": order.product or product(order.horizon, order.instrument),
        "action": order.side.value.lower(),
        "order_type": "stoploss" if stop else "limit",
        "quantity": str(order.quantity),
        "price": _price(order.limit_price),
        "validity": _validity(order),
        "settlement_id": "",
        "order_segment_code": "",
        "lots": "",
        "user_remark": order.tag,
        **({"stoploss": _price(order.trigger_price or 0.0)} if stop else {}),
        **contract_fields(order.instrument),
    }


def modify_body(order: Order, quantity: int, limit_price: float, trigger_price: float | None) -> dict[str, Any]:
    """The JSON of a modification; `quantity` is the new total, what is filled included (unconfirmed; the engine never changes it)."""
    stop = _is_stop(order)
    return {
        **id_body(order),
        "order_type": "stoploss" if stop else "limit",
        "quantity": str(quantity),
        "price": _price(limit_price),
        "validity": _validity(order),
        **({"stoploss": _price(trigger_price or 0.0)} if stop else {}),
    }


def id_body(order: Order) -> dict[str, Any]:
    """What names an order: the exchange's code, then its id."""
    if not order.broker_order_id:
        raise Rejected(f"order {order.id} has no broker order id yet; look for it in the order book first")
    return {"order_id": order.broker_order_id, "exchange_code": order.instrument.exchange}


def _is_stop(order: Order) -> bool:
    if order.order_type not in (OrderType.LIMIT, OrderType.SL):
        text = f"a bare {order.order_type.value} is never sent (ICICI's API takes none); translate it into a capped LIMIT or SL"
        raise Rejected(f"order {order.id}: {text}. Nothing was sent")
    stop = order.order_type is OrderType.SL
    if stop and order.trigger_price is None:
        raise Rejected(f"order {order.id}: SL without a trigger price; nothing was sent")
    if stop and order.validity is Validity.IOC:
        raise Rejected(f"order {order.id}: a stop that is IOC would end before its trigger; use DAY. Nothing was sent")
    return stop


def _validity(order: Order) -> str:
    return "ioc" if order.validity is Validity.IOC else "day"


def _price(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")


# --- what a refusal means ---------------------------------------------------------------------------------------------------------------

THROTTLED = 5
"""The envelope's Status of a rate limit, whatever the HTTP status."""
_DEAD = ("invalid session", "session key is expired", "session expired", "resource not available", "public key does not exist")
_CHECKSUM = ("checksum", "timestamp")
_ADDRESS = ("ip address", "static ip")
REFUSALS: tuple[tuple[str, str], ...] = (
    ("cannot be empty", "a field is missing; a fault of ours"),
    ("should be either", "a field has a value that Breeze does not take"),
    ("should be more than 0", "an amount is zero"),
    ("is not allowed for mtf", "MTF is for buying alone"),
    ("stock-code not found", "no such stock code; update the instruments"),
    ("order-id not found", "no such order; read the order list"),
    ("has already been executed", "the order is over already"),
    ("not allowed as exchange-code", "the exchange is not open to the API"),
    ("exchange-code not allowed", "the exchange is not open to the API"),
    ("you are not authorized", "the account has no right to this call"),
    ("method not allowed", "a fault of ours"),
    ("insufficient", "money or shares are missing, or not allocated to this segment (set_funds)"),
    ("multiple of lot", "the quantity is no multiple of the lot"),
    ("multiple of tick", "the price is off the tick"),
    ("exceeds freeze", "the quantity exceeds the freeze quantity"),
)
"""Pieces of texts (lower case) after which it is certain that nothing happened: those of the SDK's own message table and of the
documents. Breeze has no codes."""


def failure(http: int, status: Any, message: str, *, is_order: bool) -> BrokerError:
    """The typed meaning of an error reply; what the table does not name is Unknown for an order and Transient for a read.

    The text decides before the HTTP status does: a rate limit comes under 200 and under 401.
    """
    text, said = f"ICICI answered HTTP {http or '-'} status {status}: {message}", message.lower()
    code = str(status if status not in (None, "") else http)
    if is_order and http >= 500:  # whatever its page says
        return Unknown(f"{text} - it may have been taken; the order list tells", code=code)
    if status == THROTTLED or "limit exceed" in said or http == 429:
        return RateLimited(f"{text} - the budget pauses", code=code)
    if any(word in said for word in _DEAD):
        return SessionExpired(f"{text} - log in again: main.py login icici (every session dies at midnight)", code=code)
    if any(word in said for word in _ADDRESS) and http < 500:
        step = "register this machine's static IPv4 address with the app at api.icicidirect.com/apiuser/home (once a week)"
        return Rejected(f"{text} - {step}", code=code)
    if any(word in said for word in _CHECKSUM) and http < 500:
        step = (
            "the API secret or this machine's clock is wrong (60 s are allowed): compare ICICI_API_SECRET with the app, run an NTP client"
        )
        return Rejected(f"{text} - {step}", code=code)
    known = next((meaning for piece, meaning in REFUSALS if piece in said), "")
    if known and http < 500:
        return Rejected(f"{text} - {known}", code=code)
    if http == 401:
        return SessionExpired(f"{text} - log in again: main.py login icici", code=code)
    if is_order:
        return Unknown(f"{text} - it may have been taken; the order list tells", code=code)
    return Transient(text, code=code)


_NO_ROWS = re.compile(
    r"no (data|records?|orders?|trades?|positions?|holdings?)( (was|were))?( (found|available|exists?))?[.!]?", re.IGNORECASE
)


def no_rows(error: Any) -> bool:
    """Whether the text beside an empty Success says that there is nothing to tell; which texts there are is not documented."""
    return isinstance(error, str) and _NO_ROWS.fullmatch(error.strip()) is not None


_PAGE = re.compile(r"<title>\s*([^<]{0,60})", re.IGNORECASE)


def page_title(body: bytes) -> str:
    """What an HTML page calls itself, or how it begins."""
    found = _PAGE.search(body[:2000].decode("utf-8", "replace"))
    return f"a page titled {found[1].strip()!r}" if found else f"body {body[:80]!r}"


def exchange_number(token: Token) -> str:
    """Of a contract: its token ends with the master's own Token; a share's is ICICI's code."""
    number = str(token).rpartition("|")[2]
    return number if number.isdecimal() and str(token).count("|") > 2 else ""
