"""The doors of the engine: who fills its queue and who carries out what it wants. Backtest, paper and live differ only behind these."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime
from typing import Any, Protocol, runtime_checkable

from core.events import BrokerPosition, ChargesTold, Event, FeedStatus, Funds, Guard, Holding, OrderUpdate, Trade
from core.types import Bar, Fill, Instrument, Order, Position, Snapshot, Tick


class Clock(Protocol):
    """The one place that reads time, and through which every thread but the engine's waits.

    `now()` is market time (aware, IST): rules, timers, freshness. `monotonic()` is seconds for liveness, backoff and pacing.
    Threads at the edge live inside `thread()`, block only in `wait_for`, `call` or `listening`, and announce what they put into
    shared state with `notify()`. A GrantedClock uses exactly these to know when the whole process is quiet.
    """

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...
    def thread(self, name: str) -> AbstractContextManager[None]: ...
    def wait_for(self, ready: Callable[[], bool], until: float | None = None) -> bool:
        """Block this edge thread until `ready()` or monotonic() >= until; returns ready(). `ready` is called under the clock's lock."""
        ...

    def notify(self) -> None: ...
    def call(self, lane: str) -> AbstractContextManager[Mapping[str, str]]:
        """Around one blocking request of `lane` (`ACCOUNT/orders`, `ACCOUNT/reads`, `ACCOUNT/feed`); yields headers to send with it."""
        ...

    def listening(self, connection: str) -> AbstractContextManager[None]:
        """Around one blocking receive on a socket; leaves without error = one data frame was received, with an exception = it closed."""
        ...

    def sent(self, connection: str) -> None:
        """One frame was sent by us on this connection."""
        ...


class Feed(Protocol):
    """A live stream of ticks and order updates into the inbox."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def subscribe(self, instruments: Iterable[Instrument]) -> None: ...
    def unsubscribe(self, instruments: Iterable[Instrument]) -> None: ...
    def reconnect(self, reason: str) -> None:
        """Drop the present connection and make another (a mute socket); never blocks."""
        ...

    @property
    def silent_for(self) -> float:
        """Seconds (monotonic) since anything at all arrived, heartbeats included; infinity while not connected."""
        ...

    @property
    def counts(self) -> Mapping[str, int]:
        """What arrived and could not be used, by reason (`unknown token`, `truncated frame`), since this feed was made."""
        ...

    @property
    def texts(self) -> Sequence[str]:
        """The latest errors and messages that the broker sent as text."""
        ...

    @property
    def desired(self) -> frozenset[str]:
        """Keys that are subscribed, or are to be with the next connection."""
        ...

    @property
    def confirmed(self) -> frozenset[str]:
        """Those of them that have ticked since their present connection was made."""
        ...


class HistoricalSource(Protocol):
    def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
        """Bars of `interval` minutes (1440 = day) with start <= open time <= end, ascending; raises BrokerError."""
        ...


class InstrumentSource(Protocol):
    def instruments(self) -> bytes:
        """The broker's whole instrument dump of today, as it sends it (unpacked); raises BrokerError."""
        ...


class DataSession(HistoricalSource, InstrumentSource, Protocol):
    """What a paper account gets: market data and nothing that could make an order. Its transport refuses other routes as well."""

    def last_prices(self, instruments: Sequence[Instrument]) -> dict[str, float]:
        """Last traded price by instrument key; a key the broker does not know is absent."""
        ...

    def profile(self) -> Mapping[str, Any]: ...


@runtime_checkable
class CircuitSource(Protocol):
    """A DataSession that also knows the day's circuit limits."""

    def circuits(self, instruments: Sequence[Instrument]) -> dict[str, tuple[float, float]]:
        """(lowest, highest) allowed price by instrument key; one without limits, such as an index, is absent. Raises BrokerError."""
        ...


@runtime_checkable
class Broker(DataSession, Protocol):
    """A broker account over its REST API. Every method blocks and runs on a worker thread; raises core.errors types only."""

    def place(self, order: Order) -> str:
        """Send a new order, return the broker's order id. Rejected, RateLimited and SessionExpired are certain; else Unknown."""
        ...

    def modify(self, order: Order, *, quantity: int, limit_price: float, trigger_price: float | None) -> None: ...
    def cancel(self, order: Order) -> None: ...
    def orders(self) -> tuple[OrderUpdate, ...]: ...
    def trades(self) -> tuple[Trade, ...]: ...
    def positions(self) -> tuple[BrokerPosition, ...]: ...
    def funds(self) -> Funds: ...


@runtime_checkable
class HoldingSource(Protocol):
    """A Broker that also tells what lies in the demat account."""

    def holdings(self) -> tuple[Holding, ...]: ...


@runtime_checkable
class ChargeSource(Protocol):
    """A Broker that also tells what it takes for executed orders: by a note of them, or by its calculator at what they filled."""

    def order_charges(self, orders: Sequence[Order]) -> dict[str, ChargesTold]:
        """By our order id, for what each of these has filled today; one whose charges it cannot tell is absent. Raises BrokerError."""
        ...


@runtime_checkable
class OrderwiseTrades(Protocol):
    """A Broker whose executions have to be asked for order by order."""

    def executed(self, filled: Mapping[str, int]) -> None:
        """Up to these units (by the broker's order id) the executions are in the ledger: `trades` asks for those orders again only once
        more of them has filled. Before the first read."""
        ...


@runtime_checkable
class GuardBroker(Protocol):
    """A Broker that keeps triggers over days. Errors are those of order calls; `guards` is a read."""

    def place_guard(self, guard: Guard, last_price: float) -> str:
        """Set it, return the broker's id of it."""
        ...

    def cancel_guard(self, guard: Guard) -> None: ...
    def guards(self) -> tuple[Guard, ...]:
        """All of the account's that stand, and those that fired or ended lately."""
        ...


class Executor(Protocol):
    """Who carries out orders: BrokerWorker (threads around a Broker) or PaperBroker. Never blocks the engine; answers are events."""

    def prepare(self, order: Order) -> None:
        """The intent is being written: get ready all that comes before the first byte. Nothing leaves until `place`, or never: `forget`."""
        ...

    def place(self, order: Order) -> None:
        """Send it: the intent is on disk. `prepare` need not have been called."""
        ...

    def forget(self, order: Order) -> None:
        """What was prepared is never sent, and nothing is answered."""
        ...

    def modify(self, order: Order, *, quantity: int, limit_price: float, trigger_price: float | None) -> None: ...
    def cancel(self, order: Order) -> None: ...
    def read_books(self, *, positions: bool, urgent: bool = False) -> None: ...
    def on_market(self, event: Event) -> bool:
        """Hear a market event before the strategies do (paper: fill what was born earlier; live: nothing). Whether answers wait to be
        drained."""
        ...

    def drain(self) -> list[Event]:
        """Events this executor made without a thread (paper); taken before the next outside event."""
        ...

    def restore(self, orders: Sequence[Order], *, positions: Sequence[Position] = (), fills: Sequence[Fill] = ()) -> None:
        """The ledger's orders of today and those still alive, positions and fills at start (paper takes them up: its book lists the day;
        live has them at the broker, and need not read again what is booked)."""
        ...

    def end_of_day(self, now: datetime) -> None:
        """The last session of the day is over (paper ends its day orders; a real exchange does that itself)."""
        ...


class Ledger(Protocol):
    """The reading half of the ledger: what read-outs and reports need, from any thread or process with a reader of its own."""

    def orders(self, day: date | None = None) -> list[Order]: ...
    def fills(self, day: date | None = None) -> list[Fill]: ...
    def positions(self) -> list[Position]: ...
    def get(self, space: str, key: str) -> Any: ...
    def items(self, space: str) -> dict[str, Any]: ...
    def read_journal(
        self, *, kind: str | None = None, since: int = 0, day: date | None = None, before: int | None = None, last: int | None = None
    ) -> list[dict[str, Any]]: ...
    def snapshot(self) -> Snapshot | None: ...


Facts = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
"""What a journal entry says; or how to say it of things that never change, where a ledger in memory may never be asked."""


def said(facts: Facts) -> Mapping[str, Any]:
    return facts() if callable(facts) else facts


class Store(Ledger, Protocol):
    """The ledger. One writer, the engine thread. Writes join one transaction that `commit` makes durable (synchronous=FULL)."""

    def journal(self, at: datetime, kind: str, data: Facts) -> int:
        """Append one journal entry, return its gap-free sequence number."""
        ...

    def save_order(self, order: Order) -> None: ...
    def save_fill(self, fill: Fill) -> None: ...
    def save_position(self, position: Position) -> None: ...
    def put(self, space: str, key: str, value: Any) -> None:
        """Keep a small JSON value (targets, strategy state, trading state, schedules) under (space, key); None deletes it."""
        ...

    def save_snapshot(self, snapshot: Snapshot) -> None: ...
    def commit(self, meanwhile: Callable[[], None] | None = None) -> None:
        """Make all of it durable, or StoreError. `meanwhile` is called when only the disk is left to wait for."""
        ...

    def live_orders(self) -> list[Order]: ...


class Emergency(Protocol):
    """Where the intent of an exit goes that leaves while the ledger cannot be written, and the space kept back for the ledger."""

    def keep(self, order: Order) -> None:
        """On disk when it returns, or StoreError."""
        ...

    def clear(self) -> None:
        """The ledger has it all; or StoreError."""
        ...

    def free(self) -> bool:
        """Give the reserve to a disk without room; whether there was one."""
        ...

    def reserve(self) -> bool:
        """Take it again; False while there is no room."""
        ...


class CredentialStore(Protocol):
    """Secrets by name (`ZERODHA_API_KEY`); decrypted only for the call, never logged."""

    def get_secret(self, name: str) -> str: ...


class Notifier(Protocol):
    """Tells a person. `page` must be noticed now; `warn` today; `info` is for the record."""

    def send(self, level: str, title: str, text: str) -> None: ...


Token = int | str
"""What a broker calls an instrument by, on one day: Kite's number, Upstox's `NSE_FO|48225`. Only its broker's folder reads it."""


class InstrumentLookup(Protocol):
    """The day's instrument snapshot as brokers and engine use it. Tokens are the broker's, valid on that day only."""

    @property
    def day(self) -> date: ...
    def by_key(self, key: str) -> Instrument | None: ...
    def by_token(self, token: Token) -> Instrument | None: ...
    def token(self, instrument: Instrument) -> Token:
        """The broker's token of today; raises DataError for an instrument the snapshot does not hold."""
        ...


class CodeLookup(InstrumentLookup, Protocol):
    """A lookup that also finds by the beginning of a token, for brokers whose rows name an instrument but not its number."""

    def by_token_start(self, beginning: str) -> Instrument | None:
        """The one instrument whose token begins so; None where there is none, or more than one."""
        ...


class TokenSource(Protocol):
    """Answers "the token now" at each attempt; raises SessionExpired when only a person's login helps. Callers never keep the answer."""

    def token(self) -> str: ...
    def invalidate(self, token: str, reason: str) -> None:
        """The broker refused this token: mark the session LOGIN_REQUIRED (once for each token) and tell the engine."""
        ...


class Bars(Protocol):
    """Bars built from the engine's own ticks (data_ingestion/bars.py)."""

    def watch(self, instrument: Instrument, interval: int, now: datetime) -> None: ...
    def add(self, tick: Tick) -> None: ...
    def feed(self, status: FeedStatus) -> None: ...
    def hours_changed(self) -> None:
        """The calendar has other facts now: later ticks go by its new hours."""
        ...

    @property
    def due(self) -> datetime | None:
        """When the next bar is to be closed; None while none is open."""
        ...

    def close(self, now: datetime) -> list[Bar]: ...
    def heard(self) -> Mapping[tuple[str, int], datetime]:
        """(instrument key, interval) -> the end of the last bar that was handed on, where that is not simply the last boundary: what
        follows it is still to come, however late. What is not in it goes by the clock."""
        ...

    def join(self, bar: Bar) -> Sequence[Bar]:
        """What strategies hear of a finished bar from outside: itself, and each coarser one that it completes."""
        ...


class TickGate(Protocol):
    """The quarantine in front of the engine (data_ingestion/tick_filter.py)."""

    def admit(self, tick: Tick) -> str:
        """Empty when the tick may enter, else why not (counted)."""
        ...
