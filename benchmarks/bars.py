"""Bars a second through the whole engine against a bare hand-written event loop that makes the same trades.

The engine runs with strategy, risk gate, charges, order life and PaperBroker on, over a memory store; it is driven as the daemon drives
it: the events of a moment, timers (the loss watch and an equity sample for each bar), settle; each trading day is opened and closed.
Books are not read back (a backtest has no second side to compare with). Both sides make their bars of the same columns inside the run.
The bars are synthetic: random walks on the tick, over real session hours. Time is the process's own (CPU) time.
"""

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from statistics import median
from time import process_time
from typing import ClassVar

import msgspec

from benchmarks.bare_loop import LAST_CALL, BareLoop, Columns
from benchmarks.rounds import Line, interleaved, paired, without_garbage_collection
from benchmarks.starts import ROOT
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
LONG = 1_000_000
LATEST = 10_000  # journal entries kept, as in a backtest
QUANTITY = 50
FIRST_DAY = date(2024, 1, 1)
WIDE = RiskSettings(
    max_order_value=1e8,
    max_instrument_value=1e8,
    max_strategy_exposure=1e8,
    max_gross_exposure=1e8,
    max_daily_loss=1e8,
    orders_per_second=1_000,
    orders_per_minute=1_000,
    orders_per_day=1_000_000,
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


class Often(Strategy):
    """Long for so many bars, then flat for as many: two of these hold as long as each other, and differ in how often they trade."""

    bars: ClassVar[int] = 5

    def start(self) -> None:
        self.heard = 0

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        self.heard += 1
        if self.heard % self.bars == 0 and bar.at.time() < LAST_CALL:
            yield self.signal(bar.instrument, self.heard // self.bars % 2, why="turn")


class Seldom(Often):
    bars: ClassVar[int] = 50


Trade = tuple[datetime, str, int, float]
"""When (the start of the bar at whose open it filled), instrument, signed quantity, price."""


class Market(msgspec.Struct):
    """Synthetic one-minute bars of whole trading days, of every instrument the same number on each day."""

    instruments: tuple[Instrument, ...]
    columns: dict[str, Columns]
    days: list[tuple[date, int, int]]
    """Each with the half-open range of its rows."""

    @property
    def bars(self) -> int:
        return sum(len(of.at) for of in self.columns.values())


def shares(count: int) -> tuple[Instrument, ...]:
    """So many invented shares."""
    return tuple(
        Instrument(f"NSE:SYNTHETIC{number}", "NSE", f"SYNTHETIC{number}", Kind.EQUITY, f"SYNTHETIC{number}", lot=1, tick_size=0.05)
        for number in range(count)
    )


def make_market(instruments: int, bars_each: int, calendar: Calendar, seed: int = 7, first_day: date = FIRST_DAY) -> Market:
    """At least `bars_each` bars of each instrument: random walks on the tick over real session hours."""
    names = shares(instruments)
    starts, ends, days, day = list[datetime](), list[datetime](), list[tuple[date, int, int]](), first_day
    while len(ends) < bars_each:
        first = len(ends)
        windows = calendar.continuous(names[0], day)
        for start, end in windows if len(windows) == 1 else ():  # the bare loop knows of no break between two sessions
            while start < end:
                starts.append(start)
                start += timedelta(minutes=1)
                ends.append(start)
        if len(ends) > first:
            days.append((day, first, len(ends)))
        day += timedelta(days=1)
    rng = random.Random(seed)
    return Market(names, {share.key: _walk(rng, starts, ends) for share in names}, days)


def _walk(rng: random.Random, starts: list[datetime], ends: list[datetime]) -> Columns:
    walk = Columns(starts, ends, [], [], [], [], [100_000] * len(ends))
    ticks = 20_000
    for _ in ends:
        first = ticks + rng.choice((-1, 0, 0, 1))
        ticks = max(2_000, first + rng.randrange(-12, 13))
        walk.open.append(round(first * 0.05, 2))
        walk.high.append(round((max(first, ticks) + rng.randrange(4)) * 0.05, 2))
        walk.low.append(round((min(first, ticks) - rng.randrange(4)) * 0.05, 2))
        walk.close.append(round(ticks * 0.05, 2))
    return walk


class EngineSide:
    """An engine as the wiring builds one, over a memory store and a clock moved by hand."""

    def __init__(self, calendar: Calendar, market: Market, strategy: type[Strategy] = EmaCross) -> None:
        self.market = market
        first = market.columns[market.instruments[0].key].start[0]
        self.clock = ManualClock(first - timedelta(minutes=30))
        self.store = MemoryStore(journal=LATEST)
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
            record=None,
            horizon_of=lambda product: Horizon.CARRY,
            commands=lambda engine, command: None,
        )
        self.paper = paper
        self.world.canary = market.instruments[0]
        self.runs = []
        for share in market.instruments:
            spec = StrategySpec(share.symbol, strategy.params_type(), (share.symbol,), 1, Horizon.CARRY)
            one = strategy(spec, share.symbol)
            one.start()
            self.runs.append(Run(one, Size(quantity=QUANTITY), {share.symbol: share}))
        now = self.clock.now()
        self.engine.process(SessionStatus(now, "bench", SessionState.VALID))
        self.engine.process(FeedStatus(now, connected=True))

    def run(self) -> None:
        engine, clock = self.engine, self.clock
        process, run_timers, settle, move_to = engine.process, engine.run_timers, engine.settle, clock.move_to
        names = {share.symbol: share for share in self.market.instruments}
        streams = [(share, self.market.columns[share.key]) for share in sorted(self.market.instruments, key=lambda share: share.key)]
        ends = streams[0][1].at
        for day, first, last in self.market.days:
            opens = streams[0][1].start[first]
            move_to(opens)
            self.portfolio.start_day(day)
            self.desk.open_day(())
            for run in self.runs:
                run.strategy.begin(day, None, opens)
            engine.open_day(day, self.runs, names, resumed=False)
            for row in range(first, last):
                move_to(ends[row])
                for share, of in streams:
                    process(
                        Bar(share, of.start[row], of.at[row], 1, of.open[row], of.high[row], of.low[row], of.close[row], of.volume[row])
                    )
                run_timers()
                settle()
            self.paper.end_of_day(clock.now())
            engine.close_day(day)

    @property
    def trades(self) -> list[Trade]:
        return [(fill.at, fill.instrument.key, fill.side.sign * fill.quantity, fill.price) for fill in self.store.kept_fills]

    def _alert(self, level: str, title: str, text: str) -> None:
        self.alerts.append((level, title))


def measure(rounds: int) -> list[Line]:
    """Whole-run bars a second of both sides, each after a run that shows equal trades, and what one order's life costs."""
    calendar = load_calendar(assumed_cut_offs=True)
    lines = [_against_loop(calendar, rounds, instruments, each, goal) for instruments, each, goal in ((1, 100_000, 0.5), (50, 2_000, 0.6))]
    return [*lines, _order_life(calendar, rounds), _long_run()]


def _against_loop(calendar: Calendar, rounds: int, instruments: int, bars_each: int, goal: float) -> Line:
    market = make_market(instruments, bars_each, calendar)
    ours, theirs = EngineSide(calendar, market), BareLoop(market.columns, FAST, SLOW, QUANTITY)
    ours.run()
    theirs.run()
    told = [(fill.at, fill.name, fill.quantity, fill.price) for fill in theirs.fills]
    assert ours.trades == told, "the engine and the bare loop do not make the same trades"

    def engine() -> float:
        return market.bars / _cpu_seconds(EngineSide(calendar, market).run)

    def bare() -> float:
        return market.bars / _cpu_seconds(BareLoop(market.columns, FAST, SLOW, QUANTITY).run)

    figures = interleaved({"engine": engine, "bare": bare}, rounds)
    note = f"{market.bars:,} synthetic 1-minute bars, {len(market.days)} days, {len(told):,} trades on both sides"
    return Line(
        f"engine, {instruments} x {bars_each:,} bars",
        "bar/s",
        median(figures["engine"]),
        median(figures["bare"]),
        "bare event loop",
        paired(figures["engine"], figures["bare"]),
        0.3,
        True,
        goal,
        note,
    )


def _order_life(calendar: Calendar, rounds: int) -> Line:
    """The same bars and the same time in the market, with many orders and with few: the difference of the times over that of the orders."""
    market = make_market(1, 20_000, calendar)
    counts = {}
    for kind in (Often, Seldom):
        side = EngineSide(calendar, market, kind)
        side.run()
        counts[kind] = len(side.store.kept_orders)
    more = counts[Often] - counts[Seldom]

    def seconds(kind: type[Strategy]) -> Callable[[], float]:
        return lambda: _cpu_seconds(EngineSide(calendar, market, kind).run)

    figures = interleaved({"often": seconds(Often), "seldom": seconds(Seldom)}, rounds)
    lives = [(one - other) / more * 1e6 for one, other in zip(figures["often"], figures["seldom"], strict=True)]
    note = f"signal to booked fill, {counts[Often]:,} orders against {counts[Seldom]:,} on {market.bars:,} bars"
    return Line("an order's whole life", "us", median(lives), None, "absolute", None, 40.0, False, note=note)


def _long_run() -> Line:
    program = [sys.executable, "-m", "benchmarks.long_run", str(LONG)]
    told = json.loads(subprocess.run(program, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    speed = told["bars"] / told["seconds"]
    note = f"peak of a process that makes {told['bars']:,} bars as it goes; {told['orders']:,} orders; {speed:,.0f} bar/s with the making"
    return Line("memory, 1 x 1,000,000 bars", "MB", told["rss_mb"], None, "absolute", None, 150.0, False, note=note)


def _cpu_seconds(run: Callable[[], object]) -> float:
    """Seconds of this process's own time: what else the machine does is none of either side's."""
    with without_garbage_collection():
        began = process_time()
        run()
        return process_time() - began


def profile_side(count: int) -> EngineSide:
    """A ready engine side, for a profiler."""
    calendar = load_calendar(assumed_cut_offs=True)
    return EngineSide(calendar, make_market(1, count, calendar))
