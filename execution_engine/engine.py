"""The engine: takes one event at a time, updates what is known, lets strategies speak, and turns changed targets into orders.

The order within one tick (`_on_tick`): the price moves, the paper exchange hears it, the bars take it, stops and profit targets are
compared with it, strategies that want ticks hear it. Bars close on a timer, and strategies hear them. What they yield becomes changed
targets; each is planned, the gate judges, the desk commits and sends. The engine asks nobody whether it is live.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

import msgspec

from core.errors import StoreError
from core.events import Books, Command, Event, FeedStatus, History, OrderUpdate, PriceLimits, Reply, SessionStatus, Timer
from core.ports import Bars, Clock, Emergency, Executor, Store, TickGate
from core.types import (
    Account,
    Approved,
    Bar,
    Horizon,
    Instrument,
    Order,
    OrderRequest,
    Purpose,
    Refused,
    SessionState,
    Signal,
    Tick,
    TradingState,
)
from execution_engine.buy_sell_logic import SizingError, Target, plan, protection_hit, settled
from execution_engine.exits import Exits
from execution_engine.expiry import DeliverySettings, Expiry
from execution_engine.feed_watch import FeedWatch
from execution_engine.hearing import Hearing
from execution_engine.ledger_watch import LedgerWatch
from execution_engine.night_guard import GuardDesk, NightGuard
from execution_engine.order_manager import Alert, OrderDesk
from execution_engine.outcomes import Outcomes
from execution_engine.portfolio import EXTERNAL, Portfolio
from execution_engine.price_ladder import Ladder, PriceLadder
from execution_engine.protection import Protect, Protection
from execution_engine.reconciliation import Reconciliation
from execution_engine.refusals import Refusals
from execution_engine.rollover import NO_SWITCHES, Rolls, RollSettings, Switch
from execution_engine.runs import Run
from execution_engine.square_off import SquareOff
from execution_engine.targets import Targets
from execution_engine.timers import Timers
from execution_engine.world import World
from risk.gate import Gate
from risk.rules import RequestRate

SECOND = timedelta(seconds=1)
Names = Mapping[str, Instrument]


class Engine:
    """Lives on one thread. `process` takes outside events; `run_timers` fires what is due; `wake_at` says until when it may sleep."""

    def __init__(
        self,
        *,
        account: Account,
        clock: Clock,
        store: Store,
        executor: Executor,
        desk: OrderDesk,
        portfolio: Portfolio,
        gate: Gate,
        world: World,
        bars: Bars,
        tick_gate: TickGate,
        alert: Alert,
        ladder: Ladder,
        books_every_s: float,
        record: Callable[[Event], None] | None,
        horizon_of: Callable[[str], Horizon],
        commands: Callable[["Engine", Command], None],
        on_history: Callable[[History], None] = lambda history: None,
        rolls: RollSettings | None = None,
        delivery: DeliverySettings | None = None,
        protect: Protect | None = None,
        guards: GuardDesk | None = None,
        emergency: Emergency | None = None,
    ) -> None:
        self.account = account
        self.clock = clock
        self.store = store
        self.executor = executor
        self._answers = executor.drain
        self.desk = desk
        self.portfolio = portfolio
        self.gate = gate
        self.world = world
        self.bars = bars
        self.tick_gate = tick_gate
        self.alert = alert
        self.timers = Timers()
        self.targets = Targets(store)
        self.signals: deque[Signal] = deque(maxlen=500)
        self.refusals = Refusals(clock, store)
        self.late_events = 0
        self._books_every_s = books_every_s
        self._record = record
        self.exits = Exits(clock, self.timers, desk, portfolio, alert, self._cancel_and_replan, world.quiet)
        self.price_ladder = PriceLadder(
            ladder,
            clock=clock,
            timers=self.timers,
            executor=executor,
            desk=desk,
            targets=self.targets,
            world=world,
            gate=gate,
            exits=self.exits,
            refused=self.refusals.note,
            cancel=self._cancel_and_replan,
        )
        self.rolls = Rolls(
            rolls or RollSettings(),
            clock=clock,
            timers=self.timers,
            store=store,
            desk=desk,
            portfolio=portfolio,
            targets=self.targets,
            world=world,
            alert=alert,
            engine=self,
        )
        self.expiry = Expiry(
            delivery or DeliverySettings(),
            clock=clock,
            timers=self.timers,
            store=store,
            desk=desk,
            portfolio=portfolio,
            targets=self.targets,
            world=world,
            alert=alert,
            flatten=self.flatten,
        )
        self.hearing = Hearing(
            clock=clock,
            store=store,
            world=world,
            view=self.rolls.seen,
            targets=self.targets,
            alert=alert,
            take_signal=self.take_signal,
            act=self.act,
            flatten=self.flatten,
        )
        self.ledger_watch = LedgerWatch(world, alert, emergency)
        self.feed_watch = FeedWatch(world, bars, store, executor, self.timers, alert)
        self.square_off = SquareOff(
            timers=self.timers,
            store=store,
            portfolio=portfolio,
            desk=desk,
            targets=self.targets,
            plan=world.plan,
            flatten=self.flatten,
            alert=alert,
            locked=world.locked,
        )
        self.reconciliation = Reconciliation(
            desk, portfolio, store, world, alert, horizon_of, lambda strategy, held: self.outcomes.closed_outside(strategy, held)
        )
        parts = (clock, desk, portfolio, self.targets, world, gate, executor, alert)
        self.protection = Protection(protect, *parts, self.reconciliation.shortfall, self._submit, self.flatten)
        self.night = NightGuard(
            guards,
            sets=protect is not None,
            clock=clock,
            store=store,
            portfolio=portfolio,
            targets=self.targets,
            world=world,
            alert=alert,
            terms=self.protection.terms,
            stops_alive=lambda target: bool(self.protection.stops(target)),
        )
        self.protection.night = self.night.stands
        self.outcomes = Outcomes(
            night=self.night,
            clock=clock,
            timers=self.timers,
            executor=executor,
            desk=desk,
            portfolio=portfolio,
            targets=self.targets,
            world=world,
            alert=alert,
            exits=self.exits,
            hearing=self.hearing,
            rolls=self.rolls,
            protection=self.protection,
            reconciliation=self.reconciliation,
            engine=self,
        )
        self._handlers: dict[type, Callable[[Any], None]] = {
            Tick: self._on_tick,
            Bar: self._on_played,
            Reply: self.outcomes.on_reply,
            OrderUpdate: self.outcomes.on_update,
            Books: self.outcomes.on_books,
            History: on_history,
            PriceLimits: lambda told: world.limits.update(told.limits),
            FeedStatus: self.feed_watch.on_status,
            SessionStatus: self._on_session,
            Timer: lambda timer: None,
            Command: lambda command: commands(self, command),
        }

    # --- the day ------------------------------------------------------------------------------------------------------------------

    def open_day(
        self, day: date, runs: Iterable[Run], names: Names, *, resumed: bool, switches: Mapping[str, Switch] = NO_SWITCHES
    ) -> None:
        """Take up the day: strategies warmed up, names resolved. `resumed`: an earlier process already traded this day. `switches` are
        the futures' names whose contract changes today or may have changed since a position was opened."""
        now = self.clock.now()
        self.hearing.listen(runs, self.bars, now)
        self.world.open_day(names)
        if not resumed:
            self.targets.clear_intraday()
            self.refusals.clear()
        held = (position.instrument for position in self.portfolio.positions() if position.quantity)
        self.square_off.arm(day, {*names.values(), *held, *(order.instrument for order in self.desk.live())})
        self.reconciliation.open_day()
        self.rolls.open_day(day, switches)
        self.expiry.open_day(day)
        for target in filter(self.exits.lacking, self.targets):  # under way when the process ended: they go on
            self.exits.look_again(target)
        self.hearing.stop_failed(self.runs)
        self.timers.set("second", now + SECOND)
        self.timers.set("books", now)
        self.outcomes.open_day()
        self.night.open_day()
        self.price_ladder.watch()  # what rested when an earlier process ended climbs on
        self.store.put("engine", "day", day.isoformat())
        self.store.journal(now, "day_opened", {"day": day.isoformat(), "names": {n: i.key for n, i in names.items()}, "resumed": resumed})
        self.settle()

    def close_day(self, day: date) -> None:
        """The last session of the day is over: nothing fires any more until the next `open_day`."""
        for name in ("second", "books", "ladder", "bars", "evidence", "delivery"):
            self.timers.cancel(name)
        self.rolls.close_day(day)
        self.square_off.close_day()
        now = self.clock.now()
        self.portfolio.sample(now)
        rounds = self.square_off.rounds()
        last = rounds[-1] if rounds else {"scheduled": None, "started": None, "flat": None}
        record = {
            "flat_at": last["flat"] if self.flat else None,
            "max_drawdown": self.portfolio.max_drawdown,
            "square_off": {**last, "flat": last["flat"] if self.flat else None},
            "square_off_rounds": rounds,
            "assumed": self.world.assumed(day),
            "data": self.world.data,
        }
        self.store.put("day", day.isoformat(), record)
        self.store.put("engine", "closed_day", day.isoformat())
        self.store.journal(now, "day_closed", {"day": day.isoformat(), "flat": self.flat, "pnl": self.portfolio.pnl()})
        self.settle()

    # --- the loop's side --------------------------------------------------------------------------------------------------------

    def process(self, event: Event) -> None:
        """Handle one outside event, and what the executor answers to it, before the next."""
        if self._record is not None:
            self._record(event)
        self._handlers[type(event)](event)
        if not self.portfolio.room > 0.0:
            self._watch_losses()
        if events := self._answers():
            self._hear_answers(events)

    def run_timers(self) -> None:
        """Fire every timer that is due, late ones too."""
        now = self.clock.now()
        while (timer := self.timers.pop(now)) is not None:
            name, due = timer
            if self._record is not None:
                self._record(Timer(now, name, due))
            if now - due > SECOND:
                self.late_events += 1
            if name != "second":
                self._fire(name, now)
            elif not self._each_second(now):
                continue
            if events := self._answers():
                self._hear_answers(events)

    def between_events(self, change: Callable[[], None]) -> None:
        """Carry out a change of what the engine works by, and what the executor answers to it, durably, before the next event."""
        change()
        self.portfolio.room = 0.0  # its limits may be others now
        self._hear_answers(self._answers())
        self.settle()

    def settle(self) -> None:
        """End of a batch: positions and what else changed become durable; the next bar boundary is armed."""
        if self.portfolio.unsaved:
            for position in self.portfolio.changed():
                self.store.save_position(position)
        due = self.bars.due
        if due is not None and self.timers.due("bars") != due:
            self.timers.set("bars", due)
        try:
            self.store.commit()
        except StoreError as error:
            self.ledger_watch.failed(error)
        else:
            if self.world.blinded:
                self.ledger_watch.written()

    def wake_at(self) -> datetime:
        return self.timers.next_at(self.clock.now())

    # --- market ---------------------------------------------------------------------------------------------------------------------

    def _on_tick(self, tick: Tick) -> None:
        if self.tick_gate.admit(tick):
            self.feed_watch.clock.see(tick)
            return  # quarantined and counted there
        instrument = tick.instrument
        self.world.see(tick)
        self.portfolio.mark(instrument, tick.price)
        if self.executor.on_market(tick):
            self._hear_answers(self._answers())
        self.bars.add(tick)
        if instrument.key in self.targets.watch_list and self.world.calendar.is_open(instrument, tick.exchange_at or tick.at):
            self._watch_protection(instrument, tick.price)  # an auction's price is none that an exit could have
        self.hearing.on_tick(tick)

    def _on_played(self, bar: Bar) -> None:
        """A bar from outside (played data) is the market itself: the paper exchange hears it first, and its close is the price. No
        exchange has stamped it."""
        instrument = bar.instrument
        tick = self.world.ticks.get(instrument.key)
        if tick is None or tick.at < bar.at:
            self.world.ticks[instrument.key] = Tick(instrument, bar.at, bar.close)
        self.portfolio.mark(instrument, bar.close)
        if self.executor.on_market(bar):
            self._hear_answers(self._answers())
        if instrument.key in self.targets.watch_list:
            self._watch_protection(instrument, bar.close)
        for each in self.bars.join(bar):
            self.hearing.on_bar(each)

    def _watch_protection(self, instrument: Instrument, price: float) -> None:
        for target in self.targets.watched(instrument.key):
            hit = protection_hit(target, self.portfolio.position(target.strategy, instrument), price)
            if hit:
                self.flatten(target, hit, Purpose.EXIT)

    # --- strategies and targets -----------------------------------------------------------------------------------------------------

    def take_signal(self, run: Run, signal: Signal) -> None:
        """A target acts when it changes (raw target or contract); otherwise only its protection moves."""
        nonsense = run.nonsense(signal)
        if nonsense:
            self.refusals.note(run.strategy.name, str(signal.name), "signal", nonsense)
            return
        now_said = self.rolls.heard(signal)
        if now_said is None:
            return  # its key is being rolled: it waits
        signal = now_said
        old = self.targets.get(signal.strategy, signal.name)
        if old is not None and old.raw == signal.target and old.instrument.key == signal.instrument.key:
            stop, take_profit = signal.stop, signal.take_profit  # None: says nothing of it
            protection = (old.stop if stop is None else stop, old.take_profit if take_profit is None else take_profit)
            if not old.latched and protection != (old.stop, old.take_profit):
                old.stop, old.take_profit = protection
                self.targets.keep(old)
                self.protection.keep(old)
            return
        if old is None and signal.target == 0:
            return  # flat from the start: nothing to hold, nothing to say
        try:
            target = run.target(signal, self.world.last_price(signal.instrument) or 0.0)
        except SizingError as error:
            self.refusals.note(signal.strategy, signal.name, "size", str(error))
            return
        target.horizon = self.desk.horizon(target.strategy, target.name, target.instrument) or target.horizon
        self.signals.append(signal)
        self.store.journal(
            self.clock.now(),
            "signal",
            {"strategy": signal.strategy, "name": signal.name, "instrument": signal.instrument.key, "target": signal.target,
             "wanted": target.wanted, "stop": target.stop, "take_profit": target.take_profit, "why": signal.why},
        )  # fmt: skip
        if old is not None and (old.closing or (old.latched and old.wanted == 0)) and self.portfolio.position(old.strategy, old.instrument):
            target.closing, target.purpose = True, old.purpose  # a stop, a kill or a square-off is carried out before anything new
        if old is not None and old.instrument.key != target.instrument.key:
            self._leave(old)
        self.exits.forget_tries(signal.strategy, signal.name)
        self.targets.keep(target)
        self.act(target)

    def _leave(self, old: Target) -> None:
        """The key's name means another contract now: what is still held in the one it meant goes, under a key of its own."""
        if self.portfolio.position(old.strategy, old.instrument):
            left = msgspec.structs.replace(old, name=old.instrument.key, latched=False)
            self.flatten(left, f"{old.name} means another contract now", Purpose.EXIT)

    def act(self, target: Target) -> None:
        """Send what the target still lacks, by the rules of buy_sell_logic; safe to call at any time."""
        held = self.portfolio.position(target.strategy, target.instrument)
        working = self.desk.working(target.strategy, target.name)
        if target.closing and held == 0:
            target.closing = False
            self.targets.keep(target)
        if target.by_hand or (target.latched and target.wanted != 0 and not working):
            return
        ahead = self.desk.unbooked()
        if ahead and any((order.strategy, order.name) == (target.strategy, target.name) for order in ahead):
            self.timers.wait("evidence", self.clock.now(), SECOND)
            return
        if settled(target, held, working):
            return
        todo = plan(
            target,
            held=held,
            working=working,
            shortfall=self.reconciliation.shortfall(target.strategy, target.instrument),
            quote=self.world.quote(target.instrument),
            cap_pct=self.price_ladder.settings.cap_pct / self.price_ladder.settings.steps,
            now=self.clock.now(),
        )
        exits = bool(todo.send) and todo.send[0].purpose is not Purpose.ENTRY  # one plan has one purpose
        if (exits or todo.cancel) and self.world.session is SessionState.LOGIN_REQUIRED:
            self.outcomes.wait_for_books(target)
            return
        for order in todo.cancel:
            self._cancel_and_replan(order, "planned again: the target changed")
        if exits and not self.world.calendar.is_open(target.instrument, self.clock.now()):
            if self.timers.due("second") is not None:  # else it goes on when the next day opens
                self.exits.look_again(target)
        elif todo.waiting or (exits and not self.outcomes.may_leave(target, todo.send)):
            self.exits.look_again(target)
        elif todo.send and (not exits or self.exits.may_go(target)):
            self._send(target, todo.send)

    def _send(self, target: Target, requests: Iterable[OrderRequest]) -> None:
        """Ask the gate about each, and submit until one is refused."""
        went = False
        for request in requests:
            verdict = self.gate.review(request, self.world)
            if isinstance(verdict, Refused):
                self._on_refused(target, verdict, went=went)
                break
            if not self._submit(verdict):
                break
            went = True
            self.refusals.went(target.strategy, target.name)
            if target.pending:
                target.pending = False
                self.targets.keep(target)
        self._take_breaches()

    def flatten(self, target: Target, why: str, purpose: Purpose) -> None:
        """Want nothing any more in this key until its strategy gives a different target; exits start now."""
        if target.latched and target.wanted == 0 and target.purpose is purpose:
            self.act(target)
            return
        target.wanted, target.latched, target.purpose, target.why = 0, True, purpose, why
        target.closing = target.pending = False
        target.stop = target.take_profit = None
        self.store.journal(self.clock.now(), "flatten", {"strategy": target.strategy, "name": target.name, "why": why})
        self.targets.keep(target)
        self.act(target)

    def _submit(self, approved: Approved) -> bool:
        """Whether the order was handed on; an entry whose intent is not on disk is not, and waits for its strategy's next bar."""
        try:
            self.desk.submit(approved, self.clock.now())
        except StoreError as error:
            self.ledger_watch.failed(error)
            target = self.targets.get(approved.request.strategy, approved.request.name)
            if target is not None:
                target.pending = True
                self.targets.keep(target)
            return False
        self.price_ladder.watch()
        return True

    def _on_refused(self, target: Target, refused: Refused, *, went: bool) -> None:
        self.refusals.note(target.strategy, target.name, refused.rule, refused.reason)
        if refused.request.purpose is Purpose.ROLL:
            self.rolls.on_refused(target, refused)
        elif refused.request.purpose is not Purpose.ENTRY and refused.rule == RequestRate.name:
            self.exits.take_turn(target, refused.reason, went=went)
        elif refused.request.purpose is not Purpose.ENTRY:
            self.exits.retry(target, f"refused by {refused.rule}: {refused.reason}")
        elif refused.permanent:
            self.latch(target, f"refused: {refused.reason}")
        else:
            target.pending = True
            self.targets.keep(target)

    def latch(self, target: Target, why: str) -> None:
        target.wanted = self.portfolio.position(target.strategy, target.instrument)
        target.latched, target.pending = True, False
        self.store.journal(self.clock.now(), "latched", {"strategy": target.strategy, "name": target.name, "why": why})
        self.targets.keep(target)

    def _take_breaches(self) -> None:
        for breach in self.gate.take_breaches():
            self.store.put("engine", "gate", self.gate.state())
            self.store.journal(self.clock.now(), "breach", {"rule": breach.rule, "reason": breach.reason, "strategy": breach.strategy})
            self.alert("page", f"Risk: {breach.rule}", breach.reason)
            if breach.wants is not None:
                self.set_state(breach.wants, breach.reason)
            if breach.flatten:
                for target in (*self.targets, *self.square_off.keyless(self.clock.now())):
                    if breach.strategy in ("", target.strategy):
                        self.flatten(target, breach.reason, Purpose.EXIT)

    def set_state(self, state: TradingState, why: str) -> None:
        """Change the trading state, durably; it survives restarts."""
        if state is self.world.state:
            return
        self.store.journal(self.clock.now(), "trading_state", {"from": str(self.world.state), "to": str(state), "why": why})
        self.world.state = state
        self.store.put("engine", "trading_state", {"state": str(state), "why": why})

    # --- orders ---------------------------------------------------------------------------------------------------------------------

    def _cancel_and_replan(self, order: Order, why: str) -> None:
        self.outcomes.cancel_and_replan(order, why)

    # --- status and time --------------------------------------------------------------------------------------------------------------

    def _on_session(self, status: SessionStatus) -> None:
        if status.state is self.world.session:
            return
        self.world.session = status.state
        self.store.journal(status.at, "session", {"state": str(status.state), "reason": status.reason})
        if status.state is SessionState.LOGIN_REQUIRED:
            self.alert("page", "Login required", f"{self.account.name}: {status.reason} {status.login_url}".strip())
        elif status.state is SessionState.VALID:
            self.executor.read_books(positions=True, urgent=True)

    def _fire(self, name: str, now: datetime) -> None:
        kind, _, rest = name.partition("|")
        if kind == "bars":
            for bar in self.bars.close(now):
                self.hearing.on_bar(bar)
        elif kind == "ladder":
            self.price_ladder.climb()
        elif kind == "retry":
            strategy, _, logical = rest.partition("|")
            if (target := self.targets.get(strategy, logical)) is not None:
                self.act(target)
        elif kind in ("books", "evidence"):
            self._look(kind, now)
        elif kind == "square_off":
            self.square_off.fire(rest, now)
        elif kind == "roll":
            self.rolls.look(now)
        elif kind == "delivery":
            self.expiry.fire(now)

    def _each_second(self, now: datetime) -> bool:
        """Watch the result and the feed; whether a limit was reached, and so orders may have gone out."""
        breached = False
        if self.portfolio.moved:
            if self.gate.defends_profits or not self.portfolio.room > 0.0:
                breached = self._watch_losses()
            self.portfolio.sample(now)
        self.feed_watch.each_second(now)
        if self.world.blinded:
            self.ledger_watch.each_second(now)
        if self.night.desk is not None or self.night.lacking:
            self.night.look(now)
        if self.protection.settings is not None or self.desk.alive:
            return self.protection.look(now) or breached
        return breached

    def _watch_losses(self) -> bool:
        """Judge the day's results now, and note how far prices may run before that is needed again; whether a limit was reached."""
        if self.timers.due("second") is None:
            return False  # no day is open: a process that has just begun does not know yet what it would have to close
        breached = self.gate.watch(self.world)
        if breached:
            self._take_breaches()
        if self.gate.changed:
            self.store.put("engine", "gate", self.gate.state())
        self.portfolio.room = self.gate.room(self.world)
        return breached

    def _look(self, kind: str, now: datetime) -> None:
        """Ask for evidence: on the clock, and sooner for orders of unknown fate and positions that differ."""
        self.executor.read_books(positions=True, urgent=kind == "evidence")
        if kind == "books":
            self.timers.wait("books", now, timedelta(seconds=self._books_every_s))
        elif (soon := self.reconciliation.next_look_s()) is not None:
            self.timers.wait("evidence", now, timedelta(seconds=soon))

    # --- small things ---------------------------------------------------------------------------------------------------------------

    def _hear_answers(self, events: list[Event]) -> None:
        """What the executor answered, and what it answers to what that leads to."""
        while events:
            for event in events:
                self._handlers[type(event)](event)
            events = self._answers()

    @property
    def runs(self) -> list[Run]:
        """Today's strategies."""
        return self.hearing.runs

    @property
    def flat(self) -> bool:
        """Nothing intraday of ours is open, no order of ours is alive, and every fill of ours is booked."""
        held = any(p.quantity and p.horizon is Horizon.INTRADAY and p.strategy != EXTERNAL for p in self.portfolio.positions())
        alive = any(o.purpose is not Purpose.PROTECT or o.horizon is Horizon.INTRADAY for o in self.desk.live())  # a carried stop may stay
        return not held and not alive and not self.desk.unbooked()
