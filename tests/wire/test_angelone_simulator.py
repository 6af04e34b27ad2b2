"""The Angel One simulator's rules: login, tokens, both error dialects, orders, limits, books and faults."""

import base64
import json
from datetime import datetime, time
from typing import Any

import pytest

from simulators.totp import totp
from simulators.world import IST
from tests.wire.angel_in_process import FUTURE, LOGIN, SECRET, Angel


@pytest.fixture
def angel() -> Angel:
    return Angel()


# --- login ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "code"), [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")])
def test_the_totp_is_that_of_the_rfc(seconds: int, code: str) -> None:
    secret = base64.b32encode(b"12345678901234567890").decode()
    assert totp(secret, datetime.fromtimestamp(seconds, IST)) == code


@pytest.mark.parametrize(
    ("change", "code"),
    [({"totp": "000000"}, "AB1050"), ({"password": "0000"}, "AB1007"), ({"clientcode": "B2"}, "AB1007")],
)
def test_each_part_of_the_login_is_checked(angel: Angel, change: dict[str, str], code: str) -> None:
    angel.pass_(1)
    body = {"clientcode": "A1", "password": "1234", "totp": totp(SECRET, angel.now)}
    assert json.loads(angel.send("POST", LOGIN, {**body, **change}).body)["errorcode"] == code


def test_a_code_of_the_neighbouring_window_still_serves(angel: Angel) -> None:
    angel.pass_(1)
    body = {"clientcode": "A1", "password": "1234", "totp": totp(SECRET, angel.now, -1)}
    assert json.loads(angel.send("POST", LOGIN, body).body)["status"] is True


def test_a_token_dies_at_midnight_in_the_gateways_dialect_and_a_refresh_brings_another(angel: Angel) -> None:
    angel.now = datetime(2026, 11, 21, 0, 0, tzinfo=IST)
    dead = json.loads(angel.send("GET", "user/v1/getRMS").body)
    assert dead == {"success": False, "message": "Token Expired", "errorCode": "AG8002", "data": ""}
    assert angel.renew()["status"] is True
    assert angel.call("GET", "user/v1/getRMS")["net"]


def test_a_refresh_token_serves_once(angel: Angel) -> None:
    used = angel.refresh
    angel.renew()
    angel.pass_(1)
    angel.refresh = used
    assert angel.renew()["errorcode"] == "AB8050"


def test_a_killed_token_is_invalid_and_none_is_missing(angel: Angel) -> None:
    angel.faults.add({"fault": "kill_token", "match": {"route": "GET */getRMS"}})
    assert angel.call("GET", "user/v1/getRMS") == ("AG8001", "Invalid Token")
    angel.token = ""
    assert angel.call("GET", "user/v1/getRMS") == ("AG8003", "Token missing")


# --- orders -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"variety": "AMO"}, "AB1008"),
        ({"variety": "STOPLOSS"}, "AB1008"),
        ({"variety": "ROBO"}, "AB2002"),
        ({"ordertype": "SL"}, "AB1008"),
        ({"producttype": "MIS"}, "AB1012"),
        ({"ordertag": "T" * 20}, "AB4008"),
        ({"symboltoken": "1"}, "AB1009"),
        ({"tradingsymbol": "NIFTY"}, "AB1009"),
        ({"quantity": "many"}, "AB2000"),
    ],
)
def test_what_an_order_cannot_mean_is_refused_at_the_door(angel: Angel, change: dict[str, str], code: str) -> None:
    assert angel.place(**change)[0] == code
    assert angel.call("GET", "order/v1/getOrderBook") is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"quantity": "64"}, "multiple of lot"),
        ({"price": "25000.03"}, "Tick size"),
        ({"quantity": str(65 * 100)}, "freeze limit"),
        ({"price": "1"}, "RMS"),
    ],
)
def test_what_the_risk_desk_finds_comes_after_the_order_has_its_id(angel: Angel, change: dict[str, str], words: str) -> None:
    row = angel.row(angel.place(**change))
    assert (row["status"], row["orderstatus"]) == ("rejected", "rejected")
    assert words.lower() in row["text"].lower() or words == "RMS"


def test_a_market_order_becomes_a_limit_at_the_bands_edge(angel: Angel) -> None:
    last = angel.last()
    row = angel.row(angel.place(ordertype="MARKET", price="0"))
    assert (row["ordertype"], row["orderstatus"]) == ("LIMIT", "complete")
    assert row["price"] == pytest.approx(last * 1.005, rel=1e-3)


def test_after_hours_an_order_waits_as_amo_and_can_be_cancelled() -> None:
    angel = Angel(time(8, 0))
    order = angel.place()
    assert (angel.row(order)["orderstatus"], angel.row(order)["variety"]) == ("after market order req received", "AMO")
    angel.call("POST", "order/v1/cancelOrder", {"variety": "NORMAL", "orderid": order})
    assert angel.row(order)["orderstatus"] == "cancelled after market order"


def test_a_modified_order_reads_modified_while_it_works(angel: Angel) -> None:
    order = angel.place(ordertag="TAG1")
    body = angel.body(orderid=order, price=str(round(angel.last() * 0.97)))
    assert angel.call("POST", "order/v1/modifyOrder", body)["orderid"] == order
    row = angel.row(order)
    assert (row["status"], row["orderstatus"], row["price"]) == ("modified", "open", float(body["price"]))
    assert angel.call("POST", "order/v1/cancelOrder", {"variety": "STOPLOSS", "orderid": order})[0] == "AB1008"
    assert angel.call("POST", "order/v1/cancelOrder", {"variety": "NORMAL", "orderid": "1"})[0] == "AB1013"
    angel.call("POST", "order/v1/cancelOrder", {"variety": "NORMAL", "orderid": order})
    assert angel.row(order)["orderstatus"] == "cancelled"


def test_a_rule_fires_one_limit_order(angel: Angel) -> None:
    last = angel.last("NSE:RELIANCE")
    body = angel.body("NSE:RELIANCE", producttype="DELIVERY", price=str(round(last * 1.02)), triggerprice=str(last + 0.1), qty="5")
    assert angel.call("POST", "/gtt-service/rest/secure/angelbroking/gtt/v1/createRule", body) == {"id": "1"}
    angel.pass_(600)
    assert angel.call("POST", "gtt/v1/ruleDetails", {"id": "1"})["status"] == "SENTTOEXCHANGE"
    (row,) = angel.call("GET", "order/v1/getOrderBook")
    assert (row["tradingsymbol"], row["quantity"], row["orderstatus"]) == ("RELIANCE-EQ", "5", "complete")


# --- limits and faults --------------------------------------------------------------------------------------------------------------------


def test_the_tenth_order_of_a_second_is_throttled_in_plain_text(angel: Angel) -> None:
    replies = [angel.send("POST", "order/v1/placeOrder", angel.body()) for _ in range(10)]
    assert [reply.status for reply in replies] == [200] * 9 + [403]
    assert replies[-1].body == b"Access denied because of exceeding access rate"
    angel.pass_(1)
    assert angel.send("POST", "order/v1/placeOrder", angel.body()).status == 200


def test_the_books_are_limited_each_by_itself(angel: Angel) -> None:
    names = ("order/v1/getOrderBook", "order/v1/getTradeBook", "order/v1/getPosition", "portfolio/v1/getHolding")
    assert [angel.send("GET", name).status for name in names] == [200] * 4
    assert [angel.send("GET", name).status for name in names] == [403] * 4


@pytest.mark.parametrize(
    ("fault", "reply", "booked"),
    [
        ({"fault": "empty_body"}, (200, b""), 1),
        ({"fault": "rate_limit"}, (403, b"Access denied because of exceeding access rate"), 0),
        ({"fault": "ip_not_allowed"}, (200, b'"errorcode":"AG7002"'), 0),
        ({"fault": "timed_out"}, (200, b'"errorcode":"AB1004"'), 1),
        ({"fault": "error", "error_type": "AB1006", "status": 200}, (200, b'"errorcode":"AB1006"'), 0),
        ({"fault": "no_permission"}, (200, b'"errorcode":"AB1006"'), 0),
        ({"fault": "drop_reply"}, (200, b""), 1),
    ],
)
def test_faults_speak_the_brokers_words(angel: Angel, fault: dict[str, Any], reply: tuple[int, bytes], booked: int) -> None:
    match = {"route": "POST */placeOrder", "symbol": FUTURE, "side": "BUY", "tag": "AIMED", "order": 1}
    angel.faults.add({**fault, "match": match})
    angel.send("GET", "user/v1/getRMS")
    answered = angel.send("POST", "order/v1/placeOrder", angel.body(ordertag="AIMED"))
    assert answered.status == reply[0]
    assert reply[1] in answered.body
    assert answered.dropped == (fault["fault"] == "drop_reply")
    assert len(angel.simulator.accounts()["A1"]["orders"]) == booked


def test_a_history_that_is_cut_short_says_nothing_of_it(angel: Angel) -> None:
    one = angel.simulator.names.all()[FUTURE]
    body = {
        "exchange": "NFO",
        "symboltoken": one.token,
        "interval": "ONE_MINUTE",
        "fromdate": "2026-11-19 09:15",
        "todate": "2026-11-19 15:30",
    }
    angel.faults.add({"fault": "short_history", "candles": 30})
    assert [len(angel.call("POST", "historical/v1/getCandleData", body)) for _ in range(2)] == [30, 376]


def test_no_secret_stands_in_the_log_of_requests(angel: Angel) -> None:
    text = json.dumps(list(angel.simulator.requests))
    assert "1234" not in text.replace(LOGIN, "")
    assert totp(SECRET, angel.now) not in text


# --- the streams --------------------------------------------------------------------------------------------------------------------------


def test_the_feed_checks_every_header(angel: Angel) -> None:
    wrong = {"authorization": "Auth token", "x_client_code": "Client Code", "x_api_key": "API Key", "x_feed_token": "Feed Token"}
    for name, what in wrong.items():
        refused = angel.connect(**{name: "Bearer wrong"})
        assert (refused.status, refused.headers) == (401, {"x-error-message": f"Invalid Header - Invalid {what}"})  # type: ignore[union-attr]


def test_packets_have_the_size_of_their_mode_and_come_one_in_a_message(angel: Angel) -> None:
    feed = angel.stream()
    for mode in (1, 2, 3):
        angel.subscribe(feed, mode, FUTURE, "NSE:NIFTY 50")
    assert sorted(len(frame) for frame in angel.frames(feed)) == [51, 51, 123, 123, 379, 379]
    angel.subscribe(feed, 3, FUTURE, "NSE:NIFTY 50", action=0)
    angel.pass_(20)
    assert {len(frame) for frame in angel.frames(feed)} == {51, 123}


def test_what_the_feed_cannot_read_and_too_much_are_errors(angel: Angel) -> None:
    feed = angel.stream()
    angel.say(feed, "nonsense")
    for mode in (1, 2, 3):
        angel.subscribe(feed, mode, *angel.simulator.names.all())
    angel.say(feed, "ping")
    texts = [frame for frame in angel.frames(feed) if isinstance(frame, str)]
    assert [json.loads(text)["errorCode"] for text in texts[:-1]] == ["E1001", "E1002"]
    assert json.loads(texts[1])["correlationID"] == "abc"
    assert texts[-1] == "pong"


def test_the_fourth_connection_of_a_client_is_refused(angel: Angel) -> None:
    assert [getattr(angel.connect(), "status", 101) for _ in range(4)] == [101, 101, 101, 429]
    assert getattr(angel.connect("/smart-order-update"), "status", 101) == 101


def test_the_order_socket_greets_then_tells_each_change(angel: Angel) -> None:
    updates = angel.stream("/smart-order-update")
    (greeting,) = angel.frames(updates)
    assert (json.loads(greeting)["order-status"], json.loads(greeting)["orderData"]["orderid"]) == ("AB00", "")
    angel.place(ordertype="MARKET", price="0", ordertag="ONE")
    told = [json.loads(frame) for frame in angel.frames(updates)]
    assert [row["order-status"] for row in told] == ["AB09", "AB01", "AB05"]
    assert {row["orderData"]["ordertag"] for row in told} == {"ONE"}
    assert [row["orderData"]["fillid"] != "" for row in told] == [False, False, True]
    assert angel.connect("/smart-order-update", authorization=angel.token).status == 401  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["duplicate_update", "drop_update", "late_update"])
def test_order_messages_come_twice_late_or_never(angel: Angel, kind: str) -> None:
    updates = angel.stream("/smart-order-update")
    angel.frames(updates)
    angel.faults.add({"fault": kind, "match": {"status": "complete", "tag": "ONE"}})
    angel.place(ordertype="MARKET", price="0", ordertag="ONE")
    counts = [len(angel.frames(updates))]
    angel.pass_(6)
    counts.append(len(angel.frames(updates)))
    assert counts == {"duplicate_update": [4, 0], "drop_update": [2, 0], "late_update": [2, 1]}[kind]


def test_a_mute_socket_says_nothing_for_its_time(angel: Angel) -> None:
    feed = angel.stream()
    angel.subscribe(feed, 3, FUTURE)
    angel.faults.add({"fault": "mute_socket", "seconds": 5})
    counts = []
    for _ in range(8):
        angel.say(feed, "ping")
        counts.append(len(angel.frames(feed)))
        angel.pass_(1)
    assert counts[:5] == [0] * 5
    assert all(counts[5:])
