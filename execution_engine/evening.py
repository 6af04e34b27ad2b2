"""The broker's own figures against ours: what its day's orders cost, each evening, and at which prices it carries positions, each morning.

Rules:
1. Our charges of each order are held against what the broker says it takes for it. A difference of more than its rounding (`told` in
   config/market/charges.yaml) is booked as an adjustment of its strategy's charges, never as a fill, and journalled line by line
   (`charges_differ`); all of a day are told at once. A day is compared once.
2. What is carried over a night starts the day at the broker's previous close (a contract's settlement price), where the broker tells it;
   else at our last price. Both are journalled (`rebased`).
3. A broker that does not tell, an order it does not tell of, and a question that fails are written down as well: nothing is compared
   silently with nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from core.events import BrokerPosition, ChargesTold, Holding
from core.ports import Clock, Store
from core.types import Order
from execution_engine.charges import LINES, Charges
from execution_engine.order_manager import Alert, OrderDesk
from execution_engine.portfolio import EXTERNAL, Portfolio

CHARGES = "charges"
"""The store's space of compared days: day -> {strategy: paise added}."""
NOT_COMPARED = "charges_not_compared"
_SHOWN = 6  # orders that the alert names


class Evening:
    """Lives on the engine thread; what it compares with is asked for elsewhere."""

    def __init__(self, clock: Clock, store: Store, desk: OrderDesk, portfolio: Portfolio, charges: Charges, alert: Alert) -> None:
        self._clock = clock
        self._store = store
        self._desk = desk
        self._portfolio = portfolio
        self._charges = charges
        self._alert = alert

    def executed(self, day: date) -> list[Order]:
        """The day's orders that cost something and were not compared yet."""
        if self._store.get(CHARGES, day.isoformat()) is not None:
            return []
        return [order for order in self._desk.all() if self._portfolio.booked(order.id) and order.broker_order_id]

    def compare(self, day: date, told: Mapping[str, ChargesTold]) -> None:
        """Rule 1, with the broker's charges, by our order id, of the day's executed orders; rule 3 of those it does not tell."""
        now, added = self._clock.now(), Counter[str]()
        ours, theirs = Counter[str](), Counter[str]()  # paise by line, of the orders that differ
        sums = [0, 0]
        differ: list[tuple[int, Order]] = []
        executed = self.executed(day)
        untold = [order for order in executed if order.id not in told]
        for order in executed:
            if order.id not in told:
                continue
            known, said = self._portfolio.charged(order.id), round(told[order.id].total * 100)
            sums[0], sums[1] = sums[0] + known, sums[1] + said
            if abs(said - known) <= self._charges.near:
                continue
            differ.append((said - known, order))
            added[order.strategy] += said - known
            self._portfolio.adjust_charges(order, said - known)
            lines = self._lines(order, told[order.id], day)
            for name, (mine, broker) in lines.items():
                ours[name], theirs[name] = ours[name] + round(mine * 100), theirs[name] + round(broker * 100)
            facts: dict[str, Any] = {"order": order.id, "strategy": order.strategy, "instrument": order.instrument.key}
            facts |= {"ours": known / 100, "broker": said / 100, "difference": (said - known) / 100}
            facts["lines"] = {name: {"ours": round(mine, 4), "broker": round(broker, 4)} for name, (mine, broker) in lines.items()}
            self._store.journal(now, "charges_differ", facts)
        self._store.put(CHARGES, day.isoformat(), dict(added))
        if untold:
            self.not_compared(day, f"the broker does not tell what {len(untold)} of {len(executed)} orders cost: {_named(untold)}")
        facts = {"day": day.isoformat(), "orders": len(executed) - len(untold), "ours": sums[0] / 100, "broker": sums[1] / 100}
        self._store.journal(now, "charges_compared", facts)
        if differ:
            self._tell(day, sums, sorted(differ, key=lambda one: -abs(one[0])), ours, theirs)

    def not_compared(self, day: date, why: str) -> None:
        """Rule 3: the evening's question has no answer."""
        self._store.journal(self._clock.now(), NOT_COMPARED, {"day": day.isoformat(), "why": why})

    def missed(self, day: date) -> None:
        """Rule 3 of an evening whose process ended between the close and the question."""
        asked = self._store.get(CHARGES, day.isoformat()) is not None or self._store.read_journal(kind=NOT_COMPARED, day=day)
        if not asked and any(fill.strategy != EXTERNAL for fill in self._store.fills(day)):
            self._store.put(CHARGES, day.isoformat(), {})
            self.not_compared(day, "the process ended before the broker was asked")

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

    def _lines(self, order: Order, told: ChargesTold, day: date) -> dict[str, tuple[float, float]]:
        """(ours, the broker's) rupees of each line that the broker names; {} where it tells the sum alone."""
        value = order.filled * order.average_price * order.instrument.multiplier
        mine = self._charges.lines(order.instrument, order.horizon, order.side, order.filled, value, day)
        names = [name for name in (*LINES, "other") if name in told.lines]
        return {name: (mine.get(name, 0.0), told.lines[name]) for name in names}

    def _tell(self, day: date, sums: list[int], differ: list[tuple[int, Order]], ours: Counter[str], theirs: Counter[str]) -> None:
        text = f"the broker takes {sums[1] / 100:.2f} for the orders of {day}, we had {sums[0] / 100:.2f}; {len(differ)} differ: "
        text += ", ".join(f"{order.tag} {order.instrument.key} by {more / 100:.2f}" for more, order in differ[:_SHOWN])
        text += f" and {len(differ) - _SHOWN} more" if len(differ) > _SHOWN else ""
        if theirs:
            shown = ", ".join(f"{name} {theirs[name] / 100:.2f} / {ours[name] / 100:.2f}" for name in theirs)
            text += f". Line by line (the broker's / ours): {shown}"
        text += ". The broker's are booked; compare its plan with `plan` of the account and config/market/charges.yaml"
        self._alert("warn", "Charges differ", text)


def _named(orders: Sequence[Order]) -> str:
    shown = ", ".join(f"{order.tag} {order.instrument.key}" for order in orders[:_SHOWN])
    return f"{shown} and {len(orders) - _SHOWN} more" if len(orders) > _SHOWN else shown
