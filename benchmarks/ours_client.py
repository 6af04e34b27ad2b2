"""Our side of benchmarks/tick_to_order.py: a whole house on loopback, one strategy that wants one unit more at each tick."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import cast

from benchmarks.house import DAY, MorningClock, Tokens, make_house
from benchmarks.kite_frames import share, token_of
from benchmarks.tick_to_order import PACKETS
from brokers.spec import Endpoints
from core.events import SessionStatus
from core.ports import Clock
from core.types import Bar, SessionState, Signal, Tick, View
from data_ingestion.instruments import InstrumentSnapshot
from data_ingestion.recorder import Recorder
from execution_engine.buy_sell_logic import Size
from execution_engine.runs import Run
from runtime.wiring import House
from strategies.base import Strategy, StrategySpec
from strategies.indicators import EMA


class OneMore(Strategy):
    """One EMA step, then one unit more."""

    def start(self) -> None:
        self.average = EMA(12)
        self.wanted = 0

    def on_bar(self, bar: Bar, view: View) -> tuple[()]:
        return ()

    def on_tick(self, tick: Tick, view: View) -> Iterator[Signal]:
        self.average.add(tick.price)
        self.wanted += 1
        yield self.signal(tick.instrument, self.wanted)


@contextmanager
def trading(house: House, clock: Clock, instruments: int, measure: str) -> Iterator[Callable[[], bool]]:
    """A house whose strategy trades the first of so many shares. What it gives does one turn of the engine, and is False at the end."""
    shares = [share(number) for number in range(instruments)]
    listed = Tokens({token_of(number): one for number, one in enumerate(shares)})
    house.lookup.set(cast(InstrumentSnapshot, listed))  # what brokers read of a snapshot, without its file
    engine, stopping = house.engine, list[int]()
    signal.signal(signal.SIGTERM, lambda number, stack: stopping.append(number))
    house.recorder.swap(Recorder(house.run.recordings, DAY, house.account.name, {"measure": measure}))
    strategy = OneMore(StrategySpec("bench", OneMore.params_type(), ("IT",), 5), "IT")
    strategy.start()
    strategy.begin(DAY)
    engine.process(SessionStatus(clock.now(), house.account.name, SessionState.VALID))
    engine.world.canary = shares[0]
    assert house.broker_worker is not None
    house.broker_worker.start()
    engine.open_day(DAY, [Run(strategy, Size(quantity=1), {"IT": shares[0]})], {"IT": shares[0]}, resumed=False)
    engine.world.blinded.clear()  # there are no books to recover from
    feed = house.make_feed()
    feed.subscribe(shares)
    feed.start()

    def turn() -> bool:
        for event in house.pump.next(engine.wake_at()):
            engine.process(event)
        engine.run_timers()
        engine.settle()
        return not stopping

    yield turn
    feed.stop()
    house.broker_worker.stop()
    house.recorder.swap(None)
    house.store.close()
    for refusal, (reason, count) in engine.refusals.rows.items():
        print("refused:", refusal, reason, count, file=sys.stderr)


def main() -> None:
    stream, rest, folder, now = sys.argv[1:5]
    clock = MorningClock(datetime.fromisoformat(now))
    house = make_house(Path(folder), local(rest, stream), clock)
    with trading(house, clock, PACKETS, "tick to order") as turn:
        while turn():
            pass


def local(rest: str, stream: str) -> Endpoints:
    """The addresses of a broker that is played on two ports of this machine."""
    return Endpoints(f"http://127.0.0.1:{rest}", f"ws://127.0.0.1:{stream}", f"http://127.0.0.1:{rest}/login")


if __name__ == "__main__":
    main()
