"""What becomes of orders: replies, updates and books change the desk's orders, and each change leads to what its key does next.

An exit may have to wait for what the broker's books say: after a login, past the broker's cut-off, and while they are blind. While an
order that the broker took is not in its book (or the book contradicts what it told), the books may stand still: then an exit leaves only
after two complete reads within `CHECKED` seconds that both show at least as much as it closes, or when they cannot be read at all.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from core.errors import Rejected
from core.events import POSTBACK, Action, Books, OrderUpdate, Reply
from core.ports import Clock, Executor
from core.types import Instrument, Order, OrderRequest, OrderState, Purpose, SessionState
from execution_engine.buy_sell_logic import Target
from execution_engine.exits import Exits
from execution_engine.hearing import Hearing
from execution_engine.night_guard import PREFIX, NightGuard
from execution_engine.order_manager import Alert, Change, OrderDesk
from execution_engine.order_state import IN_FLIGHT, TERMINAL
from execution_engine.portfolio import Portfolio
from execution_engine.protection import Protection
from execution_engine.reconciliation import ACKED_WITHIN, Reconciliation
from execution_engine.rollover import Rolls
from execution_engine.targets import Targets
from execution_engine.timers import Timers
from execution_engine.world import World

SECOND = timedelta(seconds=1)
BROKERS_NO = Rejected.__name__
"""The error of a reply in which the broker itself refused."""
HELD_EVERY = timedelta(seconds=15)
"""How often the books are asked for an exit that they did not bear out, until one read does."""


class Acts(Protocol):
    """What of the engine is needed: to act on a key again, and to latch it at what it holds."""

    def act(self, target: Target) -> None: ...
    def latch(self, target: Target, why: str) -> None: ...


class Outcomes:
    """Lives on the engine thread."""

    def __init__(
        self,
        *,
        clock: Clock,
        timers: Timers,
        executor: Executor,
        desk: OrderDesk,
        portfolio: Portfolio,
        targets: Targets,
        world: World,
        alert: Alert,
        exits: Exits,
        hearing: Hearing,
        rolls: Rolls,
        protection: Protection,
        reconciliation: Reconciliation,
        night: NightGuard,
        engine: Acts,
    ) -> None:
        self._night = night
        self._clock = clock
        self._timers = timers
        self._executor = executor
        self._desk = desk
        self._portfolio = portfolio
        self._targets = targets
        self._world = world
        self._alert = alert
        self._exits = exits
        self._hearing = hearing
        self._rolls = rolls
        self._protection = protection
        self._reconciliation = reconciliation
        self._engine = engine
        self._replan: set[str] = set()  # orders cancelled to be planned again, not latched
        self._looked: dict[str, datetime] = {}  # order -> when its row was asked for because a command on it was refused
        self._after_books: set[tuple[str, str]] = set()  # keys that wait for a complete read
        self._asked_at: datetime | None = None  # when the books were last asked for such an exit
        self._held_up: set[tuple[str, str]] = set()  # of them those whose exit the books do not bear out, of which a person was told
        self._refusals: dict[tuple[str, str], str] = {}  # key -> why the broker refused its exit, as last told

    def open_day(self) -> None:
        self._replan &= {order.id for order in self._desk.live()}
        self._held_up.clear()
        self._refusals.clear()

    # --- evidence -------------------------------------------------------------------------------------------------------------------

    def on_reply(self, reply: Reply) -> None:
        if reply.order_id.startswith(PREFIX):
            self._night.on_reply(reply)
            return
        self._on_change(self._desk.on_reply(reply))
        if reply.action is not Action.PLACE and reply.error == BROKERS_NO and self._may_look(reply.order_id):
            self._executor.read_books(positions=True, urgent=True)  # an order that cannot be changed or cancelled may be over

    def _may_look(self, order_id: str) -> bool:
        """Whether a command on this order was not refused lately: its row is asked for once, and then by the clock."""
        now = self._clock.now()
        self._looked = {name: at for name, at in self._looked.items() if timedelta() <= now - at < HELD_EVERY}
        return self._looked.setdefault(order_id, now) == now

    def on_update(self, update: OrderUpdate) -> None:
        order = self._desk.owner(update.broker_order_id, update.tag)
        if order is None:
            if update.source == POSTBACK:  # its app may serve other accounts: this one's books tell
                self._executor.read_books(positions=True, urgent=True)
            else:
                self._reconciliation.foreign(update)
            return
        self._on_change(self._desk.on_row(order, update))

    def on_books(self, books: Books) -> None:
        differed = self._reconciliation.differs
        for change in self._reconciliation.take(books):
            self._on_change(change)
        if self._reconciliation.differs and not differed and not self._desk.unknown():
            self._timers.wait("evidence", self._clock.now(), ACKED_WITHIN)  # a stop may have been taken back for it
        self._night.on_books(books)
        unreadable = bool(books.error) and self._reconciliation.readable
        if self._after_books and not unreadable and self._world.session is not SessionState.LOGIN_REQUIRED:
            waiting, self._after_books = sorted(self._after_books), set()
            for key in waiting:
                if (target := self._targets.get(*key)) is not None:
                    self._engine.act(target)

    def closed_outside(self, strategy: str, instrument: Instrument) -> None:
        """Somebody else closed what a strategy held: its key latches at what is left until the strategy gives a different target."""
        target = self._targets.holding(strategy, instrument)
        if target is not None:
            if target.wanted:
                self._engine.latch(target, "closed from outside")
            self._engine.act(target)  # an exit of ours that is still working would open the other side

    def cancel_and_replan(self, order: Order, why: str) -> None:
        """Cancel, and let its key act again on the filled position: such an end is no reason to latch."""
        self._replan.add(order.id)
        self._desk.cancel(order, self._clock.now(), why)

    # --- before an exit leaves ------------------------------------------------------------------------------------------------------

    def wait_for_books(self, target: Target) -> None:
        """Act on this key again after the next complete read."""
        self._after_books.add((target.strategy, target.name))

    def may_leave(self, target: Target, exits: Sequence[OrderRequest]) -> bool:
        """Whether these exits of one key may be sent now; else what they wait for is under way."""
        if self._reconciliation.recovering or not self._exits.way_is_clear(exits[0]):
            return False
        closing = sum(request.quantity for request in exits)
        late = self._world.past_cut_off(target.instrument, target.horizon)  # the broker may have closed it
        if (late and not self._reconciliation.fresh(self._clock.now())) or not self._borne_out(target, closing):
            self.wait_for_books(target)
            now, held_up = self._clock.now(), (target.strategy, target.name) in self._held_up
            if not held_up or self._asked_at is None or now - self._asked_at >= HELD_EVERY:
                self._asked_at = now
                self._executor.read_books(positions=True, urgent=True)
            return False
        return self._protection.make_way(target, closing)

    def _borne_out(self, target: Target, closing: int) -> bool:
        """Whether the broker's positions bear out an exit of `closing` units, where its books are in doubt."""
        key, now = (target.strategy, target.name), self._clock.now()
        if "books" not in self._world.blinded or not self._reconciliation.readable:
            self._held_up.discard(key)
            return True
        if self._reconciliation.seen_last(target.strategy, target.instrument) >= closing:
            self._held_up.discard(key)  # the second read that it needs is asked for at once
        shown = self._reconciliation.seen_twice(target.strategy, target.instrument, now)
        if shown is None:
            return False
        if shown >= closing:
            return True
        if key not in self._held_up:
            self._held_up.add(key)
            text = (
                f"{target.strategy} wants to close {closing} {target.instrument.key}; the broker's positions show {shown} of it twice, and "
                f"its books are in doubt ({self._world.blinded['books']}): the exit waits for books that bear it out. Look at the broker's "
                "terminal; if the position is there, close it there"
            )
            self._alert("page", "An exit waits for the books", text)
        return False

    # --- what a change leads to -----------------------------------------------------------------------------------------------------

    def _on_change(self, change: Change | None) -> None:
        if change is None:
            return
        order = change.order
        self._protection.on_change(change)
        for fill in change.fills:
            self._alert("info", "Filled", f"{fill.side} {fill.quantity} {fill.instrument.key} at {fill.price} for {fill.strategy}")
            if order.purpose is Purpose.ROLL:
                self._rolls.on_fill(fill, order)  # no decision of its strategy's, which goes on holding what it held
            else:
                self._hearing.on_fill(fill, order.name)
        if order.state is OrderState.UNKNOWN and change.before is not OrderState.UNKNOWN:
            self._timers.wait("evidence", self._clock.now(), SECOND)
        target = self._targets.get(order.strategy, order.name)  # as it is after the fills: they may have changed the strategy's mind
        if target is None:
            return
        if change.ended:
            self._on_ended(order, target)
        elif change.before in TERMINAL:  # filled after its end, or alive again
            if target.latched and target.wanted:
                self._engine.latch(target, f"{order.tag} went on after its end")
            self._engine.act(target)
        elif change.before in IN_FLIGHT and order.state not in IN_FLIGHT and not target.pending:
            self._engine.act(target)  # its fate is known at last, and it may not be wanted any more

    def _on_ended(self, order: Order, target: Target) -> None:
        replanned = order.id in self._replan
        self._replan.discard(order.id)
        if order.state is OrderState.REJECTED:
            self._tell_rejected(order)
        if order.state is OrderState.FILLED or replanned or order.purpose is Purpose.PROTECT:
            self._engine.act(target)
            return
        lacking = target.wanted - self._portfolio.position(target.strategy, target.instrument)
        why = f"{order.tag} ended {order.state} with {order.filled} of {order.quantity}: {order.reason}"
        if order.purpose is Purpose.ENTRY and (target.latched or lacking * order.side.sign <= 0):
            self._engine.act(target)  # it is not wanted any more
        elif order.purpose is Purpose.ENTRY:
            self._engine.latch(target, why)
        elif target.purpose is Purpose.ROLL:
            self._rolls.on_ended(target, why)
        else:
            self._exits.retry(target, why, rejected=order.state is OrderState.REJECTED)
            self._executor.read_books(positions=True, urgent=True)  # it may have been closed by others: the next try goes by what is true

    def _tell_rejected(self, order: Order) -> None:
        """Each refused entry (it is not tried again), and of exits, which are, each other reason; numbers make none."""
        key, words = (order.strategy, order.name), re.sub(r"\d+", "", order.reason)
        if order.purpose is not Purpose.ENTRY:
            if self._refusals.get(key) == words:
                return
            self._refusals[key] = words
        self._alert("warn", "Rejected", f"{order.side} {order.quantity} {order.instrument.key} for {order.strategy}: {order.reason}")
