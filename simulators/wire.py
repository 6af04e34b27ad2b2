"""What crosses the socket shell: requests, responses and stream connections in plain values, and the shape of a broker simulator."""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import parse_qsl

from simulators.faults import Faults
from simulators.world import World

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request or handshake. Header names are lower-case; `lane` is its X-Grant lane ("" for a client that is not attached)."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    lane: str = ""

    def arguments(self) -> dict[str, list[str]]:
        """The query's values by name, in order."""
        return _pairs(self.query)

    def argument(self, name: str) -> str:
        return self.arguments().get(name, [""])[-1]

    def form(self) -> dict[str, str]:
        """The last value of each form field."""
        return {name: values[-1] for name, values in _pairs(self.body.decode("utf-8", "replace")).items()}


@dataclass(frozen=True, slots=True)
class Response:
    """What goes back. `delay_s` is market time before it is sent; `dropped` = the connection is reset instead."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    dropped: bool = False


@dataclass(slots=True)
class Connection:
    """One client on the stream. A simulator may set `ended`: the shell then closes the socket without a word (`reset`: by RST)."""

    id: str
    lane: str = ""
    state: Any = None
    ended: bool = False
    reset: bool = False


class BrokerSimulator(Protocol):
    """A broker without sockets: pure functions of what came in and of market time, which the caller moves and never takes back.

    `login_path` is the page that approves by itself; `requests` is the log of what was asked and answered.
    """

    title: str
    login_path: str
    world: World
    faults: Faults
    requests: deque[dict[str, Any]]

    def advance(self, now: datetime) -> None:
        """Play the market and the exchange up to `now`."""
        ...

    def next_event(self, now: datetime, connections: Sequence[Connection]) -> datetime | None:
        """The next moment after `now` at which one of these connections may get a frame; None: not before the market's end."""
        ...

    def next_moment(self, now: datetime) -> datetime | None:
        """The next moment after `now` at which anything at all happens, for a clock that runs as fast as it can; None at the end."""
        ...

    def last_moment(self) -> datetime:
        """The end of the last day this market has."""
        ...

    def handle(self, request: Request, now: datetime) -> Response: ...
    def connect(self, request: Request, connection: Connection, now: datetime) -> Response | None:
        """A handshake: None lets it in, otherwise the refusal."""
        ...

    def receive(self, connection: Connection, message: str | bytes, now: datetime) -> None: ...
    def frames(self, connection: Connection, now: datetime) -> list[bytes | str]: ...
    def disconnect(self, connection: Connection) -> None: ...
    def describe(self) -> dict[str, Any]:
        """What a client must know beside the addresses: credentials, the days there are."""
        ...

    def accounts(self) -> dict[str, Any]:
        """Every user's books as the exchange holds them, for tests to compare with."""
        ...

    def messages(self) -> Any:
        """What stream clients have sent, for tests."""
        ...

    def redirect_to(self, url: str) -> None:
        """Register another redirect URL for every app."""
        ...


def dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _pairs(text: str) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        values.setdefault(name, []).append(value)
    return values
