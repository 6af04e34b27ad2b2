"""The door of the page: the first owner, a wrong password, signing out, what a foreign page may not do, and the policy in the browser."""

import http.client
from typing import Any, cast

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.stage import PASSWORD, PHONE, Person, serving
from tests.e2e.stage import Stage

pytestmark = pytest.mark.xdist_group("door")  # one web process for those that only ask


def test_the_first_owner_registers_signs_out_and_in_again(browser: Browser, stage: Stage) -> None:
    with serving(stage) as address:
        person = Person(browser, address)
        person.go("/")
        person.fill(username="me@example.in", password=PASSWORD, again="another-password")
        person.press("Create the account")
        expect(person.see("refused")).to_have_text("the two passwords differ")
        person.register()
        expect(person.see("kind")).to_have_text("NO ACCOUNT")
        [cookie] = cast(Any, person.context.cookies())
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert person.page.evaluate("document.cookie") == ""

        person.press("Sign out")
        expect(person.page).to_have_url(f"{address}/sign-in")
        person.context.add_cookies([cookie])
        person.go("/")
        expect(person.page).to_have_url(f"{address}/sign-in")  # what was signed out is worth nothing

        person.sign_in(password="not-the-password")
        expect(person.see("refused")).to_have_text("wrong user name or password")
        person.sign_in()
        person.see("kind").wait_for()
        assert person.complaints == []


def test_a_page_fits_a_phone_and_follows_its_theme(browser: Browser, stage_address: str) -> None:
    person = Person(browser, stage_address, PHONE, dark=True)
    person.register()
    person.page.wait_for_function("document.body.classList.contains('body--dark')")
    person.fits()
    person.page.get_by_label("Menu").click()
    expect(person.page.get_by_text("Brokers")).to_be_visible()
    assert person.complaints == []


def test_a_script_without_the_pages_number_does_not_run(browser: Browser, stage_address: str) -> None:
    person = Person(browser, stage_address)
    person.go("/sign-in")
    person.see("username").wait_for()
    person.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x: onerror=\"window.planted = 1\">')")
    person.page.wait_for_timeout(300)
    assert person.page.evaluate("window.planted === undefined")
    assert any("Content Security Policy" in said for said in person.complaints)


@pytest.mark.parametrize("path", ["/session/in", "/session/register", "/session/out", "/_nicegui_ws/socket.io/?EIO=4&transport=polling"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", ""])
def test_a_page_of_another_origin_can_send_nothing(stage_address: str, path: str, origin: str) -> None:
    connection = http.client.HTTPConnection(stage_address.removeprefix("http://"), timeout=30)
    connection.request("POST", path, b"username=x&password=y", {"Origin": origin} if origin else {})
    assert connection.getresponse().status == 403
    connection.close()
