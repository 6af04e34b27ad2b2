"""What a glance must tell: practice, paper and live by colour and word, trouble in the state, and text of others that stays text."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.scripted import AT, USUAL, Script, scripted
from tests.browser.stage import PHONE, Person

pytestmark = pytest.mark.xdist_group("looks")  # one scripted process
COLOUR = "getComputedStyle(document.querySelector('.banner')).backgroundColor"
PLANTED = "<img src=x: onerror='window.planted = 1'><b>bold</b> {{ 7 * 7 }}"
TROUBLE: dict[str, Any] = {
    "kind": "live", "trading_state": "HALTED", "session": "LOGIN_REQUIRED", "flat": False, "late_events": 7,
    "blind": "the books are not read",
    "frozen": {"nifty_trend": "two orders with one tag"},
    "feed": {"connected": False, "age_s": 61.0, "stale": ["NFO:NIFTY26NOVFUT"]},
    "alerts": [{"at": AT, "level": "page", "title": "Halted", "text": PLANTED}],
    "refusals": [{"strategy": "nifty_trend", "name": "NIFTY_FUT", "rule": "halted", "reason": PLANTED, "count": 3}],
}  # fmt: skip
ORDER: dict[str, Any] = {
    "account": "mine", "id": "A1", "tag": "A1", "broker_order_id": None, "strategy": "nifty_trend", "instrument": "NFO:NIFTY26NOVFUT",
    "side": "BUY", "order_type": "LIMIT", "purpose": "entry", "product": "MIS", "quantity": 65, "filled": 0, "average_price": None,
    "limit_price": 25000.0, "trigger_price": None, "state": "REJECTED", "reason": PLANTED, "created_at": AT, "updated_at": AT,
}  # fmt: skip


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Script]:
    with scripted(tmp_path_factory.mktemp("scripted")) as made:
        yield made


def test_practice_paper_and_live_differ_at_a_glance(browser: Browser, script: Script) -> None:
    person, seen = Person(browser, script.address, PHONE), {}
    person.enter()
    for kind, word in (("practice", "PRACTICE"), ("paper", "PAPER"), ("live", "LIVE")):
        script.tell(status={"kind": kind})
        expect(person.see("kind")).to_have_text(word)
        expect(person.page.locator(f".banner.{kind}")).to_be_visible()
        seen[kind] = person.page.evaluate(COLOUR)
        person.fits()
    assert len(set(seen.values())) == 3, seen


def test_trouble_shows_and_what_others_wrote_stays_text(browser: Browser, script: Script) -> None:
    script.tell(status=TROUBLE, orders=[ORDER])
    person = Person(browser, script.address)
    person.enter()
    expect(person.see("trading-state")).to_have_text("HALTED")
    expect(person.see("session")).to_have_text("LOGIN_REQUIRED")
    expect(person.see("feed")).to_have_text("disconnected")
    for name in ("alerts", "refusals", "orders"):
        expect(person.see(name)).to_contain_text(PLANTED)
    assert person.page.locator("b", has_text="bold").count() == 0
    assert person.page.evaluate("window.planted === undefined")
    person.see("resume").click()
    expect(person.page.get_by_role("dialog")).to_contain_text("Trading was halted")
    assert person.complaints == []


def test_each_account_is_seen_on_every_page_and_a_switch_means_the_one_that_is_shown(browser: Browser, script: Script) -> None:
    common = {"broker": "zerodha", "session": "VALID", "flat": True, "trading_state": "ACTIVE", "running": True, "pnl": {"net": 120.5}}
    accounts: list[dict[str, Any]] = [
        {**common, "account": "mine", "kind": "live"},
        {**common, "account": "second", "kind": "paper", "trading_state": "HALTED", "pnl": {"net": -80.0}},
        {**common, "account": "third", "kind": "paper", "running": False},
    ]
    status = {**USUAL, "accounts": accounts}
    script.tell(status={**status, "account": "mine", "kind": "live"}, **{
        f"status@{row['account']}": {**status, "account": row["account"], "kind": row["kind"], "trading_state": row["trading_state"]}
        for row in accounts
    }, **{"orders@second": [{**ORDER, "account": "second", "reason": "of the second"}]})  # fmt: skip
    person = Person(browser, script.address)
    person.enter()
    for name, words in (("mine", "LIVE ACTIVE +₹120.50"), ("second", "PAPER HALTED −₹80.00"), ("third", "PAPER STOPPED")):
        for word in words.split():
            expect(person.see(f"account-{name}")).to_contain_text(word)
    expect(person.see("kind")).to_have_text("LIVE")
    person.see("account-second").click()
    expect(person.see("kind")).to_have_text("PAPER")
    expect(person.see("trading-state")).to_have_text("HALTED")
    expect(person.see("orders")).to_contain_text("of the second")
    expect(person.see("kill")).to_contain_text("KILL second")
    person.see("kill").click()
    expect(person.page.get_by_role("dialog")).to_contain_text("Kill second (PAPER)?")
    person.see("sure").click()
    expect(person.page.get_by_role("alert")).to_contain_text("kill done")
    assert script.asked == ["kill second"]
    person.page.get_by_role("link", name="Journal").click()
    expect(person.page).to_have_url(f"{script.address}/journal?account=second")
    expect(person.see("kind")).to_have_text("PAPER")
    person.see("account-mine").click()
    expect(person.see("kind")).to_have_text("LIVE")
    person.page.get_by_role("link", name="Cockpit").click()
    person.see("kill-all").click()
    expect(person.page.get_by_role("dialog")).to_contain_text("mine (LIVE), second (PAPER), third (PAPER)")
    person.see("sure").click()
    expect(person.page.get_by_role("alert")).to_contain_text("third: kill done")
    assert script.asked == ["kill mine", "kill second", "kill second", "kill third"]
    person.go("/?account=nobody")
    expect(person.see("kind")).to_have_text("LIVE")
    assert person.complaints == []
    phone = Person(browser, script.address, PHONE)
    phone.enter()
    expect(phone.see("account-third")).to_be_attached()
    phone.fits()


def test_a_person_who_has_looked_for_an_order_of_unknown_fate_says_so(browser: Browser, script: Script) -> None:
    script.tell(orders=[{**ORDER, "state": "UNKNOWN"}])
    person = Person(browser, script.address)
    person.enter()
    person.see("orders").get_by_text("UNKNOWN").click()
    person.see("absent").click()
    expect(person.page.get_by_role("dialog").last).to_contain_text("an exit is doubled")
    person.see("sure").click()
    expect(person.page.get_by_text("absent")).to_be_visible()
    assert "absent None" in script.asked
