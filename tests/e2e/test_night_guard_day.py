"""A stop stands at the broker over the night, whatever becomes of the daemon, and gives way to the day's stop in the morning."""

from typing import Any

from tests.e2e.stage import BUSY, HELD, Stage, admin

CARRYING = (
    BUSY.replace("[NIFTY_FUT, BANKNIFTY_FUT]", "[NIFTY_FUT]")
    .replace("horizon: intraday", "horizon: carry")
    .replace("max_loss: 1000000", "max_loss: 1000000, stop_pct: 2.0")
)


def calls(stage: Stage, method: str) -> list[dict[str, Any]]:
    """What was asked of the broker's triggers, by method."""
    return [one for one in admin(stage.simulator, "GET", "/requests") if one["path"].startswith("/gtt") and one["method"] == method]


def test_it_is_set_in_the_evening_found_after_a_kill_and_taken_back_in_the_morning(stage: Stage) -> None:
    stage.configure("settings.yaml", "  by: auto", "  by: broker")
    stage.strategy.write_text(CARRYING, encoding="utf-8")
    stage.simulate(date="2026-11-17", start="15:00", seed=2, speed=HELD)
    daemon = stage.run("--days", "2")
    stage.allow("15:59:30", day="2026-11-17")
    stage.until(lambda _: bool(calls(stage, "POST")), "a trigger at the broker")
    daemon.kill()  # wherever it stands between the call and the list

    daemon = stage.run("--days", "2", "--resume")
    stage.allow("09:17:30", day="2026-11-18")
    stage.until(lambda _: bool(stage.journal("guard_removed")), "the morning")
    protected = lambda _: any(entry["at"] > "2026-11-18" for entry in stage.journal("intent") if entry["purpose"] == "protect")  # noqa: E731
    stage.go_on_until(protected, "the day's stop")
    daemon.kill()

    assert len(calls(stage, "POST")) == 1, "one trigger, also over the kill"
    [placed] = stage.journal("guard_placed")
    [removed] = stage.journal("guard_removed")
    stop = next(entry for entry in stage.journal("intent") if entry["purpose"] == "protect" and entry["at"] > "2026-11-18")
    assert "2026-11-17T15:3" <= placed["at"] < "2026-11-17T16"
    assert "2026-11-18T09:15" <= removed["at"] <= stop["at"], "never two stops"
