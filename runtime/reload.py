"""Files taken up by a running daemon (SIGHUP, or the command `reload`), toggles and retuning: judged first, applied between events.

Rules:
1. All files are read and judged as one set, away from the engine thread. What is wrong changes nothing, is alerted, and names file and
   line. What strategies need to be made anew is fetched next; if it cannot be had, nothing changes either.
2. The engine thread then carries everything out between two events. Market facts go into the one Calendar that everything holds: bars
   that begin later, plans, entry windows and the square-off go by them at once, and a square-off whose new time has passed starts.
   What happens to strategies and their positions stands in runtime/tuning.py.
3. The journal (`reloaded`) has the old and the new SHA-256 of each changed file, old and new of each field of a strategy, and the day's
   square-offs before and after. `reload_refused` says why nothing was done.
4. `retune` writes its fields into the strategy's file, as one value each, and then is a reload of that file. The file stays the truth.
Taken up are strategies/, and of market/ holidays, sessions, contracts, overrides, assumed and restricted/; charges, settings and risk
need a restart.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from core.errors import ConfigError, NiyamError
from core.events import Command
from core.market import Calendar, SquareOffSettings
from core.types import AccountKind, Instrument
from execution_engine.engine import Engine
from execution_engine.portfolio import EXTERNAL
from execution_engine.runs import Run
from runtime.rebuild import Rebuild
from runtime.roster import Plan, standing
from runtime.tuning import Tuning
from utils.config_loader import Config
from utils.yaml_edit import changed
from utils.yaml_file import read

FILES = ("holidays", "sessions", "contracts", "overrides", "assumed")
AT_RESTART = ("settings.yaml", "risk.yaml", "market/charges.yaml")
REMEDY = "nothing was changed; correct it, then reload again"
LATER = "nothing was changed; give it again when that is done"
Answer = Callable[[str, bool, str, Any], None]


class _Read(msgspec.Struct):
    """A set of files that was judged and waits for the engine; `write` is what goes to disk with it, over what stood there."""

    config: Config
    calendar: Calendar
    write: dict[Path, tuple[bytes, str]] = {}

    @property
    def facts(self) -> dict[str, str]:
        """File -> SHA-256 of what a reload takes up."""
        names = {f"market/{name}.yaml" for name in FILES}
        return {name: digest for name, digest in self.config.files.items() if name in names or not name.startswith("market/")}


class _UnderWay(msgspec.Struct):
    """What is being prepared; `facts` are the market's and the strategies' files after it (None: a toggle)."""

    command: Command
    plan: Plan
    rebuild: Rebuild | None
    read: _Read | None


class Reload:
    """`read` and `edit` judge files on any thread and give a command's arguments; the rest carries commands out on the engine thread."""

    def __init__(
        self,
        config: Config,
        kind: AccountKind,
        calendar: Calendar,
        tuning: Tuning,
        load: Callable[[Mapping[Path, str]], Config],
        answer: Answer,
        also: Callable[[date], None] = lambda day: None,
    ) -> None:
        """`load` reads the configuration as the run was started with it, some files by the text given instead of their own. `also`
        takes up, on the engine thread, what else lies there and is not part of the calendar (the restricted lists)."""
        self._config = config
        self._kind = kind
        self._calendar = calendar
        self._tuning = tuning
        self._load = load
        self._answer = answer
        self._also = also
        self._waiting: _Read | None = None  # the latest that was judged
        self._under_way: _UnderWay | None = None
        self.taken = 0  # how often other market facts were taken up

    # --- any thread -----------------------------------------------------------------------------------------------------------------

    def read(self) -> dict[str, Any]:
        """The files as they are now: {"config": hash} when they are good, {"error": text} when not."""
        return self._judged({})

    def edit(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The same with the file of the strategy `name` changed by `values` (dotted field -> value), for a `retune` command."""
        name, values = arguments.get("name"), arguments.get("values")
        given = {"name": name, "values": values}
        path = self._tuning.path(str(name))
        if not isinstance(values, Mapping) or not values:
            return {**given, "error": 'retune wants values: {"params.fast": 5}'}
        if name not in self._tuning.roster.files:
            return {**given, "error": f"no strategy {name!r}; there are {', '.join(self._tuning.roster.files)}"}
        try:
            before = path.read_bytes()
            text = before.decode()
            for field, value in values.items():
                text = changed(read(path, text), text, tuple(str(field).split(".")), value)
        except (OSError, UnicodeDecodeError, ConfigError) as error:
            return {**given, "error": str(error)}
        return {**given, **self._judged({path: (before, text)})}

    def _judged(self, write: dict[Path, tuple[bytes, str]]) -> dict[str, Any]:
        try:
            config = self._load({path: text for path, (_, text) in write.items()})
            found = _Read(config, config.calendar(self._kind), write)
        except (ConfigError, OSError) as error:
            return {"error": str(error)}
        self._waiting = found
        return {"config": config.hash}

    # --- the engine's thread ----------------------------------------------------------------------------------------------------------

    def take(self, engine: Engine, command: Command) -> None:
        """A `reload` or a `retune`: begin; the answer follows when it is done, or why it was not."""
        found, self._waiting = self._waiting, None
        if "error" in command.arguments or found is None or found.config.hash != command.arguments.get("config"):
            self._refuse(engine, command, str(command.arguments.get("error", "the files were not read")))
            return
        error = _trial(found.calendar, engine)
        if error:
            self._refuse(engine, command, error)
            return
        files = found.config.strategies
        self._begin(engine, command, self._tuning.plan(files, standing(self._tuning.roster.toggles, files)), found)

    def toggle(self, engine: Engine, command: Command) -> None:
        """`enable` or `disable` one strategy, until another command or its file says otherwise."""
        roster, name, on = self._tuning.roster, str(command.arguments.get("name")), command.name == "enable"
        settings = roster.files.get(name)
        if settings is None or not roster.ours(settings):
            there = ", ".join(one for one, given in roster.files.items() if roster.ours(given)) or "none"
            self._answer(command.id, False, f"no strategy {name!r} of account {engine.account.name!r}; there are {there}", None)
            return
        stopped = on and any(run.stopped for run in engine.runs if run.strategy.name == name)
        kept = {one: toggle for one, toggle in roster.toggles.items() if one != name}
        if on is not settings.enabled:
            kept[name] = {"enabled": on, "file": settings.enabled}
        plan = self._tuning.plan(roster.files, kept, revived=name if stopped else "")
        if not plan.facts and not plan.made and not plan.retired:
            self._answer(command.id, True, f"{name} is {'enabled' if on else 'disabled'} already; nothing changed", None)
            return
        plan.facts.setdefault(name, {"change": "revived", "does": "made anew"})
        self._begin(engine, command, plan, None)

    def check(self, engine: Engine) -> None:
        """Carry out what was prepared; to be called between events."""
        now = self._under_way
        if now is None or (now.rebuild is not None and not now.rebuild.ready):
            return
        runs: list[Run] | None = []
        names: Mapping[str, Instrument] = {}
        if now.rebuild is not None and self._tuning.day is not None:
            try:
                runs = now.rebuild.take()
            except Exception as error:  # of the download, or of a strategy as it was made: nothing has changed yet, and it is told
                self._under_way = None
                self._refuse(engine, now.command, str(error) if isinstance(error, NiyamError) else f"{type(error).__name__}: {error}")
                return
            names = now.rebuild.names
        if runs is None:
            return
        self._under_way = None
        unwritten = _written(now.read.write) if now.read is not None else ""
        if unwritten:
            self._refuse(engine, now.command, unwritten)
            return
        left_out = now.rebuild.notes if now.rebuild is not None else []
        for why in left_out:
            engine.alert("warn", "Strategy left out", why)
        self._tuning.note_change(now.plan, names, now.read.config.folder if now.read is not None else None)
        engine.between_events(lambda: self._carry_out(engine, now, runs, names))

    def _begin(self, engine: Engine, command: Command, plan: Plan, found: _Read | None) -> None:
        if self._under_way is not None:
            self._refuse(engine, command, f"the {self._under_way.command.name} before is still under way", LATER)
            return
        self._under_way = _UnderWay(command, plan, self._tuning.prepare(plan), found)

    def _carry_out(self, engine: Engine, now: _UnderWay, runs: list[Run], names: Mapping[str, Instrument]) -> None:
        at = engine.clock.now()
        before = engine.square_off.rounds()
        files = self._take_market(engine, now.read) if now.read is not None else {}
        self._tuning.carry_out(now.plan, runs, names)
        said = _said(now.plan)
        if now.read is None:
            [(name, fact)] = now.plan.facts.items()
            engine.store.journal(at, "toggled", {"strategy": name, "command": now.command.name, **fact})
            text = f"{name} {now.command.name}d: {fact['does']}"
        elif not files and not now.plan.facts:
            text = "the files are as they were read last; nothing changed"
        else:
            hashes = {"old": self._config.hash, "new": now.read.config.hash}
            after = engine.square_off.rounds()
            facts = {"files": files, "config": hashes, "strategies": now.plan.facts, "square_off": {"before": before, "after": after}}
            engine.store.journal(at, "reloaded", facts)
            starts = ", ".join(one["scheduled"][11:16] for one in after) or "none"
            text = f"taken up: {', '.join(files)}; {f'{said}; ' if said else ''}square-offs of the day: {starts}"
            engine.alert("info", "Reloaded", text)
            late = [name for name in AT_RESTART if self._config.files.get(name) != now.read.config.files.get(name)]
            if late:
                text += f"; {', '.join(late)} changed too: those need a restart"
            self._config = now.read.config
        self._answer(now.command.id, True, text, {"strategies": now.plan.facts})

    def _take_market(self, engine: Engine, found: _Read) -> dict[str, dict[str, str]]:
        """The calendar, and what the files are now and were: {name: {old, new}} of those that changed and are taken up."""
        at = engine.clock.now()
        self._also(at.date())
        old, new = _Read(self._config, found.calendar).facts, found.facts
        files = {
            name: {"old": old.get(name, ""), "new": new.get(name, "")}
            for name in sorted({*old, *new} - set(AT_RESTART))
            if old.get(name) != new.get(name)
        }
        if any(name.startswith("market/") for name in files):
            self.taken += 1
            go_by(engine, self._calendar, found.calendar, self._tuning.day)
        return files

    def _refuse(self, engine: Engine, command: Command, why: str, remedy: str = REMEDY) -> None:
        engine.store.journal(engine.clock.now(), "reload_refused", {"command": command.name, "why": why})
        engine.alert("warn", "Not reloaded", f"{why}; {remedy}")
        self._answer(command.id, False, f"{why}; {remedy}", None)


def go_by(engine: Engine, calendar: Calendar, fresh: Calendar, day: date | None) -> None:
    """Have the engine go by other market facts; `day` is the one that is open."""
    calendar.become(fresh)
    engine.world.hours_changed()
    engine.bars.hours_changed()
    if day is not None:
        engine.square_off.rearm(day)


def _trial(fresh: Calendar, engine: Engine) -> str:
    """Ask the new calendar what the day will ask it: why it cannot answer, or may not, or nothing."""
    world, today = engine.world, engine.clock.now().date()
    held = {position.instrument.key for position in engine.portfolio.positions() if position.quantity and position.strategy != EXTERNAL}
    instruments = {one.key: one for one in world.names.values()} | {
        position.instrument.key: position.instrument for position in engine.portfolio.positions()
    }
    try:
        for key, instrument in sorted(instruments.items()):
            plan = fresh.square_off(world.account.broker, instrument, today, SquareOffSettings())
            if plan is None and key in held and world.calendar.continuous(instrument, today):
                return f"{key} is held, and would have no session on {today} any more; close the position first"
    except (ConfigError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}" if not isinstance(error, ConfigError) else str(error)
    return ""


def _said(plan: Plan) -> str:
    """What happens to the strategies, in words for a person."""
    parts = []
    for name, fact in plan.facts.items():
        fields = [f"{field} {_spelled(one['old'])} -> {_spelled(one['new'])}" for field, one in fact.get("fields", {}).items()]
        parts.append(f"{name} {', '.join(fields) or fact['change']}: {fact['does']}")
    return "; ".join(parts)


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _written(write: Mapping[Path, tuple[bytes, str]]) -> str:
    """Put a retuned file on disk, whole or not at all; why it could not be, or nothing."""
    for path, (before, text) in write.items():
        aside = path.with_name(f".{path.name}.new")
        try:
            if hashlib.sha256(path.read_bytes()).digest() != hashlib.sha256(before).digest():
                return f"{path} was changed by somebody else meanwhile; look at it, then ask again"
            with aside.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            aside.chmod(path.stat().st_mode & 0o777)
            aside.replace(path)
        except OSError as error:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
            return f"{path} cannot be written ({error.strerror}); its folder must be writable for `retune`, or edit the file and reload"
    return ""
