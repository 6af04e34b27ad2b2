"""What may enter: impossible ticks are quarantined and counted by reason.

Zero, negative and NaN prices, a volume, quantity or book side below zero, and impossible times never enter. A price far from the last one
(or, for the day's first, from the previous close) never enters beyond the day's circuit limits, where these are known (one near the last
does: an exchange widens them during the day); within them it is held back until it is believed. For that
- `confirm` ticks in a row must agree on it, over `confirm_s` seconds: a garbled packet comes alone, a broken feed in a burst;
- where the tick has a book, its middle must be near: bid and ask do not garble alike;
- where circuit limits are not known (an index has none), the future's index, the index's future, the share or its future must be near, if
  it ticked within ten seconds. What that one holds back itself counts: of a market that really jumped both tell.
An instrument without limits, book and counterpart is believed by its own word alone, after those seconds.
"""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from math import inf

import msgspec

from core.types import IST, Instrument, Kind, Tick
from data_ingestion.logical_names import underlying_key

NOT_POSITIVE = "price not positive"
NEGATIVE = "a volume, quantity or book side below zero"
FAR_FROM_LAST = "price far from the last"
FAR_FROM_CLOSE = "price far from the previous close"
NO_EXCHANGE_TIME = "exchange time before 2000"
PREVIOUS_SESSION = "exchange time of an earlier day"
FUTURE = "exchange time ahead of our clock"
OUTSIDE_CIRCUIT = "price outside the day's circuit limits"
_CENTURY = datetime(2000, 1, 1, tzinfo=IST)
_DAY = timedelta(days=1)
_YOUNG = timedelta(seconds=10)


class Limits(msgspec.Struct, frozen=True):
    """`close_band` and `jump_band` are fractions of the previous close and of the last price; an option may move by `option_factor` either
    way. `skew` is how many seconds the exchange's clock may be ahead of ours; `confirm` ticks over `confirm_s` seconds make a far price
    believed, if book or counterpart do not speak against it by more than `pair_band`."""

    close_band: float = 0.25
    jump_band: float = 0.10
    option_factor: float = 10.0
    skew: float = 10.0
    confirm: int = 3
    confirm_s: float = 2.0
    pair_band: float = 0.05


class _Doubt(msgspec.Struct):
    """A far price that is being watched."""

    price: float
    count: int
    since: datetime
    at: datetime


def _sound(tick: Tick) -> bool:
    """Whether everything beside the price can be what it says; a NaN cannot."""
    return (
        tick.volume >= 0
        and 0.0 <= tick.bid < inf
        and 0.0 <= tick.ask < inf
        and tick.quantity >= 0
        and tick.oi >= 0
        and tick.bid_quantity >= 0
        and tick.ask_quantity >= 0
    )


class TickFilter:
    """Admits ticks and remembers the last admitted one of each instrument of the day.

    `counts` says how many were quarantined for each reason, `samples` holds the latest of each reason.
    """

    def __init__(
        self, limits: Limits | None = None, circuit: Callable[[Instrument], tuple[float, float] | None] = lambda instrument: None
    ) -> None:
        self._limits = limits or Limits()
        self._jump = self._limits.jump_band
        self._skew = timedelta(seconds=self._limits.skew)
        self._last: dict[str, Tick] = {}
        self._circuit = circuit
        self._doubted: dict[str, _Doubt] = {}
        self._futures: dict[str, str] = {}  # underlying's key -> key of a future on it that ticks
        self._today = self._tomorrow = _CENTURY
        self.counts: Counter[str] = Counter()
        self.samples: dict[str, Tick] = {}

    def admit(self, tick: Tick) -> str:
        """Empty when the tick may enter, else the reason for its quarantine."""
        at = tick.at
        if at >= self._tomorrow:
            self._turn(at)
        key = tick.instrument.key
        last = self._last.get(key)
        made = tick.exchange_at
        near = last is not None and abs(tick.price - last.price) <= self._jump * last.price
        if not (near and (made is None or self._today <= made <= at + self._skew)) or not _sound(tick):
            reason = self._judge(tick, last)
            if reason:
                self.counts[reason] += 1
                self.samples[reason] = tick
                return reason
        if self._doubted:
            self._doubted.pop(key, None)
        self._last[key] = tick
        return ""

    def last(self, instrument: Instrument) -> Tick | None:
        """The last admitted tick of today."""
        return self._last.get(instrument.key)

    def _turn(self, at: datetime) -> None:
        """A new day: yesterday's prices are no measure of today's."""
        self._today = at.astimezone(IST).replace(hour=0, minute=0, second=0, microsecond=0)
        self._tomorrow = self._today + _DAY
        self._last.clear()
        self._doubted.clear()
        self._futures.clear()

    def _judge(self, tick: Tick, last: Tick | None) -> str:
        made = tick.exchange_at
        if not tick.price > 0:  # also NaN
            return NOT_POSITIVE
        if not _sound(tick):
            return NEGATIVE
        if made is not None and not self._today <= made <= tick.at + self._skew:
            return NO_EXCHANGE_TIME if made < _CENTURY else PREVIOUS_SESSION if made < self._today else FUTURE
        instrument = tick.instrument
        if last is None and instrument.kind is Kind.FUTURE:
            self._futures.setdefault(underlying_key(instrument.underlying), instrument.key)
        limits = self._circuit(instrument)
        if limits is not None and not limits[0] <= tick.price <= limits[1]:
            return OUTSIDE_CIRCUIT
        reason = self._far(tick, last)
        return reason if reason and not self._believed(tick, bounded=limits is not None) else ""

    def _believed(self, tick: Tick, *, bounded: bool) -> bool:
        """Whether a far price has been told often and long enough, and nothing speaks against it."""
        key, price = tick.instrument.key, tick.price
        doubt = self._doubted.get(key)
        if doubt is None or abs(price - doubt.price) > self._jump * doubt.price:
            doubt = self._doubted[key] = _Doubt(price, 0, tick.at, tick.at)
        doubt.price, doubt.count, doubt.at = price, doubt.count + 1, tick.at
        if doubt.count < self._limits.confirm or (tick.at - doubt.since).total_seconds() < self._limits.confirm_s:
            return False
        if tick.bid > 0 and tick.ask > 0 and abs((tick.bid + tick.ask) / 2 - price) > self._jump * price:
            return False
        return bounded or self._paired(tick)

    def _paired(self, tick: Tick) -> bool:
        """Whether the counterpart is near, or silent."""
        one = tick.instrument
        if one.is_option:
            return True
        other = underlying_key(one.underlying) if one.kind is Kind.FUTURE else self._futures.get(one.key, "")
        seen, doubted = self._last.get(other), self._doubted.get(other)
        near = [(told.price, told.at) for told in (seen, doubted) if told is not None and tick.at - told.at <= _YOUNG]
        if not near:
            return True
        price = max(near, key=lambda told: told[1])[0]
        return abs(price - tick.price) <= self._limits.pair_band * price

    def _far(self, tick: Tick, last: Tick | None) -> str:
        if last is not None:
            low, high = last.price * (1 - self._jump), last.price * (1 + self._jump)
            if tick.instrument.is_option:
                low, high = last.price / self._limits.option_factor, last.price * self._limits.option_factor
            return "" if low <= tick.price <= high else FAR_FROM_LAST
        close = tick.previous_close
        if close <= 0 or tick.instrument.is_option:
            return ""
        return "" if abs(tick.price - close) <= self._limits.close_band * close else FAR_FROM_CLOSE
