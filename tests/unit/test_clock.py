"""Clocks: market time never goes back, waits end when they should, and a granted moment is seen alike by every thread."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from core.clock import GrantedClock, HeldClock, ManualClock, SystemClock
from core.errors import NiyamError
from core.types import IST
from execution_engine.timers import Timers

T0 = datetime(2026, 11, 20, 9, 15, tzinfo=IST)


def grant(clock: GrantedClock, seconds: float, **named: object) -> None:
    facts = {"frames": {}, "completed": {}, "closed": frozenset(), **named}
    clock.grant(T0 + timedelta(seconds=seconds), **facts)  # type: ignore[arg-type]


class Edge:
    """One edge thread under a granted clock, doing what the test gives it."""

    def __init__(self, clock: GrantedClock, work: Callable[[], object]) -> None:
        self.clock = clock
        self.error: BaseException | None = None
        self._work = work
        self._entered = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self._entered.wait(5)

    def _run(self) -> None:
        with self.clock.thread("edge"):
            self._entered.set()
            self._work()

    def join(self) -> None:
        self.thread.join(5)
        assert not self.thread.is_alive()


def test_the_system_clock_is_aware_and_its_waits_end() -> None:
    clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(hours=5, minutes=30)
    assert clock.wait_for(lambda: True) is True
    assert clock.wait_for(lambda: False, clock.monotonic() + 0.01) is False


def test_a_manual_clock_never_goes_back_and_refuses_naive_times() -> None:
    clock = ManualClock(T0)
    clock.move_to(T0 + timedelta(seconds=5))
    clock.move_to(T0)
    assert clock.now() == T0 + timedelta(seconds=5)
    assert clock.monotonic() == 5.0
    with pytest.raises(ValueError, match="aware"):
        ManualClock(datetime(2026, 11, 20, 9, 15))


def test_before_the_first_grant_there_is_no_time() -> None:
    with pytest.raises(NiyamError, match="first moment"):
        GrantedClock().now()


def test_an_edge_thread_leaves_its_wait_only_in_its_turn() -> None:
    clock = GrantedClock(guard=5)
    seen: list[Any] = []
    ready: list[int] = []

    def work() -> None:
        clock.wait_for(lambda: bool(ready))
        seen.append(clock.now())

    grant(clock, 0)
    edge = Edge(clock, work)
    clock.run_edge()
    ready.append(1)
    clock.notify()
    grant(clock, 1)
    assert seen == []  # a grant is the engine's turn
    clock.run_edge()
    edge.join()
    assert seen == [T0 + timedelta(seconds=1)]


def test_a_timed_wait_ends_at_its_granted_moment_and_is_told_as_the_wake() -> None:
    clock, woken = GrantedClock(guard=5), []
    grant(clock, 0)
    edge = Edge(clock, lambda: woken.append(clock.wait_for(lambda: False, clock.monotonic() + 2.0)))
    clock.run_edge()
    assert clock.done()[0] == 2.0
    grant(clock, 1)
    clock.run_edge()
    assert woken == []
    grant(clock, 2)
    clock.run_edge()
    edge.join()
    assert woken == [False]


def test_a_reply_is_handed_over_only_when_a_grant_names_it() -> None:
    clock, replied = GrantedClock(guard=5), threading.Event()
    seen: list[Any] = []

    def work() -> None:
        with clock.call("practice/orders") as headers:
            seen.append(headers)
            replied.wait(5)
        seen.append(clock.now())

    grant(clock, 0)
    edge = Edge(clock, work)
    clock.run_edge()
    assert clock.done()[1] == {"practice/orders": 1}
    replied.set()
    grant(clock, 1)
    assert seen == [{"X-Grant": "practice/orders/1"}]
    grant(clock, 3, completed={"practice/orders": 1})
    edge.join()
    assert seen[-1] == T0 + timedelta(seconds=3)


def test_a_frame_waits_for_the_grant_that_names_it() -> None:
    clock, arrived, seen = GrantedClock(guard=5), threading.Event(), []

    def work() -> None:
        with clock.listening("practice/feed/1"):
            arrived.wait(5)
        seen.append(clock.now())

    grant(clock, 0)
    edge = Edge(clock, work)
    arrived.set()
    grant(clock, 7, frames={"practice/feed/1": 1})
    edge.join()
    assert seen == [T0 + timedelta(seconds=7)]


def test_a_closed_connection_is_awaited_too() -> None:
    clock, arrived, seen = GrantedClock(guard=5), threading.Event(), []

    def work() -> None:
        try:
            with clock.listening("practice/feed/1"):
                arrived.wait(5)
                raise ConnectionResetError
        except ConnectionResetError:
            seen.append(clock.now())

    grant(clock, 0)
    edge = Edge(clock, work)
    arrived.set()
    grant(clock, 4, closed=frozenset({"practice/feed/1"}))
    edge.join()
    assert seen == [T0 + timedelta(seconds=4)]


def test_a_protocol_fault_is_an_error_with_a_picture_not_a_hang() -> None:
    clock = GrantedClock(guard=0.05)
    with pytest.raises(NiyamError, match="practice/reads"):
        grant(clock, 0, completed={"practice/reads": 1})


def test_a_simulator_that_is_gone_wakes_every_thread() -> None:
    clock, woken = GrantedClock(guard=5), []
    grant(clock, 0)
    edge = Edge(clock, lambda: woken.append(clock.wait_for(lambda: False)))
    clock.fail("closed")
    edge.join()
    assert woken == [False]
    with pytest.raises(NiyamError, match="closed"):
        grant(clock, 1)


def test_timers_fire_in_due_order_late_ones_too_and_move_when_set_again() -> None:
    timers = Timers()
    timers.set("b", T0 + timedelta(seconds=2))
    timers.set("a", T0 + timedelta(seconds=2))
    timers.set("moved", T0 + timedelta(seconds=1))
    timers.set("moved", T0 + timedelta(seconds=3))
    timers.set("gone", T0)
    timers.cancel("gone")
    assert timers.next_at(T0) == T0 + timedelta(seconds=2)
    assert timers.pop(T0 + timedelta(seconds=1)) is None
    late = T0 + timedelta(hours=1)
    assert [fired[0] for _ in range(3) if (fired := timers.pop(late)) is not None] == ["a", "b", "moved"]
    assert timers.pop(late) is None
    with pytest.raises(ValueError, match="aware"):
        timers.set("naive", datetime(2026, 11, 20))


def test_notify_wakes_the_thread_whose_wait_is_over_and_leaves_the_others() -> None:
    clock, looks, came = SystemClock(), [0, 0], [False, False]
    done = [threading.Event(), threading.Event()]

    def wait(one: int) -> None:
        def ready() -> bool:
            looks[one] += 1
            return came[one]

        clock.wait_for(ready)
        done[one].set()

    for one in (0, 1):
        threading.Thread(target=wait, args=(one,), daemon=True).start()
    while not all(looks):
        assert not any(event.wait(0.001) for event in done)
    came[0] = True
    clock.notify()
    assert done[0].wait(5)
    assert not done[1].is_set()
    came[1] = True
    clock.notify()
    assert done[1].wait(5)


def test_a_held_clock_stands_still_for_the_engine_alone() -> None:
    wall = SystemClock()
    clock = HeldClock(wall)
    before = clock.now()
    clock.hold()
    held = clock.now()
    while wall.now() == held:
        pass
    assert clock.now() == held > before
    clock.release()
    assert clock.now() > held
