"""The simulator's stream without sockets: caps, modes, snapshots, heartbeats, order messages and the faults of a feed."""

import json
from typing import Any

import pytest
from kiteconnect import KiteTicker

from simulators.wire import Connection, Response
from tests.wire.kite_in_process import FUTURE, Kite

HEARTBEAT = b"\x00"


@pytest.fixture
def kite() -> Kite:
    return Kite()


def token(kite: Kite, key: str = FUTURE) -> int:
    return kite.simulator.world.market.listings[key].token


def parsed(frames: list[bytes | str]) -> list[dict[str, Any]]:
    ticker = KiteTicker("key", "token")
    return [tick for frame in frames if isinstance(frame, bytes) for tick in ticker._parse_binary(frame)]


def test_a_bad_token_and_a_fourth_connection_get_403(kite: Kite) -> None:
    refused = kite.connect("api_key=key&access_token=wrong")
    assert isinstance(refused, Response)
    assert refused.status == 403
    three = [kite.stream() for _ in range(3)]
    assert isinstance(kite.connect(), Response)
    kite.simulator.disconnect(three[0])
    assert isinstance(kite.connect(), Connection)


def test_a_bare_subscription_is_in_quote_mode_and_starts_with_a_snapshot(kite: Kite) -> None:
    stream = kite.stream()
    kite.say(stream, {"a": "subscribe", "v": [token(kite)]})
    (tick,) = parsed(kite.frames(stream))
    assert (tick["mode"], tick["last_price"]) == ("quote", kite.last())
    assert kite.frames(stream) == []


def test_modes_are_kept_by_connection_and_token(kite: Kite) -> None:
    first, second = kite.stream(), kite.stream()
    keys = [token(kite), token(kite, "NSE:NIFTY 50"), token(kite, "NSE:RELIANCE")]
    kite.say(first, {"a": "subscribe", "v": keys})
    kite.say(first, {"a": "mode", "v": ["full", keys[:2]]})
    kite.say(second, {"a": "mode", "v": ["ltp", keys]})
    assert [tick["mode"] for tick in parsed(kite.frames(first))] == ["full", "full", "quote"]
    assert [tick["mode"] for tick in parsed(kite.frames(second))] == ["ltp"] * 3
    kite.say(first, {"a": "unsubscribe", "v": keys[1:]})
    kite.pass_(5)
    assert {tick["instrument_token"] for tick in parsed(kite.frames(first))} == {keys[0]}


def test_ticks_are_conflated_and_carry_the_exchanges_time(kite: Kite) -> None:
    stream = kite.stream()
    kite.say(stream, {"a": "mode", "v": ["full", [token(kite)]]})
    kite.frames(stream)
    kite.pass_(10)
    (tick,) = parsed(kite.frames(stream))
    quote = kite.simulator.world.market.quote(FUTURE)
    assert (tick["last_price"], tick["volume_traded"]) == (quote.last_price, quote.volume)
    assert tick["exchange_timestamp"].timestamp() == int(quote.exchange_time.timestamp())


def test_more_than_3000_tokens_give_an_error_text_and_the_connection_stays(kite: Kite) -> None:
    stream = kite.stream()
    listings = kite.simulator.world.market.listings
    stream.state.modes.update(dict.fromkeys(range(1, 3001), "quote"))
    kite.say(stream, {"a": "subscribe", "v": [listings[FUTURE].token]})
    (text,) = kite.told(stream)
    assert text["type"] == "error"
    assert "3000" in text["data"]
    assert not stream.ended


@pytest.mark.parametrize("message", ["nonsense", "[]", '{"a":"subscribe"}', '{"a":"subscribe","v":["x"]}', '{"a":"mode","v":["deep",[1]]}'])
def test_what_makes_no_sense_is_answered_with_an_error_text(kite: Kite, message: str) -> None:
    stream = kite.stream()
    kite.simulator.receive(stream, message, kite.now)
    assert [text["type"] for text in kite.told(stream)] == ["error"]


def test_heartbeats_fill_the_silence(kite: Kite) -> None:
    stream = kite.stream()
    beats = []
    for _ in range(10):
        kite.pass_(1)
        beats.append(kite.frames(stream))
    assert beats.count([HEARTBEAT]) == 3
    assert all(frames in ([], [HEARTBEAT]) for frames in beats)


def test_order_messages_say_update_for_a_partial_fill_and_carry_a_checksum(kite: Kite) -> None:
    import hashlib

    stream = kite.stream()
    kite.faults.add({"fault": "partial", "quantity": 65})
    order = kite.place(quantity=130, tag="HALF")
    kite.pass_(20)
    told = [text["data"] for text in kite.told(stream)]
    assert [(row["status"], row["filled_quantity"], row["unfilled_quantity"]) for row in told] == [("OPEN", 0, 130), ("UPDATE", 65, 65)]
    assert kite.row(order)["status"] == "OPEN"
    last = told[-1]
    assert last["checksum"] == hashlib.sha256(f"{order}{last['order_timestamp']}secret".encode()).hexdigest()
    assert (last["tag"], last["user_id"]) == ("HALF", "ZZ1234")


def test_a_modification_is_told_once(kite: Kite) -> None:
    stream = kite.stream()
    order = kite.place(order_type="LIMIT", price=round(kite.last() * 0.98))
    kite.pass_(1)
    kite.frames(stream)
    kite.call("PUT", f"/orders/regular/{order}", form={"price": round(kite.last() * 0.97)})
    kite.pass_(1)
    assert [text["data"]["status"] for text in kite.told(stream)] == ["UPDATE"]


def test_every_connection_hears_of_every_order_and_a_new_one_hears_nothing_old(kite: Kite) -> None:
    first, second = kite.stream(), kite.stream()
    kite.place()
    kite.pass_(3)
    told = kite.told(first)
    assert told == kite.told(second)
    assert told[-1]["data"]["status"] == "COMPLETE"
    assert kite.told(kite.stream()) == []


def test_updates_can_be_doubled_lost_and_overtaken(kite: Kite) -> None:
    stream = kite.stream()

    def statuses() -> list[str]:
        kite.place()
        kite.pass_(3)
        return [text["data"]["status"] for text in kite.told(stream)]

    kite.faults.add({"fault": "duplicate_update", "match": {"status": "COMPLETE"}})
    assert statuses() == ["OPEN", "COMPLETE", "COMPLETE"]
    kite.faults.add({"fault": "drop_update", "match": {"status": "COMPLETE"}})
    assert statuses() == ["OPEN"]
    kite.faults.add({"fault": "late_update", "match": {"status": "OPEN"}, "seconds": 2})
    assert statuses() == ["COMPLETE", "OPEN"]


def test_a_mute_socket_says_nothing_at_all_and_recovers(kite: Kite) -> None:
    stream = kite.stream()
    kite.say(stream, {"a": "subscribe", "v": [token(kite)]})
    kite.faults.add({"fault": "mute_socket", "match": {"after": "10:00:05"}, "seconds": 30})
    heard = []
    for _ in range(60):
        kite.pass_(1)
        heard.append(bool(kite.frames(stream)))
    silence = 4  # 10:00:05 by the exchange's clock
    assert heard[:silence] == [True] * silence
    assert heard[silence : silence + 30] == [False] * 30
    assert heard[silence + 30], "the first frame after the silence is not late"


def test_a_dropped_socket_ends_without_a_word(kite: Kite) -> None:
    first, second = kite.stream(), kite.stream()
    kite.faults.add({"fault": "drop_socket", "reset": True})
    assert (kite.frames(first), first.ended, first.reset) == ([], True, True)
    assert not second.ended


def test_bad_frames_are_bad_in_the_way_asked_for(kite: Kite) -> None:
    stream = kite.stream()
    kite.say(stream, {"a": "subscribe", "v": [token(kite)]})
    whole = kite.frames(stream)[0]
    assert isinstance(whole, bytes)

    def struck(fault: dict[str, Any]) -> list[bytes | str]:
        kite.faults.add(fault)
        kite.pass_(5)
        return kite.frames(stream)

    assert len(struck({"fault": "truncated_frame"})[0]) == len(whole) - 7
    assert struck({"fault": "garbage_frame", "hex": "00ff"})[-1] == b"\x00\xff"
    assert parsed(struck({"fault": "unknown_token"}))[-1]["instrument_token"] == 999_999_937
    priced = parsed(struck({"fault": "bad_price", "price": 0.05}))[-1]
    assert (priced["instrument_token"], priced["last_price"]) == (token(kite), 0.05)


def test_the_messages_of_a_client_are_kept_for_assertions(kite: Kite) -> None:
    stream = kite.stream()
    kite.say(stream, {"a": "subscribe", "v": [1, 2]})
    assert kite.simulator.ticker.received() == [{"connection": stream.id, "messages": [json.dumps({"a": "subscribe", "v": [1, 2]})]}]
