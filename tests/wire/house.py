"""What surrounds one account of any broker, for tests: clock, audit, events, token file, budget."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from brokers.spec import Endpoints
from core.clock import ManualClock
from core.errors import ConfigError
from core.events import Event
from core.types import IST, Instrument
from tests.wire.kite_samples import Listed
from utils.pacing import Budget, Limit

MORNING = datetime(2026, 11, 20, 8, 41, tzinfo=IST)


class Secrets:
    """A credential store with these secrets and no others; it remembers what it was asked for."""

    def __init__(self, **secrets: str) -> None:
        self.secrets = secrets
        self.asked: list[str] = []

    def get_secret(self, name: str) -> str:
        self.asked.append(name)
        if name not in self.secrets:
            raise ConfigError(f"{name} is not set")
        return self.secrets[name]


@dataclass
class AuditLog:
    """Keeps requests and replies in order, as the audit segment does."""

    lines: list[tuple[Any, ...]] = field(default_factory=list)

    def request(self, lane: str, method: str, route: str, masked_params: Mapping[str, Any]) -> int:
        self.lines.append(("request", lane, method, route, dict(masked_params)))
        return len(self.lines)

    def reply(self, number: int, status: int, masked_body: str) -> None:
        self.lines.append(("reply", number, status, masked_body))


class Surroundings:
    """Of one account at 08:41 of the test day; `record` is what its token file holds of today's login, nothing without one."""

    def __init__(
        self, url: str, folder: Path, broker: str, login: str, listed: Mapping[Any, Instrument], limits: Iterable[Limit], **record: str
    ) -> None:
        self.clock = ManualClock(MORNING)
        self.audit = AuditLog()
        self.events: list[Event] = []
        self.token_file = folder / "session" / f"{broker}.json"
        self.endpoints = Endpoints(url, url.replace("http", "ws"), login)
        self.lookup = Listed(listed)
        self.budget = Budget(self.clock, tuple(limits))
        if record:
            self.token_file.parent.mkdir(parents=True, exist_ok=True)
            self.token_file.write_text(json.dumps({"login_day": "2026-11-20", **record}))

    @property
    def around(self) -> tuple[ManualClock, Budget, AuditLog, Endpoints, Callable[[], Listed]]:
        """What a client is made of beside its session."""
        return self.clock, self.budget, self.audit, self.endpoints, lambda: self.lookup
