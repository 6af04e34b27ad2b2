"""Rows of order, trade and position books where a broker names their fields as Kite does (Upstox: but for times), and what may be sent."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from core.errors import DataError, Rejected
from core.events import BrokerPosition, Holding, OrderUpdate, Trade
from core.types import IST, Instrument, Order, OrderState, OrderType, Side

Row = Mapping[str, Any]
_SHOWN = ("order_id", "trade_id", "exchange", "tradingsymbol", "instrument_token", "status")


@contextmanager
def reading(broker: str, what: str, row: Row) -> Iterator[None]:
    """Around the making of something from a row: what the row misses or garbles becomes a DataError that shows its names."""
    try:
        yield
    except (KeyError, ValueError, TypeError, OverflowError, AttributeError) as error:
        shown = {key: row.get(key) for key in _SHOWN if key in row}
        raise DataError(f"{what} row of {broker} misses or garbles a field ({type(error).__name__}: {error}): {shown}") from error


def moment(text: Any) -> datetime | None:
    """`2026-11-20 10:02:11` (IST by the broker's word) as an aware time; None for anything else, such as a bare `10:02:11`."""
    if not isinstance(text, str) or len(text) != 19:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=IST)
    except ValueError:
        return None


def price(value: Any) -> float:
    """Rupees, 0 where nothing is said; ValueError for what no price can be."""
    found = float(value or 0.0)
    if not 0.0 <= found < 1e12:  # nor NaN
        raise ValueError(f"{str(value)[:40]} is no price")
    return found


def finite(value: Any) -> float:
    """Rupees that may be owed, 0 where nothing is said; ValueError for what is no amount."""
    found = float(value or 0.0)
    if not -1e15 < found < 1e15:  # nor NaN
        raise ValueError(f"{str(value)[:40]} is no amount")
    return found


def units(value: Any) -> int:
    """A quantity of an order or a trade; ValueError for what none can be."""
    found = int(value)
    if not 0 <= found < 10**12:
        raise ValueError(f"{str(value)[:40]} is no quantity")
    return found


def order_type(text: Any) -> OrderType:
    return OrderType(text) if text in ("LIMIT", "SL", "MARKET", "SL-M") else OrderType.LIMIT


def order_update(
    row: Row, at: datetime, source: str, instrument: Instrument, label: str, state: OrderState | None, exchange_at: datetime | None
) -> OrderUpdate:
    return OrderUpdate(
        at=at,
        source=source,
        broker_order_id=str(row["order_id"]),
        instrument=instrument,
        side=Side(row["transaction_type"]),
        quantity=units(row["quantity"]),
        state=state,
        filled=units(row.get("filled_quantity") or 0),
        average_price=price(row.get("average_price")),
        tag=row.get("tag") or None,
        label=label,
        product=str(row.get("product") or ""),
        order_type=order_type(row.get("order_type")),
        limit_price=price(row.get("price")),
        trigger_price=price(row.get("trigger_price")) or None,
        reason=str(row.get("status_message") or row.get("status_message_raw") or ""),
        exchange_at=exchange_at,
    )


def trade(row: Row, instrument: Instrument, times: tuple[str, ...]) -> Trade:
    """An execution; its time is the first of the fields `times` that holds one."""
    at = next((found for name in times if (found := moment(row.get(name))) is not None), None)
    if at is None:
        raise ValueError(f"{times[0]} {row.get(times[0])!r} is no time")
    return Trade(
        id=str(row["trade_id"]),
        broker_order_id=str(row["order_id"]),
        instrument=instrument,
        side=Side(row["transaction_type"]),
        quantity=units(row["quantity"]),
        price=price(row["average_price"]),
        at=at,
    )


def holding(row: Row, instrument: Instrument) -> Holding:
    """A row of the holdings; shares bought yesterday (T1) are ours already."""
    return Holding(
        instrument=instrument,
        quantity=int(row["quantity"]) + int(row.get("t1_quantity") or 0),
        average_price=price(row.get("average_price")),
        last_price=price(row.get("last_price")),
        close_price=price(row.get("close_price")),
    )


def position(row: Row, instrument: Instrument) -> BrokerPosition:
    """A net position; quantity 0 (closed today) is kept: it is evidence that there is none."""
    return BrokerPosition(
        instrument=instrument,
        product=str(row["product"]),
        quantity=int(row["quantity"]),
        average_price=finite(row.get("average_price")),
        last_price=finite(row.get("last_price")),
        close_price=max(0.0, finite(row.get("close_price"))),
    )


def broker_id(order: Order) -> str:
    """The broker's id of an order that is to be changed; raises Rejected where there is none yet."""
    if not order.broker_order_id:
        raise Rejected(f"order {order.id} has no broker order id yet; look for its tag {order.tag} in the order book first")
    return order.broker_order_id


def sendable(order: Order) -> str:
    """The order's type as it is sent: LIMIT, or SL with its trigger; raises Rejected for what the engine never sends."""
    if order.order_type not in (OrderType.LIMIT, OrderType.SL):
        raise Rejected(
            f"order {order.id}: a bare {order.order_type.value} is never sent; translate it into a capped LIMIT or SL. Nothing was sent"
        )
    if order.order_type is OrderType.SL and order.trigger_price is None:
        raise Rejected(f"order {order.id}: SL without a trigger price; nothing was sent")
    return order.order_type.value
