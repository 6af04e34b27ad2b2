"""Breeze without sockets, for tests: a simulator moved by hand, a signing client of it, and the names that our own code looks up."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from brokers.icici.dump import parse_instruments
from core.errors import DataError
from core.ports import Token
from core.types import Instrument
from simulators.exchange import Exchange
from simulators.facts import Facts
from simulators.faults import Faults
from simulators.icici import IciciSimulator
from simulators.icici_session import App
from simulators.market import SyntheticMarket
from simulators.wire import Connection, Request, Response
from simulators.world import IST, World

DAY = date(2026, 11, 20)
V1 = "/breezeapi/api/v1/"
FUTURE, SHARE = "NFO:NIFTY26NOVFUT", "NSE:RELIANCE"
KEY, SECRET = "app+key=1", "theApiSecretNobodySees"
LANE = "practice/orders"


class Names:
    """A CodeLookup of what a master holds."""

    day = DAY

    def __init__(self, dump: bytes) -> None:
        self._tokens: dict[str, Token] = {}
        self._by_token: dict[Token, Instrument] = {}
        for row in parse_instruments(dump):
            self._tokens[row.key] = row.token
            self._by_token[row.token] = row.instrument()

    def by_key(self, key: str) -> Instrument | None:
        return self._by_token.get(self._tokens.get(key, ""))

    def by_token(self, token: Token) -> Instrument | None:
        return self._by_token.get(token)

    def by_token_start(self, beginning: str) -> Instrument | None:
        found = [one for token, one in self._by_token.items() if str(token).startswith(beginning)]
        return found[0] if len(found) == 1 else None

    def token(self, instrument: Instrument) -> Token:
        if instrument.key not in self._tokens:
            raise DataError(f"{instrument.key} is not in the instruments of {self.day}")
        return self._tokens[instrument.key]


class Breeze:
    """One logged-in client at `now`, moved by hand."""

    def __init__(self, start: time = time(10, 0), *, cash: float = 100_000_000.0) -> None:
        self.now = datetime.combine(DAY, start, IST)
        facts = Facts.load()
        market = SyntheticMarket(1, DAY, facts)
        world = World(market, Exchange(market, facts, 1, "icici", cash=cash), self.now)
        self.faults = Faults()
        self.simulator = IciciSimulator(world, [App(KEY, SECRET, "XY604721", "http://127.0.0.1:5000/")], self.faults, seed=1)
        self.token = ""
        self._opened = 0
        self.login()

    def apisession(self) -> str:
        location = self.send("GET", "/apiuser/login", query=urlencode({"api_key": KEY})).headers["Location"]
        return parse_qs(urlsplit(location).query)["apisession"][0]

    def login(self) -> Any:
        body = {"SessionToken": self.apisession(), "AppKey": KEY}
        reply = json.loads(self.send("GET", f"{V1}customerdetails", _dump(body).encode()).body)
        self.token = reply["Success"]["session_token"]
        return reply

    def send(
        self, method: str, path: str, body: bytes = b"", *, query: str = "", lane: str = LANE, headers: Mapping[str, str] | None = None
    ) -> Response:
        return self.simulator.handle(Request(method, path, query, headers or {}, body, lane), self.now)

    def signed(
        self, method: str, route: str, body: dict[str, Any], *, skew: float = 0.0, secret: str = SECRET, lane: str = LANE
    ) -> Response:
        text = _dump(body)
        stamp = f"{(self.now + timedelta(seconds=skew)).astimezone(UTC):%Y-%m-%dT%H:%M:%S}.000Z"
        checksum = hashlib.sha256((stamp + text + secret).encode()).hexdigest()
        headers = {"x-checksum": f"token {checksum}", "x-timestamp": stamp, "x-appkey": KEY, "x-sessiontoken": self.token}
        return self.send(method, V1 + route, text.encode(), lane=lane, headers=headers)

    def call(self, method: str, route: str, body: dict[str, Any] | None = None) -> Any:
        """The Success of a reply, or (HTTP status, Status, Error); then a second passes, so that no limit is met."""
        reply = self.signed(method, route, body or {})
        self.pass_(1.0)
        told = json.loads(reply.body)
        return told["Success"] if told["Status"] == 200 else (reply.status, told["Status"], told["Error"])

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.simulator.advance(self.now)

    def last(self, key: str = FUTURE) -> float:
        return self.simulator.world.market.quote(key).last_price

    def order(self, **changes: Any) -> dict[str, Any]:
        """An order for one lot of the near future, a little above the market."""
        body = {"stock_code": "NIFTY", "exchange_code": "NFO", "product": "futures", "action": "buy", "order_type": "limit"}
        body |= {"quantity": "65", "price": str(round(self.last() * 1.001)), "validity": "day", "user_remark": "TAG1"}
        return {**body, "expiry_date": "2026-11-23T06:00:00.000Z", "right": "others", "strike_price": "0", **changes}

    def place(self, **changes: Any) -> Any:
        answer = self.call("POST", "order", self.order(**changes))
        return answer["order_id"] if isinstance(answer, dict) else answer

    def row(self, order_id: str, exchange: str = "NFO") -> dict[str, Any]:
        (found,) = self.call("GET", "order", {"exchange_code": exchange, "order_id": order_id})
        return dict(found)

    def names(self) -> Names:
        return Names(self.send("GET", "/MotherAppMaster/SecurityMaster.zip").body)

    # --- the stream -----------------------------------------------------------------------------------------------------------------

    def stream(self, host: str = "", path: str = "/socket.io/", auth: dict[str, str] | None = None) -> Connection:
        """An open connection that has said who it is."""
        self._opened += 1
        connection = Connection(f"free/{self._opened}")
        query = f"EIO=4&transport=websocket{f'&host={host}' if host else ''}"
        assert self.simulator.connect(Request("GET", path, query), connection, self.now) is None
        self.say(connection, f"40{_dump(auth or self.auth())}")
        return connection

    def auth(self) -> dict[str, str]:
        from brokers.icici.session import user_and_key

        user, key = user_and_key(self.token)
        return {"user": user, "token": key}

    def say(self, connection: Connection, text: str) -> None:
        self.simulator.receive(connection, text, self.now)

    def hear(self, connection: Connection, seconds: float = 0.1) -> list[str]:
        self.pass_(seconds)
        return [str(frame) for frame in self.simulator.frames(connection, self.now)]


def _dump(body: object) -> str:
    return json.dumps(body, separators=(",", ":"))
