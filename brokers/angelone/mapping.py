"""SmartAPI's words and ours, as pure functions: order states, products, rows of the books, bodies of orders, and what a refusal means."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from typing import Any

from brokers.book_rows import price, reading, units
from brokers.charge_lines import told
from core.errors import BrokerError, DataError, LoginRefused, RateLimited, Rejected, SessionExpired, Transient, Unknown
from core.events import BrokerPosition, ChargesTold, Funds, Holding, OrderUpdate, Trade
from core.ports import InstrumentLookup, Token
from core.types import IST, Horizon, Instrument, Kind, Order, OrderState, OrderType, Side, Validity

TITLE = "Angel One"

STATES: Mapping[str, OrderState] = {
    "put order req received": OrderState.PENDING_NEW,
    "validation pending": OrderState.PENDING_NEW,
    "open pending": OrderState.PENDING_NEW,
    "open": OrderState.WORKING,
    "trigger pending": OrderState.TRIGGER_PENDING,
    "modify pending": OrderState.PENDING_MODIFY,
    "modify validation pending": OrderState.PENDING_MODIFY,
    "modified": OrderState.WORKING,
    "not modified": OrderState.WORKING,
    "cancel pending": OrderState.PENDING_CANCEL,
    "not cancelled": OrderState.WORKING,
    "cancelled": OrderState.CANCELLED,
    "rejected": OrderState.REJECTED,
    "complete": OrderState.FILLED,
    "after market order req received": OrderState.AMO_QUEUED,
    "modify after market order req received": OrderState.AMO_QUEUED,
    "cancelled after market order": OrderState.CANCELLED,
}
"""By `orderstatus` (`status` may read "modified" while the order works); a label that is not here has state None and is quarantined."""

_AMBIGUOUS = frozenset({"modified", "not modified", "not cancelled"})  # for a stop that has not filled they also occur before the trigger

INTERVALS: Mapping[int, str] = {
    1: "ONE_MINUTE",
    3: "THREE_MINUTE",
    5: "FIVE_MINUTE",
    10: "TEN_MINUTE",
    15: "FIFTEEN_MINUTE",
    30: "THIRTY_MINUTE",
    60: "ONE_HOUR",
    1440: "ONE_DAY",
}
HISTORICAL_CAPS: Mapping[int, int] = {1: 25, 3: 50, 5: 85, 10: 85, 15: 170, 30: 170, 60: 340, 1440: 1700}
"""Days in one request by interval in minutes: less than the documented 30, 60, 100, 100, 200, 200, 400, 2000, near which answers were seen
to be cut short without a word."""

LONGEST_TAG = 19  # an ordertag has fewer than 20 characters (SmartAPI, error AB4008)
_ORDERED = frozenset({"NSE", "BSE", "NFO", "BFO"})
_DERIVATIVES = frozenset({"NFO", "BFO", "CDS", "MCX", "NCO"})
_TRADE_TO_TRADE = re.compile(r"-(BE|BZ|ST|SZ)$")
_TYPES = {OrderType.LIMIT: ("NORMAL", "LIMIT"), OrderType.SL: ("STOPLOSS", "STOPLOSS_LIMIT")}
_ORDER_TYPES = {"LIMIT": OrderType.LIMIT, "MARKET": OrderType.MARKET, "STOPLOSS_LIMIT": OrderType.SL, "STOPLOSS_MARKET": OrderType.SL_M}


# --- products ---------------------------------------------------------------------------------------------------------------------------


def product(horizon: Horizon, instrument: Instrument) -> str:
    """INTRADAY for what must be flat today; DELIVERY (cash) or CARRYFORWARD (derivatives) for what may be carried."""
    if horizon is Horizon.INTRADAY:
        return "INTRADAY"
    return "CARRYFORWARD" if instrument.exchange in _DERIVATIVES else "DELIVERY"


def horizon_of(product: str) -> Horizon:
    """INTRADAY and BO end with the day; DELIVERY, CARRYFORWARD, MARGIN and whatever comes later may be carried."""
    return Horizon.INTRADAY if product in ("INTRADAY", "BO") else Horizon.CARRY


def objection(horizon: Horizon, instrument: Instrument) -> str:
    """What SmartAPI cannot be asked for, with the alternative; "" for everything else."""
    key = instrument.key
    if not instrument.tradable:
        return f"{key} is an index; trade its future"
    if instrument.exchange == "MCX":
        return f"nobody has confirmed whether Angel One counts MCX quantities in lots or in units, so not {key}; trade it at another broker"
    if instrument.exchange not in _ORDERED:
        return f"SmartAPI takes no orders for {instrument.exchange} (orders page, July 2026), so not {key}; trade it at another broker"
    if horizon is Horizon.INTRADAY and instrument.kind is Kind.EQUITY and _TRADE_TO_TRADE.search(instrument.symbol):
        return f"{key} is a trade-to-trade series, which is for delivery alone; give its strategy the horizon carry"
    return ""


# --- names ------------------------------------------------------------------------------------------------------------------------------


def token_of(exchange: str, token: str, symbol: str) -> str:
    """What the instrument snapshot keeps of the broker's names: `NFO|63657|NIFTY23NOV26FUT`."""
    return f"{exchange}|{token}|{symbol}"


def parts_of(token: Token) -> tuple[str, str, str]:
    """(exchange, symbol token, trading symbol) of a snapshot's token."""
    exchange, number, symbol = str(token).split("|", 2)
    return exchange, number, symbol


# --- rows of the books ------------------------------------------------------------------------------------------------------------------


def number(value: Any) -> float:
    """A number that came as a number, a text, or a text such as `- 2235.80`; nothing is 0. ValueError for what is none."""
    if isinstance(value, str):
        value = value.replace(" ", "").replace(",", "")
    found = float(value or 0)
    if not math.isfinite(found):
        raise ValueError(f"{value!r} is no number")
    return found


def moment(text: Any) -> datetime | None:
    """`20-Nov-2026 10:02:11` (IST) as an aware time; None for anything else."""
    if not isinstance(text, str) or len(text) != 20:
        return None
    try:
        return datetime.strptime(text, "%d-%b-%Y %H:%M:%S").replace(tzinfo=IST)
    except ValueError:
        return None


def instrument_of(row: Mapping[str, Any], lookup: InstrumentLookup) -> Instrument:
    """The instrument of a book row; one that the snapshot does not hold becomes a minimal one, so that no row is lost."""
    exchange, symbol = str(row["exchange"]), str(row["tradingsymbol"])
    known = lookup.by_token(token_of(exchange, str(row.get("symboltoken") or ""), symbol))
    plain = symbol.removesuffix("-EQ")
    if known is None and exchange not in _DERIVATIVES:
        known = lookup.by_key(f"{exchange}:{plain}")  # a row of the trade book has no token; shares are known by their symbol
    if known is not None:
        return known
    kind = Kind.EQUITY
    if exchange in _DERIVATIVES:
        kind = Kind(symbol[-2:]) if symbol.endswith(("CE", "PE")) else Kind.FUTURE
    return Instrument(f"{exchange}:{plain}", exchange, plain, kind, re.split(r"\d", plain, maxsplit=1)[0] or plain)


def order_update(row: Mapping[str, Any], at: datetime, source: str, lookup: InstrumentLookup) -> OrderUpdate:
    """An order book row, or the same payload of a postback or the order socket; raises DataError where its essential fields are missing."""
    try:
        label = str(row.get("orderstatus") or row["status"]).strip().lower()
        order_type, filled = _ORDER_TYPES.get(str(row.get("ordertype")), OrderType.LIMIT), units(number(row.get("filledshares")))
        return OrderUpdate(
            at=at,
            source=source,
            broker_order_id=_present(row, "orderid"),
            instrument=instrument_of(row, lookup),
            side=Side(row["transactiontype"]),
            quantity=units(number(row["quantity"])),
            state=_state(label, order_type, filled),
            filled=filled,
            average_price=price(number(row.get("averageprice"))),
            tag=row.get("ordertag") or None,
            label=label,
            product=str(row.get("producttype") or ""),
            order_type=order_type,
            limit_price=price(number(row.get("price"))),
            trigger_price=price(number(row.get("triggerprice"))) or None,
            reason=str(row.get("text") or ""),
            exchange_at=next((found for name in _TIMES if (found := moment(row.get(name))) is not None), None),
        )
    except (KeyError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise DataError(f"an order row of SmartAPI misses or garbles a field ({type(error).__name__}: {error}): {_short(row)}") from error


_TIMES = ("exchorderupdatetime", "exchtime", "updatetime")


def _state(label: str, order_type: OrderType, filled: int) -> OrderState | None:
    if label in _AMBIGUOUS and filled == 0 and order_type in (OrderType.SL, OrderType.SL_M):
        return OrderState.TRIGGER_PENDING
    return STATES.get(label)


def trade(row: Mapping[str, Any], day: date, instrument: Callable[[Mapping[str, Any]], Instrument]) -> Trade:
    """A row of the trade book, whose time has no date: it is of `day`. Raises DataError where a field is missing."""
    try:
        at = datetime.combine(day, time.fromisoformat(str(row["filltime"])), IST)
        return Trade(
            id=_present(row, "fillid"),
            broker_order_id=_present(row, "orderid"),
            instrument=instrument(row),
            side=Side(row["transactiontype"]),
            quantity=int(number(row["fillsize"])),
            price=number(row["fillprice"]),
            at=at,
        )
    except (KeyError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise DataError(f"a trade row of SmartAPI misses or garbles a field ({type(error).__name__}: {error}): {_short(row)}") from error


def position(row: Mapping[str, Any], lookup: InstrumentLookup) -> BrokerPosition:
    """A row of the positions; quantity 0 (closed today) is kept: it is evidence that there is none."""
    try:
        return BrokerPosition(
            instrument=instrument_of(row, lookup),
            product=_present(row, "producttype"),
            quantity=int(number(row["netqty"])),
            average_price=number(row.get("avgnetprice") or row.get("netprice")),
            last_price=number(row.get("ltp")),
        )
    except (KeyError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise DataError(f"a position row of SmartAPI misses or garbles a field ({type(error).__name__}: {error}): {_short(row)}") from error


def holding(row: Mapping[str, Any], lookup: InstrumentLookup) -> Holding:
    """A row of the holdings; `quantity` counts shares that are still settling."""
    try:
        return Holding(
            instrument=instrument_of(row, lookup),
            quantity=int(number(row["quantity"])),
            average_price=number(row.get("averageprice")),
            last_price=number(row.get("ltp")),
            close_price=number(row.get("close")),
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"a holding row of SmartAPI misses or garbles a field ({type(error).__name__}: {error}): {_short(row)}") from error


def funds(data: Mapping[str, Any]) -> Funds:
    """`availablecash` is net of what is used already, never recomputed."""
    try:
        return Funds(available=number(data["availablecash"]), used=number(data["utiliseddebits"]))
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"SmartAPI's funds miss the available cash or the debits ({type(error).__name__}: {error})") from error


def _present(row: Mapping[str, Any], name: str) -> str:
    value = str(row[name]).strip()
    if not value:
        raise ValueError(f"{name} is empty")
    return value


def _short(row: Any) -> str:
    names = ("orderid", "fillid", "exchange", "tradingsymbol", "orderstatus")
    return str({name: row.get(name) for name in names if name in row}) if isinstance(row, Mapping) else repr(row)[:80]


# --- charges ----------------------------------------------------------------------------------------------------------------------------

_CHARGES = {
    "angel one brokerage": "brokerage",
    "security transaction tax": "stt",
    "exchange transaction charges": "txn",
    "sebi fees": "sebi",
    "stamp duty": "stamp",
    "gst": "gst",
}


def charge_order(order: Order, token: Token) -> dict[str, str]:
    """What estimateCharges wants to know of an executed order."""
    exchange, symbol_token, symbol = parts_of(token)
    return {
        "product_type": order.product or product(order.horizon, order.instrument),
        "transaction_type": order.side.value,
        "quantity": str(order.filled),
        "price": f"{order.average_price:.4f}".rstrip("0").rstrip("."),
        "exchange": exchange,
        "symbol_name": symbol,
        "token": symbol_token,
    }


def charges(order: Order, row: Mapping[str, Any]) -> ChargesTold:
    """The charges in a row of its answer; raises DataError where that is worth something else than the order."""
    with reading("SmartAPI", "a charge", row):
        worth = order.filled * order.average_price
        if abs(number(row["trade_value"]) - worth) > max(1.0, worth * 1e-4):
            raise ValueError(f"it is of {row['trade_value']!r} rupees where {order.instrument.key} was worth {worth:.2f}")
        lines: dict[str, float] = {}
        for name, amount in _leaves(row["breakup"]):
            ours = _CHARGES.get(name.strip().lower(), "other")
            lines[ours] = lines.get(ours, 0.0) + amount
        return told("SmartAPI", order, row, row["total_charges"], lines)


def _leaves(rows: Any) -> Iterator[tuple[str, float]]:
    """The lines of a breakup that have none below them: sums stand above their parts."""
    for row in rows:
        if row.get("breakup"):
            yield from _leaves(row["breakup"])
        else:
            yield str(row["name"]), number(row["amount"])


# --- orders -----------------------------------------------------------------------------------------------------------------------------


def place_body(order: Order, token: Token) -> dict[str, Any]:
    """The JSON of placeOrder; raises Rejected for an order that may not be sent as it is."""
    if not 0 < len(order.tag) <= LONGEST_TAG or not order.tag.isalnum():
        raise Rejected(f"order {order.id}: tag {order.tag!r} must be 1-{LONGEST_TAG} letters and digits; nothing was sent")
    reason = objection(order.horizon, order.instrument)
    if reason:
        raise Rejected(f"order {order.id}: {reason}. Nothing was sent")
    if order.validity is not Validity.DAY:
        raise Rejected(
            f"order {order.id}: Angel One prohibits {order.validity.value} to algorithms since 2026-04-01; send it for the DAY and "
            "cancel what is left. Nothing was sent"
        )
    return {**_terms(order, token, order.quantity, order.limit_price, order.trigger_price), "ordertag": order.tag}


def modify_body(order: Order, token: Token, quantity: int, limit_price: float, trigger_price: float | None) -> dict[str, Any]:
    """The JSON of modifyOrder; `quantity` is the new total, what is filled included."""
    terms = _terms(order, token, quantity, limit_price, trigger_price)
    del terms["transactiontype"]
    return {**terms, "orderid": broker_id(order)}


def cancel_body(order: Order) -> dict[str, Any]:
    return {"variety": _type(order)[0], "orderid": broker_id(order)}


def _terms(order: Order, token: Token, quantity: int, limit_price: float, trigger_price: float | None) -> dict[str, Any]:
    exchange, symbol_token, symbol = parts_of(token)
    variety, order_type = _type(order)
    terms = {
        "variety": variety,
        "tradingsymbol": symbol,
        "symboltoken": symbol_token,
        "transactiontype": order.side.value,
        "exchange": exchange,
        "ordertype": order_type,
        "producttype": order.product or product(order.horizon, order.instrument),
        "duration": "DAY",
        "price": f"{limit_price:.4f}".rstrip("0").rstrip("."),
        "quantity": str(quantity),
    }
    if trigger_price is not None and variety == "STOPLOSS":
        terms["triggerprice"] = f"{trigger_price:.4f}".rstrip("0").rstrip(".")
    return terms


def broker_id(order: Order) -> str:
    if not order.broker_order_id:
        raise Rejected(f"order {order.id} has no broker order id yet; look for its tag {order.tag} in the order book first")
    return order.broker_order_id


def _type(order: Order) -> tuple[str, str]:
    """(variety, order type); the same variety must come with each later change."""
    if order.order_type not in _TYPES:
        raise Rejected(
            f"order {order.id}: a bare {order.order_type.value} is never sent; translate it into a capped LIMIT or SL. Nothing was sent"
        )
    if order.order_type is OrderType.SL and order.trigger_price is None:
        raise Rejected(f"order {order.id}: SL without a trigger price; nothing was sent")
    return _TYPES[order.order_type]


# --- what a refusal means ---------------------------------------------------------------------------------------------------------------

DEAD_TOKENS: Mapping[str, str] = {
    "AG8001": "the token is invalid",
    "AG8002": "the token has expired",
    "AG8003": "the token is missing",
    "AB1010": "the session at the exchange's desk has expired",
    "AB1011": "the client is not logged in",
    "AB8050": "the refresh token is invalid",
    "AB8051": "the refresh token has expired",
}
LOGIN_REFUSALS: Mapping[str, str] = {
    "AB1000": "client code or MPIN are wrong",
    "AB1001": "the client code is malformed",
    "AB1002": "the MPIN has the wrong length; it is the four digits of Angel One's app, not the password",
    "AB1003": "the client exists already",
    "AB1005": "the user type must be USER",
    "AB1007": "client code or MPIN are wrong",
    "AB1031": "the old password does not match",
    "AB1032": "no such user; look at ANGELONE_CLIENT_CODE",
    "AB1050": "the TOTP code is wrong, used or late; wait for the next one, and compare this machine's clock (timedatectl) if it repeats",
}
"""What only a login can be told (AB1007 in answer to anything else is a fault of the broker's desk, and says nothing for certain)."""
REFUSALS: Mapping[str, str] = {
    "AG7002": "register this machine's static IPv4 address with the API key at smartapi.angelone.in; a new login does not help",
    "AB1006": "the client is blocked for trading; ask Angel One",
    "AB1008": "the order variety is unknown, or not the order's own",
    "AB1009": "no such symbol; update the instruments (main.py instruments update --broker angelone)",
    "AB1012": "the product is not available for this instrument",
    "AB1013": "no such order",
    "AB1014": "no such trade",
    "AB1015": "no such holding",
    "AB1016": "no such position",
    "AB1017": "the position cannot be converted",
    "AB1018": "the symbol's details failed; update the instruments",
    "AB2002": "bracket (ROBO) orders are blocked",
    "AB4008": "the tag is longer than 19 characters",
    "AB4018": "the symbol token is empty",
    "AB4036": "the scrip is under surveillance and needs a consent that is not given here; leave it out (config/market/restricted)",
    "AG1000": "the demat authorisation of today exists already",
    "AG2001": "the demat authorisation failed",
    **{
        f"AB90{place:02d}": f"a GTT rule was refused: {what}"
        for place, what in enumerate(
            ("parameters", "method", "client id", "status array", "session", "quantity", "disclosed quantity", "price", "trigger price",
             "segment", "token", "symbol", "rule id", "side", "product", "time period", "page", "count"),
            start=1,
        )
    },
}  # fmt: skip
"""Codes after which it is certain that nothing happened, with what to do (SmartAPI's exceptions and GTT pages, July 2026)."""
DOUBTFUL: frozenset[str] = frozenset({"AB1004", "AB1007", "AB2000", "AB2001", "AB9000"})
"""Codes that say neither yes nor no, as every code does that stands in no table: Unknown for an order, Transient for a read."""
_THROTTLED = re.compile(r"exceeding (access )?rate|exceeding rate limit|too many requests", re.IGNORECASE)


def failure(status: int, code: str, message: str, *, is_order: bool = False, is_login: bool = False) -> BrokerError:
    """The typed meaning of an error reply; what the tables do not name is Unknown for an order and Transient for a read."""
    text = f"Angel One answered {status or 'nothing'} {code}: {message}".replace("  ", " ").strip()
    if status == 429 or (_THROTTLED.search(message) and not (is_order and status >= 500)):  # under 5xx nobody knows how far it came
        return RateLimited(f"{text} - the budget pauses", code=code or "429")
    if is_login and code in LOGIN_REFUSALS:
        return LoginRefused(f"{text} - {LOGIN_REFUSALS[code]}", code=code)
    if code in DEAD_TOKENS:
        return SessionExpired(f"{text} - {DEAD_TOKENS[code]}; log in again: main.py login angelone", code=code)
    if code in REFUSALS:
        return Rejected(f"{text} - {REFUSALS[code]}", code=code)
    if code in LOGIN_REFUSALS and code not in DOUBTFUL:
        return Rejected(f"{text} - {LOGIN_REFUSALS[code]}", code=code)
    if is_order:
        return Unknown(f"{text} - it may have been taken; look for it in the order book by its tag", code=code or str(status or ""))
    return Transient(text, code=code or str(status or ""))


def error_of(body: Mapping[str, Any]) -> tuple[str, str] | None:
    """(code, message) of an error in either dialect; None for a success. Truth comes as a JSON word or as a text."""
    told = body.get("status", body.get("success"))
    code = str(body.get("errorcode") or body.get("errorCode") or "")
    if (told is True or str(told).lower() == "true") and not code.startswith(("AB", "AG")):
        return None
    return code, str(body.get("message") or "no message")


def exchange_number(token: Token) -> str:
    """`NFO|50917|NIFTY27OCT26FUT` -> `50917`."""
    return str(token).split("|")[1]
