"""Kite's binary ticks: quotes packed into the frames of the WebSocket ticker, big-endian (Kite Connect v3, WebSocket streaming)."""

import struct
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

LTP, QUOTE, FULL = "ltp", "quote", "full"
MODES = (LTP, QUOTE, FULL)
HEARTBEAT = b"\x00"

_LTP = struct.Struct(">II")
_QUOTE = struct.Struct(">11I")
_INDEX_QUOTE = struct.Struct(">6Ii")
_INDEX_FULL = struct.Struct(">6IiI")
_FULL = struct.Struct(">16I" + "IIHH" * 10)
_COUNT = struct.Struct(">H")

_INDICES = 9
_DIVISORS = {3: 10_000_000, 6: 10_000, 12: 10_000}  # currency, BSE currency, NCO; everything else has paise
_LARGEST = 0xFFFFFFFF
_NO_LEVELS = (0, 0, 0, 0) * 5


class TickSource(Protocol):
    """What a packet is made of; prices in rupees, `close` is the previous session's."""

    @property
    def last_price(self) -> float: ...
    @property
    def last_quantity(self) -> int: ...
    @property
    def last_time(self) -> datetime | None: ...
    @property
    def exchange_time(self) -> datetime | None: ...
    @property
    def average_price(self) -> float: ...
    @property
    def volume(self) -> int: ...
    @property
    def total_buy(self) -> int: ...
    @property
    def total_sell(self) -> int: ...
    @property
    def oi(self) -> int: ...
    @property
    def open(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def close(self) -> float: ...
    @property
    def bids(self) -> Sequence[tuple[float, int, int]]: ...
    @property
    def asks(self) -> Sequence[tuple[float, int, int]]: ...


def divisor(token: int) -> int:
    """What integer prices of this token are divided by; the segment is the token's last byte."""
    return _DIVISORS.get(token & 0xFF, 100)


def packet(token: int, quote: TickSource, mode: str, oi_range: tuple[int, int] = (0, 0)) -> bytes:
    """One packet of `mode`; `oi_range` is the day's (high, low) open interest, which only full packets carry."""
    scale = divisor(token)
    last = round(quote.last_price * scale)
    if mode == LTP:
        return _LTP.pack(token, last)
    opened, high, low, close = (round(price * scale) for price in (quote.open, quote.high, quote.low, quote.close))
    if token & 0xFF == _INDICES:
        if mode == QUOTE:
            return _INDEX_QUOTE.pack(token, last, high, low, opened, close, last - close)
        return _INDEX_FULL.pack(token, last, high, low, opened, close, last - close, _epoch(quote.exchange_time))
    head = (
        token,
        last,
        min(quote.last_quantity, _LARGEST),
        round(quote.average_price * scale),
        min(quote.volume, _LARGEST),
        min(quote.total_buy, _LARGEST),
        min(quote.total_sell, _LARGEST),
        opened,
        high,
        low,
        close,
    )
    if mode == QUOTE:
        return _QUOTE.pack(*head)
    tail = (_epoch(quote.last_time), quote.oi, *oi_range, _epoch(quote.exchange_time))
    return _FULL.pack(*head, *tail, *_depth(quote.bids, scale), *_depth(quote.asks, scale))


def frame(packets: Iterable[bytes]) -> bytes:
    """Many packets in one message: a count, then each with its length before it."""
    parts = [b""]
    for body in packets:
        parts.append(_COUNT.pack(len(body)))
        parts.append(body)
    parts[0] = _COUNT.pack(len(parts) // 2)
    return b"".join(parts)


def _depth(levels: Sequence[tuple[float, int, int]], scale: int) -> tuple[int, ...]:
    flat: list[int] = []
    for price, quantity, orders in levels[:5]:
        flat += (min(quantity, _LARGEST), int(price * scale + 0.5), min(orders, 0xFFFF), 0)
    return (*flat, *_NO_LEVELS[len(flat) :])


def _epoch(at: datetime | None) -> int:
    return int(at.timestamp()) if at is not None else 0
