"""Charts, strategies, backtests, journal and check over a scripted daemon: what they show, to whom, and that they fit a phone."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.scripted import AT, Script, scripted
from tests.browser.stage import PHONE, Person
from tests.unit.test_page_pieces import FOUND

pytestmark = pytest.mark.xdist_group("scripted pages")
STRATEGY: dict[str, Any] = {
    "name": "trend", "class": "sma_cross", "params": {"fast": 5}, "interval": "5m", "horizon": "intraday", "window": {}, "risk": {},
    "size": {"lots": 1}, "instruments": {"NIFTY_FUT": "NFO:NIFTY26NOVFUT"}, "enabled": True, "state": "running", "why": "",
    "position": {"NFO:NIFTY26NOVFUT": -65}, "pnl": -12.5, "trades": 2,
}  # fmt: skip
SERIES = {"instrument": FOUND["instrument"], "interval": 5, "bars": 3, "last_at": AT, "strategies": ["trend"]}
FILLS = [{**one, "instrument": FOUND["instrument"], "charges": 20.0} for one in FOUND["trades"]]
ENTRY = {"seq": 1, "at": AT, "kind": "signal", "why": "<b>bold</b> {{ 7 * 7 }}"}


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Script]:
    with scripted(tmp_path_factory.mktemp("scripted")) as made:
        said = {"strategies": [STRATEGY], "chart": FOUND, "charts": [SERIES], "fills": FILLS, "journal": [ENTRY]}
        made.tell(status={"strategies": [STRATEGY]}, **said)
        yield made


@pytest.fixture(scope="module", params=[False, True], ids=["desktop", "phone"])
def person(request: pytest.FixtureRequest, browser: Browser, script: Script) -> Person:
    made = Person(browser, script.address, PHONE, dark=True) if request.param else Person(browser, script.address)
    made.enter()
    return made


def test_each_page_shows_its_own_and_fits(person: Person) -> None:
    person.go("/charts")
    expect(person.see("picture").locator(".legendtext", has_text="trend fast")).to_have_count(1)
    expect(person.see("chart-fills")).to_contain_text("103.20")
    person.fits()
    person.go("/strategies")
    expect(person.see("strategy-trend")).to_contain_text("decides at the close of each bar of 5m")
    expect(person.see("strategy-trend")).to_contain_text("-65 NIFTY26NOVFUT")
    person.see("tune-trend").get_by_text("Parameters and limits").click()
    expect(person.see("trend-params.fast")).to_have_value("5")
    expect(person.page.get_by_text("1 to 500, usually 9")).to_be_visible()
    person.fits()
    person.go("/backtests")
    expect(person.page.get_by_text("put Parquet or CSV files into")).to_be_visible()
    person.fits()
    person.go("/journal")
    expect(person.see("entries")).to_contain_text("why: <b>bold</b> {{ 7 * 7 }}")
    person.fits()
    person.go("/check")
    expect(person.see("verdict")).to_have_text("nothing stands in the way")
    expect(person.see("status-disk")).to_have_class("badge good")
    person.fits()
    assert person.complaints == []
