"""Two brokers' dumps side by side: which contracts are one by identity, and what is not joined, and why.

Contracts are joined by identity (exchange, underlying, expiry, strike, kind). The exchange's own number of a contract, which most brokers
pass on, is the second opinion: a contract that both list under one number has to have one identity. It may have two where the dumps are of
different days and the exchange moved its strike in between (an adjustment for a dividend or a bonus), or gave the number to another
contract; both are told.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from core.ports import Token
from core.types import Instrument, Kind

EXAMPLES = 3
Identity = tuple[str, str, date | None, float | None, Kind]


@dataclass(frozen=True, slots=True)
class Listing:
    """One broker's contracts of a day: by identity, each with the exchange's number of it ("" where the broker does not pass it on)."""

    broker: str
    day: date
    contracts: Mapping[Identity, tuple[Instrument, str]]


def listing(broker: str, day: date, rows: Iterable[tuple[Instrument, Token]], number: Callable[[Token], str]) -> Listing:
    """`number` finds the exchange's number in the broker's token."""
    return Listing(broker, day, {identity(one): (one, number(token)) for one, token in rows if one.expiry is not None})


def identity(one: Instrument) -> Identity:
    return (one.exchange, one.underlying, one.expiry, one.strike, one.kind)


def compare(ours: Listing, theirs: Listing) -> dict[str, Any]:
    """What of `ours` is in `theirs`, of the exchanges that both have, among contracts that live on the later of the two days."""
    day = max(ours.day, theirs.day)
    exchanges = {place[0] for place in ours.contracts} & {place[0] for place in theirs.contracts}
    mine, other = _alive(ours, day, exchanges), _alive(theirs, day, exchanges)
    numbered = {(one.exchange, number): place for place, (one, number) in other.items() if number}
    roots, expiries = {place[:2] for place in other}, {place[:3] for place in other}
    joined = renamed = both = agreed = 0
    apart, missing = _Reasons(), _Reasons()
    for place, (one, number) in mine.items():
        found, same_number = other.get(place), numbered.get((one.exchange, number)) if number else None
        joined += found is not None
        renamed += found is not None and found[0].key != one.key
        both += same_number is not None
        agreed += same_number == place
        if same_number is not None and same_number != place:
            moved = same_number[1:3] == place[1:3] and same_number[4] == place[4]
            what = "its strike was moved" if moved else "its number was given to another contract"
            apart.add(what, f"{one.key} and {other[same_number][0].key}")
        if found is None:
            what = "no contract on its underlying" if place[:2] not in roots else "no such expiry" if place[:3] not in expiries else ""
            missing.add(what or "no such strike", one.key)
    return {
        "ours": {"broker": ours.broker, "day": ours.day.isoformat(), "contracts": len(mine)},
        "theirs": {"broker": theirs.broker, "day": theirs.day.isoformat(), "contracts": len(other)},
        "exchanges": sorted(exchanges),
        "joined": joined,
        "under_another_key": renamed,
        "same_number": {"contracts": both, "joined": agreed, "apart": apart.told()},
        "not_joined": missing.told(),
    }


def _alive(of: Listing, day: date, exchanges: set[str]) -> dict[Identity, tuple[Instrument, str]]:
    return {
        place: (one, number)
        for place, (one, number) in of.contracts.items()
        if one.exchange in exchanges and one.expiry is not None and one.expiry >= day
    }


class _Reasons:
    def __init__(self) -> None:
        self._examples: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def add(self, what: str, example: str) -> None:
        self._counts[what] = self._counts.get(what, 0) + 1
        if len(shown := self._examples.setdefault(what, [])) < EXAMPLES:
            shown.append(example)

    def told(self) -> dict[str, Any]:
        return {what: {"count": count, "examples": self._examples[what]} for what, count in sorted(self._counts.items())}
