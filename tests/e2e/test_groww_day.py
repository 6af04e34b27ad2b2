"""A practice day at Groww's simulator: flat at the end, twice the same, and true to the broker's books through its own faults."""

import signal
from collections import Counter
from pathlib import Path
from typing import Any

from tests.e2e.stage import HELD, Stage

PLACE = "POST /v1/order/create"
FAULTS: list[dict[str, Any]] = [
    {"fault": "empty_body", "match": {"route": PLACE}, "skip": 1},
    {"fault": "timed_out", "match": {"route": PLACE}, "skip": 2},
    {"fault": "drop_reply", "match": {"route": PLACE}, "skip": 3},
    {"fault": "error", "match": {"route": PLACE}, "skip": 4, "status": 400, "error_type": "GA007", "message": "Duplicate", "booked": True},
    {"fault": "server_error", "match": {"route": PLACE}, "skip": 5, "booked": True},
    {"fault": "rate_limit", "match": {"route": "POST /v1/order/*", "after": "14:55"}},
    {"fault": "rate_limit", "match": {"route": "GET /v1/order/list", "after": "14:52"}},
    {"fault": "rate_limit", "match": {"route": "GET /v1/live-data/*", "after": "14:53"}},
    {"fault": "lagging_book", "match": {"route": "GET /v1/order/*", "after": "14:52"}, "count": 4},
    {"fault": "server_error", "match": {"route": "GET /v1/live-data/*", "after": "14:55"}, "count": 3},
    {"fault": "broken_json", "match": {"route": "GET /v1/live-data/*", "after": "14:56"}, "count": 2},
    {"fault": "delay", "match": {"route": "GET /v1/live-data/*", "after": "14:58"}, "seconds": 20},
    {"fault": "drop_request", "match": {"route": "GET /v1/order/trades/*", "after": "14:52"}, "count": 2},
    {"fault": "partial", "match": {}, "skip": 6},
]


def test_a_day_of_the_brokers_own_faults_ends_flat_and_true_and_twice_the_same(tmp_path: Path) -> None:
    digests = [_played(tmp_path / name) for name in ("first", "second")]
    assert digests[0] == digests[1]


def _played(folder: Path) -> str:
    """One such day's digest. A second of the market costs five polls, so that the day is short: it is stopped when it is flat."""
    folder.mkdir()
    with Stage(folder) as stage:
        stage.simulate(broker="groww", start="14:50", faults=FAULTS, speed=HELD)
        daemon = stage.run("--broker", "groww")
        stage.go_to("15:15:30")
        stage.go_on_until(lambda status: status["flat"], "the end of the square-off")
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.said[-4000:]
        account, struck = stage.account(), Counter(fault["fault"] for fault in stage.faults() if fault["struck"])
        assert set(struck) == {fault["fault"] for fault in FAULTS}, struck
        assert stage.call("status", "--json").json["flat"] is True, daemon.said
        assert {row["quantity"] for row in account["positions"]} == {0}
        ours = {order.tag: order for order in stage.ledger.orders()}
        tags = [row["order_reference_id"] for row in account["orders"] if row["order_reference_id"]]
        assert len(tags) == len(set(tags)) > 6, "no order was sent twice"
        for row in account["orders"]:
            if row["order_reference_id"]:
                assert ours[row["order_reference_id"]].filled == row["filled_quantity"], row
        assert sum(fill.quantity for fill in stage.ledger.fills()) == sum(trade["quantity"] for trade in account["trades"])
        used = stage.call("usage", "--json").json
        assert {row["kind"] for row in used["calls"] if row["by"] == "client"} >= {"place", "other"}
        assert next(row for row in used["calls"] if (row["by"], row["kind"]) == ("feed", "quote"))["sent"] > 1000
        assert used["limits"]
        assert all(0 < row["peak"] <= row["count"] for row in used["limits"]), used
        assert "live data/min (feed)" in stage.call("usage", "--day", "2026-11-20").out
        digest: str = stage.report()["digest"]
        return digest
