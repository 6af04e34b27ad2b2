"""What each command of the CLI does, one function each: flags in, exit code out, the result on standard output."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.clock import SystemClock
from core.errors import ConfigError, NiyamError
from runtime import state_folder
from runtime.state_folder import RunFolder
from utils import control

OUTCOME = 900.0  # seconds a command may take until its outcome is known (a square-off in a thin market)
READ = 60.0


def run(options: argparse.Namespace) -> int:
    from runtime import daemon
    from runtime.options import RunOptions

    return daemon.run(
        RunOptions(
            config=Path(options.config),
            state=_state(options),
            broker=options.broker,
            account=options.account,
            days=options.days,
            date=options.date,
            start=options.start,
            speed=options.speed,
            data=_path(options.data),
            symbols=_path(options.symbols),
            repair=options.repair,
            strategy=_path(options.strategy),
            instrument=options.instrument,
            seed=options.seed,
            faults=_path(options.faults),
            simulator=options.simulator,
            resume=options.resume,
            api=options.api,
        )
    )


def check(options: argparse.Namespace) -> int:
    from runtime import checks

    result = checks.run(Path(options.config), _state(options), SystemClock(), account=options.account)
    _show("check", result, options.json)
    return 0 if result["ok"] else 1


def readout(options: argparse.Namespace) -> int:
    """Ask the daemon; when it is down, read its ledger."""
    asked = {"day": options.day, "from": options.start_day, "to": options.end_day}
    arguments = {name: day.isoformat() for name, day in asked.items() if day is not None}
    if "day" in arguments and len(arguments) > 1:
        raise ConfigError("--day says one day, --from and --to a period; give one or the other")
    folder = _current(_state(options))
    try:
        answer = control.ask(folder.control_socket, options.command, arguments, timeout=READ)
    except control.DaemonDown:
        data = _from_ledger(options, folder, arguments)
    else:
        if not answer.ok:
            raise NiyamError(answer.text)
        data = answer.data
    _show(options.command, data, options.json)
    return 0


def order(options: argparse.Namespace) -> int:
    """Give the running daemon a command and say what came of it."""
    arguments: dict[str, Any] = {}
    if getattr(options, "whole_account", None):
        arguments["whole_account"] = options.whole_account
    if getattr(options, "confirm", False):
        arguments["confirm"] = True
    folder = _current(_state(options))
    answer = control.ask(folder.control_socket, options.command, arguments, timeout=OUTCOME)
    if options.json:
        _print_json({"ok": answer.ok, "text": answer.text, "data": answer.data})
    else:
        print(answer.text, file=sys.stdout if answer.ok else sys.stderr)
    return 0 if answer.ok else 1


def _from_ledger(options: argparse.Namespace, folder: RunFolder, arguments: Mapping[str, Any]) -> Any:
    from runtime import readout as documents
    from storage.store import open_reader

    store = open_reader(ledger_url(folder, Path(options.config)))
    try:
        return documents.document(store, options.command, arguments)
    finally:
        store.close()


def ledger_url(folder: RunFolder, config: Path) -> str:
    """Where a run keeps its ledger: its own SQLite file, unless the configuration names a database."""
    if folder.ledger.exists():
        return folder.ledger_url
    from utils.config_loader import load

    return load(config).settings.database.url or folder.ledger_url


def _current(state: Path) -> RunFolder:
    folder = state_folder.current(state)
    if folder is None:
        raise NiyamError(f"nothing has run in the state folder {state} yet; start with `main.py run`, or name another with --state")
    return folder


def _state(options: argparse.Namespace) -> Path:
    from utils.config_loader import environment

    return Path(options.state or environment("NIYAM_STATE") or "var")


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _show(name: str, data: Any, as_json: bool) -> None:
    if as_json:
        _print_json(data)
        return
    from runtime import tables

    tables.show(name, data)


def _print_json(data: Any) -> None:
    print(json.dumps(data, ensure_ascii=False, indent=1))
