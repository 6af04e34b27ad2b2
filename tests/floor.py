"""A trading floor for tests of tuning: the harness's engine with strategies from a configuration folder, played history and a made-up day.

The price is a function of time, so that history and live bars tell the same story.
"""

import shutil
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from core.errors import BrokerError, DataError, Transient
from core.events import Command
from core.types import AccountKind, Bar, Instrument
from execution_engine.broker_worker import WorkerJob
from runtime import rebuild
from runtime.charts import Charts
from runtime.recording import RecorderSlot
from runtime.reload import Reload
from runtime.roster import Roster, is_on, standing
from runtime.tuning import Tuning
from strategies import registry
from tests.harness import DAY, FUTURE, SHARE, Harness
from utils.config_loader import CONFIG_FOLDER, Config, load

MORNING = DAY.replace(hour=10, minute=1, second=30)
NAMES = {"NIFTY_FUT": FUTURE, "RELIANCE": SHARE}
TREND = """\
class: sma_cross
instruments: [NIFTY_FUT]
interval: 5m
params: {fast: 2, slow: 4}
size: {lots: 1}
horizon: intraday
window: {entry_from: "09:20"}   # a comment that stays
risk: {max_loss: 100000, stop_pct: 2.0}
enabled: true
"""


def price(instrument: Instrument, at: datetime) -> float:
    """Rises by two rupees a minute."""
    base = 25000.0 if instrument is FUTURE else 1400.0
    return base + 2.0 * ((at - DAY) // timedelta(minutes=1) - 600)


class Downloads:
    """The downloads thread, hand-driven: a job runs when it is given, or while `held` when `let` says so."""

    def __init__(self) -> None:
        self.held = False
        self.asked = 0
        self._waiting: list[WorkerJob] = []

    def submit(self, priority: int, run: Callable[[], Any]) -> WorkerJob:
        self.asked += 1
        job = WorkerJob(run)
        self._waiting.append(job)
        if not self.held:
            self.let()
        return job

    def let(self) -> None:
        for job in self._waiting:
            job.run()
        self._waiting.clear()


class Data:
    """A broker's history of the made-up day; fails while `broken`."""

    def __init__(self, calendar: Any, now: Callable[[], datetime]) -> None:
        self._calendar = calendar
        self._now = now
        self.broken: BrokerError | None = None

    def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
        if self.broken is not None:
            raise self.broken
        step, found, day = timedelta(minutes=interval), [], start.date()
        while day <= end.date():
            for opens, closes in self._calendar.continuous(instrument, day):
                at = opens
                while at < min(closes, self._now()):
                    if start <= at <= end:
                        first, last = price(instrument, at), price(instrument, at + step)
                        found.append(Bar(instrument, at, at + step, interval, first, last, first, last, 100))
                    at += step
            day += timedelta(days=1)
        return found

    def last_prices(self, instruments: Any) -> dict[str, float]:
        return {one.key: price(one, self._now()) for one in instruments}


class Lookup:
    """The day's instruments."""

    def resolve(self, name: str, day: Any, price: Any) -> Instrument:
        if name not in NAMES:
            raise DataError(f"no instrument {name!r}; near it: {get_close_matches(name, NAMES, 1, 0.0)[0]}")
        return NAMES[name]


class Floor(Harness):
    """The harness whose strategies come from `folder`/strategies. `files` are put there, by name, instead of the shipped ones."""

    def __init__(self, folder: Path, files: Mapping[str, str], *, at: datetime = MORNING, **more: Any) -> None:
        super().__init__(at=at, **more)
        self.house: Any
        self.folder = folder / "config"
        if not self.folder.exists():
            shutil.copytree(CONFIG_FOLDER, self.folder)
            for shipped in (self.folder / "strategies").glob("*.yaml"):
                shipped.unlink()
            for name, text in files.items():
                self.write(name, text)
        self.data, self.downloads = Data(self.calendar, self.clock.now), Downloads()
        self.subscribed: list[str] = []
        self.config = self.read()
        self.house = SimpleNamespace(
            account=self.account,
            config=self.config,
            calendar=self.calendar,
            clock=self.clock,
            data=self.data,
            downloads=self.downloads,
            pump=SimpleNamespace(complete=lambda job: None, poke=lambda: None),
            engine=self.engine,
            store=self.store,
            alerts=self._alert,
            bars=self.engine.bars,
            watch=lambda instrument, owner: self.subscribed.append(instrument.key),
            lookup=Lookup,
            recorder=RecorderSlot(),
            charts=Charts(),
        )
        toggles = standing(self.store.items("toggles"), self.config.strategies)
        enabled = {name: one for name, one in self.config.strategies.items() if is_on(name, one, toggles)}
        self.names = {name: NAMES[name] for one in enabled.values() for name in one.instruments}
        self.engine.world.open_day(self.names)
        runs = rebuild.build_runs(self.house, DAY.date(), enabled, self.names)
        self.engine.open_day(DAY.date(), runs, self.names, resumed=True)
        options: Any = SimpleNamespace(instrument=None, config=self.folder)
        self.roster = Roster(self.house, options, None)
        self.reload = Reload(self.config, AccountKind.PRACTICE, self.calendar, Tuning(self.house, self.roster), self.read, self._said)
        self.control.changes = self.reload
        self.prices()

    def command(self, name: str, /, **arguments: Any) -> None:
        """Give a command as the control socket does; its answer may come later (`check`)."""
        given = self.reload.read() if name == "reload" else self.reload.edit(arguments) if name == "retune" else arguments
        self.engine.process(Command(self.clock.now(), name, name, given))
        self.engine.settle()
        self.control.check(self.engine)

    def take_up(self, name: str = "reload", /, **arguments: Any) -> str:
        """The same for one that is done at once, and went well."""
        self.command(name, **arguments)
        _, ok, text, _ = self.answers[-1]
        assert ok, text
        return str(text)

    def _said(self, *answer: Any) -> None:
        self.answers.append(answer)

    def read(self, instead: Mapping[Path, str] | None = None) -> Config:
        return load(self.folder, check_strategy=lambda name, params: registry.params_of(name).parse(params), instead=instead)

    def write(self, name: str, text: str) -> None:
        (self.folder / "strategies" / f"{name}.yaml").write_text(text, encoding="utf-8")

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / "strategies" / f"{name}.yaml"
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, old
        path.write_text(text.replace(old, new), encoding="utf-8")

    def prices(self) -> None:
        """A tick of each instrument at the price of this moment."""
        for instrument in (FUTURE, SHARE):
            self.instrument = instrument
            self.tick(price(instrument, self.clock.now()))
        self.instrument = FUTURE

    def until(self, hour: int, minute: int, second: int = 3) -> None:
        """Let the day go on with prices every ten seconds; `second` 3: just after the bars of that minute have closed."""
        end = self.clock.now().replace(hour=hour, minute=minute, second=second)
        while self.clock.now() < end:
            now = self.clock.now()
            self.pass_time(min(10.0 - now.second % 10, (end - now).total_seconds()))
            self.prices()

    def run_of(self, name: str) -> Any:
        return next(run for run in self.engine.runs if run.strategy.name == name)

    def lost(self) -> None:
        """The broker's history cannot be had."""
        self.data.broken = Transient("no answer within 7 s")

    def held_(self, name: str) -> int:
        return self.portfolio.position(name, FUTURE)

    def say_(self, name: str, target: float) -> None:
        """The strategy of that name wants `target` of NIFTY_FUT without a bar or a tick having come."""
        run = self.run_of(name)
        run.strategy.at = self.clock.now()
        self.engine.take_signal(run, run.strategy.signal(FUTURE, target, name="NIFTY_FUT"))
        self.engine.settle()

    def complete_(self, order: Any) -> None:
        """Acknowledged, working, filled at its limit."""
        self.ack(order)
        self.working(order)
        self.fill(price=order.limit_price, order=order)
