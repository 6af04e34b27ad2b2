"""What is left when the ledger cannot be written: a small file that takes the intents of exits, and space kept back for the ledger.

1. The file lies beside the ledger and has its space from the start, so that a full disk does not refuse it. A record is on disk when `keep`
   returns; it is the whole order, in one line with a checksum, so that a torn one is seen and takes nothing with it.
2. It is read at the next start: what is not in the ledger joins it there, and is looked for at the broker by its tag. `clear` once the
   ledger has everything.
3. `free` gives the reserve back to the disk, `reserve` takes it again; False as long as there is no room for it.
"""

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from core.errors import StoreError
from core.types import Order

RECORDS = 256 * 1024  # bytes: some 300 exits
RESERVE = 4 * 1024 * 1024  # bytes: what the ledger writes in a busy hour
_encoder = msgspec.json.Encoder(enc_hook=str)
_order_of = msgspec.json.Decoder(Order)


def free_bytes(folder: Path) -> int:
    """What this process may still write on the folder's disk."""
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize


class EmergencyJournal:
    """One writer, the engine thread. `folder` is the ledger's."""

    def __init__(self, folder: Path, *, reserve: int = RESERVE, room: Callable[[Path], int] = lambda folder: free_bytes(folder)) -> None:
        """`room` says how many bytes the disk of a folder has left.

        Raises StoreError when not even this file can be made: the disk is full already, and nothing may start on it.
        """
        self._path = folder / "emergency.journal"
        self._kept_back = folder / "emergency.reserve"
        self._size = reserve
        self._room = room
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_DSYNC | os.O_CLOEXEC, 0o600)
            if os.fstat(self._file).st_size < RECORDS:
                os.posix_fallocate(self._file, 0, RECORDS)
        except OSError as error:
            raise StoreError(f"{self._path} cannot be made ({error.strerror}): free some disk space, then start again") from error
        self._orders, self._end = self._read()
        self.reserve()

    @property
    def orders(self) -> list[Order]:
        """The exits that were sent while the ledger could not be written, in their order."""
        return list(self._orders)

    def keep(self, order: Order) -> None:
        """On disk when it returns; StoreError if even that fails."""
        body = _encoder.encode(order)
        line = b"%08x %s\n" % (zlib.crc32(body), body)
        try:
            if self._end + len(line) > RECORDS:
                raise StoreError(f"{self._path} is full: {len(self._orders)} exits stand in it")
            written = os.pwrite(self._file, line, self._end)
        except OSError as error:
            raise StoreError(f"{self._path} cannot be written ({error.strerror})") from error
        if written < len(line):
            raise StoreError(f"{self._path} took {written} of {len(line)} bytes")
        self._end += len(line)
        self._orders.append(order)

    def clear(self) -> None:
        """The ledger has what stands here. Raises StoreError; then it is read again at the next start, where the ledger knows it."""
        try:
            if self._end:
                os.pwrite(self._file, bytes(self._end), 0)
        except OSError as error:
            raise StoreError(f"{self._path} cannot be cleared ({error.strerror})") from error
        self._end = 0
        self._orders.clear()

    def free(self) -> bool:
        """Give the reserve back to a disk that has no room left; whether there was one to give."""
        if self._room(self._path.parent) > self._size or not self._kept_back.exists():
            return False
        try:
            self._kept_back.unlink()
        except OSError:
            return False  # a disk that does not even delete has no room to give
        return True

    def reserve(self) -> bool:
        """Keep space back again; whether it is there."""
        if self._kept_back.exists() and self._kept_back.stat().st_size >= self._size:
            return True
        try:
            made = os.open(self._kept_back, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(made, 0, self._size)
            finally:
                os.close(made)
        except OSError:
            self._kept_back.unlink(missing_ok=True)
            return False
        return True

    def close(self) -> None:
        os.close(self._file)

    def _read(self) -> tuple[list[Order], int]:
        """The whole records from the beginning, and where they end; what follows a torn one was never sent."""
        orders: list[Order] = []
        end = 0
        for line in os.pread(self._file, RECORDS, 0).split(b"\n"):
            checksum, _, body = line.partition(b" ")
            if checksum != b"%08x" % zlib.crc32(body):
                break
            orders.append(_order_of.decode(body))
            end += len(line) + 1
        return orders, end
