"""The words every simulated market speaks: what is listed, what it is quoted at, its candles, and the Market protocol itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple, Protocol

Level = tuple[float, int, int]
"""One level of the book: price, quantity, number of orders; an empty level is (0.0, 0, 0)."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One instrument of the day's contract file. `token` is the exchange's number of TODAY (derivatives get new ones daily).

    `kind` is EQ, INDEX, FUT, CE or PE. `name` is the company or the underlying's root (NIFTY). `freeze` is in units (None: no limit).
    `exchange_token` x 256 + segment code = `token`, as Kite has it.
    """

    key: str
    exchange: str
    symbol: str
    name: str
    kind: str
    underlying: str
    expiry: date | None
    strike: float
    lot: int
    tick_size: float
    token: int
    freeze: int | None
    previous_close: float
    lower_circuit: float
    upper_circuit: float
    is_fno: bool

    @property
    def exchange_token(self) -> int:
        return self.token >> 8


@dataclass(frozen=True, slots=True)
class Quote:
    """A snapshot as the exchange broadcasts it. `close` is the PREVIOUS session's; times are aware IST; volume is the day's."""

    last_price: float
    last_quantity: int
    last_time: datetime | None
    volume: int
    average_price: float
    oi: int
    oi_high: int
    oi_low: int
    open: float
    high: float
    low: float
    close: float
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    total_buy: int
    total_sell: int
    exchange_time: datetime


class Candle(NamedTuple):
    """`start` is the open time (00:00 for day candles)."""

    start: datetime
    open: float
    high: float
    low: float
    close: float
    volume: int
    oi: int


class Market(Protocol):
    """What the exchange and the broker simulators need of a market (SyntheticMarket and RecordedMarket)."""

    spacing_s: int
    synthetic: bool
    label: str
    day: date
    opens_at: datetime
    closes_at: datetime

    @property
    def listings(self) -> Mapping[str, Listing]: ...

    @property
    def days(self) -> Sequence[date]: ...

    def open_day(self, day: date) -> None:
        """Start this trading day: new listings and tokens, nothing played yet. ValueError if it is not in `days`."""
        ...

    def step(self, now: datetime) -> list[str]:
        """Play up to and including this whole second; keys whose quote changed since the last step (only keys ever asked for)."""
        ...

    def quote(self, key: str, at: datetime | None = None) -> Quote:
        """The quote as of the played time, or as of `at` (not later than played). KeyError for an unknown key."""
        ...

    def trades(self, key: str, at: datetime) -> list[tuple[float, int]]:
        """(price, quantity) of each print of this one whole second, in order."""
        ...

    def candles(self, key: str, start: datetime, end: datetime, minutes: int) -> list[Candle]:
        """Candles (1440 = day) with start <= open time <= end: past days whole, the running day as far as played."""
        ...

    def lock(self, key: str, side: str | None) -> None:
        """Lock at a circuit: 'upper' (no sellers), 'lower' (no buyers), or None to release."""
        ...

    def halt(self, halted: bool) -> None:
        """Stop or resume all trading: no prints and no quote changes while halted."""
        ...
