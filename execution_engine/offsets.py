"""What we hold that somebody offset elsewhere: a broker may close an intraday position by the opposite in another product or exchange.

So brokers did on 24 February 2021, when NSE stood still and BSE did not: a position and its opposite both stay in the account, and our
own exit would then open the other side. Rules:
1. A foreign fill counts that opposes what we hold in the same contract's other product, or in the same share (by its symbol) on the other
   exchange, while ours has had no price for a minute or its square-off has begun. At any other time it is somebody's own business.
2. What is offset is not closed by us and needs no stop; a person is paged. It is ours again when the other side is gone, or when a person
   says so (`acknowledge`, `resume --confirm`). It is kept for the day, over restarts.
"""

from datetime import date

from core.ports import Store
from core.types import Fill, Instrument, Kind
from execution_engine.order_manager import Alert
from execution_engine.portfolio import EXTERNAL, Portfolio
from execution_engine.world import World

NO_PRICE_S = 60.0
_SPACE, _KEY = "engine", "offsets"


class Offsets:
    """Lives on the engine thread."""

    def __init__(self, portfolio: Portfolio, store: Store, world: World, alert: Alert) -> None:
        self._portfolio = portfolio
        self._store = store
        self._world = world
        self._alert = alert
        self._units: dict[str, int] = {}  # key of what we hold -> units of it that are offset, signed as ours

    def open_day(self, day: date) -> None:
        stored = self._store.get(_SPACE, _KEY) or {}
        self._units = dict(stored["units"]) if stored.get("day") == day.isoformat() else {}

    def of(self, instrument: Instrument) -> int:
        """Units of what we hold in it that are offset, signed as ours; never more than we hold."""
        if not self._units:
            return 0
        held, units = self._ours(instrument.key), self._units.get(instrument.key, 0)
        return min(held, units) if held > 0 < units else max(held, units) if held < 0 > units else 0

    def see(self, fill: Fill, product: str) -> None:
        """A foreign fill of which nothing closed ours."""
        signed = fill.side.sign * fill.quantity
        for one in self._portfolio.positions():
            if one.strategy == EXTERNAL or not one.quantity or not _twins(one.instrument, one.product, fill.instrument, product):
                continue
            key, known = one.instrument.key, self._units.get(one.instrument.key, 0)
            if signed * known > 0:  # theirs is undone
                left = known - signed
                self._keep(key, left if left * known > 0 else 0)
            elif signed * one.quantity < 0 and self._closed_by_the_broker(one.instrument):
                left = self._ours(key) - known
                taken = max(-abs(left), min(abs(left), -signed))
                if taken:
                    self._keep(key, known + taken)
                    self._tell(fill, product, one.instrument, taken)
                    return

    def forget(self) -> None:
        """A person has looked: what we hold is ours to close."""
        if self._units:
            self._units.clear()
            self._store.put(_SPACE, _KEY, None)

    def _ours(self, key: str) -> int:
        return sum(one.quantity for one in self._portfolio.positions() if one.instrument.key == key and one.strategy != EXTERNAL)

    def _closed_by_the_broker(self, instrument: Instrument) -> bool:
        plan, age = self._world.plan(instrument), self._world.received_age(instrument)
        return (plan is not None and self._world.now >= plan.start) or age is None or age > NO_PRICE_S

    def _keep(self, key: str, units: int) -> None:
        if units:
            self._units[key] = units
        else:
            self._units.pop(key, None)
        self._store.put(_SPACE, _KEY, {"day": self._world.now.date().isoformat(), "units": dict(self._units)})

    def _tell(self, fill: Fill, product: str, ours: Instrument, units: int) -> None:
        facts = {"instrument": ours.key, "units": units, "by": fill.instrument.key, "product": product}
        self._store.journal(fill.at, "offset_elsewhere", facts)
        text = (
            f"{fill.side} {fill.quantity} {fill.instrument.key} ({product}) by somebody else offsets {units} {ours.key} of ours while that "
            "could not be closed: so much of it is not closed by us, or the other side would be open. Look at the broker's terminal; "
            "if that was no square-off by the broker, `main.py acknowledge`"
        )
        self._alert("page", "Offset elsewhere", text)


def _twins(ours: Instrument, our_product: str, theirs: Instrument, their_product: str) -> bool:
    if ours.key == theirs.key:
        return our_product != their_product
    return ours.kind is theirs.kind is Kind.EQUITY and ours.symbol == theirs.symbol and ours.exchange != theirs.exchange
