"""The simulator's charges against the published and computed worked examples, and its margins against the stated approximation."""

from dataclasses import replace
from datetime import date

import pytest

from simulators.listing import Listing
from simulators.money import charges_of, exercise_tax, margin_of, square_off_fee
from simulators.orders import SimCharges
from tests.unit.sim_stage import FACTS

SHARE = Listing("NSE:SBIN", "NSE", "SBIN", "SBIN", "EQ", "SBIN", None, 0.0, 1, 0.05, 779521, None, 560.0, 500.0, 620.0, True)
FUTURE = replace(SHARE, key="NFO:NIFTY26NOVFUT", exchange="NFO", kind="FUT", underlying="NIFTY", lot=65, expiry=date(2026, 11, 23))
CALL = replace(FUTURE, key="NFO:NIFTY26NOV25000CE", kind="CE", strike=25000.0)
DAY = date(2026, 11, 20)


def lines(charges: SimCharges) -> tuple[float, ...]:
    return charges.brokerage, charges.transaction_tax, charges.exchange_turnover, charges.sebi, charges.stamp, charges.gst


def round_trip(listing: Listing, product: str, buy: float, sell: float, quantity: int, day: date = DAY) -> list[float]:
    legs = [charges_of(FACTS, "zerodha", listing, side, product, quantity, price, day) for side, price in (("BUY", buy), ("SELL", sell))]
    return [*(sum(pair) for pair in zip(*map(lines, legs), strict=True)), sum(leg.total for leg in legs)]


def test_delivery_purchase_of_july_2023() -> None:
    """K1, published by Kite: it shows no stamp duty because that is below half a rupee."""
    charges = charges_of(FACTS, "zerodha", SHARE, "BUY", "CNC", 1, 560.0, date(2023, 7, 14))
    assert charges.brokerage == 0
    assert charges.transaction_tax == pytest.approx(0.56)
    assert charges.exchange_turnover == pytest.approx(0.01876)
    assert charges.sebi == pytest.approx(0.00056)
    assert charges.gst == pytest.approx(0.0033768)
    assert charges.total - charges.stamp == pytest.approx(0.5826968)


def test_commodity_future_of_july_2023() -> None:
    gold = replace(FUTURE, key="MCX:GOLDPETAL23JULFUT", exchange="MCX", underlying="GOLDPETAL", lot=1)
    charges = charges_of(FACTS, "zerodha", gold, "SELL", "NRML", 1, 5862.0, date(2023, 7, 14))
    assert charges.tax_kind == "ctt"
    assert charges.transaction_tax == pytest.approx(0.5862)
    assert charges.exchange_turnover == pytest.approx(0.152412)
    assert charges.total == pytest.approx(2.84811132)


def test_option_purchase_of_july_2023() -> None:
    charges = charges_of(FACTS, "zerodha", replace(CALL, kind="PE"), "BUY", "NRML", 100, 1.5, date(2023, 7, 7))
    assert charges.exchange_turnover == pytest.approx(0.07575)
    assert charges.gst == pytest.approx(3.613527)
    assert charges.total - charges.stamp == pytest.approx(23.689427)


@pytest.mark.parametrize(
    ("listing", "product", "buy", "sell", "quantity", "expected"),
    [
        (FUTURE, "NRML", 24000, 24100, 65, (40, 783.25, 57.21, 3.13, 31.20, 18.06, 932.85)),  # C1
        (CALL, "NRML", 120, 140, 65, (40, 13.65, 6.00, 0.02, 0.23, 8.28, 68.19)),  # C2
        (SHARE, "CNC", 1400, 1400, 10, (0, 28.00, 0.86, 0.03, 2.10, 0.16, 31.15)),  # C4
        (SHARE, "MIS", 1000, 1000, 100, (40, 25.0, 6.14, 0.20, 3.0, 8.34, 82.68)),  # P1
        (replace(CALL, exchange="BFO", underlying="SENSEX"), "NRML", 250, 300, 20, (40, 9.00, 3.58, 0.01, 0.15, 7.85, 60.58)),  # C3
    ],
)
def test_round_trips_of_november_2026(
    listing: Listing, product: str, buy: float, sell: float, quantity: int, expected: tuple[float, ...]
) -> None:
    assert round_trip(listing, product, buy, sell, quantity) == [pytest.approx(value, abs=0.006) for value in expected]


@pytest.mark.parametrize(("day", "total"), [(date(2026, 3, 31), 397.86), (date(2026, 4, 1), 901.86)])
def test_the_tax_change_of_april_2026(day: date, total: float) -> None:
    bank = replace(FUTURE, underlying="BANKNIFTY", lot=30)
    assert charges_of(FACTS, "zerodha", bank, "SELL", "NRML", 30, 56000, day).total == pytest.approx(total, abs=0.005)


def test_exercise_tax_and_square_off_fee() -> None:
    assert exercise_tax(FACTS, 100_000.0, DAY) == pytest.approx(150.0)
    assert square_off_fee(FACTS, "zerodha") == pytest.approx(59.0)


def test_margins_of_the_approximation() -> None:
    assert margin_of(FUTURE, "BUY", "NRML", 65, 25_000.0, 25_000.0, DAY).total == pytest.approx(0.13 * 65 * 25_000)
    assert margin_of(FUTURE, "SELL", "MIS", 65, 25_000.0, 25_000.0, DAY).total == pytest.approx(0.13 * 65 * 25_000)
    assert margin_of(replace(FUTURE, underlying="SBIN"), "BUY", "NRML", 750, 900.0, 900.0, DAY).total == pytest.approx(0.2 * 750 * 900)
    assert margin_of(SHARE, "BUY", "CNC", 10, 560.0, 560.0, DAY).total == 5600.0
    assert margin_of(SHARE, "SELL", "MIS", 10, 560.0, 560.0, DAY).total == pytest.approx(1120.0)
    assert margin_of(replace(SHARE, is_fno=False), "BUY", "MIS", 10, 560.0, 560.0, DAY).leverage == 4.0
    assert margin_of(CALL, "BUY", "NRML", 65, 120.0, 25_000.0, DAY).total == 65 * 120.0


def test_short_options_block_risk_and_premium_and_more_on_expiry_day() -> None:
    at_the_money = margin_of(CALL, "SELL", "NRML", 65, 120.0, 25_000.0, DAY).total
    assert at_the_money == pytest.approx(0.11 * 65 * 25_000 + 65 * 120)
    far = margin_of(replace(CALL, strike=28_000.0), "SELL", "NRML", 65, 2.0, 25_000.0, DAY).total
    assert far == pytest.approx(0.07 * 65 * 25_000 + 65 * 2)
    assert CALL.expiry is not None
    expiring = margin_of(CALL, "SELL", "NRML", 65, 120.0, 25_000.0, CALL.expiry).total
    assert expiring == pytest.approx(at_the_money + 0.02 * 65 * 25_000)
