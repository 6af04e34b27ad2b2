"""A strategy that blocks: told while it does, stopped when it returns, and never in a result that a wall's clock could change."""

import threading
from collections.abc import Iterator
from typing import Any

from core.types import Bar, Purpose, Side, Signal, View
from execution_engine.call_watch import CallWatch
from runtime.hang_alarm import HangAlarm
from tests.harness import Harness, Told


class Wall:
    """A wall's clock that moves when the strategy says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


WALL = Wall()


class Slow(Told):
    """Takes as long as `takes` says for a bar."""

    takes = 0.0

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        WALL.seconds += self.takes
        yield from super().on_bar(bar, view)


class Notes:
    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str]] = []
        self.came = threading.Event()

    def send(self, *said: Any) -> None:
        self.sent.append(said)
        self.came.set()


def slow(takes: float) -> Harness:
    it = Harness(made=Slow)
    it.engine.hearing.calls = CallWatch(WALL)
    it.want(1)
    it.complete()
    assert isinstance(it.strategy, Slow)
    it.strategy.takes = takes
    return it


def test_a_strategy_that_blocked_is_stopped_what_it_said_does_not_count_and_what_it_holds_is_closed() -> None:
    it = slow(2.1)
    it.want(2)
    assert it.told("Strategy stopped") == ["page"]
    [stopped] = it.journal("strategy_stopped")
    assert "it blocked the engine for 2.1 s in one call (2 s are allowed)" in stopped["why"]
    assert (it.last.side, it.last.quantity, it.last.purpose) == (Side.SELL, 65, Purpose.EXIT)


def test_a_slow_one_within_the_limit_goes_on() -> None:
    it = slow(1.9)
    it.want(2)
    assert not it.told("Strategy stopped")
    assert (it.last.quantity, it.last.purpose) == (65, Purpose.ENTRY)


def test_without_a_watch_nobody_looks_at_the_wall() -> None:
    it = slow(60.0)
    it.engine.hearing.calls = None
    it.want(2)
    assert not it.told("Strategy stopped")


def test_each_call_that_lasts_is_told_once_while_it_lasts() -> None:
    wall, notes = Wall(), Notes()
    calls = CallWatch(wall)
    alarm = HangAlarm(calls, notes)
    for expected in (1, 2):
        calls.began("trend")
        wall.seconds += 2.0
        alarm.look()
        assert len(notes.sent) == expected - 1
        wall.seconds += 0.1
        alarm.look()
        alarm.look()
        assert len(notes.sent) == expected
        assert calls.ended()
        alarm.look()
    level, title, text = notes.sent[0]
    assert (level, title) == ("page", "A strategy blocks the engine")
    assert "trend has not returned for 2 s" in text


def test_the_alarm_rings_from_a_thread_of_its_own_while_the_engine_hangs() -> None:
    wall, notes = Wall(), Notes()
    calls = CallWatch(wall)
    alarm = HangAlarm(calls, notes)
    alarm.start()
    calls.began("trend")
    wall.seconds = 3.0  # this thread is inside the call now, and does nothing
    assert notes.came.wait(10)
    alarm.stop()
