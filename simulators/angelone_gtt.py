"""Angel One's GTT rules: kept at the broker for a year, compared with the last price, each fires one limit order."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from simulators.angelone_errors import ApiError
from simulators.angelone_names import Names, Scrip
from simulators.angelone_orders import OrderDesk
from simulators.angelone_rows import PRODUCTS
from simulators.angelone_session import Call
from simulators.orders import OrderParams
from simulators.world import World

LIFE = timedelta(days=365)
STATUSES = ("NEW", "CANCELLED", "ACTIVE", "SENTTOEXCHANGE", "FORALL")


@dataclass(slots=True)
class Rule:
    """One rule; `above` tells whether its trigger lay above the price when it was set."""

    id: int
    user: str
    key: str
    side: str
    product: str
    price: float
    quantity: int
    trigger: float
    above: bool
    created: datetime
    updated: datetime
    status: str = "NEW"


class Gtt:
    """All rules of all users."""

    def __init__(self, world: World, names: Names, desk: OrderDesk) -> None:
        self._world = world
        self._names = names
        self._desk = desk
        self._rules: dict[int, Rule] = {}

    def create(self, call: Call) -> dict[str, str]:
        rule = self._parse(call, len(self._rules) + 1)
        self._rules[rule.id] = rule
        return {"id": str(rule.id)}

    def modify(self, call: Call) -> dict[str, str]:
        old = self._own(call)
        if old.status != "NEW":
            raise ApiError("AB9013", "Only a rule that has not fired can be modified")
        rule = self._parse(call, old.id)
        rule.created = old.created
        self._rules[old.id] = rule
        return {"id": str(rule.id)}

    def cancel(self, call: Call) -> dict[str, str]:
        rule = self._own(call)
        rule.status, rule.updated = "CANCELLED", call.now
        return {"id": str(rule.id)}

    def details(self, call: Call) -> dict[str, Any]:
        return self._row(self._own(call))

    def list(self, call: Call) -> list[dict[str, Any]] | None:
        wanted, page, count = call.body.get("status"), call.body.get("page"), call.body.get("count")
        if not isinstance(wanted, list) or not wanted or not set(map(str, wanted)) <= set(STATUSES):
            raise ApiError("AB9001")
        try:
            first, most = (int(str(page)) - 1) * int(str(count)), int(str(count))
        except ValueError as error:
            raise ApiError("AB9001") from error
        mine = [rule for rule in self._rules.values() if rule.user == call.user and ("FORALL" in wanted or rule.status in wanted)]
        return [self._row(rule) for rule in mine[max(0, first) : max(0, first) + most]] or None

    def evaluate(self, now: datetime) -> None:
        """Compare every waiting rule with the last price; fire those that are reached."""
        for rule in self._rules.values():
            if rule.status != "NEW" or rule.key not in self._world.market.listings:
                continue
            if now >= rule.created + LIFE:
                rule.status, rule.updated = "CANCELLED", now
                continue
            last = self._world.market.quote(rule.key).last_price
            if last >= rule.trigger if rule.above else last <= rule.trigger:
                rule.status, rule.updated = "SENTTOEXCHANGE", now
                self._desk.send(rule.user, OrderParams(rule.key, rule.side, rule.quantity, "LIMIT", rule.product, price=rule.price), now)

    def _own(self, call: Call) -> Rule:
        text = call.text("id")
        rule = self._rules.get(int(text)) if text.isdecimal() else None
        if rule is None or rule.user != call.user:
            raise ApiError("AB9013")
        return rule

    def _parse(self, call: Call, number: int) -> Rule:
        one = self._names.find(call.text("exchange"), call.text("symboltoken"))
        product = PRODUCTS.get(call.text("producttype"), "")
        if one is None or product not in ("CNC", "MTF") or call.text("transactiontype") not in ("BUY", "SELL"):
            raise ApiError("AB9001")
        try:
            price, trigger, quantity = float(call.text("price")), float(call.text("triggerprice")), int(call.text("qty"))
        except ValueError as error:
            raise ApiError("AB9001") from error
        if min(price, trigger, quantity) <= 0:
            raise ApiError("AB9001")
        above = trigger > self._world.market.quote(one.listing.key).last_price
        side, key = call.text("transactiontype"), one.listing.key
        return Rule(number, call.user, key, side, product, price, quantity, trigger, above, call.now, call.now)

    def _row(self, rule: Rule) -> dict[str, Any]:
        one: Scrip | None = self._names.all().get(rule.key)
        return {
            "status": rule.status,
            "createddate": f"{rule.created:%Y-%m-%dT%H:%M:%S}",
            "updateddate": f"{rule.updated:%Y-%m-%dT%H:%M:%S}",
            "expirydate": f"{rule.created + LIFE:%Y-%m-%dT%H:%M:%S}",
            "clientid": rule.user,
            "tradingsymbol": one.symbol if one else "",
            "symboltoken": one.token if one else "",
            "exchange": one.exchange if one else "",
            "transactiontype": rule.side,
            "producttype": next(theirs for theirs, ours in PRODUCTS.items() if ours == rule.product),
            "price": rule.price,
            "qty": rule.quantity,
            "triggerprice": rule.trigger,
            "id": str(rule.id),
        }
