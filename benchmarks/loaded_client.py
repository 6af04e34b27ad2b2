"""The engine's side of benchmarks/load.py: the house of ours_client.py as the daemon runs it beside a web process.

It publishes a Snapshot every 200 ms and answers on the control socket from threads of its own, as runtime/account_run.py does.
"""

import signal
import sys
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any, cast

from benchmarks.house import DAY, MorningClock, Tokens, make_house
from benchmarks.kite_frames import share, token_of
from benchmarks.ours_client import OneMore
from brokers.spec import Endpoints
from core.events import SessionStatus
from core.types import AccountKind, SessionState, Snapshot
from data_ingestion.instruments import InstrumentSnapshot
from data_ingestion.recorder import Recorder
from execution_engine import snapshots
from execution_engine.buy_sell_logic import Size
from execution_engine.runs import Run
from runtime import readout, state_folder
from runtime.account_run import PUBLISH_S
from runtime.control_socket import ControlSocket
from storage.store import open_reader
from strategies.base import StrategySpec
from utils.control import Answer
from utils.logging_setup import setup as setup_logging

INSTRUMENTS = 50


def main() -> None:
    setup_logging(level="WARNING")
    stream, rest, state, now = sys.argv[1:5]
    clock = MorningClock(datetime.fromisoformat(now))
    run = state_folder.enter(Path(state), "practice-live", AccountKind.PRACTICE_LIVE, clock.now())[0]
    house = make_house(run.path, Endpoints(f"http://127.0.0.1:{rest}", f"ws://127.0.0.1:{stream}", f"http://127.0.0.1:{rest}/login"), clock)
    shares = [share(number) for number in range(INSTRUMENTS)]
    listed = Tokens({token_of(number): one for number, one in enumerate(shares)})
    house.lookup.set(cast(InstrumentSnapshot, listed))  # what brokers read of a snapshot, without its file
    engine, stopping = house.engine, list[int]()
    signal.signal(signal.SIGTERM, lambda number, stack: stopping.append(number))
    house.recorder.swap(Recorder(house.run.recordings, DAY, house.account.name, {"measure": "load"}))
    strategy = OneMore(StrategySpec("bench", OneMore.params_type(), ("IT",), 5), "IT")
    strategy.start()
    strategy.begin(DAY)
    engine.process(SessionStatus(clock.now(), house.account.name, SessionState.VALID))
    engine.world.canary = shares[0]
    assert house.broker_worker is not None
    house.broker_worker.start()
    engine.open_day(DAY, [Run(strategy, Size(quantity=1), {"IT": shares[0]})], {"IT": shares[0]}, resumed=False)
    engine.world.blinded.clear()  # there are no books to recover from
    published: list[Snapshot] = [snapshots.build(engine, [])]

    def read(name: str, arguments: Mapping[str, Any]) -> Any:
        with closing(open_reader(run.ledger_url)) as reader:
            return readout.document(reader, name, {**arguments, "account": house.account.name})

    def refuse(name: str, arguments: Mapping[str, Any]) -> Answer:
        return Answer(ok=False, text="this measure takes no commands")

    socket = ControlSocket(run.control_socket, lambda: published[0], refuse, read)
    socket.start()
    feed = house.make_feed()
    feed.subscribe(shares)
    feed.start()
    last = monotonic()
    while not stopping:
        for event in house.pump.next(engine.wake_at()):
            engine.process(event)
        engine.run_timers()
        engine.settle()
        if monotonic() - last >= PUBLISH_S:
            last, published[0] = monotonic(), snapshots.build(engine, [])
    socket.stop()
    feed.stop()
    house.broker_worker.stop()
    house.recorder.swap(None)
    house.store.close()
    for refusal, (reason, count) in engine.refusals.rows.items():
        print("refused:", refusal, reason, count, file=sys.stderr)


if __name__ == "__main__":
    main()
