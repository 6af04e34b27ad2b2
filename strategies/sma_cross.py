"""Trend following in its plainest form: hold while the fast average is above the slow one."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.types import Bar, Signal, View
from strategies.base import ParameterError, Params, Strategy, bounded
from strategies.indicators import SMA

if TYPE_CHECKING:
    from strategies.frame import Frame, Holds


@dataclass(frozen=True, slots=True)
class SmaParams(Params):
    """`fast` and `slow` are bars; `both_ways` goes short while fast is below slow, instead of flat."""

    fast: int = bounded(9, 1, 500)
    slow: int = bounded(21, 2, 1000)
    both_ways: bool = False

    def check(self) -> None:
        if self.fast >= self.slow:
            raise ParameterError("fast", f"{self.fast} is not below slow ({self.slow}); the averages would never cross")


class SmaCross(Strategy):
    """Hold one unit while the fast average is above the slow one; otherwise be flat (or short, with `both_ways`).

    Its history is all its state: a restart in the middle of a day warms up to the same averages, hence to the same decisions.
    """

    params_type = SmaParams

    @property
    def warmup_bars(self) -> int:
        return int(self.params.slow)

    def start(self) -> None:
        self.fast, self.slow = SMA(self.params.fast), SMA(self.params.slow)

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        fast, slow = self.fast.add(bar.close), self.slow.add(bar.close)
        if fast is None or slow is None:  # still warming up
            return
        below = -1 if self.params.both_ways else 0
        yield self.signal(bar.instrument, 1 if fast > slow else below, why=f"fast {fast:.2f} slow {slow:.2f}")

    @classmethod
    def targets(cls, frame: "Frame", params: SmaParams) -> "Holds":
        return frame.holds(frame.side_of(frame.sma(params.fast), frame.sma(params.slow), 1, -1 if params.both_ways else 0))
