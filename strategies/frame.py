"""A whole frame of bars for a strategy that can say at once what it would do on each of them: columns, indicators, and how to say it.

A frame is one instrument's bars at the strategy's interval: history (the first `live` bars, on which nothing is traded) and the bars that
are traded. `Strategy.targets(frame, params)` answers with `Holds` (what to hold, bar by bar) or `Trades` (when a strategy that is in
one trade at a time would enter, leave and move its stop). Neither may depend on fills: what was filled, stopped or refused is the
kernel's business, which leads a `Trades` exactly as strategies/one_trade.py leads a `OneTrade`.

Indicators are made once for each parameter and kept with the frame, so that a sweep over two of them makes each once.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.types import Bar
from strategies import compiled
from strategies.indicators import StdDev

Array = Any
"""A NumPy array, as long as the frame unless something else is said."""
Columns = tuple[Any, Any]
"""Some bars' prices and whole numbers, as `columns_of` gives them."""

SILENT = -128
"""In `Holds.target`: the strategy says nothing on this bar."""
MANY = 1_000_000
LONG, SHORT = 1, 2
"""In `Trades.leave`: a trade of this direction is left; 3 is both."""


@dataclass(frozen=True, slots=True)
class Holds:
    """What to hold on each bar: int8, a multiple of the configured size (-1, 0 and 1 in most), or SILENT. Said again, it does nothing."""

    target: Array


@dataclass(frozen=True, slots=True)
class Trades:
    """What a strategy in one trade at a time would say on each bar, whether or not it is in one.

    `enter` (int8): the direction of a trade that may begin here; `stop` and `take_profit` are its prices (NaN: none). `leave` (uint8):
    LONG and SHORT bits. `trail`: where a trade's stop moves to, if that is nearer (NaN: it stays). With `turns`
    an entry against a running trade turns it round, and one may begin on the bar on which another is seen to be gone; without, a trade
    is only begun where there was none. `a_day` and `each_way` are the most entries of a day, in all and in each direction.
    """

    enter: Array
    stop: Array
    take_profit: Array
    leave: Array
    a_day: int
    each_way: int
    long: bool
    short: bool
    turns: bool
    trail: Array


@dataclass(frozen=True, eq=False)
class Frame:
    """Columns of equal length, oldest bar first. `start`, `at` and `opens` (of the bar's session) are microseconds since 1970, `day` is
    the proleptic ordinal of the bar's date. The first `live` bars are history."""

    open: Array
    high: Array
    low: Array
    close: Array
    volume: Array
    start: Array
    at: Array
    day: Array
    opens: Array
    live: int
    intraday: bool = True
    _kept: dict[Hashable, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, bars: Sequence[Bar], opens: Sequence[int], live: int, *, intraday: bool = True) -> "Frame":
        """The bars as columns."""
        return cls.joined([columns_of(bars)], opens, live, intraday=intraday)

    @classmethod
    def joined(cls, parts: Sequence[Columns], opens: Sequence[int], live: int, *, intraday: bool = True) -> "Frame":
        """Parts that were made columns one by one, so that there never were objects of all their bars at once."""
        first, high, low, last = np.concatenate([part[0] for part in parts], axis=1)
        volume, start, at, day = np.concatenate([part[1] for part in parts], axis=1)
        return cls(first, high, low, last, volume, start, at, day, np.array(opens, np.int64), live, intraday)

    def __len__(self) -> int:
        return len(self.close)

    def since(self, first: int) -> "Frame":
        """The frame without its first bars: less history, hence other beginnings of what is smoothed recursively."""
        if first == 0:
            return self

        def make() -> Frame:
            return Frame(
                self.open[first:], self.high[first:], self.low[first:], self.close[first:], self.volume[first:], self.start[first:],
                self.at[first:], self.day[first:], self.opens[first:], self.live - first, self.intraday,
            )  # fmt: skip

        found: Frame = self.kept(("since", first), make)
        return found

    def kept(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` gave for this key the first time."""
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = make()
        return found

    def forget(self) -> None:
        """Drop all that is kept."""
        self._kept.clear()

    # --- indicators: those of the same names in indicators*.py, NaN where they give None ------------------------------------------

    def sma(self, period: int) -> Array:
        return self.kept(("sma", period), lambda: compiled.sma(self.close, period))

    def ema(self, period: int) -> Array:
        return self.kept(("ema", period), lambda: compiled.ema(self.close, period))

    def atr(self, period: int) -> Array:
        return self.kept(("atr", period), lambda: compiled.wilder(self.true_range(), period, 0))

    def true_range(self) -> Array:
        return self.kept("true_range", lambda: compiled.true_range(self.high, self.low, self.close))

    def rsi(self, period: int) -> Array:
        def make() -> Array:
            rose, fell = self.kept("changes", lambda: compiled.changes(self.close))
            return compiled.relative_strength(compiled.wilder(rose, period, 1), compiled.wilder(fell, period, 1))

        return self.kept(("rsi", period), make)

    def vwap(self) -> Array:
        return self.kept("vwap", lambda: compiled.vwap(self.high, self.low, self.close, self.volume, self.day))

    def highest(self, period: int) -> Array:
        """Of the highs, this bar's included."""
        return self.kept(("highest", period), lambda: compiled.highest(self.high, period))

    def lowest(self, period: int) -> Array:
        """Of the lows, this bar's included."""
        return self.kept(("lowest", period), lambda: -compiled.highest(-self.low, period))

    def deviation(self, period: int) -> tuple[Array, Array]:
        """Mean and standard deviation of the closes; made by the incremental StdDev itself, whose whole numbers have no quicker twin."""

        def make() -> tuple[Array, Array]:
            one = StdDev(period)
            found = np.array([(one.add(close), one.mean) for close in self.close.tolist()], np.float64).reshape(len(self), 2)
            return found[:, 1].copy(), found[:, 0].copy()

        return self.kept(("deviation", period), make)  # type: ignore[no-any-return]

    def supertrend(self, period: int, width: float) -> tuple[Array, Array]:
        """The line, and the direction (0 while it is not known)."""

        def make() -> tuple[Array, Array]:
            return compiled.supertrend(self.high, self.low, self.close, self.atr(period), width)

        return self.kept(("supertrend", period, width), make)  # type: ignore[no-any-return]

    # --- shapes ---------------------------------------------------------------------------------------------------------------------

    def before(self, values: Array, bars: int = 1) -> Array:
        """Each bar's value of so many bars before it; NaN (or 0) for the first ones."""
        moved = np.empty_like(values)
        moved[bars:] = values[:-bars]
        moved[:bars] = np.nan if values.dtype.kind == "f" else 0
        return moved

    def side_of(self, values: Array, other: Array, above: int, below: int) -> Array:
        """What to hold: `above` where the one is larger than the other, else `below`; SILENT while either is not known."""
        return compiled.side_of(values, other, above, below, SILENT)

    def crossings(self, values: Array, other: Array) -> Array:
        """1 where the one has come above the other, -1 where it has come below it, 0 elsewhere; being equal is no crossing."""
        return compiled.crossings(values, other)

    def known(self, values: Array, other: Array) -> Array:
        """The values, and NaN where the other ones are not known yet."""
        return np.where(np.isnan(other), np.nan, values)

    def row(self, line: Array) -> Array:
        """How many closes of the day in a row stood above (positive) or below (negative) the line before each bar."""
        return compiled.rows(self.close, line, self.day)

    def openings(self) -> Array:
        """Whether a bar is the first of its day; the frame's very first is none, since nothing is before it."""
        return self.kept("openings", lambda: np.concatenate((np.zeros(1, np.bool_), self.day[1:] != self.day[:-1])))

    def first_of_day(self, values: Array) -> Array:
        """The value of the first bar of each bar's day."""
        places = np.concatenate((np.zeros(1, np.int64), np.where(self.day[1:] != self.day[:-1], np.arange(1, len(self)), 0)))
        return values[np.maximum.accumulate(places)]

    def opening_range(self, minutes: int) -> tuple[Array, Array, Array]:
        """Where closes leave the range of the day's first minutes (1, -1, else 0), and that range's low and high."""

        def make() -> tuple[Array, Array, Array]:
            columns = (self.high, self.low, self.close, self.start, self.day, self.opens)
            return compiled.opening_ranges(*columns, minutes * 60_000_000)

        return self.kept(("opening_range", minutes), make)  # type: ignore[no-any-return]

    def holds(self, target: Array) -> Holds:
        return Holds(target)

    def trades(
        self,
        params: Any,
        *,
        long: Array,
        short: Array,
        stop: Array,
        take_profit: Array | None = None,
        leave_long: Array | None = None,
        leave_short: Array | None = None,
        trail: Array | None = None,
        turns: bool = False,
        each_way: int = MANY,
    ) -> Trades:
        """Trades that begin where the masks `long` and `short` say, and end where `leave_long` and `leave_short` do. `params` has
        `long` and `short`, and `trades_a_day` where a day has a limit."""
        nowhere = self.kept("nowhere", lambda: np.zeros(len(self), np.bool_))
        enter = long.astype(np.int8) - short.astype(np.int8)
        leave = LONG * (nowhere if leave_long is None else leave_long).astype(np.uint8)
        leave |= SHORT * (nowhere if leave_short is None else leave_short).astype(np.uint8)
        none = self.kept("none", lambda: np.full(len(self), np.nan))
        return Trades(
            enter, stop, none if take_profit is None else take_profit, leave, getattr(params, "trades_a_day", MANY), each_way,
            params.long, params.short, turns, none if trail is None else trail,
        )  # fmt: skip


def columns_of(bars: Sequence[Bar]) -> Columns:
    """(open, high, low, close) and (volume, start, at, day) of some bars, a row each."""
    prices = np.array([(bar.open, bar.high, bar.low, bar.close) for bar in bars], np.float64).reshape(len(bars), 4)
    whole = np.array([(bar.volume, _moment(bar.start), _moment(bar.at), bar.start.toordinal()) for bar in bars], np.int64)
    return prices.T.copy(), whole.reshape(len(bars), 4).T.copy()


def _moment(at: Any) -> int:
    """Microseconds since 1970."""
    return int(at.replace(microsecond=0).timestamp()) * 1_000_000 + int(at.microsecond)
