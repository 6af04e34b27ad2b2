"""SmartAPI packets for tests: the documented sample, random valid packets of every kind, and the answer of Angel One's own parser."""

import functools
import random
import struct
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from core.types import IST, Instrument, Kind, Tick
from tests.builders import NIFTY, RELIANCE
from tests.wire.kite_samples import Listed
from tests.wire.smartapi_sdk import load_sdk

DAY = date(2026, 11, 20)
AT = datetime(2026, 11, 20, 10, 0, 0, 250_000, IST)
SBIN = Instrument("NSE:SBIN", "NSE", "SBIN", Kind.EQUITY, "SBIN")
# the documented LTP sample: NSE 3045 at 812.35, sequence 1001, 1795308300000
LTP = bytes.fromhex("0101" + "33303435" + "00" * 21 + "e903000000000000" + "e0a6b600a2010000" + "533d010000000000")
KNOWN = Listed({"NSE|2885|RELIANCE-EQ": RELIANCE, "NFO|63657|NIFTY24NOV26FUT": NIFTY, "NSE|3045|SBIN-EQ": SBIN})
EXCHANGES = (1, 2, 3, 4, 5, 7, 13)


def random_packet(rng: random.Random, size: int = 0) -> bytes:
    """A valid packet: any numbers of its fields' types, times that can be meant."""
    size = size or rng.choice((51, 123, 379, 379))
    mode = {51: 1, 123: 2, 379: 3}[size]
    token = str(rng.randrange(1, 10**8)).encode()
    time = rng.choice((0, rng.randrange(1_500_000_000_000, 2_000_000_000_000)))
    packet = struct.pack("<BB25sqqq", mode, rng.choice(EXCHANGES), token, rng.randrange(2**40), time, _price(rng))
    if size > 51:
        words = [_whole(rng), _price(rng), _whole(rng), float(_whole(rng)), float(_whole(rng)), *(_price(rng) for _ in range(4))]
        packet += struct.pack("<qqqddqqqq", *words)
    if size == 379:
        levels: list[int] = []
        for flag in (1,) * 5 + (0,) * 5:
            levels += (flag, _whole(rng), rng.choice((0, _price(rng))), rng.randrange(0x7FFF))
        packet += struct.pack("<qqd" + "hqqh" * 10 + "qqqq", _whole(rng), _whole(rng), 0.0, *levels, *(_price(rng) for _ in range(4)))
    return packet


def _price(rng: random.Random) -> int:
    return rng.choice((rng.randrange(1, 5_000_000), rng.randrange(2**45), 0))


def _whole(rng: random.Random) -> int:
    return rng.choice((0, rng.randrange(100_000), rng.randrange(2**50)))


class Everything:
    """Any name is an instrument, always the same one."""

    def __init__(self) -> None:
        self._made: dict[bytes, Instrument] = {}

    def __call__(self, name: bytes) -> Instrument:
        return self._made.setdefault(name, Instrument(f"NSE:{name.hex()}", "NSE", name.hex(), Kind.EQUITY, name.hex()))


@functools.cache
def official() -> Any:
    """The parser of SmartWebSocketV2, without its constructor: that makes `logs/` where it stands."""
    cls = load_sdk().smartWebSocketV2.SmartWebSocketV2
    return cls.__new__(cls)._parse_binary_data


def as_tick(row: Mapping[str, Any], by_name: Everything, at: datetime) -> Tick:
    """What the SDK parsed, written as our Tick by a second hand: only keys of the dict, no bytes."""
    by = 1e7 if row["exchange_type"] == 13 else 100.0
    level = {"price": 0, "quantity": 0}
    bid, ask = row.get("best_5_buy_data", [level])[0], row.get("best_5_sell_data", [level])[0]
    milliseconds = row["exchange_timestamp"]
    return Tick(
        instrument=by_name(bytes((row["exchange_type"],)) + row["token"].encode().ljust(25, b"\0")),
        at=at,
        price=row["last_traded_price"] / by,
        volume=row.get("volume_trade_for_the_day", 0),
        quantity=row.get("last_traded_quantity", 0),
        exchange_at=datetime.fromtimestamp(milliseconds / 1000, IST) if milliseconds else None,
        bid=bid["price"] / by,
        ask=ask["price"] / by,
        bid_quantity=bid["quantity"],
        ask_quantity=ask["quantity"],
        oi=row.get("open_interest", 0),
        previous_close=row.get("closed_price", 0) / by,
    )
