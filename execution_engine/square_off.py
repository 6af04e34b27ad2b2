"""The square-off: everything intraday that we own is flat by its deadline, or a person has been told loudly that it is not (promise P5).

Rules:
1. Each instrument has one plan, from the calendar's one rule; instruments whose plans start together share a timer.
2. The schedule is durable: it is armed from the calendar at every start of the process, and fires at once if its time has passed.
3. When it fires: every intraday key there wants nothing and latches; working orders are cancelled first, exits follow on evidence.
4. It looks again every two seconds: act on what is still open; page two minutes before each instrument's own deadline (what is flat and
   opens again is paged again); go on until trading ends. What is held when the day closes is paged once more.
5. What nobody can close, because it is locked at its circuit limit, is STUCK: paged once, as soon as it is seen.
"""

from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from typing import Any

import msgspec

from core.market import SquareOffPlan
from core.ports import Store
from core.types import Horizon, Instrument, Order, Position, Purpose
from execution_engine.buy_sell_logic import Target
from execution_engine.order_manager import Alert, OrderDesk
from execution_engine.portfolio import EXTERNAL, Portfolio
from execution_engine.targets import Targets
from execution_engine.timers import Timers

AGAIN = timedelta(seconds=2)
SPACE = "square_off"


class Round(msgspec.Struct):
    """One square-off of one day: the instruments whose plans start together. Times are None until they happened.

    `page_at` is by instrument key; `paged` are the keys of what a person was told of and is open still.
    """

    day: date
    start: datetime
    closes: datetime
    page_at: dict[str, datetime]
    started: datetime | None = None
    flat: datetime | None = None
    paged: set[str] = set()
    stuck: dict[str, str] = {}
    stuck_told: set[str] = set()

    @property
    def name(self) -> str:
        return f"{self.start:%H:%M:%S}"


class SquareOff:
    """Arms, runs and remembers the day's square-offs. `flatten` is the engine's."""

    def __init__(
        self,
        *,
        timers: Timers,
        store: Store,
        portfolio: Portfolio,
        desk: OrderDesk,
        targets: Targets,
        plan: Callable[[Instrument], SquareOffPlan | None],
        flatten: Callable[[Target, str, Purpose], None],
        alert: Alert,
        locked: Callable[[Instrument, int], str] = lambda instrument, held: "",
    ) -> None:
        self._locked = locked
        self._timers = timers
        self._store = store
        self._portfolio = portfolio
        self._desk = desk
        self._targets = targets
        self._plan = plan
        self._flatten = flatten
        self._alert = alert
        self._rounds: dict[str, Round] = {}
        self._instruments: dict[str, Instrument] = {}

    def arm(self, day: date, instruments: Iterable[Instrument]) -> None:
        """Set the day's timers, instead of any before; a round whose time has passed fires with the next timers."""
        for this in self._rounds.values():
            self._timers.cancel(f"square_off|{this.name}")
            if this.started is None and this.day == day:
                self._store.put(SPACE, f"{day.isoformat()}|{this.name}", None)
        self._rounds.clear()
        self._instruments.clear()
        for instrument in sorted(instruments, key=lambda one: one.key):
            self.include(day, instrument)

    def rearm(self, day: date) -> None:
        """The hours of the day have changed: the same instruments, by their plans as they are now."""
        self.arm(day, list(self._instruments.values()))

    def include(self, day: date, instrument: Instrument) -> None:
        """Bring one more instrument under its square-off of today."""
        self._instruments[instrument.key] = instrument
        plan = self._plan(instrument)
        if plan is not None and instrument.tradable:
            self._include(day, instrument, plan)

    def fire(self, name: str, now: datetime) -> None:
        """The round's timer: begin, or look again."""
        this = self._rounds[name]
        if this.started is None:
            this.started = now
            self._store.journal(now, "square_off_started", {"scheduled": this.start.isoformat(), "instruments": sorted(this.page_at)})
            self._keep(this)
        held, working = self._open(this)
        this.paged &= _keys(held, working)
        if not held and not working:
            if this.flat is None:
                this.flat = now
                self._store.journal(
                    now, "square_off_flat", {"scheduled": this.start.isoformat(), "seconds": (now - this.start).total_seconds()}
                )
                self._keep(this)
        else:
            this.flat = None
            for target in self._to_flatten(held, working, now):
                self._flatten(target, "square-off", Purpose.SQUARE_OFF)
            self._tell(this, held, working, now)
        if now < this.closes:
            self._timers.wait(f"square_off|{name}", now, AGAIN)

    def now_all(self, why: str, now: datetime, *, whole_account: bool = False) -> None:
        """Flatten every key of ours at once, whatever its horizon (square-off and kill by command).

        `whole_account` also closes what is EXTERNAL: only `kill --whole-account` with the account's name typed out asks for that.
        """
        held = [p for p in self._portfolio.positions() if p.quantity and (whole_account or p.strategy != EXTERNAL)]
        for target in self._to_flatten(held, (*self._desk.live(), *self._desk.unbooked()), now):
            self._flatten(target, why, Purpose.SQUARE_OFF)

    def keyless(self, now: datetime) -> list[Target]:
        """What wants nothing any more of each position of ours that has no key (it was left over from an earlier day)."""
        held = [one for one in self._portfolio.positions() if one.quantity and one.strategy != EXTERNAL]
        return self._to_flatten([one for one in held if self._targets.holding(one.strategy, one.instrument) is None], (), now)

    def close_day(self) -> None:
        """Trading is over: what was to be flat and is held all the same is told."""
        left = [p for p in self._portfolio.positions() if p.quantity and p.strategy != EXTERNAL and p.horizon is Horizon.INTRADAY]
        if left:
            what = ", ".join(f"{one.quantity} {one.instrument.key} ({one.strategy}, {one.product})" for one in left)
            text = f"{what}: intraday, and held as the day closes; the broker has carried or closed it. Look at the broker's terminal"
            self._alert("page", "Held overnight", f"{text}; what is still held is squared off on the next trading day")

    def rounds(self) -> list[dict[str, Any]]:
        """What the report and status show, in the order of their starts: scheduled, started, flat."""
        return [
            {"scheduled": r.start.isoformat(), "started": r.started and r.started.isoformat(), "flat": r.flat and r.flat.isoformat()}
            | ({"stuck": dict(r.stuck)} if r.stuck else {})
            for r in sorted(self._rounds.values(), key=lambda one: one.start)
        ]

    def next_start(self) -> datetime | None:
        waiting = [this.start for this in self._rounds.values() if this.started is None]
        return min(waiting) if waiting else None

    def _include(self, day: date, instrument: Instrument, plan: SquareOffPlan) -> None:
        """Bring an instrument under its round."""
        this = Round(day, plan.start, plan.closes, {})
        found = self._rounds.setdefault(this.name, this)
        if found is this:
            stored = self._store.get(SPACE, f"{day.isoformat()}|{this.name}") or {}
            this.started, this.flat = _time(stored.get("started")), _time(stored.get("flat"))
            self._timers.set(f"square_off|{this.name}", plan.start)
        found.page_at[instrument.key] = plan.page_at
        found.closes = max(found.closes, plan.closes)
        self._keep(found)

    def _open(self, this: Round) -> tuple[list[Position], list[Order]]:
        held = [
            position
            for position in self._portfolio.positions()
            if position.quantity
            and position.strategy != EXTERNAL
            and position.horizon is Horizon.INTRADAY
            and position.instrument.key in this.page_at
        ]
        orders = (*self._desk.live(), *self._desk.unbooked())
        working = [o for o in orders if o.instrument.key in this.page_at and o.horizon is Horizon.INTRADAY]
        return held, working

    def _to_flatten(self, held: Iterable[Position], working: Iterable[Order], now: datetime) -> list[Target]:
        """The keys to act on; a position without one (its strategy is gone) gets one of its own."""
        found: dict[tuple[str, str], Target] = {}
        for position in held:
            target = self._targets.holding(position.strategy, position.instrument)
            if target is None:
                target = Target(position.strategy, position.instrument.key, position.instrument, 0, 0, position.horizon, now)
            found[target.strategy, target.name] = target
        for order in working:
            known = self._targets.get(order.strategy, order.name)
            if known is None:
                known = Target(order.strategy, order.name, order.instrument, 0, 0, order.horizon, now)
            found[known.strategy, known.name] = known
        return [found[key] for key in sorted(found)]

    def _tell(self, this: Round, held: list[Position], working: list[Order], now: datetime) -> None:
        stuck = {one.instrument.key: why for one in held if (why := self._locked(one.instrument, one.quantity))}
        for key in sorted(stuck.keys() - this.stuck_told):
            amount = sum(one.quantity for one in held if one.instrument.key == key)
            text = f"{amount} {key} {stuck[key]}; the exit rests at the limit, and what is left at the close is carried or goes to auction"
            self._store.journal(now, "stuck", {"instrument": key, "quantity": amount, "why": stuck[key]})
            self._alert("page", "STUCK", text)
        this.stuck = stuck
        this.stuck_told |= stuck.keys()
        due = {key for key in _keys(held, working) - this.paged if this.page_at[key] <= now}
        if not due:
            return
        this.paged |= due
        open_ = [
            f"{one.quantity} {one.instrument.key} ({one.strategy}) {self._locked(one.instrument, one.quantity)}".strip()
            for one in held
            if one.instrument.key in due
        ]
        alive = [
            f"{order.side} {order.quantity} {order.instrument.key} {order.state} ({order.strategy}, {order.tag})"
            for order in working
            if order.instrument.key in due
        ]
        what = ", ".join(open_ + alive)
        text = f"still open at {now:%H:%M:%S}, the deadline is near: {what}; close them at the broker's terminal if they remain"
        self._alert("page", "Not flat", text)

    def _keep(self, this: Round) -> None:
        self._store.put(
            SPACE,
            f"{this.day.isoformat()}|{this.name}",
            {
                "scheduled": this.start.isoformat(),
                "started": this.started and this.started.isoformat(),
                "flat": this.flat and this.flat.isoformat(),
                "instruments": sorted(this.page_at),
            },
        )


def _keys(held: Iterable[Position], working: Iterable[Order]) -> set[str]:
    return {one.instrument.key for one in held} | {one.instrument.key for one in working}


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
