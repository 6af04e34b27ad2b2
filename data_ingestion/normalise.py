"""Checked rows become one market: vendors' names become keys, rows outside trading are left out, contract facts are supplied.

Rows outside continuous trading and opening placeholders are left out with a note; lots, ticks, expiries and freezes come from the
calendar's tables, and where these are silent (stocks' lots, stocks in the closing auction) from the data itself. The rows are passed over
block by block, some days in each, and what one pass has to know of all of them the pass before it has counted.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from core.errors import DataError
from core.market import Calendar, Observed
from core.types import SEGMENTS, Instrument, Kind
from data_ingestion.defects import end_labelled, foreign_levels
from data_ingestion.market_files import Tally, without_twins
from data_ingestion.shelf import DAY_US, OFFSET_US, PAIR, Ints, Mask, Rows, Shelf, moment_of
from data_ingestion.vendor_names import date_of, named, number_of

BLOCK = 1 << 15  # rows in memory at a time, or a day where that has more
_MINUTE_US = 60_000_000
_SLACK_US = 5 * _MINUTE_US  # how late a full session's first print may be, how early its last
KNOWN_FROM = date(2020, 1, 1)
_OPENS, _CLOSES, _EVENING = 9 * 60 + 15, 15 * 60 + 30, 16 * 60  # minutes of the day
_SESSION_MINUTES, _EVENING_MINUTES = 180, 30  # fewer are strays, not a session
_AUCTION_FROM = date(2026, 8, 3)  # from here on a stock's hours depend on whether it has derivatives


@dataclass(frozen=True)
class Part:
    """Rows of some days by (key, time): `codes` indexes the market's names, `days` are days since 1970."""

    rows: Rows
    codes: Ints
    days: Ints

    def take(self, chosen: Any) -> "Part":
        return Part(self.rows.take(chosen), self.codes[chosen], self.days[chosen])

    def groups(self) -> list[tuple[int, int, int, int]]:
        """(first row, row after the last, code, day) of each key on each day."""
        if not len(self.codes):
            return []
        edges = (np.flatnonzero((np.diff(self.codes) != 0) | (np.diff(self.days) != 0)) + 1).tolist()
        firsts, lasts = [0, *edges], [*edges, len(self.codes)]
        return [
            (first, last, code, day)
            for first, last, code, day in zip(firsts, lasts, self.codes[firsts].tolist(), self.days[firsts].tolist(), strict=True)
        ]

    def steps(self) -> tuple[Ints, Ints]:
        """From row to row of one key on one day: how many microseconds, and the second row's place."""
        places = np.flatnonzero((np.diff(self.codes) == 0) & (np.diff(self.days) == 0)) + 1
        return self.rows.at[places] - self.rows.at[places - 1], places


class Market:
    """A shelf of checked rows under their keys. `parts` gives those that lie in continuous trading."""

    def __init__(
        self,
        shelf: Shelf,
        calendar: Calendar,
        aliases: Mapping[str, str],
        repair: bool,
        note: Callable[[str], None],
        observe: bool = False,
    ) -> None:
        self._shelf, self._calendar, self._repair, self._note = shelf, calendar, repair, note
        self.kind = shelf.kind
        self.observed: tuple[Observed, ...] = ()
        self._pairs = shelf.pairs
        found = named(shelf.names, self._pairs, shelf.traded, calendar, aliases, note)
        self._renamed = {
            (shelf.names[pair // PAIR], pair % PAIR): name.key
            for pair, name in zip(self._pairs.tolist(), found, strict=True)
            if name is not None
        }
        self.names = sorted({name.key: name for name in found if name is not None}.values(), key=lambda name: name.key)
        place = {name.key: index for index, name in enumerate(self.names)}
        self._codes = np.array([-1 if name is None else place[name.key] for name in found], np.int64)
        if not self.names:
            first = shelf.names[0]
            raise DataError(
                f"no symbol of the data is known ({', '.join(shelf.names[:8])}): map them in symbols.yaml, such as {first}: NSE:NAME"
            )
        self._shapes: dict[int, Instrument] = {}
        self._auction: frozenset[int] = frozenset()
        self._shifted: Mask = np.zeros(len(self.names), np.bool_)  # keys whose bars carry the time of their end
        self._step = 0  # the bars' commonest spacing
        self._foreign: Ints = np.zeros(0, np.int64)  # `code * PAIR + day` with another instrument's prices
        self._daily = self.kind == "bars"
        self._blocks = list(shelf.blocks(BLOCK))
        self._latest: tuple[Sequence[int], Part] | None = None
        self._look_through()
        if self.kind == "bars" and not self._daily:
            self._look_at_days()
        self._look_at_sessions(observe=observe and self.kind == "bars" and not self._daily)

    # --- passes over all rows -------------------------------------------------------------------------------------------------------

    def _look_through(self) -> None:
        """What is there twice, the bars' spacing, who trades in the closing auction, and quotes that are crossed."""
        twice, second, crossed = Tally(), Tally(), Tally()
        steps: Counter[int] = Counter()
        new, late = np.zeros(len(self.names), np.bool_), np.zeros(len(self.names), np.bool_)
        total = 0
        for days in self._blocks:
            part = self._load(days, twice, second)
            clock, total = (part.rows.at + OFFSET_US) % DAY_US, total + len(part.codes)
            self._daily = self._daily and not clock.any()
            since = part.days >= number_of(_AUCTION_FROM)
            if since.any():
                minute = clock // _MINUTE_US
                new[part.codes[since]] = True
                late[part.codes[since & (minute >= 15 * 60 + 15) & (minute < _CLOSES)]] = True
            if self.kind == "bars":
                lengths, counts = np.unique(part.steps()[0] // _MINUTE_US, return_counts=True)
                steps.update(dict(zip(lengths.tolist(), counts.tolist(), strict=True)))
            elif (wrong := _crossed(part.rows)).any():
                crossed.add("{count} of {rows} (first: {first})", int(np.count_nonzero(wrong)), part.rows.where(int(np.argmax(wrong))))
        for text in [*twice.told(), *second.told()]:
            self._note(text)
        self._step = max(steps, key=lambda one: (steps[one], -one), default=0) * _MINUTE_US
        self._auction = self._auction_stocks(new, late)
        self._shapes.clear()
        for text in crossed.told():
            told = text.replace("{rows}", f"{total} rows have a bid above the ask")
            self._note(f"{told}: their bid and ask are not used; are these columns what they say?")

    def _auction_stocks(self, new: Mask, late: Mask) -> frozenset[int]:
        """Stocks that have derivatives, as far as the data tells: a future of theirs is in it, or (`new`: it has days since the closing
        auction began) nothing of theirs trades between 15:15 and 15:30."""
        futures = {name.contract.root for name in self.names if name.contract is not None}
        cash = [index for index, name in enumerate(self.names) if name.kind is Kind.EQUITY]
        inferred = {index for index in cash if new[index] and not late[index]}
        if new[cash].any():
            self._note(f"{len(inferred)} stocks without prints from 15:15 to 15:30 are taken as stocks with derivatives (closing auction)")
        return frozenset(inferred | {index for index in cash if self.names[index].symbol in futures})

    def _look_at_days(self) -> None:
        """Bars that carry the time of their end: one at the close of most days and none at the open; refused, or put right by `repair`.
        And days on which an instrument has the prices of another: their level is neither that of the days before nor of those after."""
        ends: Counter[int] = Counter()
        sessions: Counter[int] = Counter()
        levels: dict[int, list[tuple[int, float]]] = {}
        for days in self._blocks:
            part = self._load(days)
            for first, last, code, number in part.groups():
                windows, at = self._windows(code, number), part.rows.at[first:last]
                if windows and self._step:
                    sessions[code] += 1
                    ends[code] += end_labelled(at, _stamp(windows[0][0]), _stamp(windows[-1][1]), self._step)
                if self.names[code].kind not in (Kind.CALL, Kind.PUT):
                    levels.setdefault(code, []).append((number, float(np.median(part.rows.values["close"][first:last]))))
        self._shift(ends, sessions)
        self._find_foreign(levels)

    def _shift(self, ends: Counter[int], sessions: Counter[int]) -> None:
        for code in sorted(sessions):
            if ends[code] <= sessions[code] / 2:
                continue
            what = f"{self.names[code].key}: on {ends[code]} of {sessions[code]} days there is a bar at the close and none at the open"
            if not self._repair:
                where = self._shelf.files[0]
                raise DataError(f"{where}: {what}: its bars carry the time of their END; subtract one interval, or give --repair to do so")
            self._note(f"{what}: its bars carry the time of their end, {self._step // _MINUTE_US} min were subtracted")
            self._shifted[code] = True

    def _find_foreign(self, levels: Mapping[int, Sequence[tuple[int, float]]]) -> None:
        found = []
        for code in sorted(levels):
            mine = np.array([level for _, level in levels[code]])
            for index in np.flatnonzero(foreign_levels(mine)).tolist():
                number, usual = levels[code][index][0], float(np.median(mine[max(0, index - 5) : index + 6]))
                where = f"{self.names[code].key}: {date_of(number)} is at {mine[index]:g}, the days around at {usual:g}"
                self._note(f"{where}: foreign prices, left out")
                found.append(code * PAIR + number)
        self._foreign = np.array(found, np.int64)

    def _look_at_sessions(self, *, observe: bool) -> None:
        """What lies in sessions: the days, which of them are whole, the bars' interval. The rest is told."""
        told, placeholders = Tally(), Tally()
        closed: Counter[int] = Counter()
        steps: dict[int, tuple[int, str]] = {}
        self._counts: Counter[int] = Counter()
        self._margins: dict[tuple[bool, int], int] = {}  # (an index?, day) -> the least that a key's rows begin late or end early
        for days in self._blocks:
            part = self._load(days)
            if observe:
                self._observe(part)
            part = self._in_session(part, closed, told, placeholders)
            lengths, places = part.steps()
            for length, first, count in zip(*np.unique(lengths, return_index=True, return_counts=True), strict=True):
                before = steps.get(int(length))
                steps[int(length)] = (int(count) + (before[0] if before else 0), before[1] if before else part.rows.where(places[first]))
            for first, last, code, number in part.groups():
                windows, at = self._windows(code, number), part.rows.at
                apart = max(int(at[first]) - _stamp(windows[0][0]), _stamp(windows[-1][1]) - int(at[last - 1]))
                kind = (self.names[code].kind is Kind.INDEX, number)
                self._margins[kind] = min(apart, self._margins.get(kind, apart))
                self._counts[number] += last - first
        for one in self.observed:
            self._note(f"{one.day}: a session from {one.opens} to {one.closes} is taken from the data, assumed")
        for number, count in sorted(closed.items()):
            self._note(f"{date_of(number)} is no trading day: {count} rows left out")
        for text in sorted(told.told(), key=lambda text: text.partition("(")[2]) + placeholders.told():
            self._note(text)
        if not self._counts:
            raise DataError(f"no row of {self._shelf.files[0].parent} lies in a trading session; is its time zone right?")
        self.interval_s = 86_400 if self._daily else self._spacing(steps) if self.kind == "bars" else 0

    def _observe(self, part: Part) -> None:
        """Sessions before KNOWN_FROM that the data has and the calendar has not: a day's, or those of an evening (muhurat)."""
        found: dict[tuple[str, int], tuple[int, int]] = {}
        for first, last, code, number in part.groups():
            segment = SEGMENTS[self.names[code].exchange]
            if date_of(number) >= KNOWN_FROM or self._windows(code, number):
                continue
            clock = (part.rows.at[first:last] - self._step * self._shifted[code] + OFFSET_US) % DAY_US // _MINUTE_US
            inside, evening = (clock >= _OPENS) & (clock < _CLOSES), clock >= _EVENING
            step = int(np.diff(clock).min()) if len(clock) > 1 else 1
            if np.count_nonzero(inside) * step >= _SESSION_MINUTES:
                found[segment, number] = (_OPENS, _CLOSES)
            elif np.count_nonzero(evening) * step >= _EVENING_MINUTES:
                begins, ends = int(clock[evening].min()), int(clock[evening].max()) + step
                known = found.get((segment, number), (begins, ends))
                found[segment, number] = (min(begins, known[0]), max(ends, known[1]))
        new = [
            Observed(segment, date_of(number), f"{begins // 60:02}:{begins % 60:02}", f"{ends // 60:02}:{ends % 60:02}")
            for (segment, number), (begins, ends) in sorted(found.items())
        ]
        self.observed = tuple(sorted([*self.observed, *new], key=lambda one: (one.segment, one.day)))
        if new:
            self._calendar.observe(new)

    def _spacing(self, steps: Mapping[int, tuple[int, str]]) -> int:
        """The bars' interval in seconds: the commonest step within a day, of which every other is a multiple."""
        if not steps:
            raise DataError(
                f"{self._shelf.files[0]}: no two bars of one symbol on one day, so their interval is not known; give intraday bars"
            )
        spacing = min(steps, key=lambda one: (-steps[one][0], one))
        if spacing % _MINUTE_US:
            raise DataError(
                f"{self._shelf.files[0]}: bars every {spacing / 1e6:g} s; give bars of whole minutes, or ticks (timestamp, symbol, price)"
            )
        for step, (_, where) in steps.items():
            if step % spacing:
                raise DataError(f"{where}: off the grid of {spacing // _MINUTE_US}-minute bars; give one interval at a time")
        return spacing // 1_000_000

    # --- rows ------------------------------------------------------------------------------------------------------------------------

    def _load(self, days: Sequence[int], twice: Tally | None = None, second: Tally | None = None) -> Part:
        """The rows of a block's days under their keys, each moment once."""
        if self._latest is not None and self._latest[0] == days:
            return self._latest[1]
        rows = without_twins(self._shelf.rows(days), self._repair, twice)
        numbers = (rows.at + OFFSET_US) // DAY_US
        codes = self._codes[np.searchsorted(self._pairs, rows.symbol * PAIR + numbers)]
        keep = np.flatnonzero(codes >= 0)
        keep = keep[np.lexsort((rows.row[keep], rows.file[keep], rows.at[keep], codes[keep]))]
        part = self._one_source(Part(rows.take(keep), codes[keep], numbers[keep]), second)
        self._latest = (days, part)
        return part

    def _one_source(self, part: Part, tally: Tally | None) -> Part:
        """Two names that became one key must not tell two stories of the same moment."""
        twins = np.flatnonzero((np.diff(part.rows.at) == 0) & (np.diff(part.codes) == 0)) + 1
        if self.kind != "bars" or not len(twins):
            return part
        index = int(twins[0])
        if not self._repair:
            key = self.names[part.codes[index]].key
            raise DataError(f"{part.rows.where(index)}: a second bar of {key} at that time (first: {part.rows.where(index - 1)})")
        if tally is not None:
            tally.add("dropped {count} bars whose key another name already has (first: {first})", len(twins), part.rows.where(index))
        keep = np.ones(len(part.codes), np.bool_)
        keep[twins] = False
        return part.take(keep)

    def _in_session(self, part: Part, closed: Counter[int], outside: Tally, placeholders: Tally) -> Part:
        """Without what lies outside continuous trading, the opening placeholders of ticks, and foreign days; counted."""
        rows = replace(part.rows, at=part.rows.at - self._step * self._shifted[part.codes])
        if self.kind == "ticks":
            wrong, values = _crossed(rows), rows.values
            rows = replace(rows, values={**values, "bid": np.where(wrong, 0.0, values["bid"]), "ask": np.where(wrong, 0.0, values["ask"])})
        part = Part(rows, part.codes, part.days)
        if len(self._foreign):
            part = part.take(~np.isin(part.codes * PAIR + part.days, self._foreign))
        keep = np.zeros(len(part.codes), np.bool_)
        for first, last, code, number in part.groups():
            windows = self._windows(code, number)
            at = part.rows.at[first:last]
            inside = np.zeros(last - first, np.bool_)
            if self._daily:
                inside[:] = bool(windows)
            for opens, closes in windows:
                inside |= (at >= _stamp(opens)) & (at < _stamp(closes))
            if not windows:
                closed[number] += last - first
            elif not inside.all():
                span = f"{windows[0][0]:%H:%M}-{windows[-1][1]:%H:%M}"
                outside.add(f"{{count}} rows outside continuous trading ({span}) left out", int(np.count_nonzero(~inside)), "")
            if self.kind == "ticks" and self.names[code].contract is not None:
                inside[: self._lead(part, first, last, inside, placeholders)] = False
            keep[first:last] = inside
        return part if keep.all() else part.take(keep)

    def _lead(self, part: Part, first: int, last: int, inside: Mask, placeholders: Tally) -> int:
        """How many rows of quantity 1 a contract's day begins with: they are no trades."""
        ones = part.rows.values["volume"][first:last] == 1
        lead = int(np.argmin(ones)) if not ones.all() else len(ones)
        found = int(np.count_nonzero(inside[:lead]))
        if found:
            placeholders.add("{count} opening rows of derivatives with quantity 1 left out: placeholders, not trades", found, "")
        return lead

    def _windows(self, code: int, number: int) -> tuple[tuple[datetime, datetime], ...]:
        return self._calendar.continuous(self.shape(code), date_of(number))

    def shape(self, code: int) -> Instrument:
        """As much of an instrument as its hours depend on."""
        found = self._shapes.get(code)
        if found is None:
            name = self.names[code]
            contract = name.contract
            underlying = contract.root if contract else name.symbol
            expiry = contract.expiry if contract else None
            found = self._shapes[code] = Instrument(
                name.key, name.exchange, name.symbol, name.kind, underlying, expiry=expiry, is_fno=code in self._auction
            )
        return found

    # --- what there is --------------------------------------------------------------------------------------------------------------

    def parts(self, days: Sequence[date]) -> Iterator[Part]:
        """The rows of these days that lie in continuous trading, in order of days."""
        wanted = {number_of(day) for day in days}
        for block in self._blocks:
            if wanted.isdisjoint(block):
                continue
            part = self._in_session(self._load(block), Counter(), Tally(), Tally())
            part = part if wanted.issuperset(block) else part.take(np.isin(part.days, sorted(wanted)))
            if len(part.codes):
                yield part

    def renamed(self, start: date) -> dict[str, str]:
        """The data's name -> key, as of `start` where it is in the data then."""
        names = {name: key for (name, _), key in self._renamed.items()}
        names.update({name: key for (name, number), key in self._renamed.items() if number == number_of(start)})
        return names

    def days(self) -> tuple[date, ...]:
        return tuple(date_of(number) for number in sorted(self._counts))

    def first_full_session(self) -> date:
        """The first day on which something tradable prints from the open to the close; without any, the day with most rows."""
        slack = max(_SLACK_US, 2 * self.interval_s * 1_000_000)
        full = [kind for kind, apart in self._margins.items() if apart <= slack]
        return date_of(min(full)[1] if full else min(self._counts, key=lambda day: (-self._counts[day], day)))


def _crossed(rows: Rows) -> Mask:
    """Bids above asks are no quotes: not used there, and told (columns mixed up by whoever recorded them?)."""
    bid, ask = rows.values["bid"], rows.values["ask"]
    wrong: Mask = (bid > ask) & (ask > 0)
    return wrong


def _stamp(moment: datetime) -> int:
    return int((moment - moment_of(0)) / timedelta(microseconds=1))
