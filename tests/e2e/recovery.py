"""kill -9 of a daemon that has many orders and positions: how long the next one takes until it trades again, and whether both books agree.

    python -m tests.e2e.recovery --positions 50 --orders 200 --kills 20

The positions are options, bought by hand over the control socket, in practice-live; the other orders are opened and closed again.
`books` is from exec until the broker's books are read (from then on exits leave), `trading` until the gate is open for entries. Exit 1 on
any difference between the books.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from data_ingestion.instruments import InstrumentStore
from tests.e2e.crash import trading
from tests.e2e.stage import DAY, HELD, Stage, compare, until
from utils.config_loader import load_calendar


@dataclass
class Recovered:
    """What the restarts took, in seconds from exec, and what was wrong."""

    orders: int = 0
    positions: int = 0
    books: list[float] = field(default_factory=list)
    trading: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        def spread(times: Sequence[float]) -> str:
            ordered = sorted(times)
            return f"p50 {ordered[len(ordered) // 2]:.2f} s, p99 {ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]:.2f} s"

        return (
            f"recovery: {self.orders} orders, {self.positions} positions, {len(self.trading)} kills, {len(self.problems)} differences, "
            f"books {spread(self.books)}, trading {spread(self.trading)}"
        )


def options(stage: Stage, wanted: int) -> list[str]:
    """So many of the day's options on the NIFTY, the nearest strikes first."""
    day = date.fromisoformat(DAY)
    snapshot = InstrumentStore(stage.run_folder.instruments, load_calendar(assumed_cut_offs=True), "zerodha").open(day)
    assert snapshot is not None
    expiry = snapshot.futures("NIFTY")[0].expiry
    assert expiry is not None
    near = snapshot.options("NIFTY", expiry)
    near.sort(key=lambda one: (abs((one.strike or 0.0) - 25_600.0), one.key))
    return [one.key for one in near[:wanted]]


def read(status: Mapping[str, Any]) -> bool:
    """Whether this daemon has a session and has read the broker's books."""
    return bool(status["running"]) and status["session"] == "VALID" and not str(status["blind"] or "").startswith("recovery")


def play(stage: Stage, *, positions: int, orders: int, kills: int) -> Recovered:
    """Build them up, then kill and start again and again."""
    stage.configure(
        "settings.yaml",
        "    kind: practice-live\n    broker: zerodha\n    capital: 1000000",
        "    kind: practice-live\n    broker: zerodha\n    capital: 100000000",
    )
    stage.simulate(start="10:00", speed=HELD)
    daemon = stage.run()
    until(lambda: trading(stage, daemon), "the daemon to trade")
    keys, found = options(stage, positions), Recovered()
    assert len(keys) == positions, f"the market lists {len(keys)} such options"
    for number in range(orders):
        key = keys[number % positions] if number < positions else keys[(number - positions) // 2 % positions]
        direction = "BUY" if number < positions or (number - positions) % 2 == 0 else "SELL"
        answer = stage.ask("order", symbol=key, direction=direction, lots=1, product_type="MIS", live=True)
        assert answer.ok, f"{direction} {key}: {answer.text}"
    for _ in range(kills):
        daemon.kill()
        daemon = stage.run()
        stage.until(read, "the broker's books to be read")
        found.books.append(time.monotonic() - daemon.began)
        until(partial(trading, stage, daemon), "the daemon to trade")
        found.trading.append(time.monotonic() - daemon.began)
    until(lambda: not compare(stage).problems, "both books to agree", 20.0)
    daemon.kill()
    found.problems += compare(stage).problems
    with closing(stage.ledger) as ledger:
        found.orders = len(ledger.orders())
        found.positions = sum(1 for held in ledger.positions() if held.quantity)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="recovery", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--positions", type=int, default=50)
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="niyam-recovery-") as folder, Stage(Path(folder)) as stage:
        found = play(stage, positions=given.positions, orders=given.orders, kills=given.kills)
    for problem in found.problems:
        print(f"violation: {problem}")
    print(found.line())
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
