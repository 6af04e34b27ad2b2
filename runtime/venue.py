"""Whom a command or script speaks to without a daemon: the broker, or the free-running simulator that NIYAM_SIMULATOR names.

At a simulator the practice accounts trade, by its time and with its credentials, in a folder of their own: nothing of it is ever taken
for a broker's.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from brokers import registry
from brokers.spec import Endpoints, Session, Spec
from core.clock import SystemClock
from core.errors import ConfigError
from core.ports import CredentialStore
from core.types import PRACTICE_KINDS, Account, AccountKind
from data_ingestion.bare_session import about
from runtime import state_folder
from runtime.simulator import SimulatorCredentials
from runtime.state_folder import RunFolder
from utils.config_loader import config as secrets
from utils.config_loader import environment


class FollowingClock(SystemClock):
    """The time of a free-running simulator: from `start` on at `speed` market seconds for each second of the wall."""

    def __init__(self, start: datetime, speed: float) -> None:
        super().__init__()
        self._start = start
        self._speed = speed
        self._began = self.monotonic()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=(self.monotonic() - self._began) * self._speed)


@dataclass(frozen=True, slots=True)
class Venue:
    """One broker, or a simulator of it. `simulator` is its admin address, empty for the broker; `login_page` approves by itself."""

    spec: Spec
    clock: SystemClock
    credentials: CredentialStore
    endpoints: Endpoints
    simulator: str = ""
    login_page: str | None = None

    def takes(self, kind: AccountKind) -> bool:
        """Whether accounts of this kind belong here."""
        return (kind in PRACTICE_KINDS) == bool(self.simulator)

    def its(self, account: Account) -> Account | None:
        """The account as it is traded here, or has its prices from here; None where neither: every practice account is at the broker of
        the simulator."""
        if not self.takes(account.kind):
            return None
        if self.spec.name in (account.lists, account.data_broker):
            return account
        return msgspec.structs.replace(account, broker=self.spec.name, data_broker=None) if self.simulator else None

    def folder(self, state: Path, account: Account) -> RunFolder:
        """Where session and instruments of this account lie; made if it is not there."""
        if self.simulator:
            return state_folder.simulated_folder(state, account.name, self.simulator)
        return state_folder.account_folder(state, account.name)

    def session(self, account: Account, folder: RunFolder) -> Session:
        """The account's login at this broker, kept in its folder."""
        token_file = folder.token_file(self.spec.name)
        credentials = self.credentials_of(account)
        return self.spec.make_session(account.name, credentials, self.clock, token_file, self.endpoints, lambda event: None)

    def credentials_of(self, account: Account) -> CredentialStore:
        """The simulator's, or those of the app that the account names, or the machine's."""
        return self.credentials if self.simulator or account.app is None else secrets.for_app(account.app)


def find(broker: str) -> Venue:
    """The present venue; raises ConfigError for an unknown broker, and for a simulator that does not answer or does not run freely."""
    spec, simulator = registry.get(broker), environment("NIYAM_SIMULATOR")
    if not simulator:
        return Venue(spec, SystemClock(), secrets, spec.endpoints)
    told = about(simulator)
    wire = told.get("brokers", {}).get(broker)
    if wire is None:
        raise ConfigError(f"the simulator at NIYAM_SIMULATOR={simulator} is one of {told.get('broker')}, not of {broker}")
    if not told.get("speed") or "grants" in told:
        raise ConfigError(f"the simulator at NIYAM_SIMULATOR={simulator} does not run freely: start `main.py simulate {broker} --speed 1`")
    clock = FollowingClock(datetime.fromisoformat(told["now"]), float(told["speed"]))
    endpoints = Endpoints(wire["rest"], wire["stream"], wire["login"])
    return Venue(spec, clock, SimulatorCredentials(broker, wire["credentials"]), endpoints, simulator, str(wire["login"]))
