"""Contracts that end inside a backtest: rolls on the exchange's own closes, settlements, and orders that rest over a square-off."""

import re
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtesting.document import alarms_of, document_of
from backtesting.market import BacktestMarket
from backtesting.run import Backtest, Outcome
from core.types import IST, Account, AccountKind
from data_ingestion.prepare import prepare
from execution_engine.paper_rules import FillRules
from main import main
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
    assert (roll["quantity"], roll["cost"]) == (-65, 0.0), "short: the dearer contract is sold"
    assert roll["at"] == "2026-01-23T15:30:00+05:30", "a bar for each leg"
    days = {trip.instrument.key: (trip.entry_at.date(), trip.exit_at.date()) for trip in outcome.trips}
    assert days["NFO:NIFTY26JANFUT"][1] == date(2026, 1, 23)
    assert not [alarm for alarm in outcome.alarms if alarm.level == "page"]


def test_table_and_report_tell_each_roll_with_its_cost_and_what_a_person_would_have_been_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded_days.write(tmp_path / "nifty.csv", "2026-01-12", "2026-02-04")
    (tmp_path / "trend.yaml").write_text(CARRY.format(name="NIFTY_FUT", interval=15, slow=20))
    asked = ["backtest", str(tmp_path / "trend.yaml"), "--data", str(tmp_path / "nifty.csv"), "--slippage-ticks", "5"]
    assert main([*asked, "--state", str(tmp_path), "--html", str(tmp_path / "report.html")]) == 0
    text, page = " ".join(capsys.readouterr().out.split()), (tmp_path / "report.html").read_text()
    assert "rolled 2026-01-23: -65 NFO:NIFTY26JANFUT into NFO:NIFTY26FEBFUT, gap 122.80, cost 65.00" in text, "five ticks on each leg"
    assert re.search(r"2026-01-30 13:00 │ 09:30 \+3 │ BUY", text), "over a weekend"
    assert "alarm 2026-02-02 09:30: Risk: daily_loss: the account is at" in text
    assert "<td>roll done</td><td>NFO:NIFTY26JANFUT</td><td>NFO:NIFTY26FEBFUT</td><td>-65</td>" in page
    assert re.search("<td>122.8</td><td>65.00</td>", page)
    assert "alarm 2026-02-02 09:30: Risk: daily_loss: the account is at" in page


def test_alarms_that_differ_in_figures_are_told_once() -> None:
    def alarm(day: int, text: str, title: str = "Risk") -> dict[str, str]:
        return {"at": f"2026-02-{day:02d}T09:30:00+05:30", "title": title, "text": text}

    loss = [alarm(day, f"daily_loss: the account is at -25,{day}00.50 rupees today, the limit is -25000.00") for day in (2, 3, 5)]
    told = alarms_of({"alarms": [*loss, alarm(4, "daily_loss: the account is at -1 rupees", "Other"), alarm(6, "no figure")]})
    assert told == [
        "alarm 2026-02-02 09:30: Risk: daily_loss: the account is at -25,200.50 rupees today, the limit is -25000.00 "
        "(and 2 more, the last 2026-02-05 09:30)",
        "alarm 2026-02-04 09:30: Other: daily_loss: the account is at -1 rupees",
        "alarm 2026-02-06 09:30: Risk: no figure",
    ]


def test_a_future_whose_expiry_the_data_leaves_out_is_settled_at_its_last_price(tmp_path: Path) -> None:
    rows = []
    for day in (date(2026, 6, 25), date(2026, 7, 13)):  # the June future ends on the 30th
        for minute in range(0, 375, 5):
            at, price = datetime(day.year, day.month, day.day, 9, 15, tzinfo=IST) + timedelta(minutes=minute), 24000.0 + minute / 5
            rows.append((at, f"NFO:NIFTY26{'JUN' if day.month == 6 else 'JUL'}FUT", price, price + 1, price - 1, price + 1, 6500))
    names = ("timestamp", "symbol", "open", "high", "low", "close", "volume")
    pq.write_table(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), tmp_path / "gap.parquet")
    text = CARRY.format(name="NFO:NIFTY26JUNFUT, NFO:NIFTY26JULFUT", interval=5, slow=10)
    outcome, document = backtest(tmp_path, tmp_path / "gap.parquet", text, date(2026, 6, 25))
    (end,) = document["settlements"]
    assert (end["instrument"], end["price"]) == ("NFO:NIFTY26JUNFUT", 24000.0 + 370 / 5 + 1)
    assert end["source"] == "last price of NFO:NIFTY26JUNFUT on 2026-06-25 in the data"
    assert list(outcome.held) == ["NFO:NIFTY26JULFUT"]
    assert any("settled at its own last price, of 2026-06-25" in note for note in outcome.notes)
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
