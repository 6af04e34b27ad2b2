"""Alerts as the engine raises them: into the journal first, then to the person; the latest ones are shown in every read-out."""

from collections import deque
from collections.abc import Callable
from typing import Any

from loguru import logger

from core.ports import Clock, Notifier, Store

SHOWN = 50


class Alerts:
    """Called on the engine thread; the notifier has a thread of its own and never blocks it."""

    def __init__(self, clock: Clock, store: Store, notifier: Notifier) -> None:
        self._clock = clock
        self._store = store
        self._notifier = notifier
        self.latest: deque[dict[str, Any]] = deque(maxlen=SHOWN)
        self.also: Callable[[str, str, str], None] = lambda level, title, text: None  # hears every alert too

    def __call__(self, level: str, title: str, text: str) -> None:
        at = self._clock.now()
        self._store.journal(at, "alert", {"level": level, "title": title, "text": text})
        if level != "info":
            self.latest.append({"at": at.isoformat(), "level": level, "title": title, "text": text})
        self.also(level, title, text)
        try:
            self._notifier.send(level, title, text)
        except Exception as error:  # the journal has it; whoever tells a person must never stop what trades
            logger.critical("{}: {}: {} (the notifier failed: {!r})", level, title, text, error)
