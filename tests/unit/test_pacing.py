"""The rate budget: no window is ever exceeded, exits come first and find room, and what cannot be served soon is refused unsent."""

import random
import threading
from datetime import timedelta
from typing import Any

import pytest

from core.clock import ManualClock, SystemClock
from core.errors import RateLimited
from tests.builders import T0
from utils.pacing import Budget, Lane, Limit

ORDERS = frozenset({"place", "modify", "cancel"})


def budget(clock: ManualClock, *limits: Limit) -> Budget:
    return Budget(clock, limits or (Limit("orders/s", ORDERS, 8, 1.0, reserve=0.3), Limit("quotes", frozenset({"quote"}), 1, 1.25)))


class Hasty(Budget):
    """Sees only the last of its windows."""

    def _free_at(self, windows: list[Any], lane: Lane, kind: str, now: float) -> float:
        return super()._free_at(windows[-1:], lane, kind, now)


@pytest.mark.parametrize(("kind", "kept"), [(Budget, True), (Hasty, False)])
def test_no_window_ever_holds_more_than_its_limit_and_one_that_does_is_seen(kind: type[Budget], kept: bool) -> None:
    clock, rng, sent = ManualClock(T0), random.Random(7), []
    paced = kind(clock, (Limit("s", ORDERS, 8, 1.0, reserve=0.3), Limit("min", ORDERS, 100, 60.0, reserve=0.3)))
    for _ in range(600):
        clock.advance(rng.choice((0.0, 0.0, 0.01, 0.2)))
        paced.acquire(rng.choice((Lane.EXIT, Lane.CANCEL, Lane.ENTRY)), rng.choice(sorted(ORDERS)), patience=1e9)
        sent.append(clock.monotonic())
    most = [
        max(sum(1 for other in sent[index:] if other < moment + span - 1e-5) for index, moment in enumerate(sent)) for span in (1.0, 60.0)
    ]
    assert (most[0] <= 8 and most[1] <= 100) is kept, most


def test_entries_leave_the_reserve_to_exits_and_cancels() -> None:
    clock = ManualClock(T0)
    paced = budget(clock)
    waits = [paced.acquire(Lane.ENTRY, "place") for _ in range(5)]
    assert waits == [0.0] * 5
    assert [paced.acquire(lane, kind) for lane, kind in ((Lane.EXIT, "place"), (Lane.CANCEL, "cancel"), (Lane.EXIT, "modify"))] == [0.0] * 3
    assert paced.acquire(Lane.EXIT, "place") == pytest.approx(1.0)


def test_a_sixth_entry_within_the_second_waits_while_an_exit_would_not() -> None:
    clock = ManualClock(T0)
    paced = budget(clock)
    for _ in range(5):
        paced.acquire(Lane.ENTRY, "place")
    assert paced.acquire(Lane.ENTRY, "place") == pytest.approx(1.0)


def test_kinds_of_other_limits_are_not_held_up() -> None:
    clock = ManualClock(T0)
    paced = budget(clock)
    for _ in range(8):
        paced.acquire(Lane.EXIT, "place")
    assert paced.acquire(Lane.SCREEN, "quote") == 0.0


def test_a_used_up_day_refuses_unsent_and_says_what_is_spent() -> None:
    clock = ManualClock(T0)
    paced = budget(clock, Limit("orders/day", frozenset({"place"}), 10, 86_400.0, reserve=0.3))
    paced.used_before("orders/day", 7)
    with pytest.raises(RateLimited, match=r"orders/day 7 of 7 for entry.*nothing was sent"):
        paced.acquire(Lane.ENTRY, "place")
    assert [paced.acquire(Lane.EXIT, "place") for _ in range(3)] == [0.0] * 3
    assert paced.usage() == {"orders/day": (10, 10)}


def test_a_pause_holds_its_family_and_nothing_else() -> None:
    clock = ManualClock(T0)
    paced = budget(clock)
    paced.pause(5.0, "place")
    assert paced.acquire(Lane.SCREEN, "quote") == 0.0
    assert paced.acquire(Lane.CANCEL, "cancel") == pytest.approx(5.0)
    paced.pause(2.0)
    clock.advance(0.5)
    assert paced.acquire(Lane.SCREEN, "quote") == pytest.approx(1.5)


def test_a_refused_request_does_not_count() -> None:
    clock = ManualClock(T0)
    paced = budget(clock)
    paced.pause(100.0, "quote")
    with pytest.raises(RateLimited):
        paced.acquire(Lane.DATA, "quote", patience=10.0)
    assert paced.usage()["quotes"] == (0, 1)
    assert clock.now() == T0


def test_a_kind_without_a_limit_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match=r"no limit paces requests of kind 'gtt'.*cancel, modify, place, quote"):
        budget(ManualClock(T0)).acquire(Lane.EXIT, "gtt")


def test_usage_forgets_what_left_the_window() -> None:
    clock = ManualClock(T0)
    paced = budget(clock)
    paced.acquire(Lane.EXIT, "place")
    clock.move_to(T0 + timedelta(seconds=1))
    assert paced.usage() == {"orders/s": (0, 8), "quotes": (0, 1)}


def test_an_exit_overtakes_the_entries_that_wait_before_it() -> None:
    paced = Budget(SystemClock(), [Limit("s", ORDERS, 1, 0.05)])
    paced.pause(3.0)  # nobody leaves before all stand in the queue, however slow the machine
    order: list[str] = []

    def send(lane: Lane) -> None:
        paced.acquire(lane, "place")
        order.append(lane.name)

    threads = []
    for count, lane in enumerate((Lane.DATA, Lane.ENTRY, Lane.CANCEL, Lane.EXIT), start=1):
        threads.append(threading.Thread(target=send, args=(lane,)))
        threads[-1].start()
        while len(paced._waiting) < count:  # each stands in the queue before the next comes
            threading.Event().wait(0.001)
    for thread in threads:
        thread.join(10)
    assert order == ["EXIT", "CANCEL", "ENTRY", "DATA"]


def test_the_days_use_is_told_by_lane_and_kind_and_begins_anew_at_midnight() -> None:
    clock = ManualClock(T0)
    paced = budget(clock)
    paced.used_before("orders/s", 2)
    for lane in (Lane.ENTRY, Lane.ENTRY, Lane.EXIT):
        paced.acquire(lane, "place")
    paced.acquire(Lane.DATA, "quote")
    paced.acquire(Lane.DATA, "quote")
    with pytest.raises(RateLimited):
        paced.acquire(Lane.DATA, "quote", patience=0.1)
    told = paced.today()
    assert told["calls"] == [
        {"lane": "exit", "kind": "place", "sent": 1, "refused": 0, "waited_s": 0.0},
        {"lane": "entry", "kind": "place", "sent": 2, "refused": 0, "waited_s": 0.0},
        {"lane": "data", "kind": "quote", "sent": 2, "refused": 1, "waited_s": 1.25},
    ]
    assert told["limits"] == [
        {"limit": "orders/s", "seconds": 1.0, "count": 8, "peak": 5, "now": 0, "peak_pct": 62.5},
        {"limit": "quotes", "seconds": 1.25, "count": 1, "peak": 1, "now": 1, "peak_pct": 100.0},
    ]
    clock.advance(86_400.0)
    later = paced.today()
    assert later["calls"] == []
    assert [row["peak"] for row in later["limits"]] == [0, 0]
