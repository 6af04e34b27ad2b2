"""The web process's way to the daemon: its stream serves all who ask, a command is seen at once, silence and death are told apart."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from core.errors import NiyamError, StoreError
from core.types import IST, AccountKind, Snapshot
from runtime import state_folder
from runtime.control_socket import ControlSocket
from runtime.web_desk import WebDesk
from storage.store import open_store
from utils.config_loader import CONFIG_FOLDER
from utils.control import Answer, Silent, reachable


class Daemon:
    """Publishes a Snapshot when it is told to, and counts how many were encoded; a `pause` changes the trading state."""

    stop: Callable[[], None]

    def __init__(self) -> None:
        self.published: Snapshot | None = None
        self.publish("ACTIVE")

    def publish(self, state: str, **parts: Any) -> None:
        status = {"trading_state": state, "as_of": "2026-11-20T10:00:00+05:30", "strategies": [{"name": "trend"}]}
        self.published = Snapshot(status=status, **{"orders": ({"id": "1"},), **parts})

    def submit(self, name: str, arguments: Mapping[str, Any]) -> Answer:
        self.publish("REDUCE_ONLY")
        return Answer(ok=True)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    folder, _ = state_folder.enter(tmp_path, "practice", AccountKind.PRACTICE, datetime(2026, 11, 20, 10, 0, tzinfo=IST))
    made = Daemon()
    server = ControlSocket(folder.control_socket, lambda: made.published, made.submit)
    server.start()
    made.stop = server.stop
    yield made
    server.stop()


def eventually(ready: Callable[[], bool]) -> bool:
    until = time.monotonic() + 20
    while not ready():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def test_a_crowd_is_served_by_one_stream_and_a_command_is_seen_at_once(daemon: Daemon, tmp_path: Path) -> None:
    desk, told = WebDesk(CONFIG_FOLDER, tmp_path), list[str]()
    crowd = [threading.Thread(target=lambda: told.append(desk.read("status")["trading_state"])) for _ in range(60)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join(30)
    assert told == ["ACTIVE"] * 60
    followers = [one for one in threading.enumerate() if one.name == "follower"]
    assert len(followers) == 1, "they shared a connection"
    assert desk.ask("pause").ok
    assert desk.read("status")["trading_state"] == "REDUCE_ONLY"
    at_hand = desk.at_hand()
    assert at_hand is not None, "without a wait"
    assert b"REDUCE_ONLY" in at_hand.encoded["status"]
    assert desk.read("strategies") == [{"name": "trend"}]


def test_what_did_not_change_is_the_same_object(daemon: Daemon, tmp_path: Path) -> None:
    desk = WebDesk(CONFIG_FOLDER, tmp_path)
    orders, positions = desk.read("orders"), desk.read("positions")
    assert desk.ask("pause").ok
    assert desk.read("orders") is orders, "a page that shows them has nothing to do"
    daemon.publish("ACTIVE", positions=({"quantity": 65},))
    assert eventually(lambda: desk.read("positions") != positions)
    assert desk.read("orders") is orders


def test_a_daemon_that_has_published_nothing_is_asked_and_one_that_ended_is_down(daemon: Daemon, tmp_path: Path) -> None:
    desk = WebDesk(CONFIG_FOLDER, tmp_path)
    daemon.published = None
    with pytest.raises(NiyamError, match="no status to show yet"):
        desk.read("status")
    daemon.publish("ACTIVE")
    assert eventually(lambda: desk.at_hand() is not None)
    daemon.stop()
    assert eventually(lambda: desk.at_hand() is None), "its last word is not told as if it lived"
    with pytest.raises(StoreError, match="no ledger"):
        desk.read("status")


def test_a_daemon_that_says_nothing_is_not_taken_for_one_that_is_down(tmp_path: Path) -> None:
    folder, _ = state_folder.enter(tmp_path, "practice", AccountKind.PRACTICE, datetime(2026, 11, 20, 10, 0, tzinfo=IST))
    with socket.socket(socket.AF_UNIX) as hanging:
        with reachable(folder.control_socket) as address:
            hanging.bind(address)
        hanging.listen(8)
        with pytest.raises(Silent, match="has said nothing"):
            WebDesk(CONFIG_FOLDER, tmp_path).read("status")


def test_history_is_read_from_the_ledger_and_no_older_than_a_command(daemon: Daemon, tmp_path: Path) -> None:
    folder = state_folder.current(tmp_path)
    assert folder is not None
    at = datetime(2026, 11, 20, 10, 0, tzinfo=IST)
    store = open_store(folder.ledger_url)
    for number in range(5):
        store.journal(at, "signal" if number % 2 else "intent", {"number": number})
    store.commit()
    desk = WebDesk(CONFIG_FOLDER, tmp_path)
    assert [row["seq"] for row in desk.read("journal", {"limit": 2})] == [4, 5]
    assert [row["seq"] for row in desk.read("journal", {"limit": 2, "before": 4, "kind": "intent"})] == [1, 3]
    assert [row["seq"] for row in desk.read("journal", {"text": "NUMBER': 2", "limit": 9})] == [3]
    store.journal(at, "intent", {})
    store.commit()
    assert desk.ask("pause").ok
    assert [row["seq"] for row in desk.read("journal", {"limit": 2})] == [5, 6]
    store.close()


def test_a_command_about_a_strategy_goes_to_the_account_that_has_it(tmp_path: Path) -> None:
    at, asked = datetime(2026, 11, 20, 10, 0, tzinfo=IST), list[tuple[str, str]]()
    folders = [state_folder.enter(tmp_path, name, AccountKind.PAPER, at)[0] for name in ("mine", "second")]
    state_folder.show(tmp_path, folders)

    def serve(folder: state_folder.RunFolder, account: str) -> ControlSocket:
        status = {"account": account, "strategies": [{"name": f"trend_{account}"}]}

        def submit(name: str, arguments: Mapping[str, Any]) -> Answer:
            asked.append((account, name))
            return Answer(ok=True)

        made = ControlSocket(folder.control_socket, lambda: Snapshot(status=status), submit)
        made.start()
        return made

    servers = [serve(folder, name) for folder, name in zip(folders, ("mine", "second"), strict=True)]
    desk = WebDesk(CONFIG_FOLDER, tmp_path)
    desk.ask("signal", {"strategy": "trend_second", "name": "NIFTY_FUT", "target": 1})
    desk.ask("disable", {"name": "trend_mine"})
    desk.ask("enable", {"name": "trend_second"})
    desk.ask("retune", {"name": "trend_second", "values": {}, "account": "mine"})
    desk.ask("enable", {"name": "nobody"})
    servers[1].stop()
    desk.ask("pause")
    servers[0].stop()
    assert asked == [
        ("second", "signal"),
        ("mine", "disable"),
        ("second", "enable"),
        ("mine", "retune"),
        ("mine", "enable"),
        ("mine", "pause"),
    ]
