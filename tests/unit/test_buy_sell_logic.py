"""The target rules: what is lacking, what is cancelled first, what waits, and that exits never exceed what is ours."""

from datetime import datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.types import IST, Horizon, Instrument, Kind, Order, OrderState, OrderType, Purpose, Side
from execution_engine.buy_sell_logic import Plan, Quote, Size, SizingError, Target, capped_price, plan, quantity_for, slices

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=IST)
FUTURE = Instrument("NFO:NIFTY26NOVFUT", "NFO", "NIFTY26NOVFUT", Kind.FUTURE, "NIFTY", lot=65, tick_size=0.1, freeze=1755)
SHARE = Instrument("NSE:RELIANCE", "NSE", "RELIANCE", Kind.EQUITY, "RELIANCE", lot=1, tick_size=0.1)
QUOTE = Quote(25000.0, 24999.5, 25000.5)


def target(wanted: int, **changes: object) -> Target:
    made = Target("trend", "NIFTY_FUT", FUTURE, float(wanted), wanted, Horizon.INTRADAY, NOW, reference=25000.0)
    return msgspec.structs.replace(made, **changes)


def order(side: Side, quantity: int, state: OrderState = OrderState.WORKING, filled: int = 0, purpose: Purpose = Purpose.ENTRY) -> Order:
    return Order(
        "T1", "T1", "practice", "trend", "NIFTY_FUT", FUTURE, side, quantity, OrderType.LIMIT, Horizon.INTRADAY, purpose, NOW, NOW,
        limit_price=25000.0, state=state, filled=filled,
    )  # fmt: skip


def decide(wanted: int, held: int, *working: Order, shortfall: int = 0, quote: Quote = QUOTE, **changes: object) -> Plan:
    return plan(target(wanted, **changes), held=held, working=working, shortfall=shortfall, quote=quote, cap_pct=0.1, now=NOW)


def test_nothing_lacking_is_nothing() -> None:
    assert decide(65, 65) == plan(target(65), held=65, working=[], shortfall=0, quote=QUOTE, cap_pct=0.1, now=NOW)
    assert not decide(65, 65).send
    assert not decide(65, 0, order(Side.BUY, 65)).send


def test_an_entry_is_a_capped_limit() -> None:
    (request,) = decide(65, 0).send
    assert (request.side, request.quantity, request.purpose, request.order_type) == (Side.BUY, 65, Purpose.ENTRY, OrderType.LIMIT)
    assert request.limit_price == pytest.approx(25025.5)


def test_a_smaller_target_is_an_exit() -> None:
    (request,) = decide(65, 130).send
    assert (request.side, request.quantity, request.purpose) == (Side.SELL, 65, Purpose.EXIT)


def test_crossing_zero_is_the_exit_first_and_waits_for_its_fill() -> None:
    (request,) = decide(-65, 65).send
    assert (request.side, request.quantity, request.purpose) == (Side.SELL, 65, Purpose.EXIT)
    waiting = decide(-65, 65, order(Side.SELL, 65, purpose=Purpose.EXIT))
    assert not waiting.send
    assert "exit" in waiting.waiting
    (entry,) = decide(-65, 0).send
    assert (entry.side, entry.quantity, entry.purpose) == (Side.SELL, 65, Purpose.ENTRY)


def test_working_orders_that_oppose_or_overshoot_are_cancelled_first() -> None:
    for wanted, held, working in ((0, 0, order(Side.BUY, 65)), (65, 0, order(Side.BUY, 130)), (-65, 0, order(Side.BUY, 65))):
        todo = decide(wanted, held, working)
        assert todo.cancel == (working,)
        assert not todo.send


def test_a_cancellation_that_is_under_way_is_not_asked_for_twice() -> None:
    todo = decide(0, 0, order(Side.BUY, 65, OrderState.PENDING_CANCEL))
    assert not todo.cancel
    assert not todo.send
    assert "cancellations" in todo.waiting


def test_an_order_of_unknown_fate_blocks_its_key() -> None:
    todo = decide(0, 65, order(Side.BUY, 65, OrderState.UNKNOWN))
    assert not todo.send
    assert not todo.cancel
    assert "evidence" in todo.waiting


def test_an_exit_is_smaller_by_what_the_broker_lacks() -> None:
    (request,) = decide(0, 130, shortfall=65).send
    assert request.quantity == 65
    assert not decide(0, 130, shortfall=130).send
    assert not decide(0, 130, shortfall=195).send
    (short,) = decide(0, -130, shortfall=-65).send
    assert (short.side, short.quantity) == (Side.BUY, 65)
    (more,) = decide(0, 130, shortfall=-65).send  # the broker holds more than we believe: that is not ours to sell
    assert more.quantity == 130


def test_without_a_price_nothing_is_sent() -> None:
    assert not decide(65, 0, quote=Quote(0.0)).send


def test_orders_are_cut_at_the_freeze_quantity() -> None:
    assert list(slices(FUTURE, 1755 * 2 + 65)) == [1755, 1755, 65]
    assert [request.quantity for request in decide(1820, 0).send] == [1755, 65]
    assert list(slices(SHARE, 10_000)) == [10_000]


def test_the_square_off_says_what_its_exits_are_for() -> None:
    (request,) = decide(0, 65, purpose=Purpose.SQUARE_OFF).send
    assert request.purpose is Purpose.SQUARE_OFF


@pytest.mark.parametrize(
    ("size", "expected"),
    [(Size(lots=2), 130), (Size(quantity=200), 195), (Size(capital=3_300_000.0), 130), (Size(risk=13_000.0), 130)],
)
def test_sizes_are_floored_to_lots(size: Size, expected: int) -> None:
    assert quantity_for(size, FUTURE, 1, 25000.0, 24900.0) == expected
    assert quantity_for(size, FUTURE, -1, 25000.0, 25100.0) == -expected


def test_a_size_below_one_lot_and_a_risk_without_a_stop_are_told() -> None:
    with pytest.raises(SizingError, match="less than one lot"):
        quantity_for(Size(quantity=60), FUTURE, 1, 25000.0, None)
    with pytest.raises(SizingError, match="stop"):
        quantity_for(Size(risk=1000.0), FUTURE, 1, 25000.0, None)
    assert quantity_for(Size(lots=1), FUTURE, 0, 25000.0, None) == 0


def test_caps_never_cross_the_limit() -> None:
    assert capped_price(Side.BUY, SHARE, Quote(100.0, 99.9, 100.1), 0.3) <= 100.1 * 1.003
    assert capped_price(Side.SELL, SHARE, Quote(100.0, 99.9, 100.1), 0.3) >= 99.9 * 0.997
    assert capped_price(Side.BUY, SHARE, Quote(100.0), 0.0) == 100.0


@given(
    wanted=st.integers(-5, 5).map(lambda lots: lots * 65),
    held=st.integers(-5, 5).map(lambda lots: lots * 65),
    coming=st.integers(-5, 5).map(lambda lots: lots * 65),
)
def test_every_plan_moves_towards_the_target_and_never_past_it(wanted: int, held: int, coming: int) -> None:
    working = [order(Side.BUY if coming > 0 else Side.SELL, abs(coming))] if coming else []
    todo = decide(wanted, held, *working)
    sent = sum(request.side.sign * request.quantity for request in todo.send)
    after = held + (0 if todo.cancel else coming) + sent
    if todo.cancel:
        assert not todo.send
        return
    low, high = sorted((held, wanted))
    assert low <= after <= high
    for request in todo.send:
        if request.purpose is not Purpose.ENTRY:
            assert held * after >= 0  # an exit never flips the sign
