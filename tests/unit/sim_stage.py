"""A small stage for the simulator's tests: one market and exchange, moved through a day to named clock times."""

import json
from datetime import date, datetime, time, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from simulators.exchange import Exchange
from simulators.facts import IST, Facts
from simulators.listing import Market
from simulators.market import SyntheticMarket
from simulators.orders import Change, OrderParams, SimOrder

FACTS = Facts.load()
DAY = date(2026, 11, 20)
USER = "ZZ1234"
NIFTY = "NFO:NIFTY26NOVFUT"
SHARE = "NSE:RELIANCE"


def clock(text: str, day: date = DAY) -> datetime:
    return datetime.combine(day, time.fromisoformat(text), IST)


class Stage:
    """Steps market and exchange together, as the wire simulators do."""

    def __init__(self, market: Market | None = None, day: date = DAY, *, seed: int = 7, cash: float = 1_000_000.0) -> None:
        self.market: Market = market or SyntheticMarket(seed, day, FACTS)
        self.market.open_day(day)
        self.exchange = Exchange(self.market, FACTS, seed, cash=cash)
        self.exchange.open_day(day)
        self.day = day
        self.now = datetime.combine(day, time(8, 0), IST)
        self.changes: list[Change] = []

    def to(self, text: str) -> "Stage":
        """Play up to this time of the day."""
        end = clock(text, self.day)
        while self.now < end:
            second = self.now.replace(microsecond=0) + timedelta(seconds=1)
            if self.now < self.market.opens_at:
                second = min(self.market.opens_at, end)
            due = self.exchange.next_due()
            self.now = min(moment for moment in (second, end, due) if moment is not None)
            if self.now.microsecond == 0 and self.now >= self.market.opens_at:
                self.market.step(self.now)
            self.changes += self.exchange.advance(self.now)
        return self

    def wait(self, seconds: float) -> "Stage":
        return self.to((self.now + timedelta(seconds=seconds)).time().isoformat())

    def next_day(self) -> "Stage":
        self.to("23:00")
        self.day = next(day for day in self.market.days if day > self.day)
        self.market.open_day(self.day)
        self.exchange.open_day(self.day)
        self.now = clock("06:00", self.day)
        return self

    def order(self, side: str = "BUY", quantity: int = 65, price: float = 0.0, key: str = NIFTY, **more: object) -> SimOrder:
        """Place an order now: LIMIT at `price`, or a protected MARKET order if there is none."""
        product = "CNC" if key.startswith("NSE:") else "NRML"
        fields: dict[str, object] = {"order_type": "LIMIT" if price else "MARKET", "product": product, "price": price, "protection": -1}
        params = OrderParams(key, side, quantity, **{**fields, **more})  # type: ignore[arg-type]
        return self.exchange.place(USER, params, self.now)

    def position(self, key: str = NIFTY, product: str = "NRML") -> int:
        found = self.exchange.account(USER).positions.get((key, product))
        return found.quantity if found else 0


def statuses(order: SimOrder) -> list[str]:
    return [row.status.value for row in order.history]


def record(folder: Path, form: str, rows: list[dict[str, object]], *, interval_s: int = 1, **instrument: object) -> Path:
    """Write the normalised folder of one instrument (NSE:TESTCO unless told) whose rows carry `timestamp`."""
    base = {"key": "NSE:TESTCO", "exchange": "NSE", "symbol": "TESTCO", "name": "TESTCO", "kind": "EQ", "underlying": "TESTCO"}
    facts = {"expiry": None, "strike": None, "lot": 1, "tick_size": 0.05, "freeze": None, "is_fno": False}
    manifest_row = {**base, **facts, **instrument}
    days: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        stamp = row["timestamp"]
        assert isinstance(stamp, datetime)
        days.setdefault(stamp.date().isoformat(), []).append({"key": manifest_row["key"], **row})
    for day, of_day in days.items():
        table = pa.Table.from_pylist(of_day)
        where = table.schema.get_field_index("timestamp")
        table = table.set_column(where, "timestamp", table.column("timestamp").cast(pa.timestamp("us", tz="Asia/Kolkata")))
        pq.write_table(table, folder / f"{day}.parquet")
    manifest = {"kind": form, "interval_s": interval_s, "days": sorted(days), "instruments": [manifest_row]}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder
