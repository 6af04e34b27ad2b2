"""A person in front of a real browser: Debian's Chromium, driven by Playwright, on a web process of its own."""

import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Playwright, expect

from tests.e2e.stage import ROOT, Stage, until
from tests.e2e.test_api_day import free_port

CHROMIUM = shutil.which("chromium") or ""
PASSWORD = "marked-password-77321"
DESKTOP, PHONE = (1400, 900), (390, 844)
PATIENCE_MS = 60_000


class Person:
    """One person and their browser; `complaints` are what the page's scripts said went wrong."""

    def __init__(self, browser: Browser, address: str, size: tuple[int, int] = DESKTOP, *, dark: bool = False) -> None:
        width, height = size
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
        self.context.set_default_timeout(PATIENCE_MS)
        self.page: Page = self.context.new_page()
        self.address = address
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        expect.set_options(timeout=PATIENCE_MS)

    def go(self, path: str) -> None:
        self.page.goto(f"{self.address}{path}")

    def see(self, name: str) -> Any:
        """What a page calls by this name."""
        return self.page.get_by_test_id(name)

    def fill(self, **fields: str) -> None:
        for name, value in fields.items():
            self.see(name).fill(value)

    def press(self, text: str) -> None:
        self.page.get_by_role("button", name=text, exact=True).click()

    def register(self, username: str = "me@example.in") -> None:
        """The first owner, by the form at the door."""
        self.go("/")
        self.fill(username=username, password=PASSWORD, again=PASSWORD)
        self.press("Create the account")
        self.see("kind").wait_for()

    def enter(self) -> None:
        """Be on the cockpit, as the owner: registered now, or before."""
        self.go("/")
        self.see("username").wait_for()
        if self.see("again").count():
            self.register()
        else:
            self.sign_in()
            self.see("kind").wait_for()
        self.go("/")
        self.see("phase").wait_for()

    def sign_in(self, username: str = "me@example.in", password: str = PASSWORD) -> None:
        self.go("/sign-in")
        self.fill(username=username, password=password)
        self.press("Sign in")

    def fits(self) -> None:
        """Wait until the page is no wider than its window (its styles and fonts are there)."""
        self.page.wait_for_function("document.documentElement.scrollWidth <= document.documentElement.clientWidth")

    def shot(self, path: Path) -> None:
        self.page.screenshot(path=str(path), full_page=True)


def launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=CHROMIUM, args=["--disable-dev-shm-usage"])


@contextmanager
def serving(stage: Stage, **environment: str) -> Iterator[str]:
    """`main.py serve` on the stage's state folder; its address."""
    address = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, str(ROOT / "main.py"), "serve", "--port", address.rpartition(":")[2], "--state", str(stage.state)]
    command += ["--config", str(stage.config)] if stage.config else []
    with (stage.folder / "serve.out").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, cwd=ROOT, env={**stage.environment, **environment})
        try:
            until(lambda: answers(address) or process.poll() is not None, "the web process")
            assert process.poll() is None, (stage.folder / "serve.out").read_text(encoding="utf-8")[-2000:]
            yield address
        finally:
            process.terminate()
            process.wait(30)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/healthz", timeout=10) as reply:
            return bool(json.loads(reply.read())["ok"])
    except OSError:
        return False
