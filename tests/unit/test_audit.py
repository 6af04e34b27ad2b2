"""The audit segment: every line whole and in order, secrets masked, days in files of their own, nothing dropped on a full disk."""

import json
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core.clock import ManualClock
from core.errors import StoreError
from storage.audit import AuditSegment, mask, requests_of
from tests.builders import T0
from tests.disk import no_file_may_grow_beyond


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(T0)


@pytest.fixture
def segment(tmp_path: Path, clock: ManualClock) -> Iterator[AuditSegment]:
    segment = AuditSegment(tmp_path / "audit", "practice/orders", clock)
    yield segment
    segment.close()


def lines(tmp_path: Path, day: str = "2026-11-20") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "audit" / f"practice-orders-{day}.jsonl").read_text().splitlines()]


def test_a_request_and_its_reply_are_two_lines_with_one_number(tmp_path: Path, segment: AuditSegment) -> None:
    number = segment.request("practice/orders", "POST", "/orders/regular", {"tradingsymbol": "INFY", "tag": "T1"}, durable=True)
    segment.reply(number, 200, {"status": "success", "data": {"order_id": "B1"}})
    request, reply = lines(tmp_path)
    assert request == {
        "n": 1,
        "at": "2026-11-20T09:30:00.000000+05:30",
        "lane": "practice/orders",
        "request": "POST",
        "route": "/orders/regular",
        "params": {"tradingsymbol": "INFY", "tag": "T1"},
    }
    assert (reply["n"], reply["reply"], reply["body"]["data"]["order_id"]) == (1, 200, "B1")


def test_the_file_is_the_owners_alone(tmp_path: Path, segment: AuditSegment) -> None:
    segment.request("x", "GET", "/")
    assert stat.S_IMODE((tmp_path / "audit" / "practice-orders-2026-11-20.jsonl").stat().st_mode) == 0o600


def test_each_day_has_its_file_and_numbers_go_on_after_a_restart(tmp_path: Path, clock: ManualClock, segment: AuditSegment) -> None:
    assert [segment.request("x", "GET", "/a"), segment.request("x", "GET", "/b")] == [1, 2]
    again = AuditSegment(tmp_path / "audit", "practice/orders", clock)
    assert again.request("x", "GET", "/c") == 3
    clock.move_to(T0 + timedelta(days=1))
    assert again.request("x", "GET", "/d") == 1
    again.close()
    assert [line["route"] for line in lines(tmp_path)] == ["/a", "/b", "/c"]
    assert [line["route"] for line in lines(tmp_path, "2026-11-21")] == ["/d"]


def test_a_line_torn_by_a_crash_spoils_no_other(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "audit" / "practice-orders-2026-11-20.jsonl"
    path.parent.mkdir()
    path.write_bytes(b'{"n":7,"request":"GET"}\n{"n":8,"requ')
    segment = AuditSegment(tmp_path / "audit", "practice/orders", clock)
    assert segment.request("x", "GET", "/next") == 8
    segment.close()
    first, torn, after = path.read_text().splitlines()
    assert (json.loads(first)["n"], torn, json.loads(after)["route"]) == (7, '{"n":8,"requ', "/next")


def test_on_a_full_disk_an_order_does_not_leave_and_nothing_else_is_lost(tmp_path: Path, segment: AuditSegment) -> None:
    sent = segment.request("x", "POST", "/orders/1", durable=True)
    size = (tmp_path / "audit" / "practice-orders-2026-11-20.jsonl").stat().st_size
    with no_file_may_grow_beyond(size + 20):
        segment.reply(sent, 200, "the reply that must not be lost")
        read = segment.request("x", "GET", "/orders")
        with pytest.raises(StoreError, match="was not sent; free some disk space"):
            segment.request("x", "POST", "/orders/2", durable=True)
        assert segment.waiting == 2
        assert [line["n"] for line in lines(tmp_path)] == [1]  # no half line stays
        with pytest.raises(StoreError, match="2 lines"):
            segment.close()
    segment.reply(read, 200)
    assert segment.waiting == 0
    assert [(line.get("route"), line.get("reply")) for line in lines(tmp_path)] == [
        ("/orders/1", None),
        (None, 200),
        ("/orders", None),
        (None, 200),
    ]


def test_a_folder_that_cannot_be_made_stops_orders_only(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "audit").write_text("a file where the folder should be")
    segment = AuditSegment(tmp_path / "audit", "practice/orders", clock)
    segment.reply(segment.request("x", "GET", "/orders"), 200)
    with pytest.raises(StoreError, match=r"practice-orders-2026-11-20\.jsonl"):
        segment.request("x", "POST", "/orders", durable=True)
    (tmp_path / "audit").unlink()
    segment.request("x", "POST", "/orders", durable=True)
    assert [line.get("request") for line in lines(tmp_path)] == ["GET", None, "POST"]
    segment.close()


SECRET = "hunter2secret99"


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "api_key",
        "apikey",
        "access_token",
        "request_token",
        "refresh_token",
        "public_token",
        "enctoken",
        "checksum",
        "api_secret",
        "totp",
        "mpin",
        "pin",
        "password",
        "twofa_value",
        "session_token",
        "jwtToken",
        "feedToken",
        "X-PrivateKey",
        "client_secret",
        "Cookie",
    ],
)
def test_secrets_are_masked_by_name_wherever_they_stand(name: str) -> None:
    for holder in (
        {name: SECRET},
        {"deep": [{name: SECRET}]},
        f"https://host/path?a=1&{name}={SECRET}&b=2",
        json.dumps({name: SECRET, "user": "x"}),
        f"{name}: {SECRET}",
        f"failed with {name}='{SECRET}'".encode(),
    ):
        masked = json.dumps(mask(holder))
        assert SECRET not in masked
        assert "***" in masked


def test_credentials_in_a_header_value_are_masked() -> None:
    assert mask({"headers": ["token kitekey12:accesstoken34", "Bearer abcdef123456"]}) == {"headers": ["token ***", "Bearer ***"]}


def test_what_is_no_secret_stays() -> None:
    kept = {
        "instrument_token": 256265,
        "tag": "T1",
        "price": 1.5,
        "none": None,
        "api_key": None,
        "text": "instrument_token=256265&mode=full",
    }
    assert mask(kept) == kept
    assert mask(("a", 1)) == ["a", 1]


def test_a_very_long_text_keeps_its_beginning_length_and_digest() -> None:
    masked = mask("x" * 300_000)
    assert masked.startswith("x" * 1000)
    assert "300000 characters, sha256 " in masked[-100:]
    assert len(masked) < 263_000


def test_a_durable_request_is_synced_before_it_returns(tmp_path: Path, segment: AuditSegment) -> None:
    """Seen from outside: the whole line is in the file, under its name, at the moment the call returns."""
    for number in range(1, 20):
        segment.request("x", "POST", f"/orders/{number}", durable=True)
        assert [line["n"] for line in lines(tmp_path)] == list(range(1, number + 1))


def test_a_days_requests_are_counted_over_all_segments_and_no_other_day(tmp_path: Path, segment: AuditSegment, clock: ManualClock) -> None:
    reads = AuditSegment(tmp_path / "audit", "practice/reads", clock)
    for number in range(3):
        told = reads.request("practice/reads", "GET", "/orders", {"page": number})
        reads.reply(told, 200, {"status": "success", "data": {"request": "a word, not a request"}})
    segment.reply(segment.request("practice/orders", "POST", "/orders/regular", {}, durable=True), 200, {})
    assert requests_of(tmp_path / "audit", T0.date()) == 4
    assert requests_of(tmp_path / "audit", (T0 + timedelta(days=1)).date()) == 0
    assert requests_of(tmp_path / "none", T0.date()) == 0
    reads.close()
