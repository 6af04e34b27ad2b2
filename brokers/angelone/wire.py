"""SmartAPI's two sockets as pure code: binary packets and JSON texts in, ticks and order updates out; subscription messages the other way.

A message is one packet of 51 (LTP), 123 (Quote) or 379 (SnapQuote) bytes, little-endian: mode, exchange type, token as NUL-padded text,
then 64-bit words; prices are in paise (currency: ten millionths). Source: SmartAPI documentation, WebSocket streaming 2.0 (July 2026),
and smartapi-python 1.5.5 where the two differ.
"""

import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import brokers.angelone.mapping as mapping
from brokers.faults import Faults
from brokers.spec import Lookup
from core.errors import DataError
from core.events import Event, OrderUpdate
from core.types import IST, Instrument, Tick

if TYPE_CHECKING:  # numpy is loaded by decode_batch alone
    import numpy

ByName = Callable[[bytes], Instrument | None]
"""Finds an instrument by the 26 bytes that name it in a packet (`name_of`)."""

LTP, QUOTE, SNAP_QUOTE = 1, 2, 3
EXCHANGE_TYPES: Mapping[str, int] = {"NSE": 1, "NFO": 2, "BSE": 3, "BFO": 4, "MCX": 5, "NCO": 7, "CDS": 13}
FEED_PATH, ORDER_PATH = "/smart-stream", "/smart-order-update"
PING, PONG = "ping", "pong"

_CURRENCY = 13
_FULL = struct.Struct("<x26s8xqqq8xq40xq8xq8x2xqq2x80x2xqq2x80x32x")  # name, time, price, quantity, volume, close, oi, bid, ask
_unpack_full = _FULL.unpack
_QUOTE = struct.Struct("<35xqqq8xq40xq")  # time, price, quantity, volume, close
_LTP = struct.Struct("<35xqq")  # time, price
_SIZES = {51: LTP, 123: QUOTE, 379: SNAP_QUOTE}
_LATEST = 4_102_444_800_000  # the year 2100: a later time is no time


def name_of(exchange_type: int, token: str) -> bytes:
    """How a packet names its instrument: the exchange type and the token in 25 bytes."""
    return bytes((exchange_type,)) + token.encode("ascii", "replace").ljust(25, b"\0")


@lru_cache(maxsize=8192)
def _moment(milliseconds: int) -> datetime | None:
    """An exchange timestamp in IST; None where the exchange gave none that can be meant."""
    return datetime.fromtimestamp(milliseconds / 1000, IST) if 0 < milliseconds < _LATEST else None


def decode(frame: bytes, at: datetime, by_name: ByName, faults: Faults | None = None) -> list[Tick]:
    """The tick of one binary message, stamped with the receive time `at`; no tick where it does not read."""
    if len(frame) == 379 and frame[0] == SNAP_QUOTE and frame[1] != _CURRENCY:
        name, time, price, quantity, volume, close, oi, bids, bid, asks, ask = _unpack_full(frame)
        instrument = by_name(name)
        if instrument is not None:
            at_exchange, bid, ask = _moment(time), bid / 100.0, ask / 100.0
            return [Tick(instrument, at, price / 100.0, volume, quantity, at_exchange, bid, ask, bids, asks, oi, close / 100.0)]
    return _decode_any(frame, at, by_name, faults if faults is not None else Faults())


def _decode_any(frame: bytes, at: datetime, by_name: ByName, faults: Faults) -> list[Tick]:
    size = len(frame)
    mode = frame[0] if size else 0
    if mode not in _SIZES.values():
        faults.counts[f"packet of mode {mode}" if size else "empty packet"] += 1
        return []
    if _SIZES.get(size) != mode:
        faults.counts["truncated packet" if size < (0, 51, 123, 379)[mode] else "packet of another length than its mode's"] += 1
        return []
    name = frame[1:27]
    instrument = by_name(name) or by_name(name[:1] + name[1:].partition(b"\0")[0].ljust(25, b"\0"))
    if instrument is None:
        faults.counts["unknown token"] += 1
        return []
    by = 1e7 if frame[1] == _CURRENCY else 100.0
    if mode == SNAP_QUOTE:
        _, time, price, quantity, volume, close, oi, bids, bid, asks, ask = _unpack_full(frame)
        return [Tick(instrument, at, price / by, volume, quantity, _moment(time), bid / by, ask / by, bids, asks, oi, close / by)]
    if mode == QUOTE:
        time, price, quantity, volume, close = _QUOTE.unpack(frame)
        return [Tick(instrument, at, price / by, volume, quantity, _moment(time), previous_close=close / by)]
    time, price = _LTP.unpack(frame)
    return [Tick(instrument, at, price / by, exchange_at=_moment(time))]


# --- many packets as columns ----------------------------------------------------------------------------------------------------------

_HEAD = [("mode", "u1"), ("exchange_type", "u1"), ("token", "S25"), ("sequence", "<i8"), ("time", "<i8"), ("price", "<i8")]
_MIDDLE = [
    *((name, "<i8") for name in ("quantity", "average", "volume")),
    ("buying", "<f8"),
    ("selling", "<f8"),
    *((name, "<i8") for name in ("open", "high", "low", "close")),
]
_LEVEL = [("flag", "<i2"), ("quantity", "<i8"), ("price", "<i8"), ("orders", "<i2")]
_PRICES = frozenset({"price", "average", "open", "high", "low", "close", "upper_circuit", "lower_circuit", "year_high", "year_low"})
KINDS = {51: "ltp", 123: "quote", 379: "snap_quote"}


@lru_cache(maxsize=4)
def _dtypes(size: int) -> "tuple[numpy.dtype[Any], numpy.dtype[Any]]":
    """(a packet of `size` bytes on the wire, a row of its columns)."""
    import numpy

    wire: list[Any] = [*_HEAD, *(_MIDDLE if size > 51 else ())]
    if size == 379:
        wire += [("trade_time", "<i8"), ("oi", "<i8"), ("oi_change", "V8"), ("depth", numpy.dtype(_LEVEL), (10,))]
        wire += [(name, "<i8") for name in ("upper_circuit", "lower_circuit", "year_high", "year_low")]
    columns: list[Any] = [(name, "f8" if name in _PRICES else kind) for name, kind, *_ in wire if name not in ("depth", "oi_change")]
    if size == 379:
        columns += [("depth_quantity", "i8", (10,)), ("depth_price", "f8", (10,)), ("depth_orders", "i2", (10,))]
    return numpy.dtype(wire), numpy.dtype(columns)


def decode_batch(frames: Iterable[bytes]) -> "dict[str, numpy.ndarray[Any, Any]]":
    """All fields of many messages as numpy structured columns by kind (ltp, quote, snap_quote), prices in rupees, times as sent.

    Depth is 10 levels a row: 5 bids, then 5 asks. For research and replay; the engine's own path is `decode`. Messages of other lengths
    than their mode's are left out.
    """
    import numpy

    by_size: dict[int, list[bytes]] = {}
    for frame in frames:
        if frame and _SIZES.get(len(frame)) == frame[0]:
            by_size.setdefault(len(frame), []).append(frame)
    return {KINDS[size]: _columns(numpy.frombuffer(b"".join(some), _dtypes(size)[0]), size) for size, some in by_size.items()}


def _columns(rows: "numpy.ndarray[Any, Any]", size: int) -> "numpy.ndarray[Any, Any]":
    import numpy

    dtype = _dtypes(size)[1]
    columns = numpy.empty(len(rows), dtype)
    by = numpy.where(rows["exchange_type"] == _CURRENCY, 1e7, 100.0)
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


# --- texts ------------------------------------------------------------------------------------------------------------------------------


def parse_order(payload: str | bytes, at: datetime, lookup: Lookup, faults: Faults | None = None) -> list[OrderUpdate]:
    """The order update of a message of the order socket, if it is one: greetings and pongs are none."""
    faults = faults if faults is not None else Faults()
    if payload in (PONG, PONG.encode(), b""):
        return []
    message = _object(payload, faults)
    row = message.get("orderData") if message is not None else None
    if message is None:
        return []
    if message.get("error-message"):
        faults.counts["error text"] += 1
        faults.texts.append(str(message["error-message"])[:200])
    if not isinstance(row, dict) or not row.get("orderid"):
        return []  # the greeting
    try:
        return [mapping.order_update(row, at, "stream", lookup())]
    except DataError as error:
        faults.counts["order text without its fields"] += 1
        faults.texts.append(str(error))
        return []


def _object(payload: str | bytes, faults: Faults) -> dict[str, Any] | None:
    try:
        message = json.loads(payload)
    except ValueError:  # a UnicodeDecodeError is one too
        faults.counts["text that is no JSON"] += 1
        return None
    if not isinstance(message, dict):
        faults.counts["text of an unknown shape"] += 1
        return None
    return message


# --- the dialects of the socket loop ----------------------------------------------------------------------------------------------------


class FeedDialect:
    """What brokers/stream.py must know of SmartWebSocketV2. One object serves all connections of one stream, one after the other."""

    def __init__(self, root: str, headers: Callable[[str], Mapping[str, str]], lookup: Lookup) -> None:
        self._root = root
        self._headers = headers
        self._lookup = lookup
        self._instruments: dict[bytes, Instrument] = {}
        self.faults = Faults()

    def address(self, token: str) -> tuple[str, Mapping[str, str]]:
        """(URL, headers) of a new connection; the headers hold secrets and are never shown."""
        self._instruments.clear()  # tokens are resolved again: they roll with the day's snapshot
        return self._root + FEED_PATH, self._headers(token)

    def dead_token(self, status: int, body: str) -> bool:
        """A refusal that names the client code, the API key or the number of connections is no dead token's."""
        return status in (401, 403) and not any(word in body.lower() for word in ("client code", "api key", "limit"))

    def subscribe(self, instruments: Sequence[Instrument]) -> list[str]:
        """The message that subscribes `instruments` in SnapQuote mode, the only one with depth and open interest."""
        return self._message(1, instruments)

    def unsubscribe(self, instruments: Sequence[Instrument]) -> list[str]:
        return self._message(0, instruments)

    def take(self, payload: bytes | str, at: datetime) -> Sequence[Event]:
        if isinstance(payload, bytes):
            return decode(payload, at, self._instruments.get, self.faults)
        if payload != PONG:
            message = _object(payload, self.faults)
            if message is not None:
                self.faults.counts["error text"] += 1
                self.faults.texts.append(f"{message.get('errorCode')}: {message.get('errorMessage')}"[:200])
        return ()

    def _message(self, action: int, instruments: Sequence[Instrument]) -> list[str]:
        groups: dict[int, list[str]] = {}
        lookup = self._lookup()
        for instrument in instruments:
            try:
                exchange, number, _ = mapping.parts_of(lookup.token(instrument))
            except DataError as error:
                self.faults.counts["instrument without a token"] += 1
                self.faults.texts.append(str(error))
                continue
            kind = EXCHANGE_TYPES[exchange]
            self._instruments[name_of(kind, number)] = instrument
            groups.setdefault(kind, []).append(number)
        if not groups:
            return []
        tokens = [{"exchangeType": kind, "tokens": some} for kind, some in groups.items()]
        return [json.dumps({"correlationID": "niyam00001", "action": action, "params": {"mode": SNAP_QUOTE, "tokenList": tokens}})]


class OrderDialect:
    """What brokers/stream.py must know of the order socket: nothing is subscribed, everything of the client comes."""

    def __init__(self, root: str, lookup: Lookup) -> None:
        self._root = root
        self._lookup = lookup
        self.faults = Faults()

    def address(self, token: str) -> tuple[str, Mapping[str, str]]:
        return self._root + ORDER_PATH, {"Authorization": f"Bearer {token}"}

    def dead_token(self, status: int, body: str) -> bool:
        return status in (401, 403)

    def subscribe(self, instruments: Sequence[Instrument]) -> list[str]:
        return []

    def unsubscribe(self, instruments: Sequence[Instrument]) -> list[str]:
        return []

    def take(self, payload: bytes | str, at: datetime) -> Sequence[Event]:
        return parse_order(payload, at, self._lookup, self.faults)
