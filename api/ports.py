"""What the web process stands on: the daemon, the brokers and the accounts file. Made in runtime/serve.py, or by tests."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from argon2 import PasswordHasher

from core.ports import Clock, CredentialStore
from storage.account_file import AccountFile
from storage.credentials import App, Vault
from storage.remembered import Remembered
from storage.users import Users
from utils.config_schema import Api
from utils.control import Answer


@dataclass(frozen=True, slots=True)
class Latest:
    """What a running daemon told of itself last: each read-out as JSON, and decoded; what it did not tell anew is the same object still.

    `heard_at` is when it was last heard of (monotonic); `source` differs for each Snapshot.
    """

    source: tuple[str, int]
    encoded: Mapping[str, bytes]
    decoded: Mapping[str, Any]
    heard_at: float


class Desk(Protocol):
    """The daemon of the state folder, or what it left behind. Every method but `at_hand` blocks."""

    def at_hand(self, account: str | None = None) -> Latest | None:
        """What an account's running daemon (None: that of the one in use) told last, without a wait; None where `read` has to find out."""
        ...

    def ask(self, name: str, arguments: Mapping[str, Any] | None = None) -> Answer:
        """A command; raises DaemonDown where no daemon runs."""
        ...

    def read(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """A read-out: the daemon's, or the ledger's last word while it is down (`running: false` in the status)."""
        ...

    def place(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """One order by hand through gate and order manager, with or without a daemon; execution_engine.manual_orders.result."""
        ...


@dataclass(frozen=True, slots=True)
class Login:
    """Where an app's broker session stands. `account` is the daemon's account if that holds it, else empty; `kind` as in settings.yaml."""

    state: str  # VALID, EXPIRING, LOGIN_REQUIRED
    expires_at: str | None = None
    account: str = ""
    kind: str = "own"


class Brokers(Protocol):
    """Logins and reads of broker apps: by the daemon where the app is its account's, else by calls of our own. Every method blocks."""

    def names(self) -> tuple[str, ...]: ...
    def login_kind(self, broker: str) -> str:
        """`redirect`: a page sends the person back with an answer; `code`: a one-time code is typed."""
        ...

    def knows_host(self, broker: str, url: str) -> bool: ...
    def login_url(self, app: App, state: str) -> tuple[str, bool]:
        """Where the person logs in, and whether the broker sends `state` back."""
        ...

    def activate(self, app: App, answer: str) -> Login: ...
    def renew(self, app: App) -> Login:
        """The session as it is, or after a renewal that needs no person."""
        ...

    def session(self, app: App) -> Login: ...
    def portfolio(self, app: App) -> dict[str, Any]: ...
    def forget(self, app: App) -> None: ...


@dataclass(frozen=True)
class Parts:
    """Everything a request may need. `config` and `state` are folders."""

    desk: Desk
    brokers: Brokers
    file: AccountFile
    vault: Vault
    users: Users
    remembered: Remembered
    clock: Clock
    secrets: CredentialStore
    settings: Api
    config: Path
    state: Path
    check: Callable[[str | None], Mapping[str, Any]]  # what `main.py check --account A --json` says; blocks, and asks the network
    address: str  # as a browser reaches us: http://127.0.0.1:8000
    hasher: PasswordHasher = field(default_factory=PasswordHasher)  # at the library's cost

    def now(self) -> datetime:
        return self.clock.now()
