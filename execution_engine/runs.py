"""One strategy at work: what the engine knows of it besides the strategy itself, and what it makes of what the strategy says.

A strategy may be wrong in any way. What it says that makes no sense is refused; when it raises, or never ends, nobody listens to it any
more (the engine sets `stopped`, closes what it holds, and pages).
"""

import copy
import math
import traceback
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from numbers import Real
from typing import TYPE_CHECKING, Any

import msgspec

from core.ports import Store
from core.types import Instrument, Signal, View
from execution_engine.buy_sell_logic import Size, SizingError, Target, quantity_for
from strategies import registry
from strategies.base import Strategy, StrategySpec

if TYPE_CHECKING:
    from utils.config_schema import StrategySettings

MOST_SIGNALS = 100  # of one strategy within one event


class StrategyError(Exception):
    """A strategy did what no strategy may do; the text says what and where."""


class Run(msgspec.Struct):
    """One Strategy object at work: on which instrument today, at which size."""

    strategy: Strategy
    size: Size
    instruments: dict[str, Instrument]  # logical name -> today's contract
    stop_pct: float | None = None  # protection for a signal that carries none of its own, in per cent of the price
    take_profit_pct: float | None = None
    kept: tuple[date | None, dict[str, Any]] | None = None  # the strategy's state as last stored
    saved_day: date | None = date.min  # the day that `kept` has
    stopped: str = ""  # why nobody listens to it any more

    def hear(self, speak: Callable[[Any, View], Iterable[Signal]], event: object, view: View) -> list[Signal]:
        """All that the strategy says of one event; raises StrategyError."""
        said: list[Signal] = []
        try:
            for signal in speak(event, view):
                said.append(signal)
                if len(said) > MOST_SIGNALS:
                    break
        except Exception as error:
            raise StrategyError(_where(error)) from error
        if len(said) > MOST_SIGNALS:
            raise StrategyError(f"more than {MOST_SIGNALS} signals for one event")
        return said

    def begin(self, day: date, saved: Mapping[str, Any] | None, opens_at: datetime | None) -> None:
        """Begin or resume the session with what was stored; raises StrategyError."""
        try:
            self.strategy.begin(day, saved, opens_at)
        except Exception as error:
            raise StrategyError(f"it cannot take up the day with what it stored, {saved!r}: {_where(error)}") from error

    def save(self, store: Store) -> None:
        """Into the same commit as the signals that came out; only what changed since it was last put. Raises StrategyError."""
        try:
            now_is = (self.strategy.day, self.strategy.state())
            if now_is != self.kept:
                self.kept = copy.deepcopy(now_is)  # the strategy goes on changing what it gave
                self.saved_day = self.strategy.day
                store.put("strategy", f"{self.strategy.name}|{self.strategy.logical or '*'}", self.saved())
        except Exception as error:
            raise StrategyError(f"its state cannot be stored: {_where(error)}") from error

    def saved(self) -> dict[str, Any]:
        """What `begin` wants after a restart, and whose it is: another class's state says nothing to a strategy."""
        return {**self.strategy.saved(), "class": type(self.strategy).__name__}

    def nonsense(self, signal: Signal) -> str:
        """Why nothing can be done with what the strategy said; empty where it makes sense."""
        ours = self.instruments.get(signal.name)
        if signal.strategy != self.strategy.name or ours is None or ours.key != signal.instrument.key:
            return f"{signal.strategy}/{signal.name} on {signal.instrument.key} is none of its own keys today"
        if not _number(signal.target):
            return f"a target of {signal.target!r} is no number"
        for price in (signal.stop, signal.take_profit):
            if price is not None and not (_number(price) and price > 0):
                return f"a stop or profit target of {price!r} is no price"
        return ""

    def target(self, signal: Signal, price: float) -> Target:
        """What the signal comes to at this price, its quantity pinned; raises SizingError."""
        stop, take_profit = self.protection(signal, price)
        try:
            wanted = quantity_for(self.size, signal.instrument, signal.target, price, stop)
        except ZeroDivisionError:
            raise SizingError(f"no price of {signal.instrument.key} yet, and the size needs one") from None
        return Target(
            strategy=signal.strategy,
            name=signal.name,
            instrument=signal.instrument,
            raw=signal.target,
            wanted=wanted,
            horizon=self.strategy.spec.horizon,
            at=signal.at,
            reference=price,
            stop=stop,
            take_profit=take_profit,
            why=signal.why,
        )

    def protection(self, signal: Signal, price: float) -> tuple[float | None, float | None]:
        """Stop and profit target of a new target: the signal's own, else the configured distances from the price."""
        if signal.target == 0 or price <= 0:
            return None, None
        sign = 1 if signal.target > 0 else -1
        stop, take_profit = signal.stop, signal.take_profit
        if stop is None and self.stop_pct is not None:
            stop = price * (1 - sign * self.stop_pct / 100)
        if take_profit is None and self.take_profit_pct is not None:
            take_profit = price * (1 + sign * self.take_profit_pct / 100)
        return stop, take_profit


def make_runs(
    enabled: Mapping[str, "StrategySettings"], names: Mapping[str, Instrument], stop_pct: float | None
) -> tuple[list[Run], list[str]]:
    """A Run for each strategy object of these settings, not warmed up yet, and why a strategy has none today.

    `names` are today's contracts; `stop_pct` is the account's protection for strategies that have no stop distance of their own.
    """
    runs, left_out = [], []
    for name, settings in enabled.items():
        traded = tuple(one for one in settings.instruments if one in names)
        if not traded:
            continue
        legs = _legs(registry.get(settings.class_), settings)
        if legs and len({names[one].key for one in traded}) != legs:
            today = ", ".join(f"{one} ({names[one].key})" for one in traded)
            left_out.append(f"{name} trades {legs} instruments at once, and today has {today}; it is not run")
            continue
        params = registry.params_of(settings.class_).parse(settings.params)
        spec = StrategySpec(name, params, traded, settings.interval, settings.horizon)
        for strategy in registry.build(settings.class_, spec):
            own = (strategy.logical,) if strategy.logical is not None else traded
            run = Run(strategy, Size(), {one: names[one] for one in own})
            fit(run, settings, stop_pct)
            runs.append(run)
    return runs, left_out


def fit(run: Run, settings: "StrategySettings", stop_pct: float | None) -> None:
    """Give a Run its size and its default protection: they count for targets that are decided from here on."""
    size = settings.size
    run.size = Size(size.lots, size.quantity, size.capital, size.risk)
    run.stop_pct = settings.risk.stop_pct or stop_pct
    run.take_profit_pct = settings.risk.take_profit_pct


def _legs(cls: type[Strategy], settings: "StrategySettings") -> int:
    """How many different instruments a strategy over several at once must have to be run at all; 0: it serves each by itself."""
    return (cls.legs or len(settings.instruments)) if cls.multi_instrument else 0


def _number(value: object) -> bool:
    if type(value) in (int, float):
        return math.isfinite(value)  # type: ignore[arg-type]  # an int or a float, by the line above
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _where(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
