"""What may enter: impossible ticks are quarantined and counted by reason.

A price far from the last one (or, for the day's first, from the previous close) is held back until `confirm` ticks in a row agree on
it: a garbled packet comes alone, a market that really moved comes again. Zero, negative and NaN prices never enter.
"""

from collections import Counter
from datetime import datetime, timedelta

import msgspec

from core.types import IST, Instrument, Tick

NOT_POSITIVE = "price not positive"
FAR_FROM_LAST = "price far from the last"
FAR_FROM_CLOSE = "price far from the previous close"
NO_EXCHANGE_TIME = "exchange time before 2000"
PREVIOUS_SESSION = "exchange time of an earlier day"
FUTURE = "exchange time ahead of our clock"
_CENTURY = datetime(2000, 1, 1, tzinfo=IST)
_DAY = timedelta(days=1)


class Limits(msgspec.Struct, frozen=True):
    """`close_band` and `jump_band` are fractions of the previous close and of the last price; an option may move by `option_factor` either
    way. `skew` is how many seconds the exchange's clock may be ahead of ours; `confirm` ticks make a far price believed."""

    close_band: float = 0.25
    jump_band: float = 0.10
    option_factor: float = 10.0
    skew: float = 10.0
    confirm: int = 3


class TickFilter:
    """Admits ticks and remembers the last admitted one of each instrument of the day.

    `counts` says how many were quarantined for each reason, `samples` holds the latest of each reason.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._jump = self._limits.jump_band
        self._skew = timedelta(seconds=self._limits.skew)
        self._last: dict[str, Tick] = {}
        self._doubted: dict[str, tuple[float, int]] = {}
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
        if not (near and (made is None or self._today <= made <= at + self._skew)):
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

    def _judge(self, tick: Tick, last: Tick | None) -> str:
        made = tick.exchange_at
        if not tick.price > 0:  # also NaN
            return NOT_POSITIVE
        if made is not None and not self._today <= made <= tick.at + self._skew:
            return NO_EXCHANGE_TIME if made < _CENTURY else PREVIOUS_SESSION if made < self._today else FUTURE
        reason = self._far(tick, last)
        if not reason:
            return ""
        key = tick.instrument.key
        price, count = self._doubted.get(key, (tick.price, 0))
        agrees = abs(tick.price - price) <= self._jump * price
        count = count + 1 if agrees else 1
        self._doubted[key] = (tick.price, count)
        return "" if count >= self._limits.confirm else reason

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
