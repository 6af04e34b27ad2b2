"""backtesting.py: averages as whole columns, market orders, which it fills at the next bar's open; one run for each instrument."""

import importlib
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.common import FAST, SLOW, UNITS, Fill, ema, read, tell, timed

ROOT = Path(__file__).resolve().parents[2]
sys.path[:] = [one for one in sys.path if Path(one or ".").resolve() != ROOT]  # `backtesting` is a folder of ours, too
theirs: Any = importlib.import_module("backtesting")
pd: Any = importlib.import_module("pandas")


class Cross(theirs.Strategy):  # type: ignore[misc]  # untyped library
    """Long while the fast average is above the slow one, else flat."""

    decides: Any = None

    def init(self) -> None:
        self.fast = self.I(ema, self.data.Close, FAST)
        self.slow = self.I(ema, self.data.Close, SLOW)
        self.wanted = 0

    def next(self) -> None:
        wanted = 1 if self.fast[-1] > self.slow[-1] else 0
        if wanted != self.wanted and self.decides[len(self.data) - 1]:
            self.wanted = wanted
            if wanted:
                self.buy(size=UNITS)
            else:
                self.position.close()


def main() -> None:
    bars = read()
    index = pd.DatetimeIndex(np.asarray(bars.starts, "datetime64[ns]"))
    names = {"Open": bars.open, "High": bars.high, "Low": bars.low, "Close": bars.close, "Volume": bars.volume}
    frames = [pd.DataFrame({name: column[row] for name, column in names.items()}, index=index) for row in range(bars.instruments)]
    decides = bars.decides.tolist()
    warnings.simplefilter("ignore", UserWarning)  # that a trade is open at the end
    inside: Any = importlib.import_module("backtesting.backtesting")
    inside._tqdm = lambda rows, **about: rows  # no progress bar

    def run() -> list[Any]:
        return [theirs.Backtest(frame, Cross, cash=1e12).run(decides=decides) for frame in frames]

    seconds, found = timed(run)
    fills: list[Fill] = []
    for number, one in enumerate(found):
        trades = one["_trades"]
        for entry, price, leave, left in zip(trades.EntryBar, trades.EntryPrice, trades.ExitBar, trades.ExitPrice, strict=True):
            fills += [(number, int(entry), UNITS, float(price)), (number, int(leave), -UNITS, float(left))]
        fills += [(number, int(each.entry_bar), UNITS, float(each.entry_price)) for each in one["_strategy"].trades]
    tell(bars, seconds, fills, theirs.__version__)


if __name__ == "__main__":
    main()
