"""Watches our clock against the exchange's, which stamps every full packet: a clock that is off is told, one far off ends entries.

The stamps have whole seconds and travel, so that a single one proves little: the smallest difference of the last ten packets with a
new stamp counts. An exchange that stands still stamps nothing new, and says nothing about our clock.
"""

from collections import deque
from datetime import datetime

from core.ports import Store
from core.types import Tick
from execution_engine.order_manager import Alert
from execution_engine.world import World

PACKETS = 10
TELL_S = 2.0
HALT_S = 30.0
CAUSE = "clock"


class ClockWatch:
    """`see` is given the canary's packets (a sample of them is enough), refused ones too: what comes from the future is refused."""

    def __init__(self, world: World, store: Store, alert: Alert) -> None:
        self._world = world
        self._store = store
        self._alert = alert
        self._differences: deque[float] = deque(maxlen=PACKETS)
        self._stamped: datetime | None = None
        self._told = False

    def see(self, tick: Tick | None) -> None:
        if tick is None or self._world.canary is None or tick.instrument.key != self._world.canary.key:
            return
        if tick.exchange_at is None or tick.exchange_at == self._stamped or tick.exchange_at.date() != tick.at.date():
            return
        self._stamped = tick.exchange_at
        self._differences.append((tick.at - tick.exchange_at).total_seconds())
        if len(self._differences) == PACKETS:
            self._judge(min(self._differences, key=abs), tick.at)

    def _judge(self, seconds: float, at: datetime) -> None:
        """`seconds`: how far our clock is ahead (negative: behind)."""
        off, far = abs(seconds) > TELL_S, abs(seconds) > HALT_S
        blinded = self._world.blinded
        if off is self._told and far is (CAUSE in blinded):
            return
        self._told = off
        where = f"our clock is {abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} the exchange's"
        if far:
            blinded[CAUSE] = where
        else:
            blinded.pop(CAUSE, None)
        self._store.journal(at, "clock", {"ahead_s": round(seconds, 1), "entries": not far})
        if far:
            self._alert("page", "Our clock is wrong", f"{where}; no entries until it is right: run an NTP client (timedatectl)")
        elif off:
            self._alert("warn", "Our clock is wrong", f"{where}: run an NTP client (timedatectl)")
