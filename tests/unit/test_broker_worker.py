"""The threads that talk to a broker: every end of a call is an event, whatever the call tripped over."""

import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from core.clock import SystemClock
from core.errors import Transient
from core.events import Books, Event
from core.ports import Broker
from execution_engine.broker_worker import BrokerWorker


def read_of(broker: Any) -> Books:
    """The event that one complete read of `broker` ends in."""
    events: list[Event] = []
    arrived = threading.Event()

    def put(some: Sequence[Event], origin: str) -> None:
        events.extend(some)
        arrived.set()

    worker = BrokerWorker("test", cast(Broker, broker), SystemClock(), put, lambda: None)
    worker.start()
    try:
        worker.read_books(positions=True)
        assert arrived.wait(10)
    finally:
        worker.stop()
    (event,) = events
    assert isinstance(event, Books)
    return event


def raising(error: Exception) -> Any:
    def fail() -> None:
        raise error

    return SimpleNamespace(orders=fail)


@pytest.mark.parametrize(
    ("error", "name"), [(Transient("no answer"), "Transient"), (KeyError("a field that our own mapping lacks"), "KeyError")]
)
def test_a_read_that_fails_in_any_way_is_told_as_a_failed_read(error: Exception, name: str) -> None:
    books = read_of(raising(error))
    assert books.error == name
    assert books.reason
    assert books.positions is None


def test_a_complete_read_says_when_it_was_asked_for() -> None:
    books = read_of(SimpleNamespace(orders=tuple, trades=tuple, positions=tuple))
    assert (books.error, books.orders, books.positions) == ("", (), ())
    assert books.asked_at <= books.at
