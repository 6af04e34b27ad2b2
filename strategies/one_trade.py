"""The frame of strategies that are in one trade at a time, so many a day: entering, leaving, and what of it survives a restart."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from core.types import Bar, Fill, Horizon, Signal, View
from strategies.base import ParameterError, Params, Strategy, bounded
from strategies.trade import Trade

CLOSED = "closed by its stop, its profit target or by hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeParams(Params):
    """`trades_a_day` entries at most, refused ones included; `long` and `short` say which directions may be traded."""

    trades_a_day: int = bounded(3, 1, 50)
    long: bool = True
    short: bool = True

    def check(self) -> None:
        if not (self.long or self.short):
            raise ParameterError("long", "long and short are both off; nothing would ever be traded")
        self.fit()

    def fit(self) -> None:
        """Raise ParameterError when the fields of a subclass do not fit together."""


class OneTrade(Strategy):
    """Keeps `trade` (direction, stop, profit target) and counts `trades` of the day; both are stored and come back after a restart.

    For `intraday` a new session begins without a trade, for `carry` with the one it had. Subclasses call `super().start()`.
    """

    params_type = TradeParams

    def start(self) -> None:
        self.trades = 0
        self.trade = Trade()

    def on_session_start(self, day: date) -> None:
        self.trades = 0
        if self.spec.horizon is Horizon.INTRADAY:
            self.trade = Trade()

    def may_enter(self, direction: int) -> bool:
        """Whether one more trade in this direction (1, -1; 0 never) is allowed today."""
        allowed = self.params.long if direction > 0 else self.params.short
        return direction != 0 and bool(allowed) and self.trades < self.params.trades_a_day

    def enter(self, bar: Bar, direction: int, stop: float, why: str, take_profit: float | None = None) -> Signal:
        """The signal that opens a trade, or turns the one there is round."""
        self.trades += 1
        self.trade.open(direction, stop, take_profit)
        return self.signal(bar.instrument, direction, stop, take_profit, why)

    def trail(self, bar: Bar, stop: float, why: str) -> Iterable[Signal]:
        """The same target with a nearer stop; nothing where `stop` is not nearer."""
        if self.trade.stop is None or (stop - self.trade.stop) * self.trade.target > 0:
            self.trade.stop = stop
            yield self.signal(bar.instrument, self.trade.target, stop, why=why)

    def leave(self, bar: Bar, why: str) -> Signal:
        self.trade.close()
        return self.signal(bar.instrument, 0, why=why)

    def gone(self, bar: Bar, view: View) -> bool:
        """Whether the trade's position was closed by others; answer with `leave`, so that the key may be used again."""
        return self.trade.target != 0 and self.trade.gone(view.position(self.name, bar.instrument))

    def on_fill(self, fill: Fill, view: View) -> Iterable[Signal]:
        self.trade.filled(view.position(self.name, fill.instrument))
        return ()

    def state(self) -> dict[str, Any]:
        return {"trades": self.trades, "trade": self.trade.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.trades = state["trades"]
        self.trade.restore(state["trade"])
