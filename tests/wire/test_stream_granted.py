"""The feed in granted time against the wire simulator: faults are met at their granted moments, and two runs see the same events."""

import json
import subprocess
import sys
import urllib.request
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from brokers.shards import Shards
from brokers.spec import Endpoints, Put
from brokers.stream import SocketTransport, Stream
from brokers.zerodha import SPEC
from brokers.zerodha.wire import FeedDialect
from core.clock import GrantedClock
from core.events import Event, FeedStatus, SessionStatus
from core.types import IST, Kind, Tick
from execution_engine.broker_worker import Worker
from runtime.grants import GrantChannel, GrantedPump
from runtime.inbox import Inbox
from tests.wire.kite_samples import Listed
from utils.pacing import Budget

ROOT = Path(__file__).resolve().parents[2]
OPENS = datetime(2026, 11, 20, 9, 15, tzinfo=IST)
FAULTS = [
    {"fault": "drop_socket", "match": {"after": "09:20"}},
    {"fault": "mute_socket", "match": {"after": "09:24"}, "seconds": 20},
    {"fault": "truncated_frame", "match": {"after": "09:26"}},
    {"fault": "kill_token", "match": {"after": "09:28"}},
]


class Credentials:
    def __init__(self, told: dict[str, str]) -> None:
        self._told = told

    def get_secret(self, name: str) -> str:
        return self._told["api_key" if name == "ZERODHA_API_KEY" else "api_secret"]


def play(folder: Path, minutes: int, capacity: int = SPEC.instruments_per_stream) -> list[Event]:
    """Every event of the first `minutes` from 09:14, as the inbox gave them."""
    command = [sys.executable, "-m", "simulators.server", "zerodha", "--json", "--granted", "--date", "2026-11-20", "--start", "09:14"]
    process = subprocess.Popen([*command, "--seed", "5", "--speed", "max"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        with process.stdout:
            told: dict[str, Any] = json.loads(process.stdout.readline())
        body = json.dumps(FAULTS).encode()
        with urllib.request.urlopen(urllib.request.Request(told["admin"] + "/faults", body, {"Content-Type": "application/json"})):
            return _events(told, folder, minutes, capacity)
    finally:
        process.terminate()
        process.wait(20)


def _events(told: dict[str, Any], folder: Path, minutes: int, capacity: int) -> list[Event]:
    clock, inbox = GrantedClock(guard=30.0), Inbox()
    channel = GrantChannel(told["grants"], "practice")
    pump = GrantedPump(inbox, clock, channel, lambda reason: None)
    endpoints, listed = Endpoints(told["rest"], told["stream"], told["login"]), Listed({})
    session = SPEC.make_session(
        "practice", Credentials(told["credentials"]), clock, folder / "token.json", endpoints, lambda event: inbox.put([event], "session")
    )
    data = SPEC.make_data(session, clock, Budget(clock, SPEC.limits), None, endpoints, lambda: listed)
    worker = Worker("practice/downloads", clock, inbox.poke)
    worker.start()

    def log_in() -> bytes:
        session.auto_login(told["login"])
        return data.instruments()

    job = worker.submit(0, log_in)
    pump.complete(job)
    listed.tokens = {row.token: row.instrument() for row in SPEC.parse_instruments(job.value())}
    watched = [one for one in listed.tokens.values() if one.kind in (Kind.FUTURE, Kind.EQUITY, Kind.INDEX)][:8]

    def stream(place: int, put: Put) -> Stream:
        name = "practice/feed" if place == 0 else f"practice/feed-{place + 1}"
        way = SocketTransport(clock, name, FeedDialect(endpoints.stream, lambda: told["credentials"]["api_key"], lambda: listed))
        return Stream("practice", session, clock, put, lambda: clock.now() >= OPENS, way, capacity=capacity, name=name)

    feed = Shards(stream, inbox.put, capacity=capacity, most=SPEC.streams)
    feed.subscribe(watched)
    feed.start()
    seen: list[Event] = []
    end = clock.now() + timedelta(minutes=minutes)
    while clock.now() < end:
        seen.extend(pump.next(end))
    feed.stop()
    worker.stop()
    clock.fail("the test is over")
    channel.close()
    return seen


def test_three_connections_repeat_exactly_too_and_each_comes_back(tmp_path: Path) -> None:
    runs = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        runs.append(play(tmp_path / name, 9, capacity=3))
    first, second = runs
    assert first == second
    assert len({event.instrument.key for event in first if isinstance(event, Tick)}) == 8
    told = [event for event in first if isinstance(event, FeedStatus)]
    assert (told[0].connected, told[-1].connected) == (True, True)
    lost = [event for event in told if not event.connected]
    assert [event.reason[:33] for event in lost] == ["connection 1 of 3 (3 instruments)"]
    back = next(event.at for event in told if event.at > lost[-1].at)
    away = {event.instrument.key for event in first if isinstance(event, Tick) and lost[-1].at < event.at < back}
    assert len(away) <= 5  # the other two went on
    assert len({event.instrument.key for event in first if isinstance(event, Tick) and event.at > back}) == 8


def test_a_faulted_quarter_of_an_hour_is_met_in_order_and_repeats_exactly(tmp_path: Path) -> None:
    runs = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        events = play(tmp_path / name, 16)
        runs.append([msgspec.structs.replace(event, login_url="") if isinstance(event, SessionStatus) else event for event in events])
    first, second = runs
    assert first == second
    told = [(event.at.strftime("%H:%M"), event.connected, event.reason) for event in first if isinstance(event, FeedStatus)]
    assert [(at, connected) for at, connected, _ in told] == [
        ("09:14", True),
        ("09:20", False),
        ("09:20", True),
        ("09:24", False),
        ("09:24", True),
        ("09:28", False),
        ("09:28", False),
        ("09:28", False),
    ]
    assert "silent for 5.0 s" in told[3][2]
    assert "needs today's login" in told[-1][2]
    assert sum(isinstance(event, Tick) for event in first) > 1000
    assert len({event.instrument.key for event in first if isinstance(event, Tick)}) == 8
