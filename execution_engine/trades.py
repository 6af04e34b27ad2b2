"""Trades as the strategies' own limits count them: from the first unit of an instrument to the last, from the fills alone.

A trade's net result is what its fills brought less what they cost and their charges, in paise. What several days of fills built (a
carried position) ends as one trade. A restart plays all fills again and knows the same.
"""

from collections.abc import Iterable
from datetime import date, datetime

import msgspec

from core.types import Fill, Position


class _Open(msgspec.Struct):
    """One (strategy, instrument): units held, and paise received less paid since it was last flat."""

    quantity: int = 0
    cash: int = 0


class _Day(msgspec.Struct):
    """What one strategy did on the latest day on which it traded."""

    day: date
    begun: int = 0
    ended: datetime | None = None
    lost: datetime | None = None


class Trades:
    """`book` each fill in booking order; ask for the day by its date."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], _Open] = {}
        self._days: dict[str, _Day] = {}

    def book(self, fill: Fill) -> None:
        at = fill.at
        key = (fill.strategy, fill.instrument.key)
        held = self._open.get(key)
        if held is None:
            held = self._open[key] = _Open()
        today = self._days.get(fill.strategy)
        if today is None or today.day != at.date():
            today = self._days[fill.strategy] = _Day(at.date())
        sign, worth = fill.side.sign, fill.price * fill.instrument.multiplier * 100
        closing = min(fill.quantity, abs(held.quantity)) if held.quantity * sign < 0 else 0
        spent = fill.charges * closing // fill.quantity
        if closing:
            held.quantity += sign * closing
            held.cash -= round(sign * closing * worth) + spent
            if held.quantity == 0:
                today.ended = at
                if held.cash < 0:
                    today.lost = at
                held.cash = 0
        opening = fill.quantity - closing
        if opening:
            today.begun += held.quantity == 0
            held.quantity += sign * opening
            held.cash -= round(sign * opening * worth) + fill.charges - spent

    def agree(self, positions: Iterable[Position]) -> None:
        """Take the quantities that are really held where no fill told of a change (the broker's net was adopted)."""
        real: dict[tuple[str, str], int] = {}
        for position in positions:
            key = (position.strategy, position.instrument.key)
            real[key] = real.get(key, 0) + position.quantity
        for key, held in self._open.items():
            if held.quantity != real.get(key, 0):
                held.quantity = real.get(key, 0)
                if held.quantity == 0:
                    held.cash = 0

    def begun(self, strategy: str, day: date) -> int:
        """Trades that it began on that day."""
        today = self._days.get(strategy)
        return today.begun if today is not None and today.day == day else 0

    def ended(self, strategy: str, day: date, *, losing: bool) -> datetime | None:
        """When it last ended a trade (or one with a loss) on that day."""
        today = self._days.get(strategy)
        if today is None or today.day != day:
            return None
        return today.lost if losing else today.ended
