"""Crash points: a short day of orders is killed at every journal append, commit, send and receive, for each way an order can go.

    python -m tests.proofs.crash_points

The day is the simulation's: the real loop, engine, recovery and SQL ledger on a real file, the simulated exchange at the Broker port.
A first run without a kill counts its points; then each point gets a day of its own that dies exactly there, starts again on what the
file holds, and is played to its end. A scenario is what becomes of one order call: an entry, its strategy's exit, or a square-off.
"""

import argparse
import multiprocessing
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from loguru import logger

from core.events import Books, Event, OrderUpdate, Reply
from core.ports import Facts
from storage.store import SqlStore, open_reader
from tests.simulation.day import Day, Result
from tests.simulation.faults import Fault, Plan
from tests.simulation.market import FUTURE, clock
from tests.simulation.virtual import Killed
from tests.simulation.watch import Watch
from utils.config_schema import StrategySettings

BEGINS = "14:50"
OUTCOMES = ("not received", "received", "acked", "partial", "filled", "rejected")
"""`received`: booked, and its reply is lost; `acked`: it rests at the exchange and never fills."""
STRIKES = {"place_request_lost": "not received", "place_ack_lost": "received", "rms_reject": "rejected", "partial": "partial"}
SENDING = ("before a call leaves", "after a call left", "after its reply came")


@dataclass(frozen=True)
class Call:
    """An order call (the `number`th of its day, from 1), and the day it belongs to: its market's seed and its strategy's pace."""

    number: int
    seed: int
    interval: str
    fast: int
    slow: int

    @property
    def strategy(self) -> StrategySettings:
        return StrategySettings.model_validate(
            {"class": "sma_cross", "instruments": ["NIFTY_FUT"], "interval": self.interval, "size": {"lots": 4}, "horizon": "intraday",
             "params": {"fast": self.fast, "slow": self.slow, "both_ways": True}, "risk": {"stop_pct": 5.0}}
        )  # fmt: skip


CALLS = {
    "entry": Call(1, 1, "1m", 2, 8),
    "exit": Call(2, 1, "1m", 2, 8),  # its strategy turns round
    "square-off": Call(2, 39, "5m", 1, 3),  # it holds what it has until 15:20
}


@dataclass(frozen=True)
class Scenario:
    """`outcome` befalls the order call of that name (`entry`, `exit`, `square-off`); the day's others go well."""

    call: str
    outcome: str

    def __str__(self) -> str:
        return f"{self.call} {self.outcome}"


SCENARIOS = [Scenario(call, outcome) for call in CALLS for outcome in OUTCOMES]


class Points:
    """Counts the points a day comes by, and dies at one of them."""

    def __init__(self, kill_at: int | None) -> None:
        self.kill_at = kill_at
        self.passed: list[str] = []

    def by(self, what: str) -> bool:
        """Whether to die here."""
        self.passed.append(what)
        return len(self.passed) - 1 == self.kill_at

    def die(self, what: str) -> None:
        if self.by(what):
            raise Killed


class OneCallPlan(Plan):
    """No faults but the scenario's one, and a way to die around each order call."""

    def __init__(self, scenario: Scenario, points: Points) -> None:
        super().__init__(CALLS[scenario.call].seed, ())
        self._scenario = scenario
        self._points = points
        self._calls = 0
        self.rest: Callable[[], None] = lambda: None

    def strike(self, kind: str, now: datetime) -> Fault | None:
        if kind == "kill_at_send":
            die = [number for number, what in enumerate(SENDING) if self._points.by(what)]
            return self._fault(kind, now, die[0]) if die else None
        if kind == "place_ack_lost":  # the first that SimBroker asks about each place call
            self._calls += 1
        if self._calls != CALLS[self._scenario.call].number:
            return None
        if kind == "partial" and self._scenario.outcome == "acked":
            self.rest()
        return self._fault(kind, now, 0) if STRIKES.get(kind) == self._scenario.outcome else None

    def _fault(self, kind: str, now: datetime, choice: int) -> Fault:
        return Fault(kind, now, now, None, FUTURE, _Fixed(choice))


class _Fixed(random.Random):
    """Chooses what it was told to."""

    def __init__(self, choice: int) -> None:
        super().__init__(0)
        self._choice = choice

    def choice(self, seq: Any) -> Any:
        return seq[self._choice]


class PointWatch(Watch):
    """The ten invariants, and a way to die before the engine takes a piece of evidence."""

    points: Points

    def _hear(self, event: Event) -> None:
        if isinstance(event, (Reply, OrderUpdate)) or (isinstance(event, Books) and event.orders):
            self.points.die(f"before {type(event).__name__} is taken")
        super()._hear(event)


class CrashDay(Day):
    """The short day of one scenario. A person who is told to look for an order does so at once when it is time."""

    LOOKS_S = (110.0, 110.0)

    def __init__(self, scenario: Scenario, kill_at: int | None = None, plant: Mapping[str, type] | None = None) -> None:
        points = self.points = Points(kill_at)

        class Store(SqlStore):
            """Dies before an append."""

            def journal(self, at: datetime, kind: str, data: Facts) -> int:
                points.die(f"before {kind} is journalled")
                return super().journal(at, kind, data)

        plan, call = OneCallPlan(scenario, points), CALLS[scenario.call]
        super().__init__(call.seed, plant={"store": Store, **(plant or {})}, plan=plan, begins=BEGINS, broker="zerodha", protect=False)
        plan.rest = lambda: self.venue.exchange.force_partial(0, user=self.venue.broker.user)
        caps = self.config.risk.model_copy(update={"max_daily_loss": 1e7})
        self.config = msgspec.structs.replace(self.config, risk=caps, strategies={"cross": call.strategy})
        self.notifier.hear = self._told
        self.watch = PointWatch(self.clock, self.venue, self.plan, self.notifier)
        self.watch.points = points

    def _maybe_kill(self, where: str) -> None:
        if self.house is not None:
            self.points.die(f"{where} a commit")

    def _journal(self) -> list[dict[str, Any]]:
        journal = super()._journal()
        self._judge()
        return journal

    def _judge(self) -> None:
        """The end of it: flat at the broker, and every trade there is a fill here, once."""
        with closing(open_reader(self.folder.ledger_url)) as ledger:
            tags = {order.id: order.tag for order in ledger.orders()}
            booked: Counter[str] = Counter()
            for fill in ledger.fills():
                booked[tags.get(fill.order_id, fill.order_id)] += fill.quantity
            net = {(p.instrument.key, p.product): p.quantity for p in ledger.positions() if p.quantity}
        real = Counter({order.tag: order.filled for order in self.venue.account.orders.values() if order.tag and order.filled})
        if real != booked:
            self.watch.violation("FILLS", f"at the broker {dict(real)}, in the ledger {dict(booked)}")
        if net or self.venue.net():
            self.watch.violation("FLAT", f"the ledger holds {net}, the broker {self.venue.net()}")


def play(scenario: Scenario, kill_at: int | None = None, plant: Mapping[str, type] | None = None) -> tuple[Result, list[str]]:
    """One day; its result, and the points it came by."""
    day = CrashDay(scenario, kill_at, plant)
    return day.run(), day.points.passed


@dataclass
class Tally:
    """What the days showed."""

    points: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)


Job = tuple[Scenario, int, str]


def jobs_of(scenario: Scenario, first: int, every: int) -> Iterator[Job]:
    """(scenario, point, what is there): every `every`-th point of one scenario from `first` on."""
    result, passed = play(scenario)
    if result.violations:
        raise AssertionError(f"{scenario}, without a kill: {result.violations}")
    for place in range(first % every, len(passed), every):
        yield scenario, place, passed[place]


def one(job: Job) -> list[str]:
    """What is wrong after a death at this point; empty: nothing."""
    scenario, place, what = job
    result, passed = play(scenario, place)
    violations = list(result.violations)
    mute = what == SENDING[-1] and scenario.outcome in ("not received", "received")  # no reply came: nothing to die after
    if result.starts != 2 and not mute:
        violations.append(f"{result.starts} processes instead of two")
    if passed[place] != what:
        violations.append(f"died {passed[place]}, meant {what}")
    return [f"{scenario}, killed {what} (point {place}): {violation}" for violation in violations]


def _one(job: Job) -> tuple[str, list[str]]:
    return job[2], one(job)


def _quiet() -> None:
    logger.remove()


def run(every: int, workers: int) -> Tally:
    """Play the days on `workers` processes."""
    tally = Tally()
    jobs = (job for number, scenario in enumerate(SCENARIOS) for job in jobs_of(scenario, number, every))
    with multiprocessing.Pool(workers, _quiet) as pool:
        for what, problems in pool.imap_unordered(_one, jobs):
            tally.points += 1
            tally.kinds[what] += 1
            tally.bad += problems
            for problem in problems:
                print(f"violation: {problem}", file=sys.stderr, flush=True)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="every so many points of each scenario")
    parser.add_argument("--workers", type=int, default=multiprocessing.cpu_count())
    given = parser.parse_args()
    logger.remove()
    began = time.monotonic()
    tally = run(given.every, given.workers)
    print(
        f"crash points: {tally.points} points ({len(tally.kinds)} kinds) x {len(SCENARIOS)} scenarios of a day from "
        f"{clock(BEGINS):%H:%M}, {len(tally.bad)} violations, {time.monotonic() - began:.0f} s"
    )
    return 1 if tally.bad else 0


if __name__ == "__main__":
    sys.exit(main())
