"""What an account has, as one document: read from its broker, or for paper fills from our own ledger. Nothing in it is estimated
but the margin of paper positions (risk/margin.py); what could not be read raises."""

from collections.abc import Mapping
from typing import Any

from core.errors import NiyamError
from core.events import Holding, Trade
from core.ports import Broker, Clock, HoldingSource, Ledger
from core.types import IST, Account, Fill, Side
from risk.margin import required
from risk.settings import MarginSettings

Document = dict[str, Any]


def from_broker(broker: Broker, clock: Clock) -> Document:
    """Funds, holdings, positions and today's trades of one broker account. Blocks for four reads; raises BrokerError."""
    funds = broker.funds()
    positions = [
        {
            "instrument": one.instrument.key,
            "product": one.product,
            "quantity": one.quantity,
            "average_price": one.average_price,
            "last_price": one.last_price,
            "multiplier": one.instrument.multiplier,
        }
        for one in broker.positions()
        if one.quantity
    ]
    held = broker.holdings() if isinstance(broker, HoldingSource) else None
    return {
        "source": "broker",
        "as_of": clock.now().astimezone(IST).isoformat(),
        "available": funds.available,
        "used": funds.used,
        "holdings": None if held is None else [_holding(one) for one in held],  # null: this broker's are not read
        "positions": positions,
        "trades": [_trade(one) for one in sorted(broker.trades(), key=lambda one: one.at)],
    }


def from_ledger(ledger: Ledger, account: Account, margin: MarginSettings) -> Document:
    """The same of an account whose orders we fill ourselves: its capital, its results so far, its open positions."""
    snapshot = ledger.snapshot()
    if snapshot is None:
        raise NiyamError("the daemon has no positions to show yet; ask again in a moment")
    now = str(snapshot.status["as_of"])
    marks = {str(row["instrument"]): row.get("last_price") for row in snapshot.positions}
    positions, used = [], 0.0
    fills = ledger.fills()
    for one in ledger.positions():
        if not one.quantity:
            continue
        day = max(fill.at for fill in fills).astimezone(IST).date()
        side = Side.BUY if one.quantity > 0 else Side.SELL
        used += required(one.instrument, side, abs(one.quantity), one.average_price, one.horizon, margin, day)
        mark = marks.get(one.instrument.key)
        positions.append(
            {
                "instrument": one.instrument.key,
                "product": one.product,
                "quantity": one.quantity,
                "average_price": one.average_price,
                "last_price": one.average_price if mark is None else float(str(mark)),
                "multiplier": one.instrument.multiplier,
            }
        )
    net = sum(one.realised for one in ledger.positions()) / 100 - sum(fill.charges for fill in fills) / 100
    today = [fill for fill in fills if fill.at.astimezone(IST).isoformat()[:10] == now[:10]]
    return {
        "source": "paper",
        "as_of": now,
        "available": account.capital + net - used,
        "used": used,
        "holdings": [],
        "positions": positions,
        "trades": [_fill(fill) for fill in today],
    }


def _holding(one: Holding) -> Mapping[str, Any]:
    return {
        "instrument": one.instrument.key,
        "quantity": one.quantity,
        "average_price": one.average_price,
        "last_price": one.last_price,
        "close_price": one.close_price,
    }


def _trade(one: Trade) -> Mapping[str, Any]:
    return {
        "instrument": one.instrument.key,
        "side": str(one.side),
        "quantity": one.quantity,
        "price": one.price,
        "at": one.at.astimezone(IST).isoformat(),
    }


def _fill(one: Fill) -> Mapping[str, Any]:
    return {
        "instrument": one.instrument.key,
        "side": str(one.side),
        "quantity": one.quantity,
        "price": one.price,
        "at": one.at.astimezone(IST).isoformat(),
    }
