"""Which future serves when, and one long series out of many contracts: the roll's rule, its table, and what is stitched by it.

Rules:
1. The near month serves through its roll day: `lead` trading days before the expiry (core/expiries.py), or with open interest the first
   of the last `oi_from_days` days on whose previous trading day the next month had the larger one. Today's is never looked at, it is not
   known yet; and a roll is never taken back.
2. The gap of a roll is measured between two prices of the same minute: the last bar that both contracts have on the roll day, up to the
   time at which positions move. With day candles these are the day's closes.
3. Raw bars stay each contract's own. Back-adjusted adds to older bars the sum of the later gaps (points keep their worth, a long history
   may become negative); ratio-adjusted multiplies them (returns keep their worth). The newest contract is as it was traded.
4. Adjusted prices serve signals alone: each bar keeps its own contract, which is what an order would have to name.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Any, Literal

import msgspec

from core.errors import DataError
from core.expiries import Contracts
from core.market import Calendar
from core.types import IST, Bar, Instrument, Kind
from data_ingestion.candle_store import CandleStore, Span
from data_ingestion.contracts import Contract, instrument_of
from data_ingestion.intervals import DAY_MINUTES
from data_ingestion.logical_names import exchange_of

Adjustment = Literal["raw", "back", "ratio"]
OpenInterest = Mapping[date, int]
"""The open interest (units) of one contract at the end of each day."""


class RollRule(msgspec.Struct, frozen=True):
    """When the next month takes over; the lead in trading days is the calendar's. `at` is when positions move on the roll day."""

    by: Literal["days", "oi"] = "days"
    oi_from_days: int = 5
    at: time = time(15)


class RollPoint(msgspec.Struct, frozen=True):
    """One change of contract. `day` is the old one's last. Prices are those of one minute, `at` its open time; None: no common bar known.

    `by` says what chose the day: days or oi. Open interest is that of the end of the day before, 0 where unknown.
    """

    day: date
    old: Instrument
    new: Instrument
    by: str
    at: datetime | None = None
    old_price: float | None = None
    new_price: float | None = None
    old_oi: int = 0
    new_oi: int = 0

    @property
    def gap(self) -> float | None:
        """Points to add to the old contract's prices."""
        return None if self.old_price is None or self.new_price is None else round(self.new_price - self.old_price, 4)

    @property
    def ratio(self) -> float | None:
        """What the old contract's prices are multiplied by."""
        return None if self.old_price is None or self.new_price is None else self.new_price / self.old_price


def moved_on(near: OpenInterest, following: OpenInterest, day: date, contracts: Contracts) -> bool:
    """Whether on the trading day before `day` more was open in the next month than in the near one; False where either is unknown."""
    before = contracts.back(day, 1)
    return following.get(before, 0) > near.get(before, 0) > 0


def roll_day(
    contracts: Contracts, root: str, expiry: date, rule: RollRule, near: OpenInterest | None = None, following: OpenInterest | None = None
) -> tuple[date, str]:
    """The last day of the contract expiring then as the near month, and what chose it (days or oi)."""
    latest = contracts.back(expiry, contracts.lead(root))
    if rule.by == "oi":
        for ahead in range(rule.oi_from_days, contracts.lead(root), -1):
            day = contracts.back(expiry, ahead)
            if moved_on(near or {}, following or {}, day, contracts):
                return day, "oi"
    return latest, "days"


def futures_between(root: str, start: date, end: date, calendar: Calendar) -> list[Instrument]:
    """The monthly futures that may be the near month between two days, and the one after them, by the calendar's rules."""
    found: list[Instrument] = []
    year, month = start.year, start.month
    exchange = exchange_of(root)
    while len(found) < 2 or (found[-2].expiry or end) < end:
        expiry = calendar.monthly_expiry(root, year, month, exchange=exchange)
        if expiry >= start:
            found.append(instrument_of(Contract(root, Kind.FUTURE, expiry), calendar, min(max(start, expiry - timedelta(days=60)), expiry)))
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    return found


def roll_table(
    bars: Mapping[Instrument, Sequence[Bar]], calendar: Calendar, rule: RollRule | None = None, *, end: date | None = None
) -> list[RollPoint]:
    """Every roll between neighbouring contracts of one root, by expiry, up to the day `end`.

    Bars may be of any interval, ascending, and may be missing: then the rolls have no prices.
    """
    rule = rule or RollRule()
    futures = sorted((one for one in bars if one.expiry is not None), key=lambda one: one.expiry or date.max)
    points = []
    for old, new in pairwise(futures):
        assert old.expiry is not None
        near, following = open_interest(bars[old]), open_interest(bars[new])
        day, by = roll_day(calendar.contracts, old.underlying, old.expiry, rule, near, following)
        at, old_price, new_price = _common(bars[old], bars[new], datetime.combine(day, rule.at, IST))
        if end is not None and day > end:
            break
        before = calendar.contracts.back(day, 1)
        points.append(RollPoint(day, old, new, by, at, old_price, new_price, near.get(before, 0), following.get(before, 0)))
    return points


def open_interest(bars: Sequence[Bar]) -> dict[date, int]:
    """The last open interest of each day."""
    return {bar.start.date(): bar.oi for bar in bars}


def continuous(
    bars: Mapping[Instrument, Sequence[Bar]], table: Sequence[RollPoint], adjust: Adjustment = "raw", *, until: datetime | None = None
) -> list[Bar]:
    """One series: each contract's bars from the session after the roll into it through its own roll day; adjusted as asked.

    `until` leaves out what was not known then: later rolls and later bars, so that a backtest never sees a gap that lay ahead of it.
    Raises DataError for a roll without a common price, where prices are to be adjusted.
    """
    if until is not None:
        table = [point for point in table if point.day < until.date()]
    order = [table[0].old, *(point.new for point in table)] if table else sorted(bars, key=lambda one: one.expiry or date.max)[:1]
    joined: list[Bar] = []
    add, times = 0.0, 1.0
    for place in reversed(range(len(order))):
        ends = table[place].day if place < len(table) else date.max
        begins = table[place - 1].day if place else date.min
        if place < len(table) and adjust != "raw":
            gap, ratio = table[place].gap, table[place].ratio
            if gap is None or ratio is None:
                raise DataError(_no_price(table[place]))
            add, times = add + gap, times * ratio
        part = [bar for bar in bars[order[place]] if begins < bar.start.date() <= ends and (until is None or bar.at <= until)]
        joined[:0] = [_adjusted(bar, add, times, adjust) for bar in part]
    return joined


def version(table: Sequence[RollPoint]) -> str:
    """What names an adjusted series: it changes whenever a roll does, and with it all of the adjusted past."""
    lines = [f"{point.day}|{point.old.key}|{point.new.key}|{point.gap}" for point in table]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def stored(
    store: CandleStore, source: str, root: str, calendar: Calendar, start: date, end: date, interval: int
) -> dict[Instrument, list[Bar]]:
    """What the candle store has of the root's futures between two days, both included; contracts without candles have none."""
    span = Span(datetime.combine(start, time(), IST), datetime.combine(end + timedelta(days=1), time(), IST))
    return {one: list(store.series(source, one, interval).bars(span)) for one in futures_between(root, start, end, calendar)}


def document(table: Sequence[RollPoint]) -> list[dict[str, Any]]:
    """The table as rows of a `--json` document."""
    return [
        {
            "day": point.day.isoformat(),
            "old": point.old.key,
            "new": point.new.key,
            "by": point.by,
            "at": point.at.isoformat() if point.at else None,
            "old_price": point.old_price,
            "new_price": point.new_price,
            "gap": point.gap,
            "ratio": None if point.ratio is None else round(point.ratio, 8),
            "old_oi": point.old_oi or None,
            "new_oi": point.new_oi or None,
            "old_lot": point.old.lot,
            "new_lot": point.new.lot,
        }
        for point in table
    ]


def _common(old: Sequence[Bar], new: Sequence[Bar], at: datetime) -> tuple[datetime | None, float | None, float | None]:
    """The last open time of the roll day, closed by `at` (day candles: whatever their close), that both have; and their closes."""

    def closes(bars: Sequence[Bar]) -> dict[datetime, float]:
        return {one.start: one.close for one in bars if one.start.date() == at.date() and (one.interval >= DAY_MINUTES or one.at <= at)}

    mine, other = closes(old), closes(new)
    moment = max(mine.keys() & other.keys(), default=None)
    return (None, None, None) if moment is None else (moment, mine[moment], other[moment])


def _adjusted(bar: Bar, add: float, times: float, adjust: Adjustment) -> Bar:
    if adjust == "raw":
        return bar
    prices = (bar.open, bar.high, bar.low, bar.close)
    moved = [round(price + add if adjust == "back" else price * times, 4) for price in prices]
    return msgspec.structs.replace(bar, open=moved[0], high=moved[1], low=moved[2], close=moved[3])


def _no_price(point: RollPoint) -> str:
    return (
        f"the roll of {point.day} from {point.old.key} to {point.new.key} has no minute that both have bars of, so its gap is not known; "
        "bring the candles of both (`fetch`, or `fetch --import` of day candles), or ask for the raw series"
    )
