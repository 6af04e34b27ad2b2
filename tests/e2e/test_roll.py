"""The roll of a carried position over the real wire, with the daemon killed inside both legs."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.types import OrderState, Purpose
from tests.e2e import recorded_days
from tests.e2e.stage import HELD, Stage, compare, until

CARRY = """\
class: sma_cross
instruments: [NIFTY_FUT]
interval: 1m
params: {fast: 5, slow: 12, both_ways: true}
size: {lots: 1}
horizon: carry
risk: {max_loss: 1000000}
enabled: true
"""
"""Always long or short once it is warm, so that there is something to roll."""
OLD, NEW = "NFO:NIFTY26NOVFUT", "NFO:NIFTY26DECFUT"  # the 20th is the last trading day before the expiry on Monday the 23rd
SLOW = [
    {"fault": "delay", "match": {"route": "POST /orders/*", "after": "15:00"}, "seconds": 8, "count": 2},
    {"fault": "drop_update", "match": {"after": "15:00", "before": "15:02"}, "count": 0},
]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path) as stage:
        stage.strategy.write_text(CARRY, encoding="utf-8")
        yield stage


def legs(stage: Stage, key: str) -> list[dict[str, Any]]:
    return [entry for entry in stage.journal("intent") if entry["purpose"] == "roll" and entry["instrument"] == key]


def test_killed_in_both_legs_the_roll_is_made_once(stage: Stage) -> None:
    """An order whose daemon died before it left is never sent again; when the books prove its absence, the leg is decided anew."""
    stage.simulate(start="14:57", speed=HELD, faults=SLOW)
    daemon = stage.run()
    stage.go_to("14:59:58")
    for key in (OLD, NEW):
        # the request of the first may have died with its daemon: then the leg waits for a person, and is decided anew
        stage.go_on_until(lambda _, key=key: bool(legs(stage, key)), f"the leg in {key}", seconds=2, attended=True)  # type: ignore[misc]
        daemon.kill()  # its answer is eight seconds of market time away
        daemon = stage.run()
    stage.go_on_until(lambda _: bool(stage.journal("roll_done")), "the end of the roll", seconds=10, attended=True)
    with closing(stage.ledger) as ledger:
        orders = [order for order in ledger.orders() if order.purpose is Purpose.ROLL]
        held = {position.instrument.key: position.quantity for position in ledger.positions()}
    filled = [(order.instrument.key, order.filled) for order in orders if order.filled]
    assert sorted(filled) == [(NEW, 65), (OLD, 65)]
    assert {order.state for order in orders if not order.filled} <= {OrderState.NOT_FOUND}
    assert held[OLD] == 0
    until(lambda: not compare(stage).problems, "equal books")
    kinds = [entry["kind"] for entry in stage.journal() if entry["kind"] in ("roll_started", "roll_closed", "roll_done", "roll_half")]
    assert kinds == ["roll_started", "roll_closed", "roll_done"]
    daemon.kill()
    assert stage.replayed()["starts"] == 3, "both legs, and the decisions of the processes that died in them"


def test_the_real_prices_of_a_roll_day_give_the_real_gap_and_the_same_run_twice(stage: Stage, tmp_path: Path) -> None:
    """NIFTY on Friday 23 January 2026, E-1 of its January contracts (Monday is a holiday), through the wire."""
    data = tmp_path / "nifty.csv"
    recorded_days.write(data, "2026-01-16", "2026-01-23")
    stage.strategy.write_text(CARRY.replace("interval: 1m", "interval: 15m").replace("slow: 12", "slow: 20"), encoding="utf-8")
    digests = []
    for _ in range(2):
        stage.play("--data", str(data), "--date", "2026-01-23", "--start", "14:29", "--speed", "max", account="practice")
        [done] = stage.journal("roll_done")
        assert (done["old"], done["new"], done["gap"]) == ("NFO:NIFTY26JANFUT", "NFO:NIFTY26FEBFUT", 122.8)  # 25079.80 and 25202.60
        assert done["at"].startswith("2026-01-23T15:00:0")
        assert abs(done["paid"] - done["gap"]) <= 0.5  # the spread of two quotes a tick wide on each side
        digests.append(stage.report()["digest"])
    assert digests[0] == digests[1]
