"""Ordinary days, shortened: their end, their digest, every read-out, every command, the lock, and the way back after a kill."""

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stage import HELD, MAIN, ROOT, Stage, until

# the fields that are promised; more may be there
STATUS = {
    "accounts", "account", "kind", "running", "as_of", "trading_state", "market", "feed", "session", "flat", "orders", "pnl", "alerts",
}  # fmt: skip
WITHIN = {
    "market": {"phase", "now", "square_off_at"},
    "feed": {"connected", "age_s", "stale"},
    "pnl": {"realised", "unrealised", "charges", "net"},
}
ACCOUNT = {"account", "kind", "broker", "session", "trading_state", "flat", "pnl"}
ROWS = {
    "orders": {
        "account", "id", "tag", "broker_order_id", "strategy", "instrument", "side", "order_type", "product", "quantity", "filled",
        "average_price", "limit_price", "trigger_price", "state", "reason", "created_at", "updated_at",
    },
    "fills": {"account", "id", "order_id", "instrument", "side", "quantity", "price", "charges", "at"},
    "positions": {
        "account", "instrument", "product", "strategy", "quantity", "average_price", "last_price", "realised", "unrealised",
    },
    "signals": {"account", "strategy", "instrument"},
    "journal": {"seq", "at", "kind"},
}  # fmt: skip
REPORT = {
    "account", "day", "trades", "gross", "charges", "net", "max_drawdown", "by_strategy", "flat_at", "square_off", "digest",
}  # fmt: skip


@pytest.mark.parametrize("account", ["practice", "practice-live"])
def test_the_same_seed_is_the_same_day_and_another_seed_another(tmp_path: Path, account: str) -> None:
    digests, reports = [], []
    for number, seed in enumerate((2, 2, 3)):
        folder = tmp_path / str(number)
        folder.mkdir()
        with Stage(folder) as stage:
            daemon = stage.play("--start", "14:50", "--speed", "max", "--seed", str(seed), account=account)
            assert "square-off" in daemon.said, "a run of --days prints the day's report"
            assert not list(stage.state.glob("runs/*/simulator.json")), "its own simulator is ended with it"
            report = stage.report()
            assert stage.call("status", "--json").json["flat"] is True
            assert [title for level, title in stage.alerts() if level == "page"] == [], "an ordinary day disturbs nobody"
            if number == 0:
                again = stage.replayed()
                assert again["digest"]["replay"] == report["digest"]
                assert (again["starts"], again["fills"]) == (1, len(stage.call("fills", "--json").json))
            digests.append(report["digest"])
            reports.append(report)
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]
    assert all(report["trades"] >= 3 for report in reports), reports
    assert all(report["net"] == pytest.approx(report["gross"] - report["charges"], abs=0.01) for report in reports)


def check_readouts(stage: Stage, *, running: bool) -> None:
    """Every read-out of the command line has its fields, whether the daemon is there or not."""
    status = stage.call("status", "--json").json
    assert status.keys() >= STATUS
    assert (status["running"], status["account"], status["kind"]) == (running, "practice-live", "practice-live")
    for name, fields in WITHIN.items():
        assert status[name].keys() >= fields, name
    assert all(row.keys() >= ACCOUNT for row in status["accounts"])
    assert status["as_of"].endswith("+05:30")
    for name, fields in ROWS.items():
        rows = stage.call(name, "--json").json
        assert rows, f"no {name} to look at"
        assert all(row.keys() >= fields for row in rows), (name, fields - rows[0].keys())
    report = stage.call("report", "--json").json
    assert report.keys() >= REPORT
    assert report["square_off"].keys() >= {"scheduled", "started", "flat"}
    for name in (*ROWS, "status", "report"):
        table = stage.call(name)
        assert (table.code, table.err) == (0, "")
        assert max(map(len, table.out.splitlines())) <= 100, f"{name} fits 100 columns"


def test_readouts_while_it_runs_and_when_it_is_down(stage: Stage) -> None:
    daemon = stage.run("--start", "14:40", "--seed", "2", "--speed", HELD)
    stage.go_on_until(lambda status: status["orders"].get("FILLED", 0) >= 2, "two fills")
    check_readouts(stage, running=True)
    daemon.kill()
    check_readouts(stage, running=False)
    assert [entry["seq"] for entry in stage.journal()] == list(range(1, len(stage.journal()) + 1))


def said(stage: Stage, *words: str, code: int = 0) -> str:
    done = stage.call(*words)
    assert done.code == code, done
    return done.out + done.err


def test_commands_change_a_running_day_and_a_halt_survives_a_restart(stage: Stage) -> None:
    daemon = stage.run("--start", "14:40", "--seed", "2", "--speed", HELD)
    stage.go_on_until(lambda status: not status["flat"], "a position")
    assert "entries are off" in said(stage, "pause")
    assert stage.status()["trading_state"] == "REDUCE_ONLY"
    assert "ACTIVE" in said(stage, "resume")
    assert "flat" in said(stage, "square-off")
    assert stage.status()["flat"] is True
    assert "HALTED" in said(stage, "kill")
    assert "not this daemon's account" in said(stage, "kill", "--whole-account", "somebody", code=1)
    orders = len(stage.ledger.orders())
    daemon.kill()

    daemon = stage.run()
    seen = stage.until(lambda status: bool(status["feed"]["connected"]), "the second process")
    assert seen["trading_state"] == "HALTED", "the halt survives"
    assert "resume --confirm" in said(stage, "resume", code=1)
    assert len(stage.ledger.orders()) == orders, "nothing trades while it is halted"
    assert "ACTIVE" in said(stage, "resume", "--confirm")
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.wait(30) == 0
    assert "no daemon answers" in said(stage, "pause", code=1)
    assert stage.replayed()["starts"] == 2, "commands are events of the day"
    assert not list(stage.state.glob("runs/*/simulator.json"))


def test_on_a_terminal_the_run_ends_with_a_word_below_its_screen(stage: Stage) -> None:
    ours, its = pty.openpty()
    command = [*MAIN, "run", "--no-api", "--speed", HELD, "--state", str(stage.state), "--strategy", str(stage.strategy)]
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, cwd=ROOT, env={**stage.environment, "TERM": "xterm"})
    os.close(its)
    shown = b""
    while b"pre_open" not in shown:
        shown += os.read(ours, 65536)
    process.send_signal(signal.SIGINT)
    with suppress(OSError):  # the terminal's other end is closed: it has ended
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert process.wait(30) == 0
    screen, _, last = shown.decode().rpartition("╯")
    assert "Niyam · practice" in screen
    assert "INFO" not in screen, "the log stays out of the screen"
    assert re.search(r"stopped by SIGINT at 2026-11-20 09:0\d:\d\d, flat", last), last


def test_a_second_instance_is_refused_and_the_first_goes_on(stage: Stage) -> None:
    first = stage.run("--start", "14:40", "--speed", HELD)
    stage.until(lambda status: bool(status["feed"]["connected"]), "the first daemon")
    second = stage.run("--start", "14:40", "--speed", HELD)
    assert second.wait(30) == 1
    assert f"another daemon (process {first.process.pid}) already runs" in second.said
    assert "Traceback" not in second.said
    assert first.alive


def test_after_a_kill_the_next_run_attaches_to_the_same_simulator_and_ends_the_day(stage: Stage) -> None:
    first = stage.run("--start", "14:40", "--seed", "2", "--speed", HELD)
    stage.go_on_until(lambda status: status["orders"].get("FILLED", 0) >= 2, "two fills")
    first.kill()
    facts = stage.run_folder.simulator()
    assert facts is not None
    os.kill(facts["pid"], 0)  # it outlives the daemon
    folder, fills = stage.run_folder, stage.call("fills", "--json").json
    second = stage.run()
    stage.go_on()
    assert second.wait() == 0, second.said
    assert stage.run_folder == folder, "the run goes on, no fresh one is started"
    assert stage.call("fills", "--json").json[: len(fills)] == fills
    assert stage.call("status", "--json").json["flat"] is True
    assert stage.replayed()["starts"] == 2


def test_a_run_whose_simulator_is_gone_is_not_gone_on_with(stage: Stage) -> None:
    first = stage.run("--start", "15:30", "--speed", HELD)
    stage.until(lambda status: bool(status["feed"]["connected"]), "the feed")
    first.kill()
    facts, folder = stage.run_folder.simulator(), stage.run_folder
    assert facts is not None
    os.kill(facts["pid"], signal.SIGKILL)  # a reboot
    refused = stage.run("--resume")
    assert refused.wait() == 1
    assert "cannot go on" in refused.said
    fresh = stage.run("--start", "15:35", "--speed", "max")
    assert fresh.wait() == 0, fresh.said
    assert stage.run_folder != folder, "without its simulator a practice run starts afresh"


def test_a_fresh_run_ends_the_simulator_that_a_killed_one_left(stage: Stage) -> None:
    first = stage.run("--start", "15:30", "--speed", HELD)
    stage.until(lambda status: bool(status["feed"]["connected"]), "the feed")
    first.kill()
    facts = stage.run_folder.simulator()
    assert facts is not None
    other = stage.run("--start", "15:35", "--speed", "max", account="practice")
    assert other.wait() == 0, other.said
    until(lambda: not Path(f"/proc/{facts['pid']}/stat").exists() or " Z " in Path(f"/proc/{facts['pid']}/stat").read_text(), "its end")


def bars(folder: Path, **changed: str) -> Path:
    """A day of one-minute bars of one share as a CSV; `changed` replaces the row of a minute (m1441="...", empty: drops it)."""
    rows, price = ["timestamp,symbol,open,high,low,close,volume"], 1400
    for minute in range(9 * 60 + 15, 15 * 60 + 30):
        clock = f"{minute // 60:02d}{minute % 60:02d}"
        close = price + (3 if (minute // 7) % 2 else -3)
        row = (
            f"2026-11-20T{clock[:2]}:{clock[2:]}:00+05:30,NSE:RELIANCE,{price},{max(price, close) + 1},{min(price, close) - 1},{close},900"
        )
        row = changed.get(f"m{clock}", row)
        rows += [row] if row else []
        price = close
    path = folder / "bars.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def share(stage: Stage) -> Stage:
    """The stage's strategy on a share."""
    text = stage.strategy.read_text(encoding="utf-8")
    stage.strategy.write_text(text.replace("[NIFTY_FUT, BANKNIFTY_FUT]", "[RELIANCE]").replace("slow: 12", "slow: 8"), encoding="utf-8")
    return stage


def test_a_day_of_the_users_own_bars_is_played_over_the_same_wire(stage: Stage, tmp_path: Path) -> None:
    """With every path relative, as people give them; the state folder is relative unless one is named."""
    bars(tmp_path)
    stage.strategy, stage.state = (Path(os.path.relpath(path, ROOT)) for path in (share(stage).strategy, stage.state))
    data = os.path.relpath(tmp_path / "bars.csv", ROOT)
    daemon = stage.play("--data", data, "--start", "14:40", "--speed", "max", account="practice")
    report = stage.report()
    assert report["trades"] >= 3, daemon.said
    assert report["square_off"]["flat"] is not None
    assert {fill["instrument"] for fill in stage.call("fills", "--json").json} == {"NSE:RELIANCE"}
    prices: list[Mapping[str, Any]] = json.loads(stage.call("fills", "--json").out)
    assert all(1300 < fill["price"] < 1500 for fill in prices)
