"""One account in the daemon: its engine on one thread, day after day. It starts by recovering, ends in order, and dies without losing
anything."""

import math
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from loguru import logger

from core.clock import SystemClock
from core.events import Command
from core.types import PRACTICE_KINDS, Account, SessionState, Snapshot
from execution_engine import snapshots
from execution_engine.broker_worker import DATA
from execution_engine.call_watch import CallWatch
from runtime import day as trading_day
from runtime import notifier, opening, readout, recovery, report, sources, state_folder
from runtime.brokerage import Brokerage
from runtime.circuits import CircuitWatch
from runtime.control_socket import ControlSocket
from runtime.errands import Errands
from runtime.hang_alarm import HangAlarm
from runtime.lines import Lines
from runtime.market_doubts import SessionProbe, mind_year, trades_on_a_holiday
from runtime.options import RunOptions
from runtime.postbacks import Postbacks
from runtime.reload import Reload
from runtime.roster import Roster
from runtime.scheduler import Job, Scheduler, daily_jobs
from runtime.sources import Sources
from runtime.state_folder import RunFolder
from runtime.tuning import Tuning
from runtime.wiring import build
from storage.store import SqlReader, open_reader
from strategies import registry as strategies
from utils import config_loader
from utils.config_loader import Config, Secrets
from utils.control import Answer

PREPARE_AT = time(8, 45)  # IST: after the brokers' dumps are made (about 08:30), before the pre-open
LOGIN_LOOK = timedelta(seconds=2)  # how often a missing login is looked for
AFTER_CLOSE = timedelta(minutes=2)  # for the last rows of the day
PUBLISH_S = 0.2
STORE_SNAPSHOT_S = 5.0
OUTCOME_S = 120.0  # how long a command waits for its outcome


@dataclass(frozen=True, slots=True)
class Entered:
    """An account and the folder its daemon works in; `continues`: an earlier process began the run."""

    account: Account
    folder: RunFolder
    continues: bool


class AccountRun:
    """One run of one account. Its thread is the engine's; everything that it shares with other accounts of the process is given to it."""

    leads = True
    """Whether strategies that name no account are its: those of the account in use."""

    def __init__(
        self, options: RunOptions, config: Config, entered: Entered, found: Sources, *, leads: bool = True, lines: Lines | None = None
    ) -> None:
        account, folder = entered.account, entered.folder
        self._options = options
        self._config = config
        self._folder = folder
        self._continues = entered.continues
        self._account = account
        self.leads = leads
        self.failed = False
        self.notify: Callable[[str], None] = lambda text: None  # systemd's, where the process has one
        self.others: Callable[[], list[dict[str, Any]]] = list
        self.before_last_words: Callable[[], None] = lambda: None
        self._stopping = ""
        self._opened = entered.continues  # whether anything has begun that a next run must go on with
        self._snapshot: Snapshot | None = None
        self._published_at = self._stored_at = -math.inf
        self._unrecorded = ""
        self._wall = SystemClock()
        self._answers: dict[str, tuple[threading.Event, list[Answer]]] = {}
        self._notifier = notifier.from_settings(config.settings.alerts, Secrets(), account.name)
        self._sources = found
        self._house, self._control = build(
            account=account,
            config=config,
            run=folder,
            clock=self._sources.clock,
            inbox=self._sources.inbox,
            pump=self._sources.pump,
            credentials=self._sources.door.credentials,
            endpoints=self._sources.door.endpoints,
            data_door=self._sources.data_door,
            ledger_url=_ledger_url(config, folder, account),
            notifier=self._notifier,
            answer=self._on_answer,
            lines=lines,
        )
        self._house.engine.world.data = sources.label(self._sources, options)
        self._attend()
        self._house.pump.beat = lambda: self.notify("WATCHDOG=1")
        calls = self._house.engine.hearing.calls = CallWatch(self._wall.monotonic)
        calls.blocked = lambda count, why: self._house.recorder.note(opening.BLOCKED, self.now(), {"call": count, "why": why})
        self._hang_alarm = HangAlarm(calls, self._notifier)
        self._scheduler = Scheduler(self._housekeeping(), self._notifier)
        self._socket = ControlSocket(folder.control_socket, lambda: self._snapshot, self._submit, self._read)

    def _attend(self) -> None:
        """Make what looks after the house while its days run."""
        house = self._house
        self._roster, self._reload = self._changes()
        self._control.changes = self._reload
        self._errands = Errands(house.downloads, house.pump.poke)
        self._probe = SessionProbe(house.engine.world, house.alerts, self._config.settings.feed.first_tick_minutes)
        self._circuits = CircuitWatch(house.data, house.downloads, house.inbox, house.clock.now, house.tick_filter)

    def now(self) -> datetime:
        """The market's time of this run."""
        return self._house.clock.now()

    @property
    def account(self) -> Account:
        return self._account

    @property
    def folder(self) -> RunFolder:
        return self._folder

    @property
    def snapshot(self) -> Snapshot | None:
        """The engine's latest published state."""
        return self._snapshot

    @property
    def resumable(self) -> bool:
        """Whether the next run goes on with this one: it began a day and did not come to its end."""
        return not self._folder.ended

    @property
    def row(self) -> dict[str, Any] | None:
        """What the status of every account of the process says of this one; None before it has published anything."""
        if self._snapshot is None:
            return None
        rows: Any = self._snapshot.status["accounts"]
        found = next(one for one in rows if one["account"] == self._account.name)
        return {**found, "running": not self._folder.ended and not self.failed}

    def main(self) -> None:
        """Recover, trade the days, end in order."""
        self._notifier.start()
        self._socket.start()
        self._house.downloads.start()
        if self._house.broker_worker is not None:
            self._house.broker_worker.start()
        ended = False
        try:
            self._journal_start()
            self._scheduler.start()
            self._hang_alarm.start()
            self.notify("READY=1")
            ended = self._trade_days()
        finally:
            self._close(ended)

    def end(self, why: str) -> None:
        """Ask it to end in order, when it looks; safe inside a signal handler. `poke` makes it look soon."""
        self._stopping = self._stopping or why

    def poke(self) -> None:
        """Wake its thread; safe from any thread."""
        self._house.pump.poke()

    def fail(self, error: Exception) -> None:
        """Its thread is gone: a person is told, the other accounts of the process trade on."""
        self.failed = True
        logger.opt(exception=error).critical("the account {} is down: {}", self._account.name, error)
        what = f"{self._account.name}: {type(error).__name__}: {error}"
        text = f"{what}; the other accounts trade on. Look at its positions, then restart the daemon"
        once = notifier.from_settings(self._config.settings.alerts, Secrets(), self._account.name)
        once.start()
        once.send("page", "An account is down", text)
        once.stop()
        self._house.pump.close()

    def _changes(self) -> tuple[Roster, Reload]:
        """Who trades, and who changes that and the market's facts while the day runs."""
        options, house = self._options, self._house
        roster = Roster(house, options, self._sources.manifest, leads=self.leads)
        alone = {options.strategy.stem: options.strategy} if options.strategy is not None else {}
        return roster, Reload(
            self._config,
            self._account.kind,
            house.calendar,
            Tuning(house, roster, alone),
            lambda instead: load(options, instead),
            self._on_answer,
            lambda day: trading_day.restrict(house, day),
        )

    # --- days -------------------------------------------------------------------------------------------------------------------------

    def _trade_days(self) -> bool:
        """True when the run came to its own end (its days are done, or it was asked to stop)."""
        house, done = self._house, 0
        played = self._sources.manifest
        self._roster.of_the_start()
        trading_day.can_log_in(house)
        resumed: bool | None = None  # whether an earlier process had opened the first day
        while not self._stopping:
            today = self._next_day()
            if today is None:
                break
            if resumed is None:
                resumed = recovery.from_ledger(house, today)
            if not self._rest_before(today):
                continue  # the process is asked to stop, or it may be another day
            if not self._await_login(today):
                continue  # the day is over, or the process is asked to stop
            try:
                trading_day.open_day(house, today, resumed=resumed, enabled=self._roster.enabled())
            except trading_day.NothingToTrade as error:
                if played is None:
                    raise
                raise trading_day.NothingToTrade(f"{error}\nthe data has: {_listed(played.symbols)}") from None
            resumed, self._opened = False, True
            self._folder.note(day_open=today.isoformat())
            while not self._stopping and house.clock.now() < (end := trading_day.ends_at(house, today) + AFTER_CLOSE):
                mind_year(house.engine.world, house.alerts, today)
                self._rest_until(end)
            if self._stopping:
                break
            trading_day.close_day(house, today)
            self._folder.note(day_open=None)
            self._publish(force=True)
            logger.info("the day is closed: {}", today)
            done += 1
            if self._options.days is not None and done >= self._options.days:
                self._show_report(today)
                break
        return True

    def _rest_before(self, today: date) -> bool:
        """Until the day is to be prepared; False where it is not time yet (to stop, or to look again by other market facts)."""
        begins, clock = trading_day.begins_at(today, PREPARE_AT), self._house.clock
        if clock.now() < begins and self._account.kind not in PRACTICE_KINDS:
            logger.info("the next trading day is {}; nothing is to be done before {:%H:%M}", today, begins)
        self._rest_until(begins)
        return not self._stopping and clock.now() >= begins

    def _await_login(self, today: date) -> bool:
        """The day's session. Where a person has to log in, wait (told) for as long as there is anything of today to trade."""
        house, told = self._house, set[str]()
        bounds = house.calendar.day_bounds(today, self._segments())
        while not self._stopping and bounds is not None and house.clock.now() < bounds[1]:
            missing = trading_day.log_in(house, self._sources.door.login_page)
            if missing is None:
                return True
            trading_day.ask_for_login(house, missing, told)
            self._rest_until(house.clock.now() + LOGIN_LOOK)
        if bounds is not None and house.clock.now() >= bounds[1]:
            house.store.put("engine", "closed_day", today.isoformat())
            logger.error("nobody logged in on {}: nothing was traded", today)
        return False

    def _next_day(self) -> date | None:
        """The day to trade now: today while it is not over, else the next one (within the data, when data is played)."""
        house, now = self._house, self._house.clock.now()
        closed = house.store.get("engine", "closed_day")
        day = now.date()
        if closed is not None and day <= date.fromisoformat(closed):
            day = date.fromisoformat(closed) + timedelta(days=1)
        played = self._sources.manifest
        if played is not None:
            left = [one for one in played.days if one >= day]
            return left[0] if left else None
        return trading_day.next_day(house.calendar, day, now, self._segments())

    def _segments(self) -> tuple[str, ...]:
        return trading_day.segments(self._house, self._roster.enabled())

    def _rest_until(self, until: datetime) -> None:
        """Run the engine until `until`, until somebody asks the process to stop, or until other market facts were taken up."""
        house = self._house
        engine = house.engine
        taken = self._reload.taken
        while not self._stopping and house.clock.now() < until and self._reload.taken == taken:
            events = house.pump.next(min(until, engine.wake_at()))
            with house.batch():
                for event in events:
                    engine.process(event)
                engine.run_timers()
                engine.settle()
                self._control.check(engine)
                if engine.timers.due("second") is not None:  # a day is open
                    self._probe.look(engine.clock.now())
            self._errands.begin()
            if engine.timers.due("second") is not None:
                self._circuits.look(house.watched, house.clock.now())
            self._publish()

    # --- what the outside sees and says ----------------------------------------------------------------------------------------------

    def _publish(self, *, force: bool = False) -> None:
        """A new Snapshot at most every 200 ms of wall time; stored every few seconds, so that a crash leaves a recent one."""
        wall = self._wall.monotonic()
        if not force and wall - self._published_at < PUBLISH_S:
            return
        self._published_at = wall
        made = snapshots.build(self._house.engine, list(self._house.alerts.latest), self._roster.rows(self._house.engine))
        if others := self.others():
            own: Any = made.status["accounts"]
            made = msgspec.structs.replace(made, status={**made.status, "accounts": [{**own[0], "running": True}, *others]})
        self._snapshot = made
        self.notify(f"WATCHDOG=1\nSTATUS={self._house.clock.now():%Y-%m-%d %H:%M}, {self._snapshot.status['trading_state']}")
        if force or wall - self._stored_at >= STORE_SNAPSHOT_S:
            self._stored_at = wall
            failure = self._house.recorder.flush() or (self._house.tape.failure if self._house.tape is not None else "")
            if failure and failure != self._unrecorded:
                self._house.alerts("warn", "The day is not being recorded", failure)
            self._unrecorded = failure
            self._house.store.save_snapshot(self._snapshot)
            self._house.engine.settle()

    def _submit(self, name: str, arguments: Mapping[str, Any]) -> Answer:
        """Called on a control thread: hand the command to the engine and wait for its outcome."""
        if name == "login":
            return self._log_in()
        if name == "brokerage":
            return Brokerage(self._house, self._sources.door.credentials, self._errands, self._ledger_reader).answer(arguments)
        if name == "postback":
            return Postbacks(self._house, self._sources.door.credentials).answer(arguments)
        if name == "reload":
            arguments = self._reload.read()
        if name == "retune":
            arguments = self._reload.edit(arguments)
        identity = uuid.uuid4().hex
        arrived, answers = threading.Event(), list[Answer]()
        self._answers[identity] = (arrived, answers)
        try:
            self._house.inbox.put([Command(self._house.clock.now(), identity, name, dict(arguments))], "control")
            self._house.pump.poke()
            if not arrived.wait(OUTCOME_S):
                return Answer(ok=False, text=f"{name}: no outcome within {OUTCOME_S:.0f} s; look at `status` and `journal`")
            return answers[0]
        finally:
            del self._answers[identity]

    def _log_in(self) -> Answer:
        """Take up a new token: it is in the session's file already, or a simulator approves its own login at once."""
        logins = {self._account.name: (self._house.session, self._sources.door.login_page)}
        if (desk := self._house.desk) is not None:
            logins[f"{self._account.name}'s prices ({desk.spec.name})"] = desk.session, desk.login_page
        states = {}
        for name, (session, page) in logins.items():
            if page is not None and session.state() is SessionState.LOGIN_REQUIRED:
                session.auto_login(page)
            states[name] = session.state()  # a change is announced to the engine
        self._house.pump.poke()
        text = "; ".join(f"session of {name}: {state}" for name, state in states.items())
        return Answer(ok=SessionState.LOGIN_REQUIRED not in states.values(), text=text)

    def _on_answer(self, identity: str, ok: bool, text: str, data: Any) -> None:
        waiting = self._answers.get(identity)
        self._publish(force=True)
        if waiting is not None:
            waiting[1].append(Answer(ok=ok, text=text, data=data))
            waiting[0].set()

    def _ledger_reader(self) -> SqlReader:
        return open_reader(_ledger_url(self._config, self._folder, self._account))

    def _read(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Called on a control thread: what the Snapshot does not hold, from a reader of the ledger."""
        if name == "usage" and arguments.get("day", self._today()) == self._today() and not {"from", "to"} & arguments.keys():
            return {"account": self._account.name, **self._house.usage(self._house.clock.now().date())}
        if name == "chart":
            return self._house.charts.document(arguments)
        with closing(self._ledger_reader()) as reader:
            return readout.document(reader, name, {**arguments, "account": self._account.name})

    def _today(self) -> str:
        return self._house.clock.now().date().isoformat()

    def reread(self) -> None:
        """SIGHUP: take up the files. Called on a thread of its own."""
        self._submit("reload", {})

    def _housekeeping(self) -> list[Job]:
        """The day's housekeeping of a paper or live account; a simulated day has none."""
        house = self._house
        if self._account.kind in PRACTICE_KINDS:
            return []

        def refresh() -> None:
            lists = [(house.instruments, house.listing, house.spec)]
            if (desk := house.desk) is not None:
                lists.append((desk.instruments, desk.source, desk.spec))
            for store, source, spec in lists:
                now = house.clock.now()
                job = house.downloads.submit(DATA, partial(store.update, source, spec, now.date(), now))
                house.clock.wait_for(lambda: job.done, house.clock.monotonic() + 300)  # noqa: B023 - it is waited for here
                update = job.value()
                if not update.accepted:
                    self._notifier.send("warn", "Instrument dump refused", f"{spec.title}: {update.reason}")

        def remind() -> None:
            for session in (house.session, *([house.desk.session] if house.desk is not None else [])):
                if session.state() is SessionState.LOGIN_REQUIRED:
                    self._notifier.send("page", "Login required", f"{self._account.name}: {session.login_url()}")

        def probe_holiday() -> None:
            now = house.clock.now()
            snapshot = house.instruments.open(now.date())
            index = snapshot.by_key(trading_day.KNOWN[0]) if snapshot is not None else None
            if index is None or house.session.state() is SessionState.LOGIN_REQUIRED:
                return
            job = house.downloads.submit(DATA, lambda: trades_on_a_holiday(house.listing, house.calendar, index, now))
            house.clock.wait_for(lambda: job.done, house.clock.monotonic() + 300)
            if text := job.value():
                self._notifier.send("page", "A session on a holiday", text)

        keep = self._config.settings.log.keep_days
        folders = [(self._folder.log, keep), (self._folder.recordings, keep), (self._folder.instruments, keep)]
        return daily_jobs(refresh_instruments=refresh, remind_login=remind, probe_holiday=probe_holiday, folders=folders, clock=house.clock)

    def _show_report(self, day: date) -> None:
        from runtime import tables  # rich: nothing that trading waits for

        self.before_last_words()
        document = report.build(self._house.store, account=self._account.name, day=day)
        tables.show("report", document)

    # --- start and end -----------------------------------------------------------------------------------------------------------------

    def _journal_start(self) -> None:
        house = self._house
        facts = {"account": self._account.name, "account_kind": str(self._account.kind), "config": self._config.hash,
                 "build": config_loader.running_build(), "continues": self._continues}  # fmt: skip
        house.store.journal(house.clock.now(), "started", facts)
        house.store.commit()
        logger.info("build {}, config {}", str(facts["build"])[:12], self._config.hash[:12])

    def _close(self, ended: bool) -> None:
        house = self._house
        self._scheduler.stop()
        self._hang_alarm.stop()
        self._socket.stop()
        if house.feed is not None:
            house.feed.stop()
        trading_day.end_tape(house, moving=False)
        house.downloads.stop()
        if house.broker_worker is not None:
            house.broker_worker.stop()
        if ended:
            today = house.clock.now().date()
            house.store.put("usage", today.isoformat(), house.usage(today))
            house.store.journal(house.clock.now(), "stopped", {"why": self._stopping or "the run is over", "flat": house.engine.flat})
            self._publish(force=True)
            if self._stopping:
                self.before_last_words()
                held = "flat" if house.engine.flat else "NOT flat"
                logger.info("stopped by {} at {:%Y-%m-%d %H:%M:%S}, {}", self._stopping, house.clock.now(), held)
            if not house.engine.flat and self._account.kind not in PRACTICE_KINDS:
                text = "the daemon stops with open positions or live orders; start it again, or close them at the broker's terminal"
                self._notifier.send("page", "Stopped while not flat", text)
        if ended or not self._opened:
            self._folder.finish(self._wall.now())
        house.recorder.swap(None)
        try:
            house.store.close()
        finally:  # a ledger that refuses its last commit is told, and the rest ends in order all the same
            house.emergency.close()
            try:
                house.audit.close()
            finally:
                self._notifier.stop()
                house.pump.close()


def _listed(symbols: Sequence[str], most: int = 20) -> str:
    more = f" and {len(symbols) - most} more" if len(symbols) > most else ""
    return ", ".join(symbols[:most]) + more


def load(options: RunOptions, instead: Mapping[Path, str] | None = None) -> Config:
    """The configuration this run is started with, and what it takes up later."""
    return config_loader.load(options.config, strategy=options.strategy, check_strategy=_check_strategy, instead=instead)


def _check_strategy(name: str, params: Mapping[str, Any]) -> object:
    return strategies.params_of(name).parse(params)


def _ledger_url(config: Config, folder: RunFolder, account: Account) -> str:
    return state_folder.ledger_url(folder, account.kind, config.settings.database.url, Secrets())
