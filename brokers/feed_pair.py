"""A feed of two sorts of connection: market data, which the engine watches, and order updates, which come and go without its notice.

What the order socket misses while it is away the polled books bring. The two may be of different brokers (`OrdersAlone`).
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from brokers.spec import Put, Session
from brokers.stream import Patience, SocketTransport, Stream
from core.events import Event, FeedStatus
from core.ports import Clock, Feed
from core.types import Instrument

log = logging.getLogger(__name__)


class Prices(Feed, Protocol):
    """A feed whose threads may be waited for."""

    def join(self, seconds: float) -> bool: ...


class Updates(Protocol):
    """What brings order updates beside a feed."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def join(self, seconds: float) -> bool: ...
    @property
    def counts(self) -> Mapping[str, int]: ...
    @property
    def texts(self) -> Sequence[str]: ...


@runtime_checkable
class HasOrders(Protocol):
    """A feed that can bring order updates without any prices."""

    def start_orders(self) -> None:
        """Instead of `start`: the order updates alone."""
        ...


class FeedPair:
    """A Feed: market data, with the order socket beside it."""

    def __init__(self, market: Prices, orders: Updates) -> None:
        self._market = market
        self._orders = orders

    def start(self) -> None:
        self._market.start()
        self._orders.start()

    def start_orders(self) -> None:
        self._orders.start()

    def stop(self) -> None:
        self._market.stop()
        self._orders.stop()

    def join(self, seconds: float) -> bool:
        """Wait up to `seconds` of wall time for each connection's threads to end; True if they have."""
        ended = [self._market.join(seconds), self._orders.join(seconds)]
        return all(ended)

    def subscribe(self, instruments: Iterable[Instrument]) -> None:
        self._market.subscribe(instruments)

    def unsubscribe(self, instruments: Iterable[Instrument]) -> None:
        self._market.unsubscribe(instruments)

    def reconnect(self, reason: str) -> None:
        self._market.reconnect(reason)

    @property
    def silent_for(self) -> float:
        return self._market.silent_for

    @property
    def counts(self) -> Mapping[str, int]:
        orders = {f"orders: {reason}": count for reason, count in self._orders.counts.items()}
        return {**self._market.counts, **orders}

    @property
    def texts(self) -> Sequence[str]:
        return (*self._market.texts, *self._orders.texts)

    @property
    def desired(self) -> frozenset[str]:
        return self._market.desired

    @property
    def confirmed(self) -> frozenset[str]:
        return self._market.confirmed


class OrdersAlone:
    """The order updates of a feed whose prices nobody wants: they come from another broker."""

    def __init__(self, feed: Prices) -> None:
        self._feed = feed

    def start(self) -> None:
        if isinstance(self._feed, HasOrders):
            self._feed.start_orders()
        else:
            self._feed.start()  # one connection carries both; nothing is subscribed on it

    def stop(self) -> None:
        self._feed.stop()

    def join(self, seconds: float) -> bool:
        return self._feed.join(seconds)

    @property
    def counts(self) -> Mapping[str, int]:
        return self._feed.counts

    @property
    def texts(self) -> Sequence[str]:
        return self._feed.texts


def updates_alone(put: Put) -> Put:
    """A `put` for connections of order updates: that they came or went is for the log alone."""

    def heard_alone(events: Sequence[Event], name: str) -> None:
        heard = [event for event in events if not isinstance(event, FeedStatus)]
        for event in events:
            if isinstance(event, FeedStatus) and not event.connected and event.reason != "stopped":
                log.warning("feed %s: no order updates (%s); the order book is polled meanwhile", name, event.reason)
        if heard:
            put(heard, name)

    return heard_alone


def order_stream(
    account: str,
    session: Session,
    clock: Clock,
    put: Put,
    in_hours: Callable[[], bool],
    transport: Callable[[str], SocketTransport],
    patience: Patience,
) -> Stream:
    """The order socket as a stream of its own; that it came or went is for the log alone. `transport` makes it for its name."""
    name = f"{account}/feed-orders"
    return Stream(account, session, clock, updates_alone(put), in_hours, transport(name), capacity=0, patience=patience, name=name)
