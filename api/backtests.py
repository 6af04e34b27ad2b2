"""Backtests for the API: children `main.py backtest`, one at a time at low priority, so that the engine beside them is not felt.

Each run has a folder STATE/reports/ID: the strategy's file as it was run, `about.json`, the child's `result.json` and its `report.html`.
What ended is known after a restart of the web process too.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from loguru import logger

from utils.config_loader import ROOT, environment
from utils.redaction import redact
from utils.yaml_edit import changed
from utils.yaml_file import read

MOST_WAITING = 8
MOST_KEPT = 50
LONGEST_S = 3600.0
_PROGRESS = re.compile(r"progress (\d+)/(\d+)\n?")
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass
class Run:
    """One backtest; `process` while it runs. `progress` is a part of one, by days."""

    user_id: int
    strategy: str
    data: str
    folder: Path
    begun_at: str
    params: dict[str, Any] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    state: str = "queued"
    error: str = ""
    progress: float = 0.0
    process: "subprocess.Popen[str] | None" = None

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def report(self) -> Path | None:
        """The report, where there is one."""
        path = self.folder / "report.html"
        return path if self.state == "done" and path.is_file() else None

    def result(self) -> Any:
        """What `backtest --json` said; None before it is done."""
        return json.loads((self.folder / "result.json").read_text(encoding="utf-8")) if self.state == "done" else None

    def keep(self) -> None:
        known = {name: getattr(self, name) for name in ("user_id", "strategy", "data", "begun_at", "params", "state", "error")}
        (self.folder / "about.json").write_text(json.dumps(known), encoding="utf-8")


class Backtests:
    """The queue and its one worker thread, begun with the first run."""

    def __init__(self, config: Path, state: Path) -> None:
        self._config = config
        self._state = state
        self._reports = state / "reports"
        self._runs: OrderedDict[str, Run] = OrderedDict((run.id, run) for run in _kept(self._reports))
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def add(
        self, user_id: int, strategy: Path, data: Path, shown: str, more: Sequence[str], at: datetime, params: Mapping[str, Any]
    ) -> Run | None:
        """Queue one, with `params` in place of the file's; None while too many wait. ConfigError: the file cannot be changed so."""
        text = strategy.read_text(encoding="utf-8")
        for name, value in params.items():
            text = changed(read(strategy, text), text, ("params", name), value)
        folder = self._reports / uuid.uuid4().hex
        own = folder / strategy.name
        command = [sys.executable, str(ROOT / "main.py"), "backtest", str(own), "--data", str(data), "--json", "--progress", *more]
        command += ["--config", str(self._config), "--state", str(self._state), "--html", str(folder / "report.html")]
        run = Run(user_id, strategy.stem, shown, folder, at.isoformat(), dict(params), command)
        with self._changed:
            if sum(one.state == "queued" for one in self._runs.values()) >= MOST_WAITING:
                return None
            folder.mkdir(parents=True)
            own.write_text(text, encoding="utf-8")
            self._runs[run.id] = run
            ended = [one for one in self._runs.values() if one.state not in ("queued", "running")]
            for old in ended[: max(0, len(self._runs) - MOST_KEPT)]:
                del self._runs[old.id]
                shutil.rmtree(old.folder)
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
                run.keep()
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
                with (run.folder / "result.json").open("wb") as out:
                    run.process = subprocess.Popen(  # noqa: S603 - our own main.py; its arguments were checked by the route
                        ["/usr/bin/nice", "-n", "10", *run.command],
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=subprocess.PIPE,
                        text=True,
                        env=inherited,
                        cwd=str(ROOT),
                    )
            self._finish(run, run.process)

    def _finish(self, run: Run, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        late = threading.Timer(LONGEST_S, process.kill)
        late.start()
        complaints = _followed(run, process.stderr)
        process.wait()
        process.stderr.close()
        late.cancel()
        with self._changed:
            run.process = None
            if run.state == "cancelled":
                return
            run.state = "done" if process.returncode == 0 else "failed"
            run.error = "" if run.state == "done" else _said(complaints, run.folder)
            run.progress = 1.0
            run.keep()
        logger.info("backtest of {}: {}", run.strategy, run.state)


def _followed(run: Run, complaints: IO[str]) -> list[str]:
    """The child's standard error to its end, without what it says of its progress; the last lines."""
    said: list[str] = []
    for line in complaints:
        if found := _PROGRESS.fullmatch(line):
            run.progress = int(found[1]) / max(1, int(found[2]))
        elif line.strip():
            said = [*said[-20:], line.strip()]
    return said


def _said(lines: list[str], folder: Path) -> str:
    """The last complaint, without our folder's long name."""
    text = lines[-1] if lines else f"it said nothing; a run is ended after {LONGEST_S:.0f} s"
    return redact(text.replace(f"{folder}{os.sep}", "")[:500])


def _kept(reports: Path) -> list[Run]:
    """The runs of an earlier web process that ended, the oldest first; the folder of one that did not is removed."""
    found = []
    for folder in reports.iterdir() if reports.is_dir() else ():
        if not _ID.fullmatch(folder.name):
            continue
        about = folder / "about.json"
        if not about.is_file():
            shutil.rmtree(folder)
            continue
        found.append(Run(folder=folder, **json.loads(about.read_text(encoding="utf-8"))))
    return sorted(found, key=lambda run: run.begun_at)


def files(folder: Path) -> list[str]:
    """What lies in the data folder, as backtests may name it: files of market data, and folders that hold some."""
    found = set()
    for path in sorted(folder.rglob("*"))[:10_000]:
        if path.suffix.lower() in (".parquet", ".csv") and path.is_file():
            found |= {path.relative_to(folder), path.relative_to(folder).parent}
    return sorted(str(path) for path in found if str(path) != ".")
