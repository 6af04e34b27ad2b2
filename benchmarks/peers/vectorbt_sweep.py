"""vectorbt over many pairs of averages at once: one column each, filled at the next open; timed in its second run, after its compiling.

It is handed the averages, when entries are taken and when everything is closed; ours makes them. Its orders bear no costs and meet no risk
limits. The first argument is a file of `open`, `close`, `averages` (by period), `enter`, `leave` (by bar) and `pairs`.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.common import timed

UNITS = 10


def portfolio(vbt: Any, held: Any) -> Any:
    """Long from the open after a bar whose fast average is the larger until the open after one on which it is not, or all are closed."""
    places = {int(period): place for place, period in enumerate(held["periods"])}
    fast, slow = (held["averages"][[places[int(pair[side])] for pair in held["pairs"]]].T for side in (0, 1))
    above = fast > slow
    enters, leaves = np.zeros_like(above), np.zeros_like(above)
    enters[1:] = (above & held["enter"][:, None])[:-1]
    leaves[1:] = (~above | held["leave"][:, None])[:-1]
    count = above.shape[1]
    closes, opens = (np.ascontiguousarray(np.repeat(held[name][:, None], count, axis=1)) for name in ("close", "open"))
    return vbt.Portfolio.from_signals(closes, enters, leaves, price=opens, size=UNITS, init_cash=1e12, direction="longonly", freq="1min")


def figures(found: Any) -> Any:
    """What a trial of ours is told by, as far as vectorbt has the same; the portfolio itself."""
    trades = found.trades
    for one in (trades.count, trades.win_rate, trades.expectancy, trades.profit_factor, found.total_profit, found.max_drawdown):
        one()
    return found


def main() -> None:
    with np.load(Path(sys.argv[1])) as file:
        held = {name: file[name] for name in file.files}
    vbt: Any = importlib.import_module("vectorbt")
    figures(portfolio(vbt, held))
    bare, _ = timed(lambda: portfolio(vbt, held))
    seconds, found = timed(lambda: figures(portfolio(vbt, held)))
    orders = found.orders.values
    fills = sorted(
        (int(one["col"]), int(one["idx"]), round(float(one["size"])) * (1 if one["side"] == 0 else -1), float(one["price"]))
        for one in orders
    )
    print(json.dumps({"seconds": seconds, "bare": bare, "version": vbt.__version__, "fills": fills}))


if __name__ == "__main__":
    main()
