"""A person's whole way in a real browser, at each broker's simulator: register, wizard, login, figures, an order, its fill, kill, flat."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from brokers.angelone.session import totp
from tests.browser.stage import Person, answers
from tests.e2e.stage import HELD, Stage, admin, until
from tests.e2e.test_api_day import IDLE, free_port

REDIRECTED = {"zerodha", "upstox"}  # their redirect says whose login it was: nothing is typed


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path) as made:
        made.strategy.write_text(IDLE, encoding="utf-8")
        yield made


def set_up(person: Person, stage: Stage, broker: str) -> None:
    """The wizard with this simulator's credentials, up to the active broker."""
    known = admin(stage.simulator, "GET", "/")["credentials"]
    person.go("/setup")
    person.see("broker").click()
    names = {"zerodha": "Zerodha", "groww": "Groww", "upstox": "Upstox", "icici": "ICICI Direct", "angelone": "Angel One"}
    person.page.get_by_role("option", name=names[broker]).click()
    fields = {"api_key": known["api_key"]}
    if broker == "angelone":
        fields |= {"account_id": known["client_code"], "mpin": known["mpin"]}
    elif broker != "groww":
        fields |= {"api_secret": known["api_secret"]}
    person.fill(**fields)
    person.press("Set up account")
    if broker in ("angelone", "groww"):
        now = datetime.fromisoformat(admin(stage.simulator, "GET", "/")["now"])
        person.see("answer").fill(totp(known["totp_secret"], now))
        person.see("activate").click()
    else:
        admin(stage.simulator, "POST", "/redirect", {"url": person.see("redirect-uri").inner_text()})
        with person.context.expect_page() as opened:
            person.see("login-link").click()
        page = opened.value
        page.wait_for_url(f"{person.address}/api/v1/dashboard/{broker}/callback**")
        if broker not in REDIRECTED:
            person.see("answer").fill(page.url)
            person.see("activate").click()
        page.close()
    person.see("activated").wait_for()


@pytest.mark.parametrize(
    "broker", ["zerodha", *(pytest.param(name, marks=pytest.mark.walk) for name in ("upstox", "icici", "angelone", "groww"))]
)
def test_from_the_first_registration_to_flat(browser: Browser, stage: Stage, broker: str) -> None:
    port = free_port()
    stage.configure("settings.yaml", "  port: 8000", f"  port: {port}")
    stage.simulate(start="10:00", speed=HELD, broker=broker)
    if broker == "upstox":  # its login address names the redirect: that of the account's credentials
        admin(stage.simulator, "POST", "/redirect", {"url": f"http://127.0.0.1:{port}/api/v1/dashboard/upstox/callback"})
    stage.run("--broker", broker, api=True)
    address = f"http://127.0.0.1:{port}"
    until(lambda: answers(address), "the web process")
    stage.until(lambda status: bool(status["feed"]["connected"]), "the day")
    person = Person(browser, address)
    person.register()
    set_up(person, stage, broker)

    person.press("Go to the cockpit")
    expect(person.see("kind")).to_have_text("PRACTICE")
    expect(person.see("unused-funds")).to_have_text("₹10,00,000")
    person.fill(symbol="NIFTY_FUT", lots="1")
    person.see("buy").click()
    person.see("sure").click()
    expect(person.see("orders")).to_contain_text("FILLED")
    expect(person.see("positions")).to_contain_text("NIFTY26NOVFUT")

    person.see("kill").click()
    person.see("sure").click()
    expect(person.see("trading-state")).to_have_text("HALTED")
    stage.until(lambda status: status["flat"], "flat")
    expect(person.see("flat")).to_have_text("flat")
    assert person.complaints == []
