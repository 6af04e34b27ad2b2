"""Upstox's order desk: JSON into orders, market protection, slices, several orders at once, in front of the exchange."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, time
from typing import Any

from simulators.faults import Faults
from simulators.listing import Listing
from simulators.orders import TERMINAL, OrderParams, OrderRefused, SimOrder, Status
from simulators.placing import Placing
from simulators.upstox_errors import NO_SUCH_KEY, NO_SUCH_ORDER, OMS, ApiError, bad, error_row, refused, too_many
from simulators.upstox_limits import Limits
from simulators.upstox_names import keys_of, segment
from simulators.upstox_session import Call
from simulators.world import World

OPENS_AT = time(5, 30)
"""The order API is closed from midnight to this time."""
MOST_SLICES, MOST_AT_ONCE, LONGEST_TAG = 25, 10, 40
ORDER_TYPES = ("MARKET", "LIMIT", "SL", "SL-M")
EXCHANGE_PRODUCTS = {"I": ("MIS", "MIS"), "D": ("CNC", "NRML"), "MTF": ("MTF", "MTF")}
"""Upstox's product -> the exchange's for cash and for derivatives."""
PROTECTION = ((50.0, 3.0), (500.0, 2.0), (10_000.0, 1.0), (float("inf"), 0.5))
PROTECTION_OPTIONS = ((5.0, 15.0), (10.0, 10.0), (float("inf"), 5.0))  # above 10 rupees the broker's table is not known
MARKET_CLOSED = "The order API is available from 5:30 AM to 12:00 AM IST"


class OrderDesk:
    """Every order request of every user; what a body cannot mean is refused here, what the market cannot do by the exchange."""

    def __init__(self, world: World, faults: Faults, limits: Limits) -> None:
        self.world = world
        self.limits = limits
        self._placing = Placing(world, faults)
        self.numbers = self._placing.numbers
        self._keys: dict[str, str] = {}
        self._keys_of: object = None

    # --- requests -----------------------------------------------------------------------------------------------------------------

    def place(self, call: Call) -> dict[str, Any]:
        """`data` of the V3 reply; raises ApiError."""
        return {"order_ids": self.place_fields(call.user, call.fields(), call.now)}

    def place_v2(self, call: Call) -> dict[str, Any]:
        return {"order_id": self.place_fields(call.user, call.fields(), call.now)[0]}

    def place_fields(self, user: str, fields: Mapping[str, Any], now: datetime, *, counted: bool = True) -> list[str]:
        params = self._params(fields, now)
        listing = self.world.market.listings[params.key]
        parts = [params]
        if fields.get("slice") and listing.freeze is not None and params.quantity > listing.freeze:
            largest = max(listing.lot, listing.freeze // listing.lot * listing.lot)
            count = -(-params.quantity // largest)
            if count > MOST_SLICES:
                raise bad("UDAPI1118", f"Maximum of {MOST_SLICES} orders are allowed with slicing")
            parts = [replace(params, quantity=min(largest, params.quantity - largest * place)) for place in range(count)]
        if counted and not self.limits.admit(user, "order", now, len(parts)):
            raise too_many()
        return [self._send(user, part, now).id for part in parts]

    def modify(self, call: Call) -> dict[str, Any]:
        fields = call.fields()
        order = self.own(call.user, str(fields.get("order_id") or ""))
        order_type = str(fields.get("order_type") or "")
        if order_type not in ORDER_TYPES:
            raise bad("UDAPI1004" if not order_type else "UDAPI1056", "Valid order type is required")
        validity = str(fields.get("validity") or "")
        if validity not in ("DAY", "IOC"):
            raise bad("UDAPI1007" if not validity else "UDAPI1055", "Validity is required")
        if order.status in TERMINAL:
            raise bad("UDAPI100041", "Modification of already cancelled/rejected/completed order is not allowed")
        if not self.limits.admit(call.user, "order", call.now):
            raise too_many()
        protection = self._protection(fields, order_type, order.listing)
        try:
            self.world.exchange.modify(
                call.user,
                order.id,
                call.now,
                quantity=_whole(fields, "quantity") or None,
                price=_decimal(fields, "price") or None,
                trigger_price=_decimal(fields, "trigger_price") or None,
                order_type=order_type,
                validity=validity,
                disclosed_quantity=_whole(fields, "disclosed_quantity"),
                protection=protection,
            )
        except OrderRefused as error:
            raise refused(error) from error
        return {"order_id": order.id}

    def cancel(self, call: Call) -> dict[str, Any]:
        order = self.own(call.user, call.request.argument("order_id"))
        if order.status in TERMINAL:
            raise bad("UDAPI100040", "Cancel of already cancelled/rejected/completed order is not allowed")
        if not self.limits.admit(call.user, "order", call.now):
            raise too_many()
        self.cancel_id(call.user, order.id, call.now)
        return {"order_id": order.id}

    def cancel_id(self, user: str, order_id: str, now: datetime) -> None:
        try:
            self.world.exchange.cancel(user, order_id, now)
        except OrderRefused as error:
            raise refused(error) from error

    # --- several at once ----------------------------------------------------------------------------------------------------------

    def place_many(self, call: Call) -> tuple[int, dict[str, Any]]:
        """(HTTP status, whole reply): 207 where some of the orders were refused."""
        lines = call.body
        if not isinstance(lines, list) or not 1 <= len(lines) <= MOST_AT_ONCE or not all(isinstance(one, dict) for one in lines):
            raise bad("UDAPI100036", "Invalid Input")
        if not self.limits.admit(call.user, "order", call.now, len(lines)):
            raise too_many()
        data: list[dict[str, Any]] = []
        errors: list[dict[str, Any]] = []
        for line in lines:
            name = line.get("correlation_id")
            try:
                ids = self.place_fields(call.user, line, call.now, counted=False)
                data += [{"correlation_id": name, "order_id": one} for one in ids]
            except ApiError as error:
                errors.append({"correlation_id": name, "instrument_key": line.get("instrument_token"), **error_row(error.code, str(error))})
        return _partly(data, errors, len(lines))

    def cancel_many(self, call: Call) -> tuple[int, dict[str, Any]]:
        wanted, tag = call.request.argument("segment"), call.request.argument("tag")
        orders = [
            order
            for order in self.world.exchange.account(call.user).orders.values()
            if order.status in (Status.OPEN, Status.TRIGGER_PENDING, Status.AMO_RECEIVED)
            and (not wanted or segment(order.listing) == wanted)
            and (not tag or order.tag == tag)
        ]
        for order in orders:
            self.cancel_id(call.user, order.id, call.now)
        ids = [order.id for order in orders]
        return 200, {"status": "success", "data": {"order_ids": ids}, "errors": None, "summary": _summary(len(ids), len(ids))}

    def exit_positions(self, call: Call) -> tuple[int, dict[str, Any]]:
        """A protected market order against each open position of the segment."""
        wanted, ids = call.request.argument("segment"), []
        for position in list(self.world.exchange.account(call.user).positions.values()):
            listing = position.listing
            if position.quantity == 0 or (wanted and segment(listing) != wanted):
                continue
            side = "SELL" if position.quantity > 0 else "BUY"
            band = _band(listing, self.world.market.quote(listing.key).last_price)
            params = OrderParams(listing.key, side, abs(position.quantity), "MARKET", position.product, protection=band)
            ids.append(self._send(call.user, params, call.now).id)
        return 200, {"status": "success", "data": {"order_ids": ids}, "errors": None, "summary": _summary(len(ids), len(ids))}

    # --- inside -------------------------------------------------------------------------------------------------------------------

    def listing_of(self, key: str) -> Listing:
        """The listing of an instrument key; raises ApiError for one that is not today's."""
        listings = self.world.market.listings
        if self._keys_of != (self.world.day, len(listings)):
            self._keys, self._keys_of = keys_of(listings), (self.world.day, len(listings))
        found = self._keys.get(key)
        if found is None:
            raise bad(*NO_SUCH_KEY)
        return listings[found]

    def own(self, user: str, order_id: str) -> SimOrder:
        if not order_id:
            raise bad("UDAPI1023", "Order id is required")
        order = self.world.exchange.account(user).orders.get(order_id)
        if order is None:
            raise bad(*NO_SUCH_ORDER)
        return order

    def _params(self, fields: Mapping[str, Any], now: datetime) -> OrderParams:
        if now.time() < OPENS_AT:
            raise ApiError(423, "UDAPI100074", MARKET_CLOSED)
        key = str(fields.get("instrument_token") or "")
        if not key:
            raise bad("UDAPI1026", "The instrument_key is required")
        if key.startswith("MCX_FO|"):
            raise bad("UDAPI1161", "MCX API orders are temporarily disabled. Meanwhile, place commodity orders on NSE (NSCOM).")
        listing = self.listing_of(key)
        quantity, order_type = _whole(fields, "quantity"), str(fields.get("order_type") or "")
        if quantity == 0:
            raise bad("UDAPI1052", "The order quantity cannot be zero")
        if order_type not in ORDER_TYPES:
            raise bad("UDAPI1004" if not order_type else "UDAPI1056", "Valid order type is required")
        validity = str(fields.get("validity") or "")
        if validity not in ("DAY", "IOC"):
            raise bad("UDAPI1007" if not validity else "UDAPI1055", "Validity is required")
        product = str(fields.get("product") or "")
        if product not in EXCHANGE_PRODUCTS:
            raise bad(OMS, f"Product {product or 'missing'} is not allowed on this scrip.")
        tag = str(fields.get("tag") or "") or None
        if tag is not None and len(tag) > LONGEST_TAG:
            raise bad("UDAPI1119", f"The tag is longer than {LONGEST_TAG} characters")
        price, trigger = _decimal(fields, "price"), _decimal(fields, "trigger_price")
        if order_type in ("LIMIT", "SL") and price <= 0:
            raise bad("UDAPI1043", "Price is required")
        return OrderParams(
            key=listing.key,
            side=str(fields.get("transaction_type") or ""),
            quantity=quantity,
            order_type=order_type,
            product=EXCHANGE_PRODUCTS[product][listing.kind != "EQ"],
            price=price if order_type in ("LIMIT", "SL") else 0.0,
            trigger_price=trigger if order_type in ("SL", "SL-M") else 0.0,
            validity=validity,
            disclosed_quantity=_whole(fields, "disclosed_quantity"),
            variety="regular" if self.world.exchange.is_open(listing.key, now) else "amo",  # whatever is_amo says
            protection=self._protection(fields, order_type, listing),
            tag=tag,
        )

    def _protection(self, fields: Mapping[str, Any], order_type: str, listing: Listing) -> float:
        """Percent of the last price that a MARKET or SL-M order may move: -1 by the broker's table, or 1 to 25."""
        try:
            value = float(fields.get("market_protection") or 0)
        except (ValueError, TypeError) as error:
            raise bad("UDAPI1160", "Invalid market protection") from error
        if order_type not in ("MARKET", "SL-M"):
            return 0.0
        if value == 0:
            raise bad("UDAPI1158", "Market orders are not allowed via API without market protection. Please place a limit order.")
        if value > 25:
            raise bad("UDAPI1159", "Market protection cannot be more than 25")
        if value != -1 and value < 1:
            raise bad("UDAPI1160", "Invalid market protection")
        return value if value > 0 else _band(listing, self.world.market.quote(listing.key).last_price)

    def _send(self, user: str, params: OrderParams, now: datetime) -> SimOrder:
        try:
            return self._placing.send(user, params, now)
        except OrderRefused as error:
            raise refused(error) from error


def _band(listing: Listing, price: float) -> float:
    table = PROTECTION_OPTIONS if listing.kind in ("CE", "PE") else PROTECTION
    return next(percent for below, percent in table if price < below)


def _partly(data: list[dict[str, Any]], errors: list[dict[str, Any]], total: int) -> tuple[int, dict[str, Any]]:
    status = "error" if not data else "partial_success" if errors else "success"
    code = 400 if not data else 207 if errors else 200
    return code, {"status": status, "data": data, "errors": errors or None, "summary": _summary(total, total - len(errors))}


def _summary(total: int, done: int) -> dict[str, int]:
    return {"total": total, "success": done, "error": total - done, "payload_error": 0}


def _whole(fields: Mapping[str, Any], name: str) -> int:
    try:
        value = int(fields.get(name) or 0)
    except (ValueError, TypeError) as error:
        raise bad("UDAPI100036", f"Invalid Input: {name}") from error
    if value < 0:
        raise bad("UDAPI100036", f"Invalid Input: {name}")
    return value


def _decimal(fields: Mapping[str, Any], name: str) -> float:
    try:
        value = float(fields.get(name) or 0)
    except (ValueError, TypeError) as error:
        raise bad("UDAPI100036", f"Invalid Input: {name}") from error
    if not 0 <= value < 1e8:
        raise bad("UDAPI100036", f"Invalid Input: {name}")
    return value
