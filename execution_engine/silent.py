"""An executor that sends nothing anywhere and answers nothing: for a recorded day, in which the broker's answers are events."""

from collections.abc import Sequence
from datetime import datetime

from core.events import Event, Guard
from core.types import Fill, Order, Position


class SilentExecutor:
    """core.ports.Executor without a broker behind it."""

    def prepare(self, order: Order) -> None:
        return None

    def place(self, order: Order) -> None:
        return None

    def forget(self, order: Order) -> None:
        return None

    def modify(self, order: Order, *, quantity: int, limit_price: float, trigger_price: float | None) -> None:
        return None

    def cancel(self, order: Order) -> None:
        return None

    def read_books(self, *, positions: bool, urgent: bool = False) -> None:
        return None

    def watch_guards(self, watch: bool) -> None:
        return None

    def place_guard(self, name: str, guard: Guard, last_price: float) -> None:
        return None

    def cancel_guard(self, name: str, guard: Guard) -> None:
        return None

    def on_market(self, event: Event) -> bool:
        return False

    def drain(self) -> list[Event]:
        return []

    def restore(self, orders: Sequence[Order], *, positions: Sequence[Position] = (), fills: Sequence[Fill] = ()) -> None:
        return None

    def end_of_day(self, now: datetime) -> None:
        return None
