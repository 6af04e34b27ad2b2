"""Several accounts on the wall's own time: three engine threads at simulators that run by themselves, as paper and live accounts run."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from brokers.spec import Endpoints
from runtime import state_folder
from runtime.account_run import AccountRun, Entered, load
from runtime.data_desk import Door
from runtime.inbox import Inbox, SystemPump
from runtime.lines import Lines
from runtime.options import RunOptions
from runtime.simulator import SimulatorCredentials
from runtime.sources import Sources
from runtime.venue import FollowingClock
from storage.store import open_reader
from tests.e2e.stage import MAIN, ROOT, Stage, admin, until
from tests.e2e.test_accounts_day import NAMES, write_accounts

SPEED = 10


@pytest.fixture
def told() -> Iterator[dict[str, Any]]:
    """What two simulators in front of one exchange say of themselves; their time runs by itself."""
    command = [*MAIN, "simulate", "zerodha", "--beside", "angelone", "--json", "--start", "14:45", "--speed", str(SPEED), "--seed", "2"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.terminate()


def made(told: dict[str, Any], config: Path, state: Path) -> list[AccountRun]:
    """The three accounts as the process makes them, on one clock and with shared logins."""
    options = RunOptions(config, state, days=1, api=False)
    settings, lines = load(options), Lines()
    clock = FollowingClock(datetime.fromisoformat(told["now"]), SPEED)
    runs = []
    for name in NAMES:
        account = settings.settings.accounts[name].account(name)
        folder, _ = state_folder.enter(state, name, account.kind, clock.now())
        wire, inbox = told["brokers"][account.broker], Inbox()
        endpoints = Endpoints(wire["rest"], wire["stream"], wire["login"])
        door = Door(SimulatorCredentials(account.broker, wire["credentials"]), endpoints, wire["login"])
        found = Sources(clock, inbox, SystemPump(inbox, clock), door)
        runs.append(AccountRun(options, settings, Entered(account, folder, False), found, leads=name == NAMES[0], lines=lines))
    return runs


def test_three_engines_trade_side_by_side_in_real_time(told: dict[str, Any], stage: Stage) -> None:
    config = write_accounts(stage)
    runs = made(told, config, stage.state)
    threads = [threading.Thread(target=one.main, name=f"engine/{one.account.name}", daemon=True) for one in runs]
    for thread in threads:
        thread.start()

    def fills(one: AccountRun) -> int:
        with closing(open_reader(one.folder.ledger_url)) as ledger:
            return len(ledger.fills())

    try:
        until(lambda: all(one.snapshot is not None for one in runs), "three accounts")
        until(lambda: all(fills(one) for one in runs), "a fill of each")
        connections = admin(told["admin"], "GET", "/messages?broker=zerodha")
        assert len(connections) == 1, "the two accounts of one login share its connection"
        rows = [one.row for one in runs]
        assert [(row["account"], row["session"], row["running"]) for row in rows if row] == [(name, "VALID", True) for name in NAMES]
    finally:
        for one in runs:
            one.end("the test is over")
            one.poke()
        for thread in threads:
            thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert {one.row["running"] for one in runs if one.row} == {False}
    for one in runs:
        with closing(open_reader(one.folder.ledger_url)) as ledger:
            assert {order.account for order in ledger.orders()} == {one.account.name}
