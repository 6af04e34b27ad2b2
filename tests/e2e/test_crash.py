"""The crash drill in its short form: three kills in the last hour of a day. `make crash N=10` plays the long one."""

from datetime import datetime

import pytest

from tests.e2e import crash, recovery
from tests.e2e.stage import Stage

BEGINS, ENDS = datetime.fromisoformat("2026-11-20T09:15:00+05:30"), datetime.fromisoformat("2026-11-20T15:00:00+05:30")


def test_three_kills_in_a_short_day_double_nothing_and_lose_nothing(stage: Stage) -> None:
    outcome = crash.Outcome()
    crash.play(stage, outcome, kills=3, seed=7, start="14:40")
    assert (outcome.doubled, outcome.lost, outcome.other) == ([], [], []), outcome.line()
    assert outcome.kills == 3
    assert outcome.recoveries, "at least one kill hit a daemon that traded"
    assert stage.report()["trades"] >= 4, "a day without trades shows nothing"
    assert stage.replayed()["starts"] >= 2, "each process's decisions come again"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_moments_are_the_seeds_own_and_lie_within_the_day(seed: int) -> None:
    drawn = list(crash.moments(40, BEGINS, ENDS, seed))
    assert drawn == list(crash.moments(40, BEGINS, ENDS, seed))
    struck = [moment for _, moment in drawn if moment is not None]
    assert struck == sorted(struck)
    assert BEGINS <= struck[0] < struck[-1] <= ENDS
    assert {moment is None for _, moment in drawn} == {True, False}


def test_a_daemon_with_many_orders_and_positions_comes_back_with_all_of_them(stage: Stage) -> None:
    """The short form; `python -m tests.e2e.recovery` has 200 orders and 50 positions, and the figures."""
    found = recovery.play(stage, positions=8, orders=20, kills=2)
    assert (found.problems, found.positions >= 8, found.orders >= 20) == ([], True, True), found.line()
