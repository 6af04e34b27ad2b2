"""The broker's own figures against ours: what its day's orders cost, each evening, and at which prices it carries positions, each morning.

Rules:
1. Our charges of each order are held against what the broker says it takes for it. A difference of more than a paisa is booked as an
   adjustment of its strategy's charges, never as a fill, and journalled (`charges_differ`); all of a day are told at once. A day is
   compared once.
2. What is carried over a night starts the day at the broker's previous close (a contract's settlement price), where the broker tells it;
   else at our last price. Both are journalled (`rebased`).
3. A broker that does not tell, and a question that fails, are written down as well: nothing is compared silently with nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from core.events import BrokerPosition, Holding
from core.ports import Clock, Store
from core.types import Order
from execution_engine.order_manager import Alert, OrderDesk
from execution_engine.portfolio import Portfolio

CHARGES = "charges"
"""The store's space of compared days: day -> {strategy: paise added}."""
EQUAL = 1  # paise: ours are rounded by order, the broker's as it pleases


class Evening:
    """Lives on the engine thread; what it compares with is asked for elsewhere."""

    def __init__(self, clock: Clock, store: Store, desk: OrderDesk, portfolio: Portfolio, alert: Alert) -> None:
        self._clock = clock
        self._store = store
        self._desk = desk
        self._portfolio = portfolio
        self._alert = alert

    def executed(self, day: date) -> list[Order]:
        """The day's orders that cost something and were not compared yet."""
        if self._store.get(CHARGES, day.isoformat()) is not None:
            return []
        return [order for order in self._desk.all() if self._portfolio.booked(order.id) and order.broker_order_id]

    def compare(self, day: date, told: Mapping[str, float]) -> None:
        """Rule 1, with the broker's charges (rupees, by our order id) of the day's executed orders."""
        now, added = self._clock.now(), Counter[str]()
        ours = theirs = 0
        differ: list[tuple[int, Order]] = []
        for order in self.executed(day):
            if order.id not in told:
                continue
            known, said = self._portfolio.charged(order.id), round(told[order.id] * 100)
            ours, theirs = ours + known, theirs + said
            if abs(said - known) <= EQUAL:
                continue
            differ.append((said - known, order))
            added[order.strategy] += said - known
            self._portfolio.adjust_charges(order, said - known)
            facts: dict[str, Any] = {"order": order.id, "strategy": order.strategy, "instrument": order.instrument.key}
            facts |= {"ours": known / 100, "broker": said / 100, "difference": (said - known) / 100}
            self._store.journal(now, "charges_differ", facts)
        self._store.put(CHARGES, day.isoformat(), dict(added))
        self._store.journal(
            now, "charges_compared", {"day": day.isoformat(), "orders": len(told), "ours": ours / 100, "broker": theirs / 100}
        )
        if differ:
            most, order = max(differ, key=lambda one: abs(one[0]))
            text = (
                f"the broker takes {theirs / 100:.2f} for the orders of {day}, we had {ours / 100:.2f}; {len(differ)} differ, most "
                f"{order.tag} {order.instrument.key} by {most / 100:.2f}. The broker's are booked; compare its plan with `plan` of the "
                "account and config/market/charges.yaml"
            )
            self._alert("warn", "Charges differ", text)

    def not_compared(self, day: date, why: str) -> None:
        """Rule 3: the evening's question has no answer."""
        self._store.journal(self._clock.now(), "charges_not_compared", {"day": day.isoformat(), "why": why})

    def closes(self, positions: Sequence[BrokerPosition], holdings: Sequence[Holding]) -> dict[str, float]:
        """Rule 2: the broker's previous close by instrument key, of what we carry."""
        told = {row.instrument.key: row.close_price for row in holdings if row.close_price > 0}
        told |= {row.instrument.key: row.close_price for row in positions if row.close_price > 0}
        carried = {one.instrument.key: one for one in self._portfolio.positions() if one.quantity}
        now = self._clock.now()
        for key in sorted(carried):
            source = "the broker's previous close" if key in told else "our last price: the broker tells none"
            self._store.journal(now, "rebased", {"instrument": key, "price": told.get(key), "source": source})
        return {key: price for key, price in told.items() if key in carried}
