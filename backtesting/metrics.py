"""What a backtest came to, in figures: results, drawdowns, ratios, exposure, costs; by strategy and by month.

Conventions, named in each report:
1. Returns are those of a trading day on the capital that the account began with (no compounding). Sharpe = mean / sample standard
   deviation of all traded days' returns x sqrt(252), no risk-free rate; Sortino uses the root mean square of the negative ones.
2. A drawdown is the fall of the account's worth, open positions at their last price, from its best so far; `days` is how long it
   lasted, to the day on which the best was reached again, or to the end.
3. Exposure is the share of market time in which something was held. Charges as a share: of the gross result where it is positive,
   else None.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from execution_engine.round_trips import RoundTrip

YEAR = 252
"""Trading days of a year, for annualising."""


def metrics_of(
    trips: Sequence[RoundTrip], days: Mapping[date, int], equity: Sequence[tuple[datetime, float]], capital: float, exposure: float,
    used: float = 0.0,
) -> dict[str, Any]:  # fmt: skip
    """Every figure of a run. `days` is each traded day's net result in paise, `equity` the account's worth in rupees by time,
    `exposure` the share of market time in which something was held, `used` the most that margins came to (rupees)."""
    returns = [net / 100 / capital for net in days.values()]
    gross, charges = sum(trip.gross for trip in trips), sum(trip.charges for trip in trips)
    depth, length = drawdown(equity)
    names = sorted({trip.strategy for trip in trips})
    return {
        "days": len(days),
        **_sums(trips),
        "return_pct": round(100 * sum(returns), 4),
        "capital_used": round(used, 2),
        "return_on_used_pct": round(sum(days.values()) / used, 4) if used > 0 else None,
        "worst_day": min(days.values(), default=0) / 100,
        "best_day": max(days.values(), default=0) / 100,
        "max_drawdown": round(depth, 2),
        "max_drawdown_pct": round(100 * depth / capital, 4),
        "max_drawdown_days": length,
        **ratios(returns),
        "exposure": round(exposure, 4),
        "charges_share": round(charges / gross, 4) if gross > 0 else None,
        "by_strategy": {name: _sums([trip for trip in trips if trip.strategy == name]) for name in names},
        "by_month": _months(trips, days),
        "conventions": "day returns on the starting capital; 252 days a year; no risk-free rate",
    }


def drawdown(equity: Iterable[tuple[datetime, float]]) -> tuple[float, int]:
    """The deepest fall in rupees, and the longest in calendar days."""
    best = -float("inf")
    since: date | None = None
    deepest, longest = 0.0, 0
    for at, worth in equity:
        if worth >= best:
            best, since = worth, at.date()
        else:
            deepest = max(deepest, best - worth)
            longest = max(longest, (at.date() - (since or at.date())).days)
    return deepest, longest


def _sums(trips: Sequence[RoundTrip]) -> dict[str, Any]:
    nets = [trip.gross - trip.charges for trip in trips]
    won, lost = [net for net in nets if net > 0], [net for net in nets if net <= 0]
    return {
        "trades": len(nets),
        "gross": sum(trip.gross for trip in trips) / 100,
        "charges": sum(trip.charges for trip in trips) / 100,
        "net": sum(nets) / 100,
        "won": len(won),
        "win_rate": round(len(won) / len(nets), 4) if nets else None,
        "average_win": round(fmean(won) / 100, 2) if won else None,
        "average_loss": round(fmean(lost) / 100, 2) if lost else None,
        "expectancy": round(fmean(nets) / 100, 2) if nets else None,
        "profit_factor": round(sum(won) / -sum(lost), 4) if sum(lost) else None,
    }


def ratios(returns: Sequence[float]) -> dict[str, float | None]:
    """Sharpe and Sortino of the traded days' returns; None where there is nothing to divide by."""
    return {
        "sharpe": _ratio(returns, stdev(returns) if len(returns) > 1 else 0.0),
        "sortino": _ratio(returns, sqrt(fmean([min(0.0, one) ** 2 for one in returns])) if returns else 0.0),
    }


def _ratio(returns: Sequence[float], spread: float) -> float | None:
    return round(fmean(returns) / spread * sqrt(YEAR), 4) if len(returns) > 1 and spread > 1e-12 else None


def _months(trips: Sequence[RoundTrip], days: Mapping[date, int]) -> dict[str, dict[str, Any]]:
    months: dict[str, dict[str, Any]] = {}
    for day, net in days.items():
        month = months.setdefault(f"{day:%Y-%m}", {"days": 0, "trades": 0, "net": 0.0})
        month["days"] += 1
        month["net"] = round(month["net"] + net / 100, 2)
    for trip in trips:
        months[f"{trip.exit_at:%Y-%m}"]["trades"] += 1
    return months
