"""A user's market data file made into the normalised folder that the simulator plays and backtests read."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import msgspec

from core.market import Calendar


class Manifest(msgspec.Struct, frozen=True):
    """What `prepare` wrote. `kind` is bars or ticks, `interval_s` the bars' spacing (0 for ticks), `symbols` the keys there are."""

    folder: Path
    kind: str
    interval_s: int
    days: tuple[date, ...]
    first_full_session: date
    symbols: tuple[str, ...]
    notes: tuple[str, ...] = ()


def prepare(
    path: Path,
    out_folder: Path,
    calendar: Calendar,
    *,
    symbols: Path | None = None,
    repair: bool = False,
    day: date | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Manifest:
    """Check and normalise `path` (file or folder, Parquet or CSV); `day` writes only that day on. DataError: file, row, reason.

    `symbols` is a YAML file of vendor's name -> key (default: symbols.yaml beside the data).
    """
    raise NotImplementedError
