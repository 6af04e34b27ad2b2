"""Contracts that end inside a backtest: rolls on the exchange's own closes, settlements, and orders that rest over a square-off."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from backtesting.document import document_of
from backtesting.market import BacktestMarket
from backtesting.run import Backtest, Outcome
from core.types import IST, Account, AccountKind
from data_ingestion.replay import prepare
from execution_engine.paper_rules import FillRules
from tests.e2e import recorded_days
from utils.config_loader import load

CARRY = """
class: sma_cross
instruments: [{name}]
interval: {interval}m
params: {{fast: 5, slow: {slow}, both_ways: true}}
size: {{lots: 1}}
horizon: carry
risk: {{stop_pct: 20}}
"""


def backtest(folder: Path, data: Path, text: str, first: date) -> tuple[Outcome, dict[str, Any]]:
    strategy = folder / "trend.yaml"
    strategy.write_text(text)
    config = load(Path("config"), strategy=strategy)
    account = Account("backtest", AccountKind.PRACTICE, "zerodha", 1_000_000.0)
    calendar = config.calendar(account.kind)
    market = BacktestMarket(prepare(data, folder / "prepared", calendar), calendar)
    outcome = Backtest(config, account, market, config.strategies, FillRules()).run([day for day in market.days if day >= first])
    document = document_of(config.strategies, outcome, FillRules(), broker="zerodha", ticks=False, seconds=1.0)
    return outcome, document


def test_a_carried_future_rolls_on_its_day_at_the_real_gap(tmp_path: Path) -> None:
    """NIFTY on 23 January 2026, the last trading day before the expiry of its January contracts."""
    recorded_days.write(tmp_path / "nifty.csv", "2026-01-12", "2026-01-30")
    text = CARRY.format(name="NIFTY_FUT", interval=15, slow=20)
    outcome, document = backtest(tmp_path, tmp_path / "nifty.csv", text, date(2026, 1, 16))
    (roll,) = document["rolls"]
    assert (roll["kind"], roll["old"], roll["new"]) == ("roll_done", "NFO:NIFTY26JANFUT", "NFO:NIFTY26FEBFUT")
    assert (roll["closed_at"], roll["opened_at"], roll["paid"], roll["gap"]) == (25079.8, 25202.6, 122.8, 122.8)
    assert roll["at"] == "2026-01-23T15:30:00+05:30", "a bar for each leg"
    days = {trip.instrument.key: (trip.entry_at.date(), trip.exit_at.date()) for trip in outcome.trips}
    assert days["NFO:NIFTY26JANFUT"][1] == date(2026, 1, 23)
    assert not [alarm for alarm in outcome.alarms if alarm.level == "page"]


def option_day(folder: Path, days: list[date]) -> Path:
    """A rising call, and the index above its strike."""
    rows = []
    for number, day in enumerate(days):
        for minute in range(0, 375, 5):
            at = datetime(day.year, day.month, day.day, 9, 15, tzinfo=IST) + timedelta(minutes=minute)
            call, index = 100.0 + 75 * number + minute / 5, 24150.0 + minute / 5
            for symbol, price, volume in (("NFO:NIFTY26JUN24000CE", call, 6500), ("NIFTY", index, 0)):
                rows.append((at, symbol, price, price + 1, price - 1, price + 1, volume))
    names = ("timestamp", "symbol", "open", "high", "low", "close", "volume")
    pq.write_table(pa.table(dict(zip(names, map(list, zip(*sorted(rows), strict=True)), strict=True))), folder / "option.parquet")
    return folder / "option.parquet"


def test_a_call_held_to_its_expiry_is_settled_at_what_it_is_worth_with_the_tax(tmp_path: Path) -> None:
    expiry = date(2026, 6, 30)
    data = option_day(tmp_path, [date(2026, 6, 29), expiry])
    text = CARRY.format(name="NFO:NIFTY26JUN24000CE", interval=5, slow=10).replace("both_ways: true", "both_ways: false")
    outcome, document = backtest(tmp_path, data, text, date(2026, 6, 29))
    assert outcome.held == {}
    (end,) = document["settlements"]
    index = 24150.0 + 370 / 5 + 1
    assert (end["quantity"], end["price"]) == (-outcome.fills[0].quantity, index - 24000)
    assert end["source"] == "last price of NSE:NIFTY 50 on 2026-06-30 in the data"
    assert end["charges"] > 0, "the buyer owes the exercise tax"
    (trip,) = outcome.trips
    assert (trip.exit_price, trip.quantity) == (index - 24000, outcome.fills[0].quantity)
