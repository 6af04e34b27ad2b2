"""A card: one thing that every broker's adapter must do, or must refuse in so many words."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.contract.kit import Kit
from tests.contract.stage import Stage

Says = Callable[[Kit], str]
Play = Callable[[Stage], None]


def yes(kit: Kit) -> str:
    return "yes"


@dataclass(frozen=True, slots=True)
class Card:
    """`check` plays it and asserts what must come of it; `says` is what the table tells of this card at a broker. `alone`: it changes the
    day, and gets a stage of its own.

    `of` names the one broker whose words it plays; empty: every broker plays it. `feed`: it is about a feed by "socket" or by "poll", and
    a broker with the other kind does not play it.
    """

    area: str
    name: str
    check: Play
    says: Says = yes
    alone: bool = False
    of: str = ""
    feed: str = ""

    @property
    def id(self) -> str:
        return f"{self.area}: {self.name}"


CARDS: list[Card] = []


def card(area: str, name: str, *, says: Says = yes, alone: bool = False, feed: str = "") -> Callable[[Play], Play]:
    """Make a card of this function."""

    def keep(play: Play) -> Play:
        CARDS.append(Card(area, name, play, says, alone, feed=feed))
        return play

    return keep
