"""Asks the broker for its own figures: in the evening what the day's orders cost, in the morning where and at what prices it holds ours."""

from datetime import date
from typing import TYPE_CHECKING

from core.errors import BrokerError
from core.events import BrokerPosition, Holding
from core.ports import Broker, ChargeSource, HoldingSource
from execution_engine.charges import Charges
from execution_engine.evening import Evening
from runtime.rebuild import waiting
from utils.config_loader import load_charges

if TYPE_CHECKING:
    from runtime.wiring import House


def compare(house: "House", day: date) -> None:
    """Hold the day's charges against the broker's, and book what differs."""
    broker, engine = house.broker, house.engine
    if broker is None:
        return
    books = _books(house)
    executed = books.executed(day)
    if not executed:
        return
    if isinstance(broker, ChargeSource):
        asked: ChargeSource = broker
        try:
            books.compare(day, waiting(house, lambda: asked.order_charges(executed)))
        except BrokerError as error:
            house.alerts("warn", "Charges not compared", f"{house.spec.title} did not tell what the orders of {day} cost: {error}")
            books.not_compared(day, str(error))
    else:
        books.not_compared(day, f"{house.spec.title} is not asked for the charges of executed orders; the contract note has them")
    engine.settle()


def missed(house: "House") -> None:
    """Before a new day: write down that the last one's charges were not compared, where its process ended too early for that."""
    closed = house.store.get("engine", "closed_day")
    if house.broker is not None and closed is not None:
        _books(house).missed(date.fromisoformat(closed))


def closes(house: "House", day: date) -> dict[str, float]:
    """The broker's previous closes of what is carried, by instrument key; {} where nothing is, or nobody tells. Shares of ours are looked
    for among its holdings."""
    if house.broker is None or not any(position.quantity for position in house.engine.portfolio.positions()):
        return {}
    told = _carried(house, day, resumed=False)
    if told is None:
        return {}
    return _books(house).closes(*told)


def find_shares(house: "House", day: date) -> None:
    """After a restart: look for our shares among the broker's holdings, where the morning could not."""
    if house.broker is not None and house.engine.reconciliation.delivered.to_be_asked(day, resumed=True):
        _carried(house, day, resumed=True)


def _carried(house: "House", day: date, *, resumed: bool) -> tuple[tuple[BrokerPosition, ...], tuple[Holding, ...]] | None:
    """The broker's positions and holdings; None where it does not tell."""
    assert house.broker is not None
    asked: Broker = house.broker
    delivered = house.engine.reconciliation.delivered
    try:
        positions = waiting(house, asked.positions)
        holdings = waiting(house, asked.holdings) if isinstance(asked, HoldingSource) else ()
    except BrokerError as error:
        text = f"{house.spec.title} did not tell what it carries, and at what closes ({error}); the day's result starts at our last prices"
        if delivered.to_be_asked(day, resumed=resumed):
            text += (
                ". Shares that were delivered may be missing in its positions: what differs is frozen and not sold; start the daemon again"
            )
        house.alerts("warn", "No closes from the broker", text)
        return None
    delivered.look(day, house.clock.now(), positions, holdings, resumed=resumed)
    return positions, holdings


def _books(house: "House") -> Evening:
    engine = house.engine
    charges = Charges(load_charges(house.config.folder), house.account.broker, house.account.plan)
    return Evening(house.clock, house.store, engine.desk, engine.portfolio, charges, house.alerts)
