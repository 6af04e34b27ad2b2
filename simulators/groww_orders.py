"""Groww's order desk: JSON into orders, references that may be used once, in front of the exchange."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from simulators.faults import Faults
from simulators.groww_errors import CANNOT, DUPLICATE, ApiError, bad, missing, refused
from simulators.groww_names import Names, place
from simulators.groww_rows import status_of
from simulators.groww_session import Call
from simulators.listing import Listing
from simulators.orders import TERMINAL, OrderParams, OrderRefused, SimOrder
from simulators.placing import Placing
from simulators.world import World

ORDER_TYPES = {"LIMIT": "LIMIT", "MARKET": "MARKET", "SL": "SL", "SL_M": "SL-M"}
PRODUCTS = ("CNC", "MIS", "NRML", "MTF")
REFERENCE = re.compile(r"[A-Za-z0-9-]{8,20}")
MARKET_BAND = 1.0
"""Percent that a market order may move; what the broker applies is not known."""


class OrderDesk:
    """Every order request of every user; what a body cannot mean is refused here, what the market cannot do by the exchange."""

    def __init__(self, world: World, faults: Faults, names: Names) -> None:
        self.world = world
        self.names = names
        self._placing = Placing(world, faults)
        self.numbers = self._placing.numbers
        self._references: dict[tuple[str, str], str] = {}

    def create(self, call: Call) -> dict[str, Any]:
        """The reply names the order; what is wrong with it beyond the door ends REJECTED later."""
        fields = call.fields()
        reference = str(fields.get("order_reference_id") or "")
        if not REFERENCE.fullmatch(reference) or reference.count("-") > 2:
            raise bad("order_reference_id must be 8 to 20 letters and digits with at most two hyphens")
        params = self._params(fields, reference, call.now)
        if (call.user, reference) in self._references:
            raise ApiError(400, DUPLICATE, "Duplicate order reference id")
        try:
            order = self._placing.send(call.user, params, call.now)
        except OrderRefused as error:
            raise refused(error) from error
        self._references[call.user, reference] = order.id
        return {
            "groww_order_id": order.id,
            "order_status": "OPEN",
            "order_reference_id": reference,
            "remark": "Order placed successfully",
        }

    def modify(self, call: Call) -> dict[str, Any]:
        fields = call.fields()
        order = self._changing(call, fields)
        order_type = ORDER_TYPES.get(str(fields.get("order_type") or ""))
        if order_type is None:
            raise bad("order_type is missing or unknown")
        try:
            self.world.exchange.modify(
                call.user,
                order.id,
                call.now,
                quantity=whole(fields, "quantity") or None,
                price=decimal(fields, "price") or None,
                trigger_price=decimal(fields, "trigger_price") or None,
                order_type=order_type,
                protection=MARKET_BAND if order_type in ("MARKET", "SL-M") else 0.0,
            )
        except OrderRefused as error:
            raise refused(error) from error
        return {"groww_order_id": order.id, "order_status": status_of(order, order.history[-1])}

    def cancel(self, call: Call) -> dict[str, Any]:
        order = self._changing(call, call.fields())
        try:
            self.world.exchange.cancel(call.user, order.id, call.now)
        except OrderRefused as error:
            raise refused(error) from error
        return {"groww_order_id": order.id, "order_status": status_of(order, order.history[-1])}

    def own(self, user: str, order_id: str, segment: str) -> SimOrder:
        """An order of this user in this segment; raises ApiError."""
        order = self.world.exchange.account(user).orders.get(order_id)
        if order is None or place(order.listing)[1] != segment:
            raise missing("Requested entity does not exist: order")
        return order

    def by_reference(self, user: str, reference: str, segment: str) -> SimOrder:
        order_id = self._references.get((user, reference))
        if order_id is None:
            raise missing("Requested entity does not exist: order reference")
        return self.own(user, order_id, segment)

    def listing_of(self, fields: Mapping[str, Any]) -> Listing:
        """The listing that exchange, segment and trading symbol name; raises ApiError."""
        exchange, segment, symbol = (str(fields.get(name) or "") for name in ("exchange", "segment", "trading_symbol"))
        listing = self.names.find(exchange, segment, symbol)
        if listing is None:
            raise missing(f"Requested entity does not exist: {symbol or 'no trading symbol'}")
        return listing

    def _changing(self, call: Call, fields: Mapping[str, Any]) -> SimOrder:
        order = self.own(call.user, str(fields.get("groww_order_id") or ""), str(fields.get("segment") or ""))
        if order.status in TERMINAL:
            raise ApiError(400, CANNOT, "Cannot process this request: the order is already completed, cancelled or rejected")
        return order

    def _params(self, fields: Mapping[str, Any], reference: str, now: datetime) -> OrderParams:
        listing = self.listing_of(fields)
        order_type = ORDER_TYPES.get(str(fields.get("order_type") or ""))
        product = str(fields.get("product") or "")
        if order_type is None:
            raise bad("order_type is missing or unknown")
        if fields.get("validity") != "DAY":
            raise bad("validity must be DAY")
        if product not in PRODUCTS:
            raise bad("product is missing or unknown")
        price, trigger = decimal(fields, "price"), decimal(fields, "trigger_price")
        return OrderParams(
            key=listing.key,
            side=str(fields.get("transaction_type") or ""),
            quantity=whole(fields, "quantity"),
            order_type=order_type,
            product=product,
            price=price if order_type in ("LIMIT", "SL") else 0.0,
            trigger_price=trigger if order_type in ("SL", "SL-M") else 0.0,
            variety="regular" if self.world.exchange.is_open(listing.key, now) else "amo",
            protection=MARKET_BAND if order_type in ("MARKET", "SL-M") else 0.0,
            tag=reference,
        )


def whole(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name) or 0
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise bad(f"{name} must be a whole number")
    return value


def decimal(fields: Mapping[str, Any], name: str) -> float:
    try:
        value = float(fields.get(name) or 0)
    except (ValueError, TypeError) as error:
        raise bad(f"{name} must be a number") from error
    if not 0 <= value < 1e8:
        raise bad(f"{name} must be a number")
    return value
