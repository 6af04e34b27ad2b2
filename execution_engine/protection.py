"""Stops at the broker: each position of ours has SL orders there, so that it stays protected when this machine dies.

Rules:
1. A key that holds what it wants, and has a stop, has SL orders at the broker: the engine's stop is their trigger, and they cover what it
   holds less what is leaving already. They follow it: the first at once, later growth and moves at most every `MOVE_EVERY`, what is too
   much at once.
2. Never two exits: before an exit leaves, `make_way` takes as much off the stops as it closes and waits for the broker's evidence. The gate
   counts a stop as closing, so an exit that came too early would be refused.
3. A stop whose trigger the price has reached is the exit: it has `GRACE` to fill, then it is cancelled and an exit of the engine goes.
4. A stop that fires latches its key like the engine's own; what it leaves over goes. Nothing of it stays once the key is flat.
5. A stop that is refused, or that somebody else took away, is told. The engine's own stop stays; the broker's is tried again with a
   back-off, `TRIES` times for the same stop.
6. After a restart the stops are those of the ledger, found by their tags; none is sent or moved before the broker's books were read.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import islice

import msgspec

from core.expiries import round_to_tick
from core.ports import Clock, Executor
from core.types import Approved, Instrument, Order, OrderRequest, OrderState, OrderType, Purpose, Refused, SessionState, Side
from execution_engine.buy_sell_logic import MOST_SLICES, Target, protection_hit, slices
from execution_engine.order_manager import Alert, Change, OrderDesk
from execution_engine.order_state import IN_FLIGHT, TERMINAL
from execution_engine.portfolio import Portfolio
from execution_engine.targets import Targets
from execution_engine.world import World
from risk.gate import Gate
from risk.rules import band

MOVE_EVERY = timedelta(seconds=3)
GRACE = timedelta(seconds=3)
SILENT = timedelta(seconds=3)
REFUSED_MOST_S = 30.0  # between two tries to take back a stop that the broker does not let go
LATE = timedelta(seconds=10)  # a command that is not confirmed by then counts as unknown: a person is told
TRIES = 6
MOVING = IN_FLIGHT | {OrderState.PENDING_NEW, OrderState.PENDING_MODIFY, OrderState.PENDING_CANCEL}
Key = tuple[str, str]  # strategy, instrument key


class Protect(msgspec.Struct, frozen=True):
    """Stops at the broker. `limit_pct`: how far beyond its trigger the limit of one lies, in per cent (at least 20 ticks)."""

    limit_pct: float = 1.0


class _Kept(msgspec.Struct):
    """What is remembered of one key: when its stops may be moved again, and how often the present one failed."""

    next_at: datetime
    tries: int = 0
    failed: tuple[float, int] | None = None  # trigger and units that failed


class Protection:
    """Keeps the broker's stops in step. `submit` and `flatten` are the engine's; `recovering`: the books are still to be read."""

    def __init__(
        self,
        settings: Protect | None,
        clock: Clock,
        desk: OrderDesk,
        portfolio: Portfolio,
        targets: Targets,
        world: World,
        gate: Gate,
        executor: Executor,
        alert: Alert,
        shortfall: Callable[[str, Instrument], int],
        submit: Callable[[Approved], bool],
        flatten: Callable[[Target, str, Purpose], None],
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._desk = desk
        self._portfolio = portfolio
        self._targets = targets
        self._world = world
        self._gate = gate
        self._executor = executor
        self._alert = alert
        self._shortfall = shortfall
        self._submit = submit
        self._flatten = flatten
        self.night: Callable[[Target], bool] = lambda target: False  # whether a stop of the night still stands
        self._kept: dict[Key, _Kept] = {}
        self._asked_at: datetime | None = None  # when the books were last asked for, because nobody answered
        self._asked: dict[str, datetime] = {}  # stop -> since when an exit waits for it
        self._cancelled: dict[str, tuple[int, datetime]] = {}  # stop -> how often it was to be taken back, and not before when again
        self._told: set[str] = set()  # stops that hold an exit up, of which a person was told
        self._fired: set[str] = set()  # live stops whose key was flattened because they fired
        self._taken_back: set[str] = set()  # stops that we have cancelled ourselves
        self._changing: dict[str, tuple[int, float | None, float]] = {}  # stop -> the quantity, trigger and limit that we asked for

    # --- what the engine asks -----------------------------------------------------------------------------------------------------

    def look(self, now: datetime) -> bool:
        """Each second: bring every key's stops in step, and ask for what nobody answered; whether orders may have gone out."""
        stops = [order for order in self._desk.live() if order.purpose is Purpose.PROTECT]
        if self.settings is None and not stops:
            return False
        alive = {order.id for order in stops}
        self._asked = {name: since for name, since in self._asked.items() if name in alive}
        self._told &= alive
        self._cancelled = {name: tries for name, tries in self._cancelled.items() if name in alive}
        silent = any(order.state in MOVING and order.state not in IN_FLIGHT and now - order.updated_at >= SILENT for order in stops)
        if silent and (self._asked_at is None or now - self._asked_at >= SILENT):
            self._asked_at = now
            self._executor.read_books(positions=True)
        for target in self._targets:
            self.keep(target)
        for order in stops:
            if self._targets.holding(order.strategy, order.instrument) is None and self._may_speak():
                self._cancel(order, "no key of ours holds its instrument any more")
        return True

    def keep(self, target: Target) -> None:
        """Bring the stops of one key in step with what it holds and where its stop is; safe to call at any time."""
        stops = self.stops(target)
        if (self.settings is None and not stops) or not self._may_speak():
            return
        if any(order.state in MOVING or _fired(order) for order in stops):
            return  # its answer comes first, or its fill
        held = self._portfolio.position(target.strategy, target.instrument)
        side = Side.SELL if held > 0 else Side.BUY
        ours = [order for order in stops if held and order.side is side and self.settings is not None]
        for order in stops:
            if order not in ours:
                self._cancel(order, "nothing is held on its side" if self.settings is not None else "the engine holds the stops")
        if held == 0 or self.settings is None:
            self._kept.pop((target.strategy, target.instrument.key), None)
            return
        room = self._room(target, held)
        if sum(order.remaining for order in ours) > room:
            self._shrink(ours, room, "less is held")
        elif _guards(target, held):
            self._guard(target, ours, side, min(room, abs(target.wanted)))  # what is beyond that is to leave

    def make_way(self, target: Target, closing: int) -> bool:
        """Whether an exit of `closing` units may leave now: no stop could fill beside it. Else the way is being made."""
        stops, now = self.stops(target), self._clock.now()
        if self.night(target):
            return False  # it is taken back as soon as the market is open
        if not stops:
            return True
        room = max(0, self._room(target, self._portfolio.position(target.strategy, target.instrument)) - closing)
        if sum(order.remaining for order in stops) <= room and not any(order.state in MOVING for order in stops):
            return True
        for order in stops:
            since = self._asked.setdefault(order.id, now)
            waits = now - (max(since, order.updated_at) if order.state in MOVING else since)
            if waits >= LATE and order.id not in self._told:
                self._told.add(order.id)
                self._executor.read_books(positions=True, urgent=True)
                text = (
                    f"{order.tag} ({order.broker_order_id or 'no broker id yet'}), the stop of {order.strategy} in {order.instrument.key}, "
                    f"is {order.state} since {order.updated_at:%H:%M:%S} ({order.reason}): an exit "
                    f"beside it could fill twice, so it waits for the broker's "
                    f"word; look at the broker's terminal, cancel the stop there or close the position there"
                )
                self._alert("page", "An exit waits for a stop", text)
        if any(order.state in MOVING or self._is_the_exit(order, now) for order in stops):
            return False
        self._shrink(stops, room, "an exit of ours takes its place")
        return False

    def on_change(self, change: Change) -> None:
        """Something became known, before strategies hear of it: a position grew or shrank, or a stop fired, ended or was refused."""
        order = change.order
        if order.purpose is not Purpose.PROTECT:
            if change.fills and (self.settings is not None or any(one.purpose is Purpose.PROTECT for one in self._desk.alive.values())):
                mine = self._targets.holding(order.strategy, order.instrument)
                if mine is not None:
                    self.keep(mine)
            return
        target = self._targets.holding(order.strategy, order.instrument)
        ours, known = order.id in self._taken_back, order.id in self._fired
        asked = None if order.state is OrderState.PENDING_MODIFY else self._changing.pop(order.id, None)
        if change.ended:
            self._taken_back.discard(order.id)
            self._fired.discard(order.id)
        elif _fired(order):
            self._fired.add(order.id)
        if target is None:
            return
        if _fired(order):
            if not known:
                self._flatten(target, f"the stop at the broker fired at {order.trigger_price}", Purpose.EXIT)
        elif change.ended and not ours:
            self._failed(target, order.trigger_price or 0.0, order.quantity, f"{order.state}: {order.reason}")
        elif order.state is OrderState.TRIGGER_PENDING and asked not in (None, (order.quantity, order.trigger_price, order.limit_price)):
            self._failed(target, order.trigger_price or 0.0, order.quantity, f"it could not be changed to {asked}: {order.reason}")

    def stops(self, target: Target) -> list[Order]:
        """The live stops of what a key holds."""
        if not self._desk.alive:
            return []
        return [
            order
            for order in self._desk.live()
            if order.purpose is Purpose.PROTECT and order.strategy == target.strategy and order.instrument.key == target.instrument.key
        ]

    # --- inside ---------------------------------------------------------------------------------------------------------------------

    def _may_speak(self) -> bool:
        return self._world.session is not SessionState.LOGIN_REQUIRED and "recovery" not in self._world.blinded

    def _room(self, target: Target, held: int) -> int:
        """How many units stops may cover: what is held, less what the broker lacks of it, less what is leaving already."""
        leaving = sum(
            order.remaining
            for order in self._desk.live()
            if order.purpose not in (Purpose.ENTRY, Purpose.PROTECT)
            and order.strategy == target.strategy
            and order.instrument.key == target.instrument.key
            and order.side.sign * held < 0
        )
        missing = max(0, self._shortfall(target.strategy, target.instrument) * (1 if held > 0 else -1))
        return max(0, abs(held) - missing - leaving)

    def _guard(self, target: Target, stops: Sequence[Order], side: Side, room: int) -> None:
        """Move and grow what there is, add what lacks."""
        now, instrument = self._clock.now(), target.instrument
        last = self._world.last_price(instrument)
        if last is None or not self._world.calendar.is_open(instrument, now):
            return
        if protection_hit(target, self._portfolio.position(target.strategy, instrument), last) or self.night(target):
            return  # the engine's own exit is on its way, or the stop of the night still stands
        trigger, limit = self.terms(target, side)
        kept = self._kept.setdefault((target.strategy, instrument.key), _Kept(now))
        if kept.failed is not None and kept.failed != (trigger, room):
            kept.tries, kept.failed = 0, None
        if now < kept.next_at or kept.tries >= TRIES:
            return
        left, acted = room, False
        for order in stops:
            part = min(left, instrument.freeze or left)
            left -= part
            if part == 0:
                self._cancel(order, "other stops cover what is held")
            elif order.remaining != part or (order.trigger_price, order.limit_price) != (trigger, limit):
                self._change(order, part, trigger, limit, "kept in step with the engine's stop")
                acted = True
        for part in islice(slices(instrument, left), MOST_SLICES):
            acted = True
            if not self._place(target, side, part, trigger, limit, room):
                break
        if acted and kept.next_at <= now:
            kept.next_at = now + MOVE_EVERY

    def terms(self, target: Target, side: Side) -> tuple[float, float]:
        """Trigger and limit on the tick; the limit within the day's circuit limits where the trigger is."""
        assert target.stop is not None
        instrument, settings = target.instrument, self.settings or Protect()
        trigger = max(instrument.tick_size, round_to_tick(target.stop, instrument.tick_size, side))
        limit = trigger + side.sign * band(trigger, min(settings.limit_pct, self._gate.settings.exit_band_pct), instrument)
        low, high = self._world.limits.get(instrument.key, (0.0, 0.0))
        if low <= trigger <= high:
            limit = min(max(limit, low), high)
        limit = round_to_tick(max(limit, instrument.tick_size), instrument.tick_size, side)
        return trigger, min(limit, trigger) if side is Side.SELL else max(limit, trigger)

    def _place(self, target: Target, side: Side, quantity: int, trigger: float, limit: float, room: int) -> bool:
        request = OrderRequest(
            target.strategy,
            target.name,
            target.instrument,
            side,
            quantity,
            OrderType.SL,
            target.horizon,
            Purpose.PROTECT,
            limit,
            self._clock.now(),
            trigger,
            why="stop at the broker",
        )
        verdict = self._gate.review(request, self._world)
        if isinstance(verdict, Refused):
            self._failed(target, trigger, room, f"refused by {verdict.rule}: {verdict.reason}")
            return False
        return self._submit(verdict)

    def _shrink(self, stops: Sequence[Order], room: int, why: str) -> None:
        """Take back what of the stops is beyond `room` units; the price of what stays is as it was."""
        left = room
        for order in stops:
            part = min(order.remaining, left)
            left -= part
            if part == 0:
                self._cancel(order, why)
            elif part < order.remaining:
                self._change(order, part, order.trigger_price, order.limit_price, why)

    def _change(self, order: Order, remaining: int, trigger: float | None, limit: float, why: str) -> None:
        quantity = order.filled + remaining
        verdict = self._gate.review_change(order, quantity=quantity, limit_price=limit, trigger_price=trigger, book=self._world)
        now = self._clock.now()
        if isinstance(verdict, Refused) or not self._desk.modify(
            order, quantity=quantity, limit_price=limit, trigger_price=trigger, now=now, why=why
        ):
            self._cancel(order, f"{why}, and it cannot be changed any more")
        else:
            self._changing[order.id] = (quantity, trigger, limit)

    def _cancel(self, order: Order, why: str) -> None:
        now = self._clock.now()
        tries, not_before = self._cancelled.get(order.id, (0, now))
        if order.state in MOVING or order.state in TERMINAL or timedelta() < not_before - now <= timedelta(seconds=REFUSED_MOST_S):
            return
        self._cancelled[order.id] = tries + 1, now + timedelta(seconds=min(REFUSED_MOST_S, 2.0**tries))
        self._taken_back.add(order.id)
        self._desk.cancel(order, now, why)

    def _is_the_exit(self, order: Order, now: datetime) -> bool:
        """Whether this stop is closing the position by itself just now."""
        if _fired(order):
            return now - order.updated_at < GRACE
        last = self._world.last_price(order.instrument)
        reached = last is not None and order.trigger_price is not None and (last - order.trigger_price) * order.side.sign >= 0
        return reached and now - self._asked[order.id] < GRACE

    def _failed(self, target: Target, trigger: float, units: int, why: str) -> None:
        """A stop does not stand at the broker: told once for each, tried again later."""
        now = self._clock.now()
        held = self._portfolio.position(target.strategy, target.instrument)
        if not _guards(target, held) or not self._world.calendar.is_open(target.instrument, now):
            return  # it is not wanted any more, or ended with its session
        kept = self._kept.setdefault((target.strategy, target.instrument.key), _Kept(now))
        kept.tries, kept.failed = kept.tries + 1, (trigger, self._room(target, held))
        kept.next_at = now + timedelta(seconds=min(300.0, 5.0 * 2.0 ** (kept.tries - 1)))
        text = f"{target.strategy} {target.instrument.key}, {units} at {trigger}: {why}; the engine's own stop stays on guard"
        if kept.tries in (1, TRIES):
            last = f"; it is not tried again before the stop or the position changes (tried {TRIES} times)" if kept.tries == TRIES else ""
            self._alert("page", "No stop at the broker", text + last)


def _guards(target: Target, held: int) -> bool:
    """Whether the key means to go on holding, and has a stop."""
    return target.stop is not None and held * target.wanted > 0 and not target.closing and target.purpose is not Purpose.ROLL


def _fired(order: Order) -> bool:
    """Whether the trigger of this stop was reached at the broker."""
    return order.filled > 0 or order.state is OrderState.WORKING
