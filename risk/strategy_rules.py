"""One strategy's own limits on beginning trades: so many a day, and a pause after one that ended.

A trade begins when a strategy that holds nothing of an instrument gets a first unit of it, and ends when it holds nothing of it again
(turning round ends one and begins another). Only an order that begins a trade is asked: what adds to one, a second slice of an entry
that was cut at the freeze quantity, and every exit pass. Counts and moments come from the fills, so that a restart changes none.
"""

from datetime import timedelta

from core.types import OrderRequest, Purpose
from risk.book import Case
from risk.rules import Reason, Rule
from risk.settings import NO_LIMITS


def begins_a_trade(request: OrderRequest, case: Case) -> bool:
    """Whether a fill of this order would be the first of a trade. The legs of a roll carry one on."""
    return request.purpose is Purpose.ENTRY and case.held == 0


class TradesToday(Rule):
    """So many trades a day at most; entries that still work count, since they may all fill."""

    name = "max_trades"
    for_changes = False

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        limits = self.settings.strategies.get(request.strategy, NO_LIMITS)
        most = limits.max_trades
        if most is None or not begins_a_trade(request, case):
            return None
        working = [order for order in case.live if order.purpose is Purpose.ENTRY and order.strategy == request.strategy]
        coming = {order.instrument.key for order in working if case.book.position(order.strategy, order.instrument) == 0}
        coming.discard(request.instrument.key)  # another slice of the same
        begun = case.book.trades_today(request.strategy) + len(coming)
        if not begun + 1 <= most:
            return Reason(f"{request.strategy} has begun {begun} trades today, risk.max_trades allows {most}")
        return None


class CoolDown(Rule):
    """No new trade for some minutes after one that ended (or ended with a loss); what is wanted then waits for the end of the pause."""

    name = "cooldown"
    for_changes = False

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        limits = self.settings.strategies.get(request.strategy, NO_LIMITS)
        if limits.cooldown_minutes is None or not begins_a_trade(request, case):
            return None
        ended = case.book.trade_ended(request.strategy, losing=limits.cooldown_after == "loss")
        if ended is None or case.now >= (until := ended + timedelta(minutes=limits.cooldown_minutes)):
            return None
        what = "ended a trade with a loss" if limits.cooldown_after == "loss" else "ended a trade"
        return Reason(f"{request.strategy} {what} at {ended:%H:%M:%S}; it pauses until {until:%H:%M:%S}", permanent=False)
