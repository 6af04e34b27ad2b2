"""Groww's simulator by its own words: token rules, limits by type, references that may be used once, spans, and refusals by code."""

import hashlib
import json
from datetime import datetime, time, timedelta
from typing import Any

import pytest

from simulators.groww import GrowwSimulator
from simulators.server import Options, build
from simulators.totp import totp
from simulators.wire import Request, Response

SECRET = "MZXW6YTBOI2DGNBVGY3TQOJQ"


class Client:
    """Sends requests at moments that only go forward."""

    def __init__(self) -> None:
        made, self.now = build(Options(broker="groww", seed=5, start=time(10, 0)))
        assert isinstance(made, GrowwSimulator)
        self.simulator = made
        self.token = ""
        future = min((one for one in made.world.market.listings.values() if one.kind == "FUT" and one.underlying == "NIFTY"), key=_expiry)
        self.symbol, self.lot, self.key = future.symbol, future.lot, future.key

    def send(self, method: str, path: str, body: Any = None, *, query: str = "", key: str = "", after: float = 0.05) -> Response:
        self.now += timedelta(seconds=after)
        headers = {"authorization": f"Bearer {key or self.token}"}
        return self.simulator.handle(Request(method, path, query, headers, json.dumps(body).encode() if body else b""), self.now)

    def login(self) -> Response:
        body = {"key_type": "totp", "totp": totp(SECRET, self.now)}
        reply = self.send("POST", "/v1/token/api/access", body, key="practicekey", after=0.0)
        self.token = json.loads(reply.body).get("token", self.token)
        return reply

    def order(self, reference: str, **changes: Any) -> dict[str, Any]:
        price = round(self.simulator.world.market.quote(self.key).last_price * 0.99)
        body = {"trading_symbol": self.symbol, "exchange": "NSE", "segment": "FNO", "quantity": self.lot, "price": price, "validity": "DAY"}
        more = {"product": "MIS", "order_type": "LIMIT", "transaction_type": "BUY", "order_reference_id": reference}
        return {**body, **more, **changes}

    def create(self, reference: str, **changes: Any) -> Response:
        return self.send("POST", "/v1/order/create", self.order(reference, **changes))


def _expiry(listing: Any) -> Any:
    return listing.expiry


def code(reply: Response) -> tuple[int, str]:
    return reply.status, str(json.loads(reply.body).get("error", {}).get("code", ""))


def payload(reply: Response) -> Any:
    assert reply.status == 200, reply.body
    return json.loads(reply.body)["payload"]


@pytest.fixture
def client() -> Client:
    made = Client()
    assert made.login().status == 200
    return made


def test_a_token_dies_at_six_whenever_it_was_made(client: Client) -> None:
    assert client.send("GET", "/v1/user/detail").status == 200
    client.now = datetime.combine(client.now.date() + timedelta(days=1), time(5, 59), client.now.tzinfo)
    assert client.send("GET", "/v1/user/detail").status == 200
    assert code(client.send("GET", "/v1/user/detail", after=60.0)) == (401, "GA005")
    client.login()
    assert client.send("GET", "/v1/user/detail").status == 200


def test_an_approval_key_wants_its_days_approval_and_the_checksum_of_its_secret() -> None:
    client, path = Client(), "/v1/token/api/access"
    good = hashlib.sha256(b"approvalsecret1795149000").hexdigest()
    body = {"key_type": "approval", "timestamp": 1795149000, "checksum": good}
    assert code(client.send("POST", path, body, key="approvalkey")) == (403, "GA005")
    assert client.send("GET", "/trade-api/api-keys").status == 302
    assert client.send("POST", path, body, key="approvalkey").status == 200
    assert code(client.send("POST", path, {**body, "checksum": "0" * 64}, key="approvalkey")) == (400, "GA001")
    assert code(client.send("POST", path, {"key_type": "totp", "totp": "000000"}, key="practicekey")) == (400, "GA001")
    assert code(client.send("POST", path, {"key_type": "totp", "totp": "000000"}, key="nobody")) == (401, "GA005")
    assert client.simulator.requests[-1]["values"]["totp"] == "***"


def test_a_reference_may_be_used_once_and_finds_its_order(client: Client) -> None:
    placed = payload(client.create("Ab-654321234-16281"))
    assert placed["order_status"] == "OPEN"
    assert code(client.create("Ab-654321234-16281")) == (400, "GA007")
    for reference in ("short", "has a space", "a-b-c-d-e-f", "T" * 21):
        assert code(client.create(reference)) == (400, "GA001")
    path = "/v1/order/status/reference/"
    assert payload(client.send("GET", f"{path}Ab-654321234-16281", query="segment=FNO"))["groww_order_id"] == placed["groww_order_id"]
    assert code(client.send("GET", f"{path}Ab-654321234-16281", query="segment=CASH")) == (404, "GA004")
    assert code(client.send("GET", f"{path}Nobody000001", query="segment=FNO")) == (404, "GA004")
    assert len(payload(client.send("GET", "/v1/order/list", query="segment=FNO"))["order_list"]) == 1


def test_a_refused_order_takes_no_reference(client: Client) -> None:
    for changes in ({"validity": "IOC"}, {"product": "X"}, {"quantity": client.lot + 1}, {"order_type": "ICEBERG"}, {"price": 0}):
        assert code(client.create("Again-0000000001", **changes)) == (400, "GA001")
    assert code(client.create("Again-0000000001", trading_symbol="NOBODY")) == (404, "GA004")
    assert client.create("Again-0000000001").status == 200


LIMITS = [("GET", "/v1/live-data/ltp", "segment=CASH&exchange_symbols=NSE_RELIANCE", 10), ("GET", "/v1/user/detail", "", 20)]


@pytest.mark.parametrize(("method", "path", "query", "most"), LIMITS)
def test_each_type_has_its_own_limit_of_a_second(client: Client, method: str, path: str, query: str, most: int) -> None:
    statuses = [client.send(method, path, query=query, after=0.001).status for _ in range(most + 2)]
    assert statuses == [200] * most + [429] * 2
    other = ("/v1/user/detail", "") if "live" in path else ("/v1/live-data/ltp", LIMITS[0][2])
    assert client.send("GET", other[0], query=other[1]).status == 200
    assert client.send(method, path, query=query, after=1.1).status == 200


def test_orders_of_a_minute_and_logins_of_a_day_are_limited(client: Client) -> None:
    replies = [client.send("POST", "/v1/order/cancel", {"groww_order_id": "x", "segment": "FNO"}, after=0.11).status for _ in range(260)]
    assert (replies.count(404), replies.count(429)) == (250, 10)
    refused = 0
    for _ in range(155):
        client.now += timedelta(seconds=3)
        refused += client.login().status == 429
    assert refused == 6  # 150 a day, one of them the first


def test_symbols_spans_and_pages_have_their_limits(client: Client) -> None:
    many = ",".join(f"NSE_S{n}" for n in range(51))
    assert code(client.send("GET", "/v1/live-data/ltp", query=f"segment=CASH&exchange_symbols={many}")) == (400, "GA001")
    twice = client.send("GET", "/v1/live-data/ltp", query="segment=CASH&exchange_symbols=NSE_RELIANCE&exchange_symbols=NSE_NIFTY")
    assert set(payload(twice)) == {"NSE_RELIANCE", "NSE_NIFTY"}
    name = f"exchange=NSE&segment=CASH&groww_symbol=NSE-RELIANCE&end_time={client.now:%Y-%m-%d}+10:00:00&start_time="
    for days, interval, good in ((29, "1minute", True), (32, "1minute", False), (89, "15minute", True), (181, "1day", False)):
        start = f"{client.now - timedelta(days=days):%Y-%m-%d}+10:00:00"
        reply = client.send("GET", "/v1/historical/candles", query=f"{name}{start}&candle_interval={interval}")
        assert (reply.status == 200) is good, (days, interval)
    assert code(client.send("GET", "/v1/order/list", query="segment=FNO&page_size=101")) == (400, "GA001")
    assert code(client.send("GET", "/v1/order/list", query="segment=ELSE")) == (400, "GA001")


def test_the_scripted_refusals_are_in_the_brokers_words(client: Client) -> None:
    route = {"route": "POST /v1/order/create"}
    for kind, wanted in (("ip_not_allowed", (403, "GA005")), ("no_permission", (403, "GA005")), ("timed_out", (504, "GA003"))):
        client.simulator.faults.add({"fault": kind, "match": route})
        assert code(client.create(f"Fault-{kind[:4]}00001".replace("_", "x"))) == wanted
    client.simulator.faults.add({"fault": "rate_limit", "match": route})
    assert client.create("Fault-rate00001").status == 429
    client.simulator.faults.add({"fault": "kill_token", "match": {"route": "GET /v1/user/detail"}})
    assert client.send("GET", "/v1/user/detail").status == 401
