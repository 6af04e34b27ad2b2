"""Whole practice days at Upstox's simulator: flat at the end, twice the same, and true to the broker's books through its own faults."""

from collections import Counter
from pathlib import Path
from typing import Any

from tests.e2e.stage import Stage

PLACE = "POST /v3/order/place"
FAULTS: list[dict[str, Any]] = [
    {"fault": "empty_body", "match": {"route": PLACE}, "skip": 1},
    {"fault": "timed_out", "match": {"route": PLACE}, "skip": 2},
    {"fault": "drop_reply", "match": {"route": PLACE}, "skip": 3},
    {"fault": "rate_limit", "match": {"route": "* /v3/order/*", "after": "14:55"}},
    {"fault": "rate_limit", "match": {"route": "GET /v2/order/retrieve-all", "after": "14:50"}},
    {"fault": "lagging_book", "match": {"route": "GET /v2/order/*", "after": "14:52"}, "count": 2},
    {"fault": "mute_socket", "match": {"after": "14:58", "lane": "*/feed"}, "seconds": 40},
    {"fault": "drop_socket", "match": {"after": "15:02"}, "count": 2},
    {"fault": "duplicate_update", "match": {}, "count": 3},
    {"fault": "late_update", "match": {"status": "complete"}, "count": 2},
    {"fault": "drop_update", "match": {"status": "complete"}, "skip": 3},
    {"fault": "garbage_frame", "match": {"after": "14:56"}},
    {"fault": "truncated_frame", "match": {"after": "14:57", "lane": "*/feed"}},
    {"fault": "unknown_token", "match": {"after": "14:57", "lane": "*/feed"}},
    {"fault": "broken_json", "match": {"route": "GET /v2/charges/brokerage"}, "skip": 2},
]


def test_a_day_of_the_brokers_own_faults_ends_flat_and_true_and_twice_the_same(tmp_path: Path) -> None:
    digests = [_played(tmp_path / name) for name in ("first", "second")]
    assert digests[0] == digests[1]


def _played(folder: Path) -> str:
    """One such day's digest."""
    folder.mkdir()
    with Stage(folder) as stage:
        stage.simulate(broker="upstox", start="14:45", faults=FAULTS)
        daemon = stage.play("--broker", "upstox")
        account, struck = stage.account(), Counter(fault["fault"] for fault in stage.faults() if fault["struck"])
        assert set(struck) == {fault["fault"] for fault in FAULTS}, struck
        assert stage.call("status", "--json").json["flat"] is True, daemon.said
        assert {row["quantity"] for row in account["positions"]} == {0}
        ours = {order.tag: order for order in stage.ledger.orders()}
        tags = [row["tag"] for row in account["orders"] if row["tag"]]
        assert len(tags) == len(set(tags)), "no order was sent twice"
        for row in account["orders"]:
            if row["tag"]:
                assert ours[row["tag"]].filled == row["filled_quantity"], row
        assert sum(fill.quantity for fill in stage.ledger.fills()) == sum(trade["quantity"] for trade in account["trades"])
        assert stage.journal("charges_compared") == stage.journal("charges_differ") == [], "half an answer is none"
        assert len(stage.journal("charges_not_compared")) == stage.alerts().count(("warn", "Charges not compared")) == 1
        digest: str = stage.report()["digest"]
        return digest
