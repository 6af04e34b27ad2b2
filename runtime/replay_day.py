"""The `replay` command: a recorded day through the same engine again; each decision and order identical, or the first difference told.

Rules:
1. Each start of the day is rebuilt from its opening (runtime/opening.py), in a ledger in memory, and takes what was recorded: each batch
   of events at its moment, the timers that are due then, notes. A paper exchange fills again by itself; to a real broker nothing is
   sent, its answers are in the record.
2. What the engine journals of its decisions, orders and fills must be what the ledger has, entry by entry, time included; the timers
   must be those that fired; at the end the digest must be the ledger's.
3. A process that was killed had recorded all that its ledger has, and perhaps more: what the ledger has must come first.
4. The configuration, the strategies' settings and their warm-up are the record's own. The code is today's: where another build
   recorded the day, that is said.
"""

import argparse
import json
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec

from brokers import registry
from core.clock import ManualClock
from core.errors import DataError, NiyamError
from core.events import Event, Timer
from core.types import Fill, Instrument, SessionState, TradingState
from data_ingestion.instruments import InstrumentStore
from data_ingestion.recorder import Batch, Note, Start, read_starts
from execution_engine.call_watch import RecordedCalls
from execution_engine.charges import Charges
from execution_engine.control import Control
from execution_engine.engine import Engine
from execution_engine.expiry import Final
from execution_engine.manual_orders import ManualOrders
from execution_engine.round_trips import digest_of
from execution_engine.runs import Run, make_runs
from runtime import day as trading_day
from runtime import opening, reload, rolls
from runtime.market_doubts import SessionProbe, mind_year
from runtime.opening import Change, Opening, Past
from runtime.rebuild import play
from runtime.recorded import opening_of, write_files
from runtime.roster import Plan
from runtime.state_folder import RunFolder
from runtime.tuning import Tuning
from runtime.wiring import make_engine, replay_executor
from storage.memory_store import MemoryStore
from utils import config_loader
from utils.config_loader import load_calendar, load_charges, running_build
from utils.config_schema import StrategySettings

if TYPE_CHECKING:
    from core.ports import Ledger

DECISIONS = frozenset(
    {
        *("signal", "late_signal", "signal_waits", "refused", "latched", "flatten", "intent", "cancel", "modify", "order", "fill"),
        *("breach", "trading_state", "strategy_stopped", "target_dropped", "settled", "difference", "thawed", "adopted"),
        *("foreign_order", "foreign_fill", "square_off_started", "gap_filled", "gap_open"),
        *("roll_started", "roll_waits", "roll_closed", "roll_try_failed", "roll_done", "roll_half", "roll_switched", "roll_overtaken"),
    }
)
"""Kinds of journal entries that must come again. The others tell of people, files and connections."""

MARKET_FILES = tuple(f"market/{name}.yaml" for name in reload.FILES)
BEFORE = 3  # events told with a difference
AHEAD = 20  # decisions of the record among which the replay's is looked for, where it is not the next one


def command(options: argparse.Namespace, folder: RunFolder, ledger: "Ledger") -> int:
    """Replay the day and tell; exit 0 where all is identical, 1 where something differs."""
    found = replay(folder, ledger, options.day)
    if options.json:
        sys.stdout.write(json.dumps(found, ensure_ascii=False, indent=1) + "\n")
    else:
        sys.stdout.write(told(found) + "\n")
    return 0 if found["identical"] else 1


def told(found: Mapping[str, Any]) -> str:
    """The outcome for a person."""
    counts = f"{found['events']} events, {found['decisions']} decisions, {found['fills']} fills in {found['starts']} starts"
    lines = [f"{found['day']} of {found['account']} ({found['kind']}): {counts}"]
    if found["identical"]:
        lines += ["identical: each decision and order came again", f"digest {found['digest']['ledger']}"]
    else:
        lines += ["NOT identical", found["difference"]["text"]]
        lines += [f"  after {event}" for event in found["difference"]["after"]]
    return "\n".join([*lines, *(f"note: {note}" for note in found["notes"])])


def replay(folder: RunFolder, ledger: "Ledger", day: date) -> dict[str, Any]:
    """The day of a run once more, as `replay --json` tells it; NiyamError where there is nothing that could be replayed."""
    files = sorted(folder.recordings.glob(f"{day.isoformat()}-*.events"))
    if not files:
        there = sorted({one.name[:10] for one in folder.recordings.glob("*.events")})
        raise NiyamError(f"no recording of {day} in {folder.recordings}; there are {', '.join(there) or 'none'}")
    starts = read_starts(files[0])
    if not starts or any(start.opening is None for start in starts):
        raise NiyamError(
            f"{files[0]} has no opening of the day: it was recorded by a version that kept the events alone, or ends before the day "
            "opened; days recorded from now on can be replayed"
        )
    openings = [opening_of(start) for start in starts]
    fills = ledger.fills()
    entries = [entry for entry in ledger.read_journal(since=openings[0].journal) if _day(entry["at"]) <= day]
    lookup = InstrumentStore(folder.instruments, load_calendar(), openings[0].account.lists).open(day)
    outcome = _Outcome()
    digest = ""
    for number, (start, stood) in enumerate(zip(starts, openings, strict=True)):
        until = openings[number + 1].journal if number + 1 < len(openings) else None
        if start.facts.get("build") not in (None, running_build()):
            outcome.note(f"recorded by build {start.facts['build'][:12]}, replayed by {running_build()[:12]}")
        with tempfile.TemporaryDirectory(prefix="niyam-replay-") as config:
            mine = _of_this_process(entries, stood.journal, until)
            resolve = lookup.resolve if lookup is not None else None
            player = Player(stood, fills[: stood.fills_before], Path(config), resolve, _blocked(start, mine))
            _compare(player, start, mine, outcome, last=until is None)
            digest = player.engine.portfolio.digest()
        if outcome.difference is not None:
            break
    kept = digest_of(fill for fill in fills if fill.at.date() <= day)
    if outcome.difference is None and outcome.closed and digest != kept:
        text = f"the digest is {digest}, the ledger's {kept}: fills were booked that no recorded event explains"
        outcome.difference = {"at": None, "text": text, "recorded": kept, "replayed": digest, "fields": {}, "after": []}
    return {
        "day": day.isoformat(),
        "account": openings[0].account.name,
        "kind": str(openings[0].account.kind),
        "identical": outcome.difference is None,
        "starts": len(starts),
        "events": outcome.events,
        "decisions": outcome.decisions,
        "fills": outcome.fills,
        "digest": {"ledger": kept, "replay": digest if outcome.difference is None else None},
        "difference": outcome.difference,
        "notes": outcome.notes,
    }


class _Outcome:
    """What has been found so far."""

    def __init__(self) -> None:
        self.events = self.decisions = self.fills = 0
        self.difference: dict[str, Any] | None = None
        self.closed = False  # whether the day's end was recorded
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


# --- playing ------------------------------------------------------------------------------------------------------------------------


class Player:
    """The engine of one start, rebuilt in memory from its opening. `batches` plays what was recorded."""

    def __init__(
        self, stood: Opening, fills: Sequence[Fill], folder: Path, resolve: Any = None, blocked: Mapping[int, str] | None = None
    ) -> None:
        """`fills` are those of the run before this start; `folder` is an empty one for the configuration; `resolve` is what a name typed
        by a person meant that day (None: it is not known any more); `blocked` are the calls into strategies that took too long."""
        self.stood = stood
        self.fired: list[Timer] = []
        self.events = 0
        self.closed = False
        self._folder = folder
        self._fills = fills
        write_files(folder, stood.config)
        self.config = config_loader.load(folder)
        self.calendar = self.config.calendar(stood.account.kind)
        self.clock = ManualClock(stood.at)
        self.store = MemoryStore()
        self.store.spaces = {name: dict(space) for name, space in stood.spaces.items()}
        self.store.spaces["tags"] = dict(stood.tags)
        self.executor = replay_executor(stood.account, self.clock, self.calendar)
        self.control = Control(lambda *answer: None)
        self.engine = make_engine(
            account=stood.account,
            config=self.config,
            spec=registry.get(stood.account.broker),
            calendar=self.calendar,
            clock=self.clock,
            store=self.store,
            executor=self.executor,
            alert=lambda level, title, text: None,
            ask=lambda instrument, interval, start, end: None,  # what the broker answered is in the record
            record=self._recorded,
            commands=self.control.handle,
        ).engine
        self.engine.hearing.calls = RecordedCalls(blocked or {}, stood.calls)
        market: Any = SimpleNamespace(resolve=resolve or _unknown, watch=lambda instrument: None, unwatch=lambda instrument: None)
        self.control.by_hand = ManualOrders(lambda *answer: None, market)
        self.control.market = market
        self.control.changes = _Noted()
        self._probe = SessionProbe(self.engine.world, lambda level, title, text: None, self.config.settings.feed.first_tick_minutes)
        self._house: Any = SimpleNamespace(
            config=self.config,
            calendar=self.calendar,
            clock=self.clock,
            engine=self.engine,
            store=self.store,
            alerts=lambda level, title, text: None,
            watch=lambda instrument, owner: None,
        )

    def open(self) -> None:
        """Stand where the recorded engine stood, and open the day."""
        stood, engine, world = self.stood, self.engine, self.engine.world
        engine.portfolio.restore(stood.positions, self._fills, stood.day)
        engine.desk.restore(stood.orders)
        engine.desk.open_day(stood.orders, stood.day)
        engine.desk.tags.go_on_from(stood.tags["count"])
        engine.desk.frozen.update(stood.frozen)
        self.executor.restore(engine.desk.all(), positions=stood.positions, fills=self._fills)
        world.state, world.session = TradingState(stood.state), SessionState(stood.session)
        world.feed_connected, world.feed_reason = stood.feed
        world.blinded.update(stood.blinded)
        world.frozen_by_books.update(stood.frozen_by_books)
        world.broker_funds, world.data, world.canary = stood.funds, stood.data, stood.canary
        for tick in stood.ticks:
            world.see(tick)
            engine.portfolio.mark(tick.instrument, tick.price)
        engine.gate.restore(stood.gate)
        known = {one.key: one for one in self._instruments()}
        engine.targets.restore(known.get)
        for name, due in stood.timers.items():
            engine.timers.set(name, due)
        enabled = _settings(stood.strategies)
        world.windows = trading_day.entry_windows(stood.day, enabled)
        trading_day.restrict(self._house, stood.day)
        world.open_day(stood.names)
        runs, _ = make_runs(enabled, stood.names, self.config.settings.protect.distance_pct)
        self._warm_up(runs, stood.pasts)
        engine.open_day(stood.day, runs, stood.names, resumed=stood.resumed, switches=stood.switches)
        mind_year(world, self._house.alerts, stood.day)

    def batches(self, items: Iterator[Event | Batch | Note]) -> Iterator[tuple[list[Event], list[Timer], bool]]:
        """Play what was recorded; after each batch its events, the timers that had fired in it, and whether more follow."""
        events: list[Event] = []
        timers: list[Timer] = []
        begun = False
        for item in items:
            if isinstance(item, Batch):
                if begun:
                    self._end_batch()
                yield events, timers, True
                events, timers, begun = [], [], True
                self.clock.move_to(item.at)
            elif isinstance(item, Note):
                if item.name == opening.BLOCKED:
                    continue  # known from the start
                if begun:
                    self._end_batch()
                begun = False
                self.clock.move_to(item.at)
                self._take(item)
            elif isinstance(item, Timer):
                timers.append(item)
            else:
                events.append(item)
                self.events += 1
                self.engine.process(item)
        if begun:
            self._end_batch()
        yield events, timers, False

    def _end_batch(self) -> None:
        engine = self.engine
        engine.run_timers()
        engine.settle()
        self.control.check(engine)
        if engine.timers.due("second") is not None:
            self._probe.look(self.clock.now())

    def _recorded(self, event: Event) -> None:
        if isinstance(event, Timer):
            self.fired.append(event)

    def _take(self, note: Note) -> None:
        """Do what was noted."""
        engine, day = self.engine, self.stood.day
        if note.name == opening.ENDS:
            engine.between_events(lambda: self.executor.end_of_day(note.at))
        elif note.name == rolls.SETTLED:
            finals = msgspec.convert(note.value["finals"], dict[str, Final])
            charges = Charges(load_charges(self._folder), self.stood.account.broker, self.stood.account.plan)
            engine.expiry.settle(finals, charges.exercise_tax)
            engine.settle()
        elif note.name == opening.CLOSES:
            engine.close_day(day)
            self.closed = True
        elif note.name == opening.CHANGE:
            change = msgspec.convert(note.value, Change)
            engine.between_events(lambda: self._change(change))
            mind_year(engine.world, self._house.alerts, day)
        else:
            raise DataError(
                f"the recording of {day} has a note {note.name!r} that this version does not know; use the one that recorded it"
            )

    def _change(self, change: Change) -> None:
        """Files, fields or toggles, as runtime/reload.py and runtime/tuning.py carry them out."""
        open_ = self._day_open
        if change.config:
            before = {name: self.stood.config.get(name) for name in MARKET_FILES}
            write_files(self._folder, change.config)
            trading_day.restrict(self._house, self.clock.now().date())
            if any(change.config.get(name) != text for name, text in before.items()):
                reload.go_by(self.engine, self.calendar, self.config.calendar(self.stood.account.kind), open_)
            self.stood = msgspec.structs.replace(self.stood, config=change.config)
        after = _settings(change.after)
        made = {name: after[name] for name in change.made}
        runs: list[Run] = []
        if open_ is not None and made:
            world = self.engine.world
            world.names = {**world.names, **change.names}
            runs, _ = make_runs(made, change.names, self.config.settings.protect.distance_pct)
            self._warm_up(runs, change.pasts)
        plan = Plan(
            _settings(change.files), change.toggles, _settings(change.before), after, change.made, change.retired,
            {name: {} for name in change.facts},
        )  # fmt: skip
        roster: Any = SimpleNamespace(files={}, toggles={})
        Tuning(self._house, roster).carry_out(plan, runs, change.names)

    @property
    def _day_open(self) -> date | None:
        return self.stood.day if self.engine.timers.due("second") is not None else None

    def _warm_up(self, runs: Sequence[Run], pasts: Sequence[Past]) -> None:
        known = {(past.strategy, past.logical): past for past in pasts}
        for run in runs:
            past = known.get((run.strategy.name, run.strategy.logical))
            if past is None:
                raise DataError(
                    f"the recording does not have what {run.strategy.name} on {run.strategy.logical or 'its instruments'} had heard"
                )
            play(run, past.history, past.saved, self.stood.day, self.calendar, self.engine.world)

    def _instruments(self) -> Iterator[Instrument]:
        stood = self.stood
        yield from (order.instrument for order in stood.orders)
        yield from (position.instrument for position in stood.positions)
        yield from (tick.instrument for tick in stood.ticks)
        yield from (one for switch in stood.switches.values() for one in (switch.today, switch.after) if one is not None)
        yield from stood.targets
        yield from stood.names.values()


class _Noted:
    """What was changed while the day ran comes as notes; the commands that asked for it do nothing here."""

    def take(self, engine: Engine, command: object) -> None:
        return None

    def toggle(self, engine: Engine, command: object) -> None:
        return None

    def check(self, engine: Engine) -> None:
        return None


def _blocked(start: Start, ledger: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """The calls into strategies that took too long by the wall's clock, which no event tells: their number, and what was said."""
    if not any(entry["kind"] == "strategy_stopped" for entry in ledger):
        return {}
    notes = (item for item in start.items() if isinstance(item, Note) and item.name == opening.BLOCKED)
    return {note.value["call"]: note.value["why"] for note in notes}


def _settings(given: Mapping[str, Mapping[str, Any]]) -> dict[str, StrategySettings]:
    return {name: StrategySettings.model_validate(dict(one)) for name, one in given.items()}


def _unknown(name: str) -> Instrument:
    raise DataError(f"what {name} meant that day is not known any more: its instrument snapshot is gone")


# --- comparing ----------------------------------------------------------------------------------------------------------------------


def _of_this_process(entries: Sequence[Mapping[str, Any]], since: int, until: int | None) -> list[dict[str, Any]]:
    """The decisions journalled from one opening on, by the process that opened; and of that day alone."""
    found = []
    for entry in entries:
        if entry["seq"] <= since:
            continue
        if entry["kind"] == "started" or (until is not None and entry["seq"] >= until):
            break
        if entry["kind"] in DECISIONS:
            found.append({name: value for name, value in entry.items() if name != "seq"})
        if entry["kind"] == "day_closed":
            break
    return found


def _compare(player: Player, start: Start, ledger: Sequence[dict[str, Any]], outcome: _Outcome, *, last: bool) -> None:
    """Play one start beside what the ledger has of it, up to the first difference."""
    player.open()
    taken, place = 0, 0
    recent: deque[str] = deque(maxlen=BEFORE)
    for events, timers, more in player.batches(start.items()):
        recent.extend(_shown(event) for event in events[-BEFORE:])
        recent.extend(f"timer {timer.name} due {timer.due:%H:%M:%S}" for timer in player.fired[-1:])
        fired = [(timer.name, timer.due) for timer in player.fired]
        expected = [(timer.name, timer.due) for timer in timers]
        player.fired.clear()
        for at, kind, data in player.store.since(taken):
            if kind not in DECISIONS:
                continue
            made = entry(at, kind, data)
            if place < len(ledger):
                if not _same(ledger[place], made):
                    missing = any(_same(later, made) for later in ledger[place + 1 : place + 1 + AHEAD])
                    outcome.difference = _difference(place, ledger[place], None if missing else made, recent)
                    break
            elif last and player.closed:
                outcome.difference = _difference(place, None, made, recent)
                break
            place += 1
        taken = player.store.written
        if outcome.difference is None and fired != expected and (more or player.closed):  # else it died in this batch
            now, text = player.clock.now(), f"timers {_timers(expected)} fired in the record, and {_timers(fired)} in the replay"
            if place < len(ledger) and datetime.fromisoformat(ledger[place]["at"]) <= now:  # what they come of: it was decided, and now not
                outcome.difference = _difference(place, ledger[place], None, recent)
                outcome.difference["text"] += f"; {text}"
            else:
                outcome.difference = {"at": str(now), "text": text, "recorded": None, "replayed": None, "fields": {},
                                      "after": list(recent)}  # fmt: skip
        if outcome.difference is not None:
            break
    if outcome.difference is None and place < len(ledger):
        outcome.difference = _difference(place, ledger[place], None, recent)
    beyond = place - len(ledger)
    if outcome.difference is None and beyond > 0:
        outcome.note(f"{beyond} decisions of the last moments were recorded and never reached the ledger: the process ended")
    outcome.events += player.events
    outcome.decisions += min(place, len(ledger))
    outcome.fills += sum(entry["kind"] == "fill" for entry in ledger[:place])
    outcome.closed = player.closed


def entry(at: datetime, kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """A journal entry as the ledger would give it back."""
    return {"at": at.isoformat(), "kind": kind} | {
        name: value for name, value in msgspec.json.decode(msgspec.json.encode(data)).items() if name not in ("seq", "at", "kind")
    }


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return not _fields(one, other)


def _fields(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Name -> [recorded, replayed] of each field that differs."""
    found = {}
    for name in dict.fromkeys([*one, *other]):
        left, right = one.get(name), other.get(name)
        if name == "at" and datetime.fromisoformat(str(left)) == datetime.fromisoformat(str(right)):
            continue
        if left != right:
            found[name] = [left, right]
    return found


def _difference(number: int, recorded: Mapping[str, Any] | None, replayed: Mapping[str, Any] | None, recent: deque[str]) -> dict[str, Any]:
    at = (recorded or replayed or {}).get("at")
    if recorded is not None and replayed is not None:
        fields = _fields(recorded, replayed)
        words = "; ".join(f"{name} {left!r} -> {right!r}" for name, (left, right) in fields.items())
        text = f"decision {number + 1} at {at}: recorded {_said(recorded)}, replayed {_said(replayed)} ({words})"
    elif recorded is not None:
        fields, text = {}, f"decision {number + 1} at {at}: recorded {_said(recorded)}, and not taken in the replay"
    else:
        fields, text = {}, f"decision {number + 1} at {at}: {_said(replayed or {})} in the replay, and not in the ledger"
    return {"at": at, "text": text, "recorded": recorded, "replayed": replayed, "fields": fields, "after": list(recent)}


def _said(entry: Mapping[str, Any]) -> str:
    """An entry in a few words."""
    names = ("strategy", "instrument", "side", "quantity", "price", "limit_price", "target", "state", "rule", "why", "reason")
    return " ".join([str(entry.get("kind")), *(f"{entry[name]}" for name in names if entry.get(name) not in (None, ""))])


def _shown(event: Event) -> str:
    text = f"{type(event).__name__} at {event.at:%H:%M:%S.%f}"
    for name in ("instrument", "price", "broker_order_id", "state", "order_id", "outcome", "name", "reason"):
        value = getattr(event, name, None)
        if value not in (None, ""):
            text += f" {value.key if isinstance(value, Instrument) else str(value)}"
    return text


def _timers(fired: Sequence[tuple[str, datetime]]) -> str:
    return ", ".join(f"{name} ({due:%H:%M:%S})" for name, due in fired) or "none"


def _day(at: str) -> date:
    return datetime.fromisoformat(at).date()
