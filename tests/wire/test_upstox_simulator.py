"""The Upstox simulator's rules without sockets: its login, limits, hours, one-time stream addresses, modes, market orders and GTT."""

import json
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from google.protobuf.json_format import MessageToDict
from upstox_client.feeder.proto import MarketDataFeedV3_pb2 as proto

from simulators.exchange import Exchange
from simulators.facts import Facts
from simulators.faults import Faults
from simulators.market import SyntheticMarket
from simulators.upstox import UpstoxSimulator
from simulators.upstox_feed import MARKET_PATH, PORTFOLIO_PATH
from simulators.upstox_names import instrument_key
from simulators.upstox_session import App
from simulators.wire import Connection, Request, Response
from simulators.world import IST, World

DAY = date(2026, 11, 20)
FUTURE = "NFO:NIFTY26NOVFUT"


class Upstox:
    """One logged-in user at `now`, moved by hand."""

    def __init__(self, start: time = time(10, 0), *, plus: bool = False, cash: float = 100_000_000.0) -> None:
        self.now = datetime.combine(DAY, start, IST)
        facts = Facts.load()
        market = SyntheticMarket(1, DAY, facts)
        world = World(market, Exchange(market, facts, 1, "upstox", cash=cash), self.now)
        self.faults = Faults()
        self.simulator = UpstoxSimulator(world, [App("key", "secret", "UP1234", "http://127.0.0.1:5000/", plus)], self.faults, seed=1)
        self.token = ""
        self._connections = 0
        self.login()

    def key(self, listing: str = FUTURE) -> str:
        return instrument_key(self.simulator.world.market.listings[listing])

    def code(self) -> str:
        query = urlencode({"response_type": "code", "client_id": "key", "redirect_uri": "http://127.0.0.1:5000/"})
        location = self.send("GET", "/v2/login/authorization/dialog", query).headers["Location"]
        return parse_qs(urlsplit(location).query)["code"][0]

    def login(self, **changes: str) -> Any:
        form = {"code": self.code(), "client_id": "key", "client_secret": "secret", "grant_type": "authorization_code"}
        form |= {"redirect_uri": "http://127.0.0.1:5000/", **changes}
        reply = json.loads(self.send("POST", "/v2/login/authorization/token", body=urlencode(form).encode()).body)
        self.token = reply.get("access_token", self.token)
        return reply

    def send(self, method: str, path: str, query: str = "", body: bytes = b"", lane: str = "") -> Response:
        headers = {"authorization": f"Bearer {self.token}", "host": "127.0.0.1:9000", "user-agent": "test"}
        return self.simulator.handle(Request(method, path, query, headers, body, lane), self.now)

    def call(self, method: str, path: str, query: str = "", body: object = None) -> Any:
        """`data` of a success, or (status, code); a tenth of a second passes, so that no limit of a second is met."""
        reply = self.send(method, path, query, json.dumps(body).encode() if body is not None else b"")
        self.pass_(0.15)
        envelope = json.loads(reply.body)
        return envelope["data"] if "data" in envelope else (reply.status, envelope["errors"][0]["errorCode"])

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.simulator.advance(self.now)

    def last(self, listing: str = FUTURE) -> float:
        return self.simulator.world.market.quote(listing).last_price

    def place(self, side: str = "BUY", **more: Any) -> Any:
        fields = {"instrument_token": self.key(), "transaction_type": side, "quantity": 65, "product": "I", "validity": "DAY"}
        fields |= {"order_type": "MARKET", "market_protection": -1, "price": 0}
        answer = self.call("POST", "/v3/order/place", body={**fields, **more})
        return answer["order_ids"][0] if isinstance(answer, dict) else answer

    def row(self, order_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", "/v2/order/details", f"order_id={order_id}")
        return found

    def authorize(self, path: str = MARKET_PATH) -> str:
        found: str = self.call("GET", f"{path}/authorize")["authorized_redirect_uri"]
        return found

    def connect(self, address: str, lane: str = "") -> Connection | Response:
        self._connections += 1
        connection, url = Connection(f"c{self._connections}", lane), urlsplit(address)
        headers = {"authorization": f"Bearer {self.token}", "host": "127.0.0.1:9000"}
        return self.simulator.connect(Request("GET", url.path, url.query, headers, lane=lane), connection, self.now) or connection

    def stream(self, path: str = MARKET_PATH) -> Connection:
        connection = self.connect(self.authorize(path))
        assert isinstance(connection, Connection)
        return connection

    def say(self, connection: Connection, method: str, keys: list[str], mode: str = "") -> None:
        data = {"instrumentKeys": keys, **({"mode": mode} if mode else {})}
        self.simulator.receive(connection, json.dumps({"guid": "g", "method": method, "data": data}).encode(), self.now)

    def told(self, connection: Connection) -> list[dict[str, Any]]:
        frames = self.simulator.frames(connection, self.now)
        return [json.loads(one) if isinstance(one, str) else MessageToDict(proto.FeedResponse.FromString(one)) for one in frames]


# --- login ------------------------------------------------------------------------------------------------------------------------------


def test_a_code_is_used_up_even_by_a_failed_exchange() -> None:
    it = Upstox()
    code = it.code()
    assert it.login(code=code, client_secret="wrong")["errors"][0]["errorCode"] == "UDAPI100016"
    assert it.login(code=code)["errors"][0]["errorCode"] == "UDAPI100016"
    assert it.login(redirect_uri="http://other/")["errors"][0]["errorCode"] == "UDAPI100068"


def test_a_new_login_and_a_new_static_address_end_the_older_token() -> None:
    it = Upstox()
    old = it.token
    it.login()
    fresh, it.token = it.token, old
    assert it.call("GET", "/v2/user/profile") == (401, "UDAPI100050")
    it.token = fresh
    assert it.call("PUT", "/v2/user/ip", body={"primary_ip": "203.0.113.9"})["primary_ip"] == "203.0.113.9"
    assert it.call("GET", "/v2/user/profile") == (401, "UDAPI100050")


@pytest.mark.parametrize(("login", "dead"), [(time(10, 0), "2026-11-21T03:30:00+05:30"), (time(2, 30), "2026-11-20T03:30:00+05:30")])
def test_a_token_dies_at_half_past_three(login: time, dead: str) -> None:
    it = Upstox(login)
    assert it.simulator.sessions.by_token[it.token].expires_at.isoformat() == dead


def test_funds_and_orders_are_closed_at_night() -> None:
    it = Upstox(time(2, 0))
    assert it.call("GET", "/v2/user/get-funds-and-margin") == (423, "UDAPI100072")
    assert it.place() == (423, "UDAPI100074")
    later = Upstox(time(5, 30))
    assert later.call("GET", "/v2/user/get-funds-and-margin")["commodity"]["available_margin"] == 0.0


# --- limits -----------------------------------------------------------------------------------------------------------------------------


def test_orders_and_reads_have_windows_of_their_own() -> None:
    it = Upstox()
    body = json.dumps({"order_id": "1"}).encode()
    orders = [it.send("DELETE", "/v3/order/cancel", "order_id=1", body).status for _ in range(12)]
    assert orders == [400] * 12  # an order nobody placed is refused before it counts
    placed = [it.send("POST", "/v3/order/place", "", json.dumps(_limit(it)).encode()).status for _ in range(12)]
    assert placed == [200] * 10 + [429] * 2
    reads = [it.send("GET", "/v2/user/profile").status for _ in range(52)]
    assert reads == [200] * 50 + [429] * 2
    it.pass_(1.0)
    assert it.send("GET", "/v2/user/profile").status == 200


def _limit(it: Upstox, **more: Any) -> dict[str, Any]:
    fields = {"instrument_token": it.key(), "transaction_type": "BUY", "quantity": 65, "product": "I", "validity": "DAY"}
    return {**fields, "order_type": "LIMIT", "price": float(round(it.last() * 0.98)), **more}


def test_half_an_hour_of_orders_ends_at_two_thousand() -> None:
    it = Upstox()
    admitted = 0
    for _ in range(2100):
        admitted += it.simulator.limits.admit("UP1234", "order", it.now)
        it.now += timedelta(seconds=0.2)
    assert admitted == 2000


# --- orders -----------------------------------------------------------------------------------------------------------------------------


def test_a_market_order_becomes_a_limit_at_the_bands_edge() -> None:
    it = Upstox()
    row = it.row(it.place(market_protection=2, tag="T1"))
    assert (row["order_type"], row["tag"], row["product"], row["variety"]) == ("LIMIT", "T1", "I", "SIMPLE")
    assert 1.019 < row["price"] / it.last() < 1.021
    assert it.place(market_protection=0) == (400, "UDAPI1158")


def test_an_order_after_hours_is_an_amo_whatever_it_says() -> None:
    it = Upstox(time(20, 0))
    row = it.row(it.place(order_type="LIMIT", price=float(round(it.last())), is_amo=False))
    assert (row["status"], row["variety"], row["is_amo"]) == ("after market order req received", "AMO", True)


def test_a_lagging_book_shows_what_stood_then() -> None:
    it = Upstox()
    first = it.place()
    it.pass_(10)
    it.faults.add([{"fault": "lagging_book", "match": {"route": "GET /v2/order/*"}, "seconds": 5, "count": 0}])
    second = it.place()
    assert [row["order_id"] for row in it.call("GET", "/v2/order/retrieve-all")] == [first]
    assert it.call("GET", "/v2/order/trades/get-trades-for-day")[0]["order_id"] == first != second


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [("rate_limit", 429, "UDAPI10005"), ("ip_not_allowed", 403, "UDAPI1154"), ("no_permission", 403, "UDAPI100049")],
)
def test_faults_speak_upstoxs_words_and_find_their_order(fault: str, status: int, code: str) -> None:
    it = Upstox()
    it.faults.add([{"fault": fault, "match": {"tag": "T2", "symbol": FUTURE, "side": "BUY"}}])
    assert isinstance(it.place(tag="T1"), str)
    assert it.place(tag="T2") == (status, code)
    assert isinstance(it.place(tag="T2"), str)
    assert len(it.call("GET", "/v2/order/retrieve-all")) == 2


def test_a_gtt_enters_and_leaves_by_its_stop() -> None:
    it = Upstox()
    last = it.last()
    rules = [
        {"strategy": "ENTRY", "trigger_type": "IMMEDIATE", "trigger_price": last},
        {"strategy": "TARGET", "trigger_type": "IMMEDIATE", "trigger_price": last * 2},
        {"strategy": "STOPLOSS", "trigger_type": "IMMEDIATE", "trigger_price": last * 1.01, "trailing_gap": 1.0},
    ]
    body = {"type": "MULTIPLE", "quantity": 65, "product": "I", "instrument_token": it.key(), "transaction_type": "BUY", "rules": rules}
    (gtt,) = it.call("POST", "/v3/order/gtt/place", body=body)["gtt_order_ids"]
    it.pass_(10)
    (shown,) = it.call("GET", "/v3/order/gtt", f"gtt_order_id={gtt}")
    assert [rule["status"] for rule in shown["rules"]] == ["COMPLETED", "CANCELLED", "COMPLETED"]
    assert shown["expires_at"] - shown["created_at"] == 365 * 86_400 * 1_000_000
    assert it.call("GET", "/v2/portfolio/short-term-positions")[0]["quantity"] == 0
    assert it.call("POST", "/v3/order/gtt/place", body={**body, "type": "SINGLE"}) == (400, "UDAPI100036")


# --- streams ----------------------------------------------------------------------------------------------------------------------------


def test_an_address_is_good_for_one_connection_and_two_are_the_most() -> None:
    it = Upstox()
    first = it.authorize()
    assert isinstance(it.connect(first), Connection)
    again = it.connect(first)
    assert isinstance(again, Response)
    assert again.status == 403
    it.stream()
    third = it.connect(it.authorize())
    assert isinstance(third, Response)
    assert (third.status, b"2 connections" in third.body) == (403, True)
    assert isinstance(it.connect(it.authorize(PORTFOLIO_PATH)), Connection)  # the portfolio stream is counted apart


def test_the_public_address_redirects_and_a_dead_token_is_401() -> None:
    it = Upstox()
    redirect = it.connect(f"ws://127.0.0.1:9000{MARKET_PATH}")
    assert isinstance(redirect, Response)
    assert redirect.status == 302
    assert isinstance(it.connect(redirect.headers["Location"]), Connection)
    it.token = "dead"
    refused = it.connect(f"ws://127.0.0.1:9000{MARKET_PATH}")
    assert isinstance(refused, Response)
    assert refused.status == 401


def test_market_info_then_snapshot_then_live_and_parts_now_and_then() -> None:
    it = Upstox()
    connection = it.stream()
    it.say(connection, "sub", [it.key(), "NSE_EQ|NOSUCH"], "full")
    info, snapshot = it.told(connection)
    assert (info["type"], info["marketInfo"]["segmentStatus"]["NSE_FO"]) == ("market_info", "NORMAL_OPEN")
    assert ("type" in snapshot, snapshot["feeds"].keys()) == (False, {it.key()})
    live = []
    for _ in range(12):
        it.pass_(1)
        live += it.told(connection)
    assert {one["type"] for one in live} == {"live_feed"}
    parts = ["marketLevel" in one["feeds"][it.key()]["fullFeed"]["marketFF"] for one in live]
    assert True in parts
    assert False in parts
    it.say(connection, "unsub", [it.key()])
    it.pass_(1)
    assert it.told(connection) == []


def test_text_frames_and_nonsense_are_passed_over_in_silence() -> None:
    it = Upstox()
    connection = it.stream()
    it.told(connection)
    ask = json.dumps({"method": "sub", "data": {"mode": "full", "instrumentKeys": [it.key()]}})
    for message in (ask, b"nonsense", b"[1]", b'{"method":"sub","data":{}}', ask.replace("full", "none").encode()):
        it.simulator.receive(connection, message, it.now)
    it.pass_(1)
    assert it.told(connection) == []


def test_modes_have_their_fields_and_thirty_levels_are_for_plus() -> None:
    it, plus = Upstox(), Upstox(plus=True)
    option = next(key for key, one in it.simulator.world.market.listings.items() if one.kind == "CE" and one.strike == 25_600)
    for who, levels in ((it, None), (plus, 30)):
        connection = who.stream()
        who.say(connection, "sub", [who.key()], "full_d30")
        who.say(connection, "sub", [who.key(option)], "option_greeks")
        feeds = {key: feed for one in who.told(connection) for key, feed in one.get("feeds", {}).items()}
        first = feeds[who.key(option)]["firstLevelWithGreeks"]
        assert 0 < first["optionGreeks"]["delta"] < 1
        deep = feeds.get(who.key())
        assert (len(deep["fullFeed"]["marketFF"]["marketLevel"]["bidAskQuote"]) if deep else None) == levels


def test_order_messages_go_to_the_portfolio_stream_alone() -> None:
    it = Upstox()
    market, portfolio = it.stream(), it.stream(PORTFOLIO_PATH)
    it.told(market)
    order = it.place(tag="T1")
    it.pass_(1)
    told = it.told(portfolio)
    assert [one["status"] for one in told] == ["put order req received", "open pending", "open", "complete"]
    assert {(one["update_type"], one["order_id"], one["tag"]) for one in told} == {("order", order, "T1")}
    assert it.told(market) == []


@pytest.mark.parametrize("kind", ["drop_update", "duplicate_update", "late_update"])
def test_order_messages_are_lost_doubled_and_late_by_script(kind: str) -> None:
    it = Upstox()
    portfolio = it.stream(PORTFOLIO_PATH)
    it.faults.add([{"fault": kind, "match": {"status": "complete"}}])
    it.place()
    it.pass_(1)
    statuses = [one["status"] for one in it.told(portfolio)]
    assert statuses.count("complete") == {"drop_update": 0, "duplicate_update": 2, "late_update": 0}[kind]
    it.pass_(6)
    assert [one["status"] for one in it.told(portfolio)] == (["complete"] if kind == "late_update" else [])


def test_a_dead_token_ends_its_connections() -> None:
    it = Upstox()
    connection = it.stream()
    it.simulator.sessions.kill_all()
    assert (it.told(connection), connection.ended) == ([], True)
