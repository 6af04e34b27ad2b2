"""The one trade a strategy is in: its direction and protection, and whether it is still there."""

from collections.abc import Mapping
from typing import Any


class Trade:
    """From the signal that opens it to the signal, stop or hand that closes it. `target` is 1, -1, or 0 for none.

    A trade counts as gone only after it was held: before its first fill, an empty position says nothing.
    """

    __slots__ = ("held", "stop", "take_profit", "target")

    def __init__(self) -> None:
        self.target = 0
        self.held = False
        self.stop: float | None = None
        self.take_profit: float | None = None

    def open(self, direction: int, stop: float | None, take_profit: float | None) -> None:
        self.target, self.held, self.stop, self.take_profit = direction, False, stop, take_profit

    def close(self) -> None:
        self.target, self.held, self.stop, self.take_profit = 0, False, None, None

    def filled(self, position: int) -> None:
        """Take note of the strategy's own position after a fill."""
        if position * self.target > 0:
            self.held = True

    def gone(self, position: int) -> bool:
        """Whether the position we held is no longer there although the strategy did not ask (a stop, a profit target, a person)."""
        if position * self.target > 0:
            self.held = True
            return False
        return self.held

    def state(self) -> dict[str, Any]:
        return {"target": self.target, "held": self.held, "stop": self.stop, "take_profit": self.take_profit}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.target, self.held = state["target"], state["held"]
        self.stop, self.take_profit = state["stop"], state["take_profit"]
