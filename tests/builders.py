"""Instruments, orders, broker rows and a tariff for tests: the least that makes one valid, every field open to change."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import msgspec

from core.events import OrderUpdate, Trade
from core.types import IST, Fill, Horizon, Instrument, Kind, Order, OrderState, OrderType, Purpose, Side

T0 = datetime(2026, 11, 20, 9, 30, tzinfo=IST)
DAY = T0.date()
NIFTY = Instrument(
    key="NFO:NIFTY26NOVFUT",
    exchange="NFO",
    symbol="NIFTY26NOVFUT",
    kind=Kind.FUTURE,
    underlying="NIFTY",
    lot=65,
    tick_size=0.1,
    expiry=date(2026, 11, 24),
    freeze=1755,
)
RELIANCE = Instrument(
    key="NSE:RELIANCE", exchange="NSE", symbol="RELIANCE", kind=Kind.EQUITY, underlying="RELIANCE", tick_size=0.1, is_fno=True
)


def at(seconds: float) -> datetime:
    """That many seconds after 09:30 of the test day."""
    return T0 + timedelta(seconds=seconds)


def make_order(**changes: Any) -> Order:
    order = Order(
        id="20261120-1",
        tag="ABCDEFGH00000001",
        account="practice",
        strategy="trend",
        name="NIFTY_FUT",
        instrument=NIFTY,
        side=Side.BUY,
        quantity=130,
        order_type=OrderType.LIMIT,
        horizon=Horizon.INTRADAY,
        purpose=Purpose.ENTRY,
        created_at=T0,
        updated_at=T0,
        limit_price=25_000.0,
        product="NRML",
    )
    return msgspec.structs.replace(order, **changes)


def make_update(seconds: float = 1.0, state: OrderState | None = OrderState.WORKING, filled: int = 0, **changes: Any) -> OrderUpdate:
    update = OrderUpdate(
        at=at(seconds),
        source="stream",
        broker_order_id="B1",
        instrument=NIFTY,
        side=Side.BUY,
        quantity=130,
        state=state,
        filled=filled,
        average_price=25_000.0 if filled else 0.0,
        tag="ABCDEFGH00000001",
        product="NRML",
        limit_price=25_000.0,
        exchange_at=at(int(seconds)),
    )
    return msgspec.structs.replace(update, **changes)


def make_trade(id: str, quantity: int, price: float, seconds: float = 1.0, **changes: Any) -> Trade:
    trade = Trade(id=id, broker_order_id="B1", instrument=NIFTY, side=Side.BUY, quantity=quantity, price=price, at=at(seconds))
    return msgspec.structs.replace(trade, **changes)


def make_fill(id: str = "T1", **changes: Any) -> Fill:
    fill = Fill(
        id=id,
        order_id="20261120-1",
        account="practice",
        strategy="trend",
        instrument=NIFTY,
        side=Side.BUY,
        quantity=65,
        price=25_000.0,
        at=T0,
        charges=2_345,
    )
    return msgspec.structs.replace(fill, **changes)


class Total(msgspec.Struct):
    total: float


class CappedCharges:
    """A tariff small enough to check by hand: 0.03 % of turnover, at most 20 rupees an order, and 0.01 % duty without a cap."""

    def order_charges(self, instrument: Instrument, horizon: Horizon, side: Side, trades: Sequence[tuple[int, float]], day: date) -> Total:
        turnover = sum(quantity * price for quantity, price in trades) * instrument.multiplier
        return Total(min(20.0, turnover * 0.0003) + turnover * 0.0001)


class NoCharges:
    def order_charges(self, instrument: Instrument, horizon: Horizon, side: Side, trades: Sequence[tuple[int, float]], day: date) -> Total:
        return Total(0.0)
