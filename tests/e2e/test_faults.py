"""Days with faults on the wire: whatever goes wrong, one broker order at most for each intent, equal books, flat at the end or paged."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.types import OrderState
from data_ingestion.prepare import prepare
from tests.e2e.stage import BUSY, DAY, HELD, Daemon, Stage, closed, compare
from utils.config_loader import load_calendar

Script = Sequence[Mapping[str, Any]]
PLACE = {"route": "POST /orders/*"}
UNKNOWN, NEVER, REJECTED = "Order of unknown fate", "Order never reached the broker", "Rejected"
LOOK = "Look for an order"


def fault(kind: str, match: Mapping[str, Any] = {}, **values: Any) -> dict[str, Any]:
    return {"fault": kind, "match": dict(match), **values}


ANSWERS_LOST = [
    fault("drop_reply", PLACE, skip=1, count=2),
    fault("server_error", PLACE, skip=3, count=2, booked=True),
    fault("empty_body", PLACE, skip=5, count=2),
    fault("broken_json", PLACE, skip=7, count=2),
    fault("timed_out", PLACE, skip=9, count=2),
]
NO_UPDATES = fault("drop_update", count=0)

SURVIVED: Mapping[str, tuple[Script, set[str]]] = {
    # what happens, and the alerts that must tell of it
    "orders taken, answers and updates lost": ([*ANSWERS_LOST, NO_UPDATES], {UNKNOWN}),
    "late answers, updates twice and late": (
        [
            fault("delay", PLACE, skip=1, count=4, seconds=8),
            fault("delay", {**PLACE, "after": "15:19:58"}),
            fault("duplicate_update", count=0),
            fault("late_update", skip=3, count=9, seconds=5),
        ],
        set(),
    ),
    "429 and refusals": (
        [
            fault("rate_limit", PLACE, skip=1, count=3),
            fault("rate_limit", {"route": "GET *", "after": "14:45"}, count=9),
            fault("error", PLACE, skip=4, message="Markets are closed right now."),
            fault("ip_not_allowed", PLACE, skip=5),
            fault("reject", skip=2, count=2),
        ],
        {REJECTED},
    ),
    "no updates and books that lag": (
        [
            NO_UPDATES,
            fault("lagging_book", {"route": "GET /orders"}, count=0, seconds=20),
            fault("lagging_book", {"route": "GET /trades"}, count=0, seconds=20),
        ],
        {"Entries are off"},
    ),
    "sockets dropped and mute": (
        [
            fault("drop_socket", {"after": "14:50"}),
            fault("mute_socket", {"after": "14:54"}, seconds=60),
            fault("drop_socket", {"after": "14:59"}, reset=True),
        ],
        {"Feed lost"},
    ),
    "reads that fail for minutes": (
        [
            fault("empty_body", {"route": "GET /portfolio/positions"}, skip=5, count=9),
            fault("broken_json", {"route": "GET /orders"}, skip=20, count=9),
            fault("server_error", {"route": "GET /trades"}, skip=40, count=9),
        ],
        {"Entries are off"},
    ),
    "a halt in the middle, and one over the square-off": (
        [fault("halt", {"after": "14:44"}, seconds=900), fault("halt", {"after": "15:19"}, seconds=120)],
        {REJECTED, "Exit does not get through"},
    ),
    "locked at a circuit": ([fault("circuit", {"after": "15:18"}, symbol="NFO:NIFTY26NOVFUT", seconds=180)], set()),
}


def played(stage: Stage, script: Script) -> Daemon:
    """A day with these faults, each of which struck as often as it was told to."""
    stage.simulate(faults=script)
    daemon = stage.play("--speed", "max")
    for told in stage.faults():
        assert len(told["struck"]) >= max(1, told["count"]), told
    return daemon


@pytest.mark.parametrize("name", SURVIVED)
def test_a_day_survives(stage: Stage, name: str) -> None:
    script, told = SURVIVED[name]
    daemon = played(stage, script)
    assert closed(stage) == [], daemon.said
    report = stage.report()
    assert report["trades"] >= 4, "a day without trades shows nothing"
    assert report["square_off"]["flat"] is not None
    assert told <= {title for _, title in stage.alerts()}, daemon.said


LOST: Mapping[str, Script] = {
    "orders": [fault("drop_request", PLACE, skip=1), fault("server_error", PLACE, skip=2)],
    "exits": [fault("drop_request", PLACE, skip=2, count=2)],
    "the square-off's orders": [fault("drop_request", {**PLACE, "after": "15:19:58"}, count=2)],
}


@pytest.mark.parametrize("name", LOST)
def test_what_is_lost_on_the_way_goes_again_once_a_person_has_looked(stage: Stage, name: str) -> None:
    stage.simulate(faults=LOST[name], speed=HELD)
    daemon = stage.run()
    stage.go_to("14:41:30")
    stage.go_on_until(lambda status: bool(status["market"]["now"][11:16] >= "15:26"), "the end of the square-off", attended=True)
    stage.go_on()
    assert daemon.wait() == 0, daemon.said
    assert closed(stage) == [], daemon.said
    assert stage.report()["square_off"]["flat"] is not None
    assert {UNKNOWN, LOOK, NEVER} <= {title for _, title in stage.alerts()}, daemon.said
    assert ("page", "Closed from outside") not in stage.alerts()


def test_a_square_off_that_is_lost_while_nobody_looks_is_paged_and_left_to_the_broker(stage: Stage) -> None:
    daemon = played(stage, LOST["the square-off's orders"])
    assert compare(stage).problems == (), daemon.said
    assert {("page", LOOK), ("page", "Not flat"), ("page", "Closed from outside")} <= set(stage.alerts()), daemon.said
    assert not any(position.quantity for position in stage.ledger.positions())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the same day without a fault."""
    with Stage(tmp_path_factory.mktemp("undisturbed")) as stage:
        played(stage, [])
        assert closed(stage) == []
        return str(stage.report()["digest"])


@pytest.mark.xdist_group("undisturbed")
@pytest.mark.parametrize(
    "script",
    [
        pytest.param(ANSWERS_LOST, id="answers lost while updates come"),
        pytest.param(
            [
                fault("garbage_frame", {"after": "14:42"}, count=20),
                fault("truncated_frame", {"after": "14:43"}, count=3),
                fault("unknown_token", {"after": "14:44"}, count=20),
                fault("bad_price", {"after": "14:45"}, count=20, symbol="NFO:NIFTY26NOVFUT"),
                *(fault("bad_price", {"after": f"14:4{n}"}, symbol="NFO:BANKNIFTY26NOVFUT", price=9_999_999.0) for n in range(6, 10)),
            ],
            id="frames that cannot be",
        ),
        pytest.param(
            [
                fault("empty_body", {"route": "GET /portfolio/positions"}, skip=5, count=2),
                fault("broken_json", {"route": "GET /orders"}, skip=20, count=2),
                fault("server_error", {"route": "GET /trades"}, skip=40, count=2),
                fault("drop_reply", {"route": "GET /orders"}, skip=60, count=2),
            ],
            id="reads that fail",
        ),
    ],
)
def test_what_is_no_evidence_changes_nothing(stage: Stage, undisturbed: str, script: Script) -> None:
    daemon = played(stage, script)
    assert closed(stage) == [], daemon.said
    assert stage.report()["digest"] == undisturbed
    assert not [title for level, title in stage.alerts() if level == "page"]


@pytest.mark.xdist_group("undisturbed")
def test_recording_every_tick_changes_nothing_and_can_be_played_again(stage: Stage, undisturbed: str) -> None:
    stage.configure("settings.yaml", "  first_tick_minutes: 3.0", "  record: ticks\n  first_tick_minutes: 3.0")
    daemon = played(stage, [])
    assert stage.report()["digest"] == undisturbed, daemon.said
    [folder] = stage.state.glob("runs/*/recordings/ticks/*")
    assert sorted(file.name for file in folder.iterdir()) == ["14.parquet", "15.parquet"]
    made = prepare(folder, stage.folder / "played", load_calendar(assumed_cut_offs=True))
    assert {"NFO:NIFTY26NOVFUT", "NFO:BANKNIFTY26NOVFUT"} <= set(made.symbols)


def test_minutes_missed_in_an_outage_are_filled_from_history_and_nothing_late_is_entered(stage: Stage) -> None:
    outage = [fault("drop_socket", {"after": "14:50:20", "before": "14:54:00"}, count=0)]
    daemon = played(stage, outage)
    assert closed(stage) == [], daemon.said
    filled = [entry for entry in stage.journal("gap_filled") if entry["instrument"] == "NFO:NIFTY26NOVFUT" and entry["at"] > f"{DAY}T14:50"]
    bars = sum(entry["bars"] for entry in filled)
    assert bars >= 4
    assert (filled[0]["from"][11:16], filled[-1]["to"][11:16]) == ("14:50", f"14:{50 + bars}")  # without a hole, nothing twice
    down = [(entry["at"], entry["connected"]) for entry in stage.journal("feed")]
    assert any(not connected for _, connected in down)
    late = [entry["at"][11:16] for entry in stage.journal("intent") if "14:51" <= entry["at"][11:16] < "14:54"]
    assert late == [], "an entry was decided by a bar of the outage"
    (stage.folder / "again").mkdir()
    with Stage(stage.folder / "again") as again:
        played(again, outage)
        assert again.report()["digest"] == stage.report()["digest"]  # the answers are events: the day repeats


def test_partial_fills_are_booked_as_they_come_and_completed_or_latched(stage: Stage) -> None:
    stage.strategy.write_text(BUSY.replace("lots: 1", "lots: 2"), encoding="utf-8")
    stage.configure("risk.yaml", "max_order_value: 3000000", "max_order_value: 9000000")
    daemon = played(stage, [fault("partial", skip=0, count=3), fault("partial", {"after": "15:19:58"})])
    assert closed(stage) == [], daemon.said
    partly = [order for order in stage.ledger.orders() if 0 < order.filled < order.quantity]
    assert len(partly) >= 3
    assert {order.state for order in partly} == {OrderState.CANCELLED}


def test_what_cannot_be_closed_is_paged_before_the_deadline(stage: Stage) -> None:
    """The market stands still until after its close: nobody can be flat, and somebody must be told."""
    daemon = played(stage, [fault("halt", {"after": "15:19"}, seconds=3600)])
    assert compare(stage).doubled == ()
    assert stage.alerts().count(("page", "Not flat")) == 1, daemon.said
    report = stage.report()
    assert (report["flat_at"], report["square_off"]["flat"]) == (None, None)


# --- a token that dies in the middle of the day -----------------------------------------------------------------------------------------

DEAD_TOKEN = [fault("kill_token", {"after": "15:00"})]


def test_without_a_login_exits_wait_and_a_person_is_told_where_to_log_in(stage: Stage) -> None:
    daemon = played(stage, DEAD_TOKEN)
    alerts = Counter(stage.alerts())
    assert alerts["page", "Login required"] == 1
    assert alerts["page", "Not flat"] == 1
    assert sum(count for (level, _), count in alerts.items() if level != "info") <= 6, "told, not flooded: " + daemon.said
    [page] = [entry for entry in stage.journal("alert") if entry["title"] == "Login required"]
    assert "/connect/login?" in page["text"]
    died = next(entry["at"] for entry in stage.journal("session") if entry["state"] == "LOGIN_REQUIRED")
    assert [entry["at"] for entry in stage.journal("intent") if entry["at"] > died] == [], "nothing is sent with a dead token"
    assert compare(stage).doubled == ()


def test_after_a_new_login_the_books_are_read_and_the_square_off_is_done(stage: Stage) -> None:
    stage.simulate(faults=DEAD_TOKEN, speed=HELD)
    daemon = stage.run()
    stage.go_to("15:05:30")
    stage.until(lambda status: status["session"] == "LOGIN_REQUIRED", "the token to die")
    done = stage.call("login", "zerodha")
    assert (done.code, done.err) == (0, ""), done
    assert "practice-live" in done.out
    stage.until(lambda status: status["session"] == "VALID" and status["feed"]["connected"], "the feed with the new token")
    stage.go_on()
    assert daemon.wait() == 0
    assert closed(stage) == [], daemon.said
    assert stage.report()["square_off"]["flat"] is not None
    assert ("page", "Not flat") not in stage.alerts()


# --- the instrument dump ----------------------------------------------------------------------------------------------------------------

DUMP = {"route": "GET /instruments"}


def test_a_truncated_dump_on_the_first_day_stops_the_start(stage: Stage) -> None:
    stage.simulate(faults=[fault("truncated_dump", DUMP)])
    daemon = stage.run()
    assert daemon.wait() in (1, 2)
    assert "instrument" in daemon.said.lower()
    assert stage.account()["orders"] == []


def test_a_truncated_dump_leaves_yesterdays_snapshot_in_use(stage: Stage) -> None:
    """Its tokens may be out of date (the simulator draws new ones daily): then no prices come, which is told, and nothing trades."""
    stage.simulate(start="15:28", faults=[fault("truncated_dump", DUMP, skip=1)], speed=HELD)
    stage.run("--days", "2")
    stage.go_to("09:20:30", day="2026-11-23")
    seen = stage.until(lambda status: status["as_of"][11:16] >= "09:20" and status["as_of"][:10] > DAY, "the second morning")
    told = {alert["title"]: alert for alert in seen["alerts"]}
    assert (told["Instrument dump refused"]["level"], DAY in told["Instrument dump refused"]["text"]) == ("page", True)
    assert "No prices" in told
    assert stage.account()["orders"] == []


def test_a_script_with_an_unknown_fault_stops_the_start(stage: Stage, tmp_path: Path) -> None:
    script = tmp_path / "faults.yaml"
    script.write_text("- {fault: drop_replay}\n", encoding="utf-8")
    daemon = stage.run("--faults", str(script))
    assert daemon.wait() == 2
    assert "drop_replay" in daemon.said
    assert "drop_reply" in daemon.said, "it says which faults there are"
