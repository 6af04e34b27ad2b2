"""The broker's own figures of an evening and a morning: charges that differ are booked and told, what is carried starts at its close."""

from datetime import date
from typing import Any

import pytest

from core.errors import ConfigError
from core.events import BrokerPosition, ChargesTold
from core.types import Order, Side
from execution_engine.charges import LINES, Charges
from execution_engine.evening import Evening
from tests.harness import Harness
from utils.config_loader import load_charges

FACTS = load_charges()
DAY = date(2026, 11, 20)
CARRIED, BROKERS = 25_010.0, 25_007.5


def traded() -> tuple[Harness, Evening, Order]:
    """One entry of 65, whose charges are 0 by the harness's tariff."""
    it = Harness()
    it.want(1)
    it.complete()
    return it, evening_of(it), it.last


def evening_of(it: Harness, broker: str = "zerodha") -> Evening:
    return Evening(it.clock, it.store, it.desk, it.portfolio, Charges(FACTS, broker), it._alert)


def told(total: float, **lines: float) -> ChargesTold:
    return ChargesTold(total, lines)


def rows(it: Harness, kind: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in entry.items() if name not in ("seq", "at", "kind")} for entry in it.journal(kind)]


def test_a_difference_is_booked_as_the_strategys_and_never_as_a_fill() -> None:
    it, evening, order = traded()
    before, fills = it.portfolio.pnl()["charges"], len(it.store.saved_fills)
    evening.compare(DAY, {order.id: told(59.37)})
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
            "lines": {},
        }
    ]
    assert it.told("Charges differ") == ["warn"]
    assert it.store.get("charges", DAY.isoformat()) == {"told": 5937}


def test_a_paisa_is_no_difference() -> None:
    it, evening, order = traded()
    evening.compare(DAY, {order.id: told(0.01)})
    assert rows(it, "charges_differ") == []
    assert rows(it, "charges_compared") == [{"day": "2026-11-20", "orders": 1, "ours": 0.0, "broker": 0.01}]
    assert it.told("Charges differ") == []


def charged(broker: str = "zerodha") -> tuple[Harness, Evening, Order, dict[str, float]]:
    """One entry of 65 with its charges by the broker's plan, and these line by line."""
    tariff = Charges(FACTS, broker)
    it = Harness(tariff=tariff)
    it.want(1)
    it.complete()
    order = it.last
    value = order.filled * order.average_price * order.instrument.multiplier
    return it, evening_of(it, broker), order, tariff.lines(order.instrument, order.horizon, order.side, order.filled, value, DAY)


def test_equal_lines_are_nothing_to_tell() -> None:
    it, evening, order, ours = charged()
    assert tuple(ours) == LINES
    assert it.portfolio.charged(order.id) == round(sum(ours.values()) * 100) > 0
    evening.compare(DAY, {order.id: told(sum(ours.values()), **ours)})
    assert rows(it, "charges_differ") == []
    assert it.told("Charges differ") == []


def test_a_line_that_differs_is_told_with_both_figures_and_the_others_beside_it() -> None:
    it, evening, order, ours = charged()
    theirs = {**ours, "brokerage": 25.0, "other": 1.5}
    evening.compare(DAY, {order.id: told(sum(theirs.values()), **theirs)})
    [entry] = rows(it, "charges_differ")
    assert entry["difference"] == pytest.approx(25.0 - ours["brokerage"] + 1.5, abs=0.011)
    assert entry["lines"] == {name: {"ours": round(ours.get(name, 0.0), 4), "broker": round(theirs[name], 4)} for name in theirs}
    [text] = [text for level, title, text in it.alerts if title == "Charges differ"]
    assert "brokerage 25.00 / 20.00" in text
    assert f"stamp {ours['stamp']:.2f} / {ours['stamp']:.2f}" in text
    assert "other 1.50 / 0.00" in text
    assert order.tag in text


@pytest.mark.parametrize(("broker", "off", "differs"), [("upstox", 0.5, False), ("upstox", 0.6, True), ("angelone", 0.02, True)])
def test_how_near_is_near_enough_is_the_brokers_own_rounding(broker: str, off: float, differs: bool) -> None:
    it, evening, order, ours = charged(broker)
    evening.compare(DAY, {order.id: told(sum(ours.values()) + off)})
    assert bool(rows(it, "charges_differ")) is differs


def test_a_broker_whose_rounding_nobody_wrote_down_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="`told` has nothing of zerodha"):
        _ = Charges({**FACTS, "told": {}}, "zerodha").near


def test_every_broker_has_a_rounding_with_its_source() -> None:
    assert set(FACTS["told"]) == set(FACTS["brokers"])
    assert all(set(row["src"]) <= set(FACTS["sources"]) and row["paise"] >= 1 for row in FACTS["told"].values())


def test_an_order_that_the_broker_does_not_tell_of_is_written_down() -> None:
    it, evening, first = traded()
    it.want(0)
    it.complete()
    assert it.last.side is Side.SELL
    evening.compare(DAY, {first.id: told(0.01)})
    [entry] = rows(it, "charges_not_compared")
    assert entry["why"] == f"the broker does not tell what 1 of 2 orders cost: {it.last.tag} {it.last.instrument.key}"
    assert [entry["orders"] for entry in rows(it, "charges_compared")] == [1]


def test_a_day_whose_process_ended_before_the_question_is_written_down_once() -> None:
    it, _, _ = traded()
    it.engine.close_day(DAY)
    for _ in range(2):  # two mornings, should the first end early as well
        it = it.restarted()
        evening_of(it).missed(DAY)
        it.engine.settle()
    assert rows(it, "charges_not_compared") == [{"day": "2026-11-20", "why": "the process ended before the broker was asked"}]


def test_a_day_that_was_compared_or_without_an_order_of_ours_was_not_missed() -> None:
    it, evening, order = traded()
    evening.compare(DAY, {order.id: told(0.01)})
    evening.missed(DAY)
    idle = Harness()
    evening_of(idle).missed(DAY)
    assert rows(it, "charges_not_compared") == rows(idle, "charges_not_compared") == []


def test_a_day_is_compared_once_also_over_a_restart() -> None:
    it, evening, order = traded()
    assert evening.executed(DAY) == [order]
    evening.compare(DAY, {order.id: told(10.0)})
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
