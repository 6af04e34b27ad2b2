"""The command line and bare scripts at Upstox's simulator (NIYAM_SIMULATOR): login, instruments, candles, an order by hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.wire.granted_client import ROOT, simulator

SCRIPT = """
import json
from datetime import datetime
from data_ingestion.data_fetcher import DataFetcher
from execution_engine.order_manager import OrderManager

fetcher = DataFetcher(source="upstox")
frame = fetcher.fetch_historical("NIFTY_FUT", datetime(2026, 11, 19, 15, 0), datetime(2026, 11, 20, 9, 45), interval="3minute")
fetcher.close()
order = OrderManager(broker="upstox").place_order(symbol="NIFTY_FUT", direction="BUY", lots=1, order_type="MARKET")
print(json.dumps([str(frame.timestamp.iloc[-1]), len(frame), list(frame.columns), order["status"], order["filled"], order["error"]]))
"""


def test_login_instruments_candles_and_an_order_by_hand(tmp_path: Path) -> None:
    with simulator("upstox", "--start", "10:00", "--speed", "1") as about:
        environment = {**os.environ, "NIYAM_SIMULATOR": about["admin"], "NIYAM_STATE": str(tmp_path / "state")}

        def run(*words: str) -> str:
            done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90)
            assert done.returncode == 0, done.stderr
            return done.stdout

        told = json.loads(run("main.py", "login", "upstox", "--json"))
        assert told["text"] == "practice is logged in at the simulator of Upstox until 2026-11-21 03:30"
        made = json.loads(run("main.py", "instruments", "update", "--broker", "upstox", "--json"))
        assert (made["broker"], made["day"], made["instruments"] > 300) == ("upstox", "2026-11-20", True)
        resolved = json.loads(run("main.py", "instruments", "resolve", "NIFTY_FUT", "--broker", "upstox", "--json"))
        assert (resolved["key"], resolved["lot"], resolved["tick_size"]) == ("NFO:NIFTY26NOVFUT", 65, 0.1)
        last, count, columns, status, filled, error = json.loads(run("-c", SCRIPT).splitlines()[-1])
    assert (last, columns[-1]) == ("2026-11-20 09:45:00+05:30", "oi")
    assert count > 15  # of the afternoon before and of this morning
    assert (status, filled, error) == ("EXECUTED", 65, "")
