"""What a person gets wrong, and what the machine runs out of: a clear word with the next step, nothing lost, nothing traded."""

import re
import resource
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.stage import HELD, Done, Stage, closed, compare, until
from tests.e2e.test_practice_day import bars, share


def refused(stage: Stage, *flags: str, code: int = 2) -> str:
    """A `run` that must refuse to start, in words and not in a traceback; returns them."""
    daemon = stage.run("--speed", "max", *flags, account="practice")
    assert daemon.wait(60) == code, daemon.said
    assert "Traceback" not in daemon.said
    assert "Filled" not in daemon.said
    assert not list(stage.state.glob("runs/*/simulator.json")), "no simulator is left behind"
    return daemon.said


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        pytest.param("settings.yaml", "\nfeed:", "\nfede:", ["did you mean feed"], id="a key misspelt"),
        pytest.param("settings.yaml", "    capital: 1000000\n\n", "    capital: a lot\n\n", ["capital", "a lot"], id="a wrong type"),
        pytest.param("settings.yaml", "lead_minutes: 6", "lead_minutes: -6", ["lead_minutes", "-6"], id="out of range"),
        pytest.param("settings.yaml", 'time: "15:20"', "time: 15.20", ["square_off", "15.2"], id="a time that is a number"),
        pytest.param("risk.yaml", "orders_per_second: 8 ", "orders_per_secnd: 8 ", ["orders_per_second"], id="a cap misspelt"),
        pytest.param("risk.yaml", "max_daily_loss: 25000", "max_daily_loss: -1", ["max_daily_loss", "-1"], id="a negative cap"),
        pytest.param("strategies/nifty_trend.yaml", "class: sma_cross", "class: sma_crossing", ["sma_cross"], id="a class misspelt"),
        pytest.param("strategies/nifty_trend.yaml", "fast: 9", "fast: 90", ["fast", "90"], id="parameters that contradict"),
        pytest.param("strategies/nifty_trend.yaml", "interval: 5m", "interval: 7m", ["interval", "7m"], id="an interval there is not"),
        pytest.param("strategies/nifty_trend.yaml", "size: {lots: 1}", "size: {lots: 1", ["nifty_trend.yaml"], id="not YAML"),
    ],
)
def test_a_wrong_configuration_stops_run_and_check_alike(stage: Stage, file: str, old: str, new: str, told: list[str]) -> None:
    stage.configure(file, old, new)
    assert stage.config is not None
    run = stage.call("run", "--no-api", "--days", "1", "--speed", "max")
    check = stage.call("check", "--json")
    assert (run.code, check.code) == (2, 1), (run, check)
    wrong = " ".join(one["text"] for one in check.json["checks"] if one["status"] == "wrong")
    for words in (run.err, wrong):
        assert re.search(rf"{re.escape(file)}:\d+", words), f"no file and line in {words!r}"
        assert all(word in words for word in told), words
    assert not stage.state.exists() or not list(stage.state.glob("runs/*")), "nothing was begun"


GOOD = "2026-11-20T11:00:00+05:30,NSE:RELIANCE,1400,1401,1399,1400,900"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        pytest.param(GOOD.replace("+05:30", ""), ["naive", "time"], id="naive"),
        pytest.param(GOOD.replace("T11", "T10"), ["row"], id="unsorted"),
        pytest.param(GOOD.replace("1401,1399", "1399,1401"), ["high", "low"], id="high below low"),
        pytest.param(GOOD.replace("1400,1401,1399,1400", "0,0,0,0"), ["price"], id="a price of zero"),
    ],
)
def test_a_data_file_with_a_bad_row_is_refused_and_repaired_only_on_request(
    stage: Stage, tmp_path: Path, row: str, told: list[str]
) -> None:
    path = bars(tmp_path, m1100=row)
    words = refused(share(stage), "--data", str(path))
    assert "bars.csv" in words
    assert re.search(r"row \d+", words), words
    assert any(word in words.lower() for word in told), words
    if "+05:30" in row:
        repaired = stage.play("--data", str(path), "--repair", "--start", "15:10", "--speed", "max", account="practice")
        assert "dropped" in repaired.said, repaired.said


def test_a_data_file_that_is_not_there_or_not_data(stage: Stage, tmp_path: Path) -> None:
    assert "nowhere.parquet" in refused(stage, "--data", str(tmp_path / "nowhere.parquet"))
    rubbish = tmp_path / "rubbish.parquet"
    rubbish.write_bytes(b"PAR1 this is no parquet file")
    assert "rubbish.parquet" in refused(stage, "--data", str(rubbish))


def test_a_symbol_that_is_not_in_the_data_names_those_that_are(stage: Stage, tmp_path: Path) -> None:
    words = refused(stage, "--data", str(bars(tmp_path)), "--instrument", "NIFTY_FUT")
    assert "NSE:RELIANCE" in words, "it says which symbols there are"


@pytest.mark.parametrize(
    ("flags", "code", "told"),
    [
        pytest.param(["--instrument", "RELIANC"], 2, "RELIANCE", id="a symbol misspelt"),
        pytest.param(["--instrument", "NFO:NIFTY26OCTFUT"], 2, "expired on 2026-10-27", id="an expired contract"),
        pytest.param(["--date", "2026-11-21"], 2, "the next one is 2026-11-23", id="a holiday"),
        pytest.param(["--simulator", "http://127.0.0.1:9"], 1, "no simulator answers at http://127.0.0.1:9", id="no such simulator"),
        pytest.param(["--broker", "zerodah"], 2, "zerodha", id="no such broker"),
        pytest.param(["--strategy", "nowhere.yaml"], 2, "nowhere.yaml", id="no such strategy"),
        pytest.param(["--resume"], 2, "no earlier run", id="nothing to resume"),
        pytest.param(["--speed", "fast"], 2, "max", id="no speed"),
    ],
)
def test_a_run_that_cannot_be_says_so_and_leaves_nothing_behind(stage: Stage, flags: list[str], code: int, told: str) -> None:
    assert told in refused(stage, *flags, code=code)


def test_after_a_run_that_was_refused_the_last_one_is_still_read_out_and_resumed(stage: Stage, tmp_path: Path) -> None:
    traded = stage.play("--start", "15:25", "--speed", "max", account="practice")
    assert traded.alive is False
    before = stage.call("report", "--json").json
    refused(stage, "--instrument", "RELIANC")  # found when the day is to open
    refused(stage, "--data", str(tmp_path / "nowhere.parquet"))  # found before there is a ledger
    assert stage.call("report", "--json").json == before
    resumed = stage.run("--resume", "--date", "2026-11-23", "--start", "15:29", "--speed", "max", account="practice")
    assert resumed.wait() == 0, resumed.said
    first = stage.call("journal", "--json").json[0]
    assert (first["at"][:10], first["continues"]) == ("2026-11-20", False), "the traded run's journal goes on"


def test_an_account_that_is_not_there_and_a_paper_account_with_data(stage: Stage) -> None:
    done = stage.call("run", "--account", "nobody")
    assert (done.code, "practice-live" in done.err) == (2, True)


def test_a_missing_secret_is_told_at_the_start_and_not_on_the_morning_it_is_missed(stage: Stage) -> None:
    stage.configure("settings.yaml", "accounts:\n", "accounts:\n  mine: {kind: paper, broker: zerodha, capital: 500000}\n")
    for name in ("ZERODHA_API_KEY", "ZERODHA_API_SECRET", "ZERODHA_ACCESS_TOKEN"):
        stage.environment.pop(name, None)
    daemon = stage.run(account="mine")
    assert daemon.wait(30) == 2, daemon.said
    assert "the secret ZERODHA_API_KEY is not set" in daemon.said
    assert "Traceback" not in daemon.said
    stage.environment |= {"ZERODHA_API_KEY": "key", "ZERODHA_API_SECRET": "secret"}
    daemon = stage.run(account="mine")
    until(lambda: "the next trading day is " in daemon.said or "Login required" in daemon.said, "what it waits for")  # by the wall's time
    daemon.process.terminate()
    assert daemon.wait(30) == 0, daemon.said


# --- what the machine runs out of -------------------------------------------------------------------------------------------------------


def test_a_full_disk_stops_entries_is_told_and_loses_nothing(stage: Stage) -> None:
    stage.simulate(speed=HELD)
    daemon = stage.run()
    stage.go_on_until(lambda status: status["orders"].get("FILLED", 0) >= 2, "two fills")
    soft, hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (4096, hard))  # no file may grow
    seen = stage.go_on_until(lambda status: bool(status["blind"]), "the ledger to fail")
    assert seen["blind"].startswith("ledger"), seen["blind"]
    assert [alert["level"] for alert in seen["alerts"] if alert["title"] == "Entries are off"] == ["page"]
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (soft, hard))
    stage.until(lambda status: not status["blind"], "the ledger to be written again")
    stage.go_on()
    assert daemon.wait() == 0, daemon.said
    assert closed(stage) == [], daemon.said


def test_an_exit_sent_while_the_ledger_could_not_be_written_is_known_after_kill_9(stage: Stage) -> None:
    stage.simulate(speed=HELD)
    daemon = stage.run()
    stage.go_on_until(lambda status: bool(status["orders"].get("FILLED")) and not status["flat"], "a position")
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))  # no file may grow
    stage.go_on_until(lambda status: bool(status["blind"]), "the ledger to fail")
    assert stage.ask("square-off").ok
    daemon.kill()
    with closing(stage.ledger) as ledger:
        written = {order.tag for order in ledger.orders()}
    unwritten = {row["tag"] for row in stage.account()["orders"]} - written
    assert unwritten, "every exit was in the ledger: the disk was not full"

    daemon = stage.run()
    stage.until(lambda status: status["blind"] is None and status["feed"]["connected"] and status["session"] == "VALID", "the next daemon")
    until(lambda: not compare(stage).problems, "both books to agree")
    daemon.kill()
    assert {entry["order"] for entry in stage.journal("emergency_intent")} == unwritten
    assert not [entry for entry in stage.journal("foreign_order") if entry["broker_order_id"]], "its own exits are no stranger's"


def test_a_ledger_that_is_not_one_stops_the_start_and_is_left_as_it_is(stage: Stage) -> None:
    daemon = stage.run("--start", "14:40", "--seed", "2", "--speed", HELD)
    stage.go_on_until(lambda status: status["orders"].get("FILLED", 0) >= 2, "two fills")
    daemon.kill()
    path = stage.run_folder.ledger
    for log in path.parent.glob("ledger.sqlite-*"):
        log.unlink()  # SQLite would heal the file from them
    spoilt = b"this was a ledger once" + path.read_bytes()[22:]
    path.write_bytes(spoilt)
    for again in (stage.run(), stage.run("--resume")):
        assert again.wait(60) == 1, again.said
        assert "ledger" in again.said
        assert "Traceback" not in again.said
    readout: Done = stage.call("orders")
    assert (readout.code, "Traceback" in readout.err, "ledger" in readout.err) == (1, False, True)
    assert path.read_bytes() == spoilt, "nothing is overwritten: a person decides"
