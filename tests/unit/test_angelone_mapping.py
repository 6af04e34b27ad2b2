"""Angel One's words in ours: order labels, products, what cannot be asked for, error codes, and the scrip master."""

import json
from datetime import date
from typing import Any

import pytest

import brokers.angelone.mapping as mapping
from brokers import registry
from brokers.angelone.dump import parse_instruments
from core.clock import ManualClock
from core.errors import BrokerError, DataError, LoginRefused, RateLimited, Rejected, SessionExpired, Transient, Unknown
from core.types import Horizon, Instrument, Kind, OrderState, OrderType, Purpose, Validity
from tests.builders import NIFTY, RELIANCE, T0, make_order
from tests.wire.angel_samples import KNOWN
from utils.pacing import Budget, Lane

TOKEN = "NFO|63657|NIFTY24NOV26FUT"


def row(status: str, **changes: Any) -> dict[str, Any]:
    base = {"orderid": "1", "status": "x", "orderstatus": status, "exchange": "NSE", "tradingsymbol": "RELIANCE-EQ", "symboltoken": "2885"}
    return {**base, "transactiontype": "SELL", "ordertype": "LIMIT", "quantity": "10", **changes}


def state(status: str, **changes: Any) -> OrderState | None:
    return mapping.order_update(row(status, **changes), T0, "book", KNOWN).state


# --- orders -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("put order req received", OrderState.PENDING_NEW),
        ("validation pending", OrderState.PENDING_NEW),
        ("open pending", OrderState.PENDING_NEW),
        ("open", OrderState.WORKING),
        ("trigger pending", OrderState.TRIGGER_PENDING),
        ("modify pending", OrderState.PENDING_MODIFY),
        ("modified", OrderState.WORKING),
        ("cancel pending", OrderState.PENDING_CANCEL),
        ("cancelled", OrderState.CANCELLED),
        ("rejected", OrderState.REJECTED),
        ("complete", OrderState.FILLED),
        ("after market order req received", OrderState.AMO_QUEUED),
        ("modify after market order req received", OrderState.AMO_QUEUED),
        ("cancelled after market order", OrderState.CANCELLED),
        (" Complete ", OrderState.FILLED),
        ("something new", None),
    ],
)
def test_every_documented_label_has_its_state_and_no_other(label: str, expected: OrderState | None) -> None:
    assert state(label) is expected


def test_a_modified_stop_that_waits_is_not_working() -> None:
    assert state("modified", ordertype="STOPLOSS_LIMIT") is OrderState.TRIGGER_PENDING
    assert state("modified", ordertype="STOPLOSS_LIMIT", filledshares="5") is OrderState.WORKING


def test_products_follow_the_horizon() -> None:
    assert [mapping.product(horizon, NIFTY) for horizon in Horizon] == ["INTRADAY", "CARRYFORWARD"]
    assert [mapping.product(horizon, RELIANCE) for horizon in Horizon] == ["INTRADAY", "DELIVERY"]
    assert {mapping.horizon_of(name) for name in ("DELIVERY", "CARRYFORWARD", "MARGIN", "new")} == {Horizon.CARRY}
    assert mapping.horizon_of("INTRADAY") is Horizon.INTRADAY


def test_an_order_is_written_in_the_brokers_words() -> None:
    order = make_order(order_type=OrderType.SL, limit_price=25_010.3, trigger_price=25_000.1, product="")
    assert mapping.place_body(order, TOKEN) == {
        "variety": "STOPLOSS",
        "tradingsymbol": "NIFTY24NOV26FUT",
        "symboltoken": "63657",
        "transactiontype": "BUY",
        "exchange": "NFO",
        "ordertype": "STOPLOSS_LIMIT",
        "producttype": "INTRADAY",
        "duration": "DAY",
        "price": "25010.3",
        "triggerprice": "25000.1",
        "quantity": "130",
        "ordertag": "ABCDEFGH00000001",
    }
    working = make_order(order_type=OrderType.SL, trigger_price=25_000.1, broker_order_id="B1", product="INTRADAY")
    change = mapping.modify_body(working, TOKEN, 65, 24_990.0, 25_000.0)
    assert (change["orderid"], change["variety"], change["quantity"], change["price"], change["triggerprice"]) == (
        "B1", "STOPLOSS", "65", "24990", "25000")  # fmt: skip
    assert mapping.cancel_body(working) == {"variety": "STOPLOSS", "orderid": "B1"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"order_type": OrderType.MARKET}, "a bare MARKET is never sent"),
        ({"order_type": OrderType.SL_M}, "a bare SL-M is never sent"),
        ({"order_type": OrderType.SL}, "without a trigger price"),
        ({"validity": Validity.IOC}, "prohibits IOC to algorithms since 2026-04-01; send it for the DAY"),
        ({"tag": "T" * 20}, "1-19 letters and digits"),
        ({"tag": ""}, "1-19 letters and digits"),
        ({"instrument": Instrument("NSE:NIFTY 50", "NSE", "NIFTY 50", Kind.INDEX, "NIFTY 50")}, "trade its future"),
        ({"instrument": Instrument("MCX:GOLD26DECFUT", "MCX", "GOLD26DECFUT", Kind.FUTURE, "GOLD")}, "another broker"),
        ({"instrument": Instrument("CDS:USDINR26NOVFUT", "CDS", "USDINR26NOVFUT", Kind.FUTURE, "USDINR")}, "another broker"),
        ({"instrument": Instrument("NSE:X-BE", "NSE", "X-BE", Kind.EQUITY, "X-BE")}, "give its strategy the horizon carry"),
    ],
)
def test_what_cannot_be_expressed_is_refused_with_the_alternative(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Rejected, match=words) as refused:
        mapping.place_body(make_order(**{"trigger_price": None, **changes}), TOKEN)
    assert "othing was sent" in str(refused.value)


# --- rows -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "value"), [("- 2235.80", -2235.8), ("1,200.5", 1200.5), ("", 0.0), (None, 0.0), (7, 7.0)])
def test_numbers_come_as_the_broker_writes_them(text: Any, value: float) -> None:
    assert mapping.number(text) == value


def test_a_row_of_an_instrument_nobody_lists_is_not_lost() -> None:
    found = mapping.order_update(row("open", tradingsymbol="NIFTY24NOV2624000CE", exchange="NFO", symboltoken="9"), T0, "book", KNOWN)
    assert (found.instrument.key, found.instrument.kind, found.instrument.underlying) == ("NFO:NIFTY24NOV2624000CE", Kind.CALL, "NIFTY")


def test_a_trade_without_token_and_date_is_of_its_order_and_day() -> None:
    book = {"exchange": "NFO", "tradingsymbol": "NIFTY24NOV26FUT", "transactiontype": "BUY", "fillprice": "25000.10", "fillsize": "65",
            "orderid": "B1", "fillid": "50005750", "filltime": "10:05:11"}  # fmt: skip
    trade = mapping.trade(book, T0.date(), lambda row: NIFTY)
    assert (trade.id, trade.instrument, trade.quantity, trade.price) == ("50005750", NIFTY, 65, 25000.1)
    assert trade.at.isoformat() == "2026-11-20T10:05:11+05:30"
    for name in ("fillid", "filltime", "fillsize", "fillprice", "orderid", "transactiontype"):
        with pytest.raises(DataError, match="trade row of SmartAPI"):
            mapping.trade({key: value for key, value in book.items() if key != name}, T0.date(), lambda row: NIFTY)


# --- what a refusal means ---------------------------------------------------------------------------------------------------------------


def meaning(code: str, **how: Any) -> type[BrokerError]:
    return type(mapping.failure(200, code, "text", **how))


def test_every_documented_code_has_one_meaning_for_an_order() -> None:
    documented = {*mapping.DEAD_TOKENS, *mapping.LOGIN_REFUSALS, *mapping.REFUSALS, *mapping.DOUBTFUL}
    meanings = {code: meaning(code, is_order=True) for code in documented}
    assert {code for code, kind in meanings.items() if kind is SessionExpired} == set(mapping.DEAD_TOKENS)
    assert {code for code, kind in meanings.items() if kind is Unknown} == mapping.DOUBTFUL
    assert {kind for code, kind in meanings.items() if code in mapping.REFUSALS} == {Rejected}
    assert len(documented) == 55


def test_what_no_table_names_is_in_doubt_and_never_guessed() -> None:
    assert meaning("AB7777", is_order=True) is Unknown
    assert meaning("", is_order=True) is Unknown
    assert meaning("AB7777") is Transient


def test_the_texts_of_the_rate_limit_pause_and_a_login_is_told_what_was_wrong() -> None:
    for text in ("Access denied because of exceeding access rate", "Access denied because of exceeding rate limit"):
        assert type(mapping.failure(403, "", text, is_order=True)) is RateLimited
        assert type(mapping.failure(503, "", text, is_order=True)) is Unknown, "a fault of the server's says nothing for certain"
        assert type(mapping.failure(503, "", text)) is RateLimited
    assert meaning("AB1050", is_login=True) is LoginRefused
    assert meaning("AB1007", is_login=True) is LoginRefused
    assert "timedatectl" in str(mapping.failure(200, "AB1050", "Invalid totp", is_login=True))


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"status": True, "message": "SUCCESS", "errorcode": "", "data": None}, None),
        ({"status": "true", "errorcode": "", "data": {}}, None),
        ({"status": False, "message": "Invalid totp", "errorcode": "AB1050", "data": None}, ("AB1050", "Invalid totp")),
        ({"status": "false", "message": "x", "errorcode": "AB1004", "data": "null"}, ("AB1004", "x")),
        ({"success": False, "message": "Invalid Token", "errorCode": "AG8001", "data": ""}, ("AG8001", "Invalid Token")),
        ({"message": "no Route matched"}, ("", "no Route matched")),
    ],
)
def test_both_dialects_of_errors_are_read(body: dict[str, Any], error: tuple[str, str] | None) -> None:
    assert mapping.error_of(body) == error


# --- the scrip master -------------------------------------------------------------------------------------------------------------------


def line(token: str, symbol: str, name: str, kind: str = "", exchange: str = "NSE", **more: str) -> dict[str, Any]:
    base = {"expiry": "", "strike": "-1.000000", "lotsize": "1", "tick_size": "5.000000", "freeze_qty": "0", "is_cas_enabled": False}
    return {"token": token, "symbol": symbol, "name": name, "instrumenttype": kind, "exch_seg": exchange, **base, **more}


MASTER = [
    line("99926000", "Nifty 50", "NIFTY", "AMXIDX", strike="0.000000", tick_size="0.000000"),
    line("3045", "SBIN-EQ", "SBIN"),
    line("1001", "94SFL28-YL", "94SFL28", tick_size="1.000000"),
    line("500112", "SBIN", "SBIN", exchange="BSE"),
    line("63657", "NIFTY24NOV26FUT", "NIFTY", "FUTIDX", "NFO", expiry="24NOV2026", lotsize="65", tick_size="10.000000", freeze_qty="1800"),
    line("1", "NIFTY24NOV2624000CE", "NIFTY", "OPTIDX", "NFO", expiry="24NOV2026", strike="2400000.000000", lotsize="65"),
    line("2", "NIFTY17NOV2624000PE", "NIFTY", "OPTIDX", "NFO", expiry="17NOV2026", strike="2400000.000000", lotsize="65"),
    line("3", "NIFTY01DEC2624050CE", "NIFTY", "OPTIDX", "NFO", expiry="01DEC2026", strike="2405000.000000", lotsize="65"),
    line("4", "NIFTY29DEC26FUT", "NIFTY", "FUTIDX", "NFO", expiry="29DEC2026", lotsize="65"),
    line("5", "CRUDEOIL26NOV5000CE", "CRUDEOIL", "OPTFUT", "MCX", expiry="17NOV2026", strike="500000.000000", lotsize="100"),
    line("6", "CRUDEOIL26NOVFUT", "CRUDEOIL", "FUTCOM", "MCX", expiry="19NOV2026", lotsize="100"),
    line("7", "866186", "X", "OPTIDX", "BFO", expiry="24NOV2026", strike="100.0", lotsize="10"),
    line("8", "JEERA", "JEERA", "COMDTY", "NCDEX"),
    line("9", "BAD", "BAD", "FUTSTK", "NFO", expiry="24NOT2026", lotsize="10"),
]


def test_the_master_is_read_into_the_identities_all_brokers_share() -> None:
    reader = parse_instruments(json.dumps(MASTER).encode())
    rows = {item.key: item for item in reader}
    assert list(rows) == [
        "NSE:NIFTY 50", "NSE:SBIN", "NSE:94SFL28-YL", "BSE:SBIN", "NFO:NIFTY26NOVFUT", "NFO:NIFTY26NOV24000CE",
        "NFO:NIFTY26N1724000PE", "NFO:NIFTY26D0124050CE", "NFO:NIFTY26DECFUT", "MCX:CRUDEOIL26NOV5000CE", "MCX:CRUDEOIL26NOVFUT",
    ]  # fmt: skip
    future = rows["NFO:NIFTY26NOVFUT"]
    assert (future.lot, future.tick_size, future.freeze, future.expiry, future.token) == (65, 0.1, 1800, date(2026, 11, 24), TOKEN)
    assert rows["NFO:NIFTY26D0124050CE"].strike == 24050.0
    assert rows["NSE:SBIN"].tick_size == 0.05
    assert reader.complete
    assert reader.skipped == {
        "derivative without underlying, expiry, strike or right": 1,
        "exchange NCDEX": 1,
        "a number or date that does not read": 1,
    }


def test_a_master_that_breaks_off_is_refused() -> None:
    dump = json.dumps(MASTER).encode()
    reader = parse_instruments(dump[: len(dump) // 2])
    assert not reader.complete
    with pytest.raises(DataError, match="scrip master does not read"):
        list(reader)


# --- the spec ---------------------------------------------------------------------------------------------------------------------------


def test_the_registry_finds_angel_one_and_every_request_is_paced() -> None:
    spec = registry.get("angelone")
    assert (spec.name, spec.tag_length, spec.instruments_per_stream, spec.streams, spec.login) == ("angelone", 19, 1000, 3, "code")
    budget = Budget(ManualClock(T0), spec.limits)
    for kind in (
        "place",
        "modify",
        "cancel",
        "orders",
        "trades",
        "positions",
        "holdings",
        "funds",
        "profile",
        "quote",
        "historical",
        "other",
    ):
        assert budget.acquire(Lane.EXIT, kind) == 0
    assert make_order(purpose=Purpose.EXIT).purpose is Purpose.EXIT


def test_the_client_of_bare_scripts_is_found_in_the_brokers_folder() -> None:
    from brokers.angelone import SmartAPIClient

    assert SmartAPIClient.__name__ == "SmartAPIClient"
