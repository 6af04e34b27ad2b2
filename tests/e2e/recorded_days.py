"""Real daily futures made playable: each day's open, low, high and close joined by straight lines of 15-minute bars.

What is real are the day's four prices, volume and open interest; the way between them is invented. The close stands from 15:00 on, so
that a roll at 15:00 finds both contracts at their closes of that day.
"""

import csv
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

EOD = Path(__file__).resolve().parents[1] / "unit" / "nifty_futures_2026.csv"
BARS = 25  # from 09:15 to 15:30
STEP = timedelta(minutes=15)
TURNS = (0, 6, 14, 23)  # the bars at which the path has its open, first extreme, second extreme and close


def write(out: Path, first: str, last: str) -> None:
    """Every contract's days from `first` to `last` (ISO) as bars in the form that `--data` reads."""
    lines = ["timestamp,symbol,open,high,low,close,volume,oi"]
    with EOD.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if first <= row["timestamp"][:10] <= last:
                lines += _bars(row)
    header, *rows = lines
    out.write_text("\n".join([header, *sorted(rows, key=lambda line: line.split(",")[:2])]) + "\n", encoding="utf-8")


def _bars(row: dict[str, str]) -> list[str]:
    opens, high, low, close = (float(row[name]) for name in ("open", "high", "low", "close"))
    turns = (opens, low, high, close) if close >= opens else (opens, high, low, close)
    prices = [close] * (BARS + 1)
    for (start, end), (one, other) in zip(pairwise(TURNS), pairwise(turns), strict=True):
        for place in range(start, end + 1):
            prices[place] = round(one + (other - one) * (place - start) / (end - start), 1)
    prices[TURNS[0]] = opens
    at = datetime.fromisoformat(row["timestamp"]).replace(hour=9, minute=15)
    volume = int(row["volume"]) // BARS
    return [
        f"{(at + place * STEP).isoformat()},{row['symbol']},{one},{max(one, other)},{min(one, other)},{other},{volume},{row['oi']}"
        for place, (one, other) in enumerate(pairwise(prices))
    ]
