"""What a broker brings to the contract suite: its simulator's words, its routes, what its API can and cannot be asked for.

All of it is written from the broker's documents, none of it from the adapter. A new broker is one more kit_NAME.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from brokers.spec import Spec
from core.errors import BrokerError, NiyamError, Rejected
from core.types import Horizon, Kind, OrderState, OrderType, Validity
from simulators.orders import SimOrder, Status


@dataclass(frozen=True, slots=True)
class Routes:
    """Patterns of the simulator's `match: {route: …}`."""

    place: str
    modify: str
    cancel: str
    orders: str
    trades: str
    positions: str
    funds: str
    prices: str
    candles: str
    dump: str
    profile: str
    charges: str

    def orders_sent(self) -> tuple[str, ...]:
        return self.place, self.modify, self.cancel


@dataclass(frozen=True, slots=True)
class Label:
    """One word of the broker's list of statuses. `base` is the order that is to carry it: resting, stop, filled, or part (has filled)."""

    text: str
    state: OrderState
    base: str = "resting"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One answer of the broker's table of errors, and what it must mean for an order call or a read."""

    name: str
    values: Mapping[str, Any]
    order: type[BrokerError]
    read: type[BrokerError]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """What differs between brokers.

    `products` are the broker's words. `refuses_ioc`, `refuses_stop_ioc`: why such an order never leaves ("": it is taken). `renews`: a dead
    token is replaced without a person; `alive_feed`: its sockets outlive the token; `orders_socket`: order updates have a socket of their
    own. `late_refusals`: a wrong order gets an id and ends rejected. `changed_too_late`: what the change of an order that is over ends in;
    `busy`: of one that cannot be changed just now. `echoes_tags`: its order book shows our tag; else an order of unknown fate is found by
    what it was. `order_id`: what the broker calls an order of the exchange. `keeps_budget`: its limits are so small that no card may begin
    with a fresh budget; `minute` is the one to wait for. `intraday_is_carried`: it has no intraday product. `dates_updates`,
    `reasons_by_stream`: whether its order updates do. `cuts_history`: the client itself asks in pieces that the broker takes.
    `feed`: "socket", or "poll" where prices and order states are asked for. `marks_positions`: its positions name a last price.
    `dated_tokens`: what an instrument is ordered by changes from day to day. `login_answers`: what `accept` must say to wrong answers.
    `posts`: what it posts of an order's last change, made of (its simulator, the account's credentials, the order); None: it posts nothing.
    `names_charges`: it tells an order's charges line by line; `charges_deliver_shares`: it takes every share for delivery.
    A route that is "" is no call of this broker's.
    """

    spec: Spec
    routes: Routes
    products: Mapping[tuple[Horizon, Kind], str]
    ladder: Mapping[Status, tuple[str, OrderState]]
    labels: tuple[Label, ...]
    refusals: tuple[Refusal, ...]
    no_candles: int
    longest_tag: int
    dies_at: str
    order_route_of_reader: tuple[str, str]
    refuses_ioc: str = ""
    late_refusals: bool = False
    renews: bool = False
    changed_too_late: type[BrokerError] = Rejected
    alive_feed: bool = False
    orders_socket: bool = True
    echoes_tags: bool = True
    order_id: Callable[[SimOrder], str] = attrgetter("id")
    keeps_budget: bool = False
    minute: str = ""
    dates_updates: bool = True
    reasons_by_stream: bool = True
    busy: type[BrokerError] = Rejected
    intraday_is_carried: bool = False
    refuses_stop_ioc: str = ""
    cuts_history: bool = False
    feed: str = "socket"
    marks_positions: bool = True
    dated_tokens: bool = True
    posts: Callable[[Any, Mapping[str, str], SimOrder], dict[str, Any]] | None = None
    names_charges: bool = True
    charges_deliver_shares: bool = False
    login_answers: Mapping[str, type[NiyamError]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.spec.name

    def refuses(self, order_type: OrderType, validity: Validity) -> str:
        """Words of the reason why such an order never leaves this house; "" where it does."""
        if validity is Validity.IOC and self.refuses_ioc:
            return self.refuses_ioc
        if order_type in (OrderType.MARKET, OrderType.SL_M):
            return f"a bare {order_type.value} is never sent"
        return self.refuses_stop_ioc if order_type is OrderType.SL and validity is Validity.IOC else ""


_LADDER: Mapping[Status, OrderState] = {
    Status.VALIDATING: OrderState.PENDING_NEW,
    Status.OPEN_PENDING: OrderState.PENDING_NEW,
    Status.OPEN: OrderState.WORKING,
    Status.TRIGGER_PENDING: OrderState.TRIGGER_PENDING,
    Status.MODIFY_VALIDATING: OrderState.PENDING_MODIFY,
    Status.MODIFY_PENDING: OrderState.PENDING_MODIFY,
    Status.CANCEL_PENDING: OrderState.PENDING_CANCEL,
    Status.AMO_RECEIVED: OrderState.AMO_QUEUED,
    Status.COMPLETE: OrderState.FILLED,
    Status.CANCELLED: OrderState.CANCELLED,
    Status.REJECTED: OrderState.REJECTED,
}


def ladder(*words: str) -> dict[Status, tuple[str, OrderState]]:
    """The broker's word for each step of the exchange, from VALIDATING to REJECTED, where each step has a word of its own."""
    return {status: (word, state) for (status, state), word in zip(_LADDER.items(), words, strict=True)}


def products(intraday: str, cash: str, derivatives: str) -> dict[tuple[Horizon, Kind], str]:
    """The broker's words for what ends with the day, for shares that are carried, and for contracts that are."""
    day = {(Horizon.INTRADAY, kind): intraday for kind in (Kind.EQUITY, Kind.FUTURE, Kind.CALL)}
    return {**day, (Horizon.CARRY, Kind.EQUITY): cash, (Horizon.CARRY, Kind.FUTURE): derivatives, (Horizon.CARRY, Kind.CALL): derivatives}


def refusal(code: str, text: str, order: type[BrokerError], read: type[BrokerError], status: int, *, name: str = "") -> Refusal:
    """An answer with this code (`""`: the broker has none), text and HTTP status; `name` is its row in the table."""
    values = {"status": status, "error_type": code, "message": text}
    return Refusal(name or f"{code} {text}".strip(), values, order, read)
