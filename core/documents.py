"""The shapes of the read-outs: orders, fills, positions and signals as the plain dicts that `--json`, Snapshot and API all show.

Money is in rupees, quantities in units, times ISO 8601 with +05:30; the field names are promises to users (see CHANGELOG.md).
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from core.types import IST, Fill, Order, Position, Signal


def order_document(order: Order) -> dict[str, Any]:
    return {
        "id": order.id,
        "account": order.account,
        "tag": order.tag,
        "broker_order_id": order.broker_order_id,
        "strategy": order.strategy,
        "instrument": order.instrument.key,
        "side": str(order.side),
        "order_type": str(order.order_type),
        "product": order.product,
        "purpose": str(order.purpose),
        "quantity": order.quantity,
        "filled": order.filled,
        "average_price": order.average_price,
        "limit_price": order.limit_price,
        "trigger_price": order.trigger_price,
        "state": str(order.state),
        "reason": order.reason,
        "created_at": order.created_at.astimezone(IST).isoformat(),
        "updated_at": order.updated_at.astimezone(IST).isoformat(),
    }


def fill_document(fill: Fill) -> dict[str, Any]:
    return {
        "id": fill.id,
        "account": fill.account,
        "order_id": fill.order_id,
        "strategy": fill.strategy,
        "instrument": fill.instrument.key,
        "side": str(fill.side),
        "quantity": fill.quantity,
        "price": fill.price,
        "charges": fill.charges / 100,
        "at": fill.at.astimezone(IST).isoformat(),
    }


def position_document(position: Position, last_price: float | None) -> dict[str, Any]:
    """`last_price` None (no mark known) leaves `unrealised` None as well, never zero."""
    multiplier = position.quantity * position.instrument.multiplier
    unrealised = None if last_price is None else round((last_price - position.average_price) * multiplier, 2)
    return {
        "account": position.account,
        "instrument": position.instrument.key,
        "product": position.product,
        "strategy": position.strategy,
        "quantity": position.quantity,
        "average_price": position.average_price,
        "last_price": last_price,
        "realised": position.realised / 100,
        "unrealised": unrealised if position.quantity else 0.0,
        "charges": position.charges / 100,
    }


def signal_document(signal: Signal, account: str) -> dict[str, Any]:
    return {
        "at": signal.at.astimezone(IST).isoformat(),
        "account": account,
        "strategy": signal.strategy,
        "name": signal.name,
        "instrument": signal.instrument.key,
        "target": signal.target,
        "stop": signal.stop,
        "take_profit": signal.take_profit,
        "why": signal.why,
    }


def digest_of(fills: Iterable[Fill]) -> str:
    """SHA-256 over a run's fills in booking order, a line each: at|strategy|instrument|side|quantity|price in paise|charges in paise.

    `at` in whole seconds of IST. Ids are left out, so that equal digests mean equal behaviour.
    """
    digest = hashlib.sha256()
    for fill in fills:
        at = fill.at.astimezone(IST).isoformat(timespec="seconds")
        parts = (at, fill.strategy, fill.instrument.key, str(fill.side), fill.quantity, round(fill.price * 100), fill.charges)
        digest.update(("|".join(map(str, parts)) + "\n").encode())
    return digest.hexdigest()
