"""Is the market what the calendar says? A session without ticks, ticks on a holiday, and a year whose holidays nobody has confirmed.

Exchanges declare holidays and sessions days before, and now and then open late. The calendar is told by a person; these checks tell the
person. They only ever take entries off; exits and the square-off go on.
"""

from datetime import date, datetime, timedelta
from datetime import time as TimeOfDay

from core.market import Calendar
from core.ports import HistoricalSource
from core.types import IST, AccountKind, Instrument, Tick
from execution_engine.order_manager import Alert
from execution_engine.world import World

EVERY = timedelta(seconds=5)
REMEDY = "write it into config/market/overrides.yaml, then `main.py reload`"


class SessionProbe:
    """Looks whether ticks come when the calendar has a session, and only then. Call `look` as time passes, while a day is open.

    No tick of anything subscribed, `minutes` after continuous trading began (or after the first look, if later): a page, and entries are
    off until one comes. A segment that is silent while another trades is paged; entries there are refused as stale anyway.
    """

    def __init__(self, world: World, alert: Alert, minutes: float) -> None:
        self._world = world
        self._alert = alert
        self._patience = timedelta(minutes=minutes)
        self._day = date.min
        self._since = self._next = datetime.min.replace(tzinfo=IST)
        self._heard: set[str] = set()
        self._told: set[str] = set()

    def look(self, now: datetime) -> None:
        if now < self._next and now.date() == self._day:
            return
        if now.date() != self._day:
            self._day, self._since = now.date(), now
            self._heard.clear()
            self._told.clear()
            self._world.blinded.pop("ticks", None)
        self._next = now + EVERY
        self._ticks_expected(now)
        self._ticks_unexpected()

    def _ticks_expected(self, now: datetime) -> None:
        silent: dict[str, str] = {}
        for segment, instruments in self._by_segment().items():
            made = [(one, _made(tick)) for one in instruments if (tick := self._world.ticks.get(one.key)) is not None]
            if any(at.date() == self._day and self._world.calendar.is_open(one, at) for one, at in made):
                self._heard.add(segment)
            opens = [
                start
                for one in instruments
                for start, end in self._world.calendar.continuous(one, self._day)
                if start <= now < end and max(start, self._since) + self._patience <= now
            ]
            if opens and segment not in self._heard:
                silent[segment] = f"no tick of {', '.join(sorted(one.key for one in instruments))} since {min(opens):%H:%M}"
        for segment, text in silent.items():
            if segment not in self._told:
                self._told.add(segment)
                feed = "connected" if self._world.feed_connected else self._world.feed_reason
                self._alert(
                    "page",
                    "No ticks",
                    f"{text}, though the calendar has a session then (feed: {feed}). If the exchange has closed the day or moved its "
                    f"hours, {REMEDY}; if it trades, look at the feed",
                )
        if silent and not self._heard:
            self._world.blinded["ticks"] = f"{next(iter(silent.values()))}: is there a session? (overrides.yaml)"
        elif self._world.blinded.pop("ticks", None) is not None:
            self._alert("info", "Ticks came", f"entries are on again; first heard: {', '.join(sorted(self._heard)) or 'no session runs'}")

    def _ticks_unexpected(self) -> None:
        for tick in self._world.ticks.values():
            one = tick.instrument
            name = f"holiday {one.segment}"
            if _made(tick).date() == self._day and name not in self._told and not self._world.calendar.continuous(one, self._day):
                self._told.add(name)
                text = f"{one.key} ticked at {_made(tick):%H:%M:%S}, though the calendar has no session on {self._day}"
                self._alert("warn", "Ticks on a holiday", f"{text}; no entry is taken there. If the exchange trades, {REMEDY}")

    def _by_segment(self) -> dict[str, list[Instrument]]:
        found: dict[str, list[Instrument]] = {}
        watched = {one.key: one for one in (*self._world.names.values(), *([self._world.canary] if self._world.canary else []))}
        for one in watched.values():
            found.setdefault(one.segment, []).append(one)
        return found


def mind_year(world: World, alert: Alert, day: date) -> None:
    """Live entries wait until somebody has confirmed the year's holidays; other accounts are only told."""
    if world.calendar.status(day) != "provisional":
        world.blinded.pop("calendar", None)
        return
    text = next(note for note in world.calendar.notes(day) if note.startswith("the holiday list"))
    if world.account.kind is not AccountKind.LIVE:
        alert("warn", "Provisional calendar", text)
    elif world.blinded.get("calendar") != text:
        world.blinded["calendar"] = text
        alert("page", "Entries are off", f"{text}; then `main.py reload`")


def trades_on_a_holiday(source: HistoricalSource, calendar: Calendar, instrument: Instrument, now: datetime) -> str:
    """What to tell where `instrument` has bars of today although the calendar has no session; empty where all is as it should be.

    Asks the broker's history; raises BrokerError.
    """
    day = now.date()
    if calendar.continuous(instrument, day):
        return ""
    bars = source.candles(instrument, datetime.combine(day, TimeOfDay(0), IST), now, 1)
    if not any(bar.start.date() == day for bar in bars):
        return ""
    return f"{instrument.key} trades today, {day}, though the calendar has no session; if that is one to trade, {REMEDY}"


def _made(tick: Tick) -> datetime:
    return tick.exchange_at or tick.at
