"""The web process of a test: the real application, accounts file and vault; a scripted daemon and scripted brokers behind its ports."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from fastapi.testclient import TestClient

from api.app import create
from api.ports import Latest, Login, Parts
from core.clock import ManualClock
from core.errors import BrokerError, ConfigError, NiyamError
from core.types import IST
from runtime import readout
from storage.account_file import AccountFile
from storage.credentials import App, Materials, Vault
from storage.memory_store import MemoryStore
from storage.remembered import Remembered
from storage.users import Users
from utils.config_loader import CONFIG_FOLDER, Secrets
from utils.config_schema import Api
from utils.control import Answer, DaemonDown

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=IST)
PASSWORD = "a-long-password"
PORTFOLIO = {
    "source": "broker",
    "as_of": "2026-11-20T10:00:00+05:30",
    "available": 15_000.0,
    "used": 35_000.0,
    "holdings": [
        {"instrument": "NSE:RELIANCE", "quantity": 10, "average_price": 1400.0, "last_price": 1450.0, "close_price": 1440.0},
    ],
    "positions": [
        {"instrument": "NSE:SBIN", "product": "MIS", "quantity": -20, "average_price": 560.0, "last_price": 550.0, "multiplier": 1},
    ],
    "trades": [{"instrument": "NSE:SBIN", "side": "SELL", "quantity": 20, "price": 560.0, "at": "2026-11-20T09:45:00+05:30"}],
}
STATUS = {
    "account": "practice", "kind": "practice", "running": True, "trading_state": "ACTIVE", "flat": True, "orders": {"FILLED": 2},
    "session": "VALID", "feed": {"connected": True, "age_s": 0.5, "stale": []}, "pnl": {"realised": 1.0, "net": 0.5}, "late_events": 0,
}  # fmt: skip
BARS = {
    "instrument": "NFO:NIFTY26NOVFUT", "interval": 5, "bars": [["2026-11-20T09:15:00+05:30", 1.0, 2.0, 0.5, 1.5, 10, False]],
    "indicators": {},
}  # fmt: skip


class ScriptedDesk:
    """A daemon that answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.up = True
        self.answer: Answer | None = None  # to every command; None: done
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.placed: list[dict[str, Any]] = []
        self.status: dict[str, Any] = dict(STATUS)
        self.ledger = MemoryStore()
        for kind in ("started", "signal"):
            self.ledger.journal(NOW, kind, {})
        self.strategies: list[dict[str, Any]] = [{"name": "nifty_trend", "class": "sma_cross"}]

    def at_hand(self, account: str | None = None) -> Latest | None:
        return None

    def ask(self, name: str, arguments: Mapping[str, Any] | None = None) -> Answer:
        if not self.up:
            raise DaemonDown("no daemon answers; start one with `main.py run`")
        self.asked.append((name, dict(arguments or {})))
        return self.answer or Answer(ok=True, text=f"{name} done")

    def read(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        arguments = {key: value for key, value in (arguments or {}).items() if key != "account"}
        if name == "status":
            return self.status if self.up else {"running": False, "orders": {}, "flat": True}
        if name == "strategies":
            return self.strategies
        if name == "chart":
            if not arguments:
                return [{"instrument": BARS["instrument"], "interval": 5, "bars": 1, "last_at": NOW.isoformat(), "strategies": []}]
            if arguments["instrument"] != BARS["instrument"]:
                raise NiyamError("there is no chart of it")
            return dict(BARS)
        if name == "fills":
            return [{"instrument": key, "price": 25_000.0} for key in ("NSE:SBIN", BARS["instrument"])]
        if name == "report":
            return {"day": "2026-11-20", "net": 0.0}
        return readout.document(self.ledger, "journal", arguments or {})

    def place(self, given: Mapping[str, Any]) -> dict[str, Any]:
        self.placed.append(dict(given))
        good = given["symbol"] == "NIFTY_FUT"
        price, error = (25_000.0, "") if good else (None, "refused by max_order_value: too much")
        return {"success": good, "status": "EXECUTED" if good else "REJECTED", "order_id": "1" if good else None,
                "execution_price": price, "filled": 65 if good else 0, "error": error}  # fmt: skip


@dataclass
class ScriptedBrokers:
    """Brokers whose sessions are what `logins` says; `failure` is raised by their reads."""

    logins: dict[int, Login] = field(default_factory=dict)
    failure: BrokerError | None = None
    found: dict[str, Any] = field(default_factory=lambda: dict(PORTFOLIO))
    answers: list[tuple[int, str]] = field(default_factory=list)
    renews: bool = False

    def names(self) -> tuple[str, ...]:
        return ("angelone", "zerodha")

    def login_kind(self, broker: str) -> str:
        return "code" if broker == "angelone" else "redirect"

    def knows_host(self, broker: str, url: str) -> bool:
        return url == "https://api.kite.trade"

    def login_url(self, app: App, state: str) -> tuple[str, bool]:
        carries = app.broker != "icici"
        return f"https://login.example/{app.broker}{f'?state={state}' if carries else ''}", carries

    def activate(self, app: App, answer: str) -> Login:
        if self.failure is not None:
            raise self.failure
        if answer == "wrong-token":
            raise ConfigError("that is no request token")
        self.answers.append((app.id, answer))
        self.logins[app.id] = Login("VALID", "2026-11-21T06:00:00+05:30")
        return self.logins[app.id]

    def renew(self, app: App) -> Login:
        if self.renews:
            self.logins[app.id] = Login("VALID")
        return self.session(app)

    def session(self, app: App) -> Login:
        return self.logins.get(app.id, Login("LOGIN_REQUIRED"))

    def portfolio(self, app: App) -> dict[str, Any]:
        if self.failure is not None:
            raise self.failure
        return dict(self.found)

    def forget(self, app: App) -> None:
        self.logins.pop(app.id, None)


class House:
    """The application with a client for each user. Use it as a context."""

    def __init__(self, folder: Path, *, hosts: tuple[str, ...] = (), **settings: Any) -> None:
        self.folder = folder
        self.clock = ManualClock(NOW)
        self.desk, self.brokers = ScriptedDesk(), ScriptedBrokers()
        file = AccountFile(folder)
        self.vault = Vault(file, Materials(folder))
        self.vault.ensure(NOW)
        self.secrets: dict[str, str] = {}
        usual = {"requests_per_minute": 1_000_000, "logins_per_minute": 1_000_000, **settings}
        self.parts = Parts(
            desk=self.desk,
            brokers=self.brokers,
            file=file,
            vault=self.vault,
            users=Users(file),
            remembered=Remembered(file),
            clock=self.clock,
            secrets=Secrets(folder, self.secrets),
            settings=Api(**usual),
            config=CONFIG_FOLDER,
            state=folder,
            check=lambda account: {"ok": True, "wrong": 0, "checks": [{"name": "disk", "status": "ok", "text": "9 GB free", "remedy": ""}]},
            address="http://testserver",
            hasher=PasswordHasher(time_cost=1, memory_cost=8, parallelism=1),
        )
        self.app = create(self.parts, hosts=hosts)
        self.client = TestClient(self.app, raise_server_exceptions=False)

    def __enter__(self) -> "House":
        self.client.__enter__()
        return self

    def __exit__(self, *given: Any) -> None:
        self.client.__exit__(*given)

    def user(self, role: str = "owner", name: str | None = None) -> dict[str, str]:
        """Register somebody of this role (the first one is the owner) and return the headers of their login."""
        name = name or role
        invitation = None
        if role != "owner":
            owner = self.user() if self.parts.users.named("owner") is None else self.headers("owner")
            invitation = self.client.post("/api/v1/auth/invitations", json={"role": role}, headers=owner).json()["invitation"]
        given = {"username": name, "password": PASSWORD, "invitation": invitation}
        made = self.client.post("/api/v1/auth/register", json=given)
        assert made.status_code == 201, made.text
        assert made.json()["role"] == role
        return self.headers(name)

    def headers(self, name: str) -> dict[str, str]:
        logged_in = self.client.post("/api/v1/auth/login", json={"username": name, "password": PASSWORD})
        assert logged_in.status_code == 200, logged_in.text
        return {"Authorization": f"Bearer {logged_in.json()['access_token']}"}

    def set_up(self, headers: Mapping[str, str], broker: str = "zerodha", key: str = "marked-api-key-001") -> int:
        given = {"broker": broker, "api_key": key, "api_secret": "marked-api-secret-001"}
        done = self.client.post("/api/v1/auth/first-time-api-setup", json=given, headers=headers)
        assert done.status_code == 200, done.text
        return int(done.json()["app_id"])
