"""Where the record of a day goes: the engine's events, when its batches began, and what else reached it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from core.events import Event
from core.types import Bar
from data_ingestion.recorder import Note, Recorder
from execution_engine.runs import Run


class WarmedUp(NamedTuple):
    """What a strategy object was told before its first event of the day: history, and what it had stored."""

    run: Run
    history: tuple[Bar, ...]
    saved: Mapping[str, Any] | None


class RecorderSlot:
    """Where the engine's record of the day goes: the day's Recorder once there is one."""

    def __init__(self) -> None:
        self.recorder: Recorder | None = None
        self._warmed: list[WarmedUp] = []

    def warmed(self, one: WarmedUp) -> None:
        """A strategy has heard its past; it goes into the next opening or note."""
        self._warmed.append(one)

    def take_warmed(self) -> list[WarmedUp]:
        taken, self._warmed = self._warmed, []
        return taken

    def begin(self, at: datetime) -> None:
        if self.recorder is not None:
            self.recorder.begin(at)

    def note(self, name: str, at: datetime, value: Any = None) -> None:
        """Keep what reaches the engine otherwise than as an event."""
        if self.recorder is not None:
            self.recorder.note(Note(name, at, value))

    def append(self, event: Event) -> None:
        if self.recorder is not None:
            self.recorder.append(event)

    def flush(self) -> str:
        """Write what waits; returns why it could not be written, empty when it could."""
        if self.recorder is None:
            return ""
        self.recorder.flush()
        return self.recorder.failure

    def swap(self, recorder: Recorder | None) -> None:
        if self.recorder is not None:
            self.recorder.close()
        self.recorder = recorder
