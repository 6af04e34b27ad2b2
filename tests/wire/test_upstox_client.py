"""Upstox's client against raw replies on a real socket: every way a call can end has its one type, and nothing is sent twice."""

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from brokers.upstox.client import UpstoxBroker, may_read
from core.errors import BrokerError, RateLimited, Rejected, SessionExpired, Transient, Unknown
from core.events import SessionStatus
from core.types import IST, OrderState, OrderType, Purpose, SessionState
from tests.builders import NIFTY, RELIANCE, make_order
from tests.unit.test_upstox_mapping import ROW
from tests.wire.scripted_server import ScriptedServer, hang, http, ok, reset
from tests.wire.upstox_house import TOKEN, House, error
from tests.wire.upstox_samples import NIFTY_KEY, RELIANCE_KEY

PLACED = {"order_ids": ["261120000012345"]}
WORKING = make_order(broker_order_id="B1", state=OrderState.WORKING)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def house(server: ScriptedServer, tmp_path: Path) -> House:
    return House(server.url, tmp_path)


# --- orders -----------------------------------------------------------------------------------------------------------------------------


def test_a_placed_order_returns_the_brokers_id_and_sends_what_was_meant(server: ScriptedServer, house: House) -> None:
    server.script = [ok(PLACED)]
    assert house.broker().place(make_order(product="")) == "261120000012345"
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v3/order/place")
    body = json.loads(request.body)
    assert (body["instrument_token"], body["quantity"], body["product"], body["tag"]) == (NIFTY_KEY, 130, "I", "ABCDEFGH00000001")
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["content-type"] == "application/json"
    assert "Niyam" in request.headers["user-agent"]


def test_modify_and_cancel_name_the_order_and_are_sent_once(server: ScriptedServer, house: House) -> None:
    server.script = [ok({"order_id": "B1"}), ok({"order_id": "B1"})]
    broker = house.broker()
    broker.modify(WORKING, quantity=65, limit_price=24_990.0, trigger_price=None)
    broker.cancel(WORKING)
    modify, cancel = server.requests
    assert (modify.method, modify.path, json.loads(modify.body)["price"]) == ("PUT", "/v3/order/modify", 24_990.0)
    assert (cancel.method, cancel.target, cancel.body) == ("DELETE", "/v3/order/cancel?order_id=B1", b"")
    assert server.connections == 1


CERTAIN: list[tuple[bytes, type[BrokerError], str]] = [
    (error(400, "UDAPI1052", "The order quantity cannot be zero"), Rejected, "quantity"),
    (error(400, "UDAPI100500", "Intraday (I) orders are not allowed on this scrip."), Rejected, "not allowed on this scrip"),
    (error(403, "UDAPI1154", "static IP"), Rejected, "register this machine's static"),
    (error(401, "UDAPI100050", "Invalid token used to access API"), SessionExpired, "main.py login upstox"),
    (error(429, "UDAPI10005", "Too Many Request Sent"), RateLimited, "the budget pauses"),
    (http(429, "<html>slow down</html>", "text/html"), RateLimited, "429"),
]
AMBIGUOUS: list[tuple[Any, str]] = [
    (error(500, "UDAPI100500", "Something went wrong... please contact us"), "look for it"),
    (error(400, "UDAPI555", "a code nobody wrote down"), "it may have been taken"),
    (http(502, "<html>bad gateway</html>", "text/html"), "HTTP 502"),
    (http(403, "<html>error code: 1010</html>", "text/html"), "error code: 1010"),
    (http(200, ""), "body b''"),
    (http(200, '{"status":"succ'), "body"),
    (ok({}), "no single order id"),
    (ok({"order_ids": []}), "no single order id"),
    (ok({"order_ids": ["1", "2"]}), "no single order id"),
    (ok(None), "no single order id"),
    (http(207, json.dumps({"status": "partial_success", "data": PLACED})), "207"),
    (reset, "no answer from Upstox"),
]


@pytest.mark.parametrize(("reply", "kind", "says"), CERTAIN)
def test_a_certain_refusal_has_its_type_and_nothing_is_sent_again(
    server: ScriptedServer, house: House, reply: bytes, kind: type[BrokerError], says: str
) -> None:
    server.script = [reply]
    with pytest.raises(kind, match=says) as caught:
        house.broker().place(make_order())
    assert type(caught.value) is kind
    assert len(server.requests) == 1


@pytest.mark.parametrize(("reply", "says"), AMBIGUOUS)
def test_an_order_call_without_a_clear_end_is_unknown_and_sent_once(server: ScriptedServer, house: House, reply: Any, says: str) -> None:
    server.script = [reply]
    with pytest.raises(Unknown, match=says):
        house.broker().place(make_order())
    assert len(server.requests) == 1


CALLS: list[Callable[[UpstoxBroker], Any]] = [
    lambda broker: broker.modify(WORKING, quantity=65, limit_price=1.0, trigger_price=None),
    lambda broker: broker.cancel(WORKING),
]


@pytest.mark.parametrize("call", CALLS)
def test_a_modification_or_cancel_without_a_clear_end_is_unknown(server: ScriptedServer, house: House, call: Callable[..., Any]) -> None:
    for reply in (reset, ok({}), http(502, "x")):
        server.script = [reply]
        with pytest.raises(Unknown):
            call(house.broker())
    assert len(server.requests) == 3


def test_an_order_that_hangs_is_unknown(server: ScriptedServer, house: House) -> None:
    server.script = [hang]
    with pytest.raises(Unknown, match="TimeoutError"):
        house.broker().place(make_order())


UNSENDABLE = [
    make_order(order_type=OrderType.MARKET),
    make_order(instrument=RELIANCE, tag="T" * 41),
    make_order(purpose=Purpose.EXIT, order_type=OrderType.SL_M),
]


@pytest.mark.parametrize("order", UNSENDABLE)
def test_what_may_not_leave_is_refused_here(server: ScriptedServer, house: House, order: Any) -> None:
    with pytest.raises(Rejected):
        house.broker().place(order)
    assert server.requests == []


def test_an_instrument_without_a_key_of_today_is_refused_here(server: ScriptedServer, house: House) -> None:
    house.lookup.tokens.pop(NIFTY_KEY)
    with pytest.raises(Rejected, match="nothing was sent"):
        house.broker().place(make_order())
    assert server.requests == []


def test_a_dead_token_needs_a_login_and_is_told_once(server: ScriptedServer, house: House) -> None:
    server.script = [error(401, "UDAPI100050", "Invalid token used to access API")] * 2
    broker = house.broker()
    for _ in range(2):
        with pytest.raises(SessionExpired):
            broker.place(make_order())
    assert len(server.requests) == 1
    assert [event.state for event in house.events if isinstance(event, SessionStatus)] == [SessionState.VALID, SessionState.LOGIN_REQUIRED]


def test_a_429_pauses_the_budget(server: ScriptedServer, house: House) -> None:
    server.script = [error(429, "UDAPI10005", "Too Many Request Sent")]
    broker = house.broker()
    for _ in range(2):
        with pytest.raises(RateLimited):
            broker.place(make_order())
    assert len(server.requests) == 1


# --- books ------------------------------------------------------------------------------------------------------------------------------


def test_the_books_are_read(server: ScriptedServer, house: House) -> None:
    trade = {**ROW, "trade_id": "9", "exchange_timestamp": "2026-11-20 10:02:12"}
    funds = {"equity": {"available_margin": 5.0, "used_margin": 1.0}, "commodity": {}}
    server.script = [ok([ROW]), ok([trade]), ok([{**ROW, "last_price": 1.0}]), ok(funds)]
    broker = house.broker()
    assert (broker.orders()[0].source, broker.orders.__name__) == ("book", "orders")
    assert broker.trades()[0].id == "9"
    assert broker.positions()[0].quantity == 130
    assert broker.funds().available == 5.0
    assert [request.path for request in server.requests] == [
        "/v2/order/retrieve-all",
        "/v2/order/trades/get-trades-for-day",
        "/v2/portfolio/short-term-positions",
        "/v2/user/get-funds-and-margin",
    ]


@pytest.mark.parametrize(
    "reply",
    [ok(None), ok({}), ok([{"order_id": "1"}]), ok(["x"]), http(200, ""), error(500, "UDAPI100500", "x"), http(503, "<html>"), reset],
)
def test_a_book_that_is_not_whole_proves_nothing(server: ScriptedServer, house: House, reply: Any) -> None:
    server.script = [reply]
    with pytest.raises(Transient):
        house.broker().orders()


def test_funds_are_closed_at_night(server: ScriptedServer, house: House) -> None:
    server.script = [error(423, "UDAPI100072", "The Funds service is accessible from 5:30 AM to 12:00 AM")]
    with pytest.raises(Transient, match="5:30 AM"):
        house.broker().funds()


# --- data -------------------------------------------------------------------------------------------------------------------------------


def candle(text: str, close: float) -> list[Any]:
    return [text, 1.0, 3.0, 0.5, close, 100, 7]


def test_candles_of_earlier_days_and_of_today_are_one_series(server: ScriptedServer, house: House) -> None:
    server.script = [
        ok({"candles": [candle("2026-11-19T15:29:00+05:30", 2.0), candle("2026-11-19T15:28:00+05:30", 1.5)]}),
        ok({"candles": [candle("2026-11-20T08:40:00+05:30", 2.5)]}),
    ]
    start, end = datetime(2026, 11, 18, 9, 15, tzinfo=IST), datetime(2026, 11, 20, 8, 41, tzinfo=IST)
    bars = house.data().candles(NIFTY, start, end, 1)
    assert [(bar.start.day, bar.start.minute, bar.close, bar.oi) for bar in bars] == [(19, 28, 1.5, 7), (19, 29, 2.0, 7), (20, 40, 2.5, 7)]
    past, today = server.requests
    assert past.target == "/v3/historical-candle/NSE_FO%7C48225/minutes/1/2026-11-20/2026-11-18"
    assert today.target == "/v3/historical-candle/intraday/NSE_FO%7C48225/minutes/1"


def test_days_come_by_one_route_and_odd_intervals_are_refused(server: ScriptedServer, house: House) -> None:
    server.script = [ok({"candles": [candle("2026-11-20T00:00:00+05:30", 2.0)]})]
    start, end = datetime(2026, 11, 1, tzinfo=IST), datetime(2026, 11, 20, 23, 0, tzinfo=IST)
    assert len(house.data().candles(RELIANCE, start, end, 1440)) == 1
    assert server.requests[0].target == "/v3/historical-candle/NSE_EQ%7CINE002A01018/days/1/2026-11-20/2026-11-01"
    with pytest.raises(Rejected, match="no candles of 301 minutes"):
        house.data().candles(RELIANCE, start, end, 301)
    with pytest.raises(Rejected, match="no continuous candles"):
        house.data().candles(NIFTY, start, end, 1440, continuous=True)


@pytest.mark.parametrize("rows", [[["x"]], [[]], [["2026-11-20T00:00:00+05:30", None, 1, 1, 1, 1]], ["abc"]])
def test_a_candle_that_does_not_read_is_transient(server: ScriptedServer, house: House, rows: list[Any]) -> None:
    server.script = [ok({"candles": rows})]
    with pytest.raises(Transient, match="ask again"):
        house.data().candles(RELIANCE, datetime(2026, 11, 1, tzinfo=IST), datetime(2026, 11, 20, tzinfo=IST), 1440)


def test_last_prices_are_joined_by_the_key_inside_the_row(server: ScriptedServer, house: House) -> None:
    server.script = [ok({"NSE_EQ:RELIANCE": {"last_price": 1420.5, "instrument_token": RELIANCE_KEY}})]
    assert house.data().last_prices([RELIANCE, NIFTY]) == {"NSE:RELIANCE": 1420.5}
    assert server.requests[0].query == {"instrument_key": [f"{RELIANCE_KEY},{NIFTY_KEY}"]}


def test_circuit_limits_leave_out_what_has_none(server: ScriptedServer, house: House) -> None:
    limits = {"lower_circuit_limit": 1278.5, "upper_circuit_limit": 1562.5}
    none = {"instrument_token": NIFTY_KEY, "lower_circuit_limit": None}
    server.script = [ok({"NSE_EQ:RELIANCE": {"instrument_token": RELIANCE_KEY, **limits}, "X": none}), ok({"X": []})]
    assert house.data().circuits([RELIANCE, NIFTY]) == {"NSE:RELIANCE": (1278.5, 1562.5)}
    with pytest.raises(Transient, match="quotes hold a row"):
        house.data().circuits([RELIANCE])


def test_the_instrument_file_is_unpacked_and_a_broken_one_is_transient(server: ScriptedServer, house: House) -> None:
    packed = gzip.compress(b"[]")
    server.script = [http(200, packed, "application/gzip"), http(200, packed[:-6], "application/gzip")]
    assert house.data().instruments() == b"[]"
    assert (server.requests[0].path, "authorization" in server.requests[0].headers) == (
        "/market-quote/instruments/exchange/complete.json.gz",
        False,
    )
    with pytest.raises(Transient, match="broken archive"):
        house.data().instruments()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v3/order/place"),
        ("PUT", "/v3/order/modify"),
        ("DELETE", "/v3/order/cancel"),
        ("POST", "/v2/order/multi/place"),
        ("POST", "/v2/order/positions/exit"),
        ("POST", "/v3/order/gtt/place"),
        ("PUT", "/v2/portfolio/convert-position"),
        ("GET", "/v2/order/retrieve-all"),
        ("POST", "/v3/market-quote/ltp"),
        ("GET", "/v3/market-quote/ltp/../../v3/order/place"),
    ],
)
def test_an_account_that_may_not_trade_reaches_no_order_route(method: str, path: str, server: ScriptedServer, house: House) -> None:
    assert not may_read(method, path)
    with pytest.raises(Rejected, match="may only read"):
        house.data()._http.request(method, server.url + path)
    assert server.requests == []


def test_every_request_and_reply_is_audited_without_the_token(server: ScriptedServer, house: House) -> None:
    server.script = [ok(PLACED)]
    house.broker().place(make_order())
    request, reply = house.audit.lines
    assert (request[2], request[3], request[4]["json"]["tag"]) == ("POST", "/v3/order/place", "ABCDEFGH00000001")
    assert TOKEN not in str(house.audit.lines)
    assert reply[2] == 200
