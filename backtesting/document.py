"""A backtest's outcome as CONTRACT's `backtest --json` has it, and what else a report needs."""

from collections.abc import Mapping
from typing import Any

from backtesting.metrics import metrics_of
from backtesting.run import Outcome
from execution_engine.paper_rules import FillRules
from utils.config_schema import StrategySettings

RULES = {
    False: "next open: an order meets the next bar, at its open where its limit allows; stops and targets are watched at each bar's close",
    True: "bar path: the prices inside a bar are played, what is held meets its stop before its target (backtesting/bar_path.py)",
}
TICKS = "ticks: an order meets the next print, or the other side of the book where the data has one"


def document_of(
    settings: Mapping[str, StrategySettings], outcome: Outcome, fills: FillRules, *, broker: str, ticks: bool, seconds: float
) -> dict[str, Any]:
    """Money in rupees, times ISO 8601. `seconds` is how long the run took."""
    params = {name: dict(one.params) for name, one in settings.items()}
    metrics = metrics_of(outcome.trips, outcome.days, outcome.equity, outcome.capital, outcome.exposure)
    days = sorted(outcome.days)
    return {
        "strategy": ", ".join(settings),
        "class": {name: one.class_ for name, one in settings.items()},
        "params": params if len(params) > 1 else next(iter(params.values())),
        "from": days[0].isoformat() if days else None,
        "to": days[-1].isoformat() if days else None,
        "capital": outcome.capital,
        "broker": broker,
        "data": outcome.data,
        "fill_rule": TICKS if ticks else RULES[fills.inside_bars],
        "fills": {
            "slippage_ticks": fills.slippage_ticks,
            "slippage_bps": fills.slippage_bps,
            "spread_ticks": fills.spread_ticks,
            "volume_share": fills.volume_share,
            "latency_s": fills.latency_s,
        },
        "bars": outcome.events,
        "trades": [trip.document() for trip in outcome.trips],
        "metrics": metrics,
        "open": outcome.held,
        "rolls": outcome.rolls,
        "settlements": outcome.settlements,
        "refusals": outcome.refusals,
        "alarms": [{"at": one.at.isoformat(), "level": one.level, "title": one.title, "text": one.text} for one in outcome.alarms[:100]],
        "assumed": outcome.assumed,
        "notes": outcome.notes,
        "digest": outcome.digest,
        "bars_per_second": round(outcome.events / seconds) if seconds > 0 else None,
    }
