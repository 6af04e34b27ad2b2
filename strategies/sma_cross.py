"""Trend following in its plainest form: hold while the fast average is above the slow one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from core.types import Bar, Horizon, Signal, View
from strategies.base import ParameterError, Params, Strategy, bounded
from strategies.indicators import SMA


@dataclass(frozen=True, slots=True)
class SmaParams(Params):
    """`both_ways` goes short while fast is below slow, instead of flat. `stop_pct` is the stop's distance in per cent (0: none)."""

    fast: int = bounded(9, 1, 500)
    slow: int = bounded(21, 2, 1000)
    both_ways: bool = False
    stop_pct: float = bounded(0.0, 0.0, 20.0)

    def check(self) -> None:
        if self.fast >= self.slow:
            raise ParameterError("fast", f"{self.fast} is not below slow ({self.slow}); the averages would never cross")


class SmaCross(Strategy):
    """Hold one unit while the fast average is above the slow one; otherwise be flat (or short, with `both_ways`)."""

    params_type = SmaParams

    @property
    def warmup_bars(self) -> int:
        slow: int = self.params.slow
        return slow

    def start(self) -> None:
        self.fast, self.slow = SMA(self.params.fast), SMA(self.params.slow)
        self.target: int | None = None
        self.stop: float | None = None

    def on_session_start(self, day: date) -> None:
        if self.spec.horizon is Horizon.INTRADAY:
            self.target = self.stop = None

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        fast, slow = self.fast.add(bar.close), self.slow.add(bar.close)
        if fast is None or slow is None:  # still warming up
            return
        below = -1 if self.params.both_ways else 0
        target = 1 if fast > slow else below
        if target != self.target and not bar.warmup:  # the stop is set once, where the trade begins, and stays there
            self.target = target
            self.stop = bar.close * (1 - target * self.params.stop_pct / 100) if target and self.params.stop_pct else None
        yield self.signal(bar.instrument, target, stop=self.stop, why=f"fast {fast:.2f} slow {slow:.2f}")

    def state(self) -> dict[str, Any]:
        return {"target": self.target, "stop": self.stop}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.target, self.stop = state["target"], state["stop"]
