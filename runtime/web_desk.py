"""The daemon as the web process reaches it: its control socket, or the ledger it left, and the bare order path without it."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.clock import SystemClock
from core.errors import NiyamError
from core.types import AccountKind
from runtime import manual_order, readout, state_folder
from runtime.state_folder import RunFolder
from storage.store import open_reader
from utils import control
from utils.config_loader import config as secrets
from utils.config_loader import load
from utils.control import Answer

READ_S = 20.0  # a read-out; a daemon that hangs must not hold a thread of ours for each that asks
OUTCOME_S = 150.0  # longer than the daemon itself waits for a command's outcome
READS_AT_ONCE = 8  # of the sixteen that a daemon answers: a crowd of readers leaves room for commands, and for the command line
FROM_THE_LEDGER = frozenset({"fills", "journal", "report"})
"""Read-outs that the daemon too would take from its ledger: we read that ourselves, so that no crowd here costs the engine's process."""
SNAPSHOT = ("status", "strategies", "orders", "positions", "signals")
FRESH_S = 0.2  # the daemon makes its own Snapshot no more often


class WebDesk:
    """See api.ports.Desk. What is of a Snapshot is asked for once for all who want it meanwhile, and anew after a command of ours."""

    def __init__(self, config: Path, state: Path) -> None:
        self._config = config
        self._state = state
        self._elsewhere: tuple[Path, str] | None = None  # a run's folder, and its ledger that is not in it
        self._clock = SystemClock()
        self._asking = {name: threading.Lock() for name in SNAPSHOT}
        self._known: dict[str, tuple[float, Any]] = {}  # when it was asked for, and what was said; another one after a command
        self._reads = threading.BoundedSemaphore(READS_AT_ONCE)

    def ask(self, name: str, arguments: Mapping[str, Any] | None = None, *, timeout: float = OUTCOME_S) -> Answer:
        """Of the account that `arguments` name by `account`, else of the one in use; `brokerage` of the one whose app it is."""
        try:
            return self._ask(name, arguments, timeout)
        finally:
            if name not in control.READOUTS:
                self._known = {}

    def _ask(self, name: str, arguments: Mapping[str, Any] | None, timeout: float) -> Answer:
        folder, given = self._folder(arguments or {})
        if folder is None:
            raise control.DaemonDown("no daemon has run on this state folder yet; start one with `main.py run`")
        first = control.ask(folder.control_socket, name, given, timeout=timeout)
        if name != "brokerage" or _mine(first):
            return first
        others = state_folder.currents(self._state)[1:]
        answers = (control.ask(one.control_socket, name, given, timeout=timeout) for one in others)
        return next((answer for answer in answers if _mine(answer)), first)

    def _folder(self, arguments: Mapping[str, Any]) -> tuple[RunFolder | None, dict[str, Any]]:
        """Whose run is meant, and what is left to ask of it."""
        given = dict(arguments)
        account = given.pop("account", None)
        return (state_folder.current(self._state) if account is None else state_folder.of_account(self._state, str(account))), given

    def read(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        if name in FROM_THE_LEDGER:
            return self._left(name, arguments or {})
        if name not in SNAPSHOT or arguments:
            return self._read(name, arguments)
        if not self._asking[name].acquire(timeout=READ_S):
            raise NiyamError(f"the daemon has not told its {name} for {READ_S:.0f} s; ask again")
        try:
            known = self._known
            if name not in known or self._clock.monotonic() - known[name][0] >= FRESH_S:
                known[name] = self._clock.monotonic(), self._read(name, None)
            return known[name][1]
        finally:
            self._asking[name].release()

    def _read(self, name: str, arguments: Mapping[str, Any] | None) -> Any:
        if not self._reads.acquire(timeout=READ_S):
            raise NiyamError(f"{READS_AT_ONCE} questions to the daemon have waited for {READ_S:.0f} s; ask again")
        try:
            answer = self.ask(name, arguments, timeout=READ_S)
        except control.DaemonDown:
            return self._left(name, arguments or {})
        finally:
            self._reads.release()
        if not answer.ok:
            raise NiyamError(answer.text)
        return answer.data

    def place(self, given: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return manual_order.place(given, config=self._config, state=self._state)
        finally:
            self._known = {}

    def _left(self, name: str, arguments: Mapping[str, Any]) -> Any:
        folder, arguments = self._folder(arguments)
        if folder is None:
            if name == "status":
                return {"running": False, "orders": {}, "flat": True}
            raise NiyamError("nothing has run in this state folder yet")
        store = open_reader(self._ledger_of(folder))
        try:
            return readout.document(store, name, arguments)
        finally:
            store.close()

    def _ledger_of(self, folder: RunFolder) -> str:
        if folder.ledger.exists():
            return folder.ledger_url
        if self._elsewhere is not None and self._elsewhere[0] == folder.path:
            return self._elsewhere[1]
        kind = AccountKind(folder.about().get("kind", AccountKind.PRACTICE))
        self._elsewhere = folder.path, state_folder.ledger_url(folder, kind, load(self._config).settings.database.url, secrets)
        return self._elsewhere[1]


def _mine(answer: Answer) -> bool:
    return isinstance(answer.data, Mapping) and bool(answer.data.get("mine"))
