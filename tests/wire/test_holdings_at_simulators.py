"""What lies in the demat account, read by each broker's own client from its wire simulator on the day after the shares were bought."""

from datetime import datetime
from pathlib import Path

import pytest

from brokers import registry
from core.ports import HoldingSource
from core.types import IST, Horizon, OrderState, Side
from tests.builders import make_order
from tests.wire.at_simulator import AtSimulator

BOUGHT, NEXT = datetime(2026, 11, 20, 9, 40, tzinfo=IST), datetime(2026, 11, 23, 9, 20, tzinfo=IST)


class ByHand(AtSimulator):
    """A simulator whose time is moved, and our clock with it."""

    stands_at = datetime(2026, 11, 20, 9, 30, tzinfo=IST)

    def move(self, at: datetime) -> None:
        self.admin("/move", {"seconds": (at - self.stands_at).total_seconds()})
        self.stands_at = at
        self.clock.leap(at - self.clock.now())
        self.session.auto_login(self.told["login"])  # a simulator of ICICI holds the times of one login against each other


@pytest.mark.parametrize("name", ["zerodha", "angelone", "upstox", "icici", "groww"])
def test_shares_bought_yesterday_are_held_today(name: str, tmp_path: Path) -> None:
    spec = registry.get(name)
    simulator = ByHand(tmp_path, spec, "--speed", "0")
    try:
        broker = simulator.broker()
        assert isinstance(broker, HoldingSource)
        assert broker.holdings() == ()
        share = next(one for one in simulator.lookup.tokens.values() if one.key == "NSE:RELIANCE")
        price = broker.last_prices([share])[share.key]
        product = spec.product(Horizon.CARRY, share)
        order = make_order(
            instrument=share, quantity=20, product=product, side=Side.BUY, limit_price=round(price * 1.01), horizon=Horizon.CARRY
        )
        broker.place(order)
        simulator.move(BOUGHT)
        (filled,) = [one for one in broker.orders() if one.state is OrderState.FILLED]
        paid = sum(one.quantity * one.price for one in broker.trades()) / filled.filled

        simulator.move(NEXT)
        simulator.learn()
        (held,) = broker.holdings()
        assert (held.instrument, held.quantity) == (share, 20)
        assert held.average_price == pytest.approx(paid, abs=0.01)
        assert held.last_price == broker.last_prices([share])[share.key]
        assert held.close_price == pytest.approx(held.last_price, rel=0.05) or name == "groww"
    finally:
        simulator.stop()
