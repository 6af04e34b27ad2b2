"""kill -9 of the daemon at random moments of a practice-live day: nothing doubled, nothing lost, and the day ends flat.

    python -m tests.e2e.crash --kills 10            # a whole day
    python -m tests.e2e.crash --kills 3 --start 14:40

The moments are drawn from --seed: one in each part of the day, struck while the market runs as fast as it goes, and some while the
daemon is still starting. After each restart our ledger is compared with the simulator's own books. The last line of the output is the
figures; exit 1 on any violation.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from tests.e2e.stage import DAY, HELD, Daemon, Stage, closed, compare, until

SQUARE_OFF = "15:20"
FLAT_BY = "15:26"
EARLY = 0.25  # of the kills hit a daemon that is still starting
STEP, STEPS = 15, 16  # market seconds, and how many such steps after a restart the books may take to agree
A_DAY = 20  # kills
TAIL = 120.0  # wall seconds for the rest of the day after the last kill
ROPE = timedelta(minutes=5)  # how far the market may run past the moment of a kill before it is held for it


@dataclass
class Outcome:
    """What the kills did."""

    kills: int = 0
    doubled: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)  # seconds from exec to trading

    @property
    def clean(self) -> bool:
        return not (self.doubled or self.lost or self.other)

    def line(self) -> str:
        times = sorted(self.recoveries) or [float("nan")]
        p50, p99 = (times[min(len(times) - 1, int(len(times) * part))] for part in (0.5, 0.99))
        return (
            f"crash: {self.kills} kills, {len(self.doubled)} doubled, {len(self.lost)} lost, {len(self.other)} other violations, "
            f"recovery to trading p50 {p50:.2f} s, p99 {p99:.2f} s over {len(self.recoveries)} restarts"
        )


def trading(stage: Stage, daemon: Daemon) -> bool:
    """Whether this daemon has its books, its session and its feed: the gate is open."""
    status = stage.status()
    return (
        bool(status)
        and status["running"]
        and daemon.alive
        and status["session"] == "VALID"
        and status["blind"] is None
        and status["feed"]["connected"]
    )


def moments(kills: int, begins: datetime, ends: datetime, seed: int) -> Iterator[tuple[float, datetime | None]]:
    """For each kill: wall seconds after exec, while it still starts; or (0 and) the moment of the market, one in each part of the day."""
    drawn = random.Random(seed)
    for number in range(kills):
        if drawn.random() < EARLY:
            yield drawn.uniform(0.05, 1.2), None
        else:
            yield 0.0, begins + (ends - begins) * (number + drawn.random()) / kills


def play(stage: Stage, outcome: Outcome, *, kills: int, seed: int, start: str) -> None:
    """One day with so many kills."""
    stage.configure("risk.yaml", "max_daily_loss: 25000", "max_daily_loss: 2500000")  # a lock would leave nothing to kill it in
    begins, over = (datetime.fromisoformat(f"{DAY}T{clock}+05:30") for clock in (start, SQUARE_OFF))
    stage.simulate(start=start, speed=HELD)
    daemon = stage.run()
    for early, moment in moments(kills, begins, begins + 0.95 * (over - begins), seed):
        if moment is None:
            time.sleep(early)
        else:
            recovered(stage, daemon, outcome)
            stage.allow(f"{moment + ROPE:%H:%M:%S}")
            until(lambda moment=moment, daemon=daemon: stage.now() >= moment or not daemon.alive, f"{moment:%H:%M}")  # type: ignore[misc]
        if not daemon.alive:
            break
        daemon.kill()
        outcome.kills += 1
        stage.hold()
        daemon = stage.run()
    if daemon.alive:
        recovered(stage, daemon, outcome)
        stage.go_on_until(lambda status: bool(status["market"]["now"][11:16] >= FLAT_BY), "the end of the square-off", attended=True)
    stage.go_on()
    code = daemon.wait(TAIL)
    if code != 0:
        outcome.other.append(f"exit {code} at the day's end: {daemon.said[-500:]}")
    last = compare(stage)
    outcome.doubled += last.doubled
    outcome.lost += last.lost
    outcome.other += [problem for problem in closed(stage) if problem not in last.doubled + last.lost]


def recovered(stage: Stage, daemon: Daemon, outcome: Outcome) -> None:
    """Wait until it trades, then until both sides' books agree; what is doubled counts at any moment."""
    until(lambda: trading(stage, daemon) or not daemon.alive, "the daemon to trade")
    if not daemon.alive:
        return
    if outcome.kills:
        outcome.recoveries.append(time.monotonic() - daemon.began)
    seen = compare(stage)
    for _ in range(STEPS):
        if seen.doubled or not seen.problems or not daemon.alive:
            break
        stage.step(STEP)
        seen = compare(stage)
    outcome.doubled += seen.doubled
    if daemon.alive:
        outcome.lost += seen.lost
        outcome.other += seen.differences


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="crash", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", default="09:00", help="first market time, HH:MM")
    given = parser.parse_args(arguments)
    outcome, days = Outcome(), 0
    while outcome.kills < given.kills and outcome.clean and days < given.kills:
        with tempfile.TemporaryDirectory(prefix="niyam-crash-") as folder, Stage(Path(folder)) as stage:
            kills = min(A_DAY, given.kills - outcome.kills)
            play(stage, outcome, kills=kills, seed=given.seed + days, start=given.start)
        days += 1
        print(f"day {days}: {outcome.line()}", file=sys.stderr)
    for problem in (*outcome.doubled, *outcome.lost, *outcome.other):
        print(f"violation: {problem}")
    if outcome.kills < given.kills:
        outcome.other.append("the days were over before the last kill")
        print(f"violation: {outcome.other[-1]}")
    print(f"{outcome.line()}, {days} days, seed {given.seed}")
    return 0 if outcome.clean else 1


if __name__ == "__main__":
    sys.exit(main())
