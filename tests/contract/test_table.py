"""docs/brokers.md tells what the suite plays, and the suite is as large as was promised."""

from collections import Counter

import pytest

from tests.contract.deck import deck
from tests.contract.kits import KITS
from tests.contract.table import PAGE, page


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make docs`"


@pytest.mark.parametrize("name", KITS)
def test_every_full_broker_plays_at_least_ninety_cards_and_none_twice(name: str) -> None:
    cards = deck(KITS[name])
    assert len(cards) >= 90
    assert [one for one, count in Counter(card.id for card in cards).items() if count > 1] == []
