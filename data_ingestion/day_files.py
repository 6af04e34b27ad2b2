"""The folder of a normalised market: a Parquet file for each day, and what its rows tell of each contract's lot and tick."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.market import Calendar
from core.types import Instrument, Kind
from data_ingestion.arrow import column, texts
from data_ingestion.contracts import instrument_of
from data_ingestion.market_files import PRICES
from data_ingestion.normalise import Market, Part
from data_ingestion.shelf import BARS, COLUMNS, Floats, Ints
from data_ingestion.vendor_names import date_of

_LOOKED_AT = 20_000  # prices of a key that its tick is told by
_NICKEL = 0.05
_STAMP = pa.timestamp("us", "Asia/Kolkata")


@dataclass(slots=True)
class _Seen:
    """One key's rows so far: the first price, what all quantities are multiples of, and how many prices lie off the two ticks."""

    first: float
    tick: float
    traded: int = 0
    prices: int = 0
    off_tick: int = 0
    off_nickel: int = 0


class Contracts:
    """Every key of some days: `add` their rows, then have the instruments with lot, tick, expiry and freeze as of `day`."""

    def __init__(self, market: Market, calendar: Calendar, day: date) -> None:
        self._market, self._calendar, self._day = market, calendar, day
        self._seen: dict[int, _Seen] = {}

    def add(self, part: Part) -> None:
        values = part.rows.values
        prices, volumes = values[PRICES[part.rows.kind][-1]], values["volume"]
        edges = [0, *(np.flatnonzero(np.diff(part.codes)) + 1).tolist(), len(part.codes)]
        for first, last in pairwise(edges):
            self._of(int(part.codes[first]), prices[first:last], volumes[first:last].astype(np.int64))

    def _of(self, code: int, prices: Floats, volumes: Ints) -> None:
        seen = self._seen.get(code)
        if seen is None:
            seen = self._seen[code] = _Seen(float(prices[0]), self._exchange_tick(code, float(prices[0])))
        seen.traded = int(np.gcd(seen.traded, np.gcd.reduce(volumes)))
        paise = np.round(prices[: max(0, _LOOKED_AT - seen.prices)], 2)
        seen.prices += len(paise)
        seen.off_tick += _off(paise, seen.tick)
        seen.off_nickel += _off(paise, _NICKEL)

    def instruments(self, note: Callable[[str], None]) -> tuple[Instrument, ...]:
        off_tick: list[str] = []
        found = tuple(self._instrument(code, off_tick) for code in sorted(self._seen))
        if off_tick:
            note(f"prices finer than the exchange's tick, so a finer tick is used: {', '.join(off_tick[:8])} ({len(off_tick)} instruments)")
        return found

    def _exchange_tick(self, code: int, price: float) -> float:
        name = self._market.names[code]
        if name.kind is Kind.INDEX:
            return _NICKEL
        return self._calendar.tick_size(name.kind, self._market.shape(code).underlying, price, self._day)

    def _instrument(self, code: int, off_tick: list[str]) -> Instrument:
        name, seen = self._market.names[code], self._seen[code]
        few = 0.01 * seen.prices  # the exchange's tick if 99 in 100 lie on it, else the finest of 5 paise and 1 paisa that they lie on
        tick = seen.tick if seen.off_tick <= few else _NICKEL if seen.off_nickel <= few else 0.01
        if name.kind is Kind.INDEX:
            tick = seen.tick
        elif tick != seen.tick:
            off_tick.append(f"{name.key} {tick:g}")
        if name.contract is None:
            return msgspec.structs.replace(self._market.shape(code), tick_size=tick)
        made = instrument_of(name.contract, self._calendar, self._day, level=seen.first, lot=seen.traded or None, symbol=name.symbol)
        return msgspec.structs.replace(made, key=name.key, exchange=name.exchange, tick_size=tick)


def _off(paise: Floats, tick: float) -> int:
    """How many prices are no multiples of the tick."""
    steps = paise / tick
    return int(np.count_nonzero(np.abs(steps - np.round(steps)) > 1e-4))


def columns_of(part: Part) -> dict[str, Any]:
    """The rows as Arrow columns: whole quantities, prices rounded to the paisa."""
    columns = {"timestamp": column(part.rows.at, _STAMP)}
    for name in COLUMNS[part.rows.kind]:
        values, whole = part.rows.values[name], name in ("volume", "oi")
        columns[name] = column(values.astype(np.int64), pa.int64()) if whole else column(np.round(values, 2), pa.float64())
    return columns


def table_of(parts: list[Part], code: int) -> Any:
    """One key's bars, its columns as the candle store has them."""
    return pa.concat_tables([pa.table(columns_of(part.take(part.codes == code))) for part in parts])


def write(folder: Path, market: Market, days: tuple[date, ...], contracts: Contracts) -> int:
    """A file for each day, by time and key, file order within a moment kept; how many prices were rounded to the paisa."""
    folder.mkdir(parents=True, exist_ok=True)
    keys, rounded = texts([name.key for name in market.names]), 0
    for part in market.parts(days):
        contracts.add(part)
        for name in {*BARS, "price"} & part.rows.values.keys():
            values = part.rows.values[name]
            rounded += int(np.count_nonzero(np.abs(np.round(values, 2) - values) > 0.001))
        part = part.take(np.lexsort((part.codes, part.rows.at)))  # stable
        columns = columns_of(part)
        table = pa.table({"timestamp": columns.pop("timestamp"), "key": keys.take(column(part.codes, pa.int64())), **columns})
        for number in np.unique(part.days).tolist():
            first, last = np.searchsorted(part.days, (number, number + 1)).tolist()
            with _whole(folder / f"{date_of(number).isoformat()}.parquet") as file:
                pq.write_table(table.slice(first, last - first), file, compression="snappy")
    return rounded


@contextmanager
def _whole(file: Path) -> Iterator[Path]:
    """A name to write to that becomes `file` at once when all is written: another run may be reading the same data meanwhile."""
    making = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        yield making
        making.replace(file)
    finally:
        making.unlink(missing_ok=True)


def write_manifest(folder: Path, market: Market, days: tuple[date, ...], instruments: tuple[Instrument, ...]) -> None:
    """What makes a folder a normalised one, so it is written last."""
    manifest = {
        "kind": market.kind,
        "interval_s": market.interval_s,
        "days": [day.isoformat() for day in days],
        "instruments": [msgspec.to_builtins(instrument) for instrument in instruments],
    }
    with _whole(folder / "manifest.json") as file:
        file.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
