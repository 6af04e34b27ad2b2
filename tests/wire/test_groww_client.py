"""Groww's client and session against raw replies on a real socket: every way a call can end has its one type, nothing is sent twice."""

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from brokers.groww.client import GrowwBroker, may_poll, may_read
from core.errors import BrokerError, ConfigError, LoginRefused, RateLimited, Rejected, SessionExpired, Transient, Unknown
from core.events import SessionStatus
from core.types import IST, OrderState, OrderType, Purpose, SessionState
from tests.builders import NIFTY, RELIANCE, make_order
from tests.unit.test_groww_mapping import DUMP, ROW
from tests.wire.groww_house import INDEX, KEY, NIFTY_TOKEN, SECRET, TOKEN, TOTP_SECRET, House, error, success
from tests.wire.scripted_server import ScriptedServer, hang, http, reset

PLACED = {"groww_order_id": "G1", "order_status": "OPEN", "order_reference_id": "ABCDEFGH00000001", "remark": "placed"}
WORKING = make_order(broker_order_id="G1", state=OrderState.WORKING)
LOGIN = "/v1/token/api/access"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def house(server: ScriptedServer, tmp_path: Path) -> House:
    return House(server.url, tmp_path)


def paths(server: ScriptedServer) -> list[str]:
    return [request.path for request in server.requests]


# --- orders -----------------------------------------------------------------------------------------------------------------------------


def test_a_placed_order_returns_the_brokers_id_and_sends_what_was_meant(server: ScriptedServer, house: House) -> None:
    server.script = [success(PLACED)]
    assert house.broker().place(make_order(product="")) == "G1"
    (request,) = server.requests
    body = json.loads(request.body)
    assert (request.method, request.path) == ("POST", "/v1/order/create")
    assert (body["trading_symbol"], body["segment"], body["order_reference_id"]) == ("NIFTY26NOVFUT", "FNO", "ABCDEFGH00000001")
    assert (request.headers["authorization"], request.headers["x-api-version"]) == (f"Bearer {TOKEN}", "1.0")


def test_modify_and_cancel_name_the_order_and_are_sent_once(server: ScriptedServer, house: House) -> None:
    server.script = [success({"groww_order_id": "G1"}), success({"groww_order_id": "G1"})]
    broker = house.broker()
    broker.modify(WORKING, quantity=65, limit_price=24_990.0, trigger_price=None)
    broker.cancel(WORKING)
    modify, cancel = (json.loads(request.body) for request in server.requests)
    assert paths(server) == ["/v1/order/modify", "/v1/order/cancel"]
    assert (modify["price"], modify["quantity"], modify["segment"]) == (24_990.0, 65, "FNO")
    assert cancel == {"groww_order_id": "G1", "segment": "FNO"}
    assert server.connections == 1


CERTAIN: list[tuple[bytes, type[BrokerError], str]] = [
    (error(400, "GA001", "Bad request"), Rejected, "malformed"),
    (error(400, "GA006", "Cannot process this request: margin"), Rejected, "margin"),
    (error(200, "GA006", "Cannot process this request: margin"), Rejected, "margin"),
    (error(403, "GA005", "User not authorised: IP address"), Rejected, "static IPv4"),
    (error(401, "GA005", "User not authorised"), SessionExpired, "main.py login groww"),
    (http(401, "<html>unauthorised</html>", "text/html"), SessionExpired, "main.py login groww"),
    (http(429, json.dumps({"message": "slow"})), RateLimited, "the budget pauses"),
    (http(429, "<html>slow down</html>", "text/html"), RateLimited, "429"),
]
AMBIGUOUS: list[tuple[Any, str]] = [
    (error(500, "GA000", "Internal error occurred"), "look for it"),
    (error(400, "GA003", "Unable to serve request currently"), "it may have been taken"),
    (error(400, "GA777", "a code nobody wrote down"), "it may have been taken"),
    (http(502, "<html>bad gateway</html>", "text/html"), "HTTP 502"),
    (http(200, ""), "body b''"),
    (http(200, '{"status":"SUCC'), "body"),
    (http(200, json.dumps({"status": "PENDING", "payload": PLACED})), "200"),
    (success({}), "names no order of ours"),
    (success(None), "names no order of ours"),
    (success({**PLACED, "order_reference_id": "OTHER00000000001"}), "names no order of ours"),
    (reset, "no answer from Groww"),
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


def test_a_used_reference_is_the_order_that_was_taken(server: ScriptedServer, house: House) -> None:
    duplicate = error(400, "GA007", "Duplicate order reference id")
    found = success({"groww_order_id": "G9", "order_status": "APPROVED", "order_reference_id": "ABCDEFGH00000001"})
    terms = {"trading_symbol": "NIFTY26NOVFUT", "exchange": "NSE", "transaction_type": "BUY", "product": "MIS"}
    server.script = [duplicate, found, success(terms)]
    assert house.broker().place(make_order(product="")) == "G9"
    assert paths(server) == ["/v1/order/create", "/v1/order/status/reference/ABCDEFGH00000001", "/v1/order/detail/G9"]
    assert [request.query for request in server.requests[1:]] == [{"segment": ["FNO"]}] * 2
    missing = error(404, "GA004", "Requested entity does not exist")
    for answers in ([missing], [error(500, "GA000", "x")], [success({})], [found, missing], [found, success({})], [found, success([])]):
        server.script = [duplicate, *answers]
        with pytest.raises(Unknown):
            house.broker().place(make_order())
    for name in terms:
        server.script = [duplicate, found, success({**terms, name: "another"})]
        with pytest.raises(Rejected, match="another order"):
            house.broker().place(make_order(product=""))


CALLS: list[Callable[[GrowwBroker], Any]] = [
    lambda broker: broker.modify(WORKING, quantity=65, limit_price=1.0, trigger_price=None),
    lambda broker: broker.cancel(WORKING),
]


@pytest.mark.parametrize("call", CALLS)
def test_a_modification_or_cancel_without_a_clear_end_is_unknown(server: ScriptedServer, house: House, call: Callable[..., Any]) -> None:
    for reply in (reset, success({}), http(502, "x")):
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
    make_order(purpose=Purpose.EXIT, order_type=OrderType.SL_M),
    make_order(tag="T" * 21),
]


@pytest.mark.parametrize("order", UNSENDABLE)
def test_what_may_not_leave_is_refused_here(server: ScriptedServer, house: House, order: Any) -> None:
    with pytest.raises(Rejected):
        house.broker().place(order)
    house.lookup.tokens.pop(NIFTY_TOKEN)
    with pytest.raises(Rejected, match="nothing was sent"):
        house.broker().place(make_order())
    assert server.requests == []


def test_a_dead_token_needs_a_login_and_is_told_once(server: ScriptedServer, house: House) -> None:
    server.script = [error(401, "GA005", "User not authorised")] * 2
    broker = house.broker()
    for _ in range(2):
        with pytest.raises(SessionExpired):
            broker.place(make_order())
    assert len(server.requests) == 1
    assert [event.state for event in house.events if isinstance(event, SessionStatus)] == [SessionState.VALID, SessionState.LOGIN_REQUIRED]


def test_a_429_pauses_the_budget(server: ScriptedServer, house: House) -> None:
    server.script = [http(429, "{}")]
    broker = house.broker()
    for _ in range(2):
        with pytest.raises(RateLimited):
            broker.place(make_order())
    assert len(server.requests) == 1


# --- books ------------------------------------------------------------------------------------------------------------------------------

TRADE = {**ROW, "price": 25_001.5, "quantity": 65, "exchange_trade_id": "77", "trade_date_time": "2026-11-20T10:02:12"}
NONE: dict[str, list[Any]] = {"order_list": [], "positions": []}


def test_the_books_of_both_segments_are_read_and_trades_once_for_each_fill(server: ScriptedServer, house: House) -> None:
    share = {**ROW, "groww_order_id": "G2", "segment": "CASH", "trading_symbol": "RELIANCE", "filled_quantity": 0}
    listed = [success({"order_list": [share]}), success({"order_list": [ROW]})]
    server.script = [*listed]
    broker = house.broker()
    assert [(one.broker_order_id, one.instrument) for one in broker.orders()] == [("G2", RELIANCE), (ROW["groww_order_id"], NIFTY)]
    assert [request.query["segment"] for request in server.requests] == [["CASH"], ["FNO"]]
    server.script = [*listed, success({"trade_list": [TRADE]}), *listed]
    assert [(one.id, one.quantity) for one in broker.trades()] == [("77", 65)]
    assert broker.trades()[0].price == 25_001.5  # nothing filled since: not asked again
    assert paths(server).count(f"/v1/order/trades/{ROW['groww_order_id']}") == 1
    more = success({"order_list": [{**ROW, "filled_quantity": 130}]})
    late = success({"trade_list": [TRADE]})  # the second execution is not there yet: asked for again
    whole = success({"trade_list": [TRADE, {**TRADE, "exchange_trade_id": "78"}]})
    server.script = [success(NONE), more, late, success(NONE), more, whole]
    assert len(broker.trades()) == 1
    assert len(broker.trades()) == 2


def test_positions_and_funds_are_read(server: ScriptedServer, house: House) -> None:
    row = {"segment": "FNO", "exchange": "NSE", "trading_symbol": "NIFTY26NOVFUT", "product": "MIS", "quantity": -65, "debit_quantity": 65}
    server.script = [success(NONE), success({"positions": [row]}), success({"clear_cash": 5, "net_margin_used": 1})]
    broker = house.broker()
    assert [(one.instrument, one.quantity) for one in broker.positions()] == [(NIFTY, -65)]
    assert broker.funds().available == 5.0


def test_long_lists_come_in_pages_and_a_row_that_moved_counts_once(server: ScriptedServer, house: House) -> None:
    first = [{**ROW, "groww_order_id": f"G{n}"} for n in range(100)]
    server.script = [success({"order_list": []}), success({"order_list": first}), success({"order_list": first[-1:]})]
    assert len(house.broker().orders()) == 100
    assert [request.query["page"] for request in server.requests] == [["0"], ["0"], ["1"]]


@pytest.mark.parametrize(
    "payload", [None, {}, {"order_list": None}, {"order_list": [{"x": 1}]}, {"order_list": [{**ROW, "quantity": None}]}]
)
def test_a_book_that_does_not_read_proves_nothing(server: ScriptedServer, house: House, payload: Any) -> None:
    server.script = [success(payload), success(payload)]
    with pytest.raises(Transient):
        house.broker().orders()


# --- market data ------------------------------------------------------------------------------------------------------------------------


def test_candles_have_the_zone_of_the_exchange_and_come_in_order(server: ScriptedServer, house: House) -> None:
    rows = [["2026-11-19T15:25:00", 2, 3, 1, 2, 50, None], ["2026-11-19T15:20:00", 1, 2, 1, 2, None, 7]]
    server.script = [success({"candles": rows})]
    start, end = (datetime(2026, 11, 19, hour, tzinfo=IST) for hour in (15, 16))
    bars = house.data().candles(NIFTY, start, end, 5)
    assert [(bar.start.minute, bar.volume, bar.oi) for bar in bars] == [(20, 0, 7), (25, 50, 0)]
    assert bars[0].start.tzinfo is IST
    assert server.requests[0].query == {
        "exchange": ["NSE"],
        "segment": ["FNO"],
        "groww_symbol": ["NSE-NIFTY-24Nov26-FUT"],
        "start_time": ["2026-11-19 15:00:00"],
        "end_time": ["2026-11-19 16:00:00"],
        "candle_interval": ["5minute"],
    }
    for reply in (success({}), success({"candles": [["soon"]]}), http(503, "x")):
        server.script = [reply]
        with pytest.raises(Transient):
            house.data().candles(NIFTY, start, end, 5)
    for bad in ({"continuous": True}, {"interval": 7}):
        with pytest.raises(Rejected):
            house.data().candles(NIFTY, start, end, **{"interval": 5, **bad})  # type: ignore[arg-type]


def test_prices_and_limits_are_joined_by_the_names_that_were_asked_for(server: ScriptedServer, house: House) -> None:
    server.script = [success({"NSE_RELIANCE": 1500.5, "NSE_NIFTY": 25_000.0}), success({"NSE_NIFTY26NOVFUT": 25_010, "NSE_X": 1})]
    assert house.data().last_prices([RELIANCE, NIFTY, INDEX]) == {
        "NSE:RELIANCE": 1500.5,
        "NSE:NIFTY 50": 25_000.0,
        "NFO:NIFTY26NOVFUT": 25_010.0,
    }
    server.script = [success({"lower_circuit_limit": 22_000, "upper_circuit_limit": 27_000}), success({"lower_circuit_limit": None})]
    assert house.data().circuits([NIFTY, INDEX, RELIANCE]) == {NIFTY.key: (22_000.0, 27_000.0)}


def test_the_instrument_file_is_public(server: ScriptedServer, house: House) -> None:
    server.script = [http(200, DUMP, "text/csv"), http(404, "gone", "text/plain")]
    assert house.data().instruments() == DUMP.encode()
    assert "authorization" not in server.requests[0].headers
    with pytest.raises(Transient, match="404"):
        house.data().instruments()


def test_an_account_that_may_not_trade_reaches_no_order_route(server: ScriptedServer, house: House) -> None:
    for method, path in [
        ("POST", "/v1/order/create"),
        ("POST", "/v1/order/modify"),
        ("POST", "/v1/order/cancel"),
        ("POST", "/v1/order-advance/create"),
        ("PUT", "/v1/order-advance/modify/1"),
        ("POST", "/v1/live-data/ltp"),
    ]:
        assert not may_read(method, path)
        assert not may_poll(method, path)
    assert may_poll("GET", "/v1/order/list")
    assert not may_read("GET", "/v1/order/list")


# --- the login --------------------------------------------------------------------------------------------------------------------------


def test_a_typed_code_is_exchanged_for_a_token_until_six(server: ScriptedServer, tmp_path: Path) -> None:
    house = House(server.url, tmp_path, logged_in=False)
    server.script = [http(200, json.dumps({"token": "fresh", "tokenRefId": "r1"}))]
    assert house.session.needs_code
    house.session.accept(" 654 321\n")
    (request,) = server.requests
    assert (request.path, json.loads(request.body)) == (LOGIN, {"key_type": "totp", "totp": "654321"})
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert house.session.token() == "fresh"
    assert house.session.expires_at() == datetime(2026, 11, 21, 6, 0, tzinfo=IST)
    assert house.token_file.stat().st_mode & 0o777 == 0o600
    for wrong in ("12345", "https://127.0.0.1/?code=1", ""):
        with pytest.raises(ConfigError, match="six digits"):
            house.session.accept(wrong)


def test_an_approved_key_needs_its_secret_alone(server: ScriptedServer, tmp_path: Path) -> None:
    house = House(server.url, tmp_path, logged_in=False, GROWW_API_SECRET=SECRET)
    server.script = [http(200, json.dumps({"token": "fresh"}))]
    assert not house.session.needs_code
    house.session.unattended()
    body = json.loads(server.requests[0].body)
    assert body["key_type"] == "approval"
    assert body["checksum"] == hashlib.sha256(f"{SECRET}{body['timestamp']}".encode()).hexdigest()
    assert SECRET not in server.requests[0].body.decode()


def test_a_dead_token_is_renewed_once_where_nobody_is_needed(server: ScriptedServer, tmp_path: Path) -> None:
    house = House(server.url, tmp_path, GROWW_TOTP_SECRET=TOTP_SECRET)
    server.script = [error(401, "GA005", "no"), http(200, json.dumps({"token": "fresh"})), success(NONE), success(NONE)]
    with pytest.raises(SessionExpired):
        house.broker().orders()
    assert house.broker().orders() == ()
    assert server.requests[2].headers["authorization"] == "Bearer fresh"


def test_a_key_that_nobody_has_approved_yet_is_asked_for_again_after_a_while(server: ScriptedServer, tmp_path: Path) -> None:
    house = House(server.url, tmp_path, logged_in=False, GROWW_API_SECRET=SECRET)
    server.script = [error(403, "GA005", "The API key has not been approved for today")]
    for _ in range(3):
        with pytest.raises(SessionExpired, match="approve the key for today"):
            house.session.token()
    assert len(server.requests) == 1
    house.clock.advance(601.0)
    server.script = [http(200, json.dumps({"token": "approved"}))]
    assert house.session.token() == "approved"


REFUSED: list[tuple[bytes, type[BrokerError], str]] = [
    (error(400, "GA001", "Invalid TOTP"), LoginRefused, "timedatectl"),
    (error(401, "GA005", "The API key is not valid"), LoginRefused, "GROWW_API_KEY"),
    (http(429, "{}"), RateLimited, "150 a day"),
    (http(503, "x"), Transient, "try again"),
    (http(200, "{}"), Transient, "no token"),
    (http(200, "<html>"), Transient, "answered 200"),
]


@pytest.mark.parametrize(("reply", "kind", "says"), REFUSED)
def test_a_login_that_fails_says_what_to_do_and_tells_no_secret(
    server: ScriptedServer, tmp_path: Path, reply: bytes, kind: type[BrokerError], says: str
) -> None:
    house = House(server.url, tmp_path, logged_in=False)
    server.script = [reply]
    with pytest.raises(kind, match=says) as caught:
        house.session.accept("654321")
    assert type(caught.value) is kind
    assert all(secret not in str(caught.value) for secret in ("654321", KEY))
    with pytest.raises(ConfigError, match="GROWW_TOTP_SECRET is not set"):
        house.session.unattended()
    with pytest.raises(ConfigError, match="only a simulator"):
        house.session.auto_login("https://groww.in/trade-api/api-keys")
