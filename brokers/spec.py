"""What a broker's folder offers to the rest of the house: its facts, and the factories of session, data, broker and feed."""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from core.events import Event, OrderUpdate
from core.ports import Broker, Clock, CredentialStore, DataSession, Feed, InstrumentLookup, Token, TokenSource
from core.types import Horizon, Instrument, Kind, SessionState
from utils.pacing import Budget, Limit

Announce = Callable[[Event], None]
Put = Callable[[Sequence[Event], str], None]
Lookup = Callable[[], InstrumentLookup]
FeedTransport = Literal["native", "kiteticker"]
LoginKind = Literal["redirect", "code"]


class Session(TokenSource, Protocol):
    """A broker login of one account. Tokens are asked for at each attempt and never kept by the asker."""

    audit: "Audit | None"
    """Where its own calls to the broker are noted; None: nowhere."""

    def state(self) -> SessionState: ...
    def login_url(self) -> str:
        """Where a person logs in for the day."""
        ...

    def accept(self, answer: str) -> None:
        """Exchange a request token, or the whole redirect URL that carries it, for the day's token; raises BrokerError or ConfigError."""
        ...

    def auto_login(self, login_page: str) -> None:
        """Log in at a simulator's self-approving page on this machine; raises ConfigError for any other host."""
        ...

    def expires_at(self) -> datetime | None:
        """When the present token dies by the broker's rule; None without a token."""
        ...


class CodeSession(Session, Protocol):
    """A session whose login takes a one-time code, and which may renew itself without a person."""

    @property
    def needs_code(self) -> bool:
        """Whether a login takes a code that a person reads off; False where what is stored suffices."""
        ...

    def renew(self) -> bool:
        """Replace a dead token without a person; False where only a person helps. Blocks."""
        ...

    def unattended(self) -> None:
        """Log in by a code made from a stored secret; raises ConfigError where none is stored."""
        ...


class Audit(Protocol):
    """The append-only record of requests and replies; `request` returns once an order request is on disk."""

    def request(self, lane: str, method: str, route: str, masked_params: Mapping[str, Any]) -> int: ...
    def reply(self, number: int, status: int, masked_body: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Base addresses: REST root, stream root, and the login page a person opens."""

    rest: str
    stream: str
    login: str


_MOST = 10**9  # no lot, tick size, strike or freeze quantity comes near it


class InstrumentRow(msgspec.Struct, frozen=True, gc=False):
    """One line of a broker's instrument dump in our words. `token` is the broker's, good for the dump's day only.

    Raises ValueError for a lot, tick size (rupees), strike (rupees), multiplier or freeze quantity (units) that none can be.
    """

    key: str
    exchange: str
    symbol: str
    kind: Kind
    underlying: str
    token: Token
    name: str = ""
    lot: int = 1
    tick_size: float = 0.05
    expiry: date | None = None
    strike: float | None = None
    multiplier: int = 1
    freeze: int | None = None

    def __post_init__(self) -> None:
        numbers = (self.lot, self.tick_size, self.strike or 0.0)
        if not all(0 <= number < _MOST for number in numbers) or not 0 < self.multiplier < _MOST or not 0 < (self.freeze or 1) < _MOST:
            raise ValueError(f"{self.key}: a lot, tick size, strike, multiplier or freeze quantity that none can be")

    def instrument(self) -> Instrument:
        """The Instrument of this row; what its dump does not carry is added by whoever keeps it."""
        return Instrument(
            key=self.key,
            exchange=self.exchange,
            symbol=self.symbol,
            kind=self.kind,
            underlying=self.underlying,
            lot=self.lot,
            tick_size=self.tick_size,
            expiry=self.expiry,
            strike=self.strike,
            freeze=self.freeze,
            multiplier=self.multiplier,
        )


class InstrumentRows(Protocol):
    """A dump being read: iterate once for its good rows; `skipped` then says how many rows were left out, by reason."""

    skipped: dict[str, int]
    complete: bool  # False when the dump's last line has no end (a download that broke off)

    def __iter__(self) -> Iterator[InstrumentRow]: ...


def later(module: str, name: str) -> Callable[..., Any]:
    """`name` of `module`, which is loaded when this is called first: to name a broker must not load its client, its codec or an SDK."""

    def call(*given: Any, **named: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*given, **named)

    return call


class SessionFactory(Protocol):
    def __call__(
        self, account: str, credentials: CredentialStore, clock: Clock, token_file: Path, endpoints: Endpoints, announce: Announce
    ) -> Session: ...


class DataFactory(Protocol):
    def __call__(
        self, session: Session, clock: Clock, budget: Budget, audit: Audit | None, endpoints: Endpoints, lookup: Lookup
    ) -> DataSession: ...


class BrokerFactory(Protocol):
    def __call__(
        self, session: Session, clock: Clock, budget: Budget, audit: Audit | None, endpoints: Endpoints, lookup: Lookup
    ) -> Broker: ...


class FeedFactory(Protocol):
    def __call__(
        self,
        account: str,
        session: Session,
        clock: Clock,
        put: Put,
        endpoints: Endpoints,
        lookup: Lookup,
        transport: FeedTransport,
        in_hours: Callable[[], bool],
        *,
        stale_after_s: float = 5.0,
    ) -> Feed:
        """`stale_after_s`: silence in market hours after which the connection is dropped and made anew."""
        ...


class Postback(Protocol):
    def __call__(self, body: bytes, credentials: CredentialStore, at: datetime, lookup: InstrumentLookup) -> OrderUpdate:
        """What the broker posted, received `at`. Raises Rejected where it is not this account's app's, DataError where it does not read."""
        ...


@dataclass(frozen=True, slots=True)
class ReadPace:
    """How often a broker's books are read without a reason, in seconds; 0.0: with each read. A read with a reason (a login, an order of
    unknown fate, a reconnect) always brings positions too."""

    books_s: float = 15.0
    positions_s: float = 0.0
    funds_s: float = 0.0


def no_state(login_url: str, state: str) -> str:
    """This broker's login brings nothing of ours back with its answer."""
    return ""


def no_number(token: Token) -> str:
    """This broker's tokens do not hold the exchange's own number of an instrument."""
    return ""


def no_objection(horizon: Horizon, instrument: Instrument) -> str:
    """This broker's API can express every order of ours."""
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One broker. `secrets` are the credential names it reads; `historical_caps` is interval in minutes -> days in one request.

    `objection` says what the broker's API cannot express: why no position of that horizon can be held in that instrument and what to do
    instead, "" where it can. Its client refuses such an order before it is sent, and `check` tells beforehand.
    `stands_in` says what is ordered where the API lacks the product that a horizon needs, "" where nothing is amiss; `echoes_tags` False:
    the order list does not give our tag back, so that an order is told from another by what it is.
    `pace`: how often the books are read. `plan` is the brokerage plan of accounts that name none, where the broker sells several.
    `with_state` is the login address that makes the broker send `state` back with its answer, "" where it cannot.
    `exchange_number` finds the exchange's own number of an instrument in this broker's token, "" where the token has none.
    `tape_columns` turns many frames into a recording's columns (None: this broker's stream cannot be recorded).
    `instruments_per_stream` is what one connection of the feed takes, `streams` how many connections one login may have.
    `guards_nights`: its client keeps triggers over days (core.ports.GuardBroker), so that stops may stand over a night.
    `postback` reads the order updates that it posts to an address of ours; None: it posts none.
    `holds_at_wire`: its order calls go through brokers.transport.PooledSession alone, so that they may be prepared while their intent is
    written (utils/departure.py).
    """

    name: str
    title: str
    secrets: tuple[str, ...]
    endpoints: Endpoints
    limits: tuple[Limit, ...]
    tag_length: int
    instruments_per_stream: int
    streams: int = 1
    tape_columns: Callable[[Sequence[bytes], Sequence[int], bool], Mapping[str, Any]] | None = None
    modifications_per_order: int
    historical_caps: Mapping[int, int]
    make_session: SessionFactory
    make_data: DataFactory
    make_broker: BrokerFactory
    make_feed: FeedFactory
    product: Callable[[Horizon, Instrument], str]
    horizon_of: Callable[[str], Horizon]
    parse_instruments: Callable[[bytes], InstrumentRows]
    objection: Callable[[Horizon, Instrument], str] = no_objection
    stands_in: Callable[[Horizon, Instrument], str] = no_objection
    echoes_tags: bool = True
    pace: ReadPace = ReadPace()
    plan: str | None = None
    holds_at_wire: bool = False
    guards_nights: bool = False
    with_state: Callable[[str, str], str] = no_state
    postback: Postback | None = None
    exchange_number: Callable[[Token], str] = no_number
    login: LoginKind = "redirect"
