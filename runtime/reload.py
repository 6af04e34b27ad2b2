"""Market facts taken up by a running daemon (SIGHUP, or the command `reload`): judged first, applied between events, journalled.

Rules:
1. The files are read and judged away from the engine thread. What is wrong changes nothing, is alerted, and names file and line.
2. The engine thread then puts the new facts into the one Calendar that everything holds, between two events: bars that begin later,
   plans, entry windows and the square-off go by them at once. A square-off whose new time has passed starts at once.
3. The journal has the old and the new SHA-256 of each changed file, and the day's square-offs before and after.
Taken up are holidays, sessions, contracts, overrides, assumed and restricted/ of config/market/; charges, settings and risk need a
restart.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from core.errors import ConfigError
from core.events import Command
from core.market import Calendar, SquareOffSettings
from core.types import AccountKind
from execution_engine.engine import Engine
from execution_engine.portfolio import EXTERNAL

if TYPE_CHECKING:
    from utils.config_loader import Config

FILES = ("holidays", "sessions", "contracts", "overrides", "assumed")
REMEDY = "the calendar is as it was; correct the file, then reload again"


class Reload:
    """`read` on any thread judges the files and gives the arguments of a `reload` command; `take` carries it out on the engine thread."""

    def __init__(self, config: "Config", kind: AccountKind, calendar: Calendar, also: Callable[[date], None] = lambda day: None) -> None:
        """`also` takes up, on the engine thread, what else lies there and is not part of the calendar (the restricted lists)."""
        self._config = config
        self._kind = kind
        self._calendar = calendar
        self._also = also
        self._digests = {f"market/{name}.yaml": config.files.get(f"market/{name}.yaml", "") for name in FILES}
        self._read: dict[str, Calendar] = {}  # what was judged and waits for the engine, by its hash
        self.taken = 0  # how often other facts were taken up

    def read(self) -> dict[str, Any]:
        """The files as they are now: {"digests": ...} when they are good, {"error": text} when not."""
        try:
            digests = self._now()
            calendar = self._config.calendar(self._kind)
        except (ConfigError, OSError) as error:
            return {"error": str(error)}
        self._read[_hash(digests)] = calendar
        return {"digests": digests}

    def take(self, engine: Engine, command: Command) -> tuple[bool, str]:
        """Put what was read into the calendar; returns whether that was done, and a text for the person who asked."""
        now = engine.clock.now()
        digests: Mapping[str, str] = command.arguments.get("digests", {})
        fresh = self._read.pop(_hash(digests), None)
        error = _trial(fresh, engine) if fresh is not None else str(command.arguments.get("error", "the files were not read"))
        if error or fresh is None:
            engine.store.journal(now, "reload_refused", {"why": error})
            engine.alert("warn", "Calendar not reloaded", f"{error}; {REMEDY}")
            return False, f"{error}; {REMEDY}"
        self._also(now.date())
        changed = {name: {"old": self._digests[name], "new": new} for name, new in digests.items() if new != self._digests[name]}
        if not changed:
            return True, "the market files are as they were read last; nothing changed"
        before = engine.square_off.rounds()
        self._calendar.become(fresh)
        self.taken += 1
        self._digests.update(digests)
        engine.world.hours_changed()
        engine.bars.hours_changed()
        if engine.timers.due("second") is not None:  # a day is open
            engine.square_off.rearm(now.date())
        after = engine.square_off.rounds()
        engine.store.journal(now, "reloaded", {"files": changed, "square_off": {"before": before, "after": after}})
        starts = ", ".join(one["scheduled"][11:16] for one in after) or "none"
        text = f"taken up: {', '.join(changed)}; square-offs of the day: {starts}"
        engine.alert("info", "Calendar reloaded", text)
        return True, text

    def _now(self) -> dict[str, str]:
        folder = self._config.folder
        paths = {name: folder / name for name in self._digests}
        return {name: hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "" for name, path in paths.items()}


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


def _hash(digests: Mapping[str, str]) -> str:
    return "\n".join(f"{digest} {name}" for name, digest in sorted(digests.items()))
