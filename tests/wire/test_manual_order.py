"""OrderManager of a bare script over real sockets: alone at a simulator on paper and live, and through a daemon that runs."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from core.errors import NiyamError
from execution_engine.order_manager import OrderManager
from runtime import state_folder
from runtime.state_folder import Lock
from storage.store import open_reader
from tests.wire.granted_client import ROOT, admin, simulator
from utils import control


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NIYAM_STATE", str(tmp_path))
    monkeypatch.delenv("NIYAM_SIMULATOR", raising=False)
    return tmp_path


def test_a_script_alone_trades_on_paper_and_with_live_at_the_simulator(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with simulator("--start", "10:00", "--speed", "1") as about:
        monkeypatch.setenv("NIYAM_SIMULATOR", about["admin"])
        manager = OrderManager(broker="zerodha")

        seeds = manager.place_order(symbol="NIFTY_FUT", direction="BUY", quantity=1, price=19500)
        assert (seeds["success"], seeds["status"]) == (False, "REJECTED")
        assert "lot 65" in seeds["error"]
        assert "lots=1" in seeds["error"]

        bought = manager.place_order("NIFTY_FUT", "BUY", lots=1, order_type="MARKET", product_type="MIS")
        assert (bought["success"], bought["status"], bought["filled"], bought["error"]) == (True, "EXECUTED", 65, "")
        assert bought["execution_price"] > 0
        assert all(not account["orders"] for account in admin(about, "GET", "/accounts").values())  # on paper: the broker saw nothing
        sold = manager.place_order("NIFTY_FUT", "SELL", 65)  # the next process knows what the first one bought
        assert sold["status"] == "EXECUTED"
        assert "SELL at most" not in sold["error"]

        live = manager.place_order("RELIANCE", "BUY", 10, product_type="CNC", live=True)
        assert (live["status"], live["filled"]) == ("EXECUTED", 10)
        (account,) = admin(about, "GET", "/accounts").values()
        (order,) = account["orders"]
        assert (order["order_id"], order["status"], order["product"]) == (live["order_id"], "COMPLETE", "CNC")

        price = round(live["execution_price"] * 0.98, 0)
        resting = manager.place_order("RELIANCE", "BUY", 10, price, product_type="CNC", live=True)
        assert (resting["success"], resting["status"], resting["execution_price"]) == (True, "PENDING", None), resting

    folder = state_folder.current(state)
    assert folder is not None
    reader = open_reader(folder.ledger_url)
    try:
        kinds = [entry["kind"] for entry in reader.read_journal()]
        assert kinds.count("intent") == 2
        assert [fill.strategy for fill in reader.fills()] == ["manual"]
    finally:
        reader.close()


def test_what_stops_a_script_is_told_and_nothing_is_sent(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = OrderManager().place_order("NIFTY_FUT", "BUY", lots=1)
    assert (told["status"], "no single account of kind paper" in told["error"]) == ("REJECTED", True)
    assert "'nobody'" in OrderManager("nobody").place_order("NIFTY_FUT", "BUY", lots=1)["error"]
    monkeypatch.setenv("NIYAM_SIMULATOR", "http://127.0.0.1:9")
    assert "no simulator answers" in OrderManager().place_order("NIFTY_FUT", "BUY", lots=1)["error"]
    with Lock(state):
        assert "another daemon" in OrderManager().place_order("NIFTY_FUT", "BUY", lots=1)["error"]
    with simulator("--granted") as about:
        monkeypatch.setenv("NIYAM_SIMULATOR", about["admin"])
        assert "does not run freely" in OrderManager().place_order("NIFTY_FUT", "BUY", lots=1)["error"]


def test_after_hours_the_gate_says_when_entries_are_taken(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with simulator("--start", "16:10") as about:
        monkeypatch.setenv("NIYAM_SIMULATOR", about["admin"])
        told = OrderManager().place_order("NIFTY_FUT", "BUY", lots=1, price=25000.0)
        assert told["status"] == "REJECTED"
        assert "entries are taken 09:15:00 to" in told["error"]


def test_a_running_daemon_takes_the_order_and_squares_it_off(state: Path) -> None:
    command = [
        sys.executable,
        str(ROOT / "main.py"),
        "run",
        "--no-api",
        "--state",
        str(state),
        "--start",
        "14:30",
        "--days",
        "1",
        "--speed",
        "1",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT) as daemon:
        try:
            folder = _trading(state)
            told = OrderManager().place_order("INFY", "BUY", 10)  # no strategy trades it: it is subscribed for this order
            assert (told["success"], told["status"], told["filled"]) == (True, "EXECUTED", 10), told["error"]
            refused = OrderManager().place_order("INFY", "BUY", 10, live=True)
            assert "is of kind practice" in refused["error"]
            facts = folder.simulator()
            assert facts is not None
            admin(facts, "POST", "/pace", {"until": None})  # until here a second took a second
            assert daemon.wait(120) == 0
        finally:
            if daemon.poll() is None:
                daemon.send_signal(signal.SIGTERM)
                daemon.wait(30)
    reader = open_reader(folder.ledger_url)
    try:
        fills = [fill for fill in reader.fills() if fill.strategy == "manual"]
        assert [(str(fill.side), fill.quantity, fill.instrument.key) for fill in fills] == [
            ("BUY", 10, "NSE:INFY"),
            ("SELL", 10, "NSE:INFY"),
        ]
        assert {order.purpose.value for order in reader.orders() if order.strategy == "manual"} == {"entry", "square_off"}
    finally:
        reader.close()


def _trading(state: Path) -> state_folder.RunFolder:
    """The daemon's folder once its day is open and its feed is up."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        folder = state_folder.current(state)
        if folder is not None:
            try:
                status: Any = control.ask(folder.control_socket, "status").data
            except NiyamError:
                status = None
            if status and status["feed"]["connected"] and any(one["state"] == "running" for one in status["strategies"]):
                return folder
        time.sleep(0.05)
    raise AssertionError("the daemon's day did not open within 60 s")
