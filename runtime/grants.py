"""The daemon's half of granted time: read a grant, let the process become quiet, say done. Its rules stand in core/clock.py."""

import json
import socket
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from core.clock import GrantedClock
from core.errors import NiyamError
from core.events import Event
from runtime.inbox import Inbox, Job


class GrantChannel:
    """One TCP connection of JSON lines to the simulator that owns time. `poke` may be called from any thread."""

    def __init__(self, address: str, account: str) -> None:
        host, port = address.rsplit(":", 1)
        try:
            self._socket = socket.create_connection((host, int(port)), timeout=30)
        except OSError as error:
            raise NiyamError(f"no simulator answers at {address} ({error}); start one with: main.py simulate zerodha --granted") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(None)
        self._lines = self._socket.makefile("rb")
        self._lock = threading.Lock()
        self._send({"attach": {"account": account}})
        self.attached: dict[str, Any] = self.read()["attached"]

    def read(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line:
            raise NiyamError("the simulator closed the grants channel; start the run again to attach to a new one")
        message: dict[str, Any] = json.loads(line)
        return message

    def done(self, number: int, wake: datetime | None, requests: dict[str, int], sent: dict[str, int]) -> None:
        self._send({"done": number, "wake": wake.isoformat() if wake else None, "requests": requests, "sent": sent})

    def poke(self) -> None:
        self._send({"poke": True})

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def _send(self, message: dict[str, Any]) -> None:
        try:
            with self._lock:
                self._socket.sendall(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        except OSError as error:
            raise NiyamError(f"the simulator is gone ({error}); start the run again") from error


class GrantedPump:
    """Moves the engine thread through granted moments; see runtime/inbox.Pump."""

    def __init__(self, inbox: Inbox, clock: GrantedClock, channel: GrantChannel, on_end: Callable[[str], None]) -> None:
        self._inbox = inbox
        self._clock = clock
        self._channel = channel
        self._on_end = on_end
        self._backlog: list[Event] = []
        self._grant = 0
        self.beat: Callable[[], None] = lambda: None
        self._take(self._channel.read())

    def next(self, wake: datetime) -> list[Event]:
        if self._backlog:
            backlog, self._backlog = self._backlog, []
            return backlog
        events = self._turn()
        if events or wake <= self._clock.now():
            return events
        self._advance(wake)
        return self._inbox.drain()

    def complete(self, job: Job) -> None:
        while True:
            self._backlog.extend(self._turn())
            if job.done:
                return
            self.beat()
            self._advance(None)
            self._backlog.extend(self._inbox.drain())

    def close(self) -> None:
        self._clock.fail("the daemon ends")
        self._channel.close()

    def poke(self) -> None:
        self._channel.poke()

    def _turn(self) -> list[Event]:
        """The edge threads' turn at the present moment; what they put into the inbox is taken before time may move."""
        self._clock.run_edge()
        return self._inbox.drain()

    def _advance(self, wake: datetime | None) -> None:
        edge_wake, requests, sent = self._clock.done()
        if edge_wake is not None:
            at = self._clock.now() + timedelta(seconds=max(0.0, edge_wake - self._clock.monotonic()), microseconds=1)
            wake = at if wake is None else min(at, wake)
        self._channel.done(self._grant, wake, requests, sent)
        self._take(self._channel.read())

    def _take(self, message: dict[str, Any]) -> None:
        if "end" in message:
            self._on_end(str(message["end"]))
            return
        self._grant = int(message["grant"])
        self._clock.grant(
            datetime.fromisoformat(message["at"]),
            frames=message.get("frames", {}),
            completed=message.get("completed", {}),
            closed=frozenset(message.get("closed", ())),
        )
