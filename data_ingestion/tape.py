"""The tape: every frame of the market data socket, handed to a process of its own that writes ticks (and depth) to Parquet.

The socket's thread does no more than append a frame to a bounded buffer; a thread of this module writes the buffer into the pipe of the
writer process (data_ingestion/tape_writer.py), which decodes and stores. Nothing the engine waits for is touched: a slow disk fills the
buffer, and then frames are left out and counted.
"""

import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from utils.config_loader import environment

HEAD = struct.Struct("<Iq")  # length of the frame, receive time in microseconds since the epoch
MOST_BYTES = 64 * 1024 * 1024  # that may wait for the writer
_END_S = 60.0
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "VIRTUAL_ENV")  # no secret reaches the child
ROOT = Path(__file__).resolve().parents[1]


@runtime_checkable
class Recordable(Protocol):
    """A feed whose frames can be heard as they come."""

    def record(self, tap: Callable[[bytes, datetime], None]) -> None: ...


class Tape:
    """One day's recording. `take` may be called from any socket's thread; `failure` says why nothing is recorded any more."""

    def __init__(self, folder: Path, broker: str, mode: str, instruments: Path, *, most_bytes: int = MOST_BYTES) -> None:
        """`mode`: ticks or depth. `instruments`: the day's snapshot file, for the names of the broker's tokens. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "data_ingestion.tape_writer", str(folder.resolve()), broker, mode, str(instruments.resolve())]
        given = {name: environment(name) for name in _ENVIRONMENT if environment(name)}
        self._child = subprocess.Popen(  # noqa: S603 - our own module, with arguments made above
            command, stdin=subprocess.PIPE, cwd=ROOT, env=given, start_new_session=True
        )
        self._waiting: deque[tuple[datetime, bytes]] = deque()
        self._bytes = 0
        self._most_bytes = most_bytes
        self._changed = threading.Condition()
        self._ending = False
        self.dropped = 0
        self.failure = ""
        self._thread = threading.Thread(target=self._write_all, name="tape", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """Of the writer process."""
        return self._child.pid

    def take(self, frame: bytes, at: datetime) -> None:
        """Keep one frame; never blocks."""
        with self._changed:
            if self.failure or self._bytes + len(frame) > self._most_bytes:
                self.dropped += 1
                return
            self._waiting.append((at, frame))
            self._bytes += len(frame)
            self._changed.notify()

    def close(self) -> None:
        """Hand over what waits and end the writer, which then makes its last files; waits for it."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(_END_S)
        try:
            self._child.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.failure = f"the tape's writer did not end within {_END_S:.0f} s; what it wrote is put together at the next start"

    def _write_all(self) -> None:
        assert self._child.stdin is not None
        pipe = self._child.stdin
        while not self.failure:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or self._ending)
                taken, self._waiting = self._waiting, deque()
                if not taken and self._ending:
                    break
            data = b"".join(HEAD.pack(len(frame), int(at.timestamp() * 1_000_000)) + frame for at, frame in taken)
            try:
                pipe.write(data)
                pipe.flush()
            except OSError as error:
                self.failure = f"the tape's writer ended ({error}); nothing more is recorded today, its own words are in the log"
            with self._changed:
                self._bytes -= sum(len(frame) for _, frame in taken)
        with suppress(OSError):  # it has ended already, which `failure` says
            pipe.close()
