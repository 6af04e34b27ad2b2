"""What holds for every test: a property has no deadline, because a busy machine is no defect."""

import shutil

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None)
settings.load_profile("house")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it where nobody can miss it: a green suite without a browser has not looked at the page."""
    if shutil.which("chromium") is None:
        terminalreporter.write_line(
            "NO BROWSER TEST RAN: there is no chromium here; `make test-browser` installs it and runs them", yellow=True
        )
