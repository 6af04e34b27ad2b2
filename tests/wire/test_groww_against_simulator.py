"""Our polling feed against the stand-alone wire simulator of Groww: polls, order states, refusals, a dead token."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brokers.groww import SPEC
from core.events import FeedStatus, OrderUpdate
from core.types import Horizon, Kind, Order, OrderState, SessionState, Side, Tick
from tests.builders import make_order
from tests.wire.at_simulator import AtSimulator, Heard, eventually, future


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[AtSimulator]:
    made = AtSimulator(tmp_path, SPEC)
    yield made
    made.stop()


def order_of(simulator: AtSimulator, **changes: Any) -> Order:
    instrument = future(simulator)
    product = SPEC.product(Horizon.INTRADAY, instrument)
    return make_order(instrument=instrument, quantity=instrument.lot, product=product, side=Side.BUY, **changes)


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
    for kind, count in (("rate_limit", 1), ("server_error", 30)):
        simulator.fault(fault=kind, count=count, match={"route": "GET /v1/live-data/*"})
        lost = heard.following(FeedStatus)
        assert not lost.connected
        if count > 1:  # one refusal is over at the next question, which may have been asked by now
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
