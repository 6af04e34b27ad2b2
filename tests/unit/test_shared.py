"""What is found once for all who want it meanwhile."""

import threading
from datetime import datetime

import pytest

from core.clock import ManualClock
from core.errors import NiyamError
from core.types import IST
from runtime.shared import Shared


class Finding:
    """Counts how often it was asked; `why`: it fails."""

    def __init__(self) -> None:
        self.asked = 0
        self.why = ""

    def __call__(self) -> int:
        self.asked += 1
        if self.why:
            raise NiyamError(self.why)
        return self.asked


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 11, 20, 10, 0, tzinfo=IST))


def test_it_is_found_once_until_it_is_old_or_something_was_changed(clock: ManualClock) -> None:
    shared, find = Shared(clock, 5.0, 2), Finding()
    assert [shared.get("a", find), shared.get("a", find)] == [1, 1]
    clock.advance(4.9)
    assert shared.get("a", find) == 1
    clock.advance(0.1)
    assert shared.get("a", find) == 2
    shared.forget()
    assert shared.get("a", find) == 3
    assert [shared.get("b", find), shared.get("c", find), shared.get("a", find)] == [4, 5, 6], "no more than two are kept"


def test_a_failure_is_told_to_all_and_tried_again_later(clock: ManualClock) -> None:
    shared, find = Shared(clock, 5.0, 2), Finding()
    find.why = "the broker is away"
    for _ in range(3):
        with pytest.raises(NiyamError, match="away"):
            shared.get("a", find)
    assert find.asked == 1
    find.why = ""
    clock.advance(5)
    assert shared.get("a", find) == 2


def test_a_crowd_waits_for_one_answer(clock: ManualClock) -> None:
    shared, go, find, told = Shared(clock, 5.0, 2), threading.Event(), Finding(), list[int]()

    def slow() -> int:
        go.wait(10)
        return find()

    crowd = [threading.Thread(target=lambda: told.append(shared.get("a", slow))) for _ in range(20)]
    for one in crowd:
        one.start()
    go.set()
    for one in crowd:
        one.join(10)
    assert told == [1] * 20
