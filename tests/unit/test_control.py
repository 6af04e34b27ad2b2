"""The control socket from both ends, over a real Unix socket."""

import json
import socket
import stat
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from core.errors import NiyamError
from core.types import Snapshot
from runtime.control_socket import ControlSocket
from utils.control import Answer, DaemonDown, ask

SNAPSHOT = Snapshot(status={"running": True, "account": "practice"}, orders=({"id": "1"},), positions=(), signals=({"target": 1.0},))


class Engine:
    """Takes commands as the engine does: remembers them and says what came of each."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.hold = threading.Event()
        self.hold.set()

    def submit(self, name: str, arguments: Mapping[str, Any]) -> Answer:
        self.hold.wait(10)
        self.asked.append((name, arguments))
        return Answer(ok=name != "resume", text=f"{name} done", data={"count": len(self.asked)})


def read(name: str, arguments: Mapping[str, Any]) -> Any:
    if arguments.get("day") == "2026-11-19":
        raise NiyamError("the ledger has nothing of 2026-11-19")
    if name == "journal":
        raise RuntimeError("a defect with a secret in it")
    return [{"name": name, **arguments}]


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def path(tmp_path: Path, engine: Engine) -> Iterator[Path]:
    server = ControlSocket(tmp_path / "control.sock", lambda: SNAPSHOT, engine.submit, read)
    server.start()
    yield tmp_path / "control.sock"
    server.stop()


def test_status_and_lists_come_from_the_snapshot(path: Path) -> None:
    assert ask(path, "status").data == {"running": True, "account": "practice"}
    assert ask(path, "orders").data == [{"id": "1"}]
    assert ask(path, "signals").data == [{"target": 1.0}]


def test_another_day_and_fills_come_from_the_ledger(path: Path) -> None:
    assert ask(path, "orders", {"day": "2026-11-18"}).data == [{"name": "orders", "day": "2026-11-18"}]
    assert ask(path, "fills").data == [{"name": "fills"}]


def test_what_the_ledger_cannot_tell_is_said(path: Path) -> None:
    answer = ask(path, "report", {"day": "2026-11-19"})
    assert not answer.ok
    assert answer.text == "the ledger has nothing of 2026-11-19"


def test_a_command_reaches_the_engine_and_its_outcome_comes_back(path: Path, engine: Engine) -> None:
    answer = ask(path, "kill", {"whole_account": "AB1234"})
    assert engine.asked == [("kill", {"whole_account": "AB1234"})]
    assert (answer.ok, answer.text, answer.data) == (True, "kill done", {"count": 1})
    assert ask(path, "resume").ok is False


def test_an_unknown_request_names_what_there_is(path: Path, engine: Engine) -> None:
    answer = ask(path, "liquidate")
    assert not answer.ok
    assert "'liquidate'" in answer.text
    assert "square-off" in answer.text
    assert engine.asked == []


def test_a_defect_is_an_answer_without_its_text(path: Path) -> None:
    answer = ask(path, "journal")
    assert not answer.ok
    assert "RuntimeError" in answer.text
    assert "secret" not in answer.text
    assert ask(path, "status").ok  # and the next client is served


def test_garbage_is_refused_and_the_connection_goes_on(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        lines = connection.makefile("rb")
        for garbage in (b"\n", b"{\n", b"[1, 2]\n", b'{"id": 5}\n', b"\xff\xfe\n"):
            connection.sendall(garbage)
            assert json.loads(lines.readline())["ok"] is False
        connection.sendall(b'{"id": "a", "name": "status"}\n{"id": "b", "name": "orders"}\n')
        assert [json.loads(lines.readline())["id"] for _ in range(2)] == ["a", "b"]
        lines.close()


def test_an_endless_line_is_hung_up_on(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            connection.sendall(b"x" * 16_000_000)
    assert ask(path, "status").ok


def test_only_the_owner_may_open_the_socket(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_slow_command_does_not_hold_up_a_read_out(path: Path, engine: Engine) -> None:
    engine.hold.clear()
    outcome: list[Answer] = []
    slow = threading.Thread(target=lambda: outcome.append(ask(path, "square-off")))
    slow.start()
    assert ask(path, "status", timeout=5).ok
    engine.hold.set()
    slow.join(10)
    assert outcome[0].text == "square-off done"


def test_a_crowd_waits_its_turn_and_nobody_is_turned_away(path: Path, engine: Engine) -> None:
    engine.hold.clear()
    answers: list[Answer] = []
    crowd = [threading.Thread(target=lambda: answers.append(ask(path, "pause"))) for _ in range(80)]
    for one in crowd:
        one.start()
    engine.hold.set()
    for one in crowd:
        one.join(20)
    assert [answer.ok for answer in answers] == [True] * 80


def test_a_daemon_that_takes_nobody_in_is_told_apart_from_one_that_is_down(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf.sock"))
        deaf.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(str(tmp_path / "deaf.sock"))  # its queue is full now
            with pytest.raises(NiyamError, match="busy with other questions") as refused:
                ask(tmp_path / "deaf.sock", "status", timeout=0.3)
    assert not isinstance(refused.value, DaemonDown)


def test_no_answer_in_time_is_an_error_that_says_so(path: Path, engine: Engine) -> None:
    engine.hold.clear()
    with pytest.raises(NiyamError, match="did not answer 'kill' within 0 s"):
        ask(path, "kill", timeout=0.2)
    engine.hold.set()


def test_a_daemon_that_is_down_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DaemonDown, match="no daemon answers"):
        ask(tmp_path / "control.sock", "status")


def test_a_socket_left_by_a_dead_daemon_is_replaced(tmp_path: Path, engine: Engine) -> None:
    path = tmp_path / "control.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    with pytest.raises(DaemonDown):
        ask(path, "status")
    server = ControlSocket(path, lambda: SNAPSHOT, engine.submit)
    server.start()
    assert ask(path, "status").ok
    server.stop()
    assert not path.exists()


def test_a_state_folder_too_deep_for_a_socket_address_works(tmp_path: Path, engine: Engine) -> None:
    folder = tmp_path / ("deep" * 30) / "runs"
    folder.mkdir(parents=True)
    server = ControlSocket(folder / "control.sock", lambda: SNAPSHOT, engine.submit)
    server.start()
    assert ask(folder / "control.sock", "status").ok
    server.stop()


def test_before_the_first_snapshot_a_client_is_told_to_wait(tmp_path: Path, engine: Engine) -> None:
    server = ControlSocket(tmp_path / "control.sock", lambda: None, engine.submit)
    server.start()
    answer = ask(tmp_path / "control.sock", "status")
    assert (answer.ok, answer.text) == (False, "the daemon has no status to show yet; ask again in a moment")
    server.stop()
