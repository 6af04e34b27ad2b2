"""The wire simulator that a practice run lives on: started as a process of its own, found again after a crash, told to end in order."""

import contextlib
import json
import math
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any

import urllib3

from core.errors import ConfigError, NiyamError
from runtime.options import RunOptions
from runtime.state_folder import RunFolder
from utils.config_loader import ROOT, environment

PATIENCE = 60.0  # wall seconds a simulator may take until it says where it listens
DEFAULT_DAY = date(2026, 11, 20)
DEFAULT_START = time(9, 0)
DEFAULT_SPEED = 60.0
_http = urllib3.PoolManager()


class SimulatorCredentials:
    """The simulator's own key and secret, under the names that the broker's folder asks for."""

    def __init__(self, broker: str, given: Mapping[str, str]) -> None:
        self._secrets = {f"{broker}_{name}".upper(): value for name, value in given.items()}

    def get_secret(self, name: str) -> str:
        try:
            return self._secrets[name]
        except KeyError:
            raise ConfigError(f"the simulator gave no {name}; it gave {', '.join(sorted(self._secrets))}") from None


def find(run: RunFolder, options: RunOptions) -> dict[str, Any] | None:
    """The simulator named by --simulator, or the one this run started earlier if it still answers."""
    if options.simulator is not None:
        return _ask(options.simulator)
    known = run.simulator()
    if known is None:
        return None
    try:
        return _ask(str(known["admin"]))
    except NiyamError:
        return None


def start(run: RunFolder, options: RunOptions, brokers: Sequence[str], *, day: date, at: time, data: Path | None) -> dict[str, Any]:
    """Start one with the wires of these brokers and return what it says of itself. It outlives this process, so that a killed daemon
    finds its broker again."""
    speed = options.speed if options.speed is not None else DEFAULT_SPEED
    beside = [word for broker in brokers[1:] for word in ("--beside", broker)]
    command = [sys.executable, str(ROOT / "main.py"), "simulate", brokers[0], *beside, "--granted", "--json", "--port", "0",
               "--date", day.isoformat(), "--start", f"{at:%H:%M}", "--speed", "max" if math.isinf(speed) else f"{speed:g}",
               "--config", str(options.config.resolve())]  # fmt: skip
    command += ["--seed", str(options.seed)] if options.seed is not None else []
    command += ["--data", str(data.resolve())] if data is not None else []
    command += ["--faults", str(options.faults.resolve())] if options.faults is not None else []
    said, complaints = run.path / "simulator.out", run.path / "simulator.log"
    with said.open("wb") as out, complaints.open("wb") as err:
        inherited = {name: environment(name) for name in ("PATH", "HOME", "LANG", "TMPDIR") if environment(name)}
        process = subprocess.Popen(  # noqa: S603 - our own main.py, with arguments made above
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=inherited, start_new_session=True, cwd=str(run.path)
        )
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.02)):
        line, _, rest = said.read_text(encoding="utf-8").partition("\n")
        if line and (rest or said.read_text(encoding="utf-8").endswith("\n")):
            facts: dict[str, Any] = json.loads(line)
            run.save_simulator({"admin": facts["admin"], "pid": process.pid})
            return facts
        if process.poll() is not None:
            kind = ConfigError if process.returncode == 2 else NiyamError  # 2: what it was given, such as the fault script
            raise kind(f"the simulator ended at once: {complaints.read_text(encoding='utf-8').strip() or f'exit {process.returncode}'}")
        pause.wait(0.02)
    process.terminate()
    raise NiyamError(f"the simulator said nothing within {PATIENCE:.0f} s; its complaints are in {complaints}")


def end(run: RunFolder) -> None:
    """Tell the run's own simulator to end; one named by --simulator belongs to somebody else and is left alone."""
    known = run.simulator()
    if known is None:
        return
    with contextlib.suppress(urllib3.exceptions.HTTPError):  # one that has ended already is what was wanted
        _http.request("POST", f"{known['admin']}/shutdown", timeout=5.0, retries=False)
    run.save_simulator(None)


def end_others(state: Path, runs: Sequence[RunFolder]) -> None:
    """End the simulators that earlier runs on this state left behind (they were killed, and nobody went on with them)."""
    own = {run.path for run in runs}
    for left in (state / "runs").glob("*/simulator.json"):
        if left.parent not in own:
            end(RunFolder(left.parent))


def _ask(admin: str) -> dict[str, Any]:
    try:
        reply = _http.request("GET", admin.rstrip("/") + "/", timeout=5.0, retries=False)
    except urllib3.exceptions.HTTPError as error:
        raise NiyamError(
            f"no simulator answers at {admin} ({type(error).__name__}); start one with: main.py simulate zerodha --granted --json"
        ) from None
    if reply.status != 200:
        raise NiyamError(f"{admin} answers HTTP {reply.status}; is it a simulator's admin address?")
    facts: dict[str, Any] = reply.json()
    return facts
