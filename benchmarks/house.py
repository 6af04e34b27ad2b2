"""A real house of one practice-live account, as runtime.wiring builds it, on a clock that shows a trading morning.

The trading calendar decides when entries are allowed, so the measures that send orders live at 10:30 of a trading day; time runs as
the wall's does.
"""

import json
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from brokers.spec import Endpoints
from core.clock import SystemClock
from core.errors import DataError
from core.ports import Token
from core.types import IST, AccountKind, Instrument
from runtime.inbox import Inbox, SystemPump
from runtime.state_folder import RunFolder
from runtime.wiring import House, account_of, build
from utils.config_loader import load

DAY = date(2026, 11, 20)
MORNING = datetime.combine(DAY, time(10, 30), IST)


class MorningClock(SystemClock):
    """The wall clock, moved to the morning of DAY at the moment it is made."""

    def __init__(self, start: datetime = MORNING) -> None:
        super().__init__()
        self._ahead: timedelta = start - super().now()

    def now(self) -> datetime:
        return super().now() + self._ahead


class Tokens:
    """An InstrumentLookup of a few instruments."""

    def __init__(self, listed: Mapping[Any, Instrument]) -> None:
        self._listed: dict[Token, Instrument] = dict(listed)
        self._keys = {one.key: one for one in listed.values()}
        self._tokens: dict[str, Token] = {one.key: token for token, one in listed.items()}
        self.day = DAY

    def by_key(self, key: str) -> Instrument | None:
        return self._keys.get(key)

    def by_token(self, token: Token) -> Instrument | None:
        return self._listed.get(token)

    def token(self, instrument: Instrument) -> Token:
        if instrument.key not in self._tokens:
            raise DataError(f"{instrument.key} is not among the instruments of this measure")
        return self._tokens[instrument.key]


class NoSecrets:
    """Made-up credentials: nothing here talks to a broker."""

    def get_secret(self, name: str) -> str:
        return f"bench-{name.lower()}"


class Quiet:
    """A Notifier that tells nobody."""

    def send(self, level: str, title: str, text: str) -> None:
        return None


def make_house(folder: Path, endpoints: Endpoints, clock: SystemClock) -> House:
    """Everything for the account, logged in until tomorrow 06:00; nothing is connected and no thread runs yet."""
    run = RunFolder(folder)
    for one in (run.session, run.audit, run.instruments, run.recordings, run.log):
        one.mkdir(parents=True, exist_ok=True)
    token = {"access_token": "benchtoken123", "login_day": DAY.isoformat(), "expires_at": f"{DAY + timedelta(days=1)}T06:00:00+05:30"}
    run.token_file("zerodha").write_text(json.dumps(token))
    config = load()
    account = account_of(config, "practice-live", None)
    assert account.kind is AccountKind.PRACTICE_LIVE
    inbox = Inbox()
    house, _ = build(
        account=account,
        config=config,
        run=run,
        clock=clock,
        inbox=inbox,
        pump=SystemPump(inbox, clock),
        credentials=NoSecrets(),
        endpoints=endpoints,
        ledger_url=run.ledger_url,
        notifier=Quiet(),
        answer=lambda identity, ok, text, data: None,
    )
    return house
