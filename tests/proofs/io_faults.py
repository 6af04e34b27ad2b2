"""I/O faults: the Nth operation on each file fails, for N = 1 until one pass is clean; and every torn end of each file.

    python -m tests.proofs.io_faults

The ledger fails at its database driver under the whole simulated daemon (the short day of crash_points); audit log and token file fail
at the operating system's own calls. Torn ends: the last bytes of a file that a power cut never wrote.
"""

import argparse
import errno
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from loguru import logger

from brokers.day_session import DaySession
from brokers.spec import Endpoints
from core.clock import ManualClock
from core.errors import SessionExpired, StoreError
from core.types import IST, SessionState
from data_ingestion.recorder import Recorder, read
from storage.audit import AuditSegment
from storage.store import open_store
from tests.builders import make_fill, make_order
from tests.proofs.crash_points import CrashDay, Scenario
from tests.simulation.day import DISK

AT = datetime(2026, 11, 20, 10, 0, tzinfo=IST)
TAIL = 8 * 1024
ERRORS = (errno.ENOSPC, errno.EIO, errno.EBUSY)
CALLS = ("open", "write", "fsync", "fdatasync", "replace")  # of the os module; Path.replace and os.fdopen end in them too


# --- the ledger under the whole daemon --------------------------------------------------------------------------------------------------


class FaultDay(CrashDay):
    """The short day on which the `nth` statement of the ledger fails once, as `says`. `tried` counts the statements, `refused` holds
    why a process ended before it had opened the day."""

    def __init__(self, scenario: Scenario, nth: int, says: str, plant: Mapping[str, type] | None = None) -> None:
        super().__init__(scenario, plant=plant)
        self._nth = nth
        self._says = says
        self.tried = 0
        self.refused: list[str] = []

    def _bury(self, why: str) -> None:
        if why.startswith("did not start"):  # once a day is open nothing may end the process: the day itself judges that
            self.refused.append(why)
        super()._bury(why)

    def _maybe_kill(self, where: str) -> None:
        return None

    def _before(self, sql: str) -> None:
        self.tried += 1
        if self.tried == self._nth:
            raise sqlite3.OperationalError(self._says)


def _judged(day: FaultDay) -> list[str]:
    """What is wrong with a day: the invariants, and a process that ended otherwise than by refusing, with a reason, to begin."""
    result = day.run()
    problems = list(result.violations)
    if result.starts != 1 + len(day.refused) or len(day.refused) > 1:
        problems.append(f"the process was started {result.starts} times")
    return problems + [f"the start was refused without the reason: {why}" for why in day.refused if "the ledger failed" not in why]


def ledger(every: int, plant: Mapping[str, type] | None = None) -> Iterator[list[str]]:
    """What is wrong for each N and each kind of failure, until a pass meets none."""
    for number, (kind, says) in enumerate(DISK.items()):
        for nth in count(1 + number % every, every):
            day = FaultDay(Scenario("square-off", "filled"), nth, says, plant)
            yield [f"ledger, statement {nth}, {kind}: {problem}" for problem in _judged(day)]
            if day.tried < nth:
                break


# --- files at the operating system ------------------------------------------------------------------------------------------------------


@contextmanager
def failing(nth: int, number: int) -> Iterator[Callable[[], bool]]:
    """The `nth` of the process's os calls that touch a file fails with `number`; a write before it may have been cut short. Yields
    whether one failed."""
    seen = 0
    real = {name: getattr(os, name) for name in CALLS}

    def wrap(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == nth:
                if name == "write" and number == errno.ENOSPC and len(arguments[1]) > 1:
                    return real[name](arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])  # what a full disk does first
                raise OSError(number, os.strerror(number))
            return real[name](*arguments, **named)

        return call

    for name in CALLS:
        setattr(os, name, wrap(name))
    try:
        yield lambda: seen >= nth
    finally:
        for name, call in real.items():
            setattr(os, name, call)


def audit() -> Iterator[list[str]]:
    """A worker's log: an order request that was let go is in it, whole, whatever failed; nothing is lost once the disk works again."""
    for number in ERRORS:
        for nth in count(1):
            with tempfile.TemporaryDirectory() as folder:
                problems, sent = list[str](), list[int]()
                segment = AuditSegment(Path(folder), "lane", ManualClock(AT))
                with failing(nth, number) as struck:
                    for order in range(4):
                        try:
                            sent.append(segment.request("lane", "POST", f"/orders/{order}", {"order": order}, durable=True))
                            segment.reply(sent[-1], 200, {"order_id": order})
                        except StoreError:
                            continue
                        on_disk = {line["n"] for line in _lines(folder) if "request" in line}
                        if sent[-1] not in on_disk:
                            problems.append(f"order {order} left before its request was on disk")
                segment.close()
                told = Counter((line["n"], "request" in line) for line in _lines(folder))
                lacking = [one for one in sent if told[one, True] != 1 or told[one, False] != 1]
                if lacking:
                    problems.append(f"requests {lacking} or their replies are not in the log once each")
                yield [f"audit, call {nth}, {os.strerror(number)}: {problem}" for problem in problems]
                if not struck():
                    break


def _lines(folder: str) -> list[dict[str, Any]]:
    """The log's whole lines."""
    found = []
    for path in Path(folder).glob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
    return found


class _Login(DaySession):
    broker, title, dies_at = "zerodha", "The broker", AT.replace(hour=6).timetz().replace(tzinfo=None)

    def login_url(self) -> str:
        return "http://127.0.0.1/login"

    def accept(self, answer: str) -> None:
        self._keep(answer, "ZZ1234")


def _login(folder: str) -> _Login:
    endpoints = Endpoints("http://127.0.0.1", "ws://127.0.0.1", "http://127.0.0.1/login")
    no_secrets: Any = None
    return _Login("live", no_secrets, ManualClock(AT), Path(folder) / "session" / "zerodha.json", endpoints, lambda event: None)


def token() -> Iterator[list[str]]:
    """The token file holds the old login or the new one, whole; a token that the broker refused is never used again."""
    for number in ERRORS:
        for nth in count(1):
            with tempfile.TemporaryDirectory() as folder:
                problems, session = list[str](), _login(folder)
                session.accept("first")
                refused = True
                with failing(nth, number) as struck:
                    session.invalidate("first", "the broker refused it")
                    if session.state() is not SessionState.LOGIN_REQUIRED:
                        problems.append("a refused token counts as good")
                    try:
                        session.accept("second")
                        refused = False
                    except StoreError:
                        pass
                if session.token() != "second":
                    problems.append("the new login is not known")
                try:
                    after = _login(folder).token()
                except SessionExpired:
                    after = ""
                if not refused and after != "second":
                    problems.append(f"the next process reads {after!r} after a login that was told to be kept")
                if list((Path(folder) / "session").glob(".*")):
                    problems.append("a draft was left behind")
                yield [f"token, call {nth}, {os.strerror(number)}: {problem}" for problem in problems]
                if not struck():
                    break


# --- torn ends ----------------------------------------------------------------------------------------------------------------------------


def torn_ledger(every: int) -> Iterator[list[str]]:
    """The write-ahead log torn at every byte of its last 8 KiB: what is left is the state after one of the commits, and goes on."""
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        path = Path(folder) / "ledger.sqlite"
        store = open_store(f"sqlite:///{path}")
        for number in range(40):
            store.save_order(make_order(id=f"O{number}", tag=f"TAG{number:013d}"))
            store.save_fill(make_fill(f"T{number}", order_id=f"O{number}"))
            store.journal(AT, "order", {"number": number})
            store.commit()
        files = {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in ("", "-wal")}
        store.close()
        whole = files["-wal"]
        for cut in range(0, min(TAIL, len(whole)) + 1, every):
            problems = []
            for suffix, content in files.items():
                Path(f"{path}{suffix}").write_bytes(content if suffix == "" else content[: len(whole) - cut])
            Path(f"{path}-shm").unlink(missing_ok=True)
            again = open_store(f"sqlite:///{path}")
            told = [entry["number"] for entry in again.read_journal(kind="order")]
            orders, fills = len(again.orders()), len(again.fills())
            lost = 40 - len(told)
            if told != list(range(len(told))) or not orders == fills == len(told):
                problems.append(f"{len(told)} entries, {orders} orders and {fills} fills are no commit's state")
            if lost > cut // 4096 + 1:  # a page and its header are 4120 bytes, and a commit is several pages
                problems.append(f"{lost} commits are gone")
            if again.journal(AT, "order", {"number": len(told)}) != len(told) + 1:
                problems.append("the journal has a gap")
            again.commit()
            again.close()
            yield [f"ledger torn by {cut} bytes: {problem}" for problem in problems]


def torn_recording(every: int) -> Iterator[list[str]]:
    """The recording: the frames before the tear are read, and the next start appends to them."""
    from tests.unit.test_recorder import DAY, ticks

    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        recorder = Recorder(Path(folder), DAY, "practice", {"config": "abc"})
        events = ticks(600, 0.05)
        for event in events:
            recorder.append(event)
        recorder.close()
        whole = recorder.path.read_bytes()
        for cut in range(0, min(TAIL, len(whole)) + 1, every):
            recorder.path.write_bytes(whole[: len(whole) - cut])
            problems = []
            left = list(read(recorder.path))
            if left != events[: len(left)]:
                problems.append("what is read is not what was written")
            after = Recorder(Path(folder), DAY, "practice", {"config": "abc"})
            after.append(events[0])
            after.close()
            if after.failure or len(list(read(recorder.path))) != len(left) + 1:
                problems.append(f"it does not go on: {after.failure}")
            yield [f"recording torn by {cut} bytes: {problem}" for problem in problems]


def torn_audit(every: int) -> Iterator[list[str]]:
    """The audit log: whole lines before the tear stay, the next line is whole, its number is new."""
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        segment = AuditSegment(Path(folder), "lane", ManualClock(AT))
        for order in range(60):
            segment.reply(segment.request("lane", "POST", "/orders", {"order": order}, durable=True), 200, {"order_id": order})
        segment.close()
        path = next(Path(folder).glob("*.jsonl"))
        whole = path.read_bytes()
        for cut in range(0, min(TAIL, len(whole)) + 1, every):
            path.write_bytes(whole[: len(whole) - cut])
            before = _lines(folder)
            segment = AuditSegment(Path(folder), "lane", ManualClock(AT))
            number = segment.request("lane", "POST", "/orders", {"order": "new"}, durable=True)
            segment.close()
            after = _lines(folder)
            good = after[: len(before)] == before and after[-1]["n"] == number == max(line["n"] for line in before) + 1
            yield [] if good else [f"audit torn by {cut} bytes: {len(before)} lines, then {after[len(before) :]}"]


def torn_token(every: int) -> Iterator[list[str]]:
    """The token file: whole or nobody has logged in; a login goes on from there."""
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        session = _login(folder)
        session.accept("first")
        path = Path(folder) / "session" / "zerodha.json"
        whole = path.read_bytes()
        for cut in range(0, len(whole) + 1, every):
            path.write_bytes(whole[: len(whole) - cut])
            session = _login(folder)
            state, problems = session.state(), []
            if (state is SessionState.LOGIN_REQUIRED) is (cut == 0):
                problems.append(f"it counts as {state}")
            session.accept("second")
            if _login(folder).token() != "second":
                problems.append("a login does not repair it")
            yield [f"token torn by {cut} bytes: {problem}" for problem in problems]


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def every_proof(every: int) -> dict[str, Iterator[list[str]]]:
    """All of them, by name; `every`: only each so-many-th place of the long ones."""
    return {
        "ledger statements": ledger(every),
        "audit calls": audit(),
        "token calls": token(),
        "ledger tails": torn_ledger(every),
        "recording tails": torn_recording(every),
        "audit tails": torn_audit(every),
        "token tails": torn_token(1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="only every so many places")
    given = parser.parse_args()
    logger.remove()
    began, tried, bad = time.monotonic(), Counter[str](), 0
    for name, places in every_proof(given.every).items():
        for problems in places:
            tried[name] += 1
            bad += len(problems)
            for problem in problems:
                print(f"violation: {problem}", flush=True)
    print(f"faults: {', '.join(f'{n} {name}' for name, n in tried.items())}; {bad} violations, {time.monotonic() - began:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
