"""The `backtest` command: strategy files over recorded data, or a recorded day by itself, told as tables or as one JSON document."""

import argparse
import csv
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from backtesting import bias
from backtesting.document import alarms_of, document_of, refusals_of, write_json
from backtesting.market import BacktestMarket
from backtesting.run import LATEST, Backtest
from core.clock import SystemClock
from core.errors import ConfigError, DataError
from core.types import Account, AccountKind
from data_ingestion.prepare import Manifest, prepare
from execution_engine.paper_rules import FillRules
from runtime.recorded import SUFFIX, RecordedBacktest, RecordedMarket, Recording
from runtime.tables import WIDTH
from strategies import registry as strategies
from utils import config_loader
from utils.config_loader import Config, environment
from utils.config_schema import StrategySettings
from utils.rupees import rupees

TRADES_SHOWN = 15
TRADE_COLUMNS = (
    *("strategy", "instrument", "side", "quantity", "entry_at", "entry_price", "exit_at", "exit_price"),
    *("gross", "charges", "net"),
)


def command(options: argparse.Namespace) -> int:
    """Run it and tell it; exit 0, and 1 where a check found something."""
    if options.check:
        return check(options)
    found = document(options, quiet=options.json or not sys.stderr.isatty())
    if options.json:
        write_json(found, sys.stdout)
    else:
        show(found)
        for file in filter(None, (options.html, options.csv)):
            sys.stdout.write(f"written: {file}\n")
    return 0


class Stage(NamedTuple):
    """All that a run needs. `make` gives the backtest of a market: the whole one, or a part of it."""

    account: Account
    settings: Mapping[str, StrategySettings]
    market: BacktestMarket
    days: list[date]
    make: Callable[[BacktestMarket, int | None], Backtest]


@contextmanager
def staged(options: argparse.Namespace) -> Iterator[Stage]:
    """The data, the account and the strategies that were asked for; ConfigError and DataError for what cannot be run."""
    data = Path(options.data)
    if data.suffix == SUFFIX and data.is_file():
        with tempfile.TemporaryDirectory(prefix="niyam-backtest-") as folder:
            yield _of_recording(options, Recording(data), Path(folder))
        return
    config, account, settings = settings_of(options)
    manifest, fills = prepared(options, config), fills_of(options)
    market = BacktestMarket(manifest, config.calendar(account.kind), label=data.name)

    def make(part: BacktestMarket, journal: int | None) -> Backtest:
        return Backtest(config, account, part, settings, fills, journal=journal, keep_fills=False)

    yield Stage(account, settings, market, days_of(options, manifest), make)


def _of_recording(options: argparse.Namespace, recording: Recording, folder: Path) -> Stage:
    """A recorded day: by default with the configuration, the strategies and the account that it was traded with."""
    account, fills = recording.account, fills_of(options)
    if options.strategy:
        config, _, settings = settings_of(options)
    else:
        config, settings = recording.config(folder), recording.strategies
    account = Account(account.name, account.kind, options.broker or account.broker, options.capital or account.capital, plan=account.plan)
    market = RecordedMarket(recording, config.calendar(account.kind))

    def make(part: BacktestMarket, journal: int | None) -> Backtest:
        if part is not market:
            raise ConfigError("a recorded day is played whole: --check wants bars or ticks in a file of market data")
        return RecordedBacktest(config, account, market, settings, fills, journal=journal)

    return Stage(account, settings, market, days_of(options, market.manifest), make)


def document(options: argparse.Namespace, *, quiet: bool = True) -> dict[str, Any]:
    """The run as `backtest --json` gives it; ConfigError and DataError for what cannot be run."""
    with staged(options) as stage:
        clock = SystemClock()
        began = clock.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("days"), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True) as progress:
            task = progress.add_task(", ".join(stage.settings), total=len(stage.days))

            def on_day(day: date, events: int) -> None:
                progress.advance(task)
                if getattr(options, "progress", False):
                    sys.stderr.write(f"progress {int(progress.tasks[task].completed)}/{len(stage.days)}\n")
                    sys.stderr.flush()

            outcome = stage.make(stage.market, LATEST).run(stage.days, on_day)
        seconds, ticks = clock.monotonic() - began, stage.market.interval == 0
        found = document_of(stage.settings, outcome, fills_of(options), broker=stage.account.broker, ticks=ticks, seconds=seconds)
        if options.html:
            from backtesting.report import html_of  # the charting library, for those who want a picture

            Path(options.html).write_text(html_of(found, outcome.equity, stage.market, sorted(outcome.days)), encoding="utf-8")
    if options.csv:
        _write_trades(Path(options.csv), found["trades"])
    return found


def check(options: argparse.Namespace) -> int:
    """Look-ahead, or how long the strategy needs to warm up; exit 1 where it looks ahead or asks for too little."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("runs"), TimeRemainingColumn())
    quiet = options.json or not sys.stderr.isatty()
    with staged(options) as stage, Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True) as progress:
        task = progress.add_task(options.check, total=options.samples + 1)
        found = (bias.lookahead if options.check == "lookahead" else bias.warmup)(
            lambda part: stage.make(part, None),
            stage.market,
            stage.days,
            options.samples,
            lambda done, of: progress.update(task, completed=done, total=of),
        )
        found["strategy"] = ", ".join(stage.settings)
        if not found["signals"]:
            found["notes"] = stage.make(stage.market, None).run(stage.days).notes
    sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n" if options.json else _checked(found) + "\n")
    return 0 if found["ok"] else 1


def _checked(found: dict[str, Any]) -> str:
    """What a check came to, for a person."""
    if not found["signals"]:
        return "\n".join(
            [f"{found['strategy']}: NOTHING CHECKED, it gave no signal on this data", *(f"note: {one}" for one in found["notes"])]
        )
    if found["check"] == "lookahead":
        lines = [f"{found['strategy']}: {found['signals']} signals, compared on data that ends at {len(found['samples'])} earlier moments"]
        lines += [
            f"  until {row['until']}: {row['signals']} signals, {'the same' if row['same'] else 'NOT the same'}" for row in found["samples"]
        ]
        first = found["first"]
        said = "it does not look ahead" if found["ok"] else f"IT LOOKS AHEAD: the whole says {first['whole']}, the part {first['prefix']}"
        lines += [
            f"  not seen: what {name} reads by {', '.join(by)}; a file holds what comes in each of these runs"
            for name, by in found["reads"].items()
        ]
        return "\n".join([*lines, said])
    lines = [f"{found['strategy']}: {found['signals']} signals, compared with runs that begin later without history"]
    for row in found["samples"]:
        settles = f"the same after {row['bars']} bars" if row["bars"] is not None else "not the same within the data"
        with_own = "the same from the first bar on" if row["enough"] else "NOT THE SAME"
        lines.append(f"  from {row['from']}: {settles}; with the history that it asks for {with_own}")
    needed = "more bars than the data has" if found["needed"] is None else f"{found['needed']} bars"
    asks = ", ".join(f"{name} asks for {count}" for name, count in found["declared"].items())
    return "\n".join([*lines, f"without history: {needed}; {asks}: {'enough' if found['ok'] else 'NOT ENOUGH'}"])


def days_of(options: argparse.Namespace, manifest: Manifest) -> list[date]:
    """The days of the data that were asked for; DataError where there are none."""
    days = [day for day in manifest.days if (options.start_day or day) <= day <= (options.end_day or day)]
    if not days:
        raise DataError(
            f"no day of the data lies from {options.start_day or 'its start'} to {options.end_day or 'its end'}; "
            f"it runs from {manifest.days[0]} to {manifest.days[-1]}"
        )
    return days


def settings_of(options: argparse.Namespace) -> tuple[Config, Account, dict[str, StrategySettings]]:
    """The judged configuration, the paper account that trades, and the strategies as this run wants them."""
    files = [Path(one) for one in ([options.strategy] if isinstance(options.strategy, str) else options.strategy)]
    missing = [one for one in files if not one.exists()]
    if missing or not files:
        what = f"there is no strategy file at {missing[0]}" if missing else "no strategy file was named"
        raise ConfigError(f"{what}; those of this configuration are in {Path(options.config) / 'strategies'}")
    config = config_loader.load(
        Path(options.config), strategy=files, check_strategy=lambda name, params: strategies.params_of(name).parse(params)
    )
    used = config.settings.accounts[config.settings.account]
    account = Account("backtest", AccountKind.PRACTICE, options.broker or used.broker, options.capital or used.capital)
    change = {"instruments": (options.instrument,)} if options.instrument else {}
    return config, account, {name: one.model_copy(update=change) for name, one in config.strategies.items()}


def prepared(options: argparse.Namespace, config: Config) -> Manifest:
    """The data, checked and made one market; in a folder of its own for each content, so that several runs may share it."""
    path = Path(options.data)
    if not path.exists():
        raise DataError(f"there is no data at {path}; give a Parquet or CSV file, or a folder of them (docs/market-data.md)")
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    facts = [(str(one), one.stat().st_size, one.stat().st_mtime_ns) for one in files]
    market = sorted((name, digest) for name, digest in config.files.items() if "market" in name)
    told = json.dumps([facts, market, options.symbols, options.repair])
    folder = Path(options.state or environment("NIYAM_STATE") or "var") / "backtests" / hashlib.sha256(told.encode()).hexdigest()[:16]
    symbols = Path(options.symbols) if options.symbols else None
    return prepare(path, folder, config.calendar(AccountKind.PRACTICE), symbols=symbols, repair=options.repair, observe=True)


def show(found: dict[str, Any]) -> None:
    """What a person wants to see first."""
    metrics = found["metrics"]
    head = Table(title=f"{found['strategy']}  {found['from']} to {found['to']}  on {found['data']}", width=WIDTH, show_header=False)
    for name, value in (
        ("trades", f"{metrics['trades']}, {metrics['won']} won"),
        ("gross", rupees(metrics["gross"])),
        ("charges", rupees(metrics["charges"])),
        ("net", f"{rupees(metrics['net'])}  ({metrics['return_pct']} % of {rupees(found['capital'])})"),
        ("margin used at most", f"{rupees(metrics['capital_used'])}, on which the net is {metrics['return_on_used_pct']} %"),
        ("expectancy a trade", rupees(metrics["expectancy"])),
        ("deepest drawdown", f"{rupees(metrics['max_drawdown'])}, longest {metrics['max_drawdown_days']} days"),
        ("Sharpe, Sortino", f"{_ratio(metrics['sharpe'])}, {_ratio(metrics['sortino'])}  ({metrics['conventions']})"),
        ("time in the market", f"{100 * metrics['exposure']:.1f} %"),
        ("fill rule", found["fill_rule"]),
        ("digest", found["digest"]),
    ):
        head.add_row(name, str(value))
    trades = Table("in", "out", "side", "instrument", "qty", "entry", "exit", "net", width=WIDTH)
    for trade in found["trades"][-TRADES_SHOWN:]:
        trades.add_row(
            trade["entry_at"][:16].replace("T", " "), _out(trade), trade["side"], trade["instrument"], str(trade["quantity"]),
            f"{trade['entry_price']:.2f}", f"{trade['exit_price']:.2f}", rupees(trade["net"]),
        )  # fmt: skip
    trades.title = f"the last {min(TRADES_SHOWN, len(found['trades']))} of {len(found['trades'])} trades"
    notes = [f"assumed: {one}" for one in found["assumed"]] + [f"note: {one}" for one in found["notes"]]
    notes += refusals_of(found)
    notes += [
        f"rolled {one['at'][:10]}: {one['quantity']} {one['old']} into {one['new']}, gap {one['gap']:.2f}, cost {rupees(one['cost'])}"
        for one in found["rolls"]
        if one["kind"] == "roll_done"
    ]
    notes += [f"settled {one['at'][:10]}: {one['quantity']} {one['instrument']} at {one['price']}" for one in found["settlements"]]
    notes += [f"still held: {quantity} {key}" for key, quantity in found["open"].items()]
    notes += alarms_of(found)
    notes.append("What was, on recorded data, says nothing of what will be.")
    Console(width=WIDTH).print(Group(head, *([trades] if found["trades"] else []), *notes))


def _ratio(value: float | None) -> str:
    """A ratio of so few days, or of so even ones, that there is none is a dash."""
    return "-" if value is None else f"{value:.2f}"


def _out(trade: Mapping[str, Any]) -> str:
    """When a trade ended, and how many days after it began where that is another day."""
    begun, ended = str(trade["entry_at"]), str(trade["exit_at"])
    later = (date.fromisoformat(ended[:10]) - date.fromisoformat(begun[:10])).days
    return f"{ended[11:16]} +{later}" if later else ended[11:16]


def _write_trades(file: Path, trades: Sequence[dict[str, Any]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, TRADE_COLUMNS)
        writer.writeheader()
        writer.writerows(trades)


def fills_of(options: argparse.Namespace) -> FillRules:
    """The fill rules that the flags ask for."""
    return FillRules(
        inside_bars=options.fill == "bar-path",
        slippage_ticks=options.slippage_ticks,
        slippage_bps=options.slippage_bps,
        spread_ticks=options.spread_ticks,
        volume_share=options.volume_share,
        latency_s=options.latency,
    )
