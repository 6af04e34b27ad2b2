"""Kite's order desk: forms into orders, market protection, autoslice, iceberg legs and TTL, in front of the exchange."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from simulators.faults import Faults
from simulators.listing import Listing
from simulators.orders import OrderParams, OrderRefused, SimOrder, Status
from simulators.placing import Placing
from simulators.world import World
from simulators.zerodha_errors import NO_SUCH_ORDER, ApiError, bad_input, refused, too_many
from simulators.zerodha_limits import Limits

VARIETIES = ("regular", "amo", "iceberg", "co", "auction")
ORDER_TYPES = ("MARKET", "LIMIT", "SL", "SL-M")
PRODUCTS = ("CNC", "NRML", "MIS", "MTF")
MOST_SLICES = 10
LONGEST_TAG = 20

UNPROTECTED = "Market orders without market protection are not allowed via API. Please set market protection or use a Limit order."
NOT_LISTED = "The instrument you are placing an order for has either expired or does not exist."


@dataclass(slots=True)
class Iceberg:
    """An order that shows one leg at a time."""

    user: str
    params: OrderParams
    total: int
    leg_quantity: int
    legs: int
    leg: int
    sent: int
    order_id: str = ""


class OrderDesk:
    """Every order request of every user; what a form cannot mean is refused here, what the market cannot do is refused by the exchange."""

    def __init__(self, world: World, faults: Faults, limits: Limits) -> None:
        self.world = world
        self.limits = limits
        self._placing = Placing(world, faults)
        self.numbers = self._placing.numbers  # order id -> its number in the order of placing, from 1
        self._icebergs: dict[str, Iceberg] = {}  # by the order id of every leg
        self._minutes: dict[str, int] = {}  # order id -> the minutes a TTL order was given
        self._lives: dict[str, tuple[str, datetime]] = {}  # order id -> user and end of a TTL order that still lives

    # --- requests -----------------------------------------------------------------------------------------------------------------

    def place(self, user: str, variety: str, form: Mapping[str, str], now: datetime) -> dict[str, Any]:
        """`data` of the reply; raises ApiError."""
        params = self._params(variety, form)
        listing = self.world.market.listings[params.key]
        if form.get("autoslice", "").lower() == "true" and listing.freeze is not None and params.quantity > listing.freeze:
            return self._slices(user, params, listing, now)
        if variety == "iceberg":
            return self._iceberg(user, params, listing, form, now)
        self._admit(user, 1, now)
        order = self._send(user, params, now)
        if form.get("validity") == "TTL":
            minutes = _whole(form, "validity_ttl", least=1)
            self._minutes[order.id] = minutes
            self._lives[order.id] = (user, now + timedelta(minutes=minutes))
        return {"order_id": order.id}

    def modify(self, user: str, variety: str, order_id: str, form: Mapping[str, str], now: datetime) -> dict[str, Any]:
        order = self._own(user, variety, order_id)
        order_type = form.get("order_type") or None
        if order_type is not None and order_type not in ORDER_TYPES:
            raise bad_input("Invalid `order_type`.")
        protection = _protection(form, order_type or order.order_type)
        self._admit(user, 0, now)
        try:
            self.world.exchange.modify(
                user,
                order_id,
                now,
                quantity=_whole(form, "quantity", least=1) if form.get("quantity") else None,
                price=_decimal(form, "price") if form.get("price") else None,
                trigger_price=_decimal(form, "trigger_price") if form.get("trigger_price") else None,
                order_type=order_type,
                validity=form.get("validity") or None,
                disclosed_quantity=_whole(form, "disclosed_quantity") if form.get("disclosed_quantity") else None,
                protection=protection,
            )
        except OrderRefused as error:
            raise refused(error) from error
        return {"order_id": order_id}

    def cancel(self, user: str, variety: str, order_id: str, now: datetime) -> dict[str, Any]:
        self._own(user, variety, order_id)
        self._admit(user, 0, now)
        try:
            self.world.exchange.cancel(user, order_id, now)
        except OrderRefused as error:
            raise refused(error) from error
        self._icebergs.pop(order_id, None)
        return {"order_id": order_id}

    # --- time ---------------------------------------------------------------------------------------------------------------------

    def step(self, now: datetime) -> None:
        """At each second of the market: cancel TTL orders whose minutes are over, send the next leg where one is complete."""
        for order_id, (user, end) in list(self._lives.items()):
            order = self.world.exchange.account(user).orders.get(order_id)
            if order is None or not order.live:
                del self._lives[order_id]
            elif now >= end and order.status is Status.OPEN:
                self.world.exchange.cancel(user, order_id, now)
        for order_id, iceberg in list(self._icebergs.items()):
            if order_id == iceberg.order_id:
                self._next_leg(order_id, iceberg, now)

    def details(self, order: SimOrder) -> dict[str, Any]:
        """What a row of this order shows beyond the exchange's record."""
        shown: dict[str, Any] = {}
        if order.id in self._minutes:
            shown |= {"validity": "TTL", "validity_ttl": self._minutes[order.id]}
        iceberg = self._icebergs.get(order.id)
        if iceberg is not None:
            shown["meta"] = {
                "iceberg": {
                    "leg": iceberg.leg,
                    "legs": iceberg.legs,
                    "leg_quantity": iceberg.leg_quantity,
                    "total_quantity": iceberg.total,
                    "remaining_quantity": iceberg.total - iceberg.sent,
                }
            }
        return shown

    # --- inside -------------------------------------------------------------------------------------------------------------------

    def _params(self, variety: str, form: Mapping[str, str]) -> OrderParams:
        if variety not in VARIETIES:
            raise bad_input("Invalid `variety`.")
        if variety in ("co", "auction"):
            raise ApiError(400, "OrderException", f"{variety.upper()} orders are not available for this instrument at this time.")
        for name in ("exchange", "tradingsymbol", "transaction_type", "quantity", "product", "order_type"):
            if not form.get(name):
                raise bad_input(f"Missing or empty field `{name}`")
        for name, known in (("transaction_type", ("BUY", "SELL")), ("order_type", ORDER_TYPES), ("product", PRODUCTS)):
            if form[name] not in known:
                raise bad_input(f"Invalid `{name}`.")
        validity = form.get("validity") or "DAY"
        if validity not in ("DAY", "IOC", "TTL"):
            raise bad_input("Invalid `validity`.")
        tag = form.get("tag") or None
        if tag is not None and len(tag) > LONGEST_TAG:
            raise bad_input(f"Invalid `tag`. It should be at most {LONGEST_TAG} characters.")
        key = f"{form['exchange']}:{form['tradingsymbol']}"
        if key not in self.world.market.listings:
            raise bad_input(NOT_LISTED)
        order_type = form["order_type"]
        for name, needed in (("price", ("LIMIT", "SL")), ("trigger_price", ("SL", "SL-M"))):
            if order_type in needed and _decimal(form, name) <= 0:
                raise bad_input(f"Missing or empty field `{name}`")
        return OrderParams(
            key=key,
            side=form["transaction_type"],
            quantity=_whole(form, "quantity", least=1),
            order_type=order_type,
            product=form["product"],
            price=_decimal(form, "price") if order_type in ("LIMIT", "SL") else 0.0,
            trigger_price=_decimal(form, "trigger_price") if order_type in ("SL", "SL-M") else 0.0,
            validity="DAY" if validity == "TTL" else validity,
            disclosed_quantity=_whole(form, "disclosed_quantity"),
            variety=variety,
            protection=_protection(form, order_type),
            tag=tag,
        )

    def _admit(self, user: str, new: int, now: datetime) -> None:
        if not self.limits.admit_order(user, now, new=new):
            raise too_many()

    def _own(self, user: str, variety: str, order_id: str) -> SimOrder:
        order = self.world.exchange.account(user).orders.get(order_id)
        if order is None:
            raise ApiError(400, "OrderException", NO_SUCH_ORDER)
        if variety != order.variety:
            raise bad_input("Invalid `variety`.")
        return order

    def _send(self, user: str, params: OrderParams, now: datetime) -> SimOrder:
        try:
            return self._placing.send(user, params, now)
        except OrderRefused as error:
            raise refused(error) from error

    def _slices(self, user: str, params: OrderParams, listing: Listing, now: datetime) -> dict[str, Any]:
        assert listing.freeze is not None
        largest = max(listing.lot, listing.freeze // listing.lot * listing.lot)
        count = -(-params.quantity // largest)
        if count > MOST_SLICES:
            raise bad_input(f"Order cannot be sliced into more than {MOST_SLICES} orders.")
        self._admit(user, count, now)
        parent = f"{now:%y%m%d}9{len(self.numbers) + 1:012d}"
        children: list[dict[str, Any]] = []
        left = params.quantity
        while left > 0:
            part = replace(params, quantity=min(left, largest), tags=("autoslice", f"autoslice:{parent}"))
            left -= part.quantity
            try:
                children.append({"order_id": self._send(user, part, now).id})
            except ApiError as error:
                children.append({"error": {"code": error.status, "error_type": error.error_type, "message": str(error), "data": None}})
        return {"order_id": parent, "children": children}

    def _iceberg(self, user: str, params: OrderParams, listing: Listing, form: Mapping[str, str], now: datetime) -> dict[str, Any]:
        legs = _whole(form, "iceberg_legs")
        if not 2 <= legs <= 50:
            raise bad_input("Invalid `iceberg_legs`. It should be between 2 and 50.")
        leg_quantity = _whole(form, "iceberg_quantity") or -(-params.quantity // legs // listing.lot) * listing.lot
        if leg_quantity % listing.lot or -(-params.quantity // leg_quantity) != legs:
            raise bad_input("Invalid `iceberg_quantity`. The legs should add up to `quantity` in whole lots.")
        self._admit(user, legs, now)
        order = self._send(user, replace(params, quantity=leg_quantity), now)
        self._icebergs[order.id] = Iceberg(user, params, params.quantity, leg_quantity, legs, 1, leg_quantity, order.id)
        return {"order_id": order.id}

    def _next_leg(self, order_id: str, iceberg: Iceberg, now: datetime) -> None:
        user = iceberg.user
        order = self.world.exchange.account(user).orders.get(order_id)
        if order is None or order.live:
            return
        if order.status is not Status.COMPLETE or iceberg.sent >= iceberg.total:
            iceberg.order_id = ""
            return
        quantity = min(iceberg.leg_quantity, iceberg.total - iceberg.sent)
        leg = self.world.exchange.place(user, replace(iceberg.params, quantity=quantity, parent_id=order.parent_id or order_id), now)
        following = replace(iceberg, leg=iceberg.leg + 1, sent=iceberg.sent + quantity, order_id=leg.id)
        iceberg.order_id = ""
        self._icebergs[leg.id] = following
        self._placing.count(leg)


def _protection(form: Mapping[str, str], order_type: str) -> float:
    """-1, or 0 < x <= 100; a MARKET or SL-M order without it is refused since 1 April 2026."""
    text = form.get("market_protection", "")
    if not text:
        value = 0.0
    else:
        try:
            value = float(text)
        except ValueError as error:
            raise bad_input("failed to decode market_protection") from error
    if value != -1 and not 0 <= value <= 100:
        raise bad_input("Invalid `market_protection`.")
    if order_type in ("MARKET", "SL-M") and value == 0:
        raise bad_input(UNPROTECTED)
    return value


def _whole(form: Mapping[str, str], name: str, least: int = 0) -> int:
    text = form.get(name) or "0"
    try:
        value = int(text)
    except ValueError as error:
        raise bad_input(f"Invalid `{name}`.") from error
    if value < least:
        raise bad_input(f"Invalid `{name}`.")
    return value


def _decimal(form: Mapping[str, str], name: str) -> float:
    try:
        value = float(form.get(name) or 0)
    except ValueError as error:
        raise bad_input(f"Invalid `{name}`.") from error
    if not 0 <= value < 1e8:
        raise bad_input(f"Invalid `{name}`.")
    return value
