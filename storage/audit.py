"""Every request to a broker and every reply, one JSON line each, on disk before an order request leaves; secrets masked."""

from pathlib import Path
from typing import Any

from core.ports import Clock


def mask(value: Any) -> Any:
    """The same JSON-like value with every secret replaced by `***` (by key name, and inside texts and URLs)."""
    raise NotImplementedError


class AuditSegment:
    """The append-only audit log of one worker: FOLDER/NAME-YYYY-MM-DD.jsonl, a new file each IST day. One thread writes it."""

    def __init__(self, folder: Path, name: str, clock: Clock) -> None:
        raise NotImplementedError

    def request(self, lane: str, method: str, route: str, params: Any = None, *, durable: bool = False) -> int:
        """Write one request, return its number. `durable` (every order request): fsynced when this returns, else StoreError."""
        raise NotImplementedError

    def reply(self, number: int, status: int | str, body: Any = None) -> None:
        """Write how request `number` ended: HTTP status, or the name of the error that came instead."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
