"""Our backtest against backtrader on invented sessions, and on some real ones where they lie beside the project."""

import random
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from tests.differential import RULES, SESSION, differences, full_sessions, theirs
from tests.planted import wide

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "index_1m" / "nifty50_1m_2016.parquet"


def invented(days: int, seed: int) -> pd.DataFrame:
    """Synthetic sessions: a walk on the tick with trends, so that every rule trades."""
    drawn, price, frames = random.Random(seed), 1000.0, []
    for number in range(days):
        moments = pd.date_range(f"{date(2026, 6, 1 + number)} 09:15", periods=SESSION, freq="min", tz="Asia/Kolkata")
        rows = []
        for minute in range(SESSION):
            start = price if minute else price + drawn.choice([-2.0, 0.0, 1.5])
            price = round(start + 0.05 * drawn.randint(-20, 20) + (0.2 if (minute // 60) % 2 else -0.2), 2)
            rows.append((start, max(start, price) + 0.1, min(start, price) - 0.1, price, 1000))
        frame = pd.DataFrame(rows, columns=["open", "high", "low", "close", "volume"])
        frames.append(frame.assign(timestamp=moments))
    return pd.concat(frames, ignore_index=True)


def test_seven_rules_make_the_same_trades_on_invented_sessions() -> None:
    counts: dict[str, int] = {}
    assert differences(invented(3, 11), list(RULES), counts.__setitem__) == []
    assert all(counts[rule] >= 3 for rule in RULES), counts


def test_they_do_so_on_five_minute_bars(tmp_path: Path) -> None:
    frame = invented(3, 13).set_index("timestamp")
    kinds = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    coarse = frame.resample("5min").agg(kinds).dropna().reset_index()
    counts: dict[str, int] = {}
    assert differences(coarse, ["cross", "turn", "range"], counts.__setitem__, step=5) == []
    assert counts["turn"] >= 3


def test_the_comparison_sees_a_fill_a_tick_away(tmp_path: Path) -> None:
    frame, config = invented(1, 12), wide(tmp_path / "config")
    trades = theirs(frame, "cross", config)
    entry = trades[0][2]
    changed = frame.copy()
    at = changed.index[changed.timestamp.dt.strftime("%Y-%m-%d %H:%M") == entry][0]
    changed.loc[at, "open"] += 0.05
    assert theirs(changed, "cross", config)[0][3] == pytest.approx(trades[0][3] + 0.05)


@pytest.mark.skipif(not REAL.exists(), reason=f"the real one-minute bars are not at {REAL} (they may not be republished)")
def test_rules_make_the_same_trades_on_real_sessions() -> None:
    frame = full_sessions(pd.read_parquet(REAL)).head(5 * SESSION)
    assert differences(frame, ["turn", "breakout", "range"]) == []
