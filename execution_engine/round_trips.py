"""Round trips from booked fills: one strategy's way from flat to flat in one instrument, and the digest of a run's fills."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from core.types import IST, Fill, Instrument, Side


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
    walk_on(result, fills)
    return result


def walk_on(result: Walk, fills: Iterable[Fill]) -> None:
    """Walk through fills that follow those already walked through."""
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
