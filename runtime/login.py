"""The day's login of a paper or live account: by the browser's redirect to localhost, or by what the user pasted."""

import sys
import webbrowser
from pathlib import Path

from loguru import logger

from core.errors import ConfigError, NiyamError
from core.types import PRACTICE_KINDS, Account
from runtime import state_folder
from runtime.venue import Venue
from utils import control

REDIRECT_PORT = 5000
PATIENCE = 300.0  # seconds a person has for password and second factor


def login(account: Account, state: Path, here: Venue, *, answer: str | None, totp: bool) -> str:
    """Log the account in and say until when; raises ConfigError or BrokerError. A running daemon is told at once.

    A simulator approves by itself.
    """
    spec = here.spec
    if totp:
        raise ConfigError(f"{spec.title} offers no login without a person (its API has none); leave --totp out and log in by the browser")
    folder = here.folder(state, account)
    session = here.session(account, folder)
    if answer is None and here.login_page is not None:
        session.auto_login(here.login_page)
    else:
        session.accept(answer if answer is not None else _caught(session.login_url()))
    _tell_daemon(folder, account)
    expires = session.expires_at()
    where = f"the simulator of {spec.title}" if here.simulator else spec.title
    return f"{account.name} is logged in at {where}" + (f" until {expires:%Y-%m-%d %H:%M}" if expires else "")


def practice(state: Path, account: str | None) -> tuple[str, str] | None:
    """Log a running practice daemon in at its simulator, which approves by itself: its account and what came of it.

    None when no such daemon runs (for that account).
    """
    folder = state_folder.current(state)
    about = folder.about() if folder is not None else {}
    if folder is None or about.get("kind") not in PRACTICE_KINDS or account not in (None, about["account"]):
        return None
    try:
        answer = control.ask(folder.control_socket, "login", timeout=30.0)
    except control.DaemonDown:
        return None
    if not answer.ok:
        raise NiyamError(answer.text)
    return about["account"], f"{answer.text} (practice: the simulator approves by itself)"


def _caught(url: str) -> str:
    """The redirect of the browser's login; without a terminal there is nobody to wait for, and the URL is the message."""
    if not sys.stdout.isatty():
        raise NiyamError(f"log in at {url} and give the address you end on: main.py login ... --redirect-url 'ADDRESS'")
    from brokers.redirect import RedirectCatcher

    with RedirectCatcher(REDIRECT_PORT) as catcher:
        sys.stdout.write(f"Log in at\n  {url}\nwaiting for its redirect on http://127.0.0.1:{catcher.port}/ (Ctrl-C to stop)\n")
        sys.stdout.flush()
        try:
            webbrowser.open(url)
        except webbrowser.Error as error:
            logger.debug("no browser opened: {}", error)
        found = catcher.wait(PATIENCE)
    if found is None:
        raise NiyamError(f"nobody logged in within {PATIENCE:.0f} s; try again, or paste the address you ended on with --redirect-url")
    return found


def _tell_daemon(folder: state_folder.RunFolder, account: Account) -> None:
    try:
        control.ask(folder.control_socket, "login", {"account": account.name}, timeout=10.0)
    except control.DaemonDown:
        return
