"""Granted time over real sockets: what a grant names has arrived, runs repeat byte for byte, a killed client finds its broker again."""

import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.wire.at_simulator import eventually
from tests.wire.granted_client import GrantedClient, admin, simulator

SECOND = timedelta(seconds=1)
FUTURE = "NIFTY26NOVFUT"


@pytest.fixture(scope="module")
def shared() -> Iterator[dict[str, Any]]:
    with simulator("--granted", "--speed", "max", "--start", "09:20") as about:
        yield about


@pytest.fixture
def client(shared: dict[str, Any]) -> Iterator[GrantedClient]:
    admin(shared, "DELETE", "/faults")
    client = GrantedClient(shared)
    client.login()
    yield client
    client.die()


def order(side: str = "BUY", price: float = 0.0, **more: Any) -> dict[str, Any]:
    kind = {"order_type": "LIMIT", "price": price} if price else {"order_type": "MARKET", "market_protection": -1}
    base = {"exchange": "NFO", "tradingsymbol": FUTURE, "transaction_type": side, "quantity": 65, "product": "MIS", "validity": "DAY"}
    return {**base, **kind, **more}


def tokens(client: GrantedClient, *symbols: str) -> list[int]:
    rows = [row.split(",") for row in client.ask("reads", "GET", "/instruments").body.decode().splitlines()[1:]]
    return [int(row[0]) for symbol in symbols for row in rows if row[2] == symbol]


def test_a_reply_comes_between_20_and_150_milliseconds_later(client: GrantedClient) -> None:
    for _ in range(20):
        asked = client.now
        assert client.ask("reads", "GET", "/user/profile").status == 200
        assert timedelta(milliseconds=20) <= client.now - asked <= timedelta(milliseconds=150)
        client.turn(client.now + SECOND)


def test_without_anything_due_time_goes_to_the_clients_own_wake(client: GrantedClient) -> None:
    wake = client.now + timedelta(seconds=7.5)
    client.turn(wake)
    assert client.now == wake


def test_a_wake_that_has_passed_is_granted_at_the_present_moment(client: GrantedClient) -> None:
    before = client.now
    client.turn(before - SECOND)
    assert client.now == before


def test_a_subscribed_connection_gets_every_second_of_the_market(client: GrantedClient) -> None:
    (token,) = tokens(client, "NIFTY 50")
    stream = client.stream()
    client.say_on(stream, {"a": "subscribe", "v": [token]})
    client.turn()
    first = client.received[stream][-1]
    assert isinstance(first, bytes)
    assert first[:8] == b"\x00\x01\x00\x1c" + token.to_bytes(4, "big"), "a bare subscription is answered with a quote snapshot"
    seconds = []
    for _ in range(10):
        client.turn()
        seconds.append(client.now)
    assert [late - early for early, late in pairwise(seconds)] == [SECOND] * 9
    assert all(at.microsecond == 0 for at in seconds)
    assert client.grant["frames"][stream] == len(client.received[stream])


def test_a_connection_without_subscriptions_gets_heartbeats(client: GrantedClient) -> None:
    stream = client.stream()
    client.turn()
    began = client.now
    for _ in range(4):
        client.turn()
    assert client.received[stream] == [b"\x00"] * 5
    assert client.now - began == timedelta(seconds=10)


def test_the_simulator_waits_for_a_request_that_done_has_named(client: GrantedClient) -> None:
    client._numbers["practice/reads"] += 1  # named now, sent later
    client.done(client.now + SECOND)
    client._link.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client._link.recv(1)
    client._link.settimeout(20)
    client._lines = client._link.makefile("rb")
    client._numbers["practice/reads"] -= 1
    name = client.send("reads", "GET", "/user/profile")
    client.next()
    client.turn()
    assert client.replies[name].status == 200


def test_a_close_from_this_side_is_named_once_it_has_been_seen(client: GrantedClient) -> None:
    stream = client.stream()
    client.close(stream)
    client.turn(client.now + SECOND)
    assert client.closed == [stream]
    assert client.grant["closed"] == [stream]
    client.turn(client.now + SECOND)
    assert client.grant["closed"] == []


def test_a_dropped_reply_is_completed_by_a_reset_and_the_order_exists(client: GrantedClient, shared: dict[str, Any]) -> None:
    admin(shared, "POST", "/faults", {"fault": "drop_reply", "match": {"route": "POST /orders/*"}, "seconds": 3})
    asked = client.now
    reply = client.ask("orders", "POST", "/orders/regular", order(tag="DROPPED1"))
    assert reply.status == 0
    assert client.now - asked >= timedelta(seconds=3)
    book = client.ask("reads", "GET", "/orders").data
    assert [row["tag"] for row in book if row["tag"] == "DROPPED1"] == ["DROPPED1"]
    assert admin(shared, "GET", "/requests")[-2]["faults"] == ["drop_reply"]


def test_a_dropped_socket_is_named_as_closed_and_its_frames_stay_counted(client: GrantedClient, shared: dict[str, Any]) -> None:
    stream = client.stream()
    client.say_on(stream, {"a": "subscribe", "v": tokens(client, "NIFTY 50")})
    client.turn()
    admin(shared, "POST", "/faults", {"fault": "drop_socket", "match": {"lane": "practice/feed"}})
    client.turn()
    assert client.closed == [stream]
    again = client.stream()
    assert (again, client.replies[again].status) == ("practice/feed/2", 101)


def test_order_messages_arrive_between_the_markets_seconds(client: GrantedClient) -> None:
    stream = client.stream()
    placed = client.ask("orders", "POST", "/orders/regular", order())
    order_id = placed.data["order_id"]
    for _ in range(8):
        client.turn()
    texts = [json.loads(frame) for frame in client.received[stream] if isinstance(frame, str)]
    told = [(text["data"]["status"], text["data"]["filled_quantity"]) for text in texts if text["data"]["order_id"] == order_id]
    assert told[0] == ("OPEN", 0)
    assert told[-1] == ("COMPLETE", 65)
    assert all(status == "UPDATE" for status, _ in told[1:-1])


def test_a_client_that_is_not_attached_is_answered_at_once_while_time_stands(client: GrantedClient, shared: dict[str, Any]) -> None:
    import http.client

    connection = http.client.HTTPConnection(shared["rest"].removeprefix("http://"), timeout=5)
    connection.request("GET", "/user/profile", headers={"Authorization": f"token practicekey:{client.token}"})
    assert json.loads(connection.getresponse().read())["data"]["user_id"] == "ZZ1234"
    connection.close()
    before = client.now
    client.turn(before + SECOND)
    assert client.now == before + SECOND, "the foreign request moved nothing"
    assert client.grant["completed"] == {"practice/reads": client._numbers["practice/reads"]}


def test_a_poke_is_answered_with_a_grant_at_the_present_moment(client: GrantedClient) -> None:
    before = client.now
    client.say({"poke": True})
    client.turn(before + timedelta(minutes=5))
    assert client.now == before
    client.turn(before + timedelta(minutes=5))
    assert client.now == before + timedelta(minutes=5)


def script(about: dict[str, Any]) -> tuple[list[bytes], dict[str, Any], dict[str, tuple[int, dict[str, str], bytes]], Any]:
    """Two minutes of a client that trades, reads, subscribes and reconnects."""
    client = GrantedClient(about)
    client.login()
    (token, index) = tokens(client, FUTURE, "NIFTY 50")
    stream = client.stream()
    client.say_on(stream, {"a": "mode", "v": ["full", [token, index]]})
    for turn in range(120):
        if turn % 30 == 5:
            client.send("orders", "POST", "/orders/regular", order("BUY" if turn < 60 else "SELL", tag=f"T{turn}"))
            client.send("reads", "GET", "/orders")
        if turn == 40:
            client.close(stream)
            stream = client.stream()
            client.say_on(stream, {"a": "mode", "v": ["full", [token, index]]})
        client.turn(client.now + timedelta(seconds=0.7) if turn % 3 else None)
    replies = {name: (reply.status, reply.headers if reply.status != 101 else {}, reply.body) for name, reply in client.replies.items()}
    accounts = admin(about, "GET", "/accounts")
    client.die()
    return client.log, client.received, replies, accounts


def test_the_date_of_a_reply_is_the_markets(client: GrantedClient) -> None:
    reply = client.ask("reads", "GET", "/user/profile")
    assert reply.headers["date"].startswith("Fri, 20 Nov 2026 03:5"), "nine twenty in India is three fifty in Greenwich"


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    runs = []
    for seed in ("5", "5", "6"):
        with simulator("--granted", "--speed", "max", "--start", "10:00", "--seed", seed) as about:
            runs.append(script(about))
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[2][0]
    assert runs[0][1] != runs[2][1]
    assert len(runs[0][3]["ZZ1234"]["orders"]) == 4


def test_a_killed_client_has_its_last_request_booked_and_finds_time_standing() -> None:
    with simulator("--granted", "--speed", "max", "--start", "10:00") as about:
        first = GrantedClient(about)
        first.login()
        first.stream()
        for _ in range(5):
            first.turn()
        stood = first.now
        first.send("orders", "POST", "/orders/regular", order(tag="LASTWORD"))
        for _ in range(5):
            admin(about, "GET", "/")  # answered after what came before it: the order is received, but done was never said
        first.die()
        eventually(lambda: not admin(about, "GET", "/")["attached"], every=0.01)
        assert [row["tag"] for row in admin(about, "GET", "/accounts")["ZZ1234"]["orders"]] == ["LASTWORD"]
        second = GrantedClient(about)
        assert second.now == stood
        assert (second.grant["grant"], second.grant["frames"], second.grant["completed"]) == (1, {}, {})
        second.token = first.token
        book = second.ask("reads", "GET", "/orders").data
        assert [row["tag"] for row in book] == ["LASTWORD"]
        again = second.stream()
        assert second.replies[again].status == 101, "the dead client's connections were closed and do not count to the three"
        second.die()


def test_a_token_dies_at_six_of_the_next_day_with_its_connections(shared: dict[str, Any]) -> None:
    with simulator("--granted", "--speed", "max", "--start", "15:29") as about:
        client = GrantedClient(about)
        client.login()
        stream = client.stream()
        for _ in range(3000):
            if client.closed:
                break
            client.turn()
        assert client.closed == [stream]
        assert client.now == datetime.fromisoformat("2026-11-23T06:00:00+05:30")
        assert client.ask("reads", "GET", "/user/profile").status == 403
        client.login()
        assert client.ask("reads", "GET", "/orders").data == []
        client.die()


def test_the_last_day_ends_with_a_word() -> None:
    with simulator("--granted", "--speed", "max", "--start", "15:50") as about:
        client = GrantedClient(about)
        message = client.turn(datetime.fromisoformat("2099-01-01T09:00:00+05:30"))
        assert message == {"end": "the market has no more days"}
        client.die()


def test_speed_brakes_the_grants_and_a_poke_ends_the_wait() -> None:
    with simulator("--granted", "--speed", "20", "--start", "10:00") as about:
        client = GrantedClient(about)
        began, stood = time.monotonic(), client.now
        for _ in range(20):
            client.turn(client.now + SECOND)
        assert client.now == stood + timedelta(seconds=20)
        assert time.monotonic() - began > 0.6
        stood = client.now
        client.done(stood + timedelta(hours=5))  # a quarter of an hour of real time
        time.sleep(0.3)
        client.say({"poke": True})
        client.next()
        assert stood + timedelta(seconds=2) < client.now < stood + timedelta(hours=1)
        client.die()


def test_a_pace_is_fast_up_to_its_moment_and_from_there_a_second_a_second() -> None:
    with simulator("--granted", "--speed", "1", "--start", "10:00") as about:
        client = GrantedClient(about)
        moment = client.now + timedelta(minutes=30)
        client.done(moment)  # half an hour of real time, but for the pace
        admin(about, "POST", "/pace", {"until": moment.isoformat()})
        client.next()
        assert client.now == moment
        client.done(moment + timedelta(hours=1))
        client.say({"poke": True})
        client.next()
        assert moment <= client.now < moment + timedelta(minutes=1)
        client.done(moment + timedelta(hours=1))
        admin(about, "POST", "/pace", {"until": None})
        client.next()
        assert client.now == moment + timedelta(hours=1)
        client.die()


def test_a_pace_is_refused_where_time_is_not_granted() -> None:
    with simulator("--speed", "0", "--start", "10:00") as about, pytest.raises(ValueError, match="a pace is for granted time"):
        admin(about, "POST", "/pace", {"until": None})


def test_a_line_that_is_no_message_is_answered_with_what_would_be_one(shared: dict[str, Any]) -> None:
    import socket

    host, port = shared["grants"].split(":")
    with socket.create_connection((host, int(port)), timeout=5) as link:
        link.sendall(b"hello\n")
        said = json.loads(link.makefile("rb").readline())
    assert "a line is one JSON object" in said["error"]
