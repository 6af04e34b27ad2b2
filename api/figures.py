"""The dashboard's figures from a portfolio document (runtime/portfolio.py); docs/api.md says for each broker where its parts come from.

value = available funds + used margin + holdings at their last price + what open positions gained. Profit = what holdings and open
positions gained since they were bought. Nothing is made up: what the broker does not tell is null; a holding without a last price counts
at its cost, and one without a cost in no profit.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from api.schemas import ActivityStatus, Dashboard, DayProfit, OngoingTrade, OverallProfit, PortfolioOverview, RecentTrade

MOST_TRADES = 20
Days = Sequence[tuple[date, float, float]]


def equity(found: Mapping[str, Any]) -> tuple[float, float]:
    """(value, profit) in rupees."""
    holdings = found["holdings"] or []
    worth = sum(one["quantity"] * (one["last_price"] or one["average_price"]) for one in holdings)
    profit = sum(one["quantity"] * (one["last_price"] - one["average_price"]) for one in holdings if _priced(one))
    gained = sum(_gain(one) for one in found["positions"])
    return round(found["available"] + found["used"] + worth + gained, 2), round(profit + gained, 2)


def dashboard(found: Mapping[str, Any] | None, days: Days, *, active: bool, stale: bool, error: str, broker: str, kind: str) -> Dashboard:
    """`found` None: the broker has never answered."""
    if found is None:
        return Dashboard(
            activity_status=ActivityStatus(is_active=active, last_active=None),
            portfolio_overview=PortfolioOverview(value=None, change_percentage=None),
            unused_funds=None,
            allocated_funds=None,
            ongoing_trades=[],
            recent_trades=[],
            overall_profit=OverallProfit(value=None, percentage=None, last_7_days=[]),
            broker=broker or None,
            account_kind=kind or None,
            stale=True,
            error=error or None,
        )
    value, profit = equity(found)
    as_of = datetime.fromisoformat(found["as_of"])
    return Dashboard(
        activity_status=ActivityStatus(is_active=active, last_active=shown_time(as_of)),
        portfolio_overview=PortfolioOverview(value=value, change_percentage=_change(found, value, days, as_of.date())),
        unused_funds=round(found["available"], 2),
        allocated_funds=round(found["used"], 2),
        ongoing_trades=[_ongoing(one) for one in found["positions"]],
        recent_trades=[_recent(one) for one in reversed(found["trades"][-MOST_TRADES:])],
        overall_profit=OverallProfit(
            value=profit,
            percentage=_percent(profit, _invested(found)),
            last_7_days=[DayProfit(date=day.isoformat(), value=worth, profit=gain) for day, worth, gain in days[-7:]],
        ),
        broker=broker,
        account_kind=kind,
        source=found["source"],
        as_of=found["as_of"],
        stale=stale,
        error=error or None,
    )


def shown_time(at: datetime) -> str:
    """As in "Aug 12, 2025 17:36:22"."""
    return f"{at:%b %d, %Y %H:%M:%S}"


def _change(found: Mapping[str, Any], value: float, days: Days, today: date) -> float | None:
    """Against the last stored day before today; before there is one, the day's move of the holdings where their close is told."""
    before = [worth for day, worth, _ in days if day < today]
    if before:
        return _percent(value - before[-1], before[-1])
    holdings = [one for one in found["holdings"] or [] if one["close_price"] > 0]
    closes = sum(one["quantity"] * one["close_price"] for one in holdings)
    moved = sum(one["quantity"] * (one["last_price"] - one["close_price"]) for one in holdings)
    return _percent(moved, closes)


def _invested(found: Mapping[str, Any]) -> float:
    positions = sum(_used(one) for one in found["positions"])
    return float(positions + sum(one["quantity"] * one["average_price"] for one in found["holdings"] or [] if _priced(one)))


def _priced(one: Mapping[str, Any]) -> bool:
    """Whether the broker told both prices of a holding (0: it did not): only then is its profit known."""
    return bool(one["last_price"] > 0 and one["average_price"] > 0)


def _percent(part: float, whole: float) -> float | None:
    return round(part / whole * 100, 2) if whole > 0 else None


def _gain(one: Mapping[str, Any]) -> float:
    return float((one["last_price"] - one["average_price"]) * one["quantity"] * one["multiplier"])


def _used(one: Mapping[str, Any]) -> float:
    return float(abs(one["quantity"]) * one["average_price"] * one["multiplier"])


def _ongoing(one: Mapping[str, Any]) -> OngoingTrade:
    return OngoingTrade(
        stock=one["instrument"].partition(":")[2],
        bought=round(one["average_price"], 4),
        quantity=one["quantity"],
        capital_used=round(_used(one), 2),
        profit=round(_gain(one), 2),
    )


def _recent(one: Mapping[str, Any]) -> RecentTrade:
    return RecentTrade(
        stock=one["instrument"].partition(":")[2], side=one["side"], quantity=one["quantity"], price=one["price"], time=one["at"]
    )


def day_of(found: Mapping[str, Any]) -> date:
    """The day that an answer is of."""
    return datetime.fromisoformat(found["as_of"]).date()
