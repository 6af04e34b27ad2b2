"""Kite frames of full-mode packets, made by hand for the measures: valid prices, a book of ten levels, exchange times."""

import random
import struct
from collections.abc import Iterable

from core.types import Instrument, Kind


def token_of(number: int) -> int:
    """Instrument tokens of the NSE cash segment (their last byte is 1)."""
    return (1_000 + number) << 8 | 1


def share(number: int) -> Instrument:
    return Instrument(f"NSE:S{number}", "NSE", f"S{number}", Kind.EQUITY, f"S{number}", lot=1, tick_size=0.05)


def packet(token: int, paise: int, epoch: int, volume: int, rng: random.Random | None = None) -> bytes:
    """One full-mode packet (184 bytes) at a price in paise."""
    chance = rng or random.Random(token)
    head = [token, paise, chance.randrange(1, 500), paise - 3, volume, 40_000, 50_000, paise - 90, paise + 250, paise - 260, paise - 120]
    head += [epoch, 0, 0, 0, epoch]
    levels = bytearray()
    for level in range(10):
        away = 5 * (level % 5 + 1)
        price = paise - away if level < 5 else paise + away
        levels += struct.pack(">IIHH", chance.randrange(1, 9_000), price, chance.randrange(1, 60), 0)
    return struct.pack(">16I", *head) + bytes(levels)


def frame(packets: Iterable[bytes]) -> bytes:
    made = list(packets)
    return struct.pack(">H", len(made)) + b"".join(struct.pack(">H", len(one)) + one for one in made)
