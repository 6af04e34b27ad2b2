"""The simulator's login, tokens and rate limits."""

import hashlib
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from simulators.world import IST
from simulators.zerodha_limits import Limits
from simulators.zerodha_session import AccessToken, App, Sessions

APP = App("key", "secret", "ZZ1234", "http://127.0.0.1:5000/back?here=1")
MORNING = datetime(2026, 11, 20, 8, 45, tzinfo=IST)


@pytest.fixture
def sessions() -> Sessions:
    return Sessions([APP], seed=7)


def request_token(sessions: Sessions, now: datetime, redirect_params: str = "") -> str:
    target = sessions.redirect("key", redirect_params, now)
    assert target is not None
    return parse_qs(urlsplit(target).query)["request_token"][0]


def login(sessions: Sessions, now: datetime, token: str, secret: str = "secret") -> AccessToken | str:
    checksum = hashlib.sha256(f"key{token}{secret}".encode()).hexdigest()
    return sessions.exchange({"api_key": "key", "request_token": token, "checksum": checksum}, now)


def test_the_redirect_carries_the_token_and_the_callers_own_parameters(sessions: Sessions) -> None:
    target = sessions.redirect("key", "state=abc&user=7", MORNING)
    assert target is not None
    assert target.startswith("http://127.0.0.1:5000/back?here=1&")
    query = parse_qs(urlsplit(target).query)
    assert (query["action"], query["status"], query["state"], query["user"]) == (["login"], ["success"], ["abc"], ["7"])


def test_an_unknown_app_gets_no_login_page(sessions: Sessions) -> None:
    assert sessions.redirect("other", "", MORNING) is None


def test_a_request_token_works_once_and_within_minutes(sessions: Sessions) -> None:
    token = request_token(sessions, MORNING)
    assert isinstance(login(sessions, MORNING + timedelta(minutes=4), token), AccessToken)
    assert login(sessions, MORNING + timedelta(minutes=4), token) == "Token is invalid or has expired."
    late = request_token(sessions, MORNING)
    assert login(sessions, MORNING + timedelta(minutes=6), late) == "Token is invalid or has expired."


def test_a_wrong_secret_is_refused_and_does_not_burn_the_token(sessions: Sessions) -> None:
    token = request_token(sessions, MORNING)
    assert login(sessions, MORNING, token, secret="guess") == "Invalid `checksum`."
    assert isinstance(login(sessions, MORNING, token), AccessToken)


@pytest.mark.parametrize(
    ("login_at", "dies_at"),
    [
        (MORNING, datetime(2026, 11, 21, 6, 0, tzinfo=IST)),
        (datetime(2026, 11, 20, 5, 59, tzinfo=IST), datetime(2026, 11, 20, 6, 0, tzinfo=IST)),
        (datetime(2026, 11, 20, 6, 0, tzinfo=IST), datetime(2026, 11, 21, 6, 0, tzinfo=IST)),
    ],
)
def test_a_token_dies_at_six(sessions: Sessions, login_at: datetime, dies_at: datetime) -> None:
    session = login(sessions, login_at, request_token(sessions, login_at))
    assert isinstance(session, AccessToken)
    assert sessions.check("key", session.token, dies_at - timedelta(seconds=1)) is session
    assert sessions.check("key", session.token, dies_at) is None


def test_a_second_login_of_the_day_returns_the_living_session(sessions: Sessions) -> None:
    first = login(sessions, MORNING, request_token(sessions, MORNING))
    second = login(sessions, MORNING, request_token(sessions, MORNING))
    assert isinstance(first, AccessToken)
    assert second is first
    sessions.kill_all()
    third = login(sessions, MORNING, request_token(sessions, MORNING))
    assert isinstance(third, AccessToken)
    assert third.token != first.token
    assert sessions.check("key", first.token, MORNING) is None


def test_tokens_follow_from_the_seed() -> None:
    def tokens(seed: int) -> list[str]:
        one = Sessions([APP], seed)
        return [request_token(one, MORNING), request_token(one, MORNING)]

    assert tokens(1) == tokens(1)
    assert tokens(1) != tokens(2)


@pytest.mark.parametrize(("kind", "most"), [("quote", 1), ("historical", 3), ("order", 10), ("other", 10)])
def test_each_kind_has_its_window_of_one_second(kind: str, most: int) -> None:
    limits = Limits()
    assert [limits.admit("key", kind, MORNING) for _ in range(most + 1)] == [True] * most + [False]
    assert not limits.admit("key", kind, MORNING + timedelta(milliseconds=999))
    assert limits.admit("key", kind, MORNING + timedelta(seconds=1))
    assert limits.admit("another", kind, MORNING)


def test_orders_are_capped_by_minute_and_by_day() -> None:
    limits = Limits()
    assert all(limits.admit_order("ZZ1234", MORNING, new=1) for _ in range(400))
    assert not limits.admit_order("ZZ1234", MORNING + timedelta(seconds=59), new=1)
    for minute in range(1, 12):
        assert all(limits.admit_order("ZZ1234", MORNING + timedelta(minutes=minute), new=1) for _ in range(400))
    last = MORNING + timedelta(minutes=20)
    assert all(limits.admit_order("ZZ1234", last, new=10) for _ in range(20))
    assert not limits.admit_order("ZZ1234", last, new=1)
    assert limits.admit_order("ZZ1234", last, new=0), "modify and cancel do not count to the day's cap"
    assert limits.admit_order("ZZ1234", last + timedelta(days=1), new=1)
