"""The page and the engine apart: either may die or hang, the other goes on, and what is old looks old."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.stage import PASSWORD, Person, answers, serving
from tests.e2e.stage import HELD, Stage, until
from tests.e2e.test_api_day import IDLE, free_port, web_process


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path) as made:
        made.strategy.write_text(IDLE, encoding="utf-8")
        yield made


@pytest.mark.walk
def test_a_killed_web_process_comes_back_with_its_pages_and_the_engine_goes_on(browser: Browser, stage: Stage) -> None:
    port = free_port()
    stage.configure("settings.yaml", "  port: 8000", f"  port: {port}")
    stage.simulate(start="10:00", speed=HELD)
    daemon = stage.run(api=True)
    address = f"http://127.0.0.1:{port}"
    until(lambda: answers(address), "the web process")
    before = stage.until(lambda status: bool(status["feed"]["connected"]), "the day")
    person = Person(browser, address)
    person.register()
    person.go("/")
    expect(person.see("phase")).to_have_text("continuous")

    first = web_process(daemon.process.pid)
    os.kill(first, signal.SIGKILL)
    until(lambda: web_process(daemon.process.pid) not in (0, first) and answers(address), "another web process")
    expect(person.see("phase")).to_have_text("continuous")
    seen = person.see("clock").inner_text()
    expect(person.see("clock")).not_to_have_text(seen)  # the open page follows again, without a new sign-in
    after = stage.status()
    assert daemon.alive
    assert (after["running"], after["late_events"]) == (True, before["late_events"])
    assert after["market"]["now"] > before["market"]["now"]


@pytest.mark.walk
def test_what_a_dead_or_hanging_daemon_said_looks_old(browser: Browser, stage: Stage) -> None:
    stage.simulate(start="10:00", speed=HELD)
    daemon = stage.run()
    stage.until(lambda status: bool(status["feed"]["connected"]), "the day")
    with serving(stage) as address:
        person = Person(browser, address)
        person.register()
        person.go("/")
        expect(person.see("stale")).to_be_hidden()
        faded = "document.body.classList.contains('stale')"

        daemon.process.send_signal(signal.SIGSTOP)
        expect(person.see("stale")).to_contain_text("old")
        person.page.wait_for_function(faded)
        daemon.process.send_signal(signal.SIGCONT)
        expect(person.see("stale")).to_be_hidden()

        daemon.kill()
        expect(person.see("stale")).to_contain_text("stopped, as of 10:")
        expect(person.see("trading-state")).to_have_text("STOPPED")
        expect(person.see("kind")).to_have_text("PRACTICE")
        person.page.wait_for_function(faded)
        person.see("kill").click()
        person.see("sure").click()
        expect(person.page.get_by_role("alert")).to_contain_text("no daemon answers")
        assert person.complaints == []


def test_a_viewer_sees_and_cannot_steer(browser: Browser, stage: Stage) -> None:
    with serving(stage) as address:
        owner = Person(browser, address)
        owner.register()
        owner.go("/people")
        owner.see("invite").click()
        expect(owner.see("invitation")).not_to_be_empty()
        invitation = owner.see("invitation").inner_text()

        viewer = Person(browser, address)
        viewer.go("/sign-in?register=1")
        viewer.fill(username="guest", password=PASSWORD, again=PASSWORD, invitation=invitation)
        viewer.press("Create the account")
        viewer.see("portfolio").wait_for()
        for name in ("kill", "buy", "acknowledge"):
            assert viewer.see(name).count() == 0, name
        for path in ("/setup", "/people"):
            viewer.go(path)
            expect(viewer.page).to_have_url(f"{address}/")
        assert viewer.complaints + owner.complaints == []
