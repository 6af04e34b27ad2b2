"""All cards of a broker."""

from tests.contract import cards_books, cards_doubt, cards_feed, cards_groww, cards_life, cards_orders, cards_postback
from tests.contract.card import CARDS, Card
from tests.contract.kit import Kit

__all__ = ["cards_books", "cards_feed", "cards_groww", "cards_orders", "cards_postback", "deck"]


def deck(kit: Kit) -> list[Card]:
    """What every broker plays, and what only this one's words need."""
    cards = [*CARDS, *cards_life.labels(kit), *cards_doubt.errors(kit)]
    return [one for one in cards if one.feed in ("", kit.feed) and one.of in ("", kit.name)]
