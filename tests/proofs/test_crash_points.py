"""Crash points in the suite: a sample of them, and two recoveries with a rule left out that they catch. `make crash` plays them all."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date

import pytest
from loguru import logger

from core.types import Fill, Order, OrderState, Position
from execution_engine.order_manager import OrderDesk
from execution_engine.portfolio import Portfolio
from execution_engine.price_ladder import PriceLadder
from tests.proofs import crash_points
from tests.proofs.crash_points import SCENARIOS, Scenario, play

EVERY = 61  # points left out between two of a scenario


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logger.disable("")
    yield
    logger.enable("")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_a_sample_of_the_points_doubles_nothing_and_loses_nothing(scenario: Scenario) -> None:
    jobs = list(crash_points.jobs_of(scenario, SCENARIOS.index(scenario), EVERY))
    assert jobs
    assert [crash_points.one(job) for job in jobs] == [[]] * len(jobs)


def test_the_points_are_the_journal_the_commits_the_calls_and_the_evidence() -> None:
    _, passed = play(Scenario("square-off", "partial"))
    assert {"before intent is journalled", "before a commit", "after a commit", "before fill is journalled"} < set(passed)
    assert {*crash_points.SENDING, "before Reply is taken", "before OrderUpdate is taken", "before Books is taken"} < set(passed)


class Resending(OrderDesk):
    """Sends again what it does not know the fate of."""

    def restore(self, orders: Iterable[Order]) -> None:
        orders = list(orders)
        super().restore(orders)
        for order in orders:
            if order.state is OrderState.SENDING:
                self._executor.place(order)


class Amnesiac(Portfolio):
    """Forgets which trades it had booked."""

    def restore(self, positions: Sequence[Position], fills: Sequence[Fill], day: date) -> None:
        super().restore(positions, (), day)


class Still(PriceLadder):
    """Looks after what its own process sent, and nothing else."""

    def watch(self) -> None:
        if self._desk.sent:
            super().watch()


@pytest.mark.parametrize(
    ("part", "bug", "scenario", "where", "seen"),
    [
        ("desk", Resending, Scenario("entry", "filled"), "after a call left", "P1"),
        ("portfolio", Amnesiac, Scenario("square-off", "filled"), "before square_off_started is journalled", "I2"),
        ("price_ladder", Still, Scenario("square-off", "filled"), "before modify is journalled", "FILLS"),
    ],
)
def test_a_planted_bug_of_the_recovery_is_seen(part: str, bug: type, scenario: Scenario, where: str, seen: str) -> None:
    _, passed = play(scenario, plant={part: bug})
    result, _ = play(scenario, passed.index(where), plant={part: bug})
    assert seen in {text.split(":")[0] for text in result.violations}, result.violations
