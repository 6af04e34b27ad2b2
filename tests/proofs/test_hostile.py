"""A hostile strategy in the suite, in short; and a gate with a rule left out, which the watcher sees. `make hostile` is the long form."""

from collections.abc import Iterator

import pytest
from loguru import logger

from core.types import Approved, OrderRequest, Refused
from risk.book import RiskBook
from risk.gate import Gate
from tests.proofs import hostile


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logger.disable("")
    yield
    logger.enable("")


def test_no_cap_is_passed() -> None:
    entries, violations = hostile.attack(8_000)
    assert violations == []
    assert entries > 200


@pytest.mark.parametrize(
    ("left_out", "seen"),
    [
        ({"order_quantity"}, "order quantity"),
        ({"strategy_exposure", "gross_exposure", "instrument_value"}, "gross exposure"),
        ({"rate"}, "calls in 1 s"),
        ({"daily_loss"}, "after the day's loss"),
    ],
)
def test_a_gate_without_a_rule_is_seen(left_out: set[str], seen: str) -> None:
    class Careless(Gate):
        """Lets pass what some rules refuse."""

        def review(self, request: OrderRequest, book: RiskBook) -> Approved | Refused:
            verdict = super().review(request, book)
            return Approved(request, book.now) if isinstance(verdict, Refused) and verdict.rule in left_out else verdict

    _, violations = hostile.attack(30_000, gate=Careless)
    assert any(seen in text for text in violations), violations[:3]
