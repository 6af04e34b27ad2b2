"""How long one call into a strategy takes by the wall's clock: a strategy must not block, since exits and stops wait while it does.

The engine's thread writes `current`; any thread may read it. A backtest has no such watch: its result never depends on a wall's clock.
"""

from collections.abc import Callable, Mapping

LIMIT_S = 2.0
"""A call that takes longer is no strategy's: it is told while it lasts, and its strategy is stopped when it returns."""


class CallWatch:
    """`began` and `ended` around each call; `lasting` is what another thread asks."""

    def __init__(self, wall: Callable[[], float]) -> None:
        """`wall` gives seconds that only grow."""
        self._wall = wall
        self.current: tuple[str, float] | None = None
        self.count = 0  # of calls so far
        self.blocked: Callable[[int, str], object] = lambda count, why: None  # is told of each call that took too long: for the recording

    def began(self, who: str) -> None:
        self.count += 1
        self.current = (who, self._wall())

    def ended(self) -> str:
        """Why the strategy is to be stopped, or nothing."""
        seconds = self.lasting()
        self.current = None
        if seconds <= LIMIT_S:
            return ""
        why = f"it blocked the engine for {seconds:.1f} s in one call ({LIMIT_S:g} s are allowed); nothing that it said then counts"
        self.blocked(self.count, why)
        return why

    def lasting(self) -> float:
        """Seconds that the call of this moment has taken; 0 where there is none."""
        current = self.current
        return 0.0 if current is None else self._wall() - current[1]


class RecordedCalls(CallWatch):
    """The same for a day that is played again: the calls that took too long then are those of the record, by their number."""

    def __init__(self, blocked: Mapping[int, str], count: int) -> None:
        super().__init__(lambda: 0.0)
        self.count = count
        self._recorded = blocked

    def ended(self) -> str:
        self.current = None
        return self._recorded.get(self.count, "")
