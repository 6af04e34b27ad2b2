"""The day as the engine took it: every event in order, in compact frames that survive a kill.

A file is a row of frames: length and CRC-32 (4 bytes each, little-endian), then MessagePack. A start begins with a frame of facts and
one of what the engine stood on then (packed), then come frames of (number of the first event, instruments met for the first time,
events). Ticks are tuples that name their instrument by its place in the start's list; other events are whole. Between the events stand
the moments at which batches began, and notes of what reached the engine otherwise. At most a second of events is unwritten at any time
(none when the ledger commits), and what was written needs no orderly end: a torn last frame is left out when reading and cut off before
more is appended.
"""

import zlib
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from io import FileIO
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from loguru import logger

from core.errors import DataError
from core.events import Books, Command, Event, FeedStatus, History, OrderUpdate, PriceLimits, Reply, SessionStatus, Timer
from core.types import IST, Bar, Instrument, Tick

_TYPES: tuple[type, ...] = (Tick, Bar, OrderUpdate, Reply, Books, FeedStatus, SessionStatus, Timer, Command, History, PriceLimits)
_CODES = {kind: code for code, kind in enumerate(_TYPES)}
_TICK = 0
_BATCH = -1
_NOTE = -2
_SECOND = timedelta(seconds=1)
_MOST = 8192  # events in one frame
_HEADER = 8
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Batch(msgspec.Struct, frozen=True):
    """The engine took what follows at this moment of its clock: events, then the timers that were due."""

    at: datetime


class Note(msgspec.Struct, frozen=True):
    """Something that reached the engine in another way than as an event: what, when, and all that is needed to do it again."""

    name: str
    at: datetime
    value: Any = None


class Recorder:
    """Appends to FOLDER/DAY-ACCOUNT.events. A disk that refuses ends the recording, never the trading: see `failure`."""

    def __init__(self, folder: Path, day: date, account: str, facts: Mapping[str, str], opening: Any = None) -> None:
        """`facts` come first: config version, build. `opening` is what the engine stands on (None: this start cannot be replayed), as
        values that MessagePack takes."""
        self.path = folder / f"{day.isoformat()}-{account}.events"
        self.failure = ""
        self._file: FileIO | None = None
        try:
            self._file = self._open()
        except OSError as error:
            self.failure = f"nothing is recorded: {self.path}: {error}; free space, the next start records again"
        self._events: list[tuple[Any, ...]] = []
        self._met: list[Instrument] = []
        self._places: dict[str, int] = {}
        self._count = 0
        self._flush_at: datetime | None = None
        self._batch: datetime | None = None  # when the latest began
        self._quiet = False  # whether nothing has happened in it
        self._write({"facts": dict(facts)})
        if opening is not None:
            self._write({"opening": zlib.compress(_encode(opening), 6)})

    def begin(self, at: datetime) -> None:
        """A batch begins. One in which nothing happened, at the moment of the one before, leaves no trace."""
        if at != self._batch or not self._quiet:
            self._batch, self._quiet = at, True
            self._events.append((_BATCH, at))

    def note(self, note: Note) -> None:
        """Keep what reached the engine otherwise."""
        self._quiet = False
        self._events.append((_NOTE, note.name, note.at, zlib.compress(_encode(note.value), 6)))
        self.flush()

    def append(self, event: Event) -> None:
        """Keep one event (the hot path; what is older than a second is written first)."""
        at, self._quiet = event.at, False
        if self._flush_at is None:
            self._flush_at = at + _SECOND
        elif at >= self._flush_at or len(self._events) >= _MOST:
            self.flush()
            self._flush_at = at + _SECOND
        if type(event) is Tick:
            instrument = event.instrument
            place = self._places.get(instrument.key)
            if place is None:
                place = self._places[instrument.key] = len(self._places)
                self._met.append(instrument)
            self._events.append(
                (
                    *(_TICK, place, at, event.price, event.volume, event.quantity, event.exchange_at),
                    *(event.bid, event.ask, event.bid_quantity, event.ask_quantity, event.oi, event.previous_close),
                )
            )
        else:
            self._events.append((_CODES[type(event)], event))

    def flush(self) -> None:
        """Write what is kept; call it when the engine falls idle as well."""
        if self._events:
            self._write({"first": self._count, "instruments": self._met, "events": self._events})
            self._count += len(self._events)
            self._events = []
            self._met = []

    def close(self) -> None:
        self.flush()
        if self._file is not None:
            self._file.close()

    def _open(self) -> FileIO:
        """The day's file, ready for more; one that is damaged in its middle is set aside whole, under another name."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            try:
                _cut_torn_tail(self.path)
            except DataError as error:
                aside = next(name for number in count(1) if not (name := self.path.with_suffix(f".damaged-{number}")).exists())
                logger.error("{}; it is kept as {}", error, aside.name)
                self.path.rename(aside)
        return self.path.open("ab", buffering=0)

    def _write(self, frame: Mapping[str, Any]) -> None:
        if self.failure or self._file is None:
            return
        payload = _encode(frame)
        data = len(payload).to_bytes(4, "little") + zlib.crc32(payload).to_bytes(4, "little") + payload
        try:
            written = self._file.write(data)
            if written != len(data):
                raise OSError(f"only {written} of {len(data)} bytes were taken")
        except OSError as error:
            self.failure = f"recording stopped after event {self._count}: {self.path}: {error}; free space, the next start records again"


class Start(msgspec.Struct):
    """One start of the day that wrote into a recording. `opening` is as it was given (moments in IST), None in recordings without."""

    facts: dict[str, str]
    path: Path
    place: int
    opening: Any = None

    def items(self) -> Iterator[Event | Batch | Note]:
        """What this start took, in order; a frame damaged in the middle raises DataError."""
        return _items(self.path, self.place)


def read_starts(path: Path) -> list[Start]:
    """Every start of the day, in order."""
    found: list[Start] = []
    for place, frame in _frames(path):
        if "facts" in frame:
            found.append(Start(frame["facts"], path, place))
        elif "opening" in frame and found:
            found[-1].opening = _in_ist(_decode(zlib.decompress(frame["opening"])))
    return found


def read(path: Path) -> Iterator[Event]:
    """The events of a recording in order, starts one after another; a frame damaged in the middle raises DataError."""
    for start in read_starts(path):
        for item in start.items():
            if not isinstance(item, Batch | Note):
                yield item


def _items(path: Path, begin: int) -> Iterator[Event | Batch | Note]:
    met: list[Instrument] = []
    expected = 0
    for place, frame in _frames(path, begin):
        if "facts" in frame and place != begin:
            return
        if "events" not in frame:
            continue
        if frame["first"] != expected:
            raise DataError(f"{path}: byte {place}: event {frame['first']} follows event {expected - 1}; the recording is not whole")
        expected += len(frame["events"])
        met.extend(msgspec.convert(frame["instruments"], list[Instrument]))
        for event in frame["events"]:
            code = event[0]
            if code == _TICK:
                yield _tick(event, met)
            elif code == _BATCH:
                yield Batch(event[1].astimezone(IST))
            elif code == _NOTE:
                yield Note(event[1], event[2].astimezone(IST), _in_ist(_decode(zlib.decompress(event[3]))))
            else:
                yield msgspec.convert(_in_ist(event[1]), _TYPES[code])


def _tick(event: list[Any], met: list[Instrument]) -> Tick:
    _, place, at, price, volume, quantity, made, *book = event
    return Tick(met[place], at.astimezone(IST), price, volume, quantity, made and made.astimezone(IST), *book)


def _in_ist(value: Any) -> Any:
    """MessagePack keeps the moment and forgets the zone."""
    if isinstance(value, datetime):
        return value.astimezone(IST)
    if isinstance(value, dict):
        return {name: _in_ist(one) for name, one in value.items()}
    return [_in_ist(one) for one in value] if isinstance(value, list) else value


def _frames(path: Path, place: int = 0) -> Iterator[tuple[int, Any]]:
    """(byte, content) of each whole frame from a place on. A torn or garbled end is left out; garbage with whole frames behind it
    cannot be an end."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(place)
        while place + _HEADER <= size:
            header = file.read(_HEADER)
            length, check = int.from_bytes(header[:4], "little"), int.from_bytes(header[4:], "little")
            payload = file.read(length)
            end = place + _HEADER + length
            if end > size:
                return
            if zlib.crc32(payload) != check:
                if end == size:
                    return
                raise DataError(f"{path}: byte {place}: a damaged frame; the events before it are {place} bytes")
            yield place, _decode(payload)
            place = end


def _cut_torn_tail(path: Path) -> None:
    """So that what is appended can be read."""
    whole = 0
    with path.open("r+b") as file:
        for place, _ in _frames(path):
            file.seek(place)
            whole = place + _HEADER + int.from_bytes(file.read(4), "little")
        file.truncate(whole)
