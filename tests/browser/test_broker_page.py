"""The brokers page without a daemon: apps kept, a code typed, switching, the default, removing, and a broker that falls silent."""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from brokers.angelone.session import totp
from tests.browser.stage import Person, serving
from tests.e2e.stage import Stage, admin
from tests.wire.granted_client import simulator

STALE = re.compile("^STALE, as of")


@pytest.fixture
def venue(tmp_path: Path) -> Iterator[tuple[Any, Stage, str]]:
    with (
        simulator("angelone", "--start", "10:00", "--speed", "1") as about,
        Stage(tmp_path) as stage,
        serving(stage, NIYAM_SIMULATOR=about["admin"]) as address,
    ):
        yield about, stage, address


@pytest.mark.walk
def test_apps_are_connected_switched_and_removed(browser: Browser, venue: tuple[Any, Stage, str]) -> None:
    about, _, address = venue
    known = about["credentials"]
    person = Person(browser, address)
    person.register()
    for name in ("first", "second"):
        person.go("/setup")
        person.see("broker").click()
        person.page.get_by_role("option", name="Angel One").click()
        person.press("Set up account")
        expect(person.page.get_by_role("alert")).to_contain_text("Client ID (client code) and SmartAPI key and MPIN are missing")
        person.fill(account_id=known["client_code"], api_key=known["api_key"], mpin=known["mpin"])
        if name == "second":
            person.fill(totp_secret=known["totp_secret"])
        person.press("Set up account")
        person.see("answer").wait_for()

    person.go("/brokers")
    expect(person.see("session-1")).to_have_text("LOGIN_REQUIRED")
    assert known["api_key"] not in person.page.content()
    person.see("connect-1").click()
    person.see("answer").fill(totp(known["totp_secret"], datetime.fromisoformat(admin(about["admin"], "GET", "/")["now"])))
    person.see("activate").click()
    expect(person.see("session-1")).to_have_text("VALID")
    expect(person.see("in-use-1")).to_be_visible()

    person.page.wait_for_timeout(1500)  # the broker takes one login a second
    person.see("switch-2").click()  # its stored TOTP secret logs in without a person
    expect(person.see("in-use-2")).to_be_visible()
    expect(person.see("session-2")).to_have_text("VALID")
    person.see("make-default-2").click()
    expect(person.see("default-2")).to_be_visible()
    expect(person.see("default-1")).to_have_count(0)
    person.see("remove-1").click()
    person.see("sure").click()
    expect(person.see("app-1")).to_have_count(0)

    person.go("/")
    expect(person.see("unused-funds")).to_have_text("₹10,00,000")
    assert "old" not in str(person.see("portfolio-body").get_attribute("class")).split()
    admin(about["admin"], "POST", "/shutdown")
    person.go("/")
    expect(person.see("portfolio-as-of")).to_have_text(STALE)
    expect(person.see("unused-funds")).to_have_text("₹10,00,000")
    person.page.wait_for_function("document.querySelector('[data-testid=portfolio-body]').classList.contains('old')")
    assert person.complaints == []
