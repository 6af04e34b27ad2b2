"""Indicators against naive recomputation over the whole history, to the last bit where the definition allows it."""

import math
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.types import Bar
from strategies.indicators import ATR, EMA, SMA, VWAP
from tests.unit.strategy_fakes import bar_at

PRICES = st.floats(0.0025, 1e7)
PERIODS = st.integers(1, 30)


@st.composite
def bars(draw: st.DrawFn) -> list[Bar]:
    """Bars of up to three sessions, with gaps between them and volumes that may be zero."""
    made = []
    for number in range(draw(st.integers(0, 60))):
        low, high = sorted((draw(PRICES), draw(PRICES)))
        first, close = draw(st.floats(low, high)), draw(st.floats(low, high))
        volume = draw(st.integers(0, 10**7))
        made.append(bar_at(5.0 * (number % 20), close, open=first, high=high, low=low, volume=volume, day=number // 20))
    return made


@given(PERIODS, st.lists(PRICES, max_size=100))
def test_sma_is_the_correctly_rounded_mean_of_its_window(period: int, values: list[float]) -> None:
    sma = SMA(period)
    for count, value in enumerate(values, 1):
        got = sma.add(value)
        window = values[:count][-period:]
        wanted = float(sum(map(Fraction, window)) / period) if count >= period else None
        assert got == wanted == sma.value


@given(PERIODS, st.lists(PRICES, min_size=40, max_size=80), st.lists(PRICES, max_size=50))
def test_sma_forgets_all_that_left_its_window(period: int, window: list[float], before: list[float]) -> None:
    fresh, old = SMA(period), SMA(period)
    for value in before:
        old.add(value)
    for value in window:
        fresh.add(value)
        old.add(value)
    assert fresh.value == old.value


def test_sma_does_not_drift_over_a_million_values() -> None:
    sma = SMA(3)
    for number in range(1_000_000):
        sma.add(0.05 if number % 7 else 9_999_999.95)
    last = [0.05 if number % 7 else 9_999_999.95 for number in range(999_997, 1_000_000)]
    assert sma.value == float(sum(map(Fraction, last)) / 3)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_sma_refuses_what_is_no_number(value: float) -> None:
    with pytest.raises((ValueError, OverflowError)):
        SMA(3).add(value)


@given(PERIODS, st.lists(PRICES, max_size=100))
def test_ema_equals_its_recurrence_from_the_first_value(period: int, values: list[float]) -> None:
    ema = EMA(period)
    got = [ema.add(value) for value in values]
    wanted: list[float | None] = [None] * min(period - 1, len(values))
    if len(values) >= period:
        value = float(sum(map(Fraction, values[:period])) / period)
        wanted.append(value)
        for price in values[period:]:
            value += 2.0 / (period + 1) * (price - value)
            wanted.append(value)
    assert got == wanted
    assert ema.value == (got[-1] if got else None)


@given(PERIODS, bars())
def test_atr_equals_wilders_recurrence(period: int, played: list[Bar]) -> None:
    atr = ATR(period)
    got = [atr.add(bar) for bar in played]
    ranges = []
    for number, bar in enumerate(played):
        spans = [bar.high - bar.low]
        if number:
            close = played[number - 1].close
            spans += [abs(bar.high - close), abs(bar.low - close)]
        ranges.append(max(spans))
    wanted: list[float | None] = [None] * min(period - 1, len(played))
    if len(played) >= period:
        value = float(sum(map(Fraction, ranges[:period])) / period)
        wanted.append(value)
        for one in ranges[period:]:
            value = (value * (period - 1) + one) / period
            wanted.append(value)
    assert got == wanted


@given(bars())
def test_vwap_is_todays_value_over_todays_volume(played: list[Bar]) -> None:
    vwap = VWAP()
    for count, bar in enumerate(played, 1):
        got = vwap.add(bar)
        today = [one for one in played[:count] if one.start.date() == bar.start.date()]
        volume = sum(one.volume for one in today)
        if volume == 0:
            assert got is None
        else:
            exact = sum(Fraction(one.high + one.low + one.close) / 3 * one.volume for one in today) / volume
            assert got is not None
            assert got == pytest.approx(float(exact), rel=1e-12)
            assert min(one.low for one in today) * (1 - 1e-12) <= got <= max(one.high for one in today) * (1 + 1e-12)
        assert got == vwap.value


def test_vwap_begins_anew_with_a_new_date_even_before_its_first_trade() -> None:
    vwap = VWAP()
    assert vwap.add(bar_at(0, 100.0)) == 100.0
    assert vwap.add(bar_at(0, 500.0, volume=0, day=1)) is None
    assert vwap.add(bar_at(5, 200.0, day=1)) == 200.0


def test_atr_sees_the_gap_over_night() -> None:
    atr = ATR(1)
    atr.add(bar_at(0, 100.0, high=101.0, low=99.0))
    assert atr.add(bar_at(0, 110.0, high=111.0, low=109.0, day=1)) == 11.0
    assert atr.add(bar_at(5, 90.0, high=91.0, low=89.0, day=1)) == 21.0


@pytest.mark.parametrize("indicator", [SMA, EMA, ATR])
@pytest.mark.parametrize("period", [0, -1, 2.0, True, "3"])
def test_a_period_is_a_whole_number_of_bars(indicator: type, period: object) -> None:
    with pytest.raises(ValueError, match="period"):
        indicator(period)


def test_indicators_keep_a_bounded_memory() -> None:
    sma = SMA(50)
    for number in range(10_000):
        sma.add(float(number))
    assert len(sma._ring) == 50
    assert timedelta(minutes=5) == bar_at(0, 1.0).at - bar_at(0, 1.0).start
