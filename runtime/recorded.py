"""A recorded day as the data of a backtest: the prices that the engine took from its inbox, at the moments at which it took them.

Rules:
1. Taken from the recording: ticks, the feed's and the session's states, price limits, history that filled gaps, the moments of batches; and
   of its opening what names meant, rolls, the canary, and what each strategy had heard and stored. Orders and fills are the backtest's own.
2. By default the configuration and the strategies are the recording's own, and a paper day comes out with its own digest. Strategy files
   given instead trade the same prices; one that the recording does not know warms up on what the others had heard of its instruments.
3. Left out, with a note: commands, changes of files while it ran, what was held before. A restart does not happen.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path

import msgspec

from backtesting.market import BacktestMarket
from backtesting.run import LATEST, Backtest
from brokers import registry
from core.errors import DataError
from core.events import Command, Event, FeedStatus, History, PriceLimits, SessionStatus
from core.market import Calendar
from core.types import Account, Bar, Instrument, Tick
from data_ingestion.backfill import GapFiller
from data_ingestion.bars import BarBuilder
from data_ingestion.logical_names import PriceOf
from data_ingestion.prepare import Manifest
from data_ingestion.recorder import Batch, Note, Start, read_starts
from execution_engine.expiry import Final
from execution_engine.paper_rules import FillRules
from execution_engine.rollover import Switch
from execution_engine.runs import Run, make_runs
from runtime import opening, rolls
from runtime.opening import Opening, Past
from runtime.rebuild import play
from utils import config_loader, restricted
from utils.config_loader import Config
from utils.config_schema import StrategySettings

SUFFIX = ".events"
HEARD = (Tick, FeedStatus, SessionStatus, PriceLimits, History)


class Recording:
    """A recording's file: what its first start stood on, and what all its starts took."""

    def __init__(self, path: Path) -> None:
        """DataError where the file is no recording, or of a version that kept the events alone."""
        self.path = path
        self._starts = read_starts(path)
        if not self._starts or self._starts[0].opening is None:
            raise DataError(f"{path} is no recording that holds the day's opening; a run writes one into its folder recordings/")
        self.stood = opening_of(self._starts[0])
        self.strategies = {name: StrategySettings.model_validate(dict(one)) for name, one in self.stood.strategies.items()}

    @property
    def day(self) -> date:
        return self.stood.day

    @property
    def pasts(self) -> Mapping[tuple[str, str | None], Past]:
        return {(past.strategy, past.logical): past for past in self.stood.pasts}

    def items(self) -> Iterator[Event | Batch | Note]:
        """Everything in order, one start after the other."""
        for start in self._starts:
            yield from start.items()

    def config(self, folder: Path) -> Config:
        """The configuration that the day was traded with, written into an empty folder."""
        write_files(folder, self.stood.config)
        return config_loader.load(folder)

    @property
    def account(self) -> Account:
        return self.stood.account

    @property
    def closed(self) -> bool:
        """Whether the day was over when the recording ended."""
        return any(isinstance(item, Note) and item.name == opening.CLOSES for item in self.items())

    @property
    def notes(self) -> list[str]:
        """What of the recorded day a backtest does not repeat."""
        found = []
        commands = {item.name for item in self.items() if isinstance(item, Command)}
        if commands:
            found.append(f"left out: the commands of that day ({', '.join(sorted(commands))})")
        if any(isinstance(item, Note) and item.name == opening.CHANGE for item in self.items()):
            found.append("left out: changes of the configuration while the day ran")
        if any(position.quantity for position in self.stood.positions):
            found.append("left out: what was held when the day began")
        if len(self._starts) > 1:
            found.append(f"the day was started {len(self._starts)} times; here it runs through")
        return found


def opening_of(start: Start) -> Opening:
    """What a start stood on; DataError where another version wrote it."""
    try:
        return msgspec.convert(start.opening, Opening)
    except msgspec.ValidationError as error:
        raise DataError(f"{start.path}: the opening at byte {start.place} is of another version ({error}); it cannot be replayed") from None


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """These files and no others."""
    for old in [one for one in folder.rglob("*") if one.is_file()]:
        old.unlink()
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


class RecordedMarket(BacktestMarket):
    """One recorded day as a backtest reads a market; it is also the history that strategies warm up on."""

    def __init__(self, recording: Recording, calendar: Calendar) -> None:
        self.recording, day = recording, recording.day
        self._ticks_taken = [item for item in recording.items() if isinstance(item, Tick) and item.price > 0]
        named = {one.key: one for one in (*recording.stood.names.values(), *(tick.instrument for tick in self._ticks_taken))}
        if not self._ticks_taken:
            raise DataError(f"{recording.path} has no tick: nothing was quoted on {day}")
        manifest = Manifest(
            recording.path.parent, "ticks", 0, (day,), day, (day,), day, tuple(named.values()), notes=tuple(recording.notes)
        )
        super().__init__(manifest, calendar, label=recording.path.name)
        self._named = named

    def events(self, day: date, keys: Collection[str] | None = None) -> Sequence[Tick]:
        return self._ticks_taken if keys is None else [tick for tick in self._ticks_taken if tick.instrument.key in keys]

    def listed(self, day: date) -> dict[str, Instrument]:
        return self._named

    def resolve(self, name: str, on: date, price: PriceOf) -> Instrument:
        """What the name meant on that day; of others what is quoted in the recording."""
        found = self.recording.stood.names.get(name)
        return found if found is not None else super().resolve(name, on, price)

    def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
        """Bars of the past that some strategy of that day had heard."""
        heard = {
            bar.start: bar
            for past in self.recording.stood.pasts
            for bar in past.history
            if bar.instrument.key == instrument.key and bar.interval == interval and start <= bar.start <= end
        }
        return [heard[moment] for moment in sorted(heard)]


class RecordedBacktest(Backtest):
    """A backtest whose day begins as the recorded one began, and goes on batch by batch as it did."""

    def __init__(
        self,
        config: Config,
        account: Account,
        market: RecordedMarket,
        enabled: Mapping[str, StrategySettings],
        fills: FillRules,
        *,
        journal: int | None = LATEST,
    ) -> None:
        super().__init__(config, account, market, enabled, fills, journal=journal)
        self._recording = market.recording
        spec, world = registry.get(account.broker), self.world
        world.canary = self._recording.stood.canary
        world.stale_after = config.settings.feed.canary_stale_s
        world.objection = (
            spec.objection if config.settings.orders.stand_in else lambda *asked: spec.objection(*asked) or spec.stands_in(*asked)
        )
        lists = restricted.read(config.folder / "market" / "restricted", self._recording.day)
        world.restricted = lambda one: next((row.why for row in lists.get(one.underlying, ()) if row.covers(one)), None)

    def _builder(self) -> tuple[GapFiller, Callable[[History], None]]:
        builder = BarBuilder(self._calendar)
        filler = GapFiller(builder, self._calendar, lambda *asked: None, lambda kind, facts: None, self._alert)
        return filler, filler.answered

    def _morning(self, day: date, opens: datetime) -> None:
        super()._morning(day, min(opens, self._recording.stood.at))

    def _switches(self, day: date, names: Mapping[str, Instrument]) -> dict[str, Switch]:
        known = self._recording.stood.switches
        return {name: known[name] for name in names if name in known}

    def _begin(self, day: date, names: Mapping[str, Instrument]) -> list[Run]:
        self.world.open_day(names)
        runs, left_out = make_runs(self.settings, names, self._config.settings.protect.distance_pct)
        for why in left_out:
            self._note(why)
        pasts = self._recording.pasts
        for run in runs:
            strategy, past = run.strategy, pasts.get((run.strategy.name, run.strategy.logical))
            history = past.history if past is not None else self._past(run, self._recording.stood.at)
            play(run, history, past.saved if past is not None else None, day, self._calendar, self.world)
            if past is None:
                self._note(f"{strategy.name}: not a strategy of that day; {len(history)} of {strategy.warmup_bars} warm-up bars")
        return runs

    def _play_ticks(self, ticks: Sequence[Tick]) -> None:
        begun = False
        for item in self._recording.items():
            if isinstance(item, Batch | Note):
                if begun:
                    self._end_batch()
                begun = isinstance(item, Batch)
                self.clock.move_to(max(item.at, self.clock.now()))
                if isinstance(item, Note):
                    self._take_note(item)
            elif isinstance(item, HEARD):
                self.engine.process(item)
        if begun:
            self._end_batch()

    def _end_batch(self) -> None:
        self.engine.run_timers()
        self.engine.settle()
        self._count()

    def _take_note(self, note: Note) -> None:
        if note.name == opening.ENDS:
            self.engine.between_events(lambda: self.paper.end_of_day(note.at))
        elif note.name == rolls.SETTLED:
            finals = msgspec.convert(note.value["finals"], dict[str, Final])
            self._settled += self.engine.expiry.settle(finals, self._charges.exercise_tax)
            self.engine.settle()
