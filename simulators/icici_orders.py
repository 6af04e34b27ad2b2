"""Breeze's order desk: JSON bodies into orders of the exchange. What a body lacks is refused at once, all else is an order that may die."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from simulators.faults import Faults
from simulators.icici_errors import ApiError
from simulators.icici_names import Names, Scrip
from simulators.icici_rows import reference
from simulators.icici_session import Call
from simulators.orders import TERMINAL, OrderParams, OrderRefused, SimOrder
from simulators.placing import Placing
from simulators.world import World

PRODUCTS = {"cash": ("EQ", "CNC"), "btst": ("EQ", "CNC"), "mtf": ("EQ", "MTF"), "futures": ("FUT", "NRML"), "options": ("OPT", "NRML")}
"""Breeze's product -> the kind of instrument it is for, and the exchange's product. Margin products cannot be had by API."""
VALIDITIES = {"day": "DAY", "ioc": "IOC", "vtc": "DAY"}
NO_MARKET = "Order-type should be either 'limit' or 'stoploss'"
NO_PRODUCT = "Product should be either 'futures', 'options', 'cash', 'btst' or 'mtf'"
NO_SUCH_ORDER, NO_SUCH_STOCK = "Order-Id not found.", "Stock-Code not found."
UNCHANGEABLE = "Order has already been executed and cannot be modified."
UNCANCELLABLE = "Order has already been executed and cannot be cancelled."


class OrderDesk:
    """Every order request of every user."""

    def __init__(self, world: World, faults: Faults, names: Names) -> None:
        self.world = world
        self.names = names
        self._placing = Placing(world, faults)
        self.numbers = self._placing.numbers
        self.allocated: dict[tuple[str, str], float] = {}  # (user, segment) -> share of the cash; both halves unless told otherwise

    def place(self, call: Call) -> dict[str, Any]:
        order = self.send(call.user, self.params(call.body), call.now)
        what = "Equity CASH" if order.listing.kind == "EQ" else order.listing.kind.replace("FUT", "FUTURE")
        text = f"{what} Order placed successfully through RI reference no {reference(order)}"
        return {"order_id": reference(order), "message": text, "user_remark": call.text("user_remark") or None}

    def modify(self, call: Call) -> dict[str, Any]:
        order = self.own(call)
        if order.status in TERMINAL:
            raise ApiError(UNCHANGEABLE)
        kind = call.text("order_type").lower()
        if kind not in ("", "limit", "stoploss"):
            raise ApiError(NO_MARKET)
        validity = call.text("validity").lower()
        if validity and validity not in VALIDITIES:
            raise ApiError("Validity should be either 'day', 'ioc', or 'vtc'")
        try:
            self.world.exchange.modify(
                call.user,
                order.id,
                call.now,
                quantity=whole(call.body, "quantity") or None,
                price=decimal(call.body, "price") or None,
                trigger_price=decimal(call.body, "stoploss") or None,
                order_type={"limit": "LIMIT", "stoploss": "SL"}.get(kind),
                validity=VALIDITIES.get(validity),
                disclosed_quantity=whole(call.body, "disclosed_quantity") or None,
            )
        except OrderRefused as error:
            raise ApiError(str(error)) from error
        return {"message": "Successfully Modified the order", "order_id": reference(order)}

    def cancel(self, call: Call) -> dict[str, Any]:
        order = self.own(call)
        if order.status in TERMINAL:
            raise ApiError(UNCANCELLABLE)
        try:
            self.world.exchange.cancel(call.user, order.id, call.now)
        except OrderRefused as error:
            raise ApiError(str(error)) from error
        return {"order_id": reference(order), "message": "Your Order Canceled successfully."}

    def square_off(self, call: Call) -> dict[str, Any]:
        """An order against an open position."""
        body = {**call.body, "stoploss": call.text("stoploss_price"), "product": call.text("product_type") or call.text("product")}
        order = self.send(call.user, self.params(body), call.now)
        return {"order_id": reference(order), "message": "Square-off order placed successfully", "indicator": "0"}

    # --- inside -------------------------------------------------------------------------------------------------------------------

    def send(self, user: str, params: OrderParams, now: datetime) -> SimOrder:
        """An order of a known stock gets an id; what else is wrong with it ends it Rejected. Money must be allocated to its segment."""
        segment = "equity" if self.world.market.listings[params.key].kind == "EQ" else "fno"
        if self.allocated.get((user, segment), 1.0) <= 0:
            self.world.exchange.force_reject(f"Insufficient limits: no money is allocated to {segment}", user=user)
        try:
            return self._placing.send(user, params, now, late=True)
        except OrderRefused as error:
            raise ApiError(str(error)) from error

    def scrip(self, fields: Mapping[str, Any]) -> Scrip:
        found = self.names.find(fields)
        if found is None:
            raise ApiError(NO_SUCH_STOCK)
        return found

    def own(self, call: Call) -> SimOrder:
        wanted, exchange = call.text("order_id"), call.text("exchange_code").upper()
        if not wanted:
            raise ApiError("Order-Id cannot be empty")
        if not exchange:
            raise ApiError("Exchange-Code cannot be empty")
        for order in self.world.exchange.account(call.user).orders.values():
            if reference(order) == wanted and order.listing.exchange == exchange:
                return order
        raise ApiError(NO_SUCH_ORDER)

    def params(self, fields: Mapping[str, Any]) -> OrderParams:
        def text(name: str) -> str:
            value = fields.get(name)
            return "" if value is None else str(value).strip().lower()

        for name, title in (("product", "Product"), ("action", "Action"), ("order_type", "Order-type"), ("validity", "Validity")):
            if not text(name):
                raise ApiError(f"{title} cannot be empty")
        if text("product") not in PRODUCTS:
            raise ApiError(NO_PRODUCT)
        if text("action") not in ("buy", "sell"):
            raise ApiError("Action should be either 'buy', or 'sell'")
        if text("order_type") not in ("limit", "stoploss"):
            raise ApiError(NO_MARKET)
        if text("validity") not in VALIDITIES:
            raise ApiError("Validity should be either 'day', 'ioc', or 'vtc'")
        if not text("quantity"):
            raise ApiError("Quantity cannot be empty")
        if not text("price"):
            raise ApiError("Price cannot be empty")
        kind, product = PRODUCTS[text("product")]
        one = self.scrip(fields)
        mine = one.listing.kind if one.listing.kind in ("EQ", "FUT") else "OPT"
        if mine != kind:
            raise ApiError(NO_PRODUCT)
        if text("product") == "mtf" and text("action") == "sell":
            raise ApiError("SELL action is not allowed for MTF product type. ")
        stop = text("order_type") == "stoploss"
        return OrderParams(
            key=one.listing.key,
            side=text("action").upper(),
            quantity=whole(fields, "quantity"),
            order_type="SL" if stop else "LIMIT",
            product=product,
            price=decimal(fields, "price"),
            trigger_price=decimal(fields, "stoploss") if stop else 0.0,
            validity=VALIDITIES[text("validity")],
            disclosed_quantity=whole(fields, "disclosed_quantity"),
            tag=str(fields.get("user_remark") or "") or None,
        )


def whole(fields: Mapping[str, Any], name: str) -> int:
    try:
        value = int(float(fields.get(name) or 0))
    except (ValueError, TypeError, OverflowError) as error:
        raise ApiError(f"Invalid {name}") from error
    if not 0 <= value <= 10**9:
        raise ApiError(f"Invalid {name}")
    return value


def decimal(fields: Mapping[str, Any], name: str) -> float:
    try:
        value = float(fields.get(name) or 0)
    except (ValueError, TypeError) as error:
        raise ApiError(f"Invalid {name}") from error
    if not 0 <= value < 1e8:
        raise ApiError(f"Invalid {name}")
    return value
