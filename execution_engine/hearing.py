"""Who hears what: each event goes to the strategies that asked for its kind and instrument, and what they say comes back as signals.

A bar that was missed and is heard late (`gap`, more than ten seconds after its close) may only reduce: an exit is carried out now, an
entry waits for a live bar that says it again, and a turn-round becomes flat. Nor is a refused entry tried again on such a bar.

A strategy that does what no strategy may do (runs.py) is stopped: nobody listens to it until the next day or start, and what it holds
is closed.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from core.ports import Bars, Clock, Store
from core.types import Bar, Fill, Purpose, Signal, Tick, View
from execution_engine.buy_sell_logic import Target
from execution_engine.call_watch import CallWatch
from execution_engine.order_manager import Alert
from execution_engine.runs import Run, StrategyError
from execution_engine.targets import Targets
from execution_engine.world import World

LATE = timedelta(seconds=10)


class Hearing:
    """The strategies at work, and the `view` they have of the world.

    `take_signal`, `act` and `flatten` are the engine's: a new signal, a pending target, a stopped one's.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        store: Store,
        world: World,
        view: View,
        targets: Targets,
        alert: Alert,
        take_signal: Callable[[Run, Signal], None],
        act: Callable[[Target], None],
        flatten: Callable[[Target, str, Purpose], None],
    ) -> None:
        self.runs: list[Run] = []
        self.calls: CallWatch | None = None  # None: nobody minds how long a strategy takes
        self.ticks = True  # whether ticks are prices that were: strategies do not hear those that were made of a bar that is over
        self.heard: Callable[[Bar, list[Run]], None] | None = None  # told of each bar once its strategies have heard it (charts)
        self._clock = clock
        self._store = store
        self._world = world
        self._view = view
        self._targets = targets
        self._alert = alert
        self._take_signal = take_signal
        self._act = act
        self._flatten = flatten
        self._by_bar: dict[tuple[str, int], list[Run]] = {}
        self._by_tick: dict[str, list[Run]] = {}
        self._by_name: dict[tuple[str, str], list[Run]] = {}  # (strategy, logical name)

    def listen(self, runs: Iterable[Run], bars: Bars, now: datetime) -> None:
        """Who listens from now on, in this order, and the bars they ask for; a strategy heard so far that is not among them is heard no
        more."""
        self.runs = list(runs)
        self._by_bar.clear()
        self._by_tick.clear()
        self._by_name.clear()
        for run in self.runs:
            for name, instrument in run.instruments.items():
                self._by_name.setdefault((run.strategy.name, name), []).append(run)
                self._by_bar.setdefault((instrument.key, run.strategy.interval), []).append(run)
                if run.strategy.wants_ticks and self.ticks:
                    self._by_tick.setdefault(instrument.key, []).append(run)
                bars.watch(instrument, run.strategy.interval, now)
        self._world.loaded = tuple(dict.fromkeys(run.strategy.name for run in self.runs))

    def stop_failed(self, runs: Iterable[Run]) -> None:
        """Stop for good what failed in its warm-up."""
        for run in [run for run in runs if run.stopped]:
            self._stop(run, run.stopped)

    def on_tick(self, tick: Tick) -> None:
        for run in self._by_tick.get(tick.instrument.key, ()):
            if not run.stopped:
                self._hear(run, run.strategy.tick, tick)

    def on_bar(self, bar: Bar) -> None:
        late = bar.gap and self._clock.now() - bar.at > LATE
        runs = self._by_bar.get((bar.instrument.key, bar.interval), [])
        for run in runs:
            if not run.stopped:
                self._hear(run, run.strategy.bar, bar, late)
            if self._targets.some_pending and not late:
                for target in self._targets.pending(run.strategy.name, bar.instrument):
                    self._act(target)
            if run.strategy.keeps_state or run.strategy.day is not run.saved_day:
                self._save_state(run)
        if self.heard is not None:
            self.heard(bar, runs)

    def on_fill(self, fill: Fill, name: str) -> None:
        """`name`: the logical name under which its order was sent."""
        for run in self._by_name.get((fill.strategy, name), ()):
            if run.strategy.wants_fills and not run.stopped:
                self._hear(run, run.strategy.fill, fill)
            if run.strategy.keeps_state or run.strategy.day is not run.saved_day:
                self._save_state(run)

    def _hear(self, run: Run, speak: Callable[[Any, View], Iterable[Signal]], event: Tick | Bar | Fill, late: bool = False) -> None:
        calls = self.calls
        if calls is not None:
            calls.began(run.strategy.name)
        try:
            signals, wrong = run.hear(speak, event, self._view), ""
        except StrategyError as error:
            signals, wrong = [], str(error)
        if calls is not None:
            blocked = calls.ended()
            wrong = wrong or blocked
        if wrong:
            self._stop(run, wrong)
            return
        for signal in signals:
            self._take_signal(run, self._reduced(signal) if late else signal)

    def _reduced(self, signal: Signal) -> Signal:
        """As much of a late signal as reduces what its key wants now."""
        old = self._targets.get(signal.strategy, signal.name)
        wanted = old.raw if old is not None and old.instrument.key == signal.instrument.key else 0.0
        target = max(min(signal.target, wanted), 0.0) if wanted > 0 else min(max(signal.target, wanted), 0.0)
        if target == signal.target:
            return signal
        told = {"strategy": signal.strategy, "name": signal.name, "target": signal.target, "taken_as": target, "why": signal.why}
        self._store.journal(self._clock.now(), "late_signal", told)
        return msgspec.structs.replace(signal, target=target, why=f"{signal.why} (a late bar only reduces)".strip())

    def _save_state(self, run: Run) -> None:
        if not run.stopped:
            try:
                run.save(self._store)
            except StrategyError as error:
                self._stop(run, str(error))

    def _stop(self, run: Run, why: str) -> None:
        """Nobody listens to this strategy until the next day or start; what it holds is closed."""
        run.stopped, name = why, run.strategy.name
        self._store.journal(self._clock.now(), "strategy_stopped", {"strategy": name, "names": sorted(run.instruments), "why": why})
        self._alert("page", "Strategy stopped", f"{name} on {', '.join(run.instruments)}: {why}; what it holds is closed")
        for logical in run.instruments:
            target = self._targets.get(name, logical)
            if target is not None:
                self._flatten(target, f"its strategy was stopped: {why}", Purpose.EXIT)
