"""The words of the simulated exchange: order parameters, orders with their ladder of states, trades, positions, holdings, funds."""

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from simulators.listing import Listing


class Status(StrEnum):
    """The ladder, broker-neutral. Each broker simulator maps these to its own words."""

    RECEIVED = "RECEIVED"
    VALIDATING = "VALIDATING"
    OPEN_PENDING = "OPEN_PENDING"
    OPEN = "OPEN"
    TRIGGER_PENDING = "TRIGGER_PENDING"
    MODIFY_VALIDATING = "MODIFY_VALIDATING"
    MODIFY_PENDING = "MODIFY_PENDING"
    MODIFIED = "MODIFIED"
    CANCEL_PENDING = "CANCEL_PENDING"
    AMO_RECEIVED = "AMO_RECEIVED"
    COMPLETE = "COMPLETE"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"


TERMINAL = frozenset({Status.COMPLETE, Status.CANCELLED, Status.REJECTED})


class Why(StrEnum):
    """What sort of refusal an OrderRefused is; the broker simulator picks its HTTP code and error type by it."""

    INPUT = "INPUT"
    ORDER = "ORDER"
    MARGIN = "MARGIN"
    HOLDING = "HOLDING"
    HALTED = "HALTED"


class OrderRefused(Exception):
    """Refused at the door: no order came to be (or, for modify and cancel, nothing changed). `str()` is the broker's text."""

    def __init__(self, why: Why, message: str) -> None:
        super().__init__(message)
        self.why = why


@dataclass(frozen=True, slots=True)
class OrderParams:
    """What a client asks for. Quantities in units, prices in rupees.

    `order_type` LIMIT, MARKET, SL or SL-M. `product` is one of the broker's products told to Exchange (CNC, NRML, MIS, MTF).
    `protection` is for MARKET and SL-M: -1 automatic, 0 < x <= 100 percent; the order becomes a LIMIT at the band's edge.
    """

    key: str
    side: str
    quantity: int
    order_type: str
    product: str
    price: float = 0.0
    trigger_price: float = 0.0
    validity: str = "DAY"
    disclosed_quantity: int = 0
    variety: str = "regular"
    protection: float = 0.0
    tag: str | None = None
    tags: tuple[str, ...] = ()
    parent_id: str | None = None


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One row of an order's history: the order's changing fields as they stood when `status` was reached."""

    status: Status
    at: datetime
    exchange_at: datetime | None
    order_type: str
    price: float
    trigger_price: float
    quantity: int
    filled: int
    pending: int
    cancelled: int
    average_price: float
    message: str | None
    raw_message: str | None


@dataclass(frozen=True, slots=True)
class SimTrade:
    """One execution. `id` is unique per exchange segment and day."""

    id: str
    order_id: str
    exchange_order_id: str
    key: str
    side: str
    product: str
    quantity: int
    price: float
    at: datetime


@dataclass(slots=True)
class SimOrder:
    """An order at the broker. `placed_by` is the user, or "RMS" for the broker's own square-off; `requested_type` is what was asked.

    `protected` is the percent applied when a MARKET or SL-M was converted to LIMIT (None otherwise).
    """

    id: str
    user: str
    placed_by: str
    listing: Listing
    side: str
    quantity: int
    order_type: str
    product: str
    price: float
    trigger_price: float
    validity: str
    disclosed_quantity: int
    variety: str
    tag: str | None
    tags: tuple[str, ...]
    parent_id: str | None
    requested_type: str
    created_at: datetime
    updated_at: datetime
    protected: float | None = None
    status: Status = Status.RECEIVED
    exchange_order_id: str | None = None
    exchange_at: datetime | None = None
    filled: int = 0
    cancelled: int = 0
    average_price: float = 0.0
    modifications: int = 0
    message: str | None = None
    raw_message: str | None = None
    history: list[HistoryRow] = field(default_factory=list)
    trades: list[SimTrade] = field(default_factory=list)
    # the exchange's own bookkeeping
    sequence: int = 0
    queue_ahead: int = 0
    triggered: bool = False
    fill_cap: int | None = None
    charges_booked: bool = False

    @property
    def pending(self) -> int:
        return 0 if self.status in TERMINAL else self.quantity - self.filled

    @property
    def live(self) -> bool:
        return self.status not in TERMINAL


@dataclass(slots=True)
class SimPosition:
    """Net and day position of one (instrument, product). Money in rupees; `overnight_price` is the average cost carried in.

    Kite's identities hold: value = sell_value - buy_value; pnl = value + quantity x last_price.
    """

    listing: Listing
    product: str
    overnight_quantity: int = 0
    overnight_price: float = 0.0
    close_price: float = 0.0
    day_buy_quantity: int = 0
    day_buy_value: float = 0.0
    day_sell_quantity: int = 0
    day_sell_value: float = 0.0
    last_price: float = 0.0

    @property
    def day_quantity(self) -> int:
        return self.day_buy_quantity - self.day_sell_quantity

    @property
    def quantity(self) -> int:
        return self.overnight_quantity + self.day_quantity

    @property
    def buy_quantity(self) -> int:
        return self.day_buy_quantity + max(0, self.overnight_quantity)

    @property
    def sell_quantity(self) -> int:
        return self.day_sell_quantity + max(0, -self.overnight_quantity)

    @property
    def buy_value(self) -> float:
        return self.day_buy_value + max(0, self.overnight_quantity) * self.overnight_price

    @property
    def sell_value(self) -> float:
        return self.day_sell_value + max(0, -self.overnight_quantity) * self.overnight_price

    @property
    def buy_price(self) -> float:
        return self.buy_value / self.buy_quantity if self.buy_quantity else 0.0

    @property
    def sell_price(self) -> float:
        return self.sell_value / self.sell_quantity if self.sell_quantity else 0.0

    @property
    def average_price(self) -> float:
        """Average price of the open side; 0 when flat."""
        return 0.0 if self.quantity == 0 else self.buy_price if self.quantity > 0 else self.sell_price

    @property
    def value(self) -> float:
        return self.sell_value - self.buy_value

    @property
    def pnl(self) -> float:
        return self.value + self.quantity * self.last_price

    @property
    def unrealised(self) -> float:
        return self.quantity * (self.last_price - self.average_price) if self.quantity else 0.0

    @property
    def realised(self) -> float:
        return self.pnl - self.unrealised

    @property
    def m2m(self) -> float:
        """Like pnl, with what was carried in valued at yesterday's close instead of its cost."""
        return self.pnl + self.overnight_quantity * (self.overnight_price - self.close_price)


@dataclass(slots=True)
class SimHolding:
    """Delivered shares. `t1_quantity` was bought yesterday; `used_quantity` was sold today."""

    listing: Listing
    quantity: int = 0
    t1_quantity: int = 0
    used_quantity: int = 0
    average_price: float = 0.0
    last_price: float = 0.0
    close_price: float = 0.0

    @property
    def sellable(self) -> int:
        return self.quantity + self.t1_quantity - self.used_quantity

    @property
    def pnl(self) -> float:
        return (self.last_price - self.average_price) * (self.quantity + self.t1_quantity)


@dataclass(frozen=True, slots=True)
class SimFunds:
    """Rupees. `net` is what a new order may use: cash + realised + unrealised marks - everything utilised."""

    opening_balance: float
    net: float
    span: float
    exposure: float
    option_premium: float
    delivery: float
    m2m_realised: float
    m2m_unrealised: float
    debits: float
    charges: float


@dataclass(frozen=True, slots=True)
class SimMargin:
    """What one order would block, part by part, in rupees, by money.py's approximation."""

    span: float = 0.0
    exposure: float = 0.0
    option_premium: float = 0.0
    var: float = 0.0
    leverage: float = 1.0

    @property
    def total(self) -> float:
        return self.span + self.exposure + self.option_premium + self.var


@dataclass(frozen=True, slots=True)
class SimCharges:
    """One executed order's contract-note lines, in rupees, unrounded."""

    brokerage: float
    transaction_tax: float
    exchange_turnover: float
    sebi: float
    stamp: float
    gst: float
    tax_kind: str = "stt"
    ipft: float = 0.0  # the investor protection fund's part of exchange_turnover

    @property
    def total(self) -> float:
        return self.brokerage + self.transaction_tax + self.exchange_turnover + self.sebi + self.stamp + self.gst


@dataclass(slots=True)
class SimAccount:
    """One client's day at the broker; orders ascend by time of placing."""

    user: str
    cash: float
    orders: dict[str, SimOrder] = field(default_factory=dict)
    trades: list[SimTrade] = field(default_factory=list)
    positions: dict[tuple[str, str], SimPosition] = field(default_factory=dict)
    holdings: dict[str, SimHolding] = field(default_factory=dict)
    charges: float = 0.0
    day: date | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that happened to an order: the row it reached, and the trade if it was a fill (then `row` is after that fill)."""

    user: str
    order: SimOrder
    row: HistoryRow
    trade: SimTrade | None = None
