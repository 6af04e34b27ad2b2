"""What candles lack and what looks wrong in them, judged against the calendar: gaps, bars outside sessions, outliers, levels, steps.

What is a gap: a missing day of the calendar, or a missing bar of continuous trading, of what trades every minute (indices, futures,
stocks). Options go without a trade for minutes and days: theirs is told as quiet. Before 2020 no holiday list is known, so a day without
any bar is told and not counted.
"""

import itertools
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
import numpy as np

from core.market import Calendar
from core.types import IST, Instrument, Kind
from data_ingestion.candle_store import Span
from data_ingestion.defects import Ints, end_labelled, foreign_levels, jumps, spikes
from data_ingestion.intervals import DAY_MINUTES, interval_word

_EPOCH = datetime(1970, 1, 1, 5, 30, tzinfo=IST)
_US = timedelta(microseconds=1)
_DAY = timedelta(days=1)
_DAY_US = 86_400_000_000
_OFFSET_US = 19_800_000_000
_SPIKE = {Kind.INDEX: 0.02, Kind.FUTURE: 0.02, Kind.EQUITY: 0.04}
"""Share by which a bar must leave the median of its neighbours to be an outlier; day candles are allowed six times as much."""
_STEP = 0.25
"""Share by which a day's open must leave the close before it to be told as a step (a split or bonus that was not adjusted?)."""


_SPECIAL = 240
"""Minutes that a weekend day before 2020 must hold to pass for a special session."""
_LONGEST_HOLIDAY = 3
"""Weekdays in a row on which no exchange of India has been closed for a holiday since 2015 at most."""


class DayGap(msgspec.Struct, frozen=True):
    """A day that lacks bars: how many there should be and are, and the runs of missing ones (`HH:MM-HH:MM`, the last bar's open)."""

    day: date
    expected: int
    found: int
    missing: tuple[str, ...]
    spans: tuple[Span, ...]


class Odd(msgspec.Struct, frozen=True):
    """One bar that looks wrong, and why."""

    at: datetime
    what: str


class CandleReport(msgspec.Struct, frozen=True):
    """The judgement of a range of one series. `gaps` are counted, `quiet` and `notes` are told; `outside` and `outliers` list bars."""

    bars: int
    expected: int
    gaps: tuple[DayGap, ...] = ()
    missing_days: tuple[date, ...] = ()
    quiet: int = 0
    outside: tuple[Odd, ...] = ()
    outliers: tuple[Odd, ...] = ()
    foreign_days: tuple[date, ...] = ()
    zero_volume: int = 0
    notes: tuple[str, ...] = ()

    @property
    def missing(self) -> int:
        """Bars that are counted as missing."""
        return sum(gap.expected - gap.found for gap in self.gaps)

    @property
    def whole(self) -> bool:
        return not self.gaps

    def spans(self) -> list[Span]:
        """The ranges to ask for again."""
        return [span for gap in self.gaps for span in gap.spans]


def examine(table: Any, instrument: Instrument, interval: int, calendar: Calendar, span: Span) -> CandleReport:
    """Judge stored candles of `span` (an Arrow table as the store gives it)."""
    at = table["timestamp"].cast("int64").to_numpy().astype(np.int64)
    values = {name: table[name].to_numpy() for name in ("open", "high", "low", "close", "volume")}
    return _Examination(at, values, instrument, interval, calendar, span).report()


class _Examination:
    def __init__(self, at: Ints, values: dict[str, Any], instrument: Instrument, interval: int, calendar: Calendar, span: Span) -> None:
        self.at, self.values = at, values
        self.instrument, self.interval, self.calendar, self.span = instrument, interval, calendar, span
        self.day_numbers = (at + _OFFSET_US) // _DAY_US
        self.notes: list[str] = []
        self.gaps: list[DayGap] = []
        self.missing_days: list[date] = []
        self.outside: list[Odd] = []
        self.quiet = self.expected = 0

    def report(self) -> CandleReport:
        self._days()
        foreign = self._foreign()
        self._steps(foreign)
        if self.interval < DAY_MINUTES:
            self._labels()
        zero = 0 if self.instrument.kind is Kind.INDEX else int(np.count_nonzero(self.values["volume"] == 0))
        return CandleReport(
            bars=len(self.at),
            expected=self.expected,
            gaps=tuple(self.gaps),
            missing_days=tuple(self.missing_days),
            quiet=self.quiet,
            outside=tuple(self.outside),
            outliers=tuple(self._outliers(foreign)),
            foreign_days=tuple(foreign),
            zero_volume=zero,
            notes=tuple(self.notes),
        )

    # --- gaps -------------------------------------------------------------------------------------------------------------------------

    def _days(self) -> None:
        """Each day of the span: which bars there should be, which there are, and which should not be there."""
        first, last = self.span.start.astimezone(IST).date(), (self.span.end - _US).astimezone(IST).date()
        absent: list[DayGap] = []
        day = first
        while day <= last:
            grid = self._grid(day)
            begin, end = np.searchsorted(self.day_numbers, (_number(day), _number(day) + 1))
            mine = self.at[begin:end]
            self._odd(mine[~np.isin(mine, grid)], day, bool(len(grid)))
            lacking = grid[~np.isin(grid, mine)]
            self.expected += len(grid)
            if len(lacking):
                gap = DayGap(day, len(grid), len(grid) - len(lacking), *self._runs(lacking, grid))
                (self.gaps if len(lacking) < len(grid) else absent).append(gap)
            day += _DAY
        self._judge(absent)

    def _grid(self, day: date) -> Ints:
        """The open times due on a day, within the span."""
        windows = self.calendar.continuous(self.instrument, day)
        if self.interval >= DAY_MINUTES:
            due = [datetime.combine(day, datetime.min.time(), IST)] if windows else []
            grid = np.array([_stamp(one) for one in due], np.int64)
        else:
            step = self.interval * 60_000_000
            grid = np.concatenate([np.arange(_stamp(opens), _stamp(closes), step) for opens, closes in windows] or [np.array([], np.int64)])
        chosen: Ints = grid[(grid >= _stamp(self.span.start)) & (grid < _stamp(self.span.end))]
        return chosen

    def _runs(self, lacking: Ints, grid: Ints) -> tuple[tuple[str, ...], tuple[Span, ...]]:
        """Missing bars as runs of neighbours on the grid."""
        places = np.searchsorted(grid, lacking)
        cuts = np.flatnonzero(np.diff(places) > 1) + 1
        texts, spans = [], []
        step = timedelta(minutes=self.interval)
        for run in np.split(lacking, cuts):
            start, end = _moment(run[0]), _moment(run[-1])
            texts.append("the day" if self.interval >= DAY_MINUTES else f"{start:%H:%M}" if len(run) == 1 else f"{start:%H:%M}-{end:%H:%M}")
            spans.append(Span(start, end + step))
        return tuple(texts), tuple(spans)

    def _judge(self, absent: list[DayGap]) -> None:
        """Which of what is missing counts as a gap."""
        if self.instrument.is_option:
            self.quiet = sum(gap.expected - gap.found for gap in (*self.gaps, *absent))
            self.gaps = []
            if self.quiet:
                self.notes.append(f"{self.quiet} bars of this option are not there: nothing traded, or the source lacks them")
            return
        if self.instrument.expiry is not None:
            first = _moment(self.at[0]).date() if len(self.at) else None
            early = [gap for gap in absent if first is None or gap.day < first]
            if early and first is not None:
                self.notes.append(f"no bars before {first}: {len(early)} days, on which the contract was not listed or did not trade")
                absent = absent[len(early) :]
                self.expected -= sum(gap.expected for gap in early)
        lasting = _lasting([gap.day for gap in absent])
        unknown = [gap for gap in absent if self.calendar.status(gap.day) == "assumed" and gap.day not in lasting]
        if unknown:
            days = ", ".join(str(gap.day) for gap in unknown[:8])
            self.notes.append(f"{len(unknown)} weekdays before 2020 have no bar (holidays of that time are not known): {days}")
            self.expected -= sum(gap.expected for gap in unknown)
        counted = [gap for gap in absent if gap not in unknown]
        self.missing_days = [gap.day for gap in counted]
        self.gaps = sorted([*self.gaps, *counted], key=lambda gap: gap.day)

    def _odd(self, stray: Ints, day: date, trading: bool) -> None:
        """Bars that the calendar has no place for."""
        for stamp in stray:
            moment = _moment(stamp)
            if not trading and not self.calendar.continuous(self.instrument, day):
                what = "no trading day"
                if self.calendar.status(day) == "assumed" and len(stray) > _SPECIAL / self.interval:
                    self.notes.append(f"{day}: {len(stray)} bars on a {day:%A} before 2020, a special session as far as can be told")
                    return
            elif self.interval >= DAY_MINUTES:
                what = "a day candle that does not begin at midnight"
            elif self.calendar.is_open(self.instrument, moment):
                what = f"off the grid of {interval_word(self.interval)} bars"
            else:
                what = f"outside continuous trading ({self.calendar.phase(self.instrument, moment).replace('_', ' ')})"
            self.outside.append(Odd(moment, what))

    # --- prices -----------------------------------------------------------------------------------------------------------------------

    def _groups(self) -> tuple[Ints, list[slice]]:
        """The days that have bars, and where theirs are."""
        numbers, starts = np.unique(self.day_numbers, return_index=True)
        ends = np.append(starts, len(self.at))[1:]
        return numbers, [slice(int(start), int(end)) for start, end in zip(starts, ends, strict=True)]

    def _foreign(self) -> list[date]:
        """Days whose level is neither that of the days before nor of the days after (the prices of something else)."""
        if self.instrument.is_option or self.interval >= DAY_MINUTES:
            return []
        numbers, groups = self._groups()
        levels = np.array([float(np.median(self.values["close"][group])) for group in groups])
        return [_date(int(number)) for number, wrong in zip(numbers, foreign_levels(levels), strict=True) if wrong]

    def _steps(self, foreign: list[date]) -> None:
        """Jumps of a stock's level from one day to the next that stay."""
        numbers, groups = self._groups()
        if self.instrument.kind is not Kind.EQUITY:
            return
        sound = [group for number, group in zip(numbers, groups, strict=True) if _date(int(number)) not in foreign]
        for before, after in itertools.pairwise(sound):
            old, new = float(self.values["close"][before.stop - 1]), float(self.values["open"][after.start])
            if abs(new / old - 1) > _STEP:
                self.notes.append(
                    f"{_moment(self.at[after.start]).date()}: opens at {new:g} after a close of {old:g} (factor {new / old:.3g}): "
                    "a split or bonus that these prices are not adjusted for?"
                )

    def _outliers(self, foreign: list[date]) -> list[Odd]:
        """Bars whose high, low or close leaves the median of the bars around them and comes back."""
        limit = _SPIKE.get(self.instrument.kind)
        if limit is None or not len(self.at):
            return []
        daily = self.interval >= DAY_MINUTES
        groups = [slice(0, len(self.at))] if daily else self._groups()[1]
        wrong = set(foreign)
        found: list[Odd] = []
        for group in groups:
            if not daily and _moment(self.at[group.start]).date() in wrong:
                continue
            part = {name: self.values[name][group] for name in ("open", "high", "low", "close")}
            for index in [] if daily else jumps(part["open"], part["close"]):
                before, opens = part["close"][index - 1], part["open"][index]
                found.append(
                    Odd(_moment(self.at[group.start + index]), f"opens at {opens:g} after {before:g}: foreign prices from here on?")
                )
            for index, share in spikes(part, 6 * limit if daily else limit):
                found.append(
                    Odd(_moment(self.at[group.start + index]), f"{share:+.1%} from the bars around it (close {part['close'][index]:g})")
                )
        return sorted(found, key=lambda odd: odd.at)

    def _labels(self) -> None:
        """Bars labelled with their end: the first bar of most days is missing, and there is one at the close."""
        numbers, groups = self._groups()
        shifted = sessions = 0
        for number, group in zip(numbers, groups, strict=True):
            windows = self.calendar.continuous(self.instrument, _date(int(number)))
            if windows:
                sessions += 1
                shifted += end_labelled(self.at[group], _stamp(windows[0][0]), _stamp(windows[-1][1]), self.interval * 60_000_000)
        if sessions and shifted > sessions / 2:
            self.notes.append(
                f"on {shifted} of {sessions} days the first bar is missing and one stands at the close: these bars seem to be labelled "
                "with their END; subtract one interval"
            )


def _lasting(days: list[date]) -> set[date]:
    """The weekdays that belong to a row of absent ones too long for holidays."""
    rows: list[list[date]] = []
    for day in days:
        before = day - (3 if day.weekday() == 0 else 1) * _DAY
        if rows and rows[-1][-1] == before:
            rows[-1].append(day)
        else:
            rows.append([day])
    return {day for row in rows if len(row) > _LONGEST_HOLIDAY for day in row}


def document(report: CandleReport, most: int = 50) -> dict[str, Any]:
    """The report as a `--json` document: lists are cut to `most` entries, counts are whole."""
    return {
        "bars": report.bars,
        "expected": report.expected,
        "missing": report.missing,
        "whole": report.whole,
        "missing_days": [day.isoformat() for day in report.missing_days[:most]],
        "gaps": [
            {"day": gap.day.isoformat(), "expected": gap.expected, "found": gap.found, "missing": list(gap.missing[:most])}
            for gap in report.gaps[:most]
        ],
        "outside": [{"at": odd.at.isoformat(), "what": odd.what} for odd in report.outside[:most]],
        "outliers": [{"at": odd.at.isoformat(), "what": odd.what} for odd in report.outliers[:most]],
        "counts": {
            "gap_days": len(report.gaps),
            "missing_days": len(report.missing_days),
            "outside": len(report.outside),
            "outliers": len(report.outliers),
            "zero_volume": report.zero_volume,
            "quiet": report.quiet,
        },
        "foreign_days": [day.isoformat() for day in report.foreign_days],
        "notes": list(report.notes),
    }


def _moment(stamp: Any) -> datetime:
    return _EPOCH + timedelta(microseconds=int(stamp))


def _stamp(moment: datetime) -> int:
    return (moment - _EPOCH) // _US


def _number(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def _date(number: int) -> date:
    return date(1970, 1, 1) + number * _DAY
