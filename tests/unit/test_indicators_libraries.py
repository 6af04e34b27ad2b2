"""Each indicator against a well-known library: TA-Lib (C) where it has it, talipp where not; on a seeded walk, and on real bars if there.

Exact means to within float noise, from the first value on. Where a library begins a recursion otherwise, the test says how, and
compares what is left of the series once both have settled.
"""

import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import talib
import talipp.indicators as talipp
from talipp.ohlcv import OHLCV

from core.types import IST, Bar
from strategies.indicators import ATR, EMA, OBV, SMA, VWAP, WILDER_SETTLES, WMA, StdDev
from strategies.indicators_bands import Bollinger, Donchian, Highest, Keltner, Lowest, Supertrend
from strategies.indicators_momentum import ADX, MACD, RSI, Stochastic
from tests.builders import RELIANCE
from tests.market_data import DATA

REAL = {
    "NIFTY future 5m": ("futures_5m/NIFTY26JANFUT_5m_2025-10-29_2025-12-31.parquet", "NIFTY26JANFUT"),
    "RELIANCE 5m": ("equities_5m/nifty50_stocks_5m_2026-05-20_2026-06-19.parquet", "RELIANCE"),
}
Values = Sequence[float | None]


def walk() -> list[Bar]:
    """Twenty seeded days of 75 five-minute bars on a tick of 0.05, with gaps over night and a few bars without a trade."""
    chance, close, bars = random.Random(20261120), 1450.0, []
    for day in range(20):
        opens = datetime(2026, 10, 5, 9, 15, tzinfo=IST) + timedelta(days=day)
        close *= 1 + chance.gauss(0, 0.005)
        for number in range(75):
            start = opens + timedelta(minutes=5 * number)
            first = close
            close = _tick(first * (1 + chance.gauss(0, 0.0015)))
            high = _tick(max(first, close) * (1 + abs(chance.gauss(0, 0.0005))))
            low = _tick(min(first, close) * (1 - abs(chance.gauss(0, 0.0005))))
            volume = 0 if chance.random() < 0.02 else chance.randrange(1, 5000)
            top, bottom = max(high, first, close), min(low, first, close)
            bars.append(Bar(RELIANCE, start, start + timedelta(minutes=5), 5, first, top, bottom, close, volume))
    return bars


def _tick(price: float) -> float:
    return round(round(price / 0.05) * 0.05, 2)


def recorded(path: str, symbol: str) -> list[Bar]:
    if not (DATA / path).exists():
        pytest.skip(f"real bars are not published with the project: {path} is not below {DATA}; set NIYAM_MARKET_DATA")
    table = pq.read_table(DATA / path)
    rows = table.filter(pc.equal(table.column("symbol"), symbol)).to_pylist()
    step = timedelta(minutes=5)
    return [
        Bar(RELIANCE, at := row["timestamp"].astimezone(IST), at + step, 5, row["open"], row["high"], row["low"], row["close"],
            int(row["volume"] or 0))
        for row in rows
    ]  # fmt: skip


@pytest.fixture(scope="module", params=["seeded walk", *REAL])
def bars(request: pytest.FixtureRequest) -> list[Bar]:
    return walk() if request.param == "seeded walk" else recorded(*REAL[request.param])


def column(bars: list[Bar], name: str) -> Any:
    return np.array([getattr(bar, name) for bar in bars], dtype=float)


def of_closes(indicator: Any, bars: list[Bar]) -> list[Any]:
    return [indicator.add(bar.close) for bar in bars]


def of_bars(indicator: Any, bars: list[Bar]) -> list[Any]:
    return [indicator.add(bar) for bar in bars]


def candles(bars: list[Bar]) -> list[OHLCV]:
    return [OHLCV(bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars]


def field(values: Sequence[Any], name: str) -> list[float | None]:
    return [None if value is None else getattr(value, name) for value in values]


def assert_same(ours: Values, theirs: Any, *, settled: int = 0, absolute: float = 1e-7) -> None:
    """Equal wherever both have a value from `settled` on; with settled=0 they also begin together."""
    mine = np.array([np.nan if one is None else one for one in ours], dtype=float)
    other = np.array([np.nan if one is None else one for one in theirs], dtype=float)
    assert len(mine) == len(other) > settled
    if not settled:
        assert (np.isnan(mine) == np.isnan(other)).all()
    assert not np.isnan(mine[max(settled, 100) :]).any()
    np.testing.assert_allclose(mine[settled:], other[settled:], rtol=1e-9, atol=absolute)


@pytest.mark.parametrize("period", [1, 2, 9, 21, 50])
def test_sma_is_talibs(bars: list[Bar], period: int) -> None:
    theirs = talib.SMA(column(bars, "close"), period) if period > 1 else column(bars, "close")
    assert_same(of_closes(SMA(period), bars), theirs)


@pytest.mark.parametrize("period", [2, 9, 21, 50])
def test_ema_is_talibs(bars: list[Bar], period: int) -> None:
    assert_same(of_closes(EMA(period), bars), talib.EMA(column(bars, "close"), period))


@pytest.mark.parametrize("period", [2, 9, 21, 50])
def test_wma_is_talibs(bars: list[Bar], period: int) -> None:
    assert_same(of_closes(WMA(period), bars), talib.WMA(column(bars, "close"), period))


@pytest.mark.parametrize("period", [2, 7, 14])
def test_rsi_is_talibs(bars: list[Bar], period: int) -> None:
    assert_same(of_closes(RSI(period), bars), talib.RSI(column(bars, "close"), period))


@pytest.mark.parametrize("period", [5, 14])
def test_atr_is_talipps_and_talibs_once_settled(bars: list[Bar], period: int) -> None:
    """TA-Lib leaves the first bar out, which has no close before it; talipp counts its high - low, as we do."""
    ours = of_bars(ATR(period), bars)
    assert_same(ours, list(talipp.ATR(period, candles(bars))))
    theirs = talib.ATR(column(bars, "high"), column(bars, "low"), column(bars, "close"), period)
    assert_same(ours, theirs, settled=2 * WILDER_SETTLES * period, absolute=1e-6)


def test_vwap_is_talipps_of_each_day(bars: list[Bar]) -> None:
    theirs: list[float | None] = []
    for day in dict.fromkeys(bar.start.date() for bar in bars):
        theirs += list(talipp.VWAP(candles([bar for bar in bars if bar.start.date() == day])))
    ours = of_bars(VWAP(), bars)
    np.testing.assert_allclose(
        np.array([one or np.nan for one in ours], dtype=float), np.array([one or np.nan for one in theirs], dtype=float), rtol=1e-9
    )


def test_obv_is_talibs(bars: list[Bar]) -> None:
    assert_same(of_bars(OBV(), bars), talib.OBV(column(bars, "close"), column(bars, "volume")))


@pytest.mark.parametrize(("period", "width"), [(20, 2.0), (10, 1.5)])
def test_bollinger_is_talibs(bars: list[Bar], period: int, width: float) -> None:
    """TA-Lib subtracts running sums of squares, which costs it a few digits: hence one ten-thousandth of a rupee."""
    ours = of_closes(Bollinger(period, width), bars)
    upper, middle, lower = talib.BBANDS(column(bars, "close"), period, width, width)
    assert_same(field(ours, "middle"), middle)
    assert_same(field(ours, "upper"), upper, absolute=1e-4)
    assert_same(field(ours, "lower"), lower, absolute=1e-4)


def test_standard_deviation_is_numpys(bars: list[Bar]) -> None:
    closes = column(bars, "close")
    wanted = [None] * 19 + [float(np.std(closes[end - 20 : end])) for end in range(20, len(closes) + 1)]
    assert_same(of_closes(StdDev(20), bars), wanted, absolute=1e-9)


@pytest.mark.parametrize("period", [2, 20, 55])
def test_donchian_is_talibs_extremes_and_talipps_channel(bars: list[Bar], period: int) -> None:
    ours = of_bars(Donchian(period), bars)
    assert_same(field(ours, "upper"), talib.MAX(column(bars, "high"), period), absolute=0.0)
    assert_same(field(ours, "lower"), talib.MIN(column(bars, "low"), period), absolute=0.0)
    assert_same(field(ours, "middle"), field(list(talipp.DonchianChannels(period, candles(bars))), "cb"), absolute=0.0)


@pytest.mark.parametrize(("period", "width", "atr"), [(20, 2.0, 10), (10, 1.5, 20)])
def test_keltner_is_talipps(bars: list[Bar], period: int, width: float, atr: int) -> None:
    ours = of_bars(Keltner(period, width, atr), bars)
    theirs = list(talipp.KeltnerChannels(period, atr, width, width, candles(bars)))
    for name, other in (("lower", "lb"), ("middle", "cb"), ("upper", "ub")):
        assert_same(field(ours, name), field(theirs, other))


@pytest.mark.parametrize(("period", "width"), [(10, 3.0), (7, 2.0)])
def test_supertrend_is_talipps_after_its_first_turns(bars: list[Bar], period: int, width: float) -> None:
    """talipp begins with a line at 0 and a downward trend; both lines are free of their beginning once each has been crossed."""
    ours = of_bars(Supertrend(period, width), bars)
    theirs = list(talipp.SuperTrend(period, width, candles(bars)))
    directions = [1 if one is not None and one.trend.name == "UP" else -1 for one in theirs]
    turns = [n for n in range(1, len(ours)) if ours[n - 1] is not None and ours[n].direction != ours[n - 1].direction]
    assert len(turns) >= 6
    assert_same(field(ours, "line"), field(theirs, "value"), settled=turns[2])
    assert_same(field(ours, "direction"), directions, settled=turns[2])


@pytest.mark.parametrize(("fast", "slow", "signal"), [(12, 26, 9), (3, 10, 5)])
def test_macd_is_talipps_and_talibs_once_settled(bars: list[Bar], fast: int, slow: int, signal: int) -> None:
    """TA-Lib begins the fast average together with the slow one; talipp begins each with its own first values, as we do."""
    ours = of_closes(MACD(fast, slow, signal), bars)
    theirs = list(talipp.MACD(fast, slow, signal, [bar.close for bar in bars]))
    for name, other in (("line", "macd"), ("signal", "signal"), ("histogram", "histogram")):
        whole = [None if one is None or one.signal is None else getattr(one, other) for one in theirs]
        assert_same(field(ours, name), whole)
    line, average, histogram = talib.MACD(column(bars, "close"), fast, slow, signal)
    for name, values in (("line", line), ("signal", average), ("histogram", histogram)):
        assert_same(field(ours, name), values, settled=14 * slow, absolute=1e-6)


@pytest.mark.parametrize("period", [7, 14])
def test_adx_is_talibs_once_settled(bars: list[Bar], period: int) -> None:
    """TA-Lib begins Wilder's sums with period - 1 values instead of period; both give their first ADX with bar 2 x period."""
    ours = of_bars(ADX(period), bars)
    prices = column(bars, "high"), column(bars, "low"), column(bars, "close")
    theirs = talib.ADX(*prices, period)
    assert [one is None for one in ours] == list(np.isnan(theirs))
    settled = 3 * WILDER_SETTLES * period
    assert_same(field(ours, "adx"), theirs, settled=settled, absolute=1e-6)
    assert_same(field(ours, "plus"), talib.PLUS_DI(*prices, period), settled=settled, absolute=1e-6)
    assert_same(field(ours, "minus"), talib.MINUS_DI(*prices, period), settled=settled, absolute=1e-6)


@pytest.mark.parametrize(("period", "smooth", "signal"), [(14, 3, 3), (5, 1, 3)])
def test_stochastic_is_talibs_wherever_prices_moved(bars: list[Bar], period: int, smooth: int, signal: int) -> None:
    """Over a window without any movement TA-Lib says 0 and we say 50; such windows are left out."""
    ours = of_bars(Stochastic(period, smooth, signal), bars)
    k, d = talib.STOCH(column(bars, "high"), column(bars, "low"), column(bars, "close"), period, smooth, 0, signal, 0)
    reach = period + smooth + signal
    moved = [len({p for bar in bars[max(0, n - reach) : n + 1] for p in (bar.high, bar.low)}) > 1 for n in range(len(bars))]
    assert sum(moved) > 0.95 * len(bars)
    assert_same([one if there else None for one, there in zip(field(ours, "k"), moved, strict=True)], np.where(moved, k, np.nan))
    assert_same([one if there else None for one, there in zip(field(ours, "d"), moved, strict=True)], np.where(moved, d, np.nan))


@pytest.mark.parametrize(("make", "theirs", "name"), [(Highest, talib.MAX, "high"), (Lowest, talib.MIN, "low")])
def test_rolling_extremes_are_talibs(bars: list[Bar], make: Callable[[int], Any], theirs: Callable[..., Any], name: str) -> None:
    extreme = make(30)
    assert_same([extreme.add(getattr(bar, name)) for bar in bars], theirs(column(bars, name), 30), absolute=0.0)
