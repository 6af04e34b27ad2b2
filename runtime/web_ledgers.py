"""The ledgers as the web process reads them: readers are kept open, and a document is read once for all who want it meanwhile."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.ports import Clock
from core.types import AccountKind
from runtime import readout, state_folder
from runtime.state_folder import RunFolder
from storage.store import SqlReader, open_reader
from utils.config_loader import config as secrets
from utils.config_loader import load

KNOWN_S = 1.0  # for so long what was read serves whoever asks the same
MOST_KNOWN = 64  # documents
MOST_IDLE = 4  # readers kept open


@dataclass(slots=True)
class _Known:
    """One document: read at (monotonic; None: not yet) by whoever has the lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    at: float | None = None
    document: Any = None


class Ledgers:
    """Read-outs of any run's ledger, from any thread."""

    def __init__(self, config: Path, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[Any, ...], _Known] = {}
        self._idle: list[tuple[tuple[str, int], SqlReader]] = []
        self._elsewhere: dict[Path, str] = {}  # a run's folder -> its ledger that is not in it

    def forget(self) -> None:
        """Something was changed: what was read before is not told any more."""
        with self._lock:
            self._known = {}

    def document(self, folder: RunFolder, name: str, arguments: Mapping[str, Any]) -> Any:
        """See runtime.readout.document. It is shared: nobody may change it."""
        key = (folder.path, name, *sorted((field, str(value)) for field, value in arguments.items()))
        with self._lock:
            if len(self._known) >= MOST_KNOWN and key not in self._known:
                self._known = {}
            known = self._known.setdefault(key, _Known())
        with known.lock:
            if known.at is None or self._clock.monotonic() - known.at >= KNOWN_S:
                began = self._clock.monotonic()
                known.document = self._read(folder, name, arguments)
                known.at = began
            return known.document

    def _read(self, folder: RunFolder, name: str, arguments: Mapping[str, Any]) -> Any:
        url = self._url(folder)
        file = url, folder.ledger.stat().st_ino if folder.ledger.exists() else 0
        reader = self._take(file)
        try:
            return readout.document(reader, name, arguments)
        finally:
            self._give_back(file, reader)

    def _take(self, file: tuple[str, int]) -> SqlReader:
        with self._lock:
            for place, (of, reader) in enumerate(self._idle):
                if of == file:
                    del self._idle[place]
                    return reader
        return open_reader(file[0])

    def _give_back(self, file: tuple[str, int], reader: SqlReader) -> None:
        with self._lock:
            self._idle.append((file, reader))
            gone = self._idle.pop(0)[1] if len(self._idle) > MOST_IDLE else None
        if gone is not None:
            gone.close()

    def _url(self, folder: RunFolder) -> str:
        if folder.ledger.exists():
            return folder.ledger_url
        if folder.path not in self._elsewhere:
            kind = AccountKind(folder.about().get("kind", AccountKind.PRACTICE))
            self._elsewhere[folder.path] = state_folder.ledger_url(folder, kind, load(self._config).settings.database.url, secrets)
        return self._elsewhere[folder.path]
