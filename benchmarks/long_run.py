"""Run by the bars measure in a process of its own: a long backtest's memory. Prints JSON: bars, orders, peak resident MB and seconds.

The bars are made and dropped in chunks of days, as a reader of recorded data streams them; what stays is what the engine and its ledger
in memory keep of a run.
"""

import json
import sys
from datetime import timedelta
from pathlib import Path
from time import process_time

from benchmarks.bars import EngineSide, make_market
from utils.config_loader import load_calendar

CHUNK = 7_500


def main() -> None:
    wanted = int(sys.argv[1])
    calendar = load_calendar(assumed_cut_offs=True)
    market = make_market(1, CHUNK, calendar)
    side = EngineSide(calendar, market)
    bars, began = 0, process_time()
    while True:
        side.run()
        bars += market.bars
        if bars >= wanted:
            break
        market = side.market = make_market(1, CHUNK, calendar, seed=bars, first_day=market.days[-1][0] + timedelta(days=1))
    status = Path("/proc/self/status").read_text(encoding="utf-8")  # of this program alone: ru_maxrss counts what it was forked from
    peak = next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmHWM:")) / 1024
    told = {"bars": bars, "orders": len(side.store.kept_orders), "rss_mb": peak, "seconds": process_time() - began}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
