"""The day as the engine took it: every event in order, in compact frames that survive a kill.

A file is a row of frames: length and CRC-32 (4 bytes each, little-endian), then MessagePack. A run begins with a frame of facts, then
frames of (number of the first event, instruments met for the first time, events). Ticks are tuples that name their instrument by its
place in the run's list; other events are whole. At most a second of events is unwritten at any time, and what was written needs no
orderly end: a torn last frame is left out when reading and cut off before more is appended.
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
_SECOND = timedelta(seconds=1)
_MOST = 8192  # events in one frame
_HEADER = 8
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Recorder:
    """Appends to FOLDER/DAY-ACCOUNT.events. A disk that refuses ends the recording, never the trading: see `failure`."""

    def __init__(self, folder: Path, day: date, account: str, facts: Mapping[str, str]) -> None:
        """`facts` come first: config version, instrument snapshot id, seed, what else a replay needs."""
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
        self._write({"facts": dict(facts)})

    def append(self, event: Event) -> None:
        """Keep one event (the hot path; what is older than a second is written first)."""
        at = event.at
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


def read(path: Path) -> Iterator[Event]:
    """The events of a recording in order, runs one after another; a frame damaged in the middle raises DataError."""
    met: list[Instrument] = []
    expected = 0
    for place, frame in _frames(path):
        if "facts" in frame:
            met, expected = [], 0
            continue
        if frame["first"] != expected:
            raise DataError(f"{path}: byte {place}: event {frame['first']} follows event {expected - 1}; the recording is not whole")
        expected += len(frame["events"])
        met.extend(msgspec.convert(frame["instruments"], list[Instrument]))
        for event in frame["events"]:
            yield _tick(event, met) if event[0] == _TICK else msgspec.convert(_in_ist(event[1]), _TYPES[event[0]])


def read_facts(path: Path) -> list[dict[str, str]]:
    """The facts of each run that wrote into this recording (one for each start of that day)."""
    return [frame["facts"] for _, frame in _frames(path) if "facts" in frame]


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


def _frames(path: Path) -> Iterator[tuple[int, Any]]:
    """(byte, content) of each whole frame. A torn or garbled end is left out; garbage with whole frames behind it cannot be an end."""
    size = path.stat().st_size
    with path.open("rb") as file:
        place = 0
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
