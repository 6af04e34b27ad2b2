"""An order's life once it is sent: every step of the broker's ladder, fills, changes and the races between them."""

from functools import partial

import msgspec
import pytest

from core.errors import Rejected
from core.events import OrderUpdate
from core.types import Horizon, Order, OrderState, OrderType, Side, Validity
from simulators.orders import SimOrder, Status
from tests.contract.card import CARDS, Card, card
from tests.contract.kit import Kit, Label
from tests.contract.stage import Stage

LADDER, LIFE, RACES = "statuses", "an order's life", "changes and races"


# --- the ladder -------------------------------------------------------------------------------------------------------------------------


def _stand(stage: Stage, order: SimOrder, status: Status) -> None:
    """Let time pass from step to step of the exchange until the order stands at `status`."""
    for _ in range(12):
        if order.status is status:
            return
        due = stage.served.run(stage.served.exchange.next_due)
        stage.pass_(max(0.001, (due - stage.clock.now()).total_seconds()))
    raise AssertionError(f"the order stands at {order.status}, never at {status}")


def _reach(stage: Stage, status: Status) -> Order:
    """An order that stands at `status` now; market time does not move until its row has been read."""
    order = stage.stop_order() if status is Status.TRIGGER_PENDING else stage.order()
    if status is Status.REJECTED:
        stage.fault("reject")
    if status is Status.COMPLETE:
        order = msgspec.structs.replace(order, limit_price=stage.near(order.instrument, Side.BUY))
    settled = status in (Status.MODIFY_VALIDATING, Status.MODIFY_PENDING, Status.CANCEL_PENDING, Status.CANCELLED)
    order = stage.place(order, settle=settled)
    if status in (Status.MODIFY_VALIDATING, Status.MODIFY_PENDING):
        price = stage.at(order.instrument, 0.985)
        stage.broker.modify(order, quantity=order.quantity, limit_price=price, trigger_price=None)
    elif status in (Status.CANCEL_PENDING, Status.CANCELLED):
        stage.broker.cancel(order)
    if status is Status.COMPLETE:
        stage.until(lambda: stage.at_broker(order.tag)[0].status is status)
    elif status not in (Status.RECEIVED, Status.VALIDATING):
        _stand(stage, stage.at_broker(order.tag)[0], status)
    return order


def _step(status: Status, stage: Stage) -> None:
    order = _reach(stage, status)
    row = stage.row(order)
    label, state = stage.kit.ladder[status]
    assert (row.label, row.state) == (label, state)


def _word(status: Status, kit: Kit) -> str:
    return kit.ladder[status][0].lower()


def _state(label: Label, kit: Kit) -> str:
    return label.state.value


def _late(kit: Kit) -> str:
    return "turned down for certain" if kit.changed_too_late is Rejected else "in doubt until the book is read"


def _busy(kit: Kit) -> str:
    return "turned down for certain" if kit.busy is Rejected else "in doubt until the book is read"


def _near(value: float | None, wanted: float | None) -> bool:
    return value is not None and wanted is not None and abs(value - wanted) < 1e-6 * wanted


for _status in (one for one in Status if one not in (Status.MODIFIED, Status.AMO_RECEIVED, Status.RECEIVED)):
    CARDS.append(
        Card(
            LADDER,
            _status.value.lower().replace("_", " "),
            partial(_step, _status),
            partial(_word, _status),
        )
    )


@card(
    LADDER,
    "an after-market order of another tool, before the market opens",
    says=lambda kit: kit.ladder[Status.AMO_RECEIVED][0].lower(),
    alone=True,
)
def _amo(stage: Stage) -> None:
    stage.pass_(8 * 3600.0)  # 17:20: the market is closed
    if stage.session.state().value == "LOGIN_REQUIRED":
        stage.session.auto_login(stage.login_page)
    order = stage.foreign(stage.share, Side.BUY, price=stage.far(stage.share, Side.BUY), variety="amo")
    (row,) = [row for row in stage.broker.orders() if row.broker_order_id == stage.kit.order_id(order)]
    label, state = stage.kit.ladder[Status.AMO_RECEIVED]
    assert (row.label, row.state, row.tag) == (label, state, None)


@card(LADDER, "a word nobody knows is quarantined, and its row kept", says=lambda kit: "state unknown, label kept")
def _unknown_word(stage: Stage) -> None:
    order = stage.place(stage.order())
    stage.fault("relabel", stage.kit.routes.orders, label="HELD BY THE MOON", count=0)
    row = stage.row(order)
    assert row.state is None
    assert row.label.lower() == "held by the moon"


def _label(label: Label, stage: Stage) -> None:
    if label.base == "part":
        order = stage.place(stage.order(quantity=stage.future.lot * 3))
        stage.fill(order, stage.future.lot)
    else:
        order = stage.filled() if label.base == "filled" else stage.place(stage.stop_order() if label.base == "stop" else stage.order())
    stage.fault("relabel", stage.kit.routes.orders, label=label.text, count=0)
    row = stage.row(order)
    assert row.state is label.state
    assert label.base != "part" or row.filled == stage.future.lot, "what has filled counts, whatever the word"
    assert row.label.lower() == label.text.strip().lower()


def labels(kit: Kit) -> list[Card]:
    """The words of this broker's list that its simulator does not come by itself to say."""
    return [
        Card(
            LADDER,
            f"{label.text.strip().lower()!r} of a {'partly filled' if label.base == 'part' else label.base} order",
            partial(_label, label),
            partial(_state, label),
            of=kit.name,
        )
        for label in kit.labels
    ]


# --- fills ------------------------------------------------------------------------------------------------------------------------------


@card(LIFE, "a marketable order fills; trades and average price agree")
def _fills(stage: Stage) -> None:
    order = stage.filled(quantity=stage.future.lot * 2)
    row, trades = stage.row(order), [trade for trade in stage.trades() if trade.broker_order_id == order.broker_order_id]
    assert (row.state, row.filled) == (OrderState.FILLED, order.quantity)
    assert sum(trade.quantity for trade in trades) == order.quantity
    assert sum(trade.quantity * trade.price for trade in trades) / order.quantity == pytest.approx(row.average_price, abs=0.01)
    assert {(trade.instrument, trade.side) for trade in trades} == {(order.instrument, Side.BUY)}
    assert all(trade.at.date() == stage.clock.now().date() for trade in trades)
    assert len({trade.id for trade in trades}) == len(trades)


@card(LIFE, "a sale fills, and the position goes down by it")
def _sells(stage: Stage) -> None:
    before = stage.position(stage.future, stage.kit.products[Horizon.INTRADAY, stage.future.kind])
    stage.filled(side=Side.SELL)
    assert stage.position(stage.future, stage.kit.products[Horizon.INTRADAY, stage.future.kind]) == before - stage.future.lot


@card(LIFE, "a partial fill: still working, what is filled is told")
def _partial(stage: Stage) -> None:
    order = stage.place(stage.order(quantity=stage.future.lot * 4))
    stage.fill(order, stage.future.lot)
    row = stage.row(order)
    assert (row.state, row.filled, row.quantity) == (OrderState.WORKING, stage.future.lot, stage.future.lot * 4)
    assert row.average_price == pytest.approx(order.limit_price)


@card(LIFE, "filled in three parts: three trades, one order, the right average")
def _three(stage: Stage) -> None:
    order = stage.place(stage.order(quantity=stage.future.lot * 3))
    for _ in range(3):
        stage.fill(order, stage.future.lot)
        stage.pass_(1.0)
    trades = [trade for trade in stage.trades() if trade.broker_order_id == order.broker_order_id]
    assert [trade.quantity for trade in trades] == [stage.future.lot] * 3
    assert stage.row(order).state is OrderState.FILLED


@card(LIFE, "a partial fill, then the rest is cancelled: the fill stands")
def _partial_cancelled(stage: Stage) -> None:
    order = stage.place(stage.order(quantity=stage.future.lot * 4))
    stage.fill(order, stage.future.lot)
    stage.broker.cancel(order)
    stage.settle()
    row = stage.row(order)
    assert (row.state, row.filled) == (OrderState.CANCELLED, stage.future.lot)


@card(
    LIFE,
    "an IOC takes what is there and its rest dies",
    says=lambda kit: f"refused unsent: {kit.refuses_ioc}" if kit.refuses_ioc else "yes",
)
def _ioc(stage: Stage) -> None:
    order = stage.order(validity=Validity.IOC, quantity=stage.future.lot * 4, limit_price=stage.near(stage.future, Side.BUY))
    if stage.kit.refuses_ioc:
        with pytest.raises(Rejected, match=stage.kit.refuses_ioc):
            stage.broker.place(order)
        assert stage.sent() == []
        return
    stage.fault("partial", quantity=stage.future.lot)
    order = stage.place(order)
    row = stage.row(order)
    assert row.state is OrderState.CANCELLED
    assert 0 <= row.filled <= stage.future.lot


@card(LIFE, "a stop waits, triggers and fills")
def _stop(stage: Stage) -> None:
    pair = []
    for side in Side:  # wherever the market goes, one of the two is hit
        order = stage.stop_order(side=side, away=0.0004)
        pair.append(stage.place(msgspec.structs.replace(order, limit_price=stage.at(stage.future, 1 + side.sign * 0.01))))
        assert stage.row(pair[-1]).state is OrderState.TRIGGER_PENDING
    hit = stage.until(lambda: next((order for order in pair if not stage.at_broker(order.tag)[0].live), None), 3600.0, 10.0)
    assert hit is not None
    assert (stage.row(hit).state, stage.row(hit).filled) == (OrderState.FILLED, hit.quantity)


@card(LIFE, "an order is found by its tag among others")
def _tagged(stage: Stage) -> None:
    first, second = stage.place(stage.order()), stage.place(stage.order())
    assert stage.row(first).broker_order_id == first.broker_order_id != stage.row(second).broker_order_id


# --- changes ----------------------------------------------------------------------------------------------------------------------------


def _modify(stage: Stage, order: Order, **changes: object) -> Order:
    new = msgspec.structs.replace(order, **changes)
    stage.broker.modify(order, quantity=new.quantity, limit_price=new.limit_price, trigger_price=new.trigger_price)
    return new


@card(RACES, "a new price")
def _new_price(stage: Stage) -> None:
    order = _modify(stage, stage.place(stage.order()), limit_price=stage.at(stage.future, 0.985))
    stage.settle()
    row = stage.row(order)
    assert row.state is OrderState.WORKING
    assert _near(row.limit_price, order.limit_price)


@card(RACES, "a new quantity")
def _new_quantity(stage: Stage) -> None:
    order = _modify(stage, stage.place(stage.order()), quantity=stage.future.lot * 3)
    stage.settle()
    assert (stage.row(order).state, stage.row(order).quantity) == (OrderState.WORKING, stage.future.lot * 3)


@card(RACES, "a new quantity counts what is filled")
def _total_quantity(stage: Stage) -> None:
    order = stage.place(stage.order(quantity=stage.future.lot * 4))
    stage.fill(order, stage.future.lot)
    _modify(stage, order, quantity=stage.future.lot * 2)
    stage.settle()
    row = stage.row(order)
    assert (row.quantity, row.filled, row.state) == (stage.future.lot * 2, stage.future.lot, OrderState.WORKING)


@card(RACES, "down to what is filled already: the order is complete")
def _to_filled(stage: Stage) -> None:
    order = stage.place(stage.order(quantity=stage.future.lot * 4))
    stage.fill(order, stage.future.lot * 2)
    _modify(stage, order, quantity=stage.future.lot * 2)
    stage.settle()
    row = stage.row(order)
    assert (row.quantity, row.filled, row.state) == (stage.future.lot * 2, stage.future.lot * 2, OrderState.FILLED)


@card(RACES, "a stop's new trigger and limit")
def _new_trigger(stage: Stage) -> None:
    order = stage.place(stage.stop_order())
    order = _modify(stage, order, trigger_price=stage.at(stage.future, 0.98), limit_price=stage.at(stage.future, 0.975))
    stage.settle()
    row = stage.row(order)
    assert row.state is OrderState.TRIGGER_PENDING
    assert _near(row.trigger_price, order.trigger_price)
    assert _near(row.limit_price, order.limit_price)


@card(RACES, "a change that the exchange turns down leaves the order as it was")
def _change_refused(stage: Stage) -> None:
    order = stage.place(stage.order(stage.share))
    _modify(stage, order, limit_price=stage.at(stage.share, 0.5))  # beyond the circuit, which shows only later
    stage.settle()
    row = stage.row(order)
    assert row.state is OrderState.WORKING
    assert _near(row.limit_price, order.limit_price)


@card(
    RACES,
    "a change after the fill",
    says=_late,
)
def _change_after_fill(stage: Stage) -> None:
    order = stage.filled()
    with pytest.raises(stage.kit.changed_too_late):
        _modify(stage, order, limit_price=stage.far(stage.future, Side.BUY))
    assert stage.row(order).state is OrderState.FILLED


@card(RACES, "the fill overtakes the change: filled, at the old price")
def _fill_beats_change(stage: Stage) -> None:
    order = stage.place(stage.order())
    _modify(stage, order, limit_price=stage.at(stage.future, 0.985))
    stage.fill(order, order.quantity)
    stage.settle()
    row = stage.row(order)
    assert (row.state, row.filled) == (OrderState.FILLED, order.quantity)
    assert _near(row.average_price, order.limit_price)


@card(RACES, "a part fills while the change is on its way: both count")
def _part_meets_change(stage: Stage) -> None:
    order = stage.place(stage.order(quantity=stage.future.lot * 2))
    new = _modify(stage, order, limit_price=stage.at(stage.future, 0.985))
    stage.fill(order, stage.future.lot)
    stage.settle()
    row = stage.row(order)
    assert (row.state, row.filled) == (OrderState.WORKING, stage.future.lot)
    assert _near(row.limit_price, new.limit_price)


@card(
    RACES,
    "the 26th change",
    says=_busy,
)
def _most_changes(stage: Stage) -> None:
    order = stage.place(stage.order())
    for count in range(25):
        _modify(stage, order, limit_price=stage.at(stage.future, 0.98 + 0.0002 * (count % 5)))
        stage.pass_(2.0)
    with pytest.raises(stage.kit.busy):
        _modify(stage, order, limit_price=stage.at(stage.future, 0.985))
    assert stage.spec.modifications_per_order == 25


@card(RACES, "a cancel")
def _cancel(stage: Stage) -> None:
    order = stage.place(stage.order())
    stage.broker.cancel(order)
    stage.settle()
    assert stage.row(order).state is OrderState.CANCELLED


@card(RACES, "a stop's cancel")
def _cancel_stop(stage: Stage) -> None:
    order = stage.place(stage.stop_order())
    stage.broker.cancel(order)
    stage.settle()
    assert stage.row(order).state is OrderState.CANCELLED


@card(
    RACES,
    "a second cancel",
    says=_late,
)
def _cancel_twice(stage: Stage) -> None:
    order = stage.place(stage.order())
    stage.broker.cancel(order)
    stage.settle()
    with pytest.raises(stage.kit.changed_too_late):
        stage.broker.cancel(order)
    assert stage.row(order).state is OrderState.CANCELLED


@card(
    RACES,
    "a cancel before the exchange has the order",
    says=_busy,
)
def _cancel_early(stage: Stage) -> None:
    order = stage.place(stage.order(), settle=False)
    with pytest.raises(stage.kit.busy):
        stage.broker.cancel(order)
    stage.settle()
    assert stage.row(order).state is OrderState.WORKING


@card(RACES, "the fill overtakes the cancel: filled, never cancelled")
def _fill_beats_cancel(stage: Stage) -> None:
    order = stage.place(stage.order())
    stage.broker.cancel(order)
    stage.fill(order, order.quantity)
    stage.settle()
    row: OrderUpdate = stage.row(order)
    assert (row.state, row.filled) == (OrderState.FILLED, order.quantity)


@card(RACES, "a part fills while the cancel is on its way: cancelled with its fill")
def _part_meets_cancel(stage: Stage) -> None:
    order = stage.place(stage.order(quantity=stage.future.lot * 2))
    stage.broker.cancel(order)
    stage.fill(order, stage.future.lot)
    stage.settle()
    row = stage.row(order)
    assert (row.state, row.filled) == (OrderState.CANCELLED, stage.future.lot)


@card(RACES, "a cancel of an order that never was: turned down for certain")
def _cancel_nothing(stage: Stage) -> None:
    order = msgspec.structs.replace(stage.order(), broker_order_id="261120000999999")
    with pytest.raises(Rejected):
        stage.broker.cancel(order)


@card(RACES, "a change of an order that never was: turned down for certain")
def _modify_nothing(stage: Stage) -> None:
    order = msgspec.structs.replace(stage.order(), broker_order_id="261120000999999")
    with pytest.raises(Rejected):
        _modify(stage, order, limit_price=order.limit_price)


@card(RACES, "a stop becomes no market order by being changed: refused unsent")
def _to_market(stage: Stage) -> None:
    order = stage.place(stage.stop_order())
    before = len(stage.sent())
    with pytest.raises(Rejected, match="never sent"):
        _modify(stage, msgspec.structs.replace(order, order_type=OrderType.SL_M), limit_price=0.0)
    assert len(stage.sent()) == before
