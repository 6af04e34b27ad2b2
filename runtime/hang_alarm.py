"""A strategy that does not return: a person is paged while it lasts, from a thread of its own, since the engine's cannot."""

import threading

from loguru import logger

from core.ports import Notifier
from execution_engine.call_watch import LIMIT_S, CallWatch

LOOK_S = 0.5


class HangAlarm:
    """Looks at the call of the moment twice a second; each one that lasts too long is told once. Takes no part in granted time."""

    def __init__(self, calls: CallWatch, notifier: Notifier) -> None:
        self._calls = calls
        self._notifier = notifier
        self._told: tuple[str, float] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hang-alarm", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def look(self) -> None:
        call = self._calls.current
        if call is None or call == self._told or self._calls.lasting() <= LIMIT_S:
            return
        self._told = call
        text = (
            f"{call[0]} has not returned for {LIMIT_S:g} s, and until it does nothing is decided: no exit, no stop of the "
            "engine's, no square-off. It is stopped when it returns; if it does not, close positions at the broker's terminal, take its "
            "file out of config/strategies/ and restart the daemon"
        )
        logger.critical("a strategy blocks the engine: {}", text)
        self._notifier.send("page", "A strategy blocks the engine", text)

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_S):
            self.look()
