"""Angel One's client against raw replies on a real socket: every way a call can end has its one type, and nothing is sent twice."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from brokers.angelone.client import may_read
from core.errors import BrokerError, RateLimited, Rejected, SessionExpired, Transient, Unknown
from core.types import IST, OrderState, OrderType, Purpose
from tests.builders import NIFTY, RELIANCE, make_order
from tests.wire.angel_house import TOKEN, House
from tests.wire.scripted_server import ScriptedServer, http, reset
from tests.wire.test_angelone_codec import ROW
from tests.wire.test_angelone_session import bad, good

SECURE = "/rest/secure/angelbroking/"
PLACED = {"script": "NIFTY24NOV26FUT", "orderid": "261120000000111", "uniqueorderid": "05eb"}
WORKING = make_order(broker_order_id="B1", state=OrderState.WORKING, product="INTRADAY")
RATE = http(403, "Access denied because of exceeding access rate", "text/plain")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def house(server: ScriptedServer, tmp_path: Path) -> House:
    return House(server.url, tmp_path)


# --- orders -----------------------------------------------------------------------------------------------------------------------------


def test_a_placed_order_returns_the_brokers_id_and_sends_what_was_meant(server: ScriptedServer, house: House) -> None:
    server.script = [good(PLACED)]
    assert house.broker().place(make_order(product="")) == "261120000000111"
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", f"{SECURE}order/v1/placeOrder")
    assert json.loads(request.body)["ordertag"] == "ABCDEFGH00000001"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert {"x-privatekey", "x-usertype", "x-sourceid", "x-clientlocalip", "x-clientpublicip", "x-macaddress"} <= request.headers.keys()


def test_modify_and_cancel_carry_the_orders_variety(server: ScriptedServer, house: House) -> None:
    server.script = [good({"orderid": "B1", "uniqueorderid": "u"})] * 2
    broker = house.broker()
    broker.modify(WORKING, quantity=65, limit_price=24_990.0, trigger_price=None)
    broker.cancel(WORKING)
    modify, cancel = (json.loads(request.body) for request in server.requests)
    assert (modify["orderid"], modify["quantity"], modify["price"], modify["variety"]) == ("B1", "65", "24990", "NORMAL")
    assert cancel == {"variety": "NORMAL", "orderid": "B1"}


ENDS: list[tuple[Any, type[BrokerError], str]] = [
    (bad("AG7002", "static IP"), Rejected, "static IPv4"),
    (bad("AB1006"), Rejected, "blocked for trading"),
    (bad("AB4036", "cautionary"), Rejected, "surveillance"),
    (bad("AB1009"), Rejected, "instruments update"),
    (bad("AB1012"), Rejected, "product"),
    (RATE, RateLimited, "the budget pauses"),
    (bad("AB1004", "Something Went Wrong"), Unknown, "look for it in the order book by its tag"),
    (bad("AB2001"), Unknown, "by its tag"),
    (bad("AB7777", "news"), Unknown, "by its tag"),
    (http(200, ""), Unknown, "an empty body"),
    (http(200, '{"status":tr'), Unknown, "by its tag"),
    (http(200, "<html>maintenance</html>", "text/html"), Unknown, "maintenance"),
    (http(502, "<html>bad gateway</html>", "text/html"), Unknown, "HTTP 502"),
    (http(500, json.dumps({"status": False, "errorcode": "AB1009", "message": "x"})), Unknown, "HTTP 500"),
    (good(None), Unknown, "carries no order id"),
    (good({"orderid": ""}), Unknown, "carries no order id"),
    (reset, Unknown, "no answer from Angel One"),
]


@pytest.mark.parametrize(("reply", "kind", "words"), ENDS, ids=range(len(ENDS)))
def test_every_end_of_an_order_call_has_its_one_type(
    server: ScriptedServer, house: House, reply: Any, kind: type[BrokerError], words: str
) -> None:
    server.script = [reply]
    with pytest.raises(BrokerError, match=words) as failed:
        house.broker().place(make_order(product=""))
    assert type(failed.value) is kind
    assert len(server.requests) == 1, "nothing is sent twice"


def test_a_dead_token_is_certain_renewed_and_the_order_not_sent_again(server: ScriptedServer, house: House) -> None:
    fresh = {"jwtToken": "freshJwt.1.x", "refreshToken": "r", "feedToken": "f"}
    server.script = [bad("AG8001", "Invalid Token"), good(fresh), good(PLACED)]
    broker = house.broker()
    with pytest.raises(SessionExpired):
        broker.place(make_order(product=""))
    assert [request.path.rpartition("/")[2] for request in server.requests] == ["placeOrder", "generateTokens"]
    broker.place(make_order(product="", purpose=Purpose.EXIT))
    assert server.requests[-1].headers["authorization"] == "Bearer freshJwt.1.x"


def test_a_throttled_call_pauses_what_shares_its_limit(server: ScriptedServer, house: House) -> None:
    server.script = [RATE]
    broker = house.broker()
    with pytest.raises(RateLimited):
        broker.place(make_order(product=""))
    with pytest.raises(RateLimited, match="nothing was sent"):
        broker.place(make_order(product=""))
    assert len(server.requests) == 1


def test_an_instrument_of_no_snapshot_is_refused_before_it_is_sent(server: ScriptedServer, house: House) -> None:
    stranger = NIFTY.__class__("NFO:NOSUCH26NOVFUT", "NFO", "NOSUCH26NOVFUT", NIFTY.kind, "NOSUCH")
    with pytest.raises(Rejected, match="nothing was sent"):
        house.broker().place(make_order(instrument=stranger))
    with pytest.raises(Rejected, match="never sent"):
        house.broker().place(make_order(order_type=OrderType.MARKET))
    assert server.requests == []


# --- reads ------------------------------------------------------------------------------------------------------------------------------

TRADE = {"exchange": "NSE", "tradingsymbol": "RELIANCE-EQ", "transactiontype": "BUY", "fillprice": "812.30", "fillsize": "65",
         "orderid": "261120000000111", "fillid": "5", "filltime": "10:02:11"}  # fmt: skip
POSITION = {"exchange": "NFO", "symboltoken": "63657", "tradingsymbol": "NIFTY24NOV26FUT", "producttype": "INTRADAY", "netqty": "-65",
            "avgnetprice": "25000.10", "ltp": "24990.00", "netvalue": "- 2235.80"}  # fmt: skip


def test_the_books_are_read_in_our_words_and_null_is_an_empty_book(server: ScriptedServer, house: House) -> None:
    server.script = [good([ROW]), good([TRADE]), good([POSITION]), good(None), good(None), good(None)]
    broker = house.broker()
    (update,) = broker.orders()
    (trade,) = broker.trades()
    (position,) = broker.positions()
    assert (update.instrument, trade.instrument, position.instrument) == (RELIANCE, RELIANCE, NIFTY)
    assert (trade.at, trade.quantity) == (datetime(2026, 11, 20, 10, 2, 11, tzinfo=IST), 65)
    assert (position.quantity, position.average_price, position.product) == (-65, 25000.1, "INTRADAY")
    house.clock.advance(10)
    assert (broker.orders(), broker.trades(), broker.positions()) == ((), (), ())


def test_a_trade_that_is_still_listed_the_next_morning_is_of_its_orders_day(server: ScriptedServer, house: House) -> None:
    old = {**ROW, "updatetime": "19-Nov-2026 15:10:11", "exchtime": "19-Nov-2026 15:10:11", "exchorderupdatetime": "19-Nov-2026 15:10:11"}
    server.script = [good([old]), good([{**TRADE, "filltime": "15:10:11"}])]
    broker = house.broker()
    broker.orders()
    (trade,) = broker.trades()
    assert trade.at == datetime(2026, 11, 19, 15, 10, 11, tzinfo=IST)


def test_a_trade_of_an_order_not_yet_seen_asks_for_the_book_first(server: ScriptedServer, house: House) -> None:
    futures = {**ROW, "exchange": "NFO", "symboltoken": "63657", "tradingsymbol": "NIFTY24NOV26FUT"}
    server.script = [good([{**TRADE, "exchange": "NFO", "tradingsymbol": "NIFTY24NOV26FUT"}]), good([futures])]
    (trade,) = house.broker().trades()
    assert trade.instrument is NIFTY
    assert [request.path.rpartition("/")[2] for request in server.requests] == ["getTradeBook", "getOrderBook"]


@pytest.mark.parametrize(
    "reply",
    [
        good({}),
        good("x"),
        good([{**ROW, "orderid": ""}]),
        good([ROW, None]),
        http(200, '{"status":true,"errorcode":""}'),
        http(200, ""),
        reset,
    ],
)
def test_a_read_that_does_not_read_proves_nothing(server: ScriptedServer, house: House, reply: Any) -> None:
    server.script = [reply]
    with pytest.raises(Transient):
        house.broker().orders()


def test_a_dead_tokens_empty_book_is_no_empty_book(server: ScriptedServer, house: House) -> None:
    server.script = [bad("AG8001", "Invalid Token"), bad("AB8050")]
    with pytest.raises(SessionExpired):
        house.broker().positions()


def test_funds_are_net(server: ScriptedServer, house: House) -> None:
    server.script = [good({"net": "5", "availablecash": "783086.4200", "utiliseddebits": "216913.5800"}), good({"net": "5"})]
    broker = house.broker()
    assert broker.funds().available == 783086.42
    house.clock.advance(5)
    with pytest.raises(Transient, match="available cash"):
        broker.funds()


def test_candles_ask_in_ist_minutes_and_keep_to_what_was_asked(server: ScriptedServer, house: House) -> None:
    rows = [[f"2026-11-20T09:{minute}:00+05:30", 10.0, 11.0, 9.0, 10.5, 7] for minute in (15, 20, 25)]
    server.script = [good(rows), good(None), good([["yesterday"]])]
    data, start, end = house.data(), datetime(2026, 11, 20, 9, 15, tzinfo=IST), datetime(2026, 11, 20, 9, 20, tzinfo=IST)
    bars = data.candles(RELIANCE, start, end, 5)
    assert [bar.start.minute for bar in bars] == [15, 20]
    assert json.loads(server.requests[0].body) == {"exchange": "NSE", "symboltoken": "2885", "interval": "FIVE_MINUTE",
                                                   "fromdate": "2026-11-20 09:15", "todate": "2026-11-20 09:20"}  # fmt: skip
    assert data.candles(RELIANCE, start, end, 5) == []
    with pytest.raises(Transient, match="does not read"):
        data.candles(RELIANCE, start, end, 5)
    with pytest.raises(Rejected, match="no candles of 2 minutes"):
        data.candles(RELIANCE, start, end, 2)
    with pytest.raises(Rejected, match="continuous"):
        data.candles(NIFTY, start, end, 5, continuous=True)


def test_prices_and_circuits_come_by_our_keys_and_the_unknown_is_absent(server: ScriptedServer, house: House) -> None:
    row = {"exchange": "NSE", "symbolToken": "2885", "ltp": 1450.5, "lowerCircuit": 1309.3, "upperCircuit": 1600.1}
    server.script = [good({"fetched": [row], "unfetched": []}), good({"fetched": [row], "unfetched": []}), good({"fetched": [{}]})]
    data = house.data()
    assert data.last_prices([RELIANCE, NIFTY]) == {"NSE:RELIANCE": 1450.5}
    assert data.circuits([RELIANCE, NIFTY]) == {"NSE:RELIANCE": (1309.3, 1600.1)}
    with pytest.raises(Transient):
        data.last_prices([RELIANCE])


def test_the_master_comes_without_a_token(server: ScriptedServer, house: House) -> None:
    server.script = [http(200, "[]"), http(404, "")]
    data = house.data()
    assert data.instruments() == b"[]"
    assert "authorization" not in server.requests[0].headers
    house.clock.advance(5)
    with pytest.raises(Transient, match="HTTP 404"):
        data.instruments()


@pytest.mark.parametrize("route", ["placeOrder", "modifyOrder", "cancelOrder", "convertPosition", "getPosition", "getOrderBook"])
def test_a_data_session_reaches_no_route_of_the_account(route: str) -> None:
    assert not may_read("POST", f"{SECURE}order/v1/{route}")
    assert not may_read("GET", f"{SECURE}order/v1/{route}")
    assert may_read("POST", f"{SECURE}market/v1/quote")


def test_the_audit_holds_requests_and_replies_without_tokens(server: ScriptedServer, house: House) -> None:
    server.script = [good(PLACED)]
    house.broker().place(make_order(product=""))
    assert [line[0] for line in house.audit.lines] == ["request", "reply"]
    assert TOKEN not in str(house.audit.lines)
