"""Breeze's GTT orders on NFO: one leg, a target with a stop-loss (oco), or an entry that brings both (cover_oco); limit legs alone."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from simulators.icici_errors import ApiError
from simulators.icici_names import Scrip
from simulators.icici_orders import OrderDesk, decimal, whole
from simulators.icici_rows import reference
from simulators.icici_session import Call
from simulators.orders import OrderParams
from simulators.world import World

TYPES = {"single": "Single", "oco": "OCO", "cover_oco": "Cover OCO"}
NO_SUCH_GTT = "GTT order not found."


@dataclass(slots=True)
class Leg:
    """One leg; `above` tells whether its trigger lay above the price when it was set."""

    kind: str
    side: str
    price: float
    trigger: float
    above: bool
    status: str = "Active"


@dataclass(slots=True)
class Rule:
    id: str
    user: str
    key: str
    quantity: int
    kind: str
    created: datetime
    legs: list[Leg]
    fresh: str = ""


class Gtt:
    """All rules of all users."""

    def __init__(self, world: World, desk: OrderDesk) -> None:
        self._world = world
        self._desk = desk
        self._rules: dict[str, Rule] = {}

    def place(self, call: Call) -> dict[str, str]:
        kind = call.text("gtt_type").lower()
        if kind not in TYPES:
            raise ApiError("type of GTT should be either 'oco' or 'cover_oco'. ")
        one, quantity = self._desk.scrip(call.body), whole(call.body, "quantity")
        lines = call.body.get("order_details")
        legs = [self._leg(line, one) for line in lines] if isinstance(lines, list) else []
        if len(legs) != (1 if kind == "single" else 2):
            raise ApiError("order_details: one leg for a single GTT, two for the others")
        fresh = ""
        if kind == "cover_oco":
            side, price = call.text("fresh_order_action").upper(), decimal(call.body, "fresh_order_price")
            fresh = reference(self._desk.send(call.user, OrderParams(one.listing.key, side, quantity, "LIMIT", "NRML", price), call.now))
        rule = Rule(f"{call.now:%Y%m%d}{len(self._rules) + 1:010d}", call.user, one.listing.key, quantity, kind, call.now, legs, fresh)
        self._rules[rule.id] = rule
        return {"gtt_order_id": rule.id, "message": "Your GTT Order Request Placed Successfully"}

    def modify(self, call: Call) -> dict[str, str]:
        rule = self._own(call)
        lines = call.body.get("order_details")
        for line in lines if isinstance(lines, list) else []:
            for leg in rule.legs:
                if isinstance(line, dict) and str(line.get("gtt_leg_type", leg.kind)).lower() == leg.kind:
                    leg.price, leg.trigger = decimal(line, "limit_price") or leg.price, decimal(line, "trigger_price") or leg.trigger
        return {"gtt_order_id": rule.id, "message": "Your GTT Order Request Modified Successfully"}

    def cancel(self, call: Call) -> dict[str, str]:
        rule = self._own(call)
        for leg in rule.legs:
            leg.status = "Cancelled" if leg.status == "Active" else leg.status
        return {"gtt_order_id": rule.id, "message": "Your GTT Order Request Cancelled Successfully"}

    def book(self, call: Call) -> list[dict[str, Any]]:
        return [self._row(rule) for rule in self._rules.values() if rule.user == call.user]

    def evaluate(self, now: datetime) -> None:
        """Compare every active leg with the last price; one that is reached sends its limit order and ends its sister."""
        for rule in self._rules.values():
            active = [leg for leg in rule.legs if leg.status == "Active"]
            if not active or rule.key not in self._world.market.listings:
                continue
            last = self._world.market.quote(rule.key).last_price
            hit = next((leg for leg in active if (last >= leg.trigger if leg.above else last <= leg.trigger)), None)
            if hit is not None:
                for leg in active:
                    leg.status = "Triggered" if leg is hit else "Cancelled"
                self._desk.send(rule.user, OrderParams(rule.key, hit.side, rule.quantity, "LIMIT", "NRML", hit.price), now)

    # --- inside -------------------------------------------------------------------------------------------------------------------

    def _leg(self, line: Any, one: Scrip) -> Leg:
        if not isinstance(line, dict):
            raise ApiError("order_details holds something that is no leg")
        price, trigger = decimal(line, "limit_price"), decimal(line, "trigger_price")
        side = str(line.get("action", "")).upper()
        if side not in ("BUY", "SELL") or min(price, trigger) <= 0:
            raise ApiError("Action, limit price and trigger price of a leg cannot be empty")
        above = trigger > self._world.market.quote(one.listing.key).last_price
        return Leg(str(line.get("gtt_leg_type") or "single").lower(), side, price, trigger, above)

    def _own(self, call: Call) -> Rule:
        rule = self._rules.get(call.text("gtt_order_id"))
        if rule is None or rule.user != call.user:
            raise ApiError(NO_SUCH_GTT)
        return rule

    def _row(self, rule: Rule) -> dict[str, Any]:
        one = self._desk.names.all().get(rule.key)
        return {
            "order_details": [
                {"gtt_leg_type": leg.kind, "action": leg.side.capitalize(), "trigger_price": leg.trigger, "limit_price": leg.price,
                 "status": leg.status, "gtt_order_id": rule.id}
                for leg in rule.legs
            ],
            "exchange_code": one.exchange if one else "",
            "product_type": one.product if one else "",
            "stock_code": one.code if one else "",
            "expiry_date": one.expiry if one else "",
            "strike_price": one.strike if one else 0.0,
            "right": one.right if one else "",
            "quantity": rule.quantity,
            "index_or_stock": "Index" if one and one.listing.underlying in ("NIFTY", "BANKNIFTY") else "Stock",
            "gtt_type": TYPES[rule.kind],
            "fresh_order_id": rule.fresh or None,
            "order_datetime": f"{rule.created:%d-%b-%Y %H:%M:%S}".upper(),
        }  # fmt: skip
