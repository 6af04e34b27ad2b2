"""The checks an order meets: at the API's door, at the broker's risk desk, at the exchange; with the texts clients really see.

Door refusals raise OrderRefused (no order comes to be). The risk desk and the exchange answer with (message, raw message) and the order
ends REJECTED. Texts are Kite's (Connect v3, Exceptions and Orders, and what clients have reported); where only their sense is known, the
wording here is near it.
"""

from datetime import date, datetime

from simulators.facts import Facts, Phase
from simulators.listing import Listing
from simulators.orders import OrderRefused, Why
from simulators.tape import as_grid

Rejection = tuple[str, str]
PRODUCTS = {"EQ": ("CNC", "MIS", "MTF"), "FUT": ("NRML", "MIS"), "CE": ("NRML", "MIS"), "PE": ("NRML", "MIS")}
NOT_LISTED = "The instrument you are placing an order for has either expired or does not exist."
CLOSED = "Markets are closed right now. Use an after market order (AMO) to place this order."
AMO_IN_HOURS = "After market orders (AMO) cannot be placed while the market is open. Place a regular order."
UNPROTECTED = "Market orders without market protection are not allowed via API. Please set market protection or use a Limit order."
BUSY_CANCEL = "Order cannot be cancelled as it is being processed. Try later."
BUSY_MODIFY = "Order cannot be modified as it is being processed. Try later."
TOO_MANY_CHANGES = "Maximum allowed order modifications exceeded."
MOST_CHANGES = 25
LPP_FUTURES, LPP_OPTIONS, LPP_CHEAP = 0.03, 0.40, 20.0

# Automatic market protection in percent of the last price, by price (Kite's, in force since 2026-04-01)
PROTECTION = ((100.0, 2.0), (500.0, 1.0), (float("inf"), 0.5))
PROTECTION_OPTIONS = ((10.0, 5.0), (100.0, 3.0), (500.0, 2.0), (float("inf"), 1.0))


def on_tick(price: float, tick: float) -> bool:
    steps = price / tick
    return abs(steps - round(steps)) < 1e-4


def door(listing: Listing, side: str, quantity: int, order_type: str, product: str, validity: str) -> None:
    """What the API refuses for any request to trade this listing."""
    if listing.kind == "INDEX":
        raise OrderRefused(Why.INPUT, f"{listing.symbol} is an index and cannot be traded.")
    if side not in {"BUY", "SELL"}:
        raise OrderRefused(Why.INPUT, "Invalid `transaction_type`.")
    if order_type not in {"LIMIT", "MARKET", "SL", "SL-M"}:
        raise OrderRefused(Why.INPUT, "Invalid `order_type`.")
    if validity not in {"DAY", "IOC"}:
        raise OrderRefused(Why.INPUT, "Invalid `validity`.")
    if product not in PRODUCTS[listing.kind]:
        raise OrderRefused(Why.INPUT, f"Invalid `product`: {product} is not available in {listing.exchange}.")
    if quantity <= 0:
        raise OrderRefused(Why.INPUT, "Invalid `quantity`.")
    if quantity % listing.lot:
        raise OrderRefused(Why.INPUT, "Quantity should be a multiple of lot size.")
    if order_type == "SL-M" and listing.kind in {"CE", "PE"}:
        raise OrderRefused(Why.INPUT, "SL-M orders are not allowed for options. Use a SL order with a limit price.")
    if order_type in {"SL", "SL-M"} and validity == "IOC":
        raise OrderRefused(Why.INPUT, "Stoploss orders cannot have IOC validity.")


def sizes(listing: Listing, side: str, quantity: int, order_type: str, price: float, trigger: float) -> None:
    """Prices on the tick, trigger and limit in order, quantity within the freeze limit; for place and modify."""
    tick = listing.tick_size
    for needed, value in ((order_type in {"LIMIT", "SL"}, price), (order_type in {"SL", "SL-M"}, trigger)):
        if not needed:
            continue
        if value <= 0:
            raise OrderRefused(Why.INPUT, f"Invalid {'price' if value is price else 'trigger price'}: {value:g}.")
        if not on_tick(value, tick):
            text = f"Tick size for this script is {tick:.2f}. Kindly enter price in the multiple of tick size for this script."
            raise OrderRefused(Why.INPUT, text)
    if order_type == "SL" and ((side == "BUY" and price < trigger) or (side == "SELL" and price > trigger)):
        relation = "lower than or equal to" if side == "BUY" else "higher than or equal to"
        raise OrderRefused(Why.INPUT, f"Trigger price should be {relation} the limit price for a stoploss {side.lower()} order.")
    if listing.freeze is not None and quantity > listing.freeze:
        raise OrderRefused(Why.INPUT, f"Order quantity exceeds freeze limit of {listing.freeze}. Place multiple orders or use autoslice.")


def protection_of(listing: Listing, price: float) -> float:
    """Automatic market protection of this listing at this price, in percent."""
    table = PROTECTION_OPTIONS if listing.kind in {"CE", "PE"} else PROTECTION
    return next(percent for below, percent in table if price < below)


def protected_price(listing: Listing, side: str, price: float, percent: float) -> float:
    """The band's edge a MARKET order becomes a limit at, on the tick and inside the circuits."""
    edge = price * (1 + percent / 100 if side == "BUY" else 1 - percent / 100)
    edge = max(listing.tick_size, as_grid(edge, listing.tick_size))
    if listing.upper_circuit:
        edge = min(max(edge, listing.lower_circuit), listing.upper_circuit)
    return edge


def price_problem(listing: Listing, side: str, order_type: str, price: float, trigger: float, last: float) -> Rejection | None:
    """Circuit limits, the exchange's limit price protection, and the side on which a trigger must lie."""
    if order_type in {"SL", "SL-M"}:
        if side == "BUY" and trigger <= last:
            return (
                "Trigger price for stoploss buy orders should be above LTP.",
                f"RMS:Trigger price {trigger:.2f} is below LTP {last:.2f}",
            )
        if side == "SELL" and trigger >= last:
            return (
                "Trigger price for stoploss sell orders should be below LTP.",
                f"RMS:Trigger price {trigger:.2f} is above LTP {last:.2f}",
            )
    if order_type == "SL-M":
        return None
    for bound, low in ((listing.lower_circuit, True), (listing.upper_circuit, False)):
        if bound and (price < bound - 1e-9 if low else price > bound + 1e-9):
            word = "lower" if low else "higher"
            text = f"Your order price is {word} than the current {'lower' if low else 'upper'} circuit limit of {bound:.2f}."
            return (text, "RMS:Rule: Check circuit limit including square off order exceeds")
    if order_type == "LIMIT" and listing.kind in {"FUT", "CE", "PE"}:
        width = LPP_FUTURES * last if listing.kind == "FUT" else LPP_CHEAP if last <= 50 else LPP_OPTIONS * last
        if (side == "BUY" and price > last + width) or (side == "SELL" and price < last - width):
            allowed = f"{last - width:.2f} to {last + width:.2f}"
            text = f"Order price {price:.2f} is outside the current allowed limit price protection range of {allowed}."
            return (text, "16283 : The order price is outside the current allowed limit price protection range")
    return None


class Sessions:
    """What the exchange accepts now, by the listing's session class and the clock."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._pre_open: dict[tuple[str, date], bool] = {}

    def segment(self, listing: Listing, day: date) -> str:
        return self._facts.segment(listing.exchange, listing.is_fno, day)

    def phase(self, listing: Listing, at: datetime) -> Phase | None:
        """The phase this listing trades (or collects orders) in; None when its market is closed."""
        day = at.date()
        for phase in self._facts.phases(self.segment(listing, day), day):
            if phase.start <= at < phase.end:
                if phase.kind == "pre_open" and not self.takes_part(listing, day):
                    return None
                if phase.kind == "continuous" and self.stops_at(listing, day, phase.end) <= at:
                    return None
                return phase
        return None

    def takes_part(self, listing: Listing, day: date) -> bool:
        """Is this listing in the opening auction of that day?"""
        known = self._pre_open.get((listing.key, day))
        if known is None:
            known = self._facts.in_pre_open(listing.kind, listing.underlying, listing.expiry, day)
            self._pre_open[(listing.key, day)] = known
        return known

    def stops_at(self, listing: Listing, day: date, end: datetime) -> datetime:
        """When continuous trading of this listing ends; expiring index contracts stop early from 2026-12-07."""
        if listing.expiry != day or "NIFTY" not in listing.underlying:
            return end
        return self._facts.expiring_index_stop(day) or end

    def objection(self, listing: Listing, order_type: str, requested: str, validity: str, disclosed: int, at: datetime) -> Rejection | None:
        """Why the exchange does not take this order in the present phase; None if it does."""
        phase = self.phase(listing, at)
        if phase is None:
            return ("The market is closed.", "16387 : Security is not allowed to trade in this market")
        if phase.kind == "continuous":
            return None
        if phase.order_types == () or phase.name in {"pre_open_match", "buffer", "cas_match"}:
            return (f"Orders are not accepted in this session ({phase.name}).", "16387 : Security is not allowed to trade in this market")
        if order_type in {"SL", "SL-M"} or validity == "IOC" or disclosed:
            return (
                "Stoploss, IOC and disclosed quantity orders are not allowed in the auction session.",
                "16420 : Order type not allowed in auction",
            )
        if requested == "MARKET" and phase.order_types is not None and "MARKET" not in phase.order_types:
            return ("Market orders are not allowed in this part of the auction session.", "16420 : Order type not allowed in auction")
        return None
