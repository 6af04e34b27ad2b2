"""What a change of the strategies' files or toggles does to a day that runs. docs/tuning.md has the same as a table for users.

1. class, params, interval, instruments, horizon: the strategy is made anew (runtime/rebuild.py). What it holds, its targets and their
   stops stay; it acts when it gives a target that differs.
2. size, stop_pct, take_profit_pct: count for targets decided from then on. A held position keeps its pinned quantity, stop and target.
3. window and the limits of `risk`: count at the next entry. A lock of today stays.
4. Disabled, deleted, moved to another account, or an instrument left out: entries end at once, and what is held there is closed, or
   kept by `on_disable: keep` (`retire`).
5. Enabled or added: made and warmed up; a key that was retired waits for a different target.
6. A horizon counts for a key once it is flat (OrderDesk.horizon).
"""

from collections.abc import Container, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import ConfigError, DataError
from core.types import Instrument, Purpose
from execution_engine.engine import Engine
from execution_engine.limits import strategy_limits
from execution_engine.runs import Run, fit
from runtime import opening
from runtime.day import entry_windows
from runtime.rebuild import Rebuild
from runtime.roster import SPACE, Files, Plan, Roster, Toggles, described, differences
from utils.yaml_file import read

if TYPE_CHECKING:
    from runtime.wiring import House

MADE_ANEW = ("class", "params", "interval", "instruments", "horizon")
"""Fields whose change makes the strategy anew; all others are taken over by the one that runs."""


class Tuning:
    """Plans a change, prepares what it needs, and carries it out between two events. Lives on the engine thread."""

    def __init__(self, house: "House", roster: Roster, path_of: Mapping[str, Path] | None = None) -> None:
        """`path_of` names files that do not lie in strategies/ of the configuration."""
        self._house = house
        self.roster = roster
        self._paths = path_of or {}

    def path(self, name: str) -> Path:
        """The file of that strategy."""
        return self._paths.get(name) or self._house.config.folder / "strategies" / f"{name}.yaml"

    @property
    def day(self) -> date | None:
        """The day that is open; None: none is, and what changes is taken up when the next one opens."""
        now = self._house.clock.now()
        return now.date() if self._house.engine.timers.due("second") is not None else None

    def plan(self, files: Files, toggles: Toggles, revived: str = "") -> Plan:
        """What these files and toggles change; `revived` is made anew in any case."""
        roster = self.roster
        before, after = roster.enabled(), roster.enabled(files, toggles)
        facts: dict[str, dict[str, Any]] = {}
        for name in sorted({*roster.files, *files}):
            old, new = roster.files.get(name), files.get(name)
            if old is None and new is not None:
                facts[name] = {"change": "added", "new": described(new)}
            elif new is None and old is not None:
                facts[name] = {"change": "deleted", "old": described(old)}
            elif old is not None and new is not None and (fields := differences(old, new)):
                facts[name] = {"change": "changed", "fields": fields}
        for name in {*roster.toggles, *toggles}:
            given, then = (one.get(name, {}).get("enabled") for one in (roster.toggles, toggles))
            if given != then:
                facts.setdefault(name, {"change": "toggled"})["toggle"] = {"old": given, "new": then}
        made, retired = [], [name for name in before if name not in after]
        for name, settings in after.items():
            fields = differences(before[name], settings) if name in before else {}
            if name not in before or name == revived or any(field.partition(".")[0] in MADE_ANEW for field in fields):
                made.append(name)
        for name, fact in facts.items():
            does = "made anew" if name in before else "started"
            fact["does"] = "retired" if name in retired else does if name in made else "taken over" if name in after else "not traded"
        return Plan(files, toggles, before, after, tuple(made), tuple(retired), facts)

    def prepare(self, plan: Plan) -> Rebuild | None:
        """Fetch what the strategies to be made have to hear; None where no day is open or there is nothing to make."""
        day, engine = self.day, self._house.engine
        if day is None or not plan.made:
            return None
        wanted = {name: plan.after[name] for name in plan.made}
        known = dict(engine.world.names)
        return Rebuild(self._house, day, wanted, lambda: self._names(wanted, known, day), engine.runs)

    def carry_out(self, plan: Plan, runs: list[Run], names: Mapping[str, Instrument]) -> None:
        """Change over, between two events."""
        house, engine, day = self._house, self._house.engine, self.day
        roster = self.roster
        for name in {*roster.toggles, *plan.toggles}:
            if roster.toggles.get(name) != plan.toggles.get(name):
                house.store.put(SPACE, name, plan.toggles.get(name))
        roster.files, roster.toggles = plan.files, plan.toggles
        engine.gate.take_limits(strategy_limits(plan.files))
        if day is None:
            return
        engine.world.windows = entry_windows(day, plan.after)
        if names:
            house.store.put("names", day.isoformat(), {name: one.key for name, one in engine.world.names.items()})
        for instrument in {one.key: one for one in names.values()}.values():
            engine.square_off.include(day, instrument)
            house.watch(instrument, "strategies")
        replaced = {*plan.made, *plan.retired}
        stay = [run for run in engine.runs if run.strategy.name not in replaced]
        for run in stay:
            if run.strategy.name in plan.facts:
                fit(run, plan.after[run.strategy.name], house.config.settings.protect.distance_pct)
        order = {name: number for number, name in enumerate(plan.after)}
        everyone = sorted([*stay, *runs], key=lambda run: order.get(run.strategy.name, -1))
        engine.hearing.listen(everyone, engine.bars, house.clock.now())
        engine.hearing.stop_failed(runs)
        for name in plan.retired:
            keep = (plan.files.get(name) or plan.before[name]).on_disable == "keep"
            retire(engine, name, None, "its strategy trades no more", keep=keep)
        for name in set(plan.made) & set(plan.before):
            left = set(plan.before[name].instruments) - set(plan.after[name].instruments)
            if left:
                retire(engine, name, left, "its strategy trades this instrument no more", keep=plan.after[name].on_disable == "keep")

    def note_change(self, plan: Plan, names: Mapping[str, Instrument], files: Path | None) -> None:
        """Let the recording have what is about to be carried out; `files` is the configuration that was read for it (None: a toggle)."""
        house = self._house
        house.recorder.note(opening.CHANGE, house.engine.clock.now(), opening.change(house, plan, names, files))

    def _names(self, wanted: Files, known: Mapping[str, Instrument], day: date) -> dict[str, Instrument]:
        """Name -> today's contract; on the downloads thread. Raises ConfigError with file and line for a name that means nothing."""
        house, found = self._house, {}

        def price(key: str) -> float:
            index = house.lookup().by_key(key)
            prices = house.data.last_prices([index]) if index is not None else {}
            if key not in prices:
                raise DataError(f"no price of {key} to choose a strike by")
            return float(prices[key])

        for strategy, settings in wanted.items():
            for number, name in enumerate(settings.instruments):
                try:
                    instrument = known.get(name) or house.lookup().resolve(name, day, price)
                except DataError as error:
                    raise ConfigError(f"{read(self.path(strategy)).where(('instruments', number))}: instruments: {error}") from error
                if not instrument.tradable:
                    where = read(self.path(strategy)).where(("instruments", number))
                    text = f"{name} is an index and cannot be traded; use its future, e.g. {instrument.underlying}_FUT"
                    raise ConfigError(f"{where}: instruments: {text}")
                if house.calendar.continuous(instrument, day):
                    found[name] = instrument
        return found


def retire(engine: Engine, strategy: str, names: Container[str] | None, why: str, *, keep: bool) -> None:
    """Nobody decides on these keys of a strategy any more (None: on any of its keys): its entries end at once.

    What it holds is closed; or stays (`keep`) with its stop and profit target, and an intraday one until the square-off. A key is acted
    on again when its strategy is back and gives a different target.
    """
    for target in engine.targets:
        if target.strategy != strategy or (names is not None and target.name not in names):
            continue
        if not keep:
            engine.flatten(target, why, Purpose.EXIT)
        elif not engine.exits.lacking(target):  # what is on its way out goes on
            engine.latch(target, why)
            engine.act(target)
