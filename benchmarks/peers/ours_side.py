"""Niyam's own engine and the bare loop as sides of the peers measure: `ours_side BARS engine|loop`."""

import sys
from datetime import date, datetime, timedelta

from benchmarks.bare_loop import BareLoop, Columns
from benchmarks.bars import EngineSide, Market, shares
from benchmarks.peers.common import FAST, MINUTE, SLOW, UNITS, Bars, Fill, read, tell, timed
from core.types import IST
from utils.config_loader import load_calendar


def market_of(bars: Bars) -> Market:
    """The bars as our own measure holds them: lists of a column's values."""
    starts = [datetime.fromtimestamp(one / 1e9, IST) for one in bars.starts.tolist()]
    ends = [one + timedelta(microseconds=MINUTE // 1000) for one in starts]
    names = shares(bars.instruments)
    columns = {
        share.key: Columns(starts, ends, *(getattr(bars, name)[row].tolist() for name in ("open", "high", "low", "close", "volume")))
        for row, share in enumerate(names)
    }
    days: list[tuple[date, int, int]] = []
    for row, one in enumerate(starts):
        if not days or days[-1][0] != one.date():
            days.append((one.date(), row, row))
        days[-1] = (one.date(), days[-1][1], row + 1)
    return Market(names, columns, days)


def main() -> None:
    bars = read()
    market = market_of(bars)
    numbers = {share.key: number for number, share in enumerate(market.instruments)}
    rows = {start: row for row, start in enumerate(market.columns[market.instruments[0].key].start)}
    if sys.argv[2] == "engine":
        side = EngineSide(load_calendar(assumed_cut_offs=True), market)
        seconds, _ = timed(side.run)
        fills: list[Fill] = [(numbers[key], rows[at], units, price) for at, key, units, price in side.trades]
    else:
        loop = BareLoop(market.columns, FAST, SLOW, UNITS)
        seconds, _ = timed(loop.run)
        fills = [(numbers[one.name], rows[one.at], one.quantity, one.price) for one in loop.fills]
    tell(bars, seconds, fills, "")


if __name__ == "__main__":
    main()
