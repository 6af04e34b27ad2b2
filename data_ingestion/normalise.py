"""Checked rows become one market: vendors' names become keys, rows outside trading are left out, contract facts are supplied.

Rows outside continuous trading and opening placeholders are left out with a note; lots, ticks, expiries and freezes come from the
calendar's tables, and where these are silent (stocks' lots, stocks in the closing auction) from the data itself.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from core.errors import DataError
from core.market import Calendar, Observed
from core.types import SEGMENTS, Instrument, Kind
from data_ingestion.contracts import INDEX_KEYS, Contract, continuous, instrument_of, parse_contract, symbol_of
from data_ingestion.defects import end_labelled, foreign_levels
from data_ingestion.market_files import BARS, COLUMNS, PRICES, Floats, Ints, Mask, Rows, moment_of

_DAY = timedelta(days=1)
_DAY_US = 86_400_000_000
_OFFSET_US = 19_800_000_000  # IST
_MINUTE_US = 60_000_000
_SLACK_US = 5 * _MINUTE_US  # how late a full session's first print may be, how early its last
_EQUITY = re.compile(r"^[A-Z0-9][A-Z0-9&-]*$")
_DERIVATIVE = re.compile(r"\d(CE|PE)$|\d[A-Z]{3}FUT$")
KNOWN_FROM = date(2020, 1, 1)
_OPENS, _CLOSES, _EVENING = 9 * 60 + 15, 15 * 60 + 30, 16 * 60  # minutes of the day
_SESSION_MINUTES, _EVENING_MINUTES = 180, 30  # fewer are strays, not a session
_AUCTION_FROM = date(2026, 8, 3)  # from here on a stock's hours depend on whether it has derivatives


def aliases(path: Path, symbols: Path | None) -> dict[str, str]:
    """The user's vendor's name -> key."""
    file = symbols or (path if path.is_dir() else path.parent) / "symbols.yaml"
    if not file.exists():
        if symbols is not None:
            raise DataError(f"there is no symbols file at {symbols}; it maps vendor's names to keys, such as NIFTY-I: NFO:NIFTY22NOVFUT")
        return {}
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{file} does not read: {error}") from error
    if not isinstance(given, dict):
        raise DataError(f"{file} must map vendor's names to keys, such as NIFTY-I: NFO:NIFTY22NOVFUT")
    for name, key in given.items():
        if not isinstance(key, str) or key.partition(":")[0] not in SEGMENTS or not key.partition(":")[2]:
            raise DataError(f"{file}: {name}: {key!r} is no key; write EXCHANGE:SYMBOL, such as NFO:NIFTY22NOVFUT")
    return {str(name): key for name, key in given.items()}


@dataclass(frozen=True)
class _Name:
    """What a symbol of the data is: the exchange, its own symbol, and the contract (None for a stock or an index)."""

    exchange: str
    symbol: str
    kind: Kind
    contract: Contract | None = None

    @property
    def key(self) -> str:
        return f"{self.exchange}:{self.symbol}"


class Market:
    """Checked rows with their keys: sorted by (key, time), only what lies in continuous trading."""

    def __init__(
        self,
        rows: Rows,
        calendar: Calendar,
        aliases: Mapping[str, str],
        repair: bool,
        note: Callable[[str], None],
        observe: bool = False,
    ) -> None:
        self._calendar = calendar
        self.observed: tuple[Observed, ...] = ()
        self._note = note
        local = rows.at + _OFFSET_US
        pairs, group = np.unique(rows.symbol * 1_000_000 + local // _DAY_US, return_inverse=True)
        found = self._named(rows, pairs, aliases)
        self._renamed = {
            (rows.names[pair // 1_000_000], int(pair % 1_000_000)): name.key
            for pair, name in zip(pairs, found, strict=True)
            if name is not None
        }
        self.names = sorted({name.key: name for name in found if name is not None}.values(), key=lambda name: name.key)
        place = {name.key: index for index, name in enumerate(self.names)}
        codes = np.array([-1 if name is None else place[name.key] for name in found], np.int64)[group]
        if not self.names:
            raise DataError(
                f"no symbol of the data is known ({', '.join(rows.names[:8])}): map them in symbols.yaml, such as {rows.names[0]}: NSE:NAME"
            )
        days = local // _DAY_US
        keep = codes >= 0
        rows, codes, days = rows.take(keep), codes[keep], days[keep]
        order = np.lexsort((rows.row, rows.file, rows.at, codes))
        self.rows, self.codes, self.day_numbers = rows.take(order), codes[order], days[order]
        self._one_source(repair)
        self._auction = self._auction_stocks()
        self._daily = rows.kind == "bars" and bool(np.all((self.rows.at + _OFFSET_US) % _DAY_US == 0))
        if rows.kind == "bars" and not self._daily:
            self._labelled(repair)
            if observe:
                self._observe()
            self._foreign()
        if rows.kind == "ticks":
            self._crossed()
        self._in_session()
        self.interval_s = 86_400 if self._daily else self._spacing() if rows.kind == "bars" else 0

    # --- names --------------------------------------------------------------------------------------------------------------------

    def _named(self, rows: Rows, pairs: Ints, aliases: Mapping[str, str]) -> list["_Name | None"]:
        """For each (symbol, day) what it is; continuous names change with the day."""
        found: list[_Name | None] = []
        fixed: dict[str, _Name | None] = {}
        volumes = np.bincount(rows.symbol, rows.values["volume"], len(rows.names))
        unknown: dict[str, str] = {}
        for pair in pairs:
            symbol, number = rows.names[pair // 1_000_000], int(pair % 1_000_000)
            day = _date(number)
            rolling = None if symbol in aliases or ":" in symbol else continuous(symbol, self._calendar, day)
            if rolling is not None:
                instrument = instrument_of(rolling, self._calendar, day)
                found.append(_Name(instrument.exchange, instrument.symbol, Kind.FUTURE, rolling))
                continue
            if symbol not in fixed:
                fixed[symbol] = self._fixed(symbol, aliases.get(symbol), day, bool(volumes[pair // 1_000_000] > 0))
            name = fixed[symbol]
            if name is None:
                unknown[symbol] = "not recognised: map it in symbols.yaml"
            elif name.contract is not None and name.contract.expiry < day:
                unknown[symbol] = f"rows after its expiry on {name.contract.expiry}"
                name = None
            found.append(name)
        for symbol, reason in unknown.items():
            self._note(f"{symbol}: left out, {reason}")
        return found

    def _fixed(self, symbol: str, alias: str | None, day: date, traded: bool) -> _Name | None:
        exchange, _, own = (alias or symbol).rpartition(":")
        text = own.strip().upper().removesuffix(".NS")
        contract = parse_contract(text, self._calendar, day)
        if contract is not None:
            return _Name(exchange or contract.exchange, symbol_of(contract, self._calendar), contract.kind, contract)
        index = INDEX_KEYS.get(text.replace(" ", ""))
        if not exchange and index is not None and not traded:
            return _Name(index.partition(":")[0], index.partition(":")[2], Kind.INDEX)
        if not traded and text.startswith(("NIFTY", "INDIA VIX", "SENSEX", "BANKEX")):
            return _Name(exchange or "NSE", text, Kind.INDEX)
        stock = _EQUITY.match(text) and not _DERIVATIVE.search(text)  # an option whose expiry the calendar does not have is no stock
        return _Name(exchange or "NSE", text, Kind.EQUITY) if stock else None

    def _one_source(self, repair: bool) -> None:
        """Two names that became one key must not tell two stories of the same moment."""
        if self.rows.kind != "bars":
            return
        twins = np.flatnonzero((np.diff(self.rows.at) == 0) & (np.diff(self.codes) == 0)) + 1
        if not len(twins):
            return
        index = int(twins[0])
        if not repair:
            key = self.names[self.codes[index]].key
            raise DataError(f"{self.rows.where(index)}: a second bar of {key} at that time (first: {self.rows.where(index - 1)})")
        self._note(f"dropped {len(twins)} bars whose key another name already has (first: {self.rows.where(index)})")
        keep = np.ones(len(self.codes), np.bool_)
        keep[twins] = False
        self._take(keep)

    def _take(self, chosen: Mask) -> None:
        self.rows, self.codes, self.day_numbers = self.rows.take(chosen), self.codes[chosen], self.day_numbers[chosen]

    # --- defects ------------------------------------------------------------------------------------------------------------------

    def _labelled(self, repair: bool) -> None:
        """Bars that carry the time of their end: one at the close of most days and none at the open. Refused, or put right by `repair`."""
        steps = np.diff(self.rows.at)[(np.diff(self.codes) == 0) & (np.diff(self.day_numbers) == 0)]
        step = int(np.bincount((steps[steps < _DAY_US] // _MINUTE_US).astype(np.int64)).argmax()) * _MINUTE_US if len(steps) else 0
        shifted: dict[int, int] = {}
        sessions: dict[int, int] = {}
        for first, last in zip(*self._groups(), strict=True):
            code, windows = int(self.codes[first]), self._windows(int(self.codes[first]), _date(int(self.day_numbers[first])))
            if windows and step:
                late = end_labelled(self.rows.at[first:last], _stamp(windows[0][0]), _stamp(windows[-1][1]), step)
                sessions[code], shifted[code] = sessions.get(code, 0) + 1, shifted.get(code, 0) + late
        for code, count in shifted.items():
            if count <= sessions[code] / 2:
                continue
            what = f"{self.names[code].key}: on {count} of {sessions[code]} days there is a bar at the close and none at the open"
            if not repair:
                where = self.rows.files[0]
                raise DataError(f"{where}: {what}: its bars carry the time of their END; subtract one interval, or give --repair to do so")
            self._note(f"{what}: its bars carry the time of their end, {step // _MINUTE_US} min were subtracted")
            self.rows.at[self.codes == code] -= step

    def _observe(self) -> None:
        """Sessions before KNOWN_FROM that the data has and the calendar has not: a day's, or those of an evening (muhurat)."""
        found: dict[tuple[str, int], tuple[int, int]] = {}
        for first, last in zip(*self._groups(), strict=True):
            number, segment = int(self.day_numbers[first]), SEGMENTS[self.names[self.codes[first]].exchange]
            if _date(number) >= KNOWN_FROM or self._windows(int(self.codes[first]), _date(number)):
                continue
            clock = (self.rows.at[first:last] + _OFFSET_US) % _DAY_US // _MINUTE_US
            inside, evening = (clock >= _OPENS) & (clock < _CLOSES), clock >= _EVENING
            step = int(np.diff(clock).min()) if len(clock) > 1 else 1
            if np.count_nonzero(inside) * step >= _SESSION_MINUTES:
                found[segment, number] = (_OPENS, _CLOSES)
            elif np.count_nonzero(evening) * step >= _EVENING_MINUTES:
                begins, ends = int(clock[evening].min()), int(clock[evening].max()) + step
                known = found.get((segment, number), (begins, ends))
                found[segment, number] = (min(begins, known[0]), max(ends, known[1]))
        self.observed = tuple(
            Observed(segment, _date(number), f"{begins // 60:02}:{begins % 60:02}", f"{ends // 60:02}:{ends % 60:02}")
            for (segment, number), (begins, ends) in sorted(found.items())
        )
        self._calendar.observe(self.observed)
        for one in self.observed:
            self._note(f"{one.day}: a session from {one.opens} to {one.closes} is taken from the data, assumed")

    def _foreign(self) -> None:
        """Leave out, with a note, days on which an instrument has the prices of another (a level that is neither before's nor after's)."""
        firsts, lasts = self._groups()
        keep = np.ones(len(self.codes), np.bool_)
        for code in np.unique(self.codes):
            if self.names[code].kind in (Kind.CALL, Kind.PUT):
                continue
            mine = [(first, last) for first, last in zip(firsts, lasts, strict=True) if self.codes[first] == code]
            levels = np.array([float(np.median(self.rows.values["close"][first:last])) for first, last in mine])
            for index in np.flatnonzero(foreign_levels(levels)):
                first, last = mine[index]
                day, usual = _date(int(self.day_numbers[first])), float(np.median(levels[max(0, index - 5) : index + 6]))
                where = f"{self.names[code].key}: {day} is at {levels[index]:g}, the days around at {usual:g}"
                self._note(f"{where}: foreign prices, left out")
                keep[first:last] = False
        if not keep.all():
            self._take(keep)

    def _crossed(self) -> None:
        """Bids above asks are no quotes: not used there, and told (columns mixed up by whoever recorded them?)."""
        bid, ask = self.rows.values["bid"], self.rows.values["ask"]
        wrong = (bid > ask) & (ask > 0)
        if wrong.any():
            first = self.rows.where(int(np.argmax(wrong)))
            self._note(
                f"{int(np.count_nonzero(wrong))} of {len(wrong)} rows have a bid above the ask (first: {first}): their bid and ask are "
                "not used; are these columns what they say?"
            )
            for column in (bid, ask):
                column[wrong] = 0.0

    # --- hours --------------------------------------------------------------------------------------------------------------------

    def _spacing(self) -> int:
        """The bars' interval in seconds: the commonest step within a day."""
        within = (np.diff(self.codes) == 0) & (np.diff(self.day_numbers) == 0)
        steps = np.diff(self.rows.at)[within]
        if not len(steps):
            raise DataError(
                f"{self.rows.files[0]}: no two bars of one symbol on one day, so their interval is not known; give intraday bars"
            )
        values, counts = np.unique(steps, return_counts=True)
        spacing = int(values[np.argmax(counts)])
        if spacing % _MINUTE_US:
            raise DataError(
                f"{self.rows.files[0]}: bars every {spacing / 1e6:g} s; give bars of whole minutes, or ticks (timestamp, symbol, price)"
            )
        odd = np.flatnonzero(within & (np.diff(self.rows.at) % spacing != 0))
        if len(odd):
            where, minutes = self.rows.where(int(odd[0]) + 1), spacing // _MINUTE_US
            raise DataError(f"{where}: off the grid of {minutes}-minute bars; give one interval at a time")
        return spacing // 1_000_000

    def _auction_stocks(self) -> frozenset[int]:
        """Stocks that have derivatives, as far as the data tells: a future of theirs is in it, or (from the closing auction's start on)
        nothing of theirs trades between 15:15 and 15:30."""
        futures = {name.contract.root for name in self.names if name.contract is not None}
        late_start, late_end = (15 * 60 + 15) * _MINUTE_US, (15 * 60 + 30) * _MINUTE_US
        clock = (self.rows.at + _OFFSET_US) % _DAY_US
        new = self.day_numbers >= _number(_AUCTION_FROM)
        seen = np.bincount(self.codes, new, len(self.names)) > 0
        late = np.bincount(self.codes, new & (clock >= late_start) & (clock < late_end), len(self.names)) > 0
        cash = [index for index, name in enumerate(self.names) if name.kind is Kind.EQUITY]
        inferred = {index for index in cash if seen[index] and not late[index]}
        if seen[cash].any():
            self._note(f"{len(inferred)} stocks without prints from 15:15 to 15:30 are taken as stocks with derivatives (closing auction)")
        return frozenset(inferred | {index for index in cash if self.names[index].symbol in futures})

    def _windows(self, code: int, day: date) -> tuple[tuple[datetime, datetime], ...]:
        return self._calendar.continuous(self._shape(code), day)

    def _shape(self, code: int) -> Instrument:
        """As much of an instrument as its hours depend on."""
        name = self.names[code]
        contract = name.contract
        underlying = contract.root if contract else name.symbol
        expiry = contract.expiry if contract else None
        return Instrument(name.key, name.exchange, name.symbol, name.kind, underlying, expiry=expiry, is_fno=code in self._auction)

    def _groups(self) -> tuple[Ints, Ints]:
        """Where each (key, day) begins, and where the next does."""
        edges = np.flatnonzero((np.diff(self.codes) != 0) | (np.diff(self.day_numbers) != 0)) + 1
        return np.concatenate(([0], edges)), np.concatenate((edges, [len(self.codes)]))

    def _in_session(self) -> None:
        """Leave out, with a note, what lies outside continuous trading, and the opening placeholders of ticks."""
        keep = np.zeros(len(self.codes), np.bool_)
        closed: dict[date, int] = {}
        outside: dict[str, int] = {}
        placeholders = 0
        for first, last in zip(*self._groups(), strict=True):
            code, day = int(self.codes[first]), _date(int(self.day_numbers[first]))
            windows = self._windows(code, day)
            at = self.rows.at[first:last]
            inside = np.zeros(last - first, np.bool_)
            if self._daily:
                inside[:] = bool(windows)
            for opens, closes in windows:
                inside |= (at >= _stamp(opens)) & (at < _stamp(closes))
            if not windows:
                closed[day] = closed.get(day, 0) + int(last - first)
            elif not inside.all():
                span = f"{windows[0][0]:%H:%M}-{windows[-1][1]:%H:%M}"
                outside[span] = outside.get(span, 0) + int(np.count_nonzero(~inside))
            if self.rows.kind == "ticks" and self.names[code].contract is not None:
                ones = self.rows.values["volume"][first:last] == 1
                lead = int(np.argmin(ones)) if not ones.all() else len(ones)
                placeholders += int(np.count_nonzero(inside[:lead]))
                inside[:lead] = False
            keep[first:last] = inside
        for day, count in sorted(closed.items()):
            self._note(f"{day} is no trading day: {count} rows left out")
        for span, count in sorted(outside.items()):
            self._note(f"{count} rows outside continuous trading ({span}) left out")
        if placeholders:
            self._note(f"{placeholders} opening rows of derivatives with quantity 1 left out: placeholders, not trades")
        if not keep.any():
            raise DataError(f"no row of {self.rows.files[0].parent} lies in a trading session; is its time zone right?")
        self._take(keep)

    # --- what there is --------------------------------------------------------------------------------------------------------------

    def renamed(self, start: date) -> dict[str, str]:
        """The data's name -> key, as of `start` where it is in the data then."""
        names = {name: key for (name, _), key in self._renamed.items()}
        names.update({name: key for (name, number), key in self._renamed.items() if number == _number(start)})
        return names

    def days(self) -> tuple[date, ...]:
        return tuple(_date(int(number)) for number in np.unique(self.day_numbers))

    def first_full_session(self) -> date:
        """The first day on which something tradable prints from the open to the close; without any, the day with most rows."""
        slack = max(_SLACK_US, 2 * self.interval_s * 1_000_000)
        firsts, lasts = self._groups()
        full = set()
        for first, last in zip(firsts, lasts, strict=True):
            windows = self._windows(int(self.codes[first]), _date(int(self.day_numbers[first])))
            begins, ends = _stamp(windows[0][0]), _stamp(windows[-1][1])
            if self.rows.at[first] <= begins + slack and self.rows.at[last - 1] >= ends - slack:
                full.add((self.names[self.codes[first]].kind is Kind.INDEX, int(self.day_numbers[first])))
        if full:
            return _date(min(full)[1])
        numbers, counts = np.unique(self.day_numbers, return_counts=True)
        return _date(int(numbers[np.argmax(counts)]))

    def instruments(self, day: date, chosen: frozenset[date]) -> tuple[Instrument, ...]:
        """Every key that trades on the chosen days, with its lot, tick, expiry and freeze as of `day`."""
        wanted = np.isin(self.day_numbers, [_number(one) for one in chosen])
        off_tick: list[str] = []
        codes = [int(code) for code in np.unique(self.codes[wanted])]
        found = tuple(self._instrument(code, self._of(code, wanted), day, off_tick) for code in codes)
        if off_tick:
            self._note(
                f"prices finer than the exchange's tick, so a finer tick is used: {', '.join(off_tick[:8])} ({len(off_tick)} instruments)"
            )
        return found

    def _of(self, code: int, wanted: Mask) -> Ints:
        first, last = np.searchsorted(self.codes, (code, code + 1))
        mine: Ints = np.flatnonzero(wanted[first:last]) + first
        return mine

    def _instrument(self, code: int, mine: Ints, day: date, off_tick: list[str]) -> Instrument:
        name = self.names[code]
        price = self.rows.values[PRICES[self.rows.kind][-1]][mine]
        shape = self._shape(code)
        tick = self._calendar.tick_size(name.kind, shape.underlying, float(price[0]), day) if name.kind is not Kind.INDEX else 0.05
        finer = _tick_of(price, tick)
        if finer != tick and name.kind is not Kind.INDEX:
            off_tick.append(f"{name.key} {finer:g}")
            tick = finer
        if name.contract is None:
            return msgspec.structs.replace(shape, tick_size=tick)
        volumes = self.rows.values["volume"][mine].astype(np.int64)
        traded = int(np.gcd.reduce(volumes)) if len(volumes) else 0
        made = instrument_of(name.contract, self._calendar, day, level=float(price[0]), lot=traded or None, symbol=name.symbol)
        return msgspec.structs.replace(made, key=name.key, exchange=name.exchange, tick_size=tick)


def table_of(market: Market, code: int) -> Any:
    """One key's bars, its columns as the candle store has them."""
    first, last = np.searchsorted(market.codes, (code, code + 1))
    columns: dict[str, Any] = {"timestamp": pa.array(market.rows.at[first:last], pa.timestamp("us", "Asia/Kolkata"))}
    for name in COLUMNS["bars"]:
        values = market.rows.values[name][first:last]
        columns[name] = pa.array(values.astype(np.int64) if name in ("volume", "oi") else np.round(values, 2))
    return pa.table(columns)


def write(folder: Path, market: Market, days: tuple[date, ...], instruments: tuple[Instrument, ...], note: Callable[[str], None]) -> None:
    """The manifest last: a folder without it is no normalised folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, kind = market.rows, market.rows.kind
    wanted = np.isin(market.day_numbers, [_number(day) for day in days])
    order = np.flatnonzero(wanted)
    order = order[np.lexsort((market.codes[order], rows.at[order]))]  # stable: file order within a second is kept
    keys = pa.DictionaryArray.from_arrays(pa.array(market.codes[order], pa.int32()), pa.array([name.key for name in market.names]))
    columns: dict[str, Any] = {"timestamp": pa.array(rows.at[order], pa.timestamp("us", "Asia/Kolkata")), "key": keys}
    rounded = 0
    for name in COLUMNS[kind]:
        values = rows.values[name][order]
        if name in ("volume", "oi"):
            columns[name] = pa.array(values.astype(np.int64))
        else:
            paise = np.round(values, 2)
            rounded += int(np.count_nonzero(np.abs(paise - values) > 0.001)) if name in (*BARS, "price") else 0
            columns[name] = pa.array(paise)
    if rounded:
        note(f"{rounded} prices rounded to the paisa")
    table = pa.table(columns)
    numbers = market.day_numbers[order]
    for day in days:
        first, last = np.searchsorted(numbers, (_number(day), _number(day) + 1))
        pq.write_table(table.slice(first, last - first), folder / f"{day.isoformat()}.parquet", compression="snappy")
    manifest = {
        "kind": kind,
        "interval_s": market.interval_s,
        "days": [day.isoformat() for day in days],
        "instruments": [msgspec.to_builtins(instrument) for instrument in instruments],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _tick_of(prices: Floats, tick: float) -> float:
    """The exchange's tick if the prices lie on it (99 in 100 do), else the finest of 5 paise and 1 paisa that they lie on."""
    for candidate in (tick, 0.05):
        steps = np.round(prices[:20_000], 2) / candidate
        if np.count_nonzero(np.abs(steps - np.round(steps)) > 1e-4) <= 0.01 * len(steps):
            return candidate
    return 0.01


def _date(number: int) -> date:
    return date(1970, 1, 1) + number * _DAY


def _number(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def _stamp(moment: datetime) -> int:
    return int((moment - moment_of(0)) / timedelta(microseconds=1))
