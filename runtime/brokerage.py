"""The broker of the running account for the web process: its login and its portfolio go through the daemon, which alone holds the session.

An app that is not this account's (another broker, another API key) is answered with `mine: false`; the web process then speaks to that
app's broker by itself. Called on control threads.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from core.errors import NiyamError
from core.ports import Broker, CredentialStore
from core.types import IST
from execution_engine.limits import risk_settings
from runtime import portfolio
from runtime.errands import Errands
from runtime.wiring import PAPER_KINDS, House
from storage.store import SqlReader
from utils.control import Answer


def fingerprint(broker: str, api_key: str) -> str:
    """What says that two processes mean the same app, without the key."""
    return hashlib.sha256(f"niyam/{broker}/{api_key}".encode()).hexdigest()


class Brokerage:
    """Answers the control request `brokerage`."""

    def __init__(self, house: House, credentials: CredentialStore, errands: Errands, reader: Callable[[], SqlReader]) -> None:
        self._house = house
        self._credentials = credentials
        self._errands = errands
        self._reader = reader

    def answer(self, given: Mapping[str, Any]) -> Answer:
        """`do`: session, login-url, activate (with `answer`), portfolio; `broker` and `app` (a fingerprint) say whose."""
        house = self._house
        mine = {"mine": True, "account": house.account.name, "kind": str(house.account.kind)}
        if given.get("broker") != house.spec.name or not self._knows(str(given.get("app"))):
            return Answer(ok=False, text=f"the running account {house.account.name} is of another app", data={"mine": False})
        actions: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
            "session": lambda _: {},
            "login-url": lambda _: {"url": house.session.login_url()},
            "activate": self._activate,
            "portfolio": lambda _: self._portfolio(),
        }
        action = actions.get(str(given.get("do")))
        if action is None:
            return Answer(ok=False, text=f"brokerage: do is one of {', '.join(actions)}", data=mine)
        try:
            found = action(given)
        except NiyamError as error:
            return Answer(ok=False, text=str(error), data={**mine, "error": type(error).__name__})
        expires = house.session.expires_at()
        session = {"session": str(house.session.state()), "expires_at": expires.astimezone(IST).isoformat() if expires else None}
        return Answer(ok=True, data={**mine, **session, **found})

    def _knows(self, app: str) -> bool:
        try:
            key = self._credentials.get_secret(f"{self._house.spec.name.upper()}_API_KEY")
        except NiyamError:
            return False
        return hmac.compare_digest(fingerprint(self._house.spec.name, key), app)

    def _activate(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = str(given["answer"])
        self._errands.ask(lambda: self._house.session.accept(answer))
        self._house.pump.poke()
        return {}

    def _portfolio(self) -> Mapping[str, Any]:
        house = self._house
        if house.account.kind in PAPER_KINDS:
            with closing(self._reader()) as ledger:
                return portfolio.from_ledger(ledger, house.account, risk_settings(house.config).margin)
        broker = house.listing
        assert isinstance(broker, Broker), "an account that trades has a broker, not data alone"
        return dict(self._errands.ask(lambda: portfolio.from_broker(broker, house.clock)))
