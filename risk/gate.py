"""The gate every order passes, after the strategy and before the wire: it alone turns an OrderRequest into an Approved.

Rules of the gate:
1. Entries pass every rule. Exits (EXIT, PROTECT, SQUARE_OFF) pass where entries may not, but never exceed what the strategy owns,
   and sanity caps hold. The opening leg of a ROLL is an entry in all but the clock: it may come after the entry stop.
2. A permanent refusal latches the key until the strategy wants something else; a temporary one (window, stale, rate, login, blind,
   frozen, paused, a held duplicate) is tried again at its next bar.
3. A loss beyond its limit locks: entries of that scope are refused for the rest of the day, whatever the result does afterwards.
4. A runaway asks for HALTED. What the gate asks of the engine waits in `take_breaches()`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import msgspec

from core.types import Approved, Order, OrderRequest, Purpose, Refused, TradingState
from risk.book import RiskBook
from risk.rules import ENTRY_RULES, EXIT_RULES, Reason, Rule, Without, opens_roll
from risk.settings import RiskSettings

ACCOUNT = ""
"""The scope of a lock on the whole account; other scopes are strategy names."""


class Breach(msgspec.Struct, frozen=True):
    """A hard cap was broken: what the gate asks the engine to do about it, at once.

    `wants` HALTED: stop everything until a person resumes. `wants` None: the gate locked entries of `strategy` (all, when empty) by
    itself for today; `flatten` asks to close what that scope owns.
    """

    at: datetime
    rule: str
    reason: str
    wants: TradingState | None = None
    strategy: str = ACCOUNT
    flatten: bool = False


class Gate:
    """Reviews requests against the rules, holds the day's locks, and watches losses. Owned by the engine thread."""

    def __init__(self, settings: RiskSettings) -> None:
        self.settings = settings
        self._entry: Sequence[Rule] = [make(settings) for make in ENTRY_RULES]
        self._exit: Sequence[Rule] = [make(settings) for make in EXIT_RULES]
        self._locks: dict[str, tuple[date, str]] = {}
        self._attempts: deque[datetime] = deque()
        self._runaway = False
        self._breaches: list[Breach] = []

    def review(self, request: OrderRequest, book: RiskBook) -> Approved | Refused:
        """Judge a new order."""
        raise NotImplementedError

    def review_change(
        self, order: Order, *, quantity: int, limit_price: float, trigger_price: float | None, book: RiskBook
    ) -> Approved | Refused:
        """Judge a modification of a working order as if its remainder were new (cancels need no review). `quantity` is the new total."""
        raise NotImplementedError

    def watch(self, book: RiskBook) -> None:
        """Look at the losses without a request; call it as prices move (once a second is enough)."""

    def take_breaches(self) -> list[Breach]:
        """What the gate asks of the engine since the last call; each breach is given once."""
        taken, self._breaches = self._breaches, []
        return taken

    def locks(self, today: date) -> Mapping[str, str]:
        """Scopes locked today (a strategy's name, empty for the account) and why."""
        return {scope: why for scope, (day, why) in self._locks.items() if day == today}

    def state(self) -> dict[str, Any]:
        """The locks as JSON-able values; store them when breaches were taken."""
        return {"locks": {scope: [day.isoformat(), why] for scope, (day, why) in self._locks.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave: a restart does not open a lock."""
        self._locks = {scope: (date.fromisoformat(day), why) for scope, (day, why) in state["locks"].items()}
