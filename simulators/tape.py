"""One instrument's day as prints and a book, second by second, and the market that plays a set of such tapes.

Both markets (synthetic, recorded) only differ in how a Tape comes to be. A tape is built when a key is first asked for and holds the
whole day; playing it is moving one index. Nothing a client does reaches it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.facts import IST
from simulators.listing import Candle, Level, Listing, Quote

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NO_LEVELS: tuple[Level, ...] = ((0.0, 0, 0),) * 5
DAY_MINUTES = 1440


def as_grid(price: float, tick: float) -> float:
    """A price on its tick, without float dust."""
    return round(round(price / tick) * tick, 4)


@dataclass(frozen=True, slots=True)
class MinuteBars:
    """A day's one-minute bars; `minute` counts from midnight. `day_open` is the opening auction's price, which no minute includes."""

    minute: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Ints
    oi: Ints
    day_open: float


class Tape:
    """A day of one listing on a grid of whole seconds from `start`.

    `seconds` and `prices`, `quantities` are the prints in order (an index prints with quantity 0). `bids` and `asks` are the best
    prices per second, 0.0 where there is no book. `depth` is the usual quantity of a level. `repeats`: the last quote is sent each second.
    """

    def __init__(
        self,
        start: datetime,
        length: int,
        seconds: Ints,
        prices: Floats,
        quantities: Ints,
        *,
        bids: Floats | None = None,
        asks: Floats | None = None,
        oi: Ints | None = None,
        depth: int = 0,
        salt: int = 0,
        repeats: bool = False,
        auction_until: int = 0,
    ) -> None:
        self.start, self.length, self.depth, self.salt = start, length, depth, salt
        self.raw_seconds, self.raw_prices, self.raw_quantities, self.raw_oi = seconds, prices, quantities, oi
        self.auction_until = auction_until  # prints before this second are the pre-open auction's
        offsets = np.zeros(length + 1, dtype=np.int64)
        offsets[1:] = np.cumsum(np.bincount(seconds, minlength=length)[:length])
        changed = offsets[1:] > offsets[:-1]
        if bids is not None and asks is not None:
            moved = (np.diff(bids, prepend=0.0) != 0) | (np.diff(asks, prepend=0.0) != 0)
            changed = changed | moved
        if repeats and len(seconds):
            changed[int(seconds[0]) :] = True
        last_change = np.maximum.accumulate(np.where(changed, np.arange(length), -1))
        volume = np.concatenate(([0], np.cumsum(quantities)))
        turnover = np.concatenate(([0.0], np.cumsum(prices * quantities)))
        # memoryviews (`.data`) answer single items as plain Python numbers, several times faster than numpy does
        self.offsets, self.seconds, self.last_change = offsets.data, seconds.data, last_change.data
        self.prices, self.quantities = prices.data, quantities.data
        self.volume, self.turnover = volume.data, turnover.data
        self.high, self.low = np.maximum.accumulate(prices).data, np.minimum.accumulate(prices).data
        self.bids = bids.data if bids is not None else None
        self.asks = asks.data if asks is not None else None
        self.oi = oi.data if oi is not None else None
        self._depths: memoryview | None = None

    def trades(self, second: int) -> list[tuple[float, int]]:
        if not 0 <= second < self.length:
            return []
        first, last = self.offsets[second], self.offsets[second + 1]
        return [(self.prices[index], self.quantities[index]) for index in range(first, last)]

    def levels(self, second: int, listing: Listing) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        """Five bids and five asks in whole lots."""
        if self.bids is None or self.asks is None:
            return NO_LEVELS, NO_LEVELS
        if self._depths is None:
            self._depths = self._draw_depths(listing.lot)
        sizes = self._depths[10 * second : 10 * second + 10].tolist()
        bid, ask, tick = self.bids[second], self.asks[second], listing.tick_size
        return _side(bid, -tick, sizes[:5], listing.lot), _side(ask, tick, sizes[5:], listing.lot)

    def _draw_depths(self, lot: int) -> memoryview:
        """Quantities of the ten levels of every second, drawn from the tape's salt; deeper levels hold more."""
        share = np.random.Generator(np.random.PCG64(self.salt)).random((self.length, 10)) * 1.4 + 0.3
        share += 0.25 * np.array((0, 1, 2, 3, 4, 0, 1, 2, 3, 4))
        return (np.maximum(1, np.rint(share * (self.depth / lot))).astype(np.int64) * lot).ravel().data

    def quote(self, second: int, listing: Listing, stale_at: datetime) -> Quote:
        """The quote after this second; before the day's first print it is yesterday's close, dated `stale_at`."""
        second = min(second, self.length - 1)
        changed = self.last_change[second] if second >= 0 else -1
        bids, asks = self.levels(changed, listing) if changed >= 0 else (NO_LEVELS, NO_LEVELS)
        oi = self.oi[second] if self.oi is not None and second >= 0 else 0
        exchange_time = self.start + timedelta(seconds=changed) if changed >= 0 else stale_at
        count = self.offsets[second + 1] if second >= 0 else 0
        total_buy, total_sell = 8 * sum(level[1] for level in bids), 8 * sum(level[1] for level in asks)
        close = listing.previous_close
        if count == 0:
            return Quote(close, 0, stale_at, 0, 0.0, oi, oi, oi, 0.0, 0.0, 0.0, close, bids, asks, total_buy, total_sell, exchange_time)
        last = count - 1
        volume = self.volume[count]
        return Quote(
            last_price=self.prices[last],
            last_quantity=self.quantities[last],
            last_time=self.start + timedelta(seconds=self.seconds[last]),
            volume=volume,
            average_price=round(self.turnover[count] / volume, 2) if volume else 0.0,
            oi=oi,
            oi_high=oi,
            oi_low=oi,
            open=self.prices[0],
            high=self.high[last],
            low=self.low[last],
            close=close,
            bids=bids,
            asks=asks,
            total_buy=total_buy,
            total_sell=total_sell,
            exchange_time=exchange_time,
        )

    def minutes(self, until: int | None = None) -> MinuteBars:
        """One-minute bars of the prints up to second `until` (inclusive; None: all)."""
        count = len(self.raw_prices) if until is None else self.offsets[max(0, min(until + 1, self.length))]
        skip = int(np.searchsorted(self.raw_seconds[:count], self.auction_until))
        seconds, prices, quantities = self.raw_seconds[skip:count], self.raw_prices[skip:count], self.raw_quantities[skip:count]
        if not len(seconds):
            none_i, none_f = np.empty(0, dtype=np.int64), np.empty(0)
            return MinuteBars(none_i, none_f, none_f, none_f, none_f, none_i, none_i, self.prices[0] if count else 0.0)
        first = self.start.hour * 60 + self.start.minute
        minute = first + (seconds + self.start.second) // 60
        starts = np.flatnonzero(np.diff(minute, prepend=minute[0] - 1))
        ends = np.append(starts[1:], len(minute)) - 1
        oi = self.raw_oi[np.minimum(seconds[ends], self.length - 1)] if self.raw_oi is not None else np.zeros(len(ends), dtype=np.int64)
        return MinuteBars(
            minute[starts],
            prices[starts],
            np.maximum.reduceat(prices, starts),
            np.minimum.reduceat(prices, starts),
            prices[ends],
            np.add.reduceat(quantities, starts),
            oi,
            self.prices[0],
        )

    def closing_price(self, vwap: tuple[int, int] | None) -> float | None:
        """Volume-weighted price of the seconds [from, to) of `vwap`; the last print where that is empty or None; None without prints."""
        if vwap is not None:
            inside = (self.raw_seconds >= vwap[0]) & (self.raw_seconds < vwap[1])
            volume = self.raw_quantities[inside].sum()
            if volume:
                return float((self.raw_prices[inside] * self.raw_quantities[inside]).sum() / volume)
        return float(self.raw_prices[-1]) if len(self.raw_prices) else None


def _side(best: float, step: float, sizes: list[int], lot: int) -> tuple[Level, ...]:
    """Five levels outwards from the best price; empty ones where there is no best price or no room above zero."""
    if best <= 0:
        return NO_LEVELS
    prices = [round(best + index * step, 4) for index in range(5)]
    return tuple((price, size, 1 + size // lot % 7) if price > 0 else (0.0, 0, 0) for price, size in zip(prices, sizes, strict=True))


def resample(day: date, bars: MinuteBars, minutes: int, anchor: int) -> list[Candle]:
    """Candles of `minutes`, counted from minute `anchor` of the day; one candle of the whole day for 1440."""
    if not len(bars.minute):
        return []
    midnight = datetime.combine(day, time(), IST)
    if minutes >= DAY_MINUTES:
        start = bars.day_open or float(bars.open[0])
        high, low = max(start, float(bars.high.max())), min(start, float(bars.low.min()))
        return [Candle(midnight, start, high, low, float(bars.close[-1]), int(bars.volume.sum()), int(bars.oi[-1]))]
    slot = anchor + (bars.minute - anchor) // minutes * minutes
    starts = np.flatnonzero(np.diff(slot, prepend=slot[0] - 1))
    ends = np.append(starts[1:], len(slot)) - 1
    highs, lows = np.maximum.reduceat(bars.high, starts), np.minimum.reduceat(bars.low, starts)
    volumes = np.add.reduceat(bars.volume, starts)
    return [
        Candle(midnight + timedelta(minutes=at), first, high, low, last, volume, oi)
        for at, first, high, low, last, volume, oi in zip(
            slot[starts].tolist(),
            bars.open[starts].tolist(),
            highs.tolist(),
            lows.tolist(),
            bars.close[ends].tolist(),
            volumes.tolist(),
            bars.oi[ends].tolist(),
            strict=True,
        )
    ]


class TapeMarket(ABC):
    """Plays tapes; see simulators/listing.Market for what each method promises."""

    spacing_s = 1
    synthetic = False

    def __init__(self) -> None:
        self.listings: dict[str, Listing] = {}
        self.days: list[date] = []
        self.day = date.min
        self.opens_at = self.closes_at = self._stale_at = datetime.min.replace(tzinfo=IST)
        self._tapes: dict[str, Tape] = {}
        self._history: dict[tuple[str, date], MinuteBars | None] = {}
        self._played = -1
        self._locks: dict[str, str] = {}
        self._halted = False
        self._gaps: list[tuple[int, int]] = []  # seconds (after, up to) in which trading was halted

    @abstractmethod
    def _make_tape(self, key: str, day: date) -> Tape | None:
        """The tape of this key on this trading day; None where it did not trade then."""

    @abstractmethod
    def _past_days(self, start: date, end: date) -> list[date]:
        """Days before the running one, within [start, end], that history is known of."""

    @abstractmethod
    def _anchor(self, key: str, day: date) -> int:
        """The minute of the day that candles are counted from (the start of continuous trading)."""

    def _begin(self, day: date, opens_at: datetime, closes_at: datetime, stale_at: datetime) -> None:
        self.day, self.opens_at, self.closes_at, self._stale_at = day, opens_at, closes_at, stale_at
        self._tapes, self._played, self._locks, self._halted, self._gaps = {}, -1, {}, False, []

    def _tape(self, key: str) -> Tape:
        tape = self._tapes.get(key)
        if tape is None:
            if key not in self.listings:
                raise KeyError(key)
            tape = self._make_tape(key, self.day) or self._empty_tape()
            self._tapes[key] = tape
        return tape

    def _empty_tape(self) -> Tape:
        none = np.empty(0, dtype=np.int64)
        return Tape(self.opens_at, self._length(), none, np.empty(0), none)

    def _length(self) -> int:
        return int((self.closes_at - self.opens_at).total_seconds())

    def _second(self, at: datetime) -> int:
        return int((at - self.opens_at).total_seconds() // 1)

    def step(self, now: datetime) -> list[str]:
        """Play up to and including the whole second `now` falls in; the known keys whose quote changed since the last step."""
        second = min(self._second(now), self._length() - 1)
        before = self._played
        if second <= before or self._halted:
            if self._halted and second > before:
                self._gaps[-1] = (self._gaps[-1][0], second)
            return []
        self._played = second
        return [key for key, tape in self._tapes.items() if tape.last_change[second] > before]

    def quote(self, key: str, at: datetime | None = None) -> Quote:
        tape, listing = self._tape(key), self.listings[key]
        second = self._played if at is None else min(self._second(at), self._played)
        quote = tape.quote(second, listing, self._stale_at)
        side = self._locks.get(key)
        return quote if side is None else _locked(quote, listing, side, tape.depth)

    def trades(self, key: str, at: datetime) -> list[tuple[float, int]]:
        second = self._second(at)
        if second > self._played or any(after < second <= until for after, until in self._gaps):
            return []
        prints = self._tape(key).trades(second)
        side = self._locks.get(key)
        if side is None:
            return prints
        limit = _limit(self.listings[key], side)
        return [(limit, quantity) for _, quantity in prints]

    def candles(self, key: str, start: datetime, end: datetime, minutes: int) -> list[Candle]:
        if key not in self.listings:
            raise KeyError(key)
        found: list[Candle] = []
        for day in self._past_days(start.date(), min(end.date(), self.day - timedelta(days=1))):
            if (key, day) not in self._history:
                tape = self._make_tape(key, day)
                self._history[(key, day)] = tape.minutes() if tape is not None else None
            bars = self._history[(key, day)]
            if bars is not None:
                found += resample(day, bars, minutes, self._anchor(key, day))
        if start.date() <= self.day <= end.date() and self._played >= 0:
            found += resample(self.day, self._tape(key).minutes(self._played), minutes, self._anchor(key, self.day))
        if minutes >= DAY_MINUTES:
            return found
        return [candle for candle in found if start <= candle.start <= end]

    def lock(self, key: str, side: str | None) -> None:
        if key not in self.listings:
            raise KeyError(key)
        if side is None:
            self._locks.pop(key, None)
        elif side in {"upper", "lower"}:
            self._locks[key] = side
        else:
            raise ValueError(f"a circuit locks 'upper' or 'lower', not {side!r}")

    def halt(self, halted: bool) -> None:
        if halted and not self._halted:
            self._gaps.append((self._played, self._played))
        self._halted = halted


def _limit(listing: Listing, side: str) -> float:
    return listing.upper_circuit if side == "upper" else listing.lower_circuit


def _locked(quote: Quote, listing: Listing, side: str, depth: int) -> Quote:
    """The quote at a circuit: one crowded side, the other one empty."""
    price = _limit(listing, side)
    crowd = ((price, max(depth, listing.lot) * 500, 900), *NO_LEVELS[1:])
    common: dict[str, Any] = {"last_price": price, "high": max(quote.high, price), "low": min(quote.low or price, price)}
    if side == "upper":
        return replace(quote, bids=crowd, asks=NO_LEVELS, total_buy=crowd[0][1], total_sell=0, **common)
    return replace(quote, bids=NO_LEVELS, asks=crowd, total_buy=0, total_sell=crowd[0][1], **common)
