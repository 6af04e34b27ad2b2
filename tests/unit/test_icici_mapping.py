"""ICICI's words as pure functions: each status, each refusal, rows with missing fields, bodies as the API wants them, the master."""

import io
import zipfile
from datetime import date
from typing import Any

import msgspec
import pytest

import brokers.icici.mapping as mapping
from brokers.icici.dump import parse_instruments
from brokers.icici.session import apisession_of, signed
from core.errors import BrokerError, ConfigError, DataError, RateLimited, Rejected, SessionExpired, Transient, Unknown
from core.types import Horizon, Instrument, Kind, Order, OrderState, OrderType, Purpose, Side, Validity
from simulators.icici_rows import LETTERS
from tests.builders import T0, make_order

SHARE = Instrument("NSE:RELIANCE", "NSE", "RELIANCE", Kind.EQUITY, "RELIANCE", tick_size=0.1)
FUTURE = Instrument("NFO:NIFTY26NOVFUT", "NFO", "NIFTY26NOVFUT", Kind.FUTURE, "NIFTY", 65, 0.1, date(2026, 11, 23))
CALL = Instrument("NFO:NIFTY26NOV25000CE", "NFO", "NIFTY26NOV25000CE", Kind.CALL, "NIFTY", 65, 0.05, date(2026, 11, 23), 25000.0)
TOKENS = {"NSE|RELIND|2885": SHARE, "NFO|NIFTY|2026-11-23|0|FUT|58072": FUTURE, "NFO|NIFTY|2026-11-23|25000|CE|36342": CALL}


class Codes:
    day = date(2026, 11, 20)

    def by_key(self, key: str) -> Instrument | None:
        return next((one for one in TOKENS.values() if one.key == key), None)

    def by_token(self, token: Any) -> Instrument | None:
        return TOKENS.get(token)

    def by_token_start(self, beginning: str) -> Instrument | None:
        return next((one for token, one in TOKENS.items() if token.startswith(beginning)), None)

    def token(self, instrument: Instrument) -> str:
        return next(token for token, one in TOKENS.items() if one == instrument)


def row(**changes: Any) -> dict[str, Any]:
    """A row of the order list as the README of the SDK shows it."""
    base: dict[str, Any] = {
        "order_id": "202611201400001234",
        "exchange_code": "NFO",
        "stock_code": "NIFTY",
        "product_type": "Futures",
        "action": "Buy",
    }
    base |= {"order_type": "Limit", "stoploss": "0.00", "quantity": "65", "price": "25600.00", "expiry_date": "23-Nov-2026"}
    base |= {"right": "Others", "strike_price": 0.0, "average_price": "0", "cancelled_quantity": "0", "pending_quantity": "65"}
    return {**base, "status": "Ordered", "user_remark": "", "order_datetime": "20-Nov-2026 10:02", **changes}


def update(**changes: Any) -> Any:
    return mapping.order_update(row(**changes), T0, "book", Codes())


@pytest.mark.parametrize(
    ("label", "pending", "cancelled", "average", "state", "filled"),
    [
        ("Requested", "0", "0", "0", OrderState.PENDING_NEW, 0),
        ("Queued", "65", "0", "0", OrderState.PENDING_NEW, 0),
        ("Freezed", "65", "0", "0", OrderState.PENDING_NEW, 0),
        ("Ordered", "0", "0", "0", OrderState.WORKING, 0),  # nothing pending proves no fill without an average
        ("Ordered", "40", "0", "25600.1", OrderState.WORKING, 25),
        ("Partially Executed", "40", "0", "25600.1", OrderState.WORKING, 25),
        ("Executed", "0", "0", "25600.1", OrderState.FILLED, 65),
        ("Rejected", "0", "0", "0", OrderState.REJECTED, 0),
        ("Cancelled", "0", "65", "0", OrderState.CANCELLED, 0),
        ("Expired", "0", "0", "0", OrderState.EXPIRED, 0),
        ("Partially Executed And Cancelled", "0", "40", "25600.1", OrderState.CANCELLED, 25),
        ("Partially Executed And Expired", "0", "40", "25600.1", OrderState.EXPIRED, 25),
        ("Something New", "0", "0", "0", None, 0),
        ("Cancelled", "0", "40", "25600.1", OrderState.CANCELLED, 25),  # an average is a fill, whatever the label leaves out
        ("Expired", "0", "40", "25600.1", OrderState.EXPIRED, 25),
        ("Rejected", "40", "0", "25600.1", OrderState.CANCELLED, 25),
        ("Something New", "40", "0", "25600.1", None, 25),
    ],
)
def test_every_status(label: str, pending: str, cancelled: str, average: str, state: OrderState | None, filled: int) -> None:
    found = update(status=label, pending_quantity=pending, cancelled_quantity=cancelled, average_price=average)
    assert (found.state, found.filled, found.instrument) == (state, filled, FUTURE)


def test_the_letters_are_those_of_the_documents() -> None:
    assert {letter: name.lower() for name, letter in LETTERS.items()} | {"F": "freezed"} == dict(mapping.LETTERS)
    assert set(mapping.LETTERS.values()) == set(mapping.STATES)


def test_a_stop_that_is_ordered_waits_for_its_trigger() -> None:
    found = update(order_type="StopLoss", stoploss="25700")
    assert (found.state, found.order_type, found.trigger_price) == (OrderState.TRIGGER_PENDING, OrderType.SL, 25700.0)


def test_a_row_of_a_contract_that_nobody_listed_is_kept() -> None:
    found = update(stock_code="CNXBAN")
    assert (found.instrument.key, found.instrument.kind) == ("NFO:CNXBAN 2026-11-23 FUT", Kind.FUTURE)
    assert update(exchange_code="NSE", stock_code="ITC", expiry_date=None, product_type="Cash").instrument.key == "NSE:ITC"


@pytest.mark.parametrize("changes", [{"order_id": ""}, {"quantity": "many"}, {"action": "Hold"}, {"quantity": "65.5"}, {"price": "nan"}])
def test_a_garbled_row_is_no_row(changes: dict[str, str]) -> None:
    with pytest.raises(DataError, match="an order row of ICICI"):
        update(**changes)


@pytest.mark.parametrize("expiry", [None, "", "soon", "26-11-23"])
def test_a_contract_without_a_readable_expiry_is_never_taken_for_another(expiry: str | None) -> None:
    for read in (update, lambda **changes: mapping.position(row(**changes), Codes())):
        with pytest.raises(DataError, match="expiry_date"):
            read(expiry_date=expiry)
    assert update(expiry_date="2026-11-23T06:00:00.000Z").instrument == FUTURE, "as requests name it"


@pytest.mark.parametrize(("right", "product"), [("C", "Options"), ("Others", "Options"), (None, "Options"), ("both", "Futures")])
def test_an_option_whose_right_does_not_read_is_never_taken_for_the_future(right: str | None, product: str) -> None:
    with pytest.raises(DataError, match="right"):
        update(right=right, product_type=product, strike_price="25000.00")
    for word in ("Call", "CE"):
        assert update(right=word, product_type="Options", strike_price="25000.00").instrument == CALL
    assert update(right="XX").instrument == FUTURE


@pytest.mark.parametrize(("action", "quantity", "net"), [("Buy", "65", 65), ("Sell", "65", -65), ("NA", "0", 0)])
def test_positions_have_their_sign_from_the_action(action: str, quantity: str, net: int) -> None:
    found = mapping.position(row(action=action, quantity=quantity, product_type="Futures", ltp=None), Codes())
    assert (found.quantity, found.product) == (net, "futures")


def test_a_position_without_a_side_that_is_not_flat_proves_nothing() -> None:
    with pytest.raises(DataError, match="position row"):
        mapping.position(row(action="NA", quantity="65"), Codes())


def test_funds_are_what_is_allocated_and_free() -> None:
    given = {"allocated_equity": "1000.5", "allocated_fno": 2000, "block_by_trade_equity": "0.5", "block_by_trade_fno": 500}
    found = mapping.funds({**given, "total_bank_balance": 1e9})
    assert (found.available, found.used) == (2500.0, 500.5)


# --- bodies -----------------------------------------------------------------------------------------------------------------------------


def order(instrument: Instrument = FUTURE, **changes: Any) -> Order:
    made = make_order(instrument=instrument, quantity=65, limit_price=25_600.1)
    return msgspec.structs.replace(made, tag="TAG1TAG1TAG1TAG1", product="", **changes)


def test_a_future_is_named_by_code_expiry_and_others() -> None:
    body = mapping.place_body(order(), "NFO|NIFTY|2026-11-23|0|FUT|58072")
    wanted = {"stock_code": "NIFTY", "exchange_code": "NFO", "product": "futures", "right": "others", "strike_price": "0"}
    assert wanted.items() <= body.items()
    assert (body["expiry_date"], body["price"], body["quantity"]) == ("2026-11-23T06:00:00.000Z", "25600.1", "65")
    assert list(body)[:12] == [
        "stock_code", "exchange_code", "product", "action", "order_type", "quantity", "price", "validity", "settlement_id",
        "order_segment_code", "lots", "user_remark",
    ]  # fmt: skip


def test_an_option_and_a_stop() -> None:
    given = order(CALL, order_type=OrderType.SL, trigger_price=101.05, limit_price=102.0)
    body = mapping.place_body(given, "NFO|NIFTY|2026-11-23|25000|CE|36342")
    assert (body["product"], body["right"], body["strike_price"]) == ("options", "call", "25000")
    assert (body["order_type"], body["stoploss"], body["price"]) == ("stoploss", "101.05", "102")


@pytest.mark.parametrize(
    ("instrument", "changes", "says"),
    [
        (SHARE, {"side": Side.SELL, "purpose": Purpose.ENTRY}, "cannot be sold short"),
        (FUTURE, {"order_type": OrderType.MARKET}, "capped LIMIT"),
        (FUTURE, {"order_type": OrderType.SL_M, "trigger_price": 1.0}, "capped LIMIT"),
        (FUTURE, {"order_type": OrderType.SL}, "without a trigger"),
        (FUTURE, {"order_type": OrderType.SL, "trigger_price": 1.0, "validity": Validity.IOC}, "use DAY"),
        (FUTURE, {"tag": "T" * 21}, "letters and digits"),
        (Instrument("MCX:GOLD26DECFUT", "MCX", "GOLD26DECFUT", Kind.FUTURE, "GOLD", expiry=date(2026, 12, 4)), {}, "unconfirmed"),
        (Instrument("NSE:NIFTY 50", "NSE", "NIFTY 50", Kind.INDEX, "NIFTY"), {}, "trade its future"),
    ],
)
def test_what_may_not_leave_is_refused_before_it_is_sent(instrument: Instrument, changes: dict[str, Any], says: str) -> None:
    given = msgspec.structs.replace(order(instrument), **changes)
    with pytest.raises(Rejected, match=f"{says}.*othing was sent"):
        mapping.place_body(given, "NSE|X|1")


def test_shares_bought_today_may_be_sold_and_everything_is_carried() -> None:
    body = mapping.place_body(order(SHARE, side=Side.SELL, purpose=Purpose.SQUARE_OFF), "NSE|RELIND|2885")
    assert (body["product"], body["action"]) == ("cash", "sell")
    assert {mapping.product(horizon, SHARE) for horizon in Horizon} == {"cash"}
    assert [mapping.horizon_of(name) for name in ("cash", "futures", "mtf", "Margin")] == [Horizon.CARRY] * 3 + [Horizon.INTRADAY]
    assert "no intraday product" in mapping.stands_in(Horizon.INTRADAY, SHARE)
    assert mapping.stands_in(Horizon.INTRADAY, FUTURE) == mapping.stands_in(Horizon.CARRY, SHARE) == ""


# --- refusals ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("http", "status", "message", "order_is", "read_is"),
    [
        (200, 5, "Limit exceed: API call per minute:Try after some time", RateLimited, RateLimited),
        (401, 5, "Limit exceed: API call per day: ", RateLimited, RateLimited),
        (200, 500, "Limit exceed: something", RateLimited, RateLimited),
        (429, "", "a page", RateLimited, RateLimited),
        (401, 401, "Invalid session.", SessionExpired, SessionExpired),
        (200, 500, "Session key is expired.", SessionExpired, SessionExpired),
        (200, 401, "Resource not available.", SessionExpired, SessionExpired),
        (401, "", "whatever", SessionExpired, SessionExpired),
        (401, 401, "Invalid checksum.", Rejected, Rejected),
        (403, 403, "Request is not allowed from this IP address.", Rejected, Rejected),
        (200, 500, "Quantity cannot be empty", Rejected, Rejected),
        (200, 500, "Product should be either 'futures', 'options', 'cash', 'btst' or 'mtf'", Rejected, Rejected),
        (200, 500, "Order has already been executed and cannot be modified.", Rejected, Rejected),
        (200, 500, "Something went wrong. Please check the order book.", Unknown, Transient),
        (503, "", "Quantity cannot be empty", Unknown, Transient),
        (503, "", "HTTP 503: <title>Resource not available</title>", Unknown, SessionExpired),
        (503, "", "HTTP 503: Limit exceed", Unknown, RateLimited),
        (500, 5, "whatever", Unknown, RateLimited),
        (200, 200, "", Unknown, Transient),
        (408, 408, "Request timeout", Unknown, Transient),
    ],
)
def test_what_a_refusal_means(http: int, status: Any, message: str, order_is: type[BrokerError], read_is: type[BrokerError]) -> None:
    assert type(mapping.failure(http, status, message, is_order=True)) is order_is
    assert type(mapping.failure(http, status, message, is_order=False)) is read_is


# --- login and master -------------------------------------------------------------------------------------------------------------------


def test_the_checksum_of_the_documents_vectors() -> None:
    stamp = "2026-11-22T00:00:00.000Z"
    assert signed("SEC", stamp, "{}") == "token 436939ae6fea69e6df3966116a5a98b6bc567069b3e8a730691a8789d7a87ca3"
    body = '{"exchange_code":"NSE","order_id":"1"}'
    assert signed("SEC", stamp, body) == "token 43c74e0ba17c55422bae088ac6a9f21e26952f43b468acf034dcf9000c726295"


@pytest.mark.parametrize(
    "answer", ["12345678", "https://127.0.0.1/?apisession=12345678", "/?API_Session=12345678&x=1", "API_Session=12345678", " 12345678\n"]
)
def test_the_session_number_is_found_wherever_the_page_puts_it(answer: str) -> None:
    assert apisession_of(answer) == "12345678"


@pytest.mark.parametrize("answer", ["", "https://127.0.0.1/?code=1", "apisession=", "a b"])
def test_an_address_without_a_session_is_refused(answer: str) -> None:
    with pytest.raises(ConfigError, match="apisession"):
        apisession_of(answer)


NSE = '"Token", "ShortName", "Series", "CompanyName", "WarningPercent", "FreezePercent", "52WeeksHigh", "ExchangeCode"\n'
FONSE = (
    '"Token","InstrumentName","ShortName","Series","ExpiryDate","StrikePrice","OptionType","FreezeQty","LotSize","TickSize",'
    '"CompanyName","ExchangeCode"\n'
)


def master(nse: str = "", fonse: str = "") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("NSEScripMaster.txt", NSE + nse)
        archive.writestr("BSEScripMaster.txt", '"Token","ShortName","Series","CompanyName","ISINCode","ExchangeCode"\n')
        archive.writestr("FONSEScripMaster.txt", FONSE + fonse)
        archive.writestr("FOBSEScripMaster.txt", FONSE)
    return out.getvalue()


def test_symbols_come_from_the_exchange_codes_and_bonds_do_not() -> None:
    rows = '"2885","RELIND","EQ","RELIANCE INDUSTRIES",1403.4,1148.4,1611.8,"RELIANCE"\n'
    rows += '"99","RELIND","N1","RELIANCE BOND",0,0,0,"RELIANCE"\n"NIFTY BANK","CNXBAN","0","NIFTY BANK",0,0,0,"NIFTY BANK"\n'
    rows += '"7","KALYAN","BE","KALYAN",99,80,120,"KALYANI"\n"0","GONE","EQ","GONE",1,1,1,"GONE"\n'
    found = {one.key: (one.token, one.tick_size) for one in parse_instruments(master(rows))}
    assert found == {
        "NSE:RELIANCE": ("NSE|RELIND|2885", 0.1),  # by the highest price, which the real tick divides
        "NSE:NIFTY BANK": ("NSE|CNXBAN|NIFTY BANK", 0.05),
        "NSE:KALYANI-BE": ("NSE|KALYAN|7", 0.01),
    }


def test_contracts_are_known_by_the_roots_of_the_exchange() -> None:
    line = '"{}","{}","{}","{}","{}","{}","{}",0,{},{},"NAME","{}"\n'
    rows = line.format("1", "FUTIDX", "CNXBAN", "FUTURE", "25-Aug-2026", "0", "XX", 30, 20, "NIFTY BANK")
    rows += line.format("2", "OPTIDX", "NIFTY", "OPTION", "04-Aug-2026", "25000", "CE", 65, 5, "NIFTY 50")
    rows += line.format("3", "OPTIDX", "NIFTY", "OPTION", "25-Aug-2026", "25000", "PE", 65, 5, "NIFTY 50")
    rows += line.format("4", "OPTSTK", "GAIL", "OPTION", "25-Aug-2026", "227.5", "CE", 3550, 1, "GAIL")
    rows += line.format("5", "OPTSTK", "GAIL", "OPTION", "never", "227.5", "CE", 3550, 1, "GAIL")
    reader = parse_instruments(master(fonse=rows))
    found = {one.key: (one.token, one.lot, one.tick_size) for one in reader}
    assert found == {
        "NFO:BANKNIFTY26AUGFUT": ("NFO|CNXBAN|2026-08-25|0|FUT|1", 30, 0.2),
        "NFO:NIFTY2680425000CE": ("NFO|NIFTY|2026-08-04|25000|CE|2", 65, 0.05),
        "NFO:NIFTY26AUG25000PE": ("NFO|NIFTY|2026-08-25|25000|PE|3", 65, 0.05),
        "NFO:GAIL26AUG227.5CE": ("NFO|GAIL|2026-08-25|227.5|CE|4", 3550, 0.01),
    }
    assert sum(reader.skipped.values()) == 1


@pytest.mark.parametrize("dump", [b"", b"<html>", master()[:200]], ids=["empty", "page", "cut"])
def test_a_broken_archive_is_refused_whole(dump: bytes) -> None:
    with pytest.raises(DataError, match="download it again"):
        list(parse_instruments(dump))
