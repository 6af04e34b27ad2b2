"""A stage for whole days: the real daemon, the real simulator and a real ledger, each a process or a file of its own."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from core.errors import NiyamError
from core.types import OrderState, Position
from execution_engine.order_state import TERMINAL
from runtime import state_folder
from storage.store import SqlReader, open_reader
from utils import control

ROOT = Path(__file__).resolve().parents[2]
MAIN = [sys.executable, str(ROOT / "main.py")]
PATIENCE = 120.0  # wall seconds until whatever a test waits for counts as hung
DAY = "2026-11-20"
HELD = "1"
"""A speed that counts as standing still: a second a second, in which a command still gets its answer and an order its fill."""

BUSY = """\
class: sma_cross
instruments: [NIFTY_FUT, BANKNIFTY_FUT]
interval: 1m
params: {fast: 5, slow: 12, both_ways: true}
size: {lots: 1}
horizon: intraday
window: {entry_from: "09:20"}
risk: {max_loss: 1000000}
enabled: true
"""
"""A strategy that trades every few minutes, so that an hour is a full day; with seed 2 the square-off finds two positions."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Daemon:
    """One daemon process; what it says goes to a file."""

    def __init__(self, command: Sequence[str], said: Path, environment: Mapping[str, str]) -> None:
        self.began = time.monotonic()
        self._said = said
        with said.open("wb") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env=dict(environment)
            )

    @property
    def said(self) -> str:
        return self._said.read_text(encoding="utf-8", errors="replace")

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit code; a daemon that does not end in time is killed and the test fails with its last words."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the daemon did not end within {seconds:.0f} s; it said:\n{self.said[-4000:]}") from None

    def kill(self) -> None:
        """kill -9, now."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Stage:
    """One state folder with its strategy, at most one simulator of its own, and every daemon that ran on it. Use it as a context."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.config: Path | None = None  # None: the shipped one
        self.strategy = folder / "busy.yaml"
        self.strategy.write_text(BUSY, encoding="utf-8")
        self.simulator = ""  # the admin address of a simulator of its own, which outlives the daemon's run
        self._simulator: subprocess.Popen[bytes] | None = None
        self._daemons: list[Daemon] = []
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("NIYAM_")}

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        for daemon in self._daemons:
            if daemon.alive:
                daemon.kill()
        for known in self.state.glob("runs/*/simulator.json"):  # one that `run` started for itself and could not end
            with suppress(OSError, http.client.HTTPException):
                admin(str(json.loads(known.read_text(encoding="utf-8"))["admin"]), "POST", "/shutdown")
        self._end_simulator()

    def _end_simulator(self) -> None:
        if self._simulator is not None:
            self._simulator.terminate()
            self._simulator.wait(PATIENCE)

    # --- processes ------------------------------------------------------------------------------------------------------------------

    def configure(self, file: str, old: str, new: str) -> None:
        """Change one line of a copy of the shipped configuration, which the daemons of this stage then use."""
        if self.config is None:
            self.config = self.folder / "config"
            shutil.copytree(ROOT / "config", self.config)
        path = self.config / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def simulate(
        self,
        *flags: str,
        date: str = DAY,
        start: str = "14:40",
        faults: Iterable[Mapping[str, Any]] = (),
        seed: int = 2,
        speed: str = "max",
        broker: str = "zerodha",
    ) -> None:
        """Start a simulator that stays when the run has ended, so that its books can be looked at; one before it is ended.

        A test that acts within the day starts it HELD and names the moments at which it acts: `go_to`, `go_on_until`, `go_on`.
        """
        self._end_simulator()
        script, said = self.folder / "faults.json", self.folder / "simulator.out"
        script.write_text(json.dumps(list(faults)), encoding="utf-8")
        command = [*MAIN, "simulate", broker, "--granted", "--json", "--date", date, "--start", start]
        command += ["--seed", str(seed), "--speed", speed, "--faults", str(script), *flags]
        with said.open("wb") as out:
            self._simulator = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT)
        simulator = self._simulator
        until(lambda: said.read_text(encoding="utf-8").endswith("\n") or simulator.poll() is not None, "the simulator's first line")
        self.simulator = json.loads(said.read_text(encoding="utf-8").splitlines()[0])["admin"]

    def run(
        self, *flags: str, account: str = "practice-live", strategy: Path | None = None, files: bool = False, api: bool = False
    ) -> Daemon:
        """Start the daemon for one day, on the simulator of this stage if it has one; `files`: with all strategies of its folder."""
        command = [*MAIN, "run", *(() if api else ("--no-api",)), "--days", "1", "--state", str(self.state), "--account", account]
        command += [] if files else ["--strategy", str(strategy or self.strategy)]
        command += ["--config", str(self.config)] if self.config else []
        command += ["--simulator", self.simulator] if self.simulator else []
        daemon = Daemon([*command, *flags], self.folder / f"daemon-{len(self._daemons) + 1}.out", self.environment)
        self._daemons.append(daemon)
        return daemon

    def play(self, *flags: str, account: str = "practice-live", strategy: Path | None = None) -> Daemon:
        """A whole run, which must end by itself with exit 0."""
        daemon = self.run(*flags, account=account, strategy=strategy)
        assert daemon.wait() == 0, daemon.said[-4000:]
        return daemon

    def call(self, *words: str) -> Done:
        """A command of the command line on this state folder."""
        command = [*MAIN, *words, "--state", str(self.state), *(["--config", str(self.config)] if self.config else [])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT, env=self.environment)
        return Done(done.returncode, done.stdout, done.stderr)

    def ask(self, name: str, **arguments: Any) -> control.Answer:
        """The running daemon's control socket, without a process for each question."""
        return control.ask(self.run_folder.control_socket, name, arguments, timeout=PATIENCE)

    def status(self) -> dict[str, Any]:
        """The running daemon's status; empty while it has none to show yet."""
        with suppress(control.DaemonDown, AssertionError):
            return self.ask("status").data or {}
        return {}

    def until(self, ready: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Wait until the status is as wanted, and return it."""
        seen: dict[str, Any] = {}

        def look() -> bool:
            seen.clear()
            seen.update(self.status())
            last = self._daemons[-1]
            assert seen or last.alive, f"the daemon is down; it said:\n{last.said[-4000:]}"
            return bool(seen) and ready(seen)

        until(look, what)
        return seen

    # --- market time, which waits for the test --------------------------------------------------------------------------------------

    def go_to(self, clock: str, day: str = DAY) -> None:
        """Play up to this moment of the day as fast as it goes; there time is held until the next word."""
        self._to(datetime.fromisoformat(f"{day}T{clock}+05:30"))

    def allow(self, clock: str, day: str = DAY) -> None:
        """Let time go up to this moment, where it is held, and do not wait for it."""
        self._pace(datetime.fromisoformat(f"{day}T{clock}+05:30"))

    def go_on_until(
        self, ready: Callable[[dict[str, Any]], bool], what: str, seconds: int = 60, *, attended: bool = False
    ) -> dict[str, Any]:
        """Play step by step until the status is as wanted at the end of one, where time is held.

        A step is a minute, from second 30 to second 30 (bars close at the full minute), or so many `seconds`. `attended`: a person looks
        at the pages after each (`look`).
        """
        begun = self.now()
        while True:
            moment = self.now() + timedelta(seconds=seconds)
            self._to(moment.replace(second=30, microsecond=0) if seconds == 60 else moment)
            if attended:
                self.look()
            seen = self.status()
            if seen and ready(seen):
                return seen
            assert self.now().date() == begun.date(), f"the day is over, without {what}"

    def step(self, seconds: int) -> None:
        """Play so many seconds of the market on; then time is held."""
        self._to(self.now() + timedelta(seconds=seconds))

    def hold(self) -> None:
        """Hold time where it stands."""
        self._pace(self.now())

    def go_on(self) -> None:
        """Let time go as fast as it can, for good."""
        self._pace(None)

    def _pace(self, until: datetime | None) -> None:
        admin(self._market, "POST", "/pace", {"until": until and until.isoformat()})

    def now(self) -> datetime:
        """The market's time."""
        return datetime.fromisoformat(admin(self._market, "GET", "/")["now"])

    def _to(self, moment: datetime) -> None:
        self._pace(moment)

        def there() -> bool:
            last = self._daemons[-1]
            assert last.alive, f"the daemon is down; it said:\n{last.said[-4000:]}"
            return self.now() >= moment

        until(there, f"{moment:%H:%M:%S} of the market")

    @property
    def _market(self) -> str:
        """The admin address of the simulator that owns time: the stage's own, or the run's."""
        if self.simulator:
            return self.simulator
        until(lambda: (found := state_folder.current(self.state)) is not None and found.simulator() is not None, "the run's simulator")
        facts = self.run_folder.simulator()
        assert facts is not None
        return str(facts["admin"])

    def replayed(self, day: str = DAY) -> dict[str, Any]:
        """The recorded day once more, which must be identical to what the ledger has."""
        done = self.call("replay", "--day", day, "--json")
        assert done.code == 0, done
        found = done.json
        assert (found["identical"], found["difference"]) == (True, None)
        assert found["digest"]["replay"] == found["digest"]["ledger"]
        return dict(found)

    # --- what came of it ------------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """What a person does who reads the pages: looks for each order that one names, and says so where the broker does not have it."""
        told = [alert["text"] for alert in self.status().get("alerts") or () if alert["title"] == "Look for an order"]
        tags = {tag for text in told for tag in ABSENT.findall(text)}
        there = {row["tag"] for row in self.account()["orders"]} if tags else set()
        for tag in sorted(tags - there):
            with suppress(NiyamError):  # it is too early, or the daemon is down
                self.ask("absent", tag=tag, confirm=True)

    @property
    def run_folder(self) -> state_folder.RunFolder:
        found = state_folder.current(self.state)
        assert found is not None, "nothing has run here"
        return found

    @property
    def ledger(self) -> SqlReader:
        return open_reader(self.run_folder.ledger_url)

    def account(self) -> dict[str, Any]:
        """The simulator's own books of the one account there is."""
        [found] = admin(self.simulator, "GET", "/accounts").values()
        assert isinstance(found, dict)
        return found

    def faults(self) -> list[dict[str, Any]]:
        found = admin(self.simulator, "GET", "/faults")
        assert isinstance(found, list)
        return found

    def journal(self, kind: str | None = None) -> list[dict[str, Any]]:
        with closing(self.ledger) as ledger:
            return [dict(entry) for entry in ledger.read_journal(kind=kind)]

    def alerts(self) -> list[tuple[str, str]]:
        """(level, title) of every alert of the run, in order."""
        return [(entry["level"], entry["title"]) for entry in self.journal("alert")]

    def report(self) -> dict[str, Any]:
        found = self.call("report", "--json").json
        assert isinstance(found, dict)
        return found


def admin(address: str, method: str, path: str, body: object = None) -> Any:
    """One call of a simulator's admin routes."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE)
    connection.request(method, path, json.dumps(body) if body is not None else None)
    reply = connection.getresponse()
    data = json.loads(reply.read())
    connection.close()
    assert reply.status == 200, data
    return data


def until(ready: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Wait for something outside this process; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.02)


@dataclass(frozen=True, slots=True)
class Compared:
    """Our ledger against the broker's own books. `doubled` and `lost` name orders and trades, `differences` everything else."""

    doubled: tuple[str, ...]
    lost: tuple[str, ...]
    differences: tuple[str, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        return self.doubled + self.lost + self.differences


def compare(stage: Stage) -> Compared:
    """At most one broker order for each tag, every broker trade booked once, equal positions, and a journal without gaps.

    While orders are in flight `lost` and `differences` may name what is on its way; `doubled` never: our side is read first.
    """
    with closing(stage.ledger) as ledger:
        orders, fills, held, journal = ledger.orders(), ledger.fills(), ledger.positions(), ledger.read_journal()
    account = stage.account()
    theirs = [row for row in account["orders"] if row["tag"]]  # what the broker did by itself at its cut-off carries no tag
    doubled = [f"{count} broker orders carry the tag {tag}" for tag, count in _counted(row["tag"] for row in theirs) if count > 1]
    doubled += [
        f"the trade {trade} is booked {count} times" for trade, count in _counted((f.id, f.instrument.key) for f in fills) if count > 1
    ]
    lost, differences = [], []
    ours = {order.tag: order for order in orders}
    booked, traded = Counter[str](), Counter[str]()
    for fill in fills:
        booked[fill.order_id] += fill.quantity
    for trade in account["trades"]:
        traded[trade["order_id"]] += trade["quantity"]
    for row in theirs:
        order = ours.get(row["tag"])
        if order is None:
            lost.append(f"the broker's order {row['order_id']} ({row['tag']}) is not in our ledger")
            continue
        there = traded[row["order_id"]]
        if there != booked[order.id]:
            kept = lost if booked[order.id] < there else doubled
            kept.append(f"{order.tag}: the broker traded {there}, we booked {booked[order.id]}")
        if row["status"] in ENDS and (order.state, order.filled) != (ENDS[row["status"]], row["filled_quantity"]):
            differences.append(f"{order.tag}: the broker says {row['status']} {row['filled_quantity']}, we {order.state} {order.filled}")
    arrived = {row["tag"] for row in theirs}
    differences += [f"{o.tag} is {o.state} here and unknown there" for o in orders if o.tag not in arrived and o.state not in NEVER_THERE]
    differences += _positions(held, account)
    numbers = [entry["seq"] for entry in journal]
    if numbers != list(range(1, len(numbers) + 1)):
        differences.append(f"the journal's numbers have gaps: {len(numbers)} entries up to {max(numbers, default=0)}")
    return Compared(tuple(doubled), tuple(lost), tuple(differences))


ENDS = {"COMPLETE": OrderState.FILLED, "CANCELLED": OrderState.CANCELLED, "REJECTED": OrderState.REJECTED}
NEVER_THERE = frozenset({OrderState.NOT_FOUND, OrderState.REJECTED, OrderState.CANCELLED, OrderState.DENIED, OrderState.UNKNOWN})
ABSENT = re.compile(r"`absent (\w+) --confirm`")


def _positions(held: Iterable[Position], account: Mapping[str, Any]) -> list[str]:
    believed = Counter[tuple[str, str]]()
    for position in held:
        believed[position.instrument.key, position.product] += position.quantity
    real = Counter({(f"{row['exchange']}:{row['tradingsymbol']}", row["product"]): row["quantity"] for row in account["positions"]})
    keys = sorted(set(believed) | set(real))
    return [f"{key}: we hold {believed[key]}, the broker says {real[key]}" for key in keys if believed[key] != real[key]]


def _counted(names: Iterable[Any]) -> list[tuple[Any, int]]:
    return list(Counter(names).items())


def closed(stage: Stage) -> list[str]:
    """What is wrong with a day that has ended on the stage's own simulator; empty for a good one."""
    with closing(stage.ledger) as ledger:
        alive = [f"{order.tag} is still {order.state}" for order in ledger.orders() if order.state not in TERMINAL]
        held = [f"{p.quantity} {p.instrument.key} still held" for p in ledger.positions() if p.quantity]
    return [*compare(stage).problems, *alive, *held]
