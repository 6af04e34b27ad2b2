"""Our Groww session, client and polling feed against the stand-alone wire simulator: login, file, an order's life, polls and faults."""

import queue
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from brokers.groww import SPEC
from brokers.groww.feed import PollingFeed
from core.errors import RateLimited, Rejected, SessionExpired, Unknown
from core.events import Event, FeedStatus, OrderUpdate
from core.types import IST, Horizon, Instrument, Kind, Order, OrderState, OrderType, SessionState, Side, Tick
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
    assert broker.profile()["user_id"] == "GR1234"
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
    assert (held.instrument, held.quantity, held.product) == (instrument, instrument.lot, "MIS")
    assert broker.funds().available > 0
    assert broker.place(near) == near_id, "a used reference is the order that was taken, and no second one"
    assert len([row for row in broker.orders() if row.tag == near.tag]) == 1
    with pytest.raises(Rejected, match="lot"):
        broker.place(msgspec.structs.replace(near, tag="ODD0000000000001", quantity=instrument.lot + 1))


def test_a_stop_rests_and_candles_are_ascending(simulator: AtSimulator) -> None:
    broker, instrument = simulator.broker(), future(simulator)
    price = broker.last_prices([instrument])[instrument.key]
    stop = order_of(
        simulator, tag="STOP000000000001", order_type=OrderType.SL, trigger_price=round(price * 1.01), limit_price=round(price * 1.012)
    )
    broker.place(stop)
    eventually(lambda: [row for row in broker.orders() if row.tag == stop.tag and row.state is OrderState.TRIGGER_PENDING])
    start = datetime(2026, 11, 19, 15, 0, tzinfo=IST)
    bars = simulator.data().candles(instrument, start, simulator.clock.now(), 5)
    days = [bar.start.date().day for bar in bars]
    assert days == sorted(days)
    assert {19, 20} == set(days)


def test_what_is_lost_is_unknown_and_what_is_refused_is_refused(simulator: AtSimulator) -> None:
    broker = simulator.broker()
    price = round(broker.last_prices([future(simulator)])[future(simulator).key] * 0.99, 0)
    for kind in ("drop_reply", "empty_body", "timed_out"):
        simulator.fault(fault=kind, match={"route": "POST /v1/order/create"})
        order = order_of(simulator, limit_price=price, tag=f"LOST{kind.replace('_', '').upper()}01")
        with pytest.raises(Unknown):
            broker.place(order)
        tag = order.tag
        assert eventually(lambda tag=tag: [row for row in broker.orders() if row.tag == tag])  # type: ignore[misc]
    simulator.fault(fault="ip_not_allowed", match={"route": "POST /v1/order/create"})
    with pytest.raises(Rejected, match="static IPv4"):
        broker.place(order_of(simulator, limit_price=price, tag="ADDRESS000000001"))
    simulator.fault(fault="rate_limit", match={"route": "POST /v1/order/create"})
    with pytest.raises(RateLimited):
        broker.place(order_of(simulator, limit_price=price, tag="THROTTLED0000001"))


def test_a_token_killed_midday_is_replaced_without_a_person_where_its_secret_is_stored(simulator: AtSimulator) -> None:
    broker = simulator.broker()
    simulator.fault(fault="kill_token")
    with pytest.raises(SessionExpired):
        eventually(lambda: broker.orders() and None, 5.0)
    assert simulator.session.state() is SessionState.VALID
    assert broker.orders() == ()


class Heard:
    """A feed's events in a queue."""

    def __init__(self, simulator: AtSimulator) -> None:
        self._events: queue.Queue[Event] = queue.Queue()
        made = SPEC.make_feed(
            "live", simulator.session, simulator.clock, self._put, simulator.endpoints, lambda: simulator.lookup, "native", lambda: True
        )
        assert isinstance(made, PollingFeed)
        self.feed = made

    def _put(self, events: Sequence[Event], origin: str) -> None:
        for event in events:
            self._events.put(event)

    def following(self, kind: type[Event]) -> Any:
        while not isinstance(event := self._events.get(timeout=20.0), kind):
            pass
        return event

    def tick_of(self, instrument: Instrument) -> Tick:
        while (tick := self.following(Tick)).instrument != instrument:
            pass
        found: Tick = tick
        return found


def test_the_feed_quotes_a_few_tells_orders_and_survives_refusals(simulator: AtSimulator) -> None:
    heard, instrument = Heard(simulator), future(simulator)
    index = next(one for one in simulator.lookup.tokens.values() if one.kind is Kind.INDEX)
    heard.feed.subscribe([instrument, index])
    heard.feed.start()
    assert heard.following(FeedStatus).connected
    tick = heard.tick_of(instrument)
    assert (tick.exchange_at is not None, tick.volume > 0, 0 < tick.bid < tick.ask) == (True, True, True)
    eventually(lambda: heard.feed.confirmed == {instrument.key, index.key})
    assert heard.feed.silent_for < 3.0
    order = order_of(simulator, limit_price=round(tick.price * 1.005, 0))
    order_id = simulator.broker().place(order)
    update: OrderUpdate = heard.following(OrderUpdate)
    while update.state is not OrderState.FILLED:
        update = heard.following(OrderUpdate)
    assert (update.broker_order_id, update.tag, update.source, update.filled) == (order_id, order.tag, "poll", instrument.lot)
    for kind, count in (("rate_limit", 1), ("server_error", 12)):
        simulator.fault(fault=kind, count=count, match={"route": "GET /v1/live-data/*"})
        lost = heard.following(FeedStatus)
        assert not lost.connected
        assert heard.feed.silent_for == float("inf")
        assert heard.feed.confirmed == frozenset()
        assert heard.following(FeedStatus).connected
        assert heard.tick_of(instrument).price > 0
    heard.feed.reconnect("mute")
    assert heard.following(FeedStatus).reason == "mute"
    assert heard.following(FeedStatus).connected
    heard.feed.stop()
    assert heard.feed.join(10.0)


def test_many_instruments_come_in_batches_within_the_limits(simulator: AtSimulator) -> None:
    heard, instrument = Heard(simulator), future(simulator)
    many = [one for one in simulator.lookup.tokens.values() if one.kind is not Kind.INDEX][:120]
    heard.feed.subscribe([instrument, *many])
    heard.feed.start()
    wanted = {instrument.key, *(one.key for one in many)}
    eventually(lambda: heard.feed.confirmed == wanted, 15.0)
    heard.feed.unsubscribe(many[1:])
    assert heard.feed.desired <= {instrument.key, many[0].key}
    heard.feed.stop()
    assert heard.feed.join(10.0)
    assert "request that failed" not in heard.feed.counts, heard.feed.texts


def test_a_dead_token_stops_the_feed_until_a_login(tmp_path: Path) -> None:
    simulator = AtSimulator(tmp_path, SPEC)
    try:
        heard = Heard(simulator)
        heard.feed.subscribe([future(simulator)])
        heard.feed.start()
        heard.following(Tick)
        simulator.told["credentials"]["totp_secret"], kept = "", simulator.told["credentials"]["totp_secret"]
        simulator.fault(fault="kill_token")
        lost = heard.following(FeedStatus)
        assert not lost.connected
        assert simulator.session.state() is SessionState.LOGIN_REQUIRED
        simulator.told["credentials"]["totp_secret"] = kept
        simulator.session.auto_login(simulator.told["login"])
        assert heard.following(FeedStatus).connected
        assert heard.following(Tick).price > 0
        heard.feed.stop()
        assert heard.feed.join(10.0)
    finally:
        simulator.stop()
