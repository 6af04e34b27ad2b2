"""Days that were traded beside the backtest of their own recordings: trades, P&L, charges, and each fill's price in ticks.

On paper both are the same to the paisa, or something is wrong. Live, the difference is what the market took: a price is that of the live
fill against the backtest's, counted so that more is dearer. Fills are paired by strategy, instrument and side in the order of the day.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from backtesting.run import Outcome
from core.errors import DataError
from execution_engine.paper_rules import FillRules
from execution_engine.portfolio import EXTERNAL
from runtime.recorded import RecordedBacktest, RecordedMarket, Recording

Row = dict[str, Any]
_SUMS = ("trades", "gross", "charges", "net")


def rows(reports: Iterable[Mapping[str, Any]], fills: Sequence[Mapping[str, Any]], recordings: Path) -> list[Row]:
    """One for each reported day (`report --json`'s days), with `fills` as `fills --json` has them."""
    found = []
    for report in reports:
        day = date.fromisoformat(report["day"])
        mine = [fill for fill in fills if fill["at"][:10] == report["day"] and fill["strategy"] != EXTERNAL]
        row: Row = {"day": report["day"], "traded": {name: report[name] for name in _SUMS}, "backtest": None, "fills": None, "notes": []}
        try:
            outcome = _again(recordings, day)
        except DataError as error:
            row["notes"].append(str(error))
        else:
            net = sum(outcome.days.values()) / 100
            charges = sum(fill.charges for fill in outcome.fills) / 100
            row["backtest"] = {"trades": len(outcome.trips), "gross": round(net + charges, 2), "charges": charges, "net": net}
            row["fills"] = compared(mine, outcome)
            row["notes"] = [note for note in outcome.notes if note.startswith(("left out", "the day was started"))]
        found.append(row)
    return found


def _again(recordings: Path, day: date) -> Outcome:
    """The day's recording as a backtest; DataError where there is none, or the day was not over in it."""
    files = sorted(recordings.glob(f"{day.isoformat()}-*.events"))
    if not files:
        raise DataError(f"no recording of {day} in {recordings}")
    recording = Recording(files[0])
    if not recording.closed:
        raise DataError(f"the recording of {day} has no end of the day: it is still open, or the process was killed")
    with tempfile.TemporaryDirectory(prefix="niyam-beside-") as folder:
        config = recording.config(Path(folder))
        market = RecordedMarket(recording, config.calendar(recording.account.kind))
        return RecordedBacktest(config, recording.account, market, recording.strategies, FillRules()).run()


def compared(fills: Sequence[Mapping[str, Any]], outcome: Outcome) -> Row:
    """Counts of both sides, pairs, and over the pairs the mean and the largest difference in ticks; `same`: every fill is, to the paisa."""
    waiting: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for fill in fills:
        waiting.setdefault((fill["strategy"], fill["instrument"], fill["side"]), []).append(fill)
    ticks: list[float] = []
    same = len(fills) == len(outcome.fills)
    for other in outcome.fills:
        mine = waiting.get((other.strategy, other.instrument.key, str(other.side)))
        if not mine:
            same = False
            continue
        fill = mine.pop(0)
        ticks.append(round(other.side.sign * (fill["price"] - other.price) / other.instrument.tick_size, 2))
        paise = (round(fill["price"] * 100), round(fill["charges"] * 100), fill["quantity"])
        same = same and paise == (round(other.price * 100), other.charges, other.quantity)
    return {
        "traded": len(fills),
        "backtest": len(outcome.fills),
        "paired": len(ticks),
        "ticks_mean": round(sum(ticks) / len(ticks), 2) if ticks else None,
        "ticks_worst": max(ticks, key=abs) if ticks else None,
        "same": same,
    }
