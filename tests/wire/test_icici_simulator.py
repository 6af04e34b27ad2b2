"""The Breeze simulator's rules without sockets: login, checksum, limits, orders and their letters, books, history, rooms and candles."""

import csv
import io
import json
import zipfile
from datetime import time, timedelta
from typing import Any

import pytest

from simulators.wire import Connection, Request
from tests.wire.icici_house import FUTURE, KEY, V1, Breeze


def test_the_login_page_redirects_and_customerdetails_takes_get_alone() -> None:
    it = Breeze()
    number = it.apisession()
    assert number.isdecimal()
    assert len(number) == 8
    body = json.dumps({"SessionToken": number, "AppKey": KEY}).encode()
    assert it.send("POST", f"{V1}customerdetails", body).status == 405
    first, again = (json.loads(it.send("GET", f"{V1}customerdetails", body).body)["Success"]["session_token"] for _ in range(2))
    assert first == again, "a client that starts again asks for the same session"


@pytest.mark.parametrize(
    ("number", "key", "says"), [("12345678", KEY, "Invalid session."), ("12345678", "nobody", "Public Key does not exist.")]
)
def test_a_wrong_login_is_told_by_its_text(number: str, key: str, says: str) -> None:
    reply = json.loads(Breeze().send("GET", f"{V1}customerdetails", json.dumps({"SessionToken": number, "AppKey": key}).encode()).body)
    assert (reply["Success"], reply["Error"]) == (None, says)


def test_the_checksum_covers_the_exact_body_and_sixty_seconds() -> None:
    it = Breeze()
    assert json.loads(it.signed("GET", "funds", {}).body)["Status"] == 200
    assert json.loads(it.signed("GET", "funds", {}, skew=-59).body)["Status"] == 200
    assert json.loads(it.signed("GET", "funds", {}, skew=61).body)["Error"] == "Invalid timestamp."
    assert json.loads(it.signed("GET", "funds", {}, secret="another").body)["Error"] == "Invalid checksum."
    assert json.loads(it.signed("GET", "funds", {}, skew=3600, lane="").body)["Status"] == 200, "its clock is its own"
    assert json.loads(it.signed("GET", "funds", {}, skew=3661, lane="").body)["Status"] == 200, "it may have been silent"
    assert json.loads(it.signed("GET", "funds", {}, skew=3600, lane="").body)["Error"] == "Invalid timestamp."


def test_a_session_dies_at_midnight_whatever_the_hour_of_its_login() -> None:
    it = Breeze(time(15, 40))
    it.pass_(8 * 3600 + 19 * 60)
    assert json.loads(it.signed("GET", "funds", {}).body)["Status"] == 200
    it.pass_(60)
    reply = it.signed("GET", "funds", {})
    assert (reply.status, json.loads(reply.body)["Error"]) == (401, "Session key is expired.")


def test_the_hundred_and_first_call_of_a_minute_is_throttled_in_two_dresses_then_by_a_page() -> None:
    it = Breeze()
    replies = [it.signed("GET", "funds", {}) for _ in range(125)]
    assert all(json.loads(reply.body)["Status"] == 200 for reply in replies[:100])
    throttled = [(reply.status, json.loads(reply.body)["Status"]) for reply in replies[100:120]]
    assert set(throttled) == {(200, 5), (401, 5)}
    assert {(reply.status, reply.content_type) for reply in replies[120:]} == {(503, "text/html")}
    it.pass_(61)
    assert json.loads(it.signed("GET", "funds", {}).body)["Status"] == 200


def test_five_thousand_calls_are_a_day() -> None:
    it = Breeze()
    for _ in range(5000):
        assert it.simulator.limits.admit("XY604721", it.now, order=False) == ""
        it.now += timedelta(seconds=0.7)
    assert it.call("GET", "funds") == (200, 5, "Limit exceed: API call per day: ")


def test_an_order_climbs_the_letters_and_its_remark_is_not_given_back() -> None:
    it = Breeze()
    number = it.place()
    assert (len(number), number.isdecimal()) == (18, True)
    row = it.row(number)
    assert (row["status"], row["quantity"], row["pending_quantity"], row["user_remark"]) == ("Executed", "65", "0", None)
    (detail,) = it.call("GET", "trades", {"exchange_code": "NFO", "order_id": number})
    assert (detail["action"], detail["executed_quantity"]) == ("B", "65")
    (position,) = it.call("GET", "portfoliopositions")
    assert (position["action"], position["quantity"], position["product_type"]) == ("Buy", "65", "Futures")
    assert it.call("GET", "order", {"exchange_code": "NSE"}) == []


def test_a_flat_position_stays_listed_without_a_side() -> None:
    it = Breeze()
    it.place()
    it.place(action="sell", price=str(round(it.last() * 0.999)))
    (position,) = it.call("GET", "portfoliopositions")
    assert (position["action"], position["quantity"]) == ("NA", "0")


def test_a_resting_order_is_changed_and_cancelled_with_bodies_on_put_and_delete() -> None:
    it = Breeze()
    number = it.place(price=str(round(it.last() * 0.99)))
    assert it.row(number)["status"] == "Ordered"
    names = {"exchange_code": "NFO", "order_id": number}
    assert it.call("PUT", "order", {**names, "price": str(round(it.last() * 0.98))})["message"] == "Successfully Modified the order"
    assert it.row(number)["modification_number"] == "1"
    assert it.call("DELETE", "order", names)["order_id"] == number
    assert it.row(number)["status"] == "Cancelled"
    assert it.call("DELETE", "order", names)[1] == 500


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"order_type": "market"}, "Order-type should be either 'limit' or 'stoploss'"),
        ({"product": "margin"}, "Product should be either 'futures', 'options', 'cash', 'btst' or 'mtf'"),
        ({"product": "cash"}, "Product should be either 'futures', 'options', 'cash', 'btst' or 'mtf'"),
        ({"quantity": ""}, "Quantity cannot be empty"),
        ({"stock_code": "NOSUCH"}, "Stock-Code not found."),
        ({"action": "hold"}, "Action should be either 'buy', or 'sell'"),
    ],
)
def test_what_a_body_cannot_mean_is_refused_at_once(changes: dict[str, str], says: str) -> None:
    assert Breeze().place(**changes) == (200, 500, says)


@pytest.mark.parametrize("changes", [{"quantity": "64"}, {"price": "1"}, {"quantity": "6500000"}])
def test_what_the_exchange_refuses_gets_an_id_first(changes: dict[str, str]) -> None:
    it = Breeze()
    assert it.row(it.place(**changes))["status"] == "Rejected"


def test_an_unknown_stock_has_no_quotes_and_no_candles_and_no_error() -> None:
    it = Breeze()
    assert it.call("GET", "quotes", {"stock_code": "RELIANCE", "exchange_code": "NSE"}) == []
    rows = it.call("GET", "quotes", {"stock_code": "RELIND", "exchange_code": "NSE"})
    assert [row["exchange_code"] for row in rows] == ["NSE", "BSE"]


def test_v2_history_is_cut_at_a_thousand_candles_and_its_z_means_ist() -> None:
    it = Breeze()
    query = "interval=1minute&from_date=2026-11-17T09%3A15%3A00.000Z&to_date=2026-11-20T09%3A59%3A00.000Z&stock_code=RELIND&exch_code=NSE"
    headers = {"x-sessiontoken": it.token, "apikey": KEY}
    reply = json.loads(it.send("GET", "/api/v2/historicalcharts", query=query, headers=headers).body)
    assert len(reply["Success"]) == 1000
    assert reply["Success"][0]["datetime"] == "2026-11-17 09:15:00"
    day = query.replace("1minute", "1day")
    rows = json.loads(it.send("GET", "/api/v2/historicalcharts", query=day, headers=headers).body)["Success"]
    assert [row["datetime"][:10] for row in rows][:3] == ["2026-11-17", "2026-11-18", "2026-11-19"]


def test_the_master_has_the_quirks_of_the_brokers() -> None:
    it = Breeze()
    archive = zipfile.ZipFile(io.BytesIO(it.send("GET", "/MotherAppMaster/SecurityMaster.zip").body))
    assert len(archive.namelist()) == 7
    head, *rows = archive.read("NSEScripMaster.txt").decode().splitlines()
    assert head.startswith('"Token", "ShortName", "Series"')
    reliance = next(row for row in csv.reader(rows) if row[1] == "RELIND")
    assert (reliance[0], reliance[2], reliance[10], reliance[-1]) == ("2885", "EQ", "INE002A01018", "RELIANCE")
    contracts = list(csv.reader(archive.read("FONSEScripMaster.txt").decode().splitlines()[1:]))
    future = next(row for row in contracts if row[1] == "FUTIDX" and row[2] == "NIFTY")
    assert (future[4], future[6], future[27], future[28], future[-1]) == ("23-Nov-2026", "XX", "65", "10", "NIFTY 50")


# --- the streams ------------------------------------------------------------------------------------------------------------------------


def events(frames: list[str]) -> list[Any]:
    return [json.loads(frame[2:]) for frame in frames if frame.startswith("42")]


def test_a_stream_opens_with_its_packet_and_wants_the_session_first() -> None:
    it = Breeze()
    connection = it.stream(auth={"user": "XY604721", "token": "wrong"})
    it.say(connection, '42["join",["4.1!2885"]]')
    frames = it.hear(connection, 2.0)
    assert frames[0].startswith('0{"sid":')
    assert [frame[:2] for frame in frames[1:]] == ["44"], "and nothing else"


@pytest.mark.parametrize(("path", "query", "status"), [("/socket.io/", "EIO=3&transport=websocket", 400), ("/other", "EIO=4", 404)])
def test_another_protocol_is_turned_down(path: str, query: str, status: int) -> None:
    it = Breeze()
    refusal = it.simulator.connect(Request("GET", path, query), Connection("free/1"), it.now)
    assert refusal is not None
    assert refusal.status == status


def test_rooms_are_joined_by_a_name_or_a_list_and_left_again() -> None:
    it = Breeze()
    future = it.simulator.names.of(it.simulator.world.market.listings[FUTURE])
    connection = it.stream()
    it.say(connection, '42["join","4.1!2885"]')
    it.say(connection, f'42["join",["{future.room}","4.1!NIFTY 50","4.2!2885","4.1!False"]]')
    told = [payload for name, payload in events(it.hear(connection)) if name == "stock"]
    shapes = {payload[0]: len(payload) for payload in told}
    assert shapes == {"4.1!2885": 21, future.room: 23, "4.1!NIFTY 50": 21, "4.2!2885": 3}
    it.say(connection, '42["leave",["4.1!2885","4.2!2885","4.1!NIFTY 50"]]')
    assert {payload[0] for _, payload in events(it.hear(connection, 3.0))} == {future.room}


def test_a_client_that_leaves_a_ping_unanswered_is_dropped_at_the_next() -> None:
    it = Breeze()
    connection = it.stream()
    assert it.hear(connection, 25.0)[-1] == "2"
    it.say(connection, "3")
    assert it.hear(connection, 25.0) == ["2"]
    assert it.hear(connection, 25.0) == []
    assert connection.ended


def test_order_notifications_go_to_the_feeds_alone_and_to_their_owner() -> None:
    it = Breeze()
    feeds, live = it.stream("livefeeds"), it.stream()
    it.place()
    number = it.place(stock_code="RELIND", exchange_code="NSE", product="cash", quantity="5", price="1500", expiry_date="", right="")
    told = [payload for name, payload in events(it.hear(feeds)) if name == "order"]
    assert events(it.hear(live)) == []
    assert {len(payload) for payload in told} == {47}
    assert [(payload[11], payload[25]) for payload in told if payload[11] == "6"] == [("6", "Q"), ("6", "O"), ("6", "E")]
    assert told[-1][23] == number
    assert (told[-1][14], told[-1][15], told[-1][24]) == ("RELIND", "B", "5")


def test_candles_come_by_their_channels_low_and_high_first() -> None:
    it = Breeze(time(10, 0, 50))
    connection = it.stream(path="/ohlcvstream/")
    it.say(connection, '42["join","4.1!2885"]')
    found: list[Any] = []
    for _ in range(14):
        found += events(it.hear(connection, 1.0))
    (minute,) = [text for name, text in found if name == "1MIN"]
    parts = minute.split(",")
    assert (parts[:2], parts[7:]) == (["NSE", "RELIND"], ["2026-11-20 10:00:00", "1MIN"])
    low, high, opened, close = map(float, parts[2:6])
    assert low <= min(opened, close) <= max(opened, close) <= high
    assert any(name == "1SEC" for name, _ in found)


def test_funds_must_be_allocated_to_trade_a_segment() -> None:
    it = Breeze()
    it.call("POST", "funds", {"transaction_type": "credit", "amount": "60000000", "segment": "FNO"})
    assert it.row(it.place())["status"] == "Rejected"
