"""Errors before the open: no entry until a person has acknowledged them.

An alert of level page raised on a trading day before its continuous trading begins is such an error. It is stored: a restart acknowledges
nothing. What bars entries by itself for as long as its cause lasts is not counted. Errors of an earlier day are not asked about again.
"""

from datetime import date

from core.market import Calendar
from core.ports import Clock, Store
from execution_engine.world import World

BARRING = frozenset({"Login required", "Entries are off"})
MOST = 20  # errors that are kept; the journal has them all
CAUSE = "arming"


class Arming:
    """Hears every alert; `acknowledge` is the person's word."""

    def __init__(self, clock: Clock, store: Store, calendar: Calendar, world: World) -> None:
        self._clock = clock
        self._store = store
        self._calendar = calendar
        self._world = world
        self._errors: list[str] = []
        self._day: date | None = None

    def hear(self, level: str, title: str, text: str) -> None:
        if level != "page" or title in BARRING or not self._before_the_open():
            return
        today = self._clock.now().date()
        if self._day != today:
            self._day, self._errors = today, []
        error = f"{title}: {text}"
        if error not in self._errors and len(self._errors) < MOST:
            self._errors.append(error)
            self._store.put("engine", "before_open", {"day": today.isoformat(), "errors": self._errors})
        self._bar()

    def take_up(self, day: date) -> None:
        """A day begins, or goes on after a restart: what of it is not acknowledged still bars."""
        stored = self._store.get("engine", "before_open")
        same = stored is not None and stored["day"] == day.isoformat()
        self._day, self._errors = day, list(stored["errors"]) if same else []
        self._bar()

    def acknowledge(self) -> list[str]:
        """A person has read them; returns what they were."""
        seen, self._errors = self._errors, []
        self._store.put("engine", "before_open", None)
        self._bar()
        return seen

    def _bar(self) -> None:
        if not self._errors:
            self._world.blinded.pop(CAUSE, None)
            return
        more = f" (and {len(self._errors) - 1} more)" if len(self._errors) > 1 else ""
        self._world.blinded[CAUSE] = f"an error before the open is not acknowledged: {self._errors[0]}{more}; `main.py acknowledge`"

    def _before_the_open(self) -> bool:
        now, canary = self._clock.now(), self._world.canary
        bounds = self._calendar.day_bounds(now.date())
        if bounds is None or now >= bounds[1]:
            return False
        windows = self._calendar.continuous(canary, now.date()) if canary is not None else ()
        return canary is None or bool(windows and now < windows[0][0])
