"""The recorded market rebuilds the bars it was given, keeps every tick, and repeats quotes only where bars are played."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from simulators.recorded import RecordedMarket
from tests.unit.sim_stage import FACTS, clock, record

DAY = date(2026, 1, 16)
KEY = "NSE:TESTCO"


def bar(text: str, prices: tuple[float, float, float, float], volume: int, day: date = DAY) -> dict[str, object]:
    names = ("open", "high", "low", "close")
    return {"timestamp": clock(text, day), **dict(zip(names, prices, strict=True)), "volume": volume, "oi": 0}


BARS = [
    bar("09:15", (100.0, 103.0, 99.0, 102.0), 1003),
    bar("09:20", (102.0, 102.5, 98.0, 98.5), 400),
    bar("09:25", (98.5, 98.5, 98.5, 98.5), 0),
]


def market_of(folder: Path, day: date = DAY) -> RecordedMarket:
    market = RecordedMarket(folder, FACTS)
    market.open_day(day)
    return market


def test_bars_are_rebuilt_exactly(tmp_path: Path) -> None:
    market = market_of(record(tmp_path, "bars", BARS, interval_s=300))
    market.step(market.closes_at)
    rebuilt = market.candles(KEY, clock("09:15", DAY), clock("15:30", DAY), 5)
    expected = [(row["timestamp"], row["open"], row["high"], row["low"], row["close"], row["volume"]) for row in BARS]
    assert [tuple(candle)[:6] for candle in rebuilt] == expected


@pytest.mark.parametrize(("start", "path"), [("09:15", [100.0, 99.0, 103.0, 102.0]), ("09:20", [102.0, 102.5, 98.0, 98.5])])
def test_a_rising_bar_goes_low_first_and_a_falling_one_high_first(tmp_path: Path, start: str, path: list[float]) -> None:
    market = market_of(record(tmp_path, "bars", BARS, interval_s=300))
    market.step(market.closes_at)
    at = clock(start, DAY)
    moments = [at + timedelta(seconds=offset) for offset in (0, 75, 150, 299)]
    assert [market.trades(KEY, moment)[0][0] for moment in moments] == path
    total = sum(len(market.trades(KEY, at + timedelta(seconds=offset))) for offset in range(300))
    assert total == 4


def test_the_last_quote_of_bars_repeats_each_second(tmp_path: Path) -> None:
    market = market_of(record(tmp_path, "bars", BARS, interval_s=300))
    market.quote(KEY)
    market.step(clock("09:15", DAY))
    for second in (1, 2, 3):
        at = clock("09:15", DAY) + timedelta(seconds=second)
        assert market.step(at) == [KEY]
        assert market.quote(KEY).exchange_time == at
        assert market.quote(KEY).last_time == clock("09:15", DAY)


def tick(text: str, price: float, volume: int, bid: float = 0.0, ask: float = 0.0) -> dict[str, object]:
    return {"timestamp": clock(text, DAY), "price": price, "volume": volume, "bid": bid, "ask": ask, "oi": 0}


TICKS = [tick("10:00:00.100", 50.0, 10), tick("10:00:00.700", 50.2, 5, 50.15, 50.25), tick("10:00:04", 50.1, 7)]


def test_ticks_conflate_to_one_quote_a_second_but_keep_every_print(tmp_path: Path) -> None:
    market = market_of(record(tmp_path, "ticks", TICKS))
    market.quote(KEY)
    assert market.step(clock("10:00:00", DAY)) == [KEY]
    quote = market.quote(KEY)
    assert (quote.last_price, quote.volume, quote.bids[0][0], quote.asks[0][0]) == (50.2, 15, 50.15, 50.25)
    assert market.trades(KEY, clock("10:00:00", DAY)) == [(50.0, 10), (50.2, 5)]
    assert market.step(clock("10:00:02", DAY)) == []
    assert market.step(clock("10:00:04", DAY)) == [KEY]
    assert market.quote(KEY).bids[0][0] == pytest.approx(50.05)  # no recorded book: a tick on each side


def test_the_previous_day_gives_the_close_and_the_history(tmp_path: Path) -> None:
    before = date(2026, 1, 14)  # the 15th was a holiday
    rows = [bar("15:25", (95.0, 97.0, 94.0, 96.0), 50, before), *BARS]
    market = market_of(record(tmp_path, "bars", rows, interval_s=300))
    item = market.listings[KEY]
    assert item.previous_close == 96.0
    assert (item.lower_circuit, item.upper_circuit) == (76.8, 115.2)
    assert [candle.close for candle in market.candles(KEY, clock("00:00", before), clock("23:00", before), 5)] == [96.0]
    assert market.candles(KEY, clock("09:15", DAY), clock("15:30", DAY), 5) == []  # nothing of today was played yet


def test_an_index_has_no_book_and_any_day_not_recorded_is_refused(tmp_path: Path) -> None:
    folder = record(tmp_path, "bars", BARS, interval_s=300, kind="INDEX", tick_size=None)
    market = market_of(folder)
    market.step(clock("09:30", DAY))
    assert market.quote(KEY).bids[0] == (0.0, 0, 0)
    assert market.quote(KEY).last_price == 98.5
    with pytest.raises(ValueError, match="not in"):
        market.open_day(date(2026, 1, 19))


def test_recorded_days_are_not_called_synthetic(tmp_path: Path) -> None:

    assert not market_of(record(tmp_path, "ticks", TICKS)).synthetic
