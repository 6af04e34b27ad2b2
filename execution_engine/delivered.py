"""Shares of ours that were delivered: from the second morning on they lie in the demat account, and the broker's positions lack them.

Rules:
1. In the morning, before anything trades, what we carry in shares and the positions do not show is looked for in the holdings (told by its
   symbol: a broker lists a share once, whatever the exchange). What is found there counts as part of the broker's position, in our product,
   for the day; a sale shows as a short position beside it, so that the sum stays true.
2. What is found in neither stays a difference (reconciliation.py): nothing is assumed. So is all of it where the broker could not be asked.
3. It is kept for the day, over restarts. A restart asks again where the morning could not, for what has not traded since.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, datetime

import msgspec

from core.events import Books, BrokerPosition, Holding
from core.ports import Store
from core.types import Horizon, Instrument, Kind
from execution_engine.portfolio import EXTERNAL, Portfolio

_SPACE, _KEY = "engine", "delivered"


class Delivered:
    """Lives on the engine thread. `horizon_of` is the broker's: what ends with the day is delivered under no product of ours."""

    def __init__(self, portfolio: Portfolio, store: Store, horizon_of: Callable[[str], Horizon]) -> None:
        self._portfolio = portfolio
        self._store = store
        self._horizon_of = horizon_of
        self._units: dict[tuple[str, str], int] = {}  # (instrument key, product) -> what of ours lies in the demat account

    def open_day(self, day: date) -> None:
        """Know again what `look` found on this day."""
        found = self._stored(day) or []
        self._units = {(key, product): units for key, product, units in found}

    def to_be_asked(self, day: date, *, resumed: bool) -> bool:
        """Whether we carry shares of which it is not known on this day where they lie."""
        return self._stored(day) is None and bool(self._carried(resumed=resumed))

    def look(self, day: date, at: datetime, positions: Sequence[BrokerPosition], holdings: Sequence[Holding], *, resumed: bool) -> None:
        """Find what we carry and `positions` do not show in `holdings`."""
        shown = {(row.instrument.key, row.product): row.quantity for row in positions}
        held = Counter[str]()
        for row in holdings:
            held[row.instrument.symbol] += row.quantity
        found = []
        for (key, product), (instrument, units) in sorted(self._carried(resumed=resumed).items()):
            there = min(units - max(0, shown.get((key, product), 0)), held[instrument.symbol])
            if there > 0:
                held[instrument.symbol] -= there
                found.append((key, product, there))
                self._store.journal(at, "delivered", {"instrument": key, "product": product, "quantity": there})
        self._store.put(_SPACE, _KEY, {"day": day.isoformat(), "units": found})

    def beside(self, books: Books) -> Books:
        """The read with what was delivered in its positions."""
        if not self._units or books.positions is None:
            return books
        shown = {(row.instrument.key, row.product): row for row in books.positions}
        known = {one.instrument.key: one.instrument for one in self._portfolio.positions()}
        added = {key: _with(shown.get(key), known[key[0]], key[1], units) for key, units in self._units.items() if key[0] in known}
        return msgspec.structs.replace(books, positions=tuple((shown | added).values()))

    def _carried(self, *, resumed: bool) -> dict[tuple[str, str], tuple[Instrument, int]]:
        """Shares that our strategies hold from earlier days."""
        found: dict[tuple[str, str], tuple[Instrument, int]] = {}
        for one in self._portfolio.positions():
            ours = one.strategy != EXTERNAL and one.quantity > 0 and one.instrument.kind is Kind.EQUITY
            if ours and self._horizon_of(one.product) is Horizon.CARRY and not (resumed and self._portfolio.traded(one.instrument)):
                key = (one.instrument.key, one.product)
                found[key] = (one.instrument, found.get(key, (one.instrument, 0))[1] + one.quantity)
        return found

    def _stored(self, day: date) -> list[tuple[str, str, int]] | None:
        stored = self._store.get(_SPACE, _KEY) or {}
        found: list[tuple[str, str, int]] | None = stored.get("units") if stored.get("day") == day.isoformat() else None
        return found


def _with(row: BrokerPosition | None, instrument: Instrument, product: str, units: int) -> BrokerPosition:
    return BrokerPosition(
        instrument, product, units + (row.quantity if row is not None else 0), row.average_price if row is not None else 0.0
    )
