"""What must hold of every backtest: worth is cash and positions, size scales, and neither the date nor the order of rows decides."""

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from core.types import IST
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
