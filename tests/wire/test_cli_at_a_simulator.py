"""login, instruments and check of the command line against a simulator that runs freely (NIYAM_SIMULATOR)."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.wire.granted_client import ROOT, simulator


class Shell:
    """A terminal with NIYAM_SIMULATOR and a state folder of its own."""

    def __init__(self, admin: str, state: Path) -> None:
        self._environment = {**os.environ, "NIYAM_SIMULATOR": admin, "NIYAM_STATE": str(state)}
        self.run_at = admin
        self.state = state

    def run(self, *words: str, **more: str) -> tuple[int, str, str]:
        environment = {**self._environment, **more}
        done = subprocess.run([sys.executable, "main.py", *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    def json(self, *words: str) -> Any:
        code, out, err = self.run(*words, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with simulator("--start", "10:00", "--speed", "1") as about:
        yield Shell(about["admin"], tmp_path_factory.mktemp("state"))


def test_instruments_want_a_login_and_then_come_with_the_simulators_date(shell: Shell) -> None:
    code, _, err = shell.run("instruments", "update")
    assert (code, "main.py login zerodha" in err) == (1, True)
    told = shell.json("login", "zerodha")
    assert (told["account"], told["ok"]) == ("practice", True)
    assert told["text"] == "practice is logged in at the simulator of Zerodha (Kite Connect) until 2026-11-21 06:00"

    made = shell.json("instruments", "update")
    assert (made["day"], made["broker"]) == ("2026-11-20", "zerodha")
    assert made["instruments"] > 100
    (kept,) = shell.json("instruments", "show")
    assert (kept["day"], kept["instruments"]) == ("2026-11-20", made["instruments"])
    assert "simulated/practice-" in kept["folder"]
    resolved = shell.json("instruments", "resolve", "NIFTY_FUT")
    assert (resolved["key"], resolved["lot"], resolved["on"]) == ("NFO:NIFTY26NOVFUT", 65, "2026-11-20")
    assert resolved["by"] == "snapshot of 2026-11-20"
    code, _, err = shell.run("instruments", "resolve", "RELIANC")
    assert (code, "did you mean NSE:RELIANCE" in err) == (2, True)
    assert not (shell.state / "accounts").exists()  # nothing of a simulator lies where a broker's things lie


def test_the_login_script_logs_in_there_and_keeps_nothing(shell: Shell, tmp_path: Path) -> None:
    environment = {**os.environ, "NIYAM_SIMULATOR": shell.run_at, "NIYAM_STATE": str(tmp_path / "none")}
    script = [sys.executable, "utils/zerodha_auth.py", "--show-token"]
    done = subprocess.run(script, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert "Logged in at the simulator http://127.0.0.1:" in done.stdout
    assert "ZERODHA_ACCESS_TOKEN=" in done.stdout
    assert not (tmp_path / "none").exists()


def test_check_says_that_the_simulator_is_spoken_to(shell: Shell) -> None:
    code, out, _ = shell.run("check", "--json")
    told = json.loads(out)
    assert (code, told["ok"]) == (0, True)
    (note,) = [one for one in told["checks"] if one["name"] == "simulator"]
    assert (note["status"], "not to the broker" in note["text"]) == ("note", True)


@pytest.mark.parametrize(
    ("admin", "says"),
    [("http://127.0.0.1:9", "no simulator answers"), ("https://example.com", "on this machine, such as")],
)
def test_a_simulator_that_is_none_is_named(shell: Shell, admin: str, says: str) -> None:
    code, _, err = shell.run("login", "zerodha", NIYAM_SIMULATOR=admin)
    assert code == 2
    assert says in err


def test_without_a_simulator_practice_has_nothing_to_log_in_to(shell: Shell) -> None:
    code, _, err = shell.run("login", "zerodha", NIYAM_SIMULATOR="")
    assert (code, "paper and live accounts at zerodha in settings.yaml: none" in err) == (2, True)
