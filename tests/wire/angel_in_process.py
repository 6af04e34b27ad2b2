"""The Angel One simulator without sockets, moved by hand: what the tests of its rules talk to."""

import json
from datetime import date, datetime, time, timedelta
from typing import Any

from simulators.angelone import AngelSimulator
from simulators.angelone_session import App
from simulators.exchange import Exchange
from simulators.facts import Facts
from simulators.faults import Faults
from simulators.market import SyntheticMarket
from simulators.totp import totp
from simulators.wire import Connection, Request, Response
from simulators.world import IST, World

FUTURE = "NFO:NIFTY26NOVFUT"
DAY = date(2026, 11, 20)
SECRET = "MZXW6YTBOI2DGNBVGY3TQOJQ"
SECURE = "/rest/secure/angelbroking/"
LOGIN = "/rest/auth/angelbroking/user/v1/loginByPassword"
TOKENS = "/rest/auth/angelbroking/jwt/v1/generateTokens"


class Angel:
    """One logged-in client at `now`."""

    def __init__(self, start: time = time(10, 0), *, cash: float = 100_000_000.0, day: date = DAY) -> None:
        self.now = datetime.combine(day, start, IST)
        facts = Facts.load()
        market = SyntheticMarket(1, day, facts)
        world = World(market, Exchange(market, facts, 1, "angelone", cash=cash), self.now)
        self.faults = Faults()
        self.simulator = AngelSimulator(world, [App("key", "A1", "1234", SECRET, "http://127.0.0.1:5000/")], self.faults, seed=1)
        self.token = self.feed_token = self.refresh = ""
        self._connections = 0
        self.login()

    def login(self) -> None:
        body = {"clientcode": "A1", "password": "1234", "totp": totp(SECRET, self.now)}
        self._keep(json.loads(self.send("POST", LOGIN, body).body)["data"])

    def renew(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.send("POST", TOKENS, {"refreshToken": self.refresh}).body)
        if answer["data"]:
            self._keep(answer["data"])
        return answer

    def _keep(self, data: dict[str, str]) -> None:
        self.token, self.refresh, self.feed_token = data["jwtToken"], data["refreshToken"], data["feedToken"]

    def send(self, method: str, path: str, body: object = None, query: str = "") -> Response:
        headers = {"authorization": f"Bearer {self.token}", "x-privatekey": "key"}
        full = path if path.startswith("/") else SECURE + path
        return self.simulator.handle(
            Request(method, full, query, headers, json.dumps(body).encode() if body is not None else b""), self.now
        )

    def call(self, method: str, path: str, body: object = None) -> Any:
        """`data` of a success, else (code, message); a second passes, so that no rate limit is met."""
        reply = self.send(method, path, body)
        self.pass_(1.0)
        envelope = json.loads(reply.body)
        return envelope["data"] if envelope.get("status") else (envelope.get("errorcode") or envelope.get("errorCode"), envelope["message"])

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.simulator.advance(self.now)

    def last(self, key: str = FUTURE) -> float:
        return self.simulator.world.market.quote(key).last_price

    def body(self, key: str = FUTURE, **more: Any) -> dict[str, Any]:
        """An order of one lot, two percent below the market unless told otherwise."""
        one = self.simulator.names.all()[key]
        price = f"{round(self.last(key) * 0.98)}"
        body = {"variety": "NORMAL", "tradingsymbol": one.symbol, "symboltoken": one.token, "exchange": one.exchange, "duration": "DAY",
                "transactiontype": "BUY", "ordertype": "LIMIT", "producttype": "INTRADAY", "quantity": str(one.listing.lot),
                "price": price}  # fmt: skip
        return {**body, **more}

    def place(self, key: str = FUTURE, **more: Any) -> Any:
        """Its order id, or the refusal."""
        answer = self.call("POST", "order/v1/placeOrder", self.body(key, **more))
        return answer["orderid"] if isinstance(answer, dict) else answer

    def row(self, order_id: str) -> dict[str, Any]:
        rows: list[dict[str, Any]] = self.call("GET", "order/v1/getOrderBook")
        return next(row for row in rows if row["orderid"] == order_id)

    def connect(self, path: str = "/smart-stream", **headers: str) -> Connection | Response:
        self._connections += 1
        connection = Connection(f"c{self._connections}")
        given = {"authorization": f"Bearer {self.token}", "x-api-key": "key", "x-client-code": "A1", "x-feed-token": self.feed_token}
        request = Request("GET", path, "", {**given, **{name.replace("_", "-"): value for name, value in headers.items()}})
        return self.simulator.connect(request, connection, self.now) or connection

    def stream(self, path: str = "/smart-stream") -> Connection:
        connection = self.connect(path)
        assert isinstance(connection, Connection)
        return connection

    def say(self, connection: Connection, message: object) -> None:
        self.simulator.receive(connection, message if isinstance(message, str) else json.dumps(message), self.now)

    def subscribe(self, connection: Connection, mode: int, *keys: str, action: int = 1) -> None:
        scrips = [self.simulator.names.all()[key] for key in keys]
        tokens = [{"exchangeType": one.type, "tokens": [one.token]} for one in scrips]
        self.say(connection, {"correlationID": "abc", "action": action, "params": {"mode": mode, "tokenList": tokens}})

    def frames(self, connection: Connection) -> list[bytes | str]:
        return self.simulator.frames(connection, self.now)
