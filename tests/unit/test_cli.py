"""The command line: what each command asks for, its exit code, and that a user's mistake is one clear line."""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

import main as cli
from brokers import registry as brokers
from core.types import AccountKind, Position, Snapshot
from runtime.control_socket import ControlSocket
from runtime.state_folder import RunFolder, enter
from storage.store import open_store
from tests.builders import NIFTY, T0, at, make_fill, make_order
from utils.config_schema import BrokerName
from utils.control import Answer

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    "run", "check", "status", "strategies", "orders", "fills", "positions", "signals", "journal", "report", "usage", "pause", "resume",
    "reduce-only", "acknowledge", "absent", "square-off", "watch", "reload", "retune", "enable", "disable", "kill", "login",
    "instruments", "fetch", "charges", "backtest", "serve", "vault", "sweep", "replay", "simulate",
)  # fmt: skip
STATUS = {"account": "practice", "kind": "practice", "running": True, "as_of": T0.isoformat(), "market": {"now": T0.isoformat()}}


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of one command in this process."""
    try:
        code = cli.main(arguments)
    except SystemExit as ended:
        code = int(str(ended.code))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def run_folder(tmp_path: Path) -> RunFolder:
    return enter(tmp_path, "practice", AccountKind.PRACTICE, T0)[0]


class Engine:
    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def submit(self, name: str, arguments: Mapping[str, Any]) -> Answer:
        self.asked.append((name, dict(arguments)))
        refused = name == "resume" and not arguments.get("confirm")
        return Answer(ok=not refused, text="trading is HALTED: `resume --confirm`" if refused else f"{name}: flat", data={"flat": True})


@pytest.fixture
def daemon(run_folder: RunFolder) -> Iterator[Engine]:
    engine = Engine()
    order = {"id": "1", "instrument": NIFTY.key, "state": "WORKING", "quantity": 65, "filled": 0}
    snapshot = Snapshot(status=STATUS, orders=(order,))
    socket = ControlSocket(run_folder.control_socket, lambda: snapshot, engine.submit, lambda name, asked: [{"asked": name, **asked}])
    socket.start()
    yield engine
    socket.stop()


# --- help and misuse -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_of_its_own(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, err = call(capsys, command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: main.py {command}")
    assert "--state" in out
    assert [line for line in out.splitlines() if len(line) > 100] == []


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "--help")
    assert code == 0
    assert tuple(sorted(re.findall(r"(?m)^    ([a-z][a-z-]*)(?:  |$)", out))) == tuple(sorted(COMMANDS))
    assert [line for line in out.splitlines() if len(line) > 100] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["foo"], "there is no command 'foo'"),
        (["staus", "--json"], "did you mean status? see"),
        (["--json", "status"], "--json stands before the command"),
        (["--state", "/x", "status"], "--state stands before the command"),
        (["run", "--days", "0"], "'0' is no count"),
        (["run", "--date", "20-11-2026"], "write it as YYYY-MM-DD"),
        (["run", "--start", "9 am"], "write it as HH:MM"),
        (["run", "--speed", "0"], "'0' is no speed"),
        (["run", "--speed", "nan"], "'nan' is no speed"),
        (["run", "--speed", "-1"], "'-1' is no speed"),
        (["run", "--sped", "10"], "main.py run: there is no flag --sped; did you mean --speed?"),
        (["run", "--dayz=1"], "did you mean --days? see `main.py run --help`"),
        (["run", "--start", "09:15+01:00"], "write it as HH:MM"),
        (["run", "--seed", "x"], "'x' is no whole number"),
        (["serve", "--port", "99999"], "'99999' is no port"),
        (["simulate", "zerodha", "--port", "-1"], "'-1' is no port"),
        (["backtest", "x.yaml", "--data", "y", "--latency", "-1"], "'-1' is no cost"),
        (["backtest", "x.yaml", "--data", "y", "--slippage-bps", "nan"], "'nan' is no cost"),
        (["backtest", "x.yaml", "--data", "y", "--volume-share", "5"], "'5' is no share"),
        (["backtest", "x.yaml", "--data", "y", "--spread-ticks", "-3"], "'-3' is no number of ticks"),
        (["backtest", "x.yaml", "--data", "y", "--html", "/nowhere/x.html"], "there is no folder /nowhere"),
        (["fetch", "--out", "/"], "it is a folder"),
        (["orders", "--day", "today"], "'today' is no date"),
        (["kill", "--confirm"], "there is no flag --confirm"),
        (["check", "practice"], "'practice' is one word too many"),
        (["fetch", "NIFTY_FUT", "--from", "2026-11-16", "RELIANCE"], "'RELIANCE' is one word too many"),
        (["backtest", "nowhere.yaml", "--data", "y", "there.yaml"], "no strategy file at nowhere.yaml"),
        (["serve", "--tls-cert", "/nowhere/c.pem", "--tls-key", "/nowhere/k.pem"], "there is no file /nowhere/c.pem"),
        (["instruments", "delete"], "invalid choice: 'delete'"),
    ],
)
def test_misuse_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    code, out, err = call(capsys, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_no_command_shows_the_help_and_counts_as_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys)
    assert code == 2
    assert "COMMAND" in out


def test_help_imports_nothing_of_ours() -> None:
    code = "import sys, main\ntry:\n    main.main(['--help'])\nexcept SystemExit:\n    pass\nprint(*sorted(sys.modules))"
    modules = (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()[-1].split()
    )
    assert {"runtime", "core", "utils", "simulators", "typing", "msgspec"}.isdisjoint(modules)


def test_the_simulator_runs_without_our_engine() -> None:
    code = (
        "import sys, main\nmain.main(['simulate', 'zerodha', '--json'])\nprint(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()  # it is up
        process.send_signal(signal.SIGTERM)
        last = process.stdout.read()
    assert {"rest", "stream", "login", "admin", "credentials"} <= json.loads(first).keys()
    assert {"runtime", "core", "utils", "brokers", "data_ingestion", "execution_engine", "storage"}.isdisjoint(last.split())


# --- the daemon is there ---------------------------------------------------------------------------------------------------------


def test_a_read_out_comes_from_the_running_daemon(capsys: pytest.CaptureFixture[str], tmp_path: Path, daemon: Engine) -> None:
    assert call(capsys, "status", "--state", str(tmp_path), "--json") == (0, json.dumps(STATUS, indent=1) + "\n", "")
    code, out, _ = call(capsys, "orders", "--state", str(tmp_path))
    assert code == 0
    assert "NIFTY26NOVFUT" in out
    assert "0/65" in out


def test_days_are_passed_on_as_they_were_asked(capsys: pytest.CaptureFixture[str], tmp_path: Path, daemon: Engine) -> None:
    _, out, _ = call(capsys, "fills", "--state", str(tmp_path), "--json", "--from", "2026-11-16", "--to", "2026-11-20")
    assert json.loads(out) == [{"asked": "fills", "from": "2026-11-16", "to": "2026-11-20"}]


def test_a_day_and_a_period_together_are_misuse(capsys: pytest.CaptureFixture[str], tmp_path: Path, daemon: Engine) -> None:
    code, _, err = call(capsys, "fills", "--state", str(tmp_path), "--day", "2026-11-20", "--to", "2026-11-20")
    assert code == 2
    assert "one or the other" in err


def test_commands_say_their_outcome(capsys: pytest.CaptureFixture[str], tmp_path: Path, daemon: Engine) -> None:
    assert call(capsys, "kill", "--state", str(tmp_path), "--whole-account", "practice") == (0, "kill: flat\n", "")
    assert call(capsys, "resume", "--state", str(tmp_path)) == (1, "", "trading is HALTED: `resume --confirm`\n")
    assert call(capsys, "resume", "--state", str(tmp_path), "--confirm")[0] == 0
    code, out, _ = call(capsys, "square-off", "--state", str(tmp_path), "--json")
    assert (code, json.loads(out)) == (0, {"ok": True, "text": "square-off: flat", "data": {"flat": True}})
    assert daemon.asked == [("kill", {"whole_account": "practice"}), ("resume", {}), ("resume", {"confirm": True}), ("square-off", {})]


def test_the_state_folder_may_come_from_the_environment(tmp_path: Path, daemon: Engine) -> None:
    environment = {**os.environ, "NIYAM_STATE": str(tmp_path)}
    command = [sys.executable, "main.py", "status", "--json"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, json.loads(done.stdout)) == (0, STATUS)


# --- the daemon is down ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(run_folder: RunFolder) -> RunFolder:
    """What a daemon that was killed in the middle of a day leaves behind."""
    store = open_store(run_folder.ledger_url)
    store.save_order(make_order(broker_order_id="261120000000001"))
    store.save_fill(make_fill())
    store.save_position(Position("practice", "trend", NIFTY, "MIS", 65, 25_000.0))
    store.journal(T0, "signal", {"strategy": "trend", "name": "NIFTY_FUT", "instrument": NIFTY.key, "target": 1.0, "why": "up"})
    store.journal(at(1), "order", {"order": "20261120-1"})
    store.save_snapshot(Snapshot(status=STATUS, positions=()))
    store.commit()
    store.close()
    return run_folder


def test_status_of_a_day_that_is_not_its_own_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, ledger: RunFolder) -> None:
    day, asked = T0.date().isoformat(), ["status", "--state", str(tmp_path), "--json"]
    for flags in (["--day", day], ["--from", day], ["--from", "2026-01-01", "--to", day]):
        assert call(capsys, *asked, *flags)[0] == 0, flags
    for flags in (["--day", "2026-01-01"], ["--to", "2026-01-01"], ["--from", "2030-01-01"]):
        code, out, err = call(capsys, *asked, *flags)
        assert (code, out) == (1, ""), flags
        assert f"status tells of the last moment, on {day}" in err


def test_status_tells_that_nothing_runs_and_as_of_when(capsys: pytest.CaptureFixture[str], tmp_path: Path, ledger: RunFolder) -> None:
    code, out, _ = call(capsys, "status", "--state", str(tmp_path), "--json")
    status = json.loads(out)
    assert (code, status["running"], status["as_of"]) == (0, False, T0.isoformat())


@pytest.mark.parametrize("command", ["status", "orders", "fills", "positions", "signals", "journal", "report"])
def test_each_read_out_works_from_the_ledger(capsys: pytest.CaptureFixture[str], tmp_path: Path, ledger: RunFolder, command: str) -> None:
    code, out, err = call(capsys, command, "--state", str(tmp_path), "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)
    code, out, err = call(capsys, command, "--state", str(tmp_path))
    assert (code, err) == (0, "")
    assert max(len(line) for line in out.splitlines()) <= 100


def test_the_journal_is_numbered_without_gaps(capsys: pytest.CaptureFixture[str], tmp_path: Path, ledger: RunFolder) -> None:
    _, out, _ = call(capsys, "journal", "--state", str(tmp_path), "--json")
    assert [entry["seq"] for entry in json.loads(out)] == [1, 2]


@pytest.mark.parametrize("command", ["pause", "resume", "reduce-only", "square-off", "kill"])
def test_a_command_without_a_daemon_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path, ledger: RunFolder, command: str) -> None:
    code, out, err = call(capsys, command, "--state", str(tmp_path))
    assert (code, out) == (1, "")
    assert "no daemon answers" in err
    assert "main.py run" in err


def test_a_state_folder_without_a_run_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = call(capsys, "status", "--state", str(tmp_path))
    assert (code, out) == (1, "")
    assert "nothing has run" in err
    assert len(err.splitlines()) == 1


def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path: Path, ledger: RunFolder) -> None:
    command = f"{sys.executable} main.py journal --json --state {tmp_path} | true"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr


# --- run, login, instruments -----------------------------------------------------------------------------------------------------


def test_a_config_typo_stops_the_start_with_file_and_line(tmp_path: Path) -> None:
    config = tmp_path / "config"
    shutil.copytree(ROOT / "config", config)
    settings = config / "settings.yaml"
    settings.write_text(settings.read_text().replace("lead_minutes:", "led_minutes:"))
    command = [sys.executable, "main.py", "run", "--config", str(config), "--state", str(tmp_path / "state")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "settings.yaml:" in done.stderr
    assert "lead_minutes" in done.stderr
    assert "Traceback" not in done.stderr


def test_near_month_names_resolve_by_date_without_a_snapshot(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def key(name: str, on: str) -> str:
        code, out, _ = call(capsys, "instruments", "resolve", name, "--on", on, "--state", str(tmp_path), "--json")
        assert code == 0
        return str(json.loads(out)["key"])

    flag_first = ["instruments", "resolve", "--on", "2025-03-26", "--json", "--state", str(tmp_path), "NIFTY_FUT"]
    assert json.loads(call(capsys, *flag_first)[1])["key"] == "NFO:NIFTY25MARFUT"
    assert key("NIFTY_FUT", "2025-03-26") == "NFO:NIFTY25MARFUT"
    assert key("NIFTY_FUT", "2025-03-27") == "NFO:NIFTY25APRFUT"  # expiry day: the near month is already the next
    assert key("NIFTY_FUT_NEXT", "2025-03-26") == "NFO:NIFTY25APRFUT"
    assert key("RELIANCE_FUT", "2025-03-26") == "NFO:RELIANCE25APRFUT"  # stocks two days before


def test_a_name_that_needs_a_snapshot_says_how_to_get_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = call(capsys, "instruments", "resolve", "RELIANCE", "--on", "2025-03-26", "--state", str(tmp_path))
    assert code == 2
    assert "instruments update" in err


def test_login_needs_an_account_that_can_log_in(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = call(capsys, "login", "zerodha", "--state", str(tmp_path))
    assert code == 2
    assert "settings.yaml: none" in err
    code, _, err = call(capsys, "login", "zerodah", "--state", str(tmp_path))
    assert code == 2
    assert "did you mean 'zerodha'?" in err


def test_login_without_a_terminal_says_where_to_log_in_and_hides_the_secret(tmp_path: Path) -> None:
    config = tmp_path / "config"
    shutil.copytree(ROOT / "config", config)
    settings = config / "settings.yaml"
    account = "accounts:\n  mine:\n    kind: paper\n    broker: zerodha\n    capital: 500000\n"
    settings.write_text(settings.read_text().replace("accounts:\n", account, 1))
    secrets = {"ZERODHA_API_KEY": "thekey", "ZERODHA_API_SECRET": "thesecret"}
    command = [sys.executable, "main.py", "login", "zerodha", "--config", str(config), "--state", str(tmp_path / "state")]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **secrets}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "https://kite.zerodha.com/connect/login?v=3&api_key=thekey" in done.stderr
    assert "--redirect-url" in done.stderr
    assert "thesecret" not in done.stderr
    done = subprocess.run([*command, "--totp"], cwd=ROOT, env={**os.environ, **secrets}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "no login without a person" in done.stderr) == (2, True)


def test_every_list_of_brokers_has_the_same_brokers() -> None:
    assert set(get_args(BrokerName)) == set(brokers.names())
    commands = next(action.choices for action in cli.build_parser("login")._actions if isinstance(action, argparse._SubParsersAction))
    told = next(action.help for action in commands["login"]._actions if action.dest == "broker")
    assert told == ", ".join(brokers.names())
