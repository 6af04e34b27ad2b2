"""Slower bars built inside a strategy from its own: a second timeframe without a second subscription."""

from datetime import date, datetime, timedelta

import msgspec

from core.types import Bar


class Slower:
    """Joins `factor` bars of one instrument into one, counted from the first bar of each day; `add` returns what each bar completes.

    A slower bar is complete with the bar that reaches its end, or with the first one after it; the last of a day ends with the day.
    The first day heard may have begun before us, so it makes none: warm up over one day more than the slower bars need.
    """

    __slots__ = ("_anchor", "_day", "_number", "_running", "factor")

    def __init__(self, factor: int) -> None:
        if type(factor) is not int or factor < 1:
            raise ValueError(f"factor: expected a whole number of bars, 1 or more, got {factor!r}")
        self.factor = factor
        self._day: date | None = None
        self._anchor: datetime | None = None
        self._running: Bar | None = None
        self._number = 0

    def add(self, bar: Bar) -> list[Bar]:
        done: list[Bar] = []
        if bar.start.date() != self._day:
            self._anchor = None if self._day is None else bar.start
            self._day = bar.start.date()
            self._complete(done)
        if self._anchor is None:
            return done
        step = timedelta(minutes=self.factor * bar.interval)
        number = (bar.start - self._anchor) // step
        if number != self._number:
            self._complete(done)
        self._number = number
        self._running = self._join(bar, self._anchor + number * step)
        if bar.at >= self._anchor + (number + 1) * step:
            self._complete(done)
        return done

    def _complete(self, done: list[Bar]) -> None:
        if self._running is not None:
            done.append(self._running)
        self._running = None

    def _join(self, bar: Bar, start: datetime) -> Bar:
        old, interval = self._running, self.factor * bar.interval
        if old is None:
            return msgspec.structs.replace(bar, start=start, interval=interval)
        return Bar(
            bar.instrument,
            start,
            bar.at,
            interval,
            old.open,
            max(old.high, bar.high),
            min(old.low, bar.low),
            bar.close,
            old.volume + bar.volume,
            bar.oi,
            old.gap or bar.gap,
            old.warmup and bar.warmup,
        )
