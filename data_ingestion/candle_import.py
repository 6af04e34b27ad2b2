"""A user's bar files into the candle store, through the checks that recorded data passes before it is traded."""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path

import msgspec
import numpy as np

from core.errors import DataError
from core.market import Calendar
from core.types import IST
from data_ingestion.candle_report import CandleReport, examine
from data_ingestion.candle_store import CandleStore, Series, Span
from data_ingestion.day_files import Contracts, table_of
from data_ingestion.intervals import INTERVALS
from data_ingestion.market_files import read_rows
from data_ingestion.normalise import Market
from data_ingestion.shelf import Shelf
from data_ingestion.vendor_names import aliases


class Brought(msgspec.Struct, frozen=True):
    """One series that a file held: its days, how many candles, how many of them were new, and what they lack."""

    series: Series
    span: Span
    candles: int
    added: int
    report: CandleReport


def bring_in(
    path: Path,
    store: CandleStore,
    source: str,
    calendar: Calendar,
    *,
    symbols: Path | None = None,
    repair: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> list[Brought]:
    """Check `path` (a file or folder, Parquet or CSV, bars of one interval) and keep it under `source`. DataError: file, row and reason.

    `symbols` maps vendor's names to keys; `repair` drops or puts in order what would be refused and says so.
    """
    with Shelf(store.root) as shelf:
        read_rows(path, shelf, repair=repair, note=note)
        return _kept(path, shelf, store, source, calendar, symbols, repair, note)


def _kept(
    path: Path, shelf: Shelf, store: CandleStore, source: str, calendar: Calendar, symbols: Path | None, repair: bool,
    note: Callable[[str], None],
) -> list[Brought]:  # fmt: skip
    if shelf.kind != "bars":
        raise DataError(f"{path} holds ticks, and the candle store keeps bars; ticks are played with `run --data {path}`")
    market = Market(shelf, calendar, aliases(path, symbols), repair, note)
    minutes = market.interval_s // 60
    if minutes not in INTERVALS:
        raise DataError(f"{path} holds bars of {minutes} minutes; kept are {', '.join(map(str, INTERVALS))} (1440 = day)")
    days = market.days()
    contracts, parts = Contracts(market, calendar, days[-1]), list(market.parts(days))
    for part in parts:
        contracts.add(part)
    instruments = {one.key: one for one in contracts.instruments(note)}
    brought = []
    for code in np.unique(np.concatenate([part.codes for part in parts])).tolist():
        series = store.series(source, instruments[market.names[code].key], minutes)
        table = table_of(parts, code)
        span = Span(_midnight(table["timestamp"][0].as_py().date()), _midnight(table["timestamp"][-1].as_py().date() + timedelta(days=1)))
        merge = series.add(table, span)
        if merge.differs:
            note(f"{series.instrument.key}: {merge.differs} candles were in the store with other prices and are replaced")
        report = examine(series.table(span), series.instrument, minutes, calendar, span)
        brought.append(Brought(series, span, table.num_rows, merge.added, report))
    return brought


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), IST)
