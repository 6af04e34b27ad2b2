"""Backtests by the compiled kernel: what it can do of a strategy's work, the data as columns, and one run's figures.

A run that the kernel does not model is the engine's: `Compiled.why` says what of the work stands in the way, `Answer.why` what of a run.
"""

import ast
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

import numpy as np

from backtesting import kernel as k
from backtesting.market import BacktestMarket
from backtesting.metrics import YEAR, ratios
from backtesting.played_bars import PlayedBars
from core.errors import DataError
from core.types import IST, Account, Bar, Horizon, Instrument, Kind, Side
from data_ingestion import logical_names
from data_ingestion.logical_names import FutureName
from data_ingestion.warmup import warmup_bars
from execution_engine.charges import Charges, formula
from execution_engine.limits import risk_settings
from execution_engine.paper_rules import FillRules, MarginRates
from risk.margin import required
from strategies import registry
from strategies.base import Strategy, StrategySpec
from strategies.frame import Columns, Frame, Holds, Trades, columns_of
from utils.config_loader import Config, load_charges
from utils.config_schema import StrategySettings

ALL = 1_000_000  # bars of history: as many as there are
NEVER = 2**62
_OPERATIONS = {ast.Add: k.ADD, ast.Sub: k.SUBTRACT, ast.Mult: k.MULTIPLY, ast.Div: k.DIVIDE}
_CALLS = {"min": k.LEAST, "max": k.LARGEST}


class _Engines(Exception):
    """What the kernel does not do; the engine does it."""


@dataclass(frozen=True, slots=True)
class Trade:
    """One fill: when, signed units, price, charges in paise."""

    at: datetime
    quantity: int
    price: float
    charges: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a run came to, or `why` the engine must do it. `figures` are those of a trial, `nets` paise by day, `fills` a
    row each (date, units, price, charges, gross), over which the next run writes."""

    why: str
    figures: Mapping[str, Any]
    nets: Any = None
    fills: Any = None


class _Segment:
    """The days on which the name means one contract, as columns."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.count = 0  # bars so far
        self.parts: list[Any] = []  # a day's bars in each, as the kernel's rows
        self.said: list[Columns] = []  # a day's bars at the strategy's interval in each
        self.history: list[Bar] = []
        self.heard: list[int] = []
        self.opens: list[int] = []
        self.days: list[list[int]] = []
        self.dates: list[date] = []
        self.rates: list[list[float]] = []

    def rated(self, rates: list[float]) -> int:
        """The place of these rates among those that there are: they change once in a few months."""
        if rates not in self.rates:
            self.rates.append(rates)
        return self.rates.index(rates)

    def close(self, calendar: Any) -> None:
        """Everything is there: make the columns."""
        history = [_us(calendar.continuous(self.instrument, bar.start.date())[0][0]) for bar in self.history]
        self.frame = Frame.joined([columns_of(self.history), *self.said], [*history, *self.opens], len(self.history))
        self.rows = np.concatenate(self.parts)
        self.closes = self.rows[:, k.CLOSE].copy()
        self.row_heard = np.array(self.heard, np.int64)
        self.day_facts = np.array(self.days, np.int64)
        self.day_rates = np.array(self.rates, np.float64)
        self.parts, self.said, self.history = [], [], []


class Compiled:
    """One strategy's work on some days of a market. Make it once, then `run` parameters."""

    def __init__(
        self, config: Config, account: Account, market: BacktestMarket, name: str, settings: StrategySettings, fills: FillRules,
        days: Sequence[date],
    ) -> None:  # fmt: skip
        self.why = ""
        self._config, self._account, self._market = config, account, market
        self._name, self._settings, self._fills = name, settings, fills
        self._class = registry.get(settings.class_)
        self._calendar = config.calendar(account.kind)
        self._calendar.observe(market.manifest.sessions)
        self.segments: list[_Segment] = []
        self._numbers: dict[str, Any] = {}  # the kernel's settings, by contract
        try:
            self._judge()
            self._read(days)
        except _Engines as error:
            self.why = str(error)
        else:
            self._moments = sum(len(one.rows) for one in self.segments)
            self._fill_rows = np.empty((self._moments + 1, 5))  # a bar has one fill at most

    # --- what it can do ---------------------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        """Refuse what of configuration, fill rules and strategy the kernel does not model."""
        one, fills, risk, orders = self._settings, self._fills, self._config.risk, self._config.settings.orders
        seconds = 60 * self._market.interval
        wrong = {
            f"{one.class_} gives no targets for a whole frame": self._class.targets.__func__ is Strategy.targets.__func__,  # type: ignore[attr-defined]  # a classmethod
            "it trades several instruments": len(one.instruments) != 1 or self._class.multi_instrument,
            "it carries positions overnight": one.horizon is not Horizon.INTRADAY,
            "the data are ticks": self._market.interval == 0,
            "prices inside bars are played (bar-path)": fills.inside_bars,
            "fills are capped by volume": fills.volume_share is not None,
            "orders have latency": fills.latency_s > 0,
            "a profit is locked (risk.lock_profit)": one.risk.lock_profit is not None,
            "stops are held at the broker (protect.by)": self._config.settings.protect.by == "broker",
            "orders rest longer than a bar (orders.steps, step_s)": orders.step_s * (orders.steps + 2) > seconds,
            "a price band is narrower than the orders' cap": 4 * orders.cap_pct > min(risk.price_band_pct, risk.exit_band_pct),
            "order rates are capped too low": risk.orders_per_second < 5 or risk.orders_per_minute < 12 or risk.orders_per_day < 2000,
            "duplicates are refused for longer than a bar": risk.duplicate_window > seconds,
        }
        found = [why for why, holds in wrong.items() if holds]
        if found:
            raise _Engines(found[0])

    def _read(self, days: Sequence[date]) -> None:
        (name,) = self._settings.instruments
        charges = Charges(load_charges(self._config.folder), self._account.broker, self._account.plan)
        played: PlayedBars | None = None
        for day in days:
            instrument = self._instrument(name, day)
            if instrument is None:
                continue
            if not self.segments or self.segments[-1].instrument.key != instrument.key:
                self.segments.append(segment := _Segment(instrument))
                played = PlayedBars(self._calendar, self._market.interval)
                if self._settings.interval % self._market.interval:
                    raise _Engines("the data's bars do not add up to its interval")
                played.watch(instrument, self._settings.interval, datetime.combine(day, time(), IST))
                midnight = datetime.combine(day, time(), IST)
                segment.history = warmup_bars(self._market, self._calendar, instrument, self._settings.interval, ALL, midnight)
            assert played is not None
            self._add_day(self.segments[-1], instrument, day, played, charges)
        if not self.segments:
            raise _Engines("its instrument has no data on any of the days")
        for segment in self.segments:
            segment.close(self._calendar)

    def _instrument(self, name: str, day: date) -> Instrument | None:
        """What the name means that day, as the engine's backtest decides it; None where it is not traded."""
        try:
            instrument = self._market.resolve(name, day, lambda key: self._market.last_price(key, day))
        except DataError:
            return None
        if not instrument.tradable or not self._calendar.continuous(instrument, day):
            return None
        if instrument.kind not in (Kind.EQUITY, Kind.FUTURE):
            raise _Engines(f"{instrument.key} is an option")
        return instrument

    def _add_day(self, segment: _Segment, instrument: Instrument, day: date, played: PlayedBars, charges: Charges) -> None:
        bars = [bar for bar in self._market.events(day, (instrument.key,)) if isinstance(bar, Bar)]
        windows = self._calendar.continuous(instrument, day)
        first, said_from = segment.count, len(segment.heard)
        before = None
        said: list[Bar] = []
        for row, bar in enumerate(bars, first):
            if not any(start <= bar.start < end and bar.at <= end for start, end in windows) or (before is not None and bar.at <= before):
                raise _Engines(f"{instrument.key} has bars outside its trading hours on {day}")
            before = bar.at
            for done in played.join(bar):
                if done.interval == self._settings.interval:
                    said.append(done)
                    segment.heard.append(row)
                    segment.opens.append(_us(windows[0][0]))
        segment.count += len(bars)
        segment.said.append(columns_of(said))
        self._same_moments(day, {bar.at for bar in bars})
        plan = self._calendar.square_off(self._account.broker, instrument, day, self._config.square_off)
        assert plan is not None  # it has windows
        ends = [_us(bar.at) for bar in bars]
        starts = _us(plan.start)
        cut_off = min(_us(windows[-1][1]), NEVER if plan.cut_off.at is None else _us(plan.cut_off.at))
        gates = [self._gates(windows, plan.entries_stop, bar.at) for bar in bars]
        told = [
            (bar.open, bar.high, bar.low, bar.close, _us(bar.start), end, bar.volume, gate)
            for bar, end, gate in zip(bars, ends, gates, strict=True)
        ]
        segment.parts.append(np.array(told, np.float64).reshape(len(bars), 8))
        entered = [row for row, gate in enumerate(gates, first) if gate & k.ENTRY]
        enter_from, enter_to = (entered[0], entered[-1] + 1) if entered else (first, first)
        if not any(start <= plan.start < end for start, end in windows):
            raise _Engines(f"{instrument.key} is squared off between two sessions on {day}")
        segment.days.append(
            [first, first + len(bars), said_from, len(segment.heard), starts, first + bisect_left(ends, starts), cut_off, enter_from,
             enter_to, instrument.freeze or NEVER, segment.rated([*self._rates(charges, instrument, Side.BUY, day),
             *self._rates(charges, instrument, Side.SELL, day)])]
        )  # fmt: skip
        segment.dates.append(day)

    def _gates(self, windows: Sequence[tuple[datetime, datetime]], entries_stop: datetime, now: datetime) -> int:
        """world.World.entry_window, and whether trading is on."""
        opens, closes = next((window for window in windows if now < window[1]), windows[-1])
        found = k.EXIT if opens <= now < closes else 0
        closes = min(closes, entries_stop)
        own = self._settings.window
        if own.entry_from is not None:
            opens = max(opens, datetime.combine(now.date(), own.entry_from, IST))
        if own.entry_until is not None:
            closes = min(closes, datetime.combine(now.date(), own.entry_until, IST))
        return found | (k.ENTRY if opens <= now < closes else 0)

    def _same_moments(self, day: date, own: set[datetime]) -> None:
        """On a roll day the engine hears the next contract too: at the same moments it changes nothing."""
        (name,) = self._settings.instruments
        logical = logical_names.parse(name)
        if not isinstance(logical, FutureName):
            return
        futures = [one for one in self._market.listed(day).values() if one.kind is Kind.FUTURE and one.underlying == logical.root]
        if any(one.expiry and self._calendar.contracts.roll_day(logical.root, one.expiry) == day for one in futures):
            others = {bar.at for bar in self._market.events(day, [one.key for one in futures])}
            if not others <= own:
                raise _Engines(f"another contract has bars at other moments on {day}, a roll day")

    def _rates(self, charges: Charges, instrument: Instrument, side: Side, day: date) -> list[float]:
        found = charges.rates(instrument, Horizon.INTRADAY, side, day)
        written = charges.terms(instrument, Horizon.INTRADAY, side, day)["brokerage"]
        program = _program(0 if written.per_lot else written.rate)
        least, share = _lesser(program)
        steps = [number for step in program for number in step]
        steps += [0.0] * (2 * k.STEPS_OF_FORMULA - len(steps))
        return [
            found.stt, found.txn, found.ipft, found.sebi, found.stamp, found.gst, float(found.sebi_taxed), float(found.ipft_taxed),
            found.per_lot, least, share, *steps,
        ]  # fmt: skip

    # --- one run ----------------------------------------------------------------------------------------------------------------------

    def run(self, params: Mapping[str, Any]) -> Answer:
        """Trade the days with the strategy's own parameters and these."""
        parsed = registry.params_of(self._settings.class_).parse({**self._settings.params, **params})
        Z = np.zeros(k.PLACES)
        nets: list[Any] = []
        held = 0
        for segment in self.segments:
            frame = segment.frame.since(_left_out(segment.frame.live, self._history(segment, parsed)))
            said = self._class.targets(frame, parsed)
            if said is None:
                return Answer(f"{self._settings.class_} gives no targets here", {})
            self._settle(Z, segment.instrument, said)
            day_nets, day_held = np.zeros(len(segment.day_facts)), np.zeros(len(segment.day_facts))
            Z[k.BOOKED] = Z[k.TOTAL]
            given: list[Any] = [
                segment.rows, segment.closes, segment.row_heard, segment.day_facts, segment.day_rates,
                *_columns(said, frame), Z, self._fill_rows, day_nets, day_held,
            ]  # fmt: skip
            why = k.walk(*given)
            if why:
                return Answer(f"{k.REASONS[why]} on {segment.dates[int(Z[k.DAY])]}", {})
            nets.append(day_nets)
            held += int(day_held.sum())
        all_nets = nets[0] if len(nets) == 1 else np.concatenate(nets)
        rows = self._fill_rows[: int(Z[k.FILLS])]
        return Answer("", self._figures(rows, all_nets, held, float(Z[k.DEEPEST])), all_nets, rows)

    def forget(self) -> None:
        """Drop the indicators that were kept."""
        for segment in self.segments:
            segment.frame.forget()

    def trades(self, answer: Answer) -> list[Trade]:
        """The fills of a run, in order."""
        return [
            Trade(datetime.fromtimestamp(int(at) / 1_000_000, IST), int(quantity), price, int(charges))
            for at, quantity, price, charges, _ in answer.fills.tolist()
        ]

    def _history(self, segment: _Segment, parsed: Any) -> int:
        """How many bars of history the strategy asks for with these parameters."""
        if segment.frame.live == 0:
            return 0
        one = self._settings
        spec = StrategySpec(self._name, parsed, one.instruments, one.interval, one.horizon)
        return self._class(spec, one.instruments[0]).warmup_bars

    def _settle(self, Z: Any, instrument: Instrument, said: Holds | Trades) -> None:
        """The kernel's settings."""
        settings = self._numbers.get(instrument.key)
        if settings is None:
            settings = self._numbers[instrument.key] = self._read_numbers(instrument)
        Z[k.BY : k.A_DAY] = settings
        if isinstance(said, Trades):
            Z[[k.A_DAY, k.EACH_WAY, k.ALLOW_LONG, k.ALLOW_SHORT, k.TURNS]] = said.a_day, said.each_way, said.long, said.short, said.turns
        Z[k.HOLDING] = isinstance(said, Holds)

    def _read_numbers(self, instrument: Instrument) -> Any:
        """What of the configuration does not change from run to run."""
        own, risk, orders, fills = self._settings, risk_settings(self._config), self._config.settings.orders, self._fills
        limits, margin = risk.of(self._name), risk.margin
        Z = np.zeros(k.PLACES)
        given = [own.size.lots, own.size.quantity, own.size.capital, own.size.risk]
        Z[k.BY], Z[k.SIZE] = next((by, value) for by, value in enumerate(given) if value is not None)
        Z[k.LOT], Z[k.MULTIPLIER], Z[k.TICK] = instrument.lot, instrument.multiplier, instrument.tick_size
        Z[k.SCALE] = 10.0 ** len(f"{instrument.tick_size:.6f}".rstrip("0").partition(".")[2])
        Z[k.STOP_PCT] = own.risk.stop_pct or self._config.settings.protect.distance_pct or math.nan
        Z[k.TAKE_PCT] = own.risk.take_profit_pct or math.nan
        Z[k.CAP], Z[k.STEPS], Z[k.STEP_US] = orders.cap_pct, orders.steps, round(orders.step_s * 1_000_000)
        Z[k.TICKS], Z[k.BPS], Z[k.SPREAD] = fills.slippage_ticks, fills.slippage_bps, (fills.spread_ticks + 1) // 2
        Z[k.MOST], Z[k.FLATTEN] = limits.max_trades or math.inf, risk.flatten_on_loss
        Z[k.COOL], Z[k.COOL_LOSS] = round((limits.cooldown_minutes or 0) * 60_000_000), limits.cooldown_after == "loss"
        Z[k.LOSS] = _at_most(-min(risk.max_daily_loss, risk.loss_limit(self._name) or math.inf))
        Z[k.VALUE] = min(risk.max_order_value, risk.max_instrument_value, risk.max_strategy_exposure, risk.max_gross_exposure)
        Z[k.UNITS], Z[k.CAPITAL], Z[k.LOW_PRICE] = risk.max_order_quantity, self._account.capital, margin.restricted_below_price
        for place, price in ((k.RATE, margin.restricted_below_price), (k.LOW_RATE, margin.restricted_below_price / 2)):
            needed = required(instrument, Side.BUY, 1, price, Horizon.INTRADAY, margin, date.max)
            Z[place] = round(needed / (price * instrument.multiplier), 12) if risk.check_margin else 0.0
        paper = MarginRates()
        Z[k.PAPER] = paper.future if instrument.kind is Kind.FUTURE else paper.equity_intraday
        return Z[k.BY : k.A_DAY].copy()

    def _figures(self, rows: Any, nets: Any, held: int, deepest: float) -> dict[str, Any]:
        """The figures of a trial as metrics.metrics_of has them; entries and exits take turns in `rows`."""
        found = np.empty(8)
        k.sums(rows, nets, self._account.capital, found)
        gross, charges, total, gains, won, mean, spread, falls = found.tolist()
        count, lost = len(rows) // 2, total - gains
        return {
            "trades": count,
            "gross": gross / 100,
            "charges": charges / 100,
            "net": total / 100,
            "win_rate": round(won / count, 4) if count else None,
            "expectancy": round(total / count / 100, 2) if count else None,
            "profit_factor": round(gains / -lost, 4) if lost else None,
            "max_drawdown": round(deepest / 100, 2),
            **self._ratios(nets, mean, spread, falls),
            "exposure": round(held / max(1, self._moments), 4),
        }

    def _ratios(self, nets: Any, mean: float, spread: float, falls: float) -> dict[str, float | None]:
        """Sharpe and Sortino as backtesting.metrics has them. Its sums are exact, the kernel's differ far behind the fourth decimal; where
        that could decide its rounding, they are made exactly too."""
        days = len(nets)
        if days < 2:
            return {"sharpe": None, "sortino": None}
        found: dict[str, float | None] = {}
        for name, apart in (("sharpe", math.sqrt(spread / (days - 1))), ("sortino", math.sqrt(falls / days))):
            value = mean / apart * math.sqrt(YEAR) if apart > 1e-12 else 0.0
            if not apart > 1e-11 or abs(value * 1e4 % 1 - 0.5) < 1e-4:
                return ratios((nets / 100 / self._account.capital).tolist())
            found[name] = round(value, 4)
        return found


def _left_out(live: int, wanted: int) -> int:
    """How many of `live` bars of history to leave out where so many are wanted."""
    return live - min(live, wanted)


def _columns(said: Holds | Trades, frame: Frame) -> list[Any]:
    """What the strategy says on its traded bars, in the order and the types in which the kernel takes it; ValueError for a target that is
    no whole multiple of the size."""
    live, none = frame.live, np.zeros(0)
    if isinstance(said, Holds):
        target = said.target[live:].astype(np.int8)
        if target.dtype != said.target.dtype and (target != said.target[live:]).any():
            raise ValueError("Holds.target: whole multiples of the size from -127 to 127, or SILENT; the bar-by-bar form may say fractions")
        return [target, np.zeros(0, np.int8), none, none, np.zeros(0, np.uint8), none]
    columns = (
        (said.enter, np.int8),
        (said.stop, np.float64),
        (said.take_profit, np.float64),
        (said.leave, np.uint8),
        (said.trail, np.float64),
    )
    return [np.zeros(0, np.int8), *(np.ascontiguousarray(one[live:], kind) for one, kind in columns)]


def _program(written: float | str) -> list[tuple[float, float]]:
    """A brokerage formula as the kernel's steps."""
    if isinstance(written, int | float):
        amount = float(written)
        flat = amount == 0 or amount >= 1
        return [(k.CONSTANT, amount)] if flat else [(k.CONSTANT, amount), (k.TURNOVER, 0.0), (k.MULTIPLY, 0.0)]
    formula(written)  # refuses what is none

    def steps(node: ast.expr) -> list[tuple[float, float]]:
        match node:
            case ast.Constant(value=int() | float() as number):
                return [(k.CONSTANT, float(number))]
            case ast.Name():
                return [(k.TURNOVER, 0.0)]
            case ast.BinOp(left=left, op=operator, right=right):
                return [*steps(left), *steps(right), (_OPERATIONS[type(operator)], 0.0)]
            case ast.Call(func=ast.Name(id=name), args=[left, right]):
                return [*steps(left), *steps(right), (_CALLS[name], 0.0)]
        raise _Engines(f"the brokerage {written!r} has a condition")

    found = steps(ast.parse(written, mode="eval").body)
    if len(found) > k.STEPS_OF_FORMULA:
        raise _Engines(f"the brokerage {written!r} is too long")
    return found


def _lesser(program: list[tuple[float, float]]) -> tuple[float, float]:
    """(amount, share) where the brokerage is the smaller of the amount and that share of the turnover; NaN where it is something else."""
    steps = [step for step, _ in program]
    if steps == [k.CONSTANT]:
        return program[0][1], math.inf
    if steps == [k.CONSTANT, k.TURNOVER, k.MULTIPLY]:
        return math.inf, program[0][1]
    if steps == [k.CONSTANT, k.CONSTANT, k.TURNOVER, k.MULTIPLY, k.LEAST]:
        return program[0][1], program[1][1]
    return math.nan, math.nan


def _at_most(rupees: float) -> float:
    """The largest number of paise that is not above so many rupees."""
    if math.isinf(rupees):
        return rupees
    paise = math.floor(rupees * 100) + 2
    while paise / 100 > rupees:
        paise -= 1
    return paise


def _us(at: datetime) -> int:
    return int(at.replace(microsecond=0).timestamp()) * 1_000_000 + at.microsecond
