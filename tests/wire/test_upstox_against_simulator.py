"""Our Upstox feed against the stand-alone wire simulator: ticks, order updates, drops, garbage, a dead token."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brokers.upstox import SPEC
from core.events import FeedStatus, OrderUpdate
from core.types import Horizon, Kind, Order, SessionState, Side, Tick
from tests.builders import make_order
from tests.wire.at_simulator import AtSimulator, Heard, eventually, future
from tests.wire.granted_client import admin


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[AtSimulator]:
    made = AtSimulator(tmp_path, SPEC)
    yield made
    made.stop()


def order_of(simulator: AtSimulator, **changes: Any) -> Order:
    instrument = future(simulator)
    product = SPEC.product(Horizon.INTRADAY, instrument)
    return make_order(instrument=instrument, quantity=instrument.lot, product=product, side=Side.BUY, **changes)


def test_the_feed_ticks_tells_orders_and_survives_drops_and_garbage(simulator: AtSimulator) -> None:
    heard, instrument = Heard(simulator), future(simulator)
    index = next(one for one in simulator.lookup.tokens.values() if one.kind is Kind.INDEX)
    heard.feed.subscribe([instrument, index])
    heard.feed.start()
    assert heard.following(FeedStatus).connected
    eventually(lambda: heard.feed.confirmed == {instrument.key, index.key})
    while (tick := heard.following(Tick)).instrument != instrument:
        pass
    assert (tick.exchange_at is not None, tick.volume > 0, tick.bid < tick.ask) == (True, True, True)
    for _ in range(3):  # a fault strikes a message of either stream, and only the market's can show these
        simulator.fault(fault="unknown_token", count=3)
        simulator.fault(fault="garbage_frame", hex="0affffffffff", count=3)
    eventually(lambda: heard.feed.counts.get("unknown token"))
    eventually(lambda: heard.feed.counts.get("message that is no protobuf"))
    order = order_of(simulator, limit_price=round(tick.price * 1.005, 0))
    eventually(lambda: len(admin(simulator.told, "GET", "/messages")) == 2)  # the portfolio stream connects beside the market feed
    order_id = simulator.broker().place(order)
    update: OrderUpdate = heard.following(OrderUpdate)
    assert (update.broker_order_id, update.tag, update.source) == (order_id, order.tag, "stream")
    simulator.fault(fault="drop_socket", match={"lane": ""}, count=2)  # both streams
    assert not heard.following(FeedStatus).connected
    assert heard.following(FeedStatus).connected  # the market feed's alone is told to the engine
    assert heard.following(Tick).instrument in (instrument, index)
    heard.feed.stop()
    assert heard.feed.join(10.0)


def test_a_dead_token_stops_the_feed_until_a_login(simulator: AtSimulator) -> None:
    heard = Heard(simulator)
    heard.feed.subscribe([future(simulator)])
    heard.feed.start()
    heard.following(Tick)
    simulator.fault(fault="kill_token")
    lost = heard.following(FeedStatus)
    while "needs today's login" not in lost.reason:
        lost = heard.following(FeedStatus)
    assert simulator.session.state() is SessionState.LOGIN_REQUIRED
    simulator.session.auto_login(simulator.told["login"])
    assert heard.following(FeedStatus).connected
    assert heard.following(Tick).price > 0
    heard.feed.stop()
    assert heard.feed.join(10.0)
