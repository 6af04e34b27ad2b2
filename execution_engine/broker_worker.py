"""The threads that talk to a broker: one for orders, one for reads, so that a hung call never holds an exit or the look-up for it."""

import heapq
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from core.errors import BrokerError, RateLimited, Rejected, SessionExpired
from core.events import Action, Books, Event, Funds, Guard, Outcome, Reply
from core.ports import Broker, Clock, GuardBroker, OrderwiseTrades
from core.types import Fill, Order, Position, Purpose
from utils.departure import Departure, NeverSent, audited, awaited

Put = Callable[[Sequence[Event], str], None]

# What runs first when several jobs wait; the budget's lanes have the same order (promise P10).
EXITS, CANCELS, ENTRIES, BOOKS, DATA = range(5)


class WorkerJob:
    """One blocking piece of work; `done` turns true when it ended, with `result` or `error`."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self._run = run
        self.begun = False
        self.done = False
        self.result: Any = None
        self.error: Exception | None = None

    def run(self) -> None:
        self.begun = True
        try:
            self.result = self._run()
        except Exception as error:  # the outcome is typed by whoever asked: `value` raises it again there
            self.error = error
        self.done = True

    def value(self) -> Any:
        """The result; raises what the work raised."""
        if self.error is not None:
            raise self.error
        return self.result


class Worker:
    """One named edge thread that runs jobs by priority, then in the order they were submitted. Its name is its request lane."""

    def __init__(self, name: str, clock: Clock, wake: Callable[[], None]) -> None:
        self.name = name
        self._clock = clock
        self._wake = wake
        self._jobs: list[tuple[int, int, WorkerJob]] = []
        self._count = 0
        self._stopping = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, priority: int, run: Callable[[], Any]) -> WorkerJob:
        job = WorkerJob(run)
        with self._lock:
            self._count += 1
            heapq.heappush(self._jobs, (priority, self._count, job))
        self._clock.notify()
        return job

    def stop(self) -> None:
        """No further job is begun; one that is inside a broker call is left to end by its own time-out."""
        self._stopping = True
        self._clock.notify()

    def run(self) -> None:
        """The thread's life, from its first job until `stop`."""
        with self._clock.thread(self.name):
            while True:
                self._clock.wait_for(lambda: bool(self._jobs) or self._stopping)
                if self._stopping:
                    return
                with self._lock:
                    if not self._jobs:
                        continue
                    _, _, job = heapq.heappop(self._jobs)
                job.run()
                self._wake()


def _priority(order: Order) -> int:
    return ENTRIES if order.purpose is Purpose.ENTRY else EXITS


class BrokerWorker:
    """The Executor of a real broker account: turns orders into blocking calls on its threads, and their ends into Reply events."""

    def __init__(
        self,
        account: str,
        broker: Broker,
        clock: Clock,
        put: Put,
        wake: Callable[[], None],
        *,
        holds_at_wire: bool = False,
        entry_age_s: float = 5.0,
        positions_every_s: float = 0.0,
        funds_every_s: float = 0.0,
    ) -> None:
        """`holds_at_wire`: the broker's requests ask utils.departure before their first byte, so that an order may be prepared.

        `positions_every_s`, `funds_every_s`: how old (seconds) the last ones may be before a read without a reason brings them again.
        `entry_age_s`: an entry that was decided longer ago (market time) when its turn comes is not sent: it waited behind a hung call.
        """
        self._entry_age_s = entry_age_s
        self._broker = broker
        self._holds_at_wire = holds_at_wire
        self._prepared: dict[str, Departure] = {}
        self._guarded = False
        self._clock = clock
        self._put = put
        self.orders = Worker(f"{account}/orders", clock, wake)
        self.reads = Worker(f"{account}/reads", clock, wake)
        self._reading: WorkerJob | None = None
        self._asked = (False, False)  # how: with positions, urgently
        self._every = (positions_every_s, funds_every_s)
        self._had = [float("-inf"), float("-inf")]  # monotonic: when positions and funds were had

    def start(self) -> None:
        self.orders.start()
        self.reads.start()

    def stop(self) -> None:
        self.orders.stop()
        self.reads.stop()

    def prepare(self, order: Order) -> None:
        if self._holds_at_wire:
            departure = self._prepared[order.id] = Departure()
            self.orders.submit(_priority(order), lambda: self._place(order, departure))

    def place(self, order: Order) -> None:
        departure = self._prepared.pop(order.id, None)
        if departure is not None and not self._too_late(order):
            departure.allow()
            return
        if departure is not None:
            departure.forbid()  # the disk took its time: what was prepared never leaves, and the answer says why
        self.orders.submit(_priority(order), lambda: self._call(Action.PLACE, order, lambda: self._send(order)))

    def forget(self, order: Order) -> None:
        departure = self._prepared.pop(order.id, None)
        if departure is not None:
            departure.forbid()

    def modify(self, order: Order, *, quantity: int, limit_price: float, trigger_price: float | None) -> None:
        def change() -> None:
            self._broker.modify(order, quantity=quantity, limit_price=limit_price, trigger_price=trigger_price)

        self.orders.submit(_priority(order), lambda: self._call(Action.MODIFY, order, change))

    def cancel(self, order: Order) -> None:
        self.orders.submit(CANCELS, lambda: self._call(Action.CANCEL, order, lambda: self._broker.cancel(order)))

    def watch_guards(self, watch: bool) -> None:
        """See night_guard.GuardDesk."""
        self._guarded = watch

    def place_guard(self, name: str, guard: Guard, last_price: float) -> None:
        self._guard(Action.PLACE, name, lambda broker: broker.place_guard(guard, last_price))

    def cancel_guard(self, name: str, guard: Guard) -> None:
        self._guard(Action.CANCEL, name, lambda broker: broker.cancel_guard(guard))

    def _guard(self, action: Action, name: str, run: Callable[[GuardBroker], str | None]) -> None:
        broker = self._broker
        assert isinstance(broker, GuardBroker)
        asked: GuardBroker = broker
        self.orders.submit(
            EXITS, lambda: self._put([self._outcome(action, name, None, lambda: run(asked))], threading.current_thread().name)
        )

    def read_books(self, *, positions: bool, urgent: bool = False) -> None:
        """Ask for one complete read; a read that is already waiting or running serves (`urgent` asks for one that starts from now: one
        that was asked for in the same way and has not begun)."""
        last, asked = self._reading, (positions, urgent)
        if last is not None and not last.done and (not urgent or (not last.begun and asked == self._asked)):
            return
        self._asked = asked
        self._reading = self.reads.submit(BOOKS, lambda: self._read(positions, urgent))

    def on_market(self, event: Event) -> bool:
        return False

    def drain(self) -> list[Event]:
        return []

    def restore(self, orders: Sequence[Order], *, positions: Sequence[Position] = (), fills: Sequence[Fill] = ()) -> None:
        if isinstance(self._broker, OrderwiseTrades):
            booked = Counter[str]()
            for fill in fills:
                booked[fill.order_id] += fill.quantity
            self._broker.executed({one.broker_order_id: booked[one.id] for one in orders if one.broker_order_id and booked[one.id]})

    def end_of_day(self, now: datetime) -> None:
        self.read_books(positions=True, urgent=True)

    def _place(self, order: Order, departure: Departure) -> None:
        """Send a prepared order when it may leave. One that is forgotten gets no reply: nobody waits for one."""
        if departure.forbidden:
            return
        with awaited(departure):
            reply = self._reply(Action.PLACE, order, lambda: self._send(order))
        if departure.allowed():
            self._put([reply], threading.current_thread().name)

    def _too_late(self, order: Order) -> bool:
        return order.purpose is Purpose.ENTRY and (self._clock.now() - order.created_at).total_seconds() > self._entry_age_s

    def _send(self, order: Order) -> str:
        """Place it, if it is not too late for that: being late is a reason for no exit, and for every entry."""
        if self._too_late(order):
            age = (self._clock.now() - order.created_at).total_seconds()
            raise NeverSent(f"it was decided {age:.1f} s before its turn came, orders.entry_age_s is {self._entry_age_s:g}; never sent")
        if order.purpose is not Purpose.ENTRY:
            return self._broker.place(order)
        with audited():
            return self._broker.place(order)

    def _call(self, action: Action, order: Order, run: Callable[[], str | None]) -> None:
        self._put([self._reply(action, order, run)], threading.current_thread().name)

    def _reply(self, action: Action, order: Order, run: Callable[[], str | None]) -> Reply:
        return self._outcome(action, order.id, order.broker_order_id, run)

    def _outcome(self, action: Action, order_id: str, broker_order_id: str | None, run: Callable[[], str | None]) -> Reply:
        outcome, reason, code, name = Outcome.ACK, "", "", ""
        try:
            answer = run()
            broker_order_id = answer or broker_order_id
        except (Rejected, RateLimited, SessionExpired) as error:  # certain: nothing happened
            outcome, reason, code, name = Outcome.REJECT, str(error), error.code, type(error).__name__
        except Exception as error:  # everything else may have been taken (P2); the engine looks for evidence and alerts
            code = error.code if isinstance(error, BrokerError) else ""
            outcome, reason, name = Outcome.UNKNOWN, str(error) or type(error).__name__, type(error).__name__
        at = self._clock.now()
        return Reply(at, action, order_id, outcome, broker_order_id, name, reason, code)

    def _read(self, positions: bool, urgent: bool) -> None:
        asked_at, moment = self._clock.now(), self._clock.monotonic()
        wanted = positions and (urgent or moment >= self._had[0] + self._every[0])
        money = positions and moment >= self._had[1] + self._every[1]
        try:
            # positions last: what they show is never older than the orders and trades they are compared with
            orders, trades = self._broker.orders(), self._broker.trades()
            held = self._broker.positions() if wanted else None
            funds = self._funds() if money else None
            self._had = [moment if wanted else self._had[0], moment if funds is not None else self._had[1]]
            guards = self._broker.guards() if self._guarded and wanted and isinstance(self._broker, GuardBroker) else None
            books = Books(self._clock.now(), asked_at, orders, trades, held, funds, guards=guards)
        except Exception as error:  # whatever it tripped over, this read proves nothing; the engine counts it and alerts
            books = Books(self._clock.now(), asked_at, error=type(error).__name__, reason=str(error) or type(error).__name__)
        self._put([books], threading.current_thread().name)

    def _funds(self) -> Funds | None:
        """What may be used; None when it can't be read, which takes nothing from the evidence read beside it."""
        try:
            return self._broker.funds()
        except BrokerError:
            return None
