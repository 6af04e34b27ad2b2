"""Bands, momentum and weighted averages against naive recomputation over the whole history, and the corners that libraries leave open."""

import math
from fractions import Fraction
from itertools import pairwise
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.types import Bar
from strategies.indicators import EMA_SETTLES, OBV, WILDER_SETTLES, WMA, StdDev, Wilder
from strategies.indicators_bands import Band, Bollinger, Donchian, Highest, Keltner, Lowest, Supertrend, Trend
from strategies.indicators_momentum import ADX, MACD, RSI, Directional, Oscillation, Stochastic
from tests.unit.strategy_fakes import bar_at

TICKS = st.integers(1, 200_000).map(lambda ticks: ticks * 0.05)
NEAR = st.integers(1_900, 2_100).map(lambda ticks: ticks * 0.05)  # many equal ones
PERIODS = st.integers(1, 15)


@st.composite
def bars(draw: st.DrawFn) -> list[Bar]:
    made = []
    for number in range(draw(st.integers(0, 50))):
        prices = sorted(draw(st.tuples(NEAR, NEAR, NEAR)))
        made.append(bar_at(5.0 * number, prices[1], high=prices[2], low=prices[0], volume=draw(st.integers(0, 1000))))
    return made


@given(PERIODS, st.lists(TICKS, max_size=60))
def test_wma_is_the_correctly_rounded_weighted_mean(period: int, values: list[float]) -> None:
    wma = WMA(period)
    for count, value in enumerate(values, 1):
        window = values[:count][-period:]
        exact = sum(weight * Fraction(one) for weight, one in enumerate(window, 1)) / (period * (period + 1) // 2)
        assert wma.add(value) == wma.value == (float(exact) if count >= period else None)


@given(PERIODS, st.lists(TICKS, max_size=60))
def test_standard_deviation_is_that_of_its_window_alone(period: int, values: list[float]) -> None:
    deviation = StdDev(period)
    for count, value in enumerate(values, 1):
        got = deviation.add(value)
        if count < period:
            assert got is deviation.mean is None
            continue
        window = [Fraction(one) for one in values[:count][-period:]]
        mean = sum(window) / period
        assert deviation.mean == float(mean)
        assert got == math.sqrt(float(sum((one - mean) ** 2 for one in window) / period))


@given(PERIODS, st.floats(0.1, 5.0), st.lists(NEAR, max_size=60))
def test_bollinger_lies_the_width_about_the_mean(period: int, width: float, values: list[float]) -> None:
    bands, deviation = Bollinger(period, width), StdDev(period)
    for value in values:
        band, spread = bands.add(value), deviation.add(value)
        assert (band is None) == (spread is None)
        if band is not None and spread is not None and deviation.mean is not None:
            assert band == Band(deviation.mean - width * spread, deviation.mean, deviation.mean + width * spread)


@given(PERIODS, st.lists(NEAR, max_size=80))
def test_rolling_extremes_are_those_of_the_window(period: int, values: list[float]) -> None:
    highest, lowest = Highest(period), Lowest(period)
    for count, value in enumerate(values, 1):
        window = values[:count][-period:]
        assert highest.add(value) == highest.value == (max(window) if count >= period else None)
        assert lowest.add(value) == lowest.value == (min(window) if count >= period else None)
        assert len(highest._kept) <= period


@given(PERIODS, bars())
def test_donchian_holds_every_bar_of_its_window(period: int, played: list[Bar]) -> None:
    donchian = Donchian(period)
    for count, bar in enumerate(played, 1):
        got, window = donchian.add(bar), played[:count][-period:]
        low, high = min(one.low for one in window), max(one.high for one in window)
        assert got == (Band(low, (high + low) / 2, high) if count >= period else None)


def ema(values: list[float], period: int) -> list[float | None]:
    if len(values) < period:
        return [None] * len(values)
    found: list[float | None] = [None] * (period - 1)
    value = float(sum(map(Fraction, values[:period])) / period)
    found.append(value)
    for one in values[period:]:
        value += 2.0 / (period + 1) * (one - value)
        found.append(value)
    return found


def wilder(values: list[float], period: int) -> list[float | None]:
    if len(values) < period:
        return [None] * len(values)
    found: list[float | None] = [None] * (period - 1)
    value = float(sum(map(Fraction, values[:period])) / period)
    found.append(value)
    for one in values[period:]:
        value = (value * (period - 1) + one) / period
        found.append(value)
    return found


def true_ranges(played: list[Bar]) -> list[float]:
    return [
        max([bar.high - bar.low] + ([abs(edge - played[n - 1].close) for edge in (bar.high, bar.low)] if n else []))
        for n, bar in enumerate(played)
    ]


@given(PERIODS, st.floats(0.5, 4.0), PERIODS, bars())
def test_keltner_lies_the_width_in_ranges_about_the_average(period: int, width: float, atr: int, played: list[Bar]) -> None:
    keltner = Keltner(period, width, atr)
    got = [keltner.add(bar) for bar in played]
    middles, reaches = ema([bar.close for bar in played], period), wilder(true_ranges(played), atr)
    for band, middle, reach in zip(got, middles, reaches, strict=True):
        wanted = None if middle is None or reach is None else Band(middle - width * reach, middle, middle + width * reach)
        assert band == wanted


@given(st.integers(1, 8), st.floats(0.3, 3.0), bars())
def test_supertrend_equals_its_definition(period: int, width: float, played: list[Bar]) -> None:
    supertrend = Supertrend(period, width)
    got = [supertrend.add(bar) for bar in played]
    wanted: list[Trend | None] = []
    upper = lower = 0.0
    for n, (bar, reach) in enumerate(zip(played, wilder(true_ranges(played), period), strict=True)):
        if reach is None:
            wanted.append(None)
            continue
        middle, before = (bar.high + bar.low) / 2, wanted[-1] if wanted else None
        new_upper, new_lower = middle + width * reach, middle - width * reach
        if before is None:
            upper, lower, direction = new_upper, new_lower, 1 if bar.close >= middle else -1
        else:
            close = played[n - 1].close
            upper = new_upper if new_upper < upper or close > upper else upper
            lower = new_lower if new_lower > lower or close < lower else lower
            turned = bar.close < lower if before.direction > 0 else bar.close > upper
            direction = -before.direction if turned else before.direction
        wanted.append(Trend(lower if direction > 0 else upper, direction))
    assert got == wanted


@given(PERIODS, st.lists(NEAR, max_size=60))
def test_rsi_equals_its_definition(period: int, values: list[float]) -> None:
    rsi = RSI(period)
    got = [rsi.add(value) for value in values]
    changes = [after - before for before, after in pairwise(values)]
    gains, losses = wilder([max(0.0, c) for c in changes], period), wilder([max(0.0, -c) for c in changes], period)
    wanted: list[float | None] = [None] if values else []
    for gain, loss in zip(gains, losses, strict=True):
        if gain is None or loss is None:
            wanted.append(None)
        else:
            wanted.append(50.0 if gain + loss == 0 else 100.0 * (gain / (gain + loss)))
    assert got == wanted
    assert all(value is None or 0.0 <= value <= 100.0 for value in got)


@given(st.integers(1, 6), st.integers(2, 12), st.integers(1, 6), st.lists(NEAR, max_size=60))
def test_macd_is_made_of_three_averages(fast: int, slow: int, signal: int, values: list[float]) -> None:
    macd = MACD(fast, slow, signal)
    got = [macd.add(value) for value in values]
    lines = [a - b if a is not None and b is not None else None for a, b in zip(ema(values, fast), ema(values, slow), strict=True)]
    signals = iter(ema([line for line in lines if line is not None], signal))
    for value, line in zip(got, lines, strict=True):
        average = next(signals) if line is not None else None
        if line is None or average is None:
            assert value is None
        else:
            assert value == (line, average, line - average)


@given(st.integers(1, 8), bars())
def test_adx_equals_its_definition(period: int, played: list[Bar]) -> None:
    adx = ADX(period)
    got = [adx.add(bar) for bar in played]
    ups, downs = [], []
    for before, bar in pairwise(played):
        up, down = bar.high - before.high, before.low - bar.low
        ups.append(up if up > down and up > 0 else 0.0)
        downs.append(down if down > up and down > 0 else 0.0)
    spans = wilder(true_ranges(played)[1:], period)
    indicators: list[tuple[float, float] | None] = []
    for plus, minus, span in zip(wilder(ups, period), wilder(downs, period), spans, strict=True):
        if plus is None or minus is None or span is None:
            indicators.append(None)
        else:
            indicators.append((100 * (plus / span), 100 * (minus / span)) if span else (0.0, 0.0))
    strengths = [100 * (abs(plus - minus) / (plus + minus)) if plus + minus else 0.0 for plus, minus in filter(None, indicators)]
    missing: list[float | None] = [None] * (len(indicators) - len(strengths))
    smoothed = missing + wilder(strengths, period)
    wanted: list[Directional | None] = [None] if played else []
    for both, strength in zip(indicators, smoothed, strict=True):
        wanted.append(None if both is None or strength is None else Directional(strength, *both))
    assert got == wanted
    assert [one is not None for one in got] == [n >= 2 * period for n in range(1, len(played) + 1)]


@given(st.integers(1, 8), st.integers(1, 4), st.integers(1, 4), bars())
def test_stochastic_equals_its_definition(period: int, smooth: int, signal: int, played: list[Bar]) -> None:
    stochastic = Stochastic(period, smooth, signal)
    got = [stochastic.add(bar) for bar in played]
    fast = []
    for end in range(period, len(played) + 1):
        window = played[end - period : end]
        low, high = min(bar.low for bar in window), max(bar.high for bar in window)
        fast.append(100 * (window[-1].close - low) / (high - low) if high > low else 50.0)
    ks = [fmean(fast[end - smooth : end]) for end in range(smooth, len(fast) + 1)]
    ds = [fmean(ks[end - signal : end]) for end in range(signal, len(ks) + 1)]
    wanted = [pytest.approx((k, d)) for k, d in zip(ks[signal - 1 :], ds, strict=True)]
    assert got == [None] * (len(played) - len(wanted)) + wanted


@given(bars())
def test_obv_counts_volume_by_the_direction_of_the_close(played: list[Bar]) -> None:
    obv = OBV()
    for count, bar in enumerate(played, 1):
        moves = [(n.close > p.close) - (n.close < p.close) for p, n in pairwise(played[:count])]
        assert obv.add(bar) == played[0].volume + sum(move * one.volume for move, one in zip(moves, played[1:], strict=False))


@pytest.mark.parametrize("price", [0.05, 1452.0, 9_999_999.95])
def test_prices_that_never_move_divide_by_nothing(price: float) -> None:
    still = [bar_at(5.0 * n, price, volume=0) for n in range(40)]
    rsi, adx, stochastic, supertrend, bollinger = RSI(5), ADX(5), Stochastic(5), Supertrend(5), Bollinger(5)
    for bar in still:
        last = (rsi.add(price), adx.add(bar), stochastic.add(bar), supertrend.add(bar), bollinger.add(price))
    assert last == (50.0, Directional(0.0, 0.0, 0.0), Oscillation(50.0, 50.0), Trend(price, 1), Band(price, price, price))


@pytest.mark.parametrize("period", [1, 2, 5, 14, 50, 200, 1000])
def test_a_settled_average_has_forgotten_its_beginning(period: int) -> None:
    assert (1 - 2 / (period + 1)) ** (EMA_SETTLES * period) < 1e-6
    assert (1 - 1 / period) ** (WILDER_SETTLES * period) < 1e-6
    average = Wilder(period)
    for number in range(period + WILDER_SETTLES * period):
        last = average.add(100.0 if number >= period else 200.0)
    assert last == pytest.approx(100.0, abs=1e-4)


@pytest.mark.parametrize(
    "make", [WMA, StdDev, Wilder, Highest, Lowest, Bollinger, Donchian, Keltner, Supertrend, RSI, ADX, Stochastic, MACD]
)
@pytest.mark.parametrize("period", [0, -3, 2.5, True])
def test_a_period_is_a_whole_number_of_bars(make: type, period: object) -> None:
    with pytest.raises(ValueError, match="period"):
        make(period)
