"""What holds for every test: a property has no deadline, because a busy machine is no defect."""

import shutil

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None)
settings.load_profile("house")


def pytest_collection_finish(session: pytest.Session) -> None:
    """A group is one worker's (what it shares is made once); a pytest that pytest-xdist does not know loses groups without a word."""
    if session.config.getoption("loadgroup", default=False):
        lost = [item.nodeid for item in session.items if item.get_closest_marker("xdist_group") and "@" not in item.nodeid]
        assert not lost, f"{len(lost)} tests lost their group, the first is {lost[0]}: do the pins of pytest and pytest-xdist fit?"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it where nobody can miss it: a green suite without a browser has not looked at the page."""
    if shutil.which("chromium") is None:
        terminalreporter.write_line(
            "NO BROWSER TEST RAN: there is no chromium here; `make test-browser` installs it and runs them", yellow=True
        )
