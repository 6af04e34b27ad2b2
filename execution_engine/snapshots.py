"""The engine's state as the outside sees it, as `--json` shows it: plain dictionaries, made on the engine thread, never changed."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from core.types import Order, Signal, Snapshot
from execution_engine.engine import Engine

MAX_ORDERS = 1000  # a snapshot carries the newest; older ones are in the ledger


def build(engine: Engine, alerts: Sequence[dict[str, Any]], strategies: Sequence[dict[str, Any]] = ()) -> Snapshot:
    """A Snapshot of this moment; `strategies` are the rows of the roster. Money is rupees, times ISO 8601 with +05:30."""
    orders = engine.desk.all()
    account = {"account": engine.account.name}
    return Snapshot(
        status=_status(engine, orders, alerts, strategies),
        orders=tuple(account | order_row(order) for order in orders[-MAX_ORDERS:]),
        positions=tuple(account | row for row in engine.portfolio.rows()),
        signals=tuple(account | _signal(signal) for signal in engine.signals),
    )


def order_row(order: Order) -> dict[str, Any]:
    """One order as `orders --json` lists it."""
    return {
        "id": order.id,
        "tag": order.tag,
        "broker_order_id": order.broker_order_id,
        "strategy": order.strategy,
        "instrument": order.instrument.key,
        "side": str(order.side),
        "order_type": str(order.order_type),
        "purpose": str(order.purpose),
        "product": order.product,
        "quantity": order.quantity,
        "filled": order.filled,
        "average_price": order.average_price,
        "limit_price": order.limit_price,
        "trigger_price": order.trigger_price,
        "state": str(order.state),
        "reason": order.reason,
        "created_at": order.created_at.isoformat(),
        "updated_at": order.updated_at.isoformat(),
    }


def _status(
    engine: Engine, orders: Sequence[Order], alerts: Sequence[dict[str, Any]], strategies: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    now, world = engine.clock.now(), engine.world
    state, session, pnl = str(world.state), str(world.session), engine.portfolio.pnl()
    flat = engine.flat
    next_start = engine.square_off.next_start()
    canary = world.canary
    return {
        "account": engine.account.name,
        "kind": str(engine.account.kind),
        "broker": engine.account.broker,
        "running": True,
        "as_of": now.isoformat(),
        "trading_state": state,
        "market": {
            "phase": world.calendar.phase(canary, now) if canary is not None else "closed",
            "now": now.isoformat(),
            "square_off_at": next_start.isoformat() if next_start is not None else None,
            "data": world.data,
        },
        "feed": {
            "connected": world.feed_connected,
            "age_s": world.received_age(canary) if canary is not None else None,
            "stale": _stale(engine),
            **world.feed_losses(),
        },
        "session": session,
        "flat": flat,
        "orders": dict(sorted(Counter(str(order.state) for order in orders).items())),
        "pnl": pnl,
        "alerts": list(alerts),
        "blind": world.blind,
        "rolls": engine.rolls.rows(),
        "frozen": {**world.frozen_by_books, **engine.desk.frozen},
        "square_off": engine.square_off.rounds(),
        "strategies": list(strategies),
        "refusals": [
            {"strategy": strategy, "name": name, "rule": rule, "reason": reason, "count": count}
            for (strategy, name, rule), (reason, count) in engine.refusals.rows.items()
        ],
        "late_events": engine.late_events,
        "accounts": [
            {
                "account": engine.account.name,
                "kind": str(engine.account.kind),
                "broker": engine.account.broker,
                "session": session,
                "trading_state": state,
                "flat": flat,
                "pnl": pnl,
            }
        ],
    }


def _stale(engine: Engine) -> list[str]:
    """Keys in use whose market is open and whose last tick is missing or too old."""
    world, now = engine.world, engine.clock.now()
    found = []
    for instrument in {one.key: one for one in world.names.values()}.values():
        if world.calendar.is_open(instrument, now):
            age = world.received_age(instrument)
            if age is None or age > world.stale_after:
                found.append(instrument.key)
    return sorted(found)


def _signal(signal: Signal) -> dict[str, Any]:
    return {
        "at": signal.at.isoformat(),
        "strategy": signal.strategy,
        "name": signal.name,
        "instrument": signal.instrument.key,
        "target": signal.target,
        "stop": signal.stop,
        "take_profit": signal.take_profit,
        "why": signal.why,
    }
