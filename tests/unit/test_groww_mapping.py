"""Groww's words: every documented status, code and product, rows of its books, its instrument file, and what it cannot express."""

from datetime import date, datetime, timedelta
from typing import Any

import msgspec
import pytest

import brokers.groww.mapping as mapping
from brokers import registry
from brokers.groww import LIMITS, SPEC
from brokers.groww.dump import DumpReader
from brokers.groww.feed import LIMITS as FEED_LIMITS
from brokers.groww.wire import Decoder, chunks, last_prices
from core.errors import BrokerError, DataError, RateLimited, Rejected, SessionExpired, Transient, Unknown
from core.types import IST, Horizon, Instrument, Kind, OrderState, OrderType, Purpose, Side, Validity
from tests.builders import NIFTY, RELIANCE, make_order
from tests.wire.groww_house import INDEX, KNOWN, NIFTY_TOKEN, RELIANCE_TOKEN

AT = datetime(2026, 11, 20, 10, 5, tzinfo=IST)
ROW: dict[str, Any] = {
    "groww_order_id": "GMK39038RDT490CCVRO",
    "trading_symbol": "NIFTY26NOVFUT",
    "exchange": "NSE",
    "segment": "FNO",
    "order_status": "APPROVED",
    "remark": "Order placed successfully",
    "quantity": 130,
    "price": 25_000,
    "trigger_price": 0,
    "filled_quantity": 65,
    "remaining_quantity": 65,
    "average_fill_price": 25_001.5,
    "amo_status": "NA",
    "validity": "DAY",
    "order_type": "LIMIT",
    "transaction_type": "SELL",
    "product": "MIS",
    "created_at": "2026-11-20T10:02:11",
    "exchange_time": "2026-11-20T10:02:12",
    "order_reference_id": "ABCDEFGH00000001",
}
DOCUMENTED = {
    "NEW", "ACKED", "TRIGGER_PENDING", "APPROVED", "REJECTED", "FAILED", "EXECUTED", "DELIVERY_AWAITED", "CANCELLED",
    "CANCELLATION_REQUESTED", "MODIFICATION_REQUESTED", "COMPLETED",
}  # fmt: skip


def update(**changes: Any) -> Any:
    return mapping.order_update({**ROW, **changes}, AT, "book", KNOWN)


# --- orders -----------------------------------------------------------------------------------------------------------------------------


def test_every_documented_status_has_a_state_and_another_is_quarantined() -> None:
    assert mapping.STATES.keys() == DOCUMENTED | {"OPEN"}
    for label, state in mapping.STATES.items():
        filled = 0 if state is OrderState.REJECTED else 130
        assert update(order_status=label, filled_quantity=filled).state is state
    assert (update(order_status="PARKED").state, update(order_status="PARKED").label) == (None, "PARKED")


def test_a_row_is_an_order_update() -> None:
    one = update()
    assert (one.broker_order_id, one.tag, one.instrument, one.side) == (ROW["groww_order_id"], "ABCDEFGH00000001", NIFTY, Side.SELL)
    assert (one.quantity, one.filled, one.average_price, one.limit_price, one.trigger_price) == (130, 65, 25_001.5, 25_000.0, None)
    assert (one.exchange_at, one.product, one.order_type) == (datetime(2026, 11, 20, 10, 2, 12, tzinfo=IST), "MIS", OrderType.LIMIT)
    assert update(order_type="SL_M", trigger_price=5).order_type is OrderType.SL_M


def test_said_too_early_failed_late_and_waiting_for_the_morning() -> None:
    assert update(order_status="EXECUTED", filled_quantity=65).state is OrderState.WORKING
    assert update(order_status="FAILED", filled_quantity=65).state is OrderState.CANCELLED
    assert update(order_status="NEW", filled_quantity=0, amo_status="PARKED").state is OrderState.AMO_QUEUED
    assert update(order_status="ACKED", filled_quantity=0, amo_status="MARKET").state is OrderState.PENDING_NEW


@pytest.mark.parametrize("missing", ["groww_order_id", "order_status", "quantity", "transaction_type", "segment", "trading_symbol"])
def test_a_row_without_its_essentials_is_no_order(missing: str) -> None:
    with pytest.raises(DataError, match=missing):
        mapping.order_update({name: value for name, value in ROW.items() if name != missing}, AT, "book", KNOWN)


def test_a_row_of_an_instrument_nobody_knows_is_not_lost() -> None:
    one = update(trading_symbol="BANKNIFTY26NOV50000CE").instrument
    assert (one.key, one.kind) == ("NFO:BANKNIFTY26NOV50000CE", Kind.CALL)
    with pytest.raises(DataError, match="COMMODITY"):
        update(segment="COMMODITY")


def test_a_trade_is_known_by_the_exchanges_number() -> None:
    row = {**ROW, "price": 25_001.5, "exchange_trade_id": "77", "groww_trade_id": "G77", "trade_date_time": "2026-11-20T10:02:12"}
    trade = mapping.trade(row, KNOWN)
    assert (trade.id, trade.price, trade.quantity, trade.at.hour) == ("77", 25_001.5, 130, 10)
    assert mapping.trade({**row, "exchange_trade_id": None}, KNOWN).id == "G77"
    utc = mapping.trade({**row, "trade_date_time": "2026-11-20T04:32:12Z"}, KNOWN)
    assert utc.at == trade.at
    with pytest.raises(DataError, match="no time"):
        mapping.trade({**row, "trade_date_time": "", "created_at": None}, KNOWN)


def test_a_position_has_the_sign_of_what_was_bought_and_sold() -> None:
    row = {"segment": "FNO", "trading_symbol": "NIFTY26NOVFUT", "product": "MIS", "net_price": 25_000.0}
    short = mapping.position({**row, "quantity": -65, "debit_quantity": 65}, KNOWN)  # and no exchange in the row
    assert (short.instrument, short.quantity, short.average_price) == (NIFTY, -65, 25_000.0)
    carried = mapping.position({**row, "quantity": 65, "carry_forward_credit_quantity": 130, "debit_quantity": 65}, KNOWN)
    assert carried.quantity == 65
    with pytest.raises(DataError, match="contradicts"):
        mapping.position({**row, "quantity": 65, "debit_quantity": 65}, KNOWN)


def test_funds_without_their_figures_are_no_funds() -> None:
    assert mapping.funds({"clear_cash": 5, "net_margin_used": 1}).available == 5.0
    with pytest.raises(DataError, match="clear_cash"):
        mapping.funds({"net_margin_used": 1})


# --- what is sent -----------------------------------------------------------------------------------------------------------------------


def test_an_order_is_sent_with_its_tag_as_reference() -> None:
    body = mapping.create_body(make_order(product=""), NIFTY_TOKEN)
    assert body == {
        "trading_symbol": "NIFTY26NOVFUT",
        "quantity": 130,
        "price": 25_000.0,
        "validity": "DAY",
        "exchange": "NSE",
        "segment": "FNO",
        "product": "MIS",
        "order_type": "LIMIT",
        "transaction_type": "BUY",
        "order_reference_id": "ABCDEFGH00000001",
    }
    stop = make_order(order_type=OrderType.SL, trigger_price=24_900.0, purpose=Purpose.PROTECT, broker_order_id="G1")
    assert mapping.create_body(stop, NIFTY_TOKEN)["trigger_price"] == 24_900.0
    changed = mapping.modify_body(stop, "FNO", 65, 24_880.0, 24_890.0)
    assert (changed["groww_order_id"], changed["quantity"], changed["price"], changed["trigger_price"]) == ("G1", 65, 24_880.0, 24_890.0)


UNSENDABLE = [
    (make_order(order_type=OrderType.MARKET), "bare MARKET"),
    (make_order(order_type=OrderType.SL_M), "bare SL-M"),
    (make_order(order_type=OrderType.SL), "without a trigger"),
    (make_order(validity=Validity.IOC), "DAY orders alone"),
    (make_order(tag="SHORT"), "8 to 20"),
    (make_order(tag="T" * 21), "8 to 20"),
    (make_order(instrument=INDEX), "trade its future"),
    (make_order(instrument=Instrument("MCX:GOLD26DECFUT", "MCX", "GOLD26DECFUT", Kind.FUTURE, "GOLD")), "another broker"),
    (make_order(instrument=msgspec.structs.replace(RELIANCE, symbol="X-BE", key="NSE:X-BE")), "trade-to-trade"),
]


@pytest.mark.parametrize(("order", "says"), UNSENDABLE)
def test_what_cannot_be_expressed_is_refused_beforehand(order: Any, says: str) -> None:
    with pytest.raises(Rejected, match=says):
        mapping.create_body(order, NIFTY_TOKEN)


def test_products_follow_the_horizon() -> None:
    assert [mapping.product(Horizon.INTRADAY, one) for one in (NIFTY, RELIANCE)] == ["MIS", "MIS"]
    assert [mapping.product(Horizon.CARRY, one) for one in (NIFTY, RELIANCE)] == ["NRML", "CNC"]
    assert [mapping.horizon_of(one) for one in ("MIS", "CNC", "NRML", "MTF")] == [Horizon.INTRADAY, *[Horizon.CARRY] * 3]


def test_candles_go_by_the_groww_symbol() -> None:
    call = Instrument("NFO:X", "NFO", "X", Kind.CALL, "NIFTY", expiry=date(2026, 12, 1), strike=24_650.0)
    names = [mapping.groww_symbol(one, token) for one, token in ((RELIANCE, RELIANCE_TOKEN), (NIFTY, NIFTY_TOKEN), (call, NIFTY_TOKEN))]
    assert names == ["NSE-RELIANCE", "NSE-NIFTY-24Nov26-FUT", "NSE-NIFTY-01Dec26-24650-CE"]


# --- what a refusal means ---------------------------------------------------------------------------------------------------------------

MEANINGS: list[tuple[int, str, type[BrokerError], type[BrokerError]]] = [
    (500, "GA000", Unknown, Transient),
    (400, "GA000", Unknown, Transient),
    (400, "GA001", Rejected, Rejected),
    (503, "GA003", Unknown, Transient),
    (400, "GA003", Unknown, Transient),
    (404, "GA004", Rejected, Rejected),
    (401, "GA005", SessionExpired, SessionExpired),
    (403, "GA005", Rejected, Rejected),
    (400, "GA006", Rejected, Rejected),
    (500, "GA006", Unknown, Transient),
    (400, "GA007", Unknown, Transient),
    (429, "", RateLimited, RateLimited),
    (504, "", Unknown, Transient),
    (400, "GA999", Unknown, Transient),
    (0, "", Unknown, Transient),
]


@pytest.mark.parametrize(("status", "code", "of_order", "of_read"), MEANINGS)
def test_every_code_has_its_meaning(status: int, code: str, of_order: type[BrokerError], of_read: type[BrokerError]) -> None:
    for is_order, kind in ((True, of_order), (False, of_read)):
        error = mapping.failure(status, code, "text", is_order=is_order)
        assert type(error) is kind
        assert "text" in str(error)


def test_the_static_address_is_named_where_the_broker_forbids() -> None:
    assert "static IPv4" in str(mapping.failure(403, "GA005", "IP address is not registered", is_order=True))


# --- limits -----------------------------------------------------------------------------------------------------------------------------


def test_client_and_feed_together_stay_below_the_published_limits() -> None:
    published = {("quote", 1): 10, ("quote", 60): 300, ("other", 1): 20, ("other", 60): 500, ("place", 1): 10, ("place", 60): 250}
    for (kind, span), most in published.items():
        shares = [limit.count for limit in (*LIMITS, *FEED_LIMITS) if kind in limit.kinds and int(limit.seconds) == span]
        assert 0 < sum(shares) < most
    assert "groww" in registry.names()
    assert registry.get("groww") is SPEC


# --- the instrument file ----------------------------------------------------------------------------------------------------------------

HEAD = (
    "exchange,exchange_token,trading_symbol,groww_symbol,name,instrument_type,segment,series,isin,underlying_symbol,"
    "underlying_exchange_token,expiry_date,strike_price,lot_size,tick_size,freeze_quantity,is_reserved,buy_allowed,sell_allowed,"
    "internal_trading_symbol,is_intraday\n"
)
DUMP = HEAD + (
    "NSE,66825,360ONE26AUG1080PE,NSE-360ONE-25Aug26-1080-PE,,PE,FNO,,,360ONE,13061,2026-08-25,1080,500,0.05,20001,0,1,1,360ONE26AUG1080PE,0\n"
    "NSE,61093,NIFTY26NOVFUT,NSE-NIFTY-24Nov26-FUT,,FUT,FNO,,,NIFTY,26000,2026-11-24,-0.01,65,0.1,1756,0,1,1,NIFTY26NOVFUT,0\n"
    "NSE,151,031NSETEST36NOVFUT,x,,FUT,FNO,,,031NSETEST,14753,2036-11-27,-0.01,50,0.05,100001,0,1,1,x,0\n"
    "NSE,26000,NIFTY,NSE-NIFTY,Nifty 50,IDX,CASH,,,,,,,1,0.05,,0,0,0,NIFTY,0\n"
    "NSE,2885,RELIANCE,NSE-RELIANCE,Reliance Industries,EQ,CASH,EQ,INE002A01018,,,,,1,0.1,,0,1,1,RELIANCE,1\n"
    "NSE,99,SLOW,NSE-SLOW,Slow,EQ,CASH,BE,INE0,,,,,1,0.05,,0,1,1,SLOW,0\n"
    "BSE,500325,RELIANCE,BSE-RELIANCE,Reliance Industries,EQ,CASH,A,INE002A01018,,,,,1,0.05,,0,1,1,RELIANCE,1\n"
    "MCX,1,GOLD26DECFUT,x,,FUT,COMMODITY,,,GOLD,,2026-12-04,-0.01,1,1,,0,1,1,x,0\n"
    "NCDEX,1,X,x,,FUT,COMMODITY,,,X,,2026-12-04,-0.01,1,1,,0,1,1,x,0\n"
    "NSE,9,BROKEN,x,,CE,FNO,,,BROKEN,,soon,100,50,0.05,,0,1,1,x,0\n"
)


def test_the_file_gives_rows_in_the_words_all_brokers_share() -> None:
    reader = DumpReader(DUMP.encode())
    rows = {row.key: row for row in reader}
    assert list(rows) == [
        "NFO:360ONE26AUG1080PE",
        "NFO:NIFTY26NOVFUT",
        "NSE:NIFTY 50",
        "NSE:RELIANCE",
        "NSE:SLOW-BE",
        "BSE:RELIANCE",
        "MCX:GOLD26DECFUT",
    ]
    put, future = rows["NFO:360ONE26AUG1080PE"], rows["NFO:NIFTY26NOVFUT"]
    assert (put.kind, put.strike, put.lot, put.freeze, put.expiry, put.underlying) == (
        Kind.PUT,
        1080.0,
        500,
        20_000,
        date(2026, 8, 25),
        "360ONE",
    )
    assert (future.token, future.strike, future.tick_size, future.freeze) == (NIFTY_TOKEN, None, 0.1, 1755)
    assert rows["NSE:NIFTY 50"].token == "NSE|CASH|NIFTY"
    assert reader.skipped == {"the exchange's test symbols": 1, "segment NCDEX/COMMODITY": 1, "row that does not read": 1}
    assert reader.complete
    assert not DumpReader(DUMP.encode()[:-9]).complete


def test_another_file_is_refused_by_its_columns() -> None:
    with pytest.raises(DataError, match="lacks the columns"):
        list(DumpReader(b"<html>maintenance</html>\n"))


# --- polls ------------------------------------------------------------------------------------------------------------------------------

QUOTE = {
    "last_price": 25_010.0,
    "day_change": 10.0,
    "volume": 1000,
    "last_trade_quantity": 65,
    "open_interest": 500,
    "last_trade_time": int(AT.timestamp() * 1000) - 1000,
    "bid_price": 25_009.0,
    "bid_quantity": 65,
    "offer_price": 25_011.0,
    "offer_quantity": 130,
}
NO_PRICES: list[Any] = [None, [], {"NSE_NIFTY26NOVFUT": "soon"}]
NO_QUOTES: list[Any] = [None, {}, {"last_price": None}, {"last_price": 1.0, "volume": "x"}]


def test_symbols_are_asked_for_by_segment_in_batches_of_fifty() -> None:
    many = [(f"NSE|CASH|S{n}", msgspec.structs.replace(RELIANCE, key=f"NSE:S{n}")) for n in range(70)]
    batches = [(segment, len(batch)) for segment, batch in chunks([*many, (NIFTY_TOKEN, NIFTY), ("", INDEX)])]
    assert batches == [("CASH", 50), ("CASH", 20), ("FNO", 1)]


def test_a_quote_is_a_whole_tick_and_a_last_price_keeps_what_it_cannot_know() -> None:
    decoder, asked = Decoder(), {"NSE_NIFTY26NOVFUT": NIFTY}
    [first] = decoder.last_prices({"NSE_NIFTY26NOVFUT": 25_000.0}, asked, AT)
    assert (first.price, first.exchange_at, first.volume, first.bid) == (25_000.0, None, 0, 0.0)
    [whole] = decoder.quote(QUOTE, NIFTY, AT)
    assert (whole.price, whole.volume, whole.oi, whole.previous_close) == (25_010.0, 1000, 500, 25_000.0)
    assert (whole.bid, whole.ask, whole.ask_quantity, whole.exchange_at) == (25_009.0, 25_011.0, 130, AT - timedelta(seconds=1))
    later = AT + timedelta(seconds=20)
    [still] = decoder.last_prices({"NSE_NIFTY26NOVFUT": 25_010.0}, asked, later)
    assert (still.at, still.exchange_at, still.volume, still.bid) == (later, AT - timedelta(seconds=1), 1000, 0.0)
    [moved] = decoder.last_prices({"NSE_NIFTY26NOVFUT": 25_011.0}, asked, later)
    assert (moved.exchange_at, moved.oi) == (later, 500)
    decoder.forget()
    assert decoder.last_prices({"NSE_NIFTY26NOVFUT": 25_012.0}, asked, later)[0].exchange_at is None


def test_a_quote_of_an_index_has_a_price_alone_and_a_book_may_be_in_the_depth() -> None:
    [index] = Decoder().quote({"last_price": 24_990.5, "volume": None, "bid_price": None, "depth": None}, INDEX, AT)
    assert (index.price, index.volume, index.bid, index.exchange_at) == (24_990.5, 0, 0.0, None)
    depth = {"buy": [{"price": 9.0, "quantity": 5}], "sell": []}
    [deep] = Decoder().quote({"last_price": 9.5, "depth": depth}, NIFTY, AT)
    assert (deep.bid, deep.bid_quantity, deep.ask) == (9.0, 5, 0.0)


def test_what_cannot_be_used_is_counted() -> None:
    decoder, asked = Decoder(), {"NSE_NIFTY26NOVFUT": NIFTY}
    for payload in NO_PRICES:
        assert decoder.last_prices(payload, asked, AT) == []
    assert decoder.last_prices({"NSE_ELSE": 1.0, "NSE_NIFTY26NOVFUT": None}, asked, AT) == []
    for payload in NO_QUOTES:
        assert decoder.quote(payload, NIFTY, AT) == []
    assert decoder.faults.counts == {
        "answer without prices": 3,
        "unknown token": 1,
        "no price for a symbol that was asked for": 1,
        "quote that does not read": 4,
    }
    with pytest.raises(Transient):
        last_prices("text")
