"""What brokers tell of an order's charges, by the samples of their documents: the lines by our names, and what is no answer."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

import brokers.angelone.mapping as angelone
import brokers.groww.mapping as groww
import brokers.icici.mapping as icici
import brokers.upstox.mapping as upstox
from core.errors import DataError
from core.events import ChargesTold
from core.types import Horizon, Order
from tests.builders import NIFTY, RELIANCE, make_order

BOUGHT = make_order(
    instrument=RELIANCE, quantity=10, filled=10, average_price=800.0, horizon=Horizon.CARRY, product="", broker_order_id="B1"
)

OTHER = {"transaction": 5.68, "clearing": 0.0, "ipft": 0.17, "sebi_turnover": 0.17}
UPSTOX: dict[str, Any] = {
    "total": 208.27,
    "brokerage": 0.0,
    "taxes": {"gst": 1.02, "stt": 175.0, "stamp_duty": 26.23},
    "other_charges": OTHER,
    "dp_plan": {"name": "DP3A", "min_expense": 18.5},
}


def line(name: str, amount: float, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "amount": amount, "msg": "", "breakup": list(parts)}


EXTERNAL = (line("Exchange Transaction Charges", 0.28), line("Stamp Duty", 1.2), line("SEBI Fees", 0.008))
TAXES = (line("Security Transaction Tax", 0.0), line("GST", 0.0518))
ANGEL: dict[str, Any] = {
    "total_charges": 1.5398,
    "trade_value": 8000,
    "breakup": [line("Angel One Brokerage", 0.0), line("External Charges", 1.488, *EXTERNAL), line("Taxes", 0.0518, *TAXES)],
}
BREEZE: dict[str, Any] = {
    "brokerage": 6.8029,
    "exchange_turnover_charges": 0.0254,
    "stamp_duty": 0.1361,
    "stt": 0.9071,
    "sebi_charges": 0.0009,
    "gst": 1.2293,
    "total_turnover_and_sebi_charges": 0.0263,
    "total_other_charges": 2.2987,
    "total_brokerage": 9.1015,
}
GROWW: dict[str, Any] = {"brokerage_and_charges": 28.53, "total_requirement": 1500.0}

READ: Mapping[str, tuple[Callable[[Order, Any], ChargesTold], Any, float, dict[str, float]]] = {
    "upstox": (
        upstox.charges,
        {"charges": UPSTOX},
        208.27,
        {"brokerage": 0.0, "stt": 175.0, "txn": 5.85, "sebi": 0.17, "stamp": 26.23, "gst": 1.02, "other": 0.0},
    ),
    "upstox, before 2024": (
        upstox.charges,
        {"charges": {name: value for name, value in UPSTOX.items() if name != "other_charges"} | {"otherTaxes": OTHER}},
        208.27,
        {"brokerage": 0.0, "stt": 175.0, "txn": 5.85, "sebi": 0.17, "stamp": 26.23, "gst": 1.02, "other": 0.0},
    ),
    "angelone": (
        angelone.charges,
        ANGEL,
        1.5398,
        {"brokerage": 0.0, "txn": 0.28, "stamp": 1.2, "sebi": 0.008, "stt": 0.0, "gst": 0.0518},
    ),
    "icici": (
        icici.charges,
        BREEZE,
        9.1015,
        {"brokerage": 6.8029, "stt": 0.9071, "txn": 0.0254, "sebi": 0.0009, "stamp": 0.1361, "gst": 1.2293},
    ),
    "groww": (groww.charges, GROWW, 28.53, {}),
}


@pytest.mark.parametrize("name", READ)
def test_the_documents_sample_reads(name: str) -> None:
    read, answer, total, lines = READ[name]
    found = read(BOUGHT, answer)
    assert found.total == pytest.approx(total)
    assert found.lines == pytest.approx(lines)


def test_a_line_that_has_no_name_of_ours_is_told_as_other() -> None:
    extra = {**ANGEL, "total_charges": 21.5398, "breakup": [*ANGEL["breakup"], line("Auto Square Off Charges", 20.0)]}
    assert angelone.charges(BOUGHT, extra).lines["other"] == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("read", "answer"),
    [
        (upstox.charges, None),
        (upstox.charges, {}),
        (upstox.charges, {"charges": {**UPSTOX, "total": None}}),
        (upstox.charges, {"charges": {**UPSTOX, "total": 0.0}}),
        (upstox.charges, {"charges": {**UPSTOX, "total": 308.27}}),
        (upstox.charges, {"charges": {**UPSTOX, "taxes": None}}),
        (angelone.charges, {**ANGEL, "trade_value": 80_000}),
        (angelone.charges, {**ANGEL, "breakup": None}),
        (angelone.charges, {**ANGEL, "total_charges": "NaN"}),
        (angelone.charges, {**ANGEL, "total_charges": 5.0}),
        (icici.charges, [BREEZE]),
        (icici.charges, {**BREEZE, "total_brokerage": -9.1015}),
        (icici.charges, {**BREEZE, "stt": "much"}),
        (groww.charges, {}),
        (groww.charges, {"brokerage_and_charges": 0}),
    ],
)
def test_what_is_no_charge_is_never_booked(read: Callable[[Order, Any], ChargesTold], answer: Any) -> None:
    with pytest.raises(DataError):
        read(BOUGHT, answer)


def test_what_is_asked_names_what_was_filled_at_its_average_and_not_what_was_ordered() -> None:
    order = make_order(instrument=NIFTY, quantity=130, filled=65, average_price=25_010.3333, product="", limit_price=25_100.0)
    asked = [
        upstox.charge_query(order, "NSE_FO|1"),
        angelone.charge_order(order, "NFO|1|NIFTY"),
        icici.charge_body(order, "NFO|NIFTY|2026-11-24|0|XX|1"),
        groww.charge_order(order, "NSE|FNO|NIFTY|1"),
    ]
    assert [int(one["quantity"]) for one in asked] == [65] * 4
    assert [float(one["price"]) for one in asked] == [25_010.3333] * 4
