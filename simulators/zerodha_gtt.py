"""Kite's GTT triggers: kept at the broker for a year, compared with the last price, each fires one LIMIT order (two-leg: one of two)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from simulators.world import World
from simulators.zerodha_errors import ApiError, bad_input
from simulators.zerodha_rows import stamp

MOST_ACTIVE = 500
NEAREST = 0.0025
"""A trigger must be at least this far from the last price, as a part of it."""

Place = Callable[[str, str, Mapping[str, str], datetime], dict[str, Any]]


@dataclass(slots=True)
class Trigger:
    """One GTT. `above[i]` tells whether trigger i lies above the price at the time it was set."""

    id: int
    user: str
    type: str
    condition: dict[str, Any]
    orders: list[dict[str, Any]]
    created: datetime
    updated: datetime
    above: list[bool]
    status: str = "active"
    results: list[dict[str, Any] | None] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        instrument = {name: self.condition[name] for name in ("exchange", "tradingsymbol")}
        orders = [{**instrument, **order, "result": result} for order, result in zip(self.orders, self.results, strict=True)]
        return {
            "id": self.id,
            "user_id": self.user,
            "parent_trigger": None,
            "type": self.type,
            "created_at": stamp(self.created),
            "updated_at": stamp(self.updated),
            "expires_at": stamp(self.created + timedelta(days=365)),
            "status": self.status,
            "condition": self.condition,
            "orders": orders,
            "meta": {},
        }


class Gtt:
    """All triggers; `place` is how a fired one reaches the order desk (user, variety, form, now)."""

    def __init__(self, world: World, place: Place) -> None:
        self._world = world
        self._place = place
        self._triggers: dict[int, Trigger] = {}

    def create(self, user: str, form: Mapping[str, str], now: datetime) -> dict[str, Any]:
        if sum(1 for one in self._triggers.values() if one.user == user and one.status == "active") >= MOST_ACTIVE:
            raise bad_input(f"Maximum of {MOST_ACTIVE} active triggers reached.")
        trigger = self._parse(len(self._triggers) + 1, user, form, now)
        self._triggers[trigger.id] = trigger
        return {"trigger_id": trigger.id}

    def modify(self, user: str, trigger_id: str, form: Mapping[str, str], now: datetime) -> dict[str, Any]:
        old = self._own(user, trigger_id)
        if old.status != "active":
            raise bad_input("Only an active trigger can be modified.")
        self._triggers[old.id] = self._parse(old.id, user, form, now)
        self._triggers[old.id].created = old.created
        return {"trigger_id": old.id}

    def delete(self, user: str, trigger_id: str, now: datetime) -> dict[str, Any]:
        trigger = self._own(user, trigger_id)
        if trigger.status != "active":
            raise bad_input("Only an active trigger can be deleted.")
        trigger.status, trigger.updated = "deleted", now
        return {"trigger_id": trigger.id}

    def show(self, user: str, trigger_id: str) -> dict[str, Any]:
        return self._own(user, trigger_id).row()

    def list(self, user: str, now: datetime) -> list[dict[str, Any]]:
        """Active ones, and others of the last seven days."""
        week = now - timedelta(days=7)
        return [one.row() for one in self._triggers.values() if one.user == user and (one.status == "active" or one.updated >= week)]

    def evaluate(self, now: datetime) -> None:
        """Compare every active trigger with the last price; fire those that are reached."""
        for trigger in self._triggers.values():
            key = f"{trigger.condition['exchange']}:{trigger.condition['tradingsymbol']}"
            if trigger.status != "active":
                continue
            if key not in self._world.market.listings or now >= trigger.created + timedelta(days=365):
                trigger.status, trigger.updated = "expired", now
                continue
            last = self._world.market.quote(key).last_price
            for index, (value, above) in enumerate(zip(trigger.condition["trigger_values"], trigger.above, strict=True)):
                if last >= value if above else last <= value:
                    self._fire(trigger, index, now)
                    break

    def _fire(self, trigger: Trigger, index: int, now: datetime) -> None:
        order = trigger.orders[index]
        form = {name: str(order[name]) for name in ("transaction_type", "quantity", "order_type", "product", "price")}
        form |= {"exchange": trigger.condition["exchange"], "tradingsymbol": trigger.condition["tradingsymbol"], "validity": "DAY"}
        try:
            outcome = {"status": "success", "order_id": self._place(trigger.user, "regular", form, now)["order_id"], "rejection_reason": ""}
        except ApiError as error:
            outcome = {"status": "failed", "order_id": "", "rejection_reason": str(error)}
        trigger.status, trigger.updated = "triggered", now
        trigger.results[index] = {
            "account_id": trigger.user,
            "exchange": form["exchange"],
            "tradingsymbol": form["tradingsymbol"],
            "validity": "DAY",
            "product": order["product"],
            "order_type": order["order_type"],
            "transaction_type": order["transaction_type"],
            "quantity": order["quantity"],
            "price": order["price"],
            "meta": json.dumps({"app_id": 1234, "gtt": trigger.id}),
            "timestamp": stamp(now),
            "triggered_at": self._world.market.quote(f"{form['exchange']}:{form['tradingsymbol']}").last_price,
            "order_result": outcome,
        }

    def _own(self, user: str, trigger_id: str) -> Trigger:
        trigger = self._triggers.get(int(trigger_id)) if trigger_id.isdecimal() else None
        if trigger is None or trigger.user != user:
            raise ApiError(404, "GeneralException", "Trigger not found.")
        return trigger

    def _parse(self, number: int, user: str, form: Mapping[str, str], now: datetime) -> Trigger:
        kind = form.get("type", "")
        try:
            condition, orders = json.loads(form.get("condition", "")), json.loads(form.get("orders", ""))
            key = f"{condition['exchange']}:{condition['tradingsymbol']}"
            values = [float(value) for value in condition["trigger_values"]]
            kept = [
                {
                    "transaction_type": str(order["transaction_type"]),
                    "quantity": int(order["quantity"]),
                    "order_type": str(order["order_type"]),
                    "product": str(order["product"]),
                    "price": float(order["price"]),
                }
                for order in orders
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise bad_input("Invalid `condition` or `orders`.") from error
        legs = {"single": 1, "two-leg": 2}.get(kind)
        if legs is None or len(values) != legs or len(kept) != legs:
            raise bad_input("Invalid `type`, or the wrong number of triggers and orders for it.")
        if key not in self._world.market.listings:
            raise bad_input("Invalid `tradingsymbol`.")
        for order in kept:
            if order["order_type"] != "LIMIT" or order["product"] not in ("CNC", "NRML", "MTF"):
                raise bad_input("GTT orders are LIMIT orders with product CNC, NRML or MTF.")
        last = self._world.market.quote(key).last_price
        if any(abs(value - last) < NEAREST * last for value in values):
            raise bad_input("Trigger price was too close to the last price.")
        if kind == "two-leg" and not values[0] < last < values[1]:
            raise bad_input("The lower trigger should be below and the upper one above the last price.")
        above = [value > last for value in values]
        return Trigger(number, user, kind, {**condition, "trigger_values": values}, kept, now, now, above, results=[None] * legs)
