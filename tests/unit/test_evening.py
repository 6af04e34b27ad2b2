"""The broker's own figures of an evening and a morning: charges that differ are booked and told, what is carried starts at its close."""

from datetime import date
from typing import Any

import pytest

from core.events import BrokerPosition
from core.types import Order
from execution_engine.evening import Evening
from tests.harness import Harness

DAY = date(2026, 11, 20)
CARRIED, BROKERS = 25_010.0, 25_007.5


def traded() -> tuple[Harness, Evening, Order]:
    """One entry of 65, whose charges are 0 by the harness's tariff."""
    it = Harness()
    it.want(1)
    it.complete()
    return it, evening_of(it), it.last


def evening_of(it: Harness) -> Evening:
    return Evening(it.clock, it.store, it.desk, it.portfolio, it._alert)


def rows(it: Harness, kind: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in entry.items() if name not in ("seq", "at", "kind")} for entry in it.journal(kind)]


def test_a_difference_is_booked_as_the_strategys_and_never_as_a_fill() -> None:
    it, evening, order = traded()
    before, fills = it.portfolio.pnl()["charges"], len(it.store.saved_fills)
    evening.compare(DAY, {order.id: 59.37})
    it.engine.settle()
    assert it.portfolio.pnl("told")["charges"] == pytest.approx(before + 59.37)
    assert len(it.store.saved_fills) == fills
    assert it.store.crashed().positions()[0].charges == 5937
    assert rows(it, "charges_differ") == [
        {
            "order": order.id,
            "strategy": "told",
            "instrument": order.instrument.key,
            "ours": 0.0,
            "broker": 59.37,
            "difference": 59.37,
        }
    ]
    assert it.told("Charges differ") == ["warn"]
    assert it.store.get("charges", DAY.isoformat()) == {"told": 5937}


def test_a_paisa_is_no_difference() -> None:
    it, evening, order = traded()
    evening.compare(DAY, {order.id: 0.01})
    assert rows(it, "charges_differ") == []
    assert rows(it, "charges_compared") == [{"day": "2026-11-20", "orders": 1, "ours": 0.0, "broker": 0.01}]
    assert it.told("Charges differ") == []


def test_a_day_is_compared_once_also_over_a_restart() -> None:
    it, evening, order = traded()
    assert evening.executed(DAY) == [order]
    evening.compare(DAY, {order.id: 10.0})
    it.engine.settle()
    assert evening.executed(DAY) == []
    assert evening_of(it.restarted()).executed(DAY) == []


def test_an_order_that_filled_nothing_costs_nothing_and_is_not_asked_for() -> None:
    it = Harness()
    it.want(1)
    it.ack()
    it.working()
    assert evening_of(it).executed(DAY) == []


def test_what_is_carried_starts_at_the_brokers_close_and_else_at_our_last_price() -> None:
    it, evening, order = traded()
    it.tick(CARRIED, 5)
    for told, start in ((BROKERS, BROKERS), (0.0, CARRIED)):
        it.tick(CARRIED, 1)
        shown = (BrokerPosition(order.instrument, "MIS", 65, 25_000.0, CARRIED, told),)
        it.portfolio.start_day(DAY, evening.closes(shown, ()))
        it.tick(CARRIED, 1)
        assert it.portfolio.pnl()["unrealised"] == pytest.approx(65 * (CARRIED - start))
    assert [entry["price"] for entry in rows(it, "rebased")] == [BROKERS, None]


def test_a_close_of_what_we_do_not_hold_is_left_alone() -> None:
    it = Harness()
    shown = (BrokerPosition(it.instrument, "MIS", 65, 25_000.0, CARRIED, BROKERS),)
    assert evening_of(it).closes(shown, ()) == {}
    assert rows(it, "rebased") == []
