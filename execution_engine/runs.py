"""One strategy at work: what the engine knows of it besides the strategy itself."""

from datetime import date
from typing import Any

import msgspec

from core.types import Instrument, Signal
from execution_engine.buy_sell_logic import Size
from strategies.base import Strategy


class Run(msgspec.Struct):
    """One Strategy object at work: on which instrument today, at which size."""

    strategy: Strategy
    size: Size
    instruments: dict[str, Instrument]  # logical name -> today's contract
    stop_pct: float | None = None  # protection for a signal that carries none of its own, in per cent of the price
    take_profit_pct: float | None = None
    kept: tuple[date | None, dict[str, Any]] | None = None  # the strategy's state as last stored

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
