"""Keeps the day's circuit limits known: asked for in the morning, every few minutes, and at once when ticks come from beyond them.

Ticks that go on coming from beyond what was just asked for are asked about again after 10, 20, 40 ... seconds: the question costs calls
that a broker may count together with orders.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from core.errors import BrokerError, DataError
from core.events import PriceLimits
from core.ports import CircuitSource, DataSession
from core.types import IST, Instrument
from data_ingestion.tick_filter import OUTSIDE_CIRCUIT, TickFilter
from execution_engine.broker_worker import DATA, Worker
from runtime.inbox import Inbox

EVERY = timedelta(minutes=5)  # the exchange widens the bands of shares with derivatives within the day
AT_ONCE = timedelta(seconds=5)


class CircuitWatch:
    """Asks on the downloads thread; the answer is an event. Where the broker's data has no limits, none are known and nothing is asked."""

    def __init__(self, data: DataSession, worker: Worker, inbox: Inbox, now: Callable[[], datetime], gate: TickFilter) -> None:
        self._source = data if isinstance(data, CircuitSource) else None
        self._worker = worker
        self._inbox = inbox
        self._now = now
        self._gate = gate
        self._asked_at = datetime.min.replace(tzinfo=IST)
        self._seen = 0
        self._soon = AT_ONCE  # how long to leave it before ticks from beyond are asked about again

    def look(self, wanted: Callable[[], list[Instrument]], now: datetime) -> None:
        """Call as time passes, while a day is open; `wanted` is what limits are needed of, when it comes to asking."""
        since = now - self._asked_at
        if self._source is None or since < self._soon:
            return
        beyond = self._gate.counts[OUTSIDE_CIRCUIT]
        if since < EVERY and beyond == self._seen:
            return
        self._soon = min(EVERY, 2 * self._soon) if beyond != self._seen else AT_ONCE
        self._asked_at, self._seen = now, beyond
        source, instruments = self._source, wanted()

        def ask() -> None:
            try:
                found = source.circuits(instruments)
            except (BrokerError, DataError):
                return  # asked again in five minutes; without limits the broker's own refusal is what tells
            self._inbox.put([PriceLimits(self._now(), found)], self._worker.name)

        self._worker.submit(DATA, ask)
