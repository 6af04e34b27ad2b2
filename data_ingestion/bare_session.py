"""What a bare script needs before it can ask for data: one broker login, its data calls, and today's instruments.

Credentials come by utils.config_loader.config (environment, .env, config/secrets.env). `BROKER_ACCESS_TOKEN`, where it is set, is used
as the day's token; else the session stored in STATE/session, which `python utils/zerodha_auth.py` makes. With
NIYAM_SIMULATOR (a `main.py simulate` admin address on this machine) everything comes from that simulator instead, login included.
"""

import dataclasses
import json
import shutil
import tempfile
import urllib.error
import urllib.request
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from brokers import registry
from core.clock import SystemClock
from core.errors import ConfigError, DataError, RateLimited
from core.events import Event
from core.ports import Clock, CredentialStore, DataSession, Feed
from core.types import IST, Instrument
from data_ingestion.instruments import InstrumentSnapshot, InstrumentStore
from utils.config_loader import Secrets, config, environment, load_calendar
from utils.pacing import Budget

ACCOUNT = "script"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def log_in_at_simulator(log_in: Callable[[str], None], page: str, clock: Clock) -> None:
    """Let a simulator's page approve. Another script may just have logged in, and logins are rated: up to two more tries, a second
    apart."""
    for _ in range(2):
        try:
            log_in(page)
        except RateLimited:
            clock.wait_for(lambda: False, clock.monotonic() + 1.1)
        else:
            return
    log_in(page)


class PastedToken:
    """The stored session, except that a token which a person put into the environment is tried first, until the broker refuses it."""

    def __init__(self, session: Any, name: str, secrets: Secrets = config) -> None:
        self._session = session
        self._name = name
        self._secrets = secrets
        self._refused: set[str] = set()

    def token(self) -> str:
        pasted = self._secrets.find(self._name)
        return pasted if pasted and pasted not in self._refused else str(self._session.token())

    def invalidate(self, token: str, reason: str) -> None:
        self._refused.add(token)
        self._session.invalidate(token, reason)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


class _Given:
    """The credentials of a simulator."""

    def __init__(self, broker: str, credentials: Mapping[str, str]) -> None:
        self._values = {f"{broker.upper()}_{name.upper()}": value for name, value in credentials.items()}

    def get_secret(self, name: str) -> str:
        if name not in self._values:
            raise ConfigError(f"the simulator gives no {name}")
        return self._values[name]


class BareSession:
    """One broker for one script. Raises ConfigError (unknown broker, missing secret) when made, BrokerError when used.

    `account` and `state` are given where the session of a configured account is to be used: its name and its folder.
    """

    def __init__(self, broker: str, state: Path | None = None, *, account: str = ACCOUNT) -> None:
        self._spec = registry.get(broker)
        self.clock = SystemClock()
        self.calendar = load_calendar()
        self._snapshot: InstrumentSnapshot | None = None
        self._trash: weakref.finalize[..., Any] | None = None
        simulator = environment("NIYAM_SIMULATOR")
        self.simulated = bool(simulator)
        self.source = broker
        self._endpoints = self._spec.endpoints
        credentials: CredentialStore = config
        if simulator:
            told = about(simulator)
            self.source = f"{broker}-{'synthetic' if told.get('synthetic', True) else 'recorded'}"
            self._folder = Path(tempfile.mkdtemp(prefix="niyam-script-"))
            self._trash = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            self._endpoints = dataclasses.replace(self._endpoints, **{name: told[name] for name in ("rest", "stream", "login")})
            self._day = date.fromisoformat(told["date"])
            credentials = _Given(broker, told["credentials"])
        else:
            self._folder = state or Path(environment("NIYAM_STATE", "var"))
            self._day = self.clock.now().astimezone(IST).date()
        made = self._spec.make_session(
            account, credentials, self.clock, self._folder / "session" / f"{broker}.json", self._endpoints, _unheard
        )
        if simulator:
            log_in_at_simulator(made.auto_login, self._endpoints.login, self.clock)
        self._session = made if simulator else cast(Any, PastedToken(made, f"{broker.upper()}_ACCESS_TOKEN"))
        self._budget = Budget(self.clock, self._spec.limits)
        self.data: DataSession = self._spec.make_data(self._session, self.clock, self._budget, None, self._endpoints, self.snapshot)

    @property
    def caps(self) -> Mapping[int, int]:
        """Candle interval in minutes -> most days in one request."""
        return self._spec.historical_caps

    @property
    def day(self) -> date:
        """Today, or the simulator's day."""
        return self._day

    def now(self) -> datetime:
        """The time of the market that is asked: the wall clock's, or the simulator's. Aware, IST."""
        if not self.simulated:
            return self.clock.now()
        return datetime.fromisoformat(about(environment("NIYAM_SIMULATOR"))["now"]).astimezone(IST)

    def snapshot(self) -> InstrumentSnapshot:
        """Today's instruments, downloaded on the first call of the day; BrokerError or DataError where they cannot be had."""
        if self._snapshot is None:
            store = InstrumentStore(self._folder / "instruments", self.calendar, self._spec.name)
            done = store.update(self.data, self._spec, self._day, self.clock.now())
            if not done.accepted:
                raise DataError(done.reason)  # a script has nobody to alert: yesterday's tokens may mean other instruments
            self._snapshot = done.snapshot
        return self._snapshot

    def resolve(self, symbol: str) -> Instrument:
        """NIFTY_FUT, RELIANCE, NFO:NIFTY26NOVFUT … as of today; DataError names the nearest."""
        return self.snapshot().resolve(symbol, self._day)

    def feed(self, instruments: Sequence[Instrument], put: Callable[[Sequence[Event], str], None]) -> Feed:
        """A feed of these instruments into `put`; not started."""

        def in_hours() -> bool:
            return any(self.calendar.is_open(instrument, self.clock.now()) for instrument in instruments)

        made = self._spec.make_feed(
            ACCOUNT,
            self._session,
            self.clock,
            put,
            self._endpoints,
            self.snapshot,
            "native",
            (lambda: True) if self.simulated else in_hours,
        )
        made.subscribe(instruments)
        return made

    def close(self) -> None:
        """Release the snapshot's file and what a simulated session kept."""
        if self._snapshot is not None:
            self._snapshot.close()
        if hasattr(self.data, "close"):
            self.data.close()
        if self._trash is not None:
            self._trash()


def _unheard(event: Event) -> None:
    """A script learns of a dead session by the exception of the call that met it."""


def about(address: str) -> dict[str, Any]:
    """What the simulator with this admin address says of itself; raises ConfigError for another host or no answer."""
    if urlsplit(address).scheme != "http" or urlsplit(address).hostname not in _LOOPBACK:
        raise ConfigError(
            f"NIYAM_SIMULATOR must be a simulator's admin address on this machine, such as http://127.0.0.1:9000, not {address!r}"
        )
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 - the scheme was checked
            found = json.load(answer)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise ConfigError(f"no simulator answers at NIYAM_SIMULATOR={address} ({error}); start `main.py simulate zerodha`") from error
    if not isinstance(found, dict):
        raise ConfigError(f"NIYAM_SIMULATOR={address} is no simulator's admin address: it answers {found!r:.80}")
    return found
