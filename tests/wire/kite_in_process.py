"""The Zerodha simulator without sockets, moved by hand: what the tests of its rules talk to."""

import hashlib
import json
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from simulators.exchange import Exchange
from simulators.facts import Facts
from simulators.faults import Faults
from simulators.market import SyntheticMarket
from simulators.wire import Connection, Request, Response
from simulators.world import IST, World
from simulators.zerodha import ZerodhaSimulator
from simulators.zerodha_session import App

FUTURE = "NFO:NIFTY26NOVFUT"
DAY = date(2026, 11, 20)


class Kite:
    """One logged-in user at `now`."""

    def __init__(self, start: time = time(10, 0), *, live_data: bool = True, cash: float = 100_000_000.0) -> None:
        self.now = datetime.combine(DAY, start, IST)
        facts = Facts.load()
        market = SyntheticMarket(1, DAY, facts)
        world = World(market, Exchange(market, facts, 1, cash=cash), self.now)
        self.faults = Faults()
        app = App("key", "secret", "ZZ1234", "http://127.0.0.1:5000/", live_data)
        self.simulator = ZerodhaSimulator(world, [app], self.faults, seed=1)
        self.token = ""
        self._connections = 0
        self.login()

    def login(self) -> None:
        location = self.send("GET", "/connect/login", "v=3&api_key=key").headers["Location"]
        request_token = parse_qs(urlsplit(location).query)["request_token"][0]
        checksum = hashlib.sha256(f"key{request_token}secret".encode()).hexdigest()
        form = {"api_key": "key", "request_token": request_token, "checksum": checksum}
        self.token = json.loads(self.send("POST", "/session/token", form=form).body)["data"]["access_token"]

    def send(
        self, method: str, path: str, query: str = "", form: dict[str, Any] | None = None, body: bytes = b"", lane: str = ""
    ) -> Response:
        headers = {"authorization": f"token key:{self.token}"}
        if form is not None:
            body = urlencode(form).encode()
        return self.simulator.handle(Request(method, path, query, headers, body, lane), self.now)

    def call(self, method: str, path: str, query: str = "", form: dict[str, Any] | None = None, body: object = None) -> Any:
        """`data` of a success, or (status, error_type, message); a tenth of a second passes, so that no rate limit is met."""
        reply = self.send(method, path, query, form, json.dumps(body).encode() if body is not None else b"")
        self.pass_(0.1)
        envelope = json.loads(reply.body)
        return envelope["data"] if envelope["status"] == "success" else (reply.status, envelope["error_type"], envelope["message"])

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.simulator.advance(self.now)

    def last(self, key: str = FUTURE) -> float:
        return self.simulator.world.market.quote(key).last_price

    def place(self, side: str = "BUY", *, key: str = FUTURE, variety: str = "regular", **more: Any) -> Any:
        """Place an order (market with automatic protection unless told otherwise); its id, or the refusal."""
        exchange, symbol = key.split(":")
        lot = self.simulator.world.market.listings[key].lot if key in self.simulator.world.market.listings else 1
        form = {"exchange": exchange, "tradingsymbol": symbol, "transaction_type": side, "quantity": lot, "product": "MIS"}
        form |= {"order_type": "MARKET", "market_protection": -1} if "order_type" not in more else {}
        answer = self.call("POST", f"/orders/{variety}", form={**form, **more})
        return answer["order_id"] if isinstance(answer, dict) and "children" not in answer else answer

    def row(self, order_id: str) -> dict[str, Any]:
        rows: list[dict[str, Any]] = self.call("GET", "/orders")
        return next(row for row in rows if row["order_id"] == order_id)

    def connect(self, query: str = "", lane: str = "") -> Connection | Response:
        self._connections += 1
        connection = Connection(f"c{self._connections}", lane)
        request = Request("GET", "/", query or f"api_key=key&access_token={self.token}", lane=lane)
        return self.simulator.connect(request, connection, self.now) or connection

    def stream(self) -> Connection:
        connection = self.connect()
        assert isinstance(connection, Connection)
        return connection

    def say(self, connection: Connection, message: object) -> None:
        self.simulator.receive(connection, json.dumps(message), self.now)

    def frames(self, connection: Connection) -> list[bytes | str]:
        return self.simulator.frames(connection, self.now)

    def told(self, connection: Connection) -> list[dict[str, Any]]:
        """The texts due now, parsed."""
        return [json.loads(frame) for frame in self.frames(connection) if isinstance(frame, str)]
