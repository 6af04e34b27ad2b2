"""Price-time matching of client orders against the simulated flow.

An arriving order takes what is displayed on the other side, level by level, up to its limit. What rests waits behind the quantity
that stood at its price when it came (`queue_ahead`): prints at its price shorten that queue first, prints through its price reach it
at once, and when the book crosses its price it is hit for what that side displays. Client orders never meet each other.
"""

from collections.abc import Callable
from datetime import datetime

from simulators.listing import Market, Quote
from simulators.orders import SimOrder

Fill = Callable[[SimOrder, int, float, datetime], None]


def fillable(order: SimOrder) -> int:
    """Units this order may still fill now (a forced partial caps it)."""
    pending = order.pending
    return pending if order.fill_cap is None else max(0, min(pending, order.fill_cap - order.filled))


def reaches(order: SimOrder, price: float) -> bool:
    """Would this order trade at that price?"""
    return price <= order.price + 1e-9 if order.side == "BUY" else price >= order.price - 1e-9


class Matcher:
    """The working orders of all clients by instrument, and how they fill. `fill` is called for each execution."""

    def __init__(self, market: Market, fill: Fill) -> None:
        self._market = market
        self._fill = fill
        self._working: dict[str, list[SimOrder]] = {}
        self._taken: dict[str, tuple[datetime, dict[tuple[str, float], int]]] = {}

    def keys(self) -> list[str]:
        return list(self._working)

    def working(self, key: str) -> list[SimOrder]:
        return list(self._working.get(key, ()))

    def clear(self) -> None:
        self._working.clear()
        self._taken.clear()

    def remove(self, order: SimOrder) -> None:
        orders = self._working.get(order.listing.key)
        if orders is not None and order in orders:
            orders.remove(order)
            if not orders:
                del self._working[order.listing.key]

    def arrive(self, order: SimOrder, now: datetime, *, take: bool = True) -> None:
        """A new, changed or triggered order reaches the book: it takes (unless an auction collects), then rests."""
        quote = self._market.quote(order.listing.key, now)
        if take:
            self._take(order, quote, now)
        if order.live and order.validity != "IOC":
            order.queue_ahead = self._queue(order, quote)
            orders = self._working.setdefault(order.listing.key, [])
            orders.append(order)
            orders.sort(key=lambda item: (item.price if item.side == "SELL" else -item.price, item.sequence))

    def second(self, key: str, at: datetime) -> None:
        """One second of this instrument's flow against its resting orders, best price first, then oldest."""
        for price, quantity in self._market.trades(key, at):
            left = {"BUY": quantity, "SELL": quantity}
            for order in self.working(key):
                left[order.side] = self._meet(order, price, left[order.side], at)
        quote: Quote | None = None
        for order in self.working(key):
            if fillable(order):
                quote = quote or self._market.quote(key, at)
                self._take(order, quote, at, resting=True)

    def auction(self, key: str, price: float, quantity: int, at: datetime) -> None:
        """The single price of an auction: every order that reaches it trades at it, as far as the auction's quantity goes."""
        left = {"BUY": quantity, "SELL": quantity}
        for order in self.working(key):
            lot = order.listing.lot
            amount = min(fillable(order), left[order.side]) // lot * lot
            if amount and reaches(order, price):
                left[order.side] -= amount
                self._fill(order, amount, price, at)

    def _meet(self, order: SimOrder, price: float, quantity: int, at: datetime) -> int:
        """One print against one resting order; what is left of the print for those behind it."""
        if not reaches(order, price) or not quantity:
            return quantity
        if abs(price - order.price) < 1e-9:
            waited = min(order.queue_ahead, quantity)
            order.queue_ahead -= waited
            quantity -= waited
        else:
            order.queue_ahead = 0
        amount = min(fillable(order), quantity) // order.listing.lot * order.listing.lot
        if amount:
            self._fill(order, amount, order.price, at)
        return quantity - amount

    def _take(self, order: SimOrder, quote: Quote, now: datetime, *, resting: bool = False) -> None:
        levels = quote.asks if order.side == "BUY" else quote.bids
        key, second = order.listing.key, now.replace(microsecond=0)
        stamp, taken = self._taken.get(key, (second, {}))
        if stamp != second:
            taken = {}
        self._taken[key] = (second, taken)
        side = "ask" if order.side == "BUY" else "bid"
        for price, quantity, _ in levels:
            if price <= 0 or not reaches(order, price):
                break
            lot = order.listing.lot
            amount = min(fillable(order), quantity - taken.get((side, price), 0)) // lot * lot
            if amount <= 0:
                continue
            taken[(side, price)] = taken.get((side, price), 0) + amount
            self._fill(order, amount, order.price if resting else price, now)

    def _queue(self, order: SimOrder, quote: Quote) -> int:
        levels = quote.bids if order.side == "BUY" else quote.asks
        for price, quantity, _ in levels:
            if abs(price - order.price) < 1e-9:
                return quantity
        best, last = levels[0][0], levels[-1]
        if best and ((order.side == "BUY" and order.price < best) or (order.side == "SELL" and order.price > best)):
            return int(last[1] * 1.5)
        return 0
