"""Upstox's words: every documented status, product and error code, rows of its books, its instrument file, and what it cannot express."""

import gzip
import json
from datetime import date, datetime
from typing import Any

import pytest

import brokers.upstox.mapping as mapping
from brokers.upstox import SPEC
from brokers.upstox.dump import DumpReader
from brokers.zerodha.mapping import DumpReader as KiteReader
from core.errors import BrokerError, DataError, RateLimited, Rejected, SessionExpired, Transient, Unknown
from core.types import IST, Horizon, Instrument, Kind, OrderState, OrderType, Side
from tests.builders import NIFTY, RELIANCE, make_order
from tests.market_data import MASTERS
from tests.wire.upstox_samples import INDEX, KNOWN, NIFTY_KEY, RELIANCE_KEY

AT = datetime(2026, 11, 20, 10, 5, tzinfo=IST)
ROW: dict[str, Any] = {
    "exchange": "NFO",
    "instrument_token": NIFTY_KEY,
    "trading_symbol": "NIFTY FUT 24 NOV 26",
    "product": "I",
    "order_type": "LIMIT",
    "transaction_type": "SELL",
    "quantity": 130,
    "price": 25_000.0,
    "status": "open",
    "order_id": "261120000012345",
    "filled_quantity": 65,
    "average_price": 25_001.5,
    "tag": "ABC1",
    "exchange_timestamp": None,
    "order_timestamp": "2026-11-20 10:02:11",
}
DOCUMENTED = {
    "validation pending", "put order req received", "open pending", "open", "trigger pending", "modify validation pending",
    "modify pending", "modified", "not modified", "modify after market order req received", "after market order req received",
    "cancel pending", "not cancelled", "cancelled after market order", "complete", "cancelled", "rejected",
}  # fmt: skip


def update(**changes: Any) -> Any:
    return mapping.order_update({**ROW, **changes}, AT, "book", KNOWN)


# --- orders -----------------------------------------------------------------------------------------------------------------------------


def test_every_documented_status_has_a_state_and_another_is_quarantined() -> None:
    assert mapping.STATES.keys() == DOCUMENTED
    for label, state in mapping.STATES.items():
        assert update(status=label.upper(), filled_quantity=130).state is state
    assert (update(status="Parked").state, update(status="Parked").label) == (None, "parked")


def test_a_row_is_an_order_update() -> None:
    one = update()
    assert (one.instrument, one.side, one.quantity, one.filled, one.average_price) == (NIFTY, Side.SELL, 130, 65, 25_001.5)
    assert (one.state, one.tag, one.product, one.limit_price, one.trigger_price) == (OrderState.WORKING, "ABC1", "I", 25_000.0, None)
    assert one.exchange_at == datetime(2026, 11, 20, 10, 2, 11, tzinfo=IST)


@pytest.mark.parametrize("label", ["modified", "not modified", "not cancelled"])
def test_labels_of_a_stop_that_has_not_triggered(label: str) -> None:
    stop = {"status": label, "order_type": "SL", "trigger_price": 24_990.0}
    assert update(**stop, filled_quantity=0).state is OrderState.TRIGGER_PENDING
    assert update(**stop, filled_quantity=65).state is OrderState.WORKING


def test_complete_counts_only_when_all_is_filled() -> None:
    assert update(status="complete").state is OrderState.WORKING
    assert update(status="complete", filled_quantity=130).state is OrderState.FILLED


def test_rows_of_instruments_nobody_knows_are_kept() -> None:
    bare = {"instrument_token": "99999", "exchange": "NFO", "trading_symbol": "BANKNIFTY 57000 CE 24 NOV 26"}
    found = mapping.instrument_of(bare, KNOWN)
    assert (found.exchange, found.kind, found.underlying) == ("NFO", Kind.CALL, "BANKNIFTY")
    assert mapping.instrument_of({"instrument_token": "48225", "exchange": "NFO"}, KNOWN) is NIFTY
    assert mapping.instrument_of({"instrument_token": "NSE_EQ|INE1", "exchange": "NSE", "tradingsymbol": "XYZ"}, KNOWN).kind is Kind.EQUITY


@pytest.mark.parametrize("missing", ["order_id", "status", "quantity", "transaction_type", "exchange"])
def test_a_row_without_its_essentials_is_an_error(missing: str) -> None:
    with pytest.raises(DataError, match="order row of Upstox"):
        mapping.order_update({name: value for name, value in ROW.items() if name != missing}, AT, "book", KNOWN)


def test_trades_positions_and_funds() -> None:
    trade = mapping.trade({**ROW, "trade_id": "7", "exchange_timestamp": "2026-11-20 10:02:12"}, KNOWN)
    assert (trade.id, trade.quantity, trade.price, trade.at.second) == ("7", 130, 25_001.5, 12)
    flat = mapping.position({**ROW, "quantity": 0, "average_price": None, "last_price": 25_000.0}, KNOWN)
    assert (flat.quantity, flat.average_price, flat.product) == (0, 0.0, "I")
    funds = mapping.funds({"equity": {"available_margin": 1000.5, "used_margin": 20}, "commodity": {"available_margin": 0}})
    assert (funds.available, funds.used) == (1000.5, 20.0)
    broken: dict[str, Any]
    for broken in ({}, {"equity": {}}, {"equity": None}):
        with pytest.raises(DataError):
            mapping.funds(broken)
    with pytest.raises(DataError, match="is no time"):
        mapping.trade({**ROW, "trade_id": "7", "order_timestamp": "10:02"}, KNOWN)


def test_products_follow_the_horizon() -> None:
    assert [mapping.product(horizon, one) for horizon in (Horizon.INTRADAY, Horizon.CARRY) for one in (NIFTY, RELIANCE)] == [
        "I",
        "I",
        "D",
        "D",
    ]
    assert [mapping.horizon_of(product) for product in ("I", "CO", "D", "MTF", "NEW")] == [Horizon.INTRADAY] * 2 + [Horizon.CARRY] * 3


def test_an_order_is_sent_as_documented() -> None:
    order = make_order(order_type=OrderType.SL, limit_price=25_010.3, trigger_price=25_000.1, product="")
    assert mapping.place_body(order, NIFTY_KEY) == {
        "instrument_token": NIFTY_KEY,
        "transaction_type": "BUY",
        "quantity": 130,
        "product": "I",
        "order_type": "SL",
        "price": 25_010.3,
        "trigger_price": 25_000.1,
        "validity": "DAY",
        "disclosed_quantity": 0,
        "is_amo": False,
        "slice": False,
        "tag": "ABCDEFGH00000001",
    }
    change = mapping.modify_body(make_order(broker_order_id="B1"), 65, 24_990.0, None)
    assert (change["order_id"], change["quantity"], change["trigger_price"], change["order_type"]) == ("B1", 65, 0.0, "LIMIT")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"order_type": OrderType.MARKET}, "a bare MARKET is never sent"),
        ({"order_type": OrderType.SL_M}, "a bare SL-M is never sent"),
        ({"order_type": OrderType.SL}, "without a trigger price"),
        ({"tag": "T" * 41}, "1-40 characters"),
        ({"tag": ""}, "1-40 characters"),
        ({"instrument": INDEX}, "is an index; trade its future"),
    ],
)
def test_what_may_not_leave_is_refused_before_it_is_sent(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(Rejected, match=says):
        mapping.place_body(make_order(**changes), NIFTY_KEY)


def share(symbol: str) -> Instrument:
    return Instrument(f"NSE:{symbol}", "NSE", symbol, Kind.EQUITY, symbol)


def test_what_upstox_cannot_express_names_the_alternative() -> None:
    gold = Instrument("MCX:GOLD26DECFUT", "MCX", "GOLD26DECFUT", Kind.FUTURE, "GOLD", expiry=date(2026, 12, 4))
    assert "trade the NSE contract (NCO)" in SPEC.objection(Horizon.CARRY, gold)
    assert "the horizon carry" in SPEC.objection(Horizon.INTRADAY, share("SANWARIA-BZ"))
    assert SPEC.objection(Horizon.CARRY, share("SANWARIA-BZ")) == ""
    assert {SPEC.objection(horizon, one) for horizon in Horizon for one in (NIFTY, RELIANCE, share("BAJAJ-AUTO"))} == {""}


# --- refusals ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "message", "wanted"),
    [
        (401, "UDAPI100050", "Invalid token used to access API", SessionExpired),
        (403, "UDAPI100050", "Invalid token used to access API", SessionExpired),
        (401, "", "no message", SessionExpired),
        (429, "UDAPI10005", "Too Many Request Sent", RateLimited),
        (429, "", "<html>", RateLimited),
        (403, "UDAPI1154", "static ip", Rejected),
        (403, "UDAPI100067", "not permitted with an extended_token", Rejected),
        (423, "UDAPI100074", "5:30 AM to 12:00 AM", Rejected),
        (400, "UDAPI100500", "Intraday (I) orders are not allowed on this scrip.", Rejected),
        *((400, code, "whatever it says", Rejected) for code in mapping.REFUSALS),
    ],
)
def test_a_certain_refusal_has_its_type_for_orders_and_reads(status: int, code: str, message: str, wanted: type[BrokerError]) -> None:
    made = mapping.failure(status, code, message, is_order=True)
    assert type(made) is wanted
    assert (made.code, message in str(made)) == (code or str(status), True)
    if code != "UDAPI100500":
        assert type(mapping.failure(status, code, message, is_order=False)) is wanted


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (500, "UDAPI100500", "Something went wrong... please contact us"),
        (400, "UDAPI100500", "Something went wrong... please contact us"),
        (400, "UDAPI100500", "Request timed out"),
        (500, "UDAPI100010", "Order not found"),
        (400, "UDAPI999999", "a code of next year"),
        (403, "", "error 1010"),
        (0, "", "nothing"),
        (207, "", "no message"),
    ],
)
def test_what_the_table_does_not_name_is_unknown_for_an_order_and_transient_for_a_read(status: int, code: str, message: str) -> None:
    assert type(mapping.failure(status, code, message, is_order=True)) is Unknown
    assert type(mapping.failure(status, code, message, is_order=False)) is Transient


def test_funds_at_night_are_no_empty_account() -> None:
    assert type(mapping.failure(423, "UDAPI100072", "The Funds service is accessible from 5:30", is_order=False)) is Transient


def test_refusals_say_what_to_do() -> None:
    for code, step in (("UDAPI1154", "register this machine's static"), ("UDAPI100050", "main.py login upstox"), ("UDAPI1161", "NCO")):
        assert step in str(mapping.failure(400, code, "text", is_order=True))


# --- the instrument file ----------------------------------------------------------------------------------------------------------------


def line(**changes: Any) -> dict[str, Any]:
    return {
        "segment": "NSE_FO", "name": "NIFTY", "exchange": "NSE", "expiry": 1798568999000, "instrument_type": "CE",
        "underlying_symbol": "NIFTY", "instrument_key": "NSE_FO|48225", "lot_size": 65, "freeze_quantity": 1800.0,
        "exchange_token": "48225", "tick_size": 5.0, "trading_symbol": "NIFTY 25000 CE 29 DEC 26", "strike_price": 25000.0,
        "weekly": False, "qty_multiplier": 1.0, **changes,
    }  # fmt: skip


def rows(*lines: dict[str, Any]) -> tuple[list[Any], dict[str, int]]:
    reader = DumpReader(json.dumps(lines).encode())
    return list(reader), reader.skipped


def test_a_contract_is_named_as_by_every_broker() -> None:
    (row,), skipped = rows(line())
    assert (row.key, row.token, row.kind, row.underlying, row.lot, row.tick_size) == (
        "NFO:NIFTY26DEC25000CE",
        "NSE_FO|48225",
        Kind.CALL,
        "NIFTY",
        65,
        0.05,
    )
    assert (row.expiry, row.strike, row.freeze, skipped) == (date(2026, 12, 29), 25_000.0, 1800, {})


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"weekly": True, "expiry": 1796149799000}, "NFO:NIFTY26D0125000CE"),
        ({"instrument_type": "FUT", "strike_price": 0.0}, "NFO:NIFTY26DECFUT"),
        ({"segment": "BSE_FO", "underlying_symbol": "SENSEX"}, "BFO:SENSEX26DEC25000CE"),
        ({"strike_price": 390.75, "underlying_symbol": "HINDPETRO"}, "NFO:HINDPETRO26DEC390.75CE"),
        ({"segment": "NCD_FO", "underlying_symbol": "USDINR", "strike_price": 87.75}, "CDS:USDINR26DEC87.75CE"),
        ({"segment": "MCX_FO", "underlying_symbol": "GOLD"}, "MCX:GOLD26DEC25000CE"),
        ({"segment": "NSE_EQ", "instrument_type": "EQ", "trading_symbol": "M&M"}, "NSE:M&M"),
        ({"segment": "NSE_EQ", "instrument_type": "BE", "trading_symbol": "NAVKARURB"}, "NSE:NAVKARURB-BE"),
        ({"segment": "BSE_EQ", "instrument_type": "X", "trading_symbol": "RAJKSYN"}, "BSE:RAJKSYN"),
        ({"segment": "NSE_INDEX", "instrument_type": "INDEX", "instrument_key": "NSE_INDEX|Nifty Bank"}, "NSE:NIFTY BANK"),
        ({"segment": "BSE_INDEX", "instrument_type": "INDEX", "instrument_key": "BSE_INDEX|SENSEX"}, "BSE:SENSEX"),
    ],
)
def test_identities_of_every_segment(changes: dict[str, Any], key: str) -> None:
    (row,), _ = rows(line(**changes))
    assert row.key == key


def test_commodities_are_ordered_in_lots() -> None:
    (row,), _ = rows(line(segment="MCX_FO", underlying_symbol="SILVER", lot_size=30, qty_multiplier=30.0))
    assert (row.lot, row.multiplier) == (1, 30)


def test_rows_that_cannot_be_traded_are_counted_and_foreign_ones_passed_over() -> None:
    found, skipped = rows(
        line(trading_symbol=""),
        line(expiry=None),
        line(instrument_type="XX"),
        line(segment="NEW_FO"),
        line(segment="GLOBAL_INDEX"),
        line(segment="NSE_COM", instrument_type="COM"),
    )
    assert found == []
    assert skipped == {"no symbol": 1, "derivative without underlying, expiry or strike": 1, "type XX": 1, "segment NEW_FO": 1}


@pytest.mark.parametrize("dump", [b"", b"<html>", b'[{"segment": "NSE_EQ"', b"[1]", json.dumps([line()]).encode()[:-20]])
def test_a_file_that_is_not_whole_is_refused(dump: bytes) -> None:
    reader = DumpReader(dump)
    with pytest.raises(DataError, match="download it again"):
        list(reader)


@pytest.mark.skipif(not MASTERS.exists(), reason="the brokers' instrument files are not part of the project")
def test_the_real_file_joins_zerodhas_and_upstoxs_own_symbols() -> None:
    """Zerodha's long-dated contracts of half a year before, but for strikes struck off since; Upstox's former CSV of the same month."""
    day = date(2026, 8, 18)
    reader = DumpReader(gzip.decompress((MASTERS / "upstox_complete_2026-08-18.json.gz").read_bytes()))
    ours = {row.key: row for row in reader}
    assert len(ours) > 124_000
    assert sum(reader.skipped.values()) < 100
    kite = list(KiteReader(gzip.decompress((MASTERS / "kite_instruments_NSE_NFO_2026-01-31_rebuilt.csv.gz").read_bytes())))
    living = [row for row in kite if row.expiry is not None and row.expiry >= day and row.strike != 34_500.0]
    joined = [row for row in living if row.key in ours]
    assert len(joined) / len(living) >= 0.99
    assert all((ours[row.key].expiry, ours[row.key].strike, ours[row.key].kind) == (row.expiry, row.strike, row.kind) for row in joined)
    by_token = {row.token: row for row in ours.values()}
    text = gzip.decompress((MASTERS / "upstox_NSE_2026-08.csv.gz").read_bytes()).decode().replace('"', "").splitlines()[1:]
    cells = [one.split(",") for one in text]
    both = [
        (by_token[one[0]], one[2]) for one in cells if one[-1] == "NSE_FO" and one[0] in by_token and str(by_token[one[0]].expiry) == one[5]
    ]
    same = sum(row.symbol == symbol for row, symbol in both)
    assert len(both) > 30_000
    assert same / len(both) >= 0.99  # the others are one share's strikes after a dividend between the two files


def test_a_share_row_knows_its_key() -> None:
    (row,), _ = rows(line(segment="NSE_EQ", instrument_type="EQ", trading_symbol="RELIANCE", instrument_key=RELIANCE_KEY, tick_size=10.0))
    assert (row.token, row.tick_size, row.kind) == (RELIANCE_KEY, 0.1, Kind.EQUITY)
