"""Upstox's market messages in protobuf's wire format, written by hand from the field numbers of its V3 proto; zeros are left out."""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

LTPC, FULL, OPTION_GREEKS, FULL_D30 = "ltpc", "full", "option_greeks", "full_d30"
MODES = (LTPC, FULL, OPTION_GREEKS, FULL_D30)
LIVE_FEED, MARKET_INFO = 1, 2
STATUSES = {"PRE_OPEN_START": 0, "PRE_OPEN_END": 1, "NORMAL_OPEN": 2, "NORMAL_CLOSE": 3, "CLOSING_START": 4, "CLOSING_END": 5}
_REQUEST_MODES = {LTPC: 0, FULL: 1, OPTION_GREEKS: 2, FULL_D30: 3}
_DOUBLE = struct.Struct("<d")


@dataclass(frozen=True, slots=True)
class Candle:
    interval: str
    open: float
    high: float
    low: float
    close: float
    volume: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Instant:
    """What a message tells of one instrument. `levels` are (bid quantity, bid, ask quantity, ask), best first; None: not told now."""

    price: float
    trade_ms: int
    quantity: int
    previous_close: float
    levels: Sequence[tuple[int, float, int, float]] | None = None
    greeks: Sequence[float] | None = None  # delta, theta, gamma, vega, rho
    candles: Sequence[Candle] = field(default=())
    average: float = 0.0
    volume: int = 0
    oi: float = 0.0
    volatility: float = 0.0
    buying: float = 0.0
    selling: float = 0.0
    cas_eligible: bool = False
    is_index: bool = False


def message(feeds: Iterable[tuple[str, bytes]], now_ms: int, kind: int) -> bytes:
    """A FeedResponse; `kind` 0 is the snapshot after a subscription, whose type is therefore absent."""
    entries = b"".join(_bytes(2, _bytes(1, key.encode()) + _bytes(2, body)) for key, body in feeds)
    return _int(1, kind) + entries + _int(3, now_ms)


def market_info(statuses: Mapping[str, str], now_ms: int) -> bytes:
    """The first message of a connection: what each segment's market is doing."""
    entries = b"".join(
        _bytes(1, _bytes(1, name.encode()) + b"\x10" + _varint(STATUSES[status])) for name, status in sorted(statuses.items())
    )
    return _int(1, MARKET_INFO) + _int(3, now_ms) + _bytes(4, entries)


def feed(mode: str, seen: Instant) -> bytes:
    """One Feed of this mode."""
    trade = _double(1, seen.price) + _int(2, seen.trade_ms) + _int(3, seen.quantity) + _double(4, seen.previous_close)
    if mode == LTPC:
        return _bytes(1, trade)
    greeks = b"".join(_double(place, value) for place, value in enumerate(seen.greeks or (), 1))
    if mode == OPTION_GREEKS:
        first = _bytes(1, trade) + (_bytes(2, _quote(seen.levels[0])) if seen.levels else b"")
        first += (_bytes(3, greeks) if seen.greeks is not None else b"") + _int(4, seen.volume) + _double(5, seen.oi)
        return _bytes(3, first + _double(6, seen.volatility)) + _int(4, _REQUEST_MODES[mode])
    candles = _bytes(4 if not seen.is_index else 2, b"".join(_bytes(1, _candle(one)) for one in seen.candles)) if seen.candles else b""
    if seen.is_index:
        return _bytes(2, _bytes(2, _bytes(1, trade) + candles)) + _int(4, _REQUEST_MODES[mode])
    levels = b"" if seen.levels is None else _bytes(2, b"".join(_bytes(1, _quote(level)) for level in seen.levels))
    whole = (
        _bytes(1, trade)
        + levels
        + (_bytes(3, greeks) if seen.greeks is not None else b"")
        + candles
        + _double(5, seen.average)
        + _int(6, seen.volume)
        + _double(7, seen.oi)
        + _double(8, seen.volatility)
        + _double(9, seen.buying)
        + _double(10, seen.selling)
        + _int(16, int(seen.cas_eligible))
    )
    return _bytes(2, _bytes(1, whole)) + _int(4, _REQUEST_MODES[mode])


def _quote(level: tuple[int, float, int, float]) -> bytes:
    bid_quantity, bid, ask_quantity, ask = level
    return _int(1, bid_quantity) + _double(2, bid) + _int(3, ask_quantity) + _double(4, ask)


def _candle(one: Candle) -> bytes:
    prices = b"".join(_double(place, value) for place, value in enumerate((one.open, one.high, one.low, one.close), 2))
    return _bytes(1, one.interval.encode()) + prices + _int(6, one.volume) + _int(7, one.at_ms)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _int(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value) if value else b""


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | 1) + _DOUBLE.pack(value) if value else b""


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value
