"""Charts, strategies, backtests, journal and check in a real browser, over one practice day at the Zerodha simulator."""

import json
import math
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser, expect

from tests.browser.stage import DESKTOP, PASSWORD, PHONE, Person, answers
from tests.e2e.stage import HELD, Stage, until
from tests.e2e.test_api_day import free_port

pytestmark = [pytest.mark.walk, pytest.mark.xdist_group("pages")]  # one daemon for all of them; the suite's short form: test_pages_scripted
OWNER, VIEWER = "me@example.in", "watcher"
PATHS = ("/charts", "/strategies", "/backtests", "/journal", "/check")
SHOTS = os.environ.get("NIYAM_TEST_SHOTS", "")  # a folder for pictures of each page, to be looked at


class Day:
    """A daemon at work, an owner and a viewer."""

    def __init__(self, stage: Stage, port: int) -> None:
        self.stage = stage
        self.address = f"http://127.0.0.1:{port}"

    def ask(self, method: str, path: str, body: object = None, token: str = "") -> Any:
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        data = json.dumps(body).encode() if body is not None else None
        with urllib.request.urlopen(urllib.request.Request(self.address + path, data, headers, method=method), timeout=60) as reply:
            return json.loads(reply.read())

    def token(self, username: str) -> str:
        return str(self.ask("POST", "/api/v1/auth/login", {"username": username, "password": PASSWORD})["access_token"])

    def person(self, browser: Browser, username: str = OWNER, *, phone: bool = False) -> Person:
        """Somebody signed in; on a phone in the dark."""
        person = Person(browser, self.address, PHONE if phone else DESKTOP, dark=phone)
        person.sign_in(username)
        person.see("kind").wait_for()
        return person


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    with Stage(tmp_path_factory.mktemp("day")) as stage:
        port = free_port()
        stage.configure("settings.yaml", "  port: 8000", f"  port: {port}")
        stage.strategy.write_text(stage.strategy.read_text(encoding="utf-8").replace("fast: 5, slow: 12", "fast: 2, slow: 4"))
        stage.simulate(start="09:14", speed=HELD)
        data = stage.state / "backtest-data"
        data.mkdir(parents=True)
        (data / "three_days.csv").write_text(bars(), encoding="utf-8")
        stage.run(api=True)
        made = Day(stage, port)
        until(lambda: answers(made.address), "the web process")
        made.ask("POST", "/api/v1/auth/register", {"username": OWNER, "password": PASSWORD})
        invitation = made.ask("POST", "/api/v1/auth/invitations", {"role": "viewer"}, made.token(OWNER))["invitation"]
        made.ask("POST", "/api/v1/auth/register", {"username": VIEWER, "password": PASSWORD, "invitation": invitation})
        stage.go_to("10:00:30")
        stage.go_on_until(lambda _: len(stage.journal()) > 110, "a journal of more than a page")
        yield made


def bars() -> str:
    rows = ["timestamp,symbol,open,high,low,close,volume"]
    for number in range(3 * 375):
        minute, price = number % 375, 25_000 + 120 * math.sin(number / 23)
        at = f"2026-11-{18 + number // 375}T{9 + (15 + minute) // 60:02d}:{(15 + minute) % 60:02d}:00+05:30"
        rows.append(f"{at},NFO:NIFTY26NOVFUT,{price:.1f},{price + 6:.1f},{price - 6:.1f},{price + 2:.1f},{500 + minute}")
    return "\n".join(rows) + "\n"


def test_a_chart_has_bars_indicators_and_trades_and_grows(browser: Browser, day: Day) -> None:
    person = day.person(browser)
    person.go("/charts?instrument=NFO:NIFTY26NOVFUT")
    picture = person.see("picture")
    expect(person.page.get_by_text("bars, the last closed at")).to_be_visible()
    expect(picture.locator(".cartesianlayer .trace.boxes")).to_have_count(1)
    for words in ("busy fast", "busy slow", "bought", "sold"):
        expect(picture.locator(".legendtext", has_text=words)).to_have_count(1)
    expect(person.see("chart-fills").locator("tbody tr").first).to_contain_text("busy")
    before = int(person.page.get_by_text("bars, the last closed at").inner_text().split()[0])
    day.stage.step(60)
    person.page.wait_for_function("before => parseInt([...document.querySelectorAll('.note')].map(n => n.innerText)"
                                  ".find(t => t.includes('bars, the last'))) > before", arg=before)  # fmt: skip
    person.page.get_by_role("switch", name="Indicators").click()
    expect(picture.locator(".legendtext", has_text="busy fast")).to_have_count(0)
    assert person.complaints == []


def test_a_strategy_is_retuned_within_its_ranges_and_switched_off_and_on(browser: Browser, day: Day) -> None:
    person = day.person(browser)
    person.go("/strategies")
    expect(person.see("strategy-busy")).to_contain_text("sma_cross on NFO:NIFTY26NOVFUT, NFO:BANKNIFTY26NOVFUT, 1m bars, intraday")
    person.see("tune-busy").get_by_text("Parameters and limits").click()
    expect(person.page.get_by_text("1 to 500, usually 9")).to_be_visible()
    person.see("busy-params.fast").fill("600")
    person.see("apply-busy").click()
    expect(person.see("wrong-busy")).to_contain_text("fast: 600 is outside 1..500")
    assert yaml.safe_load(day.stage.strategy.read_text(encoding="utf-8"))["params"]["fast"] == 2, "what is wrong changes nothing"
    person.see("busy-params.fast").fill("3")
    person.see("busy-risk.max_trades").fill("400")
    person.see("busy-risk.lock_profit.keep").fill("60")
    person.see("apply-busy").click()
    expect(person.see("wrong-busy")).to_contain_text("risk.lock_profit: give at too")
    person.see("busy-risk.lock_profit.at").fill("900000")
    person.see("busy-risk.cooldown.minutes").fill("1")
    person.see("apply-busy").click()
    expect(person.page.locator(".q-notification.bg-positive")).to_be_visible()
    written = yaml.safe_load(day.stage.strategy.read_text(encoding="utf-8"))
    assert (written["params"]["fast"], written["risk"]["max_trades"]) == (3, 400)
    assert written["risk"]["lock_profit"] == {"at": 900000, "keep": 60}
    assert written["risk"]["cooldown"] == {"minutes": 1, "after": "loss"}
    told = [row["strategies"]["busy"] for row in day.stage.call("journal", "--json").json if "busy" in row.get("strategies", {})]
    assert any(field.startswith("risk.lock_profit") for field in told[-1]["fields"]), told
    expect(person.see("busy-params.fast")).to_have_value("3")
    expect(person.see("wrong-busy")).not_to_be_visible()

    person.see("switch-busy").click()
    expect(person.see("state-busy")).to_have_text("disabled")
    expect(person.see("strategy-busy")).to_contain_text("nothing: by command")
    assert [row["enabled"] for row in day.stage.call("strategies", "--json").json] == [False]
    person.see("switch-busy").click()
    until(lambda: day.stage.call("strategies", "--json").json[0]["enabled"], "the strategy on again")
    expect(person.see("state-busy")).not_to_have_text("disabled")
    assert person.complaints == []


def test_a_backtest_is_started_followed_and_its_report_drawn_in_a_frame_that_can_do_nothing_else(browser: Browser, day: Day) -> None:
    person = day.person(browser)
    person.go("/backtests")
    person.see("strategy").click()
    person.page.get_by_role("option", name="nifty_trend", exact=True).click()
    person.see("param-fast").fill("5")
    person.press("Start")
    run = person.see("run").filter(has_text="nifty_trend on three_days.csv")
    expect(run).to_contain_text("fast 5")
    expect(run.locator(".badge")).to_have_text("done")
    expect(run.locator(".value")).to_contain_text("trades")
    run.get_by_role("button", name="Report").click()
    frame = person.page.frame_locator("iframe[data-testid=report]")
    expect(frame.locator("h1")).to_contain_text("nifty_trend")
    expect(frame.locator(".js-plotly-plot .main-svg").first).to_be_visible()
    [inner] = [one for one in person.page.frames if "/reports/" in one.url]
    assert inner.evaluate("window.origin") == "null", "it has no origin: neither cookie nor page is in its reach"
    reached = "fetch('/api/v1/status').then(() => 'reached', () => 'refused')"
    assert inner.evaluate(reached) == "refused"
    person.complaints.clear()  # the browser said that it refused that

    person.see("strategy").click()
    person.page.get_by_role("option", name="banknifty_supertrend", exact=True).click()
    person.press("Start")
    failed = person.see("run").filter(has_text="banknifty_supertrend")
    expect(failed.locator(".badge")).to_have_text("failed")
    expect(failed).to_contain_text("BANKNIFTY has no near future in the data")
    assert person.complaints == []


def test_the_journal_is_searched_and_turned_page_by_page(browser: Browser, day: Day) -> None:
    person = day.person(browser)
    person.go("/journal")
    rows = person.see("entries").locator("tbody tr")
    expect(rows).to_have_count(100)
    newest = int(rows.first.locator("td").first.inner_text())
    person.see("older").click()
    expect(person.see("newer")).to_be_enabled()
    expect(rows.first.locator("td").first).to_have_text(str(newest - 100))
    person.see("newer").click()
    expect(person.see("newer")).to_be_disabled()

    person.see("kind-of").click()
    person.page.get_by_role("option", name="day_opened").click()
    person.press("Search")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("2026-11-20")
    person.see("text").fill("no such words <b>anywhere</b>")
    person.press("Search")
    expect(person.page.get_by_text("nothing of that kind")).to_be_visible()
    person.see("text").fill("BANKNIFTY")
    person.see("day").fill("2026-11-19")
    person.press("Search")
    expect(person.page.get_by_text("nothing of that kind")).to_be_visible()
    assert person.complaints == []


def test_the_check_says_each_finding_and_its_colour(browser: Browser, day: Day) -> None:
    person = day.person(browser)
    person.go("/check")
    expect(person.see("verdict")).to_contain_text("nothing stands in the way")
    expect(person.see("status-disk")).to_have_class("badge good")
    expect(person.page.locator(".finding")).to_have_count(len(day.stage.call("check", "--json").json["checks"]))
    assert person.complaints == []


def test_a_viewer_sees_all_of_it_and_acts_on_nothing(browser: Browser, day: Day) -> None:
    person = day.person(browser, VIEWER)
    for path in PATHS:
        person.go(path)
        person.see("kind").wait_for()
    person.go("/strategies")
    person.see("state-busy").wait_for()
    assert person.see("switch-busy").count() == person.see("tune-busy").count() == 0
    person.go("/backtests")
    person.see("runs").wait_for()
    assert person.see("new-backtest").count() == 0
    expect(person.page.get_by_text("no run yet")).to_be_visible()  # another's runs are not there for them
    assert person.complaints == []


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_every_page_fits_its_window_in_light_and_dark(browser: Browser, day: Day, phone: bool) -> None:
    person = day.person(browser, phone=phone)
    for path in PATHS:
        person.go(path)
        person.page.locator(".card").first.wait_for()
        person.page.wait_for_timeout(1500)
        person.fits()
        if SHOTS:
            person.page.screenshot(path=str(Path(SHOTS) / f"{path[1:]}-{'phone' if phone else 'desktop'}.png"))
    assert person.complaints == []
