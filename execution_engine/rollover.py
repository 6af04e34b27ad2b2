"""The roll of a carried position into the next contract: one tracked pair of a closing and an opening leg that owns its key.

Rules:
1. A pair begins at its time on the roll day (a missed one as soon as the market is open), and only when both legs could go: both contracts
   have fresh prices, nothing is frozen, restricted, paused or blind. What works in its key is cancelled first. While it cannot begin it
   waits; after ten minutes a person is paged.
2. It closes first, then opens as much as it closed itself: nothing is ever held twice. Each leg is a limit that never goes further than the
   slippage cap from the price at which that try was decided; a try that ends there is followed by another, later and from a fresh price.
3. The closing leg is tried until it is through (a warning at the third try, a page at the sixth), if need be on the next day. The opening
   leg has `attempts` tries, or one permanent refusal: then it is half a roll, the key latches at what is held, and a person is paged.
4. A stop, a square-off, a kill or a loss limit ends the pair and closes what there is. What others closed is not opened again.
5. What a strategy says meanwhile waits, and is carried out on the new contract; so is what it says later that day about the old one.
   It sees its position as if nothing had happened, and never hears of the two legs.
6. Each step is in the ledger with the orders it makes: a pair goes on where it was, whenever the process died.
7. Sizes keep their notional: the nearest whole lots of the new contract, the residual journalled. Stops move by the gap.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, Protocol

import msgspec

from core.expiries import round_to_tick
from core.ports import Clock, Store
from core.types import Fill, Horizon, Instrument, Kind, Order, Purpose, Refused, SessionState, Signal, TradingState
from execution_engine.buy_sell_logic import Target
from execution_engine.order_manager import Alert, OrderDesk
from execution_engine.portfolio import Portfolio
from execution_engine.runs import Run
from execution_engine.targets import Targets
from execution_engine.timers import Timers
from execution_engine.world import World

SPACE = "rolls"
TIMER = "roll"
LOOK = timedelta(seconds=1)
PATIENCE = timedelta(minutes=10)
WAITING, CLOSING, OPENING, DONE, HALF, ENDED = "waiting", "closing", "opening", "done", "half", "ended"
OPEN = frozenset({CLOSING, OPENING})


class RollSettings(msgspec.Struct, frozen=True):
    """`attempts` of the opening leg; `fresh_s`: how old a price may be when a pair begins."""

    attempts: int = 6
    fresh_s: float = 5.0


class Switch(msgspec.Struct, frozen=True):
    """What a future's name means: `today`, and `after` its roll, which is `due` today (None: not today). None: no such contract listed."""

    today: Instrument | None
    after: Instrument | None = None
    due: datetime | None = None


NO_SWITCHES: Mapping[str, Switch] = {}


class Roll(msgspec.Struct):
    """One pair, as the ledger keeps it. Quantities are signed units, `*_worth` the sum of price x quantity of its own fills."""

    strategy: str
    name: str
    old: Instrument
    new: Instrument
    due: datetime
    day: date
    step: str = WAITING
    quantity: int = 0
    to_quantity: int = 0
    raw: float = 0.0
    stop: float | None = None
    take_profit: float | None = None
    old_reference: float = 0.0
    new_reference: float = 0.0
    closed: int = 0
    closed_worth: float = 0.0
    opened: int = 0
    opened_worth: float = 0.0
    attempts: int = 0
    next_try: datetime | None = None
    begun: datetime | None = None
    waits: str = ""  # why it could not begin or go on, when last looked at
    waits_since: datetime | None = None
    paged: bool = False
    waiting_signal: Signal | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.strategy, self.name

    @property
    def gap(self) -> float:
        """Points between the contracts when the pair began."""
        return self.new_reference - self.old_reference

    def facts(self) -> dict[str, Any]:
        return {"strategy": self.strategy, "name": self.name, "old": self.old.key, "new": self.new.key}


class Acts(Protocol):
    """What of the engine a pair needs."""

    @property
    def runs(self) -> list[Run]: ...
    def act(self, target: Target) -> None: ...
    def take_signal(self, run: Run, signal: Signal) -> None: ...


class Rolls:
    """All pairs of the day. The engine calls `look` when the timer is due, and asks before it takes a signal."""

    def __init__(
        self,
        settings: RollSettings,
        *,
        clock: Clock,
        timers: Timers,
        store: Store,
        desk: OrderDesk,
        portfolio: Portfolio,
        targets: Targets,
        world: World,
        alert: Alert,
        engine: Acts,
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._timers = timers
        self._store = store
        self._desk = desk
        self._portfolio = portfolio
        self._targets = targets
        self._world = world
        self._alert = alert
        self._engine = engine
        self._rolls: dict[tuple[str, str], Roll] = {}
        self.seen = Seen(world, portfolio, self._rolls)

    # --- the day ------------------------------------------------------------------------------------------------------------------

    def open_day(self, day: date, switches: Mapping[str, Switch]) -> None:
        """Take up open pairs, and plan those of the day: of each carried key whose name changes its contract, or has changed it."""
        now = self._clock.now()
        self._rolls.clear()
        for key, value in self._store.items(SPACE).items():
            roll = msgspec.convert(value, Roll)
            if roll.step in OPEN or (roll.day == day and roll.step != WAITING):
                self._rolls[roll.key] = roll
            else:
                self._store.put(SPACE, key, None)
        carried = {
            (run.strategy.name, name) for run in self._engine.runs if run.strategy.spec.horizon is Horizon.CARRY for name in run.instruments
        }
        carried |= {(target.strategy, target.name) for target in self._targets if target.horizon is Horizon.CARRY and not target.by_hand}
        for strategy, name in sorted(carried - self._rolls.keys()):
            if (switch := switches.get(name)) is not None:
                self._plan(strategy, name, switch, day, now)
        self._arm(now)

    def close_day(self, day: date) -> None:
        """Nothing trades any more: what is not through is told, and goes on in the next session."""
        self._timers.cancel(TIMER)
        for roll in self._rolls.values():
            if roll.step in OPEN or (roll.step == WAITING and self._held(roll.old, roll)):
                where = f"{self._held(roll.old, roll)} {roll.old.key} and {self._held(roll.new, roll)} {roll.new.key} are held overnight"
                self._alert("page", "Not rolled", f"{roll.strategy} {roll.name}: {where}; {roll.waits or roll.step}")

    def _plan(self, strategy: str, name: str, switch: Switch, day: date, now: datetime) -> None:
        target = self._targets.get(strategy, name)
        held = target is not None and self._portfolio.position(strategy, target.instrument) != 0
        if target is not None and switch.today is not None and _before(target.instrument, switch.today):
            if held:
                text = f"{strategy} still holds {target.instrument.key}, and {name} is {switch.today.key} now: it rolls as soon as it can"
                self._alert("warn", "Late roll", text)
                self._keep(Roll(strategy, name, target.instrument, switch.today, now, day))
            else:
                self._let_go(target, switch.today)
        elif switch.due is not None and switch.today is not None:
            if switch.after is not None:
                self._keep(Roll(strategy, name, switch.today, switch.after, switch.due, day))
            elif held:
                self._alert(
                    "page", "Cannot roll", f"{strategy} holds {switch.today.key}, whose next month is not in today's instruments; it stays"
                )
        elif switch.today is None and held and target is not None:
            self._alert("page", "Cannot roll", f"{strategy} holds {target.instrument.key}, and {name} means no contract today; it stays")

    def _arm(self, now: datetime) -> None:
        going = [roll for roll in self._rolls.values() if roll.step in (WAITING, *OPEN)]
        if going:
            first = min(roll.due if roll.step == WAITING else now for roll in going)
            self._timers.set(TIMER, max(first, now + LOOK))

    # --- what the engine asks -----------------------------------------------------------------------------------------------------

    def heard(self, signal: Signal) -> Signal | None:
        """What is to be done now about a signal: itself, the same on the new contract, or nothing yet (its pair is open)."""
        roll = self._rolls.get((signal.strategy, signal.name))
        if roll is None or roll.step == WAITING:
            return signal
        if roll.step in OPEN:
            said = roll.waiting_signal.target if roll.waiting_signal is not None else roll.raw
            if signal.target != said:
                self._store.journal(self._clock.now(), "signal_waits", roll.facts() | {"target": signal.target, "why": signal.why})
            roll.waiting_signal = signal
            self._keep(roll)
            return None
        if signal.instrument.key != roll.old.key:
            return signal
        ended = self._targets.get(*roll.key) if roll.step == ENDED else None
        if ended is not None and ended.raw == signal.target:
            return None  # what ended the pair latched its key: the same word again changes nothing
        return msgspec.structs.replace(
            signal, instrument=roll.new, stop=_moved(signal.stop, roll), take_profit=_moved(signal.take_profit, roll)
        )

    def on_fill(self, fill: Fill, order: Order) -> None:
        """Count a fill of one of the legs."""
        roll = self._rolls.get((order.strategy, order.name))
        if roll is None or roll.step not in OPEN:
            return
        if fill.instrument.key == roll.old.key:
            roll.closed += fill.quantity
            roll.closed_worth += fill.quantity * fill.price
        else:
            roll.opened += fill.quantity
            roll.opened_worth += fill.quantity * fill.price
        self._keep(roll)
        self._timers.set(TIMER, self._clock.now())

    def on_refused(self, target: Target, refused: Refused) -> None:
        """The gate did not let a leg go."""
        roll = self._rolls.get((target.strategy, target.name))
        if roll is None or roll.step not in OPEN:
            return
        why = f"refused by {refused.rule}: {refused.reason}"
        if roll.step == OPENING and not refused.permanent:
            self._wait(roll, why)
            roll.next_try = self._clock.now() + timedelta(seconds=5)
            self._keep(roll)
        else:
            self._failed(roll, target, why, final=roll.step == OPENING)

    def on_ended(self, target: Target, why: str) -> None:
        """An order of a leg ended before it was filled."""
        roll = self._rolls.get((target.strategy, target.name))
        if roll is not None and roll.step in OPEN:
            self._failed(roll, target, why, final=False)

    def look(self, now: datetime) -> None:
        """The timer is due: take each pair as far as it goes."""
        for roll in list(self._rolls.values()):
            if roll.step == WAITING and now >= roll.due:
                self._begin(roll, now)
            if roll.step == CLOSING:
                self._close(roll, now)
            if roll.step == OPENING:
                self._open(roll, now)
        self._arm(now)

    def rows(self) -> list[dict[str, Any]]:
        """The day's pairs as read-outs show them."""
        return [
            roll.facts() | {"step": roll.step, "due": roll.due.isoformat(), "quantity": roll.quantity, "to_quantity": roll.to_quantity}
            | {"closed": roll.closed, "opened": roll.opened, "waits": roll.waits}
            for roll in self._rolls.values()
        ]  # fmt: skip

    # --- the pair ---------------------------------------------------------------------------------------------------------------------

    def _begin(self, roll: Roll, now: datetime) -> None:
        target, held = self._targets.get(*roll.key), self._held(roll.old, roll)
        working = self._desk.working(*roll.key)
        if held == 0 and not working and not self._unbooked(roll):
            self._note_prices(roll)
            if target is not None and target.instrument.key == roll.old.key:
                self._let_go(target, roll.new)
            self._finish(roll, DONE, "roll_switched", {})
            return
        why = self._unready(roll)
        if why:
            self._wait(roll, why)
            return
        if target is None or target.instrument.key != roll.old.key:
            target = Target(roll.strategy, roll.name, roll.old, 1.0 if held > 0 else -1.0, held, Horizon.CARRY, now)
        if target.closing or (target.latched and target.wanted == 0):
            return  # it is being closed for good
        if working or self._unbooked(roll):
            if held:
                target.wanted, target.latched, target.pending = held, True, False
                self._targets.keep(target)
                self._engine.act(target)  # cancels what works; what fills all the same is rolled too
            return
        self._note_prices(roll)
        lots = abs(held) * roll.old_reference / (roll.new_reference * roll.new.lot)
        roll.quantity, roll.to_quantity = held, (1 if held > 0 else -1) * round(lots) * roll.new.lot
        roll.raw, roll.stop, roll.take_profit = target.raw, target.stop, target.take_profit
        roll.begun, roll.step, roll.waits, roll.paged = now, CLOSING, "", False
        facts = {"quantity": held, "to_quantity": roll.to_quantity, "residual": abs(held) - abs(roll.to_quantity),
                 "old_price": roll.old_reference, "new_price": roll.new_reference, "due": roll.due.isoformat()}  # fmt: skip
        self._store.journal(now, "roll_started", roll.facts() | facts)
        self._keep(roll)
        target.wanted, target.purpose, target.why = 0, Purpose.ROLL, f"roll into {roll.new.key}"
        target.latched = target.pending = target.closing = False
        target.stop = target.take_profit = None
        self._try(roll, target, now)

    def _close(self, roll: Roll, now: datetime) -> None:
        target = self._targets.get(*roll.key)
        if target is None or target.purpose is not Purpose.ROLL or target.instrument.key != roll.old.key:
            self._finish(roll, ENDED, "roll_overtaken", {"by": target.why if target is not None else "its target is gone"})
            return
        if self._desk.working(*roll.key) or self._unbooked(roll):
            return
        if self._held(roll.old, roll):
            self._try(roll, target, now)
            return
        self._store.journal(
            now, "roll_closed", roll.facts() | {"closed": roll.closed, "average_price": _average(roll.closed_worth, roll.closed)}
        )
        if roll.closed < abs(roll.quantity):
            sign, lots = (1 if roll.to_quantity > 0 else -1), abs(roll.to_quantity) * roll.closed // abs(roll.quantity) // roll.new.lot
            roll.to_quantity = sign * lots * roll.new.lot
            text = f"{roll.strategy} {roll.old.key}: others closed {abs(roll.quantity) - roll.closed} of {abs(roll.quantity)}"
            self._alert("page", "Closed from outside", f"{text} during the roll; {abs(roll.to_quantity)} {roll.new.key} are opened")
        roll.step, roll.attempts, roll.next_try, roll.paged = OPENING, 0, None, False
        self._keep(roll)
        opened = Target(
            strategy=roll.strategy,
            name=roll.name,
            instrument=roll.new,
            raw=roll.raw,
            wanted=roll.to_quantity,
            horizon=Horizon.CARRY,
            at=now,
            stop=_moved(roll.stop, roll),
            take_profit=_moved(roll.take_profit, roll),
            why=f"roll from {roll.old.key}",
            purpose=Purpose.ROLL,
        )
        if roll.to_quantity:
            self._try(roll, opened, now)
        else:
            self._half(roll, opened, "nothing of it is left to open in whole lots of the new contract")

    def _open(self, roll: Roll, now: datetime) -> None:
        target = self._targets.get(*roll.key)
        if target is None or target.purpose is not Purpose.ROLL or target.instrument.key != roll.new.key:
            self._finish(roll, ENDED, "roll_overtaken", {"by": target.why if target is not None else "its target is gone"})
            return
        if self._desk.working(*roll.key) or self._unbooked(roll):
            return
        if target.latched:
            self._half(roll, target, "what had been opened was closed from outside")
        elif self._held(roll.new, roll) != roll.to_quantity:
            self._try(roll, target, now)
        else:
            target.purpose = Purpose.EXIT
            self._targets.keep(target)
            paid = _average(roll.opened_worth, roll.opened) - _average(roll.closed_worth, roll.closed)
            sign = 1 if roll.quantity > 0 else -1
            seconds = (now - roll.begun).total_seconds() if roll.begun else None
            facts = {
                "closed": roll.closed,
                "opened": roll.opened,
                "closed_at": _average(roll.closed_worth, roll.closed),
                "opened_at": _average(roll.opened_worth, roll.opened),
                "paid": round(paid, 4),
                "gap": round(roll.gap, 4),
                "quantity": sign * roll.closed,
                "cost": round((paid - roll.gap) * sign * roll.closed * roll.new.multiplier, 2) + 0.0,  # no -0.0
                "seconds": seconds,
            }
            self._alert("info", "Rolled", f"{roll.strategy}: {roll.quantity} {roll.old.key} into {roll.to_quantity} {roll.new.key}")
            self._finish(roll, DONE, "roll_done", facts)

    def _try(self, roll: Roll, target: Target, now: datetime) -> None:
        """Act on the leg, from the price of this moment; not before the next try is due."""
        if roll.next_try is not None and now < roll.next_try:
            return
        target.reference = self._world.last_price(target.instrument) or 0.0
        self._targets.keep(target)
        self._engine.act(target)

    def _failed(self, roll: Roll, target: Target, why: str, *, final: bool) -> None:
        roll.attempts += 1
        now = self._clock.now()
        roll.next_try = now + timedelta(seconds=min(60.0, 5.0 * 2.0 ** (roll.attempts - 1)))
        self._store.journal(now, "roll_try_failed", roll.facts() | {"step": roll.step, "attempt": roll.attempts, "why": why})
        if roll.step == OPENING and (final or roll.attempts >= self.settings.attempts):
            self._half(roll, target, why)
            return
        if roll.attempts in (3, 6):
            level = "page" if roll.attempts == 6 else "warn"
            self._alert(level, "Roll does not get through", f"{roll.strategy} {roll.name}, {roll.step}: {roll.attempts} tries, last: {why}")
        self._keep(roll)

    def _half(self, roll: Roll, target: Target, why: str) -> None:
        """Closed and not, or not wholly, opened: what is held stays, nothing more is opened, and a person is told."""
        held = self._held(roll.new, roll)
        target.wanted, target.latched, target.purpose, target.pending = held, True, Purpose.EXIT, False
        self._targets.keep(target)
        text = f"{roll.closed} {roll.old.key} were closed, {held} of {roll.to_quantity} {roll.new.key} are held: {why}"
        self._alert("page", "Half a roll", f"{roll.strategy} {roll.name}: {text}; open the rest by hand, or let the strategy decide anew")
        self._finish(roll, HALF, "roll_half", {"closed": roll.closed, "held": held, "to_quantity": roll.to_quantity, "why": why})

    def _let_go(self, target: Target, new: Instrument) -> None:
        """Nothing is held: a latch goes over to the new contract; a wish that nothing came of ends with the old one."""
        facts = {"strategy": target.strategy, "name": target.name, "instrument": target.instrument.key, "wanted": target.wanted}
        if target.latched or target.wanted == 0:
            moved = msgspec.structs.replace(target, instrument=new, wanted=0, stop=None, take_profit=None, closing=False, pending=False)
            self._targets.keep(moved)
        else:
            self._store.journal(self._clock.now(), "target_dropped", facts)
            self._targets.drop(target)

    def _finish(self, roll: Roll, step: str, kind: str, facts: Mapping[str, Any]) -> None:
        """The pair gives its key back; what was said meanwhile is heard now."""
        roll.step, roll.waits = step, ""
        signal, roll.waiting_signal = roll.waiting_signal, None
        self._keep(roll)
        self._store.journal(self._clock.now(), kind, roll.facts() | dict(facts))
        run = next((run for run in self._engine.runs if run.strategy.name == roll.strategy and roll.name in run.instruments), None)
        if signal is not None and run is not None and run.instruments[roll.name].key == signal.instrument.key:
            self._engine.take_signal(run, signal)

    # --- what it needs to know ---------------------------------------------------------------------------------------------------------

    def _unready(self, roll: Roll) -> str:
        """Why one of the legs could not go now; empty when both could."""
        world, now = self._world, self._clock.now()
        if world.state is not TradingState.ACTIVE:
            return f"trading is {world.state}"
        if world.session is SessionState.LOGIN_REQUIRED:
            return "the broker session needs a login"
        for why in (world.blind, world.feed_stale, world.frozen(roll.old), world.frozen(roll.new), world.restricted(roll.new)):
            if why:
                return why
        for instrument in (roll.old, roll.new):
            if not world.calendar.is_open(instrument, now):
                return f"{instrument.key} does not trade now"
            age = world.received_age(instrument)
            if age is None or age > self.settings.fresh_s:
                return f"no fresh price of {instrument.key}"
        other = next(
            (one for one in self._rolls.values() if one is not roll and one.strategy == roll.strategy and one.old.key == roll.new.key), None
        )
        if other is not None and other.step in (WAITING, *OPEN):
            return f"{roll.new.key} has to be rolled out of first"
        if self._held(roll.new, roll):
            return f"{roll.strategy} already holds {roll.new.key}"
        return ""

    def _wait(self, roll: Roll, why: str) -> None:
        now = self._clock.now()
        if not roll.waits:
            roll.waits_since = now
            self._store.journal(now, "roll_waits", roll.facts() | {"step": roll.step, "why": why})
        roll.waits = why
        if not roll.paged and roll.waits_since is not None and now - roll.waits_since >= PATIENCE:
            roll.paged = True
            self._alert("page", "Roll waits", f"{roll.strategy} {roll.name} from {roll.old.key} into {roll.new.key}, {roll.step}: {why}")
        self._keep(roll)

    def _note_prices(self, roll: Roll) -> None:
        roll.old_reference = self._world.last_price(roll.old) or 0.0
        roll.new_reference = self._world.last_price(roll.new) or 0.0
        if not (roll.old_reference and roll.new_reference):
            roll.old_reference = roll.new_reference = 0.0  # no gap is known: stops stay as they are said

    def _held(self, instrument: Instrument, roll: Roll) -> int:
        return self._portfolio.position(roll.strategy, instrument)

    def _unbooked(self, roll: Roll) -> bool:
        return any((order.strategy, order.name) == roll.key for order in self._desk.unbooked())

    def _keep(self, roll: Roll) -> None:
        self._rolls[roll.key] = roll
        self._store.put(SPACE, f"{roll.strategy}|{roll.name}", msgspec.to_builtins(roll))


class Seen:
    """core.types.View for strategies: the world, in which a roll does not change what they hold."""

    def __init__(self, world: World, portfolio: Portfolio, rolls: Mapping[tuple[str, str], Roll]) -> None:
        self._world = world
        self._portfolio = portfolio
        self._rolls = rolls

    @property
    def now(self) -> datetime:
        return self._world.now

    def last_price(self, instrument: Instrument) -> float | None:
        return self._world.last_price(instrument)

    def position(self, strategy: str, instrument: Instrument) -> int:
        held = self._portfolio.position(strategy, instrument)
        for roll in self._rolls.values():
            if roll.strategy == strategy and roll.old.key == instrument.key and roll.step != WAITING:
                return roll.quantity if roll.step in OPEN else held + self._portfolio.position(strategy, roll.new)
        return held

    def resolve(self, name: str) -> Instrument | None:
        return self._world.resolve(name)

    def phase(self, instrument: Instrument) -> str:
        return self._world.phase(instrument)


def _before(one: Instrument, other: Instrument) -> bool:
    """Whether both are futures on one underlying, and the first expires earlier."""
    futures = one.kind is Kind.FUTURE and other.kind is Kind.FUTURE and one.underlying == other.underlying
    return futures and one.expiry is not None and other.expiry is not None and one.expiry < other.expiry


def _moved(price: float | None, roll: Roll) -> float | None:
    return None if price is None else round_to_tick(price + roll.gap, roll.new.tick_size)


def _average(worth: float, quantity: int) -> float:
    return round(worth / quantity, 4) if quantity else 0.0
