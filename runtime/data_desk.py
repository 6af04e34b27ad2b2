"""Where an account's prices come from when it trades at another broker: a login, a client, a feed and an instrument list of their own."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from brokers import registry
from brokers.spec import Audit, Endpoints, FeedTransport, Put, Session, Spec
from core.errors import DataError
from core.events import Event, SessionStatus
from core.market import Calendar
from core.ports import Clock, CredentialStore, DataSession, Feed, Notifier
from core.types import Account, Instrument, SessionState
from data_ingestion.instruments import InstrumentSnapshot, InstrumentStore
from data_ingestion.joined import Join, joined
from runtime.lines import Line
from utils.pacing import Budget


@dataclass(frozen=True, slots=True)
class Door:
    """How one broker is reached: its secrets, its addresses (None: the broker's own), and a simulator's login page, which approves by
    itself."""

    credentials: CredentialStore
    endpoints: Endpoints | None = None
    login_page: str | None = None


@dataclass
class DataDesk:
    """The data side of one account. `source` speaks the data broker's own words, `data` takes and gives the orders' instruments."""

    spec: Spec
    session: Session
    line: Line
    login_page: str | None
    budget: Budget
    source: DataSession
    instruments: InstrumentStore
    make_feed: Callable[[Callable[[], bool]], Feed]
    data: DataSession = field(init=False)
    _own: InstrumentSnapshot | None = None
    _join: Join | None = None

    def __post_init__(self) -> None:
        self.data = joined(self.source, self.join)

    def own(self) -> InstrumentSnapshot:
        """Today's list of the data's broker; DataError before the morning has loaded it."""
        if self._own is None:
            raise DataError(f"no instrument list of {self.spec.title} yet; the day's preparation loads it before anything asks")
        return self._own

    def join(self) -> Join:
        """Today's join of both lists; DataError before the morning has made it."""
        if self._join is None:
            raise DataError(f"no instrument list of {self.spec.title} yet; the day's preparation loads it before anything asks")
        return self._join

    def set(self, orders: InstrumentSnapshot, own: InstrumentSnapshot) -> None:
        """The lists of the day."""
        self._own, self._join = own, Join(orders, own, self.spec.title)

    def priced(self, instrument: Instrument) -> None:
        """Raises DataError, with the reason, for what has no prices here."""
        if instrument.tradable:
            self.join().theirs(instrument)


def make(
    account: Account,
    door: Door,
    *,
    clock: Clock,
    audit: Audit,
    put: Put,
    calendar: Calendar,
    folder: Path,
    token_file: Path,
    notifier: Notifier,
    transport: FeedTransport,
    stale_after_s: float,
    line: Line,
) -> DataDesk:
    """The data side of `account`, which names a `data_broker`; nothing is connected yet. Its threads and lanes are ACCOUNT/data/…"""
    assert account.data_broker is not None
    name = f"{account.name}/data"
    spec = registry.get(account.data_broker)
    endpoints = door.endpoints or spec.endpoints

    def announce(event: Event) -> None:
        """A dead token here stops entries by the feed that it ends; a person is told whose login is missing."""
        if isinstance(event, SessionStatus) and event.state is SessionState.LOGIN_REQUIRED:
            text = f"{account.name}: its prices come from {spec.title}: {event.reason}; {event.login_url}"
            notifier.send("page", "Login required for prices", text)

    session = line.session(lambda told: spec.make_session(name, door.credentials, clock, token_file, endpoints, told), announce)
    session.audit = session.audit or audit
    budget = line.budget(lambda: Budget(clock, spec.limits))

    def make_feed(in_hours: Callable[[], bool]) -> Feed:
        def make(put: Put) -> Feed:
            return spec.make_feed(name, session, clock, put, endpoints, desk.own, transport, in_hours, stale_after_s=stale_after_s)

        return line.feed.seat(put, make, trades=False, translation=desk.join)

    desk = DataDesk(
        spec=spec,
        session=session,
        line=line,
        login_page=door.login_page,
        budget=budget,
        source=spec.make_data(session, clock, budget, audit, endpoints, lambda: desk.own()),
        instruments=InstrumentStore(folder, calendar, spec.name),
        make_feed=make_feed,
    )
    return desk
