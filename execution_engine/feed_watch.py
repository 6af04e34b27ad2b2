"""Watches the feed: a broken one is told at once, a connected one that brings no prices after a while; and, by the exchange's stamps, our
own clock."""

from datetime import datetime, timedelta

from core.events import FeedStatus
from core.ports import Bars, Executor, Store
from core.types import Tick
from execution_engine.clock_watch import ClockWatch
from execution_engine.order_manager import Alert
from execution_engine.timers import Timers
from execution_engine.world import World

PRICELESS_S = 60
LIVED = timedelta(minutes=1)  # a connection that was shorter was no recovery: its loss is the same trouble
TELL_AGAIN = timedelta(minutes=10)


class FeedWatch:
    """Keeps what the world knows of the feed; `each_second` is called on the engine's whole seconds."""

    def __init__(self, world: World, bars: Bars, store: Store, executor: Executor, timers: Timers, alert: Alert) -> None:
        self._world = world
        self._bars = bars
        self._store = store
        self._executor = executor
        self._timers = timers
        self._alert = alert
        self.clock = ClockWatch(world, store, alert)
        self._sampled: Tick | None = None
        self._since: datetime | None = None  # when the present connection was made
        self._told_at: datetime | None = None  # when a loss was last told
        self._untold = 0  # losses since then
        self._priceless = 0  # seconds for which a connected feed has brought no price

    def on_status(self, status: FeedStatus) -> None:
        changed = status.connected is not self._world.feed_connected
        self._world.feed_connected, self._world.feed_reason = status.connected, status.reason
        self._bars.feed(status)
        if changed:
            self._store.journal(status.at, "feed", {"connected": status.connected, "reason": status.reason})
            if status.connected:
                self._since = status.at
                self._executor.read_books(positions=True, urgent=True)  # no update is replayed after a reconnect
            elif self._timers.due("second") is not None:  # in the evening it is closed on purpose
                self._lost(status)

    def _lost(self, status: FeedStatus) -> None:
        """Tell it; of a feed that comes and goes every ten minutes, with how often."""
        now, lived, told_at = status.at, self._since is None or status.at - self._since >= LIVED, self._told_at
        if not lived and told_at is not None and timedelta() <= now - told_at < TELL_AGAIN:
            self._untold += 1
            return
        more = f" (and {self._untold} times since {told_at:%H:%M:%S})" if self._untold else ""
        self._told_at, self._untold = now, 0
        self._alert("warn", "Feed lost", f"{status.reason}{more}")

    def each_second(self, now: datetime) -> None:
        world = self._world
        if world.canary is not None and (tick := world.ticks.get(world.canary.key)) is not self._sampled:
            self._sampled = tick
            if tick is not None:
                self._priceless = 0
                if tick.exchange_at is not None:
                    self.clock.see(tick)
                return
        stale = world.feed_stale if world.feed_connected and not world.canary_fresh(now) else None
        if stale is None:
            self._priceless = 0
            return
        self._priceless += 1
        if self._priceless == PRICELESS_S:
            self._alert("warn", "No prices", f"the feed is connected, yet {stale}; no entries until prices come")
