"""The simulator's order routes: protection, varieties, slices, legs, TTL, modification, limits, and the faults that strike them."""

from datetime import time
from typing import Any

import pytest

from tests.wire.kite_in_process import FUTURE, Kite


@pytest.fixture
def kite() -> Kite:
    return Kite()


def limit(kite: Kite, away: float = 0.02, **more: Any) -> dict[str, Any]:
    """A buy limit that far below the last price."""
    return {"order_type": "LIMIT", "price": round(kite.last() * (1 - away), 0), **more}


@pytest.mark.parametrize("order_type", ["MARKET", "SL-M"])
@pytest.mark.parametrize("protection", [None, "0"])
def test_an_unprotected_market_order_is_refused(kite: Kite, order_type: str, protection: str | None) -> None:
    more = {} if protection is None else {"market_protection": protection}
    status, kind, message = kite.place(order_type=order_type, trigger_price=kite.last() + 10, **more)
    assert (status, kind) == (400, "InputException")
    assert message.startswith("Market orders without market protection")


def test_protection_must_be_a_number_in_range(kite: Kite) -> None:
    assert kite.place(order_type="MARKET", market_protection="True") == (400, "InputException", "failed to decode market_protection")
    assert kite.place(order_type="MARKET", market_protection="101")[:2] == (400, "InputException")


def test_a_given_percentage_sets_the_limit(kite: Kite) -> None:
    last = kite.last()
    row = kite.row(kite.place(order_type="MARKET", market_protection="3", tag="WIDE"))
    assert row["order_type"] == "LIMIT"
    assert row["price"] == pytest.approx(last * 1.03, rel=1e-3)
    assert row["tags"] == ["WIDE", "mktp", "mktp:3.00"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("transaction_type", "HOLD", "Invalid `transaction_type`."),
        ("product", "BO", "Invalid `product`."),
        ("validity", "GTC", "Invalid `validity`."),
        ("quantity", "many", "Invalid `quantity`."),
        ("quantity", "", "Missing or empty field `quantity`"),
        ("tag", "T" * 21, "Invalid `tag`. It should be at most 20 characters."),
    ],
)
def test_what_a_form_cannot_mean_is_an_input_error(kite: Kite, field: str, value: str, message: str) -> None:
    assert kite.place(**{**limit(kite), field: value}) == (400, "InputException", message)


def test_the_variety_must_exist_and_match(kite: Kite) -> None:
    assert kite.place(variety="bo", **limit(kite)) == (400, "InputException", "Invalid `variety`.")
    order = kite.place(**limit(kite))
    assert kite.call("DELETE", f"/orders/amo/{order}") == (400, "InputException", "Invalid `variety`.")


def test_a_modification_restates_the_total_quantity(kite: Kite) -> None:
    order = kite.place(**limit(kite))
    kite.pass_(1)
    assert kite.call("PUT", f"/orders/regular/{order}", form={"quantity": 130, "price": round(kite.last() * 0.97)}) == {"order_id": order}
    kite.pass_(1)
    row = kite.row(order)
    assert (row["status"], row["quantity"], row["pending_quantity"], row["modified"]) == ("OPEN", 130, 130, True)


def test_the_26th_modification_is_refused(kite: Kite) -> None:
    order = kite.place(**limit(kite))
    kite.pass_(1)
    low = round(kite.last() * 0.97)
    for change in range(25):
        assert kite.call("PUT", f"/orders/regular/{order}", form={"price": low + change}) == {"order_id": order}
        kite.pass_(1)
    refusal = kite.call("PUT", f"/orders/regular/{order}", form={"price": low})
    assert refusal == (400, "OrderException", "Maximum allowed order modifications exceeded.")


def test_limit_to_market_needs_protection(kite: Kite) -> None:
    order = kite.place(**limit(kite))
    kite.pass_(1)
    assert kite.call("PUT", f"/orders/regular/{order}", form={"order_type": "MARKET"})[:2] == (400, "InputException")
    assert kite.call("PUT", f"/orders/regular/{order}", form={"order_type": "MARKET", "market_protection": -1}) == {"order_id": order}
    kite.pass_(3)
    assert kite.row(order)["status"] == "COMPLETE"


def test_a_ttl_order_dies_after_its_minutes(kite: Kite) -> None:
    order = kite.place(**limit(kite), validity="TTL", validity_ttl=2)
    kite.pass_(1)
    assert (kite.row(order)["validity"], kite.row(order)["validity_ttl"], kite.row(order)["status"]) == ("TTL", 2, "OPEN")
    kite.pass_(118)
    assert kite.row(order)["status"] == "OPEN"
    kite.pass_(2)
    assert kite.row(order)["status"] == "CANCELLED"


def test_an_iceberg_sends_its_legs_one_after_another(kite: Kite) -> None:
    kite.place(variety="iceberg", quantity=195, order_type="LIMIT", price=round(kite.last() * 1.01), iceberg_legs=3)
    kite.pass_(120)
    legs = [row for row in kite.call("GET", "/orders") if row["variety"] == "iceberg"]
    assert [(row["quantity"], row["status"]) for row in legs] == [(65, "COMPLETE")] * 3
    assert [row["meta"]["iceberg"]["leg"] for row in legs] == [1, 2, 3]
    assert [row["meta"]["iceberg"]["remaining_quantity"] for row in legs] == [130, 65, 0]
    assert {row["parent_order_id"] for row in legs[1:]} == {legs[0]["order_id"]}


def test_a_cancelled_leg_ends_the_iceberg(kite: Kite) -> None:
    order = kite.place(variety="iceberg", quantity=195, iceberg_legs=3, **limit(kite))
    kite.pass_(1)
    assert kite.call("DELETE", f"/orders/iceberg/{order}") == {"order_id": order}
    kite.pass_(60)
    assert [row["status"] for row in kite.call("GET", "/orders")] == ["CANCELLED"]


@pytest.mark.parametrize("legs", [0, 1, 51])
def test_the_number_of_legs_is_bounded(kite: Kite, legs: int) -> None:
    assert kite.place(variety="iceberg", quantity=195, iceberg_legs=legs, **limit(kite))[:2] == (400, "InputException")


def test_an_order_above_the_freeze_quantity_needs_slices(kite: Kite) -> None:
    freeze = kite.simulator.world.market.listings[FUTURE].freeze
    assert freeze is not None
    quantity = freeze // 65 * 65 * 2 + 65
    assert kite.place(**limit(kite), quantity=quantity)[:2] == (400, "InputException")
    answer = kite.place(**limit(kite), quantity=quantity, autoslice="true", tag="SLICED")
    kite.pass_(1)
    rows = [kite.row(child["order_id"]) for child in answer["children"]]
    assert [row["quantity"] for row in rows] == [freeze // 65 * 65, freeze // 65 * 65, 65]
    assert {tuple(row["tags"]) for row in rows} == {("SLICED", "autoslice", f"autoslice:{answer['order_id']}")}
    assert kite.place(**limit(kite), quantity=freeze // 65 * 65 * 11, autoslice="true")[:2] == (400, "InputException")


def test_an_after_market_order_waits_for_the_open() -> None:
    kite = Kite(time(8, 0))
    refusal = kite.place(**limit(kite))
    assert refusal[:2] == (400, "OrderException")
    order = kite.place(variety="amo", **limit(kite))
    assert kite.row(order)["status"] == "AMO REQ RECEIVED"
    kite.pass_(2 * 3600)
    assert kite.row(order)["status"] == "OPEN"
    assert kite.call("DELETE", f"/orders/amo/{order}") == {"order_id": order}


def test_eleven_order_requests_in_a_second_are_one_too_many(kite: Kite) -> None:
    form = {"exchange": "NFO", "tradingsymbol": "NIFTY26NOVFUT", "transaction_type": "BUY", "quantity": 65, "product": "MIS", **limit(kite)}
    statuses = [kite.send("POST", "/orders/regular", form=form).status for _ in range(11)]
    assert statuses == [200] * 10 + [429]
    assert len(kite.call("GET", "/orders")) == 10


def test_a_rejection_names_its_reason_in_the_book(kite: Kite) -> None:
    kite.faults.add({"fault": "reject", "match": {"tag": "DOOMED"}, "message": "RMS:Blocked by test"})
    good, bad = kite.place(tag="FINE"), kite.place(tag="DOOMED")
    kite.pass_(2)
    assert kite.row(good)["status"] == "COMPLETE"
    assert (kite.row(bad)["status"], kite.row(bad)["status_message"]) == ("REJECTED", "RMS:Blocked by test")


def test_a_partial_fault_caps_one_orders_fills(kite: Kite) -> None:
    kite.faults.add({"fault": "partial", "match": {"order": 2}, "quantity": 65})
    first, second = kite.place(quantity=130), kite.place(quantity=130)
    kite.pass_(30)
    assert (kite.row(first)["status"], kite.row(first)["filled_quantity"]) == ("COMPLETE", 130)
    row = kite.row(second)
    assert (row["status"], row["filled_quantity"], row["pending_quantity"]) == ("OPEN", 65, 65)


def test_a_halt_stands_everything_still_and_ends(kite: Kite) -> None:
    kite.faults.add({"fault": "halt", "match": {"after": "10:00:05"}, "seconds": 60})
    kite.pass_(10)
    stood = kite.last()
    order = kite.place()
    kite.pass_(20)
    assert kite.last() == stood
    assert kite.row(order)["status"] == "REJECTED"
    kite.pass_(60)
    assert kite.last() != stood
    after = kite.place()
    kite.pass_(5)
    assert kite.row(after)["status"] == "COMPLETE"


def test_a_locked_circuit_has_no_sellers(kite: Kite) -> None:
    kite.faults.add({"fault": "circuit", "symbol": FUTURE, "lock": "upper", "seconds": 30})
    kite.pass_(2)
    assert kite.simulator.world.market.quote(FUTURE).asks[0][1] == 0
    order = kite.place()
    kite.pass_(10)
    assert kite.row(order)["filled_quantity"] == 0
    kite.pass_(30)
    assert kite.simulator.world.market.quote(FUTURE).asks[0][1] > 0


def test_a_fired_trigger_places_its_order_and_says_so(kite: Kite) -> None:
    last = kite.last()
    leg = {"transaction_type": "BUY", "quantity": 65, "order_type": "LIMIT", "product": "NRML", "price": round(last * 1.01)}
    import json

    condition = {"exchange": "NFO", "tradingsymbol": "NIFTY26NOVFUT", "trigger_values": [round(last * 1.0026, 1)], "last_price": last}
    form = {"type": "single", "condition": json.dumps(condition), "orders": json.dumps([leg])}
    trigger = kite.call("POST", "/gtt/triggers", form=form)["trigger_id"]
    for _ in range(5 * 60):
        kite.pass_(60)
        row = kite.call("GET", f"/gtt/triggers/{trigger}")
        if row["status"] != "active":
            break
    assert row["status"] == "triggered", "five hours of this seed's day reach a quarter of a percent above the price at ten"
    result = row["orders"][0]["result"]
    assert result["order_result"]["status"] == "success"
    assert kite.row(result["order_result"]["order_id"])["status"] in ("OPEN", "COMPLETE")
