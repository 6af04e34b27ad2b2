"""The price ladder: what rests too long is moved towards the market in bounded steps, so that a marketable limit gets through.

Rules:
1. A step comes after `step_s` seconds in which the order did not fill. An entry never pays more than `cap_pct` percent beyond its
   decision price; after its last step it is cancelled (its key latches). A roll's leg likewise, with a cap of its own (and is tried
   again). An exit goes on.
2. Each new price passes the gate, and an exit's waits until nothing of ours rests where they would meet.
3. An order whose modification or cancellation nobody confirms within a step makes the engine read the broker's books.
4. Protective orders and orders given by hand stay where they are.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from core.ports import Clock, Executor
from core.types import Order, OrderState, Purpose, Refused, SessionState
from execution_engine.buy_sell_logic import Quote, capped_price
from execution_engine.exits import Exits
from execution_engine.order_manager import OrderDesk
from execution_engine.targets import Targets
from execution_engine.timers import Timers
from execution_engine.world import World
from risk.book import OPENING
from risk.gate import Gate

UNCONFIRMED = frozenset({OrderState.PENDING_NEW, OrderState.PENDING_MODIFY, OrderState.PENDING_CANCEL})


class Ladder(msgspec.Struct, frozen=True):
    """How orders chase the market: steps of `step_s` seconds; an entry pays at most `cap_pct` percent beyond its decision price, the
    leg of a roll `roll_cap_pct`."""

    cap_pct: float = 0.3
    steps: int = 3
    step_s: float = 3.0
    roll_cap_pct: float = 0.5


class PriceLadder:
    """Moves what rests. `refused` is told what the gate refuses; `cancel` cancels an order and lets its key act again."""

    def __init__(
        self,
        settings: Ladder,
        *,
        clock: Clock,
        timers: Timers,
        executor: Executor,
        desk: OrderDesk,
        targets: Targets,
        world: World,
        gate: Gate,
        exits: Exits,
        refused: Callable[[str, str, str, str], None],
        cancel: Callable[[Order, str], None],
    ) -> None:
        self.settings = settings
        self._step = timedelta(seconds=settings.step_s)
        self._clock = clock
        self._timers = timers
        self._executor = executor
        self._desk = desk
        self._targets = targets
        self._world = world
        self._gate = gate
        self._exits = exits
        self._refused = refused
        self._cancel = cancel

    def watch(self) -> None:
        """An order has left: look at it when its step is over."""
        self._timers.wait("ladder", self._clock.now(), self._step)

    def climb(self) -> None:
        """The timer is due: move each order that has rested for a step."""
        if not self._desk.alive:
            self._exits.unconfirmed((), self._clock.now())
            return
        now, settings = self._clock.now(), self.settings
        resting = [o for o in self._desk.live() if o.purpose is not Purpose.PROTECT and not self._targets.by_hand(o)]
        silent = now - self._step
        unconfirmed = [order for order in resting if order.state in UNCONFIRMED and order.updated_at <= silent]
        if unconfirmed:
            self._executor.read_books(positions=True)  # its update may be lost
        self._exits.unconfirmed(unconfirmed, now)
        resting.sort(key=lambda order: order.updated_at)  # a rate cap may not let all of them move at once: who waits longest goes first
        for order in resting if self._world.session is not SessionState.LOGIN_REQUIRED else ():
            if order.state is not OrderState.WORKING or (now - order.updated_at).total_seconds() < settings.step_s:
                continue
            step = order.modifications + 2
            if order.purpose not in OPENING:
                quote = self._world.quote(order.instrument)
                self._move(order, capped_price(order.side, order.instrument, quote, settings.cap_pct * min(step, 10) / settings.steps), now)
            elif step > settings.steps or (now - order.created_at).total_seconds() >= settings.step_s * (settings.steps + 2):
                self._desk.cancel(order, now, f"not filled within {settings.steps} steps of the price cap")
            else:
                self._move(order, self._capped(order, step), now)
        if resting:
            self._timers.wait("ladder", now, self._step)

    def _capped(self, order: Order, step: int) -> float:
        """The step's price, never beyond the cap that the decision price sets."""
        cap = self.settings.roll_cap_pct if order.purpose is Purpose.ROLL else self.settings.cap_pct
        target, quote = self._targets.get(order.strategy, order.name), self._world.quote(order.instrument)
        decided = Quote(last=target.reference if target is not None and target.reference else quote.last)
        limit = capped_price(order.side, order.instrument, decided, cap)
        price = capped_price(order.side, order.instrument, quote, cap * step / self.settings.steps)
        return min(price, limit) if order.side.sign > 0 else max(price, limit)

    def _move(self, order: Order, price: float, now: datetime) -> None:
        if price == order.limit_price or self._world.last_price(order.instrument) is None:
            return  # without a price yet, after a restart, it stays where it is
        verdict = self._gate.review_change(
            order, quantity=order.quantity, limit_price=price, trigger_price=order.trigger_price, book=self._world
        )
        if isinstance(verdict, Refused):
            self._refused(order.strategy, order.name, verdict.rule, verdict.reason)
        elif order.purpose is not Purpose.ENTRY and not self._exits.way_is_clear(msgspec.structs.replace(order, limit_price=price)):
            return
        elif not self._desk.reprice(order, price, now, "price ladder"):
            self._cancel(order, "no modification left; planned again")
