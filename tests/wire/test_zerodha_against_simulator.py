"""Our Zerodha session, client and feed against the stand-alone wire simulator: a login, the dump, an order's life and the books."""

import queue
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from brokers.zerodha import SPEC
from brokers.zerodha.client import ZerodhaBroker
from brokers.zerodha.session import ZerodhaSession
from core.errors import Rejected, SessionExpired, Unknown
from core.events import Event, FeedStatus, OrderUpdate
from core.types import IST, Horizon, OrderState, OrderType, SessionState, Side, Tick
from tests.builders import make_order
from tests.wire.at_simulator import AtSimulator, eventually, future


class Simulator(AtSimulator):
    """Free-running at real speed from 09:30."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, SPEC)

    def broker(self) -> ZerodhaBroker:
        return ZerodhaBroker(cast(ZerodhaSession, self.session), self.clock, self.budget, self.audit, self.endpoints, lambda: self.lookup)


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    made = Simulator(tmp_path)
    yield made
    made.stop()


def test_an_orders_life_and_the_books(simulator: Simulator) -> None:
    broker, instrument = simulator.broker(), future(simulator)
    assert simulator.session.state() is SessionState.VALID
    assert broker.profile()["user_id"]
    price = broker.last_prices([instrument])[instrument.key]
    low, high = broker.circuits([instrument])[instrument.key]
    assert low < price < high
    base = make_order(instrument=instrument, quantity=instrument.lot, product=SPEC.product(Horizon.INTRADAY, instrument), side=Side.BUY)

    far = base.__class__(**{**_fields(base), "tag": "FAR0000000000001", "limit_price": round(price * 0.99, 0)})
    far_id = broker.place(far)
    resting = eventually(lambda: [row for row in broker.orders() if row.tag == far.tag and row.state is OrderState.WORKING])[0]
    assert (resting.broker_order_id, resting.filled, resting.instrument) == (far_id, 0, instrument)
    far = base.__class__(**{**_fields(far), "broker_order_id": far_id})
    broker.modify(far, quantity=instrument.lot * 2, limit_price=round(price * 0.985, 0), trigger_price=None)
    eventually(lambda: [row for row in broker.orders() if row.tag == far.tag and row.quantity == instrument.lot * 2])
    broker.cancel(far)
    eventually(lambda: [row for row in broker.orders() if row.tag == far.tag and row.state is OrderState.CANCELLED])
    with pytest.raises(Rejected):
        broker.cancel(far)

    near = base.__class__(**{**_fields(base), "tag": "NEAR000000000001", "limit_price": round(price * 1.005, 0)})
    near_id = broker.place(near)
    eventually(lambda: [row for row in broker.orders() if row.tag == near.tag and row.state is OrderState.FILLED])
    fills = eventually(lambda: [row for row in broker.trades() if row.broker_order_id == near_id])
    assert sum(fill.quantity for fill in fills) == instrument.lot
    (held,) = broker.positions()
    assert (held.instrument, held.quantity, held.product) == (instrument, instrument.lot, "MIS")
    assert broker.funds().available > 0

    wrong = base.__class__(**{**_fields(base), "tag": "ODD0000000000001", "quantity": instrument.lot + 1})
    with pytest.raises(Rejected, match="lot"):
        broker.place(wrong)


def _fields(order: Any) -> dict[str, Any]:
    return {name: getattr(order, name) for name in order.__struct_fields__}


def test_candles_come_from_the_same_market(simulator: Simulator) -> None:
    instrument = future(simulator)
    start = datetime(2026, 11, 19, 9, 15, tzinfo=IST)
    bars = simulator.data().candles(instrument, start, start + timedelta(minutes=59), 5)
    assert [bar.start for bar in bars] == [start + timedelta(minutes=5 * index) for index in range(12)]
    assert all(bar.low <= bar.open <= bar.high and bar.low <= bar.close <= bar.high for bar in bars)


def test_a_lost_reply_is_unknown_and_the_tag_finds_the_order(simulator: Simulator) -> None:
    broker, instrument = simulator.broker(), future(simulator)
    price = round(broker.last_prices([instrument])[instrument.key] * 0.99, 0)
    simulator.fault(fault="drop_reply", match={"route": "POST /orders/*"})
    order = make_order(instrument=instrument, quantity=instrument.lot, product="MIS", limit_price=price, order_type=OrderType.LIMIT)
    with pytest.raises(Unknown):
        broker.place(order)
    assert eventually(lambda: [row for row in broker.orders() if row.tag == order.tag])


def test_a_token_killed_midday_ends_in_a_login_and_a_new_one_works(simulator: Simulator) -> None:
    broker = simulator.broker()
    simulator.fault(fault="kill_token")
    with pytest.raises(SessionExpired):
        eventually(lambda: broker.orders() and None, 5.0)
    assert simulator.session.state() is SessionState.LOGIN_REQUIRED
    simulator.session.auto_login(simulator.told["login"])
    assert broker.orders() == ()


def test_our_budget_keeps_a_burst_of_reads_clear_of_the_brokers_limit(simulator: Simulator) -> None:
    broker = simulator.broker()
    for _ in range(25):
        assert broker.orders() == ()
    statuses = [line[2] for line in simulator.audit.lines if line[0] == "reply"]
    assert statuses[-25:] == [200] * 25


@pytest.mark.parametrize("transport", ["native", pytest.param("kiteticker", marks=pytest.mark.xdist_group("twisted"))])
def test_the_feed_ticks_tells_orders_and_survives_a_drop(simulator: Simulator, transport: Any) -> None:
    seen: queue.Queue[Event] = queue.Queue()

    def put(events: Sequence[Event], origin: str) -> None:
        for event in events:
            seen.put(event)

    def following(kind: type[Event]) -> Any:
        while not isinstance(event := seen.get(timeout=15.0), kind):
            pass
        return event

    instrument = future(simulator)
    feed = SPEC.make_feed(
        "live", simulator.session, simulator.clock, put, simulator.endpoints, lambda: simulator.lookup, transport, lambda: True
    )
    feed.subscribe([instrument])
    feed.start()
    assert following(FeedStatus).connected
    tick: Tick = following(Tick)
    assert tick.instrument == instrument
    assert tick.bid <= tick.price + 50
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
    assert feed.silent_for == float("inf") or feed.silent_for < 5.0
