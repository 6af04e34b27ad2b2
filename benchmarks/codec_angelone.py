"""SmartAPI's SnapQuote messages, one packet each: into the engine's own Ticks, and into columns, against SmartWebSocketV2's parser.

Before anything is timed, every value that both sides give is compared.
"""

import importlib
import logging
import random
import struct
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import requests

from benchmarks.rounds import Line, interleaved, line, rate
from brokers.angelone.wire import decode, decode_batch, name_of
from core.types import IST, Instrument, Kind, Tick

_AT = datetime(2026, 11, 20, 10, 0, 1, tzinfo=IST)
_MILLISECONDS = int(_AT.timestamp() * 1000) - 1000
_PACKETS = 3000


def _packets() -> tuple[list[bytes], dict[bytes, Instrument]]:
    rng = random.Random(5)
    made: list[bytes] = []
    listed: dict[bytes, Instrument] = {}
    for number in range(1000, 1000 + _PACKETS):
        paise, token = rng.randrange(5_000, 4_000_000), str(number)
        listed[name_of(2, token)] = Instrument(f"NFO:S{number}", "NFO", f"S{number}", Kind.FUTURE, f"S{number}")
        head = struct.pack("<BB25sqqq", 3, 2, token.encode(), number, _MILLISECONDS - rng.randrange(20_000), paise)
        middle = struct.pack(
            "<qqqddqqqq", rng.randrange(500), paise - 3, rng.randrange(10**7), 4e4, 5e4, paise, paise + 9, paise - 9, paise
        )
        levels: list[int] = []
        for place in range(10):
            levels += (int(place < 5), rng.randrange(1, 9000), paise + 5 * (place % 5 + 1) * (-1 if place < 5 else 1), rng.randrange(1, 60))
        tail = struct.pack("<qqd" + "hqqh" * 10 + "qqqq", _MILLISECONDS // 1000, rng.randrange(10**7), 0.0, *levels, *[paise] * 4)
        made.append(head + middle + tail)
    return made, listed


def _same(tick: Tick, row: Mapping[str, Any], column: Any) -> bool:
    bid, ask = row["best_5_buy_data"][0], row["best_5_sell_data"][0]
    depth = row["best_5_buy_data"] + row["best_5_sell_data"]
    return (
        tick.price == row["last_traded_price"] / 100
        and (tick.volume, tick.quantity) == (row["volume_trade_for_the_day"], row["last_traded_quantity"])
        and tick.exchange_at is not None
        and tick.exchange_at.timestamp() * 1000 == row["exchange_timestamp"] == int(column["time"])
        and (tick.bid, tick.bid_quantity) == (bid["price"] / 100, bid["quantity"])
        and (tick.ask, tick.ask_quantity) == (ask["price"] / 100, ask["quantity"])
        and (tick.oi, tick.previous_close) == (row["open_interest"], row["closed_price"] / 100)
        and list(column["depth_price"]) == [level["price"] / 100 for level in depth]
        and list(column["depth_quantity"]) == [level["quantity"] for level in depth]
        and (column["price"], column["oi"], column["average"]) == (tick.price, tick.oi, row["average_traded_price"] / 100)
    )


def _official() -> Callable[[bytes], dict[str, Any]]:
    """The SDK's parser. The package asks a web service for the public address while it is imported, which nobody needs here."""

    def refused(*args: Any, **named: Any) -> Any:
        raise OSError("not asked")

    real, requests.get = requests.get, refused
    try:
        importlib.import_module("logzero").loglevel(logging.CRITICAL)
        cls = importlib.import_module("SmartApi.smartWebSocketV2").SmartWebSocketV2
    finally:
        requests.get = real
    parse: Callable[[bytes], dict[str, Any]] = cls.__new__(cls)._parse_binary_data
    return parse


def measure(rounds: int) -> list[Line]:
    """Packets a second of 3000 SnapQuote messages."""
    parse = _official()
    packets, listed = _packets()
    ticks = [tick for packet in packets for tick in decode(packet, _AT, listed.get)]
    columns = decode_batch(packets)["snap_quote"]
    assert len(ticks) == len(columns) == _PACKETS
    assert all(_same(tick, parse(packet), row) for tick, packet, row in zip(ticks, packets, columns, strict=True)), "codec and SDK differ"

    def ours() -> object:
        return [decode(packet, _AT, listed.get) for packet in packets]

    def sdk() -> object:
        return [parse(packet) for packet in packets]

    sides = {"ours": rate(ours, _PACKETS), "sdk": rate(sdk, _PACKETS), "columns": rate(lambda: decode_batch(packets), _PACKETS)}
    figures = interleaved(sides, rounds)
    against = "SmartWebSocketV2"
    return [
        line("Angel One codec to Ticks", "packet/s", figures["ours"], figures["sdk"], against, goal=20.0, higher=True),
        line("Angel One codec to columns", "packet/s", figures["columns"], figures["sdk"], against, goal=50.0, higher=True),
    ]
