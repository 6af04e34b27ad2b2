"""What a chart has: bars that strategies heard and their indicators' values, within bounds, in warm-ups and live, with nothing called."""

from datetime import date, datetime, timedelta
from typing import Any

import pytest

from core.errors import NiyamError
from core.types import IST, Bar
from execution_engine.buy_sell_logic import Size
from execution_engine.runs import Run
from runtime import charts
from runtime.charts import Charts, indicators
from runtime.rebuild import play
from strategies.indicators import SMA
from strategies.indicators_bands import Bollinger
from tests.builders import NIFTY
from tests.harness import Harness
from tests.unit.strategy_fakes import FakeView, bar_at, build


class Booby:
    """An indicator of a user's whose value must not be asked for."""

    def add(self, value: float) -> None: ...

    @property
    def value(self) -> float:
        raise RuntimeError("it was asked")


class Holder:
    def __init__(self) -> None:
        self.fast, self.bands, self.trap, self._hidden = SMA(2), Bollinger(2, 2.0), Booby(), SMA(1)
        self.name = "no indicator"


def test_an_indicators_stored_value_is_read_and_no_property_is_asked() -> None:
    holder = Holder()
    assert indicators(holder) == {}
    for price in (100.0, 110.0):
        holder.fast.add(price)
        holder.bands.add(price)
        holder._hidden.add(price)
    assert indicators(holder) == {"fast": 105.0, "bands.lower": 95.0, "bands.middle": 105.0, "bands.upper": 115.0}
    holder.fast.value = float("nan")
    assert "fast" not in indicators(holder)


def a_run() -> Run:
    strategy = build("sma_cross", fast=1, slow=2)
    strategy.start()
    return Run(strategy, Size(), {"NIFTY_FUT": NIFTY})


def test_warm_up_and_live_bars_make_one_series() -> None:
    kept, run, harness = Charts(), a_run(), Harness()
    bars: list[Bar] = [bar_at(number, close=25_000.0 + number) for number in range(3)]
    play(run, bars, None, date(2026, 11, 20), harness.engine.world.calendar, FakeView(), kept.heard)
    kept.heard(bars[-1], [])  # again, with nobody who listens: what was known of it stays
    found = kept.document({"instrument": bars[0].instrument.key})
    assert [row[4] for row in found["bars"]] == [25_000.0, 25_001.0, 25_002.0]
    assert found["indicators"] == {run.strategy.name: {"fast": [25_000.0, 25_001.0, 25_002.0], "slow": [None, 25_000.5, 25_001.5]}}
    [line] = kept.document({})
    assert (line["bars"], line["strategies"]) == (3, [run.strategy.name])


def test_it_keeps_no_more_than_its_bounds() -> None:
    kept = Charts()
    start = datetime(2026, 11, 20, 9, 15, tzinfo=IST)
    for number in range(charts.MOST_BARS + 5):
        at = start + timedelta(minutes=number)
        kept.heard(Bar(NIFTY, at, at + timedelta(minutes=1), 1, 1.0, 1.0, 1.0, 1.0, 1), [])
    [line] = kept.document({})
    assert line["bars"] == charts.MOST_BARS
    for interval in range(2, charts.MOST_SERIES + 2):
        kept.heard(Bar(NIFTY, start, start, interval, 1.0, 1.0, 1.0, 1.0, 1), [])
    rows: list[dict[str, Any]] = kept.document({})
    assert len(rows) == charts.MOST_SERIES
    assert 1 not in {row["interval"] for row in rows}, "the one that was quiet longest went"


def test_what_there_is_no_chart_of_names_those_there_are() -> None:
    kept = Charts()
    with pytest.raises(NiyamError, match="no bar has closed"):
        kept.document({"instrument": "NSE:SBIN"})
    kept.heard(bar_at(0, 100.0), [])
    with pytest.raises(NiyamError, match=r"there are .*\(5 min\)"):
        kept.document({"instrument": "NSE:SBIN"})


def test_the_engine_tells_of_each_bar_once_its_strategies_have_heard_it() -> None:
    harness = Harness()
    heard: list[tuple[datetime, int]] = []
    harness.engine.hearing.heard = lambda bar, runs: heard.append((bar.start, len(runs)))
    start = harness.clock.now() - timedelta(minutes=5)
    harness.want(1)
    assert heard == [(start, 1)]
