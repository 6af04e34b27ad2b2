"""One broker's live feed for several accounts: one login, one set of connections, and each account hears what it asked for.

Rules:
1. The first account that starts its seat makes and starts the feed, the last that stops its seat stops it. One that joins later is told
   the feed's present state at once.
2. An instrument is subscribed while any account wants it. Ticks go to those that want their instrument, the feed's state to all.
3. Order updates go to the account whose orders they are: of the accounts on one login at most one trades.
4. An account whose orders go to another broker names instruments as that one lists them; its seat translates both ways (joined.py).
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from core.errors import DataError
from core.events import Event, FeedStatus, OrderUpdate
from core.ports import Clock, Feed
from core.types import Instrument, Tick

Put = Callable[[Sequence[Event], str], None]
Make = Callable[[Put], Feed]
"""Makes the feed, which hands its events to that `put`."""


class Translation(Protocol):
    """Between the words of the feed's broker and those of an account's orders."""

    def theirs(self, instrument: Instrument) -> Instrument: ...
    def ours(self, instrument: Instrument) -> Instrument | None: ...


class SharedFeed:
    """The feed of one login. Safe from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._seats: list[Seat] = []
        self._wanted: Counter[str] = Counter()
        self._status: FeedStatus | None = None
        self.feed: Feed | None = None

    def seat(self, put: Put, make: Make, *, trades: bool, translation: Callable[[], Translation] | None = None) -> "Seat":
        """A Feed for one account for one day; `trades`: the order updates are its."""
        return Seat(self, put, make, trades=trades, translation=translation)

    def join(self, seat: "Seat") -> None:
        """Called by a seat that starts."""
        with self._lock:
            self._seats.append(seat)
            told, feed = self._status, self.feed
            if feed is None:
                feed = self.feed = seat.make(self._deliver)
                self.want(seat.named.values())
                feed.start()
                return
            self.want(seat.named.values())
        if told is not None:
            seat.put([FeedStatus(self._clock.now(), told.connected, told.reason, told.attempt)], "feed")

    def leave(self, seat: "Seat") -> None:
        """Called by a seat that stops."""
        with self._lock:
            if seat not in self._seats:
                return
            self._seats.remove(seat)
            self.release(seat.named.values())
            feed = self.feed
            if not self._seats:
                self.feed = self._status = None
        if feed is not None and not self._seats:
            feed.stop()
        seat.put([FeedStatus(self._clock.now(), False, "stopped", 0)], "feed")

    def want(self, instruments: Iterable[Instrument]) -> None:
        """One account more wants these, named as the feed's broker does."""
        with self._lock:
            new = []
            for one in instruments:
                self._wanted[one.key] += 1
                if self._wanted[one.key] == 1:
                    new.append(one)
            if self.feed is not None and new:
                self.feed.subscribe(new)

    def release(self, instruments: Iterable[Instrument]) -> None:
        """One account less wants these."""
        with self._lock:
            gone = []
            for one in instruments:
                self._wanted[one.key] -= 1
                if self._wanted[one.key] <= 0:
                    del self._wanted[one.key]
                    gone.append(one)
            if self.feed is not None and gone:
                self.feed.unsubscribe(gone)

    def _deliver(self, events: Sequence[Event], origin: str) -> None:
        with self._lock:
            for event in events:
                if isinstance(event, FeedStatus):
                    self._status = event
            seats = list(self._seats)
        for seat in seats:
            if heard := seat.heard(events):
                seat.put(heard, origin)


class Seat:
    """A Feed: one account's part of a shared one."""

    def __init__(self, shared: SharedFeed, put: Put, make: Make, *, trades: bool, translation: Callable[[], Translation] | None) -> None:
        self._shared = shared
        self._trades = trades
        self._translation = translation
        self._started = False
        self.put = put
        self.make = make
        self.named: dict[str, Instrument] = {}  # our key -> as the feed's broker names it
        self._ours: dict[str, Instrument] = {}  # its key -> ours
        self._lacking: Counter[str] = Counter()

    def start(self) -> None:
        self._started = True
        self._shared.join(self)

    def stop(self) -> None:
        if self._started:
            self._started = False
            self._shared.leave(self)

    def join(self, seconds: float) -> bool:
        """The threads are the shared feed's: there is nothing of its own to wait for."""
        return True

    def subscribe(self, instruments: Iterable[Instrument]) -> None:
        new = []
        for one in instruments:
            if one.key in self.named:
                continue
            theirs = self._theirs(one)
            if theirs is not None:
                self.named[one.key], self._ours[theirs.key] = theirs, one
                new.append(theirs)
        if self._started and new:
            self._shared.want(new)

    def unsubscribe(self, instruments: Iterable[Instrument]) -> None:
        gone = [theirs for one in instruments if (theirs := self.named.pop(one.key, None)) is not None]
        for theirs in gone:
            self._ours.pop(theirs.key, None)
        if self._started and gone:
            self._shared.release(gone)

    def reconnect(self, reason: str) -> None:
        if self._shared.feed is not None:
            self._shared.feed.reconnect(reason)

    @property
    def silent_for(self) -> float:
        feed = self._shared.feed
        return feed.silent_for if feed is not None else float("inf")

    @property
    def counts(self) -> Mapping[str, int]:
        feed = self._shared.feed
        return {**(feed.counts if feed is not None else {}), **self._lacking}

    @property
    def texts(self) -> Sequence[str]:
        feed = self._shared.feed
        return feed.texts if feed is not None else ()

    @property
    def desired(self) -> frozenset[str]:
        return frozenset(self.named)

    @property
    def confirmed(self) -> frozenset[str]:
        feed = self._shared.feed
        live = feed.confirmed if feed is not None else frozenset[str]()
        return frozenset(key for key, theirs in list(self.named.items()) if theirs.key in live)

    def heard(self, events: Sequence[Event]) -> list[Event]:
        """What of these is for this account, in its words."""
        found: list[Event] = []
        for event in events:
            if isinstance(event, Tick):
                ours = self._ours.get(event.instrument.key)
                if ours is not None:
                    found.append(event if self._translation is None else msgspec.structs.replace(event, instrument=ours))
            elif not isinstance(event, OrderUpdate) or self._trades:
                found.append(event)
        return found

    def _theirs(self, instrument: Instrument) -> Instrument | None:
        if self._translation is None:
            return instrument
        try:
            return self._translation().theirs(instrument)
        except DataError:
            self._lacking["not listed where prices come from"] += 1
            return None
