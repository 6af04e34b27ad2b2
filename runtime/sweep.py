"""The `sweep` command: many runs of one strategy over recorded data, told as a table, a heat map, or one JSON document."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from backtesting.pools import ClusterPool, LocalPool, Pool
from backtesting.space import Space, Window, parse_space, parse_windows, valid
from backtesting.sweep import CONFIRMED, SMALLER_IS_BETTER, Guided, Listed, Search, Sweep
from backtesting.trial import KEPT, Result, Work
from core.clock import SystemClock
from core.errors import ConfigError
from runtime.backtest import days_of, fills_of, prepared, settings_of
from runtime.tables import WIDTH
from strategies import registry
from utils.config_loader import environment
from utils.rupees import rupees

ROWS_SHOWN = 20
DEFAULT_TRIALS = 100
MOST_TRIALS = 1_000_000


def command(options: argparse.Namespace) -> int:
    """Run it and tell it; exit 0."""
    found = document(options, quiet=options.json or not sys.stderr.isatty())
    if options.html:
        from backtesting.heat import heat_html  # the charting library, for those who want a picture

        Path(options.html).write_text(heat_html(found, _varied(found["space"])), encoding="utf-8")
    if options.json:
        sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    else:
        show(found)
        if options.html:
            sys.stdout.write(f"written: {options.html}\n")
    return 0


def _varied(space: Mapping[str, Sequence[Any]]) -> list[str]:
    """The parameters of which there are several values."""
    return [name for name, values in space.items() if len(values) > 1]


def document(options: argparse.Namespace, *, quiet: bool = True) -> dict[str, Any]:
    """What `sweep --json` gives; ConfigError and DataError for what cannot be run."""
    config, account, settings = settings_of(options)
    ((name, strategy),) = settings.items()
    params_type = registry.params_of(strategy.class_)
    space = parse_space(options.grid, params_type)
    varied = _varied(space.values)
    if options.html and (options.walk_forward or len(varied) != 2):
        told = "walking forward has none" if options.walk_forward else f"--grid {options.grid} has {len(varied)} of several values"
        raise ConfigError(f"--html draws the map of two parameters, and {told}; leave --html out, or give two parameters ranges")
    manifest = prepared(options, config)
    days = days_of(options, manifest)
    windows = parse_windows(options.walk_forward, days) if options.walk_forward else []
    work = Work(
        Path(options.config).resolve(), Path(options.strategy).resolve(), manifest, options.instrument, account.broker, account.capital,
        fills_of(options),
    )  # fmt: skip
    smaller = options.objective in SMALLER_IS_BETTER
    searches: list[Search] = []

    def refused(chosen: Mapping[str, Any]) -> str:
        return valid(params_type, strategy.params, chosen)

    def search() -> Search:
        searches.append(_search(options, space, refused, smaller=smaller))
        return searches[-1]

    first = search()
    if not first.total:
        raise ConfigError(
            f"--grid {options.grid}: no combination that {strategy.class_} accepts; the first says: {refused(next(space.grid()))}"
        )
    swept = _swept(options, work, name, first, search, windows, days, quiet=quiet)
    return {
        "strategy": name,
        "class": strategy.class_,
        "base": dict(strategy.params),
        "space": {one: list(values) for one, values in space.values.items()},
        "search": options.search,
        "objective": options.objective,
        "from": days[0].isoformat(),
        "to": days[-1].isoformat(),
        "data": f"recorded data, {Path(options.data).name}",
        "workers": swept.workers,
        "refused": sum(1 for one in space.grid() if refused(one)) if len(space) <= MOST_TRIALS else None,
        "reused": swept.reused,
        "given_up": sum(1 for one in swept.ranked if one.given_up),
        "seconds": round(swept.seconds, 3),
        "runs_per_second": round((len(swept.ranked) - swept.reused) / swept.searched, 2) if swept.ranked and swept.searched > 0 else None,
        "engines": _engines(swept.every),
        "results": [_row(one) for one in swept.ranked],
        "walk_forward": swept.steps,
    }


class _Swept(NamedTuple):
    """What the runs came to: walked forward, `steps` alone. `seconds` are those of all, `searched` those before the best were confirmed."""

    steps: list[dict[str, Any]]
    every: list[Result]
    ranked: list[Result]
    reused: int
    workers: int
    seconds: float
    searched: float


def _swept(
    options: argparse.Namespace,
    work: Work,
    name: str,
    first: Search,
    search: Callable[[], Search],
    windows: Sequence[Window],
    days: Sequence[date],
    *,
    quiet: bool,
) -> _Swept:
    """Make the runs: of `first` on all days, or of a `search` for each window."""
    clock = SystemClock()
    began = clock.monotonic()
    pool: Pool = ClusterPool(work, options.cluster) if options.cluster else LocalPool(work, options.workers or os.cpu_count() or 1)
    folder = Path(options.state or environment("NIYAM_STATE") or "var") / "sweeps" / work.digest
    steps: list[dict[str, Any]] = []
    ranked: list[Result] = []
    every: list[Result] = []
    searched = 0.0
    try:
        sweep = Sweep(pool, folder, options.objective, prune=options.prune, engine=options.engine)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("runs"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True) as progress:
            task = progress.add_task(name, total=first.total * max(1, len(windows)))
            if windows:
                steps = sweep.walk_forward(windows, search, lambda result: progress.advance(task))
            else:
                every = sweep.run(first, days, lambda result: progress.advance(task))
                searched = clock.monotonic() - began
                ranked = sweep.confirmed(every, days)
    finally:
        pool.close()
    return _Swept(steps, every, ranked, sweep.reused, pool.width, clock.monotonic() - began, searched)


def _engines(results: Sequence[Result]) -> dict[str, Any]:
    """How many runs each engine made, how many of the compiled ones the event engine repeated, and why runs were left to it."""
    compiled = sum(one.engine == "compiled" for one in results)
    why: dict[str, int] = {}
    for text in (one.why for one in results if one.why):
        why[text] = why.get(text, 0) + 1
    confirmed = sum(one.engine == "compiled" for one in results[:CONFIRMED])
    return {"compiled": compiled, "event": len(results) - compiled, "confirmed": confirmed, "why_event": why}


def show(found: dict[str, Any]) -> None:
    """The best runs, or the steps of the walk."""
    head = f"{found['strategy']}  {found['from']} to {found['to']}  on {found['data']}"
    console, parts = Console(width=WIDTH), list[Any]()
    if found["walk_forward"]:
        table = Table("trained on", "tested on", "params", "trained net", "tested net", "trades", title=head, width=WIDTH)
        for step in found["walk_forward"]:
            trained, tested = step["trained"] or {}, step["tested"] or {}
            table.add_row(
                " ".join(step["train"]), " ".join(step["test"]), _short(step["params"] or {}), rupees(trained.get("net")),
                rupees(tested.get("net")), str(tested.get("trades", "-")),
            )  # fmt: skip
        total = sum((step["tested"] or {}).get("net", 0.0) for step in found["walk_forward"])
        parts += [table, f"net of all test days: {rupees(total)}"]
    else:
        table = Table("", "params", "trades", "gross", "charges", "net", "drawdown", "Sharpe", title=head, width=WIDTH)
        for place, row in enumerate(found["results"][:ROWS_SHOWN], 1):
            figures = row["figures"]
            given_up = f"given up after {row['given_up']} days" if row["given_up"] else None
            worst, sharpe = rupees(figures.get("max_drawdown")), str(figures.get("sharpe", "-"))
            table.add_row(
                str(place), _short(row["params"]), given_up or str(figures["trades"]), rupees(figures.get("gross")),
                rupees(figures.get("charges")), rupees(figures["net"]), worst, sharpe,
            )  # fmt: skip
        parts += [table, f"{len(found['results'])} runs, best {found['objective']} first; {found['reused']} known from before, "
                  f"{found['given_up']} given up, {found['refused'] or 0} refused by the strategy's own checks; "
                  f"{found['seconds']:.1f} s on {found['workers']} workers"]  # fmt: skip
        parts.append(_told(found["engines"]))
        heat = heat_map(found) if console.color_system and not console.no_color else []  # without colours its cells would say nothing
        if heat:
            parts += heat
    parts.append(
        "The best of many tries on the same days is the luckiest one, too. What was, on recorded data, says nothing of what will be."
    )
    console.print(Group(*parts))


def _told(engines: Mapping[str, Any]) -> str:
    """Which engine made the runs."""
    text = f"{engines['compiled']} on the compiled kernel, {engines['event']} on the event engine"
    if engines["confirmed"]:
        text += f"; the best {engines['confirmed']} on both, with equal results"
    for why, count in list(engines["why_event"].items())[:3]:
        text += f"; {count} not compiled: {why}"
    return text


def heat_map(found: Mapping[str, Any]) -> list[str | Table]:
    """The figure looked for over two parameters, in colours; nothing where there are not two, or too many values for a screen."""
    names = _varied(found["space"])
    if len(names) != 2 or len(found["space"][names[1]]) > 22:
        return []
    cells = {(row["params"][names[0]], row["params"][names[1]]): row["figures"].get(found["objective"]) for row in found["results"]}
    known = sorted(value for value in cells.values() if value is not None)
    if not known:
        return []
    low, high = known[0], known[-1]
    table = Table(box=None, padding=(0, 0))
    table.add_column(justify="right")
    for across in found["space"][names[1]]:
        table.add_column(str(across), justify="right")
    for down in found["space"][names[0]][:40]:
        row = [f"{down} "]
        for across in found["space"][names[1]]:
            value = cells.get((down, across))
            row.append("  · " if value is None else f"[{_color(value, low, high)}] ███[/]")
        table.add_row(*row)
    return [f"{found['objective']} by {names[0]} (down) and {names[1]} (across)", table]


def _search(options: argparse.Namespace, space: Space, refused: Any, *, smaller: bool) -> Search:
    trials = options.trials or DEFAULT_TRIALS
    if options.search == "optuna":
        return Guided(space, trials, options.seed, refused, smaller=smaller)
    if options.search == "random":
        return Listed([one for one in space.sample(trials, options.seed) if not refused(one)])
    if len(space) > MOST_TRIALS:
        raise ConfigError(f"--grid has {len(space)} combinations, more than {MOST_TRIALS}; take --search random or optuna with --trials")
    return Listed([one for one in space.grid() if not refused(one)])


def _row(result: Result) -> dict[str, Any]:
    return {
        "params": dict(result.params),
        "figures": {name: result.figures[name] for name in KEPT if name in result.figures},
        "given_up": result.given_up,
        "digest": result.digest,
        "engine": result.engine,
    }


def _short(params: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in params.items())


def _color(value: float, low: float, high: float) -> str:
    """From red over grey to green."""
    share = 0.5 if high <= low else (value - low) / (high - low)
    red, green = round(200 * (1 - share) + 40 * share), round(60 * (1 - share) + 160 * share)
    return f"rgb({red},{green},80)"
