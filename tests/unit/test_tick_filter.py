"""The quarantine."""

from datetime import date, datetime, timedelta
from math import nan

import pytest

from core.types import IST, Instrument, Kind, Tick
from data_ingestion.tick_filter import Limits, TickFilter

FUTURE = Instrument("NFO:NIFTY26NOVFUT", "NFO", "NIFTY26NOVFUT", Kind.FUTURE, "NIFTY", lot=65, expiry=date(2026, 11, 23))
OPTION = Instrument("NFO:NIFTY26NOV25000CE", "NFO", "NIFTY26NOV25000CE", Kind.CALL, "NIFTY", 65, 0.05, date(2026, 11, 23), 25000.0)
NOON = datetime(2026, 11, 20, 12, tzinfo=IST)


def tick(price: float, seconds: float = 0, instrument: Instrument = FUTURE, made: datetime | None = NOON, close: float = 0.0) -> Tick:
    at = NOON + timedelta(seconds=seconds)
    return Tick(instrument, at, price, exchange_at=None if made is None else made, previous_close=close)


@pytest.mark.parametrize("price", [0.0, -5.0, nan])
def test_an_impossible_price_never_enters(price: float) -> None:
    gate = TickFilter()
    assert [gate.admit(tick(price, second)) for second in range(5)] == ["price not positive"] * 5
    assert gate.counts == {"price not positive": 5}
    assert gate.last(FUTURE) is None


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (datetime(1970, 1, 1, 5, 30, tzinfo=IST), "exchange time before 2000"),
        (NOON - timedelta(days=1), "exchange time of an earlier day"),
        (NOON + timedelta(seconds=11), "exchange time ahead of our clock"),
    ],
)
def test_an_impossible_exchange_time_is_quarantined(made: datetime, reason: str) -> None:
    gate = TickFilter()
    assert gate.admit(tick(25000.0, made=made)) == reason
    assert gate.admit(tick(25000.0)) == ""
    assert gate.samples[reason].exchange_at == made


def test_a_lone_far_price_is_held_back_and_three_agreeing_ones_are_believed() -> None:
    gate = TickFilter()
    assert gate.admit(tick(25000.0)) == ""
    assert gate.admit(tick(2500.0, 1)) == "price far from the last"
    assert gate.admit(tick(25010.0, 2)) == ""
    assert [gate.admit(tick(20000.0 + i, 3 + i)) for i in range(4)] == ["price far from the last"] * 2 + ["", ""]
    last = gate.last(FUTURE)
    assert last is not None
    assert last.price == 20003.0


def test_disagreeing_far_prices_are_never_believed() -> None:
    gate = TickFilter()
    gate.admit(tick(25000.0))
    assert all(gate.admit(tick(price, i)) for i, price in enumerate((10.0, 90000.0, 300.0, 42949672.9, 1.0)))


def test_the_first_price_is_measured_at_the_previous_close() -> None:
    gate = TickFilter(Limits(close_band=0.25))
    assert gate.admit(tick(31300.0, close=25000.0)) == "price far from the previous close"
    assert gate.admit(tick(31000.0, 1, close=25000.0)) == ""


def test_options_may_move_by_a_factor() -> None:
    gate = TickFilter()
    assert gate.admit(tick(10.0, instrument=OPTION, close=80.0)) == ""
    assert gate.admit(tick(45.0, 1, instrument=OPTION)) == ""
    assert gate.admit(tick(4500.0, 2, instrument=OPTION)) == "price far from the last"


def test_a_new_day_forgets_the_old_prices() -> None:
    gate = TickFilter()
    gate.admit(tick(25000.0))
    tomorrow = NOON + timedelta(days=1)
    assert gate.admit(Tick(FUTURE, tomorrow, 20000.0, exchange_at=tomorrow)) == ""
