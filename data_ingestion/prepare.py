"""A user's market data made into the normalised folder that the simulator plays and backtests read.

The folder holds `manifest.json` (kind, interval_s, days, instruments) and one Parquet file for each day: timestamp (IST), key, and open,
high, low, close, volume, oi (bars) or price, volume, bid, ask, oi (ticks; volume = quantity of that trade). The work is done in
normalise.py and its neighbours, which need numpy and pyarrow: they are imported when data is prepared, not when the trading path is.
"""

from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path

import msgspec

from core.errors import DataError
from core.market import Calendar, Observed
from core.types import Instrument


class Manifest(msgspec.Struct, frozen=True):
    """What `prepare` wrote. `kind` is bars or ticks, `interval_s` the bars' spacing in seconds (0 for ticks).

    `days` are the days written, `start` the one to play first, `available` all days in the data; `symbols` are the keys there are, `names`
    what the data's own names became (a continuous one as of `start`).
    """

    folder: Path
    kind: str
    interval_s: int
    days: tuple[date, ...]
    start: date
    available: tuple[date, ...]
    first_full_session: date
    instruments: tuple[Instrument, ...]
    names: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()
    sessions: tuple[Observed, ...] = ()
    """Taken from the data, on days before 2020 that the calendar does not know."""

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(instrument.key for instrument in self.instruments)


def prepare(
    path: Path,
    out_folder: Path,
    calendar: Calendar,
    *,
    symbols: Path | None = None,
    repair: bool = False,
    day: date | None = None,
    days: int | None = None,
    history: int = 5,
    observe: bool = False,
    on_note: Callable[[str], None] | None = None,
) -> Manifest:
    """Check and normalise `path` (a file or folder, Parquet or CSV) into `out_folder`. DataError: file, row and reason.

    `symbols` is a YAML file of vendor's name -> key (default: symbols.yaml beside the data). The day to play is `day` if the data has it,
    else its first full session. With `days` only that many days from it on are written, and `history` before it for warm-up; without,
    all. `observe`: before 2020 a day that the calendar does not know is a session where the data has one. `repair` drops or puts in order
    what would be refused and says so.
    """
    from data_ingestion.arrow import release
    from data_ingestion.day_files import Contracts, write, write_manifest  # numpy, pyarrow: 0.2 s and 60 MB that trading does not pay
    from data_ingestion.market_files import read_rows
    from data_ingestion.normalise import KNOWN_FROM, Market
    from data_ingestion.shelf import Shelf
    from data_ingestion.vendor_names import aliases

    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        if on_note is not None:
            on_note(text)

    with Shelf(out_folder) as shelf:
        read_rows(path, shelf, repair=repair, note=note)
        market = Market(shelf, calendar, aliases(path, symbols), repair, note, observe)
        if market.interval_s >= 86_400:
            raise DataError(f"{path} holds day candles; to trade it, give intraday bars, or ticks (`fetch --import` keeps day candles)")
        available = market.days()
        full = market.first_full_session()
        start = day if day in available else full
        if day is not None and day != start:
            note(f"{day} is not in the data ({available[0]} to {available[-1]}): {start}, its first full session, is played")
        place = available.index(start)
        chosen = available if days is None else available[max(0, place - history) : place + days]
        contracts = Contracts(market, calendar, start)
        rounded = write(out_folder, market, chosen, contracts)
        instruments = contracts.instruments(note)
        if chosen[0] < KNOWN_FROM:
            note(f"{chosen[0]} is before {KNOWN_FROM}: hours, charges and cut-offs are the earliest known ones, assumed")
        if rounded:
            note(f"{rounded} prices rounded to the paisa")
        write_manifest(out_folder, market, chosen, instruments)
        manifest = Manifest(
            out_folder, market.kind, market.interval_s, chosen, start, available, full, instruments, market.renamed(start), tuple(notes),
            market.observed,
        )  # fmt: skip
    del shelf, market, contracts
    release()
    return manifest
