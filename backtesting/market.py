"""The market of a backtest: prepared bars or ticks, a day at a time, and what a configured name means in it on a day.

Only the days in use are in memory. What a name means is decided by what traded that day: a contract that has no data cannot be chosen.
"""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.errors import DataError, Rejected
from core.market import Calendar
from core.types import IST, Bar, Instrument, Kind, Tick
from data_ingestion import logical_names
from data_ingestion.arrow import texts
from data_ingestion.bars import aggregate
from data_ingestion.contracts import INDEX_KEYS, numbered_future
from data_ingestion.logical_names import FutureName, OptionName, PriceOf
from data_ingestion.prepare import Manifest

DAYS_KEPT = 6  # in memory: the running one, and those that warm-ups read again
_MINUTE = timedelta(minutes=1)
_NAMED = 12  # instruments that an error names


class BacktestMarket:
    """A prepared folder. It is also the history that strategies warm up on (core.ports.HistoricalSource)."""

    def __init__(self, manifest: Manifest, calendar: Calendar, *, label: str = "", keep: int = DAYS_KEPT) -> None:
        """`label` is what results call the data; `keep` is how many days stay in memory."""
        self._keep = keep
        self.manifest = manifest
        self.label = f"recorded data, {label or manifest.folder.name}"
        self.calendar = calendar
        calendar.observe(manifest.sessions)
        self._instruments = {one.key: one for one in manifest.instruments}
        self._tables: OrderedDict[date, Any] = OrderedDict()
        self._rows: OrderedDict[date, dict[frozenset[str], list[Bar] | list[Tick]]] = OrderedDict()
        self._listed: dict[date, dict[str, Instrument]] = {}

    @property
    def days(self) -> tuple[date, ...]:
        return self.manifest.days

    @property
    def interval(self) -> int:
        """Minutes a bar; 0 for ticks."""
        return self.manifest.interval_s // 60

    def events(self, day: date, keys: Collection[str] | None = None) -> Sequence[Bar] | Sequence[Tick]:
        """The day's bars or ticks, of all instruments or of these, in the order in which they were known: by time, then by key."""
        listed = self.listed(day)
        chosen = frozenset(listed if keys is None else listed.keys() & set(keys))
        kept = self._rows.setdefault(day, {})
        if len(self._rows) > self._keep:
            self._rows.popitem(last=False)
        if chosen not in kept:
            table = self._table(day)
            if len(chosen) < len(listed):
                table = table.filter(pc.is_in(table.column("key"), texts(sorted(chosen))))
            kept[chosen] = self._bars(day, table) if self.manifest.kind == "bars" else self._ticks(day, table)
        return kept[chosen]

    def listed(self, day: date) -> dict[str, Instrument]:
        """What has data on that day, by key, with the lot, freeze and membership of that day."""
        if day not in self._listed:
            keys = self._table(day).column("key").unique().to_pylist()
            self._listed[day] = {key: self._as_of(self._instruments[key], day) for key in sorted(keys)}
            if len(self._listed) > self._keep:
                del self._listed[next(iter(self._listed))]
        return self._listed[day]

    def resolve(self, name: str, on: date, price: PriceOf) -> Instrument:
        """The instrument that a configured name means on a day of the data; DataError with what there is."""
        listed = self.listed(on)
        logical = logical_names.parse(name)
        if isinstance(logical, FutureName):
            return self._future(logical, on, list(listed.values()))
        if isinstance(logical, OptionName):
            return self._option(logical, on, list(listed.values()), price)
        rolling = numbered_future(name, self.calendar, on)
        if rolling is not None:
            same = [
                one for one in listed.values() if (one.underlying, one.kind, one.expiry) == (rolling.root, rolling.kind, rolling.expiry)
            ]
            if same:
                return same[0]
        for key in (name, self.manifest.names.get(name, ""), INDEX_KEYS.get(name, "")):
            if key in listed:
                return listed[key]
        for one in listed.values():
            if one.symbol == name:
                return one
        raise DataError(f"{name} has no data on {on}; there is {_some([*listed])}")

    def last_price(self, key: str, before: date) -> float:
        """The last price before a day, else the first of it; DataError where the data has none."""
        for day in reversed([one for one in self.days if one < before][-DAYS_KEPT:]):
            mine = self.events(day, (key,))
            if mine:
                last = mine[-1]
                return last.close if isinstance(last, Bar) else last.price
        mine = self.events(before, (key,))
        if not mine:
            raise DataError(f"no price of {key} in the data on or before {before}")
        return mine[0].open if isinstance(mine[0], Bar) else mine[0].price

    def bars_of(self, key: str, day: date) -> list[Bar]:
        """One instrument's bars of a day: the data's own, or one-minute bars of its ticks; none where it has no data."""
        if key not in self.listed(day):
            return []
        mine = self.events(day, (key,))
        return _minutes([each for each in mine if isinstance(each, Tick)]) or [each for each in mine if isinstance(each, Bar)]

    def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
        """History by the data itself; Rejected for an interval that its bars cannot be joined to."""
        own = self.interval or 1
        if interval % own:
            raise Rejected(f"bars of {interval} minutes cannot be made from the data's {own}-minute bars")
        bars = [bar for day in self.days if start.date() <= day <= end.date() for bar in self.bars_of(instrument.key, day)]
        inside = [bar for bar in bars if start <= bar.start <= end]
        return inside if interval == own else aggregate(inside, interval, self.calendar)

    # --- names --------------------------------------------------------------------------------------------------------------------

    def _future(self, name: FutureName, on: date, listed: Sequence[Instrument]) -> Instrument:
        futures = sorted(
            (one for one in listed if one.kind is Kind.FUTURE and one.underlying == name.root), key=lambda one: one.expiry or date.max
        )
        live = [one for one in futures if one.expiry is not None and on <= self.calendar.contracts.roll_day(name.root, one.expiry)]
        if name.months >= len(live):
            month = ("near", "next", "far")[name.months]
            raise DataError(f"{name.root} has no {month} future in the data of {on}; there is {_some([*self.listed(on)])}")
        return live[name.months]

    def _option(self, name: OptionName, on: date, listed: Sequence[Instrument], price: PriceOf) -> Instrument:
        mine = [one for one in listed if one.kind is name.kind and one.underlying == name.root and one.expiry and one.strike is not None]
        expiries = sorted({one.expiry for one in mine if one.expiry is not None})
        if not expiries:
            raise DataError(f"{name.root} has no options in the data of {on}; there is {_some([*self.listed(on)])}")
        expiry = logical_names.choose_expiry(name, expiries, on, self.calendar)
        ladder = {one.strike: one for one in mine if one.expiry == expiry and one.strike is not None}
        return ladder[logical_names.choose_strike(name, sorted(ladder), logical_names.price_of(name, price))]

    def _as_of(self, instrument: Instrument, day: date) -> Instrument:
        if instrument.expiry is None:
            return instrument
        freeze = self.calendar.freeze(instrument.underlying, day, instrument.lot)
        return instrument if freeze == instrument.freeze else msgspec.structs.replace(instrument, freeze=freeze)

    # --- reading ------------------------------------------------------------------------------------------------------------------

    def _table(self, day: date) -> Any:
        found = self._tables.get(day)
        if found is None:
            found = self._tables[day] = _read(self.manifest.folder / f"{day.isoformat()}.parquet")
            if len(self._tables) > 2:
                self._tables.popitem(last=False)
        return found

    def _bars(self, day: date, table: Any) -> list[Bar]:
        listed, interval = self.listed(day), self.interval
        step = timedelta(minutes=interval)
        windows = {key: self.calendar.continuous(one, day) for key, one in listed.items()}
        starts, ends = _moments(table), dict[tuple[str, datetime], datetime]()

        def end(key: str, start: datetime) -> datetime:
            if (key, start) not in ends:
                closes = next((window[1] for window in windows[key] if window[0] <= start < window[1]), start + step)
                ends[key, start] = min(start + step, closes)
            return ends[key, start]

        columns = [table.column(name).to_pylist() for name in ("key", "open", "high", "low", "close", "volume", "oi")]
        made = [
            Bar(listed[key], start, end(key, start), interval, first, high, low, last, volume, oi)
            for start, key, first, high, low, last, volume, oi in zip(starts, *columns, strict=True)
        ]
        made.sort(key=lambda bar: (bar.at, bar.instrument.key))
        return made

    def _ticks(self, day: date, table: Any) -> list[Tick]:
        listed = self.listed(day)
        columns = [table.column(name).to_pylist() for name in ("key", "price", "volume", "bid", "ask", "oi")]
        totals: dict[str, int] = {}
        made = []
        for at, key, price, quantity, bid, ask, oi in zip(_moments(table), *columns, strict=True):
            totals[key] = totals.get(key, 0) + quantity
            made.append(Tick(listed[key], at, price, totals[key], quantity, at, bid or 0.0, ask or 0.0, oi=oi or 0))
        return made


def _read(file: Path) -> Any:
    with pq.ParquetFile(file) as opened:  # pq.read_table imports pandas, which is 40 MB
        return opened.read(use_threads=False)


def _moments(table: Any) -> list[datetime]:
    """Microseconds to IST, each distinct one made once."""
    known: dict[int, datetime] = {}
    stamps = table.column("timestamp").cast("int64").to_pylist()
    for stamp in stamps:
        if stamp not in known:
            known[stamp] = datetime.fromtimestamp(stamp / 1_000_000, IST)
    return [known[stamp] for stamp in stamps]


def _minutes(ticks: Sequence[Tick]) -> list[Bar]:
    """One-minute bars of one instrument's trades."""
    bars: list[Bar] = []
    for tick in ticks:
        start = tick.at.replace(second=0, microsecond=0)
        if bars and bars[-1].start == start:
            last = bars[-1]
            bars[-1] = Bar(
                tick.instrument, start, last.at, 1, last.open, max(last.high, tick.price), min(last.low, tick.price), tick.price,
                last.volume + tick.quantity, tick.oi,
            )  # fmt: skip
        else:
            bars.append(
                Bar(tick.instrument, start, start + _MINUTE, 1, tick.price, tick.price, tick.price, tick.price, tick.quantity, tick.oi)
            )
    return bars


def _some(keys: Sequence[str]) -> str:
    return ", ".join(sorted(keys)[:_NAMED]) + (f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else "")
