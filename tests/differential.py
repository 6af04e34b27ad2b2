"""Our backtest against backtrader, an independent engine: the same rules on the same bars must make the same trades.

    python -m tests.differential --data /path/to/data      # every full session of the one- and five-minute files there

The common fill rule: a decision on a bar is filled at the next bar's open, nothing costs anything, caps are wide, ten units, intraday.
The rules of our engine that a trade list shows are told to the other in its own words (`_Rule.next`): a turn-round is an exit first and
its entry after the fill; entries end, and everything is closed, when the day's square-off plan says so. Indicators are each engine's
own. Sessions with missing bars or impossible prices, and those the calendar does not know, are left out, on both sides, and counted; so
are options, whose prices leave any cap. On five-minute bars the square-off is at 15:10, where a bar ends. The last line is the figures;
exit 1 on any difference.
"""

import argparse
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import backtrader as bt
import pandas as pd

from backtesting.market import BacktestMarket
from core.types import Account, AccountKind, Bar, Instrument, Kind, Signal, View
from strategies.base import Strategy
from strategies.indicators import SMA
from strategies.indicators_bands import Bollinger, Donchian
from strategies.indicators_momentum import RSI
from tests.planted import market_of, planted, wide
from utils.config_loader import Config

KEY = "NSE:ABC"
UNITS = 10
SESSION = 375  # minutes
STEPS = (1, 5)
YEAR = 247  # sessions
EPSILON = 1e-7  # indicators are summed in another order
Trade = tuple[str, int, str, float, str, float]
"""Side, units, entry bar's open time and price, exit bar's open time and price."""


# --- the rules, once for each engine ------------------------------------------------------------------------------------------------


class Ours(Strategy):
    """A rule of the proof on our engine: its target after each bar; None says nothing."""

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        target = self.wants(bar)
        if target is not None:
            yield self.signal(bar.instrument, target)

    def wants(self, bar: Bar) -> float | None:
        raise NotImplementedError


class _Rule(bt.Strategy):  # type: ignore[misc]
    """The same on backtrader, with what our engine adds to every strategy."""

    params = (("plans", None), ("step", 1))  # day -> (from when on no entries, from when on everything is closed); minutes a bar

    def __init__(self) -> None:
        self.made: list[Trade] = []
        self.target: float | None = None
        self.day: date | None = None
        self.last: float | None = None  # the raw target in force
        self.build()

    def build(self) -> None:
        """Make the indicators."""

    def wants(self) -> float | None:
        raise NotImplementedError

    def next(self) -> None:
        opens = bt.num2date(self.data.datetime[0])
        closes = opens + timedelta(minutes=self.p.step)
        last_entry, square_off = self.p.plans[opens.date()]
        if opens.date() != self.day:
            self.day, self.target = opens.date(), 0.0
        said = self.wants()
        if said is not None:
            self.target = said
        held = self.position.size
        wanted = 0.0 if closes >= square_off else self.target or 0.0
        if held and held * wanted <= 0:
            self.close()
        elif not held and wanted and closes < last_entry:
            (self.buy if wanted > 0 else self.sell)(size=UNITS)

    def notify_trade(self, trade: Any) -> None:
        if trade.isclosed:
            first, last = trade.history[0].event, trade.history[-1].event
            sides = "BUY" if first.size > 0 else "SELL"
            moments = [bt.num2date(trade.dtopen), bt.num2date(trade.dtclose)]
            self.made.append((sides, abs(first.size), _text(moments[0]), first.price, _text(moments[1]), last.price))


class OurCross(Ours):
    """Long above, flat below."""

    below = 0.0

    def start(self) -> None:
        self.fast, self.slow = SMA(7), SMA(19)

    def wants(self, bar: Bar) -> float | None:
        fast, slow = self.fast.add(bar.close), self.slow.add(bar.close)
        return None if slow is None or fast is None else 1.0 if fast > slow + EPSILON else self.below


class TheirCross(_Rule):
    below = 0.0

    def build(self) -> None:
        self.fast, self.slow = bt.ind.SMA(period=7), bt.ind.SMA(period=19)

    def wants(self) -> float | None:
        return 1.0 if self.fast[0] > self.slow[0] + EPSILON else self.below


class OurTurn(OurCross):
    """Long above, short below."""

    below = -1.0


class TheirTurn(TheirCross):
    below = -1.0


class OurMomentum(Ours):
    """With the last half hour."""

    def start(self) -> None:
        self.closes: list[float] = []

    def wants(self, bar: Bar) -> float | None:
        self.closes = [*self.closes[-30:], bar.close]
        return None if len(self.closes) < 31 else 1.0 if bar.close > self.closes[0] else -1.0


class TheirMomentum(_Rule):
    def build(self) -> None:
        self.before = bt.ind.Momentum(period=30)

    def wants(self) -> float | None:
        return 1.0 if self.before[0] > 0 else -1.0


class OurBreakout(Ours):
    """In with a new extreme of 40 bars, out with the opposite one of 20."""

    def start(self) -> None:
        self.wide, self.narrow, self.held = Donchian(40), Donchian(20), 0.0

    def wants(self, bar: Bar) -> float | None:
        wide, narrow = self.wide.value, self.narrow.value
        self.wide.add(bar)
        self.narrow.add(bar)
        if wide is None or narrow is None:
            return None
        self.held = _breakout(self.held, bar.close, (wide.upper, wide.lower), (narrow.upper, narrow.lower))
        return self.held


class TheirBreakout(_Rule):
    def build(self) -> None:
        self.up, self.down = bt.ind.Highest(self.data.high, period=40), bt.ind.Lowest(self.data.low, period=40)
        self.high, self.low = bt.ind.Highest(self.data.high, period=20), bt.ind.Lowest(self.data.low, period=20)
        self.held = 0.0
        self.addminperiod(41)

    def wants(self) -> float | None:
        self.held = _breakout(self.held, self.data.close[0], (self.up[-1], self.down[-1]), (self.high[-1], self.low[-1]))
        return self.held


def _breakout(held: float, close: float, wide: tuple[float, float], narrow: tuple[float, float]) -> float:
    if (held > 0 and close < narrow[1]) or (held < 0 and close > narrow[0]):
        held = 0.0
    return 1.0 if close > wide[0] else -1.0 if close < wide[1] else held


class OurBands(Ours):
    """Against a close outside the bands, until the middle."""

    def start(self) -> None:
        self.bands, self.held = Bollinger(20, 2.0), 0.0

    def wants(self, bar: Bar) -> float | None:
        band = self.bands.add(bar.close)
        if band is None:
            return None
        self.held = _bands(self.held, bar.close, band.upper, band.middle, band.lower)
        return self.held


class TheirBands(_Rule):
    def build(self) -> None:
        self.bands, self.held = bt.ind.BollingerBands(period=20, devfactor=2.0), 0.0

    def wants(self) -> float | None:
        self.held = _bands(self.held, self.data.close[0], self.bands.top[0], self.bands.mid[0], self.bands.bot[0])
        return self.held


def _bands(held: float, close: float, upper: float, middle: float, lower: float) -> float:
    if held and (close - middle) * held >= -EPSILON:
        held = 0.0
    return -1.0 if close > upper + EPSILON else 1.0 if close < lower - EPSILON else held


class OurStrength(Ours):
    """With a strong RSI, against a weak one."""

    def start(self) -> None:
        self.rsi, self.held = RSI(14), 0.0

    def wants(self, bar: Bar) -> float | None:
        value = self.rsi.add(bar.close)
        if value is None:
            return None
        self.held = 1.0 if value > 60 + 1e-4 else -1.0 if value < 40 - 1e-4 else self.held
        return self.held


class TheirStrength(_Rule):
    def build(self) -> None:
        self.rsi, self.held = bt.ind.RSI(period=14, safediv=True), 0.0

    def wants(self) -> float | None:
        value = self.rsi[0]
        self.held = 1.0 if value > 60 + 1e-4 else -1.0 if value < 40 - 1e-4 else self.held
        return self.held


class OurRange(Ours):
    """Out of the first half hour's range, once each way a day."""

    def start(self) -> None:
        self.high, self.low = 0.0, 0.0

    def on_session_start(self, day: date) -> None:
        self.high, self.low = 0.0, float("inf")

    def wants(self, bar: Bar) -> float | None:
        if bar.at.time() <= time(9, 45):
            self.high, self.low = max(self.high, bar.high), min(self.low, bar.low)
            return None
        return 1.0 if bar.close > self.high else -1.0 if bar.close < self.low else None


class TheirRange(_Rule):
    def build(self) -> None:
        self.high, self.low, self.of = 0.0, 0.0, None

    def wants(self) -> float | None:
        opens = bt.num2date(self.data.datetime[0])
        if opens.date() != self.of:
            self.of, self.high, self.low = opens.date(), 0.0, float("inf")
        if opens.time() < time(9, 45):
            self.high, self.low = max(self.high, self.data.high[0]), min(self.low, self.data.low[0])
            return None
        return 1.0 if self.data.close[0] > self.high else -1.0 if self.data.close[0] < self.low else None


RULES: Mapping[str, tuple[type[Ours], type[_Rule]]] = {
    "cross": (OurCross, TheirCross),
    "turn": (OurTurn, TheirTurn),
    "momentum": (OurMomentum, TheirMomentum),
    "breakout": (OurBreakout, TheirBreakout),
    "bands": (OurBands, TheirBands),
    "strength": (OurStrength, TheirStrength),
    "range": (OurRange, TheirRange),
}


# --- the two engines ------------------------------------------------------------------------------------------------------------------


def ours(frame: pd.DataFrame, rules: Sequence[str], config: Config, folder: Path) -> dict[str, list[Trade]]:
    """Rule -> its trades on our engine. `frame`: timestamp (aware), open, high, low, close, volume of full one-minute sessions."""
    frame.assign(symbol=KEY).to_parquet(folder / "bars.parquet")
    account = Account("proof", AccountKind.PRACTICE, "zerodha", 1e9)
    market = market_of(folder / "bars.parquet", folder / "prepared", config)
    return {rule: _ours(RULES[rule][0], config, account, market) for rule in rules}


def _ours(kind: type[Ours], config: Config, account: Account, market: BacktestMarket) -> list[Trade]:
    outcome = planted(kind, config, account, market)
    return [
        (str(trip.side), trip.quantity, _text(trip.entry_at), round(trip.entry_price, 6), _text(trip.exit_at), round(trip.exit_price, 6))
        for trip in outcome.trips  # their prices are means over fills: value by quantity, with a float's last digits
    ]


def plans(frame: pd.DataFrame, config: Config) -> dict[date, tuple[datetime, datetime]]:
    """When entries end and the square-off starts on each day of the frame, as bare clock times; a day that the calendar does not know is
    not there."""
    calendar = config.calendar(AccountKind.PRACTICE)
    share = Instrument(KEY, "NSE", "ABC", Kind.EQUITY, "ABC")
    found = {}
    for day in sorted(set(frame.timestamp.dt.date)):
        plan = calendar.square_off("zerodha", share, day, config.square_off)
        if plan is not None:
            found[day] = (plan.entries_stop.replace(tzinfo=None), plan.start.replace(tzinfo=None))
    return found


def theirs(frame: pd.DataFrame, rule: str, config: Config, step: int = 1) -> list[Trade]:
    """The rule's trades on backtrader."""
    naive = frame.assign(timestamp=frame.timestamp.dt.tz_convert("Asia/Kolkata").dt.tz_localize(None)).set_index("timestamp")
    engine = bt.Cerebro(stdstats=False, tradehistory=True)
    engine.broker.setcash(1e9)
    engine.adddata(bt.feeds.PandasData(dataname=naive[["open", "high", "low", "close", "volume"]]))
    engine.addstrategy(RULES[rule][1], plans=plans(frame, config), step=step)
    return list(engine.run()[0].made)


def full_sessions(frame: pd.DataFrame, step: int = 1) -> pd.DataFrame:
    """The days that have every bar of 09:15 to 15:30, with possible prices in paise; volume plays no part (an index has none)."""
    frame = frame.drop_duplicates("timestamp").sort_values("timestamp")
    clock = frame.timestamp.dt.time
    frame = frame[(clock >= time(9, 15)) & (clock < time(15, 30))].round({"open": 2, "high": 2, "low": 2, "close": 2})
    prices = frame[["open", "high", "low", "close"]]
    bad = frame[(prices.max(axis=1) > frame.high) | (prices.min(axis=1) < frame.low) | (frame.low <= 0)].timestamp.dt.date
    days = frame.groupby(frame.timestamp.dt.date).size()
    good = set(days[days == SESSION // step].index) - set(bad)
    return (
        frame[frame.timestamp.dt.date.isin(good)][["timestamp", "open", "high", "low", "close"]].assign(volume=1000).reset_index(drop=True)
    )


def differences(
    frame: pd.DataFrame, rules: Sequence[str], tell: Callable[[str, int], None] = lambda rule, trades: None, step: int = 1
) -> list[str]:
    """What differs, a line for each rule's first differing trade."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        config = wide(Path(folder) / "config", size=f"{{quantity: {UNITS}}}", interval=step, square_off="15:20" if step == 1 else "15:10")
        frame = frame[frame.timestamp.dt.date.isin(plans(frame, config).keys())].reset_index(drop=True)
        mine = ours(frame, rules, config, Path(folder))
        for rule in rules:
            other = theirs(frame, rule, config, step)
            tell(rule, len(other))
            if mine[rule] != other:
                place = next(
                    (n for n, (a, b) in enumerate(zip(mine[rule], other, strict=False)) if a != b), min(len(mine[rule]), len(other))
                )
                pair = (mine[rule][place : place + 1], other[place : place + 1])
                found.append(f"{rule}: {len(mine[rule])} trades against {len(other)}; number {place + 1} is {pair[0]} against {pair[1]}")
    return found


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")


class Compared(NamedTuple):
    """One symbol of one file: sessions compared and left out, bars, trades by rule, differences."""

    name: str
    sessions: int
    left_out: int
    bars: int
    trades: dict[str, int]
    problems: list[str]


def compared(file: Path, symbol: str, step: int) -> Compared:
    """Both engines on all full sessions of one symbol."""
    rows = _table(file)
    rows = rows[rows.symbol == symbol]
    frame = full_sessions(rows, step)
    name, days = f"{file.name} {symbol}", rows.timestamp.dt.date.nunique()
    if frame.empty:
        return Compared(name, 0, days, 0, {}, [])
    counts: dict[str, int] = {}
    problems = [f"{name}: {one}" for one in differences(frame, list(RULES), counts.__setitem__, step)]
    sessions = frame.timestamp.dt.date.nunique()
    return Compared(name, sessions, days - sessions, len(frame), counts, problems)


def _table(file: Path) -> pd.DataFrame:
    table = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)
    return table.assign(timestamp=pd.to_datetime(table.timestamp)) if {"symbol", "timestamp"} <= {*table.columns} else table[:0]


def series(data: Path) -> Iterator[tuple[Path, str, int]]:
    """Every (file, symbol, minutes a bar) of a data folder."""
    for step in STEPS:
        files = [file for suffix in ("parquet", "csv") for file in data.glob(f"*_{step}m/*.{suffix}")]
        for file in sorted(file for file in files if not file.parent.name.startswith("options")):
            table = _table(file)  # empty where it is no market data, as a list of defects is not
            yield from ((file, symbol, step) for symbol in (sorted(table.symbol.unique()) if len(table) else ()))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="differential", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="folder with folders *_1m/ and *_5m/ of Parquet or CSV files")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    given = parser.parse_args(arguments)
    found: list[Compared] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given.workers, context) as pool:
        for future in as_completed([pool.submit(compared, *one) for one in series(given.data)]):
            one = future.result()
            found.append(one)
            print(f"{one.name}: {one.sessions} sessions, {one.left_out} left out, {sum(one.trades.values())} trades", flush=True)
            for problem in one.problems:
                print(f"differs: {problem}", flush=True)
    sessions, left_out = sum(one.sessions for one in found), sum(one.left_out for one in found)
    bars, problems = sum(one.bars for one in found), sum(len(one.problems) for one in found)
    totals = {rule: sum(one.trades.get(rule, 0) for one in found) for rule in RULES}
    print("trades by rule: " + ", ".join(f"{rule} {count}" for rule, count in totals.items()))
    print(
        f"differential: {len(RULES)} rules, {len(found)} series, {sessions} sessions ({sessions / YEAR:.1f} symbol-years; {left_out} left "
        f"out), {bars} bars, {sum(totals.values())} trades, {problems} differences"
    )
    return 1 if problems or not bars else 0


if __name__ == "__main__":
    sys.exit(main())
