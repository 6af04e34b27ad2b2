"""The composition root: the one place that picks concretes. It builds the house of one account; it decides nothing about trading."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple, cast

import msgspec
from loguru import logger

from brokers import registry
from brokers.feed_pair import FeedPair, OrdersAlone, Prices, updates_alone
from brokers.spec import Endpoints, Put, Session, Spec
from core.clock import HeldClock, SystemClock
from core.errors import BrokerError, ConfigError, DataError, StoreError
from core.events import Command, Event, History
from core.market import Calendar
from core.ports import Broker, Clock, CredentialStore, DataSession, Executor, Feed, Notifier, Store
from core.types import PRACTICE_KINDS, Account, AccountKind, Bar, Horizon, Instrument, Side
from data_ingestion.backfill import Ask, GapFiller, candles_between
from data_ingestion.bars import BarBuilder
from data_ingestion.instruments import InstrumentSnapshot, InstrumentStore
from data_ingestion.subscriptions import Subscriptions
from data_ingestion.tape import Tape
from data_ingestion.tick_filter import TickFilter
from execution_engine.arming import Arming
from execution_engine.broker_worker import DATA, BrokerWorker, Worker
from execution_engine.charges import Charges
from execution_engine.control import Control
from execution_engine.engine import Engine
from execution_engine.expiry import DeliverySettings
from execution_engine.limits import risk_settings
from execution_engine.manual_orders import ManualOrders
from execution_engine.order_manager import Alert, OrderDesk
from execution_engine.paper_broker import PaperBroker
from execution_engine.portfolio import Portfolio
from execution_engine.price_ladder import Ladder
from execution_engine.rollover import RollSettings
from execution_engine.silent import SilentExecutor
from execution_engine.world import World
from risk.gate import Gate
from risk.margin import required
from runtime import data_desk
from runtime.alerts import Alerts
from runtime.charts import Charts
from runtime.data_desk import DataDesk, Door
from runtime.inbox import Inbox, Pump
from runtime.lines import Line, Lines
from runtime.protection import NO_GUARDS, at_broker
from runtime.recording import RecorderSlot
from runtime.state_folder import RunFolder
from storage.audit import AuditSegment, requests_of
from storage.emergency import EmergencyJournal
from storage.store import SqlStore, open_store
from utils.config_loader import Config, load_charges
from utils.departure import NeverSent, must_be_audited
from utils.pacing import Budget, Paced

PAPER_KINDS = frozenset({AccountKind.PRACTICE, AccountKind.PAPER})


class LaneAudit:
    """One audit segment for each edge thread, and one for all other threads (a login at a simulator, a script); order requests are on disk
    before they leave (promise P12)."""

    def __init__(self, run: RunFolder, clock: Clock) -> None:
        self._run = run
        self._clock = clock
        self._segments: dict[str, AuditSegment] = {}
        self._lock = threading.Lock()
        self._others = threading.Lock()

    def request(self, lane: str, method: str, route: str, masked_params: Mapping[str, Any]) -> int:
        with self._turn(lane):
            segment = self._segment(lane)
            try:
                return segment.request(lane, method, route, masked_params, durable=method != "GET")
            except StoreError as error:
                if must_be_audited():
                    raise NeverSent(str(error)) from error
                # being flat outweighs being written down; the segment keeps the entry and writes it when the disk takes it again
                logger.critical("the audit of {} {} is not on disk: {}", method, route, error)
                return segment.request(lane, method, route, masked_params, durable=False)

    def reply(self, number: int, status: int, masked_body: str) -> None:
        lane = threading.current_thread().name
        with self._turn(lane):
            self._segment(lane).reply(number, status, masked_body)

    def close(self) -> None:
        """Close each segment, whatever befalls another; raises the first StoreError."""
        refused: list[StoreError] = []
        for segment in self._segments.values():
            try:
                segment.close()
            except StoreError as error:
                refused.append(error)
        if refused:
            raise refused[0]

    def _turn(self, lane: str) -> AbstractContextManager[Any]:
        """An edge thread has its segment to itself."""
        return nullcontext() if "/" in lane else self._others

    def _segment(self, lane: str) -> AuditSegment:
        name = lane.replace("/", "-") if "/" in lane else "others"
        with self._lock:
            if name not in self._segments:
                self._segments[name] = AuditSegment(self._run.audit, name, self._clock)
            return self._segments[name]


class Lookup:
    """The day's instrument snapshot behind a name that does not change when the day does."""

    def __init__(self) -> None:
        self._current: InstrumentSnapshot | None = None

    def set(self, snapshot: InstrumentSnapshot) -> None:
        self._current = snapshot

    def __call__(self) -> InstrumentSnapshot:
        if self._current is None:
            raise DataError("no instrument snapshot of today yet; the day's preparation loads it before anything asks")
        return self._current


@dataclass
class House:
    """All parts of one running account. The engine thread owns everything but what is named as an edge thread's."""

    account: Account
    config: Config
    run: RunFolder
    clock: Clock
    inbox: Inbox
    pump: Pump
    calendar: Calendar
    store: SqlStore
    emergency: EmergencyJournal
    spec: Spec
    session: Session
    line: Line
    data: DataSession
    executor: Executor
    broker: Broker | None  # the client behind the worker; None: a paper account
    broker_worker: BrokerWorker | None
    downloads: Worker
    make_feed: Callable[[], Feed]  # one connection lives for one day
    lookup: Lookup
    instruments: InstrumentStore
    engine: Engine
    alerts: Alerts
    arming: Arming
    audit: LaneAudit
    budget: Budget
    recorder: RecorderSlot
    bars: BarBuilder
    tick_filter: TickFilter
    listing: DataSession  # who is asked for today's instruments: the broker of the orders
    charts: Charts = field(default_factory=Charts)
    desk: DataDesk | None = None  # where prices come from, if from another broker
    feed: Feed | None = None
    subscriptions: Subscriptions | None = None
    tape: Tape | None = None

    def resolve(self, name: str) -> Instrument:
        """What a name means today; DataError names the nearest, or says why there are no prices of it."""
        found = self.lookup().resolve(name, self.clock.now().date())
        if self.desk is not None:
            self.desk.priced(found)
        return found

    def watch(self, instrument: Instrument, owner: str = "by hand") -> None:
        """Subscribe one more instrument, for the rest of the day or until its owner releases it."""
        if self.subscriptions is not None:
            self.subscriptions.want(owner, [instrument])

    def watched(self) -> list[Instrument]:
        """What is subscribed and can be traded."""
        return self.subscriptions.tradable() if self.subscriptions is not None else []

    def unwatch(self, instrument: Instrument) -> None:
        """Nobody watches it by hand any more; it stays subscribed for others."""
        if self.subscriptions is not None:
            self.subscriptions.release("by hand", [instrument])

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Around what is done with one batch of events: time stands still for the engine, and the recording says when that was."""
        clock = self.engine.clock
        if not isinstance(clock, HeldClock):
            self.recorder.begin(clock.now())
            yield
            return
        clock.hold()
        self.recorder.begin(clock.now())
        try:
            yield
        finally:
            clock.release()

    def usage(self, day: date) -> dict[str, Any]:
        """What was spent of the broker's limits on `day`, today: by the account's budget, and by a feed that keeps one of its own."""
        spent = {"client": self.budget.today()}
        if isinstance(self.feed, Paced):
            spent["feed"] = self.feed.usage()
        if self.desk is not None:
            spent[f"data ({self.desk.spec.name})"] = self.desk.budget.today()
        calls = [{**row, "by": by} for by, one in spent.items() for row in one["calls"]]
        limits = [row for one in spent.values() for row in one["limits"]]
        return {"day": day.isoformat(), "broker": self.spec.name, "calls": calls, "limits": limits}

    def losses(self) -> dict[str, Any]:
        """What of the feed was not used: `counts` by place and reason (`wire`: of the day's connection), the broker's latest texts,
        and what is subscribed."""
        counts = {
            "wire": self.feed.counts if self.feed is not None else {},
            "quarantined": dict(self.tick_filter.counts),
            "late_ticks": self.bars.late,
            "outside_session": self.bars.outside,
            "dropped_ticks": self.inbox.dropped_ticks,
        }
        if self.tape is not None:
            counts["unrecorded_frames"] = self.tape.dropped
        return {
            "counts": counts,
            "texts": list(self.feed.texts) if self.feed is not None else [],
            "subscriptions": self.subscriptions.ledger() if self.subscriptions is not None else {},
        }


def build(
    *,
    account: Account,
    config: Config,
    run: RunFolder,
    clock: Clock,
    inbox: Inbox,
    pump: Pump,
    credentials: CredentialStore,
    endpoints: Endpoints | None,
    ledger_url: str,
    notifier: Notifier,
    answer: Callable[[str, bool, str, Any], None],
    spec: Spec | None = None,
    data_door: Door | None = None,
    lines: Lines | None = None,
) -> tuple[House, Control]:
    """Everything for `account`; nothing is connected and no thread runs yet. `endpoints` None = the broker's own; `spec` is another
    maker of session, client and feed than the registry's (the simulated days give theirs). `data_door` is how an account that trades
    reaches its `data_broker`; None: with the same credentials, at that broker's own addresses. `lines` are the logins of a process with
    several accounts; None: this one has its own."""
    spec = spec or registry.get(account.lists)
    rules = registry.get(account.broker) if account.broker != spec.name else spec  # of the orders: products, what cannot be held
    account = msgspec.structs.replace(account, plan=account.plan or rules.plan)
    endpoints = endpoints or spec.endpoints
    engine_clock: Clock = HeldClock(clock) if isinstance(clock, SystemClock) else clock
    calendar = config.calendar(account.kind)
    store = open_store(ledger_url)
    alerts = Alerts(clock, store, notifier)
    line = (lines or Lines()).line(spec.name, credentials, clock)
    budget = line.budget(lambda: Budget(clock, spec.limits))
    _take_up(budget, spec, store, run, clock.now().date())
    audit = LaneAudit(run, clock)
    lookup = Lookup()

    def announce(event: Event) -> None:
        inbox.put([event], "session")

    token_file = run.token_file(spec.name)
    session = line.session(lambda told: spec.make_session(account.name, credentials, clock, token_file, endpoints, told), announce)
    session.audit = session.audit or audit
    data: DataSession
    executor: Executor
    broker: Broker | None = None
    broker_worker = None
    if account.kind in PAPER_KINDS:
        data = spec.make_data(session, clock, budget, audit, endpoints, lookup)
        executor = PaperBroker(account, engine_clock, sessions=calendar)
    else:
        broker = spec.make_broker(session, clock, budget, audit, endpoints, lookup)
        data = broker
        executor = BrokerWorker(
            account.name,
            broker,
            clock,
            inbox.put,
            inbox.poke,
            holds_at_wire=spec.holds_at_wire,
            entry_age_s=config.settings.orders.entry_age_s,
            positions_every_s=spec.pace.positions_s,
            funds_every_s=spec.pace.funds_s,
        )
        broker_worker = executor
    emergency = EmergencyJournal(run.path)
    transport, stale_after_s = config.settings.feed.transport, config.settings.feed.stale_after_s
    listing, desk = data, None
    if account.prices_elsewhere:
        door = data_door or Door(credentials)
        desk = data_desk.make(
            account,
            door,
            clock=clock,
            audit=audit,
            put=inbox.put,
            calendar=calendar,
            folder=run.instruments,
            token_file=run.token_file(str(account.data_broker)),
            notifier=notifier,
            transport=transport,
            stale_after_s=stale_after_s,
            line=(lines or Lines()).line(str(account.data_broker), door.credentials, clock),
        )
        data = desk.data

    def in_hours() -> bool:
        canary, now = made.engine.world.canary, clock.now()
        return canary is None or any(calendar.is_open(one, now) for one in (canary, *made.engine.world.names.values()))

    def own_feed(put: Put) -> Feed:
        return spec.make_feed(account.name, session, clock, put, endpoints, lookup, transport, in_hours, stale_after_s=stale_after_s)

    def make_feed() -> Feed:
        if desk is not None:
            return FeedPair(cast(Prices, desk.make_feed(in_hours)), OrdersAlone(cast(Prices, own_feed(updates_alone(inbox.put)))))
        if lines is None:
            return own_feed(inbox.put)
        return line.feed.seat(inbox.put, own_feed, trades=account.kind not in PAPER_KINDS)

    recorder = RecorderSlot()
    store.before_commit = recorder.flush
    control = Control(answer)
    downloads = Worker(f"{account.name}/downloads", clock, inbox.poke)

    def ask(instrument: Instrument, interval: int, start: datetime, end: datetime) -> None:
        def fetch() -> None:
            found: tuple[Bar, ...] = ()
            why = ""
            try:
                found = candles_between(data, calendar, instrument, interval, start, end)
            except (BrokerError, DataError) as error:
                why = str(error)
            inbox.put([History(clock.now(), instrument, interval, start, end, found, why)], downloads.name)

        downloads.submit(DATA, fetch)

    made = make_engine(
        account=account,
        config=config,
        spec=rules,
        calendar=calendar,
        clock=engine_clock,
        store=store,
        executor=executor,
        alert=alerts,
        ask=ask,
        record=recorder.append,
        commands=control.handle,
        emergency=emergency,
    )
    arming = control.arming = Arming(engine_clock, store, calendar, made.engine.world)
    alerts.also = arming.hear
    house = House(
        account=account,
        config=config,
        run=run,
        clock=clock,
        inbox=inbox,
        pump=pump,
        calendar=calendar,
        store=store,
        emergency=emergency,
        spec=spec,
        session=session,
        line=line,
        data=data,
        executor=executor,
        broker=broker,
        broker_worker=broker_worker,
        downloads=downloads,
        make_feed=make_feed,
        lookup=lookup,
        instruments=InstrumentStore(run.instruments, calendar, spec.name),
        listing=listing,
        desk=desk,
        engine=made.engine,
        alerts=alerts,
        arming=arming,
        audit=audit,
        budget=budget,
        recorder=recorder,
        bars=made.bars,
        tick_filter=made.tick_filter,
    )
    made.engine.world.feed_losses = house.losses
    made.engine.hearing.heard = house.charts.heard
    control.by_hand = ManualOrders(answer, house)
    control.market = house
    return house, control


def _take_up(budget: Budget, spec: Spec, store: Store, run: RunFolder, today: date) -> None:
    """A restart does not give the day's orders back, nor its calls."""
    budget.used_before("orders/day", len(store.orders(today)))
    if any(limit.name == "calls/day" for limit in spec.limits):
        budget.used_before("calls/day", requests_of(run.audit, today))


class Made(NamedTuple):
    """An engine, and the parts of it that others read."""

    engine: Engine
    bars: BarBuilder
    tick_filter: TickFilter


def make_engine(
    *,
    account: Account,
    config: Config,
    spec: Spec,
    calendar: Calendar,
    clock: Clock,
    store: Store,
    executor: Executor,
    alert: Alert,
    ask: Ask,
    record: Callable[[Event], None],
    commands: Callable[[Engine, Command], None],
    emergency: EmergencyJournal | None = None,
) -> Made:
    """The engine of an account and all that decides with it, the same for a day that happens and for one that is replayed."""
    portfolio = Portfolio(account.name, Charges(load_charges(config.folder), account.broker, account.plan))
    caps = risk_settings(config)
    desk = OrderDesk(
        account.name, store, executor, portfolio, lambda order: spec.product(order.horizon, order.instrument), alert, emergency
    )

    def margin(instrument: Instrument, horizon: Horizon, quantity: int, price: float) -> float:
        side = Side.BUY if quantity > 0 else Side.SELL
        return required(instrument, side, abs(quantity), price, horizon, caps.margin, clock.now().date())

    world = World(account, calendar, config.square_off, portfolio, desk, clock.now, margin)
    world.tags_echoed = spec.echoes_tags
    world.objection = spec.objection if config.settings.orders.stand_in else lambda *asked: spec.objection(*asked) or spec.stands_in(*asked)
    world.stale_after = config.settings.feed.canary_stale_s
    bars, tick_filter = BarBuilder(calendar), TickFilter(circuit=world.circuit)
    chase, rolling = config.settings.orders, config.settings.rollover
    filler = GapFiller(bars, calendar, ask, lambda kind, facts: store.journal(clock.now(), kind, facts), alert)
    engine = Engine(
        account=account,
        clock=clock,
        store=store,
        executor=executor,
        desk=desk,
        portfolio=portfolio,
        gate=Gate(caps),
        world=world,
        bars=filler,
        tick_gate=tick_filter,
        alert=alert,
        ladder=Ladder(chase.cap_pct, chase.steps, chase.step_s, rolling.max_slippage_pct),
        delivery=DeliverySettings(rolling.physical_days, rolling.time),
        rolls=RollSettings(rolling.attempts, config.settings.feed.canary_stale_s),
        books_every_s=spec.pace.books_s,
        record=record,
        horizon_of=spec.horizon_of,
        commands=commands,
        on_history=filler.answered,
        protect=at_broker(config, account),
        guards=executor if spec.guards_nights and isinstance(executor, BrokerWorker | SilentExecutor) else None,
        emergency=emergency,
    )
    if isinstance(executor, BrokerWorker) and not spec.guards_nights:
        engine.night.lacking = NO_GUARDS.format(spec.title)
    return Made(engine, bars, tick_filter)


def replay_executor(account: Account, clock: Clock, calendar: Calendar) -> Executor:
    """Who carries out orders when a day is played again: the paper exchange, or one that sends nowhere (the replies are recorded)."""
    return PaperBroker(account, clock, sessions=calendar) if account.kind in PAPER_KINDS else SilentExecutor()


def account_of(config: Config, name: str | None, broker: str | None) -> Account:
    """The account that this run trades, `--broker` applied (practice kinds only)."""
    chosen = name or config.settings.account
    settings = config.settings.accounts.get(chosen)
    if settings is None:
        raise ConfigError(f"no account {chosen!r} in settings.yaml; there are {', '.join(config.settings.accounts)}")
    account = settings.account(chosen)
    if broker is not None and broker != account.broker:
        if account.kind not in PRACTICE_KINDS:
            raise ConfigError(f"--broker {broker} does not fit the account {chosen!r}, which is at {account.broker}; change settings.yaml")
        registry.get(broker)  # says which brokers there are
        account = Account(account.name, account.kind, broker, account.capital, account.data_broker, account.app)
    return account
