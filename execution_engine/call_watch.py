"""How long one call into a strategy takes by the wall's clock: a strategy must not block, since exits and stops wait while it does.

The engine's thread writes `current`; any thread may read it. A backtest has no such watch: its result never depends on a wall's clock.
"""

from collections.abc import Callable

LIMIT_S = 2.0
"""A call that takes longer is no strategy's: it is told while it lasts, and its strategy is stopped when it returns."""


class CallWatch:
    """`began` and `ended` around each call; `lasting` is what another thread asks."""

    def __init__(self, wall: Callable[[], float], limit_s: float = LIMIT_S) -> None:
        """`wall` gives seconds that only grow."""
        self._wall = wall
        self.limit_s = limit_s
        self.current: tuple[str, float] | None = None

    def began(self, who: str) -> None:
        self.current = (who, self._wall())

    def ended(self) -> str:
        """Why the strategy is to be stopped, or nothing."""
        seconds = self.lasting()
        self.current = None
        if seconds <= self.limit_s:
            return ""
        return f"it blocked the engine for {seconds:.1f} s in one call ({self.limit_s:g} s are allowed); nothing that it said then counts"

    def lasting(self) -> float:
        """Seconds that the call of this moment has taken; 0 where there is none."""
        current = self.current
        return 0.0 if current is None else self._wall() - current[1]
