"""One seed, one trading day: the daemon's loop, engine, desk, gate, reconciliation, square-off, recovery and SQL ledger in virtual time.

Simulated are the clock, the wire and the broker behind it; everything of ours between a price and an order call is what `main.py run`
builds. A `kill -9` drops the process with all it had not committed, and another one starts on the same folder.
"""

import gzip
import hashlib
import importlib
import os
import random
import re
import shutil
import sqlite3
import tempfile
import time as wall_time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy
from sqlalchemy import event

from brokers.day_session import DaySession
from brokers.spec import Announce, Audit, Endpoints, FeedTransport, Lookup, Put, Session, Spec
from core.errors import NiyamError
from core.events import Command
from core.market import Calendar
from core.ports import Broker, Clock, CredentialStore, Feed
from core.types import Account, AccountKind, Order, OrderState, Purpose, SessionState
from data_ingestion.instruments import InstrumentStore
from runtime import account_run
from runtime.data_desk import Door
from runtime.inbox import Inbox
from runtime.options import RunOptions
from runtime.sources import Sources
from runtime.state_folder import RunFolder
from runtime.wiring import House, build
from simulators.exchange import Exchange
from simulators.faults import Faults
from simulators.wire import Request
from simulators.world import World
from storage.store import open_reader, open_store
from tests.simulation import wire
from tests.simulation.client import Login, SimBroker, SimFeed, SimSession
from tests.simulation.faults import Fault, Plan
from tests.simulation.market import DAY, KEYS, WaveMarket, clock, facts
from tests.simulation.personality import PERSONALITIES, Personality, drawn, stops_at_broker
from tests.simulation.venue import Venue
from tests.simulation.virtual import Killed, VirtualClock, VirtualPump
from tests.simulation.watch import Enough, Watch
from utils import config_loader
from utils.config_loader import CONFIG_FOLDER, Config
from utils.config_schema import StrategySettings
from utils.pacing import Budget

KIND = AccountKind.PRACTICE_LIVE
LAST = clock("15:55:00")
ABSENT = re.compile(r"`absent (\w+) --confirm`")
WIRED = 7  # of twenty days, the one on which the real client speaks over an in-memory wire
DUMPS = {  # where each broker keeps its instruments
    "zerodha": "/instruments",
    "angelone": "/OpenAPI_File/files/OpenAPIScripMaster.json",
    "upstox": "/market-quote/instruments/exchange/complete.json.gz",
    "icici": "/MotherAppMaster/SecurityMaster.zip",
    "groww": "/instruments/instrument.csv",
}
COMES = 0.75  # of the days, those on which a person looks for an order when told to
DISK = {"store_locked": "database is locked", "store_full": "database or disk is full", "store_io": "disk I/O error"}
Parts = Mapping[str, type]
"""Planted bugs: a part (`desk`, `gate`, `portfolio`, `square_off`, `reconciliation`, `store`) -> a subclass that lacks a rule."""


@dataclass
class Result:
    """How one day went."""

    seed: int
    violations: list[str]
    digest: str
    faults: list[str]
    broker: str
    journal: list[str] = field(default_factory=list)
    orders: int = 0
    starts: int = 0
    struck: Mapping[str, int] = field(default_factory=dict)
    cpu_s: float = 0.0


class Silent:
    """A notifier that keeps what a person was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.hear: Callable[[str, str], None] = lambda title, text: None

    def send(self, level: str, title: str, text: str) -> None:
        self.told.append((level, title, text))
        self.hear(title, text)


class SimDaemon(account_run.AccountRun):
    """The real daemon's days, without its signals, sockets, screen and housekeeping."""

    def __init__(self, house: House, control: Any, config: Config, look: Callable[[], None], login_page: str | None) -> None:
        self._options = RunOptions(config.folder, house.run.path, days=1)
        self._config = config
        self._account = house.account
        self._folder = house.run
        self._continues = False
        self._opened = False
        self._stopping = ""
        self._house, self._control = house, control
        self._sources = Sources(house.clock, house.inbox, house.pump, Door(NoSecrets(), login_page=login_page))  # type: ignore[arg-type]
        self._attend()
        self._look = look

    def live(self) -> None:
        """From recovery to the end of the day."""
        self._journal_start()
        self._trade_days()
        self._house.store.close()  # as the process's own end does

    def _publish(self, *, force: bool = False) -> None:
        self._look()

    def _show_report(self, day: object) -> None:
        return None


class Loaded(Config, frozen=True):
    """A configuration that reads its calendar once for all days of a process."""

    def calendar(self, kind: AccountKind) -> Calendar:
        return _calendar(kind)


@cache
def _calendar(kind: AccountKind) -> Calendar:
    return config_loader.load(CONFIG_FOLDER).calendar(kind)


class NoSecrets:
    def get_secret(self, name: str) -> str:
        return name


@cache
def assets() -> tuple[Config, Path]:
    """The configuration, and a folder with an empty ledger, made once for each process."""
    config = Loaded(**msgspec.structs.asdict(config_loader.load(CONFIG_FOLDER)))
    folder = Path(tempfile.mkdtemp(prefix="niyam-simulation-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    store = open_store(f"sqlite:///{folder}/ledger.sqlite")
    store.put("tags", "ledger", "SEED")  # else drawn by chance
    store.close()
    return config, folder


@cache
def instruments_of(broker: str) -> None:
    """The day's instruments as this broker's simulator dumps them, made once for each process."""
    config, folder = assets()
    known = facts()
    market = WaveMarket(0, known)
    world = World(market, Exchange(market, known, 0, broker=broker), clock("08:40"))
    simulator = importlib.import_module(f"simulators.{broker}").build(world, Faults(), 0, wire.REDIRECT)
    answer = simulator.handle(Request("GET", DUMPS[broker], headers={"user-agent": "niyam"}), clock("08:45"))

    class Dump:
        def instruments(self) -> bytes:
            body: bytes = answer.body
            return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body

    InstrumentStore(folder / "instruments", config.calendar(KIND), broker).update(Dump(), PERSONALITIES[broker].spec, DAY, clock("08:45"))


def strategies_of(chance: random.Random) -> dict[str, StrategySettings]:
    """The day's strategies: several, of different pace and horizon, two of them on one instrument."""

    def one(
        class_: str, instrument: str, interval: int, size: Mapping[str, int], horizon: str = "intraday", **params: Any
    ) -> StrategySettings:
        risk = {"stop_pct": chance.choice((0.2, 0.4, 1.0))}
        return StrategySettings.model_validate(
            {"class": class_, "instruments": [instrument], "interval": f"{interval}m", "params": params, "size": dict(size),
             "horizon": horizon, "risk": risk}
        )  # fmt: skip

    def cross(instrument: str, size: Mapping[str, int], horizon: str = "intraday") -> StrategySettings:
        fast = chance.randint(1, 4)
        return one(
            "sma_cross", instrument, chance.choice((1, 3, 5, 5, 15)), size, horizon, fast=fast, slow=fast + chance.randint(2, 9),
            both_ways=chance.random() < 0.6,
        )  # fmt: skip

    chosen = {
        "future": cross("NIFTY_FUT", {"lots": chance.choice((1, 2, 30))}),
        "share": cross("RELIANCE", {"quantity": chance.choice((50, 400, 1500))}),
    }
    if chance.random() < 0.5:
        chosen["small"] = cross("VSTIND", {"quantity": chance.choice((100, 2000))})
    if chance.random() < 0.4:
        chosen["rival"] = cross("NIFTY_FUT", {"lots": 1})
    if chance.random() < 0.3:
        chosen["carry"] = cross("RELIANCE", {"quantity": 100}, "carry")
    return chosen


class Day:
    """One seed's world, in which daemons live and die."""

    LOOKS_S = (100.0, 300.0)  # a person who is told to look for an order takes so long

    def __init__(
        self,
        seed: int,
        *,
        plant: Parts | None = None,
        only: Sequence[str] | None = None,
        plan: Plan | None = None,
        begins: str = "08:58",
        broker: str | None = None,
        protect: bool | None = None,
    ) -> None:
        """`plan`, `broker` and `protect` (stops at the broker) instead of what the seed draws; `begins`: when the first process starts."""
        self.seed = seed
        self.plant = plant or {}
        self.broker: Personality = PERSONALITIES[broker] if broker is not None else drawn(seed)
        self.account = Account("simulated", KIND, self.broker.name, 20_000_000.0)
        self.clock = VirtualClock(clock(begins))
        self.plan = plan or Plan(seed, only)
        self.chance = random.Random(f"day {seed}")
        self.venue = Venue(seed, self.clock, self.plan, facts(), self.broker)
        self.login = Login()
        wired = seed % 20 == WIRED
        self.simulator = wire.simulator(self.broker, seed, self.venue, self.clock.true) if wired else None
        if self.simulator is not None:
            self.venue.simulator = self.simulator.advance
            self.venue.order_id = self.broker.order_id
            self.venue.token_died = self._token_died
        self.notifier = Silent()
        self.person = random.Random(f"person {seed}")
        if self.person.random() < COMES:
            self.notifier.hear = self._told
        config, shared = assets()
        instruments_of(self.broker.name)
        caps = config.risk.model_copy(
            update={"max_daily_loss": self.chance.choice((25_000.0, 200_000.0, 2_000_000.0)), "max_order_value": 1e8 if seed % 2 else 3e6,
                    "max_instrument_value": 2e8, "max_strategy_exposure": 2e8, "max_gross_exposure": 4e8}
        )  # fmt: skip
        self.protects = stops_at_broker(seed) if protect is None else protect
        stops = config.settings.protect.model_copy(update={"by": "broker" if self.protects else "engine"})
        settings = config.settings.model_copy(update={"protect": stops})
        self.config = msgspec.structs.replace(config, settings=settings, risk=caps, strategies=strategies_of(self.chance))
        self.folder = RunFolder(Path(tempfile.mkdtemp(prefix=f"day-{seed}-", dir=shared)))
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                shutil.copy(shared / f"ledger.sqlite{suffix}", self.folder.path)
        self.folder.instruments.symlink_to(shared / "instruments")
        self.house: House | None = None
        self.session: Session | None = None
        self.starts = 0
        self.commits = 0
        self.watch = Watch(self.clock, self.venue, self.plan, self.notifier)
        self.venue.logged_in = self._logged_in
        self.venue.busy = self._busy
        self._begin_faults()

    # --- the day ------------------------------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        began = wall_time.process_time()
        try:
            while self.clock.true < LAST:
                try:
                    self._live()
                    break
                except Killed:
                    self._bury("killed")
                    self._rest(self._downtime())
                except NiyamError as error:
                    if self.house is not None and self.house.engine.timers.due("second") is not None:
                        raise  # the day was open: nothing may end the process then
                    self._bury(f"did not start: {error}")
                    self._rest(5.0)
        except Enough:
            pass
        except Exception as error:
            self.watch.enough = ""
            self.watch.violation("CRASH", f"{type(error).__name__}: {error}")
            if os.environ.get("NIYAM_SIMULATION_TRACE"):
                raise
        finally:
            self._bury("the day is over")
        journal = self._journal()
        digest = hashlib.sha256(b"\n".join(msgspec.json.encode(entry) for entry in journal)).hexdigest()
        shutil.rmtree(self.folder.path)
        struck = {fault.kind: fault.struck for fault in self.plan.faults}
        lines = [_line(entry) for entry in journal]
        return Result(
            self.seed, self.watch.violations, digest, [str(fault) for fault in self.plan.faults], self.broker.name, lines,
            orders=sum(1 for order in self.venue.account.orders.values() if order.tag), starts=self.starts, struck=struck,
            cpu_s=wall_time.process_time() - began,
        )  # fmt: skip

    def _live(self) -> None:
        """One process, from its start to the end of the day or to its death."""
        self.starts += 1
        inbox = Inbox()
        self.house = None
        pump = VirtualPump(inbox, self.clock, self._lazy)
        with self._ledger_faults():
            house, control = build(
                account=self.account,
                config=self.config,
                run=self.folder,
                clock=self.clock,
                inbox=inbox,
                pump=pump,
                credentials=NoSecrets(),
                endpoints=wire.endpoints(self.simulator) if self.simulator is not None else None,
                ledger_url=self.folder.ledger_url,
                notifier=self.notifier,
                answer=lambda *answer: None,
                spec=self._spec(),
            )
            for name, kind in self.plant.items():
                part = {"store": house.store, "world": house.engine.world}.get(name) or getattr(house.engine, name)
                part.__class__ = kind
            self.house = house
            self.venue.instruments = {key: house_instrument(house, key) for key in KEYS}
            self.watch.begin(house)
            assert house.broker_worker is not None
            for worker in (house.broker_worker.orders, house.broker_worker.reads, house.downloads):
                self.clock.spawn(worker.run)
            page = None
            if isinstance(self.session, DaySession):
                assert self.simulator is not None
                page = wire.endpoints(self.simulator).login
                if self.session.expires_at() is not None and self.session.state() is SessionState.LOGIN_REQUIRED:
                    self._logged_in()
            SimDaemon(house, control, self.config, self.watch.look, page).live()

    def _bury(self, why: str) -> None:
        """The process is gone, with everything that was not committed."""
        house, self.house = self.house, None
        self.venue.hear = self.venue.struck = None
        self.clock.kill()
        self.session = None
        self.watch.end(why)
        if house is not None:
            house.store._drop()
            house.emergency.close()
            house.recorder.swap(None)
            house.audit.close()

    def _rest(self, seconds: float) -> None:
        """Nobody has started it again yet."""
        until = self.clock.true + timedelta(seconds=seconds)
        while self.clock.true < until:
            self.clock.step(until)

    def _downtime(self) -> float:
        if any(fault.kind == "kill_long" and fault.values.pop("fresh", False) for fault in self.plan.faults):
            return self.chance.uniform(120, 900)
        return self.chance.uniform(1, 40)

    def _busy(self) -> bool:
        """Whether orders are under way, something does not agree, or something has just happened at the exchange."""
        house = self.house
        if house is None:
            return False
        stirred = (self.clock.true - self.venue.stirred).total_seconds() < 30
        under_way = any(
            one.purpose is not Purpose.PROTECT or one.state is not OrderState.TRIGGER_PENDING for one in house.engine.desk.live()
        )
        return stirred or under_way or self.watch.restless

    def _lazy(self, wake: datetime) -> datetime:
        """While nothing is under way and no fault is near, the engine's whole seconds and its regular reads may come late."""
        house = self.house
        if house is None:
            return wake
        timers, now, every = house.engine.timers, self.clock.now(), timedelta(seconds=self.broker.pace_s)
        due = timers.due("books")
        if self.venue.busy() or self.plan.near(self.clock.true, 70):
            if due is not None and due > now + every:
                timers.set("books", now + every)
            return wake
        if due is not None and due < now + 2 * every:
            timers.set("books", now + 8 * every)
        others = [due for name, due in timers._due.items() if name != "second"]
        return max(wake, min([*others, wake + timedelta(seconds=60)]))

    # --- what it is built of --------------------------------------------------------------------------------------------------------------

    def _spec(self) -> Spec:
        day = self

        def make_session(
            account: str, credentials: CredentialStore, clock: Clock, token_file: Path, endpoints: Endpoints, announce: Announce
        ) -> Session:
            if day.simulator is not None:
                day.session = real = wire.make_session(day.broker, account, day.clock, token_file, announce, day._origin([]))
                return real
            day.session = SimSession(account, day.clock, day.login, announce, day._renew if day.broker.renews else None)
            return day.session

        def make_broker(
            session: Session, clock: Clock, budget: Budget, audit: Audit | None, endpoints: Endpoints, lookup: Lookup
        ) -> Broker:
            if isinstance(day.session, DaySession):
                day.watch.calls = []
                return wire.make_broker(day.broker, day.session, day.clock, budget, lookup, day._origin(day.watch.calls))
            assert isinstance(day.session, SimSession)
            broker = SimBroker(day.seed, day.session, day.clock, budget, day.venue, day.plan)
            day.watch.calls = broker.calls
            return broker

        def make_feed(
            account: str, session: Session, clock: Clock, put: Put, endpoints: Endpoints, lookup: Lookup, transport: FeedTransport,
            in_hours: Callable[[], bool], *, stale_after_s: float = 5.0,
        ) -> Feed:  # fmt: skip
            assert day.session is not None
            return SimFeed(day.seed, account, day.session, day.clock, put, day.venue, day.plan)

        return replace(self.broker.spec, make_session=make_session, make_broker=make_broker, make_feed=make_feed)

    def _origin(self, calls: list[datetime]) -> wire.MemoryOrigin:
        assert self.simulator is not None
        chance = random.Random(f"wire {self.seed} {self.clock.true}")
        return wire.MemoryOrigin(self.clock, self.broker, self.simulator, self.venue, self.plan, chance, calls)

    def _token_died(self) -> None:
        assert self.simulator is not None
        self.simulator._kill_tokens()

    def _renew(self) -> None:
        """A stored secret logs in again by itself, if the broker can be reached and its window of refusals is over."""
        if self.chance.random() < 0.5:
            self.clock.after(self.chance.uniform(0.5, 3.0), self.venue.another_token)

    def _logged_in(self) -> None:
        """A person has logged in, or does so now."""
        self.login.token, self.login.refused = self.venue.token, ""
        session = self.session
        if isinstance(session, DaySession):
            assert self.simulator is not None
            page = wire.endpoints(self.simulator).login
            self.clock.spawn(lambda: wire.log_in(session, self.clock, page))
        elif session is not None:
            session.state()

    # --- faults of the process, its disk, its clock and its people ------------------------------------------------------------------------

    def _begin_faults(self) -> None:
        for fault in self.plan.faults:
            begins, ends = self._doings(fault)
            if begins is not None:
                self.clock.at(fault.start, begins)
            if ends is not None:
                self.clock.at(fault.end, ends)

    def _doings(self, fault: Fault) -> tuple[Callable[[], None] | None, Callable[[], None] | None]:
        """What a fault does to the process at its start and at its end."""
        match fault.kind:
            case "kill" | "kill_at_square_off" | "kill_long":
                return lambda: self._kill(fault), None
            case "suspend":
                return lambda: self._suspend(fault), None
            case "clock_ahead" | "clock_back":
                by = timedelta(seconds=fault.chance.choice((1.0, 2.5, 4.0, 20.0)) * (1 if fault.kind == "clock_ahead" else -1))
                return lambda: self._skew(by), lambda: self._skew(-by)
            case "command_square_off":
                return lambda: self._command(fault, "square-off"), None
            case "command_kill" | "command_pause":
                return lambda: self._command(fault, fault.kind.removeprefix("command_")), lambda: self._command(fault, "resume")
        return None, None

    def _kill(self, fault: Fault) -> None:
        if self.house is None:
            return
        fault.struck += 1
        fault.values["fresh"] = True
        raise Killed

    def _suspend(self, fault: Fault) -> None:
        fault.struck += 1
        self.clock.stopped_until = fault.end

    def _skew(self, by: timedelta) -> None:
        self.clock.skew += by

    def _command(self, fault: Fault, name: str) -> None:
        if self.house is not None:
            fault.struck += 1
            self.house.inbox.put([Command(self.clock.now(), f"{name}-{fault.start:%H%M%S}", name, {"confirm": True})], "control")

    def _told(self, title: str, text: str) -> None:
        """A person who is told to look for an order does so a few minutes later."""
        asked = ABSENT.search(text)
        if title == "Look for an order" and asked is not None:
            self.clock.after(self.person.uniform(*self.LOOKS_S), lambda: self._look_for(asked[1], 3))

    def _look_for(self, tag: str, tries: int) -> None:
        """It is not at the broker's terminal, which shows what is true: the engine is told; again where it was too early for that."""
        if tries == 0 or self.house is None or any(order.tag == tag for order in self.venue.account.orders.values()):
            return
        self.house.inbox.put([Command(self.clock.now(), f"absent-{tag}", "absent", {"tag": tag, "confirm": True})], "control")
        self.clock.after(30.0, lambda: self._look_for(tag, tries - 1))

    @contextmanager
    def _ledger_faults(self) -> Iterator[None]:
        """Every statement of a ledger of this process passes the plan's disk, at the database driver itself."""
        day = self

        class Disk(sqlite3.Connection):
            def execute(self, sql: str, values: Any = (), /) -> sqlite3.Cursor:
                day._before(sql)
                done = super().execute(sql, values)
                if sql == "COMMIT":
                    day._committed()
                return done

        def connect(dialect: Any, record: Any, arguments: Any, options: dict[str, Any]) -> None:
            options["factory"] = Disk

        event.listen(sqlalchemy.Engine, "do_connect", connect)
        try:
            yield
        finally:
            event.remove(sqlalchemy.Engine, "do_connect", connect)

    def _before(self, sql: str) -> None:
        plan, now = self.plan, self.clock.true
        if sql == "COMMIT":
            self._maybe_kill("before")
        for kind, says in DISK.items():
            fault = plan.active(kind, now)
            if fault is not None and (kind != "store_io" or fault.chance.random() < 0.5):
                fault.struck += 1
                raise sqlite3.OperationalError(says)

    def _committed(self) -> None:
        self.commits += 1
        self._maybe_kill("after")
        if self.plan.strike("commit_unsure", self.clock.true):
            raise sqlite3.OperationalError("disk I/O error")

    def _maybe_kill(self, where: str) -> None:
        fault = self.plan.active("kill_at_commit", self.clock.true)
        if fault is None or self.house is None:
            return
        if "at" not in fault.values:
            fault.values.update(at=self.commits + fault.chance.randint(0, 12), where=fault.chance.choice(("before", "after")))
        if self.commits >= fault.values["at"] and fault.values["where"] == where:
            self.plan.strike("kill_at_commit", self.clock.true)
            raise Killed

    # --- the record -----------------------------------------------------------------------------------------------------------------------

    def _journal(self) -> list[dict[str, Any]]:
        """The day's journal, judged against the tables beside it."""
        reader = open_reader(self.folder.ledger_url)
        try:
            journal = reader.read_journal()
            with suppress(Enough):
                self.watch.replay(journal, reader)
                self.watch.finish(journal)
        finally:
            reader.close()
        return journal


def _line(entry: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in entry.items() if name not in ("seq", "at", "kind")}
    return f"{entry['seq']} {entry['at'][11:23]} {entry['kind']} {rest}"


def house_instrument(house: House, key: str) -> Any:
    snapshot = house.instruments.open(DAY)
    assert snapshot is not None
    found = snapshot.by_key(key)
    assert found is not None, key
    return found


def run_seed(
    seed: int,
    *,
    plant: Parts | None = None,
    only: Sequence[str] | None = None,
    enough: str = "",
    broker: str | None = None,
    protect: bool | None = None,
) -> Result:
    """Play the day of one seed. `plant`: parts of the engine with a bug; `only`, `broker`, `protect`: these faults, this broker, and
    whether stops stand at it, instead of what is drawn; `enough`: the invariant whose first violation ends the day."""
    day = Day(seed, plant=plant, only=only, broker=broker, protect=protect)
    day.watch.enough = enough
    return day.run()


__all__ = ["Day", "Order", "Result", "run_seed"]
