"""A market that costs nothing: three listings whose prices are sums of waves, drawn from the seed; every price is invented."""

import math
import random
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from zlib import crc32

from simulators.facts import IST, Facts
from simulators.listing import Candle, Level, Listing, Quote
from simulators.tape import as_grid

DAY = date(2026, 11, 20)
FUTURE, SHARE, SMALL = "NFO:NIFTY26NOVFUT", "NSE:RELIANCE", "NSE:VSTIND"
KEYS = (FUTURE, SHARE, SMALL)
OTHER = "NFO:RELIANCE26NOVFUT"
NO_LEVEL: Level = (0.0, 0, 0)
BASES = {FUTURE: 25_600.0, SHARE: 1_452.0, SMALL: 262.0, OTHER: 1_455.0}


def clock(text: str) -> datetime:
    """A clock time of the day that is simulated."""
    return datetime.combine(DAY, time.fromisoformat(text), IST)


def facts() -> Facts:
    return Facts.load()


class WaveMarket:
    """simulators.listing.Market. Prices are functions of time: nothing is played, nothing is kept."""

    spacing_s = 5
    synthetic = True
    label = "synthetic waves"

    def __init__(self, seed: int, known: Facts) -> None:
        chance = random.Random(f"market {seed}")
        self._seed = seed
        self.day = DAY
        self.days: Sequence[date] = [DAY]
        self.opens_at, self.closes_at = clock("09:00"), clock("16:00")
        self._waves = {
            key: [
                (chance.uniform(0.001, 0.004), chance.uniform(600, 2400), chance.uniform(0, 6.28)),
                (chance.uniform(0.0005, 0.002), chance.uniform(180, 600), chance.uniform(0, 6.28)),
            ]
            for key in KEYS
        }
        self.gaps: dict[str, list[tuple[datetime, float]]] = {key: [] for key in KEYS}  # sudden moves: since when, by which factor
        self._locked: dict[str, str] = {}
        self.thin: set[str] = set()  # keys whose shown quotes are gone when an order comes: it rests, and fills by prints alone
        self._levels = chance.choice((1, 3, 40))  # lots that stand at each price
        self.halted_at: datetime | None = None
        expiry = known.monthly_expiries("NIFTY", DAY, 1)[0]
        self.listings: Mapping[str, Listing] = {
            FUTURE: _listing(FUTURE, "NIFTY", "FUT", 65, 0.1, 1, expiry=expiry, freeze=1755, is_fno=True),
            SHARE: _listing(SHARE, "RELIANCE", "EQ", 1, 0.1, 2, is_fno=True),
            SMALL: _listing(SMALL, "VSTIND", "EQ", 1, 0.05, 3),
            OTHER: _listing(OTHER, "RELIANCE", "FUT", 500, 0.1, 4, expiry=expiry, is_fno=True),  # it makes the share one of the auction
        }

    def open_day(self, day: date) -> None:
        return None

    def step(self, now: datetime) -> list[str]:
        self.move_to(now)
        return list(KEYS)

    def price(self, key: str, at: datetime) -> float:
        """The last price at a moment, on the tick; before the day it is the day before's wave."""
        at = min(at, self.halted_at) if self.halted_at is not None else at
        seconds = (at - self.opens_at).total_seconds()
        move = sum(height * math.sin(6.283 * seconds / period + phase) for height, period, phase in self._waves[key])
        noise = (crc32(f"{self._seed}{key}{int(seconds)}".encode()) % 7 - 3) * 0.00002
        factor = 1.0
        for since, by in self.gaps[key]:
            if at >= since:
                factor *= by
        return as_grid(BASES[key] * factor * (1 + move + noise), self.listings[key].tick_size)

    def quote(self, key: str, at: datetime | None = None, *, shown: bool = False) -> Quote:
        """`shown`: as the feed has it, which an order may not meet."""
        at = at or self._now
        listing, last = self.listings[key], self.price(key, at)
        tick, size = listing.tick_size, listing.lot * self._levels * (1 if listing.lot > 1 else 100)
        away = round(last * 0.006 / tick) * tick if key in self.thin and not shown else 0.0
        bids = tuple((round(last - away - tick * n, 4), size, 3) for n in range(1, 6))
        asks = tuple((round(last + away + tick * n, 4), size, 3) for n in range(1, 6))
        lock = self._locked.get(key)
        bids = (NO_LEVEL,) * 5 if lock == "lower" else bids
        asks = (NO_LEVEL,) * 5 if lock == "upper" else asks
        volume = max(0, int((at - self.opens_at).total_seconds())) * listing.lot
        close = BASES[key]
        return Quote(last, listing.lot, at, volume, last, 0, 0, 0, close, last, last, close, bids, asks, size, size, at)

    def trades(self, key: str, at: datetime) -> list[tuple[float, int]]:
        if (
            self.halted_at is not None
            or key in self._locked
            or (key in self.thin and at.second % 20)
            or not self.opens_at <= at <= self.closes_at
        ):
            return []
        draw = crc32(f"t{self._seed}{key}{at:%H%M%S}".encode())
        last = self.price(key, at)
        return [(last, self.listings[key].lot * (1 + draw % 9))] if draw % 3 else []

    def candles(self, key: str, start: datetime, end: datetime, minutes: int) -> list[Candle]:
        found, step = [], timedelta(minutes=minutes)
        for day, until in ((DAY - timedelta(days=1), clock("15:30") - timedelta(days=1)), (DAY, min(end, self._now))):
            at = datetime.combine(day, time(9, 15), IST)
            while at + step <= until:
                if start <= at <= end and (day == DAY or at.hour >= 14):
                    price = self.price(key, at)
                    found.append(Candle(at, price, price, price, self.price(key, at + step), 100, 0))
                at += step
        return found

    def lock(self, key: str, side: str | None) -> None:
        if side is None:
            self._locked.pop(key, None)
        else:
            self._locked[key] = side

    def halt(self, halted: bool) -> None:
        self.halted_at = self._now if halted else None

    def move_to(self, now: datetime) -> None:
        """Say what time it is."""
        self._now = now


def _listing(
    key: str,
    root: str,
    kind: str,
    lot: int,
    tick: float,
    number: int,
    *,
    expiry: date | None = None,
    freeze: int | None = None,
    is_fno: bool = False,
) -> Listing:
    exchange, symbol = key.split(":")
    base = BASES[key]
    code = 2 if exchange == "NFO" else 1
    return Listing(
        key=key, exchange=exchange, symbol=symbol, name=root, kind=kind, underlying=root, expiry=expiry, strike=0.0, lot=lot,
        tick_size=tick, token=number * 256 * 1000 + code, freeze=freeze, previous_close=base, lower_circuit=as_grid(base * 0.8, tick),
        upper_circuit=as_grid(base * 1.2, tick), is_fno=is_fno,
    )  # fmt: skip
