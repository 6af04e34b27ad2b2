"""The simulator's other routes and what faults make of replies: instruments, candles, plans, error bodies, lagging books."""

import gzip
import json
from datetime import time, timedelta

import pytest

from simulators.wire import Request
from tests.wire.kite_in_process import FUTURE, Kite


@pytest.fixture
def kite() -> Kite:
    return Kite()


def test_the_instrument_file_is_gzipped_csv_without_blank_numbers(kite: Kite) -> None:
    reply = kite.simulator.handle(Request("GET", "/instruments", headers={"accept-encoding": "gzip, deflate"}), kite.now)
    assert (reply.status, reply.content_type, reply.headers["Content-Encoding"]) == (200, "text/csv", "gzip")
    header, *rows = gzip.decompress(reply.body).decode().splitlines()
    assert header.split(",")[:3] == ["instrument_token", "exchange_token", "tradingsymbol"]
    assert len(header.split(",")) == 12
    for row in rows:
        fields = row.split(",")
        assert all(fields[column] for column in (0, 1, 2, 4, 6, 7, 8, 9, 10, 11)), row
    plain = kite.simulator.handle(Request("GET", "/instruments/NSE"), kite.now)
    assert {line.rsplit(",", 1)[1] for line in plain.body.decode().splitlines()[1:]} == {"NSE"}


def test_a_truncated_dump_ends_in_the_middle(kite: Kite) -> None:
    whole = kite.send("GET", "/instruments").body
    kite.faults.add({"fault": "truncated_dump", "match": {"route": "GET /instruments*"}, "fraction": 0.3})
    assert whole.startswith(kite.send("GET", "/instruments").body)
    assert kite.send("GET", "/instruments").body == whole


def test_the_free_plan_gets_no_data() -> None:
    kite = Kite(live_data=False)
    refusal = (403, "PermissionException", "Insufficient permission for that call.")
    assert kite.call("GET", "/quote/ltp", "i=NSE:RELIANCE") == refusal
    assert kite.call("GET", "/instruments/historical/738561/day", "from=2026-11-19&to=2026-11-19") == refusal
    assert kite.connect().status == 403  # type: ignore[union-attr]
    assert isinstance(kite.place(), str), "orders are allowed"


def test_routes_that_do_not_exist_say_so(kite: Kite) -> None:
    assert kite.call("GET", "/nowhere")[0] == 404
    assert kite.call("PATCH", "/orders")[0] == 405
    assert kite.call("GET", "/user/margins/gold")[:2] == (400, "InputException")
    assert kite.call("POST", "/margins/orders", body={"no": "list"})[:2] == (400, "InputException")


def test_candles_of_the_running_day_end_where_the_day_stands(kite: Kite) -> None:
    token = kite.simulator.world.market.listings[FUTURE].token
    data = kite.call("GET", f"/instruments/historical/{token}/5minute", "from=2026-11-20 09:15:00&to=2026-11-20 15:30:00&oi=1")
    assert [row[0] for row in data["candles"]][:2] == ["2026-11-20T09:15:00+0530", "2026-11-20T09:20:00+0530"]
    assert data["candles"][-1][0] <= "2026-11-20T10:00:00+0530"
    assert all(len(row) == 7 and row[3] <= min(row[1], row[4]) and row[2] >= max(row[1], row[4]) for row in data["candles"])


@pytest.mark.parametrize(
    ("interval", "days"),
    [("minute", 60), ("3minute", 100), ("5minute", 100), ("10minute", 100), ("15minute", 200), ("30minute", 200), ("60minute", 400)],
)
def test_every_interval_has_its_cap(kite: Kite, interval: str, days: int) -> None:
    token = kite.simulator.world.market.listings["NSE:RELIANCE"].token
    start = (kite.now - timedelta(days=days + 1)).strftime("%Y-%m-%d %H:%M:%S")
    refusal = kite.call("GET", f"/instruments/historical/{token}/{interval}", f"from={start}&to=2026-11-20 10:00:00")
    assert refusal == (400, "InputException", f"interval exceeds max limit: {days} days")


def test_continuous_is_for_futures_by_the_day(kite: Kite) -> None:
    token = kite.simulator.world.market.listings["NSE:RELIANCE"].token
    assert kite.call("GET", f"/instruments/historical/{token}/day", "from=2026-11-02&to=2026-11-19&continuous=1")[0] == 400


def test_the_error_bodies_are_the_documented_ones(kite: Kite) -> None:
    def struck(fault: dict[str, object]) -> tuple[int, str, bytes]:
        kite.faults.add(fault)
        reply = kite.send("GET", "/orders")
        return reply.status, reply.content_type, reply.body

    status, _, body = struck({"fault": "rate_limit"})
    assert (status, json.loads(body)) == (
        429,
        {"status": "error", "message": "Too many requests", "data": None, "error_type": "NetworkException"},
    )
    status, kind, body = struck({"fault": "server_error", "status": 503})
    assert (status, kind, body[:6]) == (503, "text/html", b"<html>")
    assert struck({"fault": "empty_body"}) == (200, "application/json", b"")
    with pytest.raises(ValueError):
        json.loads(struck({"fault": "broken_json"})[2])
    status, _, body = struck({"fault": "ip_not_allowed", "ip": "1.2.3.4"})
    assert (status, json.loads(body)["message"]) == (403, "IP (1.2.3.4) is not allowed to place orders for this app.")
    assert struck({"fault": "error", "status": 500, "error_type": "GeneralException", "message": "oops"})[0] == 500
    assert kite.send("GET", "/orders").status == 200, "every fault is spent"


@pytest.mark.parametrize(
    ("fault", "booked"),
    [
        ({"fault": "drop_request"}, 0),
        ({"fault": "drop_reply"}, 1),
        ({"fault": "timed_out"}, 1),
        ({"fault": "timed_out", "booked": False}, 0),
        ({"fault": "server_error"}, 0),
        ({"fault": "server_error", "booked": True}, 1),
        ({"fault": "empty_body"}, 1),
        ({"fault": "error", "message": "no"}, 0),
        ({"fault": "delay", "seconds": 9}, 1),
    ],
)
def test_a_fault_says_whether_the_order_was_booked(kite: Kite, fault: dict[str, object], booked: int) -> None:
    kite.faults.add({**fault, "match": {"route": "POST /orders/*"}})
    form = {"exchange": "NFO", "tradingsymbol": "NIFTY26NOVFUT", "transaction_type": "BUY", "quantity": 65, "product": "MIS"}
    reply = kite.send("POST", "/orders/regular", form={**form, "order_type": "MARKET", "market_protection": -1})
    assert reply.dropped is (str(fault["fault"]).startswith("drop"))
    assert reply.delay_s == fault.get("seconds", 0)
    assert len(kite.simulator.accounts()["ZZ1234"]["orders"]) == booked


def test_a_lagging_book_shows_what_stood_then(kite: Kite) -> None:
    early = kite.place()
    kite.pass_(20)
    late = kite.place()
    kite.pass_(2)
    kite.faults.add({"fault": "lagging_book", "seconds": 10, "count": 4})
    assert [row["order_id"] for row in kite.call("GET", "/orders")] == [early]
    assert {row["order_id"] for row in kite.call("GET", "/trades")} == {early}
    assert kite.call("GET", f"/orders/{late}")[:2] == (400, "OrderException")
    kite.pass_(0)
    assert [row["status"] for row in kite.call("GET", f"/orders/{early}")][-1] == "COMPLETE"
    assert [row["order_id"] for row in kite.call("GET", "/orders")] == [early, late]


def test_a_killed_token_is_dead_for_rest_and_stream(kite: Kite) -> None:
    stream = kite.stream()
    kite.faults.add({"fault": "kill_token", "match": {"after": "10:00:30"}})
    kite.pass_(40)
    assert kite.call("GET", "/user/profile")[:2] == (403, "TokenException")
    assert kite.frames(stream) == []
    assert stream.ended
    kite.login()
    assert kite.call("GET", "/user/profile")["user_id"] == "ZZ1234"


def test_the_log_keeps_every_request_without_secrets(kite: Kite) -> None:
    kite.place(tag="LOGGED")
    log = list(kite.simulator.requests)
    assert [entry["number"] for entry in log] == list(range(1, len(log) + 1))
    assert log[-1]["values"]["tag"] == "LOGGED"
    assert kite.token not in json.dumps(log)
    assert next(entry for entry in log if entry["path"] == "/session/token")["values"]["checksum"] == "***"


def test_a_broker_square_off_appears_as_a_foreign_order() -> None:
    kite = Kite(time(15, 20))
    kite.place(tag="OURS")
    kite.pass_(8 * 60)
    rows = kite.call("GET", "/orders")
    assert [(row["placed_by"], row["tag"], row["transaction_type"]) for row in rows] == [("ZZ1234", "OURS", "BUY"), ("RMS", None, "SELL")]
    assert [row["quantity"] for row in kite.call("GET", "/portfolio/positions")["net"]] == [0]
    assert kite.place()
    kite.pass_(1)
    last = kite.call("GET", "/orders")[-1]
    assert last["status"] == "REJECTED"
    assert "15:26" in last["status_message"]
