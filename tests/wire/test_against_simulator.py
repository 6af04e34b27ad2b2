"""An order's life and the books of each broker at its stand-alone simulator, which runs by itself; all else is the contract suite's."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from brokers import registry
from core.errors import BrokerError
from core.types import Horizon, OrderState, SessionState, Side
from tests.builders import make_order
from tests.wire.at_simulator import AtSimulator, eventually, future


@pytest.mark.parametrize("name", registry.names())
def test_an_orders_life_and_the_books(tmp_path: Path, name: str) -> None:
    simulator = AtSimulator(tmp_path, registry.get(name))
    try:
        check_life(simulator)
    finally:
        simulator.stop()


def check_life(simulator: AtSimulator) -> None:
    broker, instrument = simulator.broker(), future(simulator)
    assert simulator.session.state() is SessionState.VALID
    assert simulator.told["user_id"] in broker.profile().values()
    price = broker.last_prices([instrument])[instrument.key]
    product = simulator.spec.product(Horizon.INTRADAY, instrument)
    base = make_order(instrument=instrument, quantity=instrument.lot, product=product, side=Side.BUY)

    def row(order_id: str, **wanted: Any) -> Any:
        """The order's row, once it says so. One budget serves all reads: they are few."""
        return eventually(
            lambda: next(
                (
                    one
                    for one in broker.orders()
                    if one.broker_order_id == order_id and all(getattr(one, word) == value for word, value in wanted.items())
                ),
                None,
            ),
            every=1.0,
        )

    far = msgspec.structs.replace(base, tag="FAR0000000000001", limit_price=float(round(price * 0.99)))
    far = msgspec.structs.replace(far, broker_order_id=broker.place(far))
    assert far.broker_order_id is not None
    resting = row(far.broker_order_id, state=OrderState.WORKING)
    assert (resting.filled, resting.instrument, resting.product) == (0, instrument, product)
    broker.modify(far, quantity=instrument.lot * 2, limit_price=float(round(price * 0.985)), trigger_price=None)
    row(far.broker_order_id, quantity=instrument.lot * 2, state=OrderState.WORKING)
    broker.cancel(far)
    row(far.broker_order_id, state=OrderState.CANCELLED)
    with pytest.raises(BrokerError):
        broker.cancel(far)

    near = msgspec.structs.replace(base, tag="NEAR000000000001", limit_price=float(round(price * 1.005)))
    near_id = broker.place(near)
    row(near_id, state=OrderState.FILLED, filled=instrument.lot)
    fills = eventually(lambda: [one for one in broker.trades() if one.broker_order_id == near_id], every=1.0)
    assert sum(fill.quantity for fill in fills) == instrument.lot
    (held,) = broker.positions()
    assert (held.instrument, held.quantity, held.product) == (instrument, instrument.lot, product)
    assert broker.funds().available > 0
