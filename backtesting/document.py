"""A backtest's outcome as `backtest --json` tells it, and what else a report needs."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO, overload

from backtesting.metrics import metrics_of
from backtesting.run import Outcome
from execution_engine.paper_rules import FillRules
from execution_engine.round_trips import RoundTrip
from utils.config_schema import StrategySettings

RULES = {
    False: "next open: an order meets the next bar, at its open where its limit allows; stops and targets are watched at each bar's close",
    True: "bar path: the prices inside a bar are played, what is held meets its stop before its target (backtesting/bar_path.py)",
}
MOST_ALARMS = 20  # of different words, that are told
FIGURES = re.compile(r"[-+]?\d[\d,.]*")
TICKS = "ticks: an order meets the next print, or the other side of the book where the data has one"


class Trades(Sequence[dict[str, Any]]):
    """The round trips as rows, each made when it is asked for: a long run has more of them than should be in memory twice."""

    def __init__(self, trips: Sequence[RoundTrip]) -> None:
        self._trips = trips

    def __len__(self) -> int:
        return len(self._trips)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (trip.document() for trip in self._trips)

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[dict[str, Any]]: ...
    def __getitem__(self, place: int | slice) -> dict[str, Any] | Sequence[dict[str, Any]]:
        return Trades(self._trips[place]) if isinstance(place, slice) else self._trips[place].document()


def refusals_of(found: Mapping[str, Any]) -> list[str]:
    """What the gate refused, by rule, and what it said the first time."""
    told = found["refused_because"]
    return [f"refused by {rule} {count} time{'s' * (count != 1)}, first: {told[rule]}" for rule, count in found["refusals"].items()]


def alarms_of(found: Mapping[str, Any]) -> list[str]:
    """What a person would have been told, each kind once by its first text, with how often; those that differ in figures are of a kind."""
    told: dict[str, list[Mapping[str, Any]]] = {}
    for one in found["alarms"]:
        told.setdefault(FIGURES.sub("#", f"{one['title']}: {one['text']}"), []).append(one)
    lines = []
    for kind in list(told.values())[:MOST_ALARMS]:
        first, last = kind[0], kind[-1]["at"][:16].replace("T", " ")
        more = f" (and {len(kind) - 1} more, the last {last})" if len(kind) > 1 else ""
        lines.append(f"alarm {first['at'][:16].replace('T', ' ')}: {first['title']}: {first['text']}{more}")
    return lines


def write_json(found: Mapping[str, Any], out: TextIO) -> None:
    """The document as one line of JSON, its trades one by one."""
    before = "{"
    for name, value in found.items():
        out.write(f"{before}{json.dumps(name)}: ")
        if isinstance(value, Trades):
            between = "["
            for row in value:
                out.write(between + json.dumps(row, ensure_ascii=False))
                between = ", "
            out.write("]" if len(value) else "[]")
        else:
            out.write(json.dumps(value, ensure_ascii=False))
        before = ", "
    out.write("}\n")


def document_of(
    settings: Mapping[str, StrategySettings], outcome: Outcome, fills: FillRules, *, broker: str, ticks: bool, seconds: float
) -> dict[str, Any]:
    """Money in rupees, times ISO 8601. `seconds` is how long the run took."""
    params = {name: dict(one.params) for name, one in settings.items()}
    metrics = metrics_of(outcome.trips, outcome.days, outcome.equity, outcome.capital, outcome.exposure, outcome.capital_used)
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
        "trades": Trades(outcome.trips),
        "metrics": metrics,
        "open": outcome.held,
        "rolls": outcome.rolls,
        "settlements": outcome.settlements,
        "refusals": outcome.refusals,
        "refused_because": outcome.refused_because,
        "alarms": [{"at": one.at.isoformat(), "level": one.level, "title": one.title, "text": one.text} for one in outcome.alarms[:100]],
        "assumed": outcome.assumed,
        "notes": outcome.notes,
        "digest": outcome.digest,
        "bars_per_second": round(outcome.events / seconds) if seconds > 0 else None,
    }
