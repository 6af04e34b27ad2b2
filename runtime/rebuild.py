"""Strategies made from their configuration and warmed up by muted replay of history: at the morning, and anew while the day runs.

Rules:
1. A strategy that is made anew knows what it would know after a restart: history up to now, and what it stored (state() of the same
   class; another class begins the day afresh). What it says while it hears the past is not acted on.
2. While the day runs the history is fetched on the downloads thread, and the engine goes on. It is played between two events, if no bar
   was handed on since it was asked for; else it is asked for again. Bars that the live side holds back are left to it. No bar is thus
   missed or heard twice.
3. In the morning a strategy without history warms up on live bars, with an alert. While the day runs it is not replaced.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from core.errors import BrokerError, DataError, NiyamError
from core.market import Calendar
from core.types import Bar, Instrument, View
from data_ingestion.bars import bucket
from data_ingestion.warmup import interleaved, warmup_bars
from execution_engine.broker_worker import DATA, WorkerJob
from execution_engine.runs import Run, StrategyError, make_runs
from runtime.recording import WarmedUp
from strategies.base import Strategy

if TYPE_CHECKING:
    from runtime.wiring import House
    from utils.config_schema import StrategySettings

Result = TypeVar("Result")
TRIES = 5
"""How often history is fetched for one rebuild; each time a bar closed meanwhile it is asked for again."""


def waiting(house: "House", run: Callable[[], Result]) -> Result:
    """Run something that blocks on the downloads thread; events that happen meanwhile wait for the engine. Raises what it raises."""
    job = house.downloads.submit(DATA, run)
    house.pump.complete(job)
    result: Result = job.value()
    return result


def build_runs(house: "House", day: date, enabled: Mapping[str, "StrategySettings"], names: Mapping[str, Instrument]) -> list[Run]:
    """The strategies of the morning, warmed up and given back what they stored. Blocks until the history is there."""
    runs, left_out = make_runs(enabled, names, house.config.settings.protect.distance_pct)
    for why in left_out:
        house.alerts("warn", "Strategy left out", why)
    for run in runs:
        try:
            history = waiting(house, partial(_history, house, run, house.clock.now()))
        except BrokerError as error:
            house.alerts("warn", "No warm-up history", f"{run.strategy.name} {_keys(run)}: {error}; it warms up on live bars")
            history = []
        _play(house, day, run, history, _stored(house, run.strategy))
    return runs


class Rebuild:
    """Some strategies made anew while the day runs. Ask `ready` between events; once it is, `take` gives the runs, to be heard at once.

    `names` gives what the strategies' names mean; it is called on the downloads thread and may block there.
    """

    def __init__(
        self,
        house: "House",
        day: date,
        enabled: Mapping[str, "StrategySettings"],
        names: Callable[[], Mapping[str, Instrument]],
        before: Iterable[Run] = (),
    ) -> None:
        """`before` are the runs that work so far: what they know of the day goes over to their successors."""
        self._house = house
        self._day = day
        self._enabled = enabled
        self._names = names
        self._before = {_identity(run): run for run in before}
        self._tries = 0
        self.notes: list[str] = []  # why a strategy has no run today
        self.names: Mapping[str, Instrument] = {}
        self._ask()

    @property
    def ready(self) -> bool:
        return self._job.done

    def take(self) -> list[Run] | None:
        """The warmed runs; None: not yet, since a bar is about to close, or has and it was asked again. Raises NiyamError for what
        cannot be had."""
        house, now = self._house, self._house.clock.now()
        self.names, made, self.notes = self._job.value()
        handed = house.engine.bars.heard()
        if any(self._about_to_close(instrument, run, now) for run, _ in made for instrument in run.instruments.values()):
            return None
        if any(self._closed(instrument, run, now) for run, _ in made for instrument in run.instruments.values()):
            if self._tries >= TRIES:
                raise NiyamError(f"a bar closed during each of {TRIES} fetches of history; ask again")
            self._ask()
            return None
        house.engine.world.names = {**house.engine.world.names, **self.names}  # strategies over several instruments look there
        for run, history in made:
            known = [bar for bar in history if bar.at <= handed.get((bar.instrument.key, bar.interval), now)]  # the rest is still to come
            _play(house, self._day, run, known, self._saved(run))
        return [run for run, _ in made]

    def _ask(self) -> None:
        self._tries += 1
        self._asked_at = self._house.clock.now()
        self._handed = self._house.engine.bars.heard()
        self._job: WorkerJob = self._house.downloads.submit(DATA, self._fetch)

    def _fetch(self) -> tuple[Mapping[str, Instrument], list[tuple[Run, list[Bar]]], list[str]]:
        names = self._names()
        runs, left_out = make_runs(self._enabled, names, self._house.config.settings.protect.distance_pct)
        try:
            return names, [(run, _history(self._house, run, self._asked_at)) for run in runs], left_out
        except BrokerError as error:
            raise DataError(f"no history to warm up with: {error}") from error

    def _about_to_close(self, instrument: Instrument, run: Run, now: datetime) -> bool:
        """Whether a bar has ended that the live builder still holds; where it keeps no account of what it handed on."""
        if (instrument.key, run.strategy.interval) in self._house.engine.bars.heard():
            return False
        return self._bar_of(instrument, run, now) != self._bar_of(instrument, run, now - self._house.bars.delay)

    def _closed(self, instrument: Instrument, run: Run, now: datetime) -> bool:
        """Whether a bar was handed on since history was asked for."""
        key = (instrument.key, run.strategy.interval)
        handed = self._house.engine.bars.heard()
        if key in handed:
            return handed[key] != self._handed.get(key)
        delay = self._house.bars.delay
        return self._bar_of(instrument, run, self._asked_at - delay) != self._bar_of(instrument, run, now)

    def _bar_of(self, instrument: Instrument, run: Run, moment: datetime) -> tuple[datetime, datetime] | None:
        windows = self._house.calendar.continuous(instrument, moment.date())
        return bucket(windows, timedelta(minutes=run.strategy.interval), moment)

    def _saved(self, run: Run) -> Mapping[str, Any] | None:
        before = self._before.get(_identity(run))
        if before is None or before.stopped:
            return _stored(self._house, run.strategy)
        return before.saved() if type(before.strategy) is type(run.strategy) else None


def _identity(run: Run) -> tuple[str, str | None]:
    return run.strategy.name, run.strategy.logical


def _keys(run: Run) -> str:
    return "/".join(one.key for one in run.instruments.values())


def _history(house: "House", run: Run, now: datetime) -> list[Bar]:
    """The strategy's warm-up bars in the order in which they closed; blocks, and raises BrokerError."""
    strategy = run.strategy
    if not strategy.warmup_bars:
        return []
    return interleaved(
        [
            warmup_bars(house.data, house.calendar, instrument, strategy.interval, strategy.warmup_bars, now)
            for instrument in run.instruments.values()
        ]
    )


def _play(house: "House", day: date, run: Run, history: Sequence[Bar], saved: Mapping[str, Any] | None) -> None:
    """The muted replay, then the day; a strategy that fails in it is stopped when the engine hears of the run."""
    house.recorder.warmed(WarmedUp(run, tuple(history), saved))
    play(run, history, saved, day, house.calendar, house.engine.world, house.charts.heard)


def play(
    run: Run,
    history: Iterable[Bar],
    saved: Mapping[str, Any] | None,
    day: date,
    calendar: Calendar,
    view: View,
    heard: Callable[[Bar, list[Run]], None] = lambda bar, runs: None,
) -> None:
    """Let a strategy hear its past, and begin the day with what it had stored. `heard` is told of each bar."""
    opens = [windows[0][0] for one in run.instruments.values() if (windows := calendar.continuous(one, day))]
    try:
        for bar in history:
            run.hear(run.strategy.bar, bar, view)  # muted: what a strategy says of the past is not acted on
            heard(bar, [run])
        run.begin(day, saved, min(opens) if opens else None)
    except StrategyError as error:
        run.stopped = str(error)  # the engine says so, and closes what it holds


def _stored(house: "House", strategy: Strategy) -> Mapping[str, Any] | None:
    """What the ledger has of this strategy's state; None also where another class stored it."""
    found: dict[str, Any] | None = house.store.get("strategy", f"{strategy.name}|{strategy.logical or '*'}")
    return found if found is None or found.get("class", type(strategy).__name__) == type(strategy).__name__ else None
