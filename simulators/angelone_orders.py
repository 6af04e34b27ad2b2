"""Angel One's order desk: JSON bodies into orders, MARKET into a limit at the protection band's edge, after-market orders by the clock."""

from datetime import datetime
from typing import Any

from simulators.angelone_errors import ApiError
from simulators.angelone_names import Names, Scrip
from simulators.angelone_rows import ORDER_TYPES, PRODUCTS, unique_id, variety
from simulators.angelone_session import Call
from simulators.faults import Faults
from simulators.listing import Listing
from simulators.orders import OrderParams, OrderRefused, SimOrder
from simulators.placing import Placing
from simulators.world import World

VARIETIES = ("NORMAL", "STOPLOSS", "ROBO")
LONGEST_TAG = 19
_STOPS = ("STOPLOSS_LIMIT", "STOPLOSS_MARKET")

# Market price protection in percent (Angel One's notice of 2024-12-17): options by premium
_OPTION_BANDS = {True: ((10.0, 20.0), (20.0, 10.0), (50.0, 5.0), (0.0, 2.5)), False: ((10.0, 40.0), (20.0, 20.0), (50.0, 10.0), (0.0, 5.0))}
_CASH, _INDEX_FUTURE, _STOCK_FUTURE, _COMMODITY_FUTURE = 0.5, 0.5, 1.0, 1.0


def protection_of(listing: Listing, last: float, *, on_index: bool) -> float:
    """How far beyond the last price a market order may go, in percent."""
    commodity = listing.exchange in ("MCX", "NCO")
    if listing.kind == "EQ":
        return _CASH
    if listing.kind == "FUT":
        return _COMMODITY_FUTURE if commodity else _INDEX_FUTURE if on_index else _STOCK_FUTURE
    return next(percent for below, percent in _OPTION_BANDS[on_index or commodity] if last < below or not below)


class OrderDesk:
    """Every order request of every user. Nearly all that is wrong with an order is found after it has its id: it ends rejected."""

    def __init__(self, world: World, faults: Faults, names: Names) -> None:
        self._world = world
        self._names = names
        self._placing = Placing(world, faults)
        self.numbers = self._placing.numbers

    def place(self, call: Call) -> dict[str, Any]:
        """`data` of the reply; raises ApiError."""
        one = self.scrip(call)
        order = self.send(call.user, self._params(call, one), call.now)
        return {"script": one.symbol, "orderid": order.id, "uniqueorderid": unique_id(order)}

    def send(self, user: str, params: OrderParams, now: datetime) -> SimOrder:
        return self._placing.send(user, params, now, late=True)

    def modify(self, call: Call) -> dict[str, Any]:
        order = self._own(call)
        kind = call.text("ordertype")
        if kind not in ORDER_TYPES:
            raise ApiError("AB1008", "Invalid Order Type")
        try:
            self._world.exchange.modify(
                call.user,
                order.id,
                call.now,
                quantity=_whole(call, "quantity") if call.text("quantity") else None,
                price=_decimal(call, "price") if kind in ("LIMIT", "STOPLOSS_LIMIT") else None,
                trigger_price=_decimal(call, "triggerprice") if kind in _STOPS else None,
                order_type=ORDER_TYPES[kind],
                validity=call.text("duration") or None,
                protection=self._protection(self._names.of(order.listing), kind),
            )
        except OrderRefused as error:
            raise ApiError("AB2000", str(error)) from error
        return {"orderid": order.id, "uniqueorderid": unique_id(order)}

    def cancel(self, call: Call) -> dict[str, Any]:
        order = self._own(call)
        try:
            self._world.exchange.cancel(call.user, order.id, call.now)
        except OrderRefused as error:
            raise ApiError("AB2000", str(error)) from error
        return {"orderid": order.id, "uniqueorderid": unique_id(order)}

    def scrip(self, call: Call) -> Scrip:
        """The instrument a body names by exchange, token and symbol; they must agree."""
        one = self._names.find(call.text("exchange"), call.text("symboltoken"))
        if one is None or call.text("tradingsymbol") not in ("", one.symbol):
            raise ApiError("AB1009")
        return one

    def _params(self, call: Call, one: Scrip) -> OrderParams:
        wanted, kind, product = call.text("variety"), call.text("ordertype"), call.text("producttype")
        if wanted not in VARIETIES:
            raise ApiError("AB1008")
        if wanted == "ROBO":
            raise ApiError("AB2002")
        if kind not in ORDER_TYPES or (kind in _STOPS) != (wanted == "STOPLOSS"):
            raise ApiError("AB1008", "Invalid Order Type")
        if product not in PRODUCTS:
            raise ApiError("AB1012")
        if len(call.text("ordertag")) > LONGEST_TAG:
            raise ApiError("AB4008")
        is_open = self._world.exchange.is_open(one.listing.key, call.now)
        return OrderParams(
            key=one.listing.key,
            side=call.text("transactiontype"),
            quantity=_whole(call, "quantity"),
            order_type=ORDER_TYPES[kind],
            product=PRODUCTS[product],
            price=_decimal(call, "price") if kind in ("LIMIT", "STOPLOSS_LIMIT") else 0.0,
            trigger_price=_decimal(call, "triggerprice") if kind in _STOPS else 0.0,
            validity=call.text("duration") or "DAY",
            disclosed_quantity=_whole(call, "disclosedquantity"),
            variety="regular" if is_open else "amo",
            protection=self._protection(one, kind),
            tag=call.text("ordertag") or None,
        )

    def _protection(self, one: Scrip, kind: str) -> float:
        if kind not in ("MARKET", "STOPLOSS_MARKET"):
            return 0.0
        indices = {item.underlying for item in self._world.market.listings.values() if item.kind == "INDEX"}
        last = self._world.market.quote(one.listing.key).last_price
        return protection_of(one.listing, last, on_index=one.listing.underlying in indices)

    def _own(self, call: Call) -> SimOrder:
        order = self._world.exchange.account(call.user).orders.get(call.text("orderid"))
        if order is None:
            raise ApiError("AB1013")
        if call.text("variety") not in (variety(order), "NORMAL" if order.variety == "amo" else variety(order)):
            raise ApiError("AB1008")
        return order


def _whole(call: Call, name: str) -> int:
    text = call.text(name) or "0"
    try:
        value = int(float(text))
    except (ValueError, OverflowError) as error:
        raise ApiError("AB2000", f"Invalid {name}") from error
    if value < 0 or value != float(text):
        raise ApiError("AB2000", f"Invalid {name}")
    return value


def _decimal(call: Call, name: str) -> float:
    try:
        value = float(call.text(name) or 0)
    except ValueError as error:
        raise ApiError("AB2000", f"Invalid {name}") from error
    if not 0 <= value < 1e8:
        raise ApiError("AB2000", f"Invalid {name}")
    return value
