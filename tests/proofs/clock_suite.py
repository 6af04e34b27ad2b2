"""Our clock jumps, drifts and sleeps on every kind of day: each schedule fires once, the square-off when our clock first shows its time.

    python -m tests.proofs.clock_suite

The real engine with a position in hand; the exchange's time is the truth and stamps the packets, our clock is what the case makes of it.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from loguru import logger

from core.market import Calendar
from core.types import IST, Instrument, Tick
from tests.harness import FUTURE, SHARE, Harness
from utils.config_loader import CONFIG_FOLDER, load_calendar

Skew = Callable[[float], float]
"""Seconds since the case began -> seconds by which our clock is ahead of the truth."""
JUMPS = tuple(sign * seconds for seconds in (1.0, 30.0, 300.0, 1800.0, 7200.0) for sign in (1, -1))
LATE_S = 2.0

OVERRIDES = """\
schema_version: 1
closed: [{d: 2026-11-25, n: "Election (ad hoc)", segments: [EQ, FO, CDS], src: made up}]
open: []
special_sessions:
  - {d: 2026-11-08, kind: muhurat, segments: [EQ, FO], pre_open: ["17:45", "17:53"], sessions: [["18:00", "19:00"]], src: made up}
  - {d: 2026-11-19, kind: short, segments: [EQ, FO], sessions: [["09:15", "12:30"]], src: made up}
segments: {}
mis_squareoff:
  zerodha: {versions: [{from: 2026-11-08, to: 2026-11-08, EQ_CAS: close-5m, EQ_NONCAS: close-5m, FO: close-5m, src: made up},
                       {from: 2026-11-19, to: 2026-11-19, EQ_CAS: close-5m, EQ_NONCAS: close-5m, FO: close-5m, src: made up}]}
confirmed_years: []
"""


@dataclass(frozen=True)
class Kind:
    """A kind of day: what is held, and when the case begins."""

    name: str
    instrument: Instrument
    begins: datetime
    minutes: int = 45


def _at(day: int, hour: int, minute: int) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=IST)


KINDS = (
    Kind("a day of futures", FUTURE, _at(20, 14, 55)),
    Kind("a share with a closing auction", SHARE, _at(20, 14, 45)),
    Kind("muhurat trading", FUTURE, _at(8, 18, 20)),
    Kind("a half day", FUTURE, _at(19, 11, 55)),
)


def jump(by: float, since: float, until: float = 1e9) -> Skew:
    return lambda second: by if since <= second < until else 0.0


def drift(rate: float) -> Skew:
    return lambda second: second * rate


def skews(every: int) -> Iterator[tuple[str, Skew]]:
    """Jumps at moments before, at and after the square-off; drifts."""
    cases: list[tuple[str, Skew]] = [("right", drift(0.0)), ("drifts by +2%", drift(0.02)), ("drifts by -2%", drift(-0.02))]
    for by in JUMPS:
        for moment in (120.0, 1495.0, 1530.0):
            until = moment + 600
            cases += [
                (f"{by:+g} s at {moment:g} s", jump(by, moment)),
                (f"{by:+g} s from {moment:g} to {until:g} s", jump(by, moment, until)),
            ]
    return iter(cases[::every])


def calendar(folder: Path) -> Calendar:
    """The shipped calendar with a muhurat session, a half day and a holiday of our making."""
    for path in (CONFIG_FOLDER / "market").rglob("*"):
        if path.is_file():
            target = folder / "market" / path.relative_to(CONFIG_FOLDER / "market")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (folder / "market" / "overrides.yaml").write_text(OVERRIDES, encoding="utf-8")
    return load_calendar(folder, assumed_cut_offs=True)


class Case:
    """One kind of day under one clock."""

    def __init__(self, kind: Kind, skew: Skew, market: Calendar, sleeps: tuple[float, float] = (0.0, 0.0)) -> None:
        self.kind = kind
        self.skew = skew
        self.sleeps = sleeps
        self.problems: list[str] = []
        self.house = Harness(at=kind.begins, instrument=kind.instrument)
        self.house.calendar.become(market)
        self.house.engine.world.hours_changed()
        self.house.engine.square_off.rearm(kind.begins.date())
        [self.plan] = [self.house.engine.world.plan(kind.instrument)]
        self.due: datetime | None = None  # when our clock first showed the square-off's time

    def play(self) -> list[str]:
        """What went wrong; empty: nothing."""
        house, truth = self.house, self.kind.begins
        self.trade(1)
        if not house.held or self.plan is None:
            return [f"no position to square off: {house.journal('refused')}"]
        looked = 0.0
        for second in range(self.kind.minutes * 60):
            truth = self.kind.begins + timedelta(seconds=second)
            if self.sleeps[0] <= second < self.sleeps[1]:
                looked = second
                continue
            before = house.executor.reads
            self.step(truth, float(second))
            if house.executor.reads > before:
                looked = second
            if second - looked > 31 and house.engine.timers.due("second") is not None:
                self.problems.append(f"the broker's books were not read for {second - looked:.0f} s at {truth:%H:%M:%S}")
                looked = second
        self.judge(truth)
        return self.problems

    def step(self, truth: datetime, second: float) -> None:
        house = self.house
        house.clock._now = now = truth + timedelta(seconds=self.skew(second))
        if self.due is None and self.plan is not None and now >= self.plan.start:
            self.due = now
        house.engine.run_timers()
        if second % 2 == 0:
            price = 25_000.0 if self.kind.instrument is FUTURE else 1_400.0
            book = {"bid": price - 0.1, "ask": price + 0.1, "bid_quantity": 65, "ask_quantity": 65}
            house.engine.process(Tick(self.kind.instrument, now, price, exchange_at=truth, **book))  # type: ignore[arg-type]
        house.engine.settle()
        self.fill()

    def trade(self, target: float) -> None:
        self.step(self.kind.begins, 0.0)
        self.house.say(target)
        self.fill()

    def fill(self) -> None:
        while self.house.executor.placed and self.house.last.state.name == "SENDING":
            self.house.complete(self.house.last.limit_price)

    def judge(self, truth: datetime) -> None:
        house = self.house
        started = house.journal("square_off_started")
        off = abs(self.skew(self.kind.minutes * 60 - 1.0))
        if (off > 2.5) is not bool(house.told("Our clock is wrong")) and self.due is not None and off != 0.0:
            self.problems.append(f"off by {off:g} s at the end: told {house.told('Our clock is wrong')}")
        if off > 31 and house.engine.world.blind is None and house.engine.world.feed_stale is None:
            self.problems.append(f"off by {off:g} s at the end, and entries are allowed")
        if self.due is None:
            if started:
                self.problems.append(f"squared off before its time: {started}")
            return
        if len(started) != 1:
            self.problems.append(f"the square-off of {self.plan and self.plan.start:%H:%M:%S} started {len(started)} times")
        elif (late := (datetime.fromisoformat(started[0]["at"]) - self.due).total_seconds()) > LATE_S:
            self.problems.append(f"the square-off started {late:.1f} s after our clock showed its time")
        over = self.plan is not None and self.due >= self.plan.closes  # it slept, or jumped, over the whole of it: a person is told
        if house.held and not (over and house.told("Not flat") == ["page"]):
            self.problems.append(f"{house.held} still held at {truth:%H:%M:%S}")
        entries = [entry for entry in house.journal("intent") if entry["purpose"] == "entry"]
        if len(entries) != 1:
            self.problems.append(f"{len(entries)} entries")


def cases(every: int, market: Calendar) -> Iterator[tuple[str, list[str]]]:
    for kind in KINDS:
        for name, skew in skews(every):
            yield f"{kind.name}, clock {name}", Case(kind, skew, market).play()
        for sleep in ((100.0, 160.0), (1400.0, 1600.0)):
            yield f"{kind.name}, asleep {sleep}", Case(kind, lambda s: 0.0, market, sleep).play()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="only every so many clocks")
    given = parser.parse_args()
    logger.remove()
    began, tried, bad = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for name, problems in cases(given.every, calendar(Path(folder))):
            tried += 1
            bad += len(problems)
            for problem in problems:
                print(f"violation: {name}: {problem}", flush=True)
    print(f"clocks: {tried} cases on {len(KINDS)} kinds of day, {bad} violations, {time.monotonic() - began:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
