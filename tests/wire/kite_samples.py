"""Kite frames for tests: the worked hex examples, and random valid packets of every kind with the answer of Zerodha's own parser."""

import random
import struct
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from core.errors import DataError
from core.ports import Token
from core.types import IST, Instrument, Kind, Tick

DAY = date(2026, 11, 20)
AT = datetime(2026, 11, 20, 10, 0, 0, 250_000, IST)

LTP_AND_INDEX = bytes.fromhex(
    "00020008000b450100022ad300200003e90900265a2f002673ca00261dd5002627ad00261218000048176ac5bfcb"  # RELIANCE ltp, NIFTY 50 full
)
CURRENCY_AND_NCO = bytes.fromhex("000200080004d20332d1431800080013890c0074cb9c")
QUOTE = bytes.fromhex("0001002c000b450100022ad30000001900022a2e007bf4400007d12c00079c0c000228bc00022ca40002272c00022790")
FULL = (
    b"\x00\x01\x00\xb8"
    + QUOTE[4:]
    + bytes.fromhex("6ac5bfc90000000000000000000000006ac5bfcb")
    + bytes.fromhex("0000006400022ace00030000")
    + bytes(48)
    + bytes.fromhex("000000c800022ad800020000")
    + bytes(48)
)
SEGMENTS = (1, 2, 3, 4, 5, 6, 7, 8, 12)


class Listed:
    """A look-up over a plain mapping of token -> instrument; the tokens are of one broker's kind."""

    day = DAY

    def __init__(self, instruments: Mapping[Any, Instrument]) -> None:
        self.tokens: dict[Token, Instrument] = dict(instruments)

    def by_key(self, key: str) -> Instrument | None:
        return next((one for one in self.tokens.values() if one.key == key), None)

    def by_token(self, token: Token) -> Instrument | None:
        return self.tokens.get(token)

    def by_token_start(self, beginning: str) -> Instrument | None:
        found = [one for token, one in self.tokens.items() if str(token).startswith(beginning)]
        return found[0] if len(found) == 1 else None

    def token(self, instrument: Instrument) -> Token:
        for token, one in self.tokens.items():
            if one.key == instrument.key:
                return token
        raise DataError(f"the snapshot of {self.day} does not hold {instrument.key}")


def equity(symbol: str) -> Instrument:
    return Instrument(f"NSE:{symbol}", "NSE", symbol, Kind.EQUITY, symbol)


KNOWN = Listed(
    {
        738561: equity("RELIANCE"),
        256265: Instrument("NSE:NIFTY 50", "NSE", "NIFTY 50", Kind.INDEX, "NIFTY 50"),
        315907: equity("CURRENCY"),
        1280268: equity("NCO"),
    }
)


def random_packet(rng: random.Random, length: int = 0) -> bytes:
    length = length or rng.choice((8, 28, 32, 44, 184))
    segment = 9 if length in (28, 32) else rng.choice(SEGMENTS)
    token = rng.randrange(1, 2**24) << 8 | segment
    words = [rng.choice((0, rng.randrange(2**32), rng.randrange(1, 5_000_000))) for _ in range(45)]
    if length == 32:
        words[6] = rng.choice((0, rng.randrange(1_500_000_000, 2_000_000_000)))
    if length == 184:
        words[10] = words[14] = rng.choice((0, rng.randrange(1_500_000_000, 2_000_000_000)))
    return struct.pack(f">{length // 4}I", token, *words[: length // 4 - 1])


def frame_of(packets: list[bytes]) -> bytes:
    return struct.pack(">H", len(packets)) + b"".join(struct.pack(">H", len(packet)) + packet for packet in packets)


def random_frame(rng: random.Random, packets: int) -> bytes:
    same = rng.choice((0, 0, 0, 8, 44, 184, 184))
    return frame_of([random_packet(rng, same) for _ in range(packets)])


class Everything:
    """Any token is an instrument, always the same one."""

    def __init__(self) -> None:
        self._made: dict[int, Instrument] = {}

    def __call__(self, token: int) -> Instrument:
        return self._made.setdefault(token, equity(f"T{token}"))


def as_tick(row: Mapping[str, Any], by_token: Everything, at: datetime) -> Tick:
    """What KiteTicker parsed, written as our Tick by a second hand: only keys of the dict, no bytes."""
    stamp = row.get("exchange_timestamp")
    level = row.get("depth", {"buy": [{}], "sell": [{}]})
    bid, ask = level["buy"][0], level["sell"][0]
    return Tick(
        instrument=by_token(row["instrument_token"]),
        at=at,
        price=row["last_price"],
        volume=row.get("volume_traded", 0),
        quantity=row.get("last_traded_quantity", 0),
        exchange_at=stamp.astimezone(IST) if stamp is not None and stamp.timestamp() else None,
        bid=bid.get("price", 0.0),
        ask=ask.get("price", 0.0),
        bid_quantity=bid.get("quantity", 0),
        ask_quantity=ask.get("quantity", 0),
        oi=row.get("oi", 0),
        previous_close=row.get("ohlc", {}).get("close", 0.0),
    )
