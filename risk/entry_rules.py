"""The limits on entries, in the order in which they are asked: first whether trading is allowed now, then how much, then how fast."""

from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

from core.types import AccountKind, Horizon, Order, OrderRequest, OrderState, OrderType, SessionState, TradingState
from risk.book import Case, exposure
from risk.margin import required
from risk.rules import CircuitLimits, FreezeQuantity, LotMultiple, NoTwin, Reason, RequestRate, Rule, band, prices
from risk.settings import RiskSettings
from risk.strategy_rules import CoolDown, TradesToday


class StateAllows(Rule):
    """ACTIVE takes entries. REDUCE_ONLY holds them back; HALTED ends them, and a person's resume does not revive old ones."""

    name = "trading_state"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        state = case.book.state
        if state == TradingState.ACTIVE:
            return None
        halted = state == TradingState.HALTED
        return Reason(f"trading is {state}; `resume{' --confirm' if halted else ''}` allows entries again", permanent=halted)


class SessionValid(Rule):
    """The broker session can carry orders."""

    name = "session"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        if case.book.session == SessionState.LOGIN_REQUIRED:
            return Reason("the broker session needs a login (`main.py login BROKER`)", permanent=False)
        return None


class BooksTrusted(Rule):
    """Neither the account is blind nor the instrument frozen."""

    name = "blind"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        blind = case.book.blind
        if blind is not None:
            return Reason(f"blind: {blind}", permanent=False)
        frozen = case.book.frozen(request.instrument)
        if frozen is not None:
            return Reason(f"{request.instrument.key} is frozen: {frozen}", permanent=False)
        return None


class NotExpired(Rule):
    """The contract is still alive."""

    name = "expired"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        expiry = request.instrument.expiry
        if expiry is not None and expiry < case.now.date():
            return Reason(f"{request.instrument.key} expired on {expiry}; update the instruments")
        return None


class NotRestricted(Rule):
    """The security is on no list that forbids new positions (config/market/restricted/)."""

    name = "restricted"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        why = case.book.restricted(request.instrument)
        if why is not None:
            return Reason(f"no new position in {request.instrument.key}: {why}; exits pass")
        return None


class Expressible(Rule):
    """The account's broker has a product for it."""

    name = "product"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        why = case.book.objection(request.horizon, request.instrument)
        return Reason(f"no order of this kind at this broker: {why}") if why else None


class NoDelivery(Rule):
    """A stock's contract is not carried into the days in which it is settled in shares."""

    name = "delivery"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        flat_from = case.book.flat_from(request.instrument) if request.horizon == Horizon.CARRY else None
        if flat_from is not None and case.now >= flat_from:
            expiry = request.instrument.expiry
            return Reason(
                f"{request.instrument.key} is settled in shares on {expiry}; nothing is carried in it from {flat_from:%Y-%m-%d %H:%M}"
            )
        return None


class WithinWindow(Rule):
    """Between the opening of entries and their stop; an unknown broker cut-off refuses live intraday entries altogether."""

    name = "window"
    clocked = True

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        window = case.book.entry_window(request, case.now)
        if not window.known and request.horizon == Horizon.INTRADAY and case.book.account_kind == AccountKind.LIVE:
            text = "the broker's intraday cut-off for today is not known; give one in config/market/overrides.yaml"
            return Reason(text, permanent=False)
        if window.opens is None or window.closes is None:
            return Reason(f"no session of {request.instrument.key} today", permanent=False)
        if not window.opens <= case.now < window.closes:
            return Reason(f"entries are taken {window.opens:%H:%M:%S} to {window.closes:%H:%M:%S}", permanent=False)
        return None


class FreshData(Rule):
    """The feed is alive, and this instrument's last tick is young by our clock and by the exchange's."""

    name = "stale"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        stale = case.book.feed_stale
        if stale is not None:
            return Reason(f"the feed is stale: {stale}", permanent=False)
        instrument = request.instrument
        received, exchange = case.book.ages(instrument, case.now)
        if received is None:
            return Reason(f"no tick of {instrument.key} yet", permanent=False)
        if not abs(received) <= self.settings.stale_after:  # from the future: our clock went back, and no age can be trusted
            return Reason(f"last tick of {instrument.key} is {received:.1f} s old", permanent=False)
        if exchange is not None and not exchange <= self.settings.exchange_stale_after:
            return Reason(f"last tick of {instrument.key} is {exchange:.1f} s old by the exchange's time", permanent=False)
        return None


class OrderQuantity(Rule):
    """Units in one order."""

    name = "order_quantity"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        if not request.quantity <= self.settings.max_order_quantity:
            return Reason(f"quantity {request.quantity} is above max_order_quantity {self.settings.max_order_quantity}")
        return None


class OrderValue(Rule):
    """Rupees in one order."""

    name = "order_value"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        cap = self.settings.max_order_value
        return None if case.at_stake <= cap else _above("order value", case.at_stake, "max_order_value", cap)


class EntryBand(Rule):
    """An entry's limit and trigger lie near the last price."""

    name = "price_band"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        last = case.last
        if last is None:
            return Reason(f"no price of {request.instrument.key} yet", permanent=False)
        allowed = band(last, self.settings.price_band_pct, request.instrument)
        for price in prices(request):
            if not abs(price - last) <= allowed:
                return Reason(f"price {price} is more than {allowed:.2f} from the last price {last} of {request.instrument.key}")
        return None


class NoUnknownOrder(Rule):
    """No order of this key is in UNKNOWN: it may have filled."""

    name = "unknown_order"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        for order in case.live:
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

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        if request.quantity == request.instrument.freeze:
            return None
        if self._recent:
            self._forget(case.now)
        print_ = _fingerprint(request)
        if print_ in [seen for _, seen in self._recent]:
            return Reason(f"the same order was approved less than {self.settings.duplicate_window:g} s ago", permanent=False)
        for order in case.opening:
            if _fingerprint(order) == print_:
                return Reason(f"the same order is working already ({order.id}, {order.state})", permanent=False)
        return None

    def passed(self, request: OrderRequest, case: Case) -> None:
        self._recent.append((case.now, _fingerprint(request)))

    def _forget(self, now: datetime) -> None:
        while self._recent and (now - self._recent[0][0]).total_seconds() >= self.settings.duplicate_window:
            self._recent.popleft()


class NoSelfTrade(Rule):
    """The entry would not meet a resting order of our own, of whatever strategy."""

    name = "self_trade"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        if request.order_type == OrderType.SL:
            return None  # it rests behind its trigger
        for order in case.live:
            if order.instrument.key != request.instrument.key or order.side == request.side:
                continue
            resting = order.order_type == OrderType.LIMIT or order.state == OrderState.WORKING
            if resting and (request.limit_price - order.limit_price) * request.side.sign >= 0:
                return Reason(f"it would trade with our own order {order.id} at {order.limit_price}", permanent=False)
        return None


class NotAgainstOwn(Rule):
    """An entry does not oppose the strategy's own position: turning round is an exit, then an entry after its fill."""

    name = "opposes_position"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        held = case.held
        if held * request.side.sign < 0:
            return Reason(f"{request.strategy} still holds {held} of {request.instrument.key}; the exit comes first", permanent=False)
        return None


class InstrumentValue(Rule):
    """Rupees on one side of an instrument, over all strategies, if every working entry on it filled.

    What another strategy holds on the other side makes no room: no rule may stop it from going first.
    """

    name = "instrument_value"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        instrument, side = request.instrument, request.side
        working = 0
        for order in case.opening:
            if order.instrument.key == instrument.key and order.side == side:
                working += order.remaining
        units = case.book.on_side(instrument, side) + working + request.quantity
        value = exposure(instrument, side, units, case.price)
        cap = self.settings.max_instrument_value
        return None if value <= cap else _above(f"value in {instrument.key}", value, "max_instrument_value", cap)


class StrategyExposure(Rule):
    """Rupees gross in one strategy, working entries included."""

    name = "strategy_exposure"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        working = 0.0
        for order in case.opening:
            if order.strategy == request.strategy:
                working += _working_exposure(order)
        total = case.book.strategy_exposure(request.strategy) + working + case.at_stake
        cap = self.settings.max_strategy_exposure
        return None if total <= cap else _above(f"exposure of {request.strategy}", total, "max_strategy_exposure", cap)


class GrossExposure(Rule):
    """Rupees gross over the account, EXTERNAL and working entries included."""

    name = "gross_exposure"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        working = 0.0
        for order in case.opening:
            working += _working_exposure(order)
        total = case.book.account_exposure() + working + case.at_stake
        cap = self.settings.max_gross_exposure
        return None if total <= cap else _above("exposure of the account", total, "max_gross_exposure", cap)


class EnoughMargin(Rule):
    """The approximate margin of this order is free."""

    name = "margin"

    def check(self, request: OrderRequest, case: Case) -> Reason | None:
        free = case.book.available_margin() if self.settings.check_margin else None
        if free is None:
            return None
        needed = required(
            request.instrument, request.side, request.quantity, request.limit_price, request.horizon, self.settings.margin, case.now.date()
        )
        if not needed <= free:
            return Reason(f"it needs about {needed:.2f} rupees of margin, {free:.2f} are free")
        return None


def _working_exposure(order: Order) -> float:
    return exposure(order.instrument, order.side, order.remaining, order.limit_price)


def _above(what: str, value: float, setting: str, cap: float) -> Reason:
    return Reason(f"{what} {value:.2f} rupees is above {setting} {cap:.2f}")


def _fingerprint(order: OrderRequest | Order) -> tuple[Any, ...]:
    return (order.strategy, order.instrument.key, order.side, order.quantity, order.order_type, order.limit_price, order.trigger_price)


ENTRY_RULES: tuple[Callable[[RiskSettings], Rule], ...] = (
    StateAllows,
    SessionValid,
    BooksTrusted,
    NotExpired,
    NotRestricted,
    Expressible,
    NoDelivery,
    WithinWindow,
    FreshData,
    TradesToday,
    CoolDown,
    LotMultiple,
    FreezeQuantity,
    OrderQuantity,
    OrderValue,
    EntryBand,
    CircuitLimits,
    NotAgainstOwn,
    NoUnknownOrder,
    NoTwin,
    Duplicate,
    NoSelfTrade,
    InstrumentValue,
    StrategyExposure,
    GrossExposure,
    EnoughMargin,
    RequestRate,
)
