"""Kite's stream as pure code: binary frames and JSON texts in, ticks and order updates out; subscription messages the other way.

A frame is `u16 count`, then for each packet `u16 length` and a body; the length alone tells the kind (8 ltp, 28/32 index quote/full,
44/184 quote/full), all integers are big-endian and unsigned, prices are divided by what the token's last byte says. Source: Kite
Connect v3 documentation, section WebSocket streaming, and kiteconnect 5.2.2 where the two differ.
"""

import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import brokers.zerodha.mapping as mapping
from brokers.faults import Faults
from brokers.spec import Lookup
from core.errors import DataError
from core.events import Event, OrderUpdate
from core.ports import InstrumentLookup
from core.types import IST, Instrument, Tick

if TYPE_CHECKING:  # numpy is loaded by decode_batch alone
    import numpy

ByToken = Callable[[int], Instrument | None]

DIVISORS: tuple[float, ...] = tuple({3: 1e7, 6: 1e4, 12: 1e4}.get(segment, 100.0) for segment in range(256))
"""Price divisor by `token & 0xff`: 3 CDS, 6 BCD, 12 NCO; everything else is in paise."""

_FULL = struct.Struct(">3I4xI20xI4xI8x3I52x2I52x")  # token, price, quantity, volume, close, oi, time, bid (quantity, price), ask (same)
_FULL_FRAME = struct.Struct(">H3I4xI20xI4xI8x3I52x2I52x")  # the same with the length before it, to walk a frame of nothing else
_QUOTE = struct.Struct(">3I4xI20xI")  # token, price, quantity, volume, close
_INDEX = struct.Struct(">2I12xI")  # token, price, close
_LTP = struct.Struct(">2I")
_WORD = struct.Struct(">I")
_SHORT = struct.Struct(">H")


@lru_cache(maxsize=4096)
def _moment(epoch: int) -> datetime | None:
    """An exchange timestamp in IST; 0 means that the exchange gave none."""
    return datetime.fromtimestamp(epoch, IST) if epoch else None


def decode(frame: bytes, at: datetime, by_token: ByToken, faults: Faults | None = None) -> list[Tick]:
    """The ticks of one binary frame, in its order, stamped with the receive time `at`. A heartbeat (1 byte) has none."""
    size = len(frame)
    if size >= 188 and (size - 2) % 186 == 0 and (size - 2) // 186 == frame[0] << 8 | frame[1]:
        ticks = _decode_full(frame, at, by_token)
        if ticks is not None:
            return ticks
    return _decode_any(frame, at, by_token, faults if faults is not None else Faults())


def _decode_full(frame: bytes, at: datetime, by_token: ByToken) -> list[Tick] | None:
    """A frame that holds full packets of known tokens alone; None if it turns out to hold anything else."""
    ticks: list[Tick] = []
    add, tick, divisors, moment = ticks.append, Tick, DIVISORS, _moment
    for length, token, price, quantity, volume, close, oi, time, bids, bid, asks, ask in _FULL_FRAME.iter_unpack(memoryview(frame)[2:]):
        instrument = by_token(token)
        if length != 184 or instrument is None:
            return None
        by = divisors[token & 255]
        add(tick(instrument, at, price / by, volume, quantity, moment(time), bid / by, ask / by, bids, asks, oi, close / by))
    return ticks


def _decode_any(frame: bytes, at: datetime, by_token: ByToken, faults: Faults) -> list[Tick]:
    ticks: list[Tick] = []
    size = len(frame)
    if size < 2:
        return ticks
    (count,) = _SHORT.unpack_from(frame)
    start = 2
    for _ in range(count):
        if start + 2 > size:
            faults.counts["truncated frame"] += 1
            return ticks
        (length,) = _SHORT.unpack_from(frame, start)
        start += 2
        if start + length > size:
            faults.counts["truncated frame"] += 1
            return ticks
        tick = _decode_packet(frame, start, length, at, by_token, faults)
        if tick is not None:
            ticks.append(tick)
        start += length
    if start < size:
        faults.counts["bytes after the last packet"] += size - start
    return ticks


def _decode_packet(frame: bytes, start: int, length: int, at: datetime, by_token: ByToken, faults: Faults) -> Tick | None:
    if length not in (8, 28, 32, 44, 184):
        faults.counts[f"packet of {length} bytes"] += 1
        return None
    (token,) = _WORD.unpack_from(frame, start)
    instrument = by_token(token)
    if instrument is None:
        faults.unknown(token)
        return None
    by = DIVISORS[token & 255]
    if length == 184:
        _, price, quantity, volume, close, oi, time, bids, bid, asks, ask = _FULL.unpack_from(frame, start)
        return Tick(instrument, at, price / by, volume, quantity, _moment(time), bid / by, ask / by, bids, asks, oi, close / by)
    if length == 44:
        _, price, quantity, volume, close = _QUOTE.unpack_from(frame, start)
        return Tick(instrument, at, price / by, volume, quantity, previous_close=close / by)
    if length == 8:
        _, price = _LTP.unpack_from(frame, start)
        return Tick(instrument, at, price / by)
    _, price, close = _INDEX.unpack_from(frame, start)
    exchange_at = _moment(_WORD.unpack_from(frame, start + 28)[0]) if length == 32 else None
    return Tick(instrument, at, price / by, exchange_at=exchange_at, previous_close=close / by)


# --- whole frames as columns ----------------------------------------------------------------------------------------------------------

_LAYOUTS: Mapping[int, tuple[str, tuple[str, ...]]] = {
    8: ("ltp", ("token", "price")),
    28: ("index_quote", ("token", "price", "high", "low", "open", "close", "change")),
    32: ("index_full", ("token", "price", "high", "low", "open", "close", "change", "time")),
    44: ("quote", ("token", "price", "quantity", "average", "volume", "buying", "selling", "open", "high", "low", "close")),
}
_FULL_TAIL = ("trade_time", "oi", "oi_high", "oi_low", "time")
_PRICES = ("price", "average", "open", "high", "low", "close", "change")


@lru_cache(maxsize=8)
def _dtypes(length: int) -> "tuple[str, numpy.dtype[Any], numpy.dtype[Any]]":
    """(kind, dtype of a packet with its length before it, dtype of the columns) of packets of `length` bytes."""
    import numpy

    kind, names = _LAYOUTS[44 if length == 184 else length]
    if length == 184:
        kind, names = "full", names + _FULL_TAIL
    wire: list[Any] = [("length", ">u2"), *((name, ">i4" if name == "change" else ">u4") for name in names)]
    columns: list[Any] = [(name, "f8" if name in _PRICES else "u4") for name in names]
    if length == 184:
        level = numpy.dtype([("quantity", ">u4"), ("price", ">u4"), ("orders", ">u2"), ("pad", ">u2")])
        wire.append(("depth", level, (10,)))
        columns += [("depth_quantity", "u4", (10,)), ("depth_price", "f8", (10,)), ("depth_orders", "u2", (10,))]
    return kind, numpy.dtype(wire), numpy.dtype(columns)


def decode_batch(frame: bytes) -> "dict[str, numpy.ndarray[Any, Any]]":
    """All fields of a frame as numpy structured columns by packet kind (ltp, quote, full, index_quote, index_full), prices in rupees.

    Depth is 10 levels a row: 5 bids, then 5 asks. For research and replay on many packets; the engine's own path is `decode`.
    Packets of other lengths, and what lies behind a truncation, are left out.
    """
    import numpy

    size = len(frame)
    count = frame[0] << 8 | frame[1] if size >= 2 else 0
    if not count:
        return {}
    stride = (size - 2) // count
    if stride * count == size - 2 and stride - 2 in (8, 28, 32, 44, 184):
        kind, wire, _ = _dtypes(stride - 2)
        rows = numpy.frombuffer(frame, wire, count, 2)
        if (rows["length"] == stride - 2).all():
            return {kind: _columns(rows, stride - 2)}
    starts: dict[int, list[bytes]] = {}
    start = 2
    for _ in range(count):
        length = frame[start] << 8 | frame[start + 1] if start + 2 <= size else size
        if start + 2 + length > size:
            break
        starts.setdefault(length, []).append(frame[start : start + 2 + length])
        start += 2 + length
    found = {length: b"".join(packets) for length, packets in starts.items() if length in (8, 28, 32, 44, 184)}
    return {_dtypes(length)[0]: _columns(numpy.frombuffer(joined, _dtypes(length)[1]), length) for length, joined in found.items()}


def _columns(rows: "numpy.ndarray[Any, Any]", length: int) -> "numpy.ndarray[Any, Any]":
    import numpy

    _, _, dtype = _dtypes(length)
    columns = numpy.empty(len(rows), dtype)
    by = numpy.asarray(DIVISORS)[rows["token"] & 255]
    for name in dtype.names or ():
        if name in _PRICES:
            numpy.divide(rows[name], by, out=columns[name])
        elif name == "depth_price":
            numpy.divide(rows["depth"]["price"], by[:, None], out=columns[name])
        elif name.startswith("depth_"):
            columns[name] = rows["depth"][name.removeprefix("depth_")]
        else:
            columns[name] = rows[name]
    return columns


class FirstTicks:
    """Holds back what a subscription brings before full mode is in force.

    Right after `subscribe` Kite sends the last known snapshot in quote mode: possibly of yesterday, and without a time that would tell.
    Of each instrument asked for, ticks are passed on from the first one that carries the exchange's time.
    """

    def __init__(self) -> None:
        self._waiting: set[str] = set()

    def asked(self, instruments: Iterable[Instrument]) -> None:
        self._waiting.update(instrument.key for instrument in instruments)

    def passed(self, ticks: list[Tick], faults: Faults) -> list[Tick]:
        if not self._waiting:
            return ticks
        kept = []
        for tick in ticks:
            if tick.exchange_at is not None:
                self._waiting.discard(tick.instrument.key)
            elif tick.instrument.key in self._waiting:
                faults.counts["snapshot without a time"] += 1
                continue
            kept.append(tick)
        return kept


def tokens_of(instruments: Iterable[Instrument], lookup: InstrumentLookup, known: dict[int, Instrument], faults: Faults) -> list[int]:
    """Today's tokens of `instruments`, each noted in `known` for its ticks; one the snapshot does not hold is counted and left out."""
    tokens = []
    for instrument in instruments:
        try:
            token = int(lookup.token(instrument))
        except DataError as error:
            faults.counts["instrument without a token"] += 1
            faults.texts.append(str(error))
            continue
        known[token] = instrument
        tokens.append(token)
    return tokens


# --- texts ------------------------------------------------------------------------------------------------------------------------------


def parse_order(payload: str | bytes, at: datetime, lookup: Lookup, faults: Faults | None = None) -> list[OrderUpdate]:
    """The order update of a JSON text, if it is one. Errors and messages of the broker are kept in `faults.texts`; others are ignored."""
    faults = faults if faults is not None else Faults()
    try:
        message = json.loads(payload)
    except ValueError:  # a UnicodeDecodeError is one too
        faults.counts["text that is no JSON"] += 1
        return []
    if not isinstance(message, dict):
        faults.counts["text of an unknown shape"] += 1
        return []
    kind, data = message.get("type"), message.get("data")
    if kind == "order" and isinstance(data, dict):
        try:
            return [mapping.order_update(data, at, "stream", lookup())]
        except DataError as error:
            faults.counts["order text without its fields"] += 1
            faults.texts.append(str(error))
    elif kind in ("error", "message"):
        faults.counts[f"{kind} text"] += 1
        faults.texts.append(str(data)[:200])
    return []


# --- the dialect of the socket loop ---------------------------------------------------------------------------------------------------


class FeedDialect:
    """What brokers/stream.py must know of Kite's socket. One object serves all connections of one feed, one after the other."""

    def __init__(self, root: str, api_key: Callable[[], str], lookup: Lookup) -> None:
        self._root = root
        self._api_key = api_key
        self._lookup = lookup
        self._instruments: dict[int, Instrument] = {}
        self._first = FirstTicks()
        self.faults = Faults()

    def address(self, token: str) -> tuple[str, Mapping[str, str]]:
        """(URL, headers) of a new connection; the URL holds secrets and is never shown."""
        self._instruments.clear()  # tokens are resolved again: they roll with the day's snapshot
        return f"{self._root}?{urlencode({'api_key': self._api_key(), 'access_token': token})}", {"X-Kite-Version": "3"}

    def dead_token(self, status: int, body: str) -> bool:
        """A refusal for another reason names the permission or the number of connections."""
        return not any(word in body.lower() for word in ("permission", "connection"))

    def subscribe(self, instruments: Sequence[Instrument]) -> list[str]:
        """The messages that subscribe `instruments` in full mode."""
        tokens = self._tokens(instruments)
        if not tokens:
            return []
        self._first.asked(instruments)
        return [json.dumps({"a": "subscribe", "v": tokens}), json.dumps({"a": "mode", "v": ["full", tokens]})]

    def unsubscribe(self, instruments: Sequence[Instrument]) -> list[str]:
        tokens = self._tokens(instruments)
        return [json.dumps({"a": "unsubscribe", "v": tokens})] if tokens else []

    def take(self, payload: bytes | str, at: datetime) -> Sequence[Event]:
        """The events of one message."""
        if isinstance(payload, bytes):
            return self._first.passed(decode(payload, at, self._instruments.get, self.faults), self.faults)
        return parse_order(payload, at, self._lookup, self.faults)

    def _tokens(self, instruments: Iterable[Instrument]) -> list[int]:
        return tokens_of(instruments, self._lookup(), self._instruments, self.faults)


# --- many frames as a recording's columns ---------------------------------------------------------------------------------------------

_TAPED: Mapping[int, Mapping[str, int]] = {  # packet length -> column -> its place in the body
    8: {"token": 0, "price": 4},
    28: {"token": 0, "price": 4, "previous_close": 20},
    32: {"token": 0, "price": 4, "previous_close": 20, "exchange_time": 28},
    44: {"token": 0, "price": 4, "quantity": 8, "day_volume": 16, "previous_close": 40},
    184: {
        "token": 0,
        "price": 4,
        "quantity": 8,
        "day_volume": 16,
        "previous_close": 40,
        "oi": 48,
        "exchange_time": 60,
        "bid_quantity": 64,
        "bid": 68,
        "ask_quantity": 124,
        "ask": 128,
    },
}
_TAPED_PRICES = ("price", "bid", "ask", "previous_close")


@lru_cache(maxsize=8)
def _taped_dtype(length: int, depth: bool) -> "numpy.dtype[Any]":
    import numpy

    places = _TAPED[length]
    names: list[Any] = list(places)
    formats: list[Any] = [">u4"] * len(places)
    offsets = [2 + place for place in places.values()]
    if depth and length == 184:
        level = numpy.dtype([("quantity", ">u4"), ("price", ">u4"), ("orders", ">u2"), ("pad", ">u2")])
        names, formats, offsets = [*names, "depth"], [*formats, (level, (10,))], [*offsets, 66]
    return numpy.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": length + 2})


def tape_columns(frames: Sequence[bytes], stamps: Sequence[int], depth: bool) -> "dict[str, numpy.ndarray[Any, Any]]":
    """Every packet of many frames as plain columns for the tape (data_ingestion/tape_writer.py), in order of arrival.

    `stamps`: each frame's receive time. Columns: stamp, token, price, quantity, day_volume, oi, bid, ask, bid_quantity, ask_quantity,
    previous_close, exchange_time (0: none), prices in rupees; with `depth` also depth_price, depth_quantity, depth_orders of ten levels
    (five bids, five asks). What does not read as a packet is left out.
    """
    import numpy

    bodies: dict[int, list[bytes]] = {}
    counts: dict[int, tuple[list[int], list[int]]] = {}
    for frame, stamp in zip(frames, stamps, strict=True):
        for length, count, body in _packets(frame):
            bodies.setdefault(length, []).append(body)
            stamped, many = counts.setdefault(length, ([], []))
            stamped.append(stamp)
            many.append(count)
    parts = []
    for length, joined in bodies.items():
        rows = numpy.frombuffer(b"".join(joined), _taped_dtype(length, depth))
        by = numpy.asarray(DIVISORS)[rows["token"] & 255]
        part: dict[str, Any] = {"stamp": numpy.repeat(numpy.array(counts[length][0], numpy.int64), counts[length][1])}
        for name in _TAPED[184]:
            if name not in _TAPED[length]:
                part[name] = numpy.zeros(len(rows), numpy.float64 if name in _TAPED_PRICES else numpy.uint32)
            else:
                part[name] = rows[name] / by if name in _TAPED_PRICES else rows[name].astype(numpy.uint32)
        if depth:
            part |= _depth_columns(rows, by) if length == 184 else _depth_columns(numpy.zeros(len(rows), _taped_dtype(184, True)), by)
        parts.append(part)
    if len(parts) < 2:
        return parts[0] if parts else {}
    order = numpy.argsort(numpy.concatenate([part["stamp"] for part in parts]), kind="stable")
    return {name: numpy.concatenate([part[name] for part in parts])[order] for name in parts[0]}


def _depth_columns(rows: Any, by: Any) -> dict[str, Any]:
    levels = rows["depth"]
    return {
        "depth_price": levels["price"] / by[:, None],
        "depth_quantity": levels["quantity"].astype("u4"),
        "depth_orders": levels["orders"].astype("u2"),
    }


def _packets(frame: bytes) -> list[tuple[int, int, bytes]]:
    """(packet length, how many, the packets with their lengths) of a frame, neighbours of one length together."""
    size = len(frame)
    count = frame[0] << 8 | frame[1] if size >= 2 else 0
    if count and size - 2 == count * 186 and frame[2::186] == bytes(count) and frame[3::186] == b"\xb8" * count:
        return [(184, count, frame[2:])]  # nothing but full packets
    found: list[tuple[int, int, bytes]] = []
    start = first = 2
    running = 0
    for _ in range(count):
        length = frame[start] << 8 | frame[start + 1] if start + 2 <= size else size
        if start + 2 + length > size:
            break
        if length != running:
            if running in _TAPED and start > first:
                found.append((running, (start - first) // (running + 2), frame[first:start]))
            first, running = start, length
        start += 2 + length
    if running in _TAPED and start > first:
        found.append((running, (start - first) // (running + 2), frame[first:start]))
    return found
