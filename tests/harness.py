"""An engine on one thread with a hand-moved clock, a memory store and an executor that says only what the test makes it say."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, Self

import msgspec

from core.clock import ManualClock
from core.events import Action, Books, BrokerPosition, Command, FeedStatus, OrderUpdate, Outcome, Reply, SessionStatus, Trade
from core.market import SquareOffSettings
from core.ports import Emergency
from core.types import (
    IST,
    Account,
    AccountKind,
    Bar,
    Horizon,
    Instrument,
    Kind,
    Order,
    OrderState,
    SessionState,
    Side,
    Signal,
    Tick,
    TradingState,
    View,
)
from data_ingestion.bars import BarBuilder
from data_ingestion.tick_filter import TickFilter
from execution_engine.buy_sell_logic import Size, Target
from execution_engine.control import Control
from execution_engine.engine import Engine
from execution_engine.night_guard import GuardDesk
from execution_engine.order_manager import OrderDesk
from execution_engine.portfolio import Portfolio
from execution_engine.price_ladder import Ladder
from execution_engine.protection import Protect
from execution_engine.reconciliation import RECOVERING
from execution_engine.runs import Run
from execution_engine.world import World
from risk.gate import Gate
from risk.settings import RiskSettings
from strategies.base import Strategy, StrategySpec
from tests.fakes import MemoryStore, SilentExecutor
from utils.config_loader import load, load_calendar

DAY = datetime(2026, 11, 20, tzinfo=IST)
OPEN = DAY.replace(hour=9, minute=15)
EXPIRY = datetime(2026, 11, 23, tzinfo=IST).date()
FUTURE = Instrument("NFO:NIFTY26NOVFUT", "NFO", "NIFTY26NOVFUT", Kind.FUTURE, "NIFTY", 65, 0.1, EXPIRY, freeze=1755)
SHARE = Instrument("NSE:RELIANCE", "NSE", "RELIANCE", Kind.EQUITY, "RELIANCE", lot=1, tick_size=0.1, is_fno=True)


WIDE = RiskSettings(max_order_value=1e9, max_instrument_value=1e9, max_strategy_exposure=1e9, max_gross_exposure=1e9)


class Told(Strategy):
    """A strategy that wants what the test puts into `wants`, at its next bar."""

    wants: list[dict[str, Any]]

    def start(self) -> None:
        self.wants = []
        self.fills: list[Any] = []

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        while self.wants:
            yield self.signal(bar.instrument, **self.wants.pop(0))

    def on_fill(self, fill: Any, view: View) -> tuple[()]:
        self.fills.append(fill)
        return ()

    def state(self) -> dict[str, Any]:
        return {"fills": [fill.id for fill in self.fills]}


class Harness:
    """`tick` a price, `want` a target, then say what the broker did with `ack`, `working`, `fill`, `end`."""

    def __init__(
        self,
        *,
        at: datetime = OPEN + timedelta(minutes=30),
        risk: RiskSettings | None = None,
        executor: Any = None,
        store: Any = None,
        kind: AccountKind = AccountKind.PRACTICE_LIVE,
        instrument: Instrument = FUTURE,
        size: Size | None = None,
        horizon: Horizon = Horizon.INTRADAY,
        stop_pct: float | None = None,
        made: "type[Told] | None" = None,
        resumed: bool = False,
        stopped: str = "",
        protect: Protect | None = None,
        guards: GuardDesk | None = None,
        make_executor: Callable[[ManualClock], Any] | None = None,
        emergency: Emergency | None = None,
        tariff: Any = None,
        square_off: SquareOffSettings | None = None,
    ) -> None:
        self.clock = ManualClock(at)
        self.store = store or MemoryStore()
        self.executor = make_executor(self.clock) if make_executor is not None else executor or SilentExecutor()
        self.alerts: list[tuple[str, str, str]] = []
        self.answers: list[tuple[str, bool, str, Any]] = []
        self.instrument = instrument
        self.account = Account("test", kind, "zerodha", 10_000_000.0)
        self.calendar = load_calendar(assumed_cut_offs=True)
        self.portfolio = Portfolio("test", tariff or SimpleNamespace(order_charges=lambda *_: SimpleNamespace(total=0.0)))
        self.desk = OrderDesk("test", self.store, self.executor, self.portfolio, lambda order: "MIS", self._alert, emergency)
        plans = square_off or load().square_off
        world = World(self.account, self.calendar, plans, self.portfolio, self.desk, self.clock.now, lambda *_: 0.0)
        self.control = Control(lambda *answer: self.answers.append(answer))
        self.engine = Engine(
            account=self.account,
            clock=self.clock,
            store=self.store,
            executor=self.executor,
            desk=self.desk,
            portfolio=self.portfolio,
            gate=Gate(risk or WIDE),
            world=world,
            bars=BarBuilder(self.calendar),
            tick_gate=TickFilter(),
            alert=self._alert,
            ladder=Ladder(),
            books_every_s=15.0,
            record=None,
            horizon_of=lambda product: Horizon.INTRADAY if product == "MIS" else Horizon.CARRY,
            commands=lambda engine, command: self.control.handle(engine, command),
            protect=protect,
            guards=guards,
            emergency=emergency,
        )
        self.strategy = (made or Told)(StrategySpec("told", Told.params_type(), ("IT",), 5, horizon), "IT")
        self.strategy.start()
        self.run = Run(self.strategy, size or Size(lots=1), {"IT": instrument}, stop_pct, stopped=stopped)
        self.engine.world.canary = instrument
        if resumed:
            self._recover(at)
        self.engine.process(SessionStatus(at, "test", SessionState.VALID))
        self.engine.process(FeedStatus(at, connected=True))
        if resumed:
            self.engine.targets.restore(self._instrument_of)  # the day's instruments are known only after the login
        else:
            self.portfolio.start_day(at.date())
        self._open(at, resumed=resumed)
        self._trades = len(self.store.fills())
        if resumed:
            return  # no tick has come yet
        self.tick(25000.0 if instrument is FUTURE else 1400.0)

    def restarted(self, seconds: float = 2.0, **more: Any) -> Self:
        """`kill -9`, then the next process `seconds` later: only what was committed is left, and no tick has come yet."""
        at = self.clock.now() + timedelta(seconds=seconds)
        return type(self)(at=at, store=self.store.crashed(), instrument=self.instrument, size=self.run.size, resumed=True, **more)

    def _open(self, at: datetime, *, resumed: bool) -> None:
        self.engine.open_day(at.date(), [self.run], {"IT": self.instrument}, resumed=resumed)

    def _instrument_of(self, key: str) -> Instrument:
        return self.instrument

    def _recover(self, at: datetime) -> None:
        """What runtime/recovery.py does with a real broker's account."""
        engine, store = self.engine, self.store
        self.portfolio.restore(store.positions(), store.fills(), at.date())
        orders = {order.id: order for order in (*store.orders(at.date()), *store.live_orders())}
        self.desk.restore(orders.values())
        self.desk.open_day(store.orders(at.date()))
        state = store.get("engine", "trading_state")
        if state is not None:
            engine.world.state = TradingState(state["state"])
        gate = store.get("engine", "gate")
        if gate is not None:
            engine.gate.restore(gate)
        engine.world.blinded["recovery"] = RECOVERING

    # --- the market -----------------------------------------------------------------------------------------------------------------

    def tick(self, price: float, seconds: float = 0.0, **more: Any) -> None:
        self.pass_time(seconds)
        now = self.clock.now()
        self.engine.process(
            Tick(
                self.instrument, now, price, exchange_at=now, bid=price - 0.5, ask=price + 0.5, bid_quantity=6500, ask_quantity=6500, **more
            )
        )
        self.engine.run_timers()
        self.engine.settle()

    def pass_time(self, seconds: float) -> None:
        """Let market time pass second by second, timers firing as they are due; the last price repeats so that it stays fresh."""
        end = self.clock.now() + timedelta(seconds=seconds)
        while self.clock.now() < end:
            self.clock.move_to(min(end, max(self.engine.wake_at(), self.clock.now() + timedelta(milliseconds=1))))
            self.engine.run_timers()
            self.engine.settle()
            self.control.check(self.engine)

    def go_to(self, hour: int, minute: int, second: int = 0, price: float | None = None) -> None:
        """Jump to a clock time of the day with one fresh tick there."""
        self.clock.move_to(self.clock.now().replace(hour=hour, minute=minute, second=second))
        last = self.engine.world.last_price(self.instrument)
        self.tick(price if price is not None else last or 25000.0)

    def want(self, target: float, **more: Any) -> None:
        """The strategy's bar comes and it wants `target`."""
        self.strategy.wants.append({"target": target, **more})
        now = self.clock.now()
        price = self.engine.world.last_price(self.instrument) or 0.0
        self.engine.process(Bar(self.instrument, now - timedelta(minutes=5), now, 5, price, price, price, price))
        self.engine.settle()

    def say(self, target: float, **more: Any) -> None:
        """The strategy wants `target` without a bar or a tick having come."""
        self.strategy.at = self.clock.now()
        self.engine.take_signal(self.run, self.strategy.signal(self.instrument, target, **more))
        self.engine.settle()

    # --- the broker -----------------------------------------------------------------------------------------------------------------

    @property
    def last(self) -> Order:
        placed: Order = self.executor.placed[-1]
        found = self.desk.get(placed.id)
        assert found is not None
        return found

    def ack(self, order: Order | None = None) -> None:
        order = order or self.last
        self.engine.process(self.executor.acknowledge(order, self.clock.now(), f"B{order.id}"))
        self.engine.settle()

    def row(self, order: Order, state: OrderState | None, filled: int, price: float = 0.0, **more: Any) -> OrderUpdate:
        now = self.clock.now()
        return OrderUpdate(
            now, "socket", f"B{order.id}", order.instrument, order.side, order.quantity, state, filled, price, tag=order.tag,
            product=order.product, limit_price=order.limit_price, exchange_at=now, **more,
        )  # fmt: skip

    def working(self, order: Order | None = None, limit_price: float | None = None) -> None:
        order = order or self.last
        row = self.row(order, OrderState.WORKING, order.filled, order.average_price)
        self.engine.process(row if limit_price is None else msgspec.structs.replace(row, limit_price=limit_price))
        self.engine.settle()

    def fill(self, quantity: int | None = None, price: float = 25000.0, order: Order | None = None) -> None:
        """A trade of `quantity` (default: all that remains) and the row that comes with it."""
        order = self.desk.get((order or self.last).id)
        assert order is not None
        quantity = order.remaining if quantity is None else quantity
        self._trades += 1
        trade = Trade(f"X{self._trades}", f"B{order.id}", order.instrument, order.side, quantity, price, self.clock.now())
        filled = order.filled + quantity
        state = OrderState.FILLED if filled == order.quantity else OrderState.WORKING
        self.engine.process(msgspec.structs.replace(self.row(order, state, filled, price), trades=(trade,)))
        self.engine.settle()

    def trade(self, broker_order_id: str, side: Side, quantity: int, price: float) -> Trade:
        """One more execution of this moment."""
        self._trades += 1
        return Trade(f"X{self._trades}", broker_order_id, self.instrument, side, quantity, price, self.clock.now())

    def books(self, *orders: OrderUpdate, trades: tuple[Trade, ...] = (), net: int | None = 0, asked: float = 0.0) -> None:
        """One complete read: these rows and trades, and a net position of `net` (None: positions were not read), asked `asked` s ago."""
        now = self.clock.now()
        rows = None if net is None else (BrokerPosition(self.instrument, "MIS", net, 25000.0),) if net else ()
        self.engine.process(Books(now, now - timedelta(seconds=asked), orders, trades, rows))
        self.engine.settle()

    def books_fail(self) -> None:
        """One read that did not come."""
        now = self.clock.now()
        self.engine.process(Books(now, now, error="Transient", reason="no answer"))
        self.engine.settle()

    def uncertain(self, order: Order) -> None:
        """Nobody knows what became of this order's call."""
        self.reply(Action.PLACE, Outcome.UNKNOWN, "no answer", order)

    def reply(self, action: Action, outcome: Outcome, reason: str = "", order: Order | None = None, error: str = "") -> None:
        self.engine.process(Reply(self.clock.now(), action, (order or self.last).id, outcome, error=error, reason=reason))
        self.engine.settle()

    def absent(self, order: Order | None = None) -> bool:
        """A person says that this order is not at the broker's terminal; whether that is taken."""
        now, tag = self.clock.now(), (order or self.last).tag
        self.engine.process(Command(now, f"absent-{tag}", "absent", {"tag": tag, "confirm": True}))
        self.engine.settle()
        return self.answers[-1][1]

    def told(self, title: str) -> list[str]:
        """The levels at which a message of this title was given."""
        return [level for level, said, _ in self.alerts if said == title]

    def end(self, state: OrderState, reason: str = "", order: Order | None = None) -> None:
        order = self.desk.get((order or self.last).id)
        assert order is not None
        self.engine.process(self.row(order, state, order.filled, order.average_price, reason=reason))
        self.engine.settle()

    def complete(self, price: float = 25000.0) -> None:
        """The usual way of the last order: acknowledged, working, filled."""
        self.ack()
        self.working()
        self.fill(price=price)

    @property
    def target(self) -> Target:
        found = self.engine.targets.get("told", "IT")
        assert found is not None
        return found

    @property
    def held(self) -> int:
        return self.portfolio.position("told", self.instrument)

    def journal(self, kind: str) -> list[dict[str, Any]]:
        return self.store.read_journal(kind=kind)

    def _alert(self, level: str, title: str, text: str) -> None:
        self.alerts.append((level, title, text))
