"""The closed union of what can happen. One queue, one thread, one event at a time.

`Reply` and `Books` stand beside the seven words of the design: a reply is the outcome of one of our calls, books are one complete
authenticated read of what the broker holds. Both are evidence, of different weight, and the type keeps them apart. `History` and
`PriceLimits` are answers to questions of the market data: events too, so that a recording holds all that the engine decided by.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from core.types import Bar, Instrument, OrderState, OrderType, SessionState, Side, Tick


class Action(StrEnum):
    PLACE = "place"
    MODIFY = "modify"
    CANCEL = "cancel"


class Outcome(StrEnum):
    """The three ends of an order call. ACK means received, never filled."""

    ACK = "ACK"
    REJECT = "REJECT"
    UNKNOWN = "UNKNOWN"


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One execution as the broker reports it, before it is booked as a Fill."""

    id: str
    broker_order_id: str
    instrument: Instrument
    side: Side
    quantity: int
    price: float
    at: datetime


POSTBACK = "postback"
"""The source of an update that the broker posted to an address of ours: of its app, so perhaps of another account's order."""


class OrderUpdate(msgspec.Struct, frozen=True, gc=False):
    """One order row seen at the broker (order socket, postback, order book, or the paper exchange).

    `state` is None where the broker's label is not in the adapter's table: it is quarantined, never guessed; `label` keeps the text.
    `trades` are executions that came with it (may be empty although `filled` grew: then the trade book follows, or the delta is
    priced from the averages). `at` is our receive time, `exchange_at` the broker's time of the change.
    """

    at: datetime
    source: str
    broker_order_id: str
    instrument: Instrument
    side: Side
    quantity: int
    state: OrderState | None
    filled: int
    average_price: float
    tag: str | None = None
    label: str = ""
    product: str = ""
    order_type: OrderType = OrderType.LIMIT
    limit_price: float = 0.0
    trigger_price: float | None = None
    reason: str = ""
    exchange_at: datetime | None = None
    trades: tuple[Trade, ...] = ()


class Reply(msgspec.Struct, frozen=True, gc=False):
    """How one of our order calls ended. `order_id` is ours. `error` is the class name of the BrokerError, empty on ACK."""

    at: datetime
    action: Action
    order_id: str
    outcome: Outcome
    broker_order_id: str | None = None
    error: str = ""
    reason: str = ""
    code: str = ""


class BrokerPosition(msgspec.Struct, frozen=True):
    """A row of the broker's net positions; `quantity` is signed, in units; `close_price` is the previous day's close of what was carried in
    (0: not told)."""

    instrument: Instrument
    product: str
    quantity: int
    average_price: float
    last_price: float = 0.0
    close_price: float = 0.0


class Holding(msgspec.Struct, frozen=True):
    """Shares in the demat account, those still settling included; `close_price` is the previous day's, rupees (0: not told)."""

    instrument: Instrument
    quantity: int
    average_price: float
    last_price: float = 0.0
    close_price: float = 0.0


class Guard(msgspec.Struct, frozen=True):
    """A trigger that the broker keeps over days (Zerodha's GTT): when the last price reaches `trigger_price` it sends a LIMIT order at
    `limit_price`. `active` False: it `fired` (`order_id` is its order's, empty if that failed) or ended; `label` is the broker's word."""

    id: str
    instrument: Instrument
    product: str
    side: Side
    quantity: int
    trigger_price: float
    limit_price: float
    active: bool = True
    fired: bool = False
    order_id: str = ""
    label: str = ""


class Funds(msgspec.Struct, frozen=True):
    """Rupees as the broker reports them: what may be used now, and what is used."""

    available: float
    used: float


class ChargesTold(msgspec.Struct, frozen=True):
    """What the broker says that one executed order costs, in rupees: all of it, and the lines that it names, by the names of
    execution_engine.charges.LINES (`other` for what is none of them); empty where it tells the sum alone."""

    total: float
    lines: Mapping[str, float]


class Books(msgspec.Struct, frozen=True):
    """One complete read of orders, trades and positions from a session proven alive in the same cycle; or its failure.

    `asked_at` is when the first call left: nothing newer than it can be missing from evidence. `error` empty means complete;
    otherwise it is the class name of the BrokerError and the tuples mean nothing at all. `positions` and `guards` are None where they
    were not read.
    """

    at: datetime
    asked_at: datetime
    orders: tuple[OrderUpdate, ...] = ()
    trades: tuple[Trade, ...] = ()
    positions: tuple[BrokerPosition, ...] | None = None
    funds: Funds | None = None
    error: str = ""
    reason: str = ""
    guards: tuple[Guard, ...] | None = None


class History(msgspec.Struct, frozen=True):
    """The broker's candles of `start` to `end`, asked for because the feed had missed them. `error`: why there is no answer."""

    at: datetime
    instrument: Instrument
    interval: int
    start: datetime
    end: datetime
    bars: tuple[Bar, ...] = ()
    error: str = ""


class PriceLimits(msgspec.Struct, frozen=True):
    """Today's circuit limits as the broker gives them: instrument key -> (lowest, highest) price that an order may have, in rupees."""

    at: datetime
    limits: Mapping[str, tuple[float, float]]


class FeedStatus(msgspec.Struct, frozen=True):
    """The feed's connection changed: `connected` False also while it is backing off. `attempt` counts tries since one last lived."""

    at: datetime
    connected: bool
    reason: str = ""
    attempt: int = 0


class SessionStatus(msgspec.Struct, frozen=True):
    """The broker session's state changed. `login_url` is where a person logs in, when one is needed."""

    at: datetime
    account: str
    state: SessionState
    reason: str = ""
    login_url: str = ""


class Timer(msgspec.Struct, frozen=True):
    """A moment the engine asked for. `name` tells which; durable ones are re-armed from the store at start."""

    at: datetime
    name: str
    due: datetime


class Command(msgspec.Struct, frozen=True):
    """What a person asked for, by the control socket or a signal. `id` correlates the answer."""

    at: datetime
    id: str
    name: str
    arguments: Mapping[str, Any] = {}


Event = Tick | Bar | OrderUpdate | Reply | Books | History | PriceLimits | FeedStatus | SessionStatus | Timer | Command

RANKS: Mapping[type, int] = {
    SessionStatus: 0,
    FeedStatus: 1,
    PriceLimits: 1,
    Reply: 2,
    OrderUpdate: 3,
    Books: 4,
    Tick: 5,
    Bar: 6,
    History: 6,
    Timer: 7,
    Command: 8,
}
"""Events that wait together are taken in this order, then by the thread that put them in, then as they came (runtime/inbox.py)."""
