"""Market facts taken up by a running engine: judged, then followed by bars, entries and the square-off; a bad file changes nothing."""

import shutil
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.events import Command
from core.types import AccountKind, Purpose, Tick
from data_ingestion.bars import BarBuilder
from runtime.recording import RecorderSlot
from runtime.reload import Reload
from runtime.roster import Roster
from runtime.tuning import Tuning
from tests.harness import DAY, FUTURE, Harness
from utils.config_loader import CONFIG_FOLDER, load

MORNING = DAY.replace(hour=9, minute=45)
NOTHING = "special_sessions: []"
SHORT = 'special_sessions:\n  - {d: 2026-11-20, kind: shortened, segments: [FO, EQ], sessions: [["09:15", "14:00"]], src: test}'
LONG = 'special_sessions:\n  - {d: 2026-11-20, kind: extended, segments: [FO, EQ], sessions: [["09:15", "17:00"]], src: test}'
CUT_OFF = '{zerodha: {versions: [{from: 2026-11-20, to: 2026-11-20, EQ_CAS: "16:40", EQ_NONCAS: "16:40", FO: "16:40"}]}}'


class Desk(Harness):
    """The harness with a configuration folder of its own that it can be told to take up."""

    def __init__(self, folder: Path, at: datetime = MORNING) -> None:
        super().__init__(at=at)
        self.folder = folder
        house: Any = SimpleNamespace(
            recorder=RecorderSlot(),
            account=self.account,
            config=load(folder),
            store=self.store,
            engine=self.engine,
            clock=self.clock,
            bars=self.engine.bars,
        )
        options: Any = SimpleNamespace(instrument=None, config=folder)
        tuning = Tuning(house, Roster(house, options, None))
        self.reload = Reload(
            house.config, AccountKind.PRACTICE, self.calendar, tuning, lambda instead: load(folder, instead=instead), self._said
        )
        self.control.changes = self.reload

    def edit(self, old: str, new: str) -> None:
        path = self.folder / "market" / "overrides.yaml"
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, old
        path.write_text(text.replace(old, new), encoding="utf-8")

    def take_up(self) -> tuple[bool, str]:
        self.engine.process(Command(self.clock.now(), "1", "reload", self.reload.read()))
        self.engine.settle()
        self.control.check(self.engine)
        _, ok, text, _ = self.answers[-1]
        return ok, text

    def _said(self, *answer: Any) -> None:
        self.answers.append(answer)

    @property
    def square_offs(self) -> list[str]:
        return [one["scheduled"][11:16] for one in self.engine.square_off.rounds()]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    shutil.copytree(CONFIG_FOLDER, tmp_path / "config")
    return Desk(tmp_path / "config")


def test_a_shortened_day_brings_the_square_off_forward_and_is_journalled_with_both_hashes(desk: Desk) -> None:
    desk.want(1)
    desk.complete()
    assert desk.square_offs == ["15:20"]
    desk.edit(NOTHING, SHORT)
    ok, text = desk.take_up()
    assert ok, text
    assert "square-offs of the day: 13:54" in text
    [entry] = desk.journal("reloaded")
    [(name, hashes)] = entry["files"].items()
    assert name == "market/overrides.yaml"
    assert len(hashes["old"]) == len(hashes["new"]) == 64
    assert hashes["old"] != hashes["new"]
    assert [[one["scheduled"][11:16] for one in entry["square_off"][when]] for when in ("before", "after")] == [["15:20"], ["13:54"]]
    desk.go_to(13, 54)
    assert desk.last.purpose is Purpose.SQUARE_OFF
    desk.complete()
    assert desk.held == 0
    desk.go_to(13, 55)
    assert desk.journal("square_off_flat")
    desk.go_to(15, 21)  # nothing is left of the old round
    assert len(desk.journal("square_off_started")) == 1


def test_an_extended_day_lets_entries_and_the_square_off_move_back(desk: Desk) -> None:
    desk.edit(NOTHING, LONG)
    desk.edit("mis_squareoff: {}", f"mis_squareoff: {CUT_OFF}")
    assert desk.take_up()[0]
    desk.go_to(15, 10)  # entries used to stop at 15:05; 15:20 of settings.yaml still is the earliest start
    assert desk.square_offs == ["15:20"]
    assert desk.calendar.is_open(FUTURE, DAY.replace(hour=16, minute=59))
    plan = desk.engine.world.plan(FUTURE)
    assert plan is not None
    assert (plan.closes.hour, plan.deadline.hour, plan.deadline.minute) == (17, 16, 40)


def test_a_square_off_whose_new_time_has_passed_starts_at_once(desk: Desk) -> None:
    desk.want(1)
    desk.complete()
    desk.go_to(14, 0)
    desk.edit("mis_squareoff: {}", f"mis_squareoff: {CUT_OFF}".replace("16:40", "14:02"))
    assert desk.take_up()[0]
    desk.pass_time(1)
    assert desk.last.purpose is Purpose.SQUARE_OFF


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (NOTHING, SHORT.replace("14:00", "25:00"), "special_sessions"),
        (NOTHING, SHORT.replace("sessions:", "sesions:", 2).replace("special_sesions", "special_sessions"), "did you mean sessions"),
        ("closed: []", "closed: [{d: 2026-11-20}]", "overrides.yaml:"),
        ("closed: []", "closed: [", "overrides.yaml"),
    ],
)
def test_a_bad_file_changes_nothing_and_alerts_with_the_line(desk: Desk, old: str, new: str, said: str) -> None:
    desk.edit(old, new)
    ok, text = desk.take_up()
    assert not ok
    assert said in text
    assert "nothing was changed" in text
    assert [level for level, title, _ in desk.alerts if title == "Not reloaded"] == ["warn"]
    assert desk.journal("reload_refused")
    assert not desk.journal("reloaded")
    assert desk.square_offs == ["15:20"]
    assert desk.reload.taken == 0
    desk.edit(new, old)
    assert desk.take_up() == (True, "the files are as they were read last; nothing changed")


def test_a_day_cannot_be_closed_under_a_held_position(desk: Desk) -> None:
    desk.want(1)
    desk.complete()
    desk.edit("closed: []", "closed: [{d: 2026-11-20, n: Election, segments: [EQ, FO], src: test}]")
    ok, text = desk.take_up()
    assert not ok
    assert "NFO:NIFTY26NOVFUT is held, and would have no session on 2026-11-20" in text
    desk.want(0)
    desk.complete()
    assert desk.take_up()[0]
    assert desk.square_offs == []
    assert not desk.calendar.trading_day("FO", date(2026, 11, 20))


def test_a_file_that_was_not_read_before_is_refused(desk: Desk) -> None:
    desk.engine.process(Command(desk.clock.now(), "1", "reload", {"digests": {"market/overrides.yaml": "0"}}))
    _, ok, text, _ = desk.answers[-1]
    assert not ok
    assert "the files were not read" in text


def test_bars_that_begin_later_go_by_the_new_hours(tmp_path: Path) -> None:
    shutil.copytree(CONFIG_FOLDER, tmp_path / "config")
    desk = Desk(tmp_path / "config", DAY.replace(hour=15, minute=38))
    bars = BarBuilder(desk.calendar)
    bars.watch(FUTURE, 10, desk.clock.now())

    def tick(minute: int) -> None:
        at = DAY.replace(hour=15, minute=minute)
        bars.add(Tick(FUTURE, at, 25000.0 + minute, exchange_at=at))

    tick(38)
    desk.edit(NOTHING, LONG)
    assert desk.take_up()[0]
    bars.hours_changed()
    tick(39)
    tick(42)
    tick(48)
    found = [(f"{bar.start:%H:%M}", f"{bar.at:%H:%M}") for bar in bars.close(DAY.replace(hour=16))]
    # the running bar keeps its end at the old close; the next begins there, then the grid goes on
    assert found == [("15:35", "15:40"), ("15:40", "15:45"), ("15:45", "15:55")]
    assert bars.outside == 0


def test_a_print_after_a_shortened_session_makes_no_bar(desk: Desk) -> None:
    bars = desk.engine.bars
    assert isinstance(bars, BarBuilder)
    desk.go_to(13, 57)
    desk.edit(NOTHING, SHORT)
    assert desk.take_up()[0]
    desk.go_to(13, 58)
    assert bars.outside == 0
    desk.go_to(14, 1)
    assert bars.outside == 1
