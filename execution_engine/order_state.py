"""The life of an order: which state may follow which, and what a broker's row does to what we know. Pure; no I/O, no clock."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from core.errors import NiyamError
from core.events import OrderUpdate, Reply
from core.types import Order, OrderState

IN_FLIGHT: frozenset[OrderState] = frozenset({OrderState.SENDING, OrderState.UNKNOWN})
LIVE: frozenset[OrderState] = frozenset()
TERMINAL: frozenset[OrderState] = frozenset()
TRANSITIONS: Mapping[OrderState, frozenset[OrderState]] = {}


class IllegalTransition(NiyamError):
    """A state may not follow the present one: a fault of ours, or a broker's contradiction. Journal, alert, freeze entries there."""


class Merged(msgspec.Struct, frozen=True):
    """What merging gave. `anomaly` (empty: none) is journalled, paged, and freezes entries in the instrument."""

    order: Order
    anomaly: str = ""


def legal(present: OrderState, following: OrderState, previous: OrderState | None = None) -> bool:
    raise NotImplementedError


def move(
    order: Order,
    state: OrderState,
    at: datetime,
    *,
    reason: str | None = None,
    broker_order_id: str | None = None,
    filled: int | None = None,
) -> Order:
    """The order in its new state; raises IllegalTransition. Entering PENDING_* keeps the state before it in `previous_state`."""
    raise NotImplementedError


def merge(order: Order, update: OrderUpdate, *, fresh: bool = False) -> Merged:
    """What is known after one broker row. `fresh`: read after our last command on this order had been answered, so it settles it."""
    raise NotImplementedError


def replied(order: Order, reply: Reply) -> Merged:
    """What is known after one of our calls ended (ACK, REJECT, UNKNOWN); a late place-ack never moves the state backwards."""
    raise NotImplementedError


def filled_to(order: Order, filled: int, average_price: float, at: datetime) -> Merged:
    """Raise `filled` on the evidence of trades, ahead of the order row."""
    raise NotImplementedError
