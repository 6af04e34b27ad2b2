"""The day's login of a paper or live account: by the browser's redirect to localhost, or by what the user pasted."""

import getpass
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from loguru import logger

from brokers.spec import CodeSession
from core.errors import ConfigError, NiyamError
from core.types import PRACTICE_KINDS, Account
from runtime import state_folder
from runtime.venue import Venue
from utils import control

REDIRECT_PORT = 5000
PATIENCE = 300.0  # seconds a person has for password and second factor


def login(account: Account, state: Path, here: Venue, *, answer: str | None, totp: bool, siblings: Sequence[Account] = ()) -> str:
    """Log the account in and say until when; raises ConfigError or BrokerError. A running daemon is told at once.

    A simulator approves by itself. `totp`: without a person, by a stored secret, where the broker's API has such a login. `siblings` are
    other accounts of the same app, whose login this is as well: an app has one at a time.
    """
    spec = here.spec
    if totp and spec.login != "code":
        raise ConfigError(f"{spec.title} offers no login without a person (its API has none); leave --totp out and log in by the browser")
    folder = here.folder(state, account)
    session = here.session(account, folder)
    if answer is None and here.login_page is not None:
        session.auto_login(here.login_page)
    elif answer is None and spec.login == "code":
        _by_code(cast(CodeSession, session), spec.title, unattended=totp)
    else:
        session.accept(answer if answer is not None else _caught(session.login_url()))
    for sibling in siblings:
        _copy_login(folder, here.folder(state, sibling), spec.name)
    for one in (account, *siblings):
        _tell_daemon(here.folder(state, one), one)
    expires = session.expires_at()
    where = f"the simulator of {spec.title}" if here.simulator else spec.title
    return f"{account.name} is logged in at {where}" + (f" until {expires:%Y-%m-%d %H:%M}" if expires else "")


def practice(state: Path, account: str | None) -> tuple[str, str] | None:
    """Log a running practice daemon in at its simulator, which approves by itself: its account and what came of it.

    None when no such daemon runs (for that account). Of several accounts side by side every one is logged in.
    """
    told: dict[str, str] = {}
    for folder in state_folder.currents(state):
        about = folder.about()
        if about.get("kind") not in PRACTICE_KINDS or account not in (None, about["account"]):
            continue
        try:
            answer = control.ask(folder.control_socket, "login", timeout=30.0)
        except control.DaemonDown:
            continue
        if not answer.ok:
            raise NiyamError(answer.text)
        told[about["account"]] = answer.text
    if not told:
        return None
    return next(iter(told)), f"{'; '.join(told.values())} (practice: the simulator approves by itself)"


def _by_code(session: CodeSession, title: str, *, unattended: bool) -> None:
    """Refresh first; where that does not help, the stored secret's code or the one that is typed now."""
    if session.expires_at() is not None and session.renew():
        return
    if not session.needs_code:
        session.unattended()
        return
    if unattended:
        logger.warning("{}: logged in with the stored TOTP secret; whoever reads this machine's secrets can do the same", title)
        session.unattended()
        return
    if sys.stdin.isatty():
        answer = getpass.getpass(f"{title}: the six digits of the authenticator app (not shown): ")
    else:
        answer = sys.stdin.readline()
    if not answer.strip():
        raise ConfigError(f"{title} needs the six digits of the authenticator app: type them, or pipe them in as one line")
    session.accept(answer)


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


def _copy_login(own: state_folder.RunFolder, other: state_folder.RunFolder, broker: str) -> None:
    """One app, one login: the other account's daemon finds it in its own folder."""
    target = other.token_file(broker)
    target.touch(mode=0o600)
    target.write_bytes(own.token_file(broker).read_bytes())


def _tell_daemon(folder: state_folder.RunFolder, account: Account) -> None:
    try:
        control.ask(folder.control_socket, "login", {"account": account.name}, timeout=10.0)
    except control.DaemonDown:
        return
