"""Our session, client and feed of any broker against its stand-alone wire simulator, a process of its own."""

import json
import queue
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from brokers.spec import Endpoints, FeedTransport, Spec
from core.clock import SystemClock
from core.errors import ConfigError
from core.events import Event
from core.ports import Broker, DataSession
from core.types import IST, Instrument, Kind, Tick
from tests.wire.house import AuditLog
from tests.wire.kite_samples import Listed
from utils.pacing import Budget

ROOT = Path(__file__).resolve().parents[2]
DAY = date(2026, 11, 20)


class DayClock(SystemClock):
    """The wall clock moved to 09:30 of the simulated day; seconds are as long as ever."""

    def __init__(self) -> None:
        super().__init__()
        self._offset = datetime(2026, 11, 20, 9, 30, tzinfo=IST) - super().now()

    def now(self) -> datetime:
        return super().now() + self._offset

    def leap(self, span: timedelta) -> None:
        """The simulator's time was moved by hand so far."""
        self._offset += span


class AtSimulator:
    """The simulator as another process, free-running at real speed from 09:30, and our side of it."""

    def __init__(self, folder: Path, spec: Spec, *arguments: str) -> None:
        self.spec = spec
        command = [
            sys.executable,
            "-m",
            "simulators.server",
            spec.name,
            "--json",
            "--date",
            DAY.isoformat(),
            "--start",
            "09:30",
            "--seed",
            "5",
            *arguments,
        ]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.told: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.clock = DayClock()
        self.endpoints = Endpoints(self.told["rest"], self.told["stream"], self.told["login"])
        self.events: list[Event] = []
        self.audit = AuditLog()
        self.session = spec.make_session("live", self, self.clock, folder / f"{spec.name}.json", self.endpoints, self.events.append)
        self.budget = Budget(self.clock, spec.limits)
        self.lookup = Listed({})
        self.session.auto_login(self.told["login"])
        self.learn()

    def learn(self) -> None:
        """Take the day's instruments."""
        dump = self.spec.parse_instruments(self.data().instruments())
        self.lookup.tokens = {row.token: row.instrument() for row in dump}
        assert dump.skipped == {}

    def get_secret(self, name: str) -> str:
        value: str = self.told["credentials"].get(name.removeprefix(f"{self.spec.name}_".upper()).lower(), "")
        if not value:
            raise ConfigError(f"the simulator gave no {name}")
        return value

    def data(self) -> DataSession:
        return self.spec.make_data(self.session, self.clock, self.budget, self.audit, self.endpoints, lambda: self.lookup)

    def broker(self) -> Broker:
        return self.spec.make_broker(self.session, self.clock, self.budget, self.audit, self.endpoints, lambda: self.lookup)

    def fault(self, **fault: Any) -> None:
        self.admin("/faults", fault)

    def admin(self, path: str, body: Any) -> None:
        request = urllib.request.Request(self.told["admin"] + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as reply:
            assert reply.status == 200

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()


def future(simulator: AtSimulator) -> Instrument:
    futures = [one for one in simulator.lookup.tokens.values() if one.kind is Kind.FUTURE and one.underlying == "NIFTY"]
    return min(futures, key=lambda one: one.expiry or date.max)


class Heard:
    """The feed of this broker at that simulator, and its events in a queue."""

    def __init__(self, simulator: AtSimulator, transport: FeedTransport = "native") -> None:
        self._events: queue.Queue[Event] = queue.Queue()
        clock: Any = simulator.clock
        self.feed: Any = simulator.spec.make_feed(
            "live", simulator.session, clock, self._put, simulator.endpoints, lambda: simulator.lookup, transport, lambda: True
        )

    def _put(self, events: Sequence[Event], origin: str) -> None:
        for event in events:
            self._events.put(event)

    def following(self, kind: type[Event]) -> Any:
        while not isinstance(event := self._events.get(timeout=20.0), kind):
            pass
        return event

    def tick_of(self, instrument: Instrument) -> Tick:
        while (tick := self.following(Tick)).instrument != instrument:
            pass
        found: Tick = tick
        return found


def eventually(read: Callable[[], Any], seconds: float = 40.0, *, every: float = 0.2) -> Any:
    end = time.monotonic() + seconds
    while not (answer := read()):
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(every)
    return answer
