"""The way of a new order from a broker's desk to the exchange: its number in the order of placing, and the faults scripted for it."""

from datetime import datetime

from simulators.faults import ORDER, Faults
from simulators.orders import OrderParams, SimOrder
from simulators.world import World


class Placing:
    """Sends orders of every user. `numbers` is order id -> its number in the order of placing, from 1."""

    def __init__(self, world: World, faults: Faults) -> None:
        self.world = world
        self.faults = faults
        self.numbers: dict[str, int] = {}

    def send(self, user: str, params: OrderParams, now: datetime, *, late: bool = False) -> SimOrder:
        """Place the order as scripted (`late`: see Exchange.place); raises OrderRefused."""
        exchange = self.world.exchange
        facts = {"order_number": len(self.numbers) + 1, "tag": params.tag or "", "symbol": params.key, "side": params.side}
        for fault in self.faults.strike(ORDER, now, facts):
            if fault.kind == "reject":
                exchange.force_reject(fault.values["message"], fault.values["message"], user)
            elif fault.kind == "partial":
                lot = self.world.market.listings[params.key].lot
                exchange.force_partial(fault.values["quantity"] or max(1, params.quantity // lot // 2) * lot, user)
        order = exchange.place(user, params, now, late=late)
        self.count(order)
        return order

    def count(self, order: SimOrder) -> None:
        """Give the order the next number."""
        self.numbers[order.id] = len(self.numbers) + 1
