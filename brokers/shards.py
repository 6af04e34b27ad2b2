"""One feed over several connections, for brokers that take so many instruments on each of so many.

Rules:
1. A new instrument goes to the first connection with room; the next connection is opened when those before it are full. It stays where
   it is until it is unsubscribed, which makes room.
2. Each connection is a Stream of its own: its own login at each attempt, backoff, silence, ledger and reconnects. The drop of one asks
   again for the instruments of that one alone.
3. The feed is connected while all its connections are. The engine does not know which instrument ticks where, so that with one of
   several connections down no entry is taken anywhere, and the status says which one it is and how many instruments it carries.
4. What finds no room is left out, counted and logged.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from brokers.spec import Put
from brokers.stream import Stream
from core.errors import NiyamError
from core.events import Event, FeedStatus
from core.types import Instrument

log = logging.getLogger(__name__)

Tap = Callable[[bytes, datetime], None]
MakeStream = Callable[[int, Put], Stream]
"""Makes the connection of this number (0, 1, …), which hands its events to that `put`."""


class Shards:
    """A Feed of up to `most` streams of `capacity` instruments each; `make` makes them as they are needed."""

    def __init__(self, make: MakeStream, put: Put, *, capacity: int, most: int) -> None:
        self._make = make
        self._put = put
        self._capacity = capacity
        self._most = most
        self._lock = threading.RLock()
        self._streams: list[Stream] = []
        self._up: list[bool] = []
        self._whole = False  # what was last told: all connections are up
        self._place: dict[str, int] = {}  # instrument key -> number of its connection
        self._load: Counter[int] = Counter()
        self._left_out: set[str] = set()
        self._started = False
        self._tap: Tap | None = None
        self._open()

    def record(self, tap: Tap) -> None:
        """From now on every connection's messages also go to `tap`, as they come; see Stream.tap."""
        with self._lock:
            self._tap = tap
            for stream in self._streams:
                stream.tap = tap

    def start(self) -> None:
        with self._lock:
            if self._started:
                raise NiyamError("this feed has been started already; make a new one")
            self._started = True
            streams = list(self._streams)
        for stream in streams:
            stream.start()

    def stop(self) -> None:
        for stream in self._all():
            stream.stop()

    def join(self, seconds: float) -> bool:
        """Wait up to `seconds` of wall time for each connection's threads to end; True if they have."""
        ended = [stream.join(seconds) for stream in self._all()]
        return all(ended)

    def subscribe(self, instruments: Iterable[Instrument]) -> None:
        fresh: list[Stream] = []
        with self._lock:
            given: dict[int, list[Instrument]] = {}
            full: list[str] = []
            for one in dict.fromkeys(instruments):
                if one.key in self._place:
                    continue
                place = self._room(fresh)
                if place is None:
                    full.append(one.key)
                    continue
                self._place[one.key] = place
                self._load[place] += 1
                self._left_out.discard(one.key)
                given.setdefault(place, []).append(one)
            if full:
                self._left_out.update(full)
                text = "%d instruments exceed the %d of each of %d connections; left out: %s…"
                log.error(text, len(full), self._capacity, self._most, ", ".join(full[:5]))
            for place, some in given.items():
                self._streams[place].subscribe(some)
        for stream in fresh:
            stream.start()

    def unsubscribe(self, instruments: Iterable[Instrument]) -> None:
        with self._lock:
            gone: dict[int, list[Instrument]] = {}
            for one in dict.fromkeys(instruments):
                self._left_out.discard(one.key)
                place = self._place.pop(one.key, None)
                if place is not None:
                    self._load[place] -= 1
                    gone.setdefault(place, []).append(one)
            for place, some in gone.items():
                self._streams[place].unsubscribe(some)

    def reconnect(self, reason: str) -> None:
        for stream in self._all():
            stream.reconnect(reason)

    @property
    def silent_for(self) -> float:
        return max(stream.silent_for for stream in self._all())

    @property
    def counts(self) -> Mapping[str, int]:
        total: Counter[str] = Counter()
        for stream in self._all():
            total.update(stream.counts)
        if self._left_out:
            total["no room on any connection"] = len(self._left_out)
        return dict(total)

    @property
    def texts(self) -> Sequence[str]:
        return tuple(text for stream in self._all() for text in stream.texts)

    @property
    def desired(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._place) | self._left_out

    @property
    def confirmed(self) -> frozenset[str]:
        return frozenset[str]().union(*(stream.confirmed for stream in self._all()))

    # --- connections --------------------------------------------------------------------------------------------------------------------

    def _all(self) -> list[Stream]:
        with self._lock:
            return list(self._streams)

    def _room(self, fresh: list[Stream]) -> int | None:
        """The number of a connection with room; one that is opened for it while the feed runs is added to `fresh`, to be started."""
        for place in range(len(self._streams)):
            if self._load[place] < self._capacity:
                return place
        if len(self._streams) == self._most:
            return None
        stream = self._open()
        if self._started:
            fresh.append(stream)
        return len(self._streams) - 1

    def _open(self) -> Stream:
        place = len(self._streams)
        stream = self._make(place, lambda events, origin: self._relay(place, events, origin))
        stream.tap = self._tap
        self._streams.append(stream)
        self._up.append(self._started)  # one that joins a running feed breaks nothing until it fails
        return stream

    def _relay(self, place: int, events: Sequence[Event], origin: str) -> None:
        if type(events[0]) is FeedStatus:  # streams tell it by itself
            with self._lock:
                told = self._told(place, events[0])
            events = [told] if told is not None else ()
        if events:
            self._put(events, origin)

    def _told(self, place: int, status: FeedStatus) -> FeedStatus | None:
        """What the change of one connection means for the feed; None: nothing new."""
        was, self._up[place] = self._whole, status.connected
        self._whole = all(self._up)
        if len(self._streams) == 1:
            return status
        if status.connected:
            return FeedStatus(status.at, True, "", status.attempt) if self._whole and not was else None
        which = f"connection {place + 1} of {len(self._streams)} ({self._load[place]} instruments)"
        return FeedStatus(status.at, False, f"{which}: {status.reason}", status.attempt)
