"""The stop at the broker outlives the machine: the daemon is dead, the market goes on, and the position is closed there."""

from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.e2e.stage import BUSY, HELD, Stage, admin, compare, until
from tests.wire.granted_client import GrantedClient

TIGHT = BUSY.replace("[NIFTY_FUT, BANKNIFTY_FUT]", "[NIFTY_FUT]").replace("max_loss: 1000000", "max_loss: 1000000, stop_pct: 0.06")
STANDS, KEY = "TRIGGER PENDING", "NFO:NIFTY26NOVFUT"


def stop_of(stage: Stage) -> dict[str, Any] | None:
    """The stop that stands at the broker behind its trigger, if something is held there too."""
    account = stage.account()
    held = sum(abs(row["quantity"]) for row in account["positions"])
    standing = [row for row in account["orders"] if row["status"] == STANDS]
    return standing[0] if held and len(standing) == 1 and standing[0]["quantity"] == held else None


def test_the_stop_at_the_broker_closes_the_position_of_a_dead_daemon(stage: Stage) -> None:
    stage.configure("settings.yaml", "  by: auto", "  by: broker")
    stage.strategy.write_text(TIGHT, encoding="utf-8")
    stage.simulate(start="10:00", speed=HELD, seed=1)  # whose price comes down to the stop nine minutes later
    daemon = stage.run()
    stage.go_on_until(lambda _: stop_of(stage) is not None, "a position with its stop at the broker")
    daemon.kill()
    stop = stop_of(stage)
    assert stop is not None, "it was closed in the moment of the kill"

    stage.go_on()
    dead = GrantedClient(admin(stage.simulator, "GET", "/"), "practice-live")
    end = dead.now + timedelta(hours=2)
    while stop_of(stage) is not None and dead.now < end:
        dead.turn(dead.now + timedelta(seconds=1))
    fired_at: datetime = dead.now
    dead.die()
    [row] = [row for row in stage.account()["orders"] if row["order_id"] == stop["order_id"]]
    assert (row["status"], row["filled_quantity"]) == ("COMPLETE", stop["quantity"]), f"not fired by {fired_at:%H:%M:%S}"
    assert all(held["quantity"] == 0 for held in stage.account()["positions"])

    daemon = stage.run()
    stage.until(lambda status: status["blind"] is None and status["session"] == "VALID" and status["feed"]["connected"], "the next daemon")
    until(lambda: compare(stage).problems == (), "both books to agree")
    daemon.kill()
    with closing(stage.ledger) as ledger:
        orders = ledger.orders()
    [ours] = [order for order in orders if order.tag == row["tag"]]
    assert (str(ours.state), ours.filled, str(ours.purpose)) == ("FILLED", stop["quantity"], "protect")
    assert [str(order.purpose) for order in orders][:2] == ["entry", "protect"]
    assert "exit" not in {str(order.purpose) for order in orders}, "the stop was the exit; there is no second one"


@pytest.mark.parametrize("where", [{"after": "10:05"}, {"route": "GET /orders", "after": "10:05"}], ids=["on the socket", "on REST"])
def test_a_stop_that_fires_while_the_token_is_dead_is_booked_soon_after_the_next_login(stage: Stage, where: dict[str, str]) -> None:
    stage.configure("settings.yaml", "  by: auto", "  by: broker")
    stage.strategy.write_text(TIGHT, encoding="utf-8")
    stage.simulate(start="10:00", speed=HELD, seed=1, faults=[{"fault": "kill_token", "match": where}])
    daemon = stage.run()
    stage.go_to("10:05:30")
    dead = stage.until(lambda status: status["session"] == "LOGIN_REQUIRED", "the token to die")
    [struck] = stage.faults()[0]["struck"]
    [_, seen] = [datetime.fromisoformat(entry["at"]) for entry in stage.journal("session")]
    assert timedelta(0) <= seen - datetime.fromisoformat(struck) <= timedelta(seconds=5)
    [page] = [entry for entry in stage.journal("alert") if entry["title"] == "Login required"]
    assert "/connect/login?" in page["text"]
    stage.go_on_until(lambda _: stop_of(stage) is None, "the stop to fire")
    assert not dead["flat"]
    refused = [one for one in admin(stage.simulator, "GET", "/requests") if one["status"] == 403 and one["at"] > struck]
    assert len(refused) <= 3, f"a dead token was shown again: {refused}"

    assert stage.call("login", "zerodha").code == 0
    stage.until(lambda status: status["session"] == "VALID" and status["flat"], "the fill that was missed")
    until(lambda: not compare(stage).problems, "both books to agree")
    daemon.kill()
    valid = [datetime.fromisoformat(entry["at"]) for entry in stage.journal("session") if entry["state"] == "VALID"][-1]
    booked = next(entry for entry in stage.journal("order") if entry["purpose"] == "protect" and entry["state"] == "FILLED")
    assert timedelta(0) <= datetime.fromisoformat(booked["at"]) - valid <= timedelta(seconds=15)
