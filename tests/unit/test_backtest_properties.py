"""What must hold of every backtest: worth is cash and positions, size scales, and neither the date nor the order of rows decides."""

from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from backtesting.market import BacktestMarket
from backtesting.run import Backtest
from core.events import Books
from core.types import IST, Account, AccountKind
from data_ingestion.prepare import prepare
from execution_engine.paper_rules import FillRules
from tests.unit.test_backtest import DAYS, YAML, backtest, bars_file, wave
from utils.config_loader import Config, load

RULES = (FillRules(), FillRules(slippage_ticks=1, volume_share=0.02), FillRules(latency_s=30), FillRules(inside_bars=True))


def configured(folder: Path, quantity: int = 10, instruments: str = "[ABC]") -> Config:
    file = folder / "cross.yaml"
    text = YAML.format(interval=5).replace("quantity: 10", f"quantity: {quantity}").replace("[ABC]", instruments)
    file.write_text(text + "risk: {stop_pct: 20}\n")
    return load(Path("config"), strategy=file)


@pytest.mark.parametrize("fills", RULES[:3])
def test_worth_is_cash_and_positions_at_every_step(tmp_path: Path, fills: FillRules) -> None:
    file = bars_file(tmp_path, {day: wave(75) for day in DAYS})
    outcome = backtest(configured(tmp_path, 40), file, tmp_path / "data", fills)
    closes = {row["timestamp"].astimezone(IST) + timedelta(minutes=5): row["close"] for row in pq.read_table(file).to_pylist()}
    steps = [(at, worth) for at, worth in outcome.equity if at in closes]
    assert len(steps) > 10
    for at, worth in steps:
        before = [fill for fill in outcome.fills if fill.at < at or (fill.at == at and fills.latency_s)]  # at a bar's open, or its close
        cash = outcome.capital - sum(fill.side.sign * fill.quantity * fill.price + fill.charges / 100 for fill in before)
        assert worth == pytest.approx(cash + closes[at] * sum(fill.side.sign * fill.quantity for fill in before), abs=0.011), at


@pytest.mark.parametrize("fills", [RULES[0], RULES[2], RULES[3]])
def test_twice_the_size_is_twice_the_gross(tmp_path: Path, fills: FillRules) -> None:
    file = bars_file(tmp_path, {day: wave(75) for day in DAYS})
    one = backtest(configured(tmp_path, 10), file, tmp_path / "1", fills)
    two = backtest(configured(tmp_path, 20), file, tmp_path / "2", fills)
    assert one.trips
    assert [2 * trip.gross for trip in one.trips] == [trip.gross for trip in two.trips]


@pytest.mark.parametrize("fills", RULES)
def test_a_week_later_is_the_same_run(tmp_path: Path, fills: FillRules) -> None:
    later = [day + timedelta(days=7) for day in DAYS]
    for name, days in (("a", DAYS), ("b", later)):
        (tmp_path / name).mkdir()
        bars_file(tmp_path / name, {day: wave(75) for day in days})
    config = configured(tmp_path)
    one, two = (backtest(config, tmp_path / name / "NSE_ABC.parquet", tmp_path / f"{name}-data", fills) for name in ("a", "b"))
    assert one.fills
    assert [(fill.at + timedelta(days=7), fill.side, fill.quantity, fill.price, fill.charges) for fill in one.fills] == [
        (fill.at, fill.side, fill.quantity, fill.price, fill.charges) for fill in two.fills
    ]


@pytest.mark.parametrize("fills", RULES)
def test_the_order_of_simultaneous_bars_in_the_file_decides_nothing(tmp_path: Path, fills: FillRules) -> None:
    tables = []
    for number, name in enumerate(("ABC", "XYZ", "MNO")):
        closes = [round(100 + 20 * number + (price - 100) / 5, 2) for price in wave(75, length=9 + number)]  # within every order's cap
        tables.append(pq.read_table(bars_file(tmp_path, dict.fromkeys(DAYS, closes), symbol=f"NSE:{name}")))
    whole = pa.concat_tables(tables)
    config, digests = configured(tmp_path, 10, "[ABC, XYZ, MNO]"), []
    for order in ("ascending", "descending"):
        folder = tmp_path / order
        folder.mkdir()
        pq.write_table(whole.take(pc.sort_indices(whole, [("timestamp", "ascending"), ("symbol", order)])), folder / "bars.parquet")
        outcome = backtest(config, folder / "bars.parquet", folder / "data", fills)
        digests.append(outcome.digest)
        assert {fill.instrument.key for fill in outcome.fills} == {"NSE:ABC", "NSE:XYZ", "NSE:MNO"}
    assert digests[0] == digests[1]


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("horizon", ["intraday", "carry"])
def test_each_evening_the_ledger_holds_what_the_exchange_does(tmp_path: Path, horizon: str, inside: bool) -> None:
    """With so little volume from ten on that orders end with their day in parts, over and over."""
    days = [date(2026, 6, 1) + timedelta(days=number) for number in range(5)]
    file = bars_file(tmp_path, {day: wave(75, length=7 + number) for number, day in enumerate(days)}, volume=6000)
    whole = pq.read_table(file)
    thin = [40 if at.astimezone(IST).hour >= 10 else 6000 for at in whole.column("timestamp").to_pylist()]
    pq.write_table(whole.set_column(whole.column_names.index("volume"), "volume", pa.array(thin)), file)
    (tmp_path / "cross.yaml").write_text(
        YAML.format(interval=5).replace("quantity: 10", "quantity: 300").replace("intraday", horizon) + "risk: {stop_pct: 20}\n"
    )
    config = load(Path("config"), strategy=tmp_path / "cross.yaml")
    account = Account("backtest", AccountKind.PRACTICE, "zerodha", 1_000_000.0)
    calendar = config.calendar(account.kind)
    market = BacktestMarket(prepare(file, tmp_path / "data", calendar), calendar)
    fills = FillRules(volume_share=0.05, inside_bars=inside)
    run = Backtest(config, account, market, config.strategies, fills, journal=None)
    evenings: list[int] = []

    def compare(day: date, events: int) -> None:
        run.paper.read_books(positions=True)
        (books,) = [one for one in run.paper.drain() if isinstance(one, Books)]
        ours = {one.instrument.key: one.quantity for one in run.portfolio.positions() if one.quantity}
        assert {one.instrument.key: one.quantity for one in books.positions or () if one.quantity} == ours, day
        evenings.extend(ours.values())

    run.run(on_day=compare)
    assert evenings, "something was held over a night"
    states = {data["state"] for _, kind, data in run.store.since(0) if kind == "order"}
    assert "EXPIRED" in states
    assert not [alarm for alarm in run._alarms if alarm.title == "Positions differ"]
