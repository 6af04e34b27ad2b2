"""Zerodha's client against raw replies on a real socket: every way a call can end has its one type, and nothing is sent twice."""

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from brokers.transport import ServerFault
from brokers.zerodha.client import ZerodhaBroker
from core.errors import BrokerError, RateLimited, Rejected, SessionExpired, Transient, Unknown
from core.events import SessionStatus
from core.types import IST, OrderState, OrderType, Purpose, SessionState, Side
from tests.builders import NIFTY, RELIANCE, make_order
from tests.wire.scripted_server import ScriptedServer, error, hang, http, ok, reset
from tests.wire.zerodha_house import KEY, TOKEN, House

PLACED = {"order_id": "2051234567890123776"}
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
    order = make_order(order_type=OrderType.SL, limit_price=25_010.3, trigger_price=25_000.1, product="")
    assert house.broker().place(order) == PLACED["order_id"]
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/orders/regular")
    assert request.form == {
        "variety": "regular",
        "exchange": "NFO",
        "tradingsymbol": "NIFTY26NOVFUT",
        "transaction_type": "BUY",
        "quantity": "130",
        "product": "MIS",
        "order_type": "SL",
        "price": "25010.3",
        "trigger_price": "25000.1",
        "validity": "DAY",
        "tag": "ABCDEFGH00000001",
    }
    assert request.headers["authorization"] == f"token {KEY}:{TOKEN}"
    assert request.headers["x-kite-version"] == "3"


def test_modify_and_cancel_name_the_order(server: ScriptedServer, house: House) -> None:
    server.script = [ok({"order_id": "B1"}), ok({"order_id": "B1"})]
    broker = house.broker()
    broker.modify(WORKING, quantity=65, limit_price=24_990.0, trigger_price=None)
    broker.cancel(WORKING)
    modify, cancel = server.requests
    assert (modify.method, modify.path, modify.form["quantity"], modify.form["price"]) == ("PUT", "/orders/regular/B1", "65", "24990.0")
    assert "trigger_price" not in modify.form
    assert (cancel.method, cancel.target, cancel.body) == ("DELETE", "/orders/regular/B1", b"")
    assert server.connections == 1


CERTAIN: list[tuple[bytes, type[BrokerError], str]] = [
    (error(400, "InputException", "Quantity should be a multiple of lot size."), Rejected, "multiple of lot size"),
    (error(400, "OrderException", "Trigger price for stoploss buy orders should be above LTP"), Rejected, "above LTP"),
    (error(400, "MarginException", "Insufficient funds."), Rejected, "Insufficient funds"),
    (error(428, "HoldingException", "5 quantity needs authorisation at depository."), Rejected, "depository"),
    (
        error(403, "PermissionException", "IP (1.2.3.4) is not allowed to place orders for this app."),
        Rejected,
        "whitelist this machine's static",
    ),
    (error(403, "PermissionException", "Insufficient permission for that call."), Rejected, "do not log in again"),
    (error(403, "TokenException", "Incorrect `api_key` or `access_token`."), SessionExpired, "main.py login zerodha"),
    (error(429, "NetworkException", "Too many requests"), RateLimited, "Too many requests"),
    (http(429, "<html>slow down</html>", "text/html"), RateLimited, "429"),
]
TIMED_OUT = "Order request timed out. Please check the order book and confirm before placing again."
AMBIGUOUS: list[tuple[Any, str]] = [
    (error(400, "OrderException", TIMED_OUT), "tag"),
    (error(400, "NetworkException", TIMED_OUT), "tag"),
    (error(504, "NetworkException", TIMED_OUT), "tag"),
    (error(429, "NetworkException", TIMED_OUT), "tag"),
    (error(400, "GeneralException", "Something unexpected"), "unexpected"),
    (error(400, "BrandNewException", "never seen"), "never seen"),
    (error(403, "UserException", "account blocked"), "blocked"),
    (error(500, "GeneralException", "oops"), "oops"),
    (error(502, "DataException", "bad OMS reply"), "bad OMS reply"),
    (error(503, "InputException", "a 5xx proves nothing, whatever it calls itself"), "503"),
    (http(502, "<html>Bad gateway</html>", "text/html"), "502"),
    (http(500, json.dumps({"status": "success", "data": PLACED})), "500"),
    (http(200, json.dumps({"status": "success", "data": {}})), "order book"),
    (http(200, json.dumps({"status": "success", "data": {"order_id": ""}})), "order id"),
    (http(200, json.dumps({"status": "success", "data": {"order_id": None}})), "order id"),
    (http(200, json.dumps({"status": "success", "data": None})), "order book"),
    (http(200, json.dumps({"status": "error"})), "order book"),
    (http(200, ""), "order book"),
    (http(200, "{not json"), "order book"),
    (http(200, "[]"), "order book"),
    (http(200, json.dumps({"status": "success", "data": PLACED}), None), "order book"),
    (http(200, "<html>hello</html>", "text/html"), "order book"),
    (http(302, "", Location="/elsewhere"), "order book"),
    (reset, "no answer"),
    (b"", "no answer"),
    (b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{", "no answer"),
    (b"nonsense\r\n\r\n", "no answer"),
]


@pytest.mark.parametrize(("reply", "kind", "words"), CERTAIN)
@pytest.mark.parametrize("call", ["place", "modify", "cancel"])
def test_a_certain_refusal_is_told_as_one(
    server: ScriptedServer, house: House, reply: bytes, kind: type[BrokerError], words: str, call: str
) -> None:
    server.script = [reply]
    with pytest.raises(kind, match=words.replace("(", r"\(")):
        send(house.broker(), call)
    assert len(server.requests) == 1


def closing(reply: Any) -> Any:
    """A reply after which the server ends the connection in good order; resets and the like end it themselves."""
    if callable(reply):
        return reply

    def answer(connection: Any) -> None:
        connection.sendall(reply)

    return answer


@pytest.mark.parametrize(("reply", "words"), AMBIGUOUS)
@pytest.mark.parametrize("call", ["place", "modify", "cancel"])
def test_whatever_the_table_does_not_name_is_unknown_and_sent_once(
    server: ScriptedServer, house: House, reply: Any, words: str, call: str
) -> None:
    server.script = [closing(reply)]
    with pytest.raises(Unknown, match=words):
        send(house.broker(), call)
    assert len(server.requests) == 1


def send(broker: ZerodhaBroker, call: str) -> None:
    if call == "place":
        broker.place(make_order())
    elif call == "modify":
        broker.modify(WORKING, quantity=65, limit_price=25_000.0, trigger_price=None)
    else:
        broker.cancel(WORKING)


def test_an_order_without_an_answer_is_unknown_after_three_seconds(server: ScriptedServer, house: House) -> None:
    server.script = [hang]
    begun = datetime.now(IST)
    with pytest.raises(Unknown, match="TimeoutError: timed out"):
        house.broker().place(make_order())
    assert timedelta(seconds=2.9) < datetime.now(IST) - begun < timedelta(seconds=5)


def test_a_dead_token_is_told_once_and_not_used_again(server: ScriptedServer, house: House) -> None:
    server.script = [error(403, "TokenException", "Incorrect `api_key` or `access_token`.")] * 2
    broker = house.broker()
    for _ in range(3):
        with pytest.raises(SessionExpired):
            broker.place(make_order())
    assert len(server.requests) == 1
    states = [event.state for event in house.events if isinstance(event, SessionStatus)]
    assert states == [SessionState.VALID, SessionState.LOGIN_REQUIRED]


def test_a_permission_refusal_leaves_the_session_alone(server: ScriptedServer, house: House) -> None:
    server.script = [error(403, "PermissionException", "Insufficient permission for that call.")]
    with pytest.raises(Rejected):
        house.broker().funds()
    assert house.session.state() is SessionState.VALID


def test_a_429_pauses_the_order_budget(server: ScriptedServer, house: House) -> None:
    server.script = [error(429, "NetworkException", "Too many requests"), ok({"order_id": "B1"})]
    broker = house.broker()
    with pytest.raises(RateLimited):
        broker.place(make_order(purpose=Purpose.EXIT))
    begun = house.clock.now()
    broker.cancel(WORKING)
    assert house.clock.now() - begun >= timedelta(seconds=4.9)


@pytest.mark.parametrize("order_type", [OrderType.MARKET, OrderType.SL_M])
def test_a_bare_market_order_never_leaves(server: ScriptedServer, house: House, order_type: OrderType) -> None:
    with pytest.raises(Rejected, match="never sent"):
        house.broker().place(make_order(order_type=order_type, trigger_price=1.0))
    assert server.requests == []


@pytest.mark.parametrize("tag", ["", "A" * 21, "WITH SPACE"])
def test_a_tag_that_kite_would_refuse_never_leaves(server: ScriptedServer, house: House, tag: str) -> None:
    with pytest.raises(Rejected, match="tag"):
        house.broker().place(make_order(tag=tag))
    assert server.requests == []


# --- reads ------------------------------------------------------------------------------------------------------------------------------

READS: dict[str, Callable[[ZerodhaBroker], Any]] = {
    "orders": lambda broker: broker.orders(),
    "trades": lambda broker: broker.trades(),
    "positions": lambda broker: broker.positions(),
    "funds": lambda broker: broker.funds(),
    "profile": lambda broker: broker.profile(),
    "instruments": lambda broker: broker.instruments(),
    "last_prices": lambda broker: broker.last_prices([RELIANCE]),
    "candles": lambda broker: broker.candles(RELIANCE, at(9, 15), at(9, 30), 5),
}


def at(hour: int, minute: int) -> datetime:
    return datetime(2026, 11, 20, hour, minute, tzinfo=IST)


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize(
    "reply", [http(502, "<html/>", "text/html"), reset, ok(None), ok("text"), http(200, ""), error(400, "X", "y"), b""]
)
def test_a_read_that_fails_is_transient_and_never_an_empty_answer(server: ScriptedServer, house: House, name: str, reply: Any) -> None:
    server.script = [closing(reply)]
    with pytest.raises(Transient):
        READS[name](house.broker())


@pytest.mark.parametrize("name", READS)
def test_a_read_without_a_login_asks_for_one_and_sends_nothing(server: ScriptedServer, tmp_path: Path, name: str) -> None:
    house = House(server.url, tmp_path, logged_in=False)
    with pytest.raises(SessionExpired, match=r"main\.py login zerodha"):
        READS[name](house.broker())
    assert server.requests == []


ORDER_ROW = {
    "order_id": "1",
    "status": "OPEN",
    "status_message": None,
    "order_timestamp": "2026-11-20 10:02:11",
    "exchange_timestamp": "2026-11-20 10:02:12",
    "exchange": "NFO",
    "tradingsymbol": "NIFTY26NOVFUT",
    "order_type": "LIMIT",
    "transaction_type": "SELL",
    "product": "NRML",
    "quantity": 130,
    "price": 25000,
    "trigger_price": 0,
    "average_price": 25000.5,
    "filled_quantity": 65,
    "pending_quantity": 65,
    "tag": "ENG0001",
    "a_key_of_next_year": {"x": 1},
}


def test_order_rows_become_updates_and_an_unlisted_instrument_is_kept(server: ScriptedServer, house: House) -> None:
    foreign = {**ORDER_ROW, "order_id": "2", "tradingsymbol": "BANKNIFTY26DEC60000CE", "tag": None, "status": "FREEZED"}
    server.script = [ok([ORDER_ROW, foreign])]
    first, second = house.broker().orders()
    assert (first.instrument, first.side, first.state, first.filled, first.average_price) == (
        NIFTY,
        Side.SELL,
        OrderState.WORKING,
        65,
        25000.5,
    )
    assert first.exchange_at == datetime(2026, 11, 20, 10, 2, 12, tzinfo=IST)
    assert (second.instrument.key, second.instrument.underlying, second.tag) == ("NFO:BANKNIFTY26DEC60000CE", "BANKNIFTY", None)
    assert (second.state, second.label) == (None, "FREEZED")


def test_a_book_with_one_unreadable_row_is_no_evidence(server: ScriptedServer, house: House) -> None:
    server.script = [ok([ORDER_ROW, {**ORDER_ROW, "quantity": "many"}])]
    with pytest.raises(Transient, match=r"many"):
        house.broker().orders()


def test_trades_positions_and_funds(server: ScriptedServer, house: House) -> None:
    trade = {
        "trade_id": "75894751",
        "order_id": "1",
        "exchange": "NFO",
        "tradingsymbol": "NIFTY26NOVFUT",
        "product": "NRML",
        "average_price": 25000.5,
        "quantity": 65,
        "transaction_type": "SELL",
        "fill_timestamp": "2026-11-20 10:02:11",
        "order_timestamp": "10:02:11",
    }
    held = {
        "tradingsymbol": "NIFTY26NOVFUT",
        "exchange": "NFO",
        "product": "NRML",
        "quantity": -65,
        "average_price": 25000.5,
        "last_price": 25010,
    }
    closed = {**held, "tradingsymbol": "RELIANCE", "exchange": "NSE", "product": "MIS", "quantity": 0}
    margins = {"equity": {"net": 90000.5, "utilised": {"debits": 9999.5}}, "commodity": {}}
    server.script = [ok([trade]), ok({"net": [held, closed], "day": []}), ok(margins)]
    broker = house.broker()
    (fill,) = broker.trades()
    assert (fill.id, fill.instrument, fill.quantity, fill.price, fill.at) == (
        "75894751",
        NIFTY,
        65,
        25000.5,
        at(10, 2) + timedelta(seconds=11),
    )
    first, second = broker.positions()
    assert (first.instrument, first.quantity, first.average_price, first.product) == (NIFTY, -65, 25000.5, "NRML")
    assert (second.instrument, second.quantity) == (RELIANCE, 0)
    funds = broker.funds()
    assert (funds.available, funds.used) == (90000.5, 9999.5)


def test_empty_books_are_an_answer(server: ScriptedServer, house: House) -> None:
    server.script = [ok([]), ok([]), ok({"net": [], "day": []})]
    broker = house.broker()
    assert (broker.orders(), broker.trades(), broker.positions()) == ((), (), ())


def test_candles_keep_the_asked_range_and_read_ist(server: ScriptedServer, house: House) -> None:
    rows = [[f"2026-11-20T09:{minute}:00+0530", 1415, 1419.9, 1414.2, 1418, 52341] for minute in ("10", "15", "20")]
    server.script = [ok({"candles": rows})]
    bars = house.data().candles(RELIANCE, at(9, 15), at(9, 20), 5)
    assert [(bar.start, bar.at, bar.interval) for bar in bars] == [(at(9, 15), at(9, 20), 5), (at(9, 20), at(9, 25), 5)]
    assert (bars[0].open, bars[0].high, bars[0].low, bars[0].close, bars[0].volume) == (1415.0, 1419.9, 1414.2, 1418.0, 52341)
    (request,) = server.requests
    assert request.path == "/instruments/historical/738561/5minute"
    assert (request.query["from"], request.query["to"], request.query["oi"]) == (["2026-11-20 09:15:00"], ["2026-11-20 09:20:00"], ["0"])


def test_an_interval_that_kite_lacks_is_refused_unsent(server: ScriptedServer, house: House) -> None:
    with pytest.raises(Rejected, match="no candles of 7 minutes"):
        house.data().candles(RELIANCE, at(9, 15), at(9, 20), 7)
    assert server.requests == []


def test_circuit_limits_come_with_quotes_and_an_index_has_none(server: ScriptedServer, house: House) -> None:
    row = {"last_price": 1420.0, "lower_circuit_limit": 1278.0, "upper_circuit_limit": 1562.0}
    server.script.append(ok({"NSE:RELIANCE": row, "NSE:NIFTY 50": {"last_price": 25000.0}}))
    assert house.data().circuits([RELIANCE, NIFTY]) == {"NSE:RELIANCE": (1278.0, 1562.0)}
    assert server.requests[-1].path == "/quote"
    server.script.append(ok({"NSE:RELIANCE": {**row, "upper_circuit_limit": "many"}}))
    with pytest.raises(Transient, match="quotes hold a row that does not read"):
        house.data().circuits([RELIANCE])


def test_last_prices_leave_out_what_the_broker_does_not_know(server: ScriptedServer, house: House) -> None:
    server.script = [ok({"NSE:RELIANCE": {"instrument_token": 738561, "last_price": 1420}})]
    assert house.data().last_prices([RELIANCE, NIFTY]) == {"NSE:RELIANCE": 1420.0}
    assert server.requests[0].query["i"] == ["NSE:RELIANCE", "NFO:NIFTY26NOVFUT"]


@pytest.mark.parametrize("how", ["plain", "encoded", "archive"])
def test_the_instrument_dump_comes_unpacked(server: ScriptedServer, house: House, how: str) -> None:
    text = b"instrument_token,exchange_token\n1,2\n"
    packed = gzip.compress(text)
    server.script = [
        {
            "plain": http(200, text, "text/csv"),
            "encoded": http(200, packed, "text/csv", Content_Encoding="gzip"),
            "archive": http(200, packed, "text/csv"),
        }[how]
    ]
    assert house.data().instruments() == text


# --- what a paper account may do --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/orders/regular"),
        ("PUT", "/orders/regular/1"),
        ("DELETE", "/orders/regular/1"),
        ("POST", "/gtt/triggers"),
        ("PUT", "/portfolio/positions"),
        ("GET", "/orders"),
        ("GET", "/portfolio/positions"),
        ("GET", "/user/margins"),
        ("POST", "/quote"),
        ("GET", "/quote/../orders"),
        ("DELETE", "/session/token"),
    ],
)
def test_a_data_session_reaches_no_route_off_its_list(server: ScriptedServer, house: House, method: str, path: str) -> None:
    with pytest.raises(Rejected, match="allow-list, nothing was sent"):
        house.data()._http.request(method, server.url + path)
    assert server.requests == []


def test_a_list_that_lets_everything_pass_is_seen(server: ScriptedServer, house: House) -> None:
    data = house.data()
    data._http._allow = lambda method, path: True
    with pytest.raises(ServerFault):  # nobody wrote an answer for it
        data._http.request("POST", server.url + "/orders/regular")
    assert [(one.method, one.path) for one in server.requests] == [("POST", "/orders/regular")]


def test_a_data_session_has_no_order_methods(house: House) -> None:
    assert not any(hasattr(house.data(), name) for name in ("place", "modify", "cancel"))


def test_the_sdk_behind_a_data_session_cannot_order_either(server: ScriptedServer, house: House) -> None:
    kite = house.data()._kite()
    kite.set_access_token(TOKEN)
    with pytest.raises(Rejected):
        kite.place_order(
            variety="regular", exchange="NSE", tradingsymbol="X", transaction_type="BUY", quantity=1, product="MIS", order_type="LIMIT"
        )
    with pytest.raises(Rejected):
        kite.cancel_order(variety="regular", order_id="1")
    assert server.requests == []


# --- the audit --------------------------------------------------------------------------------------------------------------------------


def test_every_request_and_reply_is_audited_without_the_token(server: ScriptedServer, house: House) -> None:
    server.script = [ok(PLACED), reset]
    broker = house.broker()
    broker.place(make_order())
    with pytest.raises(Unknown):
        broker.cancel(WORKING)
    kinds = [line[0] for line in house.audit.lines]
    assert kinds == ["request", "reply", "request", "reply"]
    assert house.audit.lines[0][2:4] == ("POST", "/orders/regular")
    assert house.audit.lines[0][4]["tag"] == "ABCDEFGH00000001"
    assert house.audit.lines[1][2] == 200
    assert "Protocol" in house.audit.lines[3][3]
    assert house.audit.lines[3][2] == 0
    assert TOKEN not in repr(house.audit.lines)
