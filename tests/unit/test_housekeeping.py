"""Notifications reach the log and the webhook and leak nothing; housekeeping runs, fails loudly and keeps what must be kept."""

import json
import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from loguru import logger

from core.clock import ManualClock, SystemClock
from core.errors import StoreError
from core.types import IST
from runtime import state_folder
from runtime.notifier import WAITING, Notifier, telegram, webhook
from runtime.scheduler import Job, Scheduler, daily_jobs, remove_older
from runtime.wiring import LaneAudit
from tests.builders import T0


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{level} {message}", level="DEBUG")
    yield lines
    logger.remove(sink)


class Chat:
    """A webhook's far end on localhost: keeps what it was sent, answers with `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.got: list[tuple[str, dict[str, str]]] = []
        self.arrived = threading.Event()
        chat = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                chat.got.append((self.path, json.loads(body)))
                self.send_response(chat.status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                chat.arrived.set()

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def chat() -> Iterator[Chat]:
    made = Chat()
    yield made
    made.close()


def test_every_message_is_in_the_log_with_its_weight(log: list[str]) -> None:
    notifier = Notifier()
    for level in ("page", "warn", "info"):
        notifier.send(level, "Title", "text")
    assert log == ["ERROR Title: text\n", "WARNING Title: text\n", "INFO Title: text\n"]


def test_a_webhook_and_a_chat_get_the_wanted_levels(chat: Chat) -> None:
    notifier = Notifier([webhook(f"{chat.url}/hook", "mine"), telegram("TOKEN", "42", "mine", host=chat.url)], levels=("page",))
    notifier.start()
    notifier.send("info", "Started", "today")
    notifier.send("page", "Not flat", "65 NIFTY26NOVFUT")
    notifier.stop()
    assert chat.got == [
        ("/hook", {"level": "page", "title": "Not flat", "text": "65 NIFTY26NOVFUT", "account": "mine"}),
        ("/botTOKEN/sendMessage", {"chat_id": "42", "text": "[mine] page: Not flat\n65 NIFTY26NOVFUT"}),
    ]


def test_a_refused_delivery_is_logged_without_the_secret_in_its_address(chat: Chat, log: list[str]) -> None:
    chat.status = 403
    notifier = Notifier([webhook(f"{chat.url}/SECRET", "mine")])
    notifier.start()
    notifier.send("page", "Not flat", "look")
    assert chat.arrived.wait(10)
    notifier.stop()
    assert any("'Not flat' not delivered" in line for line in log)
    assert not any("SECRET" in line for line in log)


def test_a_storm_gives_up_the_oldest_and_never_blocks(log: list[str]) -> None:
    gate, delivered = threading.Event(), list[str]()

    def slow(level: str, title: str, text: str) -> None:
        gate.wait(10)
        delivered.append(title)

    notifier = Notifier([slow])
    notifier.start()
    for count in range(300):
        notifier.send("warn", f"{count}", "")
    gate.set()
    notifier.stop()
    assert delivered[-1] == "299"
    assert len(delivered) < 300
    assert any("given up" in line for line in log)


class Heard:
    def __init__(self) -> None:
        self.messages: list[tuple[str, str, str]] = []

    def send(self, level: str, title: str, text: str) -> None:
        self.messages.append((level, title, text))


def test_the_days_jobs_are_planned_and_the_square_off_is_none_of_them(tmp_path: Path) -> None:
    jobs = daily_jobs(
        refresh_instruments=lambda: None, remind_login=lambda: None, probe_holiday=lambda: None, folders=[], clock=ManualClock(T0)
    )
    scheduler = Scheduler(jobs, Heard())
    scheduler.start()
    planned = scheduler.planned()
    scheduler.stop()
    assert planned == [
        "holiday probe 09:20", "holiday probe 10:30", "holiday probe 18:30",
        "instrument refresh 08:35", "instrument refresh 08:55", "login reminder 08:15", "login reminder 08:45", "login reminder 09:00",
        "retention 02:30",
    ]  # fmt: skip


def test_a_job_that_fails_is_told_to_a_person(log: list[str]) -> None:
    def broken() -> None:
        raise OSError("no route to host")

    heard = Heard()
    scheduler = Scheduler([], heard)
    scheduler.run(Job("instrument refresh", ("08:35",), broken))
    assert heard.messages == [("warn", "housekeeping 'instrument refresh' failed", "no route to host; it runs again at its next time")]


def test_retention_removes_old_files_of_the_folders_it_was_given(tmp_path: Path) -> None:
    recordings, ledger = tmp_path / "recordings", tmp_path / "ledger.sqlite"
    (recordings / "2026-10").mkdir(parents=True)
    for name, days in (("2026-10/old.rec", 31), ("kept.rec", 29)):
        (recordings / name).write_text("x")
        stamp = (T0 - timedelta(days=days)).timestamp()
        os.utime(recordings / name, (stamp, stamp))
    ledger.write_text("x")
    os.utime(ledger, (0, 0))
    assert remove_older(recordings, 30, T0) == [recordings / "2026-10" / "old.rec"]
    assert (recordings / "kept.rec").exists()
    assert ledger.exists()
    assert remove_older(tmp_path / "nothing", 30, T0) == []


def test_a_page_goes_before_the_warnings_that_wait_and_is_the_last_to_be_given_up() -> None:
    delivered: list[str] = []
    held, came = threading.Event(), threading.Event()

    def slow(level: str, title: str, text: str) -> None:
        came.set()
        assert held.wait(5)
        delivered.append(title)

    notifier = Notifier([slow], levels=("page", "warn"))
    notifier.start()
    notifier.send("warn", "the first", "")
    assert came.wait(5)
    notifier.send("page", "Not flat", "")
    for number in range(2 * WAITING):
        notifier.send("warn", f"warning {number}", "")
    notifier.send("page", "STUCK", "")
    held.set()
    notifier.stop()
    assert delivered[:3] == ["the first", "Not flat", "STUCK"]
    assert delivered[-1] == f"warning {2 * WAITING - 1}"
    assert len(delivered) == 1 + WAITING


def test_each_segment_of_the_audit_is_closed_whatever_befalls_another(tmp_path: Path) -> None:
    run, clock = state_folder.account_folder(tmp_path, "live"), SystemClock()
    audit = LaneAudit(run, clock)
    day = f"{clock.now().astimezone(IST):%Y-%m-%d}"
    orders, reads = (run.audit / f"live-{lane}-{day}.jsonl" for lane in ("orders", "reads"))
    for one in (orders, reads):
        one.mkdir()  # in the way of the file
    audit.request("live/orders", "GET", "/orders", {})
    audit.request("live/reads", "GET", "/positions", {})
    reads.rmdir()
    with pytest.raises(StoreError, match="live-orders"):
        audit.close()
    assert "/positions" in reads.read_text()
