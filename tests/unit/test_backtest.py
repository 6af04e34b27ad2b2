"""Backtests on data made here: what fills where, that nothing looks ahead, and that days, contracts and names are the data's own."""

import csv
import json
import re
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtesting.bar_path import path
from backtesting.market import BacktestMarket
from backtesting.metrics import drawdown
from backtesting.report import candles, drawn
from backtesting.run import Backtest, Outcome
from core.errors import ConfigError, DataError
from core.types import IST, Account, AccountKind, Bar, Instrument, Kind
from data_ingestion.prepare import prepare
from execution_engine.paper_rules import FillRules
from main import main
from utils.config_loader import Config, load

DAYS = (date(2026, 6, 1), date(2026, 6, 2))
SHARE = Instrument("NSE:ABC", "NSE", "ABC", Kind.EQUITY, "ABC", tick_size=0.05)

YAML = """
class: ema_cross
instruments: [ABC]
interval: {interval}m
params: {{fast: 2, slow: 4}}
size: {{quantity: 10}}
horizon: intraday
"""


def bars_file(folder: Path, closes: dict[date, list[float]], minutes: int = 5, volume: int = 1000, symbol: str = "NSE:ABC") -> Path:
    """A data file of flat bars at these closes, from 09:15 on."""
    rows = []
    for day, prices in closes.items():
        at = datetime(day.year, day.month, day.day, 9, 15, tzinfo=IST)
        before = prices[0]
        for number, price in enumerate(prices):
            high, low = max(before, price) + 0.1, min(before, price) - 0.1
            rows.append((at + timedelta(minutes=minutes * number), symbol, before, high, low, price, volume))
            before = price
    names = ("timestamp", "symbol", "open", "high", "low", "close", "volume")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    file = folder / f"{symbol.replace(':', '_')}.parquet"
    pq.write_table(pa.table(columns), file)
    return file


def wave(count: int, start: float = 100.0, length: int = 12) -> list[float]:
    """Up and down again, on the tick."""
    return [round(start + 0.5 * abs((number % (2 * length)) - length), 2) for number in range(count)]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return configured(tmp_path_factory.mktemp("strategy"), 5)


def configured(folder: Path, interval: int) -> Config:
    file = folder / "cross.yaml"
    file.write_text(YAML.format(interval=interval))
    return load(Path("config"), strategy=file)


def backtest(config: Config, file: Path, folder: Path, fills: FillRules | None = None) -> Outcome:
    account = Account("backtest", AccountKind.PRACTICE, "zerodha", 1_000_000.0)
    manifest = prepare(file, folder, config.calendar(account.kind))
    market = BacktestMarket(manifest, config.calendar(account.kind))
    return Backtest(config, account, market, config.strategies, fills or FillRules()).run()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bars_file(tmp_path_factory.mktemp("data"), {day: wave(75) for day in DAYS})


def test_an_order_fills_at_the_next_open_and_the_day_ends_flat(config: Config, file: Path, tmp_path: Path) -> None:
    outcome = backtest(config, file, tmp_path)
    opens = {row["timestamp"].astimezone(IST): row["open"] for row in pq.read_table(file).to_pylist()}
    assert len(outcome.trips) > 4
    assert all(fill.price == opens[fill.at] for fill in outcome.fills)
    assert outcome.held == {}
    assert {fill.at.date() for fill in outcome.fills} == set(DAYS)
    assert max(fill.at.time() for fill in outcome.fills) < datetime(2026, 1, 1, 15, 26).time()


def test_the_same_run_twice_is_the_same_and_money_adds_up(config: Config, file: Path, tmp_path: Path) -> None:
    one, two = backtest(config, file, tmp_path / "1"), backtest(config, file, tmp_path / "2")
    assert one.digest == two.digest
    net = sum(trip.gross - trip.charges for trip in one.trips)
    assert net == sum(one.days.values())
    assert round(one.equity[-1][1] * 100) == round(one.capital * 100) + net


def test_nothing_looks_ahead(config: Config, tmp_path: Path) -> None:
    """What happens later changes nothing that was decided before."""
    prices = wave(75)
    later = [*prices[:40], *(price + 3 for price in prices[40:])]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = backtest(config, bars_file(tmp_path / "a", {DAYS[0]: prices}), tmp_path / "1")
    other = backtest(config, bars_file(tmp_path / "b", {DAYS[0]: later}), tmp_path / "2")
    until = datetime(2026, 6, 1, 9, 15, tzinfo=IST) + timedelta(minutes=5 * 40)
    seen = [(fill.at, fill.side, fill.price) for fill in whole.fills if fill.at <= until]
    assert seen
    assert seen == [(fill.at, fill.side, fill.price) for fill in other.fills if fill.at <= until]


def test_bars_of_a_strategy_are_joined_from_the_datas(file: Path, tmp_path: Path) -> None:
    coarse = configured(tmp_path, 15)
    outcome = backtest(coarse, file, tmp_path / "data")
    assert outcome.fills
    assert all(fill.at.minute % 15 in (0, 5) for fill in outcome.fills if fill.at.hour < 15)  # a reversal takes a bar more


def test_an_interval_that_the_data_cannot_give_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cross wants 3-minute bars; the data's 5-minute bars do not add up"):
        backtest(configured(tmp_path, 3), file, tmp_path / "data")


def test_a_name_without_data_is_told_with_what_there_is(config: Config, tmp_path: Path) -> None:
    other = bars_file(tmp_path, {DAYS[0]: wave(75)}, symbol="NSE:XYZ")
    with pytest.raises(DataError, match=r"ABC has no data on 2026-06-01; there is NSE:XYZ"):
        backtest(config, other, tmp_path / "data")
    both = bars_file(tmp_path, {day: wave(75) for day in DAYS}, symbol="NSE:XYZ")
    with pytest.raises(DataError, match=r"ABC has no data on 2026-06-01; there is NSE:XYZ \(nor on 1 more day, the last 2026-06-02\)$"):
        backtest(config, both, tmp_path / "two")


@pytest.mark.parametrize(
    ("fills", "worse"),
    [
        (FillRules(slippage_ticks=2), 0.2),
        (FillRules(slippage_bps=2), 0.3),  # 20 paise, to the next tick
        (FillRules(spread_ticks=2), 0.1),
        (FillRules(spread_ticks=3, slippage_ticks=1), 0.3),
    ],
)
def test_slippage_and_spread_worsen_each_fill_within_its_limit(config: Config, tmp_path: Path, fills: FillRules, worse: float) -> None:
    dear = bars_file(tmp_path, {DAYS[0]: wave(75, 1000.0)})
    plain, worsened = backtest(config, dear, tmp_path / "1"), backtest(config, dear, tmp_path / "2", fills)
    costs = {round((after.price - before.price) * before.side.sign, 2) for before, after in zip(plain.fills, worsened.fills, strict=True)}
    assert plain.fills[0].instrument.tick_size == 0.1
    assert costs == {worse}


def test_a_share_of_the_volume_is_all_that_one_bar_gives(config: Config, tmp_path: Path) -> None:
    thin = bars_file(tmp_path, {DAYS[0]: wave(75)}, volume=40)
    outcome = backtest(config, thin, tmp_path / "data", FillRules(volume_share=0.1))
    assert outcome.fills
    assert max(fill.quantity for fill in outcome.fills) == 4


def test_latency_makes_an_order_miss_the_open(config: Config, file: Path, tmp_path: Path) -> None:
    late = backtest(config, file, tmp_path, FillRules(latency_s=30))
    closes = {row["timestamp"].astimezone(IST) + timedelta(minutes=5): row["close"] for row in pq.read_table(file).to_pylist()}
    assert late.fills
    assert all(fill.price == closes[fill.at] for fill in late.fills)


# --- the prices inside a bar ---------------------------------------------------------------------------------------------------------


def bar(first: float, high: float, low: float, last: float) -> Bar:
    start = datetime(2026, 6, 1, 10, 0, tzinfo=IST)
    return Bar(SHARE, start, start + timedelta(minutes=5), 5, first, high, low, last, 403)


def walked(one: Bar, held: int, *levels: float) -> list[float]:
    return [tick.price for tick in path(one, lambda: held, lambda: levels, 100)]


def test_without_a_position_a_bar_plays_as_the_simulator_plays_it() -> None:
    assert walked(bar(100, 102, 99, 101), 0) == [100, 99, 102, 101]
    assert walked(bar(100, 102, 99, 99.5), 0) == [100, 102, 99, 99.5]


def test_what_is_held_meets_its_stop_before_its_target() -> None:
    falling, rising = bar(100, 102, 98, 98.5), bar(100, 102, 98, 101)
    assert walked(falling, 10, 99.0, 101.5)[:5] == [100, 99.95, 99, 98.95, 98]
    assert walked(rising, -10, 101.0)[:4] == [100, 100.05, 101, 101.05]


def test_a_bar_that_opens_beyond_a_stop_fills_a_tick_from_its_open() -> None:
    assert walked(bar(97, 98, 95, 96), 10, 99.0)[:3] == [97, 96.95, 95]


def test_times_ascend_within_the_bar_and_volume_is_the_bars() -> None:
    ticks = list(path(bar(100, 102, 98, 101), lambda: 1, lambda: (99.0, 99.5), 100))
    assert [tick.at for tick in ticks] == sorted({tick.at for tick in ticks})
    assert ticks[-1].volume == 503
    assert bar(100, 102, 98, 101).start < ticks[0].at <= ticks[-1].at < bar(100, 102, 98, 101).at


def test_a_stop_inside_a_bar_fills_a_tick_beyond_it(config: Config, tmp_path: Path) -> None:
    rises = bars_file(tmp_path, {DAYS[0]: [*[100.0] * 30, 101.0, 102.0, 102.0, 99.0, 99.0, 101.0, *[101.0] * 20]})
    outcome = backtest(config, rises, tmp_path / "data", FillRules(inside_bars=True))
    first = outcome.trips[0]
    assert (first.side, first.entry_price, first.exit_price) == ("SELL", 99.0, 100.08)  # its stop is 100.066: met at 100.07, and a tick on
    assert first.exit_at < datetime(2026, 6, 1, 12, 15, tzinfo=IST)  # within the bar that rose


# --- the command ----------------------------------------------------------------------------------------------------------------------


def told(capsys: pytest.CaptureFixture[str], file: Path, state: Path, *more: str) -> str:
    strategy = state / "cross.yaml"
    strategy.write_text(YAML.format(interval=5))
    assert main(["backtest", str(strategy), "--data", str(file), "--state", str(state), *more]) == 0
    return capsys.readouterr().out


def test_the_command_gives_the_contracts_fields(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(told(capsys, file, tmp_path, "--json"))
    assert {"strategy", "params", "bars", "trades", "metrics", "digest", "bars_per_second"} <= set(found)
    fields = ("instrument", "side", "quantity", "entry_at", "entry_price", "exit_at", "exit_price", "gross", "charges", "net")
    assert set(fields) <= set(found["trades"][0])
    assert found["params"] == {"fast": 2, "slow": 4}
    metrics = found["metrics"]
    assert metrics["return_on_used_pct"] == pytest.approx(100 * metrics["net"] / metrics["capital_used"], abs=1e-3)
    assert found["metrics"]["net"] == round(sum(trade["net"] for trade in found["trades"]), 2)
    assert found["metrics"]["by_month"]["2026-06"]["trades"] == len(found["trades"])


def test_the_table_says_the_rule_and_promises_nothing(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, file, tmp_path, "--fill", "bar-path", "--from", "2026-06-02")
    assert "bar path: the prices inside a bar are played" in text
    assert "2026-06-02 to 2026-06-02" in text
    assert "says nothing of what will be" in text
    assert max(map(len, text.splitlines())) <= 100


def test_wrong_requests_say_what_there_is(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backtest", str(tmp_path / "none.yaml"), "--data", str(file), "--state", str(tmp_path)]) == 2
    assert "there is no strategy file" in capsys.readouterr().err
    (tmp_path / "cross.yaml").write_text(YAML.format(interval=5))
    late = ["backtest", str(tmp_path / "cross.yaml"), "--data", str(file), "--state", str(tmp_path), "--from", "2027-01-01"]
    assert main(late) == 2
    assert "it runs from 2026-06-01 to 2026-06-02" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--latency=-60", "give a number from 0 on"),
        ("--latency=nan", "give a number from 0 on"),
        ("--slippage-ticks=-5", "give a number from 0 on"),
        ("--slippage-bps=nan", "give a number from 0 on"),
        ("--spread-ticks=-3", "is no number of ticks"),
        ("--volume-share=0", "is no share"),
        ("--volume-share=3", "is no share"),
    ],
)
def test_costs_that_would_be_gifts_are_refused(flag: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["backtest", "cross.yaml", "--data", "bars.parquet", flag])
    assert says in capsys.readouterr().err


def test_before_2020_sessions_are_the_datas_and_are_called_assumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A Saturday's whole session (as for the budget of 2015) and a Sunday evening's are traded; strays on another Sunday are not."""
    friday, saturday, stray, evening = date(2015, 2, 27), date(2015, 2, 28), date(2015, 3, 1), date(2016, 10, 30)
    file = bars_file(tmp_path, {friday: wave(75), saturday: wave(75), stray: wave(3)})
    late = bars_file(tmp_path, {evening: wave(12, length=3)}, symbol="NSE:LATE")
    rows = pq.read_table(late).to_pylist()
    moved = [{**row, "timestamp": row["timestamp"] + timedelta(hours=9, minutes=15), "symbol": "NSE:ABC"} for row in rows]
    pq.write_table(pa.concat_tables([pq.read_table(file), pa.Table.from_pylist(moved, pq.read_table(file).schema)]), file)
    late.unlink()
    found = json.loads(told(capsys, file, tmp_path, "--json"))
    days = {trade["entry_at"][:10] for trade in found["trades"]}
    assert days >= {str(friday), str(saturday)}
    assert str(stray) not in days
    assert max(trade["exit_at"][11:16] for trade in found["trades"] if trade["entry_at"][:10] == str(saturday)) < "15:30"
    told_of = [note for note in found["notes"] if "is taken from the data, assumed" in note]
    assert told_of == [
        "2015-02-28: a session from 09:15 to 15:30 is taken from the data, assumed",
        "2016-10-30: a session from 18:30 to 19:30 is taken from the data, assumed",
    ]
    assert any("2015-03-01 is no trading day: 3 rows left out" in note for note in found["notes"])
    assert any("hours, charges and cut-offs are the earliest known ones, assumed" in note for note in found["notes"])
    assert found["assumed"]


def test_from_2020_on_a_day_that_the_calendar_does_not_know_is_left_out(config: Config, tmp_path: Path) -> None:
    saturday = date(2026, 6, 6)
    file = bars_file(tmp_path, {DAYS[0]: wave(75), saturday: wave(75)})
    manifest = prepare(file, tmp_path / "data", config.calendar(AccountKind.PRACTICE), observe=True)
    assert (manifest.days, manifest.sessions) == ((DAYS[0],), ())
    assert any(f"{saturday} is no trading day: 75 rows left out" in note for note in manifest.notes)


def test_what_was_refused_is_told_of_all_days_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quiet = bars_file(tmp_path, {DAYS[0]: wave(75), DAYS[1]: [100.0] * 75})
    (tmp_path / "cross.yaml").write_text(YAML.format(interval=5).replace("quantity: 10", "quantity: 10000000"))
    asked = ["backtest", str(tmp_path / "cross.yaml"), "--data", str(quiet), "--state", str(tmp_path)]
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["refusals"]) == list(found["refused_because"]) == ["order_quantity"]
    assert found["refusals"]["order_quantity"] == 3, "three entries on the first day, none on the second"
    assert main(asked) == 0
    words = f"refused by order_quantity {found['refusals']['order_quantity']} times, first: {found['refused_because']['order_quantity']}"
    assert words in " ".join(capsys.readouterr().out.split())


def test_drawdown_is_the_deepest_fall_and_the_longest() -> None:
    day = datetime(2026, 6, 1, 15, 30, tzinfo=IST)
    curve = [(day + timedelta(days=number), worth) for number, worth in enumerate([100.0, 90.0, 95.0, 101.0, 70.0, 80.0])]
    assert drawdown(curve) == (31.0, 2)


def test_the_report_is_one_file_that_loads_nothing(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.html"
    text = told(capsys, file, tmp_path, "--html", str(out), "--csv", str(tmp_path / "trades.csv"))
    page = out.read_text(encoding="utf-8")
    assert f"written: {out}" in text
    assert re.search(r"<(script|link|img)[^>]+(src|href)=", page) is None
    assert "says nothing of what will be" in page
    assert "NSE:ABC" in page
    assert re.search(r"\w+: fast \d+, slow \d+[^<]*Charges of \w+", page)
    assert '<meta name="viewport"' in page
    found = json.loads(told(capsys, file, tmp_path, "--json"))
    with (tmp_path / "trades.csv").open(newline="") as rows:
        assert [float(row["net"]) for row in csv.DictReader(rows)] == [trade["net"] for trade in found["trades"]]


def test_long_histories_are_drawn_coarser_and_whole(config: Config, file: Path, tmp_path: Path) -> None:
    market = BacktestMarket(prepare(file, tmp_path, config.calendar(AccountKind.PRACTICE)), config.calendar(AccountKind.PRACTICE))
    every = [bar for day in DAYS for bar in market.bars_of("NSE:ABC", day)]
    drawn = candles(market, ["NSE:ABC"], DAYS, 20)["NSE:ABC"]
    assert len(drawn) <= 20
    assert (max(bar.high for bar in drawn), min(bar.low for bar in drawn)) == (max(b.high for b in every), min(b.low for b in every))
    assert (drawn[0].open, drawn[-1].close) == (every[0].open, every[-1].close)


def test_a_long_curve_is_drawn_with_its_deepest_fall_and_its_best() -> None:
    begin = datetime(2026, 6, 1, 9, 15, tzinfo=IST)
    worths = [100.0 + (number * 7919 % 13) for number in range(30_001)]
    worths[12_345], worths[12_347] = 40.0, 160.0
    curve = [(begin + timedelta(minutes=number), worth) for number, worth in enumerate(worths)]
    points = drawn(curve, 500)
    assert len(points) <= 500
    assert min(fall for _, _, fall in points) == -drawdown(curve)[0] == 40.0 - 112.0
    assert max(worth for _, worth, _ in points) == 160.0
    assert points[-1][0] == curve[-1][0]
    assert [(at, worth) for at, worth, _ in drawn(curve[:500], 500)] == curve[:500]
