"""The promises P1-P12 where the engine keeps them, and proof that each check can fail: the same check with a part broken on purpose.

`Watch` looks at the engine after every step, as the simulated days do; each planted bug is an honest part with one rule left out.
"""

import random
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

import msgspec
import pytest

from core.clock import ManualClock
from core.events import Action, Command, FeedStatus, OrderUpdate, Outcome, Reply, SessionStatus, Trade
from core.types import Approved, Horizon, Order, OrderRequest, OrderState, OrderType, Purpose, Refused, SessionState, Side, TradingState
from execution_engine.buy_sell_logic import Size
from execution_engine.order_manager import Change, OrderDesk, Tags
from execution_engine.order_state import TERMINAL
from execution_engine.portfolio import Portfolio
from execution_engine.square_off import SquareOff
from risk.book import RiskBook
from risk.gate import Gate
from risk.settings import RiskSettings
from runtime.alerts import Alerts
from tests.builders import NoCharges, make_order, make_trade, make_update
from tests.fakes import MemoryStore, SilentExecutor
from tests.harness import FUTURE, OPEN, WIDE, Harness


class Witness(SilentExecutor):
    """A broker that notes what was true at the moment an order reached it, and complains when it must not have."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__()
        self.store = store
        self.wrong: list[str] = []
        self.tags: set[str] = set()
        self.watched: Harness | None = None

    def place(self, order: Order) -> None:
        if order.tag in self.tags:
            self.wrong.append(f"I1: {order.tag} reached the broker twice")
        self.tags.add(order.tag)
        durable = self.store.crashed().saved_orders.get(order.id)
        if durable is None and order.purpose is Purpose.ENTRY:
            self.wrong.append(f"P1: {order.tag} left before its intent was on disk")
        if self.watched is not None:
            self.wrong += _forbidden(self.watched, order)
        super().place(order)


def _forbidden(it: Harness, order: Order) -> Iterator[str]:
    """What must be true of the world at the moment an order leaves (I4, I6, I9)."""
    world, held = it.engine.world, it.portfolio.position(order.strategy, order.instrument)
    if order.purpose is Purpose.ENTRY:
        if world.state is not TradingState.ACTIVE or world.session is SessionState.LOGIN_REQUIRED:
            yield f"I4: an entry left while {world.state}, {world.session}"
        if world.blind or world.frozen(order.instrument) or world.feed_stale:
            yield f"I4: an entry left while {world.blind or world.frozen(order.instrument) or world.feed_stale}"
        others = [o for o in it.desk.live() if o.id != order.id and (o.strategy, o.name) == (order.strategy, order.name)]
        if any(o.state is OrderState.UNKNOWN for o in others):
            yield "I4: an entry left beside an order of unknown fate"
        working = sum(o.remaining for o in it.desk.live() if o.purpose is Purpose.ENTRY)
        if (abs(held) + working) * order.limit_price > it.engine.gate.settings.max_strategy_exposure:
            yield "I9: exposure above its cap"
    else:
        closing = sum(o.remaining for o in it.desk.live() if o.strategy == order.strategy and o.purpose is not Purpose.ENTRY)
        if held * order.side.sign >= 0 or closing > abs(held):
            yield f"I6: {order.side} {closing} may turn a position of {held} round"


def broken_invariants(it: Harness) -> list[str]:
    """What is wrong with the engine's orders and fills at this moment (I3, I7)."""
    wrong = []
    for order in it.desk.all():
        booked = sum(fill.quantity for fill in it.store.saved_fills if fill.order_id == order.id)
        if not booked <= order.filled <= order.quantity:
            wrong.append(f"I3: {booked} booked, {order.filled} filled of {order.quantity}")
        if order.state in TERMINAL and order.broker_order_id is None and not order.reason:
            wrong.append(f"I7: {order.tag} is {order.state} on nobody's word")
    return wrong


class Watched(Harness):
    """The engine of the harness with a witness for a broker."""

    def __init__(self, store: MemoryStore | None = None, **more: Any) -> None:
        store = store or MemoryStore()
        self.witness = Witness(store)
        super().__init__(store=store, executor=self.witness, **more)
        self.witness.watched = self


def watched(**more: Any) -> Watched:
    return Watched(**more)


def storm(it: Watched, seed: int = 1, steps: int = 120, crashes: float = 0.0) -> list[str]:
    """An engine in bad hands: changing targets, lost and late news, failing disk, feed and session. What the watchers saw.

    `book` is what the broker really holds; news of it may be lost, but a read of it is never wrong.
    """
    chance, wrong = random.Random(seed), list[str]()
    book = Book(it)
    for _ in range(steps):
        now = it.clock.now()
        for fault in (book.reply, book.move, book.read):
            fault(chance)
        if chance.random() < 0.03:
            it.store.fail_commits = chance.randint(1, 3)
        if chance.random() < 0.06:
            it.engine.process(FeedStatus(now, connected=chance.random() < 0.7, reason="reset"))
        if chance.random() < 0.06:
            state = chance.choice((SessionState.LOGIN_REQUIRED, SessionState.VALID, SessionState.VALID))
            it.engine.process(SessionStatus(now, "test", state, "token refused"))
        if chance.random() < 0.005:
            it.engine.process(Command(now, "1", "kill", {}))
        if chance.random() < 0.05:
            it.engine.process(Command(now, "2", "resume", {"confirm": True}))
        if chance.random() < 0.4:
            it.say(chance.choice((-2, -1, 0, 1, 2)))
        if chance.random() < crashes and it.store.fail_commits == 0:
            it = book.crash(chance)
        it.tick(25000.0 + chance.randint(-20, 20), chance.choice((0.0, 0.3, 2.0, 4.0)))
        wrong += broken_invariants(it)
    wrong += book.quieten()
    return wrong + it.witness.wrong


class Book:
    """The broker's own order book behind the witness: what happened there, whatever the engine was told of it."""

    def __init__(self, it: Watched) -> None:
        self._it = it
        self.rows: dict[str, OrderUpdate] = {}
        self.trades: list[Trade] = []
        self._handled = 0
        self._cancels = 0
        self._changes = 0

    @property
    def net(self) -> int:
        return sum(trade.side.sign * trade.quantity for trade in self.trades)

    def crash(self, chance: random.Random) -> Watched:
        """`kill -9` of the engine: what was under way may have reached the broker or not."""
        before = self._it
        for order in before.executor.placed[self._handled :]:
            if chance.random() < 0.5:
                self.rows[order.id] = before.row(order, OrderState.WORKING, 0)
        self._it = after = before.restarted(chance.choice((1, 10, 60)), risk=before.engine.gate.settings)
        after.witness.tags, after.witness.wrong = before.witness.tags, before.witness.wrong
        self._handled = self._cancels = self._changes = 0
        after.tick(25000.0)
        return after

    def reply(self, chance: random.Random) -> None:
        """The broker takes, refuses or never sees what was sent; the engine hears of it, or gets no answer."""
        it = self._it
        for order in it.executor.placed[self._handled :]:
            self._handled += 1
            fate = chance.random()
            if fate < 0.05:
                it.reply(Action.PLACE, Outcome.REJECT, "RMS: no", order=order, error="Rejected")
            elif fate < 0.08:
                it.reply(Action.PLACE, Outcome.UNKNOWN, "never seen", order=order)
            else:
                self.rows[order.id] = it.row(order, OrderState.WORKING, 0)
                it.reply(Action.PLACE, Outcome.UNKNOWN, "timed out", order=order) if fate < 0.15 else it.ack(order)
        for order in it.executor.cancelled[self._cancels :]:
            self._cancels += 1
            row = self.rows[order.id]
            done = row.state in TERMINAL or chance.random() < 0.2
            if not done:
                self._set(order.id, state=OrderState.CANCELLED)
            outcome = Outcome.REJECT if done else chance.choice((Outcome.ACK, Outcome.ACK, Outcome.UNKNOWN))
            it.reply(Action.CANCEL, outcome, "", order=order)
        for order, price in it.executor.modified[self._changes :]:
            self._changes += 1
            if self.rows[order.id].state in TERMINAL or chance.random() < 0.2:
                it.reply(Action.MODIFY, Outcome.REJECT, "no", order=order)
            else:
                self._set(order.id, limit_price=price)
                it.reply(Action.MODIFY, Outcome.ACK, order=order)

    def move(self, chance: random.Random, *, heard: float = 0.7) -> None:
        """Fills and ends; news of them may be lost, come twice, or come without the trades."""
        for id_, row in list(self.rows.items()):
            before = self.rows[id_]
            if row.state not in TERMINAL and chance.random() < 0.5:
                quantity = chance.choice((row.quantity - row.filled, 65))
                number = f"T{len(self.trades) + 1}"
                trade = Trade(number, row.broker_order_id, row.instrument, row.side, quantity, 25000.0, self._it.clock.now())
                self.trades.append(trade)
                filled = row.filled + quantity
                state = OrderState.FILLED if filled == row.quantity else OrderState.WORKING
                self._set(id_, state=state, filled=filled, average_price=25000.0)
            now_is = self.rows[id_]
            if now_is is not before or chance.random() < 0.1:
                for _ in range(chance.choice((1, 1, 2)) if chance.random() < heard else 0):
                    trades = tuple(t for t in self.trades if t.broker_order_id == row.broker_order_id)
                    told = msgspec.structs.replace(now_is, at=self._it.clock.now(), trades=chance.choice(((), trades)))
                    self._it.engine.process(told)
                    self._it.engine.settle()

    def read(self, chance: random.Random, *, often: float = 0.2) -> None:
        if chance.random() < often:
            rows = tuple(msgspec.structs.replace(row, at=self._it.clock.now(), trades=()) for row in self.rows.values())
            self._it.books(*rows, trades=tuple(self.trades), net=self.net)

    def quieten(self) -> list[str]:
        """The faults stop: within a minute ledger and broker agree and what is to be flat is flat; the square-off leaves nothing."""
        it, calm = self._it, random.Random(0)
        it.store.fail_commits = 0
        it.engine.process(FeedStatus(it.clock.now(), connected=True))
        it.engine.process(SessionStatus(it.clock.now(), "test", SessionState.VALID))
        wrong = list[str]()
        for step in range(140):
            if step == 40:  # two minutes later: what was of unknown fate is proven absent by now
                wrong += [f"I6: {it.held} held and nothing wanted" for t in it.engine.targets if t.raw == 0 and it.held]
                it.clock.move_to(it.clock.now().replace(hour=15, minute=19, second=30))
            it.tick(25000.0, 4.0)
            for order in [order for order in it.desk.unknown() if order.id not in self.rows]:
                it.absent(order)  # a person has looked for it
            self.reply(Certain())
            self.move(Certain(), heard=1.0)
            self.read(calm, often=1.0)
        wrong += [] if it.portfolio.net(it.instrument, "MIS") == self.net else [f"I2: {it.held} in the ledger, {self.net} at the broker"]
        flat = it.engine.flat and self.net == 0
        return wrong + broken_invariants(it) + ([] if flat else [f"I5: {self.net} left, alive {[o.state for o in it.desk.live()]}"])

    def _set(self, id_: str, **changes: Any) -> None:
        self.rows[id_] = msgspec.structs.replace(self.rows[id_], exchange_at=self._it.clock.now(), **changes)


class Certain(random.Random):
    """Chance without faults: every draw is the harmless one."""

    def random(self) -> float:
        return 0.45

    def choice(self, options: Any) -> Any:
        return options[0]


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("crashes", [0.0, 0.03])
def test_a_storm_of_everything_breaks_no_invariant_and_ends_flat(seed: int, crashes: float) -> None:
    it = watched(risk=msgspec.structs.replace(WIDE, max_daily_loss=1e9, check_margin=False))
    assert storm(it, seed, crashes=crashes) == []


def test_the_storms_are_not_idle() -> None:
    counts = []
    for seed in range(20):
        it = watched(risk=msgspec.structs.replace(WIDE, max_daily_loss=1e9, check_margin=False))
        storm(it, seed)
        counts.append(len(it.executor.placed))
    assert sum(counts) / len(counts) > 8


# --- planted bugs: each check can fail --------------------------------------------------------------------------------------------------


class Careless(Gate):
    """A gate that approves everything."""

    def review(self, request: OrderRequest, book: RiskBook) -> Approved | Refused:
        return Approved(request, book.now)


class Forgetful(OrderDesk):
    """A desk that sends first and writes down later."""

    def submit(self, approved: Approved, now: datetime) -> Order:
        request = approved.request
        order = make_order(
            id=f"X{len(self.sent)}", tag=f"X{len(self.sent)}", strategy=request.strategy, name=request.name, instrument=request.instrument,
            side=request.side, quantity=request.quantity, purpose=request.purpose, state=OrderState.SENDING, created_at=now,
            updated_at=now, limit_price=request.limit_price, product="MIS",
        )  # fmt: skip
        self._executor.place(order)
        self.sent.append(now)
        self._keep(order)
        self._store.save_order(order)
        return order


class Repeating(OrderDesk):
    """A desk that sends again what got no answer."""

    def submit(self, approved: Approved, now: datetime) -> Order:
        order = super().submit(approved, now)
        self._executor.place(order)
        return order


class Gullible(OrderDesk):
    """A desk that takes a cancel request for a cancellation."""

    def cancel(self, order: Order, now: datetime, why: str) -> None:
        self._keep(msgspec.structs.replace(order, state=OrderState.CANCELLED, broker_order_id=None, reason=""))


class Doubling(Portfolio):
    """A portfolio that books a trade as often as it is told of it."""

    def _known(self, trade: Trade) -> bool:
        return False


def with_desk(it: Watched, kind: type[OrderDesk]) -> Watched:
    desk = kind("test", it.store, it.executor, it.portfolio, lambda order: "MIS", it._alert)
    it.desk = it.engine.desk = desk
    it.engine.world._desk = desk
    return it


def seen(wrong: list[str]) -> set[str]:
    return {text.split(":")[0] for text in wrong}


def test_a_gate_that_lets_everything_pass_is_seen() -> None:
    it = watched()
    it.engine.gate = Careless(WIDE)
    assert "I4" in seen(storm(it))


def test_caps_that_are_not_kept_are_seen() -> None:
    it = watched(risk=RiskSettings())
    it.engine.gate = Careless(RiskSettings())
    it.say(100)
    assert "I9" in seen(it.witness.wrong)
    held = watched(risk=RiskSettings())
    held.say(100)
    assert held.witness.wrong == []


def test_an_intent_that_leaves_before_it_is_written_is_seen() -> None:
    it = with_desk(watched(), Forgetful)
    it.say(1)
    assert "P1" in seen(it.witness.wrong)


def test_an_order_that_is_sent_twice_is_seen() -> None:
    it = with_desk(watched(), Repeating)
    it.say(1)
    assert "I1" in seen(it.witness.wrong)


def test_an_end_on_nobodys_word_is_seen() -> None:
    it = with_desk(watched(), Gullible)
    it.say(1)
    order = it.executor.placed[0]
    it.desk.cancel(order, it.clock.now(), "")
    assert "I7" in seen(broken_invariants(it))


def test_a_trade_that_is_booked_twice_is_seen() -> None:
    trade = make_trade("T1", 65, 25000.0)
    for kind, booked in ((Portfolio, 65), (Doubling, 130)):
        store = MemoryStore()
        book = kind("test", NoCharges())
        desk = OrderDesk("test", store, SilentExecutor(), book, lambda order: "MIS", lambda *_: None)
        desk.restore([make_order(state=OrderState.WORKING, broker_order_id="B1")])
        for seconds in (1, 2):
            desk.on_update(make_update(seconds, OrderState.WORKING, 65, trades=(trade,)))
        assert sum(fill.quantity for fill in store.saved_fills) == booked


def test_an_exit_larger_than_what_is_held_is_seen() -> None:
    it = watched()
    it.say(1)
    it.complete()
    it.tick(25000.0, 5)
    request = OrderRequest("told", "IT", FUTURE, Side.SELL, 130, OrderType.LIMIT, Horizon.INTRADAY, Purpose.EXIT, 24990.0, it.clock.now())
    refused = Gate(WIDE).review(request, it.engine.world)
    assert isinstance(refused, Refused)
    assert refused.rule == "owned"
    it.engine.desk.submit(Approved(request, it.clock.now()), it.clock.now())
    assert "I6" in seen(it.witness.wrong)


class Dozing(SquareOff):
    """A square-off that believes it is done once it has begun."""

    def fire(self, name: str, now: datetime) -> None:
        self._rounds[name].started = now


@pytest.mark.parametrize(("kind", "kept"), [(SquareOff, True), (Dozing, False)])
def test_flat_or_paged_by_the_deadline_and_the_check_can_fail(kind: type[SquareOff], kept: bool) -> None:
    it = watched()
    engine = it.engine
    engine.square_off = kind(
        timers=engine.timers, store=it.store, portfolio=it.portfolio, desk=it.desk, targets=engine.targets, plan=engine.world.plan,
        flatten=engine.flatten, alert=it._alert,
    )  # fmt: skip
    engine.square_off.arm(it.clock.now().date(), {it.instrument})
    it.say(1)
    it.complete()
    it.go_to(15, 20)
    it.reply(Action.PLACE, Outcome.REJECT, "circuit")
    it.go_to(15, 25)
    assert (engine.flat or bool(it.told("Not flat"))) is kept


# --- the disk ---------------------------------------------------------------------------------------------------------------------------


def test_cancels_changes_and_the_kill_go_on_while_the_disk_is_full() -> None:
    it = watched()
    it.say(1)
    it.ack()
    it.working()
    it.store.fail_commits = 1000
    it.engine.process(Command(it.clock.now(), "1", "kill", {}))
    it.engine.settle()
    assert it.engine.world.state is TradingState.HALTED
    assert len(it.executor.cancelled) == 1
    assert it.told("Entries are off") == ["page"]
    it.fill()
    assert (it.last.side, it.last.purpose) == (Side.SELL, Purpose.SQUARE_OFF)
    it.ack()
    it.working()
    it.tick(24900.0, 7)
    assert it.executor.modified
    it.fill()
    it.store.fail_commits = 0
    it.tick(25000.0, 1)
    assert it.held == 0
    assert it.store.crashed().get("engine", "trading_state")["state"] == "HALTED"


def test_an_entry_that_could_not_be_written_was_never_sent_and_goes_at_the_next_bar() -> None:
    it = watched()
    it.store.fail_commits = 1
    it.want(1)
    assert not it.executor.placed
    assert it.executor.forgotten == it.executor.prepared != []  # what was got ready meanwhile never leaves
    assert it.target.pending
    it.tick(25000.0, 3)
    (never,) = it.store.crashed().saved_orders.values()
    assert never.state is OrderState.CANCELLED  # a restart must not look for it at the broker
    it.want(1)
    assert len(it.executor.placed) == 1


def test_an_exit_that_could_not_be_written_leaves_anew_without_leaning_on_its_intent() -> None:
    it = watched()
    it.say(1)
    it.complete()
    it.tick(25000.0, 5)
    it.store.fail_commits = 1
    it.want(0)
    assert [order.purpose for order in it.executor.forgotten] == [Purpose.EXIT]
    assert it.executor.placed[-1] == it.executor.forgotten[-1]


@pytest.mark.parametrize("failing", range(1, 12))
def test_whichever_commit_fails_positions_and_orders_are_the_same_in_the_end(failing: int) -> None:
    it = watched()
    count = 0
    for target in (1, 0, -1, 0):
        for step in (it.say, None, None):
            count += 1
            it.store.fail_commits = 1 if count == failing else 0
            if step is not None:
                step(target)
            elif it.desk.live():
                it.ack() if it.last.state is OrderState.SENDING else it.fill()
        it.store.fail_commits = 0
        it.tick(25000.0, 5)
        if it.target.pending:
            it.want(target)
    assert it.witness.wrong == []
    assert broken_invariants(it) == []
    left = it.store.crashed()
    assert {o.id: o for o in left.orders()} == {o.id: o for o in it.desk.all()}
    assert sum(f.quantity * f.side.sign for f in left.fills()) == it.held


# --- restarts ---------------------------------------------------------------------------------------------------------------------------


def test_a_tag_whose_exit_left_without_the_ledger_is_not_given_again_after_a_crash() -> None:
    it = watched()
    it.say(1)
    it.complete()
    it.tick(25000.0, 5)
    it.store.fail_commits = 1000
    it.say(0)
    lost = it.last.tag
    again = it.restarted()
    again.books(again.row(it.executor.placed[0], OrderState.FILLED, 65, 25000.0), net=65)
    again.tick(25000.0, 3)
    again.say(0)
    again.say(1)
    assert again.executor.placed
    assert lost not in {order.tag for order in again.executor.placed}


class Fatal(SilentExecutor):
    """A broker at whose door the process may be killed: what was durable as each order left, or was cancelled."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__()
        self.store = store
        self.left: list[MemoryStore] = []

    def place(self, order: Order) -> None:
        self.left.append(self.store.crashed())
        super().place(order)

    def cancel(self, order: Order) -> None:
        self.left.append(self.store.crashed())
        super().cancel(order)


def test_a_fill_and_the_position_it_made_are_durable_together_whatever_commits_them() -> None:
    """The order that a fill calls for commits in the middle of the batch; killed there, the next process must hold what was filled."""
    store = MemoryStore()
    executor = Fatal(store)
    it = Harness(store=store, executor=executor)
    it.say(1)
    it.complete()
    it.tick(25000.0, 5)
    it.say(-1)
    it.complete()  # the exit's fill sends the entry on the other side
    it.ack()
    it.working()
    it.tick(25000.0, 3)
    it.fill(30)
    it.say(0)  # cancels what works
    assert len(executor.left) >= 4
    for left in executor.left:
        filled = sum(fill.side.sign * fill.quantity for fill in left.fills())
        assert sum(position.quantity for position in left.positions()) == filled


def test_books_that_stand_still_over_a_restart_are_a_difference_and_nobodys_holdings() -> None:
    """What the ledger traded today is older news to the broker's books than to us: their old position is not adopted as EXTERNAL."""
    it = watched()
    it.say(1)
    it.complete()
    it.tick(25000.0, 5)
    it.say(0)
    it.complete()
    again = it.restarted()
    again.books(net=65)  # as they stood before the exit
    assert again.portfolio.net(FUTURE, "MIS") == 0
    assert not again.journal("adopted")
    again.tick(25000.0, 15)
    again.books(net=65)
    assert again.told("Positions differ") == ["page"]
    again.tick(25000.0, 15)
    again.books(net=0)
    assert again.engine.world.frozen(FUTURE) is None


def test_tags_are_sixteen_characters_and_never_repeat_over_many_starts() -> None:
    store, given = MemoryStore(), []
    for _ in range(50):
        tags = Tags(store)
        given += [tags.next(date(2026, 11, 20)) for _ in range(20)]
        store.put("tags", "count", store.get("tags", "count") - 7)  # the last ones were never committed
    assert len(set(given)) == len(given)
    assert {len(tag) for tag in given} == {16}
    assert len(Tags(store).next(date(2016, 1, 4))) == 16, "recorded days may lie before the years that are counted"


@pytest.mark.parametrize("outcome", ["not received", "received", "acked", "partial", "filled", "rejected"])
@pytest.mark.parametrize("exit_", [False, True])
def test_kill_9_between_the_intent_and_its_answer(outcome: str, exit_: bool) -> None:
    """Whatever the broker made of the order that was under way: one broker order for the intent, and the broker's position."""
    it = watched()
    before = 0
    bought: tuple[OrderUpdate, ...] = ()
    if exit_:
        it.say(1)
        it.complete()
        bought = (it.row(it.last, OrderState.FILLED, 65, 25000.0),)
        it.tick(25000.0, 5)
        before = 65
        it.say(0)
    else:
        it.say(1)
    under_way = it.last
    again = it.restarted()
    state, filled = {
        "not received": (None, 0), "received": (OrderState.PENDING_NEW, 0), "acked": (OrderState.WORKING, 0),
        "partial": (OrderState.WORKING, 30), "filled": (OrderState.FILLED, 65), "rejected": (OrderState.REJECTED, 0),
    }[outcome]  # fmt: skip
    net = before + under_way.side.sign * filled
    rows = bought if state is None else (*bought, again.row(under_way, state, filled, 25000.0, reason="said the broker"))
    for _ in range(7):
        again.books(*rows, net=net)
        again.tick(25000.0, 25)
    if state is None:
        assert again.told("Look for an order") == ["page"]
        assert again.absent(under_way)
        again.books(*rows, net=net)
        again.tick(25000.0, 5)
    assert again.held == net
    assert under_way.tag not in {order.tag for order in again.executor.placed}
    known = again.desk.get(under_way.id)
    assert known is not None
    assert known.state is (OrderState.NOT_FOUND if state is None else known.state)
    if exit_ and outcome in ("not received", "rejected"):
        assert {(o.side, o.quantity, o.purpose) for o in again.executor.placed} == {(Side.SELL, 65, Purpose.EXIT)}
    elif not exit_:
        assert not [order for order in again.executor.placed if order.purpose is Purpose.ENTRY]  # entries latch


def test_a_restart_in_the_middle_of_the_square_off_finishes_it() -> None:
    it = watched()
    it.say(1)
    it.complete()
    bought = it.row(it.last, OrderState.FILLED, 65, 25000.0)
    it.go_to(15, 20)
    sold = it.last
    it.ack()
    again = it.restarted()
    again.books(bought, again.row(sold, OrderState.CANCELLED, 0, reason="the link was lost"), net=65)
    again.tick(25000.0, 3)
    again.tick(25000.0, 3)
    assert (again.last.side, again.last.quantity, again.last.purpose) == (Side.SELL, 65, Purpose.SQUARE_OFF)
    assert again.last.tag != sold.tag


# --- telling ---------------------------------------------------------------------------------------------------------------------------


class Hoarse:
    """A notifier that cannot speak."""

    def send(self, level: str, title: str, text: str) -> None:
        raise OSError("no route to host")


def test_an_alert_that_nobody_can_be_told_of_is_in_the_journal_and_stops_nothing() -> None:
    store = MemoryStore()
    alerts = Alerts(ManualClock(OPEN), store, Hoarse())
    alerts("page", "Not flat", "65 NIFTY26NOVFUT")
    assert store.read_journal(kind="alert")[0]["title"] == "Not flat"
    assert alerts.latest[0]["level"] == "page"


class Eager(OrderDesk):
    """Takes an acknowledgement for a fill, as far as people are concerned."""

    def on_reply(self, reply: Reply) -> Change | None:
        if reply.outcome is Outcome.ACK:
            self._alert("info", "Filled", reply.order_id)
        return super().on_reply(reply)


@pytest.mark.parametrize(("kind", "kept"), [(OrderDesk, True), (Eager, False)])
def test_no_acknowledgement_is_told_as_a_fill_and_one_that_is_is_seen(kind: type[OrderDesk], kept: bool) -> None:
    it = watched()
    it.desk.__class__ = kind
    it.say(1)
    it.ack()
    it.working()
    assert (not it.told("Filled")) is kept


def test_filled_and_rejected_are_said_on_the_brokers_word_alone() -> None:
    it = watched()
    it.say(1)
    it.ack()
    it.working()
    assert not it.told("Filled")
    it.fill()
    assert it.told("Filled") == ["info"]
    it.tick(25000.0, 5)
    it.say(0)
    it.reply(Action.PLACE, Outcome.UNKNOWN, "500 <html>", error="Unknown")
    assert not it.told("Rejected")
    assert it.told("Order of unknown fate") == ["warn"]


def test_a_store_that_fails_when_the_day_opens_says_so() -> None:
    store = MemoryStore()
    store.fail_commits = 1
    it = Harness(store=store)
    assert it.told("Entries are off") == ["page"]
    assert it.engine.world.blind is None  # the next commit worked


def test_a_size_that_needs_many_slices_never_passes_the_cap_and_never_leaves_in_one_burst() -> None:
    it = watched(size=Size(lots=2700), risk=msgspec.structs.replace(WIDE, orders_per_second=8))
    it.say(1)
    assert 0 < len(it.executor.placed) <= 8
    assert all(order.quantity <= FUTURE.freeze for order in it.executor.placed if FUTURE.freeze)


class Drowsy(Gate):
    """Believes that a loss can only be reached at a whole second."""

    def room(self, book: RiskBook) -> float:
        return float("inf")


@pytest.mark.parametrize(("kind", "locked"), [(Gate, True), (Drowsy, False)])
def test_a_loss_that_comes_and_goes_between_two_seconds_locks_all_the_same(kind: type[Gate], locked: bool) -> None:
    it = Harness(risk=msgspec.structs.replace(WIDE, max_daily_loss=10_000.0, flatten_on_loss=False))
    it.engine.gate.__class__ = kind
    it.want(1)
    it.complete()
    for price in (25_000.0, 24_990.0, 24_840.0, 24_995.0):  # 65 units: the limit is reached 153.85 below
        it.tick(price, 0.2)
    it.want(2)
    assert bool(it.engine.gate.locks(it.clock.now().date())) is locked
    assert len(it.executor.placed) == (1 if locked else 2)


def test_a_fill_that_reaches_the_loss_limit_locks_before_the_next_price() -> None:
    it = Harness(risk=msgspec.structs.replace(WIDE, max_daily_loss=10_000.0, flatten_on_loss=False))
    it.want(1)
    it.complete(price=25_200.0)
    assert it.engine.gate.locks(it.clock.now().date())


def test_a_loss_limit_that_is_first_seen_by_the_next_process_closes_what_is_held() -> None:
    """Judged only once its day is open: before that nobody knows what there is to close."""
    it = Harness(risk=msgspec.structs.replace(WIDE, max_daily_loss=1e6))
    it.want(2)
    it.complete(price=25_200.0)
    it.want(1)
    it.complete(price=25_000.0)
    it.tick(25_000.0)
    again = it.restarted(risk=msgspec.structs.replace(WIDE, max_daily_loss=10_000.0))
    again.books(*(again.row(order, OrderState.FILLED, order.filled, order.average_price) for order in again.desk.all()), net=65)
    again.tick(25_000.0)
    again.pass_time(3.0)
    (exit_,) = again.executor.placed
    assert (exit_.side, exit_.quantity, exit_.purpose) == (Side.SELL, 65, Purpose.EXIT)
    assert again.engine.gate.locks(again.clock.now().date())
