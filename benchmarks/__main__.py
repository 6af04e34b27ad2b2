"""`python -m benchmarks [MEASURE ...] [--rounds N] [--json]`: the table of measures against their goals. Exit 0 whatever it shows."""

import argparse
import json
import os
import platform
from collections.abc import Callable, Sequence

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import (
    bars,
    codec,
    codec_angelone,
    codec_icici,
    codec_upstox,
    growth,
    intents,
    load,
    memory,
    record,
    starts,
    sweeps,
    tick_to_order,
)
from benchmarks.peers import measure as peers
from benchmarks.rounds import Line

MEASURES: dict[str, Callable[[int], list[Line]]] = {
    "codec": codec.measure,
    "codec-angelone": codec_angelone.measure,
    "codec-upstox": codec_upstox.measure,
    "codec-icici": codec_icici.measure,
    "bars": bars.measure,
    "order": tick_to_order.measure,
    "starts": starts.measure,
    "memory": memory.measure,
    "intent": intents.measure,
    "record": record.measure,
    "sweeps": sweeps.measure,
    "peers": peers.measure,
    "peers-full": peers.measure_full,
    "growth": growth.measure,
    "load": load.measure,
}
ON_REQUEST = frozenset({"peers-full", "growth", "load"})
"""Those that take long enough to be asked for by name."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures side by side, as ratios of interleaved rounds.")
    usual = [name for name in MEASURES if name not in ON_REQUEST]
    which = f"which (default: all but {', '.join(sorted(ON_REQUEST))}): {', '.join(MEASURES)}"
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=which)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of each measure (default 5)")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    options = parser.parse_args()
    unknown = [name for name in options.measures if name not in MEASURES]
    if unknown:
        parser.error(f"no measure {unknown[0]!r}; there are {', '.join(MEASURES)}")
    console = Console(width=100, stderr=True)
    lines: list[Line] = []
    for name in options.measures or usual:
        console.print(f"measuring {name} …", style="dim")
        lines += MEASURES[name](options.rounds)
    if options.json:
        machine = {"python": platform.python_version(), "machine": platform.machine(), "cpus": os.cpu_count()}
        rows = [{**msgspec.to_builtins(one), "met": one.met} for one in lines]
        print(json.dumps({"machine": machine, "rounds": options.rounds, "measures": rows}, indent=1))
    else:
        show(lines)


def show(lines: Sequence[Line]) -> None:
    """The table, 100 columns wide, and below it what was measured on."""
    table = Table(title="Niyam, measured side by side", title_justify="left", box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column("measure", width=29)
    table.add_column("ours", width=7, justify="right", no_wrap=True)
    table.add_column("theirs", width=7, justify="right", no_wrap=True)
    table.add_column("unit", width=8, no_wrap=True)
    table.add_column("against", width=17)
    table.add_column("ratio", width=11, justify="right", no_wrap=True)
    table.add_column("goal", width=10, justify="right", no_wrap=True)
    for one in lines:
        table.add_row(one.name, _figure(one.ours), _figure(one.theirs), one.unit, one.against, _ratio(one), _goal(one))
    console = Console(width=100)
    console.print(table)
    for name, note in {one.name: one.note for one in lines if one.note}.items():
        console.print(f"{name}: {note}", style="dim")
    console.print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs; medians of interleaved rounds.", style="dim")


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    return f"{value / 1e3:.0f} k" if value >= 1e4 else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _ratio(one: Line) -> str:
    """Green where the goal is met, red where it is not (the word `short` says it without colours)."""
    shown = "" if one.ratio is None else f"{one.ratio:.2f}"
    return {True: f"[green]{shown}[/]", False: f"[red]short {shown}[/]", None: shown}[one.met]


def _goal(one: Line) -> str:
    if one.goal is None:
        return ""
    stretch = f" ({one.stretch:g})" if one.stretch is not None else ""
    return f"{'>=' if one.higher else '<='}{one.goal:g}{stretch}"


if __name__ == "__main__":
    main()
