"""A request got ready before it may leave: its thread waits at the wire until what must be on disk is, or else it never leaves.

So the request is built, paced and audited while the disk writes the intent (ADR 0010); the transport asks here before the first byte.
Whether it may leave unaudited is asked here too: being flat outweighs being written down, being in the market does not.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import Rejected

_mine = threading.local()


class NeverSent(Rejected):
    """The request was called off before its first byte: certain that nothing happened."""


class Departure:
    """The word on one prepared request, given once by the thread that decides; who asks earlier waits for it."""

    def __init__(self) -> None:
        self._undecided = threading.Lock()
        self._undecided.acquire()
        self._may = False

    def allow(self) -> None:
        """The request may leave."""
        self._may = True
        self._undecided.release()

    def forbid(self) -> None:
        """The request never leaves."""
        self._undecided.release()

    def allowed(self) -> bool:
        """Wait for the word, then whether the request may leave."""
        with self._undecided:
            return self._may

    @property
    def forbidden(self) -> bool:
        """Whether the word has been given, and is no. Does not wait."""
        return not self._undecided.locked() and not self._may


@contextmanager
def awaited(departure: Departure) -> Iterator[None]:
    """Inside, whatever this thread sends waits for `departure`."""
    _mine.departure = departure
    try:
        yield
    finally:
        _mine.departure = None


def mine() -> Departure | None:
    """What this thread's requests wait for before their first byte; None: for nothing."""
    departure: Departure | None = getattr(_mine, "departure", None)
    return departure


@contextmanager
def audited() -> Iterator[None]:
    """Inside, nothing that this thread sends leaves unless the audit log has it on disk."""
    _mine.audited = True
    try:
        yield
    finally:
        _mine.audited = False


def must_be_audited() -> bool:
    """Whether this thread is inside `audited`."""
    return bool(getattr(_mine, "audited", False))
