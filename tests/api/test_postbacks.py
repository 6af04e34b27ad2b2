"""Order updates that a broker posts: who may, and that what it said reaches the daemon of the account as it came."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.house import House
from utils.control import Answer

SECRET = "the-secret-of-the-postbacks"
ROW = {"order_id": "261120000000001", "status": "COMPLETE", "tag": "A" * 16}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path, postbacks=True) as made:
        made.secrets["NIYAM_POSTBACK_SECRET"] = SECRET
        yield made


def post(house: House, body: Any = ROW, broker: str = "zerodha", **query: Any) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return house.client.post(f"/api/v1/postbacks/{broker}", content=content, params={"secret": SECRET} | query)


def test_what_was_posted_reaches_the_daemon_as_it_came(house: House) -> None:
    assert post(house).status_code == 200
    assert post(house, account="mine").status_code == 200
    body = json.dumps(ROW)
    assert house.desk.asked == [
        ("postback", {"broker": "zerodha", "body": body}),
        ("postback", {"broker": "zerodha", "body": body, "account": "mine"}),
    ]


@pytest.mark.parametrize("secret", ["", "wrong", SECRET + " ", SECRET.upper()])
def test_without_the_secret_nothing_is_asked(house: House, secret: str) -> None:
    reply = post(house, secret=secret)
    assert reply.status_code == 401
    assert SECRET not in reply.text
    assert house.desk.asked == []


@pytest.mark.parametrize(
    ("body", "broker", "status"),
    [(b"\xff\xfe", "zerodha", 400), (ROW, "Zero1", 422), (b"x" * 300_000, "zerodha", 413)],
)
def test_what_is_no_postback_goes_no_further(house: House, body: Any, broker: str, status: int) -> None:
    assert post(house, body, broker).status_code == status
    assert house.desk.asked == []


def test_a_daemon_that_refuses_or_is_down_is_told(house: House) -> None:
    house.desk.answer = Answer(ok=False, text="the checksum of this postback is not that of the account's app")
    reply = post(house)
    assert (reply.status_code, "checksum" in reply.text) == (409, True)
    house.desk.up = False
    assert post(house).status_code == 503


def test_it_is_off_by_default_and_needs_a_secret(tmp_path: Path) -> None:
    with House(tmp_path) as plain:
        assert plain.client.post("/api/v1/postbacks/zerodha", content=b"{}", params={"secret": ""}).status_code == 403
    (tmp_path / "other").mkdir()
    with House(tmp_path / "other", postbacks=True) as bare:
        reply = bare.client.post("/api/v1/postbacks/zerodha", content=b"{}", params={"secret": ""})
        assert reply.status_code == 503
        assert bare.desk.asked == []
