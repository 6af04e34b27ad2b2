"""Upstox's protobuf messages and texts: the documented examples, agreement with the official SDK's reading, and garbage that costs itself.

`python -m tests.wire.test_upstox_codec 200000` compares that many random messages.
"""

import json
import random
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from upstox_client.feeder.market_data_streamer_v3 import MarketDataStreamerV3
from upstox_client.feeder.proto import MarketDataFeedV3_pb2 as proto

from brokers.faults import Faults
from brokers.upstox.wire import Decoder, Level, parse_order
from core.types import IST, OrderState, Side, Tick
from simulators import upstox_wire
from tests.builders import NIFTY, RELIANCE
from tests.wire.upstox_samples import (
    AT,
    INDEX,
    INDEX_KEY,
    KEYS,
    KNOWN,
    LTPC,
    MARKET_OPEN,
    NIFTY_KEY,
    NOW_MS,
    RELIANCE_KEY,
    Reader,
    full_message,
    instruments,
    random_message,
)

OFFICIAL = MarketDataStreamerV3()


def read(message: bytes, faults: Faults | None = None) -> list[Tick]:
    return Decoder(KEYS, faults).decode(message, AT)


def official(message: bytes) -> dict[str, Any]:
    told: dict[str, Any] = MessageToDict(OFFICIAL.decode_protobuf(message))
    return told


def agree(seed: int, messages: int) -> int:
    """Compare ticks of random messages, of connections of 50 messages each, with the SDK's dicts; returns how many were equal."""
    rng, compared = random.Random(seed), 0
    known = instruments(6)
    for number in range(messages):
        if number % 50 == 0:
            ours, theirs = Decoder(known), Reader(known)
        message = random_message(rng, list(known))
        ticks = ours.decode(message, AT)
        expected = theirs.ticks(official(message), AT)
        assert {tick.instrument.key: tick for tick in ticks} == {tick.instrument.key: tick for tick in expected.values()}, message.hex()
        assert len(ticks) == len(expected)
        compared += len(ticks)
    return compared


def test_the_documented_ltpc_message() -> None:
    (tick,) = read(LTPC)
    sent = datetime.fromtimestamp(1791348187123 / 1000, IST)
    assert tick == Tick(RELIANCE, AT, 1420.35, quantity=25, exchange_at=sent, previous_close=1412.0)


def test_market_info_holds_no_ticks() -> None:
    faults = Faults()
    assert read(MARKET_OPEN, faults) == read(b"", faults) == []
    assert not faults.counts


def test_our_ticks_are_those_of_the_official_sdk() -> None:
    assert agree(seed=1, messages=1500) > 3000


def test_whole_messages_carry_the_best_level_volume_and_interest() -> None:
    known = instruments(50)
    message = full_message(random.Random(4), list(known))
    ticks = Decoder(known).decode(message, AT)
    expected = Reader(known).ticks(official(message), AT)
    assert {tick.instrument.key for tick in ticks} == {one.key for one in known.values()}
    assert all(tick == expected[key] for key, one in known.items() for tick in ticks if tick.instrument is one)


def test_what_a_message_leaves_out_keeps_its_last_value() -> None:
    decoder = Decoder(KEYS)
    whole = upstox_wire.Instant(100.5, NOW_MS, 65, 99.0, levels=[(130, 100.4, 195, 100.6)] * 5, volume=5000, oi=650.0)
    (before,) = decoder.decode(upstox_wire.message([(NIFTY_KEY, upstox_wire.feed("full", whole))], NOW_MS, 0), AT)
    assert (before.volume, before.oi, before.bid, before.ask_quantity) == (5000, 650, 100.4, 195)
    part = upstox_wire.Instant(101.0, NOW_MS + 900, 65, 99.0)
    (after,) = decoder.decode(upstox_wire.message([(NIFTY_KEY, upstox_wire.feed("full", part))], NOW_MS + 1000, 1), AT)
    assert (after.price, after.volume, after.oi, after.bid, after.ask_quantity) == (101.0, 5000, 650, 100.4, 195)
    decoder.forget()
    (fresh,) = decoder.decode(upstox_wire.message([(NIFTY_KEY, upstox_wire.feed("full", part))], NOW_MS + 1000, 1), AT)
    assert (fresh.volume, fresh.bid) == (0, 0.0)


def test_an_empty_side_is_zero_and_no_old_price() -> None:
    decoder = Decoder(KEYS)
    for levels, wanted in (([(130, 100.4, 195, 100.6)], 100.6), ([(130, 100.4, 0, 0.0)], 0.0)):
        told = upstox_wire.Instant(100.5, NOW_MS, 65, 99.0, levels=levels, volume=5000)
        (tick,) = decoder.decode(upstox_wire.message([(NIFTY_KEY, upstox_wire.feed("full", told))], NOW_MS, 1), AT)
        assert (tick.bid, tick.ask) == (100.4, wanted)


def test_yesterdays_price_says_so_by_its_time() -> None:
    yesterday = NOW_MS - 20 * 3_600_000
    told = upstox_wire.Instant(100.5, yesterday, 65, 99.0, levels=[(1, 100.4, 1, 100.6)], volume=5000)
    (tick,) = read(upstox_wire.message([(NIFTY_KEY, upstox_wire.feed("full", told))], NOW_MS, 0))
    assert tick.exchange_at == datetime.fromtimestamp(yesterday / 1000, IST)
    (tick,) = read(upstox_wire.message([(NIFTY_KEY, upstox_wire.feed("full", told))], yesterday + 1000, 0))
    assert tick.exchange_at == datetime.fromtimestamp(yesterday / 1000 + 1, IST)


def test_an_index_has_a_price_and_its_previous_close() -> None:
    told = upstox_wire.Instant(25_100.5, NOW_MS, 0, 25_000.0, is_index=True)
    (tick,) = read(upstox_wire.message([(INDEX_KEY, upstox_wire.feed("full", told))], NOW_MS, 1))
    assert tick == Tick(INDEX, AT, 25_100.5, exchange_at=AT - timedelta(milliseconds=250), previous_close=25_000.0)


def test_an_unknown_key_costs_only_itself() -> None:
    faults = Faults()
    feed = upstox_wire.feed("ltpc", upstox_wire.Instant(5.0, NOW_MS, 1, 4.0))
    ticks = read(upstox_wire.message([("NSE_FO|1", feed), (NIFTY_KEY, feed)], NOW_MS, 1), faults)
    assert [tick.instrument for tick in ticks] == [NIFTY]
    assert (faults.counts, faults.tokens) == ({"unknown token": 1}, {"NSE_FO|1"})


def test_a_price_of_zero_and_an_impossible_interest_are_counted() -> None:
    faults = Faults()
    for told in (upstox_wire.Instant(0.0, NOW_MS, 1, 4.0), upstox_wire.Instant(5.0, NOW_MS, 1, 4.0, oi=float("nan"))):
        assert read(upstox_wire.message([(NIFTY_KEY, upstox_wire.feed("full", told))], NOW_MS, 1), faults) == []
    assert faults.counts == {"feed without a price": 1, "open interest out of range": 1}


def test_a_message_cut_anywhere_never_raises_and_invents_nothing() -> None:
    known = instruments(3)
    message = full_message(random.Random(6), list(known))
    whole = Decoder(known).decode(message, AT)
    cut_short = 0
    for cut in range(len(message)):
        faults = Faults()
        ticks = Decoder(known, faults).decode(message[:cut], AT)
        assert [tick.price for tick in ticks] == [tick.price for tick in whole[: len(ticks)]]
        cut_short += faults.counts["message that is no protobuf"]
    assert cut_short > len(message) * 0.95


def test_what_a_feed_leaves_out_is_never_that_of_the_feed_before_it() -> None:
    rich = upstox_wire.Instant(100.5, NOW_MS, 65, 99.0, levels=[(130, 100.4, 195, 100.6)] * 5, volume=5000, oi=650.0)
    bare = upstox_wire.Instant(7.0, NOW_MS, 0, 0.0, levels=[(0, 6.9, 0, 0.0)], volume=0, oi=0.0)
    told = [(NIFTY_KEY, upstox_wire.feed("full", rich)), (RELIANCE_KEY, upstox_wire.feed("full", bare))]
    sent = AT - timedelta(milliseconds=250)
    apart = [upstox_wire.message([one], NOW_MS, 1) for one in told]
    for messages in ([upstox_wire.message(told, NOW_MS, 1)], apart):
        decoder = Decoder(KEYS)
        (_, tick) = [tick for message in messages for tick in decoder.decode(message, AT)]
        assert tick == Tick(RELIANCE, AT, 7.0, exchange_at=sent, bid=6.9)
    (timeless,) = decoder.decode(upstox_wire.message(told[:1], 0, 1), AT)
    assert timeless.exchange_at is None


def test_the_order_of_a_messages_fields_and_strange_ones_change_nothing() -> None:
    known = instruments(3)
    message = full_message(random.Random(8), list(known))
    wanted = Decoder(known).decode(message, AT)
    time, kind = message[-7:], message[:2]
    strange = (b"", b"\x58\x96\x01", b"\x59" + bytes(8), b"\x5d" + bytes(4), b"\x5a\x03abc", b"\x22\x00")
    for field in strange:
        assert Decoder(known).decode(time + field + message[2:-7] + kind, AT) == wanted
        assert Decoder(known).decode(kind + message[2:-7] + field + time, AT) == wanted
    for garbage in (b"\x5b", b"\x5f\x01", b"\x58" + b"\xff" * 11, b"\x00\x00"):
        faults = Faults()
        assert Decoder(known, faults).decode(message + garbage, AT) == []
        assert faults.counts == {"message that is no protobuf": 1}


def test_a_broken_feed_in_a_sound_message_costs_itself_and_what_follows() -> None:
    whole = upstox_wire.Instant(100.5, NOW_MS, 65, 99.0, levels=[(130, 100.4, 195, 100.6)] * 5, volume=5000, oi=650.0)
    good = upstox_wire.message([(NIFTY_KEY, upstox_wire.feed("full", whole))], NOW_MS, 1)
    faults, decoder = Faults(), Decoder(KEYS)
    decoder.faults = faults
    (wanted,) = decoder.decode(good, AT)
    assert decoder.decode(good[:-7] + b"\x12\x02\x0a\x7f" + good[-7:], AT) == [wanted]
    assert faults.counts == {"message that is no protobuf": 1}
    assert decoder.decode(good, AT) == [wanted]


def test_the_books_hold_every_level_as_the_sdk_reads_it() -> None:
    known = instruments(20)
    message = full_message(random.Random(9), list(known))
    books: dict[str, list[Level]] = {}
    Decoder(known).decode(message, AT, books)
    feeds = official(message)["feeds"]
    assert books.keys() == known.keys()
    for key, levels in books.items():
        told = feeds[key]["fullFeed"]["marketFF"]["marketLevel"]["bidAskQuote"]
        assert levels == [
            (float(one.get("bidP", 0)), int(one.get("bidQ", 0)), float(one.get("askP", 0)), int(one.get("askQ", 0))) for one in told
        ]


def test_no_garbage_raises() -> None:
    rng, known = random.Random(3), instruments(3)
    decoder = Decoder(known)
    for _ in range(3000):
        base = bytearray(random_message(rng, list(known)))
        for _ in range(rng.randrange(1, 8)):
            base[rng.randrange(len(base))] = rng.randrange(256)
        decoder.decode(bytes(base[: rng.randrange(len(base) + 1)]) + rng.randbytes(rng.choice((0, 0, 1, 40))), AT)
        decoder.decode(rng.randbytes(rng.randrange(60)), AT)
    assert decoder.faults.counts["message that is no protobuf"] > 1000


def test_the_simulators_encoder_writes_what_the_sdk_reads() -> None:
    told = upstox_wire.Instant(
        100.5, NOW_MS, 65, 99.0, levels=[(130, 100.4, 195, 100.6)], greeks=(0.5, -1.0, 0.001, 12.0, 0.2), volume=5000, oi=650.0,
        candles=[upstox_wire.Candle("1d", 1.5, 2.5, 1.25, 2.0, 77, NOW_MS)], average=100.2,
        volatility=0.13, buying=9.0, selling=8.0, cas_eligible=True,
    )  # fmt: skip
    seen = official(upstox_wire.message([(NIFTY_KEY, upstox_wire.feed("full", told))], NOW_MS, 1))
    market = seen["feeds"][NIFTY_KEY]["fullFeed"]["marketFF"]
    assert (seen["type"], seen["feeds"][NIFTY_KEY]["requestMode"]) == ("live_feed", "full_d5")
    assert market["ltpc"] == {"ltp": 100.5, "ltt": str(NOW_MS), "ltq": "65", "cp": 99.0}
    assert market["marketLevel"]["bidAskQuote"] == [{"bidQ": "130", "bidP": 100.4, "askQ": "195", "askP": 100.6}]
    assert market["optionGreeks"] == {"delta": 0.5, "theta": -1.0, "gamma": 0.001, "vega": 12.0, "rho": 0.2}
    assert market["marketOHLC"]["ohlc"][0] | {"ts": ""} == {
        "interval": "1d", "open": 1.5, "high": 2.5, "low": 1.25, "close": 2.0, "vol": "77", "ts": "",
    }  # fmt: skip
    assert (market["vtt"], market["oi"], market["tbq"], market["casEligible"]) == ("5000", 650.0, 9.0, True)
    greeks = official(upstox_wire.message([(NIFTY_KEY, upstox_wire.feed("option_greeks", told))], NOW_MS, 0))
    first = greeks["feeds"][NIFTY_KEY]["firstLevelWithGreeks"]
    assert (first["firstDepth"]["bidP"], first["vtt"], first["iv"], "type" in greeks) == (100.4, "5000", 0.13, False)
    info = official(upstox_wire.market_info({"NSE_EQ": "NORMAL_OPEN", "NSE_FO": "PRE_OPEN_START"}, NOW_MS))
    assert info["marketInfo"]["segmentStatus"] == {"NSE_EQ": "NORMAL_OPEN", "NSE_FO": "PRE_OPEN_START"}
    assert proto.FeedResponse.FromString(LTPC).feeds[RELIANCE_KEY].ltpc.ltq == 25


# --- texts of the portfolio stream ------------------------------------------------------------------------------------------------------

ROW: dict[str, Any] = {
    "update_type": "order",
    "user_id": "AB1234",
    "exchange": "NSE",
    "instrument_token": RELIANCE_KEY,
    "trading_symbol": "RELIANCE",
    "product": "I",
    "order_type": "LIMIT",
    "average_price": 1419.4,
    "price": 1419.5,
    "trigger_price": 0.0,
    "quantity": 10,
    "transaction_type": "BUY",
    "status": "open",
    "tag": "eng-0001",
    "exchange_timestamp": "2026-11-20 10:02:11",
    "status_message": "",
    "order_id": "261120000012345",
    "filled_quantity": 4,
}


def test_an_order_text_is_an_order_update() -> None:
    (update,) = parse_order(json.dumps(ROW), AT, lambda: KNOWN, Faults())
    assert (update.broker_order_id, update.instrument, update.side, update.tag) == ("261120000012345", RELIANCE, Side.BUY, "eng-0001")
    assert (update.state, update.filled, update.quantity, update.average_price) == (OrderState.WORKING, 4, 10, 1419.4)
    assert (update.limit_price, update.trigger_price, update.label, update.source) == (1419.5, None, "open", "stream")
    assert update.exchange_at == datetime(2026, 11, 20, 10, 2, 11, tzinfo=IST)


def test_errors_are_kept_and_other_texts_ignored() -> None:
    faults = Faults()
    texts = (
        '{"update_type":"position"}',
        '{"status":"error","errors":[{"errorCode":"X"}]}',
        "[1]",
        "nonsense",
        b"\xff",
        '{"update_type":"order"}',
    )
    for text in texts:
        assert parse_order(text, AT, lambda: KNOWN, faults) == []
    assert faults.counts == {
        "error text": 1,
        "text of an unknown shape": 1,
        "text that is no JSON": 2,
        "order text without its fields": 1,
    }
    assert len(faults.texts) == 2


@pytest.mark.parametrize("seed", [9, 10])
def test_an_order_text_with_a_field_missing_never_raises(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(300):
        row: dict[str, Any] = {key: rng.choice((value, None, "x", -1, [])) for key, value in ROW.items() if rng.random() > 0.1}
        assert len(parse_order(json.dumps(row), AT, lambda: KNOWN, Faults())) <= 1


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    print(f"{agree(seed=11, messages=wanted)} ticks of {wanted} random messages equal what the SDK reads, field by field")
