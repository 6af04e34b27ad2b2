"""core.ports.Store that keeps what it is given in memory and writes nothing: the ledger of a backtest."""

from collections import deque
from collections.abc import Callable, Mapping
from datetime import date, datetime
from itertools import islice
from typing import Any

from core.ports import Facts, said
from core.types import ENDED, Fill, Order, Position, Snapshot


class MemoryStore:
    """Everything by reference; `commit` has nothing to make durable. `journal` bounds the journal to its latest entries (None: all): a long
    run writes more of it than of all else, and needs it only to explain its end."""

    def __init__(self, journal: int | None = None) -> None:
        self.entries: deque[tuple[datetime, str, Facts]] = deque(maxlen=journal)
        self.written = 0
        self.kept_orders: dict[str, Order] = {}
        self.kept_fills: list[Fill] = []
        self.kept_positions: dict[tuple[str, str, str], Position] = {}
        self.spaces: dict[str, dict[str, Any]] = {}
        self.shot: Snapshot | None = None

    def journal(self, at: datetime, kind: str, data: Facts) -> int:
        self.entries.append((at, kind, data))
        self.written += 1
        return self.written

    def save_order(self, order: Order) -> None:
        self.kept_orders[order.id] = order

    def save_fill(self, fill: Fill) -> None:
        self.kept_fills.append(fill)

    def save_position(self, position: Position) -> None:
        self.kept_positions[position.strategy, position.instrument.key, position.product] = position

    def put(self, space: str, key: str, value: Any) -> None:
        kept = self.spaces.get(space)
        if kept is None:
            kept = self.spaces[space] = {}
        if value is None:
            kept.pop(key, None)
        else:
            kept[key] = value

    def save_snapshot(self, snapshot: Snapshot) -> None:
        self.shot = snapshot

    def commit(self, meanwhile: Callable[[], None] | None = None) -> None:
        if meanwhile is not None:
            meanwhile()

    def orders(self, day: date | None = None) -> list[Order]:
        return [order for order in self.kept_orders.values() if day is None or order.created_at.date() == day]

    def live_orders(self) -> list[Order]:
        return [order for order in self.kept_orders.values() if order.state not in ENDED]

    def fills(self, day: date | None = None) -> list[Fill]:
        return [fill for fill in self.kept_fills if day is None or fill.at.date() == day]

    def positions(self) -> list[Position]:
        return list(self.kept_positions.values())

    def get(self, space: str, key: str) -> Any:
        return self.spaces.get(space, {}).get(key)

    def items(self, space: str) -> dict[str, Any]:
        return dict(self.spaces.get(space, {}))

    def read_journal(
        self, *, kind: str | None = None, since: int = 0, day: date | None = None, before: int | None = None, last: int | None = None
    ) -> list[dict[str, Any]]:
        numbered = enumerate(self.entries, self.written - len(self.entries) + 1)
        found = [
            {"seq": seq, "at": at.isoformat(), "kind": what, **said(data)}
            for seq, (at, what, data) in numbered
            if seq > since and kind in (None, what) and (day is None or at.date() == day) and (before is None or seq < before)
        ]
        return found if last is None else found[len(found) - min(last, len(found)) :]

    def since(self, written: int) -> list[tuple[datetime, str, Mapping[str, Any]]]:
        """The entries after the first `written` of them, as far as they are kept."""
        fresh = min(self.written - written, len(self.entries))
        return [(at, kind, said(facts)) for at, kind, facts in islice(self.entries, len(self.entries) - fresh, None)]

    def snapshot(self) -> Snapshot | None:
        return self.shot
