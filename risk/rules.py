"""One small class for each limit: it looks at one request and the book, and answers with a reason, or None.

Rules of the rules: a cap is compared so that NaN fails it; a rule keeps nothing but its settings (Duplicate alone remembers); a
reason says what was seen, what is allowed, and what to do next where a person can do something.
"""

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from core.types import (
    AccountKind,
    Horizon,
    Instrument,
    Order,
    OrderRequest,
    OrderState,
    OrderType,
    Purpose,
    SessionState,
    Side,
    TradingState,
)
from risk.book import RiskBook, exposure
from risk.margin import required
from risk.settings import RiskSettings

LARGEST_PRICE = 1e9
LARGEST_QUANTITY = 10**9
"""Beyond these nothing on an Indian exchange lies; they keep the arithmetic of every other rule finite."""

OPENING = frozenset({Purpose.ENTRY, Purpose.ROLL})
"""Purposes of orders that may add to a position (a roll's closing leg is counted as if it did, which errs to the safe side)."""


class Reason(msgspec.Struct, frozen=True):
    """Why not. `permanent` latches the key until the strategy wants something else."""

    text: str
    permanent: bool = True


class Rule(ABC):
    """The shape of a rule. `clocked` rules are not asked for the opening leg of a roll, `for_changes=False` not for a modification."""

    name: ClassVar[str]
    clocked: ClassVar[bool] = False
    for_changes: ClassVar[bool] = True

    def __init__(self, settings: RiskSettings) -> None:
        self.settings = settings

    @abstractmethod
    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        """Why this request may not become an order, or None."""

    def passed(self, request: OrderRequest, book: RiskBook) -> None:  # noqa: B027 - a hook that most rules leave empty
        """The request was approved by all rules."""


def opens_roll(request: OrderRequest, book: RiskBook) -> bool:
    """Whether this is the opening leg of a roll: nothing of ours lies on the other side of it."""
    return request.purpose == Purpose.ROLL and book.position(request.strategy, request.instrument) * request.side.sign >= 0


def reduces(request: OrderRequest, book: RiskBook) -> bool:
    """Whether the request is an exit in the gate's sense."""
    if request.purpose == Purpose.ROLL:
        return not opens_roll(request, book)
    return request.purpose in (Purpose.EXIT, Purpose.PROTECT, Purpose.SQUARE_OFF)


def working_entries(book: RiskBook) -> Iterator[Order]:
    """Live orders that may still add to a position; what they may still fill counts as held."""
    return (order for order in book.live_orders() if order.purpose in OPENING)


def _own_exposure(request: OrderRequest, book: RiskBook) -> float:
    """Rupees this order puts at stake, at its limit or the last price, whichever is higher."""
    price = max(request.limit_price, book.last_price(request.instrument) or 0.0)
    return exposure(request.instrument, request.side, request.quantity, price)


def _working_exposure(order: Order) -> float:
    return exposure(order.instrument, order.side, order.remaining, order.limit_price)


# --- for entries and exits ------------------------------------------------------------------------------------------------------


class WellFormed(Rule):
    """The request makes sense by itself: types, finite numbers on the tick, a kind of order that we send, a tradable instrument."""

    name = "well_formed"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        if not isinstance(request.side, Side) or not isinstance(request.purpose, Purpose):
            return Reason(f"side {request.side!r} or purpose {request.purpose!r} is none that exists")
        if type(request.quantity) is not int or not 0 < request.quantity <= LARGEST_QUANTITY:
            return Reason(f"quantity {request.quantity!r} is not a whole number of units in 1..{LARGEST_QUANTITY}")
        if not request.instrument.tradable:
            return Reason(f"{request.instrument.key} is an index, which nobody can trade; configure its future")
        if request.order_type == OrderType.SL:
            return self._stop(request)
        if request.order_type != OrderType.LIMIT:
            return Reason(f"order type {request.order_type!r}: only LIMIT and SL are ever sent")
        if request.trigger_price is not None:
            return Reason(f"a LIMIT order has no trigger, got {request.trigger_price!r}")
        return self._price("limit price", request.limit_price, request.instrument)

    def _stop(self, request: OrderRequest) -> Reason | None:
        limit, trigger = request.limit_price, request.trigger_price
        wrong = self._price("limit price", limit, request.instrument) or self._price("trigger", trigger, request.instrument)
        if wrong is None and trigger is not None and (limit - trigger) * request.side.sign < 0:
            return Reason(f"a {request.side} stop with limit {limit} on the wrong side of its trigger {trigger} could never fill")
        return wrong

    @staticmethod
    def _price(what: str, price: object, instrument: Instrument) -> Reason | None:
        if isinstance(price, bool) or not isinstance(price, float | int) or not 0 < price <= LARGEST_PRICE:
            return Reason(f"{what} {price!r} is not a price above zero")
        ticks = price / instrument.tick_size
        if abs(ticks - round(ticks)) > 1e-4:
            return Reason(f"{what} {price!r} is no multiple of the tick {instrument.tick_size} of {instrument.key}")
        return None


class LotMultiple(Rule):
    """The quantity is a multiple of the lot."""

    name = "lot"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        if request.quantity % request.instrument.lot:
            return Reason(f"quantity {request.quantity} is no multiple of the lot {request.instrument.lot} of {request.instrument.key}")
        return None


class FreezeQuantity(Rule):
    """One order stays within the exchange's freeze quantity; larger ones must come in slices."""

    name = "freeze"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        freeze = request.instrument.freeze
        if freeze is not None and request.quantity > freeze:
            return Reason(f"quantity {request.quantity} is above the freeze quantity {freeze} of {request.instrument.key}; slice it")
        return None


class CircuitLimits(Rule):
    """Limit and trigger lie within the day's price limits, where they are known; the exchange would refuse others."""

    name = "circuit"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        limits = book.circuit(request.instrument)
        if limits is None:
            return None
        low, high = limits
        for price in _prices(request):
            if not low <= price <= high:
                return Reason(f"price {price} is outside today's limits {low}..{high} of {request.instrument.key}")
        return None


class RequestRate(Rule):
    """Order requests per second, minute and day. Exits may use a multiple: the paced budget queues them, nothing may refuse them."""

    name = "rate"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        factor = self.settings.runaway_factor if reduces(request, book) else 1.0
        for sent, cap, span in (
            (book.orders_in(1.0), self.settings.orders_per_second, "second"),
            (book.orders_in(60.0), self.settings.orders_per_minute, "minute"),
            (book.orders_today(), self.settings.orders_per_day, "day"),
        ):
            if not sent + 1 <= cap * factor:
                return Reason(f"{sent} order requests in the last {span}, {cap * factor:g} are allowed", permanent=False)
        return None


# --- for exits alone --------------------------------------------------------------------------------------------------------------


class OwnedOnly(Rule):
    """An exit closes what its strategy owns and no more, other working exits included; it never turns a position round."""

    name = "owned"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        held = book.position(request.strategy, request.instrument)
        closing = book.closing(request.strategy, request.instrument)
        if held * request.side.sign >= 0:
            return Reason(f"{request.strategy} holds {held} of {request.instrument.key}: a {request.side} would not reduce it", False)
        if not request.quantity + closing <= abs(held):
            text = f"{request.side} {request.quantity} with {closing} already closing exceeds the {held} that {request.strategy} holds"
            return Reason(text, permanent=False)
        return None


class ExitBand(Rule):
    """An exit may chase the price, but not without end: a limit far through the last price (a stop's trigger) is a mistake."""

    name = "exit_band"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        reference = request.trigger_price if request.trigger_price is not None else book.last_price(request.instrument)
        if reference is None:
            return None  # no price to compare with; holding on for that would be the greater risk
        allowed = _band(reference, self.settings.exit_band_pct, self.settings.band_min_ticks, request.instrument)
        if not (request.limit_price - reference) * request.side.sign <= allowed:
            return Reason(f"{request.side} at {request.limit_price} is more than {allowed:.2f} through {reference}", permanent=False)
        return None


# --- for entries alone ------------------------------------------------------------------------------------------------------------


class StateAllows(Rule):
    """ACTIVE takes entries. REDUCE_ONLY holds them back; HALTED ends them, and a person's resume does not revive old ones."""

    name = "trading_state"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        if book.trading_state == TradingState.ACTIVE:
            return None
        halted = book.trading_state == TradingState.HALTED
        return Reason(f"trading is {book.trading_state}; `resume{' --confirm' if halted else ''}` allows entries again", permanent=halted)


class SessionValid(Rule):
    """The broker session can carry orders."""

    name = "session"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        if book.session_state == SessionState.LOGIN_REQUIRED:
            return Reason("the broker session needs a login (`main.py login BROKER`)", permanent=False)
        return None


class BooksTrusted(Rule):
    """Neither the account is blind nor the instrument frozen."""

    name = "blind"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        blind = book.blind
        if blind is not None:
            return Reason(f"blind: {blind}", permanent=False)
        frozen = book.frozen(request.instrument)
        if frozen is not None:
            return Reason(f"{request.instrument.key} is frozen: {frozen}", permanent=False)
        return None


class NotExpired(Rule):
    """The contract is still alive."""

    name = "expired"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        expiry = request.instrument.expiry
        if expiry is not None and expiry < book.now.date():
            return Reason(f"{request.instrument.key} expired on {expiry}; update the instruments")
        return None


class WithinWindow(Rule):
    """Between the opening of entries and their stop; an unknown broker cut-off refuses live intraday entries altogether."""

    name = "window"
    clocked = True

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        window = book.entry_window(request)
        if not window.known and request.horizon == Horizon.INTRADAY and book.account_kind == AccountKind.LIVE:
            text = "the broker's intraday cut-off for today is not known; give one in config/market/overrides.yaml"
            return Reason(text, permanent=False)
        if window.opens is None or window.closes is None:
            return Reason(f"no session of {request.instrument.key} today", permanent=False)
        if not window.opens <= book.now < window.closes:
            return Reason(f"entries are taken {window.opens:%H:%M:%S} to {window.closes:%H:%M:%S}", permanent=False)
        return None


class FreshData(Rule):
    """The feed is alive, and this instrument's last tick is young by our clock and by the exchange's."""

    name = "stale"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        stale = book.feed_stale
        if stale is not None:
            return Reason(f"the feed is stale: {stale}", permanent=False)
        instrument = request.instrument
        received = book.received_age(instrument)
        if received is None:
            return Reason(f"no tick of {instrument.key} yet", permanent=False)
        if not received <= self.settings.stale_after:
            return Reason(f"last tick of {instrument.key} is {received:.1f} s old", permanent=False)
        exchange = book.exchange_age(instrument)
        if exchange is not None and not exchange <= self.settings.exchange_stale_after:
            return Reason(f"last tick of {instrument.key} is {exchange:.1f} s old by the exchange's time", permanent=False)
        return None


class OrderQuantity(Rule):
    """Units in one order."""

    name = "order_quantity"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        if not request.quantity <= self.settings.max_order_quantity:
            return Reason(f"quantity {request.quantity} is above max_order_quantity {self.settings.max_order_quantity}")
        return None


class OrderValue(Rule):
    """Rupees in one order."""

    name = "order_value"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        return _above(_own_exposure(request, book), self.settings.max_order_value, "order value", "max_order_value")


class EntryBand(Rule):
    """An entry's limit and trigger lie near the last price."""

    name = "price_band"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        last = book.last_price(request.instrument)
        if last is None:
            return Reason(f"no price of {request.instrument.key} yet", permanent=False)
        allowed = _band(last, self.settings.price_band_pct, self.settings.band_min_ticks, request.instrument)
        for price in _prices(request):
            if not abs(price - last) <= allowed:
                return Reason(f"price {price} is more than {allowed:.2f} from the last price {last} of {request.instrument.key}")
        return None


class NoUnknownOrder(Rule):
    """No order of this key is in UNKNOWN: it may have filled."""

    name = "unknown_order"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        for order in book.live_orders():
            if order.state == OrderState.UNKNOWN and (order.strategy, order.name) == (request.strategy, request.name):
                return Reason(f"order {order.id} of this key is UNKNOWN until the broker's books decide", permanent=False)
        return None


class Duplicate(Rule):
    """The same entry is neither working already nor approved a moment ago. Slices of the full freeze quantity are alike by design."""

    name = "duplicate"
    for_changes = False

    def __init__(self, settings: RiskSettings) -> None:
        super().__init__(settings)
        self._recent: deque[tuple[datetime, tuple[Any, ...]]] = deque()

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        if request.quantity == request.instrument.freeze:
            return None
        self._forget(book.now)
        print_ = _fingerprint(request)
        if any(print_ == seen for _, seen in self._recent):
            return Reason(f"the same order was approved less than {self.settings.duplicate_window:g} s ago", permanent=False)
        for order in working_entries(book):
            if _fingerprint(order) == print_:
                return Reason(f"the same order is working already ({order.id}, {order.state})", permanent=False)
        return None

    def passed(self, request: OrderRequest, book: RiskBook) -> None:
        self._forget(book.now)
        self._recent.append((book.now, _fingerprint(request)))

    def _forget(self, now: datetime) -> None:
        while self._recent and (now - self._recent[0][0]).total_seconds() >= self.settings.duplicate_window:
            self._recent.popleft()


class NoSelfTrade(Rule):
    """The entry would not meet a resting order of our own, of whatever strategy."""

    name = "self_trade"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        if request.order_type == OrderType.SL:
            return None  # it rests behind its trigger
        for order in book.live_orders():
            if order.instrument.key != request.instrument.key or order.side == request.side:
                continue
            resting = order.order_type == OrderType.LIMIT or order.state == OrderState.WORKING
            if resting and (request.limit_price - order.limit_price) * request.side.sign >= 0:
                return Reason(f"it would trade with our own order {order.id} at {order.limit_price}", permanent=False)
        return None


class NotAgainstOwn(Rule):
    """An entry does not oppose the strategy's own position: turning round is an exit, then an entry after its fill."""

    name = "opposes_position"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        held = book.position(request.strategy, request.instrument)
        if held * request.side.sign < 0:
            return Reason(f"{request.strategy} still holds {held} of {request.instrument.key}; the exit comes first", permanent=False)
        return None


class InstrumentValue(Rule):
    """Rupees net in one instrument, over all strategies, if every working entry on this side filled."""

    name = "instrument_value"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        instrument, side = request.instrument, request.side
        working = sum(o.remaining for o in working_entries(book) if o.instrument.key == instrument.key and o.side == side)
        units = max(0, book.net(instrument) * side.sign + working + request.quantity)
        price = max(request.limit_price, book.last_price(instrument) or 0.0)
        value = exposure(instrument, side, units, price)
        return _above(value, self.settings.max_instrument_value, f"value in {instrument.key}", "max_instrument_value")


class StrategyExposure(Rule):
    """Rupees gross in one strategy, working entries included."""

    name = "strategy_exposure"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        working = sum(_working_exposure(order) for order in working_entries(book) if order.strategy == request.strategy)
        total = book.strategy_exposure(request.strategy) + working + _own_exposure(request, book)
        return _above(total, self.settings.max_strategy_exposure, f"exposure of {request.strategy}", "max_strategy_exposure")


class GrossExposure(Rule):
    """Rupees gross over the account, EXTERNAL and working entries included."""

    name = "gross_exposure"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        working = sum(_working_exposure(order) for order in working_entries(book))
        total = book.account_exposure() + working + _own_exposure(request, book)
        return _above(total, self.settings.max_gross_exposure, "exposure of the account", "max_gross_exposure")


class EnoughMargin(Rule):
    """The approximate margin of this order is free."""

    name = "margin"

    def check(self, request: OrderRequest, book: RiskBook) -> Reason | None:
        free = book.available_margin() if self.settings.check_margin else None
        if free is None:
            return None
        needed = required(
            request.instrument, request.side, request.quantity, request.limit_price, request.horizon, self.settings.margin, book.now.date()
        )
        if not needed <= free:
            return Reason(f"it needs about {needed:.2f} rupees of margin, {free:.2f} are free")
        return None


# WellFormed stands before both lists: whether a request is an exit can only be asked of one that makes sense.
ENTRY_RULES: tuple[Callable[[RiskSettings], Rule], ...] = (
    StateAllows,
    SessionValid,
    BooksTrusted,
    NotExpired,
    WithinWindow,
    FreshData,
    LotMultiple,
    FreezeQuantity,
    OrderQuantity,
    OrderValue,
    EntryBand,
    CircuitLimits,
    NotAgainstOwn,
    NoUnknownOrder,
    Duplicate,
    NoSelfTrade,
    InstrumentValue,
    StrategyExposure,
    GrossExposure,
    EnoughMargin,
    RequestRate,
)
EXIT_RULES: tuple[Callable[[RiskSettings], Rule], ...] = (
    LotMultiple,
    FreezeQuantity,
    OwnedOnly,
    ExitBand,
    CircuitLimits,
    RequestRate,
)


def _prices(request: OrderRequest) -> tuple[float, ...]:
    return (request.limit_price,) if request.trigger_price is None else (request.limit_price, request.trigger_price)


def _band(reference: float, per_cent: float, ticks: int, instrument: Instrument) -> float:
    """The allowed distance in rupees; a thousandth of a tick of room, since prices on the tick are not exact floats."""
    return max(reference * per_cent / 100, ticks * instrument.tick_size) + instrument.tick_size / 1000


def _above(value: float, cap: float, what: str, setting: str) -> Reason | None:
    if math.isnan(value) or value > cap:
        return Reason(f"{what} {value:.2f} rupees is above {setting} {cap:.2f}")
    return None


def _fingerprint(order: OrderRequest | Order) -> tuple[Any, ...]:
    return (order.strategy, order.instrument.key, order.side, order.quantity, order.order_type, order.limit_price, order.trigger_price)
