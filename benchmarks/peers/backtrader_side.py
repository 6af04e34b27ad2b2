"""backtrader: its own EMA, market orders, which it fills at the next bar's open."""

import importlib
from typing import Any

import numpy as np

from benchmarks.peers.common import FAST, SLOW, UNITS, Fill, read, tell, timed

bt: Any = importlib.import_module("backtrader")
pd: Any = importlib.import_module("pandas")
FILLS: list[Fill] = []


class Cross(bt.Strategy):  # type: ignore[misc]  # untyped library
    """Long while the fast average is above the slow one, else flat."""

    params = (("decides", ()),)

    def __init__(self) -> None:
        self.fast = [bt.ind.EMA(one.close, period=FAST) for one in self.datas]
        self.slow = [bt.ind.EMA(one.close, period=SLOW) for one in self.datas]
        self.wanted = [0] * len(self.datas)
        self.numbers = {id(one): number for number, one in enumerate(self.datas)}  # == between its series makes another series

    def next(self) -> None:
        if not self.p.decides[len(self.data) - 1]:
            return
        for number, data in enumerate(self.datas):
            wanted = 1 if self.fast[number][0] > self.slow[number][0] else 0
            if wanted != self.wanted[number]:
                self.wanted[number] = wanted
                (self.buy if wanted else self.sell)(data=data, size=UNITS)

    def notify_order(self, order: Any) -> None:
        if order.status == order.Completed:
            row = len(order.data) - 1
            FILLS.append((self.numbers[id(order.data)], row, round(order.executed.size), order.executed.price))


def main() -> None:
    bars = read()
    engine = bt.Cerebro(stdstats=False)
    engine.broker.setcash(1e12)
    index = pd.DatetimeIndex(np.asarray(bars.starts, "datetime64[ns]"))
    for row in range(bars.instruments):
        columns = {name: getattr(bars, name)[row] for name in ("open", "high", "low", "close", "volume")}
        engine.adddata(bt.feeds.PandasData(dataname=pd.DataFrame(columns, index=index)))
    engine.addstrategy(Cross, decides=bars.decides.tolist())
    seconds, _ = timed(engine.run)
    tell(bars, seconds, FILLS, bt.__version__)


if __name__ == "__main__":
    main()
