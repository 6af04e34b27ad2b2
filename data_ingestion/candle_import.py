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
from data_ingestion.intervals import INTERVALS
from data_ingestion.market_files import read_rows
from data_ingestion.normalise import Market, aliases, table_of


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
    rows = read_rows(path, repair=repair, note=note)
    if rows.kind != "bars":
        raise DataError(f"{path} holds ticks, and the candle store keeps bars; ticks are played with `run --data {path}`")
    market = Market(rows, calendar, aliases(path, symbols), repair, note)
    minutes = market.interval_s // 60
    if minutes not in INTERVALS:
        raise DataError(f"{path} holds bars of {minutes} minutes; kept are {', '.join(map(str, INTERVALS))} (1440 = day)")
    days = market.days()
    instruments = {one.key: one for one in market.instruments(days[-1], frozenset(days))}
    brought = []
    for code in np.unique(market.codes):
        series = store.series(source, instruments[market.names[code].key], minutes)
        table = table_of(market, int(code))
        span = Span(_midnight(table["timestamp"][0].as_py().date()), _midnight(table["timestamp"][-1].as_py().date() + timedelta(days=1)))
        merge = series.add(table, span)
        if merge.differs:
            note(f"{series.instrument.key}: {merge.differs} candles were in the store with other prices and are replaced")
        report = examine(series.table(span), series.instrument, minutes, calendar, span)
        brought.append(Brought(series, span, table.num_rows, merge.added, report))
    return brought


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), IST)
