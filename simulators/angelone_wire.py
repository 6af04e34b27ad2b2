"""SmartAPI's binary ticks: one packet of 51, 123 or 379 bytes in one message, little-endian, prices in paise (WebSocket streaming 2.0)."""

import struct
from datetime import datetime

from simulators.listing import Level, Quote

LTP, QUOTE, SNAP = 1, 2, 3
_HEAD = struct.Struct("<BB25sqqq")
_QUOTE = struct.Struct("<qqqddqqqq")
_TAIL = struct.Struct("<qqd" + "hqqh" * 10 + "qqqq")
_CURRENCY = 13


def packet(mode: int, exchange_type: int, token: str, sequence: int, quote: Quote, circuits: tuple[float, float] = (0.0, 0.0)) -> bytes:
    """One packet of `mode`; `circuits` is (lower, upper). Unknown year's extremes are sent as the day's."""
    scale = 10_000_000 if exchange_type == _CURRENCY else 100

    def paise(price: float) -> int:
        return round(price * scale)

    head = _HEAD.pack(mode, exchange_type, token.encode(), sequence, _milliseconds(quote.exchange_time), paise(quote.last_price))
    if mode == LTP:
        return head
    middle = _QUOTE.pack(
        quote.last_quantity,
        paise(quote.average_price),
        quote.volume,
        float(quote.total_buy),
        float(quote.total_sell),
        *(paise(price) for price in (quote.open, quote.high, quote.low, quote.close)),
    )
    if mode == QUOTE:
        return head + middle
    levels: list[int] = []
    for flag, side in ((1, quote.bids), (0, quote.asks)):
        padded: list[Level] = [*side[:5], *([(0.0, 0, 0)] * (5 - len(side[:5])))]
        for price, quantity, orders in padded:
            levels += (flag, quantity, paise(price), min(orders, 0x7FFF))
    traded = int(quote.last_time.timestamp()) if quote.last_time is not None else 0
    lower, upper = circuits
    return head + middle + _TAIL.pack(traded, quote.oi, 0.0, *levels, paise(upper), paise(lower), paise(quote.high), paise(quote.low))


def _milliseconds(at: datetime | None) -> int:
    return int(at.timestamp() * 1000) if at is not None else 0
