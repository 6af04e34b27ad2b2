"""The logins of one process: accounts that use the same app of a broker share its session, its rate budget and its feed."""

import hashlib
import threading
from collections.abc import Callable

from brokers.spec import Announce, Session
from core.errors import NiyamError
from core.events import Event
from core.ports import Clock, CredentialStore
from data_ingestion.shared_feed import SharedFeed
from utils.pacing import Budget


class Line:
    """One login at one broker, with who listens to it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._listeners: list[Announce] = []
        self._session: Session | None = None
        self._budget: Budget | None = None
        self.feed = SharedFeed(clock)
        self.busy = False  # an account is logging in

    def session(self, make: Callable[[Announce], Session], announce: Announce) -> Session:
        """The login, made by the first account that has it; every account hears of its changes."""
        self._listeners.append(announce)
        if self._session is None:
            self._session = make(self._announce)
        return self._session

    def budget(self, make: Callable[[], Budget]) -> Budget:
        """What the broker allows this login, whoever of its accounts asks."""
        if self._budget is None:
            self._budget = make()
        return self._budget

    def claim(self) -> bool:
        """Whether the caller is the one that logs in now, and then says `release`: a second login would end the first one's token. Asked on
        engine threads, whose turns decide who it is."""
        with self._lock:
            claimed, self.busy = not self.busy, True
            return claimed

    def release(self) -> None:
        self.busy = False
        self._clock.notify()

    def wait(self) -> None:
        """Until the login of another account is done; on an edge thread."""
        self._clock.wait_for(lambda: not self.busy)

    def _announce(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)


class Lines:
    """Every line of the process, by broker and app."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], Line] = {}

    def line(self, broker: str, credentials: CredentialStore, clock: Clock) -> Line:
        """The line of this broker's app. Two accounts have one app when they log in with one API key."""
        try:
            key = hashlib.sha256(credentials.get_secret(f"{broker.upper()}_API_KEY").encode()).hexdigest()
        except NiyamError:
            key = ""  # not set, or locked: no login is possible before it is, and `check` says so
        found = self._lines.get((broker, key))
        if found is None:
            found = self._lines[broker, key] = Line(clock)
        return found
