"""Several brokers in front of one exchange: one market and one clock, a desk with its own clients, rules and wire for each broker.

Clients never meet each other (simulators/matching.py), so that what the desks share is the market alone: prices, prints, halts, circuit
locks. It plays each second once, whichever desk asks first, and the desks are moved through time together.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from simulators.listing import Candle, Listing, Market, Quote
from simulators.wire import BrokerSimulator, Connection


class OneMarket:
    """A Market that several worlds play: what the first of them moves, the others find moved."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._stepped: tuple[datetime, list[str]] | None = None
        self._opened: date | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._market, name)

    @property
    def listings(self) -> Mapping[str, Listing]:
        return self._market.listings

    def open_day(self, day: date) -> None:
        if day != self._opened:
            self._opened, self._stepped = day, None
            self._market.open_day(day)

    def step(self, now: datetime) -> list[str]:
        if self._stepped is None or self._stepped[0] != now:
            self._stepped = now, self._market.step(now)
        return self._stepped[1]

    def quote(self, key: str, at: datetime | None = None) -> Quote:
        return self._market.quote(key, at)

    def trades(self, key: str, at: datetime) -> list[tuple[float, int]]:
        return self._market.trades(key, at)

    def candles(self, key: str, start: datetime, end: datetime, minutes: int) -> list[Candle]:
        return self._market.candles(key, start, end, minutes)

    def lock(self, key: str, side: str | None) -> None:
        self._market.lock(key, side)

    def halt(self, halted: bool) -> None:
        self._market.halt(halted)


class SideBySide:
    """What the clock moves: every broker's simulator, and each connection by the one it was made to (grants.Moved)."""

    def __init__(self, simulators: Mapping[str, BrokerSimulator]) -> None:
        self._simulators = dict(simulators)
        self._of: dict[str, BrokerSimulator] = {}

    def belongs(self, connection: Connection, simulator: BrokerSimulator) -> None:
        """Whose stream this connection is."""
        self._of[connection.id] = simulator

    def advance(self, now: datetime) -> None:
        while True:
            worlds = [one.world for one in self._simulators.values()]
            behind = [world for world in worlds if world.now < now]
            if not behind:
                break
            moment = min(world.due(now) for world in behind)
            for world in behind:
                world.advance(moment)
        for one in self._simulators.values():
            one.advance(now)  # nothing is left to play; what happened is told to its clients

    def next_event(self, now: datetime, connections: Sequence[Connection]) -> datetime | None:
        theirs = [(one, [each for each in connections if self._of.get(each.id) is one]) for one in self._simulators.values()]
        found = [one.next_event(now, own) for one, own in theirs]
        return min((moment for moment in found if moment is not None), default=None)

    def next_moment(self, now: datetime) -> datetime | None:
        found = [one.next_moment(now) for one in self._simulators.values()]
        return min((moment for moment in found if moment is not None), default=None)

    def last_moment(self) -> datetime:
        return min(one.last_moment() for one in self._simulators.values())

    def receive(self, connection: Connection, message: str | bytes, now: datetime) -> None:
        self._of[connection.id].receive(connection, message, now)

    def frames(self, connection: Connection, now: datetime) -> list[bytes | str]:
        return self._of[connection.id].frames(connection, now)

    def disconnect(self, connection: Connection) -> None:
        simulator = self._of.pop(connection.id, None)
        if simulator is not None:
            simulator.disconnect(connection)
