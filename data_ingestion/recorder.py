"""The day as the engine took it: every event in order, in compact frames that survive a kill."""

from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

from core.events import Event


class Recorder:
    """Appends events to FOLDER/DAY-ACCOUNT.events; at most a second of them is ever unwritten."""

    path: Path

    def __init__(self, folder: Path, day: date, account: str, facts: Mapping[str, str]) -> None:
        """`facts` are written first: config version, instrument snapshot id, seed, what else a replay needs."""
        raise NotImplementedError

    def append(self, event: Event) -> None:
        raise NotImplementedError

    def flush(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def read(path: Path) -> Iterator[Event]:
    """The events of a recording in order; a torn last frame ends it, a damaged one inside raises DataError."""
    raise NotImplementedError


def read_facts(path: Path) -> list[dict[str, str]]:
    """The facts of each run that wrote into this recording (one for each start of the day)."""
    raise NotImplementedError
