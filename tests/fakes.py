"""Honest fakes for unit tests: they do what the real thing promises, in memory, and can be told to fail as it may fail."""

import json
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

from core.errors import StoreError
from core.events import Action, Event, Outcome, Reply
from core.ports import Facts, said
from core.types import Fill, Order, Position, Snapshot
from execution_engine.order_state import TERMINAL


class MemoryStore:
    """core.ports.Store in memory. `committed` counts commits; `fail_commits` makes that many of the next ones fail like a full disk.

    `crashed` is what a `kill -9` leaves: another store that holds what was committed and nothing else.
    """

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.saved_orders: dict[str, Order] = {}
        self.saved_fills: list[Fill] = []
        self.saved_positions: dict[tuple[str, str, str], Position] = {}
        self.spaces: dict[str, dict[str, str]] = {}
        self.shot: Snapshot | None = None
        self.committed = 0
        self.fail_commits = 0
        self._writes: list[tuple[str, tuple[Any, ...]]] = []
        self._durable = 0

    def crashed(self) -> "MemoryStore":
        left = MemoryStore()
        for name, values in self._writes[: self._durable]:
            getattr(left, name)(*values)
        left.commit()
        return left

    def journal(self, at: datetime, kind: str, data: Facts) -> int:
        self._writes.append(("journal", (at, kind, data)))
        seq = len(self.entries) + 1
        self.entries.append({"seq": seq, "at": at.isoformat(), "kind": kind, **json.loads(json.dumps(dict(said(data)), default=str))})
        return seq

    def save_order(self, order: Order) -> None:
        self._writes.append(("save_order", (order,)))
        self.saved_orders[order.id] = order

    def save_fill(self, fill: Fill) -> None:
        self._writes.append(("save_fill", (fill,)))
        self.saved_fills.append(fill)

    def save_position(self, position: Position) -> None:
        self._writes.append(("save_position", (position,)))
        self.saved_positions[position.strategy, position.instrument.key, position.product] = position

    def put(self, space: str, key: str, value: Any) -> None:
        value = json.loads(json.dumps(value))
        self._writes.append(("put", (space, key, value)))
        if value is None:
            self.spaces.setdefault(space, {}).pop(key, None)
        else:
            self.spaces.setdefault(space, {})[key] = json.dumps(value)

    def save_snapshot(self, snapshot: Snapshot) -> None:
        self.shot = snapshot

    def commit(self, meanwhile: Callable[[], None] | None = None) -> None:
        if meanwhile is not None:
            meanwhile()
        if self.fail_commits:
            self.fail_commits -= 1
            raise StoreError("the disk is full (planted by the test)")
        self.committed += 1
        self._durable = len(self._writes)

    def orders(self, day: date | None = None) -> list[Order]:
        return [order for order in self.saved_orders.values() if day is None or order.created_at.date() == day]

    def live_orders(self) -> list[Order]:
        return [order for order in self.saved_orders.values() if order.state not in TERMINAL]

    def fills(self, day: date | None = None) -> list[Fill]:
        return [fill for fill in self.saved_fills if day is None or fill.at.date() == day]

    def positions(self) -> list[Position]:
        return list(self.saved_positions.values())

    def get(self, space: str, key: str) -> Any:
        text = self.spaces.get(space, {}).get(key)
        return None if text is None else json.loads(text)

    def items(self, space: str) -> dict[str, Any]:
        return {key: json.loads(text) for key, text in self.spaces.get(space, {}).items()}

    def read_journal(
        self, *, kind: str | None = None, since: int = 0, day: date | None = None, before: int | None = None, last: int | None = None
    ) -> list[dict[str, Any]]:
        found = [
            entry
            for entry in self.entries
            if entry["seq"] > since and kind in (None, entry["kind"]) and (day is None or entry["at"][:10] == day.isoformat())
        ]
        found = [entry for entry in found if before is None or entry["seq"] < before]
        return found if last is None else found[max(0, len(found) - last) :]

    def snapshot(self) -> Snapshot | None:
        return self.shot

    def close(self) -> None:
        return None


class SilentExecutor:
    """core.ports.Executor that takes every order and answers nothing until the test says what the broker did."""

    def __init__(self) -> None:
        self.prepared: list[Order] = []
        self.placed: list[Order] = []
        self.forgotten: list[Order] = []
        self.cancelled: list[Order] = []
        self.modified: list[tuple[Order, float]] = []
        self.terms: list[tuple[int, float, float | None]] = []  # quantity, limit and trigger of each modification
        self.reads = 0
        self.events: list[Event] = []

    def prepare(self, order: Order) -> None:
        self.prepared.append(order)

    def place(self, order: Order) -> None:
        self.placed.append(order)

    def forget(self, order: Order) -> None:
        self.forgotten.append(order)

    def modify(self, order: Order, *, quantity: int, limit_price: float, trigger_price: float | None) -> None:
        self.modified.append((order, limit_price))
        self.terms.append((quantity, limit_price, trigger_price))

    def cancel(self, order: Order) -> None:
        self.cancelled.append(order)

    def read_books(self, *, positions: bool, urgent: bool = False) -> None:
        self.reads += 1

    def on_market(self, event: Event) -> bool:
        return bool(self.events)

    def drain(self) -> list[Event]:
        taken, self.events = self.events, []
        return taken

    def restore(self, orders: Sequence[Order], *, positions: Sequence[Position] = (), fills: Sequence[Fill] = ()) -> None:
        return None

    def end_of_day(self, now: datetime) -> None:
        return None

    def acknowledge(self, order: Order, at: datetime, broker_order_id: str) -> Reply:
        return Reply(at, Action.PLACE, order.id, Outcome.ACK, broker_order_id)
