"""Soak: three trading days of 500 instruments through the real daemon at the wire simulator, as fast as they go, watched from outside.

    python -m tests.proofs.soak --days 3 --instruments 500

The prices are invented. Each day the socket breaks every ten minutes of market time and the token dies once; each morning brings a new
date, a new login and a new instrument file. Resident memory, threads and file descriptors are read from /proc while it runs. They must be
flat from the end of the first day on: what a day needs is given back, or used again by the next.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from core.types import IST
from tests.e2e.stage import BUSY, PATIENCE, Daemon, Stage
from utils import control

FIRST = date(2026, 11, 18)  # three full sessions of the calendar in a row, before the near future's expiry
FUTURE, OPENS, SECONDS = "NFO:NIFTY26NOVFUT", timedelta(hours=9, minutes=15), 22_500
EVERY_S = 60  # between two ticks of one share; the future ticks each second
STRATEGIES = 24  # of the shares have a strategy that waits; the others are watched for their ticks
MOST_MB_PER_HOUR = 1.0  # of market time, from the first day's end to the last one's
MOST_MB = 400.0
SPARE = 4  # descriptors and threads that come and go: a request on its way, a socket that is being made anew

WATCHER = """\
class: sma_cross
interval: 5m
params: {fast: 400, slow: 500}
size: {quantity: 1}
horizon: intraday
risk: {stop_pct: 5.0}
enabled: true
"""


@dataclass(frozen=True)
class Sample:
    """The process at one moment: resident memory (MB), threads, descriptors, and what it had been through."""

    day: int
    hours: float  # of market time since the first open, closed hours left out
    events: int  # ticks that the market had sent by then
    rss: float
    threads: int
    descriptors: int


# --- the market -------------------------------------------------------------------------------------------------------------------------


def write_market(folder: Path, days: int, shares: int) -> list[str]:
    """Ticks of so many shares and the future; returns their keys."""
    chance, keys = np.random.default_rng(1), [f"NSE:SOAK{number:03d}" for number in range(shares)]
    for day in range(days):
        opens = datetime.combine(FIRST + timedelta(days=day), datetime.min.time(), IST) + OPENS
        start, stamps, symbols, prices = int(opens.timestamp()), [], [], []
        for number, key in enumerate([FUTURE, *keys]):
            every = 1 if number == 0 else EVERY_S
            seconds = np.arange(number % every, SECONDS, every)
            level = 25_000.0 if number == 0 else 100.0 + number
            walk = level * np.exp(np.cumsum(chance.normal(0, 2e-5 * math.sqrt(every), len(seconds))))
            stamps.append(start + seconds)
            symbols.append(np.full(len(seconds), key))
            prices.append(np.round(np.round(walk / 0.05) * 0.05, 2))
        at = np.concatenate(stamps)
        order = np.argsort(at, kind="stable")
        table = {
            "timestamp": pa.array(at[order] * 1_000_000, pa.timestamp("us", tz="Asia/Kolkata")),
            "symbol": pa.array(np.concatenate(symbols)[order]),
            "price": pa.array(np.concatenate(prices)[order]),
            "volume": pa.array(np.full(len(at), 65)),
        }
        pq.write_table(pa.table(table), folder / f"{opens.date().isoformat()}.parquet")
    return [FUTURE, *keys]


def faults(days: int) -> list[dict[str, Any]]:
    """A broken socket every ten minutes, a dead token at noon."""
    found: list[dict[str, Any]] = []
    for day in range(days):
        opens = datetime.combine(FIRST + timedelta(days=day), datetime.min.time(), IST) + OPENS
        breaks = [(opens + timedelta(minutes=minute)).isoformat() for minute in range(10, SECONDS // 60, 10)]
        found += [{"fault": "drop_socket", "match": {"after": moment}} for moment in breaks]
        found.append({"fault": "kill_token", "match": {"after": (opens + timedelta(minutes=167)).isoformat()}})
    return found


# --- the run ----------------------------------------------------------------------------------------------------------------------------


def sample(daemon: Daemon, stage: Stage, shares: int) -> Sample | None:
    """The process now; None while no day is open, or when it has just ended. Who is asked to log in does so."""
    said = stage.status()
    if not said:
        return None
    if said["session"] == "LOGIN_REQUIRED":
        with suppress(control.DaemonDown):
            stage.ask("login")
    at = datetime.fromisoformat(said["market"]["now"])
    day, seconds = (at.date() - FIRST).days, (at - at.replace(hour=0, minute=0, second=0, microsecond=0) - OPENS).total_seconds()
    if not 0 <= seconds <= SECONDS or day < 0:
        return None
    status: dict[str, str] = {}
    with suppress(OSError):
        process = Path(f"/proc/{daemon.process.pid}")
        for line in (process / "status").read_text().splitlines():
            name, _, value = line.partition(":")
            status[name] = value
        passed = day * SECONDS + seconds
        events = int(passed * (1 + shares / EVERY_S))
        descriptors = len(list((process / "fd").iterdir()))
        return Sample(day, passed / 3600, events, int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"]), descriptors)
    return None


def run(folder: Path, days: int, instruments: int, begins: str = "09:00", pause_s: float = 1.0) -> tuple[list[Sample], list[str]]:
    """The samples, `pause_s` apart, and what is wrong with how the days went; the first begins at `begins`."""
    with Stage(folder) as stage:
        data = folder / "data"
        data.mkdir()
        keys = write_market(data, days, instruments - 1)
        strategies = folder / "config" / "strategies"
        stage.configure("risk.yaml", "max_daily_loss: 25000 ", "max_daily_loss: 10000000 ")
        for path in strategies.glob("*.yaml"):
            path.unlink()
        (strategies / "busy.yaml").write_text(BUSY.replace(", BANKNIFTY_FUT", ""), encoding="utf-8")
        watched = f"{WATCHER}instruments: {json.dumps(keys[1 : 1 + STRATEGIES])}\n"
        (strategies / "watcher.yaml").write_text(watched, encoding="utf-8")
        script = folder / "faults.yaml"
        script.write_text(yaml.safe_dump(faults(days)), encoding="utf-8")
        daemon = stage.run(
            *("--data", str(data), "--days", str(days), "--faults", str(script), "--speed", "max", "--start", begins), files=True
        )
        samples: list[Sample] = []
        watching = -1  # the day for which the rest is subscribed
        while daemon.alive:
            found = sample(daemon, stage, instruments - 1)
            if found is not None and (not samples or found.hours > samples[-1].hours):
                samples.append(found)
            if found is not None and found.day != watching:
                watching = found.day
                with suppress(control.DaemonDown):
                    for key in keys[1 + STRATEGIES :]:
                        control.ask(stage.run_folder.control_socket, "watch", {"name": key}, timeout=PATIENCE)
            time.sleep(pause_s)
        problems = [] if daemon.process.returncode == 0 else [f"exit {daemon.process.returncode}: {daemon.said[-600:]}"]
        with suppress(AssertionError), closing(stage.ledger) as ledger:
            journal = ledger.read_journal()
            seen = Counter(entry["kind"] for entry in journal)
            closed = [entry for entry in journal if entry["kind"] == "day_closed"]
            if len(closed) != days or not all(entry["flat"] for entry in closed):
                problems.append(f"{len(closed)} of {days} days closed, flat: {[entry['flat'] for entry in closed]}")
            if [entry["seq"] for entry in journal] != list(range(1, len(journal) + 1)):
                problems.append("the journal has a gap")
            if seen["fill"] < 2 * days:
                problems.append(f"only {seen['fill']} fills")
            logins = sum(1 for entry in journal if entry["kind"] == "session" and entry["state"] == "LOGIN_REQUIRED")
            if logins < days:
                problems.append(f"the token died {logins} times, not on each of {days} days")
    return samples, problems


# --- what is flat -----------------------------------------------------------------------------------------------------------------------


def slope(samples: Sequence[Sample]) -> tuple[float, float]:
    """(MB per hour of market time, MB per million events) by least squares over the highest value of each tenth of an hour."""
    highest: dict[int, Sample] = {}
    for one in samples:
        place = int(one.hours * 10)
        if place not in highest or one.rss > highest[place].rss:
            highest[place] = one
    points = list(highest.values())
    if len(points) < 3:
        return 0.0, 0.0
    by_hour = statistics.linear_regression([one.hours for one in points], [one.rss for one in points]).slope
    by_event = statistics.linear_regression([one.events / 1e6 for one in points], [one.rss for one in points]).slope
    return by_hour, by_event


def judge(samples: Sequence[Sample]) -> list[str]:
    """What is not flat."""
    days = sorted({one.day for one in samples})
    if len(days) < 2:
        return [f"samples of {len(days)} days say nothing"]
    problems = []
    after = [one for one in samples if one.day > days[0]]
    top = {day: max(one.rss for one in samples if one.day == day) for day in days}
    grown = (top[days[-1]] - top[days[0]]) / ((len(days) - 1) * SECONDS / 3600)
    if grown > MOST_MB_PER_HOUR:
        told = ", ".join(f"{value:.0f} MB" for value in top.values())
        problems.append(f"memory grows by {grown:.2f} MB an hour from day to day ({told})")
    if max(top.values()) > MOST_MB:
        problems.append(f"{max(top.values()):.0f} MB resident")
    for name in ("threads", "descriptors"):
        usual = {day: statistics.median(getattr(one, name) for one in samples if one.day == day) for day in days}
        if usual[days[-1]] > usual[days[0]] + SPARE / 2:
            problems.append(f"{name} grow from day to day: {usual}")
        if max(getattr(one, name) for one in after) > usual[days[0]] + SPARE:
            problems.append(f"{name} reach {max(getattr(one, name) for one in after)}, usual are {usual[days[0]]:.0f}")
    return problems


def line(samples: Sequence[Sample], problems: Sequence[str], days: int, instruments: int, seconds: float) -> str:
    """The figures."""
    if not samples:
        return f"soak: no samples, {len(problems)} violations, {seconds:.0f} s"
    after = [one for one in samples if one.day > 0] or samples
    by_hour, by_event = slope(after)
    last, threads = samples[-1], [one.threads for one in after]
    descriptors = [one.descriptors for one in after]
    tops = ", ".join(f"{max(one.rss for one in samples if one.day == day):.0f}" for day in sorted({one.day for one in samples}))
    return (
        f"soak: {days} days, {instruments} instruments, {last.events / 1e6:.1f} million ticks, {len(faults(days))} breaks; "
        f"highest memory of each day {tops} MB, after the first day {by_event:+.2f} MB a million ticks ({by_hour:+.2f} an hour); threads "
        f"{min(threads)}-{max(threads)}, descriptors {min(descriptors)}-{max(descriptors)}; {len(problems)} violations, {seconds:.0f} s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--instruments", type=int, default=500)
    parser.add_argument("--keep", type=Path, help="write the samples to this CSV file")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="niyam-soak-") as folder:
        samples, problems = run(Path(folder), given.days, given.instruments)
    problems += judge(samples)
    for problem in problems:
        print(f"violation: {problem}", flush=True)
    if given.keep is not None:
        rows = [f"{one.day},{one.hours:.3f},{one.events},{one.rss:.1f},{one.threads},{one.descriptors}" for one in samples]
        given.keep.write_text("\n".join(["day,hours,events,rss_mb,threads,descriptors", *rows]) + "\n", encoding="utf-8")
    print(line(samples, problems, given.days, given.instruments, time.monotonic() - began))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
