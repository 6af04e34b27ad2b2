"""Granted time without sockets: the guard on what never arrives, the brake, and the order in which things of one moment happen."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from simulators.grants import WALL_GUARD_S, Grants
from simulators.wire import Request, Response
from tests.wire.kite_in_process import Kite


class Wall:
    """Real time, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.timers: list[Alarm] = []

    def later(self, seconds: float, call: Callable[[], None]) -> "Alarm":
        alarm = Alarm(self.seconds + seconds, call)
        self.timers.append(alarm)
        return alarm

    def pass_(self, seconds: float) -> None:
        self.seconds += seconds
        due = [alarm for alarm in self.timers if alarm.live and alarm.at <= self.seconds]
        self.timers = [alarm for alarm in self.timers if alarm.live and alarm not in due]
        for alarm in due:
            alarm.call()


class Alarm:
    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at, self.call, self.live = at, call, True

    def cancel(self) -> None:
        self.live = False


class Line:
    """A grants channel that keeps what was sent on it."""

    def __init__(self) -> None:
        self.said: list[Mapping[str, Any]] = []

    def send(self, message: Mapping[str, Any]) -> None:
        self.said.append({name: dict(value) if isinstance(value, dict) else value for name, value in message.items()})


class Clock:
    """Grants over a simulator, an attached client, and a list of what happened in order."""

    def __init__(self, speed: float | None = None) -> None:
        self.kite = Kite()
        self.wall = Wall()
        self.line = Line()
        self.events: list[str] = []
        self.grants = Grants(
            self.kite.simulator, seed=1, start=self.kite.now, speed=speed, wall=lambda: self.wall.seconds, later=self.wall.later,
            on_move=lambda now: None,
        )  # fmt: skip
        self.grants.attach(self.line, "practice", 1)

    def done(self, requests: dict[str, int] | None = None, wake_s: float = 1.0) -> None:
        wake = (self.grants.now + timedelta(seconds=wake_s)).isoformat()
        self.grants.message(self.line, {"done": self.line.said[-1]["grant"], "wake": wake, "requests": requests or {}, "sent": {}})

    def request(self, lane: str, number: int) -> None:
        name = f"{lane}/{number}"
        assert self.grants.counts(name)

        def work(now: Any) -> Response:
            self.events.append(f"handle {name}")
            return self.kite.simulator.handle(Request("GET", "/user/profile"), now)

        self.grants.request(
            name, work, lambda response: self.events.append(f"{'drop' if response and response.dropped else 'answer'} {name}")
        )


def test_requests_of_one_moment_are_handled_in_the_order_of_lane_and_number() -> None:
    clock = Clock()
    for lane, number in (("p/reads", 1), ("p/orders", 1), ("p/reads", 2)):
        clock.request(lane, number)
    assert clock.events == [], "nothing is handled before the client says that it is quiet"
    clock.done({"p/reads": 2, "p/orders": 1})
    assert clock.events[:3] == ["handle p/orders/1", "handle p/reads/1", "handle p/reads/2"]


def test_time_stops_at_each_parked_reply() -> None:
    clock = Clock()
    clock.request("p/orders", 1)
    clock.request("p/reads", 1)
    clock.done({"p/orders": 1, "p/reads": 1}, wake_s=60)
    assert len(clock.line.said[-1]["completed"]) == 1
    clock.done({"p/orders": 1, "p/reads": 1}, wake_s=60)
    assert clock.line.said[-1]["completed"] == {"p/orders": 1, "p/reads": 1}


def test_what_never_arrives_is_given_up_after_the_guard(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    clock.done({"p/orders": 1})
    said = len(clock.line.said)
    clock.wall.pass_(WALL_GUARD_S - 1)
    assert len(clock.line.said) == said
    clock.wall.pass_(2)
    assert clock.line.said[-1]["completed"] == {"p/orders": 1}
    assert "going on without it" in capsys.readouterr().err
    assert not clock.grants.counts("p/orders/1"), "a straggler is answered like a client that is not attached"


def test_the_guard_is_called_off_when_it_arrives_after_all() -> None:
    clock = Clock()
    clock.done({"p/orders": 1})
    clock.wall.pass_(30)
    clock.request("p/orders", 1)
    clock.wall.pass_(60)
    assert clock.events == ["handle p/orders/1", "answer p/orders/1"]


def test_a_done_of_another_grant_is_ignored() -> None:
    clock = Clock()
    said = len(clock.line.said)
    clock.grants.message(clock.line, {"done": 99, "wake": None, "requests": {}, "sent": {}})
    assert len(clock.line.said) == said


def test_death_books_what_was_received_and_drops_every_answer() -> None:
    clock = Clock()
    clock.request("p/reads", 1)
    clock.done({"p/reads": 1}, wake_s=0.001)
    clock.request("p/orders", 1)
    clock.grants.detach(clock.line)
    assert clock.events == ["handle p/reads/1", "handle p/orders/1", "drop p/orders/1", "drop p/reads/1"]
    assert clock.grants.attached is None


def test_a_newer_client_takes_the_place_of_an_older_one() -> None:
    clock = Clock()
    second = Line()
    clock.grants.attach(second, "practice", 1)
    assert second.said[1]["grant"] == 1
    clock.grants.detach(clock.line)
    assert clock.grants.attached is not None, "the old link's end means nothing any more"


def test_the_brake_holds_market_time_to_a_multiple_of_real_time() -> None:
    clock = Clock(speed=10)
    reached = []
    for _ in range(50):
        clock.done(wake_s=1.0)
        clock.wall.pass_(0.1)
        reached.append((clock.grants.now - clock.kite.now).total_seconds())
    assert reached[-1] <= clock.wall.seconds * 10 + 2.5 + 1e-6  # a quarter of a second may be made up at the start
    assert reached[-1] >= 45


def test_a_poke_ends_the_brake_where_a_braked_clock_stands() -> None:
    clock = Clock(speed=10)
    clock.done(wake_s=600)
    clock.wall.pass_(3)
    said = len(clock.line.said)
    clock.grants.message(clock.line, {"poke": True})
    assert len(clock.line.said) == said + 1
    assert clock.grants.now - clock.kite.now == timedelta(seconds=30)
