"""The day's instruments: a broker's dump, validated, frozen into one dated file and read from it lazily."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Protocol

import msgspec

from core.market import Calendar
from core.ports import InstrumentSource
from core.types import Instrument


class InstrumentUpdate(msgspec.Struct, frozen=True):
    """How an update ended. `accepted` False: today's dump was refused for `reason` (raise an alert) and `snapshot` is an older day's."""

    snapshot: "InstrumentSnapshot"
    accepted: bool
    reason: str = ""
    counts: Mapping[str, int] = {}


class DumpParser(Protocol):
    """The part of a broker's spec that an update needs (brokers.spec.Spec has it)."""

    name: str


class InstrumentSnapshot:
    """One day's instruments, read from its file when asked; implements core.ports.InstrumentLookup. Safe from any thread."""

    def __init__(self, path: Path, calendar: Calendar) -> None:
        raise NotImplementedError

    @property
    def day(self) -> date:
        raise NotImplementedError

    @property
    def id(self) -> str:
        """What the recorder writes down: broker, day and the dump's digest."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def by_key(self, key: str) -> Instrument | None:
        raise NotImplementedError

    def by_token(self, token: int) -> Instrument | None:
        raise NotImplementedError

    def token(self, instrument: Instrument) -> int:
        raise NotImplementedError

    def futures(self, root: str) -> list[Instrument]:
        """Live futures of one underlying by expiry, nearest first."""
        raise NotImplementedError

    def options(self, root: str, expiry: date) -> list[Instrument]:
        raise NotImplementedError

    def resolve(self, name: str, on: date) -> Instrument:
        """NIFTY_FUT, NIFTY_FUT_NEXT, RELIANCE, NIFTY26NOVFUT or NFO:NIFTY26NOVFUT as of `on`; DataError says what is near or current."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class InstrumentStore:
    """The folder of dated snapshots of one broker."""

    def __init__(self, folder: Path, calendar: Calendar, broker: str = "zerodha") -> None:
        raise NotImplementedError

    def days(self) -> list[date]:
        raise NotImplementedError

    def open(self, day: date) -> InstrumentSnapshot | None:
        """The newest snapshot not later than `day`, if there is any (its `day` says how old it is)."""
        raise NotImplementedError

    def update(
        self, source: InstrumentSource, spec: DumpParser, day: date, now: datetime, *, known: Sequence[str] = (), again: bool = False
    ) -> InstrumentUpdate:
        """Make the snapshot of `day` from the broker's dump, unless it is there (`again` downloads anew).

        A dump that fails validation leaves the older snapshot in use; without any, DataError. `known` = keys that must be in it.
        """
        raise NotImplementedError
