"""A token that dies at midday, on the socket or on REST, elsewhere than at Zerodha: known at once, no storm, caught up after a login."""

from datetime import datetime, timedelta

import pytest

from tests.e2e.stage import HELD, Stage, admin

QUANTITY = {"upstox": "quantity", "icici": "executed_quantity"}
WHERE = {"upstox": {"after": "10:05"}, "icici": {"route": "GET */v1/order", "after": "10:05"}}


@pytest.mark.parametrize("broker", WHERE)
def test_a_dead_token_is_known_within_five_seconds_and_all_is_caught_up_fifteen_after_the_login(stage: Stage, broker: str) -> None:
    stage.simulate(start="10:00", speed=HELD, broker=broker, faults=[{"fault": "kill_token", "match": WHERE[broker]}])
    daemon = stage.run("--broker", broker)
    stage.go_to("10:05:30")
    stage.until(lambda status: status["session"] == "LOGIN_REQUIRED", "the token to die")
    [struck] = stage.faults()[0]["struck"]
    died = datetime.fromisoformat(stage.journal("session")[-1]["at"])
    assert timedelta() <= died - datetime.fromisoformat(struck) <= timedelta(seconds=5)
    stage.step(120)
    refused = [one for one in admin(stage.simulator, "GET", "/requests") if one["status"] in (401, 403) and one["at"] > struck]
    assert len(refused) <= 3, f"a dead token was shown again: {refused}"
    assert [entry for entry in stage.journal("intent") if datetime.fromisoformat(entry["at"]) > died] == []
    [page] = [entry for entry in stage.journal("alert") if entry["title"] == "Login required"]
    assert "http" in page["text"]

    assert stage.call("login", broker).code == 0
    stage.step(60)
    stage.until(lambda status: status["session"] == "VALID" and status["feed"]["connected"], "the feed with the new token")
    valid = datetime.fromisoformat(stage.journal("session")[-1]["at"])
    back = datetime.fromisoformat(stage.journal("feed")[-1]["at"])
    assert timedelta() <= back - valid <= timedelta(seconds=15)
    daemon.kill()
    traded = sum(int(trade[QUANTITY[broker]]) for trade in stage.account()["trades"])
    assert sum(fill.quantity for fill in stage.ledger.fills()) == traded
