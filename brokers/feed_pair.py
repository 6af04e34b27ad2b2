"""A feed of two sorts of connection: market data, which the engine watches, and order updates, which come and go without its notice.

What the order socket misses while it is away the polled books bring.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from brokers.shards import Shards
from brokers.spec import Put, Session
from brokers.stream import Patience, SocketTransport, Stream
from core.events import Event, FeedStatus
from core.ports import Clock
from core.types import Instrument

log = logging.getLogger(__name__)


class FeedPair:
    """A Feed: market data as Shards carry it, with the order socket beside them."""

    def __init__(self, market: Shards, orders: Stream) -> None:
        self._market = market
        self._orders = orders

    def start(self) -> None:
        self._market.start()
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

    def updates_alone(events: Sequence[Event], name: str) -> None:
        heard = [event for event in events if not isinstance(event, FeedStatus)]
        for event in events:
            if isinstance(event, FeedStatus) and not event.connected and event.reason != "stopped":
                log.warning("feed %s: no order updates (%s); the order book is polled meanwhile", name, event.reason)
        if heard:
            put(heard, name)

    name = f"{account}/feed-orders"
    return Stream(account, session, clock, updates_alone, in_hours, transport(name), capacity=0, patience=patience, name=name)
