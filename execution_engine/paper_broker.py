"""A broker on paper: price, margin and stop rules against the market the engine sees. It never sends anything anywhere."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from core.events import Event
from core.ports import Clock
from core.types import Account, Fill, Horizon, Instrument, Order, Position


class Sessions(Protocol):
    """core.market.Calendar as the paper broker needs it."""

    def is_open(self, instrument: Instrument, at: datetime) -> bool: ...


class MarginRates(msgspec.Struct, frozen=True):
    """Share of notional that is blocked. Options bought cost their premium; options sold block `short_option` of strike x quantity."""

    equity_intraday: float = 0.20
    equity_carry: float = 1.0
    future: float = 0.15
    short_option: float = 0.15


class PaperBroker:
    """core.ports.Executor for paper, practice and backtests."""

    def __init__(
        self,
        account: Account,
        clock: Clock,
        product: Callable[[Horizon, Instrument], str],
        *,
        sessions: Sessions | None = None,
        rates: MarginRates | None = None,
    ) -> None:
        raise NotImplementedError

    def place(self, order: Order) -> None:
        raise NotImplementedError

    def modify(self, order: Order, *, quantity: int, limit_price: float, trigger_price: float | None) -> None:
        raise NotImplementedError

    def cancel(self, order: Order) -> None:
        raise NotImplementedError

    def read_books(self, *, positions: bool, urgent: bool = False) -> None:
        raise NotImplementedError

    def on_market(self, event: Event) -> None:
        raise NotImplementedError

    def drain(self) -> list[Event]:
        raise NotImplementedError

    def restore(self, orders: Sequence[Order], *, positions: Sequence[Position] = (), fills: Sequence[Fill] = ()) -> None:
        raise NotImplementedError

    def end_of_day(self, now: datetime) -> None:
        """The session is over: every DAY order that still rests ends EXPIRED."""
        raise NotImplementedError
