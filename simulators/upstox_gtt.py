"""Upstox's GTT orders: an entry kept at the broker for a year, and with it a target, a stop loss or a trailing one, of which one fires."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from simulators.listing import Listing
from simulators.orders import Status
from simulators.upstox_errors import ApiError, bad
from simulators.upstox_names import instrument_key, trading_symbol
from simulators.upstox_orders import OrderDesk
from simulators.upstox_session import Call
from simulators.world import World

LIFE = timedelta(days=365)
STRATEGIES = ("ENTRY", "TARGET", "STOPLOSS")
TRIGGER_TYPES = ("ABOVE", "BELOW", "IMMEDIATE")
NO_SUCH_GTT = "GTT order not found"


@dataclass(slots=True)
class Rule:
    """One leg. `level` is where it fires; a trailing stop's follows the price at `gap`."""

    strategy: str
    trigger_type: str
    level: float
    gap: float = 0.0
    status: str = "PENDING"
    message: str = ""
    order_id: str = ""

    def row(self, listing: Listing, side: str) -> dict[str, Any]:
        return {
            "strategy": self.strategy,
            "status": self.status,
            "trigger_type": self.trigger_type,
            "trigger_price": self.level,
            "transaction_type": side,
            "message": self.message,
            "order_id": self.order_id or None,
            "trailing_gap": self.gap or None,
        }


@dataclass(slots=True)
class Trigger:
    """One GTT order."""

    id: str
    user: str
    listing: Listing
    type: str
    quantity: int
    product: str
    side: str
    created: datetime
    rules: list[Rule] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        exit_side = "SELL" if self.side == "BUY" else "BUY"
        return {
            "type": self.type,
            "exchange": self.listing.exchange,
            "instrument_token": instrument_key(self.listing),
            "trading_symbol": trading_symbol(self.listing),
            "quantity": self.quantity,
            "product": self.product,
            "gtt_order_id": self.id,
            "created_at": int(self.created.timestamp() * 1_000_000),
            "expires_at": int((self.created + LIFE).timestamp() * 1_000_000),
            "rules": [rule.row(self.listing, self.side if rule.strategy == "ENTRY" else exit_side) for rule in self.rules],
        }


class Gtt:
    """All GTT orders; a leg that fires places a protected market order through the desk."""

    def __init__(self, world: World, desk: OrderDesk) -> None:
        self._world = world
        self._desk = desk
        self._triggers: dict[str, Trigger] = {}

    def place(self, call: Call) -> dict[str, Any]:
        made = self._parse(f"GTT-{call.now:%y%m%d}{len(self._triggers) + 1:06d}", call)
        self._triggers[made.id] = made
        return {"gtt_order_ids": [made.id]}

    def modify(self, call: Call) -> dict[str, Any]:
        fields = call.fields()
        trigger = self._own(call.user, str(fields.get("gtt_order_id") or ""))
        rules = [_rule(line) for line in fields.get("rules") or ()]
        if not all(rule.status == "PENDING" for rule in trigger.rules) or {r.strategy for r in rules} != {
            r.strategy for r in trigger.rules
        }:
            raise bad("UDAPI100036", "Only pending rules of the order can be modified")
        trigger.rules, trigger.quantity = rules, int(fields.get("quantity") or trigger.quantity)
        return {"gtt_order_ids": [trigger.id]}

    def cancel(self, call: Call) -> dict[str, Any]:
        trigger = self._own(call.user, str(call.fields().get("gtt_order_id") or ""))
        for rule in trigger.rules:
            if rule.status in ("PENDING", "SCHEDULED"):
                rule.status = "CANCELLED"
        return {"gtt_order_ids": [trigger.id]}

    def show(self, call: Call) -> list[dict[str, Any]]:
        wanted = call.request.argument("gtt_order_id")
        if wanted:
            return [self._own(call.user, wanted).row()]
        return [one.row() for one in self._triggers.values() if one.user == call.user]

    def evaluate(self, now: datetime) -> None:
        """Compare every living leg with the last price; of target and stop loss the first to be reached ends the other."""
        for trigger in self._triggers.values():
            if trigger.listing.key not in self._world.market.listings:
                continue
            last = self._world.market.quote(trigger.listing.key).last_price
            entry = trigger.rules[0]
            if entry.status == "PENDING":
                if entry.trigger_type == "IMMEDIATE" or (last >= entry.level if entry.trigger_type == "ABOVE" else last <= entry.level):
                    self._fire(trigger, entry, trigger.side, now)
                continue
            exits = [rule for rule in trigger.rules[1:] if rule.status == "PENDING"]
            order = self._world.exchange.account(trigger.user).orders.get(entry.order_id)
            if not exits or order is None or order.status is not Status.COMPLETE:
                continue
            up = trigger.side == "BUY"
            for rule in exits:
                if rule.gap:
                    rule.level = max(rule.level, last - rule.gap) if up else min(rule.level, last + rule.gap)
                above = up == (rule.strategy == "TARGET")
                if last >= rule.level if above else last <= rule.level:
                    self._fire(trigger, rule, "SELL" if up else "BUY", now)
                    for other in exits:
                        other.status = other.status if other is rule else "CANCELLED"
                    break

    def _fire(self, trigger: Trigger, rule: Rule, side: str, now: datetime) -> None:
        fields = {
            "instrument_token": instrument_key(trigger.listing),
            "transaction_type": side,
            "quantity": trigger.quantity,
            "product": trigger.product,
            "order_type": "MARKET",
            "validity": "DAY",
            "market_protection": -1,
        }
        try:
            rule.order_id = self._desk.place_fields(trigger.user, fields, now, counted=False)[0]
            rule.status = "COMPLETED"
        except ApiError as error:
            rule.status, rule.message = "FAILED", str(error)

    def _own(self, user: str, order_id: str) -> Trigger:
        trigger = self._triggers.get(order_id)
        if trigger is None or trigger.user != user:
            raise bad("UDAPI100010", NO_SUCH_GTT)
        return trigger

    def _parse(self, number: str, call: Call) -> Trigger:
        fields = call.fields()
        listing = self._desk.listing_of(str(fields.get("instrument_token") or ""))
        rules = [_rule(line) for line in fields.get("rules") or ()]
        kind, strategies = str(fields.get("type") or ""), [rule.strategy for rule in rules]
        fits = strategies == ["ENTRY"] if kind == "SINGLE" else len(set(strategies)) == len(rules) > 1 and strategies[0] == "ENTRY"
        if kind not in ("SINGLE", "MULTIPLE") or not fits:
            raise bad("UDAPI100036", "The rules do not fit the type: SINGLE has an ENTRY, MULTIPLE also a TARGET or a STOPLOSS")
        try:
            quantity, side = int(fields["quantity"]), str(fields["transaction_type"])
        except (KeyError, ValueError, TypeError) as error:
            raise bad("UDAPI100036", "Invalid Input") from error
        if quantity <= 0 or quantity % listing.lot or side not in ("BUY", "SELL"):
            raise bad("UDAPI1052", "The order quantity is no multiple of the lot")
        return Trigger(number, call.user, listing, kind, quantity, str(fields.get("product") or ""), side, call.now, rules)


def _rule(line: Any) -> Rule:
    try:
        rule = Rule(str(line["strategy"]), str(line["trigger_type"]), float(line["trigger_price"]), float(line.get("trailing_gap") or 0))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise bad("UDAPI100036", "Invalid Input: rules") from error
    if rule.strategy not in STRATEGIES or rule.trigger_type not in TRIGGER_TYPES or rule.level <= 0:
        raise bad("UDAPI100036", "Invalid Input: rules")
    return rule
