"""What the gate may know of the world: the engine implements RiskBook, rules read it and keep nothing of it."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from core.types import AccountKind, Horizon, Instrument, Order, OrderRequest, Purpose, SessionState, Side, TradingState

OPENING = frozenset({Purpose.ENTRY, Purpose.ROLL})
"""Purposes of orders that may add to a position (a roll's closing leg is counted as if it did, which errs to the safe side)."""


class EntryWindow(msgspec.Struct, frozen=True, gc=False):
    """When entries of one request's kind are allowed today: opens <= now < closes, the narrowest of session, plan and strategy window.

    `opens` None: no session today. `known` False: the broker's intraday cut-off is not known for this day.
    """

    opens: datetime | None
    closes: datetime | None
    known: bool = True


class RiskBook(Protocol):
    """The engine's present state, read-only, at the moment of one review. Money is rupees, quantities are units, ages are seconds."""

    @property
    def now(self) -> datetime: ...
    @property
    def account_kind(self) -> AccountKind: ...
    @property
    def state(self) -> TradingState: ...
    @property
    def session(self) -> SessionState: ...
    @property
    def blind(self) -> str | None:
        """Why the broker's books can't be trusted right now (an ack missing from the order book, a failed read); None: they can."""
        ...

    def frozen(self, instrument: Instrument) -> str | None:
        """Why entries in this instrument are frozen (a difference in the books, an illegal transition); None: they are not."""
        ...

    def restricted(self, instrument: Instrument) -> str | None:
        """Why no new position may be opened in it (a derivatives ban, a surveillance list); None: it may."""
        ...

    def objection(self, horizon: Horizon, instrument: Instrument) -> str:
        """Why the account's broker has no product for such an entry; empty: it has one."""
        ...

    @property
    def tags_echoed(self) -> bool:
        """Whether the broker's order list gives our tag back; if not, an order is told from another by what it is alone."""
        ...

    def flat_from(self, instrument: Instrument) -> datetime | None:
        """From when on nobody may carry it, because it is settled in shares; None: it never is."""
        ...

    @property
    def feed_stale(self) -> str | None:
        """Why the feed as a whole is stale (disconnected, mute, canary silent); None: it is fresh."""
        ...

    def ages(self, instrument: Instrument, now: datetime) -> tuple[float | None, float | None]:
        """Seconds at `now` since its last tick was received (None: none yet), and since the exchange's time of that tick (None where
        ticks carry none, or it is exempt: an index in the auction)."""
        ...

    def last_price(self, instrument: Instrument) -> float | None: ...
    def circuit(self, instrument: Instrument) -> tuple[float, float] | None:
        """The day's lower and upper price limits, where they are known."""
        ...

    def entry_window(self, request: OrderRequest, now: datetime) -> EntryWindow: ...
    def position(self, strategy: str, instrument: Instrument) -> int:
        """The strategy's own signed quantity."""
        ...

    def on_side(self, instrument: Instrument, side: Side) -> int:
        """Units (0 or more) held on this side over all strategies and EXTERNAL; what others hold on the other side takes nothing off."""
        ...

    def closing(self, strategy: str, instrument: Instrument) -> int:
        """Units that the strategy's working exits in this instrument may still close (0 or more)."""
        ...

    def strategy_exposure(self, strategy: str) -> float:
        """Sum of |quantity| x price over its positions (see `exposure`)."""
        ...

    def account_exposure(self) -> float:
        """The same over all positions, EXTERNAL included."""
        ...

    def day_pnl(self) -> float:
        """The account's net result of today: realised + unrealised - charges."""
        ...

    def strategy_pnl(self, strategy: str) -> float: ...
    def strategies(self) -> Iterable[str]:
        """Names of the strategies that run on this account."""
        ...

    def trades_today(self, strategy: str) -> int:
        """Trades that it began today (risk/strategy_rules.py says what a trade is); survives restarts."""
        ...

    def trade_ended(self, strategy: str, *, losing: bool) -> datetime | None:
        """When it last ended a trade today, or one with a net loss; None: it has not. Survives restarts."""
        ...

    def live_orders(self) -> Sequence[Order]:
        """Our orders that are not terminal, UNKNOWN ones included."""
        ...

    def requests_sent(self, now: datetime) -> tuple[int, int, int]:
        """Order requests (place, modify, cancel) handed out for sending in the last second and in the last minute, and new orders since
        the day began, which survive restarts."""
        ...

    def available_margin(self) -> float | None:
        """Rupees free for new margin, after positions and working orders; None: not known."""
        ...


class Case:
    """One request under review, and what most rules ask of the book, asked once. `book` has the rest.

    `held` is what the strategy holds of the instrument, `last` its last price, `live` are all our live orders.
    """

    __slots__ = ("at_stake", "book", "held", "last", "live", "now", "opening", "opens_roll", "price", "reduces")

    def __init__(self, request: OrderRequest, book: RiskBook) -> None:
        self.book = book
        self.now = book.now
        self.held = book.position(request.strategy, request.instrument)
        self.last = book.last_price(request.instrument)
        self.live = book.live_orders()
        self.opens_roll = request.purpose is Purpose.ROLL and self.held * request.side.sign >= 0
        """Whether this is the opening leg of a roll: nothing of ours lies on the other side of it."""
        self.reduces = request.purpose is not Purpose.ENTRY and not self.opens_roll
        """Whether the request is an exit in the gate's sense."""
        self.opening = [order for order in self.live if order.purpose in OPENING]
        """Live orders that may still add to a position; what they may still fill counts as held."""
        self.price = max(request.limit_price, self.last or 0.0)
        """Its limit or the last price, whichever is higher."""
        self.at_stake = exposure(request.instrument, request.side, request.quantity, self.price)
        """Rupees this order puts at stake at that price."""


def exposure(instrument: Instrument, side: Side, quantity: int, price: float) -> float:
    """Rupees at stake: price x quantity x multiplier; a written option counts at its strike, since its premium says little of its risk."""
    if instrument.strike is not None and side is Side.SELL and instrument.is_option:
        price = max(price, instrument.strike)
    return price * quantity * instrument.multiplier
