"""Prices from one broker for orders at another: each contract joined by what it is, never by a name or a number.

The engine knows instruments as the broker of the orders lists them: its lots, ticks and tokens are what an order leaves with. The broker
of the data is asked in its own words, and what it says comes back as the same contract of the orders' list: exchange, underlying, expiry,
strike and right (InstrumentSnapshot.same). A contract that the data's broker does not list has no prices and is traded by nobody; one
that it lists with another lot is refused too, for one of the two lists is then of another day.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from core.errors import DataError
from core.ports import CircuitSource, DataSession
from core.types import Bar, Instrument
from data_ingestion.instruments import InstrumentSnapshot


class Join:
    """Both lists of one day, contract by contract. Safe from any thread."""

    def __init__(self, orders: InstrumentSnapshot, data: InstrumentSnapshot, title: str) -> None:
        """`title` names the data's broker in what is said of an instrument that it lacks."""
        self._orders = orders
        self._data = data
        self._title = title
        self._theirs: dict[str, Instrument | None] = {}  # key of the orders' list -> as the data's broker lists it
        self._ours: dict[str, Instrument | None] = {}  # key of the data's list -> as the orders' broker lists it

    def theirs(self, instrument: Instrument) -> Instrument:
        """What the data's broker calls it; raises DataError saying why there are no prices of it."""
        if instrument.key not in self._theirs:
            self._theirs[instrument.key] = self._data.same(instrument)
        found = self._theirs[instrument.key]
        if found is None:
            raise DataError(f"{instrument.key} is not in the instruments of {self._title}, where this account's prices come from")
        if found.lot != instrument.lot:
            raise DataError(
                f"{instrument.key} has a lot of {instrument.lot} where orders go and of {found.lot} at {self._title}, where prices come "
                "from: one of the two lists is of another day; run `instruments update` for both"
            )
        return found

    def ours(self, instrument: Instrument) -> Instrument | None:
        """What the orders' broker calls an instrument of the data's broker; None where it lists no such."""
        if instrument.key not in self._ours:
            self._ours[instrument.key] = self._orders.same(instrument)
        return self._ours[instrument.key]


class JoinedData:
    """A DataSession that is asked for instruments of the orders' broker and asks the data's broker for its own."""

    def __init__(self, source: DataSession, join: Callable[[], Join]) -> None:
        self._source = source
        self._join = join

    def instruments(self) -> bytes:
        return self._source.instruments()

    def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
        found = self._source.candles(self._join().theirs(instrument), start, end, interval, continuous=continuous)
        return [msgspec.structs.replace(bar, instrument=instrument) for bar in found]

    def last_prices(self, instruments: Sequence[Instrument]) -> dict[str, float]:
        theirs = self._known(instruments)
        found = self._source.last_prices(list(theirs.values()))
        return {key: found[one.key] for key, one in theirs.items() if one.key in found}

    def profile(self) -> Mapping[str, Any]:
        return self._source.profile()

    def _known(self, instruments: Sequence[Instrument]) -> dict[str, Instrument]:
        """Key -> what the data's broker calls it, of those that it lists."""
        join, known = self._join(), dict[str, Instrument]()
        for one in instruments:
            try:
                known[one.key] = join.theirs(one)
            except DataError:
                continue  # a key that the broker does not know is absent from its answer
        return known


class JoinedCircuits(JoinedData):
    """The same of a broker that tells the day's circuit limits."""

    def __init__(self, source: DataSession, join: Callable[[], Join]) -> None:
        super().__init__(source, join)
        assert isinstance(source, CircuitSource), "only a broker that tells limits has them"
        self._limits = source

    def circuits(self, instruments: Sequence[Instrument]) -> dict[str, tuple[float, float]]:
        theirs = self._known(instruments)
        found = self._limits.circuits(list(theirs.values()))
        return {key: found[one.key] for key, one in theirs.items() if one.key in found}


def joined(source: DataSession, join: Callable[[], Join]) -> DataSession:
    """The data of one broker for the instruments of another."""
    return JoinedCircuits(source, join) if isinstance(source, CircuitSource) else JoinedData(source, join)
