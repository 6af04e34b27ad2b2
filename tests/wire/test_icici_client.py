"""The ICICI client and session around the wire: limits from the stream, the plan of a day's calls, what a paper account may read."""

import base64
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from brokers.icici import SPEC
from brokers.icici.client import IciciBroker, IciciData
from brokers.icici.session import IciciSession
from brokers.icici.wire import FeedDialect
from brokers.spec import Endpoints
from core.clock import ManualClock
from core.errors import Rejected, SessionExpired, Transient, Unknown
from core.ports import CircuitSource, Token
from core.types import IST, Instrument, Kind
from tests.builders import make_order
from tests.wire.icici_house import SHARE, Breeze, Names
from tests.wire.scripted_server import ScriptedServer, http
from utils.pacing import Budget, Lane

MORNING = datetime(2026, 11, 20, 9, 16, tzinfo=IST)
TOKEN = base64.b64encode(b"XY604721:12345").decode()
NOBODY = Endpoints("http://127.0.0.1:9", "ws://127.0.0.1:9", "http://127.0.0.1:9/apiuser/login")
QUOTE = (
    '42["stock",["4.1!2885",1219.45,1209.05,1226.9,1193.35,-2.09,1209.05,13,1209.35,34,1,1208.86,10991550,762919,619405,"1328.72C","",'
    "1111.4,1358.3,1739338940,1234.85]]"
)


class Credentials:
    def get_secret(self, name: str) -> str:
        return {"ICICI_API_KEY": "app+key=1", "ICICI_API_SECRET": "secret"}[name]


@pytest.fixture(scope="module")
def names() -> Names:
    return Breeze().names()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(MORNING)


@pytest.fixture
def session(clock: ManualClock, tmp_path: Path) -> IciciSession:
    made = IciciSession("live", Credentials(), clock, tmp_path / "icici.json", NOBODY, lambda event: None)
    made.take(TOKEN)
    return made


def test_price_limits_come_with_the_quotes_and_cost_no_call(clock: ManualClock, session: IciciSession, names: Names) -> None:
    data = IciciData(session, clock, Budget(clock, SPEC.limits), None, NOBODY, lambda: names)
    share = names.by_key(SHARE)
    assert share is not None
    assert isinstance(data, CircuitSource)
    dialect = FeedDialect("ws://127.0.0.1", lambda: names, session.circuits)
    dialect.subscribe([share])
    dialect.take(QUOTE, clock.now())
    assert data.circuits([share]) == {SHARE: (1111.4, 1358.3)}, "nobody answers at that address"


def test_yesterdays_limits_are_not_todays(clock: ManualClock, session: IciciSession, names: Names) -> None:
    share = names.by_key(SHARE)
    assert share is not None
    session.circuits[SHARE] = ((MORNING - timedelta(days=1)).date(), 1111.4, 1358.3)
    data = IciciData(session, clock, Budget(clock, SPEC.limits), None, NOBODY, lambda: names)
    with pytest.raises(Exception, match="no answer from ICICI"):
        data.circuits([share])


def test_the_session_dies_at_midnight_and_asks_for_a_login_with_a_quoted_key(clock: ManualClock, session: IciciSession) -> None:
    assert session.token() == TOKEN
    assert session.stream_auth(TOKEN) == {"user": "XY604721", "token": "12345"}
    assert session.login_url().endswith("?api_key=app%2Bkey%3D1")
    clock.move_to(MORNING.replace(hour=23, minute=59))
    assert session.token() == TOKEN
    clock.move_to(MORNING.replace(hour=0, minute=0) + timedelta(days=1))
    with pytest.raises(SessionExpired, match=r"main\.py login icici"):
        session.token()


@pytest.mark.parametrize(
    ("method", "route"), [("POST", "order"), ("PUT", "order"), ("DELETE", "order"), ("POST", "squareoff"), ("GET", "order")]
)
def test_a_paper_account_reaches_market_data_alone(
    clock: ManualClock, session: IciciSession, names: Names, method: str, route: str
) -> None:
    data = IciciData(session, clock, Budget(clock, SPEC.limits), None, NOBODY, lambda: names)
    with pytest.raises(Rejected, match="not on its allow-list, nothing was sent"):
        data._call("orders", method, f"{NOBODY.rest}/breezeapi/api/v1/{route}", None, {}, 1.0, is_order=False)


def test_a_sessions_plan_of_reads_leaves_room_in_the_days_calls() -> None:
    """What is read without a reason over a day from 08:45 to 15:45, for two exchanges, against the broker's 5,000."""
    seconds, pace = 7 * 3600, SPEC.pace
    planned = 2 * seconds / pace.books_s + seconds / pace.positions_s + seconds / pace.funds_s
    own = {limit.name: limit for limit in SPEC.limits}
    planned += sum(own[name].count for name in ("historical/day", "quotes/day"))
    assert planned < own["calls/day"].allowed(Lane.PORTFOLIO) < own["calls/day"].allowed(Lane.EXIT) < 5000
    assert (own["calls/min"].allowed(Lane.EXIT), own["orders/s"].allowed(Lane.EXIT)) == (90, 8)


def test_an_exit_still_finds_room_when_reads_have_used_theirs(clock: ManualClock) -> None:
    budget = Budget(clock, SPEC.limits)
    allowed = next(limit for limit in SPEC.limits if limit.name == "calls/day").allowed(Lane.PORTFOLIO)
    budget.used_before("calls/day", allowed)
    with pytest.raises(Exception, match="nothing was sent"):
        budget.acquire(Lane.PORTFOLIO, "orders", patience=1.0)
    assert budget.acquire(Lane.EXIT, "place", patience=1.0) == 0.0


BSE_SHARE = Instrument("BSE:RELIANCE", "BSE", "RELIANCE", Kind.EQUITY, "RELIANCE")


class OneShare:
    """A CodeLookup of one share; `asked` is told of each look-up of the books."""

    day = MORNING.date()
    asked: Callable[[], object] = staticmethod(lambda: None)

    def by_key(self, key: str) -> Instrument | None:
        return BSE_SHARE if key == BSE_SHARE.key else None

    def by_token(self, token: Token) -> Instrument | None:
        return BSE_SHARE

    def by_token_start(self, beginning: str) -> Instrument | None:
        return BSE_SHARE

    def token(self, instrument: Instrument) -> Token:
        return "BSE|RELIND|500325"


def told(data: object, error: str | None = None) -> bytes:
    return http(200, json.dumps({"Success": data, "Status": 200, "Error": error}))


def exchanges(server: ScriptedServer) -> list[str]:
    return [json.loads(request.body)["exchange_code"] for request in server.requests if request.method == "GET"]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as made:
        yield made


def test_an_order_that_is_sent_while_the_lists_are_read_is_looked_for_at_its_exchange(
    clock: ManualClock, session: IciciSession, server: ScriptedServer
) -> None:
    """The reads of one thread must not forget what another thread has just begun to trade."""
    names, there = OneShare(), Endpoints(server.url, server.url, server.url)
    broker = IciciBroker(session, clock, Budget(clock, SPEC.limits), None, there, lambda: names)
    server.script = [told([])] * 4
    broker.orders()
    assert exchanges(server) == ["BFO", "BSE", "NFO", "NSE"]
    server.requests.clear()
    server.script = [told([]), told({"order_id": "20261120B500001234"}), told([])]
    sent: list[str] = []

    def lookup() -> OneShare:
        if not sent:
            sent.append("")
            sent[0] = broker.place(make_order(instrument=BSE_SHARE, quantity=10, product="cash"))
        return names

    broker._lookup = lookup
    broker.orders()
    assert sent == ["20261120B500001234"]
    server.requests.clear()
    server.script = [told([])] * 3
    broker.orders()
    assert exchanges(server) == ["BSE", "NFO", "NSE"]


@pytest.mark.parametrize("text", ["No Data Found", "No Record Found.", "no orders", "No position was found"])
def test_an_empty_book_may_say_so_in_a_text(clock: ManualClock, session: IciciSession, server: ScriptedServer, text: str) -> None:
    there = Endpoints(server.url, server.url, server.url)
    broker = IciciBroker(session, clock, Budget(clock, SPEC.limits), None, there, OneShare)
    server.script = [told(None, text)]
    assert broker.positions() == ()
    server.script = [told(None, text)]
    with pytest.raises(Unknown):
        broker.cancel(make_order(instrument=BSE_SHARE, broker_order_id="1"))


@pytest.mark.parametrize(
    "reply",
    [
        told(None),
        told(None, "No data due to a technical problem"),
        told(None, "Positions are not available now"),
        http(200, json.dumps({"Success": None, "Status": 500, "Error": "No Data Found"})),
        http(200, json.dumps({"Status": 200, "Error": "No Data Found"})),
    ],
)
def test_any_other_null_proves_nothing(clock: ManualClock, session: IciciSession, server: ScriptedServer, reply: bytes) -> None:
    there = Endpoints(server.url, server.url, server.url)
    broker = IciciBroker(session, clock, Budget(clock, SPEC.limits), None, there, OneShare)
    server.script = [reply]
    with pytest.raises(Transient):
        broker.positions()


def test_the_client_is_a_broker_of_this_house(clock: ManualClock, session: IciciSession, names: Names) -> None:
    broker = IciciBroker(session, clock, Budget(clock, SPEC.limits), None, NOBODY, lambda: names)
    assert broker.profile()["user_id"] == "XY604721"
