"""Stops that stand at the broker over the night: what is carried gets a trigger there (Zerodha's GTT) where its day's stop has ended.

Rules:
1. Once the day's trading in an instrument is over, each key that carries it with a stop gets one trigger: the engine's stop, the same
   limit beyond it as a stop of the day, for what is held. What is no longer so is taken back, and set anew while the market is shut.
2. There are never two stops: the trigger stays until the market opens, is then taken back, and only when the broker's list no longer
   shows it does a stop of the day or an exit go. What a reply says of it counts for nothing by itself, a refusal to set it excepted.
3. Its intent is on disk before it leaves. It carries no tag: a call whose fate is unknown is found in the list by all its terms. It is
   absent only after four complete lists over 120 seconds, the last of them of a later day: a list of the same evening may stand still
   (docs/adr/0025). Until then no other is set, and a person is told.
4. One that fired has sent an order of its own, which closes what is ours as any order from outside does. Nothing else goes before that
   order has ended, or what was held has left.
5. What cannot stand (nearer to the price than the broker allows, refused, a broker without triggers) is told once a night.
"""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Literal, Protocol

import msgspec

from core.errors import StoreError
from core.events import Action, Books, Guard, Outcome, Reply
from core.ports import Clock, Store
from core.types import Horizon, Instrument, SessionState, Side
from execution_engine.buy_sell_logic import Target, protection_hit
from execution_engine.order_manager import Alert
from execution_engine.order_state import TERMINAL
from execution_engine.portfolio import Portfolio
from execution_engine.targets import Targets
from execution_engine.world import World

SPACE = "night_guards"
PREFIX = "guard|"
ABSENT_LISTS = 4
ABSENT_SPAN = timedelta(seconds=120)
ASK_AGAIN = timedelta(seconds=5)
LATE = timedelta(seconds=30)
Stage = Literal["placing", "standing", "removing", "fired"]


class GuardDesk(Protocol):
    """Who places triggers and takes them back; answers are Reply events with our name of the guard for an order id."""

    def watch_guards(self, watch: bool) -> None:
        """Whether each read of the books is to bring the list of triggers."""
        ...

    def place_guard(self, name: str, guard: Guard, last_price: float) -> None: ...
    def cancel_guard(self, name: str, guard: Guard) -> None: ...
    def read_books(self, *, positions: bool, urgent: bool = False) -> None: ...


class Kept(msgspec.Struct):
    """One trigger of ours. `since`: when its stage began; `asked_at`: when the broker was last asked to take it back."""

    name: str
    strategy: str
    guard: Guard
    stage: Stage
    since: datetime
    asked_at: datetime | None = None
    lists: int = 0  # complete lists without it
    told: bool = False


class NightGuard:
    """Lives on the engine thread. `desk` None: the broker has no such triggers. `sets` False: the engine holds the stops, and what an
    earlier process left is taken back."""

    def __init__(
        self,
        desk: GuardDesk | None,
        *,
        sets: bool,
        clock: Clock,
        store: Store,
        portfolio: Portfolio,
        targets: Targets,
        world: World,
        alert: Alert,
        terms: Callable[[Target, Side], tuple[float, float]],
        stops_alive: Callable[[Target], bool],
    ) -> None:
        self.desk = desk
        self._sets = sets
        self._clock = clock
        self._store = store
        self._portfolio = portfolio
        self._targets = targets
        self._world = world
        self._alert = alert
        self._terms = terms
        self._stops_alive = stops_alive
        self._kept: dict[str, Kept] = {}
        self._count = 0
        self._told: dict[str, date] = {}  # key -> the day on which a person heard that nothing stands for it
        self._asked_at: datetime | None = None
        self.lacking = ""  # why there are no triggers at a broker where stops should stand

    def open_day(self) -> None:
        """Take up what an earlier process left; the broker's next list says what is true of it."""
        for name, value in self._store.items(SPACE).items():
            if value is not None and name not in self._kept:
                self._kept[name] = msgspec.convert(value, Kept)
        self._count = int(self._store.get("engine", "guards") or 0)
        if self.desk is not None:
            self.desk.watch_guards(bool(self._kept))

    def stands(self, target: Target) -> bool:
        """Whether a trigger of this key may fill: nothing else may close it then. While the market is open it is being taken back."""
        kept = self._of(target)
        return kept is not None

    def look(self, now: datetime) -> None:
        """Each second: set what lacks, take back what is in the way, ask for what nobody answered."""
        if self.desk is None:
            for target in self._targets if self.lacking else ():
                if self._wanted(target, now):
                    self._tell(target.strategy, target.instrument, self.lacking)
            return
        if self._world.session is SessionState.LOGIN_REQUIRED or "recovery" in self._world.blinded:
            return
        for target in self._targets:
            if self._of(target) is None and self._wanted(target, now):
                self._place(target, now)
        for kept in list(self._kept.values()):
            self._tend(kept, now)
        waiting = any(kept.stage != "standing" for kept in self._kept.values())
        if waiting and (self._asked_at is None or now - self._asked_at >= ASK_AGAIN):
            self._asked_at = now
            self.desk.read_books(positions=True, urgent=True)

    # --- what the broker says ---------------------------------------------------------------------------------------------------------

    def on_reply(self, reply: Reply) -> None:
        """A call about a trigger ended. A refusal to set one is certain; all else is for the list to say."""
        kept = self._kept.get(reply.order_id)
        if kept is None or reply.action is not Action.PLACE or kept.stage != "placing":
            return
        if reply.outcome is Outcome.REJECT:
            self._forget(kept, "guard_refused", reply.reason)
            self._tell(
                kept.strategy, kept.guard.instrument, f"the broker refused its trigger at {kept.guard.trigger_price}: {reply.reason}"
            )
        elif reply.outcome is Outcome.ACK and reply.broker_order_id:
            kept.guard = msgspec.structs.replace(kept.guard, id=reply.broker_order_id)
            self._keep(kept)

    def on_books(self, books: Books) -> None:
        """One complete list of triggers."""
        if books.guards is None:
            return
        rows = {row.id: row for row in books.guards}
        for kept in list(self._kept.values()):
            if kept.since >= books.asked_at:
                continue  # the list may be older than it
            row = rows.get(kept.guard.id) if kept.guard.id else self._found(kept, books.guards)
            self._heard(kept, row, books)

    def _heard(self, kept: Kept, row: Guard | None, books: Books) -> None:
        if kept.stage == "fired":
            self._after_firing(kept, books)
        elif row is None:
            self._missing(kept, books)
        elif row.active:
            kept.lists = 0
            if kept.stage == "placing":
                kept.guard = row
                self._stage(kept, "standing", "guard_stands")
        elif row.fired:
            kept.guard = row
            self._stage(kept, "fired", "guard_fired")
            text = f"{kept.strategy} {row.instrument.key}: the trigger at {row.trigger_price} fired"
            self._alert("page", "The stop of the night fired", f"{text}; its order at the broker: {row.order_id or row.label}")
        elif kept.stage == "removing":
            self._forget(kept, "guard_removed", row.label)
        else:
            self._forget(kept, "guard_gone", row.label)
            self._tell(kept.strategy, row.instrument, f"its trigger at {row.trigger_price} is {row.label}, and not by us")

    def _missing(self, kept: Kept, books: Books) -> None:
        """A complete list without it: what was taken back is gone, what nobody knows of is absent after a while."""
        kept.lists += 1
        if kept.stage == "removing" and kept.guard.id:
            self._forget(kept, "guard_removed", "no longer listed")
        elif kept.lists < ABSENT_LISTS or books.asked_at - kept.since < ABSENT_SPAN:
            return
        elif kept.stage == "placing" and books.asked_at.date() == kept.since.date():
            self._unsure(kept)
        else:
            self._forget(kept, "guard_gone", f"absent from {kept.lists} lists")

    def _after_firing(self, kept: Kept, books: Books) -> None:
        """Rule 4."""
        row = next((one for one in books.orders if one.broker_order_id == kept.guard.order_id), None)
        ended = not kept.guard.order_id or (row is not None and row.state in TERMINAL)
        if ended or not self._portfolio.position(kept.strategy, kept.guard.instrument):
            self._forget(kept, "guard_done", row.label if row is not None else kept.guard.label)

    def _found(self, kept: Kept, rows: tuple[Guard, ...]) -> Guard | None:
        """The row of a trigger whose id never reached us, by all its terms."""
        taken = {one.guard.id for one in self._kept.values()}
        return next((row for row in rows if row.id not in taken and _alike(row, kept.guard)), None)

    # --- what is to stand -------------------------------------------------------------------------------------------------------------

    def _wanted(self, target: Target, now: datetime) -> bool:
        held = self._portfolio.position(target.strategy, target.instrument)
        if not self._sets or target.horizon is not Horizon.CARRY or target.stop is None or held * target.wanted <= 0 or target.closing:
            return False
        return self._shut(target.instrument, now) and not self._stops_alive(target) and not self._world.expired(target.instrument)

    def _shut(self, instrument: Instrument, now: datetime) -> bool:
        """Whether the day's trading in it is over."""
        windows = self._world.calendar.continuous(instrument, now.date())
        return not windows or now >= windows[-1][1]

    def _place(self, target: Target, now: datetime) -> None:
        held, last = self._portfolio.position(target.strategy, target.instrument), self._world.last_price(target.instrument)
        side = Side.SELL if held > 0 else Side.BUY
        trigger, limit = self._terms(target, side)
        if last is None or self._told.get(_key(target.strategy, target.instrument)) == now.date():
            return
        if protection_hit(target, held, last):
            self._tell(target.strategy, target.instrument, f"the last price {last} is beyond its stop {target.stop} already")
            return
        product = next(
            one.product
            for one in self._portfolio.positions()
            if one.quantity and (one.strategy, one.instrument.key) == (target.strategy, target.instrument.key)
        )
        guard = Guard("", target.instrument, product, side, abs(held), trigger, limit)
        self._count += 1
        kept = Kept(f"{PREFIX}{self._count}", target.strategy, guard, "placing", now)
        self._kept[kept.name] = kept
        self._store.put("engine", "guards", self._count)
        self._keep(kept)
        self._journal("guard_placed", kept, "")
        try:
            self._store.commit()
        except StoreError as error:
            del self._kept[kept.name]
            self._store.put(SPACE, kept.name, None)
            self._tell(target.strategy, target.instrument, f"its trigger could not be written down: {error}")
            return
        assert self.desk is not None
        self.desk.watch_guards(True)
        self.desk.place_guard(kept.name, guard, last)

    def _tend(self, kept: Kept, now: datetime) -> None:
        """Take it back where it is in the way or no longer right; page where that takes too long."""
        if kept.stage == "standing" and not self._right(kept, now):
            self._stage(kept, "removing", "guard_taken_back")
        if kept.stage != "removing":
            return
        if kept.guard.id and (kept.asked_at is None or now - kept.asked_at >= ASK_AGAIN):
            kept.asked_at = now
            assert self.desk is not None
            self.desk.cancel_guard(kept.name, kept.guard)
        if now - kept.since >= LATE and not kept.told:
            kept.told = True
            text = (
                f"the trigger {kept.guard.id} of {kept.strategy} in {kept.guard.instrument.key} at {kept.guard.trigger_price} could not be "
                f"taken back since {kept.since:%H:%M:%S}: exits wait for it, for both could fill. Delete it at the broker's terminal"
            )
            self._alert("page", "An exit waits for a stop", text)

    def _right(self, kept: Kept, now: datetime) -> bool:
        """Whether a standing trigger is still the one that is to stand."""
        guard = kept.guard
        target = self._targets.holding(kept.strategy, guard.instrument)
        if target is None or not self._sets or self._world.calendar.is_open(guard.instrument, now):
            return False
        held = self._portfolio.position(kept.strategy, guard.instrument)
        if target.stop is None or held * target.wanted <= 0 or target.closing:
            return False
        trigger, limit = self._terms(target, guard.side)
        near = guard.instrument.tick_size / 2
        same = abs(trigger - guard.trigger_price) < near and abs(limit - guard.limit_price) < near
        return abs(held) == guard.quantity and held * guard.side.sign < 0 and same

    # --- memory and words -------------------------------------------------------------------------------------------------------------

    def _of(self, target: Target) -> Kept | None:
        for kept in self._kept.values():
            if (kept.strategy, kept.guard.instrument.key) == (target.strategy, target.instrument.key):
                return kept
        return None

    def _stage(self, kept: Kept, stage: Stage, word: str) -> None:
        kept.stage, kept.since, kept.asked_at, kept.lists = stage, self._clock.now(), None, 0
        self._keep(kept)
        self._journal(word, kept, kept.guard.label)

    def _keep(self, kept: Kept) -> None:
        self._store.put(SPACE, kept.name, msgspec.to_builtins(kept))

    def _forget(self, kept: Kept, word: str, why: str) -> None:
        self._kept.pop(kept.name, None)
        self._store.put(SPACE, kept.name, None)
        self._journal(word, kept, why)
        if not self._kept and self.desk is not None:
            self.desk.watch_guards(False)

    def _journal(self, word: str, kept: Kept, why: str) -> None:
        guard = kept.guard
        facts = {"strategy": kept.strategy, "instrument": guard.instrument.key, "id": guard.id, "side": str(guard.side),
                 "quantity": guard.quantity, "trigger_price": guard.trigger_price, "limit_price": guard.limit_price}  # fmt: skip
        self._store.journal(self._clock.now(), word, facts | ({"why": why} if why else {}))

    def _unsure(self, kept: Kept) -> None:
        """Nobody knows whether it stands; no other is set beside it. Told once a night."""
        guard, key, today = kept.guard, _key(kept.strategy, kept.guard.instrument), self._clock.now().date()
        if self._told.get(key) == today:
            return
        self._told[key] = today
        terms = f"{guard.side} {guard.quantity}, trigger {guard.trigger_price}, limit {guard.limit_price}"
        text = (
            f"{kept.strategy} {guard.instrument.key}: the call for its trigger was not answered, and {kept.lists} lists do not show it; it "
            f"is not set again before the morning's lists, for both could fire. Look at the broker's terminal; if it is not there, set it "
            f"there: {terms}; with these terms it is taken for ours"
        )
        self._alert("page", "No stop over the night", text)

    def _tell(self, strategy: str, instrument: Instrument, why: str) -> None:
        today, key = self._clock.now().date(), _key(strategy, instrument)
        if self._told.get(key) != today:
            self._told[key] = today
            text = f"{strategy} {instrument.key}: {why}. Nothing of it stands at the broker until the market opens"
            self._alert("page", "No stop over the night", text)


def _key(strategy: str, instrument: Instrument) -> str:
    return f"{strategy}|{instrument.key}"


def _alike(row: Guard, ours: Guard) -> bool:
    near = ours.instrument.tick_size / 2
    same = (row.instrument.key, row.product, row.side, row.quantity) == (ours.instrument.key, ours.product, ours.side, ours.quantity)
    return row.active and same and abs(row.trigger_price - ours.trigger_price) < near and abs(row.limit_price - ours.limit_price) < near
