"""One set of parameters tried: what a worker process keeps between trials, and what it answers."""

import hashlib
import json
import multiprocessing
import os
import threading
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from backtesting.compiled import Compiled
from backtesting.market import DAYS_KEPT, BacktestMarket
from backtesting.metrics import metrics_of
from backtesting.run import Backtest, Outcome
from core.clock import SystemClock
from core.errors import ConfigError
from core.types import Account, AccountKind
from data_ingestion.prepare import Manifest
from execution_engine.charges import Charges
from execution_engine.paper_rules import FillRules
from strategies import registry
from utils import config_loader

KEPT = ("trades", "gross", "charges", "net", "win_rate", "expectancy", "profit_factor", "max_drawdown", "sharpe", "sortino", "exposure")
"""The figures of a trial; any of them but a share may be what a sweep looks for."""


MOST_KEPT = 16 * 2**20
"""Bytes of day files whose bars a process keeps in memory, where they take ten times that; more are read again in each trial."""


class Work(msgspec.Struct, frozen=True):
    """All that a worker needs, as files that it can read: they are read once, however many trials it runs."""

    config: Path
    strategy: Path
    manifest: Manifest
    instrument: str | None = None
    broker: str = "zerodha"
    capital: float = 1_000_000.0
    fills: FillRules = FillRules()
    build: str = msgspec.field(default_factory=config_loader.running_build)
    """The program's files as they were when the work was given out: another build may decide something else."""

    @property
    def digest(self) -> str:
        """Equal for work that gives equal results: configuration, strategy, data, fill rules and code."""
        config = config_loader.load(self.config, strategy=self.strategy)
        told = [config.hash, str(self.manifest.folder.name), self.instrument, self.broker, self.capital, msgspec.to_builtins(self.fills)]
        told.append(self.build)
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


class Trial(msgspec.Struct, frozen=True):
    """Parameters to try on some days. `floor` is rupees of net by number of days traded: below it the trial is given up (a compiled one
    is over before that). `engine`: event, compiled, or auto, which is compiled wherever the kernel can do it."""

    number: int
    params: Mapping[str, Any]
    days: tuple[date, ...]
    floor: Mapping[int, float] = {}
    engine: str = "auto"


class Result(msgspec.Struct, frozen=True):
    """What a trial came to. `given_up` is the number of days after which it was (0: it ran to its end). `engine` is what ran it: event or
    compiled (which has no digest and no curve), and `why` is what kept the compiled one from it."""

    number: int
    params: Mapping[str, Any]
    figures: Mapping[str, Any] = {}
    curve: tuple[float, ...] = ()  # net in rupees after each day
    digest: str = ""
    seconds: float = 0.0
    given_up: int = 0
    engine: str = "event"
    why: str = ""


class _GivenUp(Exception):
    """The trial fell below its floor."""


class Desk:
    """What one process keeps: the configuration, and the market's days in memory as far as they fit there."""

    def __init__(self, work: Work) -> None:
        """ConfigError where this process runs another build of the program than the one that gave the work out."""
        if work.build != (mine := config_loader.running_build()):
            raise ConfigError(
                f"this worker runs build {mine[:12]} of the program, and the sweep began with {work.build[:12]}: bring both to the same "
                "files (a cluster: on each machine, then start its workers again)"
            )
        self._work = work
        self._clock = SystemClock()
        self._columns: dict[tuple[date, ...], Compiled] = {}
        self._config = config_loader.load(work.config, strategy=work.strategy)
        self._account = Account("backtest", AccountKind.PRACTICE, work.broker, work.capital)
        keep = len(work.manifest.days) if _size(work.manifest) <= MOST_KEPT else DAYS_KEPT
        self._market = BacktestMarket(work.manifest, self._config.calendar(self._account.kind), keep=keep)
        self._charges = Charges(config_loader.load_charges(work.config), work.broker, self._account.plan)
        ((self._name, self._settings),) = self._config.strategies.items()
        if work.instrument:
            self._settings = self._settings.model_copy(update={"instruments": (work.instrument,)})

    def run(self, trial: Trial) -> Result:
        """Try it on the compiled kernel, or on the engine; ConfigError where the kernel was asked for and cannot do it."""
        if trial.engine == "event":
            return self._on_engine(trial, "")
        compiled = self._compiled(trial.days)
        began = self._clock.monotonic()
        answer = compiled.run(trial.params) if not compiled.why else None
        why = compiled.why if answer is None else answer.why
        if answer is not None and not why:
            return Result(trial.number, trial.params, answer.figures, seconds=self._clock.monotonic() - began, engine="compiled")
        if trial.engine == "compiled":
            raise ConfigError(f"--engine compiled cannot run {dict(trial.params)}: {why}; --engine auto leaves such runs to the engine")
        return self._on_engine(trial, why)

    def _compiled(self, days: tuple[date, ...]) -> Compiled:
        """The work on these days as columns; those of the latest two sets of days are kept (walking forward takes turns)."""
        found = self._columns.pop(days, None)
        if found is None:
            found = Compiled(self._config, self._account, self._market, self._name, self._settings, self._work.fills, days)
        self._columns[days] = found
        while len(self._columns) > 2:
            self._columns.pop(next(iter(self._columns)))
        return found

    def _on_engine(self, trial: Trial, why: str) -> Result:
        clock = self._clock
        began = clock.monotonic()
        settings = self._settings.model_copy(update={"params": {**self._settings.params, **trial.params}})
        registry.params_of(settings.class_).parse(settings.params)
        backtest = Backtest(
            self._config, self._account, self._market, {self._name: settings}, self._work.fills, keep_fills=False, charges=self._charges
        )
        curve: list[float] = []

        def watch(day: date, events: int) -> None:
            curve.append((curve[-1] if curve else 0.0) + backtest.portfolio.net_result() / 100)
            if curve[-1] < trial.floor.get(len(curve), float("-inf")):
                raise _GivenUp

        try:
            outcome = backtest.run(trial.days, watch)
        except _GivenUp:
            seconds = clock.monotonic() - began
            return Result(trial.number, trial.params, {"net": round(curve[-1], 2)}, tuple(curve), "", seconds, len(curve), why=why)
        figures = figures_of(outcome)
        return Result(trial.number, trial.params, figures, tuple(curve), outcome.digest, clock.monotonic() - began, why=why)


def _size(manifest: Manifest) -> int:
    return sum((manifest.folder / f"{day.isoformat()}.parquet").stat().st_size for day in manifest.days)


def figures_of(outcome: Outcome) -> dict[str, Any]:
    metrics = metrics_of(outcome.trips, outcome.days, outcome.equity, outcome.capital, outcome.exposure)
    return {name: metrics[name] for name in KEPT}


_work: Work | None = None
_desk: Desk | None = None  # made with the first trial, whose result then tells what is wrong with it


def open_desk(work: Work) -> None:
    """The beginning of a worker process. It ends with the process that began it, however that one ends."""
    global _work
    _work = work
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_with, args=(parent,), name="parent", daemon=True).start()


def _end_with(parent: Any) -> None:
    """Nobody waits for this process once its parent is gone, killed or not: it would keep its memory for ever."""
    parent.join()
    os._exit(1)


def run_trials(trials: Sequence[Trial]) -> list[Result]:
    """Some trials in a worker process, one after another."""
    global _desk
    if _desk is None:
        assert _work is not None
        _desk = Desk(_work)
    desk = _desk
    return [desk.run(trial) for trial in trials]
