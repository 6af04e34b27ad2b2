"""Whole practice days at Angel One's simulator: flat at the end, twice the same, and true to the broker's books through its own faults."""

from collections import Counter
from pathlib import Path
from typing import Any

from tests.e2e.stage import Stage

ORDERS = "POST /rest/secure/angelbroking/order/v1"
FAULTS: list[dict[str, Any]] = [
    {"fault": "empty_body", "match": {"route": f"{ORDERS}/placeOrder"}, "skip": 1},
    {"fault": "timed_out", "match": {"route": f"{ORDERS}/placeOrder"}, "skip": 2},
    {"fault": "drop_reply", "match": {"route": f"{ORDERS}/placeOrder"}, "skip": 3},
    {"fault": "rate_limit", "match": {"route": f"{ORDERS}/*", "after": "14:55"}},
    {"fault": "kill_token", "match": {"route": f"{ORDERS}/placeOrder", "after": "15:00"}},
    {"fault": "rate_limit", "match": {"route": "GET */getOrderBook", "after": "14:50"}},
    {"fault": "lagging_book", "match": {"route": "GET */getOrderBook", "after": "14:52"}, "count": 2},
    {"fault": "mute_socket", "match": {"after": "14:58", "lane": "*/feed"}, "seconds": 40},
    {"fault": "drop_socket", "match": {"after": "15:02"}, "count": 2},
    {"fault": "duplicate_update", "match": {}, "count": 3},
    {"fault": "late_update", "match": {"status": "complete"}, "count": 2},
    {"fault": "drop_update", "match": {"status": "complete"}, "skip": 3},
    {"fault": "garbage_frame", "match": {"after": "14:56"}},
    {"fault": "truncated_frame", "match": {"after": "14:57"}},
    {"fault": "unknown_token", "match": {"after": "14:57"}},
]


def test_a_day_of_the_brokers_own_faults_ends_flat_and_true_and_twice_the_same(tmp_path: Path) -> None:
    digests = [_played(tmp_path / name) for name in ("first", "second")]
    assert digests[0] == digests[1]


def _played(folder: Path) -> str:
    """One such day's digest."""
    folder.mkdir()
    with Stage(folder) as stage:
        stage.simulate(broker="angelone", start="14:45", faults=FAULTS)
        daemon = stage.play("--broker", "angelone")
        account, struck = stage.account(), Counter(fault["fault"] for fault in stage.faults() if fault["struck"])
        assert set(struck) == {fault["fault"] for fault in FAULTS}, struck
        assert stage.call("status", "--json").json["flat"] is True, daemon.said
        assert {row["netqty"] for row in account["positions"]} == {"0"}
        ours = {order.tag: order for order in stage.ledger.orders()}
        tags = [row["ordertag"] for row in account["orders"] if row["ordertag"]]
        assert len(tags) == len(set(tags)), "no order was sent twice"
        for row in account["orders"]:
            if row["ordertag"]:
                assert ours[row["ordertag"]].filled == int(row["filledshares"]), row
        assert sum(fill.quantity for fill in stage.ledger.fills()) == sum(int(trade["fillsize"]) for trade in account["trades"])
        said = [entry["state"] for entry in stage.journal("session")]
        assert "LOGIN_REQUIRED" not in said[said.index("VALID") :], "a dead token was renewed without a person"
        digest: str = stage.report()["digest"]
        return digest
