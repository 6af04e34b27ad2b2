"""Hard caps whose breach outlives the request: losses that lock for the day, and runaways that halt."""

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

import msgspec

from core.types import TradingState
from risk.book import RiskBook
from risk.settings import RiskSettings

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


class LossLocks:
    """A loss that reaches its limit ends entries of its scope for the rest of the day, whatever the result does afterwards.

    Locks are kept by scope, each with its day and why. A lock outlives a restart through `state` and ends with its day.
    """

    def __init__(self, settings: RiskSettings) -> None:
        self._settings = settings
        self._locks: dict[str, tuple[date, str]] = {}

    def watch(self, book: RiskBook, strategies: Iterable[str]) -> list[Breach]:
        """Lock the account and these strategies where their loss has reached the limit; what is locked already is not said again."""
        found = self._judge(ACCOUNT, book.day_pnl(), self._settings.max_daily_loss, book)
        for strategy in strategies:
            limit = self._settings.loss_limit(strategy)
            if limit is not None:
                found += self._judge(strategy, book.strategy_pnl(strategy), limit, book)
        return found

    def _judge(self, scope: str, pnl: float, limit: float, book: RiskBook) -> list[Breach]:
        if pnl > -limit:  # NaN is no proof of safety: it locks
            return []
        now = book.now
        if self._locked(scope, now.date()):
            return []
        rule, who = ("daily_loss", "the account") if scope == ACCOUNT else ("strategy_loss", scope)
        reason = f"{who} is at {pnl:.2f} rupees today, the limit is {-limit:.2f}; entries are locked for the day"
        self._locks[scope] = (now.date(), reason)
        return [Breach(now, rule, reason, None, scope, self._settings.flatten_on_loss)]

    def _locked(self, scope: str, today: date) -> bool:
        return scope in self._locks and self._locks[scope][0] == today

    def of(self, strategy: str, today: date) -> tuple[str, str] | None:
        """The (rule, reason) that keeps this strategy out today, or None."""
        if self._locked(ACCOUNT, today):
            return "daily_loss", self._locks[ACCOUNT][1]
        if self._locked(strategy, today):
            return "strategy_loss", self._locks[strategy][1]
        return None

    def today(self, day: date) -> dict[str, str]:
        return {scope: why for scope, (locked, why) in self._locks.items() if locked == day}

    def state(self) -> dict[str, Any]:
        return {scope: [day.isoformat(), why] for scope, (day, why) in self._locks.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._locks = {scope: (date.fromisoformat(day), why) for scope, (day, why) in state.items()}


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
