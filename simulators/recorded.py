"""A recorded market: plays the normalised folder of `data_ingestion/prepare.py`, bars as four ticks each, ticks as they were.

A bar plays O-L-H-C (close >= open) or O-H-L-C at 0, 1/4, 1/2 of its interval and one second before its end, which rebuilds exactly
that bar and its volume; its last quote repeats each second. Ticks keep every print; the quote is what stood at the end of a second.
"""

import json
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from simulators.facts import IST, Facts
from simulators.listing import Listing
from simulators.paths import number_of
from simulators.tape import Floats, Ints, Tape, TapeMarket, as_grid

MICROSECONDS = 1_000_000
Columns = dict[str, Any]


class RecordedMarket(TapeMarket):
    """The market of a folder: `manifest.json` and one `YYYY-MM-DD.parquet` for each day.

    Circuit prices are +-20 % of the previous day's last price (the day's first, on the first day) and wide open for derivatives.
    """

    def __init__(self, folder: Path, facts: Facts | None = None) -> None:
        super().__init__()
        self.folder = folder
        self.facts = facts or Facts.load()
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self.is_bars = manifest["kind"] == "bars"
        self.interval_s = int(manifest.get("interval_s") or 1)
        self.days = sorted(date.fromisoformat(str(text)[:10]) for text in manifest["days"])
        self.label = f"recorded {manifest['kind']} of {folder.name}"
        self._instruments: dict[str, dict[str, Any]] = {row["key"]: row for row in manifest["instruments"]}
        self._columns: dict[date, dict[str, Columns]] = {}

    def open_day(self, day: date) -> None:
        """List what trades in this day's file (and is not expired); nothing is played yet."""
        if day not in self.days:
            raise ValueError(f"{day} is not in {self.folder}; its days are {self.days[0]} to {self.days[-1]}")
        before = [known for known in self.days if known < day]
        keep = {day, *before[-1:]}
        self._columns = {known: columns for known, columns in self._columns.items() if known in keep}
        columns = self._day(day)
        first = min(int(column["at"][0]) for column in columns.values())
        last = max(int(column["at"][-1]) for column in columns.values()) + (self.interval_s if self.is_bars else 1)
        midnight = datetime.combine(day, time(), IST)
        phases = [phase for segment in ("EQ_NONCAS", "FO") for phase in self.facts.phases(segment, day) if phase.kind == "continuous"]
        opens = min([midnight + timedelta(seconds=first), *(phase.start for phase in phases)])
        closes = max([midnight + timedelta(seconds=last), *(phase.end for phase in phases)])
        self._begin(day, opens, closes, datetime.combine(before[-1] if before else day - timedelta(days=1), time(15, 30), IST))
        taken: set[int] = set()
        self.listings = {key: self._listing(key, day, before, columns, taken) for key in sorted(self._instruments) if key in columns}

    def _listing(self, key: str, day: date, before: list[date], columns: dict[str, Columns], taken: set[int]) -> Listing:
        row = self._instruments[key]
        close = float(columns[key]["open" if self.is_bars else "price"][0])
        if before and key in self._day(before[-1]):
            close = float(self._day(before[-1])[key]["close" if self.is_bars else "price"][-1])
        tick, kind = float(row["tick_size"] or 0.05), str(row["kind"])
        exchange = str(row["exchange"])
        number = 1_000 + number_of(day if exchange in {"NFO", "BFO"} else "", key) % 60_000
        while number in taken:
            number += 1
        taken.add(number)
        code = 9 if kind == "INDEX" else {"NSE": 1, "NFO": 2, "CDS": 3, "BSE": 4, "BFO": 5, "BCD": 6, "MCX": 7, "NCO": 12}.get(exchange, 1)
        low, high = (
            (tick, 100 * close) if kind in {"FUT", "CE", "PE"} else (max(tick, as_grid(0.8 * close, tick)), as_grid(1.2 * close, tick))
        )
        expiry = date.fromisoformat(str(row["expiry"])[:10]) if row.get("expiry") else None
        return Listing(
            key=key, exchange=exchange, symbol=str(row["symbol"]), name=str(row.get("name") or row["underlying"]), kind=kind,
            underlying=str(row["underlying"]), expiry=expiry, strike=float(row.get("strike") or 0.0), lot=int(row["lot"] or 1),
            tick_size=tick, token=number * 256 + code, freeze=row.get("freeze"), previous_close=close,
            lower_circuit=0.0 if kind == "INDEX" else low,
            upper_circuit=0.0 if kind == "INDEX" else high, is_fno=bool(row.get("is_fno")),
        )  # fmt: skip

    # --- reading ------------------------------------------------------------------------------------------------------------------
    def _day(self, day: date) -> dict[str, Columns]:
        """The day's file by key, each column a numpy array; `at` = second of the day."""
        found = self._columns.get(day)
        if found is None:
            table = pq.read_table(self.folder / f"{day.isoformat()}.parquet")
            keys = np.asarray(table.column("key").to_pylist())
            stamps = np.asarray(table.column("timestamp").cast("int64").to_numpy())
            midnight = int(datetime.combine(day, time(), IST).timestamp())
            columns: Columns = {"at": (stamps // MICROSECONDS - midnight).astype(np.int64)}
            for name in table.column_names:
                if name not in {"key", "timestamp"}:
                    columns[name] = np.nan_to_num(table.column(name).to_numpy().astype(np.float64))
            order = np.lexsort((stamps, keys))
            edges = np.flatnonzero(keys[order][1:] != keys[order][:-1]) + 1
            found = {str(keys[rows[0]]): {name: values[rows] for name, values in columns.items()} for rows in np.split(order, edges)}
            self._columns[day] = found
        return found

    def _past_days(self, start: date, end: date) -> list[date]:
        return [day for day in self.days if day < self.day and start <= day <= end]

    def _anchor(self, key: str, day: date) -> int:
        start = self.opens_at if day == self.day else datetime.combine(day, time(9, 15), IST)
        phases = self.facts.continuous(self.facts.segment(self.listings[key].exchange, False, day), day)
        start = phases[0][0] if phases else start
        return start.hour * 60 + start.minute

    # --- tapes --------------------------------------------------------------------------------------------------------------------
    def _make_tape(self, key: str, day: date) -> Tape | None:
        column = self._day(day).get(key)
        if column is None:
            return None
        if day == self.day:
            opens_at, length = self.opens_at, self._length()
        else:
            opens_at, length = datetime.combine(day, time(), IST), 86400
        offset = int((opens_at - datetime.combine(day, time(), IST)).total_seconds())
        seconds, prices, quantities, source = self._bar_prints(column) if self.is_bars else self._tick_prints(column)
        seconds = seconds - offset
        listing = self.listings.get(key)
        tick = listing.tick_size if listing else 0.05
        row = self._instruments[key]
        bids = asks = None
        if row["kind"] != "INDEX":
            bids, asks = self._best(seconds, prices, column, source, tick, length)
        oi = self._per_second(seconds, column["oi"][source], length).astype(np.int64) if "oi" in column and column["oi"].any() else None
        traded = quantities[quantities > 0]
        depth = max(int(np.median(traded)) if len(traded) else int(row["lot"] or 1), int(row["lot"] or 1))
        salt = number_of(day, key) & 0xFFFFFFFF
        return Tape(
            opens_at, length, seconds, prices, quantities, bids=bids, asks=asks, oi=oi, depth=depth, salt=salt, repeats=self.is_bars
        )

    def _bar_prints(self, column: Columns) -> tuple[Ints, Floats, Ints, Ints]:
        """Four prints for each bar; the last value is the bar each print comes from."""
        count, step = len(column["at"]), self.interval_s
        offsets = np.array((0, step // 4, step // 2, max(step - 1, 0)), dtype=np.int64)
        rises = column["close"] >= column["open"]
        second, third = np.where(rises, column["low"], column["high"]), np.where(rises, column["high"], column["low"])
        prices = np.column_stack((column["open"], second, third, column["close"])).astype(np.float64).ravel()
        volume = column["volume"].astype(np.int64) if "volume" in column else np.zeros(count, dtype=np.int64)
        quarter = volume // 4
        quantities = np.column_stack((quarter, quarter, quarter, volume - 3 * quarter)).ravel()
        return (column["at"][:, None] + offsets).ravel(), prices, quantities, np.repeat(np.arange(count), 4)

    def _tick_prints(self, column: Columns) -> tuple[Ints, Floats, Ints, Ints]:
        count = len(column["at"])
        volume = column["volume"].astype(np.int64) if "volume" in column else np.zeros(count, dtype=np.int64)
        return column["at"], np.ascontiguousarray(column["price"]), volume, np.arange(count)

    def _per_second(self, seconds: Ints, values: Floats, length: int) -> Floats:
        """The last value at or before each second of the grid; 0 before the first."""
        index = np.searchsorted(seconds, np.arange(length), side="right") - 1
        return np.where(index >= 0, values[np.maximum(index, 0)], 0.0)

    def _best(self, seconds: Ints, prices: Floats, column: Columns, source: Ints, tick: float, length: int) -> tuple[Floats, Floats]:
        """Recorded bid and ask where there are any; else a tick on each side of the last price."""
        bids, asks = np.round(prices - tick, 4), np.round(prices + tick, 4)
        if "bid" in column and "ask" in column:
            bid, ask = column["bid"][source], column["ask"][source]
            known = (bid > 0) & (ask > bid)
            bids, asks = np.where(known, bid, bids), np.where(known, ask, asks)
        bids = np.where(bids > 0, bids, 0.0)
        return self._per_second(seconds, bids, length), self._per_second(seconds, asks, length)
