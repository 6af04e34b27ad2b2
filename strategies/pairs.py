"""Two instruments against each other: buy the one that fell behind and sell the other, until their ratio is back where it usually is.

It shows a strategy over several instruments (one object hears the bars of both) and over several timeframes (it decides on its own
bars, against an average of slower ones that it builds itself).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from core.types import Bar, Fill, Horizon, Signal, View
from strategies.base import LONGEST_SESSION_MINUTES, ParameterError, Params, Strategy, bounded
from strategies.indicators import StdDev
from strategies.one_trade import CLOSED
from strategies.slower import Slower
from strategies.trade import Trade


@dataclass(frozen=True, slots=True)
class PairsParams(Params):
    """`slower` is how many bars make a slower one, `lookback` how many slower bars the usual ratio is taken over.

    `entry`, `leave` and `give_up` are distances from the usual ratio in its standard deviations; `stop_pct` is each leg's stop in per
    cent of its price.
    """

    lookback: int = bounded(40, 2, 250)
    slower: int = bounded(3, 1, 30)
    entry: float = bounded(2.0, 0.1, 10.0)
    leave: float = bounded(0.5, 0.0, 10.0)
    give_up: float = bounded(4.0, 0.2, 20.0)
    stop_pct: float = bounded(1.0, 0.05, 20.0)
    trades_a_day: int = bounded(3, 1, 50)

    def check(self) -> None:
        if self.leave >= self.entry:
            raise ParameterError("leave", f"{self.leave} is not below entry ({self.entry}); a trade would end where it begins")
        if self.give_up <= self.entry:
            raise ParameterError("give_up", f"{self.give_up} is not above entry ({self.entry}); every trade would be given up at once")


class _Both:
    """The bars of two instruments matched by their start; a bar whose partner never comes is passed over."""

    def __init__(self, names: tuple[str, str]) -> None:
        self._names = names
        self._last: dict[str, Bar] = {}

    def add(self, name: str, bar: Bar) -> tuple[Bar, Bar] | None:
        """Both bars, in the order of the names, when this one completes the pair."""
        self._last[name] = bar
        first, second = (self._last.get(one) for one in self._names)
        return (first, second) if first is not None and second is not None and first.start == second.start else None


class Pairs(Strategy):
    """Spread = ln(first price / second price); z = (spread - mean of the slower bars' spreads) / their standard deviation.

    z at -entry or below: long the first and short the second; at entry or above, the reverse. Only a crossing
    from inside is an entry. Out of both when |z| is back at `leave` or beyond `give_up`, at once when a leg was closed by its stop or by
    hand, and when one bar after the entry only one leg has been filled. Sized by capital, both legs are worth the same.
    """

    params_type = PairsParams
    multi_instrument = True
    legs = 2

    @property
    def warmup_bars(self) -> int:
        return int(self.params.lookback * self.params.slower) + self.bars_of(LONGEST_SESSION_MINUTES)  # Slower passes over its first day

    def start(self) -> None:
        if len(self.spec.instruments) != self.legs:
            raise ValueError(f"{self.name}: a pair has two instruments, got {', '.join(self.spec.instruments)}")
        first, second = self.names = self.spec.instruments[0], self.spec.instruments[1]
        self.slower = {first: Slower(self.params.slower), second: Slower(self.params.slower)}
        self.together, self.slower_together = _Both(self.names), _Both(self.names)
        self.usual = StdDev(self.params.lookback)
        self.outside = 0  # 1 or -1 while z was last seen at `entry` or beyond
        self.trades = 0
        self.trade = {first: Trade(), second: Trade()}

    def on_session_start(self, day: date) -> None:
        self.trades = 0
        if self.spec.horizon is Horizon.INTRADAY:
            self.trade = {name: Trade() for name in self.names}

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        name = self.name_of(bar.instrument, view)
        if name is None:
            return
        both = self.together.add(name, bar)
        z = None if both is None else self._z(both)  # against the slower bars before this one: it is not its own measure
        for slow in self.slower[name].add(bar):
            matched = self.slower_together.add(name, slow)
            if matched is not None:
                self.usual.add(_spread(*matched))
        if both is None:
            return
        before, self.outside = self.outside, 0 if z is None or abs(z) < self.params.entry else 1 if z > 0 else -1
        if bar.warmup:
            return
        if self.trade[name].target:
            yield from self._manage(view, z)
        elif z is not None and self.outside not in (0, before):
            yield from self._enter(both, z)

    def _z(self, both: tuple[Bar, Bar]) -> float | None:
        mean, deviation = self.usual.mean, self.usual.value
        return (_spread(*both) - mean) / deviation if mean is not None and deviation else None

    def _enter(self, both: tuple[Bar, Bar], z: float) -> Iterator[Signal]:
        if abs(z) >= self.params.give_up or self.trades >= self.params.trades_a_day or any(bar.gap for bar in both):
            return
        self.trades += 1
        for name, bar, target in zip(self.names, both, (-self.outside, self.outside), strict=True):
            stop = bar.close * (1 - target * self.params.stop_pct / 100)
            self.trade[name].open(target, stop, None)
            yield self.signal(bar.instrument, target, stop, why=f"{'/'.join(self.names)} is {z:+.2f} deviations from usual", name=name)

    def _manage(self, view: View, z: float | None) -> Iterator[Signal]:
        gone = [self.trade[name].gone(self._position(name, view)) for name in self.names]
        first, second = (self.trade[name] for name in self.names)
        if any(gone):
            yield from self._leave(view, f"a leg was {CLOSED}")
        elif first.held != second.held:
            yield from self._leave(view, "only one leg was filled, and one leg is no pair")
        elif z is not None and z * first.target >= -self.params.leave:
            yield from self._leave(view, f"back to {z:+.2f} deviations from usual")
        elif z is not None and abs(z) >= self.params.give_up:
            yield from self._leave(view, f"given up at {z:+.2f} deviations from usual")

    def _leave(self, view: View, why: str) -> Iterator[Signal]:
        for name in self.names:
            instrument = view.resolve(name)
            self.trade[name].close()
            if instrument is not None:
                yield self.signal(instrument, 0, why=why, name=name)

    def _position(self, name: str, view: View) -> int:
        instrument = view.resolve(name)
        return 0 if instrument is None else view.position(self.name, instrument)

    def on_fill(self, fill: Fill, view: View) -> Iterator[Signal]:
        name = self.name_of(fill.instrument, view)
        if name is None or not self.trade[name].target:
            return
        if self.trade[name].gone(self._position(name, view)):
            yield from self._leave(view, f"a leg was {CLOSED}")

    def state(self) -> dict[str, Any]:
        return {"trades": self.trades, "legs": {name: trade.state() for name, trade in self.trade.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.trades = state["trades"]
        for name, trade in self.trade.items():
            if name in state["legs"]:  # else the configuration named other instruments then
                trade.restore(state["legs"][name])


def _spread(first: Bar, second: Bar) -> float:
    return math.log(first.close / second.close)
