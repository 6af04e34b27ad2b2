"""The day's report from the ledger: round trips, gross, charges, net, drawdown, the square-off and the digest of the run.

Everything is derived from the booked fills. What only the engine saw comes from the record it keeps under space `day`, key ISO date:
`flat_at`, `max_drawdown` (rupees, on marks) and `square_off` {`scheduled`, `started`, `flat`}, and `assumed` (facts of the calendar
that were not confirmed); a day without that record is reported from the fills alone.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import msgspec

from core.ports import Ledger
from core.types import IST, Fill
from execution_engine.evening import CHARGES
from execution_engine.expiry import SETTLEMENT, Settlement
from execution_engine.expiry import SPACE as SETTLED
from execution_engine.portfolio import EXTERNAL
from execution_engine.round_trips import RoundTrip, Walk, digest_of, walk

GATE_DAYS = 5
"""A paper week: trading days without a mismatch, an alarm or a late square-off before an account should go live."""


def build(store: Ledger, *, account: str, day: date) -> dict[str, Any]:
    """The report of one day, as `report --json` tells it (rupees), with the day's round trips beside it."""
    fills = [fill for fill in store.fills() if _day(fill) <= day]
    walked = walk(fill for fill in _with_settlements(store, fills, account, day) if fill.strategy != EXTERNAL)
    today = [(fill, gross) for fill, gross in walked.realised if _day(fill) == day]
    trips = [trip for trip in walked.trips if trip.exit_at.date() == day]
    seen: Mapping[str, Any] = store.get("day", day.isoformat()) or {}
    square_off = seen.get("square_off") or _rounds(store, day)
    adjusted: Mapping[str, int] = store.get(CHARGES, day.isoformat()) or {}
    charges = sum(fill.charges for fill, _ in today) + sum(adjusted.values())
    gross = sum(part for _, part in today)
    return {
        "day": day.isoformat(),
        "account": account,
        "trades": len(trips),
        "gross": gross / 100,
        "charges": charges / 100,
        "net": (gross - charges) / 100,
        "max_drawdown": seen["max_drawdown"] if seen.get("max_drawdown") is not None else _drawdown(today) / 100,
        "by_strategy": _by_strategy(today, trips, adjusted),
        "flat_at": seen.get("flat_at") or _flat_at(today, walked),
        "square_off": {name: square_off.get(name) for name in ("scheduled", "started", "flat")},
        "charges_adjusted": sum(adjusted.values()) / 100,
        "digest": digest_of(fills),
        "round_trips": [trip.document() for trip in trips],
        "assumed": list(seen.get("assumed") or ()),
        "data": seen.get("data") or _prices(store, day),
    }


def _prices(store: Ledger, day: date) -> str | None:
    """Where the prices of a day come from that is not closed: invented ones are labelled from the first minute on."""
    snapshot = store.snapshot()
    market = snapshot.status.get("market") if snapshot is not None else None
    if not isinstance(market, Mapping) or str(market.get("now"))[:10] != day.isoformat():
        return None
    return market.get("data")


def build_period(store: Ledger, *, account: str, start: date, end: date) -> dict[str, Any]:
    """The reports of all days with fills or a record in [start, end], their sums, and what the go-live gate says of them."""
    days = {_day(fill) for fill in store.fills()} | {date.fromisoformat(key) for key in store.items("day")}
    reports = [build(store, account=account, day=day) for day in sorted(days) if start <= day <= end]
    return {
        "from": start.isoformat(),
        "to": end.isoformat(),
        "account": account,
        "trades": sum(report["trades"] for report in reports),
        **{name: round(sum(report[name] for report in reports), 2) for name in ("gross", "charges", "net")},
        "max_drawdown": max((report["max_drawdown"] for report in reports), default=0.0),
        "days": reports,
        "go_live_gate": _gate(store, reports),
    }


def _with_settlements(store: Ledger, fills: Sequence[Fill], account: str, day: date) -> list[Fill]:
    """The fills, and after each day's the ends of contracts that expired on it."""
    settled = [msgspec.convert(value, Settlement).as_fill(account) for value in store.items(SETTLED).values()]
    return sorted([*fills, *(one for one in settled if _day(one) <= day)], key=lambda one: (_day(one), one.order_id == SETTLEMENT))


def _gate(store: Ledger, reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    reasons = []
    if len(reports) < GATE_DAYS:
        reasons.append(f"{len(reports)} of {GATE_DAYS} trading days")
    for report in reports:
        day = date.fromisoformat(report["day"])
        reasons.extend(f"{day}: {entry.get('title') or entry['kind']}" for entry in _alarms(store, day))
        square_off = report["square_off"]
        if square_off["started"] and not square_off["flat"]:
            reasons.append(f"{day}: the square-off did not end flat")
        elif square_off["scheduled"] and square_off["started"] and _late(square_off):
            reasons.append(f"{day}: the square-off started late ({square_off['started']})")
    return {"met": not reasons, "needs_days": GATE_DAYS, "reasons": reasons}


def _alarms(store: Ledger, day: date) -> list[dict[str, Any]]:
    alerts = [entry for entry in store.read_journal(kind="alert", day=day) if entry.get("level") == "page"]
    return alerts + store.read_journal(kind="difference", day=day)


def _rounds(store: Ledger, day: date) -> dict[str, Any]:
    """The square-off of a day that has not closed yet, from its durable schedule: the first start, and flat once every round is."""
    rounds = [dict(value) for key, value in store.items("square_off").items() if key.startswith(f"{day.isoformat()}|")]
    flat = [one["flat"] for one in rounds if one["flat"]]
    return {
        "scheduled": min((one["scheduled"] for one in rounds), default=None),
        "started": min((one["started"] for one in rounds if one["started"]), default=None),
        "flat": max(flat) if flat and len(flat) == len(rounds) else None,
    }


def _late(square_off: Mapping[str, str]) -> bool:
    return (datetime.fromisoformat(square_off["started"]) - datetime.fromisoformat(square_off["scheduled"])).total_seconds() > 2


def _day(fill: Fill) -> date:
    return fill.at.astimezone(IST).date()


def _drawdown(today: Sequence[tuple[Fill, int]]) -> int:
    """Largest fall of the day's realised net (paise) from its best so far, which starts at zero."""
    net = best = deepest = 0
    for fill, gross in today:
        net += gross - fill.charges
        best = max(best, net)
        deepest = max(deepest, best - net)
    return deepest


def _by_strategy(today: Sequence[tuple[Fill, int]], trips: Sequence[RoundTrip], adjusted: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    result: dict[str, dict[str, Any]] = {}
    for name in sorted({fill.strategy for fill, _ in today}):
        gross = sum(part for fill, part in today if fill.strategy == name)
        charges = sum(fill.charges for fill, _ in today if fill.strategy == name) + adjusted.get(name, 0)
        trades = sum(trip.strategy == name for trip in trips)
        result[name] = {"trades": trades, "gross": gross / 100, "charges": charges / 100, "net": (gross - charges) / 100}
    return result


def _flat_at(today: Sequence[tuple[Fill, int]], walked: Walk) -> str | None:
    return today[-1][0].at.astimezone(IST).isoformat() if today and not walked.held() else None
