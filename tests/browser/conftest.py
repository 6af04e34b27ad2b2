"""Browser tests need Debian's Chromium: without it each is skipped and says so; `make test-browser` installs it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.stage import CHROMIUM, launch, serving
from tests.e2e.stage import Stage

WITHOUT = "NO BROWSER TEST RAN: there is no chromium on this machine; `make test-browser` installs it (apt-get install chromium)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if item.get_closest_marker("walk") and not os.environ.get("NIYAM_TEST_BROWSER"):
                item.add_marker(pytest.mark.skip(reason="a long walk, which `make test-browser` takes"))
            if not CHROMIUM and not os.environ.get("NIYAM_TEST_BROWSER"):
                item.add_marker(pytest.mark.skip(reason=WITHOUT))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, WITHOUT
    with sync_playwright() as playwright:
        opened = launch(playwright)
        yield opened
        opened.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path) as prepared:
        yield prepared


@pytest.fixture(scope="module")
def stage_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One web process for the tests of a module that only ask."""
    with Stage(tmp_path_factory.mktemp("asked")) as prepared, serving(prepared) as address:
        yield address
