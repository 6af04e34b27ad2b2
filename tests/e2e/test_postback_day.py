"""Part of a day whose order socket says nothing: what the broker posts is heard, and what is none of its postbacks is refused."""

import hashlib
import json
import time
from typing import Any

from tests.e2e.stage import PATIENCE, Stage, admin, compare

SILENT = [{"fault": "drop_update", "match": {}, "count": 0}]


def test_what_is_posted_is_heard_before_the_book_is_read(stage: Stage) -> None:
    stage.simulate(start="14:58", speed="20", faults=SILENT)
    secret = admin(stage.simulator, "GET", "/")["credentials"]["api_secret"]

    def post(row: dict[str, Any], broker: str = "zerodha", sign: str = secret) -> tuple[bool, str]:
        checksum = hashlib.sha256(f"{row['order_id']}{row['order_timestamp']}{sign}".encode()).hexdigest()
        answer = stage.ask("postback", broker=broker, body=json.dumps({**row, "user_id": "AB1234", "checksum": checksum}))
        return answer.ok, answer.text

    daemon = stage.run()
    stage.until(lambda status: status["session"] == "VALID", "the login")
    posted, ends = set[tuple[str, str]](), time.monotonic() + PATIENCE
    while not [entry for entry in stage.journal("order") if entry["source"].startswith("postback: ")]:
        assert time.monotonic() < ends, daemon.said[-4000:]
        for row in stage.account()["orders"]:
            if (row["order_id"], row["status"]) not in posted and row["status"] in ("COMPLETE", "CANCELLED", "REJECTED"):
                assert post(row) == (True, f"{row['order_id']}: {row['status']}")
                posted.add((row["order_id"], row["status"]))
        time.sleep(0.02)
    row = stage.account()["orders"][0]
    assert post(row, sign="another app's")[0] is False
    assert "checksum" in post(row, sign="another app's")[1]
    assert post(row, broker="upstox")[0] is False
    assert stage.ask("postback", broker="zerodha", body="{").ok is False
    daemon.kill()
    assert compare(stage).doubled == ()
    assert ("page", "Impossible order update") not in stage.alerts()
