"""Charges against every worked example of config/market/charges.yaml, their dates, and the contract note's rounding."""

from datetime import date, timedelta
from typing import Any

import pytest

from core.errors import ConfigError
from core.types import Horizon, Instrument, Kind, Side
from execution_engine.charges import (
    Breakdown,
    Charges,
    Executed,
    category_of,
    day_contract_note,
    formula,
    rounded,
    transaction_tax,
    whole_rupees,
)
from utils.config_loader import load_charges

FACTS = load_charges()
EXAMPLES: dict[str, dict[str, Any]] = FACTS["worked_examples"]
TODAY = date(2026, 11, 20)


def equity(symbol: str = "SBIN", exchange: str = "NSE") -> Instrument:
    return Instrument(f"{exchange}:{symbol}", exchange, symbol, Kind.EQUITY, symbol)


def future(root: str = "NIFTY", exchange: str = "NFO", lot: int = 65) -> Instrument:
    return Instrument(f"{exchange}:{root}FUT", exchange, f"{root}FUT", Kind.FUTURE, root, lot)


def option(root: str = "NIFTY", exchange: str = "NFO", lot: int = 65) -> Instrument:
    return Instrument(f"{exchange}:{root}PE", exchange, f"{root}PE", Kind.PUT, root, lot, strike=24000.0)


@pytest.fixture(scope="module")
def zerodha() -> Charges:
    return Charges(FACTS, "zerodha")


@pytest.fixture(scope="module")
def icici() -> Charges:
    return Charges(FACTS, "icici", plan="ivalue")


def both(
    charges: Charges, instrument: Instrument, horizon: Horizon, buy: float, sell: float, day: date, quantity: int = 1
) -> dict[str, float]:
    """The sum of a purchase and a sale, each one order."""
    legs = [
        charges.order_charges(instrument, horizon, side, [(quantity, price)], day) for side, price in ((Side.BUY, buy), (Side.SELL, sell))
    ]
    return {name: sum(getattr(leg, name) for leg in legs) for name in Breakdown.__struct_fields__}


def test_k1_a_share_delivered_as_kite_prints_it(zerodha: Charges) -> None:
    found = zerodha.order_charges(equity(), Horizon.CARRY, Side.BUY, [(1, 560.0)], date(2023, 7, 10))
    expected = EXAMPLES["K1"]
    assert found.stt == pytest.approx(expected["stt"])
    assert found.txn + found.ipft == pytest.approx(expected["exch_incl_ipft"])
    assert found.sebi == pytest.approx(expected["sebi"])
    assert found.gst == pytest.approx(expected["gst"])
    assert found.total - found.stamp == pytest.approx(expected["total"])  # Kite shows the stamp duty in whole rupees: 0.084 as 0
    assert whole_rupees(found.stamp) == expected["stamp"]


def test_k2_a_commodity_sold_as_kite_prints_it(zerodha: Charges) -> None:
    gold = future("GOLDPETAL", "MCX", 1)
    found = zerodha.order_charges(gold, Horizon.CARRY, Side.SELL, [(1, 5862.0)], date(2023, 7, 10))
    expected = EXAMPLES["K2"]
    lines = (found.stt, found.txn, found.sebi, found.brokerage, found.stamp, found.gst, found.total)
    names = ("ctt", "exch", "sebi", "brokerage", "stamp", "gst", "total")
    assert lines == pytest.approx([expected[name] for name in names])


def test_k3_an_option_bought_as_kite_prints_it(zerodha: Charges) -> None:
    found = zerodha.order_charges(option(), Horizon.CARRY, Side.BUY, [(100, 1.5)], date(2023, 7, 10))
    expected = EXAMPLES["K3"]
    assert (found.stt, found.sebi, found.brokerage, found.gst) == pytest.approx(
        [expected[name] for name in ("stt", "sebi", "brokerage", "gst")]
    )
    assert found.txn + found.ipft == pytest.approx(expected["exch_incl_ipft"])
    assert found.total - found.stamp == pytest.approx(expected["total"])


@pytest.mark.parametrize(("name", "instrument", "horizon"), [("I1", equity(), Horizon.INTRADAY), ("I2", option(), Horizon.INTRADAY)])
def test_i1_and_i2_as_icici_prints_them(icici: Charges, name: str, instrument: Instrument, horizon: Horizon) -> None:
    found = both(icici, instrument, horizon, 500_000.0, 600_000.0, date(2022, 9, 1))
    expected = EXAMPLES[name]
    for line in ("brokerage", "sebi", "gst", "stt", "stamp"):
        assert found[line] == pytest.approx(expected[line], abs=0.005), line
    assert found["txn"] == pytest.approx(expected["exch"], abs=0.005)
    assert found["total"] == pytest.approx(expected["total"], abs=0.015)


def test_i3_the_statutory_lines_that_the_page_states(icici: Charges) -> None:
    found = both(icici, future(), Horizon.INTRADAY, 500_000.0, 600_000.0, date(2022, 9, 1))
    expected = EXAMPLES["I3"]
    assert expected["oracle"] == "published_inconsistent"  # its total and GST leave the brokerage out that it shows
    assert (found["txn"], found["sebi"], found["stt"], found["stamp"]) == pytest.approx(
        [expected[line] for line in ("exch", "sebi", "stt", "stamp")]
    )


def test_z1_shares_partly_sold_the_same_day(zerodha: Charges) -> None:
    expected = EXAMPLES["Z1"]
    orders = [
        Executed(equity(), Horizon.INTRADAY, side, quantity, quantity * price)
        for side, quantity, price in ((Side.BUY, 500, 100.0), (Side.SELL, 500, 105.0), (Side.BUY, 200, 110.0))
    ]
    assert sum(order.value for order in orders) / sum(order.quantity for order in orders) == expected["avg_price"]
    taxes = transaction_tax(zerodha, orders, TODAY)
    assert taxes["equity_intraday"] == pytest.approx(expected["stt_intraday_raw"], abs=0.0005)
    assert taxes["equity_delivery"] == pytest.approx(expected["stt_delivery_raw"])
    assert [whole_rupees(tax) for tax in taxes.values()] == [expected["stt_intraday"], expected["stt_delivery"]]
    assert day_contract_note(zerodha, orders, TODAY).stt == expected["stt_intraday"] + expected["stt_delivery"]


def test_z2_a_round_trip_shown_in_whole_rupees(zerodha: Charges) -> None:
    expected = EXAMPLES["Z2"]
    found = both(zerodha, equity(), Horizon.INTRADAY, 100.0, 101.0, TODAY, quantity=100)
    assert found["stt"] == pytest.approx(expected["stt_raw"])
    assert whole_rupees(found["stt"]) == expected["stt_shown"]


def test_a1_tax_is_rounded_to_paise_and_then_to_rupees() -> None:
    assert "12.495 -> 12.50 -> 13" in EXAMPLES["A1"]["fact"]
    assert str(rounded(12.495, "0.01")) == "12.50"
    assert whole_rupees(12.495) == 13
    assert whole_rupees(12.494) == 12


def test_p1_and_c1_to_c4_as_computed(zerodha: Charges) -> None:
    for name, found in (
        ("P1", both(zerodha, equity(), Horizon.INTRADAY, 100_000.0, 100_000.0, date(2026, 10, 15))),
        ("C1", both(zerodha, future(), Horizon.INTRADAY, 24_000.0, 24_100.0, TODAY, 65)),
        ("C2", both(zerodha, option(), Horizon.INTRADAY, 120.0, 140.0, TODAY, 65)),
        ("C3", both(zerodha, option("SENSEX", "BFO", 20), Horizon.INTRADAY, 250.0, 300.0, TODAY, 20)),
        ("C4", both(zerodha, equity("RELIANCE"), Horizon.CARRY, 1400.0, 1400.0, TODAY, 10)),
    ):
        expected = EXAMPLES[name].get("computed", EXAMPLES[name])
        for line in ("brokerage", "stt", "txn", "sebi", "stamp", "gst", "total"):
            if line in expected:
                assert found[line] == pytest.approx(expected[line], abs=0.0051), (name, line)
    delivery = zerodha.depository(14_000.0, TODAY)
    assert delivery == EXAMPLES["C4"]["plus_dp"]
    assert EXAMPLES["C4"]["total"] + delivery == pytest.approx(EXAMPLES["C4"]["total_with_dp"])


def test_c6_the_day_the_tax_on_futures_rose(zerodha: Charges) -> None:
    banknifty = future("BANKNIFTY", lot=30)
    for day, expected in ((date(2026, 3, 31), "total_2026_03_31"), (date(2026, 4, 1), "total_2026_04_01")):
        found = zerodha.order_charges(banknifty, Horizon.INTRADAY, Side.SELL, [(30, 56_000.0)], day)
        assert found.total == pytest.approx(EXAMPLES["C6"][expected], abs=0.0051)


def test_every_example_of_the_file_is_tested_here() -> None:
    assert set(EXAMPLES) == {"K1", "K2", "K3", "I1", "I2", "I3", "Z1", "Z2", "A1", "P1", "C1", "C2", "C3", "C4", "C6"}


# --- what must always hold ------------------------------------------------------------------------------------------------------------


def test_executions_of_one_order_cost_what_the_order_costs(zerodha: Charges) -> None:
    split = zerodha.order_charges(future(), Horizon.INTRADAY, Side.SELL, [(65, 24_000.0), (130, 24_010.0)], TODAY)
    value = 65 * 24_000.0 + 130 * 24_010.0
    assert split == zerodha.for_value(future(), Horizon.INTRADAY, Side.SELL, 195, value, TODAY)
    assert split.brokerage == 20.0


def test_nothing_executed_costs_nothing(zerodha: Charges) -> None:
    assert zerodha.order_charges(option(), Horizon.INTRADAY, Side.BUY, [], TODAY).total == 0.0


def test_charges_grow_with_the_order_and_the_parts_make_the_total(zerodha: Charges) -> None:
    for instrument in (equity(), future(), option(), option("SENSEX", "BFO"), future("CRUDEOIL", "MCX"), option("CRUDEOIL", "MCX")):
        for side in Side:
            last = 0.0
            for quantity in range(1, 2000, 97):
                found = zerodha.for_value(instrument, Horizon.INTRADAY, side, quantity, quantity * 87.3, TODAY)
                parts = found.brokerage + found.stt + found.txn + found.ipft + found.sebi + found.stamp + found.gst
                assert found.total == pytest.approx(parts)
                assert found.total >= last
                last = found.total


def test_each_day_since_2020_has_rates_for_what_zerodha_trades(zerodha: Charges) -> None:
    day = date(2020, 1, 1)
    while day < date(2027, 12, 31):
        for instrument in (equity(), equity(exchange="BSE"), future(), option(), future("SENSEX", "BFO"), future("USDINR", "CDS")):
            for side in Side:
                assert zerodha.for_value(instrument, Horizon.INTRADAY, side, 1, 1000.0, day).total > 0
        day += timedelta(days=13)


def test_rates_before_their_table_are_marked_assumed(zerodha: Charges) -> None:
    early = zerodha.order_charges(future(), Horizon.INTRADAY, Side.SELL, [(75, 8_000.0)], date(2016, 7, 1))
    known = zerodha.order_charges(future(), Horizon.INTRADAY, Side.SELL, [(75, 8_000.0)], date(2020, 8, 3))
    assert early.assumed
    assert not known.assumed
    assert early.stt == known.stt
    assert Charges(FACTS, "upstox").order_charges(future(), Horizon.INTRADAY, Side.BUY, [(65, 24_000.0)], date(2025, 1, 1)).assumed


def test_gst_takes_the_sebi_fee_and_ipft_from_their_dates(zerodha: Charges) -> None:
    before = zerodha.order_charges(option(), Horizon.INTRADAY, Side.SELL, [(50, 100.0)], date(2022, 7, 15))
    after = zerodha.order_charges(option(), Horizon.INTRADAY, Side.SELL, [(50, 100.0)], date(2022, 7, 18))
    assert before.gst == pytest.approx(0.18 * (before.brokerage + before.txn), abs=1e-6)
    assert after.gst == pytest.approx(0.18 * (after.brokerage + after.txn + after.sebi), abs=1e-6)
    taxed = zerodha.order_charges(option(), Horizon.INTRADAY, Side.SELL, [(75, 100.0)], date(2025, 6, 2))
    assert taxed.gst == pytest.approx(0.18 * (taxed.brokerage + taxed.txn + taxed.sebi + taxed.ipft))


def test_tax_is_the_sellers_and_stamp_duty_the_buyers(zerodha: Charges) -> None:
    bought = zerodha.order_charges(future(), Horizon.INTRADAY, Side.BUY, [(65, 24_000.0)], TODAY)
    sold = zerodha.order_charges(future(), Horizon.INTRADAY, Side.SELL, [(65, 24_000.0)], TODAY)
    assert (bought.stt, sold.stamp) == (0.0, 0.0)
    assert (sold.stt, bought.stamp) == pytest.approx((780.0, 31.2))


def test_the_contract_note_rounds_each_line_as_prescribed(zerodha: Charges) -> None:
    orders = [
        Executed(future(), Horizon.INTRADAY, Side.BUY, 65, 65 * 24_000.0),
        Executed(future(), Horizon.INTRADAY, Side.SELL, 65, 65 * 24_100.0),
    ]
    note = day_contract_note(zerodha, orders, TODAY)
    assert (note.stt, note.stamp, note.txn, note.sebi, note.gst) == (783.0, 31.0, 57.21, 3.13, 18.06)
    assert note.total == pytest.approx(40 + 783 + 57.21 + 3.13 + 31 + 18.06)


def test_the_other_brokers_plans_are_read(icici: Charges) -> None:
    value = 100_000.0
    day = date(2026, 11, 20)
    for charges, instrument, horizon, expected in (
        (Charges(FACTS, "groww"), equity(), Horizon.CARRY, 20.0),
        (Charges(FACTS, "angelone"), equity(), Horizon.INTRADAY, 20.0),
        (Charges(FACTS, "upstox"), future(), Horizon.INTRADAY, 20.0),
        (Charges(FACTS, "icici", plan="prime_9999"), equity(), Horizon.CARRY, 70.0),
        (Charges(FACTS, "icici", plan="prime_9999"), option(), Horizon.CARRY, 18.0),
    ):
        assert charges.for_value(instrument, horizon, Side.BUY, 130, value, day).brokerage == pytest.approx(expected), charges.broker
    assert Charges(FACTS, "groww").for_value(equity(), Horizon.CARRY, Side.BUY, 1, 100.0, day).brokerage == pytest.approx(2.5)
    assert Charges(FACTS, "groww").depository(50.0, day) == pytest.approx(3.5 * 1.18)
    assert Charges(FACTS, "groww").depository(5000.0, day) == pytest.approx(20 * 1.18)
    with pytest.raises(ConfigError, match=r"per prime plan .* is no formula"):
        icici.for_value(equity(), Horizon.CARRY, Side.BUY, 1, value, day)


@pytest.mark.parametrize(
    ("written", "turnover", "expected"),
    [
        (0, 5000.0, 0.0),
        (20, 5000.0, 20.0),
        (0.0007, 10_000.0, 7.0),
        ("min(20, 0.0003*T)", 10_000.0, 3.0),
        ("min(20, 0.0003*T)", 1e6, 20.0),
        ("min(20, max(5, 0.001*T))", 100.0, 5.0),
        ("3.5 + (16.5 if T >= 100 else 0)", 100.0, 20.0),
        ("3.5 + (16.5 if T >= 100 else 0)", 99.99, 3.5),
    ],
)
def test_plans_are_formulas_of_the_turnover(written: float | str, turnover: float, expected: float) -> None:
    assert formula(written)(turnover) == pytest.approx(expected)


@pytest.mark.parametrize(
    "written", ["__import__('os')", "T.real", "print(T)", "20 if", "open('x')", "[T]", "min(T)", "'a'", "X * 2", "T ** 2", "True"]
)
def test_anything_but_arithmetic_of_the_turnover_is_refused(written: str) -> None:
    with pytest.raises(ConfigError, match="no formula of T"):
        formula(written)


def test_what_the_file_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError, match="no brokerage plan of 'nobody'"):
        Charges(FACTS, "nobody")
    with pytest.raises(ConfigError, match="ivalue, prime_9999"):
        Charges(FACTS, "icici")
    with pytest.raises(ConfigError, match="no brokerage of upstox for currency_futures"):
        Charges(FACTS, "upstox").for_value(future("USDINR", "CDS"), Horizon.INTRADAY, Side.BUY, 1, 1000.0, TODAY)
    with pytest.raises(ConfigError, match="no exchange charge of BSE for currency_futures"):
        Charges(FACTS, "zerodha").for_value(future("USDINR", "BCD"), Horizon.INTRADAY, Side.BUY, 1, 1000.0, TODAY)
    with pytest.raises(ValueError, match="cannot be traded"):
        category_of(Instrument("NSE:NIFTY 50", "NSE", "NIFTY 50", Kind.INDEX, "NIFTY"), Horizon.INTRADAY)
