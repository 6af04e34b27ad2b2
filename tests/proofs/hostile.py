"""A hostile strategy: random wants, random prices and a random broker, for as many steps as asked; no cap may ever be passed.

    python -m tests.proofs.hostile --steps 1000000

The real engine, gate and desk; the caps are watched from outside, by plain sums over what has left and what has filled.
"""

import argparse
import random
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from loguru import logger

from core.events import Books, BrokerPosition, FeedStatus
from core.types import Instrument, Order, OrderState, Purpose, Side, Tick, TradingState
from execution_engine.buy_sell_logic import Size
from risk.settings import RiskSettings
from tests.fakes import MemoryStore, SilentExecutor
from tests.harness import FUTURE, OPEN, Harness

LOT = FUTURE.lot
DAY_STEPS = 2_000  # then another day begins, with nothing held
CAPS = RiskSettings(
    max_order_value=9_000_000.0,
    max_order_quantity=325,
    max_instrument_value=12_000_000.0,
    max_strategy_exposure=13_000_000.0,
    max_gross_exposure=14_000_000.0,
    orders_per_second=4,
    orders_per_minute=60,
    orders_per_day=400,
    max_daily_loss=300_000.0,
    price_band_pct=3.0,
)


@dataclass
class Watcher:
    """What has left and what has filled, counted by itself."""

    price: float = 25_000.0
    now: datetime = OPEN
    held: int = 0
    cash: float = 0.0
    live: dict[str, tuple[Order, int]] = field(default_factory=dict)  # id -> order, filled
    calls: deque[datetime] = field(default_factory=lambda: deque(maxlen=1_000))
    placed: int = 0
    entries: int = 0
    locked: bool = False  # the loss limit was reached: no entry for the rest of the day
    violations: list[str] = field(default_factory=list)

    def order(self, order: Order) -> None:
        self.placed += 1
        self._call()
        remaining = [(one, one.quantity - filled) for one, filled in self.live.values()]
        if order.purpose is Purpose.ENTRY:
            self.entries += 1
            worst = max(order.limit_price, self.price)
            self._most("order quantity", order.quantity, CAPS.max_order_quantity)
            self._most("order value", order.quantity * worst, CAPS.max_order_value)
            same = sum(left for one, left in remaining if one.purpose is Purpose.ENTRY and one.side is order.side)
            self._most("instrument value", abs(self.held + order.side.sign * (same + order.quantity)) * worst, CAPS.max_instrument_value)
            working = sum(left * one.limit_price for one, left in remaining if one.purpose is Purpose.ENTRY)
            gross = abs(self.held) * self.price + working + order.quantity * worst
            self._most("strategy exposure", gross, CAPS.max_strategy_exposure)
            self._most("gross exposure", gross, CAPS.max_gross_exposure)
            self._most("orders a day", self.placed, CAPS.orders_per_day)
            self._most("distance from the last price, %", abs(order.limit_price / self.price - 1) * 100, CAPS.price_band_pct + 0.01)
            if self.locked:
                self.violations.append(f"an entry after the day's loss reached its limit: {order.tag}")
            for seconds, most in ((1.0, CAPS.orders_per_second), (60.0, CAPS.orders_per_minute)):
                self._most(f"calls in {seconds:g} s", sum((self.now - at).total_seconds() < seconds for at in self.calls), most)
        else:
            closing = order.quantity + sum(left for one, left in remaining if one.purpose is not Purpose.ENTRY and one.side is order.side)
            if self.held * order.side.sign >= 0 or closing > abs(self.held):
                self.violations.append(f"{order.purpose} {order.side} {closing} while {self.held} are held: it may turn round")
        self.live[order.id] = (order, 0)

    def call(self) -> None:
        self._call()

    def fill(self, order: Order, quantity: int, price: float) -> None:
        self.held += order.side.sign * quantity
        self.cash -= order.side.sign * quantity * price
        known, filled = self.live[order.id]
        self.live[order.id] = (known, filled + quantity)
        self.judge()

    def judge(self) -> None:
        """A price or a fill has come: the day's loss is judged there and then."""
        self.locked = self.locked or self.result <= -CAPS.max_daily_loss

    @property
    def result(self) -> float:
        return self.cash + self.held * self.price

    def _call(self) -> None:
        self.calls.append(self.now)

    def _most(self, what: str, value: float, most: float) -> None:
        if not value <= most:
            self.violations.append(f"{what}: {value:.2f} above {most:.2f}")


class Wire(SilentExecutor):
    """Tells the watcher what leaves."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__()
        self.watcher = watcher

    def place(self, order: Order) -> None:
        self.watcher.order(order)
        self.placed.append(order)

    def modify(self, order: Order, *, quantity: int, limit_price: float, trigger_price: float | None) -> None:
        self.watcher.call()

    def cancel(self, order: Order) -> None:
        self.watcher.call()


class Brief(MemoryStore):
    """Keeps no list of writes."""

    def _kept(self) -> None:
        self._writes.clear()

    def commit(self, meanwhile: Any = None) -> None:
        super().commit(meanwhile)
        self._kept()


class Attack:
    """One day of a strategy that wants anything at any time, at a broker that does anything it may."""

    def __init__(self, seed: int, risk: RiskSettings = CAPS, gate: type | None = None) -> None:
        self.chance = random.Random(seed)
        self.watcher = Watcher()
        self.house = Harness(executor=Wire(self.watcher), store=Brief(), risk=risk, size=Size(lots=1))
        if gate is not None:
            self.house.engine.gate.__class__ = gate
        self.watcher.now = self.house.clock.now()
        self.instrument: Instrument = FUTURE
        self._trades = 0

    def step(self) -> None:
        """Something happens."""
        act = self.chance.choices((self._want, self._tick, self._answer, self._wait, self._person), (40, 30, 40, 15, 1))[0]
        act()
        self.house.engine.settle()
        self.watcher.now = self.house.clock.now()

    def _want(self) -> None:
        chance, last = self.chance, self.watcher.price
        target = chance.choice((0.0, 1.0, -1.0, chance.uniform(-12, 12), chance.uniform(-4, 4), 1e9, float("nan"), -1e18))
        stop = chance.choice((None, None, last * chance.uniform(0.9, 1.1), -1.0, float("inf")))
        for _ in range(chance.choice((1, 1, 1, 1, 30)) if chance.random() < 0.05 else 1):
            self.house.strategy.at = self.house.clock.now()
            self.house.engine.take_signal(self.house.run, self.house.strategy.signal(self.instrument, target, stop=stop))

    def _tick(self) -> None:
        self.watcher.price = round(self.watcher.price * self.chance.uniform(0.999, 1.001), 1)
        self.watcher.judge()
        price, now = self.watcher.price, self.house.clock.now()
        self.house.engine.process(Tick(self.instrument, now, price, bid=price - 0.1, ask=price + 0.1, exchange_at=now))

    def _wait(self) -> None:
        seconds = self.chance.choice((0.05, 0.3, 1.0, 2.5, 20.0))
        clock, engine = self.house.clock, self.house.engine
        end = clock.now() + timedelta(seconds=seconds)
        while clock.now() < end:
            clock.move_to(min(end, max(engine.wake_at(), clock.now() + timedelta(milliseconds=1))))
            self.watcher.now = clock.now()
            engine.run_timers()
        self._tick()

    def _answer(self) -> None:
        """The broker says something about one order of ours."""
        if not self.watcher.live:
            return
        chance, house = self.chance, self.house
        order = house.desk.get(chance.choice(list(self.watcher.live)))
        assert order is not None
        done = self.watcher.live[order.id][1]
        left = order.quantity - done
        what = chance.random()
        if what < 0.15:
            house.ack(order) if order.state is OrderState.SENDING else None
        elif what < 0.7:
            self._fill(order, left if chance.random() < 0.6 else max(LOT, left // 3 // LOT * LOT), done)
        elif what < 0.9:
            self._end(order, chance.choice((OrderState.CANCELLED, OrderState.REJECTED if done == 0 else OrderState.CANCELLED)), done)
        else:
            house.engine.process(house.row(order, OrderState.WORKING, done, order.average_price))

    def _fill(self, order: Order, quantity: int, done: int) -> None:
        house = self.house
        self._trades += 1
        price, filled = order.limit_price, done + quantity
        ended = filled == order.quantity
        average = ((self._worth(order, done)) + quantity * price) / filled
        self.watcher.fill(order, quantity, price)
        if ended:
            del self.watcher.live[order.id]
        house.engine.process(house.row(order, OrderState.FILLED if ended else OrderState.WORKING, filled, average))

    def _worth(self, order: Order, done: int) -> float:
        known = self.house.desk.get(order.id)
        return done * (known.average_price if known is not None else order.limit_price)

    def _end(self, order: Order, state: OrderState, done: int) -> None:
        del self.watcher.live[order.id]
        self.house.engine.process(self.house.row(order, state, done, order.average_price))

    def _person(self) -> None:
        """Somebody resumes after a halt; the feed and the books come back."""
        house, now = self.house, self.house.clock.now()
        house.engine.set_state(TradingState.ACTIVE, "a person resumed")
        house.engine.process(FeedStatus(now, connected=True))
        rows = (BrokerPosition(self.instrument, "MIS", self.watcher.held, self.watcher.price),) if self.watcher.held else ()
        book = tuple(
            house.row(order, OrderState.WORKING, self.watcher.live[order.id][1], order.average_price)
            if order.id in self.watcher.live
            else house.row(order, order.state, order.filled, order.average_price)  # a day's book shows what has ended too
            for order in house.desk.all()
            if order.id in self.watcher.live or order.broker_order_id
        )
        house.engine.process(Books(now, now, book, (), rows))


def attack(steps: int, seed: int = 1, gate: type | None = None) -> tuple[int, list[str]]:
    """(entries that left, violations) of so many steps over as many days as they need."""
    entries, violations = 0, list[str]()
    for day in range(-(-steps // DAY_STEPS)):
        one = Attack(seed * 1_000_003 + day, gate=gate)
        for _ in range(min(DAY_STEPS, steps - day * DAY_STEPS)):
            one.step()
        entries += one.watcher.entries
        violations += [f"seed {seed}, day {day}: {text}" for text in one.watcher.violations]
        if len(violations) > 20:
            break
    return entries, violations


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    logger.remove()
    began = time.monotonic()
    entries, violations = attack(given.steps, given.seed)
    for text in violations:
        print(f"violation: {text}")
    print(f"hostile: {given.steps} steps, {entries} entries left, {len(violations)} caps passed, {time.monotonic() - began:.0f} s")
    return 1 if violations else 0


__all__ = ["Attack", "Side", "attack"]

if __name__ == "__main__":
    sys.exit(main())
