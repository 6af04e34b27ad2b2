"""Bars and a view for strategy tests."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from core.types import IST, Bar, Instrument, Side, Signal
from strategies.base import Strategy, StrategySpec
from strategies.registry import get
from tests.builders import RELIANCE, make_fill

OPEN = datetime(2026, 11, 20, 9, 15, tzinfo=IST)


@dataclass
class FakeView:
    """What a strategy sees; `hold` moves its position as a fill would. `names` are today's contracts by logical name."""

    now: datetime = OPEN
    positions: dict[tuple[str, str], int] = field(default_factory=dict)
    names: dict[str, Instrument] = field(default_factory=dict)

    def last_price(self, instrument: Instrument) -> float | None:
        return None

    def position(self, strategy: str, instrument: Instrument) -> int:
        return self.positions.get((strategy, instrument.key), 0)

    def phase(self, instrument: Instrument) -> str:
        return "continuous"

    def resolve(self, name: str) -> Instrument | None:
        return self.names.get(name)

    def hold(self, strategy: Strategy, quantity: int) -> None:
        assert self.fill(strategy, RELIANCE, quantity) == []

    def fill(self, strategy: Strategy, instrument: Instrument, quantity: int) -> list[Signal]:
        """What the strategy says to a fill that leaves it with `quantity`."""
        self.positions[strategy.name, instrument.key] = quantity
        side = Side.BUY if quantity > 0 else Side.SELL
        return list(strategy.fill(make_fill(instrument=instrument, strategy=strategy.name, side=side), self))


def bar_at(
    minute: float,
    close: float,
    *,
    open: float | None = None,
    high: float | None = None,
    low: float | None = None,
    volume: int = 100,
    day: int = 0,
    interval: int = 5,
    warmup: bool = False,
) -> Bar:
    """A bar that opens so many minutes after 09:15."""
    start = OPEN + timedelta(days=day, minutes=minute)
    first = close if open is None else open
    top, bottom = max(first, close), min(first, close)
    return Bar(
        RELIANCE,
        start,
        start + timedelta(minutes=interval),
        interval,
        first,
        top if high is None else high,
        bottom if low is None else low,
        close,
        volume,
        warmup=warmup,
    )


def build(class_name: str, interval: int = 5, **params: Any) -> Strategy:
    """A started strategy of that class on RELIANCE."""
    cls = get(class_name)
    strategy = cls(StrategySpec(f"my_{class_name}", cls.params_type.parse(params), ("RELIANCE",), interval), "RELIANCE")
    strategy.start()
    return strategy


def play(strategy: Strategy, bars: list[Bar], view: FakeView | None = None) -> list[Signal]:
    """Every signal that these bars bring."""
    return [signal for bar in bars for signal in strategy.bar(bar, view or FakeView())]


def said(signals: list[Signal]) -> list[float]:
    return [signal.target for signal in signals]
