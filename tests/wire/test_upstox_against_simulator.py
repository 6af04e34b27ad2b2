"""Our Upstox session, client and feed against the stand-alone wire simulator: login, file, an order's life, both streams and faults."""

import queue
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from brokers.feed_pair import FeedPair
from brokers.upstox import SPEC
from core.errors import Rejected, SessionExpired, Unknown
from core.events import Event, FeedStatus, OrderUpdate
from core.types import IST, Horizon, Kind, Order, OrderState, OrderType, SessionState, Side, Tick
from tests.builders import make_order
from tests.wire.at_simulator import AtSimulator, eventually, future


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[AtSimulator]:
    made = AtSimulator(tmp_path, SPEC)
    yield made
    made.stop()


def order_of(simulator: AtSimulator, **changes: Any) -> Order:
    instrument = future(simulator)
    product = SPEC.product(Horizon.INTRADAY, instrument)
    return make_order(instrument=instrument, quantity=instrument.lot, product=product, side=Side.BUY, **changes)


def test_an_orders_life_and_the_books(simulator: AtSimulator) -> None:
    broker, instrument = simulator.broker(), future(simulator)
    assert simulator.session.state() is SessionState.VALID
    assert broker.profile()["user_id"] == "UP1234"
    price = broker.last_prices([instrument])[instrument.key]
    low, high = broker.circuits([instrument])[instrument.key]  # type: ignore[attr-defined]  # a CircuitSource too
    assert low < price < high
    far = order_of(simulator, tag="FAR0000000000001", limit_price=round(price * 0.99, 0))
    far_id = broker.place(far)
    resting = eventually(lambda: [row for row in broker.orders() if row.tag == far.tag and row.state is OrderState.WORKING])[0]
    assert (resting.broker_order_id, resting.filled, resting.instrument) == (far_id, 0, instrument)
    far = msgspec.structs.replace(far, broker_order_id=far_id)
    broker.modify(far, quantity=instrument.lot * 2, limit_price=round(price * 0.985, 0), trigger_price=None)
    eventually(lambda: [row for row in broker.orders() if row.tag == far.tag and row.quantity == instrument.lot * 2])
    broker.cancel(far)
    eventually(lambda: [row for row in broker.orders() if row.tag == far.tag and row.state is OrderState.CANCELLED])
    with pytest.raises(Rejected, match="already"):
        broker.cancel(far)

    near = order_of(simulator, tag="NEAR000000000001", limit_price=round(price * 1.005, 0))
    near_id = broker.place(near)
    eventually(lambda: [row for row in broker.orders() if row.tag == near.tag and row.state is OrderState.FILLED])
    fills = eventually(lambda: [row for row in broker.trades() if row.broker_order_id == near_id])
    assert sum(fill.quantity for fill in fills) == instrument.lot
    (held,) = broker.positions()
    assert (held.instrument, held.quantity, held.product) == (instrument, instrument.lot, "I")
    assert broker.funds().available > 0
    with pytest.raises(Rejected, match="lot"):
        broker.place(msgspec.structs.replace(near, tag="ODD0000000000001", quantity=instrument.lot + 1))


def test_candles_are_ascending_and_todays_join_yesterdays(simulator: AtSimulator) -> None:
    start = datetime(2026, 11, 19, 15, 0, tzinfo=IST)
    bars = simulator.data().candles(future(simulator), start, simulator.clock.now(), 5)
    days = [bar.start.date().day for bar in bars]
    assert days == sorted(days)
    assert {19, 20} == set(days)
    assert len({bar.start for bar in bars}) == len(bars)


def test_a_lost_reply_is_unknown_and_the_tag_finds_the_order(simulator: AtSimulator) -> None:
    broker = simulator.broker()
    price = round(broker.last_prices([future(simulator)])[future(simulator).key] * 0.99, 0)
    simulator.fault(fault="drop_reply", match={"route": "POST /v3/order/place"})
    order = order_of(simulator, limit_price=price, order_type=OrderType.LIMIT)
    with pytest.raises(Unknown):
        broker.place(order)
    assert eventually(lambda: [row for row in broker.orders() if row.tag == order.tag])


def test_a_token_killed_midday_ends_in_a_login_and_a_new_one_works(simulator: AtSimulator) -> None:
    broker = simulator.broker()
    simulator.fault(fault="kill_token")
    with pytest.raises(SessionExpired):
        eventually(lambda: broker.orders() and None, 5.0)
    assert simulator.session.state() is SessionState.LOGIN_REQUIRED
    simulator.session.auto_login(simulator.told["login"])
    assert broker.orders() == ()


class Heard:
    """A feed's events in a queue."""

    def __init__(self, simulator: AtSimulator) -> None:
        self._events: queue.Queue[Event] = queue.Queue()
        made = SPEC.make_feed(
            "live", simulator.session, simulator.clock, self._put, simulator.endpoints, lambda: simulator.lookup, "native", lambda: True
        )
        assert isinstance(made, FeedPair)
        self.feed = made

    def _put(self, events: Sequence[Event], origin: str) -> None:
        for event in events:
            self._events.put(event)

    def following(self, kind: type[Event]) -> Any:
        while not isinstance(event := self._events.get(timeout=15.0), kind):
            pass
        return event


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
    order_id = eventually(lambda: _placed(simulator, order))
    update: OrderUpdate = heard.following(OrderUpdate)
    assert (update.broker_order_id, update.tag, update.source) == (order_id, order.tag, "stream")
    simulator.fault(fault="drop_socket", match={"lane": ""}, count=2)  # both streams
    assert not heard.following(FeedStatus).connected
    assert heard.following(FeedStatus).connected  # the market feed's alone is told to the engine
    assert heard.following(Tick).instrument in (instrument, index)
    heard.feed.stop()
    assert heard.feed.join(10.0)


def _placed(simulator: AtSimulator, order: Order) -> str:
    time.sleep(1.0)  # the portfolio stream connects beside the market feed
    return simulator.broker().place(order)


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
