"""Our Zerodha feed against the stand-alone wire simulator, by both transports: ticks, order updates, a drop."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brokers.zerodha import SPEC
from core.events import FeedStatus, OrderUpdate
from core.types import Tick
from tests.builders import make_order
from tests.wire.at_simulator import AtSimulator, Heard, eventually, future


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[AtSimulator]:
    made = AtSimulator(tmp_path, SPEC)
    yield made
    made.stop()


@pytest.mark.parametrize("transport", ["native", pytest.param("kiteticker", marks=pytest.mark.xdist_group("twisted"))])
def test_the_feed_ticks_tells_orders_and_survives_a_drop(simulator: AtSimulator, transport: Any) -> None:
    heard, instrument = Heard(simulator, transport), future(simulator)
    feed, following = heard.feed, heard.following
    feed.subscribe([instrument])
    feed.start()
    assert following(FeedStatus).connected
    tick: Tick = following(Tick)
    assert tick.instrument == instrument
    assert 0 < tick.bid < tick.ask
    assert tick.exchange_at is not None
    broker = simulator.broker()
    order = make_order(instrument=instrument, quantity=instrument.lot, product="MIS", limit_price=round(tick.price * 1.005, 0))
    order_id = broker.place(order)
    update: OrderUpdate = following(OrderUpdate)
    assert (update.broker_order_id, update.tag, update.source) == (order_id, order.tag, "stream")
    simulator.fault(fault="drop_socket")
    assert not following(FeedStatus).connected
    assert following(FeedStatus).connected
    assert following(Tick).instrument == instrument
    feed.stop()
    eventually(lambda: feed.silent_for == float("inf"))
