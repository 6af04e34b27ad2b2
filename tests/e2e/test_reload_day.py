"""A correction of the market's hours taken up by the real daemon, by SIGHUP and by command, while it trades."""

import signal
from pathlib import Path

from tests.e2e.stage import HELD, Stage, closed, until

NOTHING = "special_sessions: []"
SHORT = 'special_sessions:\n  - {d: 2026-11-20, kind: shortened, segments: [FO, EQ], sessions: [["09:15", "15:05"]], src: test}'


def test_sighup_takes_up_good_overrides_refuses_bad_ones_and_the_day_ends_by_the_new_hours(stage: Stage) -> None:
    stage.configure("market/overrides.yaml", "confirmed_years: []", "confirmed_years: [2027]")
    assert stage.config is not None
    overrides: Path = stage.config / "market" / "overrides.yaml"
    good = overrides.read_text(encoding="utf-8")
    stage.simulate(start="14:45", speed=HELD)
    daemon = stage.run()
    stage.until(lambda seen: seen["feed"]["connected"], "a connected feed")

    overrides.write_text(good.replace(NOTHING, SHORT.replace("15:05", "25:05")), encoding="utf-8")
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: bool(stage.journal("reload_refused")), "the refusal of the bad file")
    assert ("warn", "Not reloaded") in stage.alerts()
    assert not stage.journal("reloaded")
    assert [one["scheduled"][11:16] for one in stage.status()["square_off"]] == ["15:20"]

    overrides.write_text(good.replace(NOTHING, SHORT), encoding="utf-8")
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: bool(stage.journal("reloaded")), "the good file taken up")
    told = stage.call("reload")
    assert (told.code, told.out) == (0, "the files are as they were read last; nothing changed\n")

    stage.go_on()
    assert daemon.wait() == 0, daemon.said
    [entry] = stage.journal("reloaded")
    assert list(entry["files"]) == ["market/overrides.yaml"]
    report = stage.report()
    assert report["square_off"]["scheduled"][11:16] == "14:59"
    assert report["square_off"]["flat"] is not None
    assert closed(stage) == [], daemon.said
    [ended] = stage.journal("day_closed")
    assert ended["at"][11:16] == "15:07"
    assert stage.replayed()["decisions"] > 10, "the hours were changed within the record"
