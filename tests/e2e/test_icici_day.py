"""Whole practice days at ICICI's simulator: flat at the end, twice the same, and true to the broker's books through its own faults."""

from collections import Counter
from pathlib import Path
from typing import Any

from tests.e2e.stage import Stage

ORDER = "POST */order"
FAULTS: list[dict[str, Any]] = [
    {"fault": "drop_reply", "match": {"route": ORDER}, "skip": 1},
    {"fault": "timed_out", "match": {"route": ORDER}, "skip": 2},
    {"fault": "server_error", "match": {"route": ORDER}, "skip": 3, "booked": True, "status": 503},
    {"fault": "rate_limit", "match": {"route": ORDER, "after": "14:55"}},
    {"fault": "rate_limit", "match": {"route": "GET */order", "after": "14:50"}, "count": 2},
    {"fault": "lagging_book", "match": {"route": "GET */order", "after": "14:52"}, "count": 2},
    {"fault": "mute_socket", "match": {"after": "14:58", "lane": "*/feed"}, "seconds": 40},
    {"fault": "drop_socket", "match": {"after": "15:02"}, "count": 2},
    {"fault": "duplicate_update", "match": {}, "count": 3},
    {"fault": "late_update", "match": {"status": "Executed"}, "count": 2},
    {"fault": "drop_update", "match": {"status": "Executed"}, "skip": 3},
    {"fault": "garbage_frame", "match": {"after": "14:56"}},
    {"fault": "truncated_frame", "match": {"after": "14:57"}},
    {"fault": "unknown_token", "match": {"after": "14:57"}},
]


def test_a_day_of_the_brokers_own_faults_ends_flat_and_true_and_twice_the_same(tmp_path: Path) -> None:
    """Without a tag each order of unknown fate is found by what it is, and none is made twice."""
    digests = [_played(tmp_path / name) for name in ("first", "second")]
    assert digests[0] == digests[1]


def _played(folder: Path) -> str:
    """One such day's digest."""
    folder.mkdir()
    with Stage(folder) as stage:
        stage.simulate(broker="icici", start="14:45", faults=FAULTS)
        daemon = stage.play("--broker", "icici")
        account, struck = stage.account(), Counter(fault["fault"] for fault in stage.faults() if fault["struck"])
        assert set(struck) == {fault["fault"] for fault in FAULTS}, struck
        assert stage.call("status", "--json").json["flat"] is True, daemon.said
        assert {row["action"] for row in account["positions"]} == {"NA"}
        ours = {order.tag: order for order in stage.ledger.orders()}
        tags = [row["user_remark"] for row in account["orders"]]
        assert len(tags) == len(set(tags)), "no order was sent twice"
        for row in account["orders"]:
            assert ours[row["user_remark"]].filled == row["filled"], row
            assert ours[row["user_remark"]].broker_order_id == row["order_id"]
        assert sum(fill.quantity for fill in stage.ledger.fills()) == sum(int(trade["executed_quantity"]) for trade in account["trades"])
        assert len(stage.journal("claimed")) >= 2
        digest: str = stage.report()["digest"]
        return digest
