"""Our Socket.IO codec: the documents' samples, cuts and garbage of every length, orders of both kinds, and the greeting."""

import json
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from brokers.icici.wire import FeedDialect, OrderDialect
from core.events import OrderUpdate
from core.types import IST, Instrument, Kind, OrderState, OrderType, Side, Tick
from tests.wire.icici_house import FUTURE, SHARE, Breeze, Names

AT = datetime(2026, 11, 20, 10, 0, 5, tzinfo=IST)
EQUITY = (  # of the SDK's README
    '42["stock",["4.1!2885",1219.45,1209.05,1226.9,1193.35,-2.09,1209.05,13,1209.35,34,1,1208.86,10991550,762919,619405,"1328.72C","",'
    "1111.4,1358.3,1739338940,1234.85]]"
)
ORDER = (
    '42["order",["1","","USERID","","249","5","SEQ","10-03-2025","14:13:22","Intraday Calls","N","4","ACC","NSE","RELIND","B","L","T",'
    '"420.00","C","O","10-Mar-2025","10-Mar-2025","20250310N300001234","1","1","0","0","0","0","0","N","420.00","25","WEB","NSE",'
    '"2025001","Cash","N","","10-Mar-2025","","0.00","N","N","0","P"]]'
)


@pytest.fixture(scope="module")
def names() -> Names:
    return Breeze().names()


def quotes(names: Names, *keys: str) -> FeedDialect:
    dialect = FeedDialect("ws://127.0.0.1", lambda: names)
    dialect.subscribe([one for key in keys if (one := names.by_key(key)) is not None])
    return dialect


def test_the_documents_quote_reads_as_it_says(names: Names) -> None:
    (tick,) = quotes(names, SHARE).take(EQUITY, AT)
    assert isinstance(tick, Tick)
    assert (tick.instrument.key, tick.price, tick.bid, tick.bid_quantity, tick.ask, tick.ask_quantity) == (
        SHARE,
        1209.05,
        1209.05,
        13,
        1209.35,
        34,
    )
    assert (tick.quantity, tick.volume, tick.previous_close, tick.oi) == (1, 10991550, 1234.85, 0)
    assert tick.exchange_at == datetime(2025, 2, 12, 11, 12, 20, tzinfo=IST), "plain seconds, whatever the host's zone"


CONTRACT = (
    '42["stock",["4.1!58072",25619.45,25609.05,25626.9,25593.35,-2.09,25609.05,65,25609.35,130,65,25608.86,10991550,1200,1099150,762919,'
    '619405,"1328.72C","",23111.4,28358.3,1739338940,25634.85]]'
)


def test_a_contracts_quote_has_its_open_interest(names: Names) -> None:
    dialect, future = FeedDialect("ws://127.0.0.1", lambda: names), names.by_key(FUTURE)
    assert future is not None
    (packet,) = dialect.subscribe([future])
    (tick,) = dialect.take(CONTRACT.replace("4.1!58072", json.loads(packet[2:])[1][0]), AT)
    assert isinstance(tick, Tick)
    assert (tick.price, tick.volume, tick.quantity, tick.oi, tick.previous_close) == (25609.05, 1099150, 65, 10991550, 25634.85)
    assert (tick.bid, tick.bid_quantity, tick.ask, tick.ask_quantity) == (25609.05, 65, 25609.35, 130)


@pytest.mark.parametrize(
    ("usual", "odd", "quantity", "bid"),
    [
        (",1,1208.86", ',"1",1208.86', 1, 1209.05),  # numbers as texts
        (",1,1208.86", ',"",1208.86', 0, 1209.05),
        (",1,1208.86", ",1.0,1208.86", 1, 1209.05),
        (",1209.05,13,", ',"1209.05",13,', 1, 1209.05),
        (",1209.05,13,", ",null,null,", 1, 0.0),
        (',["4', ', ["4', 1, 1209.05),  # another writer of JSON
    ],
)
def test_a_quote_of_odd_types_is_the_same_quote(names: Names, usual: str, odd: str, quantity: int, bid: float) -> None:
    circuits: dict[str, tuple[date, float, float]] = {}
    dialect = FeedDialect("ws://127.0.0.1", lambda: names, circuits)
    dialect.subscribe([one for one in [names.by_key(SHARE)] if one is not None])
    (tick,), (other,) = dialect.take(EQUITY, AT), dialect.take(EQUITY.replace(usual, odd), AT)
    assert isinstance(tick, Tick)
    assert isinstance(other, Tick)
    told = [(one.price, one.ask, one.volume, one.exchange_at, one.previous_close) for one in (tick, other)]
    assert told[0] == told[1]
    assert (other.quantity, other.bid) == (quantity, bid)
    assert circuits == {SHARE: (AT.date(), 1111.4, 1358.3)}


@pytest.mark.parametrize(
    ("usual", "odd"),
    [(",1209.05,1226.9", ",0,1226.9"), (",1209.05,13,", ",-1209.05,13,"), (",1,1208.86", ",1,0,1208.86"), (",1209.35,34", ",1e10,34")],
)
def test_a_quote_that_is_none_never_ticks(names: Names, usual: str, odd: str) -> None:
    dialect = quotes(names, SHARE)
    assert dialect.take(EQUITY.replace(usual, odd), AT) == ()
    assert dialect.faults.counts == {"unreadable event": 1}


def test_rooms_are_joined_and_left_by_one_packet(names: Names) -> None:
    dialect = FeedDialect("ws://127.0.0.1", lambda: names)
    share, future = names.by_key(SHARE), names.by_key(FUTURE)
    assert share is not None
    assert future is not None
    stranger = Instrument("NSE:NOBODY", "NSE", "NOBODY", Kind.EQUITY, "NOBODY")
    (packet,) = dialect.subscribe([share, future, stranger])
    assert json.loads(packet[2:])[1][0] == "4.1!2885"
    assert dialect.faults.counts == {"instrument without a token": 1}
    assert dialect.unsubscribe([share]) == ['42["leave",["4.1!2885"]]']
    assert dialect.take(EQUITY, AT) == ()
    assert dialect.faults.counts["unknown room"] == 1


def test_every_room_of_the_simulator_reads_as_the_market_stands(names: Names) -> None:
    it = Breeze()
    dialect = quotes(names, FUTURE, SHARE, "NSE:NIFTY 50")
    connection = it.stream()
    rooms = [it.simulator.names.of(it.simulator.world.market.listings[key]).room for key in (FUTURE, SHARE, "NSE:NIFTY 50")]
    it.say(connection, f"42{json.dumps(['join', rooms])}")
    found = [event for frame in it.hear(connection) if frame[:2] == "42" for event in dialect.take(frame, AT)]
    for tick in found:
        assert isinstance(tick, Tick)
        quote = it.simulator.world.market.quote(tick.instrument.key)
        assert (tick.price, tick.previous_close) == (quote.last_price, quote.close)
        if tick.instrument.kind is not Kind.INDEX:
            assert (tick.volume, tick.bid, tick.oi) == (quote.volume, quote.bids[0][0], quote.oi)
    assert {tick.instrument.key for tick in found if isinstance(tick, Tick)} == {FUTURE, SHARE, "NSE:NIFTY 50"}
    assert not dialect.faults.counts


def test_order_notifications_of_the_simulator_tell_the_life_of_an_order(names: Names) -> None:
    it = Breeze()
    feeds = it.stream("livefeeds")
    number = it.place(order_type="stoploss", stoploss=str(round(it.last() * 1.01)), price=str(round(it.last() * 1.02)))
    it.call("DELETE", "order", {"exchange_code": "NFO", "order_id": number})
    dialect = OrderDialect("ws://127.0.0.1", lambda: names)
    told = [event for frame in it.hear(feeds) if frame[:2] == "42" for event in dialect.take(frame, AT)]
    assert all(isinstance(event, OrderUpdate) for event in told)
    updates = [event for event in told if isinstance(event, OrderUpdate)]
    assert [one.state for one in updates] == [OrderState.PENDING_NEW, OrderState.TRIGGER_PENDING, OrderState.CANCELLED]
    last = updates[-1]
    assert (last.instrument.key, last.side, last.quantity, last.product, last.broker_order_id) == (FUTURE, Side.BUY, 65, "futures", number)
    assert (last.order_type, last.tag) == (OrderType.SL, None)
    assert not dialect.faults.counts


def test_a_strike_in_paise_is_its_contract(names: Names) -> None:
    it = Breeze()
    feeds = it.stream("livefeeds")
    option = next(one for one in it.simulator.names.all().values() if one.listing.kind == "CE" and it.last(one.listing.key) > 20)
    body = {"product": "options", "right": "call", "strike_price": f"{option.strike:g}", "quantity": "65", "price": "5"}
    it.place(**body, expiry_date=f"{option.listing.expiry}T06:00:00.000Z")
    dialect = OrderDialect("ws://127.0.0.1", lambda: names)
    (first, *_) = [event for frame in it.hear(feeds) if frame[:2] == "42" for event in dialect.take(frame, AT)]
    assert isinstance(first, OrderUpdate)
    assert first.instrument.key == option.listing.key


def test_a_letter_that_is_in_no_table_is_quarantined(names: Names) -> None:
    dialect = OrderDialect("ws://127.0.0.1", lambda: names)
    (update,) = dialect.take(ORDER.replace('"C","O"', '"C","Z"'), AT)
    assert isinstance(update, OrderUpdate)
    assert (update.state, update.label, update.filled) == (None, "letter z", 0)


@pytest.mark.parametrize(
    ("letter", "state"), [("C", OrderState.CANCELLED), ("X", OrderState.EXPIRED), ("J", OrderState.CANCELLED), ("O", OrderState.WORKING)]
)
def test_what_a_notification_says_is_executed_counts_whatever_its_letter(names: Names, letter: str, state: OrderState) -> None:
    dialect = OrderDialect("ws://127.0.0.1", lambda: names)
    told = ORDER.replace('"C","O"', f'"C","{letter}"')
    (update,) = dialect.take(told.replace('"20250310N300001234","1","1","0"', '"20250310N300001234","10","6","4"'), AT)
    assert isinstance(update, OrderUpdate)
    assert (update.state, update.filled, update.quantity) == (state, 4, 10)
    assert dialect.take(told.replace('"20250310N300001234","1","1","0"', '"20250310N300001234","10","0","11"'), AT) == ()
    assert dialect.faults.counts == {"unreadable event": 1}


@pytest.mark.parametrize("text", [EQUITY, ORDER])
def test_a_packet_cut_anywhere_never_raises_and_never_ticks(names: Names, text: str) -> None:
    for length in range(len(text)):
        for dialect in (quotes(names, SHARE), OrderDialect("ws://127.0.0.1", lambda: names)):
            assert dialect.take(text[:length], AT) == ()
            assert length == 1 or text[:length] in ("", "4") or sum(dialect.faults.counts.values()) == 1


ITEMS = some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=8) | some.lists(some.integers(), max_size=3)
PAYLOADS = some.lists(ITEMS, max_size=50)


@settings(max_examples=150, deadline=None)
@given(name=some.sampled_from(["stock", "order", "1MIN", ""]), items=PAYLOADS, head=some.sampled_from(["4.1!2885", 1, None]))
def test_garbage_of_any_shape_never_raises(name: str, items: list[Any], head: object) -> None:
    share = Instrument(SHARE, "NSE", "RELIANCE", Kind.EQUITY, "RELIANCE")

    class One(Names):
        def __init__(self) -> None:
            self._tokens = {SHARE: "NSE|RELIND|2885"}
            self._by_token = {"NSE|RELIND|2885": share}

    makers: tuple[Callable[[], FeedDialect | OrderDialect], ...] = (
        lambda: FeedDialect("ws://127.0.0.1", One),
        lambda: OrderDialect("ws://127.0.0.1", One),
    )
    for make in makers:
        dialect = make()
        dialect.subscribe([share])
        for event in dialect.take(f"42{json.dumps([name, [head, *items]])}", AT):
            assert not isinstance(event, Tick) or event.price > 0


def test_binary_messages_and_other_packets_are_counted(names: Names) -> None:
    dialect = quotes(names, SHARE)
    for message in (b"\x00\x03", "41", '44{"message":"no"}', "2", "3", "6", '42["1MIN","NSE,..."]'):
        assert dialect.take(message, AT) == ()
    assert dialect.faults.counts == {"binary message": 1, "packet of another kind": 2, "event of another name": 1}
