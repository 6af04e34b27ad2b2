"""The clock suite in short, a holiday, a clock that is told to be wrong, and a square-off that forgets: `make clocks` is the long form."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from core.clock import SystemClock
from core.types import Tick
from execution_engine.square_off import SquareOff
from execution_engine.timers import Timers
from runtime.inbox import Inbox, SystemPump
from tests.harness import FUTURE, OPEN, Harness
from tests.proofs import clock_suite
from tests.proofs.clock_suite import KINDS, Case


def test_each_schedule_fires_once_whatever_the_clock_does(tmp_path: Path) -> None:
    found = [(name, problems) for name, problems in clock_suite.cases(11, clock_suite.calendar(tmp_path)) if problems]
    assert found == []


def test_a_holiday_has_no_schedule(tmp_path: Path) -> None:
    market = clock_suite.calendar(tmp_path)
    day = date(2026, 11, 25)
    assert market.continuous(FUTURE, day) == ()
    house = Harness()
    house.calendar.become(market)
    house.clock.move_to(OPEN.replace(day=25))
    house.engine.world.hours_changed()
    house.engine.square_off.arm(day, [FUTURE])
    assert house.engine.square_off.next_start() is None


def test_a_square_off_that_forgets_that_it_began_is_seen(tmp_path: Path) -> None:
    class Forgetful(SquareOff):
        def fire(self, name: str, now: object) -> None:
            self._rounds[name].started = None
            super().fire(name, now)  # type: ignore[arg-type]

    case = Case(KINDS[0], lambda second: 0.0, clock_suite.calendar(tmp_path))
    case.house.engine.square_off.__class__ = Forgetful
    assert any("started" in problem for problem in case.play())


def test_a_clock_set_back_makes_no_wait_longer_and_moves_no_moment() -> None:
    timers = Timers()
    timers.set("moment", OPEN + timedelta(hours=6))
    timers.wait("wait", OPEN, timedelta(seconds=15))
    assert timers.pop(OPEN + timedelta(seconds=1)) is None
    back = OPEN - timedelta(hours=2)
    assert timers.pop(back) is None
    assert (timers.due("wait"), timers.due("moment")) == (back + timedelta(seconds=15), OPEN + timedelta(hours=6))
    assert timers.pop(back + timedelta(seconds=15)) == ("wait", back + timedelta(seconds=15))


def test_the_daemon_looks_at_the_clock_each_second_however_far_the_next_timer_is() -> None:
    clock = SystemClock()
    assert SystemPump(Inbox(), clock).next(clock.now() + timedelta(hours=1)) == []


@pytest.mark.parametrize(
    ("ahead", "level", "blind"),
    [(1.5, [], False), (3.0, ["warn"], False), (40.0, ["page"], True), (-3.0, ["warn"], False), (-40.0, ["page"], True)],
)
def test_a_clock_that_is_off_is_told_and_one_far_off_ends_entries_until_it_is_right(ahead: float, level: list[str], blind: bool) -> None:
    it = Harness()

    def packets(off: float) -> None:
        for _ in range(12):
            it.clock.advance(1.0)
            now = it.clock.now()
            it.engine.process(Tick(FUTURE, now, 25_000.0, exchange_at=now - timedelta(seconds=off), bid=24_999.9, ask=25_000.1))
            it.engine.run_timers()

    packets(ahead)
    assert it.told("Our clock is wrong") == level
    assert ("clock" in it.engine.world.blinded) is blind
    packets(0.3)
    assert "clock" not in it.engine.world.blinded
    assert it.told("Our clock is wrong") == level
