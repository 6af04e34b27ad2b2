"""The nouns: instruments, prices, signals, orders, fills, positions and the read-only world a strategy sees.

All are frozen `msgspec.Struct`s (built about five times faster than frozen dataclasses; see docs/adr/0007). Prices are floats that
lie on the instrument's tick; booked money is an integer number of paise; quantities are integers in units (never lots); times are
aware and in IST.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta, timezone
from enum import StrEnum
from typing import Protocol

import msgspec

IST = timezone(timedelta(hours=5, minutes=30), "IST")  # India has had one fixed offset since 1945


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"

    sign: int

    def __init__(self, value: str) -> None:
        self.sign = 1 if value == "BUY" else -1


class Kind(StrEnum):
    """What an instrument is."""

    EQUITY = "EQ"
    INDEX = "INDEX"
    FUTURE = "FUT"
    CALL = "CE"
    PUT = "PE"


_OPTIONS = frozenset({Kind.CALL, Kind.PUT})


class OrderType(StrEnum):
    """MARKET and SL-M are what users may ask for; the engine itself sends only LIMIT and SL, never a bare market order."""

    LIMIT = "LIMIT"
    SL = "SL"
    MARKET = "MARKET"
    SL_M = "SL-M"


class Validity(StrEnum):
    DAY = "DAY"
    IOC = "IOC"


class Horizon(StrEnum):
    """How long a position may live; the broker's product follows from it, never the other way round."""

    INTRADAY = "intraday"
    CARRY = "carry"


class Purpose(StrEnum):
    """Why an order exists. Everything but ENTRY reduces or protects and passes where entries may not."""

    ENTRY = "entry"
    EXIT = "exit"
    PROTECT = "protect"
    SQUARE_OFF = "square_off"
    ROLL = "roll"


class AccountKind(StrEnum):
    PRACTICE = "practice"
    PRACTICE_LIVE = "practice-live"
    PAPER = "paper"
    LIVE = "live"


PRACTICE_KINDS = frozenset({AccountKind.PRACTICE, AccountKind.PRACTICE_LIVE})
"""The kinds that live on a simulator of their broker."""


class TradingState(StrEnum):
    ACTIVE = "ACTIVE"
    REDUCE_ONLY = "REDUCE_ONLY"
    HALTED = "HALTED"


class SessionState(StrEnum):
    VALID = "VALID"
    EXPIRING = "EXPIRING"
    LOGIN_REQUIRED = "LOGIN_REQUIRED"


class OrderState(StrEnum):
    """Where an order's life stands; the legal moves are in execution_engine/order_state.py."""

    NEW = "NEW"
    DENIED = "DENIED"
    SENDING = "SENDING"
    UNKNOWN = "UNKNOWN"
    PENDING_NEW = "PENDING_NEW"
    AMO_QUEUED = "AMO_QUEUED"
    TRIGGER_PENDING = "TRIGGER_PENDING"
    WORKING = "WORKING"
    PENDING_MODIFY = "PENDING_MODIFY"
    PENDING_CANCEL = "PENDING_CANCEL"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    NOT_FOUND = "NOT_FOUND"


ENDED = frozenset(
    {
        OrderState.DENIED,
        OrderState.FILLED,
        OrderState.CANCELLED,
        OrderState.REJECTED,
        OrderState.EXPIRED,
        OrderState.NOT_FOUND,
    }
)
"""States after which nothing more is expected of an order."""


class Instrument(msgspec.Struct, frozen=True, gc=False):
    """One tradable contract or one index. Its identity is (exchange, underlying, expiry, strike, kind), never a broker's token.

    `key` is `EXCHANGE:SYMBOL` in exchange style, e.g. `NFO:NIFTY26NOVFUT`. `lot` and `freeze` are in units; `freeze` is the largest
    orderable quantity of one order, already floored to lots (None: no limit known). `multiplier` turns price x quantity into rupees.
    `is_fno` says whether derivatives exist on this cash security today (it decides the closing auction, see core/market.py).
    """

    key: str
    exchange: str
    symbol: str
    kind: Kind
    underlying: str
    lot: int = 1
    tick_size: float = 0.05
    expiry: date | None = None
    strike: float | None = None
    freeze: int | None = None
    multiplier: int = 1
    is_fno: bool = False

    @property
    def segment(self) -> str:
        """The segment of the market calendar: EQ, FO, CDS or MCX (an index follows EQ)."""
        return SEGMENTS[self.exchange]

    @property
    def tradable(self) -> bool:
        return self.kind is not Kind.INDEX

    @property
    def is_option(self) -> bool:
        return self.kind in _OPTIONS


SEGMENTS = {"NSE": "EQ", "BSE": "EQ", "NFO": "FO", "BFO": "FO", "CDS": "CDS", "BCD": "CDS", "MCX": "MCX", "NCO": "MCX"}


class Tick(msgspec.Struct, frozen=True, gc=False):
    """A conflated snapshot of one instrument as the broker pushed it.

    `at` is our receive time, `exchange_at` the exchange's (None where the packet carries none). `volume` is the day's cumulative
    traded quantity, `quantity` that of the last trade. `bid` and `ask` are 0.0 where the book side is empty or unknown.
    """

    instrument: Instrument
    at: datetime
    price: float
    volume: int = 0
    quantity: int = 0
    exchange_at: datetime | None = None
    bid: float = 0.0
    ask: float = 0.0
    bid_quantity: int = 0
    ask_quantity: int = 0
    oi: int = 0
    previous_close: float = 0.0


class Bar(msgspec.Struct, frozen=True, gc=False):
    """One candle. `start` is its OPEN time, `at` the time it closed (start + interval); `interval` is in minutes.

    `gap` marks a bar built from a broken stream of ticks; `warmup` one played from history, on which nothing may be traded.
    """

    instrument: Instrument
    start: datetime
    at: datetime
    interval: int
    open: float
    high: float
    low: float
    close: float
    volume: int = 0
    oi: int = 0
    gap: bool = False
    warmup: bool = False


class Signal(msgspec.Struct, frozen=True, gc=False):
    """What a strategy wants to hold: `target` is a signed multiple of its configured size (0 = flat).

    `name` is the logical name the strategy is configured on (`NIFTY_FUT`); (strategy, name) is the key under which a target latches.
    """

    strategy: str
    name: str
    instrument: Instrument
    target: float
    at: datetime
    stop: float | None = None
    take_profit: float | None = None
    why: str = ""


class OrderRequest(msgspec.Struct, frozen=True, gc=False):
    """What buy_sell_logic wants done; it must pass the gate before anything else sees it."""

    strategy: str
    name: str
    instrument: Instrument
    side: Side
    quantity: int
    order_type: OrderType
    horizon: Horizon
    purpose: Purpose
    limit_price: float
    at: datetime
    trigger_price: float | None = None
    validity: Validity = Validity.DAY
    why: str = ""


class Approved(msgspec.Struct, frozen=True, gc=False):
    """An OrderRequest that passed every rule. Only risk/gate.py constructs one (tests/test_architecture.py holds it to that)."""

    request: OrderRequest
    at: datetime


class Refused(msgspec.Struct, frozen=True, gc=False):
    """Why a request may not become an order. `permanent` latches the key; otherwise it is retried at the strategy's next bar."""

    request: OrderRequest
    rule: str
    reason: str
    permanent: bool = False


class Evidence(msgspec.Struct, frozen=True, gc=False):
    """The newest broker row merged into an order: what it said, when we saw it, and the broker's own time of it (order_state.merge)."""

    state: OrderState
    filled: int
    at: datetime
    exchange_at: datetime | None = None


class Order(msgspec.Struct, frozen=True, gc=False):
    """One order, all that is known of it. `filled` and `average_price` are independent of `state` (a cancelled order may have fills)."""

    id: str
    tag: str
    account: str
    strategy: str
    name: str
    instrument: Instrument
    side: Side
    quantity: int
    order_type: OrderType
    horizon: Horizon
    purpose: Purpose
    created_at: datetime
    updated_at: datetime
    limit_price: float = 0.0
    trigger_price: float | None = None
    validity: Validity = Validity.DAY
    product: str = ""
    state: OrderState = OrderState.NEW
    previous_state: OrderState | None = None
    filled: int = 0
    average_price: float = 0.0
    broker_order_id: str | None = None
    reason: str = ""
    modifications: int = 0
    evidence: Evidence | None = None

    @property
    def remaining(self) -> int:
        return max(0, self.quantity - self.filled)


class Fill(msgspec.Struct, frozen=True, gc=False):
    """One execution as booked. `id` is the exchange's trade id (unique per instrument and day); `charges` are paise."""

    id: str
    order_id: str
    account: str
    strategy: str
    instrument: Instrument
    side: Side
    quantity: int
    price: float
    at: datetime
    charges: int = 0


class Position(msgspec.Struct, frozen=True, gc=False):
    """Net holding of one sub-account in one (instrument, product). Money fields are paise; `quantity` is signed.

    `cost` is what the open quantity cost (negative when short). The `day_` fields are the same money on the basis of the session `day`:
    a carried position counts from the price at which that session began.
    """

    account: str
    strategy: str
    instrument: Instrument
    product: str
    quantity: int
    average_price: float
    realised: int = 0
    charges: int = 0
    horizon: Horizon = Horizon.INTRADAY
    cost: int = 0
    day: date | None = None
    day_cost: int = 0
    day_realised: int = 0
    day_charges: int = 0


class Account(msgspec.Struct, frozen=True):
    """A configured account: whose money, at which broker, of which kind. There is no other switch between practice and live."""

    name: str
    kind: AccountKind
    broker: str
    capital: float = 1_000_000.0
    data_broker: str | None = None
    app: str | None = None
    plan: str | None = None

    @property
    def lists(self) -> str:
        """The broker by whose instrument list it trades: where its orders go; a paper kind sends none and needs its data's broker alone."""
        paper = self.kind in (AccountKind.PRACTICE, AccountKind.PAPER)
        return (self.data_broker or self.broker) if paper else self.broker

    @property
    def prices_elsewhere(self) -> bool:
        """Whether its prices come from another broker than the one its orders go to."""
        return self.data_broker not in (None, self.lists)


class View(Protocol):
    """The read-only world a strategy or a rule sees while one event is being handled."""

    @property
    def now(self) -> datetime: ...
    def last_price(self, instrument: Instrument) -> float | None: ...
    def position(self, strategy: str, instrument: Instrument) -> int: ...
    def resolve(self, name: str) -> Instrument | None: ...
    def phase(self, instrument: Instrument) -> str:
        """What its market is doing now: continuous, pre_open, auction, closing, post_close, block_deal, cancel_only or closed. Only
        continuous trading makes bars and acts on stops; a tick at another time is an indicative or an auction's price."""
        ...


class Snapshot(msgspec.Struct, frozen=True):
    """The engine's published state, in the shapes of the `--json` read-outs: plain dicts, ready to encode."""

    status: Mapping[str, object]
    orders: tuple[Mapping[str, object], ...] = ()
    positions: tuple[Mapping[str, object], ...] = ()
    signals: tuple[Mapping[str, object], ...] = ()
