"""Today's Zerodha login by hand: `python utils/zerodha_auth.py`. Opens the login page, catches its redirect, keeps the token in a file.

Nothing needs to be copied: the login's redirect to http://127.0.0.1:PORT/ is caught (that address must be the app's registered redirect
URL at developers.kite.trade), or the address you end on is pasted with --paste. API key and secret come from the environment, `.env` or
config/secrets.env, else they are asked for. The token goes to STATE/session/zerodha.json (mode 0600) and is shown only if asked.
With NIYAM_SIMULATOR (the admin address of a `main.py simulate zerodha`) the login happens there, and nothing of it is kept.
"""

import argparse
import getpass
import sys
import tempfile
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

if __name__ == "__main__":  # run as a script: this folder is on the path, the project is not
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from brokers.redirect import RedirectCatcher
from brokers.spec import Endpoints
from brokers.zerodha import SPEC
from brokers.zerodha.session import ZerodhaSession
from core.clock import SystemClock
from core.errors import ConfigError, NiyamError
from core.ports import CredentialStore
from utils.config_loader import config, environment

PORT = 5000
_PATIENCE = 300.0  # seconds a person has for password and second factor


class Asked:
    """A credential store that asks the person at the terminal for what the configured places do not hold."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self._answers: dict[str, str] = {}

    def get_secret(self, name: str) -> str:
        if name not in self._answers:
            found = config.find(name)
            if found is None and not sys.stdin.isatty():
                return config.get_secret(name)  # raises, naming the places searched
            self._answers[name] = found or getpass.getpass(f"{name} (not shown): ").strip()
        return self._answers[name]


def token_file(state: Path, account: str | None = None) -> Path:
    """Where the day's token lies: of a configured account, or of bare scripts when `account` is None."""
    return (state / "accounts" / account if account else state) / "session" / "zerodha.json"


def generate_access_token(
    answer: str | None = None,
    *,
    account: str | None = None,
    state: Path | None = None,
    port: int = PORT,
    paste: bool = False,
    credentials: CredentialStore | None = None,
    endpoints: Endpoints = SPEC.endpoints,
    open_page: Callable[[str], object] = webbrowser.open,
    say: Callable[[str], object] = lambda text: sys.stdout.write(f"{text}\n"),
) -> str:
    """Log in for the day, keep the token in its 0600 file and return it; raises NiyamError when the login did not happen.

    `answer` is a redirect URL or a request token already at hand; without one the redirect is caught on localhost, or pasted.
    """
    file = token_file(state or Path(environment("NIYAM_STATE", "var")), account)
    session = ZerodhaSession(account or "script", credentials or Asked(say), SystemClock(), file, endpoints, lambda event: None)
    if answer is None:
        say(f"Log in at\n  {session.login_url()}")
        answer = _pasted(session, open_page) if paste else _caught(session, open_page, port, say)
    session.accept(answer)
    token = session.token()
    say(f"Logged in until {session.expires_at():%Y-%m-%d %H:%M}. Token {masked(token)} is in {file}")
    return token


class _Given:
    """The key and secret that a simulator gave."""

    def __init__(self, credentials: Mapping[str, str]) -> None:
        self._credentials = credentials

    def get_secret(self, name: str) -> str:
        return self._credentials[name.removeprefix("ZERODHA_").lower()]


def login_at_simulator(address: str, say: Callable[[str], object] = lambda text: sys.stdout.write(f"{text}\n")) -> str:
    """Log in at a simulator, which approves by itself, and return the token. It is kept nowhere: it is no broker's."""
    from data_ingestion.bare_session import about

    told = about(address)
    endpoints = Endpoints(told["rest"], told["stream"], told["login"])
    with tempfile.TemporaryDirectory(prefix="niyam-login-") as folder:
        session = ZerodhaSession(
            "script", _Given(told["credentials"]), SystemClock(), Path(folder) / "zerodha.json", endpoints, lambda event: None
        )
        session.auto_login(endpoints.login)
        token = session.token()
    say(f"Logged in at the simulator {endpoints.rest} with token {masked(token)}, which is not kept: scripts log in there by themselves")
    return token


def masked(token: str) -> str:
    """A token as it may be shown: its last four characters."""
    return f"…{token[-4:]}" if len(token) >= 12 else "…"


def _pasted(session: ZerodhaSession, open_page: Callable[[str], object]) -> str:
    open_page(session.login_url())
    return input("The whole address you ended on (or its request_token): ")


def _caught(session: ZerodhaSession, open_page: Callable[[str], object], port: int, say: Callable[[str], object]) -> str:
    with RedirectCatcher(port) as catcher:
        say(f"waiting for its redirect on http://127.0.0.1:{catcher.port}/ (Ctrl-C to stop; --paste to paste the address instead)")
        open_page(session.login_url())
        answer = catcher.wait(_PATIENCE)
    if answer is None:
        raise ConfigError(f"nobody logged in within {_PATIENCE:.0f} s; try again, or use --paste")
    return answer


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Log in to Zerodha for the day and keep the access token.")
    parser.add_argument("--redirect-url", metavar="URL", help="the address you ended on (or the request token), if you have it already")
    parser.add_argument("--paste", action="store_true", help="paste the address you end on instead of catching the redirect")
    parser.add_argument("--port", type=int, default=PORT, help=f"where the redirect is caught on 127.0.0.1 (default {PORT})")
    parser.add_argument("--account", metavar="NAME", help="an account of settings.yaml; without it the token is for bare scripts")
    parser.add_argument("--state", type=Path, metavar="DIR", help="state folder (default: NIYAM_STATE, else ./var)")
    parser.add_argument("--show-token", action="store_true", help="print the token in full")
    options = parser.parse_args(arguments)
    try:
        if simulator := environment("NIYAM_SIMULATOR"):
            token = login_at_simulator(simulator)
        else:
            token = generate_access_token(
                options.redirect_url, account=options.account, state=options.state, port=options.port, paste=options.paste
            )
    except NiyamError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.show_token:
        sys.stdout.write(f"ZERODHA_ACCESS_TOKEN={token}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
