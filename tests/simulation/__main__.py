"""`make simulate SEEDS=n FIRST_SEED=k`: play n seeded days on all cores; one line of figures, and exit 1 on any violation."""

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter

from loguru import logger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.simulation.day import Result, run_seed
from tests.simulation.faults import CATALOGUE
from tests.simulation.personality import PERSONALITIES

SHOWN = 25  # journal entries of a day that broke something


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--fault", action="append", help="these faults alone instead of the drawn ones (may be repeated)")
    parser.add_argument("--broker", choices=sorted(PERSONALITIES), help="this broker instead of the drawn one")
    parser.add_argument("--protect", choices=("broker", "engine"), help="who holds the stops, instead of what is drawn")
    options = parser.parse_args()
    console = Console(stderr=True)
    seeds = range(options.first, options.first + options.seeds)
    struck: Counter[str] = Counter()
    brokers: Counter[str] = Counter()
    protect = None if options.protect is None else options.protect == "broker"
    days = orders = kills = bad = 0
    cpu = 0.0
    began = time.monotonic()
    columns = (TextColumn("simulated days"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[bad]} bad"))
    with Progress(*columns, console=console) as bar, multiprocessing.Pool(options.workers, _quiet) as pool:
        task = bar.add_task("", total=len(seeds), bad=0)
        for result in pool.imap_unordered(_play, [(seed, options.fault, options.broker, protect) for seed in seeds]):
            days, orders, cpu = days + 1, orders + result.orders, cpu + result.cpu_s
            kills += result.starts - 1
            brokers[result.broker] += 1
            struck.update(kind for kind, count in result.struck.items() if count)
            if result.violations:
                bad += 1
                _tell(console, result)
            bar.update(task, advance=1, bad=bad)
    console.print(", ".join(f"{name} {count} days" for name, count in sorted(brokers.items())), highlight=False)
    met = len(struck)
    if idle := sorted(set(CATALOGUE) - set(struck)):
        console.print(f"never struck: {', '.join(idle)}", highlight=False, soft_wrap=True)
    print(
        f"simulate: {days} days (seeds {seeds.start} to {seeds.stop - 1}), {bad} with violations, {orders} orders, {kills} kills, "
        f"{sum(struck.values())} faults struck, {met} of {len(CATALOGUE)} kinds, {cpu / max(1, days):.2f} s CPU a day, "
        f"{days * 7 * 3600 / max(1e-9, time.monotonic() - began):.0f}x real time"
    )
    return 1 if bad else 0


def _quiet() -> None:
    logger.remove()


def _play(job: tuple[int, list[str] | None, str | None, bool | None]) -> Result:
    seed, faults, broker, protect = job
    return run_seed(seed, only=faults, broker=broker, protect=protect)


def _tell(console: Console, result: Result) -> None:
    console.print(f"[bold red]seed {result.seed}[/] at {result.broker}", highlight=False)
    for text in result.violations:
        console.print(f"  {text}", highlight=False, markup=False, soft_wrap=True)
    console.print("  faults: " + "; ".join(result.faults), highlight=False, markup=False, soft_wrap=True)
    for line in result.journal[-SHOWN:]:
        console.print(f"    {line[:220]}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"  again: make simulate SEEDS=1 FIRST_SEED={result.seed}", highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
