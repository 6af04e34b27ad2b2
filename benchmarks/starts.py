"""What starting costs: the trading path's imports against `import kiteconnect`, and `main.py --help` against a bare interpreter.

Each figure is a fresh process with warm byte code (a first, unmeasured start writes it).
"""

import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from benchmarks.rounds import Line, interleaved, line

ROOT = Path(__file__).resolve().parent.parent
TRADING_PATH = (
    "import runtime.wiring, brokers.stream, brokers.zerodha.client, brokers.zerodha.session, brokers.zerodha.wire;"
    "import sqlalchemy.dialects.sqlite.pysqlite; brokers.zerodha.client.load_sdk()"
)
"""Everything an order of a live Zerodha account passes; the official SDK included. The configuration is read before: see the next."""

DAEMON = "import runtime.daemon, runtime.scheduler, utils.config_schema;" + TRADING_PATH
"""The same with the process around it: the configuration's reader (pydantic), control socket, read-outs, report."""

ABSENT = ("pandas", "numba", "pyarrow", "fastapi", "nicegui", "numpy", "twisted", "autobahn")
"""What none of it may load (tests/unit/test_imports.py holds it to that)."""


def _start(*arguments: str) -> float:
    """Wall seconds of one fresh Python process."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - began


def measure(rounds: int) -> list[Line]:
    """Milliseconds of whole processes."""
    commands = {
        "path": ("-c", TRADING_PATH),
        "daemon": ("-c", DAEMON),
        "sdk": ("-c", "import kiteconnect"),
        "help": ("main.py", "--help"),
        "bare": ("-c", "pass"),
    }
    for command in commands.values():
        _start(*command)
    sides = {name: (lambda command=command: _start(*command) * 1000) for name, command in commands.items()}
    figures = interleaved(sides, max(5, rounds))
    return [
        line("trading path import", "ms", figures["path"], figures["sdk"], "import kiteconnect", goal=1.3, higher=False,
             note="fresh processes, interpreter start included"),
        line("the whole daemon's import", "ms", figures["daemon"], figures["sdk"], "import kiteconnect", goal=None, higher=False),
        line("main.py --help", "ms", figures["help"], figures["bare"], "bare interpreter", goal=3.0, higher=False),
    ]  # fmt: skip
