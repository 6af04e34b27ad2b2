"""What we own, by strategy: fills booked once, positions at average price, money in whole paise."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Protocol

import msgspec

from core.events import Trade
from core.types import Fill, Horizon, Instrument, Order, Position, Side

EXTERNAL = "EXTERNAL"
"""The sub-account of what the account holds and we do not own (holdings, manual trades, other tools)."""


class HasTotal(Protocol):
    @property
    def total(self) -> float: ...


class OrderCharges(Protocol):
    """execution_engine.charges.Charges as the portfolio needs it: all charges of one order so far, in rupees."""

    def order_charges(
        self, instrument: Instrument, horizon: Horizon, side: Side, trades: Sequence[tuple[int, float]], day: date
    ) -> HasTotal: ...


class Adjustment(msgspec.Struct, frozen=True):
    """A typed change of a position that no trade explains (never a fill): the broker's net was adopted."""

    strategy: str
    instrument: Instrument
    product: str
    quantity: int  # signed change
    price: float
    at: datetime
    why: str


class Portfolio:
    """The account's positions and P&L."""

    def __init__(self, account: str, charges: OrderCharges) -> None:
        raise NotImplementedError

    def book(self, order: Order, trade: Trade) -> Fill | None:
        """Book one execution of our order; None if this trade was booked before."""
        raise NotImplementedError

    def book_total(self, order: Order, filled: int, average_price: float, at: datetime) -> Fill | None:
        """Book what the order row says was filled and no trade has told: price (average*filled - booked)/delta. None if nothing lacks."""
        raise NotImplementedError

    def book_foreign(self, trade: Trade, product: str, horizon: Horizon) -> tuple[Fill, ...]:
        """Book a trade that is not ours: what opposes ours closes ours first (order_id `ADOPTED:...`), the rest is EXTERNAL."""
        raise NotImplementedError

    def adopt(self, instrument: Instrument, product: str, quantity: int, price: float, at: datetime, why: str) -> tuple[Adjustment, ...]:
        """Make the net equal to the broker's signed `quantity` by typed adjustments."""
        raise NotImplementedError

    def booked(self, order_id: str) -> int:
        """Units booked for this order of ours."""
        raise NotImplementedError

    def mark(self, instrument: Instrument, price: float) -> None:
        """The last price, in rupees."""
        raise NotImplementedError

    def position(self, strategy: str, instrument: Instrument) -> int:
        """Signed units that `strategy` owns in the instrument, over all products."""
        raise NotImplementedError

    def owned(self, instrument: Instrument, product: str) -> int:
        """Signed units of all our strategies (EXTERNAL left out)."""
        raise NotImplementedError

    def net(self, instrument: Instrument, product: str) -> int:
        """Signed units with EXTERNAL: what the broker should show."""
        raise NotImplementedError

    def positions(self) -> list[Position]:
        """Every position that is open or was touched today."""
        raise NotImplementedError

    def changed(self) -> list[Position]:
        """Positions changed since the last call, to be stored."""
        raise NotImplementedError

    def rows(self) -> list[dict[str, Any]]:
        """Positions in CONTRACT.md's shape (rupees)."""
        raise NotImplementedError

    def unrealised(self, strategy: str | None = None) -> int:
        """Paise, today's basis, of ours (or of one strategy)."""
        raise NotImplementedError

    def pnl(self, strategy: str | None = None) -> dict[str, float]:
        """Today's {realised, unrealised, charges, net} in rupees of ours (or of one strategy)."""
        raise NotImplementedError

    @property
    def flat(self) -> bool:
        """None of our strategies holds anything."""
        raise NotImplementedError

    def exposure(self) -> float:
        """Gross rupees at the last prices, EXTERNAL included."""
        raise NotImplementedError

    def start_day(self, day: date) -> None:
        """A new session: day P&L, charges and drawdown begin at 0; carried positions are re-based at their last price."""
        raise NotImplementedError

    def bases(self) -> dict[str, float]:
        """The re-based prices of carried positions by instrument key, to be stored for `restore`."""
        raise NotImplementedError

    def sample(self, at: datetime) -> None:
        """Note today's net P&L for the equity curve and the drawdown."""
        raise NotImplementedError

    @property
    def max_drawdown(self) -> float:
        """Rupees, the largest fall of today's net P&L from its peak (>= 0)."""
        raise NotImplementedError

    def digest(self) -> str:
        """SHA-256 over the fills of the run in booking order (CONTRACT.md)."""
        raise NotImplementedError

    def restore(
        self, positions: Sequence[Position], fills: Sequence[Fill], orders: Sequence[Order], day: date, bases: Mapping[str, float]
    ) -> None:
        """Take up the stored state: positions as stored, all fills of the run in booking order, the orders they belong to."""
        raise NotImplementedError
