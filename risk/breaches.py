"""Hard caps whose breach outlives the request: losses and defended profits that lock for the day, and runaways that halt."""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

import msgspec

from core.types import TradingState
from risk.book import RiskBook
from risk.settings import NO_LIMITS, RiskSettings

ACCOUNT = ""
"""The scope of a lock on the whole account; other scopes are strategy names."""


class Breach(msgspec.Struct, frozen=True):
    """A hard cap was broken: what the gate asks the engine to do about it, at once.

    `wants` HALTED: stop everything until a person resumes. `wants` None: the gate locked entries of `strategy` (of all, when empty) by
    itself for today; `flatten` asks to close what that scope owns.
    """

    at: datetime
    rule: str
    reason: str
    wants: TradingState | None = None
    strategy: str = ACCOUNT
    flatten: bool = False


class _Locks:
    """Scopes that are closed to entries for the rest of their day, each with why. They outlive a restart through `state`."""

    def __init__(self, settings: RiskSettings) -> None:
        self.settings = settings
        self._locks: dict[str, tuple[date, str]] = {}

    def _locked(self, scope: str, today: date) -> bool:
        return scope in self._locks and self._locks[scope][0] == today

    def today(self, day: date) -> dict[str, str]:
        return {scope: why for scope, (locked, why) in self._locks.items() if locked == day}


class LossLocks(_Locks):
    """A loss that reaches its limit ends entries of its scope for the rest of the day, whatever the result does afterwards.

    Locks are kept by scope, each with its day and why. A lock outlives a restart through `state` and ends with its day.
    """

    def watch(self, book: RiskBook, strategies: Iterable[str]) -> list[Breach]:
        """Lock the account and these strategies where their loss has reached the limit; what is locked already is not said again."""
        found: list[Breach] = []
        pnl = book.day_pnl()
        if not pnl > -self.settings.max_daily_loss:  # NaN is no proof of safety: it locks
            found += self._reached(ACCOUNT, pnl, self.settings.max_daily_loss, book)
        for strategy in strategies:
            limit = self.settings.loss_limit(strategy)
            if limit is not None and not (pnl := book.strategy_pnl(strategy)) > -limit:
                found += self._reached(strategy, pnl, limit, book)
        return found

    def room(self, book: RiskBook, strategies: Iterable[str]) -> float:
        """How many rupees the nearest of these limits is away, of scopes that are open; less one for what rounding takes."""
        left, locked = math.inf, self.today(book.now.date()) if self._locks else {}
        if ACCOUNT not in locked:
            left = _room(book.day_pnl(), self.settings.max_daily_loss)
        for strategy in strategies:
            limit = self.settings.loss_limit(strategy)
            if limit is not None and strategy not in locked:
                left = min(left, _room(book.strategy_pnl(strategy), limit))
        return left - 1.0

    def _reached(self, scope: str, pnl: float, limit: float, book: RiskBook) -> list[Breach]:
        now = book.now
        if self._locked(scope, now.date()):
            return []
        rule, who = ("daily_loss", "the account") if scope == ACCOUNT else ("strategy_loss", scope)
        reason = f"{who} is at {pnl:.2f} rupees today, the limit is {-limit:.2f}; entries are locked for the day"
        self._locks[scope] = (now.date(), reason)
        return [Breach(now, rule, reason, None, scope, self.settings.flatten_on_loss)]

    def of(self, strategy: str, today: date) -> tuple[str, str] | None:
        """The (rule, reason) that keeps this strategy out today, or None."""
        if not self._locks:
            return None
        if self._locked(ACCOUNT, today):
            return "daily_loss", self._locks[ACCOUNT][1]
        if self._locked(strategy, today):
            return "strategy_loss", self._locks[strategy][1]
        return None

    def state(self) -> dict[str, Any]:
        return {scope: [day.isoformat(), why] for scope, (day, why) in self._locks.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._locks = {scope: (date.fromisoformat(day), why) for scope, (day, why) in state.items()}


def _room(pnl: float, limit: float) -> float:
    """Rupees until the limit; 0 also where the result is no number, which `min` would pass over."""
    return room if (room := pnl + limit) > 0.0 else 0.0


class ProfitLocks(_Locks):
    """A strategy's profit of the day is defended from `lock_at` rupees on: when its net result is back at `lock_keep` per cent of the
    day's best, its entries end for the day, and what it holds is closed.

    The best result of the day is kept once it has reached `lock_at`; `changed` says that `state` is to be stored.
    """

    def __init__(self, settings: RiskSettings) -> None:
        super().__init__(settings)
        self._best: dict[str, tuple[date, float]] = {}
        self.changed = False

    def watch(self, book: RiskBook, strategies: Iterable[str]) -> list[Breach]:
        found = []
        for strategy in strategies:
            limits = self.settings.strategies.get(strategy, NO_LIMITS)
            if limits.lock_at is None or self._locked(strategy, today := book.now.date()):
                continue
            pnl = book.strategy_pnl(strategy)
            day, best = self._best.get(strategy, (today, 0.0))
            best = best if day == today else 0.0
            if pnl > best and pnl >= limits.lock_at:
                best = pnl
                self._best[strategy] = (today, best)
                self.changed = True
            if best < limits.lock_at or pnl > best * limits.lock_keep / 100:
                continue
            reason = (
                f"{strategy} is at {pnl:.2f} rupees today after {best:.2f}: from {limits.lock_at:.2f} on {limits.lock_keep:g} per cent of "
                "the best are kept; entries are locked for the day"
            )
            self._locks[strategy] = (today, reason)
            self.changed = True
            found.append(Breach(book.now, "profit_lock", reason, None, strategy, flatten=True))
        return found

    def of(self, strategy: str, today: date) -> tuple[str, str] | None:
        """The (rule, reason) that keeps this strategy out today, or None."""
        return ("profit_lock", self._locks[strategy][1]) if self._locks and self._locked(strategy, today) else None

    def state(self) -> dict[str, Any]:
        return {
            "locks": {scope: [day.isoformat(), why] for scope, (day, why) in self._locks.items()},
            "best": {strategy: [day.isoformat(), best] for strategy, (day, best) in self._best.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._locks = {scope: (date.fromisoformat(day), why) for scope, (day, why) in state["locks"].items()}
        self._best = {strategy: (date.fromisoformat(day), best) for strategy, (day, best) in state["best"].items()}


class Runaway:
    """More entries attempted within one second than an honest set of strategies would: a loop that has lost its brake."""

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self._times: deque[datetime] = deque(maxlen=allowed + 1)

    def attempt(self, now: datetime) -> str | None:
        """Count one attempt, whatever becomes of it; why it is one too many, or None."""
        self._times.append(now)
        if len(self._times) <= self._allowed or (now - self._times[0]).total_seconds() >= 1.0:
            return None
        return f"more than {self._allowed} entries were attempted within one second; look for the strategy that repeats itself"
