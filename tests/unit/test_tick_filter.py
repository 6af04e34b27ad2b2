"""The quarantine."""

from datetime import date, datetime, timedelta
from math import inf, nan

import msgspec
import pytest

from core.types import IST, Instrument, Kind, Tick
from data_ingestion.tick_filter import NEGATIVE, OUTSIDE_CIRCUIT, Limits, TickFilter

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
    "changes",
    [
        *({name: -1} for name in ("volume", "quantity", "oi", "bid_quantity", "ask_quantity")),
        *({name: value} for name in ("bid", "ask") for value in (-0.05, nan, inf)),
    ],
    ids=str,
)
def test_a_tick_with_a_negative_side_never_enters_however_near_its_price(changes: dict[str, float]) -> None:
    gate = TickFilter()
    assert gate.admit(msgspec.structs.replace(tick(25000.0), **changes)) == NEGATIVE, "the first of a day"
    assert gate.admit(tick(25000.0)) == ""
    assert [gate.admit(msgspec.structs.replace(tick(25000.0, second), **changes)) for second in range(5)] == [NEGATIVE] * 5
    assert gate.counts == {NEGATIVE: 6}
    assert gate.last(FUTURE) == tick(25000.0)


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


INDEX = Instrument("NSE:NIFTY 50", "NSE", "NIFTY 50", Kind.INDEX, "NIFTY 50")


def booked(price: float, seconds: float, bid: float, ask: float) -> Tick:
    return Tick(FUTURE, NOON + timedelta(seconds=seconds), price, exchange_at=NOON, bid=bid, ask=ask)


def test_three_impossible_prices_in_a_burst_are_not_believed() -> None:
    gate = TickFilter()
    gate.admit(tick(25000.0))
    assert all(gate.admit(tick(2500.0, 1 + n / 10)) for n in range(3))
    assert gate.admit(tick(25001.0, 2)) == ""
    assert all(gate.admit(tick(2500.0, 60 + n / 10)) for n in range(3))  # the next burst begins anew


def test_a_price_beyond_the_circuit_limits_is_never_believed_however_long_it_is_told() -> None:
    gate = TickFilter(circuit=lambda instrument: (22500.0, 27500.0))
    assert gate.admit(tick(2500.0)) == OUTSIDE_CIRCUIT  # the first of the day neither
    assert gate.admit(tick(25000.0, 1)) == ""
    assert {gate.admit(tick(20000.0, 2 + n)) for n in range(100)} == {OUTSIDE_CIRCUIT}
    assert [gate.admit(tick(22600.0, 200 + n)) for n in range(3)] == ["", "", ""]  # within ten per cent
    assert gate.counts[OUTSIDE_CIRCUIT] == 101


def test_a_book_that_stands_elsewhere_speaks_against_a_far_price() -> None:
    gate = TickFilter()
    gate.admit(booked(25000.0, 0, 24999.0, 25001.0))
    assert all(gate.admit(booked(20000.0, 1 + n, 24999.0, 25001.0)) for n in range(20))
    gate = TickFilter()
    gate.admit(booked(25000.0, 0, 24999.0, 25001.0))
    assert [gate.admit(booked(20000.0, 1 + n, 19999.0, 20001.0)) == "" for n in range(4)] == [False, False, True, True]


def test_an_index_is_believed_when_its_future_jumps_too_and_not_before() -> None:
    gate = TickFilter()
    gate.admit(tick(25000.0))
    gate.admit(tick(24980.0, instrument=INDEX))
    for second in range(1, 9):
        gate.admit(tick(25000.0 + second, second))
        assert gate.admit(tick(1500.0, second, instrument=INDEX)) == "price far from the last"
    crash = [(gate.admit(tick(21000.0, second)), gate.admit(tick(20990.0, second, instrument=INDEX))) for second in range(9, 14)]
    assert crash[-1] == ("", "")  # both tell it: it has happened


def test_a_counterpart_that_is_silent_does_not_hold_a_jump_back_for_ever() -> None:
    gate = TickFilter()
    gate.admit(tick(25000.0))
    gate.admit(tick(24980.0, instrument=INDEX))
    assert gate.admit(tick(21000.0, 20)) == "price far from the last"
    assert [gate.admit(tick(21000.0, 21 + n)) for n in range(2)][-1] == ""
