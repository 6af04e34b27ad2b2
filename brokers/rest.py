"""What every REST client of a broker does alike: how long it waits, in which lane an order goes, what the end of a call means."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

import urllib3

from brokers.http_wire import NoConnection
from brokers.spec import Audit, Endpoints, Lookup
from brokers.transport import Allow, PooledSession, Response, ServerFault
from core.errors import BrokerError, DataError, RateLimited, Rejected, SessionExpired, Transient, Unknown
from core.ports import Clock, InstrumentLookup, Token, TokenSource
from core.types import IST, Bar, Instrument, Order, Purpose
from utils.departure import NeverSent
from utils.pacing import Budget, Lane

S = TypeVar("S", bound=TokenSource)
T = TypeVar("T")

ORDER_SECONDS = 3.0  # an order call that has no answer by then is Unknown; the look-up for it must not wait longer
READ_SECONDS = 7.0
DOWNLOAD_SECONDS = 60.0
_ENTRY_PATIENCE = 2.0  # an entry that waits longer for its place in the budget is stale: refused, nothing sent
_EXIT_PATIENCE = 60.0


class RestClient(Generic[S]):
    """What the client of one login is made of.

    `allow` (method, path) names what it may ask for where the account may not trade, and is None for a trading login; `is_download`
    tells by its path which reply is too long to audit in full.
    """

    allow: Allow | None
    is_download: Callable[[str], bool]

    def __init__(self, session: S, clock: Clock, budget: Budget, audit: Audit | None, endpoints: Endpoints, lookup: Lookup) -> None:
        self._session = session
        self._clock = clock
        self._budget = budget
        self._lookup = lookup
        self._rest = endpoints.rest.rstrip("/")
        self._http = PooledSession(clock, audit, allow=self.allow, downloads=self.is_download)

    def close(self) -> None:
        """Give the pooled connections back."""
        self._http.close()


@contextmanager
def minded(session: TokenSource, token: str, budget: Budget, kind: str, pause: float) -> Iterator[None]:
    """Around an authenticated call: a dead token is told to the session, and a limit that was met rests the budget for `pause` seconds."""
    try:
        yield
    except SessionExpired as error:
        session.invalidate(token, str(error))
        raise
    except RateLimited:
        budget.pause(pause, kind)
        raise


def answered(title: str, failure: Callable[..., BrokerError], ask: Callable[[], Response], *, is_order: bool) -> Response:
    """The reply that `ask` brings; raises what a server's fault (by the broker's own `failure`) or no answer at all means."""
    try:
        return ask()
    except ServerFault as error:
        failed = failure(error.status, "", str(error), is_order=is_order)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        failed = unanswered(title, error, is_order=is_order)
    raise failed


def lane_of(order: Order) -> Lane:
    """An entry's lane, or that of everything that reduces or protects."""
    return Lane.ENTRY if order.purpose is Purpose.ENTRY else Lane.EXIT


def patience_of(lane: Lane) -> float:
    """Seconds that an order call may wait for its place in the budget."""
    return _ENTRY_PATIENCE if lane is Lane.ENTRY else _EXIT_PATIENCE


def unanswered(title: str, error: Exception, *, is_order: bool) -> BrokerError:
    """What a call means that ended without a reply. An order for which no connection could be made was certainly never sent."""
    if is_order and isinstance(error, NoConnection):
        return NeverSent(f"{title} could not be reached, nothing was sent ({error})")
    text = f"no answer from {title} ({type(error).__name__}: {error})"
    return Unknown(f"{text}; the order may have been taken, look for it by its tag") if is_order else Transient(text)


def token_of(lookup: InstrumentLookup, instrument: Instrument) -> Token:
    """The broker's token of an instrument; empty where it knows none, which is then absent from what is asked for."""
    try:
        return lookup.token(instrument)
    except DataError:
        return ""


def token_to_order(lookup: InstrumentLookup, order: Order) -> Token:
    """The broker's token of what is to be ordered; raises Rejected where it knows none."""
    try:
        return lookup.token(order.instrument)
    except DataError as error:
        raise Rejected(f"order {order.id}: {error}; nothing was sent") from error


def mapped(title: str, what: str, answer: Any) -> Mapping[str, Any]:
    """An answer that is an object; raises Transient for anything else."""
    if not isinstance(answer, dict):
        raise Transient(f"{title}'s {what} came as {type(answer).__name__} where an object was due; this read proves nothing, ask again")
    return answer


def listed(title: str, what: str, rows: Any) -> list[Any]:
    """The rows of a book; raises Transient where there is no list: that is no evidence of an empty book."""
    if not isinstance(rows, list):
        raise Transient(f"{title}'s {what} came without a list ({type(rows).__name__}); this read proves nothing, ask again")
    return rows


def complete(make: Callable[[Any], T], rows: Sequence[Any]) -> list[T]:
    """All rows or none: a book that misses a row would be evidence of absence."""
    try:
        return [make(row) for row in rows]
    except (DataError, AttributeError, TypeError) as error:
        raise Transient(f"{error}; the whole read is dropped") from error


def candle(instrument: Instrument, row: Sequence[Any], interval: int) -> Bar:
    """A candle of the form [ISO time, open, high, low, close, volume, oi?]; raises IndexError, ValueError or TypeError."""
    start = datetime.fromisoformat(row[0]).astimezone(IST)
    oi = int(row[6]) if len(row) > 6 else 0
    close_at = start + timedelta(minutes=interval)
    return Bar(instrument, start, close_at, interval, float(row[1]), float(row[2]), float(row[3]), float(row[4]), int(row[5]), oi)
