"""Kite's binary frames and texts: the documented examples, agreement with Zerodha's own parser, and garbage that costs nothing else.

`python -m tests.wire.test_kite_codec 1000000` compares that many random packets.
"""

import json
import random
import struct
import sys
from datetime import datetime
from typing import Any

import msgspec
import numpy
import pytest
from kiteconnect.ticker import KiteTicker

from brokers.faults import Faults
from brokers.zerodha import wire
from core.types import IST, OrderState, Side, Tick
from tests.wire.kite_samples import (
    AT,
    CURRENCY_AND_NCO,
    FULL,
    KNOWN,
    LTP_AND_INDEX,
    QUOTE,
    Everything,
    as_tick,
    frame_of,
    random_frame,
    random_packet,
)

OFFICIAL = KiteTicker("key", "token")
RELIANCE = KNOWN.tokens[738561]


def decoded(frame: bytes) -> list[Tick]:
    return wire.decode(frame, AT, KNOWN.by_token)


def agree(seed: int, packets: int) -> int:
    """Compare random frames with KiteTicker's parser, field by field; returns how many packets were equal."""
    rng, by_token, done = random.Random(seed), Everything(), 0
    while done < packets:
        frame = random_frame(rng, min(packets - done, rng.choice((1, 2, 7, 50))))
        ours = wire.decode(frame, AT, by_token)
        theirs = OFFICIAL._parse_binary(frame)
        assert ours == [as_tick(row, by_token, AT) for row in theirs], frame.hex()
        done += len(ours)
    return done


def test_the_documented_ltp_and_index_frame() -> None:
    first, second = decoded(LTP_AND_INDEX)
    assert first == Tick(RELIANCE, AT, 1420.35)
    assert (second.instrument.key, second.price, second.previous_close) == ("NSE:NIFTY 50", 25134.55, 24950.00)
    assert second.exchange_at == datetime.fromtimestamp(1791344587, IST)


def test_the_documented_currency_divisors() -> None:
    assert [tick.price for tick in decoded(CURRENCY_AND_NCO)] == [85.2575, 765.43]


def test_the_documented_quote_and_full_packets() -> None:
    quote = Tick(RELIANCE, AT, 1420.35, volume=8123456, quantity=25, previous_close=1412.0)
    assert decoded(QUOTE) == [quote]
    (full,) = decoded(FULL)
    assert (full.bid, full.bid_quantity, full.ask, full.ask_quantity) == (1420.30, 100, 1420.40, 200)
    assert full.exchange_at == datetime.fromtimestamp(0x6AC5BFCB, IST)
    assert msgspec.structs.replace(full, bid=0.0, ask=0.0, bid_quantity=0, ask_quantity=0, exchange_at=None) == quote


def test_a_heartbeat_and_an_empty_frame_hold_no_ticks() -> None:
    faults = Faults()
    assert [wire.decode(frame, AT, KNOWN.by_token, faults) for frame in (b"\x00", b"", b"\x00\x00")] == [[], [], []]
    assert not faults.counts


def test_our_ticks_are_those_of_the_official_parser() -> None:
    assert agree(seed=1, packets=20_000) == 20_000


def test_a_missing_exchange_time_is_none_and_not_1970() -> None:
    packet = FULL[4:64] + bytes(4) + FULL[68:]
    assert decoded(frame_of([packet]))[0].exchange_at is None


@pytest.mark.parametrize("frame", [LTP_AND_INDEX, CURRENCY_AND_NCO, QUOTE, FULL, frame_of([FULL[4:]] * 3)])
def test_a_frame_cut_anywhere_keeps_its_whole_packets_and_is_counted(frame: bytes) -> None:
    whole = decoded(frame)
    for cut in range(2, len(frame)):
        faults = Faults()
        ticks = wire.decode(frame[:cut], AT, KNOWN.by_token, faults)
        assert ticks == whole[: len(ticks)]
        assert len(ticks) < len(whole)
        assert faults.counts["truncated frame"] == 1


def test_an_unknown_token_and_an_odd_length_cost_only_themselves() -> None:
    faults = Faults()
    stranger = struct.pack(">II", 999 << 8 | 1, 100)
    packets = [stranger, b"\x01" * 17, FULL[4:], b"", struct.pack(">II", 738561, 5)]
    ticks = wire.decode(frame_of(packets), AT, KNOWN.by_token, faults)
    assert [tick.price for tick in ticks] == [1420.35, 0.05]
    assert faults.counts == {"unknown token": 1, "packet of 17 bytes": 1, "packet of 0 bytes": 1}
    assert faults.tokens == {999 << 8 | 1}


def test_an_unknown_token_among_full_packets_costs_only_itself() -> None:
    faults = Faults()
    stranger = struct.pack(">I", 999 << 8 | 1) + FULL[8:]
    ticks = wire.decode(frame_of([FULL[4:], stranger, FULL[4:]]), AT, KNOWN.by_token, faults)
    assert [tick.instrument for tick in ticks] == [RELIANCE, RELIANCE]
    assert faults.counts == {"unknown token": 1}


def test_bytes_behind_the_last_packet_are_counted() -> None:
    faults = Faults()
    assert len(wire.decode(QUOTE + b"abc", AT, KNOWN.by_token, faults)) == 1
    assert faults.counts == {"bytes after the last packet": 3}


def test_no_garbage_raises() -> None:
    rng, by_token = random.Random(3), Everything()
    for _ in range(4000):
        base = bytearray(random_frame(rng, rng.randrange(1, 6)))
        for _ in range(rng.randrange(1, 8)):
            base[rng.randrange(len(base))] = rng.randrange(256)
        frame = bytes(base[: rng.randrange(len(base) + 1)]) + rng.randbytes(rng.choice((0, 0, 1, 40)))
        ticks = wire.decode(frame, AT, by_token)
        rows = sum(len(columns) for columns in wire.decode_batch(frame).values())
        assert len(ticks) == rows


def test_the_columns_of_a_batch_are_the_fields_of_the_official_parser() -> None:
    rng = random.Random(5)
    for lengths in ((184,), (44,), (8,), (28,), (32,), (8, 28, 32, 44, 184)):
        frame = frame_of([random_packet(rng, rng.choice(lengths)) for _ in range(60)])
        columns, seen = wire.decode_batch(frame), dict.fromkeys(("ltp", "quote", "full", "index_quote", "index_full"), 0)
        for row in OFFICIAL._parse_binary(frame):
            kind = row["mode"] if row["tradable"] else f"index_{row['mode']}"
            mine = columns[kind][seen[kind]]
            seen[kind] += 1
            assert (mine["token"], mine["price"]) == (row["instrument_token"], row["last_price"])
            for name, value in row.get("ohlc", {}).items():
                assert mine[name] == value
            if "depth" in row:
                levels = row["depth"]["buy"] + row["depth"]["sell"]
                assert mine["depth_price"].tolist() == [level["price"] for level in levels]
                assert mine["depth_quantity"].tolist() == [level["quantity"] for level in levels]
                assert mine["depth_orders"].tolist() == [level["orders"] for level in levels]
                assert (mine["oi"], mine["volume"], mine["average"]) == (row["oi"], row["volume_traded"], row["average_traded_price"])
        assert seen == {kind: len(columns.get(kind, ())) for kind in seen}


def test_batch_columns_are_native_numbers() -> None:
    full = wire.decode_batch(frame_of([FULL[4:]] * 3))["full"]
    assert full["price"].dtype == numpy.float64
    assert full["price"].tolist() == [1420.35] * 3
    assert full["time"].tolist() == [0x6AC5BFCB] * 3


# --- texts ------------------------------------------------------------------------------------------------------------------------------

ROW = {
    "placed_by": "ZZ1234",
    "order_id": "2051234567890123776",
    "status": "UPDATE",
    "status_message": None,
    "exchange_update_timestamp": "2026-11-20 10:02:11",
    "exchange": "NSE",
    "tradingsymbol": "RELIANCE",
    "order_type": "LIMIT",
    "transaction_type": "BUY",
    "product": "MIS",
    "quantity": 130,
    "price": 103.55,
    "trigger_price": 0,
    "average_price": 101.5,
    "filled_quantity": 65,
    "tag": "ENG0001",
}


def test_an_order_text_is_an_order_update() -> None:
    (update,) = wire.parse_order(json.dumps({"type": "order", "data": ROW}), AT, lambda: KNOWN)
    assert (update.broker_order_id, update.instrument, update.side, update.tag) == ("2051234567890123776", RELIANCE, Side.BUY, "ENG0001")
    assert (update.state, update.filled, update.quantity, update.average_price) == (OrderState.WORKING, 65, 130, 101.5)
    assert (update.limit_price, update.trigger_price, update.label, update.source) == (103.55, None, "UPDATE", "stream")
    assert update.exchange_at == datetime(2026, 11, 20, 10, 2, 11, tzinfo=IST)


def test_errors_are_kept_and_other_texts_ignored() -> None:
    faults = Faults()
    texts = (
        '{"type":"error","data":"exceeded"}',
        '{"type":"instruments_meta","data":{}}',
        "[1]",
        "nonsense",
        b"\xff\xfe",
        '{"type":"order"}',
    )
    for text in texts:
        assert wire.parse_order(text, AT, lambda: KNOWN, faults) == []
    assert list(faults.texts) == ["exceeded"]
    assert faults.counts == {"error text": 1, "text of an unknown shape": 1, "text that is no JSON": 2}


def test_an_order_text_with_a_field_missing_never_raises() -> None:
    rng = random.Random(9)
    for _ in range(500):
        row: dict[str, Any] = {key: rng.choice((value, None, "x", -1, [])) for key, value in ROW.items() if rng.random() > 0.1}
        assert len(wire.parse_order(json.dumps({"type": "order", "data": row}), AT, lambda: KNOWN)) <= 1


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(f"{agree(seed=11, packets=wanted)} random packets: our ticks equal KiteTicker's, field by field")
