"""A small reader of config/market/*.yaml for the simulators: trading days, sessions, cut-offs, expiries, lots, ticks, freeze."""

from datetime import date
from pathlib import Path


class Facts:
    """Dated market facts; `Facts.load()` reads config/market beside this repo's main.py."""

    def __init__(self, folder: Path) -> None: ...

    @classmethod
    def load(cls, folder: Path | None = None) -> "Facts":
        raise NotImplementedError

    def trading_day(self, day: date) -> bool:
        raise NotImplementedError
