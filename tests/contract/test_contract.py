"""The contract of every broker's adapter, card by card, over real sockets at the broker's wire simulator."""

from collections.abc import Callable, Iterator
from datetime import time

import pytest

from tests.contract.card import Card
from tests.contract.deck import deck
from tests.contract.kits import KITS
from tests.contract.stage import Stage

_PLAYS = [
    pytest.param(name, card, id=f"{name} {card.id}", marks=pytest.mark.xdist_group(f"contract-{name}"))
    for name, kit in KITS.items()
    for card in deck(kit)
]


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Stage]]:
    """One stage for each broker, used by card after card."""
    made: dict[str, Stage] = {}

    def stage(name: str) -> Stage:
        if name not in made:
            made[name] = Stage(KITS[name], tmp_path_factory.mktemp(name))
        return made[name]

    yield stage
    for one in made.values():
        one.stop()


@pytest.mark.parametrize(("name", "card"), _PLAYS)
def test_card(name: str, card: Card, stages: Callable[[str], Stage], tmp_path_factory: pytest.TempPathFactory) -> None:
    if not card.alone:
        stage = stages(name)
        stage.rest()
        card.check(stage)
        return
    stage = Stage(KITS[name], tmp_path_factory.mktemp(name), time(9, 20))
    try:
        card.check(stage)
    finally:
        stage.stop()
