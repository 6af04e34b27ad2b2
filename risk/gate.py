"""The gate every order passes, after the strategy and before the wire: it alone turns an OrderRequest into an Approved.

Rules of the gate:
1. Entries pass every rule. Exits (EXIT, PROTECT, SQUARE_OFF, the closing leg of a ROLL) pass where entries may not, but never exceed
   what the strategy owns, and sanity caps hold. The opening leg of a ROLL is an entry in all but the clock: it passes the entry stop.
2. A permanent refusal latches the key until the strategy wants something else; a temporary one (window, stale, rate, login, blind,
   frozen, paused, an order of our own in the way) is tried again at its next bar. A refused exit is always temporary.
3. A loss that reaches its limit, and a profit that falls back to what is to be kept of it, lock: entries of that scope are refused for
   the rest of the day (risk/breaches.py).
4. A runaway asks for HALTED. What the gate asks of the engine waits in `take_breaches()`: look there after every review.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, cast

import msgspec

from core.types import Approved, Instrument, Order, OrderRequest, Purpose, Refused, TradingState
from risk.book import Case, RiskBook
from risk.breaches import ACCOUNT, Breach, LossLocks, ProfitLocks, Runaway
from risk.entry_rules import ENTRY_RULES
from risk.margin import required
from risk.rules import EXIT_RULES, Rule, WellFormed
from risk.settings import RiskSettings, StrategyLimits

__all__ = ["ACCOUNT", "Breach", "Gate"]


class Gate:
    """Reviews requests against the rules, holds the day's locks, and watches losses. Owned by the engine thread."""

    def __init__(self, settings: RiskSettings) -> None:
        self.settings = settings
        self._well_formed = WellFormed()
        self._entry: Sequence[Rule] = [make(settings) for make in ENTRY_RULES]
        self._exit: Sequence[Rule] = [make(settings) for make in EXIT_RULES]
        self._remember = [rule for rule in self._entry if rule.remembers]
        self._locks = LossLocks(settings)
        self._profits = ProfitLocks(settings)
        self._runaway = Runaway(int(settings.orders_per_second * settings.runaway_factor))
        self._breaches: list[Breach] = []
        self._note_limits()

    def take_limits(self, strategies: Mapping[str, StrategyLimits]) -> None:
        """Go by other limits of single strategies from now on. A lock of today stays; a limit that is reached already locks at once."""
        self.settings = msgspec.structs.replace(self.settings, strategies=dict(strategies))
        for rule in (*self._entry, *self._exit):
            rule.settings = self.settings
        self._locks.settings = self._profits.settings = self.settings
        self._note_limits()

    def _note_limits(self) -> None:
        self.defends_profits, self._strategies_limited = self.settings.profits_defended, self.settings.strategies_limited

    def review(self, request: OrderRequest, book: RiskBook) -> Approved | Refused:
        """Judge a new order."""
        malformed = self._well_formed.look(request)
        if malformed is not None:
            return Refused(request, self._well_formed.name, malformed.text, permanent=True)
        case = Case(request, book)
        if case.reduces:
            return self._judge(request, case, self._exit)
        runaway = self._runaway.attempt(case.now)
        if runaway is not None:
            if book.state != TradingState.HALTED:
                self._breaches.append(Breach(case.now, "runaway", runaway, TradingState.HALTED))
            return Refused(request, "runaway", runaway, permanent=True)
        return self._review_entry(request, case, self._entry)

    def review_change(
        self, order: Order, *, quantity: int, limit_price: float, trigger_price: float | None, book: RiskBook
    ) -> Approved | Refused:
        """Judge a modification of a working order as if its remainder were new; `quantity` is the new total. Cancels need no review."""
        request = OrderRequest(
            order.strategy,
            order.name,
            order.instrument,
            order.side,
            quantity - order.filled,
            order.order_type,
            order.horizon,
            order.purpose,
            limit_price,
            book.now,
            trigger_price,
            order.validity,
            f"change of {order.id}",
        )
        without = cast(RiskBook, _Without(book, order, self.settings))
        malformed = self._well_formed.look(request)
        if malformed is not None:
            return Refused(request, self._well_formed.name, malformed.text, permanent=True)
        case = Case(request, without)
        if case.reduces:
            return self._judge(request, case, self._exit)
        return self._review_entry(request, case, [rule for rule in self._entry if rule.for_changes])

    def watch(self, book: RiskBook) -> bool:
        """Look at the losses without a request; call it when prices have taken what `room` gave. Whether breaches wait to be taken."""
        strategies = self._limited(book)
        self._breaches += self._locks.watch(book, strategies)
        if strategies:
            self._breaches += self._profits.watch(book, strategies)
        return bool(self._breaches)

    def room(self, book: RiskBook) -> float:
        """Rupees that may still be lost before a scope that is not locked can reach its limit; at most 0: look at once."""
        return self._locks.room(book, self._limited(book))

    def take_breaches(self) -> list[Breach]:
        """What the gate asks of the engine since the last call; each breach is given once."""
        if not self._breaches:
            return []
        taken, self._breaches = self._breaches, []
        return taken

    def locks(self, today: date) -> Mapping[str, str]:
        """Scopes locked today (a strategy's name, empty for the account) and why."""
        return {**self._profits.today(today), **self._locks.today(today)}

    def state(self) -> dict[str, Any]:
        """The locks as JSON-able values; store them whenever breaches were taken, and when `changed` says so."""
        self._profits.changed = False
        return {"locks": self._locks.state(), "profits": self._profits.state()}

    @property
    def changed(self) -> bool:
        """Whether a best result of the day has moved since `state` was last asked for."""
        return self._profits.changed

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave: a restart does not open a lock."""
        self._locks.restore(state["locks"])
        if "profits" in state:  # earlier versions kept none
            self._profits.restore(state["profits"])

    def _limited(self, book: RiskBook) -> tuple[str, ...]:
        return tuple(book.strategies()) if self._strategies_limited else ()

    def _review_entry(self, request: OrderRequest, case: Case, rules: Sequence[Rule]) -> Approved | Refused:
        self._breaches += self._locks.watch(case.book, (request.strategy,))
        self._breaches += self._profits.watch(case.book, (request.strategy,))
        today = case.now.date()
        lock = self._locks.of(request.strategy, today) or self._profits.of(request.strategy, today)
        if lock is not None:
            return Refused(request, lock[0], lock[1], permanent=True)
        if case.opens_roll:
            rules = [rule for rule in rules if not rule.clocked]
        return self._judge(request, case, rules)

    def _judge(self, request: OrderRequest, case: Case, rules: Sequence[Rule]) -> Approved | Refused:
        for rule in rules:
            reason = rule.check(request, case)
            if reason is not None:
                return Refused(request, rule.name, reason.text, reason.permanent and not case.reduces)
        for rule in self._remember:
            if rule in rules:
                rule.passed(request, case)
        return Approved(request, case.now)


class _Without:
    """The book as it would be without one working order: a modification must not be counted beside the order that it changes."""

    def __init__(self, book: RiskBook, order: Order, settings: RiskSettings) -> None:
        self._book = book
        self._order = order
        self._settings = settings

    def __getattr__(self, name: str) -> Any:
        return getattr(self._book, name)

    def live_orders(self) -> list[Order]:
        return [order for order in self._book.live_orders() if order.id != self._order.id]

    def closing(self, strategy: str, instrument: Instrument) -> int:
        closing = self._book.closing(strategy, instrument)
        mine = (self._order.strategy, self._order.instrument.key) == (strategy, instrument.key) and self._order.purpose is not Purpose.ENTRY
        return max(0, closing - self._order.remaining) if mine else closing

    def available_margin(self) -> float | None:
        free, order = self._book.available_margin(), self._order
        if free is None or order.purpose is not Purpose.ENTRY:
            return free
        day, margin = self._book.now.date(), self._settings.margin
        return free + required(order.instrument, order.side, order.remaining, order.limit_price, order.horizon, margin, day)
