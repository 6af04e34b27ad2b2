"""The prices inside a bar, as a pessimist takes them: what one holds meets its stop before its profit target.

A bar does not tell the order of its high and low. Rules:
1. It begins at its open and ends at its close. What is held after the open meets the side that hurts it first: low before high when
   long. Without a position it is open-low-high-close where the bar rose, else open-high-low-close, as the wire simulator plays it.
2. On the way every stop and profit target that lies between two of these prices is met at its own price (the first tick beyond it), and
   then there is one more price, at which the order that it causes is filled: one tick further against what is held, the same price in its
   favour. The same holds for the open of a bar that opens beyond a level.
3. The four prices come a second after the start, at a quarter, at the half and a second before the end: after what the bar before it
   brought about.

Bias: a bar whose target came first in truth is booked as a loss, a stop never fills at its exact price, and a target never beyond it. All
are against the strategy; a stop inside a bar that falls without trading in between would have filled worse.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

from core.expiries import round_to_tick
from core.types import Bar, Side, Tick

_SECOND = timedelta(seconds=1)


def path(bar: Bar, held: Callable[[], int], levels: Callable[[], Iterable[float]], volume: int) -> Iterator[Tick]:
    """The bar's prices in order, each asked for after the one before has been acted on.

    `held` gives the signed position and `levels` the stops and targets then; `volume` is the day's before this bar.
    """
    whole = bar.at - bar.start
    moments = (bar.start + _SECOND, bar.start + whole / 4, bar.start + whole / 2, bar.at - _SECOND)
    share = bar.volume // 4

    def tick(price: float, at: datetime, traded: int) -> Tick:
        return Tick(bar.instrument, at, price, volume + traded, share, at, oi=bar.oi)

    yield tick(bar.open, moments[0], share)
    before, low_first = bar.open, _low_first(bar, held())
    second, third = (bar.low, bar.high) if low_first else (bar.high, bar.low)
    for place, (price, traded) in enumerate(((second, 2 * share), (third, 3 * share), (bar.close, bar.volume)), 1):
        holding = held()
        gain = (price - before) * holding > 0
        on_the_way = _between(before, price, levels(), bar.instrument.tick_size, first=place == 1, gain=gain)
        gap = (moments[place] - moments[place - 1]) / (len(on_the_way) + 1)
        for number, level in enumerate(on_the_way, 1):
            yield tick(level, moments[place - 1] + gap * number, place * share)
        yield tick(price, moments[place], traded)
        before = price


def _low_first(bar: Bar, held: int) -> bool:
    return held > 0 or (held == 0 and bar.close >= bar.open)


def _between(start: float, end: float, levels: Iterable[float], tick_size: float, *, first: bool, gain: bool) -> list[float]:
    """The levels between two prices in the order in which they are met, each with the price that comes after it: the same where what is
    held gains, one tick further where it loses."""
    levels, falling = list(levels), end < start
    sign, side = (-1, Side.BUY) if falling else (1, Side.SELL)
    met = sorted({round_to_tick(level, tick_size, side) for level in levels if 0 <= (level - start) * sign <= (end - start) * sign})
    ordered = met[::-1] if falling else met
    if first and levels and (not ordered or ordered[0] != start):
        ordered.insert(0, start)  # a bar that opened beyond a level
    out: list[float] = []
    for level in ordered:
        further = level if gain else round_to_tick(level + sign * tick_size, tick_size)
        within = [one for one in (level, further) if 0 <= (one - start) * sign <= (end - start) * sign]
        out += [one for one in within if gain or not out or one != out[-1]]
    return out[1:] if first and levels else out
