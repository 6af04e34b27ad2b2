"""docs/brokers.md: which card of the contract suite says what at which broker. `make docs` writes it; a test holds it to the suite."""

from pathlib import Path

from tests.contract import facts
from tests.contract.deck import deck
from tests.contract.kits import KITS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "brokers.md"
_HEAD = """# Brokers, card by card

Each row is a card of the contract suite (`tests/contract`): our real adapter, over real sockets, at the broker's wire
simulator. `make test` plays every card; a cell tells what the adapter does there, and the suite fails when it does anything
else. "Refused unsent" means that nothing leaves this machine and the reason is told; "turned down" that the broker says no, for
certain; "not its word" that the status, the error or the rule exists at another broker alone; "no socket" that this broker is asked for
prices and order states, and "no poll" that it sends them. This page is generated: `make docs`.

The simulators are written from the brokers' documents. What nobody could confirm about a broker is on its page of decisions (docs/adr) and
in config/market, with its status.

"""
_BESIDE = {"": "not its word", "socket": "no socket", "poll": "no poll"}


def page() -> str:
    """The page as it should be."""
    decks = {name: {card.id: card for card in deck(kit)} for name, kit in KITS.items()}
    areas = dict.fromkeys(card.area for cards in decks.values() for card in cards.values())
    counts = ", ".join(f"{KITS[name].spec.title} {len(cards)}" for name, cards in decks.items())
    parts = [_HEAD, facts.table(), f"Cards: {counts}.\n"]
    for area in areas:
        rows = {card.id: _BESIDE[card.feed] for cards in decks.values() for card in cards.values() if card.area == area}
        parts += [f"\n## {area[0].upper()}{area[1:]}\n\n", f"| card | {' | '.join(KITS)} |\n", f"|---|{'---|' * len(KITS)}\n"]
        for row, beside in rows.items():
            cells = [cards[row].says(KITS[name]) if row in cards else beside for name, cards in decks.items()]
            parts.append(f"| {_cell(row.removeprefix(f'{area}: '))} | {' | '.join(map(_cell, cells))} |\n")
    return "".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
