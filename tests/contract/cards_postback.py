"""Order updates that the broker posts to an address of ours: read like its order socket's, and from nobody else."""

import json
from typing import Any

import pytest

from core.errors import DataError, Rejected
from core.events import POSTBACK, OrderUpdate
from core.types import OrderState
from tests.contract.card import card
from tests.contract.kit import Kit
from tests.contract.stage import Stage

POSTED = "what the broker posts"


def _yes(kit: Kit) -> str:
    return "yes" if kit.posts is not None else "posts nothing"


def _read(stage: Stage, row: Any) -> OrderUpdate:
    body = row if isinstance(row, bytes) else json.dumps(row).encode()
    assert stage.spec.postback is not None
    return stage.spec.postback(body, stage, stage.clock.now(), stage.lookup)


def _posted(stage: Stage, tag: str) -> dict[str, Any] | None:
    """Of our order with this tag; None where the broker posts nothing, and nobody reads it."""
    if stage.kit.posts is None:
        assert stage.spec.postback is None
        return None
    return stage.kit.posts(stage.served.simulator, stage.served.told["credentials"], stage.at_broker(tag)[0])


@card(POSTED, "an order that filled: what its order book says", says=_yes)
def _filled(stage: Stage) -> None:
    order = stage.filled()
    row = _posted(stage, order.tag)
    if row is None:
        return
    update, book = _read(stage, row), stage.row(order)
    assert (update.source, update.state, update.filled, update.tag) == (POSTBACK, OrderState.FILLED, order.quantity, order.tag)
    assert (update.broker_order_id, update.instrument, update.side, update.product) == (
        book.broker_order_id, book.instrument, book.side, book.product,
    )  # fmt: skip
    assert update.average_price == pytest.approx(book.average_price, abs=0.01)


@card(POSTED, "an order that filled in part: alive, with what it filled", says=_yes)
def _partial(stage: Stage) -> None:
    order = stage.place(stage.order(quantity=stage.future.lot * 2))
    stage.fill(order, stage.future.lot)
    row = _posted(stage, order.tag)
    if row is None:
        return
    update = _read(stage, row)
    assert (update.state, update.filled, update.quantity) == (OrderState.WORKING, stage.future.lot, order.quantity)


def _anybody(kit: Kit) -> str:
    told = {
        "zerodha": "refused by its checksum",
        "angelone": "refused by its client code",
        "upstox": "unsigned: the address's secret alone",
    }
    return told.get(kit.name, "posts nothing")


@card(POSTED, "another app's or client's", says=_anybody)
def _of_others(stage: Stage) -> None:
    row = _posted(stage, stage.place(stage.order()).tag)
    if row is None:
        return
    if stage.kit.name == "upstox":
        assert "checksum" not in row
        return
    for name, value in {"zerodha": ("checksum", "0" * 64), "angelone": ("clientcode", "Z999999")}.items():
        if name == stage.kit.name:
            with pytest.raises(Rejected):
                _read(stage, {**row, value[0]: value[1]})
    if stage.kit.name == "zerodha":
        for spoilt in ({**row, "order_id": "9"}, {**row, "checksum": None}, {name: row[name] for name in row if name != "checksum"}):
            with pytest.raises(Rejected):
                _read(stage, spoilt)


@card(POSTED, "what does not read: refused with what was wrong", says=_yes)
def _garbled(stage: Stage) -> None:
    row = _posted(stage, stage.place(stage.order()).tag)
    if row is None:
        return
    for body in (b"", b"[]", b"{", b"[" * 40_000, b"\xff", b"null", b'{"order_id": 1' + b" " * 70_000 + b"}"):
        with pytest.raises(DataError):
            _read(stage, body)
    names = [name for name in ("quantity", "transaction_type", "transactiontype") if row.get(name)]
    assert len(names) == 2
    for name in names:
        with pytest.raises(DataError):
            _read(stage, {**row, name: {"deep": []}})
    assert _read(stage, {**row, "status": "NEWS", "orderstatus": "news"}).state is None, "a state nobody knows is never guessed"
