"""Our SmartAPI codec against the documented sample and against Angel One's own parser; nothing that arrives may raise.

`python -m tests.wire.test_angelone_codec [packets]` compares more random packets than the suite does.
"""

import json
import random
import sys
from datetime import datetime
from typing import Any

import numpy
import pytest

from brokers.angelone import wire
from brokers.faults import Faults
from core.types import IST, OrderState, Side, Tick
from tests.builders import NIFTY, RELIANCE
from tests.wire.angel_in_process import FUTURE, Angel
from tests.wire.angel_samples import AT, KNOWN, LTP, SBIN, Everything, as_tick, official, random_packet

NAMES = {wire.name_of(1, "3045"): SBIN}


def agree(seed: int, packets: int) -> int:
    """Compare random packets with the SDK's parser, field by field; returns how many were equal."""
    rng, by_name, parse = random.Random(seed), Everything(), official()
    for _ in range(packets):
        packet = random_packet(rng)
        assert wire.decode(packet, AT, by_name) == [as_tick(parse(packet), by_name, AT)], packet.hex()
    return packets


def test_the_documented_sample() -> None:
    (tick,) = wire.decode(LTP, AT, NAMES.get)
    assert tick == Tick(SBIN, AT, 812.35, exchange_at=datetime.fromtimestamp(1795308300, IST))


def test_our_ticks_are_those_of_the_official_parser() -> None:
    assert agree(seed=1, packets=20_000) == 20_000


def test_the_simulators_packets_read_alike() -> None:
    angel, by_name, parse, seen = Angel(), Everything(), official(), 0
    feed = angel.stream()
    for mode in (1, 2, 3):
        angel.subscribe(feed, mode, FUTURE, "NSE:NIFTY 50", "NSE:RELIANCE")
    for _ in range(20):
        for frame in angel.frames(feed):
            assert isinstance(frame, bytes)
            assert wire.decode(frame, AT, by_name) == [as_tick(parse(frame), by_name, AT)]
            seen += 1
        angel.pass_(1)
    assert seen > 50


@pytest.mark.parametrize("size", [51, 123, 379])
def test_a_packet_cut_anywhere_is_counted_and_nothing_else(size: int) -> None:
    whole, by_name = random_packet(random.Random(size), size), Everything()
    for cut in range(len(whole)):
        faults = Faults()
        assert wire.decode(whole[:cut], AT, by_name, faults) == []
        assert sum(faults.counts.values()) == 1, cut
    faults = Faults()
    assert wire.decode(whole + b"\0", AT, by_name, faults) == []
    assert faults.counts == {"packet of another length than its mode's": 1}


def test_an_unknown_token_and_an_unknown_mode_are_counted() -> None:
    faults = Faults()
    rng = random.Random(2)
    for packet in (random_packet(rng, 379), random_packet(rng, 51), b"\x04" + bytes(442), b""):
        assert wire.decode(packet, AT, NAMES.get, faults) == []
    assert faults.counts == {"unknown token": 2, "packet of mode 4": 1, "empty packet": 1}


def test_what_stands_behind_the_tokens_end_is_ignored() -> None:
    (tick,) = wire.decode(LTP[:7] + b"x" + LTP[8:], AT, NAMES.get)
    assert tick.instrument is SBIN


def test_a_time_that_cannot_be_meant_is_none() -> None:
    for milliseconds in (0, -1, 2**62):
        packet = LTP[:35] + milliseconds.to_bytes(8, "little", signed=True) + LTP[43:]
        assert wire.decode(packet, AT, NAMES.get)[0].exchange_at is None


def test_no_garbage_raises() -> None:
    rng, by_name = random.Random(3), Everything()
    for _ in range(4000):
        base = bytearray(random_packet(rng))
        for _ in range(rng.randrange(1, 8)):
            base[rng.randrange(len(base))] = rng.randrange(256)
        frame = bytes(base[: rng.choice((len(base), rng.randrange(len(base) + 1)))]) + rng.randbytes(rng.choice((0, 0, 1, 40)))
        ticks = wire.decode(frame, AT, by_name)
        assert len(ticks) == sum(len(columns) for columns in wire.decode_batch([frame]).values())


def test_columns_are_the_fields_of_the_official_parser() -> None:
    rng, parse = random.Random(5), official()
    packets = [random_packet(rng) for _ in range(300)]
    columns, places = wire.decode_batch(packets), dict.fromkeys(wire.KINDS.values(), 0)
    for packet in packets:
        kind, row = wire.KINDS[len(packet)], parse(packet)
        mine, by = columns[kind][places[kind]], 1e7 if row["exchange_type"] == 13 else 100.0
        places[kind] += 1
        assert (mine["token"].decode(), mine["time"], mine["sequence"]) == (row["token"], row["exchange_timestamp"], row["sequence_number"])
        assert mine["price"] == row["last_traded_price"] / by
        if kind != "ltp":
            assert (mine["volume"], mine["close"], mine["buying"]) == (
                row["volume_trade_for_the_day"],
                row["closed_price"] / by,
                row["total_buy_quantity"],
            )
        if kind == "snap_quote":
            levels = row["best_5_buy_data"] + row["best_5_sell_data"]
            assert mine["depth_price"].tolist() == [level["price"] / by for level in levels]
            assert mine["depth_quantity"].tolist() == [level["quantity"] for level in levels]
            assert mine["depth_orders"].tolist() == [level["no of orders"] for level in levels]
            assert (mine["oi"], mine["upper_circuit"]) == (row["open_interest"], row["upper_circuit_limit"] / by)
    assert columns["snap_quote"]["price"].dtype == numpy.float64


# --- texts and the dialects ---------------------------------------------------------------------------------------------------------------

ROW: dict[str, Any] = {
    "variety": "NORMAL",
    "ordertype": "LIMIT",
    "ordertag": "ENG0001",
    "producttype": "INTRADAY",
    "price": 812.35,
    "triggerprice": 0,
    "quantity": "130",
    "duration": "DAY",
    "tradingsymbol": "RELIANCE-EQ",
    "transactiontype": "BUY",
    "exchange": "NSE",
    "symboltoken": "2885",
    "averageprice": 812.3,
    "filledshares": "65",
    "unfilledshares": "65",
    "orderid": "261120000000111",
    "text": "",
    "status": "modified",
    "orderstatus": "open",
    "updatetime": "20-Nov-2026 10:02:11",
    "exchtime": "",
    "exchorderupdatetime": "",
}


def told(row: Any, **more: Any) -> str:
    return json.dumps({"user-id": "A1", "status-code": "200", "order-status": "AB00", "error-message": "", "orderData": row, **more})


def test_an_order_message_is_an_order_update_by_its_orderstatus() -> None:
    (update,) = wire.parse_order(told(ROW), AT, lambda: KNOWN)
    assert (update.broker_order_id, update.instrument, update.side, update.tag) == ("261120000000111", RELIANCE, Side.BUY, "ENG0001")
    assert (update.state, update.filled, update.quantity, update.average_price) == (OrderState.WORKING, 65, 130, 812.3)
    assert (update.limit_price, update.trigger_price, update.label, update.source) == (812.35, None, "open", "stream")
    assert update.exchange_at == datetime(2026, 11, 20, 10, 2, 11, tzinfo=IST)


def test_greetings_and_pongs_are_none_and_errors_are_kept() -> None:
    faults = Faults()
    texts = ("pong", b"", told({**ROW, "orderid": ""}), "[1]", "nonsense", told({}, **{"error-message": "Adapter is Logged Off"}))
    assert [wire.parse_order(text, AT, lambda: KNOWN, faults) for text in texts] == [[]] * 6
    assert list(faults.texts) == ["Adapter is Logged Off"]
    assert faults.counts == {"text of an unknown shape": 1, "text that is no JSON": 1, "error text": 1}


def test_an_order_message_with_a_field_missing_never_raises() -> None:
    rng = random.Random(9)
    for _ in range(500):
        row: dict[str, Any] = {key: rng.choice((value, None, "x", -1, [])) for key, value in ROW.items() if rng.random() > 0.1}
        assert len(wire.parse_order(told(row), AT, lambda: KNOWN)) <= 1


def test_a_subscription_names_exchange_types_and_tokens_in_snap_quote_mode() -> None:
    dialect = wire.FeedDialect("wss://host", lambda token: {"Authorization": token}, lambda: KNOWN)
    (text,) = dialect.subscribe([RELIANCE, NIFTY, SBIN])
    asked = json.loads(text)
    assert (asked["action"], asked["params"]["mode"]) == (1, 3)
    assert asked["params"]["tokenList"] == [{"exchangeType": 1, "tokens": ["2885", "3045"]}, {"exchangeType": 2, "tokens": ["63657"]}]
    assert [tick.instrument for tick in dialect.take(LTP, AT) if isinstance(tick, Tick)] == [SBIN]
    assert dialect.address("T") == ("wss://host/smart-stream", {"Authorization": "T"})
    assert dialect.take(LTP, AT) == [], "a new connection knows nothing before it has subscribed"


def test_the_feeds_texts_are_pongs_or_errors() -> None:
    dialect = wire.FeedDialect("wss://host", lambda token: {}, lambda: KNOWN)
    texts = ("pong", '{"errorCode":"E1002","errorMessage":"Invalid Request. Subscription Limit Exceeded"}', "what")
    assert [list(dialect.take(text, AT)) for text in texts] == [[], [], []]
    assert list(dialect.faults.texts) == ["E1002: Invalid Request. Subscription Limit Exceeded"]
    stranger = SBIN.__class__("NSE:NOSUCH", "NSE", "NOSUCH", SBIN.kind, "NOSUCH")
    assert dialect.subscribe([stranger]) == []
    assert dialect.faults.counts["instrument without a token"] == 1


@pytest.mark.parametrize(
    ("body", "dead"),
    [
        ("Invalid Header - Invalid Auth token", True),
        ("Invalid Header - Invalid Feed Token", True),
        ("Invalid Header - Invalid API Key", False),
        ("Invalid Header - Invalid Client Code", False),
    ],
)
def test_only_a_dead_token_asks_for_a_login(body: str, dead: bool) -> None:
    assert wire.FeedDialect("wss://host", lambda token: {}, lambda: KNOWN).dead_token(401, body) is dead


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(f"{agree(seed=11, packets=wanted)} random packets: our ticks equal SmartWebSocketV2's, field by field")
