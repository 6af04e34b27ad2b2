"""What a live Zerodha account has in memory before its first order, and what it must not have: a fresh process tells."""

import json
import subprocess
import sys

import pytest

from benchmarks.starts import ABSENT, DAEMON, ROOT, TRADING_PATH


@pytest.mark.parametrize("path", [TRADING_PATH, DAEMON], ids=["trading path", "whole daemon"])
def test_the_trading_path_leaves_the_heavy_libraries_out(path: str) -> None:
    program = f"import json, sys\n{path}\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    loaded = set(json.loads(run.stdout))
    assert sorted(loaded & set(ABSENT)) == []
    assert {"kiteconnect", "execution_engine.engine", "brokers.zerodha.client", "storage.store"} <= loaded, "this is no trading path"


def test_the_terminal_and_the_scheduler_are_loaded_only_where_they_are_used() -> None:
    program = f"import json, sys\n{DAEMON}\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert {"rich", "apscheduler"} & set(json.loads(run.stdout)) == set()
