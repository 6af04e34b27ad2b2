"""Kite's words in ours: order labels, products, instrument dumps, and the registry that finds a broker."""

import random
from datetime import date
from typing import Any

import pytest

import brokers.zerodha.mapping as mapping
from brokers import registry
from core.clock import ManualClock
from core.errors import ConfigError, DataError
from core.types import Horizon, Instrument, Kind, OrderState
from tests.builders import NIFTY, RELIANCE, T0, make_order
from tests.wire.kite_samples import KNOWN
from utils.pacing import Budget, Lane

HEADER = "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,instrument_type,segment,exchange\n"


def row(status: str, **changes: Any) -> dict[str, Any]:
    return {
        "order_id": "1",
        "status": status,
        "exchange": "NSE",
        "tradingsymbol": "RELIANCE",
        "transaction_type": "SELL",
        "order_type": "LIMIT",
        "quantity": 10,
        **changes,
    }


def state(status: str, **changes: Any) -> OrderState | None:
    return mapping.order_update(row(status, **changes), T0, "book", KNOWN).state


# --- orders -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("PUT ORDER REQ RECEIVED", OrderState.PENDING_NEW),
        ("VALIDATION PENDING", OrderState.PENDING_NEW),
        ("OPEN PENDING", OrderState.PENDING_NEW),
        ("AMO REQ RECEIVED", OrderState.AMO_QUEUED),
        ("TRIGGER PENDING", OrderState.TRIGGER_PENDING),
        ("OPEN", OrderState.WORKING),
        ("MODIFIED", OrderState.WORKING),
        ("NOT MODIFIED", OrderState.WORKING),
        ("UPDATE", OrderState.WORKING),
        ("MODIFY VALIDATION PENDING", OrderState.PENDING_MODIFY),
        ("MODIFY PENDING", OrderState.PENDING_MODIFY),
        ("CANCEL PENDING", OrderState.PENDING_CANCEL),
        ("COMPLETE", OrderState.FILLED),
        ("CANCELLED", OrderState.CANCELLED),
        ("REJECTED", OrderState.REJECTED),
        ("LAPSED", OrderState.EXPIRED),
        (" complete ", OrderState.FILLED),
        ("CANCELLED AMO", None),
        ("", None),
        ("SOMETHING NEW", None),
    ],
)
def test_each_label_of_the_table_and_no_other_has_a_state(label: str, expected: OrderState | None) -> None:
    assert state(label) is expected


@pytest.mark.parametrize("label", ["UPDATE", "MODIFIED", "NOT MODIFIED"])
def test_a_stop_that_has_not_filled_is_not_called_working_by_a_modification(label: str) -> None:
    assert state(label, order_type="SL", trigger_price=1400.0) is OrderState.TRIGGER_PENDING
    assert state(label, order_type="SL", trigger_price=1400.0, filled_quantity=1) is OrderState.WORKING
    assert state("OPEN", order_type="SL", trigger_price=1400.0) is OrderState.WORKING


def test_a_rejection_tells_the_humans_reason_else_the_raw_one() -> None:
    both = row("REJECTED", status_message="Insufficient funds.", status_message_raw="RMS:Margin Exceeds")
    assert mapping.order_update(both, T0, "book", KNOWN).reason == "Insufficient funds."
    raw = {**both, "status_message": None}
    assert mapping.order_update(raw, T0, "book", KNOWN).reason == "RMS:Margin Exceeds"


@pytest.mark.parametrize("missing", ["order_id", "status", "exchange", "tradingsymbol", "transaction_type", "quantity"])
def test_an_order_row_without_an_essential_field_is_an_error_that_names_it(missing: str) -> None:
    broken = row("OPEN")
    del broken[missing]
    with pytest.raises(DataError, match=missing):
        mapping.order_update(broken, T0, "book", KNOWN)


def test_an_unlisted_derivative_keeps_its_kind_and_underlying() -> None:
    kinds = {
        "NIFTY26NOVFUT": (Kind.FUTURE, "NIFTY"),
        "NIFTY26DEC25000CE": (Kind.CALL, "NIFTY"),
        "NIFTY26D0125000PE": (Kind.PUT, "NIFTY"),
        "M&M26DECFUT": (Kind.FUTURE, "M&M"),
    }
    for symbol, expected in kinds.items():
        made = mapping.instrument_of({"exchange": "NFO", "tradingsymbol": symbol}, KNOWN)
        assert (made.kind, made.underlying) == expected
    stock = mapping.instrument_of({"exchange": "BSE", "tradingsymbol": "FORCE"}, KNOWN)
    assert (stock.kind, stock.key) == (Kind.EQUITY, "BSE:FORCE")


# --- products ---------------------------------------------------------------------------------------------------------------------------


def test_products_follow_the_horizon() -> None:
    assert [mapping.product(Horizon.INTRADAY, one) for one in (NIFTY, RELIANCE)] == ["MIS", "MIS"]
    assert [mapping.product(Horizon.CARRY, one) for one in (NIFTY, RELIANCE)] == ["NRML", "CNC"]
    assert [mapping.horizon_of(product) for product in ("MIS", "NRML", "CNC", "MTF", "NEW")] == [Horizon.INTRADAY, *[Horizon.CARRY] * 4]


# --- the dump ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tick_size", "lot"), [("0.0", "65"), ("0.1", "0"), ("", "")])
def test_a_zero_lot_or_tick_of_what_can_be_traded_is_not_hidden(tick_size: str, lot: str) -> None:
    text = f"{HEADER}12345858,48226,NIFTY26NOVFUT,NIFTY,0.0,2026-11-24,0.0,{tick_size},{lot},FUT,NFO-FUT,NFO\n"
    (row,) = mapping.parse_instruments(text.encode())
    assert (row.tick_size, row.lot) == (float(tick_size or 0), int(lot or 0))


def test_the_rows_of_a_dump() -> None:
    text = HEADER + (
        '738561,2885,RELIANCE,"RELIANCE, INDUSTRIES",0.0,,0.0,0.1,1,EQ,NSE,NSE\n'
        "256265,1001,NIFTY 50,NIFTY 50,0.0,,0.0,0.0,0,EQ,INDICES,NSE\n"
        "12345602,48225,NIFTY26DEC25000CE,NIFTY,0.0,2026-12-29,25000.0,0.05,65,CE,NFO-OPT,NFO\n"
        "12345858,48226,NIFTY26NOVFUT,,0.0,2026-11-24,,0.1,65,FUT,NFO-FUT,NFO\n"
    )
    rows = mapping.parse_instruments(text.encode())
    equity, index, option, future = rows
    assert (equity.key, equity.kind, equity.underlying, equity.name, equity.lot) == (
        "NSE:RELIANCE",
        Kind.EQUITY,
        "RELIANCE",
        "RELIANCE, INDUSTRIES",
        1,
    )
    assert (index.kind, index.token, index.lot, index.tick_size) == (Kind.INDEX, 256265, 1, 0.05)
    assert (option.kind, option.underlying, option.strike, option.expiry, option.lot) == (
        Kind.CALL,
        "NIFTY",
        25000.0,
        date(2026, 12, 29),
        65,
    )
    assert (future.underlying, future.strike, future.tick_size) == ("NIFTY", None, 0.1)
    assert (rows.skipped, rows.complete) == ({}, True)
    expected = Instrument("NFO:NIFTY26NOVFUT", "NFO", "NIFTY26NOVFUT", Kind.FUTURE, "NIFTY", 65, 0.1, date(2026, 11, 24))
    assert future.instrument() == expected


def test_blank_and_odd_rows_are_counted_and_cost_only_themselves() -> None:
    good = "738561,2885,RELIANCE,R,0.0,,0.0,0.1,1,EQ,NSE,NSE"
    odd = [
        "",
        "   ",
        good.replace("NSE,NSE", "MOON,MOON"),
        good.replace(",EQ,", ",BOND,"),
        good.replace("RELIANCE", ""),
        good.replace("738561", "seven"),
        good + ",extra",
        good.replace(",EQ,NSE,NSE", ",FUT,NFO-FUT,NFO"),
        good.replace("0.0,,0.0", "0.0,2026-13-45,0.0"),
        good.replace(",0.1,1,EQ", ",0.1,-65,EQ"),
        good.replace(",0.1,1,EQ", ",-0.1,1,EQ"),
    ]
    rows = mapping.parse_instruments((HEADER + "\n".join([good, *odd, good]) + "\n").encode())
    assert [one.symbol for one in rows] == ["RELIANCE", "RELIANCE"]
    assert rows.skipped == {
        "blank": 2,
        "exchange MOON": 1,
        "type BOND": 1,
        "no symbol": 1,
        "a number or date that does not read": 4,
        "wrong number of columns": 1,
        "derivative without expiry": 1,
    }


@pytest.mark.parametrize("dump", [b"", b"\n", b"<html>502</html>", b'{"status":"error"}', HEADER.replace("strike", "x").encode()])
def test_a_dump_that_is_not_kites_is_refused_whole(dump: bytes) -> None:
    with pytest.raises(DataError, match="header lacks"):
        list(mapping.parse_instruments(dump))


def test_a_broken_off_dump_says_so() -> None:
    text = HEADER + "738561,2885,RELIANCE,R,0.0,,0.0,0.1,1,EQ,NSE,NSE\n738562,2886,INF"
    rows = mapping.parse_instruments(text.encode())
    assert len(list(rows)) == 1
    assert not rows.complete
    assert rows.skipped == {"wrong number of columns": 1}


def test_no_garbage_but_the_header_raises() -> None:
    rng = random.Random(4)
    line = b'738561,2885,RELIANCE,"R, S",0.0,2026-12-29,10.0,0.1,1,CE,NFO-OPT,NFO\n'
    for _ in range(300):
        body = bytearray(line * 5)
        for _ in range(rng.randrange(1, 12)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        rows = mapping.parse_instruments(HEADER.encode() + bytes(body))
        assert len(list(rows)) + sum(rows.skipped.values()) <= 40


# --- the registry -----------------------------------------------------------------------------------------------------------------------


def test_the_registry_finds_a_broker_and_names_the_nearest() -> None:
    spec = registry.get("zerodha")
    assert (spec.name, spec.tag_length, spec.instruments_per_stream) == ("zerodha", 20, 3000)
    assert "zerodha" in registry.names()
    with pytest.raises(ConfigError, match="did you mean 'zerodha'"):
        registry.get("zeroda")


KITE_ALLOWS = {"place": (10, 1.0), "quote": (1, 1.0), "historical": (3, 1.0), "other": (10, 1.0)}  # requests, seconds
KITE_ALLOWS_LONGER = {"orders/min": (400, 60.0), "orders/day": (5000, 86_400.0)}


@pytest.mark.parametrize("kind", sorted(KITE_ALLOWS))
def test_requests_that_arrive_late_and_early_still_keep_kites_limits_per_second(kind: str) -> None:
    clock, rng, arrivals = ManualClock(T0), random.Random(11), []
    budget = Budget(clock, registry.get("zerodha").limits)
    for _ in range(300):
        budget.acquire(Lane.EXIT, kind, patience=1e9)
        arrivals.append(clock.monotonic() + rng.uniform(0.0, 0.24))
        clock.advance(rng.choice((0.0, 0.0, 0.01)))
    count, seconds = KITE_ALLOWS[kind]
    for moment in arrivals:
        assert sum(1 for other in arrivals if moment <= other < moment + seconds) <= count


def test_the_longer_limits_stay_below_kites() -> None:
    kept = {limit.name: limit for limit in registry.get("zerodha").limits}
    for name, (count, seconds) in KITE_ALLOWS_LONGER.items():
        assert (kept[name].count < count, kept[name].seconds) == (True, seconds)


# --- charges ----------------------------------------------------------------------------------------------------------------------------


def charged(**changes: Any) -> dict[str, Any]:
    """A row of /charges/orders for a sale of ten RELIANCE."""
    parts = {"transaction_tax": 3.5, "exchange_turnover_charge": 0.4, "sebi_turnover_charge": 0.01, "brokerage": 4.2, "stamp_duty": 0}
    charges = {**parts, "gst": {"igst": 0.83, "cgst": 0, "sgst": 0, "total": 0.83}, "total": 8.94}
    return {"tradingsymbol": "RELIANCE", "transaction_type": "SELL", "quantity": 10, "charges": charges, **changes}


def test_charges_are_those_of_the_row_that_was_asked_for() -> None:
    found = mapping.charges(make_order(), charged(), charged())
    assert found.total == pytest.approx(8.94)
    assert found.lines == {"brokerage": 4.2, "stt": 3.5, "txn": 0.4, "sebi": 0.01, "stamp": 0.0, "gst": 0.83}


def spoilt(**changes: Any) -> dict[str, Any]:
    return {"charges": {**charged()["charges"], **changes}}


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantity": 20},
        {"tradingsymbol": "INFY"},
        {"charges": {}},
        spoilt(total="much"),
        spoilt(total=None),
        spoilt(total=-8.94),
        spoilt(total=80.94),
        spoilt(gst=None),
        spoilt(brokerage=float("nan")),
    ],
)
def test_charges_of_something_else_or_that_do_not_add_up_are_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        mapping.charges(make_order(), charged(**wrong), charged())
