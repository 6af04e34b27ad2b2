"""The day's report from the ledger: round trips, gross, charges, net, drawdown, the square-off and the digest of the run.

Everything is derived from the booked fills. What only the engine saw comes from the record it keeps under space `day`, key ISO date:
`flat_at`, `max_drawdown` (rupees, on marks) and `square_off` {`scheduled`, `started`, `flat`}, and `assumed` (facts of the calendar
that were not confirmed); a day without that record is reported from the fills alone.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from core.ports import Ledger
from core.types import IST, Fill, Instrument, Side
from execution_engine.portfolio import EXTERNAL

GATE_DAYS = 5
"""A paper week: trading days without a mismatch, an alarm or a late square-off before an account should go live."""


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """One strategy's way from flat to flat in one instrument. Prices are averages; money is paise."""

    strategy: str
    instrument: Instrument
    side: Side
    quantity: int
    entry_at: datetime
    entry_price: float
    exit_at: datetime
    exit_price: float
    gross: int
    charges: int

    def document(self) -> dict[str, Any]:
        return {
            "strategy": self.strategy,
            "instrument": self.instrument.key,
            "side": str(self.side),
            "quantity": self.quantity,
            "entry_at": self.entry_at.isoformat(),
            "entry_price": round(self.entry_price, 4),
            "exit_at": self.exit_at.isoformat(),
            "exit_price": round(self.exit_price, 4),
            "gross": self.gross / 100,
            "charges": self.charges / 100,
            "net": (self.gross - self.charges) / 100,
        }


@dataclass(slots=True)
class _Leg:
    """An open round trip while its fills are walked through."""

    sign: int = 0
    open_quantity: int = 0
    entered: int = 0
    entry_value: float = 0.0
    exit_value: float = 0.0
    exited: int = 0
    gross: int = 0
    charges: int = 0
    entry_at: datetime | None = None


@dataclass(slots=True)
class Walk:
    """The result of walking through fills: closed round trips, each fill's realised paise, and what is still held."""

    trips: list[RoundTrip] = field(default_factory=list)
    realised: list[tuple[Fill, int]] = field(default_factory=list)
    open: dict[tuple[str, str], _Leg] = field(default_factory=dict)

    def held(self) -> bool:
        return any(leg.open_quantity for leg in self.open.values())


def walk(fills: Iterable[Fill]) -> Walk:
    """Match fills in booking order at average cost, by (strategy, instrument). A fill that crosses zero ends a trip and starts one."""
    result = Walk()
    for fill in fills:
        key = (fill.strategy, fill.instrument.key)
        leg = result.open.setdefault(key, _Leg())
        closing = min(fill.quantity, leg.open_quantity) if leg.sign == -fill.side.sign else 0
        charges = fill.charges * closing // fill.quantity if fill.quantity else 0
        gross = 0
        if closing:
            gross = _close(leg, fill, closing, charges)
            if not leg.open_quantity:
                result.trips.append(_trip(leg, fill))
                leg = result.open[key] = _Leg()
        if fill.quantity > closing:
            _open(leg, fill, fill.quantity - closing, fill.charges - charges)
        result.realised.append((fill, gross))
    return result


def _open(leg: _Leg, fill: Fill, quantity: int, charges: int) -> None:
    leg.sign = fill.side.sign
    leg.entry_at = leg.entry_at or fill.at
    leg.open_quantity += quantity
    leg.entered += quantity
    leg.entry_value += fill.price * quantity
    leg.charges += charges


def _close(leg: _Leg, fill: Fill, quantity: int, charges: int) -> int:
    average = leg.entry_value / leg.entered
    gross = round((fill.price - average) * leg.sign * quantity * fill.instrument.multiplier * 100)
    leg.open_quantity -= quantity
    leg.exited += quantity
    leg.exit_value += fill.price * quantity
    leg.gross += gross
    leg.charges += charges
    return gross


def _trip(leg: _Leg, last: Fill) -> RoundTrip:
    return RoundTrip(
        strategy=last.strategy,
        instrument=last.instrument,
        side=Side.BUY if leg.sign > 0 else Side.SELL,
        quantity=leg.entered,
        entry_at=(leg.entry_at or last.at).astimezone(IST),
        entry_price=leg.entry_value / leg.entered,
        exit_at=last.at.astimezone(IST),
        exit_price=leg.exit_value / leg.exited,
        gross=leg.gross,
        charges=leg.charges,
    )


def digest_of(fills: Iterable[Fill]) -> str:
    """SHA-256 over a run's fills in booking order, a line each: at|strategy|instrument|side|quantity|price in paise|charges in paise.

    `at` in whole seconds of IST. Ids are left out, so that equal digests mean equal behaviour. (The portfolio keeps the same running.)
    """
    digest = hashlib.sha256()
    for fill in fills:
        at = fill.at.astimezone(IST).isoformat(timespec="seconds")
        parts = (at, fill.strategy, fill.instrument.key, fill.side, fill.quantity, round(fill.price * 100), fill.charges)
        digest.update(("|".join(map(str, parts)) + "\n").encode())
    return digest.hexdigest()


def build(store: Ledger, *, account: str, day: date) -> dict[str, Any]:
    """The report of one day, as CONTRACT's `report --json` has it (rupees), with the day's round trips beside it."""
    fills = [fill for fill in store.fills() if _day(fill) <= day]
    walked = walk(fill for fill in fills if fill.strategy != EXTERNAL)
    today = [(fill, gross) for fill, gross in walked.realised if _day(fill) == day]
    trips = [trip for trip in walked.trips if trip.exit_at.date() == day]
    seen: Mapping[str, Any] = store.get("day", day.isoformat()) or {}
    square_off = seen.get("square_off") or _rounds(store, day)
    charges = sum(fill.charges for fill, _ in today)
    gross = sum(part for _, part in today)
    return {
        "day": day.isoformat(),
        "account": account,
        "trades": len(trips),
        "gross": gross / 100,
        "charges": charges / 100,
        "net": (gross - charges) / 100,
        "max_drawdown": seen["max_drawdown"] if seen.get("max_drawdown") is not None else _drawdown(today) / 100,
        "by_strategy": _by_strategy(today, trips),
        "flat_at": seen.get("flat_at") or _flat_at(today, walked),
        "square_off": {name: square_off.get(name) for name in ("scheduled", "started", "flat")},
        "digest": digest_of(fills),
        "round_trips": [trip.document() for trip in trips],
        "assumed": list(seen.get("assumed") or ()),
        "data": seen.get("data"),
    }


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


def _by_strategy(today: Sequence[tuple[Fill, int]], trips: Sequence[RoundTrip]) -> dict[str, dict[str, Any]]:
    result: dict[str, dict[str, Any]] = {}
    for name in sorted({fill.strategy for fill, _ in today}):
        gross = sum(part for fill, part in today if fill.strategy == name)
        charges = sum(fill.charges for fill, _ in today if fill.strategy == name)
        trades = sum(trip.strategy == name for trip in trips)
        result[name] = {"trades": trades, "gross": gross / 100, "charges": charges / 100, "net": (gross - charges) / 100}
    return result


def _flat_at(today: Sequence[tuple[Fill, int]], walked: Walk) -> str | None:
    return today[-1][0].at.astimezone(IST).isoformat() if today and not walked.held() else None
