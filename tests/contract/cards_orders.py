"""Orders as they are asked for: every type x horizon x kind x validity, taken in our words or refused before it is sent."""

from functools import partial
from typing import Any

import msgspec
import pytest

from core.errors import Rejected
from core.types import Horizon, Instrument, Kind, Order, OrderState, OrderType, Purpose, Side, Validity
from tests.contract.card import CARDS, Card, card
from tests.contract.kit import Kit
from tests.contract.stage import Stage

AREA = "orders asked for"
KINDS = {Kind.EQUITY: "a share", Kind.FUTURE: "a future", Kind.CALL: "an option"}


def _order(stage: Stage, order_type: OrderType, horizon: Horizon, kind: Kind, validity: Validity) -> Order:
    instrument = stage.of(kind)
    if order_type in (OrderType.SL, OrderType.SL_M):
        made = stage.stop_order(instrument, Side.BUY, horizon=horizon, validity=validity)
        return msgspec.structs.replace(made, order_type=order_type)
    return stage.order(instrument, order_type=order_type, horizon=horizon, validity=validity)


def _says(order_type: OrderType, validity: Validity, kit: Kit) -> str:
    why = kit.refuses(order_type, validity)
    if why:
        return f"refused unsent: {why}"
    return "turned down by the broker" if order_type is OrderType.SL and validity is Validity.IOC else "yes"


def _play(order_type: OrderType, horizon: Horizon, kind: Kind, validity: Validity, stage: Stage) -> None:
    order, kit = _order(stage, order_type, horizon, kind, validity), stage.kit
    why = kit.refuses(order_type, validity)
    if why:
        with pytest.raises(Rejected, match=why):
            stage.broker.place(order)
        assert stage.sent() == []
        return
    if order_type is OrderType.SL and validity is Validity.IOC:
        assert "IOC" in stage.turned_down(order)
        return
    order = stage.place(order)
    row = stage.row(order)
    waiting = OrderState.TRIGGER_PENDING if order_type is OrderType.SL else OrderState.WORKING
    assert row.state is (OrderState.CANCELLED if validity is Validity.IOC else waiting)
    assert (row.instrument, row.side, row.quantity, row.filled) == (order.instrument, Side.BUY, order.quantity, 0)
    assert (row.order_type, row.product, row.broker_order_id) == (order_type, kit.products[horizon, kind], order.broker_order_id)
    assert stage.spec.horizon_of(row.product) is (Horizon.CARRY if kit.intraday_is_carried else horizon)
    assert row.limit_price == pytest.approx(order.limit_price)
    assert row.trigger_price == (pytest.approx(order.trigger_price) if order_type is OrderType.SL else None)


for _type in OrderType:
    for _validity in Validity:
        for _horizon in Horizon:
            for _kind, _words in KINDS.items():
                _name = f"{_type.value} {_validity.value}, {_horizon.value}, {_words}"
                CARDS.append(Card(AREA, _name, partial(_play, _type, _horizon, _kind, _validity), partial(_says, _type, _validity)))


def _refused(stage: Stage, order: Order, words: str) -> None:
    """Nothing leaves, and the reason is told."""
    with pytest.raises(Rejected, match=words):
        stage.broker.place(order)
    assert stage.sent() == []


@card(AREA, "a stop without its trigger: refused unsent")
def _no_trigger(stage: Stage) -> None:
    _refused(stage, stage.order(order_type=OrderType.SL, trigger_price=None), "without a trigger")


@card(AREA, "a tag too long for the broker: refused unsent")
def _long_tag(stage: Stage) -> None:
    assert stage.spec.tag_length == stage.kit.longest_tag
    _refused(stage, stage.order(tag="T" * (stage.kit.longest_tag + 1)), "tag")


@card(AREA, "no tag: refused unsent")
def _no_tag(stage: Stage) -> None:
    _refused(stage, stage.order(tag=""), "tag")


@card(AREA, "the longest tag comes back whole", says=lambda kit: "yes" if kit.echoes_tags else "taken, but nobody gives it back")
def _longest_tag(stage: Stage) -> None:
    order = stage.order()
    order = msgspec.structs.replace(order, tag=order.tag.ljust(stage.kit.longest_tag, "Z"))
    order = stage.place(order)
    assert stage.row(order).tag == (order.tag if stage.kit.echoes_tags else None)
    assert stage.at_broker(order.tag)


@card(AREA, "an index: refused unsent")
def _index(stage: Stage) -> None:
    _refused(stage, stage.order(stage.index), "index")


@card(AREA, "an instrument that is not in today's file: refused unsent, or turned down for certain")
def _unlisted(stage: Stage) -> None:
    gone = Instrument("NFO:NIFTY26OCTFUT", "NFO", "NIFTY26OCTFUT", Kind.FUTURE, "NIFTY", 65, 0.1)
    with pytest.raises(Rejected):
        stage.broker.place(msgspec.structs.replace(stage.order(), instrument=gone))
    assert not [order for order in stage.account.orders.values() if order.listing.symbol == gone.symbol]


@card(AREA, "a change of an order whose id is not known yet: refused unsent")
def _no_id(stage: Stage) -> None:
    order = stage.order()
    with pytest.raises(Rejected, match="no broker order id"):
        stage.broker.modify(order, quantity=65, limit_price=order.limit_price, trigger_price=None)
    with pytest.raises(Rejected, match="no broker order id"):
        stage.broker.cancel(order)
    assert stage.sent() == []


@card(AREA, "a paper account's session has no order methods, and its transport refuses the route")
def _paper(stage: Stage) -> None:
    data: Any = stage.data()
    assert not hasattr(data, "place")
    method, path = stage.kit.order_route_of_reader
    with pytest.raises(Rejected, match="allow-list"):
        getattr(data, "_calls", data)._http.request(method, stage.endpoints.rest + path, json={})
    assert stage.sent() == []


# --- what the broker turns down --------------------------------------------------------------------------------------------------------


@card(AREA, "half a lot: turned down for certain")
def _half_a_lot(stage: Stage) -> None:
    assert "lot" in stage.turned_down(stage.order(quantity=stage.future.lot + 1)).lower()


@card(AREA, "a price off the tick: turned down for certain")
def _off_tick(stage: Stage) -> None:
    assert "tick" in stage.turned_down(stage.order(limit_price=stage.far(stage.future, Side.BUY) + 0.03)).lower()


@card(AREA, "more than the freeze quantity: turned down for certain")
def _freeze(stage: Stage) -> None:
    assert "freeze" in stage.turned_down(stage.order(quantity=stage.future.lot * 100)).lower()


@card(AREA, "a price beyond the circuit: turned down for certain")
def _circuit(stage: Stage) -> None:
    assert "circuit" in stage.turned_down(stage.order(stage.share, limit_price=stage.at(stage.share, 0.5))).lower()


@card(AREA, "a futures price outside the price protection range: turned down for certain")
def _protection(stage: Stage) -> None:
    assert "price protection" in stage.turned_down(stage.order(limit_price=stage.at(stage.future, 1.04), side=Side.BUY)).lower()


@card(AREA, "more than the money there is: turned down for certain")
def _money(stage: Stage) -> None:
    assert stage.turned_down(stage.order(stage.share, horizon=Horizon.CARRY, quantity=5_000_000))


@card(AREA, "a delivery sale without the shares: turned down for certain")
def _no_shares(stage: Stage) -> None:
    share = stage.listed(Kind.EQUITY, "VSTIND")
    assert "holding" in stage.turned_down(stage.order(share, side=Side.SELL, horizon=Horizon.CARRY, purpose=Purpose.EXIT)).lower()


@card(AREA, "a stop on the wrong side of the market: turned down for certain")
def _wrong_side(stage: Stage) -> None:
    order = stage.stop_order(side=Side.SELL, away=-0.01)
    assert "trigger" in stage.turned_down(order).lower()


@card(AREA, "a stop whose limit lies before its trigger: turned down for certain")
def _limit_before_trigger(stage: Stage) -> None:
    order = stage.stop_order(side=Side.SELL)
    assert "trigger" in stage.turned_down(msgspec.structs.replace(order, limit_price=stage.at(stage.future, 0.995))).lower()


@card(AREA, "risk management says no after the order has its id: REJECTED with the reason")
def _rms(stage: Stage) -> None:
    stage.fault("reject", message="RMS:Blocked for a card")
    row = stage.row(stage.place(stage.order()))
    assert (row.state, row.filled) == (OrderState.REJECTED, 0)
    assert "Blocked for a card" in row.reason


@card(AREA, "the market stands still: the order ends REJECTED with the reason")
def _halt(stage: Stage) -> None:
    stage.served.run(stage.served.exchange.halt, True)
    row = stage.row(stage.place(stage.order()))
    assert row.state is OrderState.REJECTED
    assert row.reason
