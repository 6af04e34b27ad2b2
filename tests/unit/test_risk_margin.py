"""The margin approximation, each branch worked by hand."""

from datetime import date
from typing import Any

import msgspec
import pytest

from core.types import Horizon, Instrument, Kind, Side
from risk.margin import required
from risk.settings import MarginSettings
from tests.builders import DAY, NIFTY, RELIANCE

FAR = date(2026, 12, 29)


def contract(kind: Kind, underlying: str, strike: float | None = None, expiry: date | None = FAR, multiplier: int = 1) -> Instrument:
    return msgspec.structs.replace(NIFTY, kind=kind, underlying=underlying, strike=strike, expiry=expiry, multiplier=multiplier)


INDEX_CALL = contract(Kind.CALL, "NIFTY", 25_500.0)
INDEX_PUT = contract(Kind.PUT, "NIFTY", 24_500.0)
STOCK_CALL = contract(Kind.CALL, "RELIANCE", 1_500.0)


@pytest.mark.parametrize(
    ("instrument", "side", "quantity", "price", "spot", "expected"),
    [
        (RELIANCE, Side.BUY, 100, 1_500.0, None, 30_000.0),  # 20 %
        (RELIANCE, Side.SELL, 100, 50.0, None, 1_000.0),  # 20 % at the boundary
        (RELIANCE, Side.BUY, 100, 49.95, None, 1_248.75),  # 25 % below it
        (msgspec.structs.replace(RELIANCE, is_fno=False), Side.BUY, 100, 1_500.0, None, 37_500.0),
        (NIFTY, Side.BUY, 65, 25_000.0, None, 211_250.0),  # 13 %
        (contract(Kind.FUTURE, "RELIANCE"), Side.SELL, 500, 1_500.0, None, 150_000.0),  # 20 %
        (contract(Kind.FUTURE, "GOLD", multiplier=100), Side.BUY, 1, 120_000.0, None, 2_400_000.0),
        (INDEX_CALL, Side.BUY, 65, 100.0, 25_000.0, 6_500.0),  # the premium
        (INDEX_CALL, Side.SELL, 65, 100.0, 25_000.0, 6_500.0 + (2_750.0 - 500.0) * 65),  # 11 % less 500 out of the money
        (INDEX_PUT, Side.SELL, 65, 100.0, 25_000.0, 6_500.0 + (2_750.0 - 500.0) * 65),
        (INDEX_CALL, Side.SELL, 65, 900.0, 26_000.0, 58_500.0 + 2_860.0 * 65),  # in the money: no distance
        (INDEX_CALL, Side.SELL, 65, 10.0, 20_000.0, 650.0 + 1_400.0 * 65),  # far out: 7 %
        (INDEX_CALL, Side.SELL, 65, 100.0, None, 6_500.0 + 2_805.0 * 65),  # as at the money
        (contract(Kind.CALL, "NIFTY", 25_000.0, multiplier=10), Side.SELL, 65, 100.0, 25_000.0, 65_000.0 + 2_750.0 * 650),
        (STOCK_CALL, Side.SELL, 500, 20.0, 1_500.0, 10_000.0 + 300.0 * 500),
        (STOCK_CALL, Side.SELL, 500, 1.0, 1_000.0, 500.0 + 100.0 * 500),  # far out: 10 %
        (contract(Kind.CALL, "NIFTY", 25_000.0, expiry=None), Side.SELL, 65, 100.0, 25_000.0, 6_500.0 + 2_750.0 * 65),
        (contract(Kind.CALL, "NIFTY", 25_000.0, expiry=DAY), Side.SELL, 65, 100.0, 25_000.0, 6_500.0 + 3_250.0 * 65),  # 2 % more
        (contract(Kind.CALL, "RELIANCE", 1_500.0, expiry=DAY), Side.SELL, 500, 20.0, 1_500.0, 10_000.0 + 450.0 * 500),  # x 1.5
    ],
)  # fmt: skip
def test_margin_worked_by_hand(
    instrument: Instrument, side: Side, quantity: int, price: float, spot: float | None, expected: float
) -> None:
    assert required(instrument, side, quantity, price, Horizon.INTRADAY, MarginSettings(), DAY, spot) == pytest.approx(expected, abs=1e-6)


def test_delivery_is_paid_in_full() -> None:
    assert required(RELIANCE, Side.BUY, 100, 1_500.0, Horizon.CARRY, MarginSettings(), DAY) == 150_000.0


@pytest.mark.parametrize(("day", "factor"), [(date(2026, 11, 22), 1.0), (date(2026, 11, 23), 1.5), (date(2026, 11, 24), 1.5)])
def test_the_week_of_expiry_begins_on_its_monday(day: date, factor: float) -> None:
    option = contract(Kind.CALL, "RELIANCE", 1_500.0, expiry=date(2026, 11, 24))
    assert required(option, Side.SELL, 1, 0.0, Horizon.INTRADAY, MarginSettings(), day) == pytest.approx(300.0 * factor)


def test_the_rates_are_settings() -> None:
    changes: dict[str, Any] = {"index_future": 0.5}
    assert required(NIFTY, Side.BUY, 1, 100.0, Horizon.CARRY, MarginSettings(**changes), DAY) == 50.0
