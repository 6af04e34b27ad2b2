"""The daemon as the web process reaches it: its control socket, or the ledger it left, and the bare order path without it."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.ports import Latest
from core.clock import SystemClock
from core.errors import NiyamError
from runtime import manual_order, state_folder
from runtime.following import Follower
from runtime.state_folder import RunFolder
from runtime.web_ledgers import Ledgers
from utils import control
from utils.control import Answer

if TYPE_CHECKING:
    from runtime.charts_left import ChartsLeft

READ_S = 20.0  # a read-out; a daemon that hangs must not hold a thread of ours for each that asks
OUTCOME_S = 150.0  # longer than the daemon itself waits for a command's outcome
READS_AT_ONCE = 8  # of the sixteen that a daemon answers: a crowd of readers leaves room for commands, and for the command line
FROM_THE_LEDGER = frozenset({"fills", "journal", "report"})
"""Read-outs that the daemon too would take from its ledger: we read that ourselves, so that no crowd here costs the engine's process."""
_UNSEEN = ("brokerage", "postback")  # come often, and nobody waits to see what they changed
_OF_A_STRATEGY = {"signal": "strategy", "enable": "name", "disable": "name", "retune": "name"}  # a command -> what names its strategy
FOUND_S = 1.0  # for so long it is known whose run is meant
MOST_FOLLOWED = 16


class WebDesk:
    """See api.ports.Desk. What is of a Snapshot comes from the daemon's stream, which costs it the same however many ask."""

    def __init__(self, config: Path, state: Path) -> None:
        self._config = config
        self._state = state
        self._clock = SystemClock()
        self._ledgers = Ledgers(config, self._clock)
        self._lock = threading.Lock()
        self._followers: dict[Path, Follower] = {}
        self._found: dict[str | None, tuple[float, Follower | None]] = {}  # account -> when its run was looked for, who follows it
        self.changed: Callable[[], object] = lambda: None  # called when something of ours was done
        self._charts: ChartsLeft | None = None
        self._reads = threading.BoundedSemaphore(READS_AT_ONCE)

    def at_hand(self, account: str | None = None) -> Latest | None:
        try:
            follower = self._follower(account)
        except NiyamError:  # no such account: `read` says so
            return None
        return None if follower is None else follower.at_hand()

    def ask(self, name: str, arguments: Mapping[str, Any] | None = None, *, timeout: float = OUTCOME_S) -> Answer:
        """Of the account that `arguments` name by `account`, else of the one in use; `brokerage` of the one whose app it is."""
        try:
            return self._ask(name, arguments, timeout)
        finally:
            if name not in (*control.READOUTS, *_UNSEEN):
                self._renew()

    def read(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        given = {key: value for key, value in (arguments or {}).items() if value is not None}
        if name in FROM_THE_LEDGER:
            return self._left(name, given)
        if name in (*control.SHOWN, "strategies") and not given.keys() - {"account"}:
            try:
                follower = self._follower(given.get("account"))
                latest = follower.latest() if follower is not None else None
            except control.DaemonDown:
                return self._left(name, given)
            if latest is not None:
                return latest.decoded["status"]["strategies"] if name == "strategies" else latest.decoded[name]
        return self._read(name, given)

    def place(self, given: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return manual_order.place(given, config=self._config, state=self._state)
        finally:
            self._renew()

    # --- the daemon ---------------------------------------------------------------------------------------------------------------------

    def _ask(self, name: str, arguments: Mapping[str, Any] | None, timeout: float) -> Answer:
        folder, given = self._folder(arguments or {})
        if folder is None:
            raise control.DaemonDown("no daemon has run on this state folder yet; start one with `main.py run`")
        if name in _OF_A_STRATEGY and not (arguments or {}).get("account"):
            folder = self._whose(str(given.get(_OF_A_STRATEGY[name]))) or folder
        first = control.ask(folder.control_socket, name, given, timeout=timeout)
        if name != "brokerage" or _mine(first):
            return first
        others = state_folder.currents(self._state)[1:]
        answers = (control.ask(one.control_socket, name, given, timeout=timeout) for one in others)
        return next((answer for answer in answers if _mine(answer)), first)

    def _whose(self, strategy: str) -> RunFolder | None:
        """Of several accounts side by side the one that has this strategy; None where there is one account, or none has it."""
        folders = state_folder.currents(self._state)
        for folder in folders if len(folders) > 1 else ():
            try:
                rows = self.read("strategies", {"account": folder.about().get("account")})
            except NiyamError:
                continue  # that account is down: it takes no commands
            if any(row["name"] == strategy for row in rows or ()):
                return folder
        return None

    def _read(self, name: str, arguments: Mapping[str, Any]) -> Any:
        if not self._reads.acquire(timeout=READ_S):
            raise NiyamError(f"{READS_AT_ONCE} questions to the daemon have waited for {READ_S:.0f} s; ask again")
        try:
            answer = self._ask(name, arguments, READ_S)
        except control.DaemonDown:
            return self._left(name, arguments)
        finally:
            self._reads.release()
        if not answer.ok:
            raise NiyamError(answer.text)
        return answer.data

    def _renew(self) -> None:
        """Something of ours was done: nobody is told what was before it."""
        self._ledgers.forget()
        self.changed()
        with self._lock:
            followers = list(self._followers.values())
            self._found = {}
        for one in followers:
            one.look()

    def _follower(self, account: str | None) -> Follower | None:
        """Who follows the account's run; None where nothing has run. Whose run is meant is looked for once a second."""
        now = self._clock.monotonic()
        with self._lock:
            found = self._found.get(account)
            if found is not None and now - found[0] < FOUND_S:
                return found[1]
        folder, _ = self._folder({"account": account} if account is not None else {})
        with self._lock:
            follower = None
            if folder is not None:
                follower = self._followers.pop(folder.path, None) or Follower(folder.control_socket, self._clock)
                self._followers[folder.path] = follower
                while len(self._followers) > MOST_FOLLOWED:
                    del self._followers[next(iter(self._followers))]
            if len(self._found) >= MOST_FOLLOWED:
                self._found = {}
            self._found[account] = now, follower
            return follower

    # --- what it left -------------------------------------------------------------------------------------------------------------------

    def _folder(self, arguments: Mapping[str, Any]) -> tuple[RunFolder | None, dict[str, Any]]:
        """Whose run is meant, and what is left to ask of it."""
        given = dict(arguments)
        account = given.pop("account", None)
        return (state_folder.current(self._state) if account is None else state_folder.of_account(self._state, str(account))), given

    def _left(self, name: str, arguments: Mapping[str, Any]) -> Any:
        folder, arguments = self._folder(arguments)
        if folder is None:
            if name == "status":
                return {"running": False, "orders": {}, "flat": True}
            raise NiyamError("nothing has run in this state folder yet")
        if name == "chart":
            return self._charts_left(folder, arguments)
        return self._ledgers.document(folder, name, arguments)

    def _charts_left(self, folder: RunFolder, arguments: Mapping[str, Any]) -> Any:
        from runtime.charts_left import ChartsLeft  # the engine's parts, which nothing else here needs

        with self._lock:
            self._charts = self._charts or ChartsLeft()
        return self._charts.document(folder.recordings, arguments)


def _mine(answer: Answer) -> bool:
    return isinstance(answer.data, Mapping) and bool(answer.data.get("mine"))
