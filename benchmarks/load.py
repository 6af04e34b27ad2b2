"""What a crowd at the web process does to the engine: tick to order with 50 open pages and 200 requests a second, against without.

This process is the broker (tick_to_order.py): 5,000 ticks a second flow all the time, and now and then a frame makes the engine order. The
engine, the web process (`main.py serve`) and the crowd are processes of their own. Phases with and without the crowd take turns, so that
what else the machine does falls on both. A load counts as carried when 95 % of the requests were answered within the phase, every answer
was right, and none was older than three seconds.
"""

import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any, TypeVar, cast

from benchmarks.house import MORNING, MorningClock
from benchmarks.kite_frames import frame, packet, token_of
from benchmarks.loaded_client import INSTRUMENTS
from benchmarks.rounds import Line, paired
from benchmarks.starts import ROOT
from benchmarks.tick_to_order import SPACING_S, Broker
from runtime import state_folder
from utils import control
from utils.config_loader import CONFIG_FOLDER

T = TypeVar("T")
PAGES, REQUESTS, TICKS = 50, 200, 5_000
A_FRAME = 25  # ticks
ORDERS = 30  # of one phase
WARM_UP = 10
FRESH_S = 3.0  # what is shown is no older


class Loaded:
    """The broker of one engine, whose ticks flow while it is served."""

    def __init__(self, folder: Path) -> None:
        self.selector = selectors.DefaultSelector()
        self.clock = MorningClock(MORNING)
        self.broker = Broker("ours", self.clock, self.selector)
        self.state = folder / "state"
        words = [str(self.broker.port("stream")), str(self.broker.port("rest")), str(self.state), self.clock.now().isoformat()]
        self._engine = subprocess.Popen([sys.executable, "-m", "benchmarks.loaded_client", *words], cwd=ROOT)
        self._number = 0
        self._sent = 0
        self._next = 0.0

    def serve(self, seconds: float, until: Any = lambda: False) -> None:
        """Serve orders and books for so long, or until that is so; ticks flow meanwhile at their pace."""
        end = perf_counter() + seconds
        while (now := perf_counter()) < end and not until():
            if self.broker.subscribed and now >= self._next:
                self._flow(now)
            for key, _ in self.selector.select(max(0.0, min(end, self._next) - now) if self.broker.subscribed else 0.05):
                handle, held = key.data
                handle(held, key.fileobj)

    def order(self) -> float:
        """Microseconds from a frame that makes the engine order to the first byte of that order."""
        before = len(self.broker.orders)
        began = self.broker.tick(self._number)
        self._number += 1
        self.serve(10.0, lambda: len(self.broker.orders) > before)
        assert self.broker.order_at is not None, "a frame brought no order within 10 s"
        taken = (self.broker.order_at - began) * 1e6
        self.broker.told_filled()
        self.serve(2 * SPACING_S)
        return taken

    def late_events(self) -> int:
        folder = state_folder.current(self.state)
        assert folder is not None
        return int(control.ask(folder.control_socket, "status").data["late_events"])

    def close(self) -> None:
        self._engine.terminate()
        self._engine.wait(20)
        self.broker.close()
        for key in list(self.selector.get_map().values()):
            cast(socket.socket, key.fileobj).close()
        self.selector.close()

    def _flow(self, now: float) -> None:
        """The next frame of the other instruments; what is more than a tenth of a second late is left out."""
        self._sent += 1
        epoch, first = int(self.clock.now().timestamp()), 10 + (self._sent % 8) * 5
        numbers = [first + one % (INSTRUMENTS - 10) if first + one < INSTRUMENTS else 10 + one for one in range(A_FRAME)]
        made = [packet(token_of(one), 100_000 + 5 * (self._sent % 40) + 100 * one, epoch, 1_000 + self._sent) for one in numbers]
        message = frame(made)
        assert self.broker.stream is not None
        self.broker.stream.sendall(b"\x82\x7e" + len(message).to_bytes(2, "big") + message)
        self._next = max(self._next + A_FRAME / TICKS, now - 0.1)


class Web:
    """The web process and its crowd."""

    def __init__(self, folder: Path, state: Path, pages: int, requests: int) -> None:
        config = folder / "config"
        shutil.copytree(CONFIG_FOLDER, config)
        settings = config / "settings.yaml"
        text = settings.read_text(encoding="utf-8").replace("  port: 8000", "  port: 8000\n  requests_per_minute: 1000000")
        settings.write_text(text, encoding="utf-8")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        address = f"http://127.0.0.1:{port}"
        words = [sys.executable, "main.py", "serve", "--child", "--port", str(port), "--state", str(state), "--config", str(config)]
        quiet = subprocess.DEVNULL
        self._web = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet)  # as the daemon starts it
        _until_answered(f"{address}/healthz")
        words = [sys.executable, "-m", "benchmarks.load_clients", address, str(pages), str(requests)]
        self._crowd = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._line()

    def say(self, word: str) -> str:
        """`go` or `stop`, and what was answered."""
        assert self._crowd.stdin is not None
        self._crowd.stdin.write(f"{word}\n")
        self._crowd.stdin.flush()
        return self._line()

    def shows(self, loaded: Loaded, orders: int) -> bool:
        """Whether the API shows so many orders, at the latest after FRESH_S."""
        end = perf_counter() + FRESH_S
        while not (shown := int(meanwhile(loaded, partial(self.say, "orders"))) == orders) and perf_counter() < end:
            loaded.serve(0.1)
        return shown

    def close(self) -> None:
        for one in (self._crowd, self._web):
            one.terminate()
        for one in (self._crowd, self._web):
            with one:  # closes its pipes
                one.wait(30)

    def _line(self) -> str:
        assert self._crowd.stdout is not None
        line = self._crowd.stdout.readline().strip()
        assert line, "the crowd went away"
        return line


def measure(rounds: int) -> list[Line]:
    """Microseconds at the median of each phase, the ratio of each round's two phases, and the timers that came late."""
    taken: dict[str, list[float]] = {"with": [], "without": []}
    late = {"with": 0, "without": 0}
    told: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        loaded = Loaded(Path(name))
        web = None
        try:
            loaded.serve(30.0, lambda: loaded.broker.subscribed)
            assert loaded.broker.subscribed, "the engine did not subscribe within 30 s"
            web = meanwhile(loaded, lambda: Web(Path(name), loaded.state, PAGES, REQUESTS))
            for _ in range(WARM_UP):
                loaded.order()
            for number in range(rounds):
                for side in ("without", "with") if number % 2 == 0 else ("with", "without"):
                    if side == "with":
                        meanwhile(loaded, partial(web.say, "go"))
                    before = loaded.late_events()
                    taken[side].append(median(loaded.order() for _ in range(ORDERS)))
                    late[side] += loaded.late_events() - before
                    if side == "with":
                        told.append(json.loads(meanwhile(loaded, partial(web.say, "stop"))))
                        assert web.shows(loaded, len(loaded.broker.orders)), "the API does not show the orders that the broker has"
        finally:
            if web is not None:
                web.close()
            loaded.close()
    return _lines(taken, late, told)


def _lines(taken: dict[str, list[float]], late: dict[str, int], told: list[dict[str, Any]]) -> list[Line]:
    asked, failed = sum(one["requests"] for one in told), sum(one["failed"] for one in told)
    updates, why = sum(one["updates"] for one in told), next((f" as {one['failures'][0]}" for one in told if one["failures"]), "")
    seconds, waits = sum(one["seconds"] for one in told), [one["p50_ms"] for one in told if one["p50_ms"] is not None]
    note = (
        f"{PAGES} pages ({updates} updates) and {REQUESTS} requests/s ({asked / seconds:.0f}/s answered, {failed} failed{why}, p50 "
        f"{median(waits or [float('nan')]):.0f} ms) at {TICKS} ticks/s; {ORDERS} orders a phase, phases in turn"
    )
    beside = "the same without them"
    oldest = max(one["oldest_s"] for one in told)
    note += f"; the oldest answer was {oldest:.1f} s behind the engine, p99 {max(one['p99_ms'] for one in told):.0f} ms"
    carried = asked >= 0.95 * REQUESTS * seconds and failed == 0 and oldest <= FRESH_S
    if not carried:
        note += "; that load was not carried, so nothing is shown of it"
    ratio = (late["with"] + 1) / (late["without"] + 1)
    name, goals = "tick to order under load", (1.3, 2.0) if carried else (None, None)
    worse = paired(taken["with"], taken["without"])
    load_average = "machine's load average " + " ".join(f"{one:.1f}" for one in os.getloadavg())
    note += f"; {load_average}"
    return [
        Line(name, "us", median(taken["with"]), median(taken["without"]), beside, worse, goals[0], False, note=note),
        Line("late events under load", "", late["with"], late["without"], beside, ratio, goals[1], False, note="each count plus one"),
    ]


def meanwhile(loaded: Loaded, do: Callable[[], T]) -> T:
    """Do something that takes its time and serve the engine until it is done: its ticks never stop."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(do)
        loaded.serve(120.0, answer.done)
        return answer.result(timeout=10)


def _until_answered(url: str) -> None:
    end = perf_counter() + 60
    while perf_counter() < end:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            sleep(0.2)
    raise AssertionError("the web process did not come up")
