"""The ledgers as the web process reads them: readers are kept open, and a document is read once for all who want it meanwhile."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.ports import Clock
from core.types import AccountKind
from runtime import readout, state_folder
from runtime.shared import Shared
from runtime.state_folder import RunFolder
from storage.store import SqlReader, open_reader
from utils.config_loader import config as secrets
from utils.config_loader import load

KNOWN_S = 1.0  # for so long what was read serves whoever asks the same
MOST_KNOWN = 64  # documents
MOST_IDLE = 4  # readers kept open


class Ledgers:
    """Read-outs of any run's ledger, from any thread."""

    def __init__(self, config: Path, clock: Clock) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._known = Shared(clock, KNOWN_S, MOST_KNOWN)
        self._idle: list[tuple[tuple[str, int], SqlReader]] = []
        self._elsewhere: dict[Path, str] = {}  # a run's folder -> its ledger that is not in it

    def forget(self) -> None:
        """Something was changed: what was read before is not told any more."""
        self._known.forget()

    def document(self, folder: RunFolder, name: str, arguments: Mapping[str, Any]) -> Any:
        """See runtime.readout.document. It is shared: nobody may change it."""
        key = (folder.path, name, *sorted((field, str(value)) for field, value in arguments.items()))
        return self._known.get(key, lambda: self._read(folder, name, arguments))

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
