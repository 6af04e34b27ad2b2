"""The web process's way to the daemon: one question for all who ask the same meanwhile, anew after a command, history from the ledger."""

import threading
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from core.types import IST, AccountKind, Snapshot
from runtime import state_folder
from runtime.control_socket import ControlSocket
from runtime.web_desk import WebDesk
from utils.config_loader import CONFIG_FOLDER
from utils.control import Answer


class Daemon:
    """Counts its read-outs; a `pause` changes the trading state."""

    def __init__(self) -> None:
        self.state = "ACTIVE"
        self.looked = 0

    def snapshot(self) -> Snapshot:
        self.looked += 1
        return Snapshot(status={"trading_state": self.state}, orders=(), positions=(), signals=())

    def submit(self, name: str, arguments: Mapping[str, Any]) -> Answer:
        self.state = "REDUCE_ONLY"
        return Answer(ok=True)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    folder, _ = state_folder.enter(tmp_path, "practice", AccountKind.PRACTICE, datetime(2026, 11, 20, 10, 0, tzinfo=IST))
    made = Daemon()
    socket = ControlSocket(folder.control_socket, made.snapshot, made.submit)
    socket.start()
    yield made
    socket.stop()


def test_a_crowd_asks_the_daemon_once_and_a_command_is_seen_at_once(daemon: Daemon, tmp_path: Path) -> None:
    desk, told = WebDesk(CONFIG_FOLDER, tmp_path), list[str]()
    crowd = [threading.Thread(target=lambda: told.append(desk.read("status")["trading_state"])) for _ in range(60)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join(30)
    assert told == ["ACTIVE"] * 60
    assert daemon.looked < 60, "they shared answers"
    assert desk.ask("pause").ok
    assert desk.read("status")["trading_state"] == "REDUCE_ONLY"
