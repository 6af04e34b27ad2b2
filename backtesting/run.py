"""One backtest: the engine of live trading over recorded data, with a clock moved by hand and a ledger in memory.

The order of things is the daemon's: the day opens, events and timers are taken one by one, the day closes. What differs:
1. Data is heard when it was known: a bar at its end. Orders that it causes meet the next bar (or tick), so nothing looks ahead.
2. With bars there is no time between two ends, but for the square-off, which starts when the market's rules say so. The prices that a
   bar-path plays are made of the whole bar, whose end they betray: orders, stops and targets meet them, strategies do not hear them.
3. A strategy object lives on from day to day; it is made anew, and warmed up on the past of the new contract, when its contract changes.
4. A carried future rolls on the calendar's day as in live trading, by the same tracked pair; prices are fresh when they are of the running
   bar. What is held in a contract whose last session is over is settled at its underlying's last price in the data; a future without data
   of its underlying then at its own last price, which is said in a note. An option without it stays open, with an alarm.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any

from backtesting.bar_path import path
from backtesting.curve import Curve
from backtesting.market import BacktestMarket
from backtesting.played_bars import PlayedBars
from brokers import registry
from core.clock import ManualClock
from core.errors import ConfigError, DataError
from core.events import FeedStatus, History, SessionStatus
from core.types import ENDED, IST, Account, Bar, Fill, Horizon, Instrument, Kind, SessionState, Side, Tick
from data_ingestion import logical_names
from data_ingestion.backfill import GapFiller
from data_ingestion.bars import BarBuilder
from data_ingestion.logical_names import FutureName
from data_ingestion.tick_filter import TickFilter
from data_ingestion.warmup import interleaved, warmup_bars
from execution_engine.charges import Charges
from execution_engine.engine import Engine
from execution_engine.expiry import DeliverySettings, Final, Settlement
from execution_engine.limits import risk_settings
from execution_engine.order_manager import OrderDesk
from execution_engine.paper_broker import PaperBroker
from execution_engine.paper_rules import FillRules
from execution_engine.portfolio import EXTERNAL, Portfolio
from execution_engine.price_ladder import Ladder
from execution_engine.protection import Protect
from execution_engine.rollover import RollSettings, Switch
from execution_engine.round_trips import RoundTrip, Walk, walk_on
from execution_engine.runs import Run, StrategyError, make_runs
from execution_engine.world import World
from risk.gate import Gate
from risk.margin import required
from risk.settings import RiskSettings
from storage.memory_store import MemoryStore
from utils.config_loader import Config, load_charges
from utils.config_schema import StrategySettings

_NEVER = 365 * 86_400.0
ROLLED = frozenset({"roll_done", "roll_half", "roll_switched", "roll_overtaken"})
LATEST = 4_000  # journal entries that a run keeps: more than a day's, whose rolls are taken from it


@dataclass(frozen=True, slots=True)
class Alarm:
    """What the engine would have told a person."""

    at: datetime
    level: str
    title: str
    text: str


@dataclass(slots=True)
class Outcome:
    """What a backtest found. Money is paise. `equity` is the account's worth in rupees, where it moved and at each day's end; `fills` is
    empty where they were not to be kept."""

    fills: list[Fill]
    trips: list[RoundTrip]
    equity: Sequence[tuple[datetime, float]]
    days: dict[date, int]  # net paise of each day
    digest: str
    events: int
    notes: list[str] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    refusals: dict[str, int] = field(default_factory=dict)  # rule -> how often the gate refused
    refused_because: dict[str, str] = field(default_factory=dict)  # rule -> what it said the first time
    assumed: list[str] = field(default_factory=list)
    capital: float = 0.0
    capital_used: float = 0.0  # rupees: the most that the margins of what was held at one time came to
    exposure: float = 0.0  # the share of events at which something was held
    data: str = ""
    held: dict[str, int] = field(default_factory=dict)  # what is still open at the end, by instrument key
    rolls: list[dict[str, Any]] = field(default_factory=list)  # each roll's journal entry: contracts, gap, what was paid
    settlements: list[dict[str, Any]] = field(default_factory=list)  # ends of expired contracts


class Backtest:
    """One account with its strategies, over one market. `run` once."""

    def __init__(
        self,
        config: Config,
        account: Account,
        market: BacktestMarket,
        enabled: Mapping[str, StrategySettings],
        fills: FillRules,
        *,
        journal: int | None = LATEST,
        keep_fills: bool = True,
        charges: Charges | None = None,
    ) -> None:
        """`journal` is how many of the latest entries are kept (None: all). Without `keep_fills` what is over is kept as round trips alone,
        which a long run is told by. `charges` are those of the configuration, where they were read before."""
        self._config = config
        self._account = account
        self._market = market
        self.settings = dict(enabled)
        self._fills = fills
        self._calendar = market.calendar
        self._notes: dict[str, None] = {}
        self._refused: dict[str, tuple[str, int]] = {}  # rule -> what it said first, and how often
        self._without: dict[str, list[tuple[date, str]]] = {}  # name -> the days on which the data has none of it, and what is said of that
        self._alarms: list[Alarm] = []
        self._runs: dict[str, list[Run]] = {}  # strategy -> its objects
        self._contracts: dict[str, dict[str, str]] = {}  # strategy -> what its names meant when they were made
        self._volumes: dict[str, int] = {}
        self._moments = self._held_moments = 0
        self._rolled: list[dict[str, Any]] = []
        self._settled: list[Settlement] = []
        self._seen = 0  # journal entries looked at
        self._keep_fills, self._fills_kept = keep_fills, list[Fill]()
        self._walk, self._walked = Walk(), 0  # the round trips so far, and how many settlements are among them
        self._refuse_other_intervals()
        first = market.days[0]
        self.clock = ManualClock(datetime.combine(first, time(), IST))
        self.store = MemoryStore(journal=journal)
        self._spec = registry.get(account.broker)
        self._charges = charges or Charges(load_charges(config.folder), account.broker, account.plan)
        self.portfolio = Portfolio(account.name, self._charges)
        self.paper = PaperBroker(account, self.clock, sessions=self._calendar, fills=fills)
        product = self._spec.product
        self.desk = OrderDesk(
            account.name, self.store, self.paper, self.portfolio, lambda order: product(order.horizon, order.instrument), self._alert
        )
        caps = self._caps = risk_settings(config)
        self.world = World(account, self._calendar, config.square_off, self.portfolio, self.desk, self.clock.now, self._margin(caps))
        self.world.data = market.label
        self.bars, on_history = self._builder()
        chase, protect, rolling = config.settings.orders, config.settings.protect, config.settings.rollover
        self.engine = Engine(
            account=account,
            clock=self.clock,
            store=self.store,
            executor=self.paper,
            desk=self.desk,
            portfolio=self.portfolio,
            gate=Gate(caps),
            world=self.world,
            bars=self.bars,
            tick_gate=TickFilter(),
            alert=self._alert,
            ladder=Ladder(chase.cap_pct, chase.steps, chase.step_s, rolling.max_slippage_pct),
            books_every_s=_NEVER,
            record=None,
            horizon_of=self._spec.horizon_of,
            commands=lambda engine, command: None,
            on_history=on_history,
            rolls=RollSettings(rolling.attempts, max(config.settings.feed.canary_stale_s, 60.0 * market.interval)),
            delivery=DeliverySettings(rolling.physical_days, rolling.time),
            protect=Protect(protect.limit_pct) if protect.by == "broker" else None,
        )
        self.engine.hearing.ticks = market.interval == 0

    def _builder(self) -> tuple[PlayedBars | BarBuilder | GapFiller, Callable[[History], None]]:
        """Who makes the bars, and who hears of history that was asked for while it ran (nobody: data has no gaps that are filled)."""
        bars = PlayedBars(self._calendar, self._market.interval) if self._market.interval else BarBuilder(self._calendar)
        return bars, lambda history: None

    def run(self, days: Sequence[date] | None = None, on_day: Callable[[date, int], None] | None = None) -> Outcome:
        """Trade the days (all of the data's by default); `on_day` hears of each that is over, and its number of events."""
        chosen = list(self._market.days if days is None else days)
        if not chosen:
            raise DataError(f"no day of the data to trade; it has {self._market.days[0]} to {self._market.days[-1]}")
        self.engine.process(SessionStatus(self.clock.now(), self._account.name, SessionState.VALID))
        self.engine.process(FeedStatus(self.clock.now(), connected=True))
        equity = Curve()
        results: dict[date, int] = {}
        worth, count, traded = self._account.capital, 0, False
        for day in chosen:
            events = self._day(day)
            if events is None:
                continue
            traded = True
            count += events
            equity.extend((at, worth + net) for at, net in self.portfolio.curve)
            results[day] = self.portfolio.net_result()
            worth += results[day] / 100
            equity.extend([(self.clock.now(), worth)])
            self._tidy()
            if on_day is not None:
                on_day(day, events)
        if not traded:
            why = "; ".join(self._all_notes()) or "its markets were closed"
            raise DataError(f"no strategy had an instrument on any day: {why}")
        return self._outcome(equity, results, count)

    # --- one day -------------------------------------------------------------------------------------------------------------------

    def _day(self, day: date) -> int | None:
        """Trade one day; the number of its events, or None when nothing could be traded on it."""
        names = self._names(day)
        if not names:
            return None
        opens = min(window[0] for one in names.values() for window in self._calendar.continuous(one, day)[:1])
        self._morning(day, opens)
        self._settle(day)  # what expired on days without data
        changes = self._switches(day, names)
        self.engine.open_day(day, self._begin(day, names), names, resumed=False, switches=changes)
        wanted = {one.key for one in names.values()} | {held.instrument.key for held in self.portfolio.positions() if held.quantity}
        wanted |= {change.after.key for change in changes.values() if change.after is not None}
        mine = self._market.events(day, wanted)
        if self._market.interval == 0:
            self._play_ticks(mine)  # type: ignore[arg-type]  # `mine` is ticks here
        elif self._fills.inside_bars:
            self._play_paths(mine)  # type: ignore[arg-type]  # and bars here
        else:
            self._play_bars(mine)  # type: ignore[arg-type]  # bars too
        ends = max(window[1] for one in names.values() for window in self._calendar.continuous(one, day)[-1:])
        self._until(ends)
        self.clock.move_to(max(self.clock.now(), ends))
        now = self.clock.now()
        self.engine.between_events(lambda: self.paper.end_of_day(now))  # heard today: tomorrow nobody knows what was filled of them
        self._settle(day)
        self.engine.close_day(day)
        self._note_rolls()
        return len(mine)

    def _tidy(self) -> None:
        """What the day's fills, settlements and refusals came to stays, and so do live orders; the rest of its ledger goes."""
        fills = [fill for fill in self.store.kept_fills if fill.strategy != EXTERNAL]
        ends = [one.as_fill(self._account.name) for one in self._settled[self._walked :] if one.strategy != EXTERNAL]
        self._walked = len(self._settled)
        walk_on(self._walk, sorted([*fills, *ends], key=lambda one: one.at) if ends else fills)
        self._walk.realised.clear()
        if self._keep_fills:
            self._fills_kept += fills
        self.store.kept_fills.clear()
        for (_, _, rule), (reason, count) in self.engine.refusals.rows.items():
            first, before = self._refused.get(rule, (reason, 0))
            self._refused[rule] = first, before + count
        for order in self.store.orders():
            if order.state in ENDED:
                del self.store.kept_orders[order.id]

    def _morning(self, day: date, opens: datetime) -> None:
        """What a day begins with, at the moment `opens`."""
        self.clock.move_to(max(self.clock.now(), opens))
        self.portfolio.start_day(day)
        self.desk.open_day(())
        self._volumes.clear()
        self.world.windows = {
            name: (_at(day, one.window.entry_from), _at(day, one.window.entry_until)) for name, one in self.settings.items()
        }

    def _switches(self, day: date, names: Mapping[str, Instrument]) -> dict[str, Switch]:
        """Every future's name in use: its contract today, and where the near month rolls today, the next one that has data, and when."""
        contracts, at = self._calendar.contracts, datetime.combine(day, self._config.settings.rollover.time, IST)
        found = {}
        for name, today in names.items():
            logical = logical_names.parse(name)
            if not isinstance(logical, FutureName) or today.expiry is None:
                continue
            futures = sorted(
                (
                    one
                    for one in self._market.listed(day).values()
                    if one.kind is Kind.FUTURE and one.underlying == logical.root and one.expiry
                ),
                key=lambda one: one.expiry or date.max,
            )
            rolls = any(one.expiry is not None and contracts.roll_day(logical.root, one.expiry) == day for one in futures)
            later = [one for one in futures if one.expiry is not None and one.expiry > today.expiry]
            if rolls and not later:
                self._note(f"{today.key} rolls on {day}, and the data has no later contract then: a carried position stays in it")
            found[name] = Switch(today, later[0] if rolls and later else None, at if rolls else None)
        return found

    def _settle(self, day: date) -> None:
        """Book what is held in contracts that have expired."""
        expired = self.engine.expiry.expired()
        finals = {one.key: final for one in expired if (final := self._final(one)) is not None}
        if expired:
            self._settled += self.engine.expiry.settle(finals, self._charges.exercise_tax)
            self.engine.settle()

    def _final(self, instrument: Instrument) -> Final | None:
        assert instrument.expiry is not None
        rule, key = self._calendar.contracts.final_price_rule(instrument.expiry), logical_names.underlying_key(instrument.underlying)
        bars = self._market.bars_of(key, instrument.expiry) if instrument.expiry in self._market.days else []
        if bars:
            return Final(bars[-1].close, f"last price of {key} on {instrument.expiry} in the data", rule)
        if instrument.kind is not Kind.FUTURE:
            return None
        for day in reversed([day for day in self._market.days if day <= instrument.expiry]):
            if bars := self._market.bars_of(instrument.key, day):
                self._note(f"{instrument.key} is settled at its own last price, of {day}: the data has none of its underlying then")
                return Final(bars[-1].close, f"last price of {instrument.key} on {day} in the data", rule)
        return None

    def _note_rolls(self) -> None:
        """Keep what the day's rolls came to, before the journal forgets it."""
        entries, self._seen = self.store.since(self._seen), self.store.written
        for at, kind, facts in entries:
            if kind in ROLLED:
                self._rolled.append({"at": at.isoformat(), "kind": kind, **facts})

    def _play_bars(self, bars: Sequence[Bar]) -> None:
        engine, move_to = self.engine, self.clock.move_to
        process, run_timers, settle, due = engine.process, engine.run_timers, engine.settle, self.engine.square_off.next_start
        start = due()
        last: datetime | None = None
        for bar in bars:
            if bar.at != last:
                if last is not None:
                    run_timers()
                    settle()
                    self._count()
                while start is not None and start < bar.at:
                    move_to(max(start, self.clock.now()))
                    self._square_off()
                    following = due()
                    start = following if following != start else None
                move_to(bar.at)
                last = bar.at
            process(bar)
        run_timers()
        settle()
        self._count()

    def _square_off(self) -> None:
        """Inside a bar. What rests has met its open already, which nobody has heard yet: the ladder must not move it before that."""
        timers = self.engine.timers
        rests = timers.due("ladder")
        timers.cancel("ladder")
        self.engine.run_timers()
        self.engine.settle()
        if rests is not None:
            timers.set("ladder", rests)

    def _count(self) -> None:
        self._moments += 1
        self._held_moments += not self.portfolio.flat

    def _play_paths(self, bars: Sequence[Bar]) -> None:
        """Bars of one span together: their prices by time, each asked for when the one before has been acted on."""
        assert isinstance(self.bars, PlayedBars)
        for group in _by_start(bars):
            running = []
            for bar in group:
                self.bars.keep(bar)
                self.engine.settle()
                ticks = self._path(bar)
                running.append((next(ticks), bar.instrument.key, ticks))
            while running:
                running.sort(key=lambda one: (one[0].at, one[1]))
                tick, key, ticks = running.pop(0)
                self._pass(tick.at)
                self._take(tick)
                following = next(ticks, None)
                if following is not None:
                    running.append((following, key, ticks))
            self._pass(max(bar.at for bar in group))
            self.engine.run_timers()
            self.engine.settle()

    def _path(self, bar: Bar) -> Any:
        instrument, key = bar.instrument, bar.instrument.key
        before = self._volumes.get(key, 0)
        self._volumes[key] = before + bar.volume

        def levels() -> list[float]:
            found = [one for target in self.engine.targets.watched(key) for one in (target.stop, target.take_profit)]
            return [one for one in found if one is not None]

        on_side = self.portfolio.on_side
        return path(bar, lambda: on_side(instrument, Side.BUY) - on_side(instrument, Side.SELL), levels, before)

    def _play_ticks(self, ticks: Sequence[Tick]) -> None:
        for tick in ticks:
            self._step(tick)

    def _step(self, tick: Tick) -> None:
        self._until(tick.at)
        self._take(tick)

    def _take(self, tick: Tick) -> None:
        self.engine.process(tick)
        self.engine.run_timers()
        self.engine.settle()
        self._count()

    def _pass(self, moment: datetime) -> None:
        """Let time jump to `moment`, by way of the square-off and of bars that end before it. What is due at `moment` itself comes after
        the price of that moment, which an order that rested until then meets as it was."""
        for stop in sorted(at for at in (self.engine.square_off.next_start(), self.bars.due) if at is not None and at < moment):
            self.clock.move_to(max(stop, self.clock.now()))
            self.engine.run_timers()
            self.engine.settle()
        self.clock.move_to(max(moment, self.clock.now()))

    def _until(self, moment: datetime) -> None:
        """Let time pass up to `moment`, stopping wherever the engine wants to be woken."""
        engine, clock = self.engine, self.clock
        while (wake := engine.wake_at()) < moment:
            clock.move_to(max(wake, clock.now()))
            engine.run_timers()
            engine.settle()
        clock.move_to(max(moment, clock.now()))
        engine.run_timers()
        engine.settle()

    # --- strategies ------------------------------------------------------------------------------------------------------------------

    def _names(self, day: date) -> dict[str, Instrument]:
        found: dict[str, Instrument] = {}
        for name in sorted({name for one in self.settings.values() for name in one.instruments}):
            try:
                instrument = self._market.resolve(name, day, lambda key: self._market.last_price(key, day))
            except DataError as error:
                self._without.setdefault(name, []).append((day, str(error)))
                continue
            if not instrument.tradable:
                self._note(f"{name} is an index and cannot be traded; use its future, e.g. {instrument.underlying}_FUT")
            elif self._calendar.continuous(instrument, day):
                found[name] = instrument
        return found

    def _begin(self, day: date, names: Mapping[str, Instrument]) -> list[Run]:
        """The day's runs: yesterday's objects where their contracts are the same, else new ones warmed up on the past."""
        self.world.open_day(names)
        for name, settings in self.settings.items():
            contracts = {one: names[one].key for one in settings.instruments if one in names}
            if self._contracts.get(name) == contracts:
                for run in self._runs[name]:
                    run.instruments = {one: names[one] for one in run.instruments}
                continue
            self._contracts[name] = contracts
            made, left_out = make_runs({name: settings}, names, self._config.settings.protect.distance_pct)
            for why in left_out:
                self._note(why)
            self._runs[name] = made
            for run in made:
                self._warm_up(run, day)
                if run.strategy.wants_ticks and self._market.interval:
                    self._note(
                        f"{name} listens to ticks too, and the data is bars: it hears none of them (prices inside a bar are invented)"
                    )
        runs = [run for made in self._runs.values() for run in made]
        for run in runs:
            if not run.stopped:
                opens = min(
                    (window[0] for one in run.instruments.values() for window in self._calendar.continuous(one, day)[:1]), default=None
                )
                try:
                    run.begin(day, None, opens)
                except StrategyError as error:
                    run.stopped = str(error)
        return runs

    def strategies(self, day: date) -> list[Run]:
        """The strategies as they would be made on that day, not warmed up."""
        return make_runs(self.settings, self._names(day), self._config.settings.protect.distance_pct)[0]

    def _warm_up(self, run: Run, day: date) -> None:
        strategy, history = run.strategy, self._past(run, datetime.combine(day, time(), IST))
        if len(history) < strategy.warmup_bars:
            self._note(f"{strategy.name}: {len(history)} of {strategy.warmup_bars} warm-up bars before {day}; it warms up on traded days")
        try:
            for bar in history:
                run.hear(strategy.bar, bar, self.world)
        except StrategyError as error:
            run.stopped = str(error)

    def _past(self, run: Run, now: datetime) -> list[Bar]:
        """What a strategy warms up on at that moment, as far as the data has it."""
        strategy = run.strategy
        return interleaved(
            [
                warmup_bars(self._market, self._calendar, one, strategy.interval, strategy.warmup_bars, now)
                for one in run.instruments.values()
            ]
        )

    def _refuse_other_intervals(self) -> None:
        own = self._market.interval
        for name, one in self.settings.items():
            if own and one.interval % own:
                raise ConfigError(f"{name} wants {one.interval}-minute bars; the data's {own}-minute bars do not add up to them")

    # --- the rest --------------------------------------------------------------------------------------------------------------------

    def _margin(self, caps: RiskSettings) -> Callable[[Instrument, Horizon, int, float], float]:
        def margin(instrument: Instrument, horizon: Horizon, quantity: int, price: float) -> float:
            side = Side.BUY if quantity > 0 else Side.SELL
            return required(instrument, side, abs(quantity), price, horizon, caps.margin, self.clock.now().date())

        return margin

    def _capital_used(self) -> float:
        """The most that round trips which were open at one time blocked, each by its whole quantity at its entry price."""
        rates, moves = self._caps.margin, list[tuple[datetime, int, float]]()
        for trip in self._walk.trips:
            horizon, day = self.settings[trip.strategy].horizon, trip.entry_at.date()
            blocked = required(trip.instrument, trip.side, trip.quantity, trip.entry_price, horizon, rates, day)
            moves += [(trip.entry_at, 1, blocked), (trip.exit_at, 0, -blocked)]
        most = used = 0.0
        for _, _, change in sorted(moves):
            used += change
            most = max(most, used)
        return round(most, 2)

    def _outcome(self, equity: Curve, results: dict[date, int], events: int) -> Outcome:
        assumed = {note: None for day in results for note in self.world.assumed(day)}
        held = {one.instrument.key: one.quantity for one in self.portfolio.positions() if one.quantity}
        return Outcome(
            fills=self._fills_kept,
            trips=self._walk.trips,
            equity=equity,
            days=results,
            digest=self.portfolio.digest(),
            events=events,
            notes=[*self._market.manifest.notes, *self._all_notes()],
            alarms=self._alarms,
            refusals={rule: count for rule, (_, count) in self._refused.items()},
            refused_because={rule: reason for rule, (reason, _) in self._refused.items()},
            assumed=list(assumed),
            capital=self._account.capital,
            capital_used=self._capital_used(),
            data=self._market.label,
            exposure=self._held_moments / max(1, self._moments),
            held=held,
            rolls=self._rolled,
            settlements=[_settlement(one) for one in self._settled],
        )

    def _alert(self, level: str, title: str, text: str) -> None:
        if level != "info" and len(self._alarms) < 10_000:
            self._alarms.append(Alarm(self.clock.now(), level, title, text))

    def _all_notes(self) -> list[str]:
        """Every note once; a name without data on many days once, too."""
        without = []
        for (_, text), *more in self._without.values():
            days = f"{len(more)} more day{'s' * (len(more) > 1)}"
            without.append(f"{text} (nor on {days}, the last {more[-1][0]})" if more else text)
        return [*self._notes, *without]

    def _note(self, text: str) -> None:
        self._notes.setdefault(text)


def _settlement(one: Settlement) -> dict[str, Any]:
    return {"at": one.at.isoformat(), "strategy": one.strategy, "instrument": one.instrument.key, "quantity": one.quantity,
            "price": one.price, "source": one.source, "charges": one.charges / 100}  # fmt: skip


def _by_start(bars: Sequence[Bar]) -> list[list[Bar]]:
    groups: dict[datetime, list[Bar]] = {}
    for bar in bars:
        groups.setdefault(bar.start, []).append(bar)
    return [groups[start] for start in sorted(groups)]


def _at(day: date, moment: time | None) -> datetime | None:
    return None if moment is None else datetime.combine(day, moment, IST)
