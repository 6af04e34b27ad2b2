"""Upstox's words and ours, as pure functions: order states, products, rows of the books, bodies of orders, and what a refusal means."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import brokers.book_rows as book_rows
from brokers.charge_lines import told
from core.errors import BrokerError, DataError, RateLimited, Rejected, SessionExpired, Transient, Unknown
from core.events import BrokerPosition, ChargesTold, Funds, Holding, OrderUpdate, Trade
from core.ports import InstrumentLookup, Token
from core.types import Horizon, Instrument, Kind, Order, OrderState, OrderType

TITLE = "Upstox"

STATES: Mapping[str, OrderState] = {
    "validation pending": OrderState.PENDING_NEW,
    "put order req received": OrderState.PENDING_NEW,
    "open pending": OrderState.PENDING_NEW,
    "after market order req received": OrderState.AMO_QUEUED,
    "modify after market order req received": OrderState.AMO_QUEUED,
    "open": OrderState.WORKING,
    "trigger pending": OrderState.TRIGGER_PENDING,
    "modify validation pending": OrderState.PENDING_MODIFY,
    "modify pending": OrderState.PENDING_MODIFY,
    "modified": OrderState.WORKING,
    "not modified": OrderState.WORKING,
    "not cancelled": OrderState.WORKING,
    "cancel pending": OrderState.PENDING_CANCEL,
    "cancelled after market order": OrderState.CANCELLED,
    "cancelled": OrderState.CANCELLED,
    "complete": OrderState.FILLED,
    "rejected": OrderState.REJECTED,
}
"""Upstox's appendix of order statuses (lower case, with spaces); a label that is not here has state None and is quarantined."""

USER_AGENT = "Mozilla/5.0 (compatible; Niyam)"
"""Upstox's front turns down requests without a User-Agent, or with an odd one, by an HTML page."""

_AMBIGUOUS = frozenset({"modified", "not modified", "not cancelled"})  # for a stop that has not filled they also occur before the trigger

HISTORICAL_CAPS: Mapping[int, int] = {
    **dict.fromkeys((1, 2, 3, 5, 10, 15), 28),  # "1 month" for 1 to 15 minutes: a February's
    **dict.fromkeys((20, 30, 45, 60, 75, 120, 180, 240), 88),  # "1 quarter": the shortest, less the edges
    1440: 3650,  # "1 decade"
}
"""Days in one request by interval in minutes (V3 historical candles, 2026-09); other minutes up to 300 are served as well."""

SEGMENTS: Mapping[str, str] = {
    "NSE_EQ": "NSE",
    "BSE_EQ": "BSE",
    "NSE_INDEX": "NSE",
    "BSE_INDEX": "BSE",
    "NSE_FO": "NFO",
    "BSE_FO": "BFO",
    "NCD_FO": "CDS",
    "BCD_FO": "BCD",
    "MCX_FO": "MCX",
    "NSE_COM": "NCO",
}
"""The segment before the `|` of an instrument key -> our exchange."""

_DERIVATIVES = frozenset({"NFO", "BFO", "CDS", "BCD", "MCX", "NCO"})
_SEGMENT_OF = {exchange: segment for segment, exchange in SEGMENTS.items() if not segment.endswith("INDEX")}
_TRADE_TO_TRADE = re.compile(r"-(BE|BZ|ST|SZ)$")


# --- products ---------------------------------------------------------------------------------------------------------------------------


def product(horizon: Horizon, instrument: Instrument) -> str:
    """I for what must be flat today; D for what may be carried, in cash and in derivatives alike (there is no NRML)."""
    return "I" if horizon is Horizon.INTRADAY else "D"


def horizon_of(product: str) -> Horizon:
    """I and CO end with the day; D, MTF and whatever comes later may be carried."""
    return Horizon.INTRADAY if product in ("I", "CO") else Horizon.CARRY


def objection(horizon: Horizon, instrument: Instrument) -> str:
    """What Upstox's API cannot be asked for, with the alternative; "" for everything else."""
    if not instrument.tradable:
        return f"{instrument.key} is an index; trade its future"
    if instrument.exchange == "MCX":
        return f"Upstox takes no MCX orders by API (UDAPI1161, last seen 2026-09-23), so not {instrument.key}; trade the NSE contract (NCO)"
    if horizon is Horizon.INTRADAY and instrument.kind is Kind.EQUITY and _TRADE_TO_TRADE.search(instrument.symbol):
        return f"{instrument.key} is a trade-to-trade series, which Upstox takes for delivery alone; give its strategy the horizon carry"
    return ""


# --- rows of the books ------------------------------------------------------------------------------------------------------------------


def instrument_of(row: Mapping[str, Any], lookup: InstrumentLookup) -> Instrument:
    """The instrument of a book row; one that the snapshot does not hold becomes a minimal one, so that no row is lost."""
    token, exchange = str(row.get("instrument_token") or row.get("instrument_key") or ""), str(row["exchange"])
    if "|" not in token and token:  # some rows carry the exchange's number alone
        token = f"{_SEGMENT_OF.get(exchange, exchange)}|{token}"
    segment = token.partition("|")[0]
    known = lookup.by_token(token) if token else None
    if known is not None:
        return known
    exchange = SEGMENTS.get(segment, exchange)
    symbol = str(row.get("trading_symbol") or row.get("tradingsymbol") or token)
    kind = Kind.EQUITY
    if exchange in _DERIVATIVES:
        words = symbol.split()
        kind = Kind.CALL if "CE" in words else Kind.PUT if "PE" in words else Kind.FUTURE
    return Instrument(f"{exchange}:{symbol}", exchange, symbol, kind, symbol.split()[0] if symbol.split() else symbol)


def order_update(row: Mapping[str, Any], at: datetime, source: str, lookup: InstrumentLookup) -> OrderUpdate:
    """An order book row, or the same payload of the portfolio stream; raises DataError where its essential fields are missing."""
    with book_rows.reading(TITLE, "an order", row):
        label = str(row["status"]).strip().lower()
        told_at = book_rows.moment(row.get("exchange_timestamp")) or book_rows.moment(row.get("order_timestamp"))
        return book_rows.order_update(row, at, source, instrument_of(row, lookup), label, _state(label, row), told_at)


def _state(label: str, row: Mapping[str, Any]) -> OrderState | None:
    filled, kind = int(row.get("filled_quantity") or 0), book_rows.order_type(row.get("order_type"))
    if label in _AMBIGUOUS and filled == 0 and kind in (OrderType.SL, OrderType.SL_M):
        return OrderState.TRIGGER_PENDING
    if label == "complete" and filled < int(row["quantity"]):  # said too early, as reported of BSE: still at the exchange
        return OrderState.WORKING
    return STATES.get(label)


def trade(row: Mapping[str, Any], lookup: InstrumentLookup) -> Trade:
    """A row of the trade book; raises DataError where a field is missing."""
    with book_rows.reading(TITLE, "a trade", row):
        return book_rows.trade(row, instrument_of(row, lookup), ("exchange_timestamp", "order_timestamp"))


def position(row: Mapping[str, Any], lookup: InstrumentLookup) -> BrokerPosition:
    """A row of the short-term positions; raises DataError where a field is missing."""
    with book_rows.reading(TITLE, "a position", row):
        return book_rows.position(row, instrument_of(row, lookup))


def holding(row: Mapping[str, Any], lookup: InstrumentLookup) -> Holding:
    """A row of the holdings; raises DataError where a field is missing."""
    with book_rows.reading(TITLE, "a holding", row):
        return book_rows.holding(row, instrument_of(row, lookup))


def funds(data: Mapping[str, Any]) -> Funds:
    """The combined funds under `equity` (since 2025-07-19 the commodity segment is part of them)."""
    try:
        equity = data["equity"]
        return Funds(available=float(equity["available_margin"]), used=float(equity["used_margin"]))
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"Upstox's funds miss the available or used margin ({type(error).__name__}: {error})") from error


# --- charges ----------------------------------------------------------------------------------------------------------------------------


def charge_query(order: Order, token: Token) -> dict[str, str]:
    """What /v2/charges/brokerage wants to know of an executed order."""
    return {
        "instrument_token": str(token),
        "quantity": str(order.filled),
        "product": order.product or product(order.horizon, order.instrument),
        "transaction_type": order.side.value,
        "price": f"{order.average_price:.4f}".rstrip("0").rstrip("."),
    }


def charges(order: Order, data: Any) -> ChargesTold:
    """The charges in its answer. What the exchange takes has had two names (`other_charges` since 2024), and the fee for investors'
    protection a line of its own, which is the exchange's too; the depository's (`dp_plan`) is no part of the sum."""
    with book_rows.reading(TITLE, "a charge", data if isinstance(data, dict) else {}):
        said = data["charges"]
        taxes, other = said["taxes"], said.get("other_charges") or said.get("other_taxes") or said["otherTaxes"]
        lines = {
            "brokerage": said["brokerage"],
            "stt": taxes["stt"],
            "txn": book_rows.finite(other["transaction"]) + book_rows.finite(other.get("ipft")),
            "sebi": other["sebi_turnover"],
            "stamp": taxes["stamp_duty"],
            "gst": taxes["gst"],
            "other": other.get("clearing"),
        }
        return told(TITLE, order, data, said["total"], lines)


# --- orders -----------------------------------------------------------------------------------------------------------------------------


def place_body(order: Order, token: Token) -> dict[str, Any]:
    """The JSON of an order; raises Rejected for one that may not be sent as it is."""
    if not 0 < len(order.tag) <= 40:
        raise Rejected(f"order {order.id}: tag {order.tag!r} must be 1-40 characters; nothing was sent")
    reason = objection(order.horizon, order.instrument)
    if reason:
        raise Rejected(f"order {order.id}: {reason}. Nothing was sent")
    return {
        "instrument_token": str(token),
        "transaction_type": order.side.value,
        "quantity": order.quantity,
        "product": order.product or product(order.horizon, order.instrument),
        "order_type": book_rows.sendable(order),
        "price": round(order.limit_price, 4),
        "trigger_price": round(order.trigger_price or 0.0, 4),
        "validity": order.validity.value,
        "disclosed_quantity": 0,
        "is_amo": False,
        "slice": False,  # cut at the freeze quantity by us: each part is an order that we know of
        "tag": order.tag,
    }


def modify_body(order: Order, quantity: int, limit_price: float, trigger_price: float | None) -> dict[str, Any]:
    """The JSON of a modification; `quantity` is the new total, what is filled included."""
    return {
        "order_id": book_rows.broker_id(order),
        "quantity": quantity,
        "price": round(limit_price, 4),
        "order_type": book_rows.sendable(order),
        "trigger_price": round(trigger_price or 0.0, 4),
        "validity": order.validity.value,
        "disclosed_quantity": 0,
    }


# --- what a refusal means ---------------------------------------------------------------------------------------------------------------

DEAD_TOKEN = "UDAPI100050"  # noqa: S105 - an error code
_READ_ONLY_TOKEN = "UDAPI100067"  # noqa: S105 - an error code
_THROTTLED = "UDAPI10005"
_STATIC_IP = "UDAPI1154"
_OMS = "UDAPI100500"
_UNDECIDED = ("something went wrong", "timed out", "timeout", "try again", "unable to", "not available")
"""What UDAPI100500 also says when nobody knows: its other texts are the order system's own refusals."""
REFUSALS: Mapping[str, str] = {
    "UDAPI10000": "no such request; a fault of ours",
    "UDAPI100015": "the request lacks its API version; a fault of ours",
    "UDAPI100016": "client id, client secret or code are wrong; compare them with the app at account.upstox.com/developer/apps",
    "UDAPI100068": "client id and redirect URI do not belong together; set UPSTOX_REDIRECT_URI to the app's registered one",
    "UDAPI100073": "the app is inactive; its owner must ask Upstox's support",
    "UDAPI100036": "an input is malformed",
    "UDAPI100038": "an input is malformed",
    "UDAPI100010": "no such order",
    "UDAPI100011": "no such instrument; update the instruments",
    "UDAPI100060": "no such instrument among those asked for; update the instruments",
    "UDAPI100039": "no after-market order while the market is open",
    "UDAPI100040": "the order is complete, cancelled or rejected already",
    "UDAPI100041": "the order is complete, cancelled or rejected already",
    "UDAPI100049": "the account may not use this API",
    "UDAPI100057": "the market is closed",
    "UDAPI100058": "no segment of the account is active; reactivate it in Upstox's app",
    "UDAPI100074": "orders are taken by API from 05:30 to 24:00 only",
    "UDAPI100076": "too many instruments in one request",
    "UDAPI1004": "the order type is missing",
    "UDAPI1007": "the validity is missing",
    "UDAPI1010": "the order id is malformed",
    "UDAPI1015": "the range of days is reversed",
    "UDAPI1022": "a date is missing or malformed",
    "UDAPI1023": "the order id is missing",
    "UDAPI1026": "the instrument key is missing",
    "UDAPI1043": "the price is missing",
    "UDAPI1052": "the quantity is zero",
    "UDAPI1055": "the validity is unknown",
    "UDAPI1056": "the order type is unknown",
    "UDAPI1146": "no such unit of candles",
    "UDAPI1147": "no such interval of candles",
    "UDAPI1148": "more days than one request for candles may span",
    "UDAPI1118": "more than 25 slices",
    "UDAPI1119": "the tag is longer than 40 characters",
    "UDAPI1156": "the algo's name is not registered",
    "UDAPI1158": "a market order without protection",
    "UDAPI1159": "a market protection above 25 percent",
    "UDAPI1160": "an invalid market protection",
    "UDAPI1161": "MCX orders by API are disabled; trade the NSE contract (NCO)",
}
"""Codes after which it is certain that nothing happened, with what they mean (Upstox's pages of each call, and of common errors)."""


def error_of(body: Mapping[str, Any]) -> tuple[str, str]:
    """(code, message) of an error envelope; the first error counts, empty where there is none."""
    errors = body.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    code = first.get("errorCode") or first.get("error_code") or ""
    return str(code), str(first.get("message") or "no message")


def failure(status: int, code: str, message: str, *, is_order: bool) -> BrokerError:
    """The typed meaning of an error reply; what the table does not name is Unknown for an order and Transient for a read."""
    text = f"Upstox answered {status or 'nothing'} {code}: {message}".replace("  ", " ").strip()
    code = code or str(status or "")
    if status == 429 or code == _THROTTLED:
        return RateLimited(f"{text} - the budget pauses", code=code)
    if code == DEAD_TOKEN or (status == 401 and code not in REFUSALS):
        step = "log in again: main.py login upstox (another login, or a new static IP, ends the older token)"
        return SessionExpired(f"{text} - {step}", code=code)
    if code == _STATIC_IP:
        step = "register this machine's static IPv4 address with the app at account.upstox.com/developer/apps, then log in again"
        return Rejected(f"{text} - {step}", code=code)
    if code == _READ_ONLY_TOKEN:
        return Rejected(f"{text} - this token may only read; log in with main.py login upstox", code=code)
    if code == _OMS and is_order and status == 400 and message and not any(words in message.lower() for words in _UNDECIDED):
        return Rejected(text, code=code)
    if code in REFUSALS and 400 <= status < 500:
        return Rejected(f"{text} - {REFUSALS[code]}", code=code)
    if is_order:
        return Unknown(f"{text} - it may have been taken; look for it in the order book by its tag", code=code)
    return Transient(text, code=code)


def exchange_number(token: Token) -> str:
    """`NSE_FO|50917` -> `50917`; a share's token holds its ISIN instead."""
    number = str(token).rpartition("|")[2]
    return number if number.isdecimal() else ""
