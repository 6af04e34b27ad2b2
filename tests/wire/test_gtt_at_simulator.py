"""Zerodha's triggers by our client, at its wire simulator: set, listed, fired, taken back, refused."""

from datetime import timedelta
from pathlib import Path

import pytest

from brokers import registry
from core.errors import Rejected
from core.events import Guard
from core.ports import GuardBroker
from core.types import Side
from tests.wire.test_holdings_at_simulators import ByHand

KEY = "NSE:RELIANCE"


def test_a_trigger_is_set_listed_fired_or_taken_back(tmp_path: Path) -> None:
    simulator = ByHand(tmp_path, registry.get("zerodha"), "--speed", "0")
    try:
        broker = simulator.broker()
        assert isinstance(broker, GuardBroker)
        guards: GuardBroker = broker
        assert guards.guards() == ()
        share = next(one for one in simulator.lookup.tokens.values() if one.key == KEY)
        price = broker.last_prices([share])[KEY]

        def trigger(share_of_price: float, side: Side) -> Guard:
            at = round(price * share_of_price)
            return Guard("", share, "CNC", side, 5, float(at), float(at + side.sign * 20))

        near = [trigger(0.996, Side.BUY), trigger(1.004, Side.BUY)]
        numbers = [guards.place_guard(one, price) for one in (*near, trigger(0.8, Side.BUY))]
        listed = {row.id: row for row in guards.guards()}
        assert set(listed) == set(numbers)
        assert all(row.active and not row.fired for row in listed.values())
        low = listed[numbers[0]]
        assert (low.instrument, low.product, low.side, low.quantity) == (share, "CNC", Side.BUY, 5)
        assert (low.trigger_price, low.limit_price) == (near[0].trigger_price, near[0].limit_price)

        with pytest.raises(Rejected, match="too close"):
            guards.place_guard(trigger(1.0005, Side.BUY), price)

        guards.cancel_guard(listed[numbers[2]])
        ended = {row.id: row for row in guards.guards()}[numbers[2]]
        assert (ended.active, ended.fired, ended.label) == (False, False, "deleted")

        for _ in range(40):
            simulator.move(simulator.stands_at + timedelta(minutes=8))
            fired = [row for row in guards.guards() if row.fired]
            if fired:
                break
        assert not fired[0].active
        assert fired[0].order_id in {row.broker_order_id for row in broker.orders()}
        with pytest.raises(Rejected):
            guards.cancel_guard(fired[0])
    finally:
        simulator.stop()
