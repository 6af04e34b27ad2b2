"""Backtests for the API: children `main.py backtest --json`, one at a time at low priority, so that the engine beside them is not felt."""

import json
import subprocess
import sys
import threading
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loguru import logger

from utils.config_loader import ROOT, environment
from utils.redaction import redact

MOST_WAITING = 8
MOST_KEPT = 50
LONGEST_S = 3600.0


@dataclass
class Run:
    """One backtest; `process` while it runs."""

    user_id: int
    strategy: str
    data: str
    command: list[str]
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: str = "queued"
    error: str = ""
    result: Any = None
    process: "subprocess.Popen[str] | None" = None


class Backtests:
    """The queue and its one worker thread, begun with the first run."""

    def __init__(self, config: Path, state: Path) -> None:
        self._config = config
        self._state = state
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def add(self, user_id: int, strategy: Path, data: Path, shown: str, more: list[str]) -> Run | None:
        """Queue one; None while too many wait."""
        command = [sys.executable, str(ROOT / "main.py"), "backtest", str(strategy), "--data", str(data), "--json", *more]
        command += ["--config", str(self._config), "--state", str(self._state)]
        run = Run(user_id, strategy.stem, shown, command)
        with self._changed:
            if sum(one.state == "queued" for one in self._runs.values()) >= MOST_WAITING:
                return None
            self._runs[run.id] = run
            ended = [one.id for one in self._runs.values() if one.state not in ("queued", "running")]
            for old in ended[: max(0, len(self._runs) - MOST_KEPT)]:
                del self._runs[old]
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="backtests", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return run

    def of(self, user_id: int) -> list[Run]:
        with self._changed:
            return [run for run in self._runs.values() if run.user_id == user_id]

    def get(self, user_id: int, run_id: str) -> Run | None:
        with self._changed:
            run = self._runs.get(run_id)
        return run if run is not None and run.user_id == user_id else None

    def cancel(self, run: Run) -> None:
        """End it, whatever it is at."""
        with self._changed:
            if run.state in ("queued", "running"):
                run.state = "cancelled"
            if run.process is not None:
                run.process.terminate()

    def stop(self) -> None:
        """End what runs; called when the web process ends."""
        with self._changed:
            self._stopping = True
            for run in self._runs.values():
                if run.process is not None:
                    run.process.terminate()
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or any(run.state == "queued" for run in self._runs.values()))
                if self._stopping:
                    return
                run = next(run for run in self._runs.values() if run.state == "queued")
                run.state = "running"
                inherited = {name: environment(name) for name in ("PATH", "HOME", "LANG", "TMPDIR") if environment(name)}
                run.process = subprocess.Popen(  # noqa: S603 - our own main.py; its arguments were checked by the route
                    ["/usr/bin/nice", "-n", "10", *run.command],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env=inherited,
                    cwd=str(ROOT),
                )
            self._finish(run, run.process)

    def _finish(self, run: Run, process: "subprocess.Popen[str]") -> None:
        try:
            out, complaints = process.communicate(timeout=LONGEST_S)
        except subprocess.TimeoutExpired:
            process.kill()
            out, complaints = process.communicate()
            complaints = f"ended after {LONGEST_S:.0f} s"
        with self._changed:
            run.process = None
            if run.state == "cancelled":
                return
            run.state = "done" if process.returncode == 0 else "failed"
            try:
                run.result = json.loads(out) if run.state == "done" else None
            except ValueError:
                run.state = "failed"
            run.error = "" if run.state == "done" else redact((complaints.strip() or "it said nothing").splitlines()[-1][:500])
        logger.info("backtest of {}: {}", run.strategy, run.state)
