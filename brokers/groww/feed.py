"""Groww's feed by polling: prices on one thread, order states on another, each within its own share of the account's limits.

Rules:
1. In market hours a round begins each second: the last prices of up to three batches of 50, batches in turn, and quotes of up to two
   instruments, in turn, for volume, book and time. Up to four instruments are quoted each round and need no last prices.
2. The orders of each segment that is subscribed are read every two seconds, each second while one of them works: the newest hundred, and
   older pages while one that worked at the last read has not been found. What changed is told.
3. Outside market hours one request in thirty seconds tells whether the broker answers; no prices are told then.
4. Connected means that the latest request was answered. A refusal for rate, a dead token, or `silence` seconds without an answer is told
   as a break, and prices from before it say nothing about when a later one was made.
5. All waiting is done in the clock: a granted day sees each request at its granted moment.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import brokers.groww.mapping as mapping
from brokers.faults import Faults
from brokers.groww import SPEC
from brokers.groww.client import Calls, may_poll, rows_of
from brokers.groww.wire import Decoder, chunks
from brokers.rest import token_of
from brokers.spec import Endpoints, FeedTransport, Lookup, Put, Session
from core.errors import BrokerError, DataError, NiyamError, RateLimited, SessionExpired
from core.events import Event, FeedStatus, OrderUpdate
from core.ports import Clock
from core.types import ENDED, Instrument, Tick
from utils.pacing import Budget, Lane, Limit

log = logging.getLogger(__name__)

LIMITS = (
    # the feed's share of what groww.in/trade-api/docs gives each type (read 2026-09-23); the rest is the client's
    Limit("live data/s (feed)", frozenset({"quote"}), 6, 1.25),  # of 10
    Limit("live data/min (feed)", frozenset({"quote"}), 250, 60.0),  # of 300
    Limit("reads/s (feed)", frozenset({"other"}), 6, 1.25),  # of 20
    Limit("reads/min (feed)", frozenset({"other"}), 150, 60.0),  # of 500
)

_ROUND = 1.0  # seconds
_QUOTED_ALONE = 4  # instruments up to which each is quoted in every round
_BATCHES, _QUOTES = 3, 2  # requests of one round otherwise: at most five a second, and four where there are at most two batches
_PER_ROUND = 4
_ORDERS_IDLE, _ORDERS_BUSY = 2.0, 1.0
_OFF_HOURS = 30.0
_LOOK = 1.0  # seconds between looks at whether the market has opened, and at whether there is a token
_SECONDS = 3.0  # for an answer; a later one is worth nothing
_SHORTEST_SILENCE = 4.0
_ORDER_PAGE, _MOST_PAGES = 100, 10
_START_S = 10.0


def make(
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
) -> "PollingFeed":
    """The feed of one account; see brokers.spec.FeedFactory. `transport` names Kite's own client; there is one way only here."""
    capacity = SPEC.instruments_per_stream
    return PollingFeed(account, session, clock, put, endpoints, lookup, in_hours, capacity=capacity, stale_after_s=stale_after_s)


class PollingFeed:
    """See core.ports.Feed. Two edge threads: `ACCOUNT/feed` polls prices, `ACCOUNT/feed-orders` order states."""

    def __init__(
        self,
        account: str,
        session: Session,
        clock: Clock,
        put: Put,
        endpoints: Endpoints,
        lookup: Lookup,
        in_hours: Callable[[], bool],
        *,
        capacity: int,
        stale_after_s: float,
    ) -> None:
        self._name = f"{account}/feed"
        self._orders_name = f"{account}/feed-orders"
        self._session = session
        self._clock = clock
        self._put = put
        self._lookup = lookup
        self._in_hours = in_hours
        self._capacity = capacity
        self._silence = max(stale_after_s, _SHORTEST_SILENCE)
        self._calls = Calls(session, clock, Budget(clock, LIMITS), None, endpoints, allow=may_poll)
        self._faults = Faults()
        self._decoder = Decoder(self._faults)
        self._lock = threading.RLock()
        self._desired: dict[str, Instrument] = {}
        self._ticked: set[str] = set()
        self._connected: bool | None = None  # None: nothing has been told yet
        self._heard = 0.0
        self._attempts = 0
        self._batch_turn = self._quote_turn = 0
        self._drop = ""
        self._seen: dict[str, OrderUpdate] = {}
        self._live: dict[str, set[str]] = {}  # segment -> the orders that had not ended when it was last read
        self._stopping = False
        self._threads: list[threading.Thread] = []

    # --- the Feed port ------------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._start({self._name: self._poll_prices, self._orders_name: self._poll_orders})

    def start_orders(self) -> None:
        """Instead of `start`: poll the order list alone."""
        self._start({self._orders_name: self._poll_orders})

    def _start(self, threads: Mapping[str, Callable[[], None]]) -> None:
        if self._threads:
            raise NiyamError(f"the feed {self._name} has been started already; make a new one")
        for name, run in threads.items():
            alive = threading.Event()
            thread = threading.Thread(target=self._inside, args=(name, run, alive), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
            alive.wait(_START_S)  # granted time must know of the thread before the engine goes on

    def stop(self) -> None:
        """End both threads after their present request; does not wait for them (see `join`)."""
        self._stopping = True
        self._clock.notify()

    def join(self, seconds: float) -> bool:
        """Wait up to `seconds` of wall time for the threads to end; True if they have."""
        for thread in self._threads:
            thread.join(seconds)
        return not any(thread.is_alive() for thread in self._threads)

    def subscribe(self, instruments: Iterable[Instrument]) -> None:
        with self._lock:
            new = [one for one in dict.fromkeys(instruments) if one.key not in self._desired]
            room = self._capacity - len(self._desired)
            if len(new) > room:
                left_out = ", ".join(one.key for one in new[room:][:5])
                log.error(
                    "feed %s: %d instruments exceed the %d that polling serves; left out: %s…",
                    self._name,
                    len(new),
                    self._capacity,
                    left_out,
                )
            self._desired.update((one.key, one) for one in new[:room])
        self._clock.notify()

    def unsubscribe(self, instruments: Iterable[Instrument]) -> None:
        with self._lock:
            for one in instruments:
                self._desired.pop(one.key, None)
                self._ticked.discard(one.key)

    def reconnect(self, reason: str) -> None:
        self._drop = reason
        self._clock.notify()

    def usage(self) -> Mapping[str, Any]:
        """What the polls have spent of the feed's share of the limits; see utils.pacing.Paced."""
        return self._calls.budget.today()

    @property
    def silent_for(self) -> float:
        return self._clock.monotonic() - self._heard if self._connected else float("inf")

    @property
    def counts(self) -> Mapping[str, int]:
        return dict(self._faults.counts)

    @property
    def texts(self) -> Sequence[str]:
        return tuple(self._faults.texts)

    @property
    def desired(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._desired)

    @property
    def confirmed(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._ticked & self._desired.keys()) if self._connected else frozenset()

    # --- prices -------------------------------------------------------------------------------------------------------------------------

    def _poll_prices(self) -> None:
        probe_at = 0.0
        while not self._stopping:
            began = self._clock.monotonic()
            if self._drop:
                self._calls.close()
                self._break(self._drop)
                self._drop = ""
            if not self._has_token():
                self._pause(_LOOK)
            elif self._in_hours():
                self._round()
                self._pause(max(0.0, began + _ROUND - self._clock.monotonic()), poked=True)
            else:
                if began >= probe_at:
                    probe_at = began + _OFF_HOURS
                    self._probe()
                self._pause(_LOOK)
        self._tell(False, "stopped")

    def _round(self) -> None:
        """The requests of one second."""
        with self._lock:
            wanted = list(self._desired.values())
        lookup = self._lookup()
        named = [(token, one) for one in wanted if (token := token_of(lookup, one))]
        self._faults.counts.update({"no name of today": len(wanted) - len(named)} if len(named) < len(wanted) else {})
        if len(named) <= _QUOTED_ALONE:
            quoted = named
        else:
            batches = list(chunks(named))
            turn = [batches[(self._batch_turn + place) % len(batches)] for place in range(min(_BATCHES, len(batches)))]
            self._batch_turn = (self._batch_turn + len(turn)) % len(batches)
            for segment, batch in turn:
                params = {"segment": segment, "exchange_symbols": ",".join(batch)}
                if not self._ask("/v1/live-data/ltp", params, partial(self._prices, asked=batch)):
                    return
            count = min(_QUOTES, max(1, _PER_ROUND - len(turn)))
            quoted = [named[(self._quote_turn + place) % len(named)] for place in range(count)]
            self._quote_turn = (self._quote_turn + count) % len(named)
        for token, instrument in quoted:
            exchange, segment, symbol = mapping.names_of(token)
            params = {"exchange": exchange, "segment": segment, "trading_symbol": symbol}
            if not self._ask("/v1/live-data/quote", params, partial(self._quote, instrument=instrument)):
                return
        if not named:
            self._probe()

    def _ask(self, path: str, params: Mapping[str, Any], take: Callable[[Any], list[Tick]]) -> bool:
        """One request and what came of it; False where the round should end."""
        if self._stopping or self._drop:
            return False
        try:
            payload = self._calls.get("quote", path, params, Lane.DATA, seconds=_SECONDS)
        except SessionExpired as error:
            self._break(str(error))
            return False
        except RateLimited as error:
            self._note(str(error))
            self._break(str(error))
            return False
        except BrokerError as error:
            self._note(str(error))
            silent = self._clock.monotonic() - self._heard
            if self._connected is not True or silent >= self._silence:
                self._break(f"no answer for {silent:.1f} s: {error}" if self._connected else str(error))
            return True  # one bad answer takes nothing from the others
        self._answered()
        ticks = take(payload)
        if ticks:
            with self._lock:
                self._ticked.update(tick.instrument.key for tick in ticks)
            self._put(ticks, self._name)
        return True

    def _prices(self, payload: Any, asked: Mapping[str, Instrument]) -> list[Tick]:
        return self._decoder.last_prices(payload, asked, self._clock.now())

    def _quote(self, payload: Any, instrument: Instrument) -> list[Tick]:
        return self._decoder.quote(payload, instrument, self._clock.now())

    def _probe(self) -> None:
        """Whether the broker answers, at a time without prices."""
        self._ask("/v1/live-data/ltp", {"segment": "CASH", "exchange_symbols": "NSE_NIFTY"}, lambda payload: [])

    # --- order states -------------------------------------------------------------------------------------------------------------------

    def _poll_orders(self) -> None:
        while not self._stopping:
            wait = _LOOK
            if self._in_hours() and self._has_token():
                try:
                    wait = _ORDERS_BUSY if self._read_orders() else _ORDERS_IDLE
                except BrokerError as error:  # the books are read beside this, and their failures are told by the engine
                    log.warning("feed %s: the order list could not be read (%s); asked again", self._name, error)
            self._pause(wait)

    def _read_orders(self) -> bool:
        """Tell what changed since the last read; whether an order works."""
        lookup, works = self._lookup(), False
        with self._lock:
            tokens = [token_of(lookup, one) for one in self._desired.values() if one.tradable]
        for segment in sorted({mapping.names_of(token)[1] for token in tokens if token}):
            changed, live = list[OrderUpdate](), set[str]()
            for row in self._order_rows(segment):
                try:
                    update = mapping.order_update(row, self._clock.now(), "poll", lookup)
                except (DataError, AttributeError, TypeError):
                    self._faults.counts["order row that does not read"] += 1
                    continue
                if update.state not in ENDED:
                    live.add(update.broker_order_id)
                if not _same(update, self._seen.get(update.broker_order_id)):
                    self._seen[update.broker_order_id] = update
                    changed.append(update)
            if changed:
                self._put(changed[::-1], self._orders_name)  # the oldest first
            self._live[segment], works = live, works or bool(live)
        return works

    def _order_rows(self, segment: str) -> list[Any]:
        """The newest orders of a segment, and so many older ones that everything that still worked at the last read is among them."""
        waited, rows = set(self._live.get(segment, ())), list[Any]()
        for page in range(_MOST_PAGES):
            params = {"segment": segment, "page": page, "page_size": _ORDER_PAGE}
            found = rows_of("order_list", self._calls.get("other", "/v1/order/list", params, Lane.PORTFOLIO, seconds=_SECONDS))
            rows += found
            waited -= {str(row.get("groww_order_id")) for row in found if isinstance(row, Mapping)}
            if len(found) < _ORDER_PAGE or not waited:
                break
        return rows

    # --- inside -------------------------------------------------------------------------------------------------------------------------

    def _inside(self, name: str, run: Callable[[], None], alive: threading.Event) -> None:
        with self._clock.thread(name):
            alive.set()
            try:
                run()
            except Exception as error:  # a fault of ours: it must not look like a quiet market
                self._tell(False, f"the feed's thread {name} died of {type(error).__name__}: {error}; restart the daemon")
                raise

    def _has_token(self) -> bool:
        try:
            self._session.token()
        except SessionExpired as error:
            if threading.current_thread().name == self._name:
                self._break(str(error))
            return False
        return True

    def _answered(self) -> None:
        self._heard = self._clock.monotonic()
        if self._connected is not True:
            self._tell(True, "")
            self._attempts = 0

    def _break(self, reason: str) -> None:
        """No longer connected; told once."""
        self._attempts += 1
        if self._connected is not False:
            self._decoder.forget()
            with self._lock:
                self._ticked.clear()
            self._tell(False, reason)

    def _tell(self, connected: bool, reason: str) -> None:
        self._connected = connected
        status: Event = FeedStatus(self._clock.now(), connected, reason, self._attempts)
        self._put([status], self._name)

    def _note(self, text: str) -> None:
        self._faults.counts["request that failed"] += 1
        self._faults.texts.append(text)

    def _pause(self, seconds: float, *, poked: bool = False) -> None:
        """Wait; `poked`: a call for a new connection ends the wait."""
        until = self._clock.monotonic() + seconds
        over = self._clock.wait_for(lambda: self._stopping or (poked and bool(self._drop)), until)
        if not over and self._clock.monotonic() < until - 0.01:
            self._stopping = True  # the simulator that owned time is gone: no wait is kept any more, and none is needed


def _same(update: OrderUpdate, before: OrderUpdate | None) -> bool:
    """Whether nothing of the order has changed but the time at which it was read."""
    return before is not None and _facts(update) == _facts(before)


def _facts(update: OrderUpdate) -> tuple[Any, ...]:
    return update.label, update.filled, update.quantity, update.limit_price, update.trigger_price, update.average_price, update.exchange_at
