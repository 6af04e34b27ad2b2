"""Start is recovery: there is one way up. The ledger first, then the broker, then the gate opens.

0. Exits that were sent while the ledger could not be written stand in the emergency journal; they join the ledger first.
1. What the ledger holds becomes memory again: positions, today's fills, live orders (one that was being sent is UNKNOWN), the trading
   state, the gate's locks.
2. A paper exchange is rebuilt from the ledger. A real broker is asked what is true before any entry is allowed.
"""

from datetime import date

from loguru import logger

from core.types import TradingState
from execution_engine.reconciliation import RECOVERING
from runtime.wiring import House


def from_ledger(house: House, day: date) -> bool:
    """Take up the ledger; returns whether an earlier process had opened `day` already."""
    engine, store = house.engine, house.store
    _from_emergency(house)
    fills, positions, live = store.fills(), store.positions(), store.live_orders()
    engine.portfolio.restore(positions, fills, day)
    today = store.orders(day)
    engine.desk.restore({order.id: order for order in (*today, *live)}.values())
    house.executor.restore(engine.desk.all(), positions=positions, fills=fills)  # ended ones too: a book lists the whole day
    state = store.get("engine", "trading_state")
    if state is not None:
        engine.world.state = TradingState(state["state"])
        if engine.world.state is not TradingState.ACTIVE:
            logger.warning("trading state {} from before: {}", state["state"], state["why"])
    gate = store.get("engine", "gate")
    if gate is not None:
        engine.gate.restore(gate)
    if house.broker_worker is not None:
        engine.world.blinded["recovery"] = RECOVERING
    resumed = bool(store.get("engine", "day") == day.isoformat())
    if fills or live:
        logger.info("recovered {} fills, {} live orders, {} positions", len(fills), len(live), sum(1 for p in positions if p.quantity))
    return resumed


def _from_emergency(house: House) -> None:
    """What an earlier process sent and could not write: as being sent, so that it is looked for at the broker by its tag."""
    store, kept = house.store, house.emergency.orders
    if not kept:
        return
    known = {order.id for day in {order.created_at.date() for order in kept} for order in store.orders(day)}
    missing = [order for order in kept if order.id not in known]
    for order in missing:
        store.save_order(order)
        facts = {"order": order.id, "strategy": order.strategy, "instrument": order.instrument.key, "side": str(order.side),
                 "quantity": order.quantity, "purpose": str(order.purpose)}  # fmt: skip
        store.journal(house.clock.now(), "emergency_intent", facts)
    store.commit()
    house.emergency.clear()
    if missing:
        logger.warning("{} exits were sent while the ledger could not be written; they are looked for at the broker", len(missing))
