"""Kite's binary frames: into the engine's own Ticks, and into columns, against the parser of the official KiteTicker.

Before anything is timed, every value that both sides give is compared: the Tick's fields with the SDK's dicts, the columns with all of
the SDK's fields, depth included.
"""

import random
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from benchmarks.kite_frames import frame, packet, share, token_of
from benchmarks.rounds import Line, interleaved, line, rate
from brokers.zerodha.wire import decode, decode_batch
from core.types import IST, Instrument, Tick

SIZES = (1, 50, 3000)
_AT = datetime(2026, 11, 20, 10, 0, 1, tzinfo=IST)
_EPOCH = int(_AT.timestamp()) - 1


def _frame(size: int) -> tuple[bytes, dict[int, Instrument]]:
    rng = random.Random(size)
    listed = {token_of(number): share(number) for number in range(size)}
    made = [packet(token, rng.randrange(5_000, 4_000_000), _EPOCH - rng.randrange(20), rng.randrange(10_000_000), rng) for token in listed]
    return frame(made), listed


def _same_tick(tick: Tick, row: Mapping[str, Any], listed: Mapping[int, Instrument]) -> bool:
    buy, sell = row["depth"]["buy"][0], row["depth"]["sell"][0]
    return (
        tick.instrument is listed[row["instrument_token"]]
        and (tick.price, tick.volume, tick.quantity) == (row["last_price"], row["volume_traded"], row["last_traded_quantity"])
        and tick.exchange_at is not None
        and tick.exchange_at.timestamp() == row["exchange_timestamp"].timestamp()
        and (tick.bid, tick.bid_quantity, tick.ask, tick.ask_quantity) == (buy["price"], buy["quantity"], sell["price"], sell["quantity"])
        and (tick.oi, tick.previous_close, tick.at) == (row["oi"], row["ohlc"]["close"], _AT)
    )


_COLUMNS = {
    "token": "instrument_token", "price": "last_price", "quantity": "last_traded_quantity", "average": "average_traded_price",
    "volume": "volume_traded", "buying": "total_buy_quantity", "selling": "total_sell_quantity", "oi": "oi",
    "oi_high": "oi_day_high", "oi_low": "oi_day_low",
}  # fmt: skip


def _same_columns(columns: Any, rows: list[dict[str, Any]]) -> bool:
    for place, row in enumerate(rows):
        one = columns[place]
        depth = row["depth"]["buy"] + row["depth"]["sell"]
        same = (
            all(one[ours] == row[theirs] for ours, theirs in _COLUMNS.items())
            and all(one[name] == row["ohlc"][name] for name in ("open", "high", "low", "close"))
            and int(one["time"]) == row["exchange_timestamp"].timestamp()
            and int(one["trade_time"]) == row["last_trade_time"].timestamp()
            and list(one["depth_quantity"]) == [level["quantity"] for level in depth]
            and list(one["depth_price"]) == [level["price"] for level in depth]
            and list(one["depth_orders"]) == [level["orders"] for level in depth]
        )
        if not same:
            return False
    return True


def measure(rounds: int) -> list[Line]:
    """Packets a second for 1, 50 and 3000 full-mode packets a frame."""
    from kiteconnect import KiteTicker  # the official parser, and with it Twisted

    sdk = KiteTicker("key", "token")
    lines = []
    for size in SIZES:
        data, listed = _frame(size)
        rows, ticks = sdk._parse_binary(data), decode(data, _AT, listed.get)
        assert len(rows) == len(ticks) == size
        assert all(_same_tick(tick, row, listed) for tick, row in zip(ticks, rows, strict=True)), "the codec and the SDK differ"

        def official(data: bytes = data) -> Any:
            return sdk._parse_binary(data)

        def ours(data: bytes = data, listed: dict[int, Instrument] = listed) -> Any:
            return decode(data, _AT, listed.get)

        sides = {"ours": rate(ours, size), "sdk": rate(official, size)}
        if size == SIZES[-1]:
            assert _same_columns(decode_batch(data)["full"], rows), "the columns and the SDK differ"
            sides["columns"] = rate(lambda data=data: decode_batch(data), size)  # type: ignore[misc]  # mypy's view of a default argument
        figures = interleaved(sides, rounds)
        name = f"codec to Ticks, {size} a frame"
        lines.append(line(name, "packet/s", figures["ours"], figures["sdk"], "KiteTicker parser", goal=10.0, higher=True, stretch=25.0))
        if "columns" in figures:
            name = f"codec to columns, {size} a frame"
            lines.append(line(name, "packet/s", figures["columns"], figures["sdk"], "KiteTicker parser", goal=100.0, higher=True))
    return lines
