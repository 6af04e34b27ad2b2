"""An honest source of candles for tests: whole sessions of a calendar, in memory, that keeps a broker's rules and fails when told to."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta

import msgspec

from core.clock import ManualClock
from core.errors import BrokerError
from core.market import Calendar
from core.types import IST, Bar, Instrument, Kind
from utils.config_loader import load_calendar

STOCK = Instrument("NSE:RELIANCE", "NSE", "RELIANCE", Kind.EQUITY, "RELIANCE")
FUTURE = Instrument("NFO:NIFTY26NOVFUT", "NFO", "NIFTY26NOVFUT", Kind.FUTURE, "NIFTY", 65, 0.1, date(2026, 11, 23))
CALENDAR = load_calendar()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=IST)


class Source:
    """Every candle due by its calendar since `begins`, the running one included; at most `cap` days in a request, as the real server does.

    Prices are a function of the time alone, times `factor` before `ex` (a split seen from after it). `failures` are raised one for each
    request; `holes` are open times it has no candle of until `healed`; `extra` are candles beside the due ones.
    """

    source = "house"
    simulated = False

    def __init__(self, now: str, *, cap: int = 60, begins: date = date(2026, 9, 1), calendar: Calendar = CALENDAR) -> None:
        self.clock = ManualClock(at(now))
        self.calendar = calendar
        self.cap = cap
        self.begins = begins
        self.caps = dict.fromkeys((1, 3, 5, 10, 15, 30, 60, 1440), cap)
        self.asked: list[tuple[datetime, datetime]] = []
        self.failures: list[BrokerError] = []
        self.factor, self.ex = 1.0, date(2030, 1, 1)
        self.holes: set[datetime] = set()
        self.healed = False
        self.extra: list[Bar] = []
        self.known = {one.key: one for one in (STOCK, FUTURE)} | {"NIFTY_FUT": FUTURE, "RELIANCE": STOCK}

    @property
    def data(self) -> "Source":
        return self

    def now(self) -> datetime:
        return self.clock.now()

    def resolve(self, symbol: str) -> Instrument:
        return self.known[symbol]

    def close(self) -> None:
        """Nothing to give back."""

    def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
        assert end - start < timedelta(days=self.cap), f"interval exceeds max limit: {self.cap} days"
        self.asked.append((start, end))
        if self.failures:
            raise self.failures.pop(0)
        found = [bar for bar in self._due(instrument, start.date(), end.date(), interval) if start <= bar.start <= min(end, self.now())]
        found += [msgspec.structs.replace(bar, instrument=instrument) for bar in self.extra if start <= bar.start <= end]
        return sorted((bar for bar in found if self.healed or bar.start not in self.holes), key=lambda bar: bar.start)

    def _due(self, instrument: Instrument, first: date, last: date, interval: int) -> Iterable[Bar]:
        day, step = max(first, self.begins), timedelta(minutes=interval)
        while day <= last:
            for opens, closes in self.calendar.continuous(instrument, day):
                moment = opens if interval < 1440 else datetime.combine(day, datetime.min.time(), IST)
                while moment < closes:
                    yield self._bar(instrument, moment, interval)
                    if interval == 1440:
                        break
                    moment += step
            day += timedelta(days=1)

    def _bar(self, instrument: Instrument, start: datetime, interval: int) -> Bar:
        price = 1000.0 + start.hour + start.minute / 100 + start.day / 10
        price = round(price * (self.factor if start.date() < self.ex else 1.0), 2)
        moving = start + timedelta(minutes=interval) > self.now()
        high, low, close = round(price + 0.05, 2), round(price - 0.05, 2), round(price + (0.03 if moving else 0.01), 2)
        return Bar(instrument, start, start + timedelta(minutes=interval), interval, price, high, low, close, 75 + start.minute, 9)
