"""The engine's side of benchmarks/load.py: the house of ours_client.py as the daemon runs it beside a web process.

It publishes a Snapshot every 200 ms and answers on the control socket from threads of its own, as runtime/account_run.py does.
"""

import sys
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.house import MorningClock, make_house
from benchmarks.ours_client import local, trading
from core.types import AccountKind
from execution_engine import snapshots
from runtime import readout, state_folder
from runtime.account_run import PUBLISH_S
from runtime.control_socket import ControlSocket
from storage.store import open_reader
from utils.control import Answer
from utils.logging_setup import setup as setup_logging

INSTRUMENTS = 50


def main() -> None:
    setup_logging(level="WARNING")
    stream, rest, state, now = sys.argv[1:5]
    clock = MorningClock(datetime.fromisoformat(now))
    run = state_folder.enter(Path(state), "practice-live", AccountKind.PRACTICE_LIVE, clock.now())[0]
    house = make_house(run.path, local(rest, stream), clock)

    def read(name: str, arguments: Mapping[str, Any]) -> Any:
        with closing(open_reader(run.ledger_url)) as reader:
            return readout.document(reader, name, {**arguments, "account": house.account.name})

    def refuse(name: str, arguments: Mapping[str, Any]) -> Answer:
        return Answer(ok=False, text="this measure takes no commands")

    with trading(house, clock, INSTRUMENTS, "load") as turn:
        last, published = monotonic(), [snapshots.build(house.engine, [])]
        socket = ControlSocket(run.control_socket, lambda: published[0], refuse, read)
        socket.start()
        while turn():
            if monotonic() - last >= PUBLISH_S:
                last, published[0] = monotonic(), snapshots.build(house.engine, [])
        socket.stop()


if __name__ == "__main__":
    main()
