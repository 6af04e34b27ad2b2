"""One small class for each limit: it looks at one request and the book, and answers with a reason, or None.

Rules of the rules: a cap is compared so that NaN fails it; a rule keeps nothing but its settings (Duplicate alone remembers); a
reason says what was seen, what is allowed, and what to do next where a person can do something.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import msgspec

from core.types import (
    Instrument,
    Order,
    OrderRequest,
    OrderType,
    Purpose,
    Side,
)
from risk.book import Case
from risk.settings import RiskSettings

LARGEST_PRICE = 1e9
LARGEST_QUANTITY = 10**9
"""Beyond these nothing on an Indian exchange lies; they keep the arithmetic of every other rule finite."""

BAND_MIN_TICKS = 20
"""No price band is narrower than this many ticks: three per cent of a cheap option is less than its spread."""


class Reason(msgspec.Struct, frozen=True):
    """Why not. `permanent` latches the key until the strategy wants something else (an exit never latches: the gate sees to it)."""

    text: str
    permanent: bool = True


class Rule(ABC):
    """The shape of a rule. `clocked` rules are not asked for the opening leg of a roll, `for_changes=False` not for a modification."""

    name: ClassVar[str]
    clocked: ClassVar[bool] = False
    for_changes: ClassVar[bool] = True
    remembers: ClassVar[bool] = False
    """Whether `passed` is written. Set by itself."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.remembers = cls.passed is not Rule.passed

    def __init__(self, settings: RiskSettings) -> None:
        self.settings = settings

    @abstractmethod
    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        """Why this request may not become an order, or None."""

    def passed(self, request: OrderRequest, case: Case) -> None:  # noqa: B027 - a hook that most rules leave empty
        """The request was approved by all rules."""


def prices(request: OrderRequest) -> tuple[float, ...]:
    """The limit, and the trigger where there is one."""
    return (request.limit_price,) if request.trigger_price is None else (request.limit_price, request.trigger_price)


def prices_of(order: Order) -> tuple[float, ...]:
    """The same of an order."""
    return (order.limit_price,) if order.trigger_price is None else (order.limit_price, order.trigger_price)


def band(reference: float, per_cent: float, instrument: Instrument) -> float:
    """The allowed distance in rupees; a thousandth of a tick of room, since prices on the tick are not exact floats."""
    return max(reference * per_cent / 100, BAND_MIN_TICKS * instrument.tick_size) + instrument.tick_size / 1000


# --- for entries and exits ------------------------------------------------------------------------------------------------------


class WellFormed:
    """The request makes sense by itself: types, finite numbers on the tick, a kind of order that we send, a tradable instrument. No other
    rule is asked of one that does not."""

    name = "well_formed"

    def look(self, request: OrderRequest) -> Reason | None:
        if not isinstance(request.side, Side) or not isinstance(request.purpose, Purpose):
            return Reason(f"side {_shown(request.side)} or purpose {_shown(request.purpose)} is none that exists")
        if type(request.quantity) is not int or not 0 < request.quantity <= LARGEST_QUANTITY:
            return Reason(f"quantity {_shown(request.quantity)} is not a whole number of units in 1..{LARGEST_QUANTITY}")
        if not request.instrument.tradable:
            return Reason(f"{request.instrument.key} is an index, which nobody can trade; configure its future")
        if request.order_type == OrderType.LIMIT:
            if request.trigger_price is not None:
                return Reason(f"a LIMIT order has no trigger, got {_shown(request.trigger_price)}")
            return self._price("limit price", request.limit_price, request.instrument)
        if request.order_type == OrderType.SL:
            return self._stop(request)
        return Reason(f"order type {_shown(request.order_type)}: only LIMIT and SL are ever sent")

    def _stop(self, request: OrderRequest) -> Reason | None:
        limit, trigger = request.limit_price, request.trigger_price
        wrong = self._price("limit price", limit, request.instrument) or self._price("trigger", trigger, request.instrument)
        if wrong is not None:
            return wrong
        assert trigger is not None  # None is no price
        if (limit - trigger) * request.side.sign < 0:
            return Reason(f"a {request.side} stop with limit {limit} on the wrong side of its trigger {trigger} could never fill")
        return None

    @staticmethod
    def _price(what: str, price: object, instrument: Instrument) -> Reason | None:
        if isinstance(price, bool) or not isinstance(price, (float, int)) or not 0 < price <= LARGEST_PRICE:
            return Reason(f"{what} {_shown(price)} is not a price above zero")
        ticks = price / instrument.tick_size
        if abs(ticks - round(ticks)) > 1e-4:
            return Reason(f"{what} {_shown(price)} is no multiple of the tick {instrument.tick_size} of {instrument.key}")
        return None


def _shown(value: object) -> str:
    """A value for a message, whatever it is (Python refuses to print integers of thousands of digits)."""
    return "beyond reason" if isinstance(value, int) and abs(value) > LARGEST_QUANTITY**2 else repr(value)[:40]


class LotMultiple(Rule):
    """The quantity is a multiple of the lot."""

    name = "lot"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        if request.quantity % request.instrument.lot:
            return Reason(f"quantity {request.quantity} is no multiple of the lot {request.instrument.lot} of {request.instrument.key}")
        return None


class FreezeQuantity(Rule):
    """One order stays within the exchange's freeze quantity; larger ones must come in slices."""

    name = "freeze"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        freeze = request.instrument.freeze
        if freeze is not None and request.quantity > freeze:
            return Reason(f"quantity {request.quantity} is above the freeze quantity {freeze} of {request.instrument.key}; slice it")
        return None


class CircuitLimits(Rule):
    """Limit and trigger lie within the day's price limits, where they are known; the exchange would refuse others."""

    name = "circuit"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        limits = case.book.circuit(request.instrument)
        if limits is None:
            return None
        low, high = limits
        for price in prices(request):
            if not low <= price <= high:
                return Reason(f"price {price} is outside today's limits {low}..{high} of {request.instrument.key}")
        return None


class RequestRate(Rule):
    """Order requests per second, minute and day. Exits may use a multiple: the paced budget queues them, nothing may refuse them."""

    name = "rate"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        settings = self.settings
        factor = settings.runaway_factor if case.reduces else 1.0
        second, minute, today = case.book.requests_sent(case.now)
        for sent, allowed, span in (
            (second, settings.orders_per_second * factor, "second"),
            (minute, settings.orders_per_minute * factor, "minute"),
            (today, settings.orders_per_day * factor, "day"),
        ):
            if not sent + 1 <= allowed:
                return Reason(f"{sent} order requests in the last {span}, {allowed:g} are allowed", permanent=False)
        return None


class NoTwin(Rule):
    """Where the broker gives no tag back, two working orders of the same (instrument, side, quantity, price) could not be told apart: the
    second waits until the first is closed."""

    name = "twin"
    for_changes = False

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        if case.book.tags_echoed:
            return None
        for order in case.live:
            same = (order.instrument.key, order.side, order.quantity) == (request.instrument.key, request.side, request.quantity)
            if same and all(abs(a - b) < request.instrument.tick_size / 2 for a, b in zip(prices(request), prices_of(order), strict=False)):
                text = (
                    f"{order.tag} works at the same price in the same size, and this broker gives no tag back; it waits for that one's end"
                )
                return Reason(text, permanent=False)
        return None


# --- for exits alone --------------------------------------------------------------------------------------------------------------


class OwnedOnly(Rule):
    """An exit closes what its strategy owns and no more, other working exits included; it never turns a position round."""

    name = "owned"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        held = case.held
        closing = case.book.closing(request.strategy, request.instrument)
        if held * request.side.sign >= 0:
            return Reason(f"{request.strategy} holds {held} of {request.instrument.key}: a {request.side} would not reduce it")
        if not request.quantity + closing <= abs(held):
            return Reason(f"{request.side} {request.quantity} with {closing} closing already exceeds the {held} of {request.strategy}")
        return None


class ExitBand(Rule):
    """An exit may chase the price, but not without end: a limit far through the last price (a stop's trigger) is a mistake."""

    name = "exit_band"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        reference = request.trigger_price if request.trigger_price is not None else case.last
        if reference is None:
            return None  # no price to compare with; holding on for that would be the greater risk
        allowed = band(reference, self.settings.exit_band_pct, request.instrument)
        if not (request.limit_price - reference) * request.side.sign <= allowed:
            return Reason(f"{request.side} at {request.limit_price} is more than {allowed:.2f} through {reference}")
        return None


# WellFormed stands before the lists of both modules: whether a request is an exit can only be asked of one that makes sense.
EXIT_RULES: tuple[Callable[[RiskSettings], Rule], ...] = (
    LotMultiple,
    FreezeQuantity,
    OwnedOnly,
    ExitBand,
    CircuitLimits,
    NoTwin,
    RequestRate,
)
