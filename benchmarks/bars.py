"""Bars a second through the whole engine against a bare hand-written event loop that makes the same trades.

The engine runs with strategy, risk gate, charges, order life and PaperBroker on, over a memory store; it is driven as the daemon drives
it: event, timers (the loss watch and an equity sample for each bar), settle; each trading day is opened and closed. Books are not read
back (a backtest has no second side to compare with). The bars are synthetic: a random walk on the tick, over real session hours.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median
from typing import Any

from benchmarks.bare_loop import LAST_CALL, BareLoop, LoopBar, Trade
from benchmarks.rounds import Line, interleaved, paired, seconds_of, without_garbage_collection
from core.clock import ManualClock
from core.events import FeedStatus, SessionStatus
from core.market import Calendar
from core.types import Account, AccountKind, Bar, Horizon, Instrument, Kind, SessionState, Side, Signal, View
from data_ingestion.bars import BarBuilder
from data_ingestion.tick_filter import TickFilter
from execution_engine.buy_sell_logic import Size
from execution_engine.charges import Charges
from execution_engine.engine import Engine
from execution_engine.order_manager import OrderDesk
from execution_engine.paper_broker import PaperBroker
from execution_engine.portfolio import Portfolio
from execution_engine.price_ladder import Ladder
from execution_engine.runs import Run
from execution_engine.world import World
from risk.gate import Gate
from risk.margin import required
from risk.settings import RiskSettings
from storage.memory_store import MemoryStore
from strategies.base import Params, Strategy, StrategySpec
from strategies.indicators import EMA
from utils.config_loader import load, load_calendar, load_charges

FAST, SLOW = 12, 26
QUANTITY = 50
SHARE = Instrument("NSE:SYNTHETIC", "NSE", "SYNTHETIC", Kind.EQUITY, "SYNTHETIC", lot=1, tick_size=0.05)
FIRST_DAY = date(2024, 1, 1)
WIDE = RiskSettings(
    max_order_value=1e8, max_instrument_value=1e8, max_strategy_exposure=1e8, max_gross_exposure=1e8, max_daily_loss=1e8
)  # every cap is asked and none is reached


@dataclass(frozen=True, slots=True)
class Lengths(Params):
    fast: int = FAST
    slow: int = SLOW


class EmaCross(Strategy):
    """Long while the fast average is above the slow one, else flat; speaks when that changes."""

    params_type = Lengths

    def start(self) -> None:
        self.fast, self.slow = EMA(self.params.fast), EMA(self.params.slow)
        self.wanted = 0

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        fast, slow = self.fast.add(bar.close), self.slow.add(bar.close)
        if fast is None or slow is None:
            return
        wanted = 1 if fast > slow else 0
        if wanted != self.wanted and bar.at.time() < LAST_CALL:
            self.wanted = wanted
            yield self.signal(bar.instrument, wanted, why="cross")


Day = tuple[date, list[Bar]]


def make_days(count: int, calendar: Calendar, seed: int = 7) -> list[Day]:
    """At least `count` one-minute bars of whole trading days."""
    rng = random.Random(seed)
    ticks, day, made, days = 20_000, FIRST_DAY, 0, list[Day]()
    while made < count:
        if calendar.trading_day("EQ", day):
            bars = []
            for start, end in calendar.continuous(SHARE, day):
                while start < end:
                    at = start + timedelta(minutes=1)
                    first = ticks + rng.choice((-1, 0, 0, 1))
                    ticks = max(2_000, first + rng.randrange(-12, 13))
                    low, high = min(first, ticks) - rng.randrange(4), max(first, ticks) + rng.randrange(4)
                    prices = [round(one * 0.05, 2) for one in (first, high, low, ticks)]
                    bars.append(Bar(SHARE, start, at, 1, prices[0], prices[1], prices[2], prices[3], 100_000))
                    start = at
            made += len(bars)
            days.append((day, bars))
        day += timedelta(days=1)
    return days


class EngineSide:
    """An engine as the wiring builds one, over a memory store and a clock moved by hand."""

    def __init__(self, calendar: Calendar, days: list[Day]) -> None:
        self.days = days
        first = days[0][1][0].start
        self.clock = ManualClock(first - timedelta(minutes=30))
        self.store = MemoryStore()
        self.alerts: list[tuple[str, str]] = []
        account = Account("bench", AccountKind.PRACTICE, "zerodha", 1e8)
        paper = PaperBroker(account, self.clock, sessions=calendar)
        self.portfolio = Portfolio("bench", Charges(load_charges(), "zerodha"))
        self.desk = OrderDesk("bench", self.store, paper, self.portfolio, lambda order: "CNC", self._alert)

        def margin(instrument: Instrument, horizon: Horizon, quantity: int, price: float) -> float:
            side = Side.BUY if quantity > 0 else Side.SELL
            return required(instrument, side, abs(quantity), price, horizon, WIDE.margin, self.clock.now().date())

        self.world = World(account, calendar, load().square_off, self.portfolio, self.desk, self.clock.now, margin)
        self.engine = Engine(
            account=account,
            clock=self.clock,
            store=self.store,
            executor=paper,
            desk=self.desk,
            portfolio=self.portfolio,
            gate=Gate(WIDE),
            world=self.world,
            bars=BarBuilder(calendar),
            tick_gate=TickFilter(),
            alert=self._alert,
            ladder=Ladder(),
            books_every_s=365 * 86_400.0,
            record=lambda event: None,
            horizon_of=lambda product: Horizon.CARRY,
            commands=lambda engine, command: None,
        )
        self.paper = paper
        self.world.canary = SHARE
        strategy = EmaCross(StrategySpec("ema", Lengths(), ("IT",), 1, Horizon.CARRY), "IT")
        strategy.start()
        self.run_of = Run(strategy, Size(quantity=QUANTITY), {"IT": SHARE})
        now = self.clock.now()
        self.engine.process(SessionStatus(now, "bench", SessionState.VALID))
        self.engine.process(FeedStatus(now, connected=True))

    def run(self) -> None:
        engine, clock = self.engine, self.clock
        process, run_timers, settle, move_to = engine.process, engine.run_timers, engine.settle, clock.move_to
        for day, bars in self.days:
            move_to(bars[0].start)
            self.portfolio.start_day(day)
            self.desk.open_day(())
            self.run_of.strategy.begin(day, None, bars[0].start)
            engine.open_day(day, [self.run_of], {"IT": SHARE}, resumed=False)
            for bar in bars:
                move_to(bar.at)
                process(bar)
                run_timers()
                settle()
            self.paper.end_of_day(clock.now())
            engine.close_day(day)

    @property
    def trades(self) -> list[Trade]:
        return [(fill.at, fill.side.sign * fill.quantity, fill.price) for fill in self.store.kept_fills]

    def _alert(self, level: str, title: str, text: str) -> None:
        self.alerts.append((level, title))


def _loop_bars(days: list[Day]) -> list[LoopBar]:
    return [LoopBar(bar.start, bar.at, bar.open, bar.high, bar.low, bar.close, bar.volume) for _, bars in days for bar in bars]


def measure(rounds: int, count: int = 100_000) -> list[Line]:
    """Whole-run bars a second of both sides, after a run that shows equal trades."""
    calendar = load_calendar(assumed_cut_offs=True)
    days = make_days(count, calendar)
    loop_bars = _loop_bars(days)
    ours, theirs = EngineSide(calendar, days), BareLoop(loop_bars, FAST, SLOW, QUANTITY)
    ours.run()
    theirs.run()
    assert ours.trades == theirs.trades, "the engine and the bare loop do not make the same trades"
    assert ours.portfolio.position("ema", SHARE) == theirs.position
    total = len(loop_bars)

    def engine() -> float:
        side = EngineSide(calendar, days)
        with without_garbage_collection():
            return total / seconds_of(side.run)

    def bare() -> float:
        side = BareLoop(loop_bars, FAST, SLOW, QUANTITY)
        with without_garbage_collection():
            return total / seconds_of(side.run)

    figures = interleaved({"engine": engine, "bare": bare}, rounds)
    note = f"{total:,} synthetic 1-minute bars, {len(days)} days, {len(theirs.trades):,} trades on both sides"
    return [
        Line(
            "engine, 1 x 100,000 bars",
            "bar/s",
            median(figures["engine"]),
            median(figures["bare"]),
            "bare event loop",
            paired(figures["engine"], figures["bare"]),
            0.3,
            True,
            0.5,
            note,
        )
    ]


def profile_side(count: int) -> Any:
    """A ready engine side, for a profiler."""
    calendar = load_calendar(assumed_cut_offs=True)
    return EngineSide(calendar, make_days(count, calendar))
