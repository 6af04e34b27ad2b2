"""Start is recovery: there is one way up. The ledger first, then the broker, then the gate opens.

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
    fills, positions, live = store.fills(), store.positions(), store.live_orders()
    engine.portfolio.restore(positions, fills, day)
    today = store.orders(day)
    engine.desk.restore({order.id: order for order in (*today, *live)}.values())
    house.executor.restore(engine.desk.live(), positions=positions, fills=fills)
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
