"""The exchange and the broker's risk desk behind it: matching, triggers, sessions, rejects, margins, square-off; broker-neutral."""

from collections.abc import Callable
from datetime import date, datetime

from simulators.facts import Facts
from simulators.market import Market
from simulators.orders import Change, OrderParams, SimAccount, SimCharges, SimFunds, SimMargin, SimOrder


class Exchange:
    """One exchange with one broker's desk.

    Time only moves in `open_day` and `advance`; call `market.step(second)` first, then `advance(now)`. Requests take effect some
    tens of milliseconds after they came in (the ladder of states), so `next_due()` must be among the moments time stops at.
    """

    def __init__(self, market: Market, facts: Facts, seed: int, broker: str = "zerodha", cash: float = 1_000_000.0) -> None: ...

    def account(self, user: str) -> SimAccount:
        """The account of this user, made with the opening cash at first mention."""
        raise NotImplementedError

    def open_day(self, day: date) -> None:
        """After market.open_day: clear the order book, roll positions and holdings, re-arm the day's cut-offs, keep AMO orders."""
        raise NotImplementedError

    def place(self, user: str, params: OrderParams, now: datetime) -> SimOrder:
        """Receive an order. Raises OrderRefused for what the API refuses at once; what RMS or the exchange refuse ends REJECTED later."""
        raise NotImplementedError

    def modify(
        self,
        user: str,
        order_id: str,
        now: datetime,
        *,
        quantity: int | None = None,
        price: float | None = None,
        trigger_price: float | None = None,
        order_type: str | None = None,
        validity: str | None = None,
        disclosed_quantity: int | None = None,
        protection: float = 0.0,
    ) -> SimOrder:
        """Ask for a change; `quantity` is the new TOTAL including what is filled. Raises OrderRefused; at most 25 times for an order."""
        raise NotImplementedError

    def cancel(self, user: str, order_id: str, now: datetime) -> SimOrder:
        """Ask for a cancel; a fill may still win the race. Raises OrderRefused on an unknown or terminal order."""
        raise NotImplementedError

    def advance(self, now: datetime) -> list[Change]:
        """Do everything due up to `now` (steps of the ladder, prints, triggers, auctions, square-off, day end), in time order."""
        raise NotImplementedError

    def next_due(self) -> datetime | None:
        """The next moment this exchange has something to do of its own (not counting prints of the market)."""
        raise NotImplementedError

    def funds(self, user: str) -> SimFunds:
        raise NotImplementedError

    def order_margin(self, user: str, params: OrderParams) -> SimMargin:
        """What this order alone would block."""
        raise NotImplementedError

    def order_charges(self, key: str, side: str, product: str, quantity: int, price: float, day: date | None = None) -> SimCharges:
        """Charges of one executed order by our own formula."""
        raise NotImplementedError

    def convert(self, user: str, key: str, side: str, quantity: int, old_product: str, new_product: str) -> None:
        """Convert a position to another product; raises OrderRefused."""
        raise NotImplementedError

    # --- hooks of the fault layer -------------------------------------------------------------------------------------------------
    def force_reject(self, text: str, raw: str | None = None, user: str | None = None) -> None:
        """The next order (of this user) ends REJECTED with this text."""
        raise NotImplementedError

    def force_partial(self, quantity: int, user: str | None = None) -> None:
        """The next order (of this user) fills no more than `quantity` units until released by `release_partials`."""
        raise NotImplementedError

    def release_partials(self) -> None: ...

    def lock_circuit(self, key: str, side: str | None) -> None:
        """'upper', 'lower', or None to release."""

    def halt(self, halted: bool) -> None:
        """Stop or resume trading: no prints, no fills; new orders are refused."""

    def place_foreign(self, user: str, params: OrderParams, now: datetime) -> SimOrder:
        """An order of the same account from elsewhere (web, app): no tag, not of our API key (`variety` regular)."""
        raise NotImplementedError

    on_change: Callable[[Change], None] | None = None
