"""A run with marked secrets through the page, and a crash: nothing that lies about, is sent or can be asked of the system holds one."""

import json
import os
import re
import resource
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Response, WebSocket

from tests.browser.stage import PASSWORD, Person, answers
from tests.browser.test_five_brokers import set_up
from tests.e2e.stage import HELD, ROOT, Stage, admin, until
from tests.e2e.test_api_day import IDLE, free_port, web_process

pytestmark = pytest.mark.walk


class Wire:
    """Everything that the web process sends to a browser: replies and the page's socket. What the person types goes the other way."""

    def __init__(self, person: Person) -> None:
        self.heard: list[bytes] = []
        self._address = person.address
        person.page.on("response", self._on_response)
        person.page.on("websocket", self._on_socket)

    def _on_response(self, response: Response) -> None:
        if response.url.startswith(self._address) and not response.url.startswith(f"{self._address}/_nicegui/"):
            sent = {name: value for name, value in response.all_headers().items() if name != "set-cookie"}  # the page's token, to be kept
            self.heard.append(json.dumps(sent).encode() + (b"" if response.status // 100 == 3 else response.body()))

    def _on_socket(self, socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: self.heard.append(frame if isinstance(frame, bytes) else frame.encode()))


def test_no_secret_is_left_by_the_page(browser: Browser, stage: Stage) -> None:
    stage.strategy.write_text(IDLE, encoding="utf-8")
    port = free_port()
    stage.configure("settings.yaml", "  port: 8000", f"  port: {port}")
    stage.simulate(start="10:00", speed=HELD)
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))  # as a machine that keeps dumps has it
    daemon = stage.run(api=True)
    address = f"http://127.0.0.1:{port}"
    until(lambda: answers(address), "the web process")
    stage.until(lambda status: bool(status["feed"]["connected"]), "the day")
    person = Person(browser, address)
    wire = Wire(person)
    person.register()
    set_up(person, stage, "zerodha")
    for path in ("/", "/brokers", "/journal", "/check", "/people"):
        person.go(path)
        person.see("kind").wait_for()
    person.page.wait_for_timeout(1500)

    known = admin(stage.simulator, "GET", "/")["credentials"]
    [session] = stage.state.glob("runs/*/session/zerodha.json")
    [cookie] = [one["value"] for one in person.context.cookies() if one["name"] == "niyam_session"]
    secrets = {
        "password": PASSWORD,
        "API secret": known["api_secret"],
        "broker's access token": json.loads(session.read_text(encoding="utf-8"))["access_token"],
        "page's token": cookie,
    }
    web = web_process(daemon.process.pid)
    running = {f"/proc/{process}/{name}": _read(Path(f"/proc/{process}/{name}")) for process in (daemon.process.pid, web)
               for name in ("environ", "cmdline")}  # fmt: skip
    running["the process list"] = b"\n".join(_read(one / "cmdline") for one in Path("/proc").iterdir() if one.name.isdigit())
    for process in (daemon.process.pid, web):
        assert re.search(rb"Max core file size +0 ", _read(Path(f"/proc/{process}/limits"))), "the system may write its memory to a file"
    dumps_before = _dumps(stage)
    os.kill(web, signal.SIGABRT)  # a crash, in which the system may write the process's memory to a file
    until(lambda: web_process(daemon.process.pid) not in (0, web) and answers(address), "another web process")
    assert _dumps(stage) == dumps_before, "a crash leaves no picture of the memory"

    own = [*stage.state.rglob("*"), *stage.folder.glob("daemon-*.out")]
    left = {str(path): _read(path) for path in own if path.is_file() and path != session}
    assert {Path(name).name for name in left} >= {"accounts.sqlite", "web.jsonl", "niyam.jsonl", "daemon-1.out"}
    assert len(wire.heard) > 20
    places = {**left, **running, "what the browser was sent": b"\n".join(wire.heard)}
    for what, text in secrets.items():
        assert [place for place, data in places.items() if text.encode() in data] == [], what


def _dumps(stage: Stage) -> set[Path]:
    return {path for folder in (ROOT, stage.folder, stage.state) for path in folder.glob("core*") if path.is_file()}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
